#include "system.h"

/* ---- 64-bit mode ---- */

static void syscall_and_sysret_change_privilege_and_flags(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 3);

    T_PUT(h, T_CODE, "\x0f\x05\x0f\x0b"); /* syscall; ud2 */
    T_PUT(h, T_USER, "\x48\x0f\x07");     /* kernel side: sysretq */
    x86_state_msr_set(&s, MSR_STAR, (uint64_t)S_CODE0 << 32 | (uint64_t)(S_DATA0 | 3) << 48);
    x86_state_msr_set(&s, MSR_LSTAR, T_USER);
    x86_state_msr_set(&s, MSR_SYSCALL_MASK, X86_IF | X86_DF);
    s.rflags = 2 | X86_IF | X86_DF;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    struct cpu *c = h_cpu(h);
    assert_int_equal(c->cpl, 0);
    assert_true(c->rip == T_USER && c->gpr[X86_RCX] == T_CODE + 2 &&
                c->gpr[X86_R11] == (2 | X86_IF | X86_DF) && c->rflags == 2);
    assert_int_equal(c->seg[X86_SS].sel, S_DATA0);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->cpl, 3);
    assert_true(c->rip == T_CODE + 2 && c->rflags == (2 | X86_IF | X86_DF));
    assert_int_equal(c->seg[X86_CS].sel, (S_DATA0 + 16) | 3);
    assert_int_equal(c->seg[X86_SS].sel, (S_DATA0 + 8) | 3);
    h_free(h);
}

static void iret_to_user_mode_loads_the_whole_frame(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\x48\xcf");
    T_PUT(h, T_USER, "\xf4"); /* hlt: #GP in user mode */
    uint64_t frame[] = {T_USER, S_CODE3 | 3, 2 | X86_IF, 0x60000, S_DATA3 | 3};
    memcpy(h->ram + 0x7ff00, frame, sizeof(frame));
    s.gpr[X86_RSP] = 0x7ff00;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    assert_int_equal(t_stack64(h, 1), T_USER);
    assert_int_equal(t_stack64(h, 2), S_CODE3 | 3);
    assert_int_equal(t_stack64(h, 4), 0x60000);
    engine_get(h->en, 0, &s);
    assert_true(s.seg[X86_DS].attr & X86_SEG_UNUSABLE); /* inner data segments were dropped on the way out */
    h_free(h);
}

static void iret_with_a_bad_selector_faults_before_anything_changes(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\x48\xcf");
    uint64_t frame[] = {T_USER, 0x78 | 3, 2, 0x60000, S_DATA3 | 3};
    memcpy(h->ram + 0x7ff00, frame, sizeof(frame));
    h_put64(h, T_GDT + 0x78, 0);
    s.gpr[X86_RSP] = 0x7ff00;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    assert_int_equal(t_stack64(h, 0), 0x78);
    assert_int_equal(t_stack64(h, 1), T_CODE);
    assert_int_equal(t_stack64(h, 4), 0x7ff00);
    h_free(h);
}

static void compatibility_mode_runs_32_bit_code_and_returns(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    /* lretq into 32-bit code that wraps EAX and jumps far back to 64-bit code */
    T_PUT(h, T_CODE, "\x48\xcb");
    uint64_t frame[] = {T_USER, S_OTHER};
    memcpy(h->ram + 0x7ff00, frame, sizeof(frame));
    T_PUT(h, T_USER,
          "\x83\xc0\x01\x40\xea\x00\x20\x01\x00\x08\x00"); /* add $1,%eax; inc %eax; ljmp $8,$0x12000 */
    h->ram[T_USER + 6] = 0x30;                             /* to 0x13000 */
    h->ram[T_USER + 5] = 0x00;
    T_PUT(h, 0x13000, "\xe7\xf4\xeb\xfe");
    s.gpr[X86_RSP] = 0x7ff00;
    s.gpr[X86_RAX] = 0xfffffffe;
    assert_int_equal(t_run(h, &s), 0);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.rip, 0x13002);
    h_free(h);
}

