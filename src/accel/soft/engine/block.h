/*
 * block: decoded instructions cached by physical page and mode. A block is a run of instructions on one page up to the first INSN_END.
 * Each vCPU has its own cache; a write to a page with PAGE_CODE changes the page's generation, and a block whose generation is old is dropped.
 */
#ifndef ENGINE_BLOCK_H
#define ENGINE_BLOCK_H
#include "accel/soft/engine/insn.h"

struct block {
    uint64_t key;        /* physical address of the first byte, mode in the low... see block.c */
    const uint32_t *gen; /* where the page's generation lives */
    uint32_t gen_at;     /* its value when the block was decoded */
    uint16_t count;
    uint16_t bytes;
    struct insn insn[];
};

#endif
