/* Software interrupts and pending ones in v8086 mode with CR4.VME, and the latter in programs with CR4.PVI
 * (SDM 3A 20.3.2, 20.3.3, 20.4). */
#include "vme.h"

/* ---- INT n ---- */

enum way { TO_GP = 1, TO_KERNEL, TO_PROGRAM };

/* SDM 3A table 20-2, methods 1 to 6 */
static const struct method {
    int vme, iopl3, bit;
    enum way way;
} methods[] = {{0, 1, ANY, TO_KERNEL}, {0, 0, ANY, TO_GP},    {1, 0, 1, TO_GP},
               {1, 1, 1, TO_KERNEL},   {1, 1, 0, TO_PROGRAM}, {1, 0, 0, TO_PROGRAM}};

static enum way way_of(bool vme, bool iopl3, bool bit)
{
    for (unsigned i = 0; i < 6; i++)
        if (fits(methods[i].vme, vme) && fits(methods[i].iopl3, iopl3) && fits(methods[i].bit, bit))
            return methods[i].way;
    fail_msg("no method");
    return TO_GP;
}

/* `n` as the operand of INT; the redirection bits of all others are the opposite of `bit`. */
static unsigned int_n(struct harness *h, struct x86_state *s, uint8_t n, bool bit)
{
    memset(h->ram + T_TSS + MAP - 32, bit ? 0 : 0xff, 32);
    h->ram[T_TSS + MAP - 32 + n / 8] ^= (uint8_t)(1u << (n & 7));
    h->ram[T_CODE] = 0xcd;
    h->ram[T_CODE + 1] = n;
    return t_run(h, s) & 0xff;
}

static void check_program_frame(struct harness *h, const struct x86_state *s)
{
    const struct cpu *c = h_cpu(h);
    uint32_t at = (V_SS << 4) + SP - 6;
    uint64_t flags = s->rflags, after = flags & ~(uint64_t)X86_TF;

    if (is_virtual(s)) {
        flags = (flags & ~(uint64_t)X86_IF) | X86_IOPL | (flags & X86_VIF ? X86_IF : 0);
        after &= ~(uint64_t)X86_VIF;
    } else {
        after &= ~(uint64_t)X86_IF;
    }
    assert_int_equal(c->gpr[X86_RSP], SP - 6);
    assert_int_equal(h_get32(h, at), V_CS << 16 | 2);
    assert_int_equal(h_get32(h, at + 4) & 0xffff, flags & 0xffff);
    assert_true(c->rflags == after);
    assert_true(c->seg[X86_CS].sel == HANDLER >> 4 && c->seg[X86_CS].base == HANDLER && c->cpl == 3);
}

static void int_n_in_v8086_mode_goes_by_the_six_methods(void **state)
{
    static const uint8_t operands[] = {0, 3, 0x21, 0x40, 0xff};

    (void)state;
    for (unsigned i = 0; i < 1 << 7; i++)
        for (unsigned k = 0; k < sizeof(operands); k++) {
            struct harness *h = h_new(1);
            uint64_t flags = (i & 1 ? X86_IF : 0) | (i & 2 ? X86_VIF : 0) | (i & 4 ? X86_VIP : 0) |
                             (i >> 3 & 3) << 12 | X86_CF | X86_NT;
            struct x86_state s = v8086(h, flags, i & 32 ? CR4_VME : 0);
            enum way way = pending(&s) ? TO_GP : way_of(i & 32, (i >> 3 & 3) == 3, i & 64);
            unsigned got = int_n(h, &s, operands[k], i & 64);
            unsigned want = way == TO_GP ? X86_GP : way == TO_KERNEL ? operands[k] : HERE;
            if (got != want)
                fail_msg("int %#x, flags %#llx, case %#x: %#x", operands[k], (unsigned long long)s.rflags, i,
                         got);
            uint64_t sp = h_cpu(h)->gpr[X86_RSP];
            if (way == TO_GP) {
                assert_int_equal(h_get32(h, sp), 0);
                assert_int_equal(h_get32(h, sp + 4), 0); /* INT itself */
            } else if (way == TO_KERNEL) {
                assert_int_equal(h_get32(h, sp), 2);
                assert_int_equal(h_get32(h, sp + 8), s.rflags);
            } else {
                check_program_frame(h, &s);
            }
            h_free(h);
        }
}