static void a_64_bit_call_gate_enters_ring_0_on_the_tss_stack(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 3);

    h_put64(h, T_GDT + S_GATE,
            (T_USER & 0xffff) | (uint64_t)S_CODE0 << 16 | 0xecull << 40 | (uint64_t)(T_USER >> 16) << 48);
    h_put64(h, T_GDT + S_GATE + 8, 0);
    T_PUT(h, T_CODE, "\x48\xff\x1b"); /* lcall *(%rbx), 64-bit */
    T_PUT(h, T_USER, "\xe7\xf4\xeb\xfe");
    uint64_t far[] = {0, S_GATE | 3};
    memcpy(h->ram + 0x20000, far, sizeof(far));
    s.gpr[X86_RBX] = 0x20000;
    assert_int_equal(t_run(h, &s), 0);
    assert_int_equal(t_stack64(h, 0), T_CODE + 3);
    assert_int_equal(t_stack64(h, 1), S_CODE3 | 3);
    assert_int_equal(t_stack64(h, 2), 0x80000);
    assert_int_equal(t_stack64(h, 3), S_DATA3 | 3);
    h_free(h);
}

/* ---- 32-bit protected mode ---- */

static void a_call_gate_copies_its_parameters(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 3);

    h_put64(h, T_GDT + S_GATE,
            (T_USER & 0xffff) | (uint64_t)S_CODE0 << 16 | 2ull << 32 | 0xecull << 40 |
                (uint64_t)(T_USER >> 16) << 48);
    T_PUT(h, T_CODE, "\x9a\x00\x00\x00\x00\x53\x00\x0f\x0b"); /* lcall $0x53,$0 */
    T_PUT(h, T_USER, "\xca\x08\x00");                         /* lret $8 */
    s.gpr[X86_RSP] = 0x7ff00;
    h_put32(h, 0x7ff00, 0x1111);
    h_put32(h, 0x7ff04, 0x2222);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    struct cpu *c = h_cpu(h);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->gpr[X86_RSP], T_STACK0 - 24);
    assert_int_equal(h_get32(h, T_STACK0 - 16), 0x1111);
    assert_int_equal(h_get32(h, T_STACK0 - 12), 0x2222);
    assert_int_equal(h_get32(h, T_STACK0 - 8), 0x7ff00);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->rip, T_CODE + 7);
    assert_int_equal(c->gpr[X86_RSP], 0x7ff08);
    h_free(h);
}

/* The last parameter is the first that is pushed, and so the first that is read: of two that cannot be, its
 * address is told. All are read before the inner stack is written. */
static void a_call_gate_reads_its_parameters_from_the_last_on(void **state)
{
    enum { PD = 0xa000, PT = 0xb000, LINEAR = 0x40000000 };
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 3);

    (void)state;
    h_put64(h, T_GDT + S_GATE,
            (T_USER & 0xffff) | (uint64_t)S_CODE0 << 16 | 2ull << 32 | 0xecull << 40 |
                (uint64_t)(T_USER >> 16) << 48);
    T_PUT(h, T_CODE, "\x9a\x00\x00\x00\x00\x53\x00"); /* lcall $0x53,$0 */
    memset(h->ram + PD, 0, 0x2000);
    h_put32(h, PD, 0x87); /* 4 MiB as they are */
    h_put32(h, PD + (LINEAR >> 22) * 4, PT | 7);
    s.cr0 |= CR0_PG;
    s.cr3 = PD;
    s.cr4 |= CR4_PSE;
    s.gpr[X86_RSP] = LINEAR + 0xffc; /* a parameter on each of two pages */
    h_put32(h, T_STACK0 - 4, 0x5555);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_int_equal(h_cpu(h)->fault_vector, X86_PF_VEC);
    assert_int_equal(h_cpu(h)->cr2, LINEAR + 0x1000);
    h_put32(h, PT + 4, 0x300007);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_int_equal(h_cpu(h)->cr2, LINEAR + 0xffc);
    assert_int_equal(h_get32(h, T_STACK0 - 4), 0x5555);
    h_free(h);
}

static void segment_limits_and_types_are_enforced(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 0);

    T_PUT(h, T_CODE, "\x8b\x03");
    s.seg[X86_DS].limit = 0x20003;
    s.gpr[X86_RBX] = 0x20000;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    s.gpr[X86_RBX] = 0x20001;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    /* expand-down: valid above the limit */
    s.seg[X86_DS].attr |= 4;
    s.gpr[X86_RBX] = 0x20003;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    s.gpr[X86_RBX] = 0x20004;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    /* a read-only segment */
    T_PUT(h, T_CODE, "\x89\x03");
    s.seg[X86_DS] = h_flat(S_DATA0, false, 0, false);
    s.seg[X86_DS].attr &= ~2u;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    h_free(h);
}

