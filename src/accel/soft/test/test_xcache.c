/*
 * The cache of translated code when it is too small for what runs: programs of many functions, by one vCPU
 * and by several, while code is changed, and while others are outside on behalf of a unit that goes.
 */
#include <pthread.h>
#include "accel/accel.h"
#include "harness.h"

enum {
    PAGES = 96,
    SLOTS = 32,
    FUNCTIONS = PAGES * SLOTS,
    CODE = 0x400000,   /* PAGES pages of functions */
    TABLES = 0x100000, /* their addresses, in an order of its own for each CPU */
    SEEN = 0x200000,   /* for each CPU what each function has returned last */
    PER_CPU = 0x10000,
    DONE = 0x600, /* CPUs that came to their end; behind it what they have found wrong */
    ROUNDS = 3,
    MAX_CPUS = 3
};

static const struct {
    size_t size;
} small = {ENGINE_CODE_MIN};

/* RAX grows by all that the functions add. */
GUEST(sum, "xor %eax, %eax\n 1: xor %ebx, %ebx\n 2: call *(%rdi,%rbx,8)\n inc %ebx\n cmp %esi, %ebx\n jb 2b\n"
           "dec %ebp\n jnz 1b\n mov %eax, (%r12)\n lock incl 0x600\n 3: pause\n test %r14d, %r14d\n jz 3b\n"
           "cmp %r14d, 0x600\n jb 3b\n out %eax, $0xf4\n jmp 3b");

/* Each function's constant is changed, and then it is called: it must return what it says now. */
GUEST(change,
      "1: xor %ebx, %ebx\n 2: mov (%rdi,%rbx,8), %rdx\n incl 6(%rdx)\n mov 6(%rdx), %r9d\n"
      "xor %eax, %eax\n call *%rdx\n lea 1(%r9,%r9), %r9d\n cmp %eax, %r9d\n je 4f\n lock incl 0x608\n"
      "4: inc %ebx\n cmp %esi, %ebx\n jb 2b\n dec %ebp\n jnz 1b\n"
      "lock incl 0x600\n 3: pause\n cmp %r14d, 0x600\n jb 3b\n out %eax, $0xf4\n jmp 3b");

/* What others change only grows. */
GUEST(watch,
      "1: xor %ebx, %ebx\n 2: xor %eax, %eax\n call *(%rdi,%rbx,8)\n cmp %eax, (%r13,%rbx,4)\n jbe 4f\n"
      "lock incl 0x608\n 4: mov %eax, (%r13,%rbx,4)\n inc %ebx\n cmp %esi, %ebx\n jb 2b\n"
      "dec %ebp\n jnz 1b\n lock incl 0x600\n 3: pause\n jmp 3b");

/* add(constant) twice, in a loop, then to the page's tail, which adds 1 and returns: so units of a page lead
 * to one that is older or younger. Every fourth goes outside in between. */
static void make_function(struct harness *h, unsigned n)
{
    unsigned page = n % PAGES, slot = n / PAGES;
    uint8_t *tail = h->ram + CODE + page * 4096, *p = tail + 64 + slot * 64;
    bool out = slot % 4 == 0;
    int32_t back = (int32_t)(tail - (p + 21));

    memcpy(tail, "\x83\xc0\x01\xc3", 4);
    memcpy(p, "\xb9\x02\x00\x00\x00\x05\x01\x00\x00\x00\xff\xc9\x75\xf7", 14); /* mov, 1: add, dec, jnz 1b */
    memcpy(p + 14, out ? "\xe6\x80" : "\x66\x90", 2);
    p[16] = 0xe9;
    memcpy(p + 17, &back, 4);
}

static uint64_t function_at(unsigned n)
{
    return CODE + n % PAGES * 4096 + 64 + n / PAGES * 64;
}

static void elsewhere(void *o, uint16_t port, unsigned size, uint32_t value)
{
    if (port == H_EXIT_PORT)
        h_pio_write(o, port, size, value);
    else
        sched_yield(); /* others have time to take the unit away that comes from here */
}

struct runner {
    struct harness *h;
    unsigned cpu;
    pthread_t thread;
};

static void *run_cpu(void *arg)
{
    const struct runner *r = arg;
    struct engine_exit_info info;

    engine_run(r->h->en, r->cpu, &info);
    return NULL;
}

