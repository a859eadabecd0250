#include "system.h"

/* A page under test at linear 0x40000000 (its own PML4/PDPT slots beside the identity map), reached by tables
 * whose flags are varied. */
enum { LINEAR = 0x40000000, FRAME = 0x300000, PDPT = H_TABLES + 0x1000, PD = 0xa000, PT = 0xb000 };
enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80 };
#define NX (1ull << 63)

enum kind { READ, WRITE, FETCH };

struct setting {
    uint64_t pde, pte;
    bool wp, smep, smap, ac, nxe, user;
    enum kind kind;
};

/* The reference: SDM 3A 4.6.1 and 4.7, written anew from the text. -1: allowed; else the error code. */
static int expected(const struct setting *t)
{
    bool nx_on = t->nxe;
    uint32_t code =
        (t->kind == WRITE ? 2 : 0) | (t->user ? 4 : 0) | (t->kind == FETCH && (nx_on || t->smep) ? 16 : 0);
    if (!(t->pde & P) || (!nx_on && (t->pde & NX)))
        return (int)(t->pde & P ? code | 9 : code);
    if (!(t->pte & P) || (!nx_on && (t->pte & NX)))
        return (int)(t->pte & P ? code | 9 : code);
    bool user_page = (t->pde & U) && (t->pte & U), writable = (t->pde & W) && (t->pte & W),
         nx = (t->pde | t->pte) & NX;
    bool ok;
    if (t->user) {
        ok = user_page;
        if (t->kind == WRITE)
            ok = ok && writable;
        if (t->kind == FETCH)
            ok = ok && !nx;
    } else if (t->kind == FETCH) {
        ok = !nx && !(user_page && t->smep);
    } else {
        ok = !(user_page && t->smap && !t->ac);
        if (t->kind == WRITE && t->wp)
            ok = ok && writable;
    }
    return ok ? -1 : (int)(code | 1);
}

static void check(struct harness *h, const struct x86_state *base, const struct setting *t)
{
    struct x86_state s = *base;

    h_put64(h, PD, t->pde);
    h_put64(h, PT, t->pte);
    s.cr0 = (s.cr0 & ~CR0_WP) | (t->wp ? CR0_WP : 0);
    s.cr4 |= (t->smep ? CR4_SMEP : 0) | (t->smap ? CR4_SMAP : 0);
    s.efer = (s.efer & ~EFER_NXE) | (t->nxe ? EFER_NXE : 0);
    s.rflags |= t->ac ? X86_AC : 0;
    s.gpr[X86_RBX] = LINEAR + 0x20;
    /* supervisor code must not lie on user pages under SMEP: the page of T_CODE is supervisor, that of T_USER
     * user */
    s.rip = t->kind == FETCH ? LINEAR + 0x10 : (t->user ? T_USER : T_CODE) + (t->kind == WRITE ? 8 : 0);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    int want = expected(t), r = h_step(h);
    struct cpu *c = h_cpu(h);
    if (want < 0) {
        if (r)
            fail_msg(
                "pde %#llx pte %#llx wp %d smep %d smap %d ac %d nxe %d user %d kind %d: fault %u error %#x",
                (unsigned long long)t->pde, (unsigned long long)t->pte, t->wp, t->smep, t->smap, t->ac,
                t->nxe, t->user, t->kind, c->fault_vector, c->fault_error);
        assert_true(h_get64(h, PD) == (t->pde | A));
        assert_true(h_get64(h, PT) == (t->pte | A | (t->kind == WRITE ? D : 0)));
    } else {
        if (r != LEAVE_FAULT || c->fault_vector != X86_PF_VEC || (int)c->fault_error != want)
            fail_msg("pde %#llx pte %#llx wp %d smep %d smap %d ac %d nxe %d user %d kind %d: want error "
                     "%#x, got %d vector %u error %#x",
                     (unsigned long long)t->pde, (unsigned long long)t->pte, t->wp, t->smep, t->smap, t->ac,
                     t->nxe, t->user, t->kind, want, r, c->fault_vector, c->fault_error);
        assert_true(c->cr2 == LINEAR + (t->kind == FETCH ? 0x10 : 0x20));
        assert_true(h_get64(h, PT) == t->pte);
    }
}

