/*
 * fakes: backends in memory, which a test plays: a disk that completes when told, a wire that records and
 * injects, a terminal.
 */
#ifndef VIRTIO_TEST_FAKES_H
#define VIRTIO_TEST_FAKES_H
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include "backend/block/disk.h"
#include "backend/chr/chr.h"
#include "backend/net/net.h"
#include "base/check.h"
#include "base/range.h"

/* ---- disk ---- */

enum { FAKE_DISK_SIZE = 1 << 20, FAKE_DISK_PENDING = 1024 };

struct fake_disk {
    struct disk disk; /* first */
    struct disk_info info;
    struct disk_request *pending[FAKE_DISK_PENDING];
    unsigned count, flushes, most;
    int fail;                     /* result of the next completions, 0: as it should be */
    uint8_t data[FAKE_DISK_SIZE]; /* last: see fake_disk_init_small */
};

static inline void fake_disk_info(struct disk *d, struct disk_info *out)
{
    *out = ((struct fake_disk *)d)->info;
}

static inline void fake_disk_submit(struct disk *d, struct disk_request *r)
{
    struct fake_disk *f = (struct fake_disk *)d;
    CHECK(f->count < FAKE_DISK_PENDING && range_inside(r->offset, r->length, f->info.size));
    f->pending[f->count++] = r;
    if (f->count > f->most)
        f->most = f->count;
}

static inline int fake_disk_do(struct fake_disk *f, struct disk_request *r)
{
    uint64_t off = r->offset;
    if (f->fail)
        return f->fail;
    f->flushes += r->op == DISK_FLUSH;
    if (r->op == DISK_DISCARD || r->op == DISK_WRITE_ZEROES)
        memset(f->data + off, 0, r->length);
    for (int i = 0; (r->op == DISK_READ || r->op == DISK_WRITE) && i < r->iovcnt; i++) {
        if (r->op == DISK_READ)
            memcpy(r->iov[i].iov_base, f->data + off, r->iov[i].iov_len);
        else
            memcpy(f->data + off, r->iov[i].iov_base, r->iov[i].iov_len);
        off += r->iov[i].iov_len;
    }
    CHECK(r->op == DISK_FLUSH || r->op == DISK_DISCARD || r->op == DISK_WRITE_ZEROES ||
          off == r->offset + r->length);
    return 0;
}

/* Complete request `i` of those pending. */
static inline void fake_disk_complete(struct fake_disk *f, unsigned i)
{
    CHECK(i < f->count);
    struct disk_request *r = f->pending[i];
    memmove(f->pending + i, f->pending + i + 1, (f->count - i - 1) * sizeof(r));
    f->count--;
    r->done(r, fake_disk_do(f, r));
}

static inline void fake_disk_drain(struct disk *d)
{
    struct fake_disk *f = (struct fake_disk *)d;
    while (f->count)
        fake_disk_complete(f, 0);
}

static inline void fake_disk_close(struct disk *d)
{
    (void)d;
}

static const struct disk_ops fake_disk_ops = {
    .info = fake_disk_info, .submit = fake_disk_submit, .drain = fake_disk_drain, .close = fake_disk_close};

/* A disk of the first `size` bytes: for the fuzz targets, where clearing more takes longer than the input. */
static inline void fake_disk_init_small(struct fake_disk *f, uint64_t size)
{
    CHECK(size <= FAKE_DISK_SIZE);
    memset(f, 0, offsetof(struct fake_disk, data) + size);
    f->disk.ops = &fake_disk_ops;
    f->info = (struct disk_info){.size = size,
                                 .block_size = 512,
                                 .physical_block = 4096,
                                 .discard = true,
                                 .write_zeroes = true,
                                 .serial = "fake-disk"};
}

static inline void fake_disk_init(struct fake_disk *f)
{
    fake_disk_init_small(f, FAKE_DISK_SIZE);
}

/* ---- net ---- */

enum { FAKE_NET_FRAMES = 8 };