static void mov_to_a_segment_checks_the_descriptor(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 0);

    T_PUT(h, T_CODE, "\x8e\xd8");                                       /* mov %ax,%ds */
    h_put64(h, T_GDT + S_GATE, t_desc(0x1000, 0xfff, 0x2 | X86_SEG_S)); /* not present */
    s.gpr[X86_RAX] = S_GATE;
    assert_int_equal(t_run(h, &s) & 0xff, X86_NP);
    assert_int_equal(t_stack32(h, 0), S_GATE);
    h_put64(h, T_GDT + S_GATE, t_desc(0x1000, 0xfff, 0x2 | X86_SEG_S | X86_SEG_P));
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    assert_true(h_cpu(h)->seg[X86_DS].base == 0x1000 && h_cpu(h)->seg[X86_DS].limit == 0xfff);
    assert_true(h->ram[T_GDT + S_GATE + 5] & 1); /* the accessed bit */
    s.gpr[X86_RAX] = 0x80;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP); /* beyond the table */
    assert_int_equal(t_stack32(h, 0), 0x80);
    T_PUT(h, T_CODE, "\x8e\xd0"); /* mov %ax,%ss */
    s.gpr[X86_RAX] = S_DATA3 | 3;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    h_free(h);
}

static void a_jump_to_a_tss_switches_tasks_and_iret_comes_back(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 0);
    struct cpu *c = h_cpu(h);

    h_put32(h, T_TSS2 + 0x20, T_USER);
    h_put32(h, T_TSS2 + 0x24, 2);
    h_put32(h, T_TSS2 + 0x28, 0x77777777); /* EAX */
    h_put32(h, T_TSS2 + 0x38, 0x60000);    /* ESP */
    for (unsigned i = 0; i < 6; i++)
        h_put32(h, T_TSS2 + 0x48 + i * 4, i == 1 ? S_CODE0 : S_DATA0);
    T_PUT(h, T_CODE, "\x9a\x00\x00\x00\x00\x40\x00\x90"); /* lcall $0x40,$0 */
    T_PUT(h, T_USER, "\xcf");
    s.gpr[X86_RAX] = 0x55555555;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    assert_true(c->rip == T_USER && c->gpr[X86_RAX] == 0x77777777 && c->gpr[X86_RSP] == 0x60000);
    assert_int_equal(c->tr.sel, S_TSS2);
    assert_true((c->rflags & X86_NT) && (c->cr0 & CR0_TS));
    assert_int_equal(h_get32(h, T_TSS2), S_TSS); /* the way back */
    assert_int_equal(h_get32(h, T_TSS + 0x28), 0x55555555);
    assert_int_equal(h_get32(h, T_TSS + 0x20), T_CODE + 7);
    assert_int_equal(h->ram[T_GDT + S_TSS2 + 5] & 0xf, 0xb);
    assert_int_equal(h->ram[T_GDT + S_TSS + 5] & 0xf, 0xb);
    assert_int_equal(h_step(h), 0);
    assert_true(c->rip == T_CODE + 7 && c->gpr[X86_RAX] == 0x55555555);
    assert_int_equal(h->ram[T_GDT + S_TSS2 + 5] & 0xf, 0x9);
    assert_int_equal(c->tr.sel, S_TSS);
    h_free(h);
}

static void v8086_runs_by_iret_and_leaves_by_interrupt(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 0);

    T_PUT(h, T_CODE, "\xcf");
    uint32_t frame[] = {0x10,   0x1200, 2 | X86_VM | X86_IF, 0xff0, 0x2000, 0x3000, 0x4000,
                        0x5000, 0x6000}; /* 1200:0010 */
    memcpy(h->ram + 0x7fe00, frame, sizeof(frame));
    T_PUT(h, 0x12010, "\xb4\x42\xa0\x05\x00\xf4"); /* mov $0x42,%ah; mov ds:5,%al; hlt */
    h->ram[0x40005] = 0x99;
    s.gpr[X86_RSP] = 0x7fe00;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.gpr[X86_RAX] & 0xff00, 0x4200);
    assert_false(s.rflags & X86_VM);
    assert_int_equal(t_stack32(h, 1), 0x15);
    assert_int_equal(t_stack32(h, 2), 0x1200);
    assert_true(t_stack32(h, 3) & X86_VM);
    assert_int_equal(t_stack32(h, 4), 0xff0);
    assert_int_equal(t_stack32(h, 5), 0x2000);
    assert_int_equal(t_stack32(h, 6), 0x3000); /* ES */
    assert_int_equal(t_stack32(h, 9), 0x6000); /* GS */
    assert_true(s.seg[X86_DS].attr & X86_SEG_UNUSABLE);
    h_free(h);
}

