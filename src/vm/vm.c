/*
 * vm: builds a machine from its config and takes it apart again, in the reverse order.
 */
#include "vm/vm.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/log.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "guest/mem.h"
#include "host/host.h"
#include "host/loop.h"
#include "vm/internal.h"

/* ---- what the guest asks for: called on vCPU threads under device locks ---- */

static void on_power_off(void *opaque)
{
    cpus_ask(opaque, REQUEST_POWER_OFF);
}

static void on_reset(void *opaque, const char *by)
{
    struct vm *vm = opaque;
    atomic_store(&vm->reset_by, by);
    cpus_ask(vm, REQUEST_RESET);
}

static void on_debug_exit(void *opaque, uint32_t code)
{
    struct vm *vm = opaque;
    atomic_store(&vm->debug_exit, code);
    cpus_ask(vm, REQUEST_DEBUG_EXIT);
}

static void on_panic(void *opaque, uint8_t events)
{
    (void)opaque;
    log_guest(NULL, LOG_WARN, "the guest's kernel panicked%s",
              events & 2 ? " (a crash kernel is loaded)" : "");
}

static void on_escape_quit(void *opaque)
{
    vm_quit(opaque);
}

/* ---- parts ---- */

static int check_memory(const struct vm_config *c, struct err *e)
{
    uint64_t total = host_mem_total();
    if (c->memory > total)
        return err_set(e, ENOMEM,
                       "memory: %llu MiB is more than this host's %llu MiB; give less with --memory",
                       (unsigned long long)(c->memory >> 20), (unsigned long long)(total >> 20));
    return 0;
}

/* `pty` becomes the name of a pseudo-terminal. */
static struct chr *open_place(struct vm *vm, const char *place, char pty[VM_PTY_NAME], struct err *e)
{
    if (!strcmp(place, "stdio")) {
        struct chr_escape esc = {.quit = on_escape_quit, .opaque = vm};
        return chr_stdio_open(&esc, vm->loop, e);
    }
    if (!strcmp(place, "pty"))
        return chr_pty_open(vm->loop, pty, VM_PTY_NAME, e);
    if (!strncmp(place, "file=", 5))
        return chr_file_open(place + 5, vm->loop, e);
    return chr_null_open();
}

static int open_console(struct vm *vm, struct err *e)
{
    const struct vm_config *c = &vm->cfg;
    bool virtio = vm_config_virtio_console(c);
    struct chr **at = virtio ? &vm->console : &vm->serial;
    *at = open_place(vm, c->console, vm->console_path, e);
    if (*at && virtio)
        vm->serial = open_place(vm, c->serial ? c->serial : "none", vm->serial_path, e);
    return vm->serial ? 0 : -EIO;
}

static int open_disks(struct vm *vm, struct err *e)
{
    for (unsigned i = 0; i < vm->cfg.disks; i++) {
        const struct vm_disk_config *d = &vm->cfg.disk[i];
        struct disk_config dc = {.path = d->path,
                                 .format = d->format,
                                 .serial = d->serial,
                                 .readonly = d->readonly,
                                 .direct = d->direct};
        vm->disks[i] = disk_open(&dc, vm->loop, e);
        if (!vm->disks[i])
            return -EIO;
    }
    return 0;
}

static struct net *open_user_net(struct vm *vm, const struct vm_net_config *n, struct err *e)
{
    struct net_user_config uc = {.fwds = n->forwards, .restricted = n->restricted};
    for (unsigned i = 0; i < n->forwards; i++) {
        uc.fwd[i].udp = n->forward[i].udp;
        uc.fwd[i].host_port = n->forward[i].host_port;
        uc.fwd[i].guest_port = n->forward[i].guest_port;
        memcpy(uc.fwd[i].host_addr, n->forward[i].host_addr, sizeof uc.fwd[i].host_addr);
    }
    return net_user_open(&uc, vm->loop, e);
}

static int open_nets(struct vm *vm, struct err *e)
{
    for (unsigned i = 0; i < vm->cfg.nets; i++) {
        const struct vm_net_config *n = &vm->cfg.net[i];
        vm->nets[i] = n->kind == VM_NET_TAP ? net_tap_open(n->tap, vm->loop, e) : open_user_net(vm, n, e);
        if (!vm->nets[i])
            return -EIO;
    }
    return 0;
}

