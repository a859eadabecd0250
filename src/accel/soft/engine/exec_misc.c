/*
 * exec_misc: flag instructions, hints, cache lines and fences.
 */
#include "accel/soft/engine/exec_int.h"

static void exec_nop(struct cpu *c, const struct insn *in)
{
    (void)c;
    (void)in;
}

static void exec_lahf(struct cpu *c, const struct insn *in)
{
    (void)in;
    if (c->mode == MODE_64)
        need_feature(c, FEAT_LAHF64);
    c->gpr[X86_RAX] = (c->gpr[X86_RAX] & ~0xff00ull) | (c->rflags & 0xff) << 8;
}

static void exec_sahf(struct cpu *c, const struct insn *in)
{
    (void)in;
    if (c->mode == MODE_64)
        need_feature(c, FEAT_LAHF64);
    flags_set(c, SEED_BUG(18) ? X86_ARITH_FLAGS : X86_ARITH_FLAGS & 0xff, c->gpr[X86_RAX] >> 8 & 0xff);
}

static void exec_clc(struct cpu *c, const struct insn *in)
{
    (void)in;
    c->rflags &= ~(uint64_t)X86_CF;
}

static void exec_stc(struct cpu *c, const struct insn *in)
{
    (void)in;
    c->rflags |= X86_CF;
}

static void exec_cmc(struct cpu *c, const struct insn *in)
{
    (void)in;
    c->rflags ^= X86_CF;
}

static void exec_cld(struct cpu *c, const struct insn *in)
{
    (void)in;
    c->rflags &= ~(uint64_t)X86_DF;
}

static void exec_std(struct cpu *c, const struct insn *in)
{
    (void)in;
    c->rflags |= X86_DF;
}

/* ---- cache lines: the access is checked as a load of a byte; our caches are the host's, so nothing is left
 * to do ---- */

static void check_line(struct cpu *c, const struct insn *in)
{
    uint64_t ea = insn_ea(c, in);
    uint8_t *host;
    /* not by a plain load: of a device's register that would be a real access */
    if (!cpu_bulk(c, in->seg, ea, false, &host))
        cpu_load(c, in->seg, ea, 1);
}

static void exec_clflush(struct cpu *c, const struct insn *in)
{
    need_feature(c, FEAT_CLFSH);
    check_line(c, in);
}

static void exec_clflushopt(struct cpu *c, const struct insn *in)
{
    need_feature(c, FEAT_CLFLUSHOPT);
    check_line(c, in);
}

static void exec_clwb(struct cpu *c, const struct insn *in)
{
    need_feature(c, FEAT_CLWB);
    check_line(c, in);
}

/* ---- fences: other vCPUs are other host threads ---- */

static void exec_fence(struct cpu *c, const struct insn *in)
{
    need_feature(c, in->op == ZYDIS_MNEMONIC_SFENCE ? FEAT_SSE : FEAT_SSE2);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void exec_pause(struct cpu *c, const struct insn *in)
{
    (void)c;
    (void)in;
    __builtin_ia32_pause();
}

bool exec_misc_setup(struct insn *out, const ZydisDecodedInstruction *zi)
{
    static const struct {
        uint16_t op;
        exec_fn *exec;
    } table[] = {
        {ZYDIS_MNEMONIC_LAHF, exec_lahf},
        {ZYDIS_MNEMONIC_SAHF, exec_sahf},
        {ZYDIS_MNEMONIC_CLC, exec_clc},
        {ZYDIS_MNEMONIC_STC, exec_stc},
        {ZYDIS_MNEMONIC_CMC, exec_cmc},
        {ZYDIS_MNEMONIC_CLD, exec_cld},
        {ZYDIS_MNEMONIC_STD, exec_std},
        {ZYDIS_MNEMONIC_CLFLUSH, exec_clflush},
        {ZYDIS_MNEMONIC_CLFLUSHOPT, exec_clflushopt},
        {ZYDIS_MNEMONIC_CLWB, exec_clwb},
        {ZYDIS_MNEMONIC_LFENCE, exec_fence},
        {ZYDIS_MNEMONIC_SFENCE, exec_fence},
        {ZYDIS_MNEMONIC_MFENCE, exec_fence},
        {ZYDIS_MNEMONIC_PAUSE, exec_pause},
        {ZYDIS_MNEMONIC_NOP, exec_nop},
        {ZYDIS_MNEMONIC_PREFETCH, exec_nop},
        {ZYDIS_MNEMONIC_PREFETCHW, exec_nop},
        {ZYDIS_MNEMONIC_PREFETCHWT1, exec_nop},
        {ZYDIS_MNEMONIC_PREFETCHNTA, exec_nop},
        {ZYDIS_MNEMONIC_PREFETCHT0, exec_nop},
        {ZYDIS_MNEMONIC_PREFETCHT1, exec_nop},
        {ZYDIS_MNEMONIC_PREFETCHT2, exec_nop},
    };

    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (zi->mnemonic != table[i].op)
            continue;
        out->exec = table[i].exec;
        return true;
    }
    return false;
}
