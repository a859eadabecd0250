/*
 * xcache: units found, made known and dropped.
 *
 * One cache for all vCPUs, under one lock. Units are never changed but for the displacements of their direct
 * jumps (one aligned store each) and never move; a dropped unit is unlinked and its room comes back with that
 * of its region (xregion.c), while all other vCPUs stand still. So a vCPU that is in a dropped unit just runs
 * on to the unit's end.
 *
 * Stores to pages with units. A page of which there is a unit has PAGE_CODE in its note and nobody's fast TLB
 * lets stores through to it (xpage_claim); so each store comes to cpu_code_written, which drops the units
 * whose bytes it hit and forgets the page when none are left. Devices change the page's generation and
 * `code_event` (engine_code_event); vCPUs compare generations when they have seen that.
 */
#include <linux/auxvec.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <stddef.h>
#include "accel/soft/engine/native.h"
#include "accel/soft/engine/xlate.h"

unsigned long getauxval(unsigned long type); /* <sys/auxv.h> brings ELF names that are page-fault bits here */

enum { HWCAP2_FSGSBASE = 2 }; /* programs may write GS.base (Linux, asm/hwcap2.h) */

/* ---- lock: a holder may stop the world, so who waits stands outside ---- */

static void lock(struct cpu *c, struct xcache *k)
{
    while (__atomic_exchange_n(&k->lock, 1, __ATOMIC_ACQUIRE)) {
        cpu_leave(c);
        sched_yield();
        cpu_enter(c);
    }
}

void xcache_unlock(struct xcache *k)
{
    __atomic_store_n(&k->lock, 0, __ATOMIC_RELEASE);
}

/* ---- the jump cache ---- */

static void jc_set(struct cpu *c, unsigned set, unsigned i, uint64_t to)
{
    __atomic_store_n(&c->x.jc[set][i], to, __ATOMIC_RELAXED);
}

/* All entries, also those of an empty table. */
static void jc_clear(struct cpu *c)
{
    uint64_t miss = c->engine->xlate->glue.miss;

    for (unsigned s = 0; s < FTLB_SETS; s++)
        for (unsigned i = 0; i < JC_SIZE; i++)
            jc_set(c, s, i, miss);
    c->priv->jc_logged[0] = c->priv->jc_logged[1] = 0;
    memset(c->priv->jc_pages, 0, sizeof c->priv->jc_pages);
}

bool jc_fill(struct cpu *c, struct xunit *u)
{
    struct cpu_private *p = c->priv;
    unsigned half = (unsigned)(u->linear >> 63), i = jc_index(u->linear);
    uint64_t to = xentry_address(c->engine->xlate, u, XE_CHECK);

    if (!to)
        return false;
    if (p->jc_logged[half] >= XJC_LOG)
        jc_clear(c);
    p->jc_pages[half][u->linear >> 12 >> 6 & 15] |= 1ull << (u->linear >> 12 & 63);
    p->jc_log[half][p->jc_logged[half]++] = i | (uint32_t)u->set << JC_BITS;
    jc_set(c, u->set, i, to);
    return true;
}

void jc_flush_half(struct cpu *c, unsigned half)
{
    struct cpu_private *p = c->priv;
    uint64_t miss = c->engine->xlate->glue.miss;

    for (unsigned n = 0; n < p->jc_logged[half] && n < XJC_LOG; n++) {
        unsigned set = p->jc_log[half][n] >> JC_BITS;
        if (set < FTLB_SETS) /* the VMM comes here, too, and believes nothing that vCPU threads may write */
            jc_set(c, set, p->jc_log[half][n] & (JC_SIZE - 1), miss);
    }
    p->jc_logged[half] = 0;
    memset(p->jc_pages[half], 0, sizeof p->jc_pages[half]);
}

void jc_flush(struct cpu *c)
{
    jc_flush_half(c, 0);
    jc_flush_half(c, 1);
}

