/*
 * exec_far: far transfers, software interrupts, IRET, fast system calls (SDM 2A-2B; SDM 3A 5.8.7, 5.8.8).
 */
#include "accel/soft/engine/exec_system.h"

static void far_pointer(struct cpu *c, const struct insn *in, uint16_t *sel, uint64_t *off)
{
    if (in->kind[0] != OPD_MEM) {
        *sel = in->sel;
        *off = in->imm;
        return;
    }
    uint64_t ea = insn_ea(c, in);
    *off = cpu_load(c, in->seg, ea, in->opsize);
    *sel = (uint16_t)cpu_load(c, in->seg, (ea + in->opsize) & mask_size(in->adsize), 2);
}

static void exec_jmp_far(struct cpu *c, const struct insn *in)
{
    uint16_t sel;
    uint64_t off;

    far_pointer(c, in, &sel, &off);
    cpu_far_jump(c, sel, off, in->opsize);
}

static void exec_call_far(struct cpu *c, const struct insn *in)
{
    uint16_t sel;
    uint64_t off;

    far_pointer(c, in, &sel, &off);
    cpu_far_call(c, sel, off, in->opsize);
}

static void exec_ret_far(struct cpu *c, const struct insn *in)
{
    cpu_far_ret(c, in->opsize, in->kind[0] == OPD_IMM ? (uint16_t)in->imm : 0);
}

static void exec_iret(struct cpu *c, const struct insn *in)
{
    drain_stores();
    cpu_iret(c, in->opsize);
}

static void exec_int(struct cpu *c, const struct insn *in)
{
    cpu_soft_interrupt(c, (uint8_t)in->imm, true);
}

static void exec_int3(struct cpu *c, const struct insn *in)
{
    (void)in;
    if (c->priv->dbg.software_breaks)
        cpu_exit_debug(c, 0, 0, true);
    cpu_soft_interrupt(c, X86_BP, false);
}

static void exec_into(struct cpu *c, const struct insn *in)
{
    (void)in;
    if (c->rflags & X86_OF)
        cpu_soft_interrupt(c, X86_OFV, false);
}

static void exec_int1(struct cpu *c, const struct insn *in)
{
    (void)in;
    cpu_soft_interrupt(c, X86_DB, false);
}

/* ---- SYSCALL, SYSRET, SYSENTER, SYSEXIT ---- */

static struct x86_seg flat(uint16_t sel, bool code, unsigned dpl, bool wide)
{
    return (struct x86_seg){.sel = sel,
                            .limit = 0xffffffff,
                            .attr = (code ? 0xbu : 3u) | X86_SEG_S | dpl << 5 | X86_SEG_P | X86_SEG_G |
                                    (wide ? X86_SEG_L : X86_SEG_DB)};
}

static void enter(struct cpu *c, uint16_t cs, uint16_t ss, unsigned cpl, bool wide)
{
    c->seg[X86_CS] = flat(cs, true, cpl, wide);
    c->seg[X86_SS] = flat(ss, false, cpl, false);
    c->cpl = (uint8_t)cpl;
    cpu_update_mode(c);
}

/* Behind SYSCALL and SYSRET the TF that they leave counts, not the one that they found: user code that is
 * stepped over a system call does not step the kernel, and a SYSRET that sets TF traps at once. */
static void own_step(struct cpu *c)
{
    if (c->rflags & X86_TF) {
        c->db_pending |= DB_STEP;
        c->leave_block = 1;
    }
}

/* Outside of 64-bit mode SYSCALL and SYSRET exist on AMD's processors only (APM 3): from compatibility mode
 * it enters at CSTAR, from legacy modes at the address in STAR. */
static void exec_syscall(struct cpu *c, const struct insn *in)
{
    bool wide = c->mode == MODE_64;
    uint64_t clear = c->long_mode ? c->sfmask | X86_RF : X86_IF | X86_RF | X86_VM;

    (void)in;
    if (!(c->efer & EFER_SCE) || (!wide && !c->priv->amd))
        cpu_ud(c);
    c->gpr[X86_RCX] = c->next_rip;
    if (c->long_mode)
        c->gpr[X86_R11] = c->rflags & ~(uint64_t)X86_RF;
    c->rflags = (c->rflags & ~clear) | 2;
    uint16_t cs = (uint16_t)(c->star >> 32 & 0xfffc);
    c->next_rip = wide ? c->lstar : c->long_mode ? c->cstar : (uint32_t)c->star;
    enter(c, cs, (uint16_t)(cs + 8), 0, c->long_mode);
    own_step(c);
}

