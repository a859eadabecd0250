/* Views and removed regions live as long as a reader may hold them, and no longer. The sanitizers see what
 * these tests cannot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <cmocka.h>
#include "guest/map.h"
#include "host/host.h"

static uint64_t give_name(void *opaque, uint64_t offset, unsigned size)
{
    (void)offset, (void)size;
    return (uint64_t)(uintptr_t)opaque;
}

static const struct mem_ops ops = {.read = give_name};

static struct mem_region device(uint64_t base, int priority, uintptr_t id)
{
    return (struct mem_region){.name = "device",
                               .base = base,
                               .size = 0x1000,
                               .priority = priority,
                               .kind = MEM_MMIO,
                               .ops = &ops,
                               .opaque = (void *)id};
}

static unsigned waiting(const struct mem_map *m)
{
    unsigned n = 0;
    for (struct retired *r = m->retired; r; r = r->next)
        n++;
    return n;
}

static void without_readers_nothing_waits(void **state)
{
    struct mem_map *m = mem_map_new(NULL);
    struct mem_region r = device(0, 0, 1);
    (void)state;
    for (unsigned i = 0; i < 100; i++)
        mem_remove(m, mem_add(m, &r, NULL));
    assert_int_equal(waiting(m), 0);
    mem_map_free(m);
}

static void what_a_reader_may_hold_stays_until_its_quiescent_point(void **state)
{
    struct mem_map *m = mem_map_new(NULL);
    struct mem_region r = device(0, 0, 1);
    struct mem_region *first = mem_add(m, &r, NULL);
    struct mem_reader *reader = mem_reader_new(m, NULL);
    const struct mem_section *held = mem_find(mem_view(m), 0x10);
    (void)state;
    mem_remove(m, first);
    struct mem_region *second = mem_add(m, &r, NULL);
    assert_null(mem_find(mem_view(m), 0x1000));
    assert_ptr_equal(held->region, first); /* neither view nor region is gone */
    assert_ptr_equal(held->region->opaque, (void *)1);
    assert_int_equal(waiting(m), 3); /* two views and a region */
    mem_reader_quiesce(reader);
    mem_set_base(m, second, 0x2000);
    assert_int_equal(waiting(m), 1); /* the view that the reader may have taken since */
    mem_reader_free(reader);
    mem_set_base(m, second, 0x3000);
    assert_int_equal(waiting(m), 0);
    mem_map_free(m);
}

static void a_reader_that_is_offline_holds_nothing_up(void **state)
{
    struct mem_map *m = mem_map_new(NULL);
    struct mem_region r = device(0, 0, 1), *handle = mem_add(m, &r, NULL);
    struct mem_reader *reader = mem_reader_new(m, NULL);
    (void)state;
    mem_reader_offline(reader, true);
    mem_reader_quiesce(reader); /* stays offline */
    for (uint64_t i = 1; i < 50; i++)
        mem_set_base(m, handle, i * 0x1000);
    assert_int_equal(waiting(m), 0);
    mem_reader_offline(reader, false);
    const struct mem_section *held = mem_find(mem_view(m), 49 * 0x1000);
    mem_set_base(m, handle, 0);
    assert_int_equal(held->base, 49 * 0x1000);
    assert_int_equal(waiting(m), 1);
    mem_reader_free(reader);
    mem_map_free(m);
}

static void a_map_freed_with_removals_unpublished_frees_them(void **state)
{
    struct mem_map *m = mem_map_new(NULL);
    struct mem_region r = device(0, 0, 1), *handle = mem_add(m, &r, NULL);
    (void)state;
    mem_begin(m);
    mem_remove(m, handle);
    mem_map_free(m);
    mem_map_free(NULL);
}

enum { READERS = 3, CHANGES = 20000 };

struct storm {
    struct mem_map *m;
    atomic_bool stop;
    atomic_uint ready;
    atomic_ullong looks;
};

