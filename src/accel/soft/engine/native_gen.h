/*
 * native_gen: from a guest instruction to the machine code of its thunk (native.h). Pure.
 */
#ifndef ENGINE_NATIVE_GEN_H
#define ENGINE_NATIVE_GEN_H
#include "accel/soft/engine/insn.h"
#include "accel/soft/engine/native.h"

struct native_plan {
    uint32_t flags_out;
    uint8_t attr;
    uint8_t mem_size;
    uint8_t key[24];
    unsigned code_size;
    uint8_t code[NATIVE_SLOT - NATIVE_ENTRY];
};

/* Plan the thunk of `in` as decoded in `mode`. false: the instruction does not fit (stack, branch, LOCK,
 * privileged, high byte registers, EVEX). */
bool native_plan(struct native_plan *p, const struct insn *in, enum cpu_mode mode);

#endif
