#include "harness.h"

GUEST(count_loop, "mov $1000, %ecx\n xor %eax, %eax\n 1: add $3, %eax\n dec %ecx\n jnz 1b\n out %eax, $0xf4\n 2: jmp 2b");

static void a_loop_runs_and_a_port_write_kicks(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);
    h_code(h, 0x10000, count_loop);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 3000);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.gpr[X86_RAX], 3000);
    assert_int_equal(s.gpr[X86_RCX], 0);
    h_free(h);
}

GUEST(timer_code,
      "mov $0xfee000f0, %ebx\n movl $0x1ff, (%rbx)\n"            /* enable */
      "mov $0xfee00320, %ebx\n movl $0x40, (%rbx)\n"             /* one-shot, vector 0x40 */
      "mov $0xfee003e0, %ebx\n movl $0xb, (%rbx)\n"              /* divide by 1 */
      "mov $0xfee00380, %ebx\n movl $100000, (%rbx)\n"           /* 100 us */
      "sti\n 1: hlt\n jmp 1b");
GUEST(timer_handler, "mov $0x77, %eax\n out %eax, $0xf4\n iretq");

static void set_idt64(struct harness *h, uint64_t idt, unsigned vector, uint64_t handler, uint16_t cs, unsigned type)
{
    h_put64(h, idt + vector * 16, (handler & 0xffff) | (uint64_t)cs << 16 | (uint64_t)(0x80 | type) << 40 | (handler >> 16 & 0xffff) << 48);
    h_put64(h, idt + vector * 16 + 8, handler >> 32);
}

static void hlt_sleeps_until_the_apic_timer_fires(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);
    /* the APIC page lies above the first GiB: map 0xfee00000 by a 2 MiB page */
    h_put64(h, H_TABLES + 0x1000 + 3 * 8, (H_TABLES + 0x3000) | 7);
    h_put64(h, H_TABLES + 0x3000 + ((0xfee00000u >> 21) & 511) * 8, 0xfee000e7);
    h_put64(h, 0x6008, 0x00af9b000000ffff); /* GDT: 64-bit code */
    h_put64(h, 0x6010, 0x00cf93000000ffff);
    s.gdtr.base = 0x6000;
    s.gdtr.limit = 0x17;
    s.idtr.base = 0x7000;
    s.idtr.limit = 0xfff;
    set_idt64(h, 0x7000, 0x40, 0x11000, 8, 0xe);
    h_code(h, 0x10000, timer_code);
    h_code(h, 0x11000, timer_handler);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 0x77);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_runs_and_a_port_write_kicks),
        cmocka_unit_test(hlt_sleeps_until_the_apic_timer_fires),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
