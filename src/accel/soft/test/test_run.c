#include <errno.h>
#include <pthread.h>
#include "harness.h"

GUEST(count_loop,
      "mov $1000, %ecx\n xor %eax, %eax\n 1: add $3, %eax\n dec %ecx\n jnz 1b\n out %eax, $0xf4\n 2: jmp 2b");

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

GUEST(timer_code, "mov $0xfee000f0, %ebx\n movl $0x1ff, (%rbx)\n"  /* enable */
                  "mov $0xfee00320, %ebx\n movl $0x40, (%rbx)\n"   /* one-shot, vector 0x40 */
                  "mov $0xfee003e0, %ebx\n movl $0xb, (%rbx)\n"    /* divide by 1 */
                  "mov $0xfee00380, %ebx\n movl $100000, (%rbx)\n" /* 100 us */
                  "sti\n 1: hlt\n jmp 1b");
GUEST(timer_handler, "mov $0x77, %eax\n out %eax, $0xf4\n iretq");

/* A machine whose APIC is mapped and whose handler of vector 0x40 lies at 0x11000. */
static void with_timer(struct harness *h, struct x86_state *s)
{
    /* the APIC page lies above the first GiB: map 0xfee00000 by a 2 MiB page */
    h_put64(h, H_TABLES + 0x1000 + 3 * 8, (H_TABLES + 0x3000) | 7);
    h_put64(h, H_TABLES + 0x3000 + ((0xfee00000u >> 21) & 511) * 8, 0xfee000e7);
    h_put64(h, 0x6008, 0x00af9b000000ffff); /* GDT: 64-bit code */
    h_put64(h, 0x6010, 0x00cf93000000ffff);
    s->gdtr.base = 0x6000;
    s->gdtr.limit = 0x17;
    s->idtr.base = 0x7000;
    s->idtr.limit = 0xfff;
    h_idt64(h, 0x7000, 0x40, 0x11000, 8, 0xe);
    h_code(h, 0x11000, timer_handler);
}

static void hlt_sleeps_until_the_apic_timer_fires(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    with_timer(h, &s);
    h_code(h, 0x10000, timer_code);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 0x77);
    h_free(h);
}

/* The host's timer comes early, as it is asked to: the engine neither fires before its time nor asks again.
 */
static uint64_t due[8];
static unsigned asked;

static void come_early(void *o, unsigned cpu, uint64_t deadline)
{
    struct harness *h = o;

    if (asked < 8)
        due[asked] = deadline;
    asked++;
    while (h_now(h) + ENGINE_TIMER_EARLY * 2 / 3 < deadline)
        ;
    engine_timer(h->en, cpu);
}

/* One millisecond after TSC RSI; and the handler, how much later than that it is. */
GUEST(busy_timer,
      "mov $0xfee000f0, %ebx\n movl $0x1ff, (%rbx)\n mov $0xfee00320, %ebx\n movl $0x40040, (%rbx)\n"
      "mov $0x6e0, %ecx\n rdtsc\n shl $32, %rdx\n or %rdx, %rax\n lea 1000000(%rax), %rsi\n"
      "mov %rsi, %rax\n mov %rsi, %rdx\n shr $32, %rdx\n wrmsr\n sti\n 1: jmp 1b");
GUEST(busy_handler, "rdtsc\n shl $32, %rdx\n or %rdx, %rax\n sub %rsi, %rax\n sets %al\n movzbl %al, %eax\n"
                    "out %eax, $0xf4\n 1: jmp 1b");

static void a_timer_of_the_host_that_is_early_is_waited_for(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    with_timer(h, &s);
    h_code(h, 0x10000, busy_timer);
    h_code(h, 0x11000, busy_handler);
    h->en->out.arm = come_early;
    asked = 0;
    h->exit_value = 77;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 0); /* not before its time */
    unsigned again = 0;
    for (unsigned i = 1; i < asked && i < 8; i++)
        again += due[i] == due[i - 1];
    assert_true(asked >= 1 && again == 0);
    h_free(h);
}

struct other {
    struct harness *h;
    enum engine_exit exit;
};

static void *run_other(void *arg)
{
    struct other *o = arg;
    struct engine_exit_info info;

    o->exit = engine_run(o->h->en, 1, &info);
    return NULL;
}

