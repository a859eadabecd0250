#include "device/pc/pit.h"
#include <errno.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/range.h"
#include "device/pc/pit_counter.h"
#include "guest/bus.h"
#include "guest/clock.h"

enum { COUNTERS = 3, REG_CONTROL = 3, READ_BACK = 3 };
enum { PORTB_GATE2 = 0x01, PORTB_SPEAKER = 0x02, PORTB_REFRESH = 0x10, PORTB_OUT2 = 0x20 };

#define NS_PER_SEC 1000000000ull
#define REFRESH_NS 15085ull /* half a period of the refresh toggle, as counter 1 would make it */

struct pit {
    struct device dev;
    struct pit_config cfg;
    struct clock_timer *timer;
    struct pit_counter counter[COUNTERS];
    uint8_t irq_level, speaker;
    uint64_t edge_at; /* tick of the next rise of counter 0 that was waited for, UINT64_MAX none */
};

static struct pit *of(struct device *d)
{
    return (struct pit *)(void *)d;
}

static uint64_t now_ticks(const struct pit *p)
{
    return (uint64_t)((unsigned __int128)clock_now(p->cfg.clock) * PIT_HZ / NS_PER_SEC);
}

/* Guest ns at which a tick has come for certain. */
static uint64_t tick_ns(uint64_t tick)
{
    return (uint64_t)(((unsigned __int128)tick * NS_PER_SEC + PIT_HZ - 1) / PIT_HZ);
}

static void drive(struct pit *p, bool level)
{
    if (level == p->irq_level)
        return;
    p->irq_level = level;
    irq_set(&p->cfg.irq, level);
}

/* Modes 2 to 5 rest high and mark the moment by a dip, often of one tick: whoever looks late has missed it.
 * So the interrupt is not taken from the output as it is found, but is a pulse of its own at each rise that
 * was waited for. */
static bool pulses(const struct pit_counter *c)
{
    return c->mode >= 2;
}

/* Wait for counter 0's next rise. */
static void rearm(struct pit *p, uint64_t now)
{
    struct pit_counter ahead = p->counter[0]; /* looking ahead settles what only the future will */
    uint64_t edge = pit_counter_next_edge(&ahead, now);
    if (edge != UINT64_MAX && pulses(&ahead) && !pit_counter_out(&ahead, edge))
        edge = pit_counter_next_edge(&ahead, edge);
    p->edge_at = edge;
    if (edge == UINT64_MAX)
        clock_timer_disarm(p->timer);
    else
        clock_timer_arm(p->timer, tick_ns(edge));
}

/* The rise that was waited for has come. */
static void take_due(struct pit *p, uint64_t now)
{
    if (now < p->edge_at)
        return;
    p->edge_at = UINT64_MAX;
    if (pulses(&p->counter[0]))
        drive(p, false);
    drive(p, true);
}

/* After counter 0 was programmed: modes 0 and 1 begin low, the others high. */
static void output_changed(struct pit *p, uint64_t now)
{
    struct pit_counter *c = &p->counter[0];
    drive(p, pulses(c) || pit_counter_out(c, now));
    rearm(p, now);
}

static void on_timer(void *opaque)
{
    struct pit *p = opaque;
    lock_take(&p->dev.lock);
    uint64_t now = now_ticks(p);
    if (now >= p->edge_at) {
        take_due(p, now);
        rearm(p, now);
    }
    lock_drop(&p->dev.lock);
}

static void read_back(struct pit *p, uint64_t now, uint8_t v)
{
    for (unsigned i = 0; i < COUNTERS; i++) {
        if (!(v >> (i + 1) & 1))
            continue;
        if (!(v & 0x20))
            pit_counter_latch(&p->counter[i], now);
        if (!(v & 0x10))
            pit_counter_latch_status(&p->counter[i], now);
    }
}

static void pit_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct pit *p = opaque;
    uint8_t v = (uint8_t)value, which = offset == REG_CONTROL ? v >> 6 : (uint8_t)offset;
    uint64_t now = now_ticks(p);
    (void)size;
    take_due(p, now); /* what the old program owes, before there is a new one */
    if (offset != REG_CONTROL)
        pit_counter_write(&p->counter[which], now, v);
    else if (which == READ_BACK)
        read_back(p, now, v);
    else if (!(v & 0x30))
        pit_counter_latch(&p->counter[which], now);
    else
        pit_counter_control(&p->counter[which], now, v);
    if (which == 0 && (offset != REG_CONTROL || (v & 0x30)))
        output_changed(p, now);
    else if (p->edge_at == UINT64_MAX)
        rearm(p, now);
}

static uint32_t pit_read(void *opaque, uint16_t offset, unsigned size)
{
    struct pit *p = opaque;
    (void)size;
    if (offset == REG_CONTROL)
        return 0xff; /* write-only */
    return pit_counter_read(&p->counter[offset], now_ticks(p));
}

static uint32_t portb_read(void *opaque, uint16_t offset, unsigned size)
{
    struct pit *p = opaque;
    (void)offset;
    (void)size;
    uint8_t v = (uint8_t)(p->counter[2].gate | p->speaker);
    if (clock_now(p->cfg.clock) / REFRESH_NS & 1)
        v |= PORTB_REFRESH;
    if (pit_counter_out(&p->counter[2], now_ticks(p)))
        v |= PORTB_OUT2;
    return v;
}

