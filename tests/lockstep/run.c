/*
 * run: the two sides together. The translator goes first, to the place where it looks next behind a count;
 * the interpreter follows to that very instruction.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "lockstep.h"

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return *seed >> 33;
}

static bool differ(struct side *ref, struct side *sut, struct result *r, bool memory, bool tell)
{
    bool same = same_cpu(ref, sut, tell);

    if (memory) {
        r->memories++;
        same &= same_memory(ref, sut, tell);
    }
    return !same;
}

static void end_of(const struct side *s, struct result *r)
{
    struct accel_stats stats;

    engine_stats(s->en, &stats);
    r->interpreted = stats.interpreted;
    r->interrupts = stats.interrupts;
    memcpy(r->why, s->why, sizeof r->why);
}

static void failed(struct result *r, const char *why)
{
    r->failed = true;
    snprintf(r->why, sizeof r->why, "%s", why);
}

static bool memory_due(const struct plan *p, uint64_t count, uint64_t last, uint64_t stops)
{
    return count >= p->memory_from ? stops % p->memory_skip == 0 : count - last >= p->memory_each;
}

static uint64_t last_good(const struct plan *p, uint64_t stop, uint64_t last_memory)
{
    if (stop < p->memory_from)
        return last_memory;
    if (p->memory_skip == 1)
        return stop;
    return last_memory > p->memory_from ? last_memory : p->memory_from;
}

/* From stop to stop. */
static void together(const struct plan *p, struct side *ref, struct side *sut, struct result *r)
{
    uint64_t seed = p->seed, last_memory = 0, count = 0;

    while (!sut->ended && count < p->limit) {
        bool fine = count >= p->fine_from;
        if (count >= p->isolate_at) {
            isolate(ref, sut, r->bad, r);
            return;
        }
        if (count >= p->straight_from && count >= p->straight_to) {
            r->good = count;
            return;
        }
        uint64_t next = count + 1 + (fine ? 0 : next_random(&seed) % (2 * p->stride));
        if (count >= p->straight_from)
            next = p->straight_to;
        if (!side_run(sut, next) || !side_run(ref, sut->c->icount))
            return failed(r, "an engine failed");
        bool last = sut->ended || sut->c->icount >= p->limit,
             memory = last || memory_due(p, sut->c->icount, last_memory, r->stops);
        r->stops++;
        if (differ(ref, sut, r, memory, false)) {
            r->differs = true;
            r->good = last_good(p, count, last_memory);
            r->bad = sut->c->icount;
            if (p->verbose)
                differ(ref, sut, r, memory, true);
            return;
        }
        count = sut->c->icount;
        if (memory)
            last_memory = count;
    }
    r->ended = sut->ended;
}

void run_plan(const struct plan *p, struct result *r)
{
    struct err e = {""};
    struct side *ref = side_open(p->guest, false, &e), *sut = ref ? side_open(p->guest, true, &e) : NULL;

    if (!sut) {
        r->unsupported = ref && !ref->translator_here;
        return failed(r, e.msg);
    }
    together(p, ref, sut, r);
    r->count = sut->c->icount;
    if (!r->failed)
        end_of(sut, r);
    if (p->expect && !r->differs && !strstr(sut->console, p->expect)) {
        r->failed = true;
        snprintf(r->why, sizeof r->why, "the console does not say '%.60s'", p->expect);
    }
    if (p->verbose)
        printf("%s\n", sut->console);
}
