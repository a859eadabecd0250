#include "host/lock.h"
#include "base/check.h"

#ifdef LOCK_RANKS
/* Locks that this thread holds, as ranks, in the order taken. */
enum { DEEPEST = 16 };
static __thread unsigned held_count;
static __thread enum lock_rank held[DEEPEST];

static void note_take(enum lock_rank rank)
{
    CHECK(held_count < DEEPEST);
    CHECK(held_count == 0 || held[held_count - 1] < rank);
    held[held_count++] = rank;
}

static void note_drop(enum lock_rank rank)
{
    unsigned i = held_count;
    while (i > 0 && held[i - 1] != rank)
        i--;
    CHECK(i > 0);
    for (; i < held_count; i++)
        held[i - 1] = held[i];
    held_count--;
}
#else
static void note_take(enum lock_rank rank)
{
    (void)rank;
}

static void note_drop(enum lock_rank rank)
{
    (void)rank;
}
#endif

void lock_init(struct lock *l, enum lock_rank rank)
{
    pthread_mutex_init(&l->mutex, NULL);
    l->rank = rank;
}

void lock_destroy(struct lock *l)
{
    pthread_mutex_destroy(&l->mutex);
}

void lock_take(struct lock *l)
{
    note_take(l->rank);
    CHECK(pthread_mutex_lock(&l->mutex) == 0);
}

void lock_drop(struct lock *l)
{
    CHECK(pthread_mutex_unlock(&l->mutex) == 0);
    note_drop(l->rank);
}
