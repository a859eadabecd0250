/* Protection keys: PKRU of user pages, IA32_PKRS of supervisor pages (SDM 3A 4.6.2, 4.7). */
#define H_MODEL "default,+pku,+pks"
#include "system.h"
#include "base/range.h"

enum { LINEAR = 0x40000000, FRAME = 0x300000, PDPT = H_TABLES + 0x1000, PD = 0xa000, PT = 0xb000 };
enum { P = 1, W = 2, U = 4, KEY = 9, AD = 1, WD = 2 };
#define PK 0x20u

static struct x86_state prepare(struct harness *h, unsigned cpl)
{
    struct x86_state s = t_long(h, cpl);

    h_put64(h, PDPT + 8, PD | P | W | U);
    h_put64(h, PD, PT | P | W | U);
    T_PUT(h, T_CODE, "\x8a\x03\x8a\x03\x88\x03"); /* mov (%rbx),%al twice; mov %al,(%rbx) */
    s.gpr[X86_RBX] = LINEAR;
    s.gpr[X86_RCX] = s.gpr[X86_RDX] = 0;
    return s;
}

/* A page of key 9 with these rights, and what each register says of it. */
struct setting {
    bool user_page, writable, user, write, wp, pke, pks;
    unsigned pkru, pkrs;
};

/* Written anew from SDM 3A 4.6.2 and 4.7. -1: allowed. */
static int expected(const struct setting *t)
{
    unsigned rights = t->user_page ? (t->pke ? t->pkru : 0) : t->pks ? t->pkrs : 0;
    bool ok = !t->user || t->user_page, key_ok = !(rights & AD);

    if (t->write) {
        bool strict = t->user || t->wp;
        ok = ok && (t->writable || !strict);
        key_ok = key_ok && !((rights & WD) && (t->user_page ? strict : t->wp));
    }
    if (ok && key_ok)
        return -1;
    return (int)(PF_P | (t->write ? PF_W : 0) | (t->user ? PF_U : 0) | (key_ok ? 0 : PK));
}

static void check(struct harness *h, const struct x86_state *base, const struct setting *t)
{
    struct x86_state s = *base;
    int want = expected(t), r;

    h_put64(h, PT, FRAME | P | (t->writable ? W : 0) | (t->user_page ? U : 0) | (uint64_t)KEY << 59);
    s.cr0 = (s.cr0 & ~CR0_WP) | (t->wp ? CR0_WP : 0);
    s.cr4 |= (t->pke ? CR4_PKE : 0) | (t->pks ? CR4_PKS : 0);
    s.fpu.pkru = t->pkru << 2 * KEY;
    assert_int_equal(x86_state_msr_set(&s, MSR_PKRS, (uint64_t)t->pkrs << 2 * KEY), 0);
    s.rip = T_CODE + (t->write ? 4 : 0);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    r = h_step(h);
    int got = r ? (int)h_cpu(h)->fault_error : -1;
    if (got != want || (r && h_cpu(h)->fault_vector != X86_PF_VEC))
        fail_msg(
            "user page %d writable %d; user %d write %d wp %d pke %d pks %d pkru %u pkrs %u: %#x, want %#x",
            t->user_page, t->writable, t->user, t->write, t->wp, t->pke, t->pks, t->pkru, t->pkrs, got, want);
}

static void every_combination_of_keys_and_rights_is_as_the_sdm_says(void **state)
{
    struct harness *h = h_new(1);

    (void)state;
    for (unsigned user = 0; user < 2; user++) {
        struct x86_state base = prepare(h, user ? 3 : 0);
        for (unsigned i = 0; i < 1u << 10; i++) {
            struct setting t = {.user = user,
                                .user_page = i & 1,
                                .writable = i & 2,
                                .write = i & 4,
                                .wp = i & 8,
                                .pke = i & 16,
                                .pks = i & 32,
                                .pkru = i >> 6 & 3,
                                .pkrs = i >> 8 & 3};
            check(h, &base, &t);
        }
    }
    h_free(h);
}