static struct x86_state prepare(struct harness *h, bool user)
{
    struct x86_state s = t_long(h, user ? 3 : 0);
    /* split the first 2 MiB of the identity map, so that code pages can differ: supervisor below T_USER's
     * page, user there */
    h_put64(h, H_TABLES + 0x2000, 0xc000 | 7);
    for (uint64_t i = 0; i < 512; i++)
        h_put64(h, 0xc000 + i * 8, i << 12 | (i == T_USER >> 12 || i == 0x7f || user ? 7 : 3));
    h_put64(h, PDPT + 8, PD | 7);
    h_put64(h, FRAME, 0x9090909090909090);
    h_put64(h, FRAME + 0x10, 0x9090909090909090);
    T_PUT(h, T_CODE, "\x8a\x03");
    T_PUT(h, T_CODE + 8, "\x88\x03");
    T_PUT(h, T_USER, "\x8a\x03");
    T_PUT(h, T_USER + 8, "\x88\x03");
    return s;
}

static void every_combination_of_rights_allows_or_faults_as_the_sdm_says(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    static const uint64_t rights[] = {0,      P,          P | W,      P | U,         P | W | U,
                                      P | NX, P | W | NX, P | U | NX, P | W | U | NX};
    unsigned n = 0;

    for (unsigned user = 0; user < 2; user++) {
        struct x86_state base = prepare(h, user);
        for (unsigned a = 0; a < 9; a++)
            for (unsigned b = 0; b < 9; b++)
                for (unsigned m = 0; m < 32; m++)
                    for (unsigned k = 0; k < 3; k++) {
                        struct setting t = {.pde = rights[a] | (a ? PT : 0),
                                            .pte = rights[b] | (b ? FRAME : 0),
                                            .wp = m & 1,
                                            .smep = m & 2,
                                            .smap = m & 4,
                                            .ac = m & 8,
                                            .nxe = m & 16,
                                            .user = user,
                                            .kind = (enum kind)k};
                        check(h, &base, &t);
                        n++;
                    }
    }
    assert_int_equal(n, 2 * 81 * 32 * 3);
    h_free(h);
}

static void a_reserved_bit_faults_with_the_rsv_code(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, false);

    h_put64(h, PD, PT | 7);
    h_put64(h, PT, FRAME | 7 | 1ull << 51); /* beyond the physical address width */
    s.gpr[X86_RBX] = LINEAR;
    engine_set(h->en, 0, &s);
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_int_equal(h_cpu(h)->fault_error, PF_P | PF_RSV);
    h_put64(h, PD, 0x301000 | 7 | PS); /* a 2 MiB page whose frame is not aligned */
    engine_set(h->en, 0, &s);
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_int_equal(h_cpu(h)->fault_error, PF_P | PF_RSV);
    h_free(h);
}

static void pages_of_2_mib_and_1_gib_translate(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, false);

    h_put64(h, 0x345678, 0x1122334455667788);
    h_put64(h, PD + 8, 0x200000 | 7 | PS);
    s.gpr[X86_RBX] = LINEAR + 0x200000 + 0x145678;
    engine_set(h->en, 0, &s);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_cpu(h)->gpr[X86_RAX] & 0xff, 0x88);
    h_put64(h, PDPT + 2 * 8, 0 | 7 | PS);
    s.gpr[X86_RBX] = 0x80000000 + 0x345679;
    engine_set(h->en, 0, &s);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_cpu(h)->gpr[X86_RAX] & 0xff, 0x77);
    assert_true(h_get64(h, PDPT + 2 * 8) & A);
    h_free(h);
}

