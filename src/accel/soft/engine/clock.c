/*
 * clock: guest time, read from the host's TSC.
 *
 * The outside's clock is the truth, and costs a call out of the engine. In between, time goes on from one
 * reading at the rate that was seen over a longer while, for a few milliseconds; then the next reading
 * corrects the rate, so that the two meet again soon: time never jumps back, and is one for all vCPUs. Only
 * where the truth has jumped ahead, or has stood still while no vCPU ran, does time jump with it. Readers
 * find one state or the next (seq, as in guest/seq.h); translated code reads it the same way (xsys.c).
 */
#include <x86intrin.h>
#include "accel/soft/engine/private.h"

enum {
    JUMP_NS = 50000,      /* no drift is as fast as that: the host slept, or the clock stood */
    MEET_TICKS = 1 << 25, /* an error is gone after so many */
    BASE_TICKS = 1 << 28, /* shortest base of the rate */
    PATIENCE = 1 << 16,   /* who changes it may be no more */
    TIGHT_TICKS = 1000,
    SAMPLES = 8,
};
static const uint64_t longest_base = 1ull << 36;

#define get(field)        __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define put(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)

static uint64_t at_tsc(const struct engine_clock *k, uint64_t tsc)
{
    return k->from_ns + (uint64_t)((unsigned __int128)(tsc - k->from_tsc) * k->mul >> 32);
}

/* A reading of the truth and the TSC that belongs to it. */
static uint64_t sample(struct engine *en, uint64_t *tsc)
{
    uint64_t best = UINT64_MAX, ns = 0;

    for (unsigned i = 0; i < SAMPLES && best > TIGHT_TICKS; i++) {
        uint64_t before = __rdtsc(), now = engine_now_outside(en), took = __rdtsc() - before;
        if (took < best) {
            best = took;
            ns = now;
            *tsc = before + took / 2;
        }
    }
    return ns;
}

static void jump(struct engine *en, uint64_t tsc, uint64_t ns)
{
    struct engine_clock *k = &en->clock;

    put(k->from_tsc, tsc);
    put(k->from_ns, ns);
    k->rate = ((uint64_t)1000000 << 32) / en->host_tsc_khz;
    put(k->mul, k->rate);
    k->base_tsc = tsc;
    k->base_ns = ns;
}

/* Time goes on from where it is, at a rate that leads to `ns`. */
static void steer(struct engine *en, uint64_t tsc, uint64_t ns)
{
    struct engine_clock *k = &en->clock;
    uint64_t base = tsc - k->base_tsc, now = at_tsc(k, tsc);

    if (base > BASE_TICKS)
        k->rate = (uint64_t)(((unsigned __int128)(ns - k->base_ns) << 32) / base);
    if (base > longest_base) {
        k->base_tsc = tsc;
        k->base_ns = ns;
    }
    int64_t mul = (int64_t)k->rate + (int64_t)(ns - now) * (((int64_t)1 << 32) / MEET_TICKS);
    int64_t least = (int64_t)k->rate / 2, most = (int64_t)k->rate * 2;
    put(k->from_tsc, tsc);
    put(k->from_ns, now);
    put(k->mul, (uint64_t)(mul < least ? least : mul > most ? most : mul));
}

/* A new reading; `stood`: the truth may have stood still while no vCPU ran. */
static void refresh(struct engine *en, bool stood)
{
    struct engine_clock *k = &en->clock;
    uint64_t seq = get(k->seq), tsc = 0;

    if (seq & 1 ||
        !__atomic_compare_exchange_n(&k->seq, &seq, seq + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        return; /* another does it */
    uint64_t ns = sample(en, &tsc);
    int64_t ahead = (int64_t)(at_tsc(k, tsc) - ns);
    if (!k->mul || tsc < k->from_tsc || ahead < -JUMP_NS || (stood && ahead > JUMP_NS))
        jump(en, tsc, ns);
    else if (stood || tsc - k->from_tsc >= CLOCK_STALE)
        steer(en, tsc, ns);
    put(k->seq, seq + 2);
}

uint64_t engine_now(struct engine *en)
{
    struct engine_clock *k = &en->clock;

    for (unsigned i = 0; en->host_tsc_khz && i < PATIENCE; i++) {
        uint64_t seq = get(k->seq), from = get(k->from_tsc), ns = get(k->from_ns), mul = get(k->mul);
        _mm_lfence(); /* no earlier than what the caller has seen of others */
        uint64_t since = __rdtsc() - from;
        _mm_lfence();
        if (seq & 1)
            _mm_pause();
        else if (since >= CLOCK_STALE || !mul)
            refresh(en, false);
        else if (get(k->seq) == seq)
            return ns + (since * mul >> 32);
    }
    return engine_now_outside(en);
}

void clock_settle(struct engine *en)
{
    if (en->host_tsc_khz)
        refresh(en, true);
}
