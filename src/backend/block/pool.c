/* Threads, started when there is work and none is idle. */
#include "backend/block/raw.h"
#include "host/host.h"
#include <errno.h>

static void *worker(void *opaque)
{
    struct raw *d = opaque;
    lock_take(&d->lock);
    for (;;) {
        struct disk_request *r = req_pop(&d->work);
        if (r) {
            d->queued--;
            lock_drop(&d->lock);
            int result = raw_io(d, r);
            lock_take(&d->lock);
            raw_finish(d, r, result);
        } else if (d->stop) {
            break;
        } else {
            d->idle++;
            pthread_cond_wait(&d->work_cond, &d->lock.mutex);
            d->idle--;
        }
    }
    lock_drop(&d->lock);
    return NULL;
}

/* An idle thread that was signalled counts as idle until it runs: so what is queued is set against how many
 * are. */
void pool_submit(struct raw *d, struct disk_request *r)
{
    req_push(&d->work, r);
    d->queued++;
    if (d->queued > d->idle && d->threads < POOL_MAX &&
        !host_thread(&d->thread[d->threads], "disk", worker, d))
        d->threads++;
    if (d->threads) {
        pthread_cond_signal(&d->work_cond);
        return;
    }
    d->queued--;
    raw_finish(d, req_pop(&d->work), -EAGAIN); /* the only one: no thread ever was */
}

void pool_close(struct raw *d)
{
    lock_take(&d->lock);
    d->stop = true;
    pthread_cond_broadcast(&d->work_cond);
    lock_drop(&d->lock);
    for (unsigned i = 0; i < d->threads; i++)
        pthread_join(d->thread[i], NULL);
    d->threads = 0;
}
