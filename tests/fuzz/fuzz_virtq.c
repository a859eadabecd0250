/*
 * Rings, registers and backends' answers, in any order, for each virtio device over each transport.
 *
 * Input: device, transport, features to leave out; then operations of 8 bytes: what, queue, and six of
 * arguments. Rings lie at fixed places, so that the fuzzer finds them; so do requests in the right form, as
 * something to start from.
 */
#include <stdlib.h>
#include "base/log.h"
#include "device/virtio/blk.h"
#include "device/virtio/console.h"
#include "device/virtio/net.h"
#include "device/virtio/rng.h"
#include "device/virtio/test/fakes.h"
#include "device/virtio/test/ring.h"
#include "fuzz.h"

enum {
    RINGS = 0x20000,
    RING_STEP = 0x4000,
    AVAIL = 0x1000,
    USED = 0x2000,
    TABLES = 0x10000,
    REQUESTS = 0x8000,
    BUFFERS = 0x100000
};
enum { MAX_OPS = 400, QUEUES = 3, SIZE = 16, OP = 8, DISK_SIZE = 128 << 10 };
enum { DEV_BLK, DEV_NET, DEV_CONSOLE, DEV_RNG, DEVS };

struct bed {
    struct rig r;
    unsigned kind;
    uint64_t features;
    struct fake_disk disk;
    struct fake_net net;
    struct fake_chr chr;
    struct ring ring[QUEUES];
};

static struct virtio_dev *make(struct bed *b)
{
    struct rig *r = &b->r;
    switch (b->kind) {
    case DEV_BLK:
        fake_disk_init_small(&b->disk, DISK_SIZE);
        return virtio_blk_new(&(struct virtio_blk_config){.queues = QUEUES, .queue_size = 64}, &b->disk.disk,
                              r->loop, r->mem, NULL);
    case DEV_NET:
        fake_net_init(&b->net);
        b->net.echo = true;
        b->net.caps = (struct net_caps){
            .vnet_hdr = true, .csum = true, .guest_csum = true, .tso4 = true, .guest_tso4 = true};
        return virtio_net_new(&(struct virtio_net_config){.queue_size = 64}, &b->net.net, r->loop, r->mem,
                              NULL);
    case DEV_CONSOLE:
        fake_chr_init(&b->chr);
        b->chr.room = 4096;
        return virtio_console_new(&(struct virtio_console_config){0}, &b->chr.chr, r->loop, r->mem, NULL);
    default:
        return virtio_rng_new(&(struct virtio_rng_config){.bytes_per_second = 65536}, r->loop, r->mem, NULL);
    }
}

static void setup_queue(struct bed *b, unsigned i)
{
    uint64_t at = RINGS + (uint64_t)RING_STEP * i;
    b->ring[i] = (struct ring){
        .rig = &b->r, .queue = i, .size = SIZE, .desc = at, .avail = at + AVAIL, .used = at + USED};
    mem_fill(b->r.mem, at + AVAIL, 0, 256);
    mem_fill(b->r.mem, at + USED, 0, 256);
    drv_queue_setup(&b->r, i, SIZE, at, at + AVAIL, at + USED);
}

static void start(struct bed *b)
{
    drv_negotiate(&b->r, drv_offered(&b->r) & ~b->features);
    for (unsigned i = 0; i < QUEUES; i++)
        setup_queue(b, i);
    drv_ok(&b->r);
}

/* Requests as a driver would write them, 16 bytes each: block headers, then control commands of net. */
static void lay_requests(struct bed *b)
{
    static const uint32_t types[] = {0, 1, 4, 8, 11, 13};
    static const uint8_t commands[][8] = {{0, 0, 1}, {0, 1, 0}, {1, 0, 1}, {1, 1, 2}, {3, 0}, {5, 0, 2}};
    for (unsigned i = 0; i < 6; i++) {
        mem_write(b->r.mem, REQUESTS + 16 * i, &types[i], 4);
        mem_write(b->r.mem, REQUESTS + 16 * (6 + i), commands[i], 8);
    }
}

/* Addresses worth having: buffers, requests, tables, the rings themselves, the end of RAM, ROM, registers,
 * nowhere. */
static uint64_t address(const struct bed *b, uint8_t where, uint8_t low)
{
    switch (where & 7) {
    case 0:
    case 1:
        return BUFFERS + 0x1000ull * (where >> 3) + low;
    case 2:
        return REQUESTS + 16ull * (low % 12);
    case 3:
        return TABLES + 0x100ull * (where >> 3) + 16ull * (low & 15);
    case 4:
        return RINGS + 0x1000ull * (where >> 3) + low;
    case 5:
        return RIG_RAM - low;
    case 6:
        return (where & 8                         ? (uint64_t)RIG_ROM
                : b->r.transport == RIG_OVER_MMIO ? (uint64_t)RIG_MMIO
                                                  : b->r.bar) +
               low;
    default:
        return where & 8 ? UINT64_MAX - low : 0x4000000000ull + low;
    }
}

