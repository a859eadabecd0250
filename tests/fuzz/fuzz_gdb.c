/*
 * A debugger's bytes: gdb's server, over a real socket, on a machine of two CPUs of the software engine that
 * never run. The vm's part is played here.
 *
 * Input: lines. A line becomes a packet with the right checksum, but for one that begins with '!' (its bytes
 * as they are), '.' (CPU 0 stops for the debugger, if it was running) or ':' (CPU 1 does).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "fuzz.h"
#include "gdb/internal.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "guest/mem.h"
#include "host/loop.h"
#include "x86/state.h"

enum { CPUS = 2, RAM_SIZE = 1 << 20 };

struct vm {
    struct loop *loop;
    struct mem_map *mem;
    struct accel *accel;
    struct vcpu *cpu[CPUS];
    struct x86_state reset[CPUS];
    bool hold[CPUS];
    int paused;
    void (*on_debug)(void *opaque, unsigned cpu, const struct vcpu_exit_info *info);
    void *opaque;
};

/* ---- what the server wants of a vm ---- */

struct vcpu *vm_vcpu(struct vm *vm, unsigned index)
{
    CHECK(index < CPUS);
    return vm->cpu[index];
}

unsigned vm_cpus(const struct vm *vm)
{
    (void)vm;
    return CPUS;
}

struct mem_map *vm_mem(struct vm *vm)
{
    return vm->mem;
}

struct loop *vm_loop(struct vm *vm)
{
    return vm->loop;
}

void vm_on_debug(struct vm *vm, void (*fn)(void *opaque, unsigned cpu, const struct vcpu_exit_info *info),
                 void *opaque)
{
    vm->on_debug = fn;
    vm->opaque = opaque;
}

void vm_hold_cpu(struct vm *vm, unsigned index, bool hold)
{
    CHECK(index < CPUS && vm->paused);
    vm->hold[index] = hold;
}

void vm_start_paused(struct vm *vm)
{
    (void)vm;
}

void vm_quit(struct vm *vm)
{
    (void)vm;
}

int vm_pause(struct vm *vm, struct err *e)
{
    (void)e;
    vm->paused++;
    return 0;
}

int vm_resume(struct vm *vm, struct err *e)
{
    (void)e;
    CHECK(vm->paused-- > 0);
    return 0;
}

void vm_dump_registers(struct vm *vm, unsigned cpu, char *out, unsigned cap)
{
    (void)vm;
    CHECK(cpu < CPUS);
    snprintf(out, cap, "registers");
}

/* ---- the bed ---- */

struct bed {
    struct vm vm;
    struct gdb *gdb;
    char where[64];
    int fd;
};

static void bed_init(struct bed *b)
{
    struct err e = {""};
    struct bus *bus = bus_new(&e);
    struct clock *clock = clock_new(&e);
    struct vm *vm = &b->vm;
    struct ram *ram = ram_new("ram", RAM_SIZE, RAM_ANONYMOUS, &e);
    vm->loop = loop_new(&e);
    vm->mem = mem_map_new(&e);
    CHECK(bus && clock && vm->loop && vm->mem && ram);
    CHECK(mem_add(vm->mem, &(struct mem_region){.name = "ram", .size = RAM_SIZE, .kind = MEM_RAM, .ram = ram},
                  &e));
    vm->accel = accel_soft_open(
        &(struct accel_config){
            .mem = vm->mem, .bus = bus, .clock = clock, .cpus = CPUS, .cpu_model = "default"},
        &e);
    CHECK(vm->accel);
    for (unsigned i = 0; i < CPUS; i++) {
        vm->cpu[i] = vcpu_new(vm->accel, i, &e);
        CHECK(vm->cpu[i] && !vcpu_get(vm->cpu[i], &vm->reset[i], &e));
    }
    vm->paused = 1;
    snprintf(b->where, sizeof b->where, "unix:/tmp/fuzz-gdb-%ld", (long)getpid());
    unlink(b->where + 5);
    b->gdb = gdb_new(vm, b->where, &e);
    CHECK(b->gdb);
}

static void stop_loop(void *opaque)
{
    loop_stop(opaque);
}

static void turn(struct bed *b)
{
    char sink[65536];
    loop_post(b->vm.loop, stop_loop, b->vm.loop);
    loop_run(b->vm.loop);
    while (b->fd >= 0 && recv(b->fd, sink, sizeof sink, MSG_DONTWAIT) > 0) {
    }
}

static void say(struct bed *b, const char *p, size_t n)
{
    for (unsigned tries = 0; n && tries < 64; tries++) {
        ssize_t done = send(b->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN)
            return;
        p += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
        turn(b);
    }
}

static void stop_cpu(struct bed *b, unsigned cpu)
{
    struct vcpu_exit_info info = {.rip = 0xfff0, .software_break = true};
    if (b->vm.paused)
        return;
    vm_pause(&b->vm, NULL);
    b->vm.on_debug(b->vm.opaque, cpu, &info);
}

static void line(struct bed *b, const char *p, size_t n)
{
    char packet[8192];
    uint8_t sum = 0;
    if (n && (*p == '.' || *p == ':')) {
        stop_cpu(b, *p == ':');
    } else if (n && *p == '!') {
        say(b, p + 1, n - 1);
    } else if (n < sizeof packet - 8) {
        for (size_t i = 0; i < n; i++)
            sum = (uint8_t)(sum + (uint8_t)p[i]);
        packet[0] = '$';
        memcpy(packet + 1, p, n);
        snprintf(packet + 1 + n, 8, "#%02x", sum);
        say(b, packet, n + 4);
    }
}

static void connect_client(struct bed *b)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    strcpy(sa.sun_path, b->where + 5);
    b->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(b->fd >= 0 && !connect(b->fd, (struct sockaddr *)&sa, sizeof sa));
    turn(b);
}

/* However it left: nothing stays planted, and the machine runs on. */
static void disconnect_client(struct bed *b)
{
    close(b->fd);
    b->fd = -1;
    turn(b);
    CHECK(b->gdb->fd < 0 && !b->gdb->softs && !b->vm.paused && !b->vm.hold[0] && !b->vm.hold[1]);
    for (unsigned i = 0; i < HW_MAX; i++)
        CHECK(!b->gdb->hw[i].on);
}

/* The bed lives as long as the process, partly in shared mappings that the leak checker does not look into.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bed *bed; /* one for all inputs: an engine takes long to make */
    if (size > 16384)
        return 0;
    if (!bed) {
        log_set_level(LOG_ERROR);
        bed = calloc(1, sizeof *bed);
        CHECK(bed);
        bed_init(bed);
    }
    for (unsigned i = 0; i < CPUS; i++)
        CHECK(!vcpu_set(bed->vm.cpu[i], &bed->vm.reset[i], NULL));
    connect_client(bed);
    for (const char *p = (const char *)data, *end = p + size; p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((nl ? nl : end) - p);
        line(bed, p, n);
        p += n + 1;
    }
    disconnect_client(bed);
    return 0;
}
