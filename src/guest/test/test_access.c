#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/err.h"
#include "guest/mem.h"
#include "host/lock.h"

enum { P = MEM_PAGE, RAM_PAGES = 8 };

/* A device that records what it is asked. */
struct dev {
    struct lock lock;
    char log[512];
    bool saw_lock_held;
    uint64_t value;
};

static void note(struct dev *d, const char *what, uint64_t offset, unsigned size, uint64_t value)
{
    size_t n = strlen(d->log);
    snprintf(d->log + n, sizeof d->log - n, "%s%u@%llx=%llx ", what, size, (unsigned long long)offset,
             (unsigned long long)value);
    d->saw_lock_held = pthread_mutex_trylock(&d->lock.mutex) == EBUSY;
    if (!d->saw_lock_held)
        pthread_mutex_unlock(&d->lock.mutex);
}

static uint64_t dev_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev *d = opaque;
    note(d, "r", offset, size, d->value);
    return d->value;
}

static void dev_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    note(opaque, "w", offset, size, value);
}

static const struct mem_ops wide = {.read = dev_read, .write = dev_write};
static const struct mem_ops narrow = {.read = dev_read, .write = dev_write, .max_size = 2};
static const struct mem_ops mute = {0};

/* 0: RAM pages 0..3; 4: RAM pages 4..7 of the same block (adjacent); 8: ROM; 9: ROMD; 10: wide device (lower
 * half of the page), 11: narrow; 12: a device without functions; RAM page 7 once more at 0x100000. */
struct ctx {
    struct mem_map *m;
    struct ram *ram, *rom;
    struct dev dev;
};

static void add(struct ctx *c, const char *name, uint64_t base, uint64_t size, enum mem_kind kind,
                struct ram *ram, uint64_t off, const struct mem_ops *ops)
{
    struct mem_region r = {.name = name,
                           .base = base,
                           .size = size,
                           .kind = kind,
                           .ram = ram,
                           .ram_offset = off,
                           .ops = ops,
                           .opaque = &c->dev,
                           .lock = &c->dev.lock};
    assert_non_null(mem_add(c->m, &r, NULL));
}

static int setup(void **state)
{
    struct ctx *c = calloc(1, sizeof *c);
    lock_init(&c->dev.lock, LOCK_DEVICE);
    c->m = mem_map_new(NULL);
    c->ram = ram_new("ram", RAM_PAGES * P, RAM_ANONYMOUS, NULL);
    c->rom = ram_new("rom", 2 * P, RAM_ANONYMOUS, NULL);
    for (unsigned i = 0; i < 2 * P; i++)
        c->rom->host[i] = (uint8_t)(i * 7);
    add(c, "low", 0, 4 * P, MEM_RAM, c->ram, 0, NULL);
    add(c, "high", 4 * P, 4 * P, MEM_RAM, c->ram, 4 * P, NULL);
    add(c, "rom", 8 * P, P, MEM_ROM, c->rom, 0, NULL);
    add(c, "flash", 9 * P, P, MEM_ROMD, c->rom, P, &wide);
    add(c, "wide", 10 * P, P / 2, MEM_MMIO, NULL, 0, &wide);
    add(c, "narrow", 11 * P, P, MEM_MMIO, NULL, 0, &narrow);
    add(c, "mute", 12 * P, P, MEM_MMIO, NULL, 0, &mute);
    add(c, "again", 0x100000, P, MEM_RAM, c->ram, 7 * P, NULL);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    mem_map_free(c->m);
    lock_destroy(&c->dev.lock);
    free(c);
    return 0;
}

