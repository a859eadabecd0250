/* io_uring. Under the disk's lock throughout, so any thread may submit and the loop reap. */
#include "backend/block/raw.h"
#include "base/err.h"
#include <errno.h>

int ring_open(struct raw *d, struct err *e)
{
    int r = io_uring_queue_init(RING_ENTRIES, &d->ring, 0);
    if (r)
        return err_sys(e, r, "io_uring is not available; leave the disk's engine to be chosen");
    r = io_uring_register_eventfd(&d->ring, d->event);
    if (r) {
        io_uring_queue_exit(&d->ring);
        return err_sys(e, r, "io_uring cannot signal completions; leave the disk's engine to be chosen");
    }
    d->has_ring = true;
    return 0;
}

void ring_close(struct raw *d)
{
    if (d->has_ring)
        io_uring_queue_exit(&d->ring);
    d->has_ring = false;
}

static void prepare(struct raw *d, struct io_uring_sqe *sqe, struct disk_request *r)
{
    if (r->op == DISK_FLUSH)
        io_uring_prep_fsync(sqe, d->fd, IORING_FSYNC_DATASYNC);
    else if (r->op == DISK_READ)
        io_uring_prep_readv(sqe, d->fd, r->iov, (unsigned)r->iovcnt, r->offset);
    else
        io_uring_prep_writev(sqe, d->fd, r->iov, (unsigned)r->iovcnt, r->offset);
    io_uring_sqe_set_data(sqe, r);
}

/* Fill the ring from those that wait. What the kernel does not take for want of memory is offered again. */
static void push(struct raw *d)
{
    while (d->waiting.head && d->in_ring < RING_ENTRIES) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&d->ring);
        if (!sqe)
            break;
        prepare(d, sqe, req_pop(&d->waiting));
        d->in_ring++;
    }
    if (io_uring_sq_ready(&d->ring) && (io_uring_submit(&d->ring) < 0 || io_uring_sq_ready(&d->ring)))
        raw_wake(d);
}

void ring_submit(struct raw *d, struct disk_request *r)
{
    req_push(&d->waiting, r);
    push(d);
}

/* Whatever is not a clear success or a clear failure is done again by the pool, from where it stopped. */
static void complete(struct raw *d, struct disk_request *r, int res)
{
    bool transfer = r->op != DISK_FLUSH;
    if (transfer && res >= 0 && (uint64_t)res < r->length) {
        REQ_DONE(r) = (void *)(uintptr_t)res;
        pool_submit(d, r);
    } else if (res == -EAGAIN || res == -EINTR || res == -ECANCELED || res == -EINVAL || res == -EOPNOTSUPP) {
        pool_submit(d, r);
    } else {
        raw_finish(d, r, res < 0 ? res : 0);
    }
}

void ring_reap(struct raw *d)
{
    struct io_uring_cqe *cqe;
    while (!io_uring_peek_cqe(&d->ring, &cqe)) {
        struct disk_request *r = io_uring_cqe_get_data(cqe);
        int res = cqe->res;
        io_uring_cqe_seen(&d->ring, cqe);
        d->in_ring--;
        complete(d, r, res);
    }
    push(d);
}
