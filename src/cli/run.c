/*
 * liege run: from options to a running machine and its exit status.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/log.h"
#include "cli/options.h"
#include "gdb/gdb.h"
#include "host/host.h"
#include "host/signals.h"
#include "vm/vm.h"

struct run {
    struct vm_config cfg;
    bool print_config;
};

/* ---- options ---- */

#define STRING_OPTION(field)                                                                                 \
    static int set_##field(void *o, const char *v, struct err *e)                                            \
    {                                                                                                        \
        (void)e;                                                                                             \
        return vm_config_set(&((struct run *)o)->cfg.field, v);                                              \
    }
#define SWITCH_OPTION(field)                                                                                 \
    static int set_##field(void *o, const char *v, struct err *e)                                            \
    {                                                                                                        \
        (void)v;                                                                                             \
        (void)e;                                                                                             \
        ((struct run *)o)->cfg.field = true;                                                                 \
        return 0;                                                                                            \
    }
STRING_OPTION(kernel)
STRING_OPTION(cmdline)
STRING_OPTION(accel)
STRING_OPTION(cpu)
STRING_OPTION(console)
STRING_OPTION(console_device)
STRING_OPTION(serial)
STRING_OPTION(name)
STRING_OPTION(gdb)
STRING_OPTION(symbols)
SWITCH_OPTION(rng)
SWITCH_OPTION(no_reboot)
SWITCH_OPTION(stats)
SWITCH_OPTION(perf_map)
SWITCH_OPTION(profile)
SWITCH_OPTION(kernel_decompress)
SWITCH_OPTION(virtio_mmio)
SWITCH_OPTION(no_acpi)
SWITCH_OPTION(engine_process)
SWITCH_OPTION(debug_exit)
SWITCH_OPTION(testdev)

static int set_board(void *o, const char *v, struct err *e)
{
    (void)e;
    return vm_config_set(&((struct run *)o)->cfg.board, strcmp(v, "microvm") ? v : "microvm-1");
}

static int set_memory(void *o, const char *v, struct err *e)
{
    return vm_parse_size(v, "--memory", &((struct run *)o)->cfg.memory, e);
}

static int set_code_cache(void *o, const char *v, struct err *e)
{
    return vm_parse_size(v, "--code-cache", &((struct run *)o)->cfg.code_cache, e);
}

static int set_cpus(void *o, const char *v, struct err *e)
{
    char *end;
    unsigned long n = strtoul(v, &end, 10);
    if (*end || !*v || *v == '-' || n < 1 || n > VM_MAX_CPUS)
        return err_set(e, EINVAL, "--cpus: '%s' is not a number from 1 to %d", v, VM_MAX_CPUS);
    ((struct run *)o)->cfg.cpus = (unsigned)n;
    return 0;
}

static int set_initrd(void *o, const char *v, struct err *e)
{
    return vm_config_add_initrd(&((struct run *)o)->cfg, v, e);
}

static int set_disk(void *o, const char *v, struct err *e)
{
    return vm_config_add_disk(&((struct run *)o)->cfg, v, e);
}

static int set_net(void *o, const char *v, struct err *e)
{
    return vm_config_add_net(&((struct run *)o)->cfg, v, e);
}

static int set_config(void *o, const char *v, struct err *e)
{
    uint8_t *data = NULL;
    size_t len = 0;
    int r = host_read_file(v, 1 << 20, &data, &len, e);
    if (!r)
        r = vm_config_from_json(&((struct run *)o)->cfg, (const char *)data, len, v, e);
    free(data);
    return r;
}

static int set_print_config(void *o, const char *v, struct err *e)
{
    (void)v;
    (void)e;
    ((struct run *)o)->print_config = true;
    return 0;
}

static int set_verbose(void *o, const char *v, struct err *e)
{
    (void)o;
    (void)v;
    (void)e;
    log_set_level(LOG_DEBUG);
    return 0;
}

