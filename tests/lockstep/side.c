/*
 * side: one machine whose whole outside is a function of what it executed.
 *
 * Time stands while instructions run, and catches up at the stops, which both engines make at the same
 * instruction: NS_PER_INSN for each instruction since. So timers come due at stops only, and there an
 * interrupt is delivered by both before the next instruction. A sleep ends at its deadline at once.
 *
 * Devices are the board's own. Those that answer by themselves do; what they would do later, by timers of the
 * host's loop, does not happen (PIT channel 0, alarms of the RTC, the serial port's timeout): Linux uses the
 * local APIC's timer, which is the engine's. The RTC counts in guest time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "accel/soft/engine/xlate.h"
#include "accel/soft/slots.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/range.h"
#include "board/board.h"
#include "boot/boot.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "host/host.h"
#include "host/loop.h"
#include "lockstep.h"

enum { NS_PER_INSN = 8, TSC_KHZ = 1000000, FLAT_SIZE = 32 << 20, FLAT_AT = 0x8000 };
enum { PORT_ECHO = 0xe0, PORT_VERDICT = 0xf4, PORT_REQUEST = 0x500, PORT_STREAM = 0x50c }; /* runner.h */
#define EPOCH_NS 1700000000000000000ull

/* ---- the RTC's time: the linker gives it to all ---- */

static const struct side *running;
uint64_t __wrap_host_realtime_ns(void);
uint64_t __wrap_host_realtime_ns(void)
{
    return EPOCH_NS + (running ? running->now : 0);
}

/* ---- outside ---- */

static void end(struct side *s, const char *why)
{
    if (!s->ended)
        snprintf(s->why, sizeof s->why, "%s", why);
    s->ended = true;
    engine_kick(s->en, 0);
}

static void went_out(struct side *s, uint64_t where, unsigned size, uint64_t value)
{
    s->out = (s->out ^ where ^ (uint64_t)size << 60 ^ value * 0x9e3779b97f4a7c15ull) * 0xff51afd7ed558ccdull;
    s->out ^= s->out >> 29;
    s->writes++;
}

static uint32_t flat_read(struct side *s, uint16_t port, unsigned size)
{
    uint32_t v = ~0u;

    if (port >= PORT_ECHO && port + size <= PORT_ECHO + 4)
        memcpy(&v, s->echo + port - PORT_ECHO, size);
    else if (port >= PORT_STREAM && port < PORT_STREAM + 4)
        for (unsigned i = 0; i < size; i++)
            v = v << 8 | s->stream++;
    return v;
}

static void flat_write(struct side *s, uint16_t port, unsigned size, uint32_t value)
{
    char why[96];

    if (port >= PORT_ECHO && port + size <= PORT_ECHO + 4)
        memcpy(s->echo + port - PORT_ECHO, &value, size);
    else if (port == PORT_VERDICT || port == PORT_REQUEST) {
        snprintf(why, sizeof why, port == PORT_REQUEST ? "request %u" : "verdict %u", value);
        end(s, why);
    }
}

static uint32_t out_pio_read(void *o, uint16_t port, unsigned size)
{
    struct side *s = o;

    return s->board ? bus_read(s->bus, port, size) : flat_read(s, port, size);
}

static void out_pio_write(void *o, uint16_t port, unsigned size, uint32_t value)
{
    struct side *s = o;

    went_out(s, port, size, value);
    if (s->board)
        bus_write(s->bus, port, size, value);
    else
        flat_write(s, port, size, value);
}

static uint64_t out_mmio_read(void *o, uint64_t gpa, unsigned size)
{
    return mem_mmio_read(((struct side *)o)->mem, gpa, size);
}

static void out_mmio_write(void *o, uint64_t gpa, unsigned size, uint64_t value)
{
    struct side *s = o;

    went_out(s, gpa, size, value);
    mem_mmio_write(s->mem, gpa, size, value);
}

static int out_ack(void *o)
{
    struct side *s = o;

    return s->cb.ack_extint ? s->cb.ack_extint(s->cb.opaque) : -1;
}

static void out_eoi(void *o, uint8_t vector)
{
    struct side *s = o;

    if (s->cb.eoi)
        s->cb.eoi(s->cb.opaque, vector);
}

static uint64_t out_now(void *o)
{
    return ((const struct side *)o)->now;
}

static uint64_t out_wall(void *o)
{
    return EPOCH_NS + ((const struct side *)o)->now;
}

static void set_time(struct side *s, uint64_t now)
{
    s->now = now;
    clock_set(s->clock, now);
}

static void out_sleep(void *o, unsigned cpu, uint64_t deadline)
{
    struct side *s = o;
    (void)cpu;

    if (deadline == UINT64_MAX)
        end(s, "asleep for ever");
    else if (deadline > s->now)
        set_time(s, deadline);
}

/* Never comes: the stops do. */
static void out_arm(void *o, unsigned cpu, uint64_t deadline)
{
    (void)o, (void)cpu, (void)deadline;
}

