/*
 * Steal time, as a guest sees it (Documentation/virt/kvm/x86/msr.rst): a record of 64 bytes: steal, version,
 * flags, preempted.
 */
#include "harness.h"

enum { RECORD = 0x30000, HANDLER = 0x11000, FAULT = 0x77 };

static uint64_t stolen; /* grows by one second each time the engine asks */

static uint64_t ask(void *o, unsigned cpu)
{
    (void)o, (void)cpu;
    return stolen += 1000000000;
}

/* Until the record has changed twice; the version is even when it may be read. */
GUEST(until_stolen,
      "mov $0x4b564d03, %ecx\n mov $0x30001, %eax\n xor %edx, %edx\n wrmsr\n mov $0x30000, %ebx\n"
      "mov (%rbx), %rsi\n mov $2, %edi\n 1: mov 8(%rbx), %eax\n mov (%rbx), %rdx\n test $1, %al\n jnz 1b\n"
      "cmp 8(%rbx), %eax\n jne 1b\n cmp %rdx, %rsi\n je 1b\n mov %rdx, %rsi\n dec %edi\n jnz 1b\n"
      "rdmsr\n out %eax, $0xf4\n 2: jmp 2b");

static void the_record_grows_by_what_the_host_says(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);
    const uint64_t was = 5000000000;

    stolen = 700;
    h->en->out.stolen_ns = ask;
    memset(h->ram + RECORD, 0xa5, 64);
    h_put64(h, RECORD, was); /* as in a machine that was loaded */
    h_code(h, 0x10000, until_stolen);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, RECORD | 1);
    uint64_t grown = h_get64(h, RECORD) - was;
    assert_true(grown >= 2000000000 && grown % 1000000000 == 0 && grown < stolen - 700);
    uint32_t version;
    memcpy(&version, h->ram + RECORD + 8, 4);
    assert_true(version % 2 == 0 && version != 0xa5a5a5a5);
    for (unsigned i = 12; i < 64; i++)
        assert_int_equal(h->ram[RECORD + i], 0xa5);

    /* the register is state; where a loaded machine goes on, less may have been stolen so far */
    engine_get(h->en, 0, &s);
    assert_true(x86_state_msr(&s, MSR_KVM_STEAL_TIME, 0) == (RECORD | 1));
    uint64_t before = h_get64(h, RECORD);
    stolen = 0;
    s.rip = 0x10000;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    grown = h_get64(h, RECORD) - before;
    assert_true(grown >= 2000000000 && grown < stolen);
    h_free(h);
}

/* Nothing is written where it is off: the guest runs for 50 ms of its clock. */
GUEST(while_off,
      "mov $0x4b564d03, %ecx\n mov $0x30000, %eax\n xor %edx, %edx\n wrmsr\n rdtsc\n shl $32, %rdx\n"
      "lea 50000000(%rax,%rdx), %rsi\n 1: rdtsc\n shl $32, %rdx\n or %rdx, %rax\n cmp %rsi, %rax\n jb 1b\n"
      "out %eax, $0xf4\n 2: jmp 2b");

static void nothing_is_written_while_it_is_off(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    h->en->out.stolen_ns = ask;
    h_code(h, 0x10000, while_off);
    memset(h->ram + RECORD, 0xa5, 64);
    stolen = 0;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_true(stolen == 0);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(h->ram[RECORD + i], 0xa5);
    h_free(h);
}

GUEST(reserved,
      "mov $0x4b564d03, %ecx\n xor %edx, %edx\n wrmsr\n mov $1, %eax\n out %eax, $0xf4\n 2: jmp 2b");
GUEST(reserved_handler, "mov $0x77, %eax\n out %eax, $0xf4\n 2: jmp 2b");

static void bits_1_to_5_are_reserved(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 7; bit++) {
        struct harness *h = h_new(1);
        struct x86_state s = h_long_mode(h, 0x10000, 0);
        uint64_t gate = 0x7000 + X86_GP * 16;

        h_put64(h, 0x6008, 0x00af9b000000ffff);
        h_put64(h, 0x6010, 0x00cf93000000ffff);
        s.gdtr.base = 0x6000;
        s.gdtr.limit = 0x17;
        s.idtr.base = 0x7000;
        s.idtr.limit = 0xfff;
        h_put64(h, gate, (HANDLER & 0xffff) | 8ull << 16 | 0x8eull << 40 | (uint64_t)(HANDLER >> 16) << 48);
        h_put64(h, gate + 8, 0);
        h_code(h, 0x10000, reserved);
        h_code(h, HANDLER, reserved_handler);
        s.gpr[X86_RAX] = RECORD | 1 | 1u << bit;
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        assert_int_equal(h_run(h), ENGINE_KICKED);
        assert_int_equal(h->exit_value, bit == 0 || bit == 6 ? 1 : FAULT);
        h_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_record_grows_by_what_the_host_says),
        cmocka_unit_test(nothing_is_written_while_it_is_off),
        cmocka_unit_test(bits_1_to_5_are_reserved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
