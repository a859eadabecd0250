/* struct x86_state through accelerators: in and out of each, and from one to the other. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "accel/accel.h"
#include "base/err.h"
#include "base/range.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "guest/mem.h"
#include "x86/msr.h"
#include "x86/regs.h"
#include "x86/state.h"

struct box {
    struct mem_map *mem;
    struct bus *bus;
    struct clock *clock;
    struct accel *a;
    struct vcpu *v;
};

/* False: no such accelerator here. */
static bool open_box(struct box *b, bool kvm)
{
    struct err e = {""};
    struct ram *ram = ram_new("ram", 1 << 20, RAM_ANONYMOUS, &e);
    struct mem_region r = {.name = "ram", .size = 1 << 20, .kind = MEM_RAM, .ram = ram};
    struct accel_config c = {.cpus = 1, .cpu_model = "default"};

    if (kvm) {
        /* A KVM that emulates has its own idea of CPUID, and so of state. */
        if (accel_kvm_probe(NULL, &e)) {
            ram_free(ram);
            return false;
        }
    }
    *b = (struct box){.mem = mem_map_new(&e), .bus = bus_new(&e), .clock = clock_new(&e)};
    assert_non_null(mem_add(b->mem, &r, &e));
    c.mem = b->mem;
    c.bus = b->bus;
    c.clock = b->clock;
    b->a = kvm ? accel_kvm_open(&c, &e) : accel_soft_open(&c, &e);
    if (!b->a)
        print_message("%s\n", e.msg);
    assert_non_null(b->a);
    b->v = vcpu_new(b->a, 0, &e);
    if (!b->v)
        print_message("%s\n", e.msg);
    assert_non_null(b->v);
    return true;
}

static void close_box(struct box *b)
{
    vcpu_free(b->v);
    accel_close(b->a);
    bus_free(b->bus);
    mem_map_free(b->mem);
    clock_free(b->clock);
}

/* A 64-bit kernel in full swing: every field holds something of its own. */
static void long_mode(struct x86_state *s, const struct x86_cpuid *c)
{
    static const uint16_t sel[X86_SEGS] = {0x18, 0x10, 0x18, 0x18, 0x18, 0x18};

    x86_state_reset(s, true, 0);
    x86_state_reset_msrs(s, c);
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = 0x0101010101010101ull * (i + 1);
    s->rip = 0xffffffff81000000ull;
    s->rflags = 0x246;
    for (unsigned i = 0; i < X86_SEGS; i++)
        s->seg[i] = (struct x86_seg){.sel = sel[i], .limit = 0xffffffff, .attr = 0xc093};
    s->seg[X86_CS].attr = 0xa09b;
    s->seg[X86_FS].base = 0x7fff12345000;
    s->seg[X86_GS].base = 0xffff888000000000ull;
    s->ldtr = (struct x86_seg){.sel = 0x48, .base = 0x5000, .limit = 0xfff, .attr = 0x82};
    s->tr = (struct x86_seg){.sel = 0x40, .base = 0xfffffe0000003000ull, .limit = 0x206f, .attr = 0x8b};
    s->gdtr = (struct x86_dtable){.base = 0xfffffe0000001000ull, .limit = 0x7f};
    s->idtr = (struct x86_dtable){.base = 0xfffffe0000000000ull, .limit = 0xfff};
    s->cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE;
    s->cr2 = 0x7ffdeadb000;
    s->cr3 = 0x12000;
    s->cr4 =
        CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | (x86_cpuid_has(c, X86_F_XSAVE) ? CR4_OSXSAVE : 0);
    s->cr8 = 3;
    s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    s->xcr0 = x86_cpuid_has(c, X86_F_AVX) ? 7 : 1;
    s->dr[0] = 0x1000, s->dr[1] = 0x2000, s->dr[2] = 0x3000, s->dr[3] = 0xffffffff81000010ull;
    s->dr6 = 0xffff4ff1;
    s->dr7 = 0x455;
    s->tsc = 123456789012;
    s->pvclock_ns = 0;
}

static void busy_fpu(struct x86_state *s)
{
    s->fpu = (struct x86_fpu){.fcw = 0x37f,
                              .fsw = 0x3800,
                              .ftw = 0x80,
                              .fop = 0x123,
                              .fip = 0xffffffff81234567ull,
                              .fdp = 0x7fff00001234,
                              .mxcsr = 0x1fa0};
    for (unsigned i = 0; i < 10; i++)
        s->fpu.st[0][i] = (uint8_t)(0x40 + i);
    for (unsigned i = 0; i < 16; i++)
        for (unsigned j = 0; j < (s->xcr0 & XCR0_AVX ? 32u : 16u); j++)
            s->fpu.ymm[i][j] = (uint8_t)(i * 16 + j);
}

