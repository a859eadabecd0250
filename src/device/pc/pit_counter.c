#include "device/pc/pit_counter.h"
#include "base/check.h"

enum { ACCESS_LOW = 1, ACCESS_HIGH = 2, ACCESS_BOTH = 3 };
enum { STATUS_OUT = 0x80, STATUS_NULL = 0x40 };

static bool periodic(const struct pit_counter *c)
{
    return c->mode == 2 || c->mode == 3;
}

static bool triggered(const struct pit_counter *c)
{
    return c->mode == 1 || c->mode == 5;
}

/* Ticks of the output's high part in a period of mode 3: the longer half when N is odd. */
static uint32_t high_part(uint32_t n)
{
    return (n + 1) / 2;
}

/* A count that waited for the end of a period takes effect. */
static void settle(struct pit_counter *c, uint64_t now)
{
    if (!c->next || !c->running || now < c->next_at)
        return;
    bool half =
        c->mode == 3 && (c->next_at - c->start) % c->n != 0; /* in mode 3, from the middle: low comes next */
    c->n = c->next;
    c->next = 0;
    c->start = c->next_at - (half ? high_part(c->n) : 0);
}

/* Ticks counted. */
static uint64_t elapsed(const struct pit_counter *c, uint64_t now)
{
    if (!c->running)
        return c->start;
    return now > c->start ? now - c->start : 0;
}

static void hold(struct pit_counter *c, uint64_t now)
{
    if (c->running) {
        c->start = elapsed(c, now);
        c->running = 0;
    }
}

static void go(struct pit_counter *c, uint64_t now)
{
    if (!c->running) {
        c->start = now - c->start;
        c->running = 1;
    }
}

/* Start counting from N now. */
static void load(struct pit_counter *c, uint64_t now)
{
    if (c->next)
        c->n = c->next;
    c->next = 0;
    c->start = now;
    c->running = 1;
}

