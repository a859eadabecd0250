/* The flat view against a model that asks, for each granule of a small address space, who is on top. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "base/range.h"
#include "guest/mem.h"

enum {
    GRANULE = 512,
    GRANULES = 512,
    SPACE = GRANULE * GRANULES,
    MAX_REGIONS = 24,
    RAM_SIZE = 32 * MEM_PAGE
};

static uint64_t no_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)opaque, (void)offset, (void)size;
    return 0;
}

static const struct mem_ops ops = {.read = no_read};

static uint32_t random32(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)(*seed >> 16);
}

struct model_region {
    struct mem_region r;
    struct mem_region *handle; /* NULL: slot free */
    uint64_t order;
    bool enabled;
};

struct world {
    struct mem_map *map;
    struct ram *ram;
    struct model_region region[MAX_REGIONS];
    uint64_t order, seed;
    struct mem_listener listener;
    struct mem_section mirror[GRANULES + 1];
    size_t mirrored, calls;
};

static void mirror(void *opaque, const struct mem_view *was, const struct mem_view *now)
{
    struct world *w = opaque;
    assert_int_equal(was->count, w->mirrored);
    for (size_t i = 0; i < was->count; i++)
        assert_true(was->section[i].base == w->mirror[i].base && was->section[i].size == w->mirror[i].size &&
                    was->section[i].region == w->mirror[i].region &&
                    was->section[i].kind == w->mirror[i].kind);
    assert_true(now->count <= ARRAY_LEN(w->mirror));
    memcpy(w->mirror, now->section, now->count * sizeof now->section[0]);
    w->mirrored = now->count;
    w->calls++;
}

static const struct model_region *model_top(const struct world *w, uint64_t at,
                                            const struct model_region *below)
{
    const struct model_region *best = NULL;
    for (unsigned i = 0; i < MAX_REGIONS; i++) {
        const struct model_region *c = &w->region[i];
        if (!c->handle || !c->enabled || at < c->r.base || at >= c->r.base + c->r.size)
            continue;
        if (below && (c->r.priority > below->r.priority ||
                      (c->r.priority == below->r.priority && c->order >= below->order)))
            continue;
        if (!best || c->r.priority > best->r.priority ||
            (c->r.priority == best->r.priority && c->order > best->order))
            best = c;
    }
    return best;
}

static void check_point(const struct world *w, uint64_t at)
{
    uint64_t asked = at;
    const struct model_region *c = model_top(w, asked, NULL);
    while (c && c->r.kind == MEM_ALIAS) {
        asked = asked - c->r.base + c->r.alias_at;
        c = model_top(w, asked, c);
    }
    const struct mem_section *s = mem_find(mem_view(w->map), at);
    if (!c) {
        assert_null(s);
        return;
    }
    assert_non_null(s);
    assert_ptr_equal(s->region, c->handle);
    assert_int_equal(s->kind, c->r.kind);
    assert_int_equal(s->offset + (at - s->base),
                     asked - c->r.base + (c->r.kind == MEM_MMIO ? 0 : c->r.ram_offset));
}

static void check_view(const struct world *w)
{
    const struct mem_view *v = mem_view(w->map);
    for (size_t i = 0; i < v->count; i++) {
        const struct mem_section *s = &v->section[i], *p = i ? s - 1 : NULL;
        assert_true(s->size > 0);
        assert_true(!p || p->base + p->size <= s->base);
        /* What is one piece is one section. */
        assert_false(p && p->base + p->size == s->base && p->region == s->region &&
                     p->offset + p->size == s->offset);
    }
    for (uint64_t g = 0; g < GRANULES; g++) {
        check_point(w, g * GRANULE);
        check_point(w, g * GRANULE + GRANULE - 1);
    }
    assert_int_equal(w->mirrored, v->count);
    assert_memory_equal(w->mirror, v->section, v->count * sizeof v->section[0]);
}

static uint64_t granule_of(enum mem_kind kind)
{
    return kind == MEM_MMIO || kind == MEM_ALIAS ? GRANULE : MEM_PAGE;
}

static void random_place(struct world *w, enum mem_kind kind, uint64_t *base, uint64_t *size, uint64_t limit)
{
    uint64_t g = granule_of(kind), n = limit / g;
    *size = (1 + random32(&w->seed) % (n / 2)) * g;
    *base = random32(&w->seed) % (SPACE / g - *size / g + 1) * g;
}

