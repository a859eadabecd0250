#include <pthread.h>
#define H_MODEL "default,+kvm_pv_ipi"
#include "system.h"

/* x2APIC by MSR, on the thread of the test: the APIC's own rules without code. */
static struct cpu *x2(struct harness *h, unsigned i)
{
    struct cpu *c = engine_cpu(h->en, i);

    assert_true(msr_write(c, MSR_APIC_BASE,
                          APIC_BASE_ADDR | APIC_BASE_ENABLE | APIC_BASE_X2APIC | (i ? 0 : APIC_BASE_BSP),
                          false));
    assert_true(msr_write(c, 0x80f, 0x1ff, false));
    return c;
}

static uint64_t get(struct cpu *c, uint32_t index)
{
    uint64_t v = 0;
    assert_true(msr_read(c, index, &v));
    return v;
}

static void modes_change_only_as_the_sdm_draws_them(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct cpu *c = h_cpu(h);
    uint64_t base = APIC_BASE_ADDR | APIC_BASE_BSP;

    assert_false(msr_write(c, MSR_APIC_BASE, base | APIC_BASE_X2APIC, false));
    assert_true(msr_write(c, MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC, false));
    assert_false(msr_write(c, MSR_APIC_BASE, base | APIC_BASE_ENABLE, false));
    assert_true(msr_write(c, MSR_APIC_BASE, base, false));
    assert_false(msr_write(c, MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC, false));
    assert_true(msr_write(c, MSR_APIC_BASE, base | APIC_BASE_ENABLE, false));
    uint64_t v;
    assert_false(msr_read(c, 0x802, &v));
    h_free(h);
}

static void the_highest_vector_above_the_priority_is_served_first(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct cpu *c = x2(h, 0);

    assert_int_equal(engine_msi(h->en, 0xfee00000, 0x41), 1);
    assert_int_equal(engine_msi(h->en, 0xfee00000, 0x8041 + 0x22), 1);
    assert_int_equal(lapic_pending(c), 0x63);
    lapic_accept(c, 0x63);
    assert_int_equal(lapic_pending(c), -1);
    assert_int_equal(get(c, 0x80a), 0x60); /* PPR */
    assert_int_equal(engine_msi(h->en, 0xfee00000, 0x71), 1);
    assert_int_equal(lapic_pending(c), 0x71);
    lapic_set_tpr(c, 0x70);
    assert_int_equal(lapic_pending(c), -1);
    lapic_set_tpr(c, 0);
    lapic_accept(c, 0x71);
    assert_true(msr_write(c, 0x80b, 0, false)); /* EOI of 0x71: edge, no broadcast */
    assert_int_equal(h->eoi, -1);
    assert_true(msr_write(c, 0x80b, 0, false));
    assert_int_equal(h->eoi, 0x63); /* level-triggered: told to the I/O APIC */
    assert_int_equal(lapic_pending(c), 0x41);
    h_free(h);
}

static void messages_find_their_targets_by_id_and_by_logical_address(void **state)
{
    (void)state;
    struct harness *h = h_new(4);
    struct cpu *c[4];

    for (unsigned i = 0; i < 4; i++)
        c[i] = x2(h, i);
    assert_int_equal(engine_msi(h->en, 0xfee00000 | 2 << 12, 0x50), 1);
    assert_int_equal(lapic_pending(c[2]), 0x50);
    assert_int_equal(lapic_pending(c[1]), -1);
    assert_int_equal(engine_msi(h->en, 0xfee00000 | 0xff << 12, 0x51), 4);
    assert_int_equal(engine_msi(h->en, 0xfee00004 | 0x3 << 12, 0x52), 2); /* logical: CPUs 0 and 1 */
    assert_int_equal(lapic_pending(c[1]), 0x52);
    assert_int_equal(lapic_pending(c[2]), 0x51);
    assert_int_equal(engine_msi(h->en, 0xfee00004 | 0xf << 12, 0x153), 1); /* lowest priority: one of them */
    assert_int_equal(engine_msi(h->en, 0xfee00000 | 9 << 12, 0x54), 0);
    assert_true(msr_write(c[1], 0x830, 0xc4000 | 0x55, false)); /* all but self */
    assert_int_equal(lapic_pending(c[0]), 0x55);
    assert_int_not_equal(lapic_pending(c[1]), 0x55);
    assert_true(msr_write(c[1], 0x830, 3ull << 32 | 0x56, false));
    assert_int_equal(lapic_pending(c[3]), 0x56);
    assert_true(msr_write(c[1], 0x83f, 0x57, false)); /* self */
    assert_int_equal(lapic_pending(c[1]), 0x57);
    h_free(h);
}

