/*
 * raw: a disk image whose bytes are the disk's bytes: a file or a block device. Internal to this room.
 *
 * A request takes one of two ways. The ring (io_uring) carries reads, writes and flushes that the kernel can
 * do as they are. The pool of threads does the rest, by plain system calls: discards and zeroes, what a
 * direct file will not take as it is, the remainder of a short transfer, and everything where io_uring is not
 * allowed. Both ways end in the same eventfd, and done() is called from the loop.
 */
#ifndef BLOCK_RAW_H
#define BLOCK_RAW_H
#include "backend/block/disk.h"
#include "host/lock.h"
#include "host/loop.h"
#include <liburing.h>
#include <pthread.h>

enum { RING_ENTRIES = 128, POOL_MAX = 8 };

/* The disk's notes in a request that it holds. */
#define REQ_NEXT(r)   ((r)->priv[0]) /* struct disk_request * in a queue */
#define REQ_DONE(r)   ((r)->priv[1]) /* bytes transferred so far, as a number */
#define REQ_RESULT(r) ((r)->priv[2]) /* result of a finished one, as a number */

struct req_queue {
    struct disk_request *head, *tail;
};

void req_push(struct req_queue *q, struct disk_request *r);
struct disk_request *req_pop(struct req_queue *q); /* NULL: empty */

struct raw {
    struct disk disk;
    struct loop *loop;
    struct loop_fd *event_fd;
    char *path;
    int fd;        /* locked; O_DIRECT when asked for */
    int fd_cached; /* with direct: the same without, for what is not aligned; else -1 */
    int event;
    bool is_block, direct;
    uint32_t mem_align, io_align; /* of direct transfers */
    uint64_t tail;                /* bytes at the end that do not fill a sector */
    struct disk_info info;

    struct lock lock;          /* guards what follows */
    struct req_queue finished; /* their results are known, done() not called yet */
    unsigned inflight;         /* submitted and not done */
    bool no_discard, no_zero;  /* the file system refused: do not ask again */

    bool has_ring;
    struct io_uring ring;
    unsigned in_ring;
    struct req_queue waiting; /* for room in the ring */

    struct req_queue work; /* for the pool */
    pthread_cond_t work_cond;
    pthread_t thread[POOL_MAX];
    unsigned threads, idle, queued;
    bool stop;
};

/* ---- image.c: opening ---- */

/* Open, check and lock per cfg: fills path, fd, fd_cached, is_block, direct, the alignments and info. */
int raw_image_open(struct raw *d, const struct disk_config *cfg, struct err *e);
void raw_image_close(struct raw *d);

/* ---- lock.c ---- */

/* QEMU's image locks: OFD read locks on single bytes, 100 + n for a permission that is used, 200 + n for one
 * that is not shared. */
int image_lock(int fd, const char *path, bool write, struct err *e);

/* ---- io.c ---- */

/* Do the request here and now. Any thread. Result as of done(). */
int raw_io(struct raw *d, struct disk_request *r);
/* The kernel takes the request's transfer as it is. */
bool raw_is_plain(const struct raw *d, const struct disk_request *r);

/* ---- ring.c ---- */

int ring_open(struct raw *d, struct err *e);
void ring_close(struct raw *d);
void ring_submit(struct raw *d, struct disk_request *r); /* under the lock */
/* Take what completed; what is done goes to finished, what needs more to the pool. Under the lock. */
void ring_reap(struct raw *d);

/* ---- pool.c ---- */

void pool_submit(struct raw *d, struct disk_request *r); /* under the lock */
void pool_close(struct raw *d);                          /* nothing is in flight */

/* ---- raw.c ---- */

/* The result is known: tell the loop. Under the lock. */
void raw_finish(struct raw *d, struct disk_request *r, int result);
void raw_wake(struct raw *d); /* have the loop look again */

#endif
