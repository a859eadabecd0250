/* Rings and descriptors, half right, for every virtio device on either transport
 * (virtio 1.2, 2.7, 4.1.4, 4.2.2). */
#include "hammer.h"

enum { REQUESTS = 0x100000 }; /* in the playground: heads of requests and frames, page by page */

struct regs {
    bool mmio;
    uint64_t base;
    unsigned status, dev_sel, dev_feat, drv_sel, drv_feat, q_sel, q_max, q_size, q_enable, desc, avail, used,
        reset;
};

static bool find(unsigned slot, struct regs *r)
{
    uint64_t m = VIRTIO_MMIO + slot * 0x1000ull;
    if (rd(m, 4) == 0x74726976 && rd(m + 8, 4)) {
        *r = (struct regs){true, m,    0x70, 0x14, 0x10, 0x24, 0x20, 0x30,
                           0x34, 0x38, 0x44, 0x80, 0x90, 0xa0, 0xc0};
        return true;
    }
    if (rd(ECAM + ((slot + 1) << 15), 2) != 0x1af4)
        return false;
    *r = (struct regs){false, rd(ECAM + ((slot + 1) << 15 | 0x10), 4) & ~15ull,
                       0x14,  0,
                       4,     8,
                       12,    0x16,
                       0x18,  0x18,
                       0x1c,  0x20,
                       0x28,  0x30,
                       0x3a};
    return r->base >= BARS && r->base < ECAM;
}

static unsigned width(const struct regs *r, unsigned narrow)
{
    return r->mmio ? 4 : narrow;
}

static void lay_requests(void)
{
    static const uint32_t types[] = {0, 1, 4, 8, 11, 13, 0, 1};
    static const uint8_t frame[] = {0x52, 0x55, 10,   0, 2, 2,  0x52, 0x54, 0, 0x12, 0x34, 0x56,
                                    8,    0,    0x45, 0, 1, 0,  0,    0,    0, 0,    64,   17,
                                    0,    0,    10,   0, 2, 15, 10,   0,    2, 2};
    static const uint8_t protocol[] = {1, 6, 17, 58, 0, 2, 41, 255}, dest[] = {2, 3, 15, 255};
    for (unsigned i = 0; i < 64; i++) {
        uint64_t at = PLAYGROUND + REQUESTS + 0x1000 * i;
        for (unsigned k = 0; k < 512; k += 8)
            wr(at + k, 8, rnd());
        if (i & 1) {
            wr(at, 4, types[rnd() & 7]);
            wr(at + 4, 4, 0);
            wr(at + 8, 8, rnd() & 3 ? rnd() & 0x7ff : value());
            continue;
        }
        for (unsigned k = 0; k < 12; k++)
            wr(at + k, 1, rnd() & 3 ? 0 : rnd());
        for (unsigned k = 0; k < sizeof frame; k++)
            wr(at + 12 + k, 1, frame[k]);
        wr(at + 12 + 13, 1, rnd() & 7 ? (rnd() & 1 ? 0 : 6) : rnd());
        wr(at + 12 + 23, 1, protocol[rnd() & 7]);
        wr(at + 12 + 33, 1, dest[rnd() & 3]);
    }
}

static void bring_up(const struct regs *r, unsigned q[3])
{
    wr(r->base + r->status, width(r, 1), 0);
    wr(r->base + r->status, width(r, 1), 1);
    wr(r->base + r->status, width(r, 1), 3);
    uint32_t leave = rnd() & 1 ? 0 : (uint32_t)rnd();
    for (unsigned w = 0; w < 2; w++) {
        wr(r->base + r->dev_sel, 4, w);
        uint32_t offered = (uint32_t)rd(r->base + r->dev_feat, 4);
        wr(r->base + r->drv_sel, 4, w);
        wr(r->base + r->drv_feat, 4, w ? (offered & ~leave) | 1 : offered & ~leave);
    }
    wr(r->base + r->status, width(r, 1), 0xb);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t at = PLAYGROUND + 0x10000 * i;
        wr(r->base + r->q_sel, width(r, 2), i);
        unsigned max = (unsigned)rd(r->base + r->q_max, width(r, 2));
        q[i] = max ? 1u << (rnd() & 7) : 0;
        q[i] = q[i] > max ? max : q[i];
        wr(r->base + r->q_size, width(r, 2), rnd() & 31 ? q[i] : rnd());
        wr(r->base + r->desc, 4, rnd() & 63 ? at : target());
        wr(r->base + r->desc + 4, 4, 0);
        wr(r->base + r->avail, 4, rnd() & 63 ? at + 0x4000 : target());
        wr(r->base + r->avail + 4, 4, 0);
        wr(r->base + r->used, 4, rnd() & 63 ? at + 0x8000 : target());
        wr(r->base + r->used + 4, 4, 0);
        wr(r->base + r->q_enable, width(r, 2), 1);
    }
    wr(r->base + r->status, width(r, 1), 0xf);
}