static void flat_and_cluster_logical_addresses_of_the_xapic(void **state)
{
    (void)state;
    struct harness *h = h_new(2);
    struct cpu *c = h_cpu(h);

    lapic_mmio_write(c, 0xfee000f0, 4, 0x1ff);
    lapic_mmio_write(c, 0xfee000d0, 4, 0x12000000);
    lapic_mmio_write(c, 0xfee000e0, 4, 0xffffffff);
    assert_int_equal(engine_msi(h->en, 0xfee00004 | 0x02 << 12, 0x41), 1);
    assert_int_equal(engine_msi(h->en, 0xfee00004 | 0x04 << 12, 0x41), 0);
    lapic_mmio_write(c, 0xfee000e0, 4, 0x0fffffff);
    assert_int_equal(engine_msi(h->en, 0xfee00004 | 0x12 << 12, 0x42), 1);
    assert_int_equal(engine_msi(h->en, 0xfee00004 | 0x22 << 12, 0x42), 0);
    assert_int_equal(lapic_mmio_read(c, 0xfee000d0, 4), 0x12000000);
    h_free(h);
}

static void the_timer_counts_in_guest_time(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct cpu *c = x2(h, 0);

    h->time = 1000000;
    msr_write(c, 0x83e, 0, false);       /* divide by 2 */
    msr_write(c, 0x832, 0x20044, false); /* periodic */
    msr_write(c, 0x838, 500000, false);  /* 1 ms */
    h->time += 500000;
    assert_int_equal(get(c, 0x839), 250000);
    lapic_timer_poll(c, h->time);
    assert_int_equal(lapic_pending(c), -1);
    h->time += 600000;
    lapic_timer_poll(c, h->time);
    assert_int_equal(lapic_pending(c), 0x44);
    assert_int_equal(c->priv->timer_due, 1000000 + 2000000);
    h->time += 10000000; /* ten expiries that nobody saw: one interrupt, the phase is kept */
    lapic_timer_poll(c, h->time);
    assert_int_equal(c->priv->timer_due, 1000000 + 12000000);
    msr_write(c, 0x832, 0x40045, false); /* TSC deadline: the count stops */
    assert_true(c->priv->timer_due == UINT64_MAX);
    uint64_t tsc = cpu_tsc(c);
    msr_write(c, MSR_TSC_DEADLINE, tsc + 1000, false); /* at 1 GHz */
    assert_in_range(c->priv->timer_due, h->time + 1000, h->time + 1001);
    h->time += 1001;
    lapic_timer_poll(c, h->time);
    assert_int_equal(lapic_pending(c), 0x45);
    assert_int_equal(get(c, MSR_TSC_DEADLINE), 0);
    h_free(h);
}

