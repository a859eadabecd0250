/* The accelerator contract over small guests, once with the engine as threads and once as a child process. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "accel/accel.h"
#include "base/err.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "guest/mem.h"
#include "host/host.h"
#include "x86/regs.h"
#include "x86/state.h"

enum { RAM_SIZE = 16 << 20, MMIO = 0x10000000 };

struct bench {
    struct mem_map *mem;
    struct bus *bus;
    struct clock *clock;
    struct accel *accel;
    struct vcpu *vcpu[2];
    struct ram *ram;
    uint32_t exit_value, mmio_size;
    uint64_t mmio_value;
    uint8_t eoi;
};

#define GUEST(name, text)                                                                                    \
    extern const uint8_t name[], name##_end[];                                                               \
    __asm__(".pushsection .rodata\n" #name ":\n" text "\n" #name "_end:\n.code64\n.popsection\n")

static void exit_write(void *o, uint16_t offset, unsigned size, uint32_t value)
{
    struct bench *b = o;
    (void)offset;
    (void)size;
    b->exit_value = value;
    vcpu_kick(b->vcpu[0]);
}

static uint32_t exit_read(void *o, uint16_t offset, unsigned size)
{
    (void)o;
    return 0x11u * (offset + size);
}

static uint64_t mmio_read(void *o, uint64_t offset, unsigned size)
{
    struct bench *b = o;
    b->mmio_size = size;
    return b->mmio_value + offset;
}

static void mmio_write(void *o, uint64_t offset, unsigned size, uint64_t value)
{
    struct bench *b = o;
    (void)offset;
    b->mmio_size = size;
    b->mmio_value = value;
}

static void on_eoi(void *o, uint8_t vector)
{
    ((struct bench *)o)->eoi = vector;
}

static const struct bus_ops exit_ops = {.read = exit_read, .write = exit_write};
static const struct mem_ops mmio_ops = {.read = mmio_read, .write = mmio_write};

static struct bench *bench_new(bool process, unsigned cpus)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct err e = {{0}};

    b->mem = mem_map_new(&e);
    b->bus = bus_new(&e);
    b->clock = clock_new(&e);
    b->ram = ram_new("ram", RAM_SIZE, process ? RAM_MEMFD : RAM_ANONYMOUS, &e);
    struct mem_region ram = {.name = "ram", .size = RAM_SIZE, .kind = MEM_RAM, .ram = b->ram};
    struct mem_region dev = {
        .name = "dev", .base = MMIO, .size = 4096, .kind = MEM_MMIO, .ops = &mmio_ops, .opaque = b};
    assert_non_null(mem_add(b->mem, &ram, &e));
    assert_non_null(mem_add(b->mem, &dev, &e));
    assert_int_equal(bus_claim(b->bus, "exit", 0xf4, 4, &exit_ops, b, NULL, &e), 0);
    struct accel_config c = {.mem = b->mem,
                             .bus = b->bus,
                             .clock = b->clock,
                             .cb = {.eoi = on_eoi, .opaque = b},
                             .cpus = cpus,
                             .cpu_model = "default",
                             .engine_process = process};
    b->accel = accel_soft_open(&c, &e);
    if (!b->accel)
        fail_msg("%s", e.msg);
    for (unsigned i = 0; i < cpus; i++)
        b->vcpu[i] = vcpu_new(b->accel, i, &e);
    clock_start(b->clock);
    accel_time_stopped(b->accel, false);
    return b;
}

static void bench_free(struct bench *b)
{
    vcpu_free(b->vcpu[0]);
    vcpu_free(b->vcpu[1]);
    accel_close(b->accel);
    clock_free(b->clock);
    bus_free(b->bus);
    mem_map_free(b->mem);
    free(b);
}

/* Flat 32-bit code at 0x10000. */
static void start(struct bench *b, unsigned cpu, const uint8_t *code, const uint8_t *end)
{
    struct x86_state s;
    struct err e = {{0}};

    assert_int_equal(vcpu_get(b->vcpu[cpu], &s, &e), 0);
    s.cr0 = CR0_PE | CR0_ET | CR0_NE;
    for (unsigned i = 0; i < X86_SEGS; i++)
        s.seg[i] = (struct x86_seg){.sel = i == X86_CS ? 8 : 16,
                                    .limit = 0xffffffff,
                                    .attr = (i == X86_CS ? 0xbu : 3u) | X86_SEG_S | X86_SEG_P | X86_SEG_G |
                                            X86_SEG_DB};
    s.rip = 0x10000 + cpu * 0x1000;
    s.gpr[X86_RSP] = 0x80000 - cpu * 0x1000;
    s.mp_state = X86_MP_RUNNABLE;
    s.idtr = (struct x86_dtable){.base = 0x7000, .limit = 0x7ff};
    s.gdtr = (struct x86_dtable){.base = 0x6000, .limit = 0x17};
    memcpy(b->ram->host + 0x6008, "\xff\xff\0\0\0\x9b\xcf\0\xff\xff\0\0\0\x93\xcf\0", 16);
    memcpy(b->ram->host + s.rip, code, (size_t)(end - code));
    ram_written(b->ram, s.rip, (uint64_t)(end - code));
    assert_int_equal(vcpu_set(b->vcpu[cpu], &s, &e), 0);
}

