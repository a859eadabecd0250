/*
 * rig: a bench for one chip: ports, memory, a clock that stands still unless moved, recorded interrupt wires,
 * a character backend that a test plays. Header-only, for the tests of this room.
 */
#ifndef PC_TEST_RIG_H
#define PC_TEST_RIG_H
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "backend/chr/chr.h"
#include "base/err.h"
#include "base/range.h"
#include "device/core/device.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "guest/irq.h"
#include "guest/mem.h"
#include "host/loop.h"

enum { RIG_LINES = 32 };

struct fake_chr {
    struct chr chr; /* first */
    struct chr_client client;
    uint8_t out[4096];
    size_t len, accept; /* accept: bytes taken before it is full */
    unsigned resumed;
};

struct rig {
    struct mem_map *mem;
    struct bus *bus;
    struct clock *clock;
    struct loop *loop;
    struct loop_timer *guard;
    bool level[RIG_LINES];
    unsigned rises[RIG_LINES];
    struct msi_message msi[256];
    unsigned msi_count;
    bool (*until)(struct rig *r);
    struct fake_chr chr;
    struct err err;
    unsigned resets, power_offs, exits, panics;
    uint32_t exit_code;
};

static inline void rig_set(void *opaque, unsigned pin, bool level)
{
    struct rig *r = opaque;
    if (level && !r->level[pin])
        r->rises[pin]++;
    r->level[pin] = level;
}

static inline struct irq_line rig_line(struct rig *r, unsigned pin)
{
    return (struct irq_line){rig_set, r, pin};
}

static inline void rig_msi(void *opaque, struct msi_message m)
{
    struct rig *r = opaque;
    r->msi[r->msi_count++ % ARRAY_LEN(r->msi)] = m;
}

static inline void rig_reset_cb(void *opaque)
{
    ((struct rig *)opaque)->resets++;
}

static inline void rig_power_off_cb(void *opaque)
{
    ((struct rig *)opaque)->power_offs++;
}

static inline void rig_exit_cb(void *opaque, uint32_t code)
{
    struct rig *r = opaque;
    r->exits++;
    r->exit_code = code;
}

static inline void rig_panic_cb(void *opaque, uint8_t events)
{
    (void)events;
    ((struct rig *)opaque)->panics++;
}

static inline void fake_attach(struct chr *c, const struct chr_client *client)
{
    ((struct fake_chr *)(void *)c)->client = client ? *client : (struct chr_client){0};
}

static inline size_t fake_write(struct chr *c, const uint8_t *p, size_t n)
{
    struct fake_chr *f = (struct fake_chr *)(void *)c;
    size_t take = n < f->accept ? n : f->accept;
    for (size_t i = 0; i < take; i++)
        f->out[(f->len + i) % sizeof(f->out)] = p[i];
    f->len += take;
    f->accept -= take;
    return take;
}

static inline void fake_resume(struct chr *c)
{
    ((struct fake_chr *)(void *)c)->resumed++;
}

/* What a terminal does: as much as fits. Returns the bytes taken. */
static inline size_t fake_type(struct fake_chr *f, const void *p, size_t n)
{
    size_t can = f->client.can_receive(f->client.opaque);
    n = n < can ? n : can;
    if (n)
        f->client.receive(f->client.opaque, p, n);
    return n;
}

static const struct chr_ops fake_chr_ops = {
    .attach = fake_attach, .write = fake_write, .resume = fake_resume};

static inline void rig_stop(void *opaque)
{
    loop_stop(opaque);
}

static inline void rig_idle(void *opaque)
{
    struct rig *r = opaque;
    if (r->until && r->until(r))
        loop_stop(r->loop);
}

static inline struct rig *rig_new(void)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    assert_non_null(r->mem = mem_map_new(&r->err));
    assert_non_null(r->bus = bus_new(&r->err));
    assert_non_null(r->clock = clock_new(&r->err));
    assert_non_null(r->loop = loop_new(&r->err));
    assert_non_null(r->guard = loop_timer_new(r->loop, rig_stop, r->loop, &r->err));
    loop_on_idle(r->loop, rig_idle, r);
    r->chr.chr.ops = &fake_chr_ops;
    r->chr.accept = sizeof(r->chr.out);
    clock_set(r->clock, 1000000);
    return r;
}

static inline void rig_free(struct rig *r)
{
    loop_timer_free(r->guard);
    loop_free(r->loop);
    clock_free(r->clock);
    bus_free(r->bus);
    mem_map_free(r->mem);
    free(r);
}

/* Move guest time, with nothing running. */
static inline void rig_advance(struct rig *r, uint64_t ns)
{
    clock_set(r->clock, clock_now(r->clock) + ns);
}

/* Let timers run until `until` holds (at most 10 s), then stop time again. */
static inline bool rig_run(struct rig *r, bool (*until)(struct rig *r))
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    r->until = until;
    loop_timer_arm(r->guard, (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec + 10000000000u);
    clock_start(r->clock);
    loop_run(r->loop);
    clock_stop(r->clock);
    loop_timer_disarm(r->guard);
    r->until = NULL;
    return until(r);
}

static inline uint8_t in8(struct rig *r, uint16_t port)
{
    return (uint8_t)bus_read(r->bus, port, 1);
}

static inline void out8(struct rig *r, uint16_t port, uint8_t v)
{
    bus_write(r->bus, port, 1, v);
}

/* Save `from`, load into `to`, and compare every field. */
static inline void rig_save_load_compare(struct device *from, struct device *to)
{
    struct saved a[8], b[8];
    struct err e = {""};
    unsigned n = device_saved(from, a, 8);
    assert_int_equal(n, device_saved(to, b, 8));
    for (unsigned i = 0; i < n; i++) {
        struct buf bytes = {0};
        state_put(&bytes, a[i].table, a[i].obj);
        assert_false(bytes.failed);
        struct rbuf in = rbuf_of(bytes.data, bytes.len);
        if (state_get(&in, b[i].table, b[i].table->version, b[i].obj, &e))
            fail_msg("load: %s", e.msg);
        buf_free(&bytes);
    }
    assert_int_equal(device_loaded(to, &e), 0);
    for (unsigned i = 0; i < n; i++) {
        const char *field = state_differs(a[i].table, a[i].obj, b[i].obj);
        if (field)
            fail_msg("%s.%s differs after load", a[i].table->name, field);
    }
}

/* A small generator: tests are the same on every run. */
static inline uint32_t rig_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*seed >> 33);
}

#endif