static int make_board(struct vm *vm, const struct vm_saved *from, int memory_fd, struct err *e)
{
    struct board_config bc = {
        .mem = vm->mem,
        .bus = vm->bus,
        .clock = vm->clock,
        .loop = vm->loop,
        .cpus = vm->cfg.cpus,
        .memory = vm->cfg.memory,
        .backing = vm->cfg.engine_process ? RAM_MEMFD
                   : from                 ? RAM_FILE_PRIVATE
                                          : RAM_ANONYMOUS,
        .ram_saved = from != NULL,
        .ram_fd = memory_fd,
        .serial = vm->serial,
        .console = vm->console,
        .disk_count = vm->cfg.disks,
        .net_count = vm->cfg.nets,
        .rng = vm->cfg.rng,
        .transport = vm->cfg.virtio_mmio || vm->cfg.no_acpi ? VIRTIO_TRANSPORT_MMIO : VIRTIO_TRANSPORT_PCI,
        .acpi = !vm->cfg.no_acpi,
        .debug_exit = vm->cfg.debug_exit,
        .testdev = vm->cfg.testdev,
        .cb = {.power_off = on_power_off,
               .reset = on_reset,
               .debug_exit = on_debug_exit,
               .panic = on_panic,
               .opaque = vm},
    };
    for (unsigned i = 0; i < vm->cfg.disks; i++)
        bc.disks[i] = vm->disks[i];
    for (unsigned i = 0; i < vm->cfg.nets; i++) {
        const struct vm_net_config *n = &vm->cfg.net[i];
        uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, (uint8_t)(0x56 + i)};
        bc.nets[i].net = vm->nets[i];
        memcpy(bc.nets[i].mac, n->mac_set ? n->mac : mac, 6);
    }
    vm->board = board_new(&bc, e);
    return vm->board ? 0 : -EIO;
}

/* Choose and open the accelerator; auto measures, and remembers why it took the software engine. */
static int open_accel(struct vm *vm, struct err *e)
{
    struct accel_config ac = {.mem = vm->mem,
                              .bus = vm->bus,
                              .clock = vm->clock,
                              .cb = board_accel_callbacks(vm->board),
                              .cpus = vm->cfg.cpus,
                              .cpu_model = vm->cfg.cpu,
                              .profile = vm->cfg.profile,
                              .perf_map = vm->cfg.perf_map,
                              .symbols = vm->cfg.symbols,
                              .code_cache = vm->cfg.code_cache,
                              .engine_process = vm->cfg.engine_process,
                              .count_instructions = vm->cfg.stats};
    bool kvm = !strcmp(vm->cfg.accel, "kvm");
    if (!strcmp(vm->cfg.accel, "auto")) {
        struct err why = {0};
        kvm = accel_kvm_probe(NULL, &why) == 0;
        if (!kvm)
            memcpy(vm->accel_reason, why.msg, sizeof why.msg);
    }
    vm->accel = kvm ? accel_kvm_open(&ac, e) : accel_soft_open(&ac, e);
    if (!vm->accel)
        return -EIO;
    board_connect(vm->board, vm->accel);
    for (unsigned i = 0; i < vm->cfg.cpus; i++) {
        vm->cpu[i] = (struct vm_cpu){.vm = vm, .index = i};
        vm->cpu[i].vcpu = vcpu_new(vm->accel, i, e);
        if (!vm->cpu[i].vcpu)
            return -EIO;
    }
    return 0;
}

static void on_loop_idle(void *opaque)
{
    mem_reader_offline(((struct vm *)opaque)->reader, true);
}

static void on_loop_busy(void *opaque)
{
    mem_reader_offline(((struct vm *)opaque)->reader, false);
}

static void on_request(void *opaque, uint32_t events);

static int make_ground(struct vm *vm, struct err *e)
{
    vm->loop = loop_new(e);
    vm->clock = vm->loop ? clock_new(e) : NULL;
    vm->mem = vm->clock ? mem_map_new(e) : NULL;
    vm->bus = vm->mem ? bus_new(e) : NULL;
    vm->reader = vm->bus ? mem_reader_new(vm->mem, e) : NULL;
    if (!vm->reader)
        return -ENOMEM;
    loop_on_idle(vm->loop, on_loop_idle, vm);
    loop_on_busy(vm->loop, on_loop_busy, vm);
    vm->request_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (vm->request_fd < 0)
        return err_sys(e, errno, "eventfd");
    vm->request_source = loop_add_fd(vm->loop, vm->request_fd, EPOLLIN, on_request, vm, e);
    return vm->request_source ? 0 : -EIO;
}