static enum vcpu_exit run(struct bench *b, unsigned cpu)
{
    struct vcpu_exit_info info;
    struct err e = {{0}};
    enum vcpu_exit x = vcpu_run(b->vcpu[cpu], &info, &e);

    if (x == VCPU_FAILED && !strstr(e.msg, "has died"))
        fail_msg("%s", e.msg);
    return x;
}

GUEST(devices, ".code32\n in $0xf4, %al\n mov $0x10000010, %ebx\n mov (%ebx), %ecx\n shl $8, %eax\n mov %cl, "
               "%al\n movw $0x1234, (%ebx)\n out %eax, $0xf4\n 1: jmp 1b");

static void ports_and_mmio_reach_the_devices(void **state)
{
    struct bench *b = bench_new(**(bool **)state, 1);

    b->mmio_value = 0x20;
    start(b, 0, devices, devices_end);
    assert_int_equal(run(b, 0), VCPU_KICKED);
    assert_int_equal(b->exit_value & 0xffff, 0x1130);
    assert_int_equal(b->mmio_value, 0x1234);
    assert_int_equal(b->mmio_size, 2);
    bench_free(b);
}

/* Reads of time, sleep with the APIC timer, a level-triggered interrupt with its EOI. */
GUEST(timer,
      ".code32\n"
      "movl $0x1ff, 0xfee000f0\n movl $0x40, 0xfee00320\n movl $0xb, 0xfee003e0\n movl $2000000, 0xfee00380\n"
      "rdtsc\n mov %eax, %esi\n sti\n hlt\n cli\n rdtsc\n sub %esi, %eax\n out %eax, $0xf4\n 1: jmp 1b");
GUEST(handler, ".code32\n movl $0, 0xfee000b0\n iret");

static void hlt_sleeps_until_the_timer_and_time_passes(void **state)
{
    struct bench *b = bench_new(**(bool **)state, 1);
    uint64_t gate = 0x00008e0000080000ull | 0x2000;

    memcpy(b->ram->host + 0x2000, handler, (size_t)(handler_end - handler));
    memcpy(b->ram->host + 0x7000 + 0x40 * 8, &gate, 8);
    start(b, 0, timer, timer_end);
    assert_int_equal(run(b, 0), VCPU_KICKED);
    uint64_t ns = (uint64_t)b->exit_value * 1000000 / accel_tsc_khz(b->accel);
    assert_true(ns >= 1990000);
    bench_free(b);
}

struct runner {
    struct bench *b;
    unsigned cpu;
    enum vcpu_exit x;
};

static void *runner(void *arg)
{
    struct runner *r = arg;

    r->x = run(r->b, r->cpu);
    return NULL;
}

