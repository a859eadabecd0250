/* Virtual interrupt flags: v8086 mode with CR4.VME and programs with CR4.PVI, row by row as in the decision
 * tables of CLI and STI (SDM 2A, 2B) and in SDM 3A 20.3, 20.4. */
#include "vme.h"

/* ---- CLI, STI ---- */

enum result { FAULT, SETS_IF, SETS_VIF };

/* `above`: CPL > IOPL. */
static const struct row {
    int vm, above, cpl, pvi, vip, vme;
    enum result cli, sti;
} rows[] = {
    {0, 0, ANY, ANY, ANY, ANY, SETS_IF, SETS_IF}, {0, 1, 3, 1, 0, ANY, SETS_VIF, SETS_VIF},
    {0, 1, 3, 1, 1, ANY, SETS_VIF, FAULT},        {0, 1, 1, ANY, ANY, ANY, FAULT, FAULT},
    {0, 1, 2, ANY, ANY, ANY, FAULT, FAULT},       {0, 1, 3, 0, ANY, ANY, FAULT, FAULT},
    {1, 0, ANY, ANY, ANY, ANY, SETS_IF, SETS_IF}, {1, 1, ANY, ANY, 0, 1, SETS_VIF, SETS_VIF},
    {1, 1, ANY, ANY, 1, 1, SETS_VIF, FAULT},      {1, 1, ANY, ANY, ANY, 0, FAULT, FAULT},
};

static const struct row *row_of(unsigned vm, unsigned above, unsigned cpl, const struct x86_state *s)
{
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *r = &rows[i];
        if (fits(r->vm, vm) && fits(r->above, above) && fits(r->cpl, cpl) && fits(r->pvi, s->cr4 >> 1 & 1) &&
            fits(r->vip, s->rflags >> 20 & 1) && fits(r->vme, s->cr4 & 1))
            return r;
    }
    fail_msg("no row");
    return NULL;
}

static void one_flag(struct harness *h, const struct x86_state *s, bool sti, enum result want)
{
    uint64_t bit = want == SETS_IF ? X86_IF : want == SETS_VIF ? X86_VIF : 0;
    int got = step(h, s, sti ? "\xfb" : "\xfa", 1);
    const struct cpu *c = h_cpu(h);

    if (got != (want == FAULT ? X86_GP : -1) || c->rflags != (sti ? s->rflags | bit : s->rflags & ~bit))
        fail_msg("%s, flags %#llx, cr4 %#llx: vector %d, flags %#llx", sti ? "sti" : "cli",
                 (unsigned long long)s->rflags, (unsigned long long)s->cr4, got,
                 (unsigned long long)c->rflags);
    if (want == FAULT)
        assert_int_equal(c->fault_error, 0);
    /* the next instruction is held off by an IF that goes up, not by VIF */
    assert_int_equal(c->shadow, sti && want == SETS_IF && !(s->rflags & X86_IF));
}

/* All combinations of IF, VIF, VIP, IOPL, VME and PVI. bits: 16 (v8086), 32, 64. */
static void every_row(unsigned bits, unsigned cpl)
{
    struct harness *h = h_new(1);

    for (unsigned i = 0; i < 1 << 7; i++) {
        uint64_t flags =
            (i & 1 ? X86_IF : 0) | (i & 2 ? X86_VIF : 0) | (i & 4 ? X86_VIP : 0) | (i >> 3 & 3) << 12;
        uint64_t cr4 = i >> 5 & (CR4_VME | CR4_PVI);
        struct x86_state s = bits == 16 ? v8086(h, flags, cr4) : program(h, bits, cpl, flags, cr4);
        const struct row *r = row_of(bits == 16, cpl > (i >> 3 & 3), cpl, &s);
        one_flag(h, &s, false, pending(&s) ? FAULT : r->cli);
        one_flag(h, &s, true, pending(&s) ? FAULT : r->sti);
        assert_int_equal(step(h, &s, "\x90", 1), pending(&s) ? X86_GP : -1);
    }
    h_free(h);
}

static void cli_and_sti_in_v8086_mode_follow_the_tables(void **state)
{
    (void)state;
    every_row(16, 3);
}

static void cli_and_sti_of_32_bit_programs_follow_the_tables(void **state)
{
    (void)state;
    for (unsigned cpl = 0; cpl < 4; cpl++)
        every_row(32, cpl);
}

static void cli_and_sti_of_64_bit_programs_follow_the_tables(void **state)
{
    (void)state;
    for (unsigned cpl = 0; cpl < 4; cpl++)
        every_row(64, cpl);
}

/* In real mode neither bit of CR4 means anything. */
static void cli_and_sti_in_real_mode_are_about_if(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s;

    engine_get(h->en, 0, &s);
    s.seg[X86_CS].base = T_CODE;
    s.seg[X86_CS].sel = V_CS;
    s.rip = 0;
    s.cr4 |= CR4_VME | CR4_PVI;
    s.rflags = 2 | X86_VIF | X86_VIP;
    one_flag(h, &s, true, SETS_IF);
    s.rflags |= X86_IF;
    one_flag(h, &s, false, SETS_IF);
    h_free(h);
}