static int build(struct vm *vm, const struct vm_saved *from, struct err *e)
{
    int memory_fd = -1, r = check_memory(&vm->cfg, e);
    if (!r)
        r = make_ground(vm, e);
    if (!r)
        r = open_disks(vm, e);
    if (!r)
        r = open_nets(vm, e);
    if (!r)
        r = open_console(vm, e);
    if (!r && from)
        r = vm_open_memory(vm, from, &memory_fd, e);
    if (!r)
        r = make_board(vm, from, memory_fd, e);
    if (memory_fd >= 0)
        close(memory_fd);
    if (!r)
        r = open_accel(vm, e);
    if (!r)
        r = from ? vm_restore_state(vm, from, e) : vm_load_kernel(vm, e);
    return r;
}

struct vm *vm_new(const struct vm_config *cfg, const struct vm_saved *from, struct err *e)
{
    struct vm *vm = calloc(1, sizeof *vm);
    if (!vm) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    vm->cfg = *cfg;
    vm->request_fd = -1;
    vm->stop = 1;
    vm->stopped = true;
    pthread_mutex_init(&vm->mutex, NULL);
    pthread_cond_init(&vm->changed, NULL);
    if (build(vm, from, e) < 0) {
        vm_free(vm);
        return NULL;
    }
    return vm;
}

void vm_free(struct vm *vm)
{
    if (!vm)
        return;
    for (unsigned i = 0; i < vm->cfg.cpus; i++)
        vcpu_free(vm->cpu[i].vcpu);
    if (vm->board)
        board_connect(vm->board, NULL);
    accel_close(vm->accel);
    board_free(vm->board);
    for (unsigned i = 0; i < vm->cfg.nets; i++)
        if (vm->nets[i])
            vm->nets[i]->ops->close(vm->nets[i]);
    for (unsigned i = 0; i < vm->cfg.disks; i++)
        if (vm->disks[i])
            vm->disks[i]->ops->close(vm->disks[i]);
    if (vm->console)
        vm->console->ops->close(vm->console);
    if (vm->serial)
        vm->serial->ops->close(vm->serial);
    loop_del_fd(vm->request_source);
    if (vm->request_fd >= 0)
        close(vm->request_fd);
    mem_reader_free(vm->reader);
    bus_free(vm->bus);
    mem_map_free(vm->mem);
    clock_free(vm->clock);
    loop_free(vm->loop);
    pthread_cond_destroy(&vm->changed);
    pthread_mutex_destroy(&vm->mutex);
    free(vm);
}

/* ---- running ---- */

static void finish(struct vm *vm, enum vm_end end)
{
    int none = VM_END_NONE;
    atomic_compare_exchange_strong(&vm->end, &none, end);
    loop_stop(vm->loop);
}

/* The guest resets itself: everything to power-on state, kernel loaded anew. */
static void reboot(struct vm *vm)
{
    struct err e = {0};
    int r = vm_pause(vm, &e);
    /* other CPUs may have asked for the same before they stopped; and for more */
    unsigned more = atomic_fetch_and(&vm->requests, ~(unsigned)REQUEST_RESET);
    atomic_store(&vm->asked, more & (REQUEST_POWER_OFF | REQUEST_DEBUG_EXIT));
    if (!r) {
        board_reset(vm->board);
        r = vm_load_kernel(vm, &e);
    }
    if (!r)
        r = vm_resume(vm, &e);
    if (r) {
        vm->bad = e;
        err_prefix(&vm->bad, r, "cannot restart the guest");
        finish(vm, VM_FAILED);
    }
}

/* A vCPU stopped by itself: turn its hold into a pause like any other. */
static void take_hold(struct vm *vm)
{
    struct err e;
    vm_pause(vm, &e);
    pthread_mutex_lock(&vm->mutex);
    if (vm->held) {
        vm->held = false;
        vm->stop--;
    }
    pthread_mutex_unlock(&vm->mutex);
}

static void handle_debug(struct vm *vm)
{
    struct err e;
    take_hold(vm);
    if (vm->on_debug)
        vm->on_debug(vm->on_debug_opaque, vm->bad_cpu, &vm->cpu[vm->bad_cpu].debug);
    else
        vm_resume(vm, &e);
}