static void a_store_across_two_pages_changes_nothing_when_the_second_faults(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, false);

    h_put64(h, PD, PT | 7);
    h_put64(h, PT, FRAME | 7);
    h_put64(h, PT + 8, 0);
    h_put64(h, FRAME + 0xff8, 0x5555555555555555);
    T_PUT(h, T_CODE, "\x48\x89\x03"); /* mov %rax,(%rbx) */
    s.gpr[X86_RBX] = LINEAR + 0xffc;
    s.gpr[X86_RAX] = 0x1111111122222222;
    engine_set(h->en, 0, &s);
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_true(h_cpu(h)->cr2 == LINEAR + 0x1000);
    assert_int_equal(h_cpu(h)->fault_error, PF_W);
    assert_true(h_get64(h, FRAME + 0xff8) == 0x5555555555555555);
    h_put64(h, PT + 8, (FRAME + 0x5000) | 7);
    engine_set(h->en, 0, &s);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_get32(h, FRAME + 0xffc), 0x22222222);
    assert_int_equal(h_get32(h, FRAME + 0x5000), 0x11111111);
    h_free(h);
}

static void invlpg_drops_a_translation_and_nothing_else_does(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, false);

    h_put64(h, PD, PT | 7);
    h_put64(h, PT, FRAME | 7);
    h->ram[FRAME] = 1;
    h->ram[FRAME + 0x1000] = 2;
    T_PUT(h, T_CODE, "\x8a\x03\x8a\x0b\x0f\x01\x3b\x8a\x13"); /* mov (%rbx),%al; mov (%rbx),%cl; invlpg
                                                                 (%rbx); mov (%rbx),%dl */
    s.gpr[X86_RBX] = LINEAR;
    engine_set(h->en, 0, &s);
    assert_int_equal(h_step(h), 0);
    h_put64(h, PT, (FRAME + 0x1000) | 7);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_cpu(h)->gpr[X86_RCX] & 0xff, 1);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_cpu(h)->gpr[X86_RDX] & 0xff, 2);
    h_free(h);
}

/* Translations are tagged by PCID: a load of CR3 with bit 63 keeps those of the new PCID, one without drops
 * them. */
static void cr3_bit_63_keeps_the_translations_of_a_pcid(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, false);
    struct cpu *c = h_cpu(h);

    h_put64(h, PD, PT | 7);
    h_put64(h, PT, FRAME | 7);
    h->ram[FRAME] = 1;
    h->ram[FRAME + 0x1000] = 2;
    s.gpr[X86_RBX] = LINEAR;
    s.cr4 |= CR4_PCIDE;
    s.cr3 |= 1;
    engine_set(h->en, 0, &s);
    cpu_enter(c);
    c->rip = T_CODE;
    assert_int_equal(h_step(h), 0); /* PCID 1 caches the old frame */
    h_put64(h, PT, (FRAME + 0x1000) | 7);
    cpu_set_cr(c, 3, H_TABLES | 2);
    cpu_set_cr(c, 3, H_TABLES | 1 | 1ull << 63);
    c->rip = T_CODE;
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->gpr[X86_RAX] & 0xff, 1);
    cpu_set_cr(c, 3, H_TABLES | 2 | 1ull << 63); /* another address space does not see it */
    c->rip = T_CODE;
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->gpr[X86_RAX] & 0xff, 2);
    h_put64(h, PT, FRAME | 7);
    cpu_set_cr(c, 3, H_TABLES | 2);
    c->rip = T_CODE;
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->gpr[X86_RAX] & 0xff, 1);
    h_free(h);
}

static void global_pages_of_the_upper_half_survive_a_cr3_load(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h, false);
    struct cpu *c = h_cpu(h);

    h_put64(h, H_TABLES + 511 * 8, (H_TABLES + 0x1000) | 7); /* the same GiBs once more at the top */
    h_put64(h, PD, PT | 7);
    h_put64(h, PT, FRAME | 7 | 0x100);
    h_put64(h, PT + 8, FRAME | 7);
    h->ram[FRAME] = 1;
    s.cr4 |= CR4_PGE;
    uint64_t high = 0xffffff8000000000ull + LINEAR;
    s.gpr[X86_RBX] = high;
    engine_set(h->en, 0, &s);
    assert_int_equal(h_step(h), 0);
    h->ram[FRAME + 0x1000] = 2;
    h_put64(h, PT, (FRAME + 0x1000) | 7 | 0x100);
    cpu_set_cr(c, 3, H_TABLES);
    c->rip = T_CODE;
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->gpr[X86_RAX] & 0xff, 1);
    cpu_set_cr(c, 4, c->cr4 & ~CR4_PGE); /* drops everything */
    c->rip = T_CODE;
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->gpr[X86_RAX] & 0xff, 2);
    h_free(h);
}

