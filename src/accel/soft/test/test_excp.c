/* Exceptions and interrupts on their way through the tables to their handlers (SDM 3A 6.11 to 6.15, 20.1.4).
 */
#include "system.h"

/* ---- 64-bit mode ---- */

static void a_user_page_fault_pushes_its_frame_on_the_tss_stack(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 3);

    T_PUT(h, T_CODE, "\x90\x88\x03"); /* nop; mov %al,(%rbx) */
    s.gpr[X86_RBX] = 0x7f0000000000;
    assert_int_equal(t_run(h, &s) & 0xff, X86_PF_VEC);
    engine_get(h->en, 0, &s);
    assert_true(s.cr2 == 0x7f0000000000);
    assert_int_equal(s.gpr[X86_RSP], T_STACK0 - 48);
    assert_int_equal(t_stack64(h, 0), PF_W | PF_U);
    assert_int_equal(t_stack64(h, 1), T_CODE + 1);
    assert_int_equal(t_stack64(h, 2), S_CODE3 | 3);
    assert_int_equal(t_stack64(h, 3), 2 | X86_RF);
    assert_int_equal(t_stack64(h, 4), 0x80000);
    assert_int_equal(t_stack64(h, 5), S_DATA3 | 3);
    assert_int_equal(s.seg[X86_CS].sel, S_CODE0);
    assert_int_equal(s.seg[X86_SS].sel, 0);
    h_free(h);
}

static void an_ist_entry_switches_the_stack_at_the_same_privilege(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    t_gate(h, X86_UD, true, S_CODE0, T_TRAPS + X86_UD * 16, 0xe, 0, 1);
    T_PUT(h, T_CODE, "\x0f\x0b");
    s.gpr[X86_RSP] = 0x80008;
    assert_int_equal(t_run(h, &s) & 0xff, X86_UD);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.gpr[X86_RSP], T_IST1 - 40);
    assert_int_equal(t_stack64(h, 3), 0x80008);
    h_free(h);
}

static void int_n_needs_the_gates_privilege(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 3);

    T_PUT(h, T_CODE, "\xcd\x80");
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    assert_int_equal(t_stack64(h, 0), 0x80 * 8 + 2);
    assert_int_equal(t_stack64(h, 1), T_CODE);
    t_gate(h, 0x80, true, S_CODE0, T_TRAPS + 0x80 * 16, 0xf, 3, 0);
    s.rflags |= X86_IF;
    assert_int_equal(t_run(h, &s) & 0xff, 0x80);
    assert_int_equal(t_stack64(h, 0), T_CODE + 2);
    engine_get(h->en, 0, &s);
    assert_true(s.rflags & X86_IF); /* a trap gate leaves it */
    h_free(h);
}

static void errors_in_delivery_carry_the_external_bit(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    h_put64(h, T_IDT + X86_UD * 16, 0); /* no gate: #GP with IDT and EXT set */
    T_PUT(h, T_CODE, "\x0f\x0b");
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    assert_int_equal(t_stack64(h, 0), X86_UD * 8 + 2 + 1);
    h_free(h);
}

static void a_fault_while_delivering_a_contributory_one_is_a_double_fault(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    h_put64(h, T_IDT + X86_GP * 16, 0);
    T_PUT(h, T_CODE, "\x0f\x22\xf8"); /* mov %rax,%cr7: #UD */
    T_PUT(h, T_CODE, "\x0f\x30");     /* wrmsr of an unknown register: #GP */
    s.gpr[X86_RCX] = 0x12345;
    assert_int_equal(t_run(h, &s) & 0xff, X86_DF_VEC);
    assert_int_equal(t_stack64(h, 0), 0);
    assert_int_equal(t_stack64(h, 1), T_CODE);
    h_put64(h, T_IDT + X86_DF_VEC * 16, 0);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_TRIPLE_FAULT);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.rip, T_CODE);
    h_free(h);
}

static void a_page_fault_while_delivering_a_page_fault_is_a_double_fault(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    t_gate(h, X86_DF_VEC, true, S_CODE0, T_TRAPS + X86_DF_VEC * 16, 0xe, 0, 1);
    T_PUT(h, T_CODE, "\x8a\x03");
    s.gpr[X86_RBX] = 0x7f0000000000;
    s.gpr[X86_RSP] = 0x7f0000001000; /* the stack is not mapped */
    assert_int_equal(t_run(h, &s) & 0xff, X86_DF_VEC);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.gpr[X86_RSP], T_IST1 - 48);
    h_free(h);
}

static void a_non_canonical_access_is_gp_or_ss(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\x8a\x03");
    s.gpr[X86_RBX] = 0x800000000000;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    assert_int_equal(t_stack64(h, 0), 0);
    T_PUT(h, T_CODE, "\x8a\x45\x00"); /* mov (%rbp),%al */
    s.gpr[X86_RBP] = 0x800000000000;
    assert_int_equal(t_run(h, &s) & 0xff, X86_SS_VEC);
    h_free(h);
}

/* ---- 32-bit protected mode, real mode ---- */

static void a_32_bit_interrupt_from_user_mode_pushes_the_outer_stack(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 3);

    T_PUT(h, T_CODE, "\xf4");
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    assert_int_equal(t_stack32(h, 0), 0);
    assert_int_equal(t_stack32(h, 1), T_CODE);
    assert_int_equal(t_stack32(h, 2), S_CODE3 | 3);
    assert_int_equal(t_stack32(h, 4), 0x80000);
    assert_int_equal(t_stack32(h, 5), S_DATA3 | 3);
    h_free(h);
}

static void real_mode_interrupts_go_through_the_vector_table(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s;

    engine_get(h->en, 0, &s);
    s.seg[X86_CS].base = 0x10000;
    s.seg[X86_CS].sel = 0x1000;
    s.seg[X86_SS].base = 0x70000;
    s.seg[X86_SS].sel = 0x7000;
    s.rip = 0x100;
    s.gpr[X86_RSP] = 0xfffe;
    s.rflags = 2 | X86_IF | X86_NT;
    T_PUT(h, 0x10100, "\xcd\x21\x90");
    T_PUT(h, 0x12345, "\xe6\xf4\xeb\xfe\xcf");
    h_put32(h, 0x21 * 4, 0x1200 << 16 | 0x0345);
    s.gpr[X86_RAX] = 0x5a;
    assert_int_equal(t_run(h, &s), 0x5a);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.seg[X86_CS].sel, 0x1200);
    assert_int_equal(s.gpr[X86_RSP], 0xfff8);
    assert_int_equal(h_get32(h, 0x7fff8), 0x1000 << 16 | 0x102);
    assert_false(s.rflags & X86_IF);
    assert_true(s.rflags & X86_NT); /* unlike protected mode's */
    h_cpu(h)->rip += 2;
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_cpu(h)->rip, 0x102);
    assert_true(h_cpu(h)->rflags & X86_IF);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_page_fault_pushes_its_frame_on_the_tss_stack),
        cmocka_unit_test(an_ist_entry_switches_the_stack_at_the_same_privilege),
        cmocka_unit_test(int_n_needs_the_gates_privilege),
        cmocka_unit_test(errors_in_delivery_carry_the_external_bit),
        cmocka_unit_test(a_fault_while_delivering_a_contributory_one_is_a_double_fault),
        cmocka_unit_test(a_page_fault_while_delivering_a_page_fault_is_a_double_fault),
        cmocka_unit_test(a_non_canonical_access_is_gp_or_ss),
        cmocka_unit_test(a_32_bit_interrupt_from_user_mode_pushes_the_outer_stack),
        cmocka_unit_test(real_mode_interrupts_go_through_the_vector_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