static void add_random(struct world *w, struct model_region *m)
{
    static const enum mem_kind kinds[] = {MEM_RAM, MEM_ROM, MEM_ROMD, MEM_MMIO, MEM_MMIO, MEM_ALIAS};
    struct mem_region r = {.name = "random", .ops = &ops, .priority = (int)(random32(&w->seed) % 4) - 1};
    r.kind = kinds[random32(&w->seed) % ARRAY_LEN(kinds)];
    random_place(w, r.kind, &r.base, &r.size, RAM_SIZE);
    if (r.kind == MEM_ALIAS)
        r.alias_at = random32(&w->seed) % ((SPACE - r.size) / GRANULE + 1) * GRANULE;
    else if (r.kind != MEM_MMIO)
        r.ram_offset = random32(&w->seed) % ((RAM_SIZE - r.size) / MEM_PAGE + 1) * MEM_PAGE;
    r.ram = r.kind == MEM_ALIAS || r.kind == MEM_MMIO ? NULL : w->ram;
    m->r = r;
    m->order = w->order++;
    m->enabled = true;
    m->handle = mem_add(w->map, &r, NULL);
    assert_non_null(m->handle);
}

static void change_random(struct world *w)
{
    struct model_region *m = &w->region[random32(&w->seed) % MAX_REGIONS];
    if (!m->handle) {
        add_random(w, m);
        return;
    }
    switch (random32(&w->seed) % 5) {
    case 0:
    case 1:
        mem_remove(w->map, m->handle);
        m->handle = NULL;
        break;
    case 2: {
        uint64_t g = granule_of(m->r.kind);
        m->r.base = random32(&w->seed) % ((SPACE - m->r.size) / g + 1) * g;
        mem_set_base(w->map, m->handle, m->r.base);
        break;
    }
    case 3:
        if (m->r.ram) {
            m->r.kind = (enum mem_kind[]){MEM_RAM, MEM_ROM, MEM_ROMD}[random32(&w->seed) % 3];
            mem_set_kind(w->map, m->handle, m->r.kind);
        }
        break;
    default:
        m->enabled = !m->enabled;
        mem_set_enabled(w->map, m->handle, m->enabled);
        break;
    }
}

static void world_start(struct world *w, uint64_t seed)
{
    *w = (struct world){
        .map = mem_map_new(NULL), .ram = ram_new("ram", RAM_SIZE, RAM_ANONYMOUS, NULL), .seed = seed};
    w->listener = (struct mem_listener){.changed = mirror, .opaque = w};
    mem_listen(w->map, &w->listener);
    /* The block becomes the map's with its first region. */
    w->region[0].r = (struct mem_region){
        .name = "ram", .size = RAM_SIZE, .kind = MEM_RAM, .ram = w->ram, .ops = &ops, .priority = -5};
    w->region[0].order = w->order++;
    w->region[0].enabled = true;
    w->region[0].handle = mem_add(w->map, &w->region[0].r, NULL);
}

static void the_view_is_what_priorities_and_aliases_say(void **state)
{
    struct world *w = malloc(sizeof *w);
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        world_start(w, seed * 0x9e3779b97f4a7c15);
        for (unsigned step = 0; step < 60; step++) {
            change_random(w);
            check_view(w);
        }
        mem_unlisten(w->map, &w->listener);
        mem_map_free(w->map);
    }
    free(w);
}

static void changes_between_begin_and_commit_are_published_as_one(void **state)
{
    struct world *w = malloc(sizeof *w);
    (void)state;
    world_start(w, 4711);
    for (unsigned step = 0; step < 40; step++) {
        const struct mem_view *before = mem_view(w->map);
        size_t calls = w->calls;
        mem_begin(w->map);
        for (unsigned i = 0; i < 7; i++)
            change_random(w);
        mem_begin(w->map);
        change_random(w);
        mem_commit(w->map);
        assert_ptr_equal(mem_view(w->map), before);
        mem_commit(w->map);
        assert_in_range(w->calls, calls, calls + 1);
        check_view(w);
    }
    mem_map_free(w->map);
    free(w);
}

static struct mem_region mmio(const char *name, uint64_t base, uint64_t size, int priority)
{
    return (struct mem_region){
        .name = name, .base = base, .size = size, .priority = priority, .kind = MEM_MMIO, .ops = &ops};
}

static void a_region_may_reach_the_top_of_the_address_space(void **state)
{
    struct mem_map *m = mem_map_new(NULL);
    struct mem_region top = mmio("top", 0ull - 0x10000, 0x10000, 0),
                      over = mmio("over", 0ull - 0x10, 0x10, 1);
    (void)state;
    struct mem_region *t = mem_add(m, &top, NULL), *o = mem_add(m, &over, NULL);
    assert_ptr_equal(mem_find(mem_view(m), UINT64_MAX)->region, o);
    assert_ptr_equal(mem_find(mem_view(m), UINT64_MAX - 0x10)->region, t);
    assert_null(mem_find(mem_view(m), 0));
    mem_remove(m, o);
    assert_ptr_equal(mem_find(mem_view(m), UINT64_MAX)->region, t);
    assert_int_equal(mem_view(m)->count, 1);
    mem_map_free(m);
}