static void legacy_and_pae_tables_translate(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 0);

    T_PUT(h, T_CODE, "\x8a\x03\x88\x03"); /* mov (%ebx),%al; mov %al,(%ebx) */
    h->ram[FRAME + 0x123] = 0x42;
    /* 32-bit tables: a 4 MiB identity page, and a table for LINEAR */
    memset(h->ram + H_TABLES, 0, 0x3000);
    h_put32(h, H_TABLES, 0x87);
    h_put32(h, H_TABLES + (LINEAR >> 22) * 4, PD | 7);
    h_put32(h, PD, FRAME | 7);
    s.cr0 |= CR0_PG | CR0_WP;
    s.cr3 = H_TABLES;
    s.cr4 |= CR4_PSE;
    s.gpr[X86_RBX] = LINEAR + 0x123;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_cpu(h)->gpr[X86_RAX] & 0xff, 0x42);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_get32(h, PD), FRAME | 7 | A | D);
    assert_int_equal(h_get32(h, H_TABLES), 0x87 | A); /* the code page's */
    /* PAE: four pointers, 2 MiB identity, a table for LINEAR */
    memset(h->ram + H_TABLES, 0, 0x3000);
    memset(h->ram + PD, 0, 0x2000);
    h_put64(h, H_TABLES, (H_TABLES + 0x1000) | 1);
    h_put64(h, H_TABLES + 8, (H_TABLES + 0x2000) | 1);
    h_put64(h, H_TABLES + 0x1000, 0x87);
    h_put64(h, H_TABLES + 0x2000, PD | 7);
    h_put64(h, PD, FRAME | 3 | NX);
    s.cr4 |= CR4_PAE;
    s.efer = EFER_NXE;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_cpu(h)->gpr[X86_RAX] & 0xff, 0x42);
    s.rip = LINEAR;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_int_equal(h_cpu(h)->fault_error, PF_P | PF_I);
    h_free(h);
}

static void a_load_across_the_end_of_ram_takes_both_halves(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    /* four bytes of RAM's last page, four of nothing after it: H_RAM ends inside the identity map */
    h->mmio_value = 0xaabbccdd;
    h_put32(h, H_RAM - 4, 0x11223344);
    T_PUT(h, T_CODE, "\x48\x8b\x03");
    s.gpr[X86_RBX] = H_RAM - 4;
    engine_set(h->en, 0, &s);
    assert_int_equal(h_step(h), 0);
    assert_true(h_cpu(h)->gpr[X86_RAX] == 0xaabbccdd11223344);
    assert_int_equal(h->mmio_addr, H_RAM);
    assert_int_equal(h->mmio_size, 4);
    h_free(h);
}

static void alignment_is_checked_in_user_mode_when_asked_for(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 3);

    T_PUT(h, T_CODE, "\x8b\x03");
    s.cr0 |= CR0_AM;
    s.rflags |= X86_AC;
    s.gpr[X86_RBX] = 0x20002;
    engine_set(h->en, 0, &s);
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_int_equal(h_cpu(h)->fault_vector, X86_AC_VEC);
    s.gpr[X86_RBX] = 0x20004;
    engine_set(h->en, 0, &s);
    assert_int_equal(h_step(h), 0);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_combination_of_rights_allows_or_faults_as_the_sdm_says),
        cmocka_unit_test(a_reserved_bit_faults_with_the_rsv_code),
        cmocka_unit_test(pages_of_2_mib_and_1_gib_translate),
        cmocka_unit_test(a_store_across_two_pages_changes_nothing_when_the_second_faults),
        cmocka_unit_test(invlpg_drops_a_translation_and_nothing_else_does),
        cmocka_unit_test(cr3_bit_63_keeps_the_translations_of_a_pcid),
        cmocka_unit_test(global_pages_of_the_upper_half_survive_a_cr3_load),
        cmocka_unit_test(legacy_and_pae_tables_translate),
        cmocka_unit_test(a_load_across_the_end_of_ram_takes_both_halves),
        cmocka_unit_test(alignment_is_checked_in_user_mode_when_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