static const struct option_def options[] = {
    {"kernel", "FILE", "bzImage, ELF vmlinux or multiboot image (required)", set_kernel},
    {"initrd", "FILE", "initial RAM disk, or a multiboot module; may be given several times", set_initrd},
    {"cmdline", "STRING", "kernel command line (default: console=ttyS0, or hvc0)", set_cmdline},
    {"memory", "SIZE", "guest memory, like 512M or 4G (default 512M)", set_memory},
    {"cpus", "N", "virtual CPUs (default 1)", set_cpus},
    {"board", "NAME", "machine model (default microvm)", set_board},
    {"accel", "auto|kvm|soft", "who executes the guest: Linux KVM or the software engine (default auto)",
     set_accel},
    {"cpu", "MODEL[,CHANGE]...",
     "CPU model: default, x86-64-v2, x86-64-v3, or host (not portable); +FEATURE, -FEATURE", set_cpu},
    {"disk", "PATH[,OPTION]...", "a raw disk image or block device: readonly, serial=S, direct, format=raw",
     set_disk},
    {"net", "user|tap=NAME[,OPTION]...", "a network card: mac=M, hostfwd=tcp:[ADDR:]PORT:GUESTPORT", set_net},
    {"console", "stdio|pty|file=PATH|none", "where the guest's console is (default stdio)", set_console},
    {"console-device", "serial|virtio", "what it is to the guest: ttyS0 (default) or hvc0",
     set_console_device},
    {"serial", "stdio|pty|file=PATH|none",
     "where the serial line goes beside a virtio console (default none)", set_serial},
    {"rng", NULL, "a virtio entropy device", set_rng},
    {"name", "NAME", "a name for the machine", set_name},
    {"no-reboot", NULL, "end (status 3) when the guest resets itself", set_no_reboot},
    {"stats", NULL, "print counters on stderr at the end", set_stats},
    {"profile", NULL, "print the hottest guest code at the end (software engine)", set_profile},
    {"perf-map", NULL, "tell perf(1) what translated code is, in /tmp/perf-PID.map", set_perf_map},
    {"symbols", "FILE", "names for these two: a copy of the guest's /proc/kallsyms, or a System.map",
     set_symbols},
    {"gdb", "tcp:PORT|unix:PATH", "wait there for a GDB connection before the first instruction", set_gdb},
    {"config", "FILE", "read options from a JSON file; later options override it", set_config},
    {"print-config", NULL, "print the configuration as JSON and end", set_print_config},
    {"kernel-decompress", NULL, "let a bzImage unpack itself (for KASLR)", set_kernel_decompress},
    {"virtio-mmio", NULL, "virtio devices over MMIO instead of PCI", set_virtio_mmio},
    {"no-acpi", NULL, "no ACPI tables; devices go on the kernel command line", set_no_acpi},
    {"code-cache", "SIZE", "the software engine's room for translated code, 1M to 1G (default 64M)",
     set_code_cache},
    {"engine-process", NULL, "run the software engine in a process of its own", set_engine_process},
    {"debug-exit", NULL, "a write of N to port 0xf4 ends with status N * 2 + 1", set_debug_exit},
    {"testdev", NULL, "the ports of kvm-unit-tests' pc-testdev", set_testdev},
    {"verbose", NULL, "say more on stderr", set_verbose},
    {NULL, NULL, NULL, NULL},
};

/* ---- running ---- */

struct asked {
    struct vm *vm;
    bool already; /* the power button was pressed for a first SIGTERM */
};

/* SIGTERM and SIGHUP press the power button, a second one ends at once; SIGINT (no raw terminal) ends at
 * once. */
static void on_signal(void *opaque, int number)
{
    struct asked *s = opaque;
    if (number == SIGWINCH)
        vm_console_resized(s->vm);
    else if (number != SIGINT && !s->already && vm_power_button(s->vm))
        s->already = true;
    else
        vm_quit(s->vm);
}

static void print_stats(struct vm *vm, uint64_t wall_ns)
{
    struct accel_stats s = {0};
    accel_stats(vm_accel(vm), &s);
    double run = (double)s.run_ns / 1e9;
    fprintf(stderr, "accelerator        %s\nwall               %.3f s\nrunning            %.3f s\n",
            vm_accel(vm)->ops->name, (double)wall_ns / 1e9, run);
    if (s.instructions)
        fprintf(stderr, "instructions       %" PRIu64 " (%.1f M/s while running)\n", s.instructions,
                run > 0 ? (double)s.instructions / run / 1e6 : 0);
    if (s.guest_bytes) {
        fprintf(stderr, "translated         %.2f %% of instructions\n",
                s.instructions ? 100 - 100 * (double)s.interpreted / (double)s.instructions : 0);
        fprintf(stderr, "code size          %.2f host bytes per guest byte, %.1f MiB\n",
                (double)s.host_bytes / (double)s.guest_bytes, (double)s.host_bytes / (1 << 20));
        fprintf(stderr, "translations       %" PRIu64 " (%.0f per second while running)\n", s.translations,
                run > 0 ? (double)s.translations / run : 0);
        fprintf(stderr, "code cache         %.1f of %.1f MiB used, %" PRIu64 " evictions\n",
                (double)s.code_used / (1 << 20), (double)s.code_size / (1 << 20), s.evictions);
    }
    fprintf(stderr,
            "blocks             %" PRIu64 "\ntlb misses         %" PRIu64 "\ninterrupts         %" PRIu64
            "\ninvalidations      %" PRIu64 "\nrefused            %" PRIu64 "\n",
            s.blocks, s.tlb_misses, s.interrupts, s.invalidations, s.refused);
    fprintf(stderr,
            "exits              %" PRIu64 " port, %" PRIu64 " mmio, %" PRIu64 " halt, %" PRIu64 " other\n",
            s.exits_pio, s.exits_mmio, s.exits_halt, s.exits_other);
}

