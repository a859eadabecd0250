/* Insight into translated code: the report of the hottest blocks, the map for perf, symbols. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "accel/accel.h"
#include "accel/soft/engine/engine.h"
#include "accel/soft/internal.h"
#include "accel/soft/profile.h"
#include "base/err.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "guest/mem.h"
#include "host/host.h"
#include "x86/regs.h"
#include "x86/state.h"

enum { RAM_SIZE = 4 << 20, TABLES = 0x1000, CODE = 0x10000 };

struct bench {
    struct mem_map *mem;
    struct bus *bus;
    struct clock *clock;
    struct accel *accel;
    struct vcpu *vcpu;
    struct ram *ram;
    char symbols[64];
};

static void exit_write(void *o, uint16_t offset, unsigned size, uint32_t value)
{
    (void)offset, (void)size, (void)value;
    vcpu_kick(((struct bench *)o)->vcpu);
}

static const struct bus_ops exit_ops = {.write = exit_write};

static void put_file(char path[64], const char *text)
{
    strcpy(path, "/tmp/liege-symbols-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static struct bench *bench_new(bool process)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct err e = {{0}};

    b->mem = mem_map_new(&e);
    b->bus = bus_new(&e);
    b->clock = clock_new(&e);
    b->ram = ram_new("ram", RAM_SIZE, process ? RAM_MEMFD : RAM_ANONYMOUS, &e);
    struct mem_region ram = {.name = "ram", .size = RAM_SIZE, .kind = MEM_RAM, .ram = b->ram};
    assert_non_null(mem_add(b->mem, &ram, &e));
    assert_int_equal(bus_claim(b->bus, "exit", 0xf4, 4, &exit_ops, b, NULL, &e), 0);
    put_file(b->symbols, "0000000000010000 T the_start\n000000000001000a t the_loop\t[module]\n");
    struct accel_config c = {.mem = b->mem,
                             .bus = b->bus,
                             .clock = b->clock,
                             .cpus = 1,
                             .cpu_model = "default",
                             .profile = true,
                             .perf_map = true,
                             .symbols = b->symbols,
                             .engine_process = process};
    b->accel = accel_soft_open(&c, &e);
    if (!b->accel)
        fail_msg("%s", e.msg);
    b->vcpu = vcpu_new(b->accel, 0, &e);
    clock_start(b->clock);
    accel_time_stopped(b->accel, false);
    return b;
}

static void bench_free(struct bench *b)
{
    vcpu_free(b->vcpu);
    accel_close(b->accel);
    clock_free(b->clock);
    bus_free(b->bus);
    mem_map_free(b->mem);
    unlink(b->symbols);
    free(b);
}

static void put64(struct bench *b, uint64_t at, uint64_t v)
{
    memcpy(b->ram->host + at, &v, 8);
}

/* mov $.., %ecx; nop; ..: 1: dec %ecx; jnz 1b; out %eax, $0xf4; jmp . */
static const uint8_t hot[] = {0xb9, 0x00, 0x00, 0x00, 0x00, 0x90, 0x90, 0x90, 0x90,
                              0x90, 0xff, 0xc9, 0x75, 0xfc, 0xe7, 0xf4, 0xeb, 0xfe};

/* 64-bit code at CODE, of CPL 0; the first 2 MiB are mapped. */
static void run(struct bench *b, uint32_t rounds)
{
    struct x86_state s;
    struct vcpu_exit_info info;
    struct err e = {{0}};

    put64(b, TABLES, (TABLES + 0x1000) | 3);
    put64(b, TABLES + 0x1000, (TABLES + 0x2000) | 3);
    put64(b, TABLES + 0x2000, 0xe3);
    memcpy(b->ram->host + CODE, hot, sizeof hot);
    memcpy(b->ram->host + CODE + 1, &rounds, 4);
    ram_written(b->ram, 0, RAM_SIZE);
    assert_int_equal(vcpu_get(b->vcpu, &s, &e), 0);
    s.cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET;
    s.cr3 = TABLES;
    s.cr4 = CR4_PAE | CR4_OSFXSR;
    s.efer = EFER_LME | EFER_LMA;
    for (unsigned i = 0; i < X86_SEGS; i++)
        s.seg[i] = (struct x86_seg){.sel = i == X86_CS ? 8 : 16,
                                    .limit = 0xffffffff,
                                    .attr = (i == X86_CS ? 0xbu | X86_SEG_L : 3u | X86_SEG_DB) | X86_SEG_S |
                                            X86_SEG_P | X86_SEG_G};
    s.rip = CODE;
    s.gpr[X86_RSP] = 0x80000;
    s.mp_state = X86_MP_RUNNABLE;
    assert_int_equal(vcpu_set(b->vcpu, &s, &e), 0);
    if (vcpu_run(b->vcpu, &info, &e) != VCPU_KICKED)
        fail_msg("%s", e.msg);
}

static void the_hottest_block_is_a_loop(void **state)
{
    struct bench *b = bench_new(**(bool **)state);
    double share, in_code;
    unsigned samples;

    run(b, 100000000);
    char *text = accel_profile(b->accel);
    assert_non_null(text);
    if (sscanf(text, "profile %u samples: %lf %% in translated code", &samples, &in_code) != 2)
        fail_msg("%s", text);
    const char *first = strchr(text, '\n') + 1;
    assert_int_equal(sscanf(first, "%lf %%", &share), 1);
    if (samples < 20 || in_code < 80 || share < 80 ||
        !strstr(first, "  000000000001000a  physical 1000a  kernel  the_loop+0x0\n") ||
        !strstr(first,
                "\n        000000000001000a  dec ecx\n        000000000001000c  jnz 0x000000000001000A\n"))
        fail_msg("%s", text);
    free(text);
    bench_free(b);
}