static uint32_t length(uint8_t v)
{
    static const uint32_t fond[] = {0,    1,    12,    16,    20,      511,        512,        513,
                                    1514, 4096, 65536, 65563, RIG_RAM, 0x7fffffff, 0xfffffff0, 0xffffffff};
    return v & 0x80 ? fond[v & 15] : v;
}

/* A backend's own doing. */
static void event(struct bed *b, const uint8_t *op)
{
    uint8_t frame[2048] = {op[3] & 1, op[3] >> 1 & 7};
    struct iovec iov = {frame, op[4] * 8u};
    const struct chr_client *c = &b->chr.client;
    size_t room;
    switch (b->kind) {
    case DEV_BLK:
        b->disk.fail = op[3] & 3 ? 0 : -EIO;
        if (b->disk.count)
            fake_disk_complete(&b->disk, op[4] % b->disk.count);
        break;
    case DEV_NET:
        b->net.full = op[3] & 0x80;
        if (op[3] & 0x40)
            b->net.client.writable(b->net.client.opaque);
        else
            b->net.client.receive(b->net.client.opaque, &iov, 1, iov.iov_len);
        break;
    case DEV_CONSOLE:
        b->chr.room = op[4];
        c->writable(c->opaque);
        room = c->can_receive(c->opaque);
        if (room && op[3] & 1)
            c->receive(c->opaque, frame, room < sizeof(frame) ? room : sizeof(frame));
        break;
    default:
        break;
    }
}

static void write_desc(struct bed *b, struct ring *g, const uint8_t *op)
{
    uint64_t table = op[0] & 0x10 ? TABLES + 0x100ull * (op[2] >> 4) : g->desc;
    ring_desc(g, table, op[2] & 15, address(b, op[3], op[4]), length(op[5]), op[6],
              op[7] & 0x80 ? op[7] * 257u : op[7] & 15);
}

static void poke(struct bed *b, const uint8_t *op)
{
    uint64_t v = (uint64_t)op[5] | (uint64_t)op[6] << 8 | (uint64_t)op[7] << 24;
    unsigned size = 1u << (op[2] & 3), off = op[3] | (op[4] & 0x7fu) << 8;
    if (op[2] & 0x80)
        pci_config_write(b->r.root, RIG_SLOT, 0, off & 0xff, size > 4 ? 4 : size, (uint32_t)v);
    else
        mem_mmio_write(
            b->r.mem, (b->r.transport == RIG_OVER_MMIO ? RIG_MMIO + (off & 0x1ff) : b->r.bar + off), size, v);
}

static void run_op(struct bed *b, const uint8_t *op)
{
    struct ring *g = &b->ring[op[1] % QUEUES];
    switch (op[0] & 15) {
    case 0:
    case 1:
    case 2:
        write_desc(b, g, op);
        break;
    case 3:
        ring_offer(g, op[2] & 0x80 ? (uint16_t)(op[2] * 257u) : op[2] & 15);
        break;
    case 4:
        ring_kick(g);
        break;
    case 5: /* a well-formed chain: a request, a buffer, room for the answer */
        ring_add(g,
                 (const struct ring_buf[]){{REQUESTS + 16ull * (op[2] % 12), 16, false},
                                           {BUFFERS + op[3], length(op[4]), op[5] & 1},
                                           {BUFFERS + 0x80000, op[6], true}},
                 2 + (op[5] >> 1 & 1));
        ring_kick(g);
        break;
    case 6:
        event(b, op);
        break;
    case 7:
        rig_turn(&b->r);
        break;
    case 8:
        start(b);
        break;
    case 9:
        drv_queue_reset(&b->r, g->queue);
        if (op[2] & 1)
            setup_queue(b, g->queue);
        break;
    case 10:
        mem_write(b->r.mem, address(b, op[2], op[3]) % (RIG_RAM - 8), op + 4, 4);
        break;
    case 11:
        (op[2] & 1 ? device_pause : device_resume)(b->r.dev);
        break;
    case 12:
        device_reset(b->r.dev);
        break;
    case 13:
        ring_put16(g, g->avail + (op[2] & 63),
                   (uint16_t)(op[3] | op[4] << 8)); /* flags, index, event: whatever */
        break;
    default:
        poke(b, op);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < OP)
        return 0;
    log_set_level(LOG_ERROR);
    fuzz_small_pages();
    static struct bed bed; /* allocated anew, its megabytes would be most of an input's time */
    struct bed *b = &bed;
    b->kind = data[0] % DEVS;
    b->features = (uint64_t)(data[2] & 3) << VIRTIO_F_RING_INDIRECT_DESC | (uint64_t)data[3] << 8 | data[4];
    rig_init(&b->r, data[1] % RIG_TRANSPORTS);
    rig_plug(&b->r, make(b));
    lay_requests(b);
    start(b);
    for (size_t i = OP, n = 0; i + OP <= size && n < MAX_OPS; i += OP, n++) {
        run_op(b, data + i);
        mem_reader_quiesce(b->r.reader);
    }
    rig_fini(&b->r);
    return 0;
}