static void the_io_bitmap_decides_for_user_mode(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 3);

    s.tr.limit = 0x67 + 0x21;
    h_put32(h, T_TSS + 0x64, 0x68 << 16);
    memset(h->ram + T_TSS + 0x68, 0xff, 0x21);
    h->ram[T_TSS + 0x68 + 0x40 / 8] = 0xfe;
    T_PUT(h, T_CODE, "\xe4\x40\xe4\x41"); /* in $0x40,%al; in $0x41,%al */
    h->port_answer = 0x5a;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_cpu(h)->gpr[X86_RAX] & 0xff, 0x5a);
    assert_int_equal(h_step(h), LEAVE_FAULT);
    assert_int_equal(h_cpu(h)->fault_vector, X86_GP);
    s.rflags |= X86_IOPL;
    s.rip = T_CODE + 2;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    h_free(h);
}

/* ---- real mode ---- */

GUEST(to_long_mode,
      ".code16\n"
      "lgdtl %cs:0x80\n mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n ljmpl $8, $0x10040\n"
      ".org to_long_mode + 0x40\n .code32\n"
      "mov $0x10, %ax\n mov %ax, %ds\n mov %ax, %ss\n"
      "mov $0x20, %eax\n mov %eax, %cr4\n mov $0x1000, %eax\n mov %eax, %cr3\n"
      "mov $0xc0000080, %ecx\n rdmsr\n or $0x100, %eax\n wrmsr\n"
      "mov %cr0, %eax\n or $0x80000000, %eax\n mov %eax, %cr0\n ljmpl $0x18, $0x100c0\n"
      ".org to_long_mode + 0x80\n .word 0x1f\n .long 0x6000\n"
      ".org to_long_mode + 0xc0\n .code64\n"
      "mov $0x1122334455667788, %rbx\n shr $32, %rbx\n mov %ebx, %eax\n out %eax, $0xf4\n 1: jmp 1b");

static void a_cpu_goes_from_real_mode_to_long_mode(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s;

    h_identity(h);
    h_put64(h, T_GDT + 8, t_desc(0, 0xffffffff, 0xb | X86_SEG_S | X86_SEG_P | X86_SEG_G | X86_SEG_DB));
    h_put64(h, T_GDT + 16, t_desc(0, 0xffffffff, 0x3 | X86_SEG_S | X86_SEG_P | X86_SEG_G | X86_SEG_DB));
    h_put64(h, T_GDT + 24, t_desc(0, 0xffffffff, 0xb | X86_SEG_S | X86_SEG_P | X86_SEG_G | X86_SEG_L));
    h_code(h, 0x10000, to_long_mode);
    engine_get(h->en, 0, &s);
    s.seg[X86_CS].base = 0x10000;
    s.seg[X86_CS].sel = 0x1000;
    s.rip = 0;
    assert_int_equal(t_run(h, &s), 0x11223344);
    engine_get(h->en, 0, &s);
    assert_true(s.efer & EFER_LMA);
    h_free(h);
}

/* ---- control registers ---- */

static unsigned fault_of(struct harness *h, const struct x86_state *s)
{
    assert_int_equal(engine_set(h->en, 0, s), 0);
    return h_step(h) == LEAVE_FAULT ? h_cpu(h)->fault_vector : 0;
}