static uint32_t length(void)
{
    static const uint32_t fond[] = {0, 1, 12, 16, 511, 512, 513, 1514, 4096, 65536, 0x10000000, 0xfffffff0};
    return rnd() & 3 ? (uint32_t)rnd() & 0x7ff : fond[rnd() % (sizeof fond / sizeof *fond)];
}

static void descriptor(uint64_t at, unsigned i, unsigned size)
{
    wr(at + 16ull * i, 8, rnd() & 1 ? PLAYGROUND + REQUESTS + (rnd() & 0x3f000) : target());
    wr(at + 16ull * i + 8, 4, length());
    wr(at + 16ull * i + 12, 2, rnd() & 15 ? rnd() & 3 : rnd() & 7);
    wr(at + 16ull * i + 14, 2, rnd() & 15 ? rnd() % size : rnd());
}

/* A request in the right form, at descriptor 0. */
static void good_chain(uint64_t at, unsigned size)
{
    uint64_t head = PLAYGROUND + REQUESTS + ((rnd() & 31) << 13 | (rnd() & 1) << 12);
    const uint64_t d[3][3] = {{head, rnd() & 1 ? 16 : 12 + (rnd() & 0x1ff), 1},
                              {PLAYGROUND + 0x400000 + (rnd() & 0xff000), (rnd() & 15) << 9, 1 | (rnd() & 2)},
                              {PLAYGROUND + 0x600000, 1, 2}};
    for (unsigned i = 0; i < 3 && i < size; i++) {
        wr(at + 16 * i, 8, d[i][0]);
        wr(at + 16 * i + 8, 4, d[i][1]);
        wr(at + 16 * i + 12, 2, d[i][2]);
        wr(at + 16 * i + 14, 2, i + 1);
    }
}

static void feed(const struct regs *r, unsigned i, unsigned size)
{
    uint64_t at = PLAYGROUND + 0x10000 * i;
    uint16_t idx = (uint16_t)rd(at + 0x4002, 2);
    bool good = rnd() & 1;
    for (unsigned k = 0; k < size && k < 32; k++)
        descriptor(at, k, size);
    if (good)
        good_chain(at, size);
    for (unsigned k = 0; k < (size < 4 ? size : 4); k++, idx++)
        wr(at + 0x4004 + 2 * (idx % size), 2, good ? 0 : rnd() & 31 ? rnd() % size : rnd());
    wr(at + 0x4000, 2, rnd() & 1);
    wr(at + 0x4002, 2, rnd() & 63 ? idx : rnd());
    if (r->mmio)
        wr(r->base + 0x50, 4, i);
    else
        wr(r->base + 0x3000 + 4 * i, 2, i);
}

static void disturb(const struct regs *r)
{
    switch (rnd() & 15) {
    case 0:
        wr(r->base + r->status, width(r, 1), rnd() & 1 ? 0 : rnd() & 0xff);
        break;
    case 1:
        wr(r->base + r->q_sel, width(r, 2), rnd() & 3);
        wr(r->base + r->reset, width(r, 2), 1);
        break;
    case 2:
        TRY(poke(r->base + (r->mmio ? 0x100 : 0x2000) + (rnd() & 0x3f), 1u << (rnd() & 3), value()));
        break;
    case 3:
        poke(r->base + (rnd() & (r->mmio ? 0xfc : 0x3c)), 4, value());
        break;
    default:
        rd(r->base + (r->mmio ? 0x60 : 0x1000), 1);
        window();
    }
}

void do_virtio(void)
{
    struct regs r;
    unsigned q[3];
    lay_requests();
    for (unsigned slot = 0; slot < 8; slot++) {
        for (unsigned turn = 0; turn < 12 && find(slot, &r); turn++) {
            for (uint64_t i = 0; i < 3; i++)
                memset((void *)(PLAYGROUND + 0x10000 * i), 0, 0xc000);
            bring_up(&r, q);
            for (unsigned k = 0; k < 40; k++) {
                unsigned i = (unsigned)rnd() % 3;
                if (q[i])
                    feed(&r, i, q[i]);
                disturb(&r);
            }
        }
    }
}
