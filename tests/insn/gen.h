/* gen: what gen.c (instruction and memory operand) and gen_state.c (registers) share. */
#ifndef LAB_GEN_H
#define LAB_GEN_H
#include "lab.h"

static inline bool chance(struct rng *r, unsigned percent)
{
    return rng_below(r, 100) < percent;
}
uint64_t gen_integer(struct rng *r);
/* n bytes of numbers such as vector and x87 instructions find interesting. */
void gen_numbers(struct rng *r, uint8_t *out, unsigned n);
void gen_fpu(struct rng *r, struct lab_fpu *f);
void gen_registers(struct rng *r, struct lab_state *s);
/* Offset in data memory of a valid XSAVE image (64-byte aligned): every batch has them there. */
enum { IMAGE_AT_1 = 1 * PAGE, IMAGE_AT_2 = 2 * PAGE + 0x400 };

#endif
