#include <string.h>
#include "accel/soft/engine/private.h"

size_t block_cache_size(void)
{
    return 4096;
}

void block_cache_init(struct cpu *c, void *at)
{
    c->priv->blocks = at;
}

void block_flush(struct cpu *c)
{
    c->leave_block = 1;
}

/* Linear address of the code byte at `rip`; segment limit and canonical form checked. */
static uint64_t code_linear(struct cpu *c, uint64_t rip)
{
    if (c->mode == MODE_64) {
        if (!is_canonical(rip))
            cpu_gp(c, 0);
        return rip;
    }
    if (rip > c->seg[X86_CS].limit)
        cpu_gp(c, 0);
    return (uint32_t)(c->seg[X86_CS].base + rip);
}

static uint8_t fetch_byte(struct cpu *c, uint64_t rip)
{
    struct place p;

    cpu_place(c, code_linear(c, rip), TLB_FETCH, c->tlb_user, &p);
    return p.host ? *p.host : (uint8_t)cpu_mmio_read(c, p.gpa, 1);
}

void block_decode_one(struct cpu *c, struct insn *in)
{
    uint8_t bytes[15];

    /* byte by byte: a byte that the instruction does not have must not fault */
    for (unsigned n = 0; n < sizeof(bytes);) {
        bytes[n] = fetch_byte(c, c->rip + n);
        n++;
        if (insn_decode(bytes, n, (enum cpu_mode)c->mode, in) == 0)
            return;
    }
}
