/*
 * A whole board under a guest that writes what it likes where it likes: ports, registers, PCI configuration,
 * RAM (rings included), with pauses, resets, EOIs and time between; and a saved state with bytes changed and
 * its checksums mended, which another board then loads and lives with.
 *
 * Input: flags; then operations of 12 bytes: what, size, four of address, six of value.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/check.h"
#include "base/log.h"
#include "board/test/bench.h"
#include "device/core/device.h"
#include "device/virtio/test/fakes.h"
#include "fuzz.h"
#include "state_mend.h"
#include "state/state.h"

enum { OP = 12, MAX_OPS = 200, RAM_SIZE = 2 << 20, DISK_SIZE = 16 << 10, MAX_STATE = 1 << 18 };

struct bed {
    struct bench *b;
    struct mem_reader *reader;
    struct fake_disk disk;
    struct fake_net net;
    struct fake_chr serial, console;
    struct board_config cfg;
    size_t state_len;
    uint8_t state[MAX_STATE];
};

static void plug(struct bed *d)
{
    fake_disk_init_small(&d->disk, DISK_SIZE);
    fake_net_init(&d->net);
    d->net.echo = true;
    d->net.caps = (struct net_caps){.vnet_hdr = true, .csum = true, .guest_csum = true};
    fake_chr_init(&d->serial);
    fake_chr_init(&d->console);
    d->b = bench_new(&d->cfg);
    d->reader = mem_reader_new(d->b->mem, NULL);
    CHECK(d->reader);
}

static void unplug(struct bed *d)
{
    board_pause(d->b->board);
    mem_reader_free(d->reader);
    bench_free(d->b);
}

/* Where things are: ports and registers of the map, the rest of the space now and then. */
static uint64_t address(uint32_t a)
{
    static const uint64_t base[] = {
        MAP_PCI_ECAM_BASE, MAP_PCI_MMIO32_BASE, MAP_VIRTIO_MMIO_BASE, MAP_IOAPIC_BASE,
        MAP_TESTDEV_BASE,  MAP_PCI_MMIO64_MIN,  MAP_VGA_BASE,         0};
    uint64_t at = base[a >> 24 & 7] + (a & 0xffff);
    if ((a >> 24 & 7) == 1 || (a >> 24 & 7) == 5)
        at += (uint64_t)(a >> 16 & 31) << 14; /* BARs */
    if ((a >> 24 & 7) == 0)
        at += (uint64_t)(a >> 16 & 7) << 15; /* slots */
    return a >> 28 == 15 ? at << 8 : at;
}

static uint16_t port(uint32_t a)
{
    static const uint16_t base[] = {PORT_PIC_MASTER, PORT_PIT,         PORT_KBD_DATA,     PORT_RTC,
                                    PORT_SYSTEM_A,   PORT_PIC_SLAVE,   PORT_TESTDEV,      PORT_DEBUG_EXIT,
                                    PORT_COM1,       PORT_ELCR,        PORT_PVPANIC,      PORT_ACPI,
                                    PORT_PCI_CONFIG, PORT_PCI_IO_BASE, PORT_TESTDEV_IRQS, 0};
    return a & 0x1000000 ? (uint16_t)a : (uint16_t)(base[a >> 16 & 15] + (a & 15));
}

/* ---- saved state ---- */

static void save(struct bed *d)
{
    struct err e = {""};
    int fd = memfd_create("state", MFD_CLOEXEC);
    CHECK(fd >= 0);
    board_pause(d->b->board);
    struct state_writer *w = state_writer_new(board_name(d->b->board), &e);
    CHECK(w && !board_save(d->b->board, w, &e) && !state_finish(w, fd, &e));
    board_resume(d->b->board);
    ssize_t n = pread(fd, d->state, MAX_STATE, 0);
    CHECK(n > 0 && n < MAX_STATE);
    d->state_len = (size_t)n;
    close(fd);
}

/* A board with this state in place of the one there was. Refused: the board is made anew. */
static void load(struct bed *d)
{
    struct err e = {""};
    if (!d->state_len)
        return;
    unplug(d);
    plug(d);
    state_mend(d->state, d->state_len);
    struct state_reader *r = state_reader_new(d->state, d->state_len, &e);
    int bad = !r || board_load(d->b->board, r, &e);
    CHECK(!bad || e.msg[0]);
    state_reader_free(r);
    if (bad) {
        unplug(d);
        plug(d);
    }
    d->state_len = 0;
    clock_start(d->b->clock);
    board_resume(d->b->board);
}