GUEST(pvi_program, "sti\n pushf\n pop %rbx\n cli\n pushf\n pop %rcx\n hlt");

/* By the run loop, translated where it can be. */
static void a_64_bit_program_has_its_virtual_flag(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = program(h, 64, 3, 0, CR4_PVI);

    for (unsigned i = 0; i < 3; i++) { /* the second time it is known code */
        h_code(h, T_CODE, pvi_program);
        assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
        struct x86_state now;
        engine_get(h->en, 0, &now);
        assert_true(now.gpr[X86_RBX] == (2 | X86_VIF) && now.gpr[X86_RCX] == 2);
    }
    s.cr4 &= ~(uint64_t)CR4_PVI;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    assert_true(h_get64(h, T_STACK0 - 40) == T_CODE); /* STI itself */
    h_free(h);
}

/* The translator knows kernel and user, and must not take what lies between for the kernel. */
static void the_run_loop_keeps_if_from_cpl_1_and_2(void **state)
{
    static const char code[] = {'\xfa', '\xfb'};

    (void)state;
    for (unsigned cpl = 0; cpl < 3; cpl++)
        for (unsigned i = 0; i < 2; i++) {
            struct harness *h = h_new(1);
            struct x86_state s = program(h, 64, cpl, i ? 0 : X86_IF, CR4_PVI);
            h->ram[T_CODE] = (uint8_t)code[i];
            T_PUT(h, T_CODE + 1, "\x0f\x0b");
            assert_int_equal(t_run(h, &s) & 0xff, cpl ? X86_GP : X86_UD);
            h_free(h);
        }
}

/* ---- PUSHF, POPF, IRET ---- */

static void pushf_in_v8086_mode_shows_vif_as_if(void **state)
{
    (void)state;
    struct harness *h = h_new(1);

    for (unsigned i = 0; i < 1 << 6; i++)
        for (unsigned wide = 0; wide < 2; wide++) {
            uint64_t flags = (i & 1 ? X86_IF : 0) | (i & 2 ? X86_VIF : 0) | (i & 4 ? X86_VIP : 0) |
                             (i >> 3 & 3) << 12 | X86_CF | X86_DF;
            struct x86_state s = v8086(h, flags, i & 32 ? CR4_VME : 0);
            int got = wide ? step(h, &s, "\x66\x9c", 2) : step(h, &s, "\x9c", 1);
            if (pending(&s) || (is_virtual(&s) && (wide || !(i & 32)))) {
                assert_int_equal(got, X86_GP);
                continue;
            }
            assert_int_equal(got, -1);
            uint32_t want = (uint32_t)s.rflags & ~X86_VM;
            if (is_virtual(&s))
                want = (want & ~X86_IF) | X86_IOPL | (i & 2 ? X86_IF : 0);
            assert_int_equal(h_cpu(h)->gpr[X86_RSP], SP - (wide ? 4 : 2));
            uint32_t image = h_get32(h, (V_SS << 4) + SP - (wide ? 4 : 2));
            assert_int_equal(wide ? image : image & 0xffff, wide ? want : want & 0xffff);
            assert_true(h_cpu(h)->rflags == s.rflags);
        }
    h_free(h);
}

/* POPF or IRET of `image`: what the flags are to be, 0: #GP(0). */
static uint64_t popped(const struct x86_state *s, uint32_t image, bool wide, bool iret)
{
    uint64_t may = X86_ARITH_FLAGS | X86_TF | X86_DF | X86_NT;

    if (is_virtual(s)) {
        bool enables = (image & X86_IF) && (s->rflags & X86_VIP);
        if (wide || !(s->cr4 & CR4_VME) || pending(s) || enables || (image & X86_TF))
            return 0;
        image = (image & ~X86_VIF) | (image & X86_IF ? X86_VIF : 0);
        may |= X86_VIF;
    } else {
        may |= X86_IF | (wide ? X86_AC | X86_ID | (iret ? X86_RF : 0) : 0);
    }
    return (s->rflags & ~may) | (image & may);
}