struct fake_net {
    struct net net; /* first */
    struct net_caps caps, wanted;
    struct net_client client;
    bool attached, full, echo; /* echo: each frame sent comes back at once, from within send */
    unsigned sent, resumed, offloads, echoed;
    uint64_t len[FAKE_NET_FRAMES];
    void (*on_send)(void *opaque); /* with no lock held, in the middle of send */
    void *opaque;
    uint8_t frame[FAKE_NET_FRAMES][70000]; /* last, and what was never sent is not cleared */
};

static inline void fake_net_caps(struct net *n, struct net_caps *out)
{
    *out = ((struct fake_net *)n)->caps;
}

static inline void fake_net_attach(struct net *n, const struct net_client *client)
{
    struct fake_net *f = (struct fake_net *)n;
    f->attached = client;
    if (client)
        f->client = *client;
}

static inline int fake_net_offload(struct net *n, const struct net_caps *wanted)
{
    struct fake_net *f = (struct fake_net *)n;
    f->wanted = *wanted;
    f->offloads++;
    return 0;
}

static inline int fake_net_send(struct net *n, const struct iovec *iov, int iovcnt, uint64_t len)
{
    struct fake_net *f = (struct fake_net *)n;
    uint64_t at = 0;
    uint8_t *out = f->frame[f->sent % FAKE_NET_FRAMES];
    if (f->full)
        return -EAGAIN;
    for (int i = 0; i < iovcnt; at += iov[i].iov_len, i++) {
        CHECK(at + iov[i].iov_len <= sizeof(f->frame[0]));
        memcpy(out + at, iov[i].iov_base, iov[i].iov_len);
    }
    CHECK(at == len);
    f->len[f->sent++ % FAKE_NET_FRAMES] = len;
    if (f->on_send)
        f->on_send(f->opaque);
    if (f->echo)
        f->echoed += f->client.receive(f->client.opaque, &(struct iovec){out, len}, 1, len);
    return 0;
}

static inline void fake_net_resume(struct net *n)
{
    ((struct fake_net *)n)->resumed++;
}

static inline void fake_net_close(struct net *n)
{
    (void)n;
}

static const struct net_ops fake_net_ops = {.caps = fake_net_caps,
                                            .attach = fake_net_attach,
                                            .offload = fake_net_offload,
                                            .send = fake_net_send,
                                            .resume = fake_net_resume,
                                            .close = fake_net_close};

static inline void fake_net_init(struct fake_net *f)
{
    memset(f, 0, offsetof(struct fake_net, frame));
    f->net.ops = &fake_net_ops;
}

/* ---- chr ---- */

struct fake_chr {
    struct chr chr; /* first */
    struct chr_client client;
    bool attached;
    uint8_t out[8192];
    size_t len, room;
    unsigned resumed;
    uint16_t cols, rows;
};

static inline void fake_chr_attach(struct chr *c, const struct chr_client *client)
{
    struct fake_chr *f = (struct fake_chr *)c;
    f->attached = client;
    if (client)
        f->client = *client;
}

static inline size_t fake_chr_write(struct chr *c, const uint8_t *p, size_t n)
{
    struct fake_chr *f = (struct fake_chr *)c;
    if (n > f->room)
        n = f->room;
    for (size_t i = 0; i < n; i++)
        f->out[f->len++ % sizeof(f->out)] = p[i];
    f->room -= n;
    return n;
}

static inline void fake_chr_resume(struct chr *c)
{
    ((struct fake_chr *)c)->resumed++;
}

static inline void fake_chr_size(struct chr *c, uint16_t *cols, uint16_t *rows)
{
    *cols = ((struct fake_chr *)c)->cols;
    *rows = ((struct fake_chr *)c)->rows;
}

static inline void fake_chr_none(struct chr *c)
{
    (void)c;
}

static const struct chr_ops fake_chr_ops = {.attach = fake_chr_attach,
                                            .write = fake_chr_write,
                                            .resume = fake_chr_resume,
                                            .size = fake_chr_size,
                                            .flush = fake_chr_none,
                                            .close = fake_chr_none};

static inline void fake_chr_init(struct fake_chr *f)
{
    memset(f, 0, sizeof(*f));
    f->chr.ops = &fake_chr_ops;
    f->room = SIZE_MAX;
    f->cols = 80;
    f->rows = 25;
}

#endif