GUEST(halt, ".code32\n 1: incl 0x500\n hlt\n jmp 1b");
GUEST(spin, ".code32\n 1: incl 0x504\n jmp 1b");

static void a_kick_ends_sleep_and_work_alike(void **state)
{
    struct bench *b = bench_new(**(bool **)state, 2);
    struct runner a = {.b = b, .cpu = 0}, c = {.b = b, .cpu = 1};
    pthread_t ta, tc;

    start(b, 0, halt, halt_end);
    start(b, 1, spin, spin_end);
    pthread_create(&ta, NULL, runner, &a);
    pthread_create(&tc, NULL, runner, &c);
    while (!__atomic_load_n((uint32_t *)(void *)(b->ram->host + 0x500), __ATOMIC_RELAXED) ||
           !__atomic_load_n((uint32_t *)(void *)(b->ram->host + 0x504), __ATOMIC_RELAXED))
        usleep(1000);
    vcpu_kick(b->vcpu[0]);
    vcpu_kick(b->vcpu[1]);
    pthread_join(ta, NULL);
    pthread_join(tc, NULL);
    assert_int_equal(a.x, VCPU_KICKED);
    assert_int_equal(c.x, VCPU_KICKED);
    struct x86_state s;
    struct err e;
    vcpu_get(b->vcpu[0], &s, &e);
    assert_int_equal(s.mp_state, X86_MP_HALTED);
    bench_free(b);
}

static void a_message_wakes_a_halted_cpu(void **state)
{
    struct bench *b = bench_new(**(bool **)state, 1);
    struct runner a = {.b = b};
    uint64_t gate = 0x00008e0000080000ull | 0x2000;
    pthread_t t;
    GUEST(wait_code, ".code32\n movl $0x1ff, 0xfee000f0\n incl 0x500\n sti\n hlt\n mov $7, %eax\n out %eax, "
                     "$0xf4\n 1: jmp 1b");

    memcpy(b->ram->host + 0x2000, handler, (size_t)(handler_end - handler));
    memcpy(b->ram->host + 0x7000 + 0x50 * 8, &gate, 8);
    start(b, 0, wait_code, wait_code_end);
    pthread_create(&t, NULL, runner, &a);
    while (!__atomic_load_n((uint32_t *)(void *)(b->ram->host + 0x500), __ATOMIC_RELAXED))
        usleep(1000);
    usleep(5000);
    assert_int_equal(accel_msi(b->accel, (struct msi_message){.address = 0xfee00000, .data = 0xc050}), 1);
    pthread_join(t, NULL);
    assert_int_equal(b->exit_value, 7);
    assert_int_equal(b->eoi, 0x50);
    bench_free(b);
}

static void memory_added_later_is_reached(void **state)
{
    struct bench *b = bench_new(**(bool **)state, 1);
    struct err e = {{0}};
    struct ram *more = ram_new("more", 4096, RAM_ANONYMOUS, &e);
    struct mem_region r = {.name = "more", .base = 0x20000000, .size = 4096, .kind = MEM_RAM, .ram = more};
    GUEST(later, ".code32\n mov 0x20000000, %eax\n incl 0x20000004\n out %eax, $0xf4\n 1: jmp 1b");

    assert_non_null(mem_add(b->mem, &r, &e));
    memcpy(more->host, "\x78\x56\x34\x12", 4);
    start(b, 0, later, later_end);
    assert_int_equal(run(b, 0), VCPU_KICKED);
    assert_int_equal(b->exit_value, 0x12345678);
    assert_int_equal(more->host[4], 1);
    bench_free(b);
}

static pid_t only_child(void)
{
    char path[64], line[512];

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)gettid());
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof(line), f));
    fclose(f);
    return atoi(line);
}

