/*
 * exec_msr: RDMSR, WRMSR, RDTSC, RDTSCP, RDPMC, CPUID, XGETBV, XSETBV, RDPKRU, WRPKRU, VMCALL, VMMCALL.
 */
#include "accel/soft/engine/exec_system.h"

static void put_pair(struct cpu *c, uint64_t v)
{
    c->gpr[X86_RAX] = (uint32_t)v;
    c->gpr[X86_RDX] = v >> 32;
}

static uint64_t get_pair(const struct cpu *c)
{
    return (uint32_t)c->gpr[X86_RAX] | c->gpr[X86_RDX] << 32;
}

uint64_t cpu_rdmsr(struct cpu *c, uint32_t index)
{
    uint64_t v;

    if (!msr_read(c, index, &v))
        cpu_gp(c, 0);
    return v;
}

void cpu_wrmsr(struct cpu *c, uint32_t index, uint64_t value)
{
    if (!msr_write(c, index, value, false))
        cpu_gp(c, 0);
}

static void exec_rdmsr(struct cpu *c, const struct insn *in)
{
    (void)in;
    cpu_need_cpl0(c);
    put_pair(c, cpu_rdmsr(c, (uint32_t)c->gpr[X86_RCX]));
}

static void exec_wrmsr(struct cpu *c, const struct insn *in)
{
    (void)in;
    cpu_need_cpl0(c);
    drain_stores();
    cpu_wrmsr(c, (uint32_t)c->gpr[X86_RCX], get_pair(c));
}

static void check_tsc(struct cpu *c)
{
    if (c->cpl && (c->cr4 & CR4_TSD))
        cpu_gp(c, 0);
}

static void exec_rdtsc(struct cpu *c, const struct insn *in)
{
    (void)in;
    check_tsc(c);
    put_pair(c, cpu_tsc(c));
}

static void exec_rdtscp(struct cpu *c, const struct insn *in)
{
    (void)in;
    need_feature(c, X86_F_RDTSCP);
    check_tsc(c);
    put_pair(c, cpu_tsc(c));
    c->gpr[X86_RCX] = (uint32_t)c->tsc_aux;
}

/* There are no counters: every index is out of range. */
static void exec_rdpmc(struct cpu *c, const struct insn *in)
{
    (void)in;
    cpu_gp(c, 0);
}

static void exec_cpuid(struct cpu *c, const struct insn *in)
{
    (void)in;
    drain_stores();
    cpu_cpuid(c);
}

/* ---- extended control registers (SDM 1 13.3) ---- */

static void check_xcr(struct cpu *c)
{
    need_feature(c, X86_F_XSAVE);
    if (!(c->cr4 & CR4_OSXSAVE))
        cpu_ud(c);
}

static void exec_xgetbv(struct cpu *c, const struct insn *in)
{
    uint32_t index = (uint32_t)c->gpr[X86_RCX];

    (void)in;
    check_xcr(c);
    if (index == 0)
        put_pair(c, c->xcr0);
    else if (index == 1 && cpu_has(c, X86_F_XGETBV1))
        put_pair(c, c->xcr0 & xsave_in_use(c));
    else
        cpu_gp(c, 0);
}

static void exec_xsetbv(struct cpu *c, const struct insn *in)
{
    uint64_t v = get_pair(c);
    struct x86_cpuid_leaf l = x86_cpuid_get(&c->priv->cpuid, 0xd, 0);
    uint64_t have = l.eax | (uint64_t)l.edx << 32;

    (void)in;
    check_xcr(c);
    cpu_need_cpl0(c);
    bool wide = v & XCR0_AVX512;
    if ((uint32_t)c->gpr[X86_RCX] || !(v & XCR0_X87) || (v & ~have) || ((v & XCR0_AVX) && !(v & XCR0_SSE)) ||
        (wide && ((v & XCR0_AVX512) != XCR0_AVX512 || !(v & XCR0_AVX))))
        cpu_gp(c, 0);
    c->xcr0 = v;
    c->leave_block = 1;
}