/* Or the engine would do nothing but set timers, and the guest stand still. */
static void a_timer_of_nanoseconds_leaves_time_to_run_in(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct cpu *c = x2(h, 0);

    h->time = 1000000;
    msr_write(c, 0x83e, 0, false);       /* divide by 2 */
    msr_write(c, 0x832, 0x20044, false); /* periodic */
    msr_write(c, 0x838, 5, false);       /* 10 ns */
    assert_int_equal(c->priv->timer_due, 1000010);
    h->time += 3003;
    for (unsigned i = 0; i < 3; i++) {
        lapic_timer_poll(c, h->time);
        assert_int_equal(lapic_pending(c), 0x44);
        lapic_accept(c, 0x44);
        msr_write(c, 0x80b, 0, false);
        assert_in_range(c->priv->timer_due, h->time + 99990, h->time + 100000);
        assert_int_equal(c->priv->timer_due % 10, 0);
        h->time += 4; /* the count goes round as before: 3 ns, 7 ns, 1 ns into a period of 5 counts */
        assert_int_equal(get(c, 0x839), (10 - h->time % 10) / 2);
        lapic_timer_poll(c, h->time);
        assert_int_equal(lapic_pending(c), -1);
        h->time = c->priv->timer_due + 3;
    }
    h_free(h);
}

static void illegal_vectors_are_recorded_in_the_error_register(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct cpu *c = x2(h, 0);

    msr_write(c, 0x837, 0xfe, false);                 /* error LVT */
    assert_true(msr_write(c, 0x830, 0x40003, false)); /* self IPI with vector 3 */
    assert_int_equal(lapic_pending(c), 0xfe);
    assert_int_equal(get(c, 0x828), 0);
    assert_true(msr_write(c, 0x828, 0, false));
    assert_int_equal(get(c, 0x828), 0x20);
    assert_false(msr_write(c, 0x828, 1, false));
    h_free(h);
}

static void apic_state_survives_get_and_set(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct cpu *c = x2(h, 0);
    struct x86_state s, t;

    h->time = 5000000;
    engine_msi(h->en, 0xfee00000, 0x8061);
    lapic_accept(c, 0x61);
    engine_msi(h->en, 0xfee00000, 0x51);
    msr_write(c, 0x832, 0x40, false);
    msr_write(c, 0x83e, 0xb, false);
    msr_write(c, 0x838, 7000, false);
    h->time += 3000;
    engine_get(h->en, 0, &s);
    assert_int_equal(s.lapic.timer_remaining_ns, 4000);
    h->time += 1000000; /* the machine stood still elsewhere */
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    engine_get(h->en, 0, &t);
    assert_memory_equal(&s.lapic, &t.lapic, sizeof(s.lapic));
    assert_true(s.tsc == t.tsc);
    h_free(h);
}

/* ---- interrupts in code ---- */

static void the_pics_line_is_acknowledged_when_if_allows(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    s.lapic.regs[X86_LAPIC_SVR] = 0x1ff;
    s.lapic.regs[X86_LAPIC_LVT_LINT0] = 0x700;
    h->extint_vector = 0x30;
    T_PUT(h, T_CODE, "\x90\x90\xfb\x90\x90\xeb\xfe"); /* nop; nop; sti; nop (shadow); nop; jmp . */
    engine_extint(h->en, true);
    assert_int_equal(t_run(h, &s) & 0xff, 0x30);
    engine_get(h->en, 0, &s);
    assert_int_equal(h_get64(h, s.gpr[X86_RSP]), T_CODE + 4); /* after STI's shadow */
    h_free(h);
}

static void an_nmi_is_masked_until_iret(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\xf4\xeb\xfd");
    engine_set(h->en, 0, &s);
    engine_nmi(h->en, 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value & 0xff, X86_NMI);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.events.nmi_masked, 1);
    h_free(h);
}

/* KVM_HC_SEND_IPI with these arguments: what it returns, its RAX as 64 bits. */
static int64_t send_ipi(struct harness *h, uint64_t low, uint64_t high, uint64_t first, uint64_t icr,
                        unsigned cpl)
{
    struct x86_state s = t_long(h, cpl);

    T_PUT(h, T_CODE, "\x0f\x01\xc1"); /* vmcall */
    s.gpr[X86_RAX] = 10;
    s.gpr[X86_RBX] = low;
    s.gpr[X86_RCX] = high;
    s.gpr[X86_RDX] = first;
    s.gpr[X86_RSI] = icr;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    return (int64_t)h_cpu(h)->gpr[X86_RAX];
}