static void start_other(struct harness *h, struct other *o, pthread_t *t, const struct x86_state *s)
{
    assert_int_equal(engine_set(h->en, 1, s), 0);
    *o = (struct other){.h = h};
    assert_int_equal(pthread_create(t, NULL, run_other, o), 0);
}

/* CPU 1 calls a function in a loop and publishes what it returned; CPU 0 changes its constant from 1 to 200,
 * waiting each time until it is seen. */
GUEST(modified, "1: mov $0x15000, %ebx\n call *%rbx\n mov %eax, 0x600\n xor %eax, %eax\n xor %ecx, %ecx\n "
                "cpuid\n jmp 1b");
GUEST(modifier, "mov $1, %ecx\n 1: mov %ecx, 0x15001\n 2: pause\n cmp %ecx, 0x600\n jne 2b\n inc %ecx\n cmp "
                "$200, %ecx\n jbe 1b\n mov 0x600, %eax\n"
                "out %eax, $0xf4\n 3: jmp 3b");

static void code_modified_by_another_cpu_is_seen_after_a_serializing_instruction(void **state)
{
    (void)state;
    struct harness *h = h_new(2);
    struct x86_state s = h_long_mode(h, 0x10000, 0), t;
    struct other o;
    pthread_t thread;

    h_code(h, 0x10000, modifier);
    h_code(h, 0x11000, modified);
    memcpy(h->ram + 0x15000, "\xb8\x00\x00\x00\x00\xc3", 6);
    t = s;
    t.rip = 0x11000;
    t.gpr[X86_RSP] = 0x90000;
    start_other(h, &o, &thread, &t);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 200);
    engine_kick(h->en, 1);
    pthread_join(thread, NULL);
    h_free(h);
}

/* Both CPUs call a function of several units; CPU 0 changes it each time, so both translate and link it anew,
 * often at once. */
GUEST(linked, "mov $0x15000, %ebx\n mov $60000, %ecx\n test %edi, %edi\n jnz 2f\n "
              "1: incb 0x15006\n call *%rbx\n dec %ecx\n jnz 1b\n mov $9, %eax\n out %eax, $0xf4\n "
              "2: call *%rbx\n jmp 2b");
GUEST(linked_function, "mov $4, %edx\n 1: mov $0, %ah\n dec %edx\n jnz 1b\n ret");

static void cpus_that_link_the_same_jump_at_once_link_it_once(void **state)
{
    (void)state;
    struct harness *h = h_new(2);
    struct x86_state s = h_long_mode(h, 0x10000, 0), t;
    struct other o;
    pthread_t thread;

    h_code(h, 0x10000, linked);
    h_code(h, 0x15000, linked_function);
    t = s;
    t.gpr[X86_RSP] = 0x90000;
    t.gpr[X86_RDI] = 1;
    start_other(h, &o, &thread, &t);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 9);
    engine_kick(h->en, 1);
    pthread_join(thread, NULL);
    h_free(h);
}

/* Both CPUs add to a counter that lies across two pages whose frames are apart. */
GUEST(adder, "mov $3000, %ecx\n mov $0x40000ffc, %ebx\n 1: lock addq $1, (%rbx)\n dec %ecx\n jnz 1b\n lock "
             "incl 0x600\n 2: pause\n cmpl $2, 0x600\n jne 2b\n"
             "cmp $0, %edi\n jne 3f\n mov %edi, %eax\n out %eax, $0xf4\n 3: pause\n jmp 3b");

static void a_locked_add_across_frames_is_atomic(void **state)
{
    (void)state;
    struct harness *h = h_new(2);
    struct x86_state s = h_long_mode(h, 0x10000, 0), t;
    struct other o;
    pthread_t thread;

    h_put64(h, H_TABLES + 0x1000 + 8, 0xa007);
    h_put64(h, 0xa000, 0xb007);
    h_put64(h, 0xb000, 0x300007);
    h_put64(h, 0xb008, 0x500007);
    h_code(h, 0x10000, adder);
    uint32_t low = 0xfffffff0; /* the carry crosses the boundary, too */
    memcpy(h->ram + 0x300ffc, &low, 4);
    s.gpr[X86_RDI] = 0;
    t = s;
    t.gpr[X86_RDI] = 1;
    start_other(h, &o, &thread, &t);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    engine_kick(h->en, 1);
    pthread_join(thread, NULL);
    uint32_t a, b;
    memcpy(&a, h->ram + 0x300ffc, 4);
    memcpy(&b, h->ram + 0x500000, 4);
    assert_true(((uint64_t)b << 32 | a) == 0xfffffff0ull + 6000);
    h_free(h);
}