static void out_cpu(void *o, unsigned cpu)
{
    (void)o, (void)cpu;
}

static void out_barrier(void *o)
{
    (void)o;
}

static void out_log(void *o, int level, const char *text)
{
    (void)o, (void)level, (void)text;
}

static const struct engine_outside outside = {
    .pio_read = out_pio_read,
    .pio_write = out_pio_write,
    .mmio_read = out_mmio_read,
    .mmio_write = out_mmio_write,
    .ack_extint = out_ack,
    .eoi = out_eoi,
    .now_ns = out_now,
    .wall_ns = out_wall,
    .sleep = out_sleep,
    .arm = out_arm,
    .wake = out_cpu,
    .barrier = out_barrier,
    .quiescent = out_cpu,
    .log = out_log,
};

/* ---- the board's accelerator ---- */

static int on_msi(struct accel *a, struct msi_message m)
{
    return engine_msi(((struct side *)(void *)a)->en, m.address, m.data) > 0;
}

static void on_extint(struct accel *a, bool level)
{
    engine_extint(((struct side *)(void *)a)->en, level);
}

static int on_doorbell(struct accel *a, uint64_t gpa, unsigned size, int eventfd, bool on, struct err *e)
{
    (void)a, (void)gpa, (void)size, (void)eventfd, (void)on, (void)e;
    return -ENOTSUP;
}

static const struct accel_ops accel_ops = {
    .name = "lockstep", .msi = on_msi, .extint = on_extint, .doorbell = on_doorbell};

static void on_power_off(void *opaque)
{
    end(opaque, "power-off");
}

static void on_reset(void *opaque, const char *by)
{
    (void)by;
    end(opaque, "reset");
}

/* ---- the serial port's other end ---- */

static void chr_attach(struct chr *c, const struct chr_client *client)
{
    (void)c, (void)client;
}

static size_t chr_write(struct chr *c, const uint8_t *p, size_t n)
{
    struct side *s = CONTAINER_OF(c, struct side, serial);

    for (size_t i = 0; i < n && s->console_len < CONSOLE_SIZE; i++)
        s->console[s->console_len++] = (char)p[i];
    return n;
}

static void chr_nothing(struct chr *c)
{
    (void)c;
}

static void chr_size(struct chr *c, uint16_t *cols, uint16_t *rows)
{
    (void)c;
    *cols = *rows = 0;
}

static const struct chr_ops chr_ops = {.attach = chr_attach,
                                       .write = chr_write,
                                       .resume = chr_nothing,
                                       .size = chr_size,
                                       .flush = chr_nothing,
                                       .close = chr_nothing};

/* ---- building ---- */

static void on_code_written(void *opaque)
{
    engine_code_event(((struct side *)opaque)->en);
}

static void on_map_changed(void *opaque, const struct mem_view *was, const struct mem_view *now)
{
    struct side *s = opaque;
    (void)was;

    for (size_t i = 0; i < now->count; i++)
        if (now->section[i].region->ram)
            ram_on_code_written(now->section[i].region->ram, on_code_written, s);
    s->slots = soft_slots(now, s->slot);
    engine_set_slots(s->en, s->slot, s->slots);
}

/* What the host's own random numbers would be in: not the same twice. */
static const uint32_t random_features[] = {X86_F_RDRAND, X86_FEATURE(X86_W_7_EBX, 18)};

static int build_engine(struct side *s, size_t code_cache, struct err *e)
{
    struct x86_cpu_config cc = {.model = "default", .cpus = 1, .tsc_khz = TSC_KHZ, .hypervisor_leaves = true};
    struct engine_config ec = {
        .cpus = 1, .tsc_khz = TSC_KHZ, .code_cache = code_cache, .count = true, .cpuid = &s->cpuid};
    size_t size = engine_arena_size(&ec);

    engine_features(&cc.allow);
    for (unsigned i = 0; i < ARRAY_LEN(random_features); i++)
        cc.allow.w[random_features[i] >> 5] &= ~(1u << (random_features[i] & 31));
    int r = x86_cpuid_build(&s->cpuid, &cc, e);
    if (r)
        return r;
    void *arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        return err_sys(e, errno, "no memory for an engine");
    s->en = engine_init(arena, size, &ec);
    r = engine_attach(s->en, &outside, s);
    if (r)
        return err_sys(e, r, "cannot map memory for machine code");
    s->c = engine_cpu(s->en, 0);
    s->translator_here = s->en->xlate->enabled;
    if (s->translates && !s->translator_here)
        return err_set(e, ENOTSUP, "no translator on this host");
    s->en->xlate->enabled = s->translates;
    s->listener = (struct mem_listener){.changed = on_map_changed, .opaque = s};
    mem_listen(s->mem, &s->listener);
    return 0;
}

