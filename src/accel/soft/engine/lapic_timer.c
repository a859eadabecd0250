/*
 * lapic_timer: one-shot, periodic and TSC-deadline modes (SDM 3A 11.5.4), in guest nanoseconds. The count
 * runs at X86_APIC_BUS_HZ before its divider.
 *
 * timer_due is the guest time of the next expiry; the run loop compares it with the clock (run.c).
 */
#include "accel/soft/engine/private.h"

enum { LVT_MASKED = 0x10000, MODE_ONESHOT = 0, MODE_PERIODIC = 1, MODE_DEADLINE = 2 };

/* What a periodic timer leaves a guest to run between two expiries: setting the host's timer takes
 * microseconds, and for a period of nanoseconds it would be all that is done. */
enum { LEAST_NS = 100000 };

static unsigned mode_of(uint32_t lvt)
{
    return lvt >> 17 & 3;
}

/* Nanoseconds of one count: dividers 2, 4, .. 128, 1 by bits 3, 1, 0. */
static uint64_t tick_ns(const struct lapic *a)
{
    unsigned code = (a->timer_divide & 3) | (a->timer_divide >> 1 & 4);

    return (1ull << ((code + 1) & 7)) * (1000000000u / X86_APIC_BUS_HZ);
}

static uint64_t now_of(const struct cpu *c)
{
    return c->engine->attached ? engine_now(c->engine) : 0;
}

static void arm(struct cpu *c, uint64_t due)
{
    c->priv->lapic.timer_due = c->priv->timer_due = due;
    if (due != UINT64_MAX)
        cpu_attention(c, ATT_TIMER);
}

void lapic_timer_off(struct cpu *c)
{
    arm(c, UINT64_MAX);
}

void lapic_timer_start(struct cpu *c, uint32_t initial)
{
    struct lapic *a = &c->priv->lapic;

    if (mode_of(a->lvt[0]) == MODE_DEADLINE)
        return;
    a->timer_initial = initial;
    a->timer_start = now_of(c);
    arm(c, initial ? a->timer_start + initial * tick_ns(a) : UINT64_MAX);
}

uint32_t lapic_timer_current(struct cpu *c)
{
    struct lapic *a = &c->priv->lapic;

    if (mode_of(a->lvt[0]) == MODE_DEADLINE || a->timer_due == UINT64_MAX)
        return 0;
    uint64_t now = now_of(c), left = a->timer_due > now ? a->timer_due - now : 0;
    if (left && mode_of(a->lvt[0]) == MODE_PERIODIC && a->timer_initial)
        left = (left - 1) % (a->timer_initial * tick_ns(a)) + 1; /* due may be several periods away */
    left /= tick_ns(a);
    return left > a->timer_initial ? a->timer_initial : (uint32_t)left;
}

/* The count that is left goes on at the new speed. */
void lapic_timer_divide(struct cpu *c, uint32_t divide)
{
    struct lapic *a = &c->priv->lapic;
    uint32_t left = lapic_timer_current(c);

    a->timer_divide = divide;
    if (a->timer_due != UINT64_MAX && mode_of(a->lvt[0]) != MODE_DEADLINE)
        arm(c, now_of(c) + left * tick_ns(a));
}

/* Into or out of TSC-deadline mode the timer is disarmed (11.5.4.1). */
void lapic_timer_mode(struct cpu *c, uint32_t was)
{
    struct lapic *a = &c->priv->lapic;

    if ((mode_of(was) == MODE_DEADLINE) != (mode_of(a->lvt[0]) == MODE_DEADLINE)) {
        a->tsc_deadline = 0;
        a->timer_initial = 0;
        lapic_timer_off(c);
    }
}

static void arm_deadline(struct cpu *c)
{
    struct lapic *a = &c->priv->lapic;

    arm(c, a->tsc_deadline ? tsc_to_ns(c, a->tsc_deadline) : UINT64_MAX);
}

void lapic_set_deadline(struct cpu *c, uint64_t tsc)
{
    struct lapic *a = &c->priv->lapic;

    if (mode_of(a->lvt[0]) != MODE_DEADLINE)
        return;
    a->tsc_deadline = tsc;
    arm_deadline(c);
}

void lapic_timer_rearm(struct cpu *c)
{
    if (mode_of(c->priv->lapic.lvt[0]) == MODE_DEADLINE)
        arm_deadline(c);
}

void lapic_timer_poll(struct cpu *c, uint64_t now)
{
    struct lapic *a = &c->priv->lapic;

    if (now < a->timer_due)
        return;
    if (mode_of(a->lvt[0]) == MODE_PERIODIC && a->timer_initial) {
        /* expiries that nobody could see are dropped, and those that come too soon; the phase is kept */
        uint64_t period = a->timer_initial * tick_ns(a);
        uint64_t after = now + (period < LEAST_NS ? LEAST_NS - period : 0);
        a->timer_due += ((after - a->timer_due) / period + 1) * period;
        c->priv->timer_due = a->timer_due;
    } else {
        a->tsc_deadline = 0;
        a->timer_due = c->priv->timer_due = UINT64_MAX;
    }
    if (!(a->lvt[0] & LVT_MASKED))
        lapic_inject(c, (uint8_t)a->lvt[0], false);
}

uint64_t lapic_timer_remaining(struct cpu *c)
{
    uint64_t now = now_of(c), due = c->priv->lapic.timer_due;

    return due == UINT64_MAX ? 0 : due > now ? due - now : 1;
}

void lapic_timer_resume(struct cpu *c, uint64_t remaining_ns, uint64_t deadline)
{
    struct lapic *a = &c->priv->lapic;

    a->tsc_deadline = 0;
    if (mode_of(a->lvt[0]) == MODE_DEADLINE) {
        a->tsc_deadline = deadline;
        arm_deadline(c);
    } else {
        a->timer_start = now_of(c);
        arm(c, remaining_ns && a->timer_initial ? a->timer_start + remaining_ns : UINT64_MAX);
    }
}