/* ---- the rights register for protection keys (SDM 2B RDPKRU, WRPKRU) ---- */

static void check_pkru(struct cpu *c, bool zeroes)
{
    if (!(c->cr4 & CR4_PKE))
        cpu_ud(c);
    if ((uint32_t)c->gpr[X86_RCX] || !zeroes)
        cpu_gp(c, 0);
}

static void exec_rdpkru(struct cpu *c, const struct insn *in)
{
    (void)in;
    check_pkru(c, true);
    put_pair(c, c->fpu.pkru);
}

static void exec_wrpkru(struct cpu *c, const struct insn *in)
{
    (void)in;
    check_pkru(c, (uint32_t)c->gpr[X86_RDX] == 0);
    cpu_set_pkru(c, (uint32_t)c->gpr[X86_RAX]);
}

/* KVM's hypercall interface (Documentation/virt/kvm/x86/hypercalls.rst), of which one call is there, where
 * CPUID has it. -ENOSYS of that interface is -1000, user mode gets -EPERM. */
enum { HC_SEND_IPI = 10, HC_EPERM = -1, HC_EINVAL = -22, HC_ENOSYS = -1000 };

/* A set of CPUs, as two words of its bits and the APIC id of the first; and the low half of ICR, without a
 * destination. */
static int64_t send_ipi(struct cpu *c, const uint64_t arg[4], bool wide)
{
    const uint64_t dest = 0xcf000; /* shorthand and such */

    if (arg[3] & dest)
        return HC_EINVAL;
    return lapic_send_set(c, arg[0], arg[1], wide ? 64 : 32, arg[2], (uint32_t)arg[3]);
}

static void exec_vmcall(struct cpu *c, const struct insn *in)
{
    bool wide = c->mode == MODE_64;
    uint64_t mask = wide ? ~0ull : 0xffffffffull;
    uint64_t arg[] = {c->gpr[X86_RBX] & mask, c->gpr[X86_RCX] & mask, c->gpr[X86_RDX] & mask,
                      c->gpr[X86_RSI] & mask};
    int64_t r = HC_ENOSYS;

    (void)in;
    if (!cpu_has(c, X86_F_HYPERVISOR))
        cpu_ud(c);
    if (c->cpl)
        r = HC_EPERM;
    else if ((c->gpr[X86_RAX] & mask) == HC_SEND_IPI && cpu_has(c, X86_F_KVM_PV_IPI))
        r = send_ipi(c, arg, wide);
    c->gpr[X86_RAX] = (uint64_t)r & (c->long_mode ? ~0ull : 0xffffffffull);
}

bool exec_msr_setup(struct insn *out, const ZydisDecodedInstruction *zi)
{
    static const struct {
        ZydisMnemonic mnemonic;
        exec_fn *exec;
    } rows[] = {
        {ZYDIS_MNEMONIC_RDMSR, exec_rdmsr},   {ZYDIS_MNEMONIC_WRMSR, exec_wrmsr},
        {ZYDIS_MNEMONIC_RDTSC, exec_rdtsc},   {ZYDIS_MNEMONIC_RDTSCP, exec_rdtscp},
        {ZYDIS_MNEMONIC_RDPMC, exec_rdpmc},   {ZYDIS_MNEMONIC_CPUID, exec_cpuid},
        {ZYDIS_MNEMONIC_XGETBV, exec_xgetbv}, {ZYDIS_MNEMONIC_XSETBV, exec_xsetbv},
        {ZYDIS_MNEMONIC_VMCALL, exec_vmcall}, {ZYDIS_MNEMONIC_VMMCALL, exec_vmcall},
        {ZYDIS_MNEMONIC_RDPKRU, exec_rdpkru}, {ZYDIS_MNEMONIC_WRPKRU, exec_wrpkru},
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].mnemonic == zi->mnemonic) {
            out->exec = rows[i].exec;
            return true;
        }
    return false;
}
