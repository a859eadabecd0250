/* Linear addresses of 57 bits: 5-level paging (SDM 3A 4.5.4). */
#define H_MODEL "default,+la57"
#include "system.h"
#include "base/range.h"

enum { ROOT = 0xc000, FRAME = 0x300000, FAR_TABLES = 0x310000 };
enum { P = 1, W = 2, U = 4, A = 0x20, PS = 0x80 };

#define CANONICAL_48  0xffffaaaaaaaaaaaaull
#define CANONICAL_57  0xffaaaaaaaaaaaaaaull
#define NOT_CANONICAL 0xaaaaaaaaaaaaaaaaull
#define FAR_AWAY      (0x55ull << 48) /* entry 0x55 of the root; needs all of 57 bits */

/* The identity map as entry 0 of a fifth level; entry 0x55 leads to a page of FRAME. */
static struct x86_state prepare(struct harness *h, unsigned cpl)
{
    struct x86_state s = t_long(h, cpl);

    h_put64(h, ROOT, H_TABLES | P | W | U);
    h_put64(h, ROOT + 0x55 * 8, FAR_TABLES | P | W | U);
    for (uint64_t i = 0; i < 3; i++)
        h_put64(h, FAR_TABLES + i * 0x1000, (FAR_TABLES + (i + 1) * 0x1000) | P | W | U);
    h_put64(h, FAR_TABLES + 0x3000, FRAME | P | W | U);
    s.cr3 = ROOT;
    s.cr4 |= CR4_LA57;
    return s;
}

static void the_fifth_level_translates(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, 0);

    (void)state;
    T_PUT(h, T_CODE, "\x48\x8b\x03\x48\x89\x0b"); /* mov (%rbx),%rax; mov %rcx,(%rbx) */
    h_put64(h, FRAME + 0x10, 0x1122334455667788);
    s.gpr[X86_RBX] = FAR_AWAY + 0x10;
    s.gpr[X86_RCX] = 0x99;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    assert_true(h_cpu(h)->gpr[X86_RAX] == 0x1122334455667788);
    assert_int_equal(h_step(h), 0);
    assert_true(h_get64(h, FRAME + 0x10) == 0x99);
    assert_true(h_get64(h, ROOT + 0x55 * 8) & A);
    h_free(h);
}

static void faults_of_the_fifth_level_have_its_error_codes(void **state)
{
    static const struct {
        uint64_t entry;
        uint32_t error;
    } rows[] = {
        {0, 0},
        {FAR_TABLES | P | W | U | PS, PF_P | PF_RSV}, /* reserved here (SDM 3A table 4-14) */
        {FAR_TABLES | P | W | U | 1ull << 51, PF_P | PF_RSV},
    };
    struct harness *h = h_new(1);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct x86_state s = prepare(h, 0);
        T_PUT(h, T_CODE, "\x48\x8b\x03");
        h_put64(h, ROOT + 0x55 * 8, rows[i].entry);
        s.gpr[X86_RBX] = FAR_AWAY;
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        assert_int_equal(h_step(h), LEAVE_FAULT);
        assert_int_equal(h_cpu(h)->fault_vector, X86_PF_VEC);
        assert_int_equal(h_cpu(h)->fault_error, rows[i].error);
        assert_true(h_cpu(h)->cr2 == FAR_AWAY);
    }
    h_free(h);
}

/* An access at `linear` in a mode: -1, or the vector. */
static int access_at(struct harness *h, bool five, uint64_t linear)
{
    struct x86_state s = prepare(h, 0);

    T_PUT(h, T_CODE, "\x48\x8b\x03");
    if (!five) {
        s.cr4 &= ~CR4_LA57;
        s.cr3 = H_TABLES;
    }
    s.gpr[X86_RBX] = linear;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    return h_step(h) ? h_cpu(h)->fault_vector : -1;
}

static void accesses_are_canonical_as_the_paging_mode_says(void **state)
{
    struct harness *h = h_new(1);

    (void)state;
    assert_int_equal(access_at(h, true, CANONICAL_57), X86_PF_VEC);
    assert_int_equal(access_at(h, false, CANONICAL_57), X86_GP);
    assert_int_equal(access_at(h, true, NOT_CANONICAL), X86_GP);
    assert_int_equal(access_at(h, true, FAR_AWAY), -1);
    assert_int_equal(access_at(h, false, FAR_AWAY), X86_GP);
    assert_int_equal(access_at(h, true, (1ull << 56) - 4), X86_GP); /* its end is not */
    h_free(h);
}

/* Bases and MSRs are, as the processor is, in whatever mode (SDM 3A 4.5.2). */
static void bases_are_canonical_as_the_processor_says(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, 0);
    struct cpu *c = h_cpu(h);

    (void)state;
    for (unsigned five = 0; five < 2; five++) {
        if (!five)
            s.cr4 &= ~CR4_LA57;
        s.cr3 = five ? ROOT : H_TABLES;
        s.cr4 |= five ? CR4_LA57 : 0;
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        assert_true(msr_write(c, MSR_LSTAR, CANONICAL_48, false));
        assert_true(msr_write(c, MSR_LSTAR, CANONICAL_57, false));
        assert_false(msr_write(c, MSR_LSTAR, NOT_CANONICAL, false));
    }
    h_free(h);
}

static void the_mode_changes_outside_of_long_mode_only(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, 0);

    (void)state;
    T_PUT(h, T_CODE, "\x0f\x22\xe0"); /* mov %rax,%cr4 */
    s.gpr[X86_RAX] = s.cr4 & ~CR4_LA57;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_int_equal(h_cpu(h)->fault_vector, X86_GP);
    s = t_protected(h, 0);
    s.gpr[X86_RAX] = s.cr4 | CR4_PAE | CR4_LA57;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    assert_true(h_cpu(h)->cr4 & CR4_LA57);
    h_free(h);
}

/* Code whose addresses differ above bit 48 only, so often that all that remembers code has seen it; each of
 * the two pages adds something of its own. */
static void code_far_apart_is_told_apart(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, 3);

    (void)state;
    /* mov $5000,%ecx; 1: call *%rbx; call *%rdx; dec %ecx; jnz 1b; int3 */
    T_PUT(h, T_CODE, "\xb9\x88\x13\x00\x00\xff\xd3\xff\xd2\xff\xc9\x75\xf8\xcc");
    t_gate(h, X86_BP, true, S_CODE0, T_TRAPS + X86_BP * 16, 0xe, 3, 0);
    T_PUT(h, T_USER, "\x48\xff\xc0\xc3");            /* inc %rax; ret */
    T_PUT(h, FRAME, "\x48\x05\x00\x00\x01\x00\xc3"); /* add $0x10000,%rax; ret */
    h_put64(h, FAR_TABLES + 0x3000 + (T_USER >> 12) * 8, FRAME | P | W | U);
    s.gpr[X86_RAX] = 0;
    s.gpr[X86_RBX] = T_USER;
    s.gpr[X86_RDX] = FAR_AWAY + T_USER;
    assert_int_equal(t_run(h, &s), X86_BP);
    assert_true((h_cpu(h)->gpr[X86_RAX] & ~0xffull) ==
                ((5000 * 0x10001ull) & ~0xffull)); /* AL: the handler's */
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fifth_level_translates),
        cmocka_unit_test(faults_of_the_fifth_level_have_its_error_codes),
        cmocka_unit_test(accesses_are_canonical_as_the_paging_mode_says),
        cmocka_unit_test(bases_are_canonical_as_the_processor_says),
        cmocka_unit_test(the_mode_changes_outside_of_long_mode_only),
        cmocka_unit_test(code_far_apart_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