static void an_alias_that_sees_itself_ends(void **state)
{
    struct mem_map *m = mem_map_new(NULL);
    struct mem_region low = mmio("device", 0x1000, 0x1000, 0);
    struct mem_region self = {
        .name = "self", .base = 0x1800, .size = 0x1000, .alias_at = 0x1000, .kind = MEM_ALIAS, .priority = 1};
    (void)state;
    mem_add(m, &low, NULL);
    mem_add(m, &self, NULL);
    const struct mem_section *s = mem_find(mem_view(m), 0x1900);
    assert_string_equal(s->region->name, "device");
    assert_int_equal(s->offset + (0x1900 - s->base), 0x100);
    /* 0x2000 stands for 0x1800, which below the alias is the device at 0x800. */
    s = mem_find(mem_view(m), 0x2000);
    assert_int_equal(s->offset + (0x2000 - s->base), 0x800);
    mem_map_free(m);
}

static void thousands_of_borders_are_all_kept(void **state)
{
    struct mem_map *m = mem_map_new(NULL);
    (void)state;
    mem_begin(m);
    for (unsigned i = 0; i < 300; i++) {
        struct mem_region r = mmio("one of many", i * 0x100, 0x80, 0);
        mem_add(m, &r, NULL);
    }
    for (unsigned i = 1; i <= 8; i++) { /* each sees all that lies below it: the view doubles */
        struct mem_region a = {.name = "a",
                               .base = 0x12c00ull << (i - 1),
                               .size = 0x12c00ull << (i - 1),
                               .kind = MEM_ALIAS,
                               .priority = (int)i};
        mem_add(m, &a, NULL);
    }
    mem_commit(m);
    assert_int_equal(mem_view(m)->count, 300 << 8);
    for (uint64_t at = 0; at < 0x12c00ull << 8; at += 0x80)
        assert_true(!mem_find(mem_view(m), at) == !!(at & 0x80));
    mem_map_free(m);
}

static void an_invalid_region_is_refused_with_its_name(void **state)
{
    struct mem_map *m = mem_map_new(NULL);
    struct ram *ram = ram_new("ram", 2 * MEM_PAGE, RAM_ANONYMOUS, NULL);
    struct mem_region good = {.name = "good", .size = 2 * MEM_PAGE, .kind = MEM_RAM, .ram = ram}, bad;
    struct err e;
    (void)state;
    assert_non_null(mem_add(m, &good, &e));
#define REFUSED(...)                                                                                         \
    do {                                                                                                     \
        bad = good;                                                                                          \
        bad.name = "bad";                                                                                    \
        __VA_ARGS__;                                                                                         \
        e.msg[0] = 0;                                                                                        \
        assert_null(mem_add(m, &bad, &e));                                                                   \
        assert_non_null(strstr(e.msg, "bad"));                                                               \
    } while (0)
    REFUSED(bad.size = 0);
    REFUSED(bad.base = 0ull - MEM_PAGE);
    REFUSED(bad.ram_offset = MEM_PAGE);
    REFUSED(bad.ram = NULL);
    REFUSED(bad.base = 1);
    REFUSED(bad.size = MEM_PAGE, bad.ram_offset = 512);
    REFUSED(bad.kind = MEM_ROMD); /* without operations */
    REFUSED(bad.kind = MEM_MMIO);
    REFUSED(bad.kind = MEM_ALIAS, bad.alias_at = UINT64_MAX - 1);
#undef REFUSED
    assert_int_equal(mem_view(m)->count, 1);
    mem_map_free(m);
}

static void the_memory_of_a_removed_region_stays_until_the_map_goes(void **state)
{
    struct mem_map *m = mem_map_new(NULL);
    struct ram *ram = ram_new("ram", MEM_PAGE, RAM_ANONYMOUS, NULL);
    struct mem_region r = {.name = "bar", .size = MEM_PAGE, .kind = MEM_RAM, .ram = ram};
    (void)state;
    ram->host[0] = 42;
    mem_remove(m, mem_add(m, &r, NULL));
    assert_int_equal(mem_ram_size(m), 0);
    r.base = 0x10000;
    mem_add(m, &r, NULL);
    assert_int_equal(*(uint8_t *)mem_at(m, 0x10000, 1, false), 42);
    mem_map_free(m); /* a leak, or a double free, is the sanitizer's to find */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_view_is_what_priorities_and_aliases_say),
        cmocka_unit_test(changes_between_begin_and_commit_are_published_as_one),
        cmocka_unit_test(a_region_may_reach_the_top_of_the_address_space),
        cmocka_unit_test(an_alias_that_sees_itself_ends),
        cmocka_unit_test(thousands_of_borders_are_all_kept),
        cmocka_unit_test(an_invalid_region_is_refused_with_its_name),
        cmocka_unit_test(the_memory_of_a_removed_region_stays_until_the_map_goes),
    };
    return cmocka_run_group_tests_name("guest: map", tests, NULL, NULL);
}