static int build_board(struct side *s, const struct guest *g, struct err *e)
{
    struct board_config bc = {.mem = s->mem,
                              .bus = s->bus,
                              .clock = s->clock,
                              .loop = s->loop,
                              .cpus = 1,
                              .memory = g->memory,
                              .backing = RAM_ANONYMOUS,
                              .serial = &s->serial,
                              .acpi = true,
                              .cb = {.power_off = on_power_off, .reset = on_reset, .opaque = s}};

    s->serial.ops = &chr_ops;
    s->board = board_new(&bc, e);
    return s->board ? 0 : -EIO;
}

/* As vm/load.c leaves it. */
static int load_kernel(struct side *s, const struct guest *g, struct err *e)
{
    struct boot_range range[BOARD_MAX_E820];
    struct boot_file initrd = {.path = g->initrd};
    const struct board_e820 *map;
    struct buf cmdline = {0};
    static struct x86_state b;
    unsigned n = board_e820(s->board, &map);

    for (unsigned i = 0; i < n; i++)
        range[i] = (struct boot_range){.base = map[i].base, .size = map[i].size, .type = map[i].type};
    buf_printf(&cmdline, "%s", g->cmdline);
    board_cmdline_extra(s->board, &cmdline);
    buf_u8(&cmdline, 0);
    struct boot_config bc = {.kernel = {.path = g->kernel},
                             .initrd = &initrd,
                             .initrds = g->initrd != NULL,
                             .cmdline = (const char *)cmdline.data,
                             .rsdp = board_rsdp(s->board),
                             .range = range,
                             .ranges = n};
    engine_get(s->en, 0, &b);
    b.lapic.regs[X86_LAPIC_SVR] = 0x1ff;
    b.lapic.regs[X86_LAPIC_LVT_LINT0] = 0x700;
    b.lapic.regs[X86_LAPIC_LVT_LINT1] = 0x400;
    int r = board_write_blobs(s->board, e);
    if (!r)
        r = boot_load(&bc, s->mem, &b, NULL, e);
    if (!r && engine_set(s->en, 0, &b))
        r = err_set(e, EINVAL, "the state is refused");
    buf_free(&cmdline);
    return r;
}

static int add_flat_memory(struct side *s, struct err *e)
{
    struct mem_region r = {.name = "ram", .size = FLAT_SIZE, .kind = MEM_RAM};

    r.ram = ram_new("ram", FLAT_SIZE, RAM_ANONYMOUS, e);
    return r.ram && mem_add(s->mem, &r, e) ? 0 : -ENOMEM;
}

/* As the runner does. */
static int load_flat(struct side *s, const struct guest *g, struct err *e)
{
    static struct x86_state b;
    uint8_t *data;
    size_t len;
    int r = host_read_file(g->flat, 1 << 20, &data, &len, e);

    if (r)
        return r;
    r = mem_write(s->mem, FLAT_AT, data, len);
    free(data);
    engine_get(s->en, 0, &b);
    b.seg[X86_CS].base = 0;
    b.seg[X86_CS].sel = 0;
    b.rip = FLAT_AT;
    b.gpr[X86_RSP] = 0x7000;
    return !r && engine_set(s->en, 0, &b) ? err_set(e, EINVAL, "the state is refused") : r;
}

struct side *side_open(const struct guest *g, bool translates, struct err *e)
{
    struct side *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    *s = (struct side){.accel = {&accel_ops},
                       .name = translates ? "translator" : "interpreter",
                       .translates = translates,
                       .mem = mem_map_new(e),
                       .bus = bus_new(e),
                       .clock = clock_new(e),
                       .loop = loop_new(e)};
    if (!s->mem || !s->bus || !s->clock || !s->loop)
        return NULL;
    int r = g->flat ? add_flat_memory(s, e) : build_board(s, g, e);
    if (!r)
        r = build_engine(s, g->code_cache, e);
    if (!r && s->board) {
        s->cb = board_accel_callbacks(s->board);
        board_connect(s->board, &s->accel);
    }
    if (!r)
        r = g->flat ? load_flat(s, g, e) : load_kernel(s, g, e);
    if (!r && s->board)
        board_resume(s->board);
    return r ? NULL : s;
}

/* ---- running ---- */

bool side_go(struct side *s, uint64_t count)
{
    struct engine_exit_info info;

    running = s;
    engine_stop_at(s->en, 0, count);
    while (!s->ended && s->c->icount < count) {
        enum engine_exit e = engine_run(s->en, 0, &info);
        if (e == ENGINE_TRIPLE_FAULT)
            end(s, "triple fault");
        else if (e != ENGINE_KICKED) {
            fprintf(stderr, "lockstep: the %s left with %d at %#llx: %s\n", s->name, (int)e,
                    (unsigned long long)s->c->rip, info.why);
            return false;
        }
    }
    return true;
}

void side_pass_time(struct side *s)
{
    set_time(s, s->now + (s->c->icount - s->counted) * NS_PER_INSN);
    s->counted = s->c->icount;
}

bool side_run(struct side *s, uint64_t count)
{
    bool good = side_go(s, count);

    side_pass_time(s);
    return good;
}
