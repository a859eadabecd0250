#include "harness.h"

/* Corners between instructions: what a handler finds when events, shadows and halts meet. */

enum { CODE = 0x10000, HANDLER = 0x11000, GDT = 0x6000, IDT = 0x7000, TSS = 0x8000 };

GUEST(report_rip, "mov (%rsp), %eax\n out %eax, $0xf4\n 1: jmp 1b");

/* 64-bit code at CODE with a GDT (8, 0x10 for the kernel, 0x1b, 0x23 for the user), a TSS, and every vector
 * up to 0x40 at HANDLER. */
static struct x86_state prepare(struct harness *h)
{
    struct x86_state s = h_long_mode(h, CODE, 0);

    h_put64(h, GDT + 0x08, 0x00af9b000000ffff);
    h_put64(h, GDT + 0x10, 0x00cf93000000ffff);
    h_put64(h, GDT + 0x18, 0x00cff3000000ffff);
    h_put64(h, GDT + 0x20, 0x00affb000000ffff);
    s.gdtr.base = GDT;
    s.gdtr.limit = 0x27;
    s.idtr.base = IDT;
    s.idtr.limit = 0xfff;
    for (unsigned v = 0; v <= 0x40; v++) {
        h_put64(h, IDT + v * 16,
                (HANDLER & 0xffff) | 8u << 16 | 0x8eull << 40 | (uint64_t)(HANDLER >> 16) << 48);
        h_put64(h, IDT + v * 16 + 8, 0);
    }
    s.tr = (struct x86_seg){.sel = 0x28, .base = TSS, .limit = 0x67, .attr = X86_SEG_P | 0xb};
    h_put64(h, TSS + 4, 0x70000);
    h_code(h, HANDLER, report_rip);
    return s;
}

static uint32_t run(struct harness *h, const struct x86_state *s)
{
    assert_int_equal(engine_set(h->en, 0, s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    return h->exit_value;
}

GUEST(user_gs, "mov $7, %eax\n out %eax, $0xf4\n 1: jmp 1b");
GUEST(to_user, "mov $0xc0000101, %ecx\n mov $0x123000, %eax\n xor %edx, %edx\n"
               "mov $0x10, %ebx\n mov %ebx, %gs\n wrmsr\n"
               "push $0x1b\n push $0x60000\n push $0x3002\n push $0x23\n push $0x12000\n iretq");

static void iret_to_the_user_drops_the_kernels_gs_but_keeps_its_base(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h);

    (void)state;
    h_code(h, CODE, to_user);
    h_code(h, 0x12000, user_gs);
    assert_int_equal(run(h, &s), 7);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.seg[X86_GS].sel, 0);
    assert_int_equal(s.seg[X86_GS].base, 0x123000);
    h_free(h);
}

GUEST(break_after_mov_ss,
      "mov %ss, %ecx\n mov %ecx, %ss\n nop\n nop\n mov $9, %eax\n out %eax, $0xf4\n 1: jmp 1b");

static void a_breakpoint_right_behind_mov_ss_does_not_strike(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h);

    (void)state;
    h_code(h, CODE, break_after_mov_ss);
    s.dr7 = 0x402;
    s.dr[0] = CODE + 4; /* the first NOP */
    assert_int_equal(run(h, &s), 9);
    s.rip = CODE;
    s.dr[0] = CODE + 5; /* the second */
    assert_int_equal(run(h, &s), CODE + 5);
    h_free(h);
}

GUEST(int_after_mov_ss, "mov $0x60000, %ecx\n mov (%rcx), %ss\n int $0x30\n 1: jmp 1b");

static void a_watchpoint_held_off_by_mov_ss_strikes_at_the_handler_of_int_n(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h);

    (void)state;
    h_code(h, CODE, int_after_mov_ss);
    h_put64(h, 0x60000, 0x10);
    s.dr7 = 0x30402; /* one byte, read or written */
    s.dr[0] = 0x60000;
    assert_int_equal(run(h, &s), HANDLER); /* the #DB handler returns to the first instruction of the other */
    h_free(h);
}

GUEST(sti_hlt, "sti\n hlt\n 1: jmp 1b");

static void an_nmi_waits_for_the_instruction_behind_sti(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h);

    (void)state;
    h_code(h, CODE, sti_hlt);
    s.rip = CODE + 1; /* STI was the last one */
    s.rflags = 0x202;
    s.events.shadow = 1;
    s.events.nmi_pending = true;
    assert_int_equal(run(h, &s), CODE + 2);
    h_free(h);
}

static void a_single_stepped_hlt_does_not_sleep(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h);

    (void)state;
    h_code(h, CODE, sti_hlt);
    s.rip = CODE + 1;
    s.rflags = 0x102; /* TF */
    assert_int_equal(run(h, &s), CODE + 2);
    h_free(h);
}

GUEST(bank_control, "mov $0x400, %ecx\n xor %edx, %edx\n xor %eax, %eax\n wrmsr\n not %eax\n not %edx\n "
                    "wrmsr\n mov $1, %eax\n wrmsr\n");

static void machine_check_banks_refuse_what_is_neither_all_nor_nothing(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = prepare(h);
    uint64_t v = 0;

    (void)state;
    h_code(h, HANDLER, user_gs);
    h_code(h, CODE, bank_control);
    assert_int_equal(run(h, &s), 7);
    assert_true(msr_read(h_cpu(h), 0x400, &v));
    assert_true(v == ~0ull);
    assert_false(msr_write(h_cpu(h), 0x401, 1, false));
    assert_true(msr_write(h_cpu(h), 0x401, 0, false));
    assert_true(msr_write(h_cpu(h), 0x402, 0x1234567890abcdef, false));
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(iret_to_the_user_drops_the_kernels_gs_but_keeps_its_base),
        cmocka_unit_test(a_breakpoint_right_behind_mov_ss_does_not_strike),
        cmocka_unit_test(a_watchpoint_held_off_by_mov_ss_strikes_at_the_handler_of_int_n),
        cmocka_unit_test(an_nmi_waits_for_the_instruction_behind_sti),
        cmocka_unit_test(a_single_stepped_hlt_does_not_sleep),
        cmocka_unit_test(machine_check_banks_refuse_what_is_neither_all_nor_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
