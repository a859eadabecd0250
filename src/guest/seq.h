/*
 * seq: a sequence lock: few writers, who exclude each other by other means, and readers that never wait for a
 * sleeping one in the common case and never write. Of this room only.
 *
 *   reader: do { s = seq_begin(&q); copy every field with seq_get } while (seq_again(&q, s));
 *   writer: seq_open(&q); change every field with seq_put; seq_close(&q);
 *
 * Fields are read by acquire and written by release, which on x86 costs nothing and needs no fence (the
 * thread sanitizer knows none); only the opening is a full barrier.
 */
#ifndef GUEST_SEQ_H
#define GUEST_SEQ_H
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct seq {
    uint32_t n; /* odd while a change is under way */
};

#define seq_get(field)        __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define seq_put(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)

static inline uint32_t seq_begin(const struct seq *q)
{
    uint32_t n;
    while ((n = __atomic_load_n(&q->n, __ATOMIC_ACQUIRE)) & 1)
        sched_yield(); /* the writer may have lost its CPU */
    return n;
}

static inline bool seq_again(const struct seq *q, uint32_t began)
{
    return __atomic_load_n(&q->n, __ATOMIC_ACQUIRE) != began;
}

/* Seen by all before anything that follows: a writer's reading of the host's clock would else overtake the
 * store, and a reader who reads the clock later would still find nothing changed (SDM 2B, RDTSC: it waits for
 * no store). */
static inline void seq_open(struct seq *q)
{
    __atomic_store_n(&q->n, q->n + 1, __ATOMIC_SEQ_CST);
}

static inline void seq_close(struct seq *q)
{
    __atomic_store_n(&q->n, q->n + 1, __ATOMIC_RELEASE);
}

#endif
