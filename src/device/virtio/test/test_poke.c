/* Every register of every device, poked at random: nothing but the sanitizers' peace is asked. */
#include "device/virtio/test/unit.h"
#include "device/virtio/blk.h"
#include "device/virtio/console.h"
#include "device/virtio/net.h"
#include "device/virtio/rng.h"
#include "base/log.h"
#include "device/virtio/test/fakes.h"

enum { POKES = 60000 };

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* Values that registers care about come often. */
static uint64_t value(uint64_t *x)
{
    static const uint64_t fond[] = {0,  1,  2,      3,      4,          7,          8,          11,   15,
                                    16, 64, 0x8000, 0xffff, 0xffffffff, 0xc0000000, 0x8000ffff, ~0ull};
    uint64_t v = next_random(x);
    switch (v & 3) {
    case 0:
        return fond[(v >> 8) % (sizeof(fond) / sizeof(fond[0]))];
    case 1:
        return (v >> 8) % RIG_RAM & ~0xfull; /* an address */
    default:
        return v;
    }
}

static void poke(struct rig *r, uint64_t *x)
{
    uint64_t v = next_random(x), at;
    unsigned size = 1u << (v & 3), slot = v >> 2 & 7 ? RIG_SLOT : (v >> 5 & 31);
    switch (v >> 10 & 7) {
    case 0:
        at = RIG_ECAM + (slot << 15) + (v >> 16 & (v >> 30 & 1 ? 0xfff : 0x7f));
        break;
    case 1:
        bus_write(r->bus, 0xcf8, 4, 0x80000000u | slot << 11 | (v >> 16 & 0xfc));
        if (v >> 40 & 1)
            bus_write(r->bus, (uint16_t)(0xcfc + (v >> 41 & 3)), size & 7 ? size : 4, (uint32_t)value(x));
        else
            bus_read(r->bus, (uint16_t)(0xcf8 + (v >> 41 & 7)), size & 7 ? size : 4);
        return;
    case 2: /* feature negotiation as it should be, so that the rest means something */
        drv_negotiate(r, drv_offered(r));
        drv_queue_setup(r, v >> 16 & 3, 1u << (v >> 20 & 7), value(x), value(x), value(x));
        drv_ok(r);
        return;
    default:
        at = r->transport == RIG_OVER_MMIO
                 ? RIG_MMIO + (v >> 16 & 0x1ff)
                 : r->bar + (v >> 16 & 7) * 0x1000 + (v >> 20 & (v >> 40 & 1 ? 0xfff : 0x3f));
        break;
    }
    if (v >> 50 & 1)
        mem_mmio_write(r->mem, at, size, value(x));
    else
        mem_mmio_read(r->mem, at, size);
}

static void storm(struct rig *r, struct fake_disk *disk, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
    for (unsigned i = 0; i < POKES; i++) {
        poke(r, &x);
        mem_reader_quiesce(r->reader);
        if (i % 64 == 0) {
            for (unsigned n = 0; n < 512; n++)
                ((uint8_t *)rig_at(r, 0))[next_random(&x) % 65536] = (uint8_t)next_random(&x);
            rig_turn(r);
            if (disk && disk->count)
                fake_disk_complete(disk, 0);
        }
        if (i % 4096 == 4095)
            device_reset(r->dev);
        if (r->transport != RIG_OVER_MMIO && i % 512 == 0) { /* find the BAR again where it was moved away */
            pci_config_write(r->root, RIG_SLOT, 0, 0x10, 4, (uint32_t)r->bar);
            pci_config_write(r->root, RIG_SLOT, 0, 0x14, 4, 0);
            pci_config_write(r->root, RIG_SLOT, 0, 4, 2, 6);
        }
    }
}

static void disk_survives(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct rig r;
        struct fake_disk *disk = calloc(1, sizeof(*disk));
        fake_disk_init(disk);
        rig_init(&r, t);
        rig_plug(&r,
                 virtio_blk_new(&(struct virtio_blk_config){.queues = 3}, &disk->disk, r.loop, r.mem, NULL));
        storm(&r, disk, 1 + t);
        rig_fini(&r);
        free(disk);
    }
}

static void net_survives(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct rig r;
        struct fake_net *net = calloc(1, sizeof(*net));
        fake_net_init(net);
        net->echo = true;
        rig_init(&r, t);
        rig_plug(&r, virtio_net_new(&(struct virtio_net_config){0}, &net->net, r.loop, r.mem, NULL));
        storm(&r, NULL, 11 + t);
        rig_fini(&r);
        free(net);
    }
}

static void console_survives(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct rig r;
        struct fake_chr chr;
        fake_chr_init(&chr);
        rig_init(&r, t);
        rig_plug(&r, virtio_console_new(&(struct virtio_console_config){0}, &chr.chr, r.loop, r.mem, NULL));
        storm(&r, NULL, 21 + t);
        rig_fini(&r);
    }
}

static void rng_survives(void **s)
{
    (void)s;
    EACH_TRANSPORT(t)
    {
        struct rig r;
        rig_init(&r, t);
        rig_plug(&r, virtio_rng_new(&(struct virtio_rng_config){0}, r.loop, r.mem, NULL));
        storm(&r, NULL, 31 + t);
        rig_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disk_survives),
        cmocka_unit_test(net_survives),
        cmocka_unit_test(console_survives),
        cmocka_unit_test(rng_survives),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