/* ---- time, sleep, slots ---- */

static void replacing_the_slots_reaches_a_running_cpu(void **state)
{
    (void)state;
    struct harness *h = h_new(2);
    struct x86_state s = h_long_mode(h, 0x11000, 0);
    struct other o;
    pthread_t thread;

    memcpy(h->ram + 0x11000, "\x8b\x03\x89\x04\x25\x00\x06\x00\x00\xeb\xf5",
           11); /* 1: mov (%rbx),%eax; mov %eax,0x600; jmp 1b */
    s.gpr[X86_RBX] = 0x800000;
    h->ram[0x800000] = 1;
    start_other(h, &o, &thread, &s);
    while (*(volatile uint32_t *)(void *)(h->ram + 0x600) != 1)
        sched_yield();
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), note = 0;
    uint32_t gen = 0;
    page[0] = 2;
    struct engine_slot slots[] = {
        {.gpa = 0x800000, .size = 4096, .host = page, .notes = &note, .gens = &gen},
        {.gpa = 0, .size = 0x800000, .host = h->ram, .notes = h->notes, .gens = h->gens},
    };
    engine_set_slots(h->en, slots, 2);
    while (*(volatile uint32_t *)(void *)(h->ram + 0x600) != 2)
        sched_yield();
    engine_kick(h->en, 1);
    pthread_join(thread, NULL);
    munmap(page, 4096);
    h_free(h);
}

static void the_dirty_log_names_each_page_written(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    memcpy(h->ram + 0x10000, "\x88\x03\xe7\xf4\xeb\xfe", 6); /* mov %al,(%rbx) */
    s.gpr[X86_RBX] = 0x700123;
    engine_dirty_log(h->en, true);
    for (unsigned round = 0; round < 2; round++) {
        memset(h->notes, 0, H_RAM / 4096);
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        assert_int_equal(h_run(h), ENGINE_KICKED);
        assert_false(h->notes[0x700] & PAGE_DIRTY);
        engine_dirty_collect(h->en);
        assert_true(h->notes[0x700] & PAGE_DIRTY);
        assert_false(h->notes[0x701] & PAGE_DIRTY);
        engine_dirty_collect(h->en);
    }
    engine_dirty_log(h->en, false);
    h_free(h);
}

static void state_survives_get_and_set(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 3), t;

    h->time = 123456789;
    for (unsigned i = 0; i < 16; i++)
        s.gpr[i] = 0x0101010101010101 * (i + 1);
    s.rflags = 2 | X86_IF | X86_CF | X86_AC;
    s.dr[2] = 0x1234;
    s.cr2 = 0x5678;
    s.events.shadow = 1;
    s.events.nmi_masked = 1;
    s.mp_state = X86_MP_HALTED;
    s.tsc = 777777;
    memset(&s.fpu.st, 0x5a, sizeof(s.fpu.st));
    memset(&s.fpu.ymm[3], 0x33, 32);
    assert_int_equal(x86_state_msr_set(&s, MSR_LSTAR, 0xffffffff81000000), 0);
    assert_int_equal(x86_state_msr_set(&s, MSR_TSC_ADJUST, 42), 0);
    assert_int_equal(x86_state_msr_set(&s, MSR_MTRR_DEF_TYPE, 0xc06), 0);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    engine_get(h->en, 0, &t);
    assert_memory_equal(&s, &t, offsetof(struct x86_state, events));
    assert_memory_equal(&s.lapic, &t.lapic, sizeof(s.lapic));
    assert_true(t.tsc == 777777 && t.events.shadow == 1 && t.events.nmi_masked == 1);
    assert_true(x86_state_msr(&t, MSR_LSTAR, 0) == 0xffffffff81000000);
    assert_true(x86_state_msr(&t, MSR_TSC_ADJUST, 0) == 42 &&
                x86_state_msr(&t, MSR_MTRR_DEF_TYPE, 0) == 0xc06);
    h_free(h);
}

