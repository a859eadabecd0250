/*
 * xfast: the part of a vCPU that translated code reads and writes itself, by GS-relative addresses: the fast
 * TLB, the jump cache, and a few words of scratch. Embedded in struct cpu (cpu.h); ftlb.c and xcache.c keep
 * it.
 */
#ifndef ENGINE_XFAST_H
#define ENGINE_XFAST_H
#include <stdint.h>

/*
 * The fast TLB: one direct-mapped entry for each value of linear address bits 12..27, so that translated code
 * finds it with a shift, a mask and one added address. An access of n bytes at `linear` hits when linear -
 * tag
 * <= 4096 - n, unsigned: that proves the page, canonical form, and that no page boundary is crossed. `write`
 * is only set for pages that may be stored to without telling anyone: writable, dirty, without decoded code;
 * they may be read as well.
 *
 * The kind of access decides the set: enum tlb_set without TLB_USER_CHECK. Entries need no address-space
 * number: what becomes stale is cleared, by a log of the entries that were filled, apart for the lower and
 * the upper half of linear space.
 */
enum { FTLB_SIZE = 1 << 16, FTLB_SETS = 3, FTLB_LOG = 4096, FTLB_SHIFT = 5 };

struct ftlb_entry {
    uint64_t read, write; /* tags: linear address of the page */
    uint64_t host;        /* its host address */
    uint64_t addend;      /* from linear addresses to host addresses */
};
_Static_assert(sizeof(struct ftlb_entry) == 1 << FTLB_SHIFT, "how translated code finds an entry");

/* Accesses by the stack pointer look first at one entry of their own, without a search: the page that was
 * last the stack's, a copy of its entry in the table. It may be at any address, so there is a tag for none: a
 * page far from all canonical addresses, where an access would find `nowhere` in place of its #SS. */
#define FTLB_NO_STACK 0x5d1b0f3a7c2e9000ull

struct ftlb {
    struct ftlb_entry stack;
    struct ftlb_entry e[FTLB_SIZE];
    uint16_t log[2][FTLB_LOG];
    uint32_t logged[2];
};

/* The jump cache: where the translation of a linear address begins, by the address' low bits. The translation
 * checks that it is the one that was wanted. One for each TLB set, because that is part of what a translation
 * was made for. */
enum { JC_BITS = 16, JC_SIZE = 1 << JC_BITS };
/* Functions begin at multiples of 16 bytes, and where a call returns to lies at least five behind the last.
 */
enum { JC_SHIFT = 3 };

static inline unsigned jc_index(uint64_t linear)
{
    return (unsigned)(linear >> JC_SHIFT & (JC_SIZE - 1));
}

struct xfast {
    uint32_t poll; /* not zero: translated code leaves at the next back edge or indirect jump; any thread sets
                      it */
    uint32_t vec_live;   /* the guest's vector registers are in the host's: enum xvec */
    uint32_t vec_want;   /* load them before going on */
    uint32_t vec_mxcsr;  /* MXCSR to run the guest's vector instructions with */
    uint32_t host_mxcsr; /* the VMM's */
    uint32_t on;         /* translated code is in use */
    uint64_t save;       /* scratch: a register while flags are restored */
    uint64_t target;     /* scratch: where an indirect jump goes */
    uint64_t go;         /* where the glue continues */
    uint64_t stop_at;    /* so many instructions retired: leave at the next poll (engine_stop_at) */
    uint64_t scratch[4]; /* of the glue's longer pieces */
    uint8_t nowhere[4096];
    uint64_t jc[FTLB_SETS][JC_SIZE];
    struct ftlb ftlb[FTLB_SETS];
};

enum xvec { XVEC_NONE, XVEC_SSE, XVEC_AVX };

#endif
