/* A request done by plain system calls on the calling thread. */
#include "backend/block/raw.h"
#include "base/range.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BOUNCE = 1 << 20, BOUNCE_ALIGN = 4096, PIECES = 64 };

static bool offset_aligned(const struct raw *d, const struct disk_request *r)
{
    return !((r->offset | r->length) & (d->io_align - 1));
}

static bool memory_aligned(const struct raw *d, const struct disk_request *r)
{
    uintptr_t bits = 0;
    for (int i = 0; i < r->iovcnt; i++)
        bits |= (uintptr_t)r->iov[i].iov_base | r->iov[i].iov_len;
    return !(bits & ((d->mem_align > d->io_align ? d->mem_align : d->io_align) - 1));
}

bool raw_is_plain(const struct raw *d, const struct disk_request *r)
{
    return r->iovcnt <= IOV_MAX && (!d->direct || (offset_aligned(d, r) && memory_aligned(d, r)));
}

/* Up to `max` pieces of the request's memory from byte `skip` on. */
static int iov_from(const struct disk_request *r, uint64_t skip, struct iovec *out, int max)
{
    int n = 0;
    for (int i = 0; i < r->iovcnt && n < max; i++) {
        size_t len = r->iov[i].iov_len;
        if (skip >= len) {
            skip -= len;
            continue;
        }
        out[n++] = (struct iovec){(uint8_t *)r->iov[i].iov_base + skip, len - skip};
        skip = 0;
    }
    return n;
}

static int transfer(int fd, struct disk_request *r)
{
    uint64_t done = (uintptr_t)REQ_DONE(r);
    while (done < r->length) {
        struct iovec iov[PIECES];
        int n = iov_from(r, done, iov, PIECES);
        ssize_t got = r->op == DISK_READ ? preadv(fd, iov, n, (off_t)(r->offset + done))
                                         : pwritev(fd, iov, n, (off_t)(r->offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got ? -errno : -EIO; /* the file shrank */
        done += (uint64_t)got;
    }
    return 0;
}

/* Copy between the request's memory from byte `at` on and `buf`. */
static void copy(const struct disk_request *r, uint64_t at, uint8_t *buf, size_t len, bool to_request)
{
    for (int i = 0; i < r->iovcnt && len; i++) {
        size_t n = r->iov[i].iov_len;
        if (at >= n) {
            at -= n;
            continue;
        }
        uint8_t *p = (uint8_t *)r->iov[i].iov_base + at;
        n = n - at < len ? n - (size_t)at : len;
        memcpy(to_request ? p : buf, to_request ? buf : p, n);
        buf += n;
        len -= n;
        at = 0;
    }
}

static int whole(int fd, bool write, uint8_t *buf, size_t n, uint64_t off)
{
    while (n) {
        ssize_t got = write ? pwrite(fd, buf, n, (off_t)off) : pread(fd, buf, n, (off_t)off);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got ? -errno : -EIO;
        buf += got;
        n -= (size_t)got;
        off += (uint64_t)got;
    }
    return 0;
}

/* The offsets are fit for a direct transfer and the memory is not. */
static int bounce(struct raw *d, struct disk_request *r)
{
    int result = 0;
    size_t cap = r->length < BOUNCE ? (size_t)r->length : BOUNCE;
    uint8_t *buf = aligned_alloc(BOUNCE_ALIGN, align_up(cap, BOUNCE_ALIGN));
    if (!buf)
        return -ENOMEM;
    for (uint64_t at = 0; at < r->length && !result;) {
        size_t n = r->length - at < cap ? (size_t)(r->length - at) : cap;
        if (r->op == DISK_WRITE)
            copy(r, at, buf, n, false);
        result = whole(d->fd, r->op == DISK_WRITE, buf, n, r->offset + at);
        if (!result && r->op == DISK_READ)
            copy(r, at, buf, n, true);
        at += n;
    }
    free(buf);
    return result;
}

/* Sectors of a disk of larger blocks go through the page cache, which the kernel keeps coherent with direct
 * transfers. */
static int read_or_write(struct raw *d, struct disk_request *r)
{
    if (!d->direct || raw_is_plain(d, r))
        return transfer(d->fd, r);
    return offset_aligned(d, r) ? bounce(d, r) : transfer(d->fd_cached, r);
}

static bool unsupported(int code)
{
    return code == EOPNOTSUPP || code == ENOSYS || code == ENOTTY || code == ENODEV || code == EINVAL;
}

static bool read_flag(struct raw *d, const bool *flag)
{
    lock_take(&d->lock);
    bool v = *flag;
    lock_drop(&d->lock);
    return v;
}

static void set_flag(struct raw *d, bool *flag)
{
    lock_take(&d->lock);
    *flag = true;
    lock_drop(&d->lock);
}

static int cached_fd(const struct raw *d)
{
    return d->fd_cached >= 0 ? d->fd_cached : d->fd;
}

/* A hint: where it cannot be done, nothing is the right thing to do. */
static int discard(struct raw *d, const struct disk_request *r)
{
    if (read_flag(d, &d->no_discard))
        return 0;
    uint64_t range[2] = {r->offset, r->length};
    int failed = d->is_block ? ioctl(d->fd, BLKDISCARD, range)
                             : fallocate(d->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)r->offset,
                                         (off_t)r->length);
    if (failed && !unsupported(errno))
        return -errno;
    if (failed)
        set_flag(d, &d->no_discard);
    return 0;
}

static int write_zeroes(struct raw *d, const struct disk_request *r)
{
    static const uint8_t zeroes[64 << 10];
    int mode = (r->unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
    if (!read_flag(d, &d->no_zero)) {
        if (!fallocate(d->fd, mode, (off_t)r->offset, (off_t)r->length))
            return 0;
        if (!unsupported(errno))
            return -errno;
        set_flag(d, &d->no_zero);
    }
    for (uint64_t at = 0; at < r->length;) {
        size_t n = r->length - at < sizeof zeroes ? (size_t)(r->length - at) : sizeof zeroes;
        ssize_t done = pwrite(cached_fd(d), zeroes, n, (off_t)(r->offset + at));
        if (done < 0 && errno != EINTR)
            return -errno;
        at += done > 0 ? (uint64_t)done : 0;
    }
    return 0;
}

int raw_io(struct raw *d, struct disk_request *r)
{
    switch (r->op) {
    case DISK_READ:
    case DISK_WRITE:
        return read_or_write(d, r);
    case DISK_FLUSH:
        return fdatasync(d->fd) ? -errno : 0;
    case DISK_DISCARD:
        return discard(d, r);
    case DISK_WRITE_ZEROES:
        return write_zeroes(d, r);
    }
    return -EOPNOTSUPP;
}