/* KVM's documentation (hypercalls.rst, KVM_HC_SEND_IPI): a set of APIC ids, and ICR without a destination. */
static void a_hypercall_sends_one_interrupt_to_many(void **state)
{
    struct harness *h = h_new(4);

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        x2(h, i);
    assert_int_equal(send_ipi(h, 0xb, 0, 0, 0x61, 0), 3);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(lapic_pending(engine_cpu(h->en, i)), i == 2 ? -1 : 0x61);
    assert_int_equal(send_ipi(h, 1, 0, 2, 0x62, 0), 1);
    assert_int_equal(lapic_pending(engine_cpu(h->en, 2)), 0x62);
    assert_int_equal(send_ipi(h, ~0ull, ~0ull, 3, 0x63, 0), 1); /* no more than there are */
    assert_int_equal(lapic_pending(engine_cpu(h->en, 3)), 0x63);
    assert_int_equal(send_ipi(h, 0xffffffff, 0, 0xffffffff, 0x64, 0), 0);
    assert_int_equal(send_ipi(h, ~0ull, 0, ~0ull, 0x64, 0), 0);
    assert_int_equal(send_ipi(h, 1, 0, 0, 0x80065, 0), -22); /* a shorthand */
    assert_int_equal(send_ipi(h, 1, 0, 0, 0x66, 3), -1);
    assert_int_equal(lapic_pending(h_cpu(h)), 0x61);
    h_free(h);
}

/* NMIs that a CPU takes when `n` have come before it runs. Masked: it is in the handler of one, and returns.
 */
static unsigned nmis_taken(unsigned n, bool masked, bool saved)
{
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);
    enum { COUNT = 0x20000, FRAME = 0x60000 };

    /* iretq; nop; out %al,$H_EXIT_PORT; jmp . */
    T_PUT(h, T_CODE, "\x48\xcf\x90\xe6\xf4\xeb\xfe");
    T_PUT(h, T_USER, "\xff\x04\x25\x00\x00\x02\x00\x48\xcf"); /* incl COUNT; iretq */
    t_gate(h, X86_NMI, true, S_CODE0, T_USER, 0xe, 0, 0);
    const uint64_t frame[] = {T_CODE + 2, S_CODE0, 2, 0x80000, S_DATA0};
    memcpy(h->ram + FRAME, frame, sizeof frame);
    s.gpr[X86_RSP] = FRAME;
    s.rip = masked ? T_CODE : T_CODE + 2;
    s.events.nmi_masked = masked;
    engine_set(h->en, 0, &s);
    for (unsigned i = 0; i < n; i++)
        engine_nmi(h->en, 0);
    if (saved) {
        engine_get(h->en, 0, &s);
        engine_set(h->en, 0, &s);
    }
    assert_int_equal(h_run(h), ENGINE_KICKED);
    unsigned count = h_get32(h, COUNT);
    h_free(h);
    return count;
}

/* A processor takes an NMI at its next instruction, so one that comes as it does waits beside it; and more
 * than one never waits while one is served. */
static void two_nmis_that_come_before_the_first_is_taken_are_two(void **state)
{
    (void)state;
    for (unsigned saved = 0; saved < 2; saved++) {
        assert_int_equal(nmis_taken(1, false, saved), 1);
        assert_int_equal(nmis_taken(2, false, saved), 2);
        assert_int_equal(nmis_taken(5, false, saved), 2);
        assert_int_equal(nmis_taken(1, true, saved), 1);
        assert_int_equal(nmis_taken(5, true, saved), 1);
    }
}

/* ---- two CPUs ---- */

