/*
 * disk: the host's end of a block device. Devices know only this; formats (raw, later qcow2) implement it.
 */
#ifndef BACKEND_DISK_H
#define BACKEND_DISK_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
struct err;
struct loop;
struct disk;

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_DISCARD, DISK_WRITE_ZEROES };

/* A request. Owned by the caller from submit until done() is called, once, on the disk's loop thread: result
 * 0 or -errno. */
struct disk_request {
    enum disk_op op;
    uint64_t offset, length; /* bytes; multiples of 512; READ and WRITE: length is the sum of iov */
    struct iovec *iov;       /* stays valid until done */
    int iovcnt;
    bool unmap; /* WRITE_ZEROES may deallocate */
    void (*done)(struct disk_request *r, int result);
    void *opaque;
    void *priv[4]; /* the disk's own, while it holds the request */
};

struct disk_info {
    uint64_t size;       /* bytes, multiple of 512 */
    uint32_t block_size; /* logical: 512 (or 4096 with direct on a 4K device) */
    uint32_t physical_block;
    bool readonly, discard, write_zeroes;
    char serial[21];
};

struct disk_ops {
    void (*info)(struct disk *d, struct disk_info *out);
    /* Any thread. Never blocks, never calls done() from inside. Bounds were checked by the device against
     * info.size, and are checked again. */
    void (*submit)(struct disk *d, struct disk_request *r);
    /* Loop thread: wait until nothing is in flight (for pause and save). */
    void (*drain)(struct disk *d);
    void (*close)(struct disk *d); /* drained first; releases locks */
};

struct disk {
    const struct disk_ops *ops;
};

enum disk_engine { DISK_ENGINE_AUTO, DISK_ENGINE_IO_URING, DISK_ENGINE_THREADS };

struct disk_config {
    const char *path, *format; /* "raw" */
    const char *serial;        /* NULL or at most 20 bytes */
    bool readonly, direct;
    enum disk_engine engine;
};

/*
 * Open, lock and check an image. NULL with e, which names the path and the remedy: missing, a directory, not
 * writable (and not readonly), locked, another format's magic in a writable image, smaller than a sector. A
 * tail that fills no sector is left out with a warning. Locks are QEMU's (OFD read locks on bytes 100 + n,
 * 200 + n): one writer, or any number of readers, over both programs.
 */
struct disk *disk_open(const struct disk_config *cfg, struct loop *loop, struct err *e);

#endif
