/*
 * block: finding, building and dropping blocks.
 *
 * Self- and cross-modifying code. A page's note says whether any vCPU holds decoded code of it (PAGE_CODE);
 * its generation changes when such a page is written. The writer stores first and then reads the note; the
 * decoder sets the note first and then reads the bytes. On x86 a store may be overtaken by a later load, so
 * one side needs a barrier between the two: it is the decoder, who asks the kernel to make every other vCPU
 * thread pass one (membarrier) once per page, so that stores pay nothing. After it, either the writer's store
 * is visible to the decoder, or the writer sees the note and changes the generation after the store; the
 * generation is read before the bytes, so the block is stale then.
 *
 * The writer clears the note when it changes the generation (a page of plain data again); the decoder looks
 * at the note once more after reading the generation, and begins anew when it is gone. NOTE_CODE_SEEN says
 * that the barrier has passed, so that the page's later blocks need none.
 */
#include <string.h>
#include "accel/soft/engine/private.h"

enum { BUCKETS = 1 << 15 };

struct block_cache {
    struct block *bucket[BUCKETS];
    uint32_t zero; /* the generation of what is not cached */
    size_t used, size;
    uint64_t one_space[(sizeof(struct block) + sizeof(struct insn)) / 8 + 8];
    uint8_t space[] __attribute__((aligned(64)));
};

size_t block_cache_size(void)
{
    return sizeof(struct block_cache) + ENGINE_BLOCKS_SIZE;
}

void block_cache_init(struct cpu *c, void *at)
{
    c->priv->blocks = at;
    c->priv->blocks->size = ENGINE_BLOCKS_SIZE;
    jump_flush(c);
}

void jump_flush(struct cpu *c)
{
    memset(c->jump, 0xff, sizeof(c->jump));
}

void jump_flush_page(struct cpu *c, uint64_t linear)
{
    struct jump *j = &c->jump[(linear >> 12 & (JUMP_PAGES - 1)) * JUMP_SLOTS];

    for (unsigned i = 0; i < JUMP_SLOTS; i++)
        if (j[i].key >> 28 == (linear << 16) >> 28)
            j[i].key = ~0ull;
}

void block_flush(struct cpu *c)
{
    struct block_cache *k = c->priv->blocks;

    if (k->used) {
        memset(k->bucket, 0, sizeof(k->bucket));
        k->used = 0;
    }
    jump_flush(c);
    c->leave_block = 1;
}