static void code_is_fetched_whatever_the_key_says(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, 3);

    (void)state;
    h_put64(h, PT, FRAME | P | U | (uint64_t)KEY << 59);
    h->ram[FRAME] = 0x90;
    s.cr4 |= CR4_PKE;
    s.fpu.pkru = ~0u;
    s.rip = LINEAR;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    h_free(h);
}

/* What has been translated under one PKRU is not used under another; a key that is not touched stays. */
static void wrpkru_counts_at_once(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, 3);
    struct cpu *c = h_cpu(h);

    (void)state;
    h_put64(h, PT, FRAME | P | W | U | (uint64_t)KEY << 59);
    T_PUT(h, T_CODE, "\x8a\x03\x0f\x01\xef\x8a\x03"); /* mov (%rbx),%al; wrpkru; mov (%rbx),%al */
    s.cr4 |= CR4_PKE;
    s.gpr[X86_RAX] = 0; /* AL is loaded from FRAME */
    h->ram[FRAME] = 0;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    c->gpr[X86_RAX] = AD << 2 * KEY;
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->fpu.pkru, AD << 2 * KEY);
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_int_equal(c->fault_error, PF_P | PF_U | PK);
    c->rip = T_CODE + 2;
    c->gpr[X86_RAX] = AD << 2 * (KEY + 1);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_step(h), 0);
    h_free(h);
}

static void wrmsr_to_pkrs_counts_at_once(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, 0);
    struct cpu *c = h_cpu(h);

    (void)state;
    h_put64(h, PT, FRAME | P | W | (uint64_t)KEY << 59);
    s.cr4 |= CR4_PKS;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    assert_true(msr_write(c, MSR_PKRS, AD << 2 * KEY, false));
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_int_equal(c->fault_error, PF_P | PK);
    assert_false(msr_write(c, MSR_PKRS, 1ull << 32, false));
    h_free(h);
}

/* RDPKRU and WRPKRU: #UD without CR4.PKE, #GP with ECX, or EDX of WRPKRU, not 0 (SDM 2B). */
static void the_instructions_ask_for_cr4_and_for_zeroes(void **state)
{
    static const struct {
        bool pke, write;
        uint64_t ecx, edx;
        int vector;
    } rows[] = {
        {false, false, 0, 0, X86_UD},     {false, true, 0, 0, X86_UD},     {true, false, 1, 0, X86_GP},
        {true, true, 1, 0, X86_GP},       {true, true, 0, 1, X86_GP},      {true, false, 0, 1, -1},
        {true, false, 1ull << 32, 0, -1}, {true, true, 0, 1ull << 32, -1},
    };
    struct harness *h = h_new(1);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct x86_state s = prepare(h, 3);
        T_PUT(h, T_CODE, "\x0f\x01\xee\x0f\x01\xef"); /* rdpkru; wrpkru */
        s.rip = T_CODE + (rows[i].write ? 3 : 0);
        s.cr4 |= rows[i].pke ? CR4_PKE : 0;
        s.fpu.pkru = 0x12345678;
        s.gpr[X86_RAX] = ~0ull;
        s.gpr[X86_RCX] = rows[i].ecx;
        s.gpr[X86_RDX] = rows[i].edx;
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        int r = h_step(h);
        assert_int_equal(r ? h_cpu(h)->fault_vector : -1, rows[i].vector);
        if (!r && !rows[i].write)
            assert_true(h_cpu(h)->gpr[X86_RAX] == 0x12345678 && h_cpu(h)->gpr[X86_RDX] == 0);
        if (!r && rows[i].write)
            assert_int_equal(h_cpu(h)->fpu.pkru, 0xffffffff);
    }
    h_free(h);
}