/* The engine's process holds this guest's memory and the program, and may do next to nothing. */
/* Of machine code the engine makes there is one view to write and one to execute, wherever it runs. */
static void nothing_is_both_writable_and_executable(void **state)
{
    bool process = **(bool **)state;
    struct bench *b = bench_new(process, 1);
    char path[64], line[512];
    unsigned executable = 0;

    snprintf(path, sizeof path, "/proc/%d/maps", process ? only_child() : getpid());
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        const char *rights = strchr(line, ' ') + 1;
        executable += rights[2] == 'x' && rights[3] == 's'; /* shared: it is ours */
        if (rights[1] == 'w' && rights[2] == 'x')
            fail_msg("%s", line);
    }
    fclose(f);
    assert_int_equal(executable, 2); /* thunks, translated code */
    bench_free(b);
}

static void the_engines_process_is_confined(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)state;
    skip();
#else
    struct bench *b = bench_new(true, 1);
    char path[64], line[512];
    unsigned heap = 0, filter = 0, fds = 0;
    pid_t pid = only_child();
    FILE *f;

    (void)state;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        filter |= strncmp(line, "Seccomp:\t2", 10) == 0;
    if (f)
        fclose(f);
    assert_true(filter);
    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        heap |= strstr(line, "[heap]") != NULL;
    if (f)
        fclose(f);
    assert_false(heap);
    for (int i = 0; i < 64; i++) {
        char to[64];
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, i);
        fds += readlink(path, to, sizeof(to)) > 0;
    }
    assert_int_equal(fds, 1);
    /* when it is killed, vcpu_run says so */
    start(b, 0, spin, spin_end);
    kill(pid, SIGKILL);
    assert_int_equal(run(b, 0), VCPU_FAILED);
    bench_free(b);
#endif
}

/* Dead in the midst of guest code: whoever waits for its threads to come outside goes on. */
static void a_killed_engine_holds_nobody_up(void **state)
{
#ifdef __SANITIZE_THREAD__
    (void)state;
    skip();
#else
    struct bench *b = bench_new(true, 1);
    struct runner a = {.b = b};
    struct err e = {{0}};
    struct ram *more = ram_new("more", 4096, RAM_MEMFD, &e);
    struct mem_region r = {.name = "more", .base = 0x20000000, .size = 4096, .kind = MEM_RAM, .ram = more};
    pthread_t t;

    (void)state;
    start(b, 0, spin, spin_end);
    pthread_create(&t, NULL, runner, &a);
    while (!__atomic_load_n((uint32_t *)(void *)(b->ram->host + 0x504), __ATOMIC_RELAXED))
        usleep(1000);
    kill(only_child(), SIGKILL);
    assert_non_null(mem_add(b->mem, &r, &e)); /* stops all vCPUs */
    pthread_join(t, NULL);
    assert_int_equal(a.x, VCPU_FAILED);
    bench_free(b);
#endif
}

int main(void)
{
    static bool threads = false, process = true;
    void *both[] = {&threads, &process};
    int failed = 0;
#ifdef __SANITIZE_THREAD__
    const unsigned modes = 1; /* that sanitizer refuses threads in a child of a process with threads */
#else
    const unsigned modes = 2;
#endif

    for (unsigned i = 0; i < modes; i++) {
        void *mode = both[i];
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(ports_and_mmio_reach_the_devices, mode),
            cmocka_unit_test_prestate(hlt_sleeps_until_the_timer_and_time_passes, mode),
            cmocka_unit_test_prestate(a_kick_ends_sleep_and_work_alike, mode),
            cmocka_unit_test_prestate(a_message_wakes_a_halted_cpu, mode),
            cmocka_unit_test_prestate(memory_added_later_is_reached, mode),
            cmocka_unit_test_prestate(nothing_is_both_writable_and_executable, mode),
        };
        failed += cmocka_run_group_tests_name(i ? "engine in a child process" : "engine as threads", tests,
                                              NULL, NULL);
    }
    const struct CMUnitTest child[] = {cmocka_unit_test(the_engines_process_is_confined),
                                       cmocka_unit_test(a_killed_engine_holds_nobody_up)};
    return failed + cmocka_run_group_tests(child, NULL, NULL);
}