static void busy_system(struct x86_state *s)
{
    x86_state_msr_set(s, MSR_LSTAR, 0xffffffff81800000ull);
    x86_state_msr_set(s, MSR_STAR, 0x0023001000000000ull);
    x86_state_msr_set(s, MSR_KERNEL_GS_BASE, 0x7fff99990000);
    x86_state_msr_set(s, MSR_SYSENTER_CS, 0x10);
    x86_state_msr_set(s, MSR_SYSENTER_EIP, 0xffffffff81801000ull);
    x86_state_msr_set(s, MSR_PAT, 0x0407050600070106ull);
    x86_state_msr_set(s, MSR_MTRR_DEF_TYPE, 0xc06);
    x86_state_msr_set(s, MSR_MTRR_PHYSBASE0 + 1, 0xc0000800);
    s->lapic.regs[X86_LAPIC_SVR] = 0x1ff;
    s->lapic.regs[X86_LAPIC_TPR] = 0x30;
    s->lapic.regs[X86_LAPIC_LVT_LINT0] = 0x700;
    s->lapic.regs[X86_LAPIC_LVT_TIMER] = 0x100ec;
    s->lapic.regs[X86_LAPIC_LDR] = 0x01000000;
    s->lapic.regs[X86_LAPIC_IRR + 1] = 0x80; /* vector 0x27 waits */
    s->lapic.regs[X86_LAPIC_ISR + 2] = 0x10; /* 0x44 is in service */
    s->lapic.regs[X86_LAPIC_TMR + 2] = 0x10; /* and level-triggered */
    s->lapic.regs[X86_LAPIC_TIMER_DIVIDE] = 0xb;
    s->events = (struct x86_events){.nmi_masked = 1, .shadow = 1};
}

/* What time, or the other accelerator's make, may change. */
static void without_noise(struct x86_state *s)
{
    s->tsc = s->pvclock_ns = 0;
    s->tsc_khz = 0;
    s->lapic.regs[X86_LAPIC_VERSION] = 0;
    s->lapic.regs[0x0a] = 0; /* PPR follows from TPR and ISR */
    s->lapic.regs[0x09] = 0;
    s->fpu.pad0 = 0;
    /* AMD's processors have one shadow, whoever cast it. */
    if (s->events.shadow)
        s->events.shadow = 3;
}

static void same(const struct x86_state *a, const struct x86_state *b)
{
#define SAME(member) assert_memory_equal(&a->member, &b->member, sizeof a->member)
    SAME(gpr);
    assert_int_equal(a->rip, b->rip);
    assert_int_equal(a->rflags, b->rflags);
    SAME(seg);
    SAME(ldtr);
    SAME(tr);
    SAME(gdtr);
    SAME(idtr);
    assert_int_equal(a->cr0, b->cr0);
    assert_int_equal(a->cr2, b->cr2);
    assert_int_equal(a->cr3, b->cr3);
    assert_int_equal(a->cr4, b->cr4);
    assert_int_equal(a->cr8, b->cr8);
    assert_int_equal(a->efer, b->efer);
    assert_int_equal(a->xcr0, b->xcr0);
    SAME(dr);
    assert_int_equal(a->dr6, b->dr6);
    assert_int_equal(a->dr7, b->dr7);
    assert_int_equal(a->mp_state, b->mp_state);
    assert_int_equal(a->apic_base, b->apic_base);
    SAME(fpu.fcw);
    SAME(fpu.fsw);
    SAME(fpu.ftw);
    SAME(fpu.fop);
    SAME(fpu.fip);
    SAME(fpu.fdp);
    SAME(fpu.mxcsr);
    SAME(fpu.st);
    SAME(fpu.ymm);
    SAME(events);
    for (unsigned i = 0; i < 64; i++)
        if (a->lapic.regs[i] != b->lapic.regs[i]) {
            print_message("local APIC register %#x: %#x, %#x\n", i * 16, a->lapic.regs[i], b->lapic.regs[i]);
            assert_int_equal(a->lapic.regs[i], b->lapic.regs[i]);
        }
    for (uint32_t i = 0; i < a->msr_count; i++) {
        uint64_t v = x86_state_msr(b, a->msrs[i].index, a->msrs[i].value);

        if (v != a->msrs[i].value)
            print_message("MSR %#x\n", a->msrs[i].index);
        assert_int_equal(v, a->msrs[i].value);
    }
}

static void put_and_get(struct box *b, struct x86_state *in, struct x86_state *out)
{
    struct err e = {""};
    int r = vcpu_set(b->v, in, &e);

    if (r)
        print_message("%s\n", e.msg);
    assert_int_equal(r, 0);
    assert_int_equal(vcpu_get(b->v, out, &e), 0);
    assert_true(out->tsc >= in->tsc);
}