static void a_copy_crosses_sections_and_stops_at_what_is_not_memory(void **state)
{
    struct ctx *c = *state;
    uint8_t in[3 * P], out[3 * P];
    for (unsigned i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(i * 13 + i / 256);
    assert_int_equal(mem_write(c->m, 3 * P + 100, in, sizeof in), 0);
    assert_int_equal(mem_read(c->m, 3 * P + 100, out, sizeof out), 0);
    assert_memory_equal(in, out, sizeof in);
    assert_memory_equal(c->ram->host + 3 * P + 100, in, sizeof in);
    assert_int_equal(mem_read(c->m, 8 * P - 10, out, 20), 0); /* RAM, then ROM */
    assert_memory_equal(out + 10, c->rom->host, 10);
    assert_int_equal(mem_read(c->m, 10 * P - 10, out, 20), -EFAULT);
    assert_int_equal(mem_write(c->m, 8 * P - 10, in, 20), -EFAULT);
    assert_int_equal(mem_write(c->m, 9 * P, in, 1), -EFAULT);
    assert_int_equal(mem_read(c->m, 0x50000, out, 1), -EFAULT);
    assert_int_equal(mem_read(c->m, UINT64_MAX, out, 2), -EFAULT);
    assert_int_equal(mem_write(c->m, 0x50000, in, 0), 0);
}

static void a_fill_sets_every_byte_and_no_other(void **state)
{
    struct ctx *c = *state;
    memset(c->ram->host, 1, RAM_PAGES * P);
    assert_int_equal(mem_fill(c->m, 4 * P - 3, 9, 6), 0);
    for (unsigned i = 0; i < RAM_PAGES * P; i++)
        assert_int_equal(c->ram->host[i], i >= 4 * P - 3 && i < 4 * P + 3 ? 9 : 1);
    assert_int_equal(mem_fill(c->m, 8 * P - 1, 0, 2), -EFAULT);
}

static void a_host_pointer_is_given_only_for_one_section_of_memory(void **state)
{
    struct ctx *c = *state;
    assert_ptr_equal(mem_at(c->m, 5, 4 * P - 5, true), c->ram->host + 5);
    assert_null(mem_at(c->m, 5, 4 * P - 4, true)); /* into the next region */
    assert_ptr_equal(mem_at(c->m, 8 * P, P, false), c->rom->host);
    assert_null(mem_at(c->m, 8 * P, 1, true));
    assert_null(mem_at(c->m, 10 * P, 1, false));
    assert_null(mem_at(c->m, 0, UINT64_MAX, false));
    assert_null(mem_at(c->m, 0x90000, 1, false));
}

static void scalars_of_every_size_and_alignment_load_what_was_stored(void **state)
{
    struct ctx *c = *state;
    for (unsigned size = 1; size <= 8; size *= 2)
        for (uint64_t at = 4 * P - 16; at < 4 * P + 8; at++) {
            uint64_t v = 0, want = 0x8877665544332211ull >> (64 - size * 8);
            memset(c->ram->host + 4 * P - 32, 0xee, 64);
            assert_int_equal(mem_store(c->m, at, size, 0x8877665544332211ull >> (64 - size * 8)), 0);
            assert_int_equal(mem_load(c->m, at, size, &v), 0);
            assert_true(v == want);
            assert_int_equal(c->ram->host[at - 1], 0xee);
            assert_int_equal(c->ram->host[at + size], 0xee);
        }
    uint64_t v;
    assert_int_equal(mem_load(c->m, 10 * P, 4, &v), -EFAULT);
    assert_int_equal(mem_store(c->m, 8 * P, 4, 0), -EFAULT);
    assert_int_equal(mem_load(c->m, 8 * P + 4, 4, &v), 0);
    assert_memory_equal(&v, c->rom->host + 4, 4);
}

static void io_vectors_join_what_is_adjacent_and_are_bounded(void **state)
{
    struct ctx *c = *state;
    struct iovec iov[4];
    assert_int_equal(mem_iov(c->m, P, 6 * P, true, iov, 4), 1); /* two regions, one block */
    assert_ptr_equal(iov[0].iov_base, c->ram->host + P);
    assert_int_equal(iov[0].iov_len, 6 * P);
    assert_int_equal(mem_iov(c->m, 7 * P, 2 * P, false, iov, 4), 2);
    assert_ptr_equal(iov[1].iov_base, c->rom->host);
    assert_int_equal(mem_iov(c->m, 7 * P, 2 * P, false, iov, 1), -E2BIG);
    assert_int_equal(mem_iov(c->m, 7 * P, 2 * P, true, iov, 4), -EFAULT);
    assert_int_equal(mem_iov(c->m, 0, 0, true, iov, 0), 0);
    assert_int_equal(mem_iov(c->m, UINT64_MAX, 1, false, iov, 4), -EFAULT);
}

static void dispatch_calls_the_device_under_its_lock_with_its_offset(void **state)
{
    struct ctx *c = *state;
    c->dev.value = 0xfedcba9876543210;
    assert_int_equal(mem_mmio_read(c->m, 10 * P + 8, 4), 0x76543210); /* cut to size */
    mem_mmio_write(c->m, 10 * P + 16, 2, 0xabcdef);
    assert_string_equal(c->dev.log, "r4@8=fedcba9876543210 w2@10=cdef ");
    assert_true(c->dev.saw_lock_held);
}

static void an_access_that_is_too_wide_or_unaligned_is_split_lower_part_first(void **state)
{
    struct ctx *c = *state;
    mem_mmio_write(c->m, 11 * P + 4, 8, 0x8877665544332211);
    assert_string_equal(c->dev.log, "w2@4=2211 w2@6=4433 w2@8=6655 w2@a=8877 ");
    c->dev.log[0] = 0;
    mem_mmio_write(c->m, 10 * P + 3, 4, 0x44332211);
    assert_string_equal(c->dev.log, "w1@3=11 w2@4=3322 w1@6=44 ");
    c->dev.log[0] = 0;
    c->dev.value = 0xa5a5;
    assert_int_equal(mem_mmio_read(c->m, 11 * P, 4), 0xa5a5a5a5);
    c->dev.log[0] = 0;
    mem_mmio_write(c->m, 10 * P, 3, 0x332211); /* what an engine may be left with at a page's end */
    assert_string_equal(c->dev.log, "w2@0=2211 w1@2=33 ");
}

static void an_access_at_a_border_reaches_each_side_its_own_way(void **state)
{
    struct ctx *c = *state;
    c->dev.value = 0x1122334455667788;
    /* The lower half of the page is the device, the upper nobody's. */
    assert_true(mem_mmio_read(c->m, 10 * P + P / 2 - 4, 8) == 0xffffffff55667788);
    assert_true(mem_mmio_read(c->m, 10 * P - 4, 4) == *(uint32_t *)(void *)(c->rom->host + 2 * P - 4));
    c->dev.log[0] = 0;
    mem_mmio_write(c->m, 11 * P - 2, 4, 0x44332211); /* nobody, then the narrow device */
    assert_string_equal(c->dev.log, "w2@0=4433 ");
    mem_mmio_write(c->m, 8 * P - 2, 4, 0x44332211); /* RAM, then ROM, which drops it */
    assert_memory_equal(c->ram->host + 8 * P - 2, "\x11\x22", 2);
    assert_int_equal(c->rom->host[0], 0);
}

static void nobody_reads_all_ones_and_drops_writes(void **state)
{
    struct ctx *c = *state;
    for (unsigned size = 1; size <= 8; size *= 2) {
        uint64_t ones = UINT64_MAX >> (64 - size * 8);
        assert_true(mem_mmio_read(c->m, 0x70000, size) == ones);
        assert_true(mem_mmio_read(c->m, UINT64_MAX - 2, size) == ones || size > 2); /* wraps to RAM at 0 */
        assert_true(mem_mmio_read(c->m, 12 * P, size) == ones); /* a device that answers nothing */
        mem_mmio_write(c->m, 0x70000, size, 0);
        mem_mmio_write(c->m, 12 * P, size, 0);
    }
    assert_string_equal(c->dev.log, "");
}

static void flash_reads_as_memory_and_calls_on_writes(void **state)
{
    struct ctx *c = *state;
    uint32_t want;
    memcpy(&want, c->rom->host + P + 4, 4);
    assert_int_equal(mem_mmio_read(c->m, 9 * P + 4, 4), want);
    mem_mmio_write(c->m, 9 * P + 4, 4, 0xf0);
    assert_string_equal(c->dev.log, "w4@4=f0 "); /* offset into the region, not its memory block */
    assert_int_equal(mem_mmio_read(c->m, 9 * P + 4, 4), want);
}

static void a_write_marks_its_pages_dirty_and_no_other(void **state)
{
    struct ctx *c = *state;
    uint8_t b[2] = {1, 2};
    mem_write(c->m, P - 1, b, 2);
    mem_store(c->m, 3 * P, 8, 1);
    mem_fill(c->m, 5 * P, 0, 1);
    mem_mmio_write(c->m, 0x100000, 4, 1); /* page 7 by its other address */
    const uint8_t want[RAM_PAGES] = {PAGE_DIRTY, PAGE_DIRTY, 0, PAGE_DIRTY, 0, PAGE_DIRTY, 0, PAGE_DIRTY};
    assert_memory_equal(c->ram->notes, want, RAM_PAGES);
    mem_written(c->m, 2 * P, 3 * P);
    assert_int_equal(c->ram->notes[2], PAGE_DIRTY);
    assert_int_equal(c->ram->notes[4], PAGE_DIRTY);
    assert_int_equal(c->ram->notes[6], 0);
    for (unsigned i = 0; i < RAM_PAGES; i++)
        assert_int_equal(c->ram->gens[i], 0);
}

static void a_write_to_a_page_with_code_bumps_its_generation(void **state)
{
    struct ctx *c = *state;
    uint8_t b[2 * P] = {0};
    c->ram->notes[2] = c->ram->notes[3] = PAGE_CODE;
    mem_write(c->m, 2 * P - 1, b, 2);
    assert_int_equal(c->ram->gens[2], 1);
    assert_int_equal(c->ram->gens[3], 0);
    mem_write(c->m, P, b, 2 * P);
    mem_store(c->m, 3 * P, 1, 0);
    assert_int_equal(c->ram->gens[2], 2);
    assert_int_equal(c->ram->gens[3], 1);
    assert_int_equal(c->ram->gens[1], 0);
    assert_int_equal(c->ram->notes[2], PAGE_CODE | PAGE_DIRTY);
    ram_written(c->ram, 0, 0);
    assert_int_equal(c->ram->notes[0], 0);
}

static void ram_size_counts_ram_alone(void **state)
{
    struct ctx *c = *state;
    assert_int_equal(mem_ram_size(c->m), 9 * P); /* as seen by the guest: page 7 twice */
}

static void shared_ram_its_notes_and_generations_are_seen_by_a_child_process(void **state)
{
    struct ram *r = ram_new("shared", 3 * P + 1, RAM_MEMFD, NULL);
    (void)state;
    assert_non_null(r);
    assert_int_equal(r->size, 4 * P);
    assert_true(r->fd >= 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        r->host[P] = 77;
        r->notes[1] = PAGE_CODE;
        ram_written(r, P, 1);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    assert_int_equal(r->host[P], 77);
    assert_int_equal(r->notes[1], PAGE_CODE | PAGE_DIRTY);
    assert_int_equal(r->gens[1], 1);
    ram_free(r);
}

static void a_snapshots_memory_is_copied_on_write_and_its_file_never_changes(void **state)
{
    char page[P];
    struct err e;
    int fd = memfd_create("snapshot", 0);
    (void)state;
    memset(page, 's', sizeof page);
    for (int i = 0; i < 4; i++)
        assert_int_equal(write(fd, page, P), P);
    struct ram *r = ram_new_file("ram", fd, P, 2 * P, &e);
    assert_non_null(r);
    assert_int_equal(r->host[0], 's');
    memset(r->host, 'x', 2 * P);
    assert_int_equal(pread(fd, page, P, P), P);
    assert_int_equal(page[0], 's');
    assert_null(ram_new_file("ram", fd, P, 4 * P, &e)); /* beyond the file's end */
    assert_non_null(strstr(e.msg, "outside its file"));
    assert_null(ram_new_file("ram", fd, UINT64_MAX - P + 1, P, &e));
    assert_null(ram_new_file("ram", fd, 1, P, &e));
    assert_null(ram_new_file("ram", fd, 0, 0, &e));
    int p[2];
    assert_int_equal(pipe(p), 0);
    assert_null(ram_new_file("ram", p[0], 0, P, &e));
    close(p[0]);
    close(p[1]);
    close(fd); /* the block has its own */
    assert_int_equal(r->host[P], 'x');
    ram_free(r);
    ram_free(NULL);
}

static void a_copied_snapshot_is_shared_and_its_holes_stay_empty(void **state)
{
    char page[P];
    struct err e;
    struct stat st;
    int fd = memfd_create("snapshot", 0);
    (void)state;
    /* a hole, data, a hole, data, a hole */
    assert_int_equal(ftruncate(fd, 64 * P), 0);
    memset(page, 's', sizeof page);
    assert_int_equal(pwrite(fd, page, P, 9 * P), P);
    assert_int_equal(pwrite(fd, page, P, 20 * P), P);
    assert_int_equal(pwrite(fd, page, P, 21 * P), P);
    struct ram *r = ram_new_copy("ram", fd, 9 * P, 32 * P, &e);
    assert_non_null(r);
    assert_int_equal(r->backing, RAM_MEMFD);
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(r->host[i * P + 5], i == 0 || i == 11 || i == 12 ? 's' : 0);
    ram_free(r);
    r = ram_new_copy("ram", fd, 21 * P, 32 * P, &e);
    assert_non_null(r);
    assert_int_equal(fstat(r->fd, &st), 0);
    assert_true(st.st_blocks <= P / 512); /* before anybody reads the rest */
    r->host[0] = 'x';
    assert_int_equal(pread(r->fd, page, P, 0), P);
    assert_int_equal(page[0], 'x');
    assert_int_equal(pread(fd, page, P, 21 * P), P);
    assert_int_equal(page[0], 's');
    ram_free(r);
    r = ram_new_copy("ram", fd, 30 * P, 34 * P, &e); /* nothing but a hole */
    assert_non_null(r);
    assert_int_equal(r->host[0], 0);
    ram_free(r);
    assert_null(ram_new_copy("ram", fd, 33 * P, 32 * P, &e));
    assert_non_null(strstr(e.msg, "outside its file"));
    close(fd);
    assert_null(ram_new_copy("ram", fd, 0, P, &e));
}

static void impossible_sizes_are_refused(void **state)
{
    struct err e;
    (void)state;
    assert_null(ram_new("none", 0, RAM_ANONYMOUS, &e));
    assert_null(ram_new("vast", UINT64_MAX, RAM_ANONYMOUS, &e));
    assert_null(ram_new("vast", 1ull << 62, RAM_MEMFD, &e));
    assert_non_null(strstr(e.msg, "vast"));
}

static void a_bell_is_where_its_region_shows_and_nowhere_else(void **state)
{
    struct ctx *c = *state;
    const struct mem_region r = {.name = "bells",
                                 .base = 20 * P,
                                 .size = 2 * P,
                                 .kind = MEM_MMIO,
                                 .ops = &wide,
                                 .opaque = &c->dev,
                                 .bell = {{8, 5}, {P + 16, 6}},
                                 .bells = 2};
    struct mem_region bad = r, cover = {.name = "cover",
                                        .base = 20 * P,
                                        .size = P,
                                        .priority = 1,
                                        .kind = MEM_RAM,
                                        .ram = c->ram};
    struct mem_region *m = mem_add(c->m, &r, NULL);
    assert_non_null(m);
    assert_int_equal(mem_bell_at(mem_view(c->m), 20 * P + 8), 5);
    assert_int_equal(mem_bell_at(mem_view(c->m), 20 * P + 9), -1);
    assert_int_equal(mem_bell_at(mem_view(c->m), 21 * P + 16), 6);
    assert_int_equal(mem_bell_at(mem_view(c->m), 16), -1);
    assert_int_equal(mem_bell_at(mem_view(c->m), 30 * P), -1);
    struct mem_region *over = mem_add(c->m, &cover, NULL);
    assert_int_equal(mem_bell_at(mem_view(c->m), 20 * P + 8), -1);
    assert_int_equal(mem_bell_at(mem_view(c->m), 21 * P + 16),
                     6); /* in a section that begins inside the region */
    mem_remove(c->m, over);
    mem_set_base(c->m, m, 40 * P);
    assert_int_equal(mem_bell_at(mem_view(c->m), 20 * P + 8), -1);
    assert_int_equal(mem_bell_at(mem_view(c->m), 40 * P + 8), 5);
    mem_set_enabled(c->m, m, false);
    assert_int_equal(mem_bell_at(mem_view(c->m), 40 * P + 8), -1);
    bad.bells = MEM_BELLS + 1;
    assert_null(mem_add(c->m, &bad, NULL));
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_copy_crosses_sections_and_stops_at_what_is_not_memory),
        T(a_fill_sets_every_byte_and_no_other),
        T(a_host_pointer_is_given_only_for_one_section_of_memory),
        T(scalars_of_every_size_and_alignment_load_what_was_stored),
        T(io_vectors_join_what_is_adjacent_and_are_bounded),
        T(dispatch_calls_the_device_under_its_lock_with_its_offset),
        T(an_access_that_is_too_wide_or_unaligned_is_split_lower_part_first),
        T(an_access_at_a_border_reaches_each_side_its_own_way),
        T(nobody_reads_all_ones_and_drops_writes),
        T(flash_reads_as_memory_and_calls_on_writes),
        T(a_write_marks_its_pages_dirty_and_no_other),
        T(a_write_to_a_page_with_code_bumps_its_generation),
        T(ram_size_counts_ram_alone),
        T(a_bell_is_where_its_region_shows_and_nowhere_else),
        cmocka_unit_test(shared_ram_its_notes_and_generations_are_seen_by_a_child_process),
        cmocka_unit_test(a_snapshots_memory_is_copied_on_write_and_its_file_never_changes),
        cmocka_unit_test(a_copied_snapshot_is_shared_and_its_holes_stay_empty),
        cmocka_unit_test(impossible_sizes_are_refused),
    };
    return cmocka_run_group_tests_name("guest: access", tests, NULL, NULL);
}