static void on_request(void *opaque, uint32_t events)
{
    struct vm *vm = opaque;
    uint64_t count;
    (void)events;
    if (read(vm->request_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        log_error("eventfd: %s", strerror(errno));
    unsigned bits = atomic_exchange(&vm->requests, 0);
    if (bits & (REQUEST_CRASH | REQUEST_FAIL))
        take_hold(vm);
    /* A guest that asked for an end and went on until it fell over: what it asked for counts. */
    if (bits & (REQUEST_RESET | REQUEST_POWER_OFF | REQUEST_DEBUG_EXIT))
        bits &= ~(unsigned)REQUEST_CRASH;
    if (bits & REQUEST_FAIL)
        finish(vm, VM_FAILED);
    if (bits & REQUEST_DEBUG_EXIT)
        finish(vm, VM_DEBUG_EXIT);
    if (bits & REQUEST_POWER_OFF)
        finish(vm, VM_POWERED_OFF);
    if (bits & REQUEST_CRASH) {
        err_set(&vm->bad, EFAULT, "CPU %u shut down (triple fault)", vm->bad_cpu);
        finish(vm, VM_CRASHED);
    }
    if (bits & REQUEST_RESET) {
        log_guest(NULL, LOG_INFO, "the guest resets the machine by %s", atomic_load(&vm->reset_by));
        if (vm->cfg.no_reboot)
            finish(vm, VM_RESET);
        else if (atomic_load(&vm->end) == VM_END_NONE)
            reboot(vm);
    }
    if ((bits & REQUEST_DEBUG) && atomic_load(&vm->end) == VM_END_NONE)
        handle_debug(vm);
}

enum vm_end vm_run(struct vm *vm, struct err *e)
{
    if (cpus_start(vm, e) < 0) {
        cpus_end(vm);
        return VM_FAILED;
    }
    if (!vm->start_paused && vm_resume(vm, e) < 0)
        finish(vm, VM_FAILED);
    loop_run(vm->loop);
    cpus_end(vm);
    if (!vm->stopped)
        board_pause(vm->board);
    vm->stopped = true;
    vm->serial->ops->flush(vm->serial);
    if (vm->console)
        vm->console->ops->flush(vm->console);
    if (e && vm->bad.msg[0])
        *e = vm->bad;
    return (enum vm_end)atomic_load(&vm->end);
}

void vm_quit(struct vm *vm)
{
    finish(vm, VM_QUIT);
}

bool vm_power_button(struct vm *vm)
{
    if (vm->cfg.no_acpi)
        return false;
    board_power_button(vm->board);
    return true;
}

void vm_console_resized(struct vm *vm)
{
    board_console_resized(vm->board);
}

uint32_t vm_debug_exit_code(const struct vm *vm)
{
    return atomic_load(&vm->debug_exit);
}

struct vcpu *vm_vcpu(struct vm *vm, unsigned index)
{
    return vm->cpu[index].vcpu;
}

unsigned vm_cpus(const struct vm *vm)
{
    return vm->cfg.cpus;
}

struct accel *vm_accel(struct vm *vm)
{
    return vm->accel;
}

struct mem_map *vm_mem(struct vm *vm)
{
    return vm->mem;
}

struct loop *vm_loop(struct vm *vm)
{
    return vm->loop;
}

const struct vm_config *vm_config(const struct vm *vm)
{
    return &vm->cfg;
}

const char *vm_accel_reason(const struct vm *vm)
{
    return vm->accel_reason;
}

const char *vm_console_path(const struct vm *vm)
{
    return vm->console_path;
}

const char *vm_serial_path(const struct vm *vm)
{
    return vm->serial_path;
}

void vm_on_debug(struct vm *vm, void (*fn)(void *opaque, unsigned cpu, const struct vcpu_exit_info *info),
                 void *opaque)
{
    vm->on_debug = fn;
    vm->on_debug_opaque = opaque;
}

void vm_hold_cpu(struct vm *vm, unsigned index, bool hold)
{
    pthread_mutex_lock(&vm->mutex);
    vm->cpu[index].hold = hold;
    pthread_mutex_unlock(&vm->mutex);
}

void vm_start_paused(struct vm *vm)
{
    vm->start_paused = true;
}
