/*
 * xregion: room in the cache of translated code. It is cut into regions that are filled in turn; when the
 * last is full the first is filled anew, and what it held is given up: the oldest units, while all others
 * stay.
 *
 * All vCPUs stand still meanwhile, outside of translated code but for one thing: a C function that a unit
 * called may be what waits. So whoever goes outside on behalf of a unit compares cpu_private.xcache_seen
 * before he goes back there. What a vCPU has kept of units (jump cache, xkept, xnear) it forgets itself when
 * it comes inside again, before it can use it.
 *
 * The ways into a unit and the links from it lie in its own region or in one that was begun later, so they
 * never outlive it; the links to it do, and are led back to their stubs. Links lead from a page to the same
 * page: those from a region that goes are found on its units' pages.
 */
#include <string.h>
#include "accel/accel.h"
#include "accel/soft/engine/native.h"
#include "accel/soft/engine/xlate.h"

/* Of 16 parts of a region, those for what is run often: as a boot of Linux shares them. */
enum { HOT_16THS = 13 };
enum { PAGE = 4096, HOST_LINE = 64, DEFAULT_SIZE = 64 << 20 };

/* ---- layout ---- */

static size_t whole_pages(size_t n)
{
    return (n + PAGE - 1) / PAGE * PAGE;
}

static size_t code_bytes(size_t code)
{
    return whole_pages(code ? code : DEFAULT_SIZE);
}

static size_t pages_bytes(size_t code)
{
    return code / XPAGE_PER_CODE * sizeof(struct xpage);
}

/* A boot of Linux takes 0.85 for one of code. */
static size_t meta_bytes(size_t code)
{
    return code;
}

size_t xcache_size(size_t code)
{
    code = code_bytes(code);
    return whole_pages(sizeof(struct xcache)) + whole_pages(pages_bytes(code) + meta_bytes(code)) + code;
}

size_t xcache_init(struct xcache *k, size_t code)
{
    code = code_bytes(code);
    k->pages = (struct xpage *)(void *)((uint8_t *)k + whole_pages(sizeof *k));
    k->meta = (uint8_t *)k->pages + pages_bytes(code);
    k->code =
        (struct xcode *)(void *)((uint8_t *)k->pages + whole_pages(pages_bytes(code) + meta_bytes(code)));
    k->code_size = code;
    k->regions =
        code >= XREGIONS_MOST * (size_t)XREGION_SIZE ? XREGIONS_MOST : (unsigned)(code / XREGION_SIZE);
    if (k->regions < XREGIONS_LEAST)
        k->regions = XREGIONS_LEAST;
    k->meta_size = meta_bytes(code);
    return code;
}

/* Of one region. */
static size_t region_code(const struct xcache *k)
{
    return k->code_size / k->regions / HOST_LINE * HOST_LINE;
}

static size_t region_meta(const struct xcache *k)
{
    return k->meta_size / k->regions / HOST_LINE * HOST_LINE;
}

static unsigned region_of_code(const struct xcache *k, uint64_t offset)
{
    uint64_t r = offset / region_code(k);
    return r < k->regions ? (unsigned)r : k->regions - 1;
}

static unsigned region_of_meta(const struct xcache *k, const void *p)
{
    return (unsigned)((size_t)((const uint8_t *)p - k->meta) / region_meta(k));
}

static void fill(struct xcache *k, unsigned region)
{
    struct xregion *r = &k->region[region];

    k->filling = region;
    k->next = r->code;
    k->code_end = k->cold = r->cold;
    k->cold_end = r->code_end;
    k->meta_used = r->meta;
    k->meta_end = r->meta_end;
    r->units = NULL;
}

/* All pages are free; regions are empty. */
static void begin_again(struct xcache *k)
{
    k->page_free = NULL;
    for (size_t i = k->code_size / XPAGE_PER_CODE; i--;) {
        k->pages[i].next = k->page_free;
        k->page_free = &k->pages[i];
    }
    for (unsigned i = 0; i < k->regions; i++) {
        k->region[i].units = NULL;
        k->region[i].code_used = k->region[i].code;
        k->region[i].cold_used = k->region[i].cold;
    }
    fill(k, 0);
}

void xregion_begin(struct xcache *k)
{
    size_t code = region_code(k), meta = region_meta(k);

    for (unsigned i = 0; i < k->regions; i++)
        k->region[i] = (struct xregion){.code = i ? (uint8_t *)k->code + i * code : k->first,
                                        .cold = (uint8_t *)k->code + i * code + code / 16 * HOT_16THS,
                                        .code_end = (uint8_t *)k->code + (i + 1) * code,
                                        .meta = i * meta,
                                        .meta_end = (i + 1) * meta};
    begin_again(k);
}

/* ---- pages ---- */