static uint16_t to_bcd(uint32_t v)
{
    v %= 10000;
    return (uint16_t)(v / 1000 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

static uint32_t from_written(const struct pit_counter *c, uint16_t v)
{
    uint32_t n = v;
    if (c->bcd) /* a digit above 9 counts as what it is */
        n = (v >> 12) * 1000u + (v >> 8 & 15) * 100u + (v >> 4 & 15) * 10u + (v & 15);
    return n ? n : c->bcd ? 10000 : 65536;
}

static uint16_t count_now(struct pit_counter *c, uint64_t now)
{
    settle(c, now);
    uint32_t modulus = c->bcd ? 10000 : 65536, value;
    if (!c->n)
        return 0;
    if (!c->armed || (triggered(c) && !c->fired))
        return c->bcd ? to_bcd(c->n) : (uint16_t)c->n;
    uint64_t d = elapsed(c, now);
    if (c->mode == 2) {
        value = c->n - (uint32_t)(d % c->n);
    } else if (c->mode == 3) { /* by two, twice in each period */
        uint32_t in = (uint32_t)(d % c->n), high = high_part(c->n);
        uint32_t half = in < high ? in : in - high;
        value = (c->n & ~1u) - 2 * half;
    } else {
        value = (uint32_t)((c->n % modulus + modulus - d % modulus) % modulus);
    }
    return c->bcd ? to_bcd(value) : (uint16_t)value;
}

bool pit_counter_out(struct pit_counter *c, uint64_t now)
{
    settle(c, now);
    bool idle = !c->n || !c->armed;
    uint64_t d = elapsed(c, now);
    switch (c->mode) {
    case 0:
        return !idle && d >= c->n;
    case 1:
        return idle || !c->fired || d >= c->n;
    case 2:
        return idle || !c->gate || d % c->n != c->n - 1;
    case 3:
        return idle || !c->gate || d % c->n < high_part(c->n);
    default: /* 4 and 5 */
        return idle || (c->mode == 5 && !c->fired) || d != c->n;
    }
}

uint64_t pit_counter_next_edge(struct pit_counter *c, uint64_t now)
{
    settle(c, now);
    if (!c->n || !c->armed || !c->running || (triggered(c) && !c->fired))
        return UINT64_MAX;
    uint64_t d = elapsed(c, now), in = d % c->n, edge;
    switch (c->mode) {
    case 0:
    case 1:
        return d < c->n ? c->start + c->n : UINT64_MAX;
    case 2:
        edge = in < c->n - 1 ? now + (c->n - 1 - in) : now + 1;
        break;
    case 3:
        edge = now + (in < high_part(c->n) ? high_part(c->n) - in : c->n - in);
        break;
    default:
        return d < c->n ? c->start + c->n : d == c->n ? c->start + c->n + 1 : UINT64_MAX;
    }
    return c->next && c->next_at < edge ? c->next_at : edge;
}

/* ---- programming ---- */

void pit_counter_reset(struct pit_counter *c, uint8_t gate)
{
    *c = (struct pit_counter){.access = ACCESS_BOTH, .gate = gate};
}

void pit_counter_control(struct pit_counter *c, uint64_t now, uint8_t word)
{
    uint8_t mode = word >> 1 & 7;
    (void)now;
    c->access = word >> 4 & 3;
    c->mode = mode > 5 ? mode - 4 : mode;
    c->bcd = word & 1;
    c->n = c->next = 0;
    c->start = 0;
    c->running = c->armed = c->fired = 0;
    c->have_low = c->read_high = 0;
    c->latched = c->latch_left = c->status_latched = 0;
}

/* A whole new count is here. */
static void new_count(struct pit_counter *c, uint64_t now, uint16_t written)
{
    uint32_t n = from_written(c, written);
    settle(c, now);
    if (periodic(c) && n == 1)
        n = 2;          /* a count of 1 is illegal in modes 2 and 3 */
    if (triggered(c)) { /* taken at the next trigger; a cycle under way goes on */
        if (c->fired && c->running)
            c->next = n, c->next_at = UINT64_MAX;
        else
            c->n = n, c->next = 0;
        c->armed = 1;
        return;
    }
    if (periodic(c) && c->armed && c->n) {
        uint64_t d = elapsed(c, now), in = d % c->n;
        uint64_t left = c->mode == 3 && in < high_part(c->n) ? high_part(c->n) - in : c->n - in;
        c->next = n;
        c->next_at = now + left;
        return;
    }
    c->n = n;
    c->next = 0;
    c->armed = 1;
    c->start = 0;
    c->running = 0;
    if (c->gate)
        load(c, now);
}

void pit_counter_write(struct pit_counter *c, uint64_t now, uint8_t v)
{
    switch (c->access) {
    case ACCESS_LOW:
        new_count(c, now, v);
        break;
    case ACCESS_HIGH:
        new_count(c, now, (uint16_t)(v << 8));
        break;
    default:
        if (c->have_low) {
            c->have_low = 0;
            new_count(c, now, (uint16_t)(v << 8 | c->low_byte));
        } else {
            c->have_low = 1;
            c->low_byte = v;
            if (c->mode == 0 && c->armed) { /* the first byte stops a mode 0 count, and its output goes low */
                hold(c, now);
                c->armed = 0;
            }
        }
        break;
    }
}

void pit_counter_latch(struct pit_counter *c, uint64_t now)
{
    if (c->latched)
        return; /* a second latch command before the count is read is ignored */
    c->latch = count_now(c, now);
    c->latched = 1;
    c->latch_left = c->access == ACCESS_BOTH ? 2 : 1;
}

void pit_counter_latch_status(struct pit_counter *c, uint64_t now)
{
    if (c->status_latched)
        return;
    bool out = pit_counter_out(c, now), null = !c->n || c->next || !c->armed;
    c->status =
        (uint8_t)((out ? STATUS_OUT : 0) | (null ? STATUS_NULL : 0) | c->access << 4 | c->mode << 1 | c->bcd);
    c->status_latched = 1;
}

uint8_t pit_counter_read(struct pit_counter *c, uint64_t now)
{
    if (c->status_latched) {
        c->status_latched = 0;
        return c->status;
    }
    uint16_t v = c->latched ? c->latch : count_now(c, now);
    bool high = c->access == ACCESS_HIGH;
    if (c->access == ACCESS_BOTH) {
        high = c->read_high;
        c->read_high = !c->read_high;
    }
    if (c->latched && --c->latch_left == 0)
        c->latched = 0;
    return (uint8_t)(high ? v >> 8 : v);
}

void pit_counter_gate(struct pit_counter *c, uint64_t now, bool on)
{
    bool rising = on && !c->gate;
    settle(c, now);
    if (c->armed && c->n) {
        if (triggered(c)) {
            if (rising) {
                c->fired = 1;
                load(c, now);
            }
        } else if (periodic(c)) {
            if (rising)
                load(c, now);
            else if (!on)
                hold(c, now);
        } else if (on) {
            go(c, now);
        } else {
            hold(c, now);
        }
    }
    c->gate = on;
}
