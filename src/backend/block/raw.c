#include "backend/block/raw.h"
#include "base/err.h"
#include "base/log.h"
#include "base/range.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

void req_push(struct req_queue *q, struct disk_request *r)
{
    REQ_NEXT(r) = NULL;
    if (q->tail)
        REQ_NEXT(q->tail) = r;
    else
        q->head = r;
    q->tail = r;
}

struct disk_request *req_pop(struct req_queue *q)
{
    struct disk_request *r = q->head;
    if (r)
        q->head = REQ_NEXT(r);
    if (!q->head)
        q->tail = NULL;
    return r;
}

static struct raw *raw_of(struct disk *d)
{
    return (struct raw *)d;
}

void raw_wake(struct raw *d)
{
    uint64_t one = 1;
    while (write(d->event, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void raw_finish(struct raw *d, struct disk_request *r, int result)
{
    REQ_RESULT(r) = (void *)(intptr_t)result;
    req_push(&d->finished, r);
    raw_wake(d);
}

static void raw_info(struct disk *disk, struct disk_info *out)
{
    *out = raw_of(disk)->info;
}

/* 0: to be done; else its result. */
static int check_request(const struct raw *d, const struct disk_request *r)
{
    if (r->op == DISK_FLUSH)
        return 0;
    if ((r->offset | r->length) & 511 || !range_inside(r->offset, r->length, d->info.size))
        return -EINVAL;
    if (r->op != DISK_READ && d->info.readonly)
        return -EROFS;
    if (r->op != DISK_READ && r->op != DISK_WRITE)
        return 0;
    uint64_t sum = 0;
    for (int i = 0; i < r->iovcnt; i++) {
        if (r->iov[i].iov_len > r->length - sum)
            return -EINVAL;
        sum += r->iov[i].iov_len;
    }
    return sum == r->length ? 0 : -EINVAL;
}

static void raw_submit(struct disk *disk, struct disk_request *r)
{
    struct raw *d = raw_of(disk);
    int result = check_request(d, r);
    bool ring = r->op == DISK_FLUSH || ((r->op == DISK_READ || r->op == DISK_WRITE) && raw_is_plain(d, r));
    REQ_DONE(r) = NULL;
    lock_take(&d->lock);
    d->inflight++;
    if (result || (r->op != DISK_FLUSH && !r->length))
        raw_finish(d, r, result);
    else if (ring && d->has_ring)
        ring_submit(d, r);
    else
        pool_submit(d, r);
    lock_drop(&d->lock);
}

/* Finish what can be finished: done() for each, outside the lock. */
static void collect(struct raw *d)
{
    for (;;) {
        lock_take(&d->lock);
        if (d->has_ring)
            ring_reap(d);
        struct disk_request *r = req_pop(&d->finished);
        lock_drop(&d->lock);
        if (!r)
            return;
        int result = (int)(intptr_t)REQ_RESULT(r);
        r->done(r, result);
        lock_take(&d->lock);
        d->inflight--;
        lock_drop(&d->lock);
    }
}

static void on_event(void *opaque, uint32_t events)
{
    struct raw *d = opaque;
    uint64_t count;
    (void)events;
    while (read(d->event, &count, sizeof count) < 0 && errno == EINTR)
        ;
    collect(d);
}

static bool busy(struct raw *d)
{
    lock_take(&d->lock);
    bool some = d->inflight;
    lock_drop(&d->lock);
    return some;
}

static void raw_drain(struct disk *disk)
{
    struct raw *d = raw_of(disk);
    while (collect(d), busy(d)) {
        poll(&(struct pollfd){.fd = d->event, .events = POLLIN}, 1, -1);
        on_event(d, EPOLLIN);
    }
}

static void raw_close(struct disk *disk)
{
    struct raw *d = raw_of(disk);
    raw_drain(disk);
    pool_close(d);
    ring_close(d);
    loop_del_fd(d->event_fd);
    if (d->event >= 0)
        close(d->event);
    raw_image_close(d);
    pthread_cond_destroy(&d->work_cond);
    lock_destroy(&d->lock);
    free(d);
}

static const struct disk_ops raw_ops = {
    .info = raw_info, .submit = raw_submit, .drain = raw_drain, .close = raw_close};

static int start(struct raw *d, const struct disk_config *cfg, struct err *e)
{
    d->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->event < 0)
        return err_sys(e, errno, "%s: no descriptor left", d->path);
    d->event_fd = loop_add_fd(d->loop, d->event, EPOLLIN, on_event, d, e);
    if (!d->event_fd)
        return -ENOMEM;
    struct err why = {""};
    int r = cfg->engine == DISK_ENGINE_THREADS ? 0 : ring_open(d, &why);
    if (r && cfg->engine == DISK_ENGINE_IO_URING)
        return err_set(e, r, "%s: %s", d->path, why.msg);
    if (r)
        log_info("%s: %s: using threads", d->path, why.msg);
    return 0;
}

struct disk *disk_open(const struct disk_config *cfg, struct loop *loop, struct err *e)
{
    struct raw *d = calloc(1, sizeof *d);
    if (!d) {
        err_set(e, ENOMEM, "no memory for a disk");
        return NULL;
    }
    *d = (struct raw){.disk.ops = &raw_ops, .loop = loop, .fd = -1, .fd_cached = -1, .event = -1};
    lock_init(&d->lock, LOCK_LEAF);
    pthread_cond_init(&d->work_cond, NULL);
    if (!raw_image_open(d, cfg, e) && !start(d, cfg, e))
        return &d->disk;
    raw_close(&d->disk);
    return NULL;
}