/* Only INT n is: INT3, INTO, exceptions and interrupts go to protected mode, whatever the bits and IOPL. */
static void nothing_else_is_redirected(void **state)
{
    static const struct {
        const char *code;
        uint8_t vector;
    } cases[] = {{"\xcc", X86_BP}, {"\xce", X86_OFV}, {"\x0f\x0b", X86_UD}, {"\x90", 0x40}};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct harness *h = h_new(1);
        struct x86_state s = v8086(h, X86_OF | X86_VIF, CR4_VME);
        memset(h->ram + T_TSS + MAP - 32, 0, 32);
        memcpy(h->ram + T_CODE, cases[i].code, strlen(cases[i].code));
        s.events.int_injected = cases[i].vector == 0x40;
        s.events.int_vector = 0x40;
        assert_int_equal(t_run(h, &s) & 0xff, cases[i].vector);
        /* the flags as they are: IF and IOPL are shown as others to programs only */
        uint32_t flags = h_get32(h, h_cpu(h)->gpr[X86_RSP] + 8);
        assert_int_equal(flags & ~X86_RF, s.rflags);
        h_free(h);
    }
}

static void a_redirection_map_that_is_not_there_is_gp(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        struct harness *h = h_new(1);
        struct x86_state s = v8086(h, X86_IOPL, CR4_VME);
        unsigned n = 0x21;
        if (i == 0)
            s.tr.limit = 0x66; /* no room for the map's address */
        else if (i == 1)
            s.tr.limit = MAP - 32 + n / 8 - 1;
        else if (i == 2)
            h_put32(h, T_TSS + 0x64, 16u << 16); /* before the TSS begins */
        else if (i == 3)
            s.tr.attr &= ~8u; /* a 16-bit TSS */
        else
            s.tr.limit = MAP - 32 + n / 8; /* just enough, but none for ports */
        if (i == 3)
            h_put32(h, T_TSS + 2, S_DATA0 << 16 | 0xf000);
        memset(h->ram + T_TSS + MAP - 32, 0, 32);
        h->ram[T_CODE] = 0xcd;
        h->ram[T_CODE + 1] = (uint8_t)n;
        assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
        /* the instruction that faults: INT, in the last case the handler's OUT */
        uint64_t sp = h_cpu(h)->gpr[X86_RSP];
        assert_int_equal(h_get32(h, sp + 8), i == 4 ? HANDLER >> 4 : V_CS);
        h_free(h);
    }
}

static void a_redirected_int_n_that_faults_changes_nothing(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = v8086(h, X86_VIF, CR4_VME);

    s.gpr[X86_RSP] = 3; /* flags fit, CS lies across the end of the segment */
    assert_int_equal(int_n(h, &s, 0x21, false), X86_SS_VEC);
    uint64_t sp = h_cpu(h)->gpr[X86_RSP];
    assert_int_equal(h_get32(h, sp), 0);
    assert_int_equal(h_get32(h, sp + 4), 0);
    assert_int_equal(h_get32(h, sp + 8), V_CS);
    assert_int_equal(h_get32(h, sp + 12), s.rflags | X86_RF);
    assert_int_equal(h_get32(h, sp + 16), 3);
    h_free(h);
}

GUEST(v8086_program, ".code16\n sti\n int $0x21\n pushf\n pop %bx\n cli\n pushf\n pop %cx\n hlt\n"
                     ".org v8086_program + 0x100\n pushf\n pop %dx\n iret");

/* A program that thinks that it has interrupts: on in the caller, off in the handler, on again behind IRET.
 */
static void a_v8086_program_keeps_its_own_flag(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = v8086(h, X86_IF, CR4_VME), now;

    h_code(h, T_CODE, v8086_program);
    memset(h->ram + T_TSS + MAP - 32, 0, 32);
    h_put32(h, 0x21 * 4, V_CS << 16 | 0x100);
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP); /* HLT */
    engine_get(h->en, 0, &now);
    assert_int_equal(now.gpr[X86_RBX] & X86_IF, X86_IF);
    assert_int_equal(now.gpr[X86_RDX] & (X86_IF | X86_IOPL), X86_IOPL);
    assert_int_equal(now.gpr[X86_RCX] & X86_IF, 0);
    assert_int_equal(h_get32(h, now.gpr[X86_RSP] + 12), s.rflags | X86_RF);
    h_free(h);
}

/* ---- pending interrupts ---- */