struct ap {
    struct harness *h;
    unsigned cpu;
    enum engine_exit exit;
};

static void *run_ap(void *arg)
{
    struct ap *a = arg;
    struct engine_exit_info info;

    a->exit = engine_run(a->h->en, a->cpu, &info);
    return NULL;
}

/* The boot CPU sends INIT and SIPI; the other, in real mode at 0x20000, counts up 0x500 and halts; then IPIs
 * wake it, and it counts again. */
GUEST(bsp_code, "mov $0x830, %ecx\n mov $1, %edx\n mov $0x4500, %eax\n wrmsr\n mov $0x4620, %eax\n wrmsr\n"
                "1: pause\n cmpl $1, 0x500\n jb 1b\n"
                "xor %edi, %edi\n 2: inc %edi\n mov $0x40, %eax\n wrmsr\n 3: pause\n cmp %edi, 0x504\n jb "
                "3b\n cmp $3, %edi\n jb 2b\n"
                "mov %edi, %eax\n out %eax, $0xf4\n 6: jmp 6b");
GUEST(
    ap_code,
    ".code16\n xor %ax, %ax\n mov %ax, %ds\n mov %ax, %ss\n mov $0x6000, %sp\n"
    "movl $0x0200, 0x100\n mov $0x2000, %ax\n mov %ax, 0x102\n" /* vector 0x40 -> 2000:0200 */
    "mov $0x80f, %cx\n mov $0x1ff, %eax\n xor %edx, %edx\n wrmsr\n"
    "movl $1, 0x500\n sti\n 1: hlt\n jmp 1b\n"
    ".org ap_code + 0x200\n incl 0x504\n mov $0x80b, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr\n iret");

static void an_ap_starts_by_sipi_and_wakes_from_hlt_by_ipi(void **state)
{
    (void)state;
    struct harness *h = h_new(2);
    struct x86_state s = t_long(h, 0);
    struct ap a = {.h = h, .cpu = 1};
    pthread_t t;

    h_code(h, T_CODE, bsp_code);
    h_code(h, 0x20000, ap_code);
    s.apic_base |= APIC_BASE_X2APIC;
    s.lapic.regs[X86_LAPIC_SVR] = 0x1ff;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    struct x86_state ap;
    engine_get(h->en, 1, &ap);
    ap.apic_base |= APIC_BASE_X2APIC;
    assert_int_equal(ap.mp_state, X86_MP_WAIT_SIPI);
    assert_int_equal(engine_set(h->en, 1, &ap), 0);
    assert_int_equal(pthread_create(&t, NULL, run_ap, &a), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 3);
    engine_kick(h->en, 1);
    pthread_join(t, NULL);
    assert_int_equal(a.exit, ENGINE_KICKED);
    assert_int_equal(h_get32(h, 0x504), 3);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes_change_only_as_the_sdm_draws_them),
        cmocka_unit_test(the_highest_vector_above_the_priority_is_served_first),
        cmocka_unit_test(messages_find_their_targets_by_id_and_by_logical_address),
        cmocka_unit_test(flat_and_cluster_logical_addresses_of_the_xapic),
        cmocka_unit_test(the_timer_counts_in_guest_time),
        cmocka_unit_test(a_timer_of_nanoseconds_leaves_time_to_run_in),
        cmocka_unit_test(illegal_vectors_are_recorded_in_the_error_register),
        cmocka_unit_test(apic_state_survives_get_and_set),
        cmocka_unit_test(the_pics_line_is_acknowledged_when_if_allows),
        cmocka_unit_test(an_nmi_is_masked_until_iret),
        cmocka_unit_test(a_hypercall_sends_one_interrupt_to_many),
        cmocka_unit_test(two_nmis_that_come_before_the_first_is_taken_are_two),
        cmocka_unit_test(an_ap_starts_by_sipi_and_wakes_from_hlt_by_ipi),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
