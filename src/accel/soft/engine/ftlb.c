/*
 * ftlb: the fast TLB of translated code. It is filled together with the soft TLB (tlb.c) and never knows more
 * than it.
 */
#include <string.h>
#include "accel/soft/engine/private.h"
#include "accel/soft/engine/seed.h"

enum { LOW, HIGH };

/* A tag that no address with this index can hit. */
static inline uint64_t no_tag(unsigned i)
{
    return i ? 0 : 4096;
}

static inline void clear_entry(struct ftlb *f, unsigned i)
{
    f->e[i].read = f->e[i].write = no_tag(i);
}

static void clear_stack(struct cpu *c, unsigned set)
{
    c->x.ftlb[set].stack = (struct ftlb_entry){.read = FTLB_NO_STACK,
                                               .write = FTLB_NO_STACK,
                                               .host = (uintptr_t)c->self->x.nowhere,
                                               .addend = (uintptr_t)c->self->x.nowhere - FTLB_NO_STACK};
}

void ftlb_init(struct cpu *c)
{
    for (unsigned s = 0; s < FTLB_SETS; s++) {
        clear_entry(&c->x.ftlb[s], 0);
        clear_stack(c, s);
    }
}

static void clear_half(struct ftlb *f, unsigned half)
{
    for (unsigned k = 0; k < f->logged[half] && k < FTLB_LOG; k++) {
        unsigned i = f->log[half][k];
        if (f->e[i].read >> 63 == half)
            f->e[i].read = no_tag(i);
        if (f->e[i].write >> 63 == half)
            f->e[i].write = no_tag(i);
    }
    f->logged[half] = 0;
}

void ftlb_flush_half(struct cpu *c, unsigned half)
{
    for (unsigned s = 0; s < FTLB_SETS; s++) {
        clear_half(&c->x.ftlb[s], half);
        clear_stack(c, s);
    }
    jc_flush_half(c, half);
}

void ftlb_flush_page(struct cpu *c, uint64_t linear)
{
    unsigned i = (unsigned)(linear >> 12) & (FTLB_SIZE - 1);

    for (unsigned s = 0; s < FTLB_SETS; s++) {
        clear_entry(&c->x.ftlb[s], i);
        if (!SEED_BUG(41))
            clear_stack(c, s);
    }
    if (!SEED_BUG(27))
        jc_flush_page(c, linear);
}

void ftlb_fill(struct cpu *c, enum tlb_set set, enum tlb_kind kind, uint64_t linear, const struct place *p)
{
    uint64_t page = linear & ~0xfffull;
    unsigned i = (unsigned)(linear >> 12) & (FTLB_SIZE - 1), half = (unsigned)(linear >> 63);

    if ((unsigned)set >= FTLB_SETS || kind == TLB_FETCH || !c->x.on)
        return;
    struct ftlb *f = &c->x.ftlb[set];
    struct ftlb_entry *e = &f->e[i];
    if (e->read != page && e->write != page) {
        if (f->logged[half] >= FTLB_LOG) {
            clear_half(f, half);
            clear_stack(c, (unsigned)set);
        }
        f->log[half][f->logged[half]++] = (uint16_t)i;
        clear_entry(f, i);
    }
    e->host = (uintptr_t)p->host & ~0xfffull;
    e->addend = e->host - page;
    if (kind == TLB_READ) {
        e->read = page;
        if (!SEED_BUG(32))
            return;
    }
    /* The page may get code later: whoever claims it looks for NOTE_FAST and has such entries dropped
     * everywhere. */
    uint8_t note = __atomic_load_n(p->note, __ATOMIC_SEQ_CST);
    if (note & PAGE_CODE)
        return;
    if (!(note & NOTE_FAST))
        note = __atomic_or_fetch(p->note, NOTE_FAST, __ATOMIC_SEQ_CST);
    if (!(note & PAGE_CODE))
        e->write = page;
}

/* What the soft TLB knows of `linear` the fast one shall know, too: it forgets more. */
void ftlb_refill(struct cpu *c, uint64_t linear)
{
    for (enum tlb_kind kind = TLB_READ; kind <= TLB_WRITE; kind++) {
        const struct tlb_entry *t = &c->tlb_now[kind][linear >> 12 & (TLB_SIZE - 1)];
        if (t->tag == ((linear & ~0xfffull) | c->asid[linear >> 63])) {
            struct place p = {.host = (uint8_t *)(uintptr_t)(linear + t->addend), .note = t->note};
            ftlb_fill(c, c->tlb_user, kind, linear, &p);
        }
    }
}

/* All vCPUs but `self` stand still: nobody stores to the page at `host` any more without telling. */
void ftlb_drop_writes(struct cpu *c, const uint8_t *host)
{
    uint64_t page = (uintptr_t)host & ~0xfffull;

    for (unsigned s = 0; s < FTLB_SETS; s++) {
        struct ftlb *f = &c->x.ftlb[s];
        if (f->stack.host == page)
            clear_stack(c, s);
        for (unsigned half = 0; half < 2; half++)
            for (unsigned k = 0; k < f->logged[half] && k < FTLB_LOG; k++) {
                unsigned i = f->log[half][k];
                if (f->e[i].host == page)
                    f->e[i].write = no_tag(i);
            }
    }
}

bool ftlb_knows(const struct cpu *c, uint64_t linear, bool write)
{
    const struct ftlb_entry *e = &c->x.ftlb[c->tlb_user].e[(linear >> 12) & (FTLB_SIZE - 1)];

    return (write ? e->write : e->read) == (linear & ~0xfffull);
}