/* Linear address of the code byte at `rip`; segment limit and canonical form checked. */
static uint64_t code_linear(struct cpu *c, uint64_t rip)
{
    if (c->mode == MODE_64) {
        if (!is_canonical(c, rip))
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
    return p.host ? (uint8_t)host_load((uintptr_t)p.host, 1) : (uint8_t)cpu_mmio_read(c, p.gpa, 1);
}

/* Byte by byte, so that a byte which the instruction does not have cannot fault. */
void block_decode_one(struct cpu *c, struct insn *in)
{
    uint8_t bytes[15];

    for (unsigned n = 0; n < sizeof(bytes);) {
        bytes[n] = fetch_byte(c, c->rip + n);
        n++;
        if (insn_decode(bytes, n, (enum cpu_mode)c->mode, in) == 0)
            return;
    }
}

/* ---- the page's note ---- */

/* Mark the page as code; `at` becomes its generation, as of before any byte that is read after this. False:
 * meanwhile a fast TLB lets stores to it through; block_close_page has to be done again. */
bool block_claim_page(struct cpu *c, uint8_t *note, const uint32_t *gen, uint32_t *at)
{
    struct engine *en = c->engine;

    for (;;) {
        uint8_t was = __atomic_fetch_or(note, PAGE_CODE, __ATOMIC_SEQ_CST);
        if (was & NOTE_FAST)
            return false;
        if (!(was & PAGE_CODE) || !(was & NOTE_CODE_SEEN)) {
            if (en->cpus > 1)
                en->out.barrier(en->opaque);
            __atomic_fetch_or(note, NOTE_CODE_SEEN, __ATOMIC_SEQ_CST);
        }
        *at = __atomic_load_n(gen, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(note, __ATOMIC_SEQ_CST) & PAGE_CODE)
            return true;
    }
}

uint32_t *block_gen_of(struct cpu *c, uint64_t gpa, uint8_t **note)
{
    const struct engine_slot *s = slot_find(c, gpa);

    if (!s || !s->notes || !s->gens)
        return NULL;
    *note = &s->notes[(gpa - s->gpa) >> 12];
    return &s->gens[(gpa - s->gpa) >> 12];
}

bool block_close_page(struct cpu *c, const struct place *p)
{
    struct engine *en = c->engine;
    const uint8_t *host = p->host;
    uint8_t *note;

    if (!host || !(__atomic_load_n(p->note, __ATOMIC_SEQ_CST) & NOTE_FAST) || !block_gen_of(c, p->gpa, &note))
        return false;
    __atomic_fetch_or(note, PAGE_CODE, __ATOMIC_SEQ_CST); /* from here on no fast TLB gets it anew */
    if (en->cpus > 1)
        world_stop(en, c);
    for (unsigned i = 0; i < en->cpus; i++)
        ftlb_drop_writes(en->cpu[i], host);
    __atomic_fetch_and(note, (uint8_t)~NOTE_FAST, __ATOMIC_SEQ_CST);
    if (en->cpus > 1) {
        world_go(en);
        cpu_enter(c);
    }
    return true;
}

/* ---- building ---- */

static struct block *new_block(struct cpu *c)
{
    struct block_cache *k = c->priv->blocks;

    if (k->used + sizeof(struct block) + (BLOCK_INSNS + 1) * sizeof(struct insn) > k->size)
        block_flush(c);
    struct block *b = (struct block *)(void *)(k->space + k->used);
    memset(b, 0, sizeof(*b));
    return b;
}

static void keep_block(struct cpu *c, struct block *b)
{
    struct block_cache *k = c->priv->blocks;
    struct block **bucket = &k->bucket[block_hash(b->key) & (BUCKETS - 1)];

    k->used += sizeof(*b) + b->count * sizeof(struct insn);
    b->chain = *bucket;
    *bucket = b;
    c->priv->n_blocks++;
}

/* As many instructions as lie wholly on the page, up to one that ends a block. */
static void decode_page(struct cpu *c, struct block *b, const uint8_t *code, unsigned room)
{
    while (b->count < BLOCK_INSNS) {
        uint8_t bytes[15];
        struct insn *in = &b->insn[b->count];
        unsigned avail = room - b->bytes < sizeof(bytes) ? room - b->bytes : (unsigned)sizeof(bytes);
        if (!avail)
            return;
        host_copy(bytes, code + b->bytes, avail);
        if (insn_decode(bytes, avail, (enum cpu_mode)c->mode, in))
            return; /* runs into the next page */
        if (b->bytes + in->len > room)
            return;
        b->bytes = (uint16_t)(b->bytes + in->len);
        b->count++;
        if (in->flags & INSN_END)
            return;
    }
}

/* The first instruction runs across the page boundary. */
static void decode_crossing(struct cpu *c, struct block *b, const struct place *p, unsigned room)
{
    struct place q;
    uint8_t *note;
    uint64_t linear = code_linear(c, c->rip + room);

    cpu_place(c, linear, TLB_FETCH, c->tlb_user, &q);
    b->gen2 = q.host ? block_gen_of(c, q.gpa, &note) : NULL;
    if (b->gen2 && (__atomic_load_n(note, __ATOMIC_SEQ_CST) & NOTE_FAST))
        b->gen2 =
            NULL; /* not to be closed here, where pointers are held: built once more when it runs again */
    if (b->gen2 && !block_claim_page(c, note, b->gen2, &b->gen2_at))
        b->gen2 = NULL;
    b->page2 = q.gpa & ~0xfffull;
    if (!b->gen2)
        b->gen = NULL; /* not cacheable */
    uint8_t bytes[15];
    host_copy(bytes, p->host, room);
    for (unsigned n = room; n < sizeof(bytes);) {
        bytes[n] = q.host ? (uint8_t)host_load((uintptr_t)q.host + n - room, 1)
                          : (uint8_t)cpu_mmio_read(c, q.gpa + n - room, 1);
        n++;
        if (insn_decode(bytes, n, (enum cpu_mode)c->mode, &b->insn[0]) == 0)
            break;
    }
    b->count = 1;
    b->bytes = b->insn[0].len;
}

/* What cannot be cached runs from a block that is built anew each time. */
static struct block *uncached(struct cpu *c)
{
    struct block_cache *k = c->priv->blocks;
    struct block *b = (struct block *)(void *)(((uintptr_t)k->one_space + 63) & ~(uintptr_t)63);

    memset(b, 0, sizeof(*b));
    b->key = ~0ull;
    block_decode_one(c, &b->insn[0]);
    b->count = 1;
    b->bytes = b->insn[0].len;
    b->gen = &k->zero;
    return b;
}

static struct block *build(struct cpu *c, const struct place *p, uint64_t key)
{
    uint8_t *note;
    const uint32_t *gen = block_gen_of(c, p->gpa, &note);
    unsigned room = 4096 - (unsigned)(p->gpa & 0xfff);

    if (!gen)
        return uncached(c);
    struct block *b = new_block(c);
    b->key = key;
    b->gen = gen;
    if (!block_claim_page(c, note, gen, &b->gen_at))
        return uncached(c);
    decode_page(c, b, p->host, room);
    if (!b->count) {
        decode_crossing(c, b, p, room);
        if (!b->gen)
            return uncached(c);
    }
    keep_block(c, b);
    return b;
}

/* ---- finding ---- */

/* The page was written since. When this block's bytes are as they were it may stay. */
static bool still_same(struct cpu *c, struct block *b, const struct place *p)
{
    uint8_t *note;
    unsigned at = 0;

    if (b->page2)
        return false;
    if (block_gen_of(c, p->gpa, &note) != b->gen)
        return false;
    uint32_t g;
    if (!block_claim_page(c, note, b->gen, &g))
        return false;
    for (unsigned i = 0; i < b->count; i++) {
        uint8_t now[15];
        if (b->insn[i].exec == exec_ud ||
            b->insn[i].exec == exec_gp) /* more bytes than its length made it so */
            return false;
        host_copy(now, p->host + at, b->insn[i].len);
        if (memcmp(b->insn[i].bytes, now, b->insn[i].len))
            return false;
        at += b->insn[i].len;
    }
    b->gen_at = g;
    return true;
}

static struct block *find(struct cpu *c, const struct place *p, uint64_t key)
{
    struct block **link = &c->priv->blocks->bucket[block_hash(key) & (BUCKETS - 1)];

    for (struct block *b; (b = *link); link = &b->chain) {
        if (b->key != key)
            continue;
        if (likely(__atomic_load_n(b->gen, __ATOMIC_RELAXED) == b->gen_at) || still_same(c, b, p))
            return b;
        *link = b->chain; /* its room comes back with the next flush */
        return NULL;
    }
    return NULL;
}

/* A block whose instruction crosses pages is good while the second page is the same one, unwritten. */
static bool crossing_good(struct cpu *c, const struct block *b, uint64_t linear)
{
    struct place q;
    uint64_t next = (linear & ~0xfffull) + 4096;

    cpu_place(c, c->mode == MODE_64 ? next : (uint32_t)next, TLB_FETCH, c->tlb_user, &q);
    return (q.gpa & ~0xfffull) == b->page2 && __atomic_load_n(b->gen2, __ATOMIC_RELAXED) == b->gen2_at;
}

static void drop(struct cpu *c, const struct block *dead)
{
    struct block **link = &c->priv->blocks->bucket[block_hash(dead->key) & (BUCKETS - 1)];

    for (; *link; link = &(*link)->chain)
        if (*link == dead) {
            *link = dead->chain;
            return;
        }
}

struct block *block_get(struct cpu *c)
{
    uint64_t linear = code_linear(c, c->rip);
    struct place p;

    do
        cpu_place(c, linear, TLB_FETCH, c->tlb_user, &p);
    while (block_close_page(c, &p));
    if (!p.host)
        return uncached(c);
    uint64_t key = p.gpa << 2 | c->mode;
    struct block *b = find(c, &p, key);
    if (b && b->page2 && !crossing_good(c, b, linear)) {
        drop(c, b);
        b = NULL;
    }
    if (!b)
        b = build(c, &p, key);
    if (b->key != ~0ull && !b->page2 && !(c->cr4 & CR4_LA57)) {
        struct jump *j = &c->jump[jump_index(linear)];
        j->key = linear << 16 | c->jump_tag[linear >> 63];
        j->block = b;
    }
    return b;
}