static void round_trip(bool kvm)
{
    static struct x86_state in, out;
    struct box b;

    if (!open_box(&b, kvm))
        skip();
    long_mode(&in, accel_cpuid(b.a, 0));
    busy_fpu(&in);
    busy_system(&in);
    put_and_get(&b, &in, &out);
    without_noise(&in);
    without_noise(&out);
    same(&in, &out);
    close_box(&b);
}

static void kvm_gives_back_the_state_it_was_given(void **state)
{
    (void)state;
    round_trip(true);
}

static void soft_gives_back_the_state_it_was_given(void **state)
{
    (void)state;
    round_trip(false);
}

static void reset_is_the_same(bool kvm)
{
    static struct x86_state want, s;
    struct err e = {""};
    struct box b;

    if (!open_box(&b, kvm))
        skip();
    x86_state_reset(&want, true, 0);
    x86_state_reset_msrs(&want, accel_cpuid(b.a, 0));
    want.gpr[X86_RDX] = x86_cpuid_get(accel_cpuid(b.a, 0), 1, 0).eax;
    assert_int_equal(vcpu_get(b.v, &s, &e), 0);
    without_noise(&want);
    without_noise(&s);
    same(&want, &s);
    close_box(&b);
}

static void a_new_vcpu_of_kvm_is_at_reset(void **state)
{
    (void)state;
    reset_is_the_same(true);
}

static void a_new_vcpu_of_soft_is_at_reset(void **state)
{
    (void)state;
    reset_is_the_same(false);
}

/* Pending exceptions with payload, injected interrupts, HLT, the waiting for a SIPI: one after the other,
 * through both. */
static void events_survive(struct box *b)
{
    static const struct x86_events events[] = {
        {.int_injected = 1, .int_vector = 0x31},
        {.exc_injected = 1, .exc_vector = 14, .exc_has_error = 1, .exc_error = 2},
        {.nmi_pending = 1, .nmi_masked = 1},
        {.shadow = 2},
    };
    static struct x86_state in, out;

    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        long_mode(&in, accel_cpuid(b->a, 0));
        in.events = events[i];
        in.lapic.regs[X86_LAPIC_TPR] = 0x30;
        put_and_get(b, &in, &out);
        without_noise(&in);
        without_noise(&out);
        assert_memory_equal(&in.events, &out.events, sizeof in.events);
    }
    for (uint8_t mp = X86_MP_RUNNABLE; mp <= X86_MP_WAIT_SIPI; mp++) {
        long_mode(&in, accel_cpuid(b->a, 0));
        in.mp_state = mp;
        put_and_get(b, &in, &out);
        assert_int_equal(out.mp_state, mp);
    }
}

static void events_survive_on_kvm(void **state)
{
    struct box b;

    (void)state;
    if (!open_box(&b, true))
        skip();
    events_survive(&b);
    close_box(&b);
}

static void events_survive_on_soft(void **state)
{
    struct box b;

    (void)state;
    assert_true(open_box(&b, false));
    events_survive(&b);
    close_box(&b);
}

/* A machine that moves: what one accelerator says is what the other one takes and says again. */
static void state_moves_between_accelerators(void **state)
{
    static struct x86_state in, from, to;
    struct box kvm, soft;

    (void)state;
    if (!open_box(&kvm, true))
        skip();
    assert_true(open_box(&soft, false));
    for (int way = 0; way < 2; way++) {
        struct box *a = way ? &kvm : &soft, *b = way ? &soft : &kvm;

        const struct x86_cpuid *kvm_has = accel_cpuid(kvm.a, 0), *soft_has = accel_cpuid(soft.a, 0);

        long_mode(&in, x86_cpuid_has(kvm_has, X86_F_XSAVE) ? soft_has : kvm_has);
        in.xcr0 = in.cr4 & CR4_OSXSAVE ? 3 : 1;
        busy_fpu(&in);
        busy_system(&in);
        x86_state_msr_set(&in, MSR_ARCH_CAPABILITIES, 0);
        put_and_get(a, &in, &from);
        from.tsc_khz = 0;
        /* Feature MSRs belong to the CPUID, not to the state that moves. */
        x86_state_msr_set(&from, MSR_ARCH_CAPABILITIES, accel_cpuid(b->a, 0)->arch_caps);
        put_and_get(b, &from, &to);
        without_noise(&from);
        without_noise(&to);
        same(&from, &to);
    }
    close_box(&kvm);
    close_box(&soft);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kvm_gives_back_the_state_it_was_given),
        cmocka_unit_test(soft_gives_back_the_state_it_was_given),
        cmocka_unit_test(a_new_vcpu_of_kvm_is_at_reset),
        cmocka_unit_test(a_new_vcpu_of_soft_is_at_reset),
        cmocka_unit_test(events_survive_on_kvm),
        cmocka_unit_test(events_survive_on_soft),
        cmocka_unit_test(state_moves_between_accelerators),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