void jc_flush_page(struct cpu *c, uint64_t linear)
{
    unsigned half = (unsigned)(linear >> 63);

    if (c->priv->jc_pages[half][linear >> 12 >> 6 & 15] >> (linear >> 12 & 63) & 1)
        jc_flush_half(c, half);
}

/* ---- tables ---- */

static unsigned unit_hash(uint64_t gpa, uint64_t linear, unsigned set)
{
    uint64_t h = (gpa ^ linear << 7 ^ set) * 0x9e3779b97f4a7c15ull;
    return (unsigned)(h >> 40) & (XUNIT_BUCKETS - 1);
}

static struct xunit *unit_find(struct xcache *k, uint64_t gpa, uint64_t linear, unsigned set)
{
    struct xunit *u = k->unit[unit_hash(gpa, linear, set)];

    while (u && !(u->gpa == gpa && u->linear == linear && u->set == set))
        u = u->next_hash;
    return u;
}

struct xpage **xcache_page(struct xcache *k, uint64_t gpa)
{
    struct xpage **at = &k->page[(gpa >> 12) & (XPAGE_BUCKETS - 1)];

    while (*at && (*at)->gpa != (gpa & ~0xfffull))
        at = &(*at)->next;
    return at;
}

/* ---- dropping ---- */

/* One aligned store of four bytes into code that others may be running. */
void xcache_set_site(uint8_t *site, int32_t displacement)
{
    __atomic_store_n((int32_t *)(void *)(site - 4), displacement, __ATOMIC_RELEASE);
}

void xcache_unlist(struct xcache *k, struct xunit *u)
{
    struct xunit **at = &k->unit[unit_hash(u->gpa, u->linear, u->set)];

    while (*at != u)
        at = &(*at)->next_hash;
    *at = u->next_hash;
    for (struct xlink *l = u->in; l; l = l->next)
        xcache_set_site(l->site, l->unlinked);
    u->in = NULL;
    __atomic_store_n(&u->dead, 1, __ATOMIC_RELAXED);
    k->n_dead++;
}

/* Others may find a dropped unit in their jump caches. */
static void tell_all(struct cpu *c)
{
    struct engine *en = c->engine;

    for (unsigned i = 0; i < en->cpus; i++)
        if (en->cpu[i] != c)
            cpu_attention(en->cpu[i], ATT_CODE);
    jc_flush(c);
}

/* Drop units of `page` that have bytes in [from, to). True: some did. */
static bool drop_range(struct xcache *k, struct xpage *page, uint64_t from, uint64_t to)
{
    bool any = false;

    for (struct xunit **at = &page->units; *at;) {
        struct xunit *u = *at;
        if (u->gpa < to && u->gpa + u->bytes > from + SEED_BUG(40)) {
            *at = u->next_page;
            xcache_unlist(k, u);
            any = true;
        } else
            at = &u->next_page;
    }
    return any;
}

void xcache_drop(struct cpu *c, struct xunit *u)
{
    struct xcache *k = c->engine->xlate;
    uint64_t seen = c->priv->xcache_seen;

    lock(c, k);
    if (c->priv->xcache_seen == seen && !u->dead) {
        struct xunit **at = &u->page->units;
        while (*at != u)
            at = &(*at)->next_page;
        *at = u->next_page;
        xcache_unlist(k, u);
        tell_all(c);
    }
    xcache_unlock(k);
}

static void forget_page(struct xcache *k, uint64_t gpa)
{
    struct xpage **at = xcache_page(k, gpa);

    if (*at)
        xregion_free_page(k, *at);
}

uint64_t xcache_generation(const struct engine *en)
{
    return __atomic_load_n(&en->xlate->n_flush, __ATOMIC_RELAXED);
}

void xcache_distrust(struct engine *en)
{
    __atomic_store_n(&en->xlate->stale, 1, __ATOMIC_RELEASE);
}

/* Bytes [gpa, gpa+n) of a page whose note says PAGE_CODE were written. False: translated code is not in use.
 */