/* ---- operations ---- */

static void stop_loop(void *opaque)
{
    loop_stop(opaque);
}

static void turn(struct bed *d)
{
    loop_post(d->b->loop, stop_loop, d->b->loop);
    loop_run(d->b->loop);
}

static void outside(struct bed *d, uint32_t a)
{
    uint8_t bytes[64] = {0x0a, (uint8_t)a};
    struct fake_chr *c = a & 0x100 ? &d->console : &d->serial;
    if (a & 0x200 && d->disk.count) {
        d->disk.fail = a & 0x400 ? -5 : 0;
        fake_disk_complete(&d->disk, (a & 0xff) % d->disk.count);
    } else if (c->attached) {
        size_t room = c->client.can_receive(c->client.opaque);
        if (room)
            c->client.receive(c->client.opaque, bytes, room < sizeof bytes ? room : sizeof bytes);
    }
}

static void run_op(struct bed *d, const uint8_t *op)
{
    struct bench *b = d->b;
    unsigned size = 1u << (op[1] & 3);
    uint32_t a;
    uint64_t v = 0;
    memcpy(&a, op + 2, 4);
    memcpy(&v, op + 6, 6);
    if (op[1] & 0x10)
        v |= v << 32;
    switch (op[0] & 15) {
    case 0:
    case 1:
        bus_write(b->bus, port(a), size & 3 ? size & 3 : 4, (uint32_t)v);
        break;
    case 2:
        bus_read(b->bus, port(a), size > 4 ? 4 : size);
        break;
    case 3:
    case 4:
    case 5:
        mem_mmio_write(b->mem, address(a), size, v);
        break;
    case 6:
        mem_mmio_read(b->mem, address(a), size);
        break;
    case 7: /* one of the virtio devices, wherever its BAR is: bring-up in few operations */
        mem_mmio_write(
            b->mem,
            (mem_mmio_read(b->mem, MAP_PCI_ECAM_BASE + ((1 + (a >> 16 & 7)) << 15) + 0x10, 4) & ~15ull) +
                (a & 0x3fff),
            size, v);
        break;
    case 8:
        mem_store(b->mem, (uint64_t)(a & (RAM_SIZE - 1)) & ~(uint64_t)(size - 1), size, v);
        break;
    case 9:
        turn(d);
        break;
    case 10:
        outside(d, a);
        break;
    case 11:
        if (op[1] & 1)
            b->cb.eoi(b->cb.opaque, (uint8_t)a);
        else
            b->cb.ack_extint(b->cb.opaque);
        break;
    case 12:
        board_pause(b->board);
        if (op[1] & 1)
            board_reset(b->board);
        board_resume(b->board);
        break;
    case 13:
        save(d);
        break;
    case 14:
        if (d->state_len)
            for (unsigned i = 0; i < size; i++)
                d->state[(a % d->state_len + i) % d->state_len] = op[6 + i % 6];
        break;
    default:
        load(d);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < OP)
        return 0;
    log_set_level(LOG_ERROR);
    fuzz_small_pages();
    static struct bed bed; /* allocated anew, its megabyte would be most of an input's time */
    struct bed *d = &bed;
    d->state_len = 0;
    d->cfg = (struct board_config){.memory = RAM_SIZE,
                                   .acpi = data[0] & 1,
                                   .transport = data[0] & 2 ? VIRTIO_TRANSPORT_MMIO : VIRTIO_TRANSPORT_PCI,
                                   .keyboard = data[0] & 4,
                                   .debug_exit = true,
                                   .testdev = true,
                                   .rng = true,
                                   .serial = &d->serial.chr,
                                   .console = &d->console.chr,
                                   .disks = {&d->disk.disk},
                                   .disk_count = 1,
                                   .nets = {{.net = &d->net.net}},
                                   .net_count = 1};
    plug(d);
    clock_start(d->b->clock);
    board_resume(d->b->board);
    for (size_t at = OP, n = 0; at + OP <= size && n < MAX_OPS; at += OP, n++) {
        run_op(d, data + at);
        mem_reader_quiesce(d->reader);
    }
    unplug(d);
    return 0;
}
