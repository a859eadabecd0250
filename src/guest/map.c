/*
 * The map: regions in a list, and the flat view made of them.
 *
 * Flattening walks the elementary intervals between all region borders and asks for each who is on top;
 * aliases resolve by asking again below themselves. Maps have tens of regions and change tens of times, so
 * the simple way is fast enough and obviously right.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/check.h"
#include "base/err.h"
#include "base/range.h"
#include "guest/map.h"

struct mem_map *mem_map_new(struct err *e)
{
    struct mem_map *m = calloc(1, sizeof *m);
    struct retired *v = calloc(1, sizeof *v);
    if (!m || !v) {
        free(m);
        free(v);
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    lock_init(&m->lock, LOCK_MAP);
    pthread_mutex_init(&m->readers_mutex, NULL);
    list_init(&m->regions);
    list_init(&m->readers);
    m->epoch = 1;
    m->current = v;
    m->view = &v->view;
    return m;
}

static void free_retired(struct retired *r)
{
    while (r) {
        struct retired *next = r->next;
        free(r->node);
        free(r);
        r = next;
    }
}

void mem_map_free(struct mem_map *m)
{
    if (!m)
        return;
    CHECK(list_empty(&m->readers));
    while (!list_empty(&m->regions))
        free(CONTAINER_OF(list_pop(&m->regions), struct region_node, node));
    free_retired(m->retired);
    free_retired(m->removed);
    for (size_t i = 0; i < m->ram_count; i++)
        ram_free(m->rams[i]);
    free(m->rams);
    free(m->current);
    pthread_mutex_destroy(&m->readers_mutex);
    lock_destroy(&m->lock);
    free(m);
}

/* ---- flattening ---- */

static bool above(const struct region_node *a, const struct region_node *b)
{
    return a->region.priority != b->region.priority ? a->region.priority > b->region.priority
                                                    : a->order > b->order;
}

/* The topmost enabled region at `at` that is below `ceiling` (NULL: no ceiling). */
static struct region_node *top(const struct mem_map *m, uint64_t at, const struct region_node *ceiling)
{
    struct region_node *best = NULL;
    list_for_each (l, &m->regions) {
        struct region_node *n = CONTAINER_OF(l, struct region_node, node);
        if (n->enabled && at >= n->region.base && at - n->region.base < n->region.size &&
            (!ceiling || above(ceiling, n)) && (!best || above(n, best)))
            best = n;
    }
    return best;
}