/* To 32-bit code, with interrupts on: nothing else tells of the flags. */
static void sysret_narrow(struct cpu *c)
{
    uint16_t base = (uint16_t)(c->star >> 48);

    if (!cpu_pe(c))
        cpu_gp(c, 0);
    cpu_need_cpl0(c);
    c->rflags |= X86_IF;
    c->next_rip = (uint32_t)c->gpr[X86_RCX];
    enter(c, base | 3, (uint16_t)(base + 8) | 3, 3, false);
    own_step(c);
}

static void exec_sysret(struct cpu *c, const struct insn *in)
{
    bool wide = in->opsize == 8;

    if (!(c->efer & EFER_SCE) || (c->mode != MODE_64 && !c->priv->amd))
        cpu_ud(c);
    if (c->mode != MODE_64) {
        sysret_narrow(c);
        return;
    }
    cpu_need_cpl0(c);
    if (wide && !is_canonical(c, c->gpr[X86_RCX]))
        cpu_gp(c, 0);
    c->rflags = (c->gpr[X86_R11] & 0x3c7fd7) | 2;
    uint16_t base = (uint16_t)(c->star >> 48);
    c->next_rip = wide ? c->gpr[X86_RCX] : (uint32_t)c->gpr[X86_RCX];
    enter(c, (uint16_t)((base + (wide ? 16 : 0)) | 3), (uint16_t)((base + 8) | 3), 3, wide);
    own_step(c);
}

static void exec_sysenter(struct cpu *c, const struct insn *in)
{
    (void)in;
    need_feature(c, X86_F_SEP);
    if (!cpu_pe(c) || !(c->sysenter_cs & 0xfffc))
        cpu_gp(c, 0);
    bool wide = c->long_mode;
    uint16_t cs = (uint16_t)(c->sysenter_cs & 0xfffc);
    c->rflags &= ~(uint64_t)(X86_VM | X86_IF | X86_RF);
    c->gpr[X86_RSP] = wide ? c->sysenter_esp : (uint32_t)c->sysenter_esp;
    c->next_rip = wide ? c->sysenter_eip : (uint32_t)c->sysenter_eip;
    enter(c, cs, (uint16_t)(cs + 8), 0, wide);
}

static void exec_sysexit(struct cpu *c, const struct insn *in)
{
    bool wide = in->opsize == 8;

    need_feature(c, X86_F_SEP);
    if (!cpu_pe(c) || c->cpl || !(c->sysenter_cs & 0xfffc))
        cpu_gp(c, 0);
    if (wide && (!is_canonical(c, c->gpr[X86_RCX]) || !is_canonical(c, c->gpr[X86_RDX])))
        cpu_gp(c, 0);
    uint16_t base = (uint16_t)(c->sysenter_cs & 0xfffc);
    uint64_t mask = wide ? ~0ull : 0xffffffffull;
    c->gpr[X86_RSP] = c->gpr[X86_RCX] & mask;
    c->next_rip = c->gpr[X86_RDX] & mask;
    enter(c, (uint16_t)((base + (wide ? 32 : 16)) | 3), (uint16_t)((base + (wide ? 40 : 24)) | 3), 3, wide);
}

bool exec_far_setup(struct insn *out, const ZydisDecodedInstruction *zi)
{
    static const struct {
        ZydisMnemonic mnemonic;
        exec_fn *exec;
    } rows[] = {
        {ZYDIS_MNEMONIC_IRET, exec_iret},       {ZYDIS_MNEMONIC_IRETD, exec_iret},
        {ZYDIS_MNEMONIC_IRETQ, exec_iret},      {ZYDIS_MNEMONIC_INT, exec_int},
        {ZYDIS_MNEMONIC_INT3, exec_int3},       {ZYDIS_MNEMONIC_INTO, exec_into},
        {ZYDIS_MNEMONIC_INT1, exec_int1},       {ZYDIS_MNEMONIC_SYSCALL, exec_syscall},
        {ZYDIS_MNEMONIC_SYSRET, exec_sysret},   {ZYDIS_MNEMONIC_SYSENTER, exec_sysenter},
        {ZYDIS_MNEMONIC_SYSEXIT, exec_sysexit},
    };

    if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
        switch (zi->mnemonic) {
        case ZYDIS_MNEMONIC_JMP:
            out->exec = exec_jmp_far;
            return true;
        case ZYDIS_MNEMONIC_CALL:
            out->exec = exec_call_far;
            return true;
        case ZYDIS_MNEMONIC_RET:
            out->exec = exec_ret_far;
            return true;
        default:
            break;
        }
    }
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].mnemonic == zi->mnemonic) {
            out->exec = rows[i].exec;
            if (out->exec == exec_syscall || out->exec == exec_sysret)
                out->flags |= INSN_OWN_STEP;
            return true;
        }
    return false;
}
