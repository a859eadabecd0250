/*
 * exec_system: what the files of the system family share: setup by file, each true when the instruction is
 * its own.
 */
#ifndef ENGINE_EXEC_SYSTEM_H
#define ENGINE_EXEC_SYSTEM_H
#include <Zydis/Zydis.h>
#include "accel/soft/engine/private.h"

bool exec_control_setup(struct insn *out, const ZydisDecodedInstruction *zi,
                        const ZydisDecodedOperand *ops); /* CR, DR, tables, caches, TLB, flags */
bool exec_segment_setup(struct insn *out, const ZydisDecodedInstruction *zi,
                        const ZydisDecodedOperand *ops); /* segment registers, LAR and kin */
bool exec_far_setup(struct insn *out,
                    const ZydisDecodedInstruction *zi); /* far transfers, INT, IRET, SYSCALL */
bool exec_msr_setup(struct insn *out,
                    const ZydisDecodedInstruction *zi); /* MSR, TSC, CPUID, XCR, hypercalls */
bool exec_io_setup(struct insn *out, const ZydisDecodedInstruction *zi); /* IN, OUT, INS, OUTS */

/* Serializing instructions (SDM 3A 8.3): all that was stored before them is seen by other CPUs before
 * anything is loaded behind them. What goes outside (IN, OUT, device memory) has such a barrier of its own
 * (world.c). */
static inline void drain_stores(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void need_feature(struct cpu *c, uint32_t feature)
{
    if (!cpu_has(c, feature))
        cpu_ud(c);
}

/* UMIP: user mode may not look (SDM 3A 2.5, CR4.UMIP). */
static inline void check_umip(struct cpu *c)
{
    if (c->cpl && (c->cr4 & CR4_UMIP))
        cpu_gp(c, 0);
}

/* A 16-bit system value to a register (zero-extended to its size) or to two bytes of memory. */
static inline void put_word(struct cpu *c, const struct insn *in, uint64_t value)
{
    if (in->kind[0] == OPD_MEM)
        cpu_store(c, in->seg, insn_ea(c, in), 2, value & 0xffff);
    else
        cpu_set_gpr(c, in->reg[0], in->opsize, value);
}

/* A 16-bit operand. */
static inline uint16_t get_word(struct cpu *c, const struct insn *in, unsigned i)
{
    if (in->kind[i] == OPD_MEM)
        return (uint16_t)cpu_load(c, in->seg, insn_ea(c, in), 2);
    return (uint16_t)c->gpr[in->reg[i]];
}

#endif