static void check_popped(struct harness *h, const struct x86_state *s, uint32_t image, bool wide, bool iret)
{
    static const char *const code[] = {"\x9d", "\x66\x9d", "\xcf", "\x66\xcf"};
    unsigned which = iret * 2 + wide, size = wide ? 4 : 2, at = (V_SS << 4) + SP;
    uint64_t want = popped(s, image, wide, iret);

    memset(h->ram + at, 0, 12);
    if (iret) {
        h->ram[at] = 7;
        h->ram[at + size + 1] = 0x30; /* 3000:0007 */
        at += size * 2;
    }
    memcpy(h->ram + at, &image, size);
    int got = step(h, s, code[which], strlen(code[which]));
    const struct cpu *c = h_cpu(h);
    if (got != (want ? -1 : X86_GP) || c->rflags != (want ? want : s->rflags))
        fail_msg("%s%s of %#x, flags %#llx, cr4 %#llx: vector %d, flags %#llx, expected %#llx",
                 wide ? "wide " : "", iret ? "iret" : "popf", image, (unsigned long long)s->rflags,
                 (unsigned long long)s->cr4, got, (unsigned long long)c->rflags, (unsigned long long)want);
    assert_int_equal(c->gpr[X86_RSP], SP + (want ? size * (iret ? 3 : 1) : 0));
    assert_int_equal(c->seg[X86_CS].sel, want && iret ? 0x3000 : V_CS);
    if (!want)
        assert_int_equal(c->fault_error, 0);
    else if (iret)
        assert_true(c->next_rip == 7 && c->seg[X86_CS].base == 0x30000);
}

static void every_image(bool iret)
{
    static const uint32_t images[] = {2,
                                      2 | X86_IF,
                                      2 | X86_TF,
                                      2 | X86_IF | X86_TF,
                                      2 | X86_IOPL | X86_NT | X86_DF | X86_OF | X86_CF,
                                      2 | X86_IOPL | X86_IF | X86_ZF,
                                      2 | X86_VIF | X86_VIP | X86_AC | X86_ID | X86_IF,
                                      2 | X86_RF | X86_SF};
    struct harness *h = h_new(1);

    for (unsigned i = 0; i < 1 << 6; i++)
        for (unsigned k = 0; k < sizeof(images) / sizeof(images[0]); k++) {
            uint64_t flags =
                (i & 1 ? X86_IF : 0) | (i & 2 ? X86_VIF : 0) | (i & 4 ? X86_VIP : 0) | (i >> 3 & 3) << 12;
            struct x86_state s = v8086(h, flags, i & 32 ? CR4_VME : 0);
            check_popped(h, &s, images[k], false, iret);
            check_popped(h, &s, images[k], true, iret);
        }
    h_free(h);
}

static void popf_in_v8086_mode_sets_vif_for_if(void **state)
{
    (void)state;
    every_image(false);
}

static void iret_in_v8086_mode_sets_vif_for_if(void **state)
{
    (void)state;
    every_image(true);
}

/* PVI is about CLI and STI only: a program's other instructions go on as without it. */
static void popf_and_pushf_of_programs_know_no_virtual_flag(void **state)
{
    (void)state;
    struct harness *h = h_new(1);

    for (unsigned bits = 32; bits <= 64; bits += 32) {
        struct x86_state s = program(h, bits, 3, X86_VIP | X86_IF, CR4_PVI | CR4_VME);
        h_put64(h, 0x80000, X86_VIF | X86_CF | 2);
        assert_int_equal(step(h, &s, "\x9d", 1), -1);
        assert_true(h_cpu(h)->rflags == (2 | X86_VIP | X86_IF | X86_CF));
        assert_int_equal(step(h, &s, "\x9c", 1), -1);
        assert_int_equal(h_get32(h, 0x80000 - bits / 8), 2 | X86_VIP | X86_IF);
    }
    h_free(h);
}

/* ---- CR4 ---- */

static void cr4_has_the_bits_and_state_keeps_them_and_the_flags(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 0), back;

    s.gpr[X86_RAX] = s.cr4 | CR4_VME | CR4_PVI;
    assert_int_equal(step(h, &s, "\x0f\x22\xe0", 3), -1); /* mov %eax,%cr4 */
    engine_get(h->en, 0, &back);
    assert_true(back.cr4 == s.gpr[X86_RAX]);
    s = v8086(h, X86_VIF | X86_VIP, CR4_VME | CR4_PVI);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    engine_get(h->en, 0, &back);
    assert_true(back.rflags == s.rflags && back.cr4 == s.cr4);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cli_and_sti_in_v8086_mode_follow_the_tables),
        cmocka_unit_test(cli_and_sti_of_32_bit_programs_follow_the_tables),
        cmocka_unit_test(cli_and_sti_of_64_bit_programs_follow_the_tables),
        cmocka_unit_test(cli_and_sti_in_real_mode_are_about_if),
        cmocka_unit_test(a_64_bit_program_has_its_virtual_flag),
        cmocka_unit_test(the_run_loop_keeps_if_from_cpl_1_and_2),
        cmocka_unit_test(pushf_in_v8086_mode_shows_vif_as_if),
        cmocka_unit_test(popf_in_v8086_mode_sets_vif_for_if),
        cmocka_unit_test(iret_in_v8086_mode_sets_vif_for_if),
        cmocka_unit_test(popf_and_pushf_of_programs_know_no_virtual_flag),
        cmocka_unit_test(cr4_has_the_bits_and_state_keeps_them_and_the_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