/* Component 9: behind all others in the standard form, behind those that are there in the compacted one. */
static void xsave_has_pkru_in_its_place(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, 0);
    struct cpu *c = h_cpu(h);
    struct x86_cpuid_leaf l = x86_cpuid_get(&h->cpuid[0], 0xd, 9);
    enum { AT = 0x20000 };

    (void)state;
    assert_int_equal(l.eax, 8);
    assert_true(l.ebx >= 832);
    assert_int_equal(l.ecx, 0);
    assert_int_equal(x86_cpuid_get(&h->cpuid[0], 0xd, 0).ecx, l.ebx + 8);
    /* xsave64, xsavec64, xrstor64 (%rbx) */
    T_PUT(h, T_CODE, "\x48\x0f\xae\x23\x48\x0f\xc7\x23\x48\x0f\xae\x2b");
    s.xcr0 |= XCR0_PKRU;
    s.fpu.pkru = 0x55555554;
    s.gpr[X86_RBX] = AT;
    s.gpr[X86_RAX] = XCR0_PKRU;
    s.gpr[X86_RDX] = 0;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    h_put64(h, AT + l.ebx, ~0ull);
    assert_int_equal(h_step(h), 0);
    assert_true(h_get64(h, AT + l.ebx) == 0x55555554);
    assert_true(h_get64(h, AT + 512) == XCR0_PKRU);
    assert_int_equal(h_step(h), 0);
    assert_true(h_get64(h, AT + 576) == 0x55555554);
    assert_true(h_get64(h, AT + 520) == (XCR0_PKRU | 1ull << 63));
    h_put64(h, AT + 576, 0x123);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->fpu.pkru, 0x123);
    /* beside AVX it lies behind that */
    c->rip = T_CODE + 4;
    c->gpr[X86_RAX] = XCR0_AVX | XCR0_PKRU;
    memset(c->fpu.ymm[3] + 16, 0x77, 16);
    assert_int_equal(h_step(h), 0);
    assert_true(h_get64(h, AT + 832) == 0x123);
    assert_true(h_get64(h, AT + 512) == (XCR0_AVX | XCR0_PKRU));
    c->fpu.pkru = 9;
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->fpu.pkru, 0x123);
    /* and is 0 when the image does not have it */
    h_put64(h, AT + 512, XCR0_AVX);
    c->rip = T_CODE + 8;
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->fpu.pkru, 0);
    h_free(h);
}

/* The fast TLB of translated code forgets what WRPKRU forbids. */
static void translated_code_meets_the_new_rights(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, 3);

    (void)state;
    h_put64(h, PT, FRAME | P | W | U | (uint64_t)KEY << 59);
    /* xor ecx,ecx; xor edx,edx; mov $1000,%esi; 1: mov %esi,(%rbx); mov (%rbx),%edi; dec %esi; jnz 1b;
     * mov $AD << 18,%eax; wrpkru; mov %esi,(%rbx) */
    T_PUT(h, T_CODE,
          "\x31\xc9\x31\xd2\xbe\xe8\x03\x00\x00\x89\x33\x8b\x3b\xff\xce\x75\xf8"
          "\xb8\x00\x00\x04\x00\x0f\x01\xef\x89\x33");
    s.cr4 |= CR4_PKE;
    assert_int_equal(t_run(h, &s), X86_PF_VEC);
    assert_true(h_get64(h, T_STACK0 - 48) == (PF_P | PF_W | PF_U | PK)); /* the frame: error code, RIP */
    assert_true(h_get64(h, T_STACK0 - 40) == T_CODE + 25);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_combination_of_keys_and_rights_is_as_the_sdm_says),
        cmocka_unit_test(code_is_fetched_whatever_the_key_says),
        cmocka_unit_test(wrpkru_counts_at_once),
        cmocka_unit_test(wrmsr_to_pkrs_counts_at_once),
        cmocka_unit_test(the_instructions_ask_for_cr4_and_for_zeroes),
        cmocka_unit_test(xsave_has_pkru_in_its_place),
        cmocka_unit_test(translated_code_meets_the_new_rights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