bool xcache_written(struct cpu *c, uint64_t gpa, unsigned n)
{
    struct xcache *k = c->engine->xlate;
    uint8_t *note;
    bool dropped = false, left = false;

    if (!k->enabled)
        return false;
    lock(c, k);
    struct xpage *page = *xcache_page(k, gpa);
    if (page) {
        dropped = drop_range(k, page, gpa, gpa + n);
        left = page->units != NULL;
        if (left) { /* blocks of the interpreter see a new generation; the units that are left stay good */
            uint32_t was = __atomic_fetch_add(page->gen, 1, __ATOMIC_SEQ_CST);
            if (was == page->gen_at)
                __atomic_store_n(&page->gen_at, was + 1, __ATOMIC_RELAXED);
            if (SEED_BUG(28))
                __atomic_fetch_and(page->note, (uint8_t)~PAGE_CODE, __ATOMIC_SEQ_CST);
        } else
            forget_page(k, gpa);
    }
    uint32_t *gen = block_gen_of(c, gpa, &note);
    if (!left && gen)
        page_without_code(note, gen); /* before anybody makes a unit of it again */
    if (dropped)
        tell_all(c);
    xcache_unlock(k);
    return true;
}

/* A device wrote to pages with code: find which. */
static void check_generations(struct cpu *c)
{
    struct xcache *k = c->engine->xlate;
    bool dropped = false;

    lock(c, k);
    for (unsigned i = 0; i < XPAGE_BUCKETS; i++)
        for (struct xpage **at = &k->page[i]; *at;) {
            struct xpage *page = *at;
            uint32_t now = __atomic_load_n(page->gen, __ATOMIC_SEQ_CST);
            if (page->gen_at == now) {
                at = &page->next;
                continue;
            }
            dropped |= drop_range(k, page, page->gpa, page->gpa + 4096);
            __atomic_fetch_and(page->note, (uint8_t) ~(PAGE_CODE | NOTE_CODE_SEEN), __ATOMIC_SEQ_CST);
            __atomic_fetch_add(page->gen, 1, __ATOMIC_SEQ_CST); /* as in cpu_code_written */
            xregion_free_page(k, page);                         /* *at is the next now */
        }
    if (dropped)
        tell_all(c);
    xcache_unlock(k);
}

void engine_code_event(struct engine *en)
{
    if (!en->xlate->enabled)
        return;
    for (unsigned i = 0; i < en->cpus; i++)
        cpu_attention(en->cpu[i], ATT_DEVICE_CODE);
}

void xcache_attention(struct cpu *c, uint32_t what)
{
    if (what & ATT_DEVICE_CODE)
        check_generations(c);
    jc_flush(c);
}

/* ---- making ---- */

/* Make the page known as code, so that every store to it is noticed from here on. NULL: not now. */
static struct xpage *claim(struct cpu *c, struct xcache *k, const struct place *p)
{
    struct xpage **at = xcache_page(k, p->gpa);
    uint8_t *note;
    uint32_t *gen = block_gen_of(c, p->gpa, &note);

    uint32_t now;

    if (!gen || !block_claim_page(c, note, gen, &now))
        return NULL;
    struct xpage *page = *at;
    if (page) {
        if (page->gen_at != now) { /* written meanwhile */
            drop_range(k, page, page->gpa, page->gpa + 4096);
            __atomic_store_n(&page->gen_at, now, __ATOMIC_RELAXED);
            tell_all(c);
        }
        return page;
    }
    page = xregion_page(k);
    page->gpa = p->gpa & ~0xfffull;
    page->next = NULL;
    page->units = NULL;
    page->note = note;
    __atomic_store_n(&page->gen, gen, __ATOMIC_RELAXED); /* others may look, by dropped units */
    __atomic_store_n(&page->gen_at, now, __ATOMIC_RELAXED);
    *at = page;
    return page;
}