static void control_registers_refuse_what_the_sdm_forbids(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\x0f\x22\xc0"); /* mov %rax,%cr0 */
    s.gpr[X86_RAX] = s.cr0 | CR0_NW;
    assert_int_equal(fault_of(h, &s), X86_GP);
    s.gpr[X86_RAX] = s.cr0 & ~CR0_PE;
    assert_int_equal(fault_of(h, &s), X86_GP);
    s.gpr[X86_RAX] = s.cr0 & ~CR0_PG; /* from 64-bit code */
    assert_int_equal(fault_of(h, &s), X86_GP);
    s.gpr[X86_RAX] = s.cr0 | 1ull << 32;
    assert_int_equal(fault_of(h, &s), X86_GP);
    T_PUT(h, T_CODE, "\x0f\x22\xe0"); /* mov %rax,%cr4 */
    s.gpr[X86_RAX] = s.cr4 & ~CR4_PAE;
    assert_int_equal(fault_of(h, &s), X86_GP);
    s.gpr[X86_RAX] = s.cr4 | CR4_LA57;
    assert_int_equal(fault_of(h, &s), X86_GP);
    s.gpr[X86_RAX] = s.cr4 | CR4_SMEP;
    assert_int_equal(fault_of(h, &s), 0);
    T_PUT(h, T_CODE, "\x0f\x22\xd8"); /* mov %rax,%cr3 */
    s.gpr[X86_RAX] = 1ull << 51;
    assert_int_equal(fault_of(h, &s), X86_GP);
    T_PUT(h, T_CODE, "\x44\x0f\x22\xc0"); /* mov %rax,%cr8 */
    s.gpr[X86_RAX] = 16;
    assert_int_equal(fault_of(h, &s), X86_GP);
    s.gpr[X86_RAX] = 5;
    assert_int_equal(fault_of(h, &s), 0);
    T_PUT(h, T_CODE, "\x0f\x22\xe8"); /* CR5 */
    assert_int_equal(fault_of(h, &s), X86_UD);
    h_free(h);
}

static void privileged_instructions_fault_in_user_mode(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 3);
    static const char code[][4] = {
        "\xf4",         "\x0f\x06",     "\x0f\x08",     "\x0f\x09",     "\x0f\x32",     "\x0f\x30",
        "\x0f\x01\x13", "\x0f\x01\x1b", "\x0f\x01\x3b", "\x0f\x00\xd0", "\x0f\x00\xd8", "\x0f\x20\xc0",
        "\x0f\x22\xc0", "\x0f\x21\xc0", "\x0f\x23\xc0", "\x0f\x01\xf8", "\xfa",         "\xfb",
        "\xec",         "\xee",         "\x0f\x33",     "\x0f\x01\xf0"};
    for (unsigned i = 0; i < sizeof(code) / sizeof(code[0]); i++) {
        memset(h->ram + T_CODE, 0x90, 8);
        memcpy(h->ram + T_CODE, code[i], 3);
        s.gpr[X86_RBX] = 0x20000;
        if (fault_of(h, &s) != X86_GP)
            fail_msg("form %u: vector %u", i, h_cpu(h)->fault_vector);
    }
    s.cr4 |= CR4_UMIP;
    static const char umip[][4] = {"\x0f\x01\x03", "\x0f\x01\x0b", "\x0f\x00\xc0", "\x0f\x00\xc8",
                                   "\x0f\x01\xe0"};
    for (unsigned i = 0; i < 5; i++) {
        memcpy(h->ram + T_CODE, umip[i], 3);
        s.cr4 |= CR4_UMIP;
        assert_int_equal(fault_of(h, &s), X86_GP);
        s.cr4 &= ~CR4_UMIP;
        assert_int_equal(fault_of(h, &s), 0);
    }
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syscall_and_sysret_change_privilege_and_flags),
        cmocka_unit_test(iret_to_user_mode_loads_the_whole_frame),
        cmocka_unit_test(iret_with_a_bad_selector_faults_before_anything_changes),
        cmocka_unit_test(compatibility_mode_runs_32_bit_code_and_returns),
        cmocka_unit_test(a_64_bit_call_gate_enters_ring_0_on_the_tss_stack),
        cmocka_unit_test(a_call_gate_copies_its_parameters),
        cmocka_unit_test(a_call_gate_reads_its_parameters_from_the_last_on),
        cmocka_unit_test(segment_limits_and_types_are_enforced),
        cmocka_unit_test(mov_to_a_segment_checks_the_descriptor),
        cmocka_unit_test(a_jump_to_a_tss_switches_tasks_and_iret_comes_back),
        cmocka_unit_test(v8086_runs_by_iret_and_leaves_by_interrupt),
        cmocka_unit_test(the_io_bitmap_decides_for_user_mode),
        cmocka_unit_test(a_cpu_goes_from_real_mode_to_long_mode),
        cmocka_unit_test(control_registers_refuse_what_the_sdm_forbids),
        cmocka_unit_test(privileged_instructions_fault_in_user_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
