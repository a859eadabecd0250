/*
 * board: the motherboard. Which chip sits where, which wire goes to which pin, and the tables that tell the
 * guest so.
 *
 * One board so far: microvm, version "microvm-1". Every address, port, irq and slot of a version stands in
 * board/map.h and never changes within it.
 *
 * Order of life (the board outlives the accelerator, whose callbacks it answers):
 *
 *     mem_map_new, bus_new, clock_new, loop_new, backends opened
 *     board_new(cfg)                     chips, RAM, PCI, virtio; nothing runs, no interrupt can be delivered
 *     accel_*_open(.cb = board_accel_callbacks(b), same mem, bus, clock)
 *     board_connect(b, accel)            interrupts now reach the vCPUs; wires already high are passed on
 *     load the kernel by board_e820, board_blobs, board_rsdp, board_cmdline_extra     (or board_load)
 *     board_resume(b); clock_start; vCPUs run; the loop runs
 *     ... board_pause(b) / board_resume(b) / board_reset(b) with all vCPUs quiesced ...
 *     vCPUs freed; board_connect(b, NULL); accel_close; board_free; backends closed; the rest freed
 *
 * Threads: functions are for the loop's thread (or before it runs) with no vCPU inside vcpu_run, unless they
 * say otherwise.
 */
#ifndef BOARD_BOARD_H
#define BOARD_BOARD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "accel/accel.h"
#include "guest/mem.h"
struct board;
struct buf;
struct bus;
struct chr;
struct clock;
struct device;
struct disk;
struct err;
struct loop;
struct net;
struct state_reader;
struct state_writer;

enum { BOARD_MAX_DISKS = 16, BOARD_MAX_NETS = 8, BOARD_MAX_BLOBS = 4, BOARD_MAX_E820 = 16 };

enum virtio_transport { VIRTIO_TRANSPORT_PCI, VIRTIO_TRANSPORT_MMIO };

/* How the guest asks for an end. Called on a vCPU's thread under a device's lock: only note it and kick
 * the vCPUs. NULL: ignored. */
struct board_callbacks {
    void (*power_off)(void *opaque);                 /* ACPI S5 */
    void (*reset)(void *opaque, const char *by);     /* by: what the guest wrote to, for a person; static */
    void (*debug_exit)(void *opaque, uint32_t code); /* port 0xf4; a shell would see (code << 1) | 1 */
    void (*panic)(void *opaque, uint8_t events);     /* pvpanic: bit 0 panicked, bit 1 crash kernel loaded */
    void *opaque;
};

struct board_net {
    struct net *net;
    uint8_t mac[6];
};

/* All pointers stay the caller's and outlive the board. */
struct board_config {
    struct mem_map *mem; /* empty; the board adds RAM, which stays the map's, and registers */
    struct bus *bus;     /* empty */
    struct clock *clock;
    struct loop *loop; /* for every device of this board */

    unsigned cpus;   /* 1..254 */
    uint64_t memory; /* bytes, multiple of MEM_PAGE, at least 1 MiB */
    enum ram_backing backing;
    /* RAM_FILE_PRIVATE, and RAM_MEMFD with ram_saved: RAM in ascending guest addresses without the hole, from
     * ram_fd_offset; mapped, and copied */
    bool ram_saved;
    int ram_fd;
    uint64_t ram_fd_offset;

    struct chr *serial;  /* COM1; NULL: the port is there and its other end is not connected */
    struct chr *console; /* virtio-console; NULL: none */
    struct disk *disks[BOARD_MAX_DISKS];
    unsigned disk_count;
    struct board_net nets[BOARD_MAX_NETS];
    unsigned net_count;
    bool rng; /* virtio-rng from the host's getrandom */

    enum virtio_transport transport;
    bool acpi; /* false: only the MP table, and virtio-mmio on the command line */
    /* a keyboard behind the i8042, for board_ctrl_alt_del; costs the guest its probing */
    bool keyboard;
    bool debug_exit; /* port 0xf4 */
    bool testdev;    /* kvm-unit-tests' pc-testdev ports */
    struct board_callbacks cb;
};

struct board *board_new(const struct board_config *cfg, struct err *e);
void board_free(struct board *b);              /* NULL is fine */
const char *board_name(const struct board *b); /* "microvm-1": goes into a saved state's header */

/* ---- the accelerator's side ---- */

/* ack_extint and eoi, for struct accel_config; they lock for themselves and may be called from any vCPU
 * thread. */
struct accel_callbacks board_accel_callbacks(struct board *b);
void board_connect(struct board *b, struct accel *a); /* NULL disconnects: later interrupts are dropped */

/* ---- running ---- */

void board_reset(struct board *b); /* every chip to its power-on state; memory and vCPUs are the vm's */
void board_pause(struct board *b); /* on return no device touches guest memory or its backend */
void board_resume(struct board *b);
/* any thread: as if it was pressed. Nothing happens where acpi is off. */
void board_power_button(struct board *b);
/* The terminal behind the virtio console may have another size. Loop thread. */
void board_console_resized(struct board *b);
void board_ctrl_alt_del(struct board *b); /* any thread: typed on the keyboard, when there is one */

/* ---- saved state: while paused. Sections of every chip; CPUs, clock and memory are the vm's. ---- */

int board_save(struct board *b, struct state_writer *w, struct err *e);
/* on a board made from the same config, not yet resumed */
int board_load(struct board *b, struct state_reader *r, struct err *e);
/* Devices one by one, in a stable order: for tests and for listing. Returns the count. */
unsigned board_devices(struct board *b, struct device *const **list);

/* ---- what the loader needs; valid for the board's life ---- */

/* Types as in ACPI 6.4 table 15.4: 1 memory, 2 reserved, 3 ACPI reclaimable. Ascending, disjoint. */
struct board_e820 {
    uint64_t base, size;
    uint32_t type;
};
unsigned board_e820(const struct board *b, const struct board_e820 **list);

/* Bytes that must lie in guest memory before the first instruction, and again after each reset: ACPI
 * tables, MP table, the program at the reset vector. */
struct board_blob {
    uint64_t gpa;
    const void *data;
    size_t len;
};
unsigned board_blobs(const struct board *b, const struct board_blob **list);
int board_write_blobs(struct board *b, struct err *e); /* does just that */
/* The interrupt controllers and the timer as a BIOS leaves them, for a kernel whose boot protocol asks for
 * that (Multiboot 0.6.96, 3.2). After board_connect, before the first instruction. */
void board_bios_interrupts(struct board *b);
uint64_t board_rsdp(const struct board *b); /* 0 where acpi is off */

/* What the kernel command line must carry (virtio_mmio.device= only where acpi is off): appended with a
 * leading space. */
void board_cmdline_extra(const struct board *b, struct buf *out);

/* First byte above RAM below 4 GiB, and RAM above it (0: none): where initrd and stacks may go. */
uint64_t board_low_ram(const struct board *b);
uint64_t board_high_ram(const struct board *b);

#endif