/* Which process' map? Of several threads of test programs each has its own. */
static FILE *open_map(const struct bench *b)
{
    const struct soft *s = (const struct soft *)(const void *)b->accel; /* its first member */
    char path[64];

    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)(s->child ? s->child : getpid()));
    FILE *f = fopen(path, "r");
    unlink(path);
    return f;
}

static void perf_gets_a_map_of_all_code(void **state)
{
    struct bench *b = bench_new(**(bool **)state);
    unsigned long long code[64], size[64];
    unsigned lines = 0;
    char name[256], line[512];
    bool loop = false;

    run(b, 1000);
    FILE *f = open_map(b);
    assert_non_null(f);
    bench_free(b); /* which writes the rest */
    while (fgets(line, sizeof line, f)) {
        assert_in_range(lines, 0, 63);
        assert_int_equal(sscanf(line, "%llx %llx %255[^\n]", &code[lines], &size[lines], name), 3);
        assert_true(size[lines] > 0 && size[lines] < 64 << 10);
        for (unsigned i = 0; i < lines; i++) /* nothing stands for two */
            assert_true(code[i] + size[i] <= code[lines] || code[lines] + size[lines] <= code[i]);
        assert_string_equal(lines++ ? "[guest kernel]" : "[liege glue]",
                            strncmp(name, "[guest kernel] ", 15) ? name : "[guest kernel]");
        loop |= strcmp(name, "[guest kernel] the_loop+0x0 0x1000a physical 0x1000a") == 0;
    }
    fclose(f);
    assert_true(loop && lines >= 3);
}

static void the_nearest_symbol_before_an_address_names_it(void **state)
{
    struct err e = {{0}};
    char path[64];
    uint64_t distance = 0;
    (void)state;

    put_file(path,
             "ffffffff81000100 T later\nnot a line\nffffffff81000000 t first\nffffffffa0000000 t mod\t[m]\n\n"
             "1 x\n123 q \n");
    struct symbols *s = symbols_load(path, &e);
    assert_non_null(s);
    assert_null(symbols_find(s, 0xffffffff80ffffff, &distance));
    assert_string_equal(symbols_find(s, 0xffffffff81000000, &distance), "first");
    assert_string_equal(symbols_find(s, 0xffffffff810000ff, &distance), "first");
    assert_int_equal(distance, 0xff);
    assert_string_equal(symbols_find(s, 0xffffffff81000100, &distance), "later");
    assert_string_equal(symbols_find(s, 0xffffffffa0000010, &distance), "mod");
    assert_null(symbols_find(s, 0xffffffffb0000000, &distance)); /* too far away to be of it */
    assert_null(symbols_find(NULL, 0xffffffff81000000, &distance));
    symbols_free(s);
    unlink(path);
}

static void a_file_without_symbols_is_refused(void **state)
{
    static const char *const bad[] = {"", "hello\n", "ffffffff81000000\n", "ffffffff81000000 T\n",
                                      "123456789012345678901 T x\n"};
    struct err e = {{0}};
    char path[64];
    (void)state;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_file(path, bad[i]);
        assert_null(symbols_load(path, &e));
        assert_non_null(strstr(e.msg, path));
        unlink(path);
    }
    assert_null(symbols_load("/nowhere/at/all", &e));
}

/* What a taken-over engine says is compared with what was told before. */
static void samples_and_blocks_of_anywhere_do_no_harm(void **state)
{
    struct bench *b = bench_new(false);
    struct soft *s = (struct soft *)(void *)b->accel;
    uint64_t code = engine_machine_code(s->engine, 1), size = engine_code_size(s->engine);
    static const uint8_t nop[512] = {0x90};
    const struct engine_block wrong[] = {{.code = code - 1, .size = 16, .bytes = 1},
                                         {.code = code + size, .size = 16, .bytes = 1},
                                         {.code = code + size - 8, .size = 16, .bytes = 1},
                                         {.code = code, .size = UINT32_MAX, .bytes = 1},
                                         {.code = code + 4096, .size = 0, .bytes = 1},
                                         {.code = code + 4096, .size = 16, .bytes = UINT16_MAX},
                                         {.code = code + size - 16, .size = 16, .bytes = 1},
                                         {.code = 0, .size = 1, .bytes = 1}};
    size_t n;
    (void)state;

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct engine_block w = wrong[i];
        w.guest = nop;
        soft_profile_block(s, &w);
    }
    uint64_t *ring = (uint64_t *)(uintptr_t)soft_profile_shared(s, &n);
    for (unsigned i = 1; i < 1000; i++)
        ring[i] = i * 0x9e3779b97f4a7c15ull | (i & 1 ? 1ull << 62 : 0);
    ring[0] = UINT64_MAX; /* so many samples were written */
    char *text = accel_profile(b->accel);
    assert_non_null(text);
    assert_non_null(strstr(text, " lost\n"));
    free(text);
    FILE *f = open_map(b);
    assert_non_null(f);
    fclose(f);
    bench_free(b);
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
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(the_hottest_block_is_a_loop, both[i]),
            cmocka_unit_test_prestate(perf_gets_a_map_of_all_code, both[i]),
        };
        failed += cmocka_run_group_tests_name(i ? "engine in a child process" : "engine as threads", tests,
                                              NULL, NULL);
    }
    const struct CMUnitTest parts[] = {
        cmocka_unit_test(the_nearest_symbol_before_an_address_names_it),
        cmocka_unit_test(a_file_without_symbols_is_refused),
        cmocka_unit_test(samples_and_blocks_of_anywhere_do_no_harm),
    };
    return failed + cmocka_run_group_tests(parts, NULL, NULL);
}