bool xcache_known_place(struct cpu *c, uint64_t linear, struct place *p)
{
    const struct tlb_entry *t = &c->tlb[c->tlb_user][TLB_FETCH][linear >> 12 & (TLB_SIZE - 1)];

    if (t->tag != ((linear & ~0xfffull) | c->asid[linear >> 63]))
        return false;
    p->host = (uint8_t *)(uintptr_t)(linear + t->addend);
    p->note = t->note;
    p->gpa = t->gpa | (linear & 0xfff);
    return true;
}

static struct xunit *make(struct cpu *c, struct xcache *k, struct place *p, const struct xlink *by)
{
    struct xpage *page = claim(c, k, p);
    struct xunit *u = page ? xlate_unit(c, k, c->rip, p, by) : NULL;
    if (!u)
        return NULL;
    struct xunit **bucket = &k->unit[unit_hash(u->gpa, u->linear, u->set)];
    u->next_hash = *bucket;
    *bucket = u;
    u->page = page;
    u->next_page = page->units;
    page->units = u;
    u->next_made = k->region[k->filling].units;
    k->region[k->filling].units = u;
    return u;
}

/* The unit for RIP, with the lock held, or NULL and the lock free: this is for the interpreter. Fetch faults
 * do not return; they are met before the lock is taken. */
struct xunit *xcache_lock_unit(struct cpu *c, struct xcache *k, const struct xlink *by)
{
    struct place p;

    if (!is_canonical(c, c->rip))
        cpu_gp(c, 0);
    do
        cpu_place(c, c->rip, TLB_FETCH, c->tlb_user, &p);
    while (block_close_page(c, &p));
    uint64_t seen = c->priv->xcache_seen; /* `by` may go while others are waited for, or for room */
    lock(c, k);
    uint32_t slots = __atomic_load_n(&c->engine->slots_version, __ATOMIC_ACQUIRE);
    if (unlikely(k->slots_seen != slots ||
                 __atomic_load_n(&k->stale, __ATOMIC_ACQUIRE))) { /* other memory lies there now */
        __atomic_store_n(&k->stale, 0, __ATOMIC_RELAXED);
        xregion_empty(c, k);
        k->slots_seen = slots;
    }
    xregion_room(c, k);
    if (c->priv->xcache_seen != seen)
        by = NULL;
    if (xcache_known_place(c, c->rip, &p)) {
        struct xunit *u = unit_find(k, p.gpa, c->rip, c->tlb_user);
        if (u && xunit_good(u))
            return u;
        u = make(c, k, &p, by);
        if (u)
            return u;
    }
    xcache_unlock(k);
    return NULL;
}

/* ---- life ---- */

void xunit_tell(const struct xcache *k, const struct xunit *u, const uint8_t *from, const uint8_t *to)
{
    struct engine *en = k->engine;

    if (likely(!en->out.translated))
        return;
    struct engine_block b = {.code = (uintptr_t)from + k->delta, .size = (uint32_t)(to - from)};
    if (u) {
        b.bytes = u->bytes;
        b.user = u->set == TLB_USER;
        b.linear = u->linear;
        b.gpa = u->gpa;
        b.guest = u->guest;
    }
    en->out.translated(en->opaque, &b);
}

void xcache_attach(struct engine *en)
{
    struct xcache *k = en->xlate;

    if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE) || native_view(k->code, en->xlate_code, &k->code->exec) < 0)
        return;
    en->xlate_exec = k->code->exec;
    k->delta = k->code->exec - (uintptr_t)k->code;
    k->engine = en;
    if (!k->first)
        xglue_make(k, &en->clock);
    xunit_tell(k, NULL, k->code->code, k->first);
    for (unsigned i = 0; i < en->cpus; i++) {
        ftlb_init(en->cpu[i]);
        jc_clear(en->cpu[i]);
        en->cpu[i]->x.on = 1;
    }
    k->counting = en->count;
    k->enabled = 1;
}

uint64_t xcache_code(const struct engine *en)
{
    return en->xlate_exec;
}

void xcache_detach(struct engine *en)
{
    if (en->xlate_exec)
        munmap((void *)(uintptr_t)en->xlate_exec, en->xlate_code);
}