/* Whatever view a reader sees, it is a whole one: RAM at 0, and device 1 or device 2, never neither. */
static void look(struct storm *s, struct mem_reader *r, unsigned turn)
{
    const struct mem_view *v = mem_view(s->m);
    const struct mem_section *d = mem_find(v, 0x10800);
    uint64_t who = mem_mmio_read(s->m, 0x10800, 8), scalar;
    assert_non_null(d);
    assert_true(d->region->opaque == (void *)1 || d->region->opaque == (void *)2);
    assert_true(who == 1 || who == 2);
    uint32_t *p = mem_at(s->m, 0x100, 4, true);
    assert_non_null(p);
    assert_int_equal(mem_store(s->m, 0x200, 8, turn * 0x100000001ull), 0);
    assert_int_equal(mem_load(s->m, 0x200, 8, &scalar), 0);
    assert_int_equal(scalar >> 32, (uint32_t)scalar); /* never torn */
    char bytes[64];
    assert_int_equal(mem_read(s->m, 0x1f0, bytes, sizeof bytes), 0);
    assert_int_equal(mem_write(s->m, 0x300, bytes, sizeof bytes), 0);
    assert_int_equal(mem_fill(s->m, 0x340, 1, 100), 0);
    if (turn % 64 == 63) {
        mem_reader_offline(r, true);
        sched_yield();
        mem_reader_offline(r, false);
    } else {
        mem_reader_quiesce(r);
    }
    atomic_fetch_add(&s->looks, 1);
}

static void *reader(void *opaque)
{
    struct storm *s = opaque;
    struct mem_reader *r = mem_reader_new(s->m, NULL);
    atomic_fetch_add(&s->ready, 1);
    for (unsigned turn = 0; turn < 100 || !atomic_load(&s->stop); turn++)
        look(s, r, turn);
    mem_reader_free(r);
    return NULL;
}

static void readers_see_whole_views_while_the_map_changes(void **state)
{
    struct storm s = {.m = mem_map_new(NULL)};
    struct ram *ram = ram_new("ram", 0x10000, RAM_ANONYMOUS, NULL);
    struct mem_region mem = {.name = "ram", .size = 0x10000, .kind = MEM_RAM, .ram = ram},
                      one = device(0x10000, 0, 1), two = device(0x10000, 1, 2), *upper = NULL;
    pthread_t t[READERS];
    (void)state;
    mem_add(s.m, &mem, NULL);
    mem_add(s.m, &one, NULL);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(host_thread(&t[i], "reader", reader, &s), 0);
    while (atomic_load(&s.ready) < READERS)
        sched_yield();
    for (unsigned i = 0; i < CHANGES; i++) {
        if (upper)
            mem_remove(s.m, upper);
        upper = upper ? NULL : mem_add(s.m, &two, NULL);
        if (i % 16 == 0)
            sched_yield();
    }
    atomic_store(&s.stop, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(t[i], NULL);
    if (upper)
        mem_remove(s.m, upper);
    mem_set_enabled(s.m, mem_add(s.m, &two, NULL), false);
    assert_int_equal(waiting(s.m), 0);
    assert_true(atomic_load(&s.looks) >= 100 * READERS);
    mem_map_free(s.m);
}

static void *change_own(void *opaque)
{
    struct storm *s = opaque;
    struct mem_region r = device((uint64_t)(atomic_fetch_add(&s->ready, 1) + 1) << 20, 0, 1);
    struct mem_region *h = mem_add(s->m, &r, NULL);
    for (unsigned i = 0; i < 200; i++) {
        mem_begin(s->m);
        mem_set_enabled(s->m, h, false);
        mem_set_base(s->m, h, r.base + (i % 16) * 0x1000);
        mem_set_enabled(s->m, h, true);
        mem_commit(s->m);
    }
    return NULL;
}

static void several_threads_may_change_the_map(void **state)
{
    struct storm s = {.m = mem_map_new(NULL)};
    pthread_t t[READERS];
    (void)state;
    for (int i = 0; i < READERS; i++)
        assert_int_equal(host_thread(&t[i], "changer", change_own, &s), 0);
    for (int i = 0; i < READERS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(mem_view(s.m)->count, READERS);
    for (unsigned i = 1; i <= READERS; i++)
        assert_non_null(mem_find(mem_view(s.m), ((uint64_t)i << 20) + 199 % 16 * 0x1000));
    mem_map_free(s.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_readers_nothing_waits),
        cmocka_unit_test(what_a_reader_may_hold_stays_until_its_quiescent_point),
        cmocka_unit_test(a_reader_that_is_offline_holds_nothing_up),
        cmocka_unit_test(a_map_freed_with_removals_unpublished_frees_them),
        cmocka_unit_test(readers_see_whole_views_while_the_map_changes),
        cmocka_unit_test(several_threads_may_change_the_map),
    };
    return cmocka_run_group_tests_name("guest: reclaim", tests, NULL, NULL);
}