/* The ways to a program whose flags are both set: the fault is at its first instruction, whatever that is,
 * and finds the flags as they came. */
static void check_first_instruction(struct harness *h, const struct x86_state *s, uint32_t ip, uint16_t cs,
                                    uint32_t flags)
{
    assert_int_equal(t_run(h, s) & 0xff, X86_GP);
    uint64_t sp = h_cpu(h)->gpr[X86_RSP];
    assert_int_equal(h_get32(h, sp), 0);
    assert_int_equal(h_get32(h, sp + 4), ip);
    assert_int_equal(h_get32(h, sp + 8), cs);
    assert_int_equal(h_get32(h, sp + 12), flags | X86_RF);
}

static void a_pending_interrupt_is_found_behind_iret(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 0);
    const uint32_t flags = 2 | X86_VIF | X86_VIP;
    uint32_t to_v8086[] = {0, HANDLER >> 4, flags | X86_VM, SP, V_SS, 0, 0, 0, 0};
    uint32_t to_program[] = {HANDLER, S_CODE3 | 3, flags, 0x60000, S_DATA3 | 3};

    vme_tss(h, &s);
    T_PUT(h, T_CODE, "\xcf");
    s.gpr[X86_RSP] = 0x7fe00;
    s.cr4 |= CR4_VME;
    memcpy(h->ram + 0x7fe00, to_v8086, sizeof(to_v8086));
    check_first_instruction(h, &s, 0, HANDLER >> 4, flags | X86_VM);
    s.cr4 ^= CR4_VME | CR4_PVI;
    memcpy(h->ram + 0x7fe00, to_program, sizeof(to_program));
    check_first_instruction(h, &s, HANDLER, S_CODE3 | 3, flags);
    s.cr4 &= ~(uint64_t)CR4_PVI; /* then they are flags like others */
    assert_int_equal(t_run(h, &s), HERE);
    h_free(h);
}

static void a_pending_interrupt_is_found_behind_a_task_switch(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 0);
    const uint32_t flags = 2 | X86_VIF | X86_VIP | X86_VM;

    memcpy(h->ram + T_TSS2, h->ram + T_TSS, 0x68);
    h_put32(h, T_TSS2 + 0x24, flags);
    h_put32(h, T_TSS2 + 0x38, SP);
    h_put32(h, T_TSS2 + 0x4c, HANDLER >> 4);
    h_put32(h, T_TSS2 + 0x50, V_SS);
    T_PUT(h, T_CODE, "\xea\x00\x00\x00\x00\x40\x00"); /* ljmp $0x40,$0 */
    s.cr4 |= CR4_VME;
    check_first_instruction(h, &s, 0, HANDLER >> 4, flags);
    h_free(h);
}

static void a_pending_interrupt_is_found_behind_a_64_bit_iret(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = program(h, 64, 0, 0, CR4_PVI);
    uint64_t frame[] = {HANDLER, S_CODE3 | 3, 2 | X86_VIF | X86_VIP, 0x60000, S_DATA3 | 3};

    T_PUT(h, T_CODE, "\x48\xcf");
    T_PUT(h, HANDLER, "\x90\x0f\x0b");
    memcpy(h->ram + 0x7fe00, frame, sizeof(frame));
    s.gpr[X86_RSP] = 0x7fe00;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
        uint64_t sp = h_cpu(h)->gpr[X86_RSP];
        assert_true(h_get64(h, sp) == 0 && h_get64(h, sp + 8) == HANDLER);
        assert_true(h_get64(h, sp + 24) == (frame[2] | X86_RF));
    }
    s.cr4 &= ~(uint64_t)CR4_PVI;
    assert_int_equal(t_run(h, &s) & 0xff, X86_UD);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(int_n_in_v8086_mode_goes_by_the_six_methods),
        cmocka_unit_test(nothing_else_is_redirected),
        cmocka_unit_test(a_redirection_map_that_is_not_there_is_gp),
        cmocka_unit_test(a_redirected_int_n_that_faults_changes_nothing),
        cmocka_unit_test(a_v8086_program_keeps_its_own_flag),
        cmocka_unit_test(a_pending_interrupt_is_found_behind_iret),
        cmocka_unit_test(a_pending_interrupt_is_found_behind_a_task_switch),
        cmocka_unit_test(a_pending_interrupt_is_found_behind_a_64_bit_iret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