/* CPU 0 runs at 0x10000, the others at 0x11000; until CPU 0 has seen that all are done. */
static void run_all(struct harness *h, unsigned cpus)
{
    struct runner r[MAX_CPUS];

    h->en->out.pio_write = elsewhere;
    for (unsigned n = 0; n < FUNCTIONS; n++)
        make_function(h, n);
    for (unsigned i = 0; i < cpus; i++) {
        struct x86_state s = h_long_mode(h, i ? 0x11000 : 0x10000, 0);
        for (unsigned n = 0; n < FUNCTIONS; n++)
            h_put64(h, TABLES + i * PER_CPU + n * 8,
                    function_at(i == 1   ? FUNCTIONS - 1 - n
                                : i == 2 ? n * 1001 % FUNCTIONS
                                         : n));
        s.gpr[X86_RDI] = TABLES + i * PER_CPU;
        s.gpr[X86_RSI] = FUNCTIONS;
        s.gpr[X86_RBP] = ROUNDS;
        s.gpr[X86_R12] = 0x700 + i * 4;
        s.gpr[X86_R13] = SEEN + i * PER_CPU;
        s.gpr[X86_R14] = i ? 0 : cpus;
        s.gpr[X86_RSP] = 0x80000 + i * 0x10000;
        assert_int_equal(engine_set(h->en, i, &s), 0);
        r[i] = (struct runner){.h = h, .cpu = i};
    }
    for (unsigned i = 1; i < cpus; i++)
        assert_int_equal(pthread_create(&r[i].thread, NULL, run_cpu, &r[i]), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    for (unsigned i = 1; i < cpus; i++) {
        engine_kick(h->en, i);
        pthread_join(r[i].thread, NULL);
    }
}

static uint32_t word(struct harness *h, uint64_t at)
{
    uint32_t v;
    memcpy(&v, h->ram + at, sizeof v);
    return v;
}

static void expect_evictions(struct harness *h, uint64_t least)
{
    struct accel_stats s;

    engine_stats(h->en, &s);
    assert_true(s.evictions >= least);
    assert_true(s.code_size == small.size && s.code_used <= s.code_size && s.code_used > s.code_size / 4);
    assert_true(s.interpreted < s.instructions); /* it does not give up translating */
}

static void old_code_gives_way_to_new(void **state)
{
    (void)state;
    struct harness *h = h_new_cache(1, small.size);

    h_code(h, 0x10000, sum);
    run_all(h, 1);
    assert_int_equal(word(h, 0x700), ROUNDS * FUNCTIONS * 3);
    expect_evictions(h, 16);
    h_free(h);
}

static void code_gives_way_while_others_run_it(void **state)
{
    (void)state;
    struct harness *h = h_new_cache(MAX_CPUS, small.size);

    h_code(h, 0x10000, sum);
    h_code(h, 0x11000, sum);
    run_all(h, MAX_CPUS);
    for (unsigned i = 0; i < MAX_CPUS; i++)
        assert_int_equal(word(h, 0x700 + i * 4), ROUNDS * FUNCTIONS * 3);
    expect_evictions(h, 16);
    h_free(h);
}

static void code_gives_way_while_it_is_changed(void **state)
{
    (void)state;
    struct harness *h = h_new_cache(MAX_CPUS, small.size);

    h_code(h, 0x10000, change);
    h_code(h, 0x11000, watch);
    run_all(h, MAX_CPUS);
    assert_int_equal(word(h, DONE), MAX_CPUS);
    assert_int_equal(word(h, DONE + 8), 0);
    expect_evictions(h, 16);
    h_free(h);
}

/* What is in use all the time comes back where it gave way, and what stays is found as before. */
static void a_program_that_fits_is_translated_once(void **state)
{
    (void)state;
    struct harness *h = h_new_cache(1, (16 << 20) + 3 * 4096);
    struct accel_stats s;

    h_code(h, 0x10000, sum);
    run_all(h, 1);
    engine_stats(h->en, &s);
    assert_int_equal(word(h, 0x700), ROUNDS * FUNCTIONS * 3);
    assert_int_equal(s.evictions, 0);
    assert_true(s.translations < FUNCTIONS * 5);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_code_gives_way_to_new),
        cmocka_unit_test(code_gives_way_while_others_run_it),
        cmocka_unit_test(code_gives_way_while_it_is_changed),
        cmocka_unit_test(a_program_that_fits_is_translated_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