static void states_that_no_cpu_can_be_in_are_refused(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    s.cr0 &= ~CR0_PE;
    assert_int_equal(engine_set(h->en, 0, &s), -EINVAL);
    s = h_long_mode(h, 0x10000, 0);
    s.cr4 &= ~CR4_PAE;
    assert_int_equal(engine_set(h->en, 0, &s), -EINVAL);
    s = h_long_mode(h, 0x10000, 0);
    s.msr_count = X86_MAX_MSRS + 1;
    assert_int_equal(engine_set(h->en, 0, &s), -EINVAL);
    h_free(h);
}

/* The stack's page is not known to the fast TLB yet: the call is left to the interpreter, and what it calls
 * is what comes next. */
GUEST(call_next, "mov %rsp, %rbx\n jmp 3f\n 3: call 1f\n 1: sub %rsp, %rbx\n mov %ebx, %eax\n out %eax, "
                 "$0xf4\n 2: jmp 2b");

static void a_call_of_the_next_instruction_is_made_once(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    h_code(h, 0x10000, call_next);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 8);
    h_free(h);
}

/* The fast TLB forgets a page that the soft one still knows, as so many others came; it is told of it again
 * by the group that misses, and the unit goes on with vectors as they were. */
GUEST(vectors_and_group,
      "mov $0x20000, %ebx\n mov (%rbx), %eax\n mov $2200, %ecx\n"
      "1: mov 0x30000, %eax\n mov 0x40030000, %eax\n dec %ecx\n jnz 1b\n"
      "mov $5, %eax\n movd %eax, %xmm1\n jmp 1f\n"
      "1: mov (%rbx), %ecx\n add 8(%rbx), %ecx\n paddd %xmm1, %xmm1\n out %eax, $0xf4\n 2: jmp 2b");

static void vectors_are_there_behind_a_group_that_missed(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    h_put64(h, H_TABLES + 0x1000 + 8, (H_TABLES + 0x2000) | 7); /* the second GiB is the first once more */
    h_code(h, 0x10000, vectors_and_group);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.fpu.ymm[1][0], 10);
    h_free(h);
}

/* Which one family of processors had: C5 F8 84, a branch on a mask, and C5 FA B8. */
GUEST(vex_popcnt, "xor %eax, %eax\n .byte 0xc5, 0xfa, 0xb8, 0xc5\n out %eax, $0xf4\n 2: jmp 2b");
GUEST(jkzd, "xor %eax, %eax\n .byte 0xc5, 0xf8, 0x84, 0, 0, 0, 0\n out %eax, $0xf4\n 2: jmp 2b");
GUEST(jkzd_handler, "mov $0x77, %eax\n out %eax, $0xf4\n 2: jmp 2b");

static void a_branch_and_a_popcnt_with_a_vex_prefix_are_undefined(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct harness *h = h_new(1);
        struct x86_state s = h_long_mode(h, 0x10000, 0);

        h_handle_ud(h, &s);
        if (i)
            h_code(h, 0x10000, vex_popcnt);
        else
            h_code(h, 0x10000, jkzd);
        h_code(h, 0x11000, jkzd_handler);
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        assert_int_equal(h_run(h), ENGINE_KICKED);
        assert_int_equal(h->exit_value, 0x77);
        h_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_runs_and_a_port_write_kicks),
        cmocka_unit_test(hlt_sleeps_until_the_apic_timer_fires),
        cmocka_unit_test(a_timer_of_the_host_that_is_early_is_waited_for),
        cmocka_unit_test(a_call_of_the_next_instruction_is_made_once),
        cmocka_unit_test(vectors_are_there_behind_a_group_that_missed),
        cmocka_unit_test(a_branch_and_a_popcnt_with_a_vex_prefix_are_undefined),
        cmocka_unit_test(code_modified_by_another_cpu_is_seen_after_a_serializing_instruction),
        cmocka_unit_test(cpus_that_link_the_same_jump_at_once_link_it_once),
        cmocka_unit_test(a_locked_add_across_frames_is_atomic),
        cmocka_unit_test(replacing_the_slots_reaches_a_running_cpu),
        cmocka_unit_test(the_dirty_log_names_each_page_written),
        cmocka_unit_test(state_survives_get_and_set),
        cmocka_unit_test(states_that_no_cpu_can_be_in_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