static void portb_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    struct pit *p = opaque;
    (void)offset;
    (void)size;
    p->speaker = value & PORTB_SPEAKER;
    pit_counter_gate(&p->counter[2], now_ticks(p), value & PORTB_GATE2);
}

/* ---- the device ---- */

#define COUNTER_FIELDS(i)                                                                                    \
    FIELD(struct pit, counter[i].start), FIELD(struct pit, counter[i].next_at),                              \
        FIELD(struct pit, counter[i].n, .max = 65536), FIELD(struct pit, counter[i].next, .max = 65536),     \
        FIELD(struct pit, counter[i].mode, .max = 5), FIELD(struct pit, counter[i].bcd, .max = 1),           \
        FIELD(struct pit, counter[i].access, .max = 3), FIELD(struct pit, counter[i].gate, .max = 1),        \
        FIELD(struct pit, counter[i].running, .max = 1), FIELD(struct pit, counter[i].armed, .max = 1),      \
        FIELD(struct pit, counter[i].fired, .max = 1), FIELD(struct pit, counter[i].low_byte),               \
        FIELD(struct pit, counter[i].have_low, .max = 1), FIELD(struct pit, counter[i].read_high, .max = 1), \
        FIELD(struct pit, counter[i].latched, .max = 1), FIELD(struct pit, counter[i].latch_left, .max = 2), \
        FIELD(struct pit, counter[i].latch), FIELD(struct pit, counter[i].status_latched, .max = 1),         \
        FIELD(struct pit, counter[i].status)

static const struct field pit_fields[] = {
    COUNTER_FIELDS(0),
    COUNTER_FIELDS(1),
    COUNTER_FIELDS(2),
    FIELD(struct pit, irq_level, .max = 1),
    FIELD(struct pit, speaker, .max = PORTB_SPEAKER),
    FIELD(struct pit, edge_at),
};

static int pit_post_load(void *obj, struct err *e)
{
    struct pit *p = obj;
    for (unsigned i = 0; i < COUNTERS; i++) {
        const struct pit_counter *c = &p->counter[i];
        if ((c->next && !c->n) || (c->armed && !c->n) || c->latched != (c->latch_left != 0))
            return err_set(e, EINVAL, "pit: counter %u contradicts itself", i);
    }
    return 0;
}

static const struct field_table pit_table = {"pit", 1, pit_fields, ARRAY_LEN(pit_fields), pit_post_load};

static unsigned pit_saved(struct device *d, struct saved *out, unsigned max)
{
    if (max)
        out[0] = (struct saved){&pit_table, d, d->instance};
    return max ? 1 : 0;
}

static int pit_loaded(struct device *d, struct err *e)
{
    struct pit *p = of(d);
    (void)e;
    irq_set(&p->cfg.irq, p->irq_level);
    if (p->edge_at != UINT64_MAX)
        clock_timer_arm(p->timer, tick_ns(p->edge_at));
    return 0;
}

static void pit_reset(struct device *d)
{
    struct pit *p = of(d);
    for (unsigned i = 0; i < COUNTERS; i++)
        pit_counter_reset(&p->counter[i], i < 2);
    p->speaker = 0;
    p->edge_at = UINT64_MAX;
    clock_timer_disarm(p->timer);
    drive(p, false);
}

static void pit_free(struct device *d)
{
    struct pit *p = of(d);
    bus_release(p->cfg.bus, p->cfg.control_port, 1);
    bus_release(p->cfg.bus, p->cfg.port, 4);
    clock_timer_free(p->timer);
    device_fini(d);
    free(p);
}

static const struct device_ops pit_device_ops = {
    .kind = "pit",
    .reset = pit_reset,
    .saved = pit_saved,
    .loaded = pit_loaded,
    .free = pit_free,
};

static const struct bus_ops pit_bus_ops = {pit_read, pit_write, .max_size = 1};
static const struct bus_ops portb_ops = {portb_read, portb_write, .max_size = 1};

struct pit *pit_new(const struct pit_config *cfg, struct err *e)
{
    struct pit *p = calloc(1, sizeof(*p));
    if (!p) {
        err_set(e, ENOMEM, "pit: out of memory");
        return NULL;
    }
    p->cfg = *cfg;
    device_init(&p->dev, &pit_device_ops, 0);
    p->timer = clock_timer_new(cfg->clock, cfg->loop, on_timer, p, e);
    if (!p->timer)
        goto fail;
    pit_reset(&p->dev);
    if (bus_claim(cfg->bus, "pit", cfg->port, 4, &pit_bus_ops, p, &p->dev.lock, e))
        goto fail_timer;
    if (bus_claim(cfg->bus, "system control port B", cfg->control_port, 1, &portb_ops, p, &p->dev.lock, e))
        goto fail_ports;
    return p;
fail_ports:
    bus_release(cfg->bus, cfg->port, 4);
fail_timer:
    clock_timer_free(p->timer);
fail:
    device_fini(&p->dev);
    free(p);
    return NULL;
}

struct device *pit_device(struct pit *p)
{
    return &p->dev;
}