/* Resolve aliases: *at becomes the address asked for in the end. Each step goes strictly down, so it ends. */
static struct region_node *resolve(const struct mem_map *m, uint64_t *at)
{
    struct region_node *n = top(m, *at, NULL);
    while (n && n->region.kind == MEM_ALIAS) {
        *at = *at - n->region.base + n->region.alias_at;
        n = top(m, *at, n);
    }
    return n;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

struct borders {
    uint64_t *at;
    size_t count, cap;
};

static void add_border(struct borders *b, uint64_t at)
{
    if (b->count == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 64;
        b->at = realloc(b->at, b->cap * sizeof *b->at);
        CHECK(b->at);
    }
    b->at[b->count++] = at;
}

static void sort_borders(struct borders *b)
{
    size_t kept = 0;
    if (b->count)
        qsort(b->at, b->count, sizeof *b->at, by_value);
    for (size_t i = 0; i < b->count; i++)
        if (!kept || b->at[i] != b->at[kept - 1])
            b->at[kept++] = b->at[i];
    b->count = kept;
}

/* All addresses where the answer may change. Aliases carry the borders of their target back to where they
 * stand, through each other: repeat until nothing is new. Aliases resolve strictly downwards, so as many
 * rounds as there are aliases suffice. */
static struct borders collect_borders(const struct mem_map *m)
{
    struct borders b = {0};
    unsigned aliases = 0;
    list_for_each (l, &m->regions) {
        const struct region_node *n = CONTAINER_OF(l, struct region_node, node);
        if (!n->enabled)
            continue;
        add_border(&b, n->region.base);
        add_border(&b, n->region.base + n->region.size); /* 0 for the very top: harmless */
        aliases += n->region.kind == MEM_ALIAS;
    }
    sort_borders(&b);
    for (unsigned round = 0; round < aliases; round++) {
        size_t had = b.count;
        list_for_each (l, &m->regions) {
            const struct region_node *n = CONTAINER_OF(l, struct region_node, node);
            const struct mem_region *r = &n->region;
            for (size_t i = 0; n->enabled && r->kind == MEM_ALIAS && i < had; i++)
                if (b.at[i] > r->alias_at && b.at[i] - r->alias_at < r->size)
                    add_border(&b, b.at[i] - r->alias_at + r->base);
        }
        sort_borders(&b);
        if (b.count == had)
            break;
    }
    return b;
}

static void append(struct mem_view *v, const struct mem_region *r, uint64_t base, uint64_t size,
                   uint64_t offset)
{
    struct mem_section *last = v->count ? &v->section[v->count - 1] : NULL;
    if (last && last->region == r && last->base + last->size == base && last->offset + last->size == offset)
        last->size += size;
    else
        v->section[v->count++] =
            (struct mem_section){.base = base, .size = size, .offset = offset, .kind = r->kind, .region = r};
}

static struct retired *flatten(const struct mem_map *m)
{
    struct borders b = collect_borders(m);
    struct retired *out = calloc(1, sizeof *out + b.count * sizeof(struct mem_section));
    CHECK(out);
    for (size_t i = 0; i < b.count; i++) {
        uint64_t at = b.at[i], asked = at, size = (i + 1 < b.count ? b.at[i + 1] : 0) - at;
        struct region_node *r = resolve(m, &asked);
        if (!r)
            continue;
        uint64_t offset = asked - r->region.base;
        append(&out->view, &r->region, at, size, r->region.ram ? r->region.ram_offset + offset : offset);
    }
    free(b.at);
    return out;
}

/* ---- publishing and reclaiming ---- */

/* Free what every reader has passed. Map lock held. */
static void reclaim(struct mem_map *m)
{
    uint64_t oldest = UINT64_MAX;
    pthread_mutex_lock(&m->readers_mutex);
    list_for_each (l, &m->readers) {
        uint64_t seen = atomic_load(&CONTAINER_OF(l, struct mem_reader, node)->seen);
        if (seen < oldest)
            oldest = seen;
    }
    pthread_mutex_unlock(&m->readers_mutex);
    for (struct retired **p = &m->retired; *p;) {
        struct retired *r = *p;
        if (r->epoch <= oldest) {
            *p = r->next;
            free(r->node);
            free(r);
        } else {
            p = &r->next;
        }
    }
}

static void retire(struct mem_map *m, struct retired *r)
{
    r->epoch = m->epoch;
    r->next = m->retired;
    m->retired = r;
}

static void publish(struct mem_map *m)
{
    struct retired *was = m->current, *now = flatten(m);
    m->current = now;
    atomic_store(&m->view, &now->view);
    atomic_fetch_add(&m->epoch, 1);
    for (struct mem_listener *l = m->listeners; l; l = l->next)
        l->changed(l->opaque, &was->view, &now->view);
    retire(m, was);
    while (m->removed) {
        struct retired *r = m->removed;
        m->removed = r->next;
        retire(m, r);
    }
    m->changed = false;
    reclaim(m);
}

void mem_begin(struct mem_map *m)
{
    lock_take(&m->lock);
    m->depth++;
    lock_drop(&m->lock);
}

static void end_change(struct mem_map *m)
{
    if (m->depth == 0 && m->changed)
        publish(m);
}

void mem_commit(struct mem_map *m)
{
    lock_take(&m->lock);
    CHECK(m->depth > 0);
    m->depth--;
    end_change(m);
    lock_drop(&m->lock);
}

static int check_region(const struct mem_region *r, struct err *e)
{
    bool mem = r->kind == MEM_RAM || r->kind == MEM_ROM || r->kind == MEM_ROMD;
    bool calls = r->kind == MEM_MMIO || r->kind == MEM_ROMD;
    if (!r->size || !range_no_wrap(r->base, r->size))
        return err_set(e, EINVAL, "region %s: 0x%llx+0x%llx wraps or is empty", r->name,
                       (unsigned long long)r->base, (unsigned long long)r->size);
    if (mem && (!r->ram || !range_inside(r->ram_offset, r->size, r->ram->size)))
        return err_set(e, EINVAL, "region %s lies outside its memory block", r->name);
    if (mem && (r->base % MEM_PAGE || r->size % MEM_PAGE || r->ram_offset % MEM_PAGE))
        return err_set(e, EINVAL, "region %s: memory begins and ends on pages", r->name);
    if (calls && !r->ops)
        return err_set(e, EINVAL, "region %s has no operations", r->name);
    if (r->bells > MEM_BELLS || (r->bells && r->kind != MEM_MMIO))
        return err_set(e, EINVAL, "region %s: doorbells are for registers, and %u at most", r->name,
                       (unsigned)MEM_BELLS);
    if (r->kind == MEM_ALIAS && !range_no_wrap(r->alias_at, r->size))
        return err_set(e, EINVAL, "region %s: alias wraps", r->name);
    return 0;
}

static bool keep_ram(struct mem_map *m, struct ram *ram)
{
    for (size_t i = 0; i < m->ram_count; i++)
        if (m->rams[i] == ram)
            return true;
    struct ram **more = realloc(m->rams, (m->ram_count + 1) * sizeof(struct ram *));
    if (!more)
        return false;
    m->rams = more;
    m->rams[m->ram_count++] = ram;
    return true;
}

struct mem_region *mem_add(struct mem_map *m, const struct mem_region *r, struct err *e)
{
    if (check_region(r, e))
        return NULL;
    struct region_node *n = calloc(1, sizeof *n);
    if (!n) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    n->region = *r;
    n->enabled = true;
    if (r->kind == MEM_MMIO || r->kind == MEM_ALIAS)
        n->region.ram = NULL;
    lock_take(&m->lock);
    if (n->region.ram && !keep_ram(m, n->region.ram)) {
        lock_drop(&m->lock);
        free(n);
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    n->order = m->next_order++;
    list_append(&m->regions, &n->node);
    m->changed = true;
    end_change(m);
    lock_drop(&m->lock);
    return &n->region;
}

static struct region_node *node_of(struct mem_region *r)
{
    return CONTAINER_OF(r, struct region_node, region);
}

void mem_remove(struct mem_map *m, struct mem_region *r)
{
    struct retired *grave = calloc(1, sizeof *grave);
    CHECK(grave);
    lock_take(&m->lock);
    list_remove(&node_of(r)->node);
    /* Sections of the present view point to the region: it is freed when that view is. */
    grave->node = node_of(r);
    grave->next = m->removed;
    m->removed = grave;
    m->changed = true;
    end_change(m);
    lock_drop(&m->lock);
}

/* Published views keep base and kind in their sections, so a region may change under them. */
void mem_set_base(struct mem_map *m, struct mem_region *r, uint64_t base)
{
    lock_take(&m->lock);
    if (r->base != base) {
        r->base = base;
        CHECK(check_region(r, NULL) == 0);
        m->changed = true;
    }
    end_change(m);
    lock_drop(&m->lock);
}

void mem_set_kind(struct mem_map *m, struct mem_region *r, enum mem_kind kind)
{
    lock_take(&m->lock);
    if (r->kind != kind) {
        r->kind = kind;
        CHECK(check_region(r, NULL) == 0);
        m->changed = true;
    }
    end_change(m);
    lock_drop(&m->lock);
}

void mem_set_enabled(struct mem_map *m, struct mem_region *r, bool on)
{
    lock_take(&m->lock);
    if (node_of(r)->enabled != on) {
        node_of(r)->enabled = on;
        m->changed = true;
    }
    end_change(m);
    lock_drop(&m->lock);
}

const struct mem_view *mem_view(const struct mem_map *m)
{
    return atomic_load_explicit(&((struct mem_map *)(uintptr_t)m)->view, memory_order_acquire);
}

const struct mem_section *mem_find(const struct mem_view *v, uint64_t gpa)
{
    size_t lo = 0, hi = v->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const struct mem_section *s = &v->section[mid];
        if (gpa < s->base)
            hi = mid;
        else if (gpa - s->base >= s->size)
            lo = mid + 1;
        else
            return s;
    }
    return NULL;
}

int mem_bell_at(const struct mem_view *v, uint64_t gpa)
{
    const struct mem_section *s = mem_find(v, gpa);
    if (!s || s->kind != MEM_MMIO)
        return -1;
    for (unsigned i = 0; i < s->region->bells; i++)
        if (s->region->bell[i].offset == gpa - s->base + s->offset)
            return s->region->bell[i].eventfd;
    return -1;
}

/* ---- readers and listeners ---- */

struct mem_reader *mem_reader_new(struct mem_map *m, struct err *e)
{
    struct mem_reader *r = calloc(1, sizeof *r);
    if (!r) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    r->map = m;
    pthread_mutex_lock(&m->readers_mutex);
    atomic_store(&r->seen, atomic_load(&m->epoch));
    list_append(&m->readers, &r->node);
    pthread_mutex_unlock(&m->readers_mutex);
    return r;
}

void mem_reader_free(struct mem_reader *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->map->readers_mutex);
    list_remove(&r->node);
    pthread_mutex_unlock(&r->map->readers_mutex);
    free(r);
}

