/* What AMD's processors have and Intel's do not: SYSCALL and SYSRET outside of 64-bit mode (APM 3). */
#define H_MODEL "default,vendor=AuthenticAMD"
#include "system.h"

#define STAR ((uint64_t)(S_CODE3 | 3) << 48 | (uint64_t)S_CODE0 << 32 | T_USER)

enum { CSTAR = 0x13000 };

static struct x86_state with_star(struct x86_state s)
{
    s.efer |= EFER_SCE;
    assert_int_equal(x86_state_msr_set(&s, MSR_STAR, STAR), 0);
    assert_int_equal(x86_state_msr_set(&s, MSR_CSTAR, CSTAR), 0);
    assert_int_equal(x86_state_msr_set(&s, MSR_SYSCALL_MASK, X86_TF | X86_DF), 0);
    s.gpr[X86_R11] = 0x1234;
    s.rflags |= X86_IF | X86_DF;
    return s;
}

static void compatibility_mode_enters_at_cstar_in_64_bit_mode(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = with_star(t_long(h, 3));
    struct cpu *c = h_cpu(h);

    (void)state;
    T_PUT(h, T_CODE, "\x0f\x05");
    s.seg[X86_CS] = h_flat(S_OTHER | 3, true, 3, false);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    assert_true(c->rip == CSTAR && c->mode == MODE_64 && c->cpl == 0);
    assert_true(c->gpr[X86_RCX] == T_CODE + 2 && c->gpr[X86_R11] == (s.rflags));
    assert_int_equal(c->rflags & (X86_IF | X86_DF), X86_IF); /* by the mask */
    assert_int_equal(c->seg[X86_CS].sel, S_CODE0);
    h_free(h);
}

/* There is neither CSTAR nor a mask: STAR has the address, and IF is cleared. */
static void protected_mode_enters_at_the_address_in_star(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = with_star(t_protected(h, 3));
    struct cpu *c = h_cpu(h);

    (void)state;
    T_PUT(h, T_CODE, "\x0f\x05");
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    assert_true(c->rip == T_USER && c->mode == MODE_32 && c->cpl == 0);
    assert_true(c->gpr[X86_RCX] == T_CODE + 2 && c->gpr[X86_R11] == 0x1234);
    assert_int_equal(c->rflags & (X86_IF | X86_DF), X86_DF);
    assert_int_equal(c->seg[X86_CS].sel, S_CODE0);
    assert_int_equal(c->seg[X86_SS].sel, S_DATA0);
    assert_int_equal(X86_SEG_DPL(c->seg[X86_SS].attr), 0);
    h_free(h);
}

static void sysret_returns_to_user_mode_with_interrupts_on(void **state)
{
    struct harness *h = h_new(1);
    struct cpu *c = h_cpu(h);

    (void)state;
    for (unsigned compatible = 0; compatible < 2; compatible++) {
        struct x86_state s = with_star(compatible ? t_long(h, 0) : t_protected(h, 0));
        T_PUT(h, T_CODE, "\x0f\x07");
        if (compatible)
            s.seg[X86_CS] = h_flat(S_OTHER, true, 0, false);
        s.rflags &= ~(uint64_t)X86_IF;
        s.gpr[X86_RCX] = 0xffffffff00012345;
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        assert_int_equal(h_step(h), 0);
        assert_true(c->rip == 0x12345 && c->mode == MODE_32 && c->cpl == 3);
        assert_int_equal(c->rflags & (X86_IF | X86_DF), X86_IF | X86_DF); /* of R11 nothing */
        assert_int_equal(c->seg[X86_CS].sel, S_CODE3 | 3);
        assert_int_equal(c->seg[X86_SS].sel, S_DATA3 | 3);
    }
    h_free(h);
}

static void sysret_is_for_the_kernel_and_both_for_whom_efer_lets(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = with_star(t_protected(h, 3));

    (void)state;
    T_PUT(h, T_CODE, "\x0f\x07\x0f\x05");
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_int_equal(h_cpu(h)->fault_vector, X86_GP);
    s.efer &= ~(uint64_t)EFER_SCE;
    for (unsigned i = 0; i < 2; i++) {
        s.rip = T_CODE + 2 * i;
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        assert_int_equal(h_step(h), LEAVE_FAULT);
        assert_int_equal(h_cpu(h)->fault_vector, X86_UD);
    }
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compatibility_mode_enters_at_cstar_in_64_bit_mode),
        cmocka_unit_test(protected_mode_enters_at_the_address_in_star),
        cmocka_unit_test(sysret_returns_to_user_mode_with_interrupts_on),
        cmocka_unit_test(sysret_is_for_the_kernel_and_both_for_whom_efer_lets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