static void print_profile(struct vm *vm)
{
    char *text = accel_profile(vm_accel(vm));
    fputs(text ? text : "liege: no profile: only the software engine has one\n", stderr);
    free(text);
}

static int status_of(struct vm *vm, enum vm_end end, const struct err *e)
{
    char dump[4096];
    switch (end) {
    case VM_POWERED_OFF:
        return EXIT_OFF;
    case VM_RESET:
        return EXIT_GUEST_RESET;
    case VM_DEBUG_EXIT:
        return (int)((vm_debug_exit_code(vm) << 1 | 1) & 0xff);
    case VM_CRASHED:
        complain(e);
        for (unsigned i = 0; i < vm_cpus(vm); i++) {
            vm_dump_registers(vm, i, dump, sizeof dump);
            fputs(dump, stderr);
        }
        return EXIT_GUEST_CRASH;
    case VM_FAILED:
        complain(e);
        return EXIT_OTHER;
    default: /* the user ended it */
        return EXIT_OTHER;
    }
}

static void say_what_runs(struct vm *vm)
{
    if (*vm_accel_reason(vm))
        fprintf(stderr, "liege: using the software engine: %s\n", vm_accel_reason(vm));
    if (*vm_console_path(vm))
        fprintf(stderr, "liege: console on %s\n", vm_console_path(vm));
    if (*vm_serial_path(vm))
        fprintf(stderr, "liege: serial line on %s\n", vm_serial_path(vm));
}

static int run_machine(struct run *run, struct err *e)
{
    uint64_t start = host_now_ns();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGWINCH);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);

    struct vm *vm = vm_new(&run->cfg, NULL, e);
    if (!vm) {
        complain(e);
        return EXIT_OTHER;
    }
    int status = EXIT_OTHER;
    struct gdb *gdb = NULL;
    struct asked asked = {.vm = vm};
    struct signals *signals = signals_new(vm_loop(vm), &set, on_signal, &asked, e);
    if (signals && run->cfg.gdb)
        gdb = gdb_new(vm, run->cfg.gdb, e);
    if (!signals || (run->cfg.gdb && !gdb)) {
        complain(e);
    } else {
        say_what_runs(vm);
        enum vm_end end = vm_run(vm, e);
        gdb_end(gdb, end);
        status = status_of(vm, end, e);
        if (run->cfg.stats)
            print_stats(vm, host_now_ns() - start);
        if (run->cfg.profile)
            print_profile(vm);
    }
    gdb_free(gdb);
    signals_free(signals);
    vm_free(vm);
    return status;
}

static int run_run(const struct command *self, int argc, char **argv)
{
    struct run run = {0};
    struct err e = {0};
    int status = EXIT_USAGE;
    vm_config_init(&run.cfg);
    int at = options_parse(self, argc, argv, &run, &e);
    if (at >= 0 && at < argc)
        at = err_set(&e, EINVAL,
                     "unexpected '%s'; options begin with two dashes, 'liege help run' lists them", argv[at]);
    if (at >= 0 && run.print_config) {
        char *text = vm_config_to_json(&run.cfg);
        if (text)
            fputs(text, stdout);
        free(text);
        status = text ? EXIT_OFF : EXIT_OTHER;
    } else if (at < 0 || vm_config_check(&run.cfg, &e) < 0) {
        complain(&e);
    } else {
        status = run_machine(&run, &e);
    }
    vm_config_fini(&run.cfg);
    return status;
}

const struct command command_run = {
    .name = "run",
    .args = "--kernel FILE [OPTION]...",
    .about = "Create a virtual machine and run it in this terminal.",
    .options = options,
    .run = run_run,
    .more = "On the console: Ctrl-A x quits, Ctrl-A h helps.\n"
            "Exit status: 0 powered off, 3 reset with --no-reboot, 4 crashed, 2 usage, 1 anything else.\n"
            "SIGTERM presses the power button; a second one ends at once.\n"};
