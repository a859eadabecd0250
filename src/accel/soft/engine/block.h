/*
 * block: decoded instructions cached by physical page and mode. A block is a run of instructions on one page
 * up to the first INSN_END. Each vCPU has its own cache; a write to a page with PAGE_CODE changes the page's
 * generation, and a block whose generation is old is checked against memory again before it runs.
 */
#ifndef ENGINE_BLOCK_H
#define ENGINE_BLOCK_H
#include "accel/soft/engine/insn.h"

enum { BLOCK_INSNS = 64 };

struct block {
    uint64_t key;        /* physical address of the first byte << 2 | enum cpu_mode */
    const uint32_t *gen; /* where the page's generation lives */
    uint32_t gen_at;     /* its value when the block was decoded or last checked */
    uint16_t count;
    uint16_t bytes;
    struct block *chain; /* next in its bucket */
    /* an instruction that runs into the next page is a block of its own, and remembers that page, too */
    uint64_t page2; /* its physical address; 0: none */
    const uint32_t *gen2;
    uint32_t gen2_at;
    uint32_t pad;
    struct insn insn[] __attribute__((aligned(64)));
};

/* cpu->jump is a direct-mapped memory of which block a linear address led to. Its key holds all that the way
 * there depends on: linear address << 16, the TLB set << 14, mode << 12, and the address-space number. The
 * slots of a page lie together, so that INVLPG finds them. Linear addresses of 57 bits have no room there. */
static inline unsigned jump_index(uint64_t linear)
{
    return (unsigned)((linear >> 12 & (JUMP_PAGES - 1)) * JUMP_SLOTS +
                      ((linear ^ linear >> 7) & (JUMP_SLOTS - 1)));
}

static inline uint32_t block_hash(uint64_t key)
{
    return (uint32_t)(key >> 2 ^ key >> 14 ^ key << 9);
}

#endif