void mem_reader_quiesce(struct mem_reader *r)
{
    if (atomic_load_explicit(&r->seen, memory_order_relaxed) != UINT64_MAX)
        atomic_store(&r->seen, atomic_load(&r->map->epoch));
}

void mem_reader_offline(struct mem_reader *r, bool offline)
{
    atomic_store(&r->seen, offline ? UINT64_MAX : atomic_load(&r->map->epoch));
}

void mem_listen(struct mem_map *m, struct mem_listener *l)
{
    static const struct mem_view empty = {0};
    lock_take(&m->lock);
    l->next = m->listeners;
    m->listeners = l;
    l->changed(l->opaque, &empty, &m->current->view);
    lock_drop(&m->lock);
}

void mem_unlisten(struct mem_map *m, struct mem_listener *l)
{
    lock_take(&m->lock);
    for (struct mem_listener **p = &m->listeners; *p; p = &(*p)->next)
        if (*p == l) {
            *p = l->next;
            break;
        }
    lock_drop(&m->lock);
}

uint64_t mem_ram_size(const struct mem_map *m)
{
    const struct mem_view *v = mem_view(m);
    uint64_t sum = 0;
    for (size_t i = 0; i < v->count; i++)
        sum += v->section[i].kind == MEM_RAM ? v->section[i].size : 0;
    return sum;
}
