/* bench: a board with an accelerator that only notes what it is told. For the tests of this room. */
#ifndef BOARD_TEST_BENCH_H
#define BOARD_TEST_BENCH_H
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "accel/accel.h"
#include "base/err.h"
#include "base/range.h"
#include "board/board.h"
#include "board/map.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "guest/mem.h"
#include "host/loop.h"

enum { BENCH_BELLS = 32 };

struct bench {
    struct accel accel; /* first */
    struct mem_map *mem;
    struct bus *bus;
    struct clock *clock;
    struct loop *loop;
    struct board *board;
    struct accel_callbacks cb;
    struct msi_message last;
    unsigned msis, resets, power_offs, exits, panics;
    uint32_t exit_code;
    const char *reset_by;
    bool extint;
    uint64_t
        bell[BENCH_BELLS]; /* where the accelerator has doorbells, in the order in which they came; 0: free */
    int bell_fd[BENCH_BELLS];
    bool no_bells; /* it is one that has none */
    struct err err;
};

static inline int bench_msi(struct accel *a, struct msi_message m)
{
    struct bench *b = (struct bench *)(void *)a;
    b->last = m;
    b->msis++;
    return 1;
}

static inline void bench_extint(struct accel *a, bool level)
{
    ((struct bench *)(void *)a)->extint = level;
}

/* What comes was not there, what goes was. */
static inline int bench_doorbell(struct accel *a, uint64_t gpa, unsigned size, int eventfd, bool on,
                                 struct err *e)
{
    struct bench *b = (struct bench *)(void *)a;
    unsigned at = BENCH_BELLS;
    (void)e;
    if (b->no_bells)
        return -ENOTSUP;
    assert_int_equal(size, 0);
    for (unsigned i = BENCH_BELLS; i-- > 0;) {
        assert_false(on && b->bell[i] == gpa);
        if (b->bell[i] == (on ? 0 : gpa))
            at = i;
    }
    assert_true(at < BENCH_BELLS);
    assert_true(on || b->bell_fd[at] == eventfd);
    b->bell[at] = on ? gpa : 0;
    b->bell_fd[at] = eventfd;
    return 0;
}

static inline unsigned bench_bells(const struct bench *b)
{
    unsigned n = 0;
    for (unsigned i = 0; i < BENCH_BELLS; i++)
        n += b->bell[i] != 0;
    return n;
}

static const struct accel_ops bench_accel_ops = {
    .name = "bench", .msi = bench_msi, .extint = bench_extint, .doorbell = bench_doorbell};

static inline void bench_on_reset(void *opaque, const char *by)
{
    ((struct bench *)opaque)->resets++;
    ((struct bench *)opaque)->reset_by = by;
}

static inline void bench_on_power_off(void *opaque)
{
    ((struct bench *)opaque)->power_offs++;
}

static inline void bench_on_exit(void *opaque, uint32_t code)
{
    ((struct bench *)opaque)->exits++;
    ((struct bench *)opaque)->exit_code = code;
}

static inline void bench_on_panic(void *opaque, uint8_t events)
{
    (void)events;
    ((struct bench *)opaque)->panics++;
}

/* `cfg` brings what differs from a plain board of one CPU and 64 MiB. */
static inline struct bench *bench_new(const struct board_config *cfg)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct board_config c = *cfg;
    assert_non_null(b);
    assert_non_null(c.mem = b->mem = mem_map_new(&b->err));
    assert_non_null(c.bus = b->bus = bus_new(&b->err));
    assert_non_null(c.clock = b->clock = clock_new(&b->err));
    assert_non_null(c.loop = b->loop = loop_new(&b->err));
    c.cpus = c.cpus ? c.cpus : 1;
    c.memory = c.memory ? c.memory : 64 << 20;
    c.cb = (struct board_callbacks){bench_on_power_off, bench_on_reset, bench_on_exit, bench_on_panic, b};
    b->accel.ops = &bench_accel_ops;
    b->board = board_new(&c, &b->err);
    if (!b->board)
        fail_msg("board_new: %s", b->err.msg);
    b->cb = board_accel_callbacks(b->board);
    board_connect(b->board, &b->accel);
    return b;
}

static inline void bench_free(struct bench *b)
{
    board_connect(b->board, NULL);
    assert_int_equal(bench_bells(b), 0);
    board_free(b->board);
    loop_free(b->loop);
    clock_free(b->clock);
    bus_free(b->bus);
    mem_map_free(b->mem);
    free(b);
}

static inline uint32_t bench_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*seed >> 33);
}

static inline void bench_rte(struct bench *b, unsigned pin, uint32_t low)
{
    mem_mmio_write(b->mem, MAP_IOAPIC_BASE, 4, 0x10 + 2 * pin);
    mem_mmio_write(b->mem, MAP_IOAPIC_BASE + 0x10, 4, low);
}

#endif
