/*
 * lock: mutexes with ranks. Taking a lock whose rank is not above those held aborts in debug builds
 * (-Dlock_ranks=true, the default outside release builds). Order: vm, device, map, irq (interrupt
 * controllers), vcpu, leaf.
 */
#ifndef HOST_LOCK_H
#define HOST_LOCK_H
#include <pthread.h>

enum lock_rank { LOCK_VM = 1, LOCK_DEVICE, LOCK_MAP, LOCK_IRQ, LOCK_VCPU, LOCK_LEAF };

struct lock {
    pthread_mutex_t mutex;
    enum lock_rank rank;
};

void lock_init(struct lock *l, enum lock_rank rank);
void lock_destroy(struct lock *l);
void lock_take(struct lock *l);
void lock_drop(struct lock *l);

#endif