struct xpage *xregion_page(struct xcache *k)
{
    struct xpage *page = k->page_free;

    k->page_free = page->next;
    return page;
}

void xregion_free_page(struct xcache *k, struct xpage *page)
{
    *xcache_page(k, page->gpa) = page->next;
    page->next = k->page_free;
    k->page_free = page;
}

/* ---- giving up ---- */

/* What is on this page and in the region goes; links from there to other units of the page, too. */
static void sweep_page(struct xcache *k, struct xpage *page, unsigned region)
{
    page->swept = k->sweep;
    for (struct xunit **at = &page->units; *at;) {
        struct xunit *u = *at;
        if (region_of_meta(k, u) == region) {
            *at = u->next_page;
            continue;
        }
        for (struct xlink **l = &u->in; *l;)
            if (region_of_meta(k, *l) == region)
                *l = (*l)->next;
            else
                l = &(*l)->next;
        at = &u->next_page;
    }
    if (!page->units)
        xregion_free_page(k, page); /* its note stays: a store to it finds that nothing is known */
}

/* The world stands still. */
static void give_up(struct xcache *k, unsigned region)
{
    struct xregion *r = &k->region[region];

    k->sweep++;
    for (struct xunit *u = r->units; u; u = u->next_made) {
        struct xpage *page = *xcache_page(k, u->gpa);
        if (!u->dead)
            xcache_unlist(k, u);
        if (page && page->swept != k->sweep)
            sweep_page(k, page, region);
    }
    k->n_evicted++;
    r->emptied = k->n_flush + 1;
}

static void all_go(struct cpu *c, struct xcache *k)
{
    __atomic_fetch_add(&k->n_flush, 1, __ATOMIC_RELEASE);
    world_go(c->engine);
    cpu_enter(c); /* everybody's cpu_enter sees n_flush */
}

static bool room(const struct xcache *k)
{
    return k->next + XUNIT_ROOM <= k->code_end && k->cold + XCOLD_ROOM <= k->cold_end &&
           k->meta_used + XMETA_ROOM <= k->meta_end && k->page_free;
}

void xregion_room(struct cpu *c, struct xcache *k)
{
    bool stopped = false;

    while (unlikely(!room(k))) {
        unsigned next = (k->filling + 1) % k->regions;
        k->region[k->filling].code_used = k->next;
        k->region[k->filling].cold_used = k->cold;
        if (k->region[next].units) {
            if (!stopped)
                world_stop(c->engine, c);
            stopped = true;
            give_up(k, next);
        }
        fill(k, next);
    }
    if (stopped)
        all_go(c, k);
}

void xregion_empty(struct cpu *c, struct xcache *k)
{
    world_stop(c->engine, c);
    memset(k->unit, 0, sizeof k->unit);
    memset(k->page, 0, sizeof k->page);
    for (unsigned i = 0; i < k->regions; i++)
        k->region[i].emptied = k->n_flush + 1;
    begin_again(k);
    all_go(c, k);
}

/* ---- what a vCPU forgets then ---- */

void xcache_emptied(struct cpu *c)
{
    const struct xcache *k = c->engine->xlate;
    struct cpu_private *p = c->priv;
    uint64_t seen = p->xcache_seen;
    const uint64_t address = (1ull << 48) - 1; /* without the number in a key's top bits */

    p->xcache_seen = k->n_flush;
    jc_flush(c);
    for (unsigned i = 0; i < XKEPT; i++)
        if (p->xkept[i].key &&
            k->region[region_of_code(k, (p->xkept[i].key & address) - k->code->exec)].emptied > seen)
            p->xkept[i].key = 0;
    for (unsigned s = 0; s < FTLB_SETS; s++)
        for (unsigned i = 0; i < XNEAR; i++)
            if (p->xnear[s][i].unit && k->region[region_of_meta(k, p->xnear[s][i].unit)].emptied > seen)
                p->xnear[s][i] = (struct xnear){0};
    native_serialize(); /* other code may lie where this thread ran some */
}

/* ---- counters ---- */

void xcache_stats(const struct engine *en, struct accel_stats *out)
{
    const struct xcache *k = en->xlate;

    out->blocks += k->n_units;
    out->translations = k->n_units;
    out->guest_bytes = k->n_guest_bytes;
    out->host_bytes = k->n_host_bytes - k->n_count_bytes; /* as it is without --stats */
    out->evictions = k->n_evicted;
    out->code_size = en->xlate_code;
    for (unsigned i = 0; i < XREGIONS_MOST; i++) { /* those that there are not are empty */
        const struct xregion *r = &k->region[i];
        out->code_used += (uint64_t)((i == k->filling ? k->next : r->code_used) - r->code);
        out->code_used += (uint64_t)((i == k->filling ? k->cold : r->cold_used) - r->cold);
    }
}
