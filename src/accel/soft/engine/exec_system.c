/*
 * exec_system: which file of the system family executes an instruction.
 */
#include "accel/soft/engine/exec_system.h"

bool exec_system_setup(struct insn *out, const void *zydis_insn, const void *zydis_ops, enum cpu_mode mode)
{
    const ZydisDecodedInstruction *zi = zydis_insn;
    const ZydisDecodedOperand *ops = zydis_ops;

    (void)mode;
    if (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return false;
    return exec_far_setup(out, zi) || exec_segment_setup(out, zi, ops) || exec_control_setup(out, zi, ops) ||
           exec_msr_setup(out, zi) || exec_io_setup(out, zi);
}
