/* The thunk area: shared among threads and forked processes, never writable and executable at once, bounded;
 * and thunks of integer instructions. */
#include "harness.h"
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#include "accel/soft/engine/native.h"

enum { CODE = 0x10000, DATA = 0x20000 };

static struct insn decode(const char *code, unsigned n)
{
    uint8_t b[15] = {0};
    struct insn in;
    memcpy(b, code, n);
    assert_int_equal(insn_decode(b, 15, MODE_64, &in), 0);
    assert_int_equal(in.len, n);
    return in;
}
#define DECODE(code) decode(code, sizeof code - 1)

static struct harness *ready(void)
{
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, CODE, 3);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    return h;
}

static void run(struct harness *h, struct insn *in)
{
    struct cpu *c = h_cpu(h);
    if (setjmp(c->fault_env))
        fail_msg("vector %u", c->fault_vector);
    in->exec(c, in);
}

static void equal_instructions_share_a_thunk(void **state)
{
    (void)state;
    struct harness *h = ready();
    struct insn a = DECODE("\x0f\x58\x03"), b = DECODE("\x64\x0f\x58\x84\x88\x10\x00\x00\x00"),
                other = DECODE("\x0f\x58\x0b");
    const struct native_thunk *t =
        native_thunk(h_cpu(h), &a); /* addps xmm0, [rbx]; addps xmm0, fs:[rax+rcx*4+16]; addps xmm1, [rbx] */
    assert_non_null(t);
    assert_ptr_equal(native_thunk(h_cpu(h), &b), t);
    assert_ptr_not_equal(native_thunk(h_cpu(h), &other), t);
    assert_int_equal(a.native, b.native);
    h_free(h);
}

/* Permissions of the mapping that holds an address, as the kernel lists them. */
static void permissions(uintptr_t at, char out[5])
{
    char line[256];
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    out[0] = 0;
    while (fgets(line, sizeof line, f)) {
        unsigned long from, to;
        char perm[5];
        if (sscanf(line, "%lx-%lx %4s", &from, &to, perm) == 3 && at >= from && at < to)
            memcpy(out, perm, 5);
    }
    fclose(f);
}

static void no_page_is_writable_and_executable(void **state)
{
    (void)state;
    struct harness *h = ready();
    struct native_area *a = h_cpu(h)->native;
    char perm[5];
    permissions((uintptr_t)a->code, perm);
    assert_string_equal(perm, "rw-s");
    permissions(a->exec + offsetof(struct native_area, code), perm);
    assert_string_equal(perm, "r-xs");
    h_free(h);
}

static void add_four_floats(struct harness *h)
{
    static const float one[4] = {1, 2, 3, 4};
    struct insn in = DECODE("\x0f\x58\xc1"); /* addps xmm0, xmm1 */
    memcpy(h_cpu(h)->fpu.ymm[0], one, 16);
    memcpy(h_cpu(h)->fpu.ymm[1], one, 16);
    run(h, &in);
    float sum[4];
    memcpy(sum, h_cpu(h)->fpu.ymm[0], 16);
    assert_true(sum[0] == 2 && sum[3] == 8);
}

static void a_full_area_still_runs_everything(void **state)
{
    (void)state;
    struct harness *h = ready();
    struct native_area *a = h_cpu(h)->native;
    a->used = NATIVE_CODE;
    for (unsigned i = 0; i < 3; i++) {
        struct insn sub = DECODE("\x66\x0f\xef\xc0"); /* pxor xmm0, xmm0: takes the slot in turn */
        add_four_floats(h);
        run(h, &sub);
        assert_int_equal(sub.native, 0);
        assert_int_equal(h_cpu(h)->fpu.ymm[0][3], 0);
    }
    assert_int_equal(a->used, NATIVE_CODE);
    h_free(h);
}

static void a_forked_process_runs_and_adds_thunks(void **state)
{
    (void)state;
    struct harness *h = ready();
    add_four_floats(h);
    uint32_t before = h_cpu(h)->native->used;
    pid_t child = fork();
    if (child == 0) {
        struct insn in = DECODE("\x66\x0f\xfe\xca"); /* paddd xmm1, xmm2 */
        if (native_area_attach(h_cpu(h)->native))
            _exit(1);
        run(h, &in);
        _exit(in.native ? 0 : 2);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_true(h_cpu(h)->native->used > before);
    struct insn in = DECODE("\x66\x0f\xfe\xca");
    uint32_t shared = h_cpu(h)->native->used;
    run(h, &in); /* found, not built again */
    assert_int_equal(h_cpu(h)->native->used, shared);
    h_free(h);
}

struct worker {
    struct harness *h;
    unsigned index, wrong;
};

static void *work(void *p)
{
    struct worker *w = p;
    struct cpu *c = engine_cpu(w->h->en, w->index);
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned reg = 0; reg < 64; reg++) {
            uint8_t b[15] = {0x66, 0x0f, 0xfc, (uint8_t)(0xc0 | reg)}; /* paddb */
            struct insn in;
            insn_decode(b, 15, MODE_64, &in);
            memset(c->fpu.ymm, 1, sizeof c->fpu.ymm);
            const struct native_thunk *t = native_thunk(c, &in);
            struct native_frame f;
            native_call(c->native, t, c, &f);
            w->wrong += c->fpu.ymm[reg >> 3][5] != 2;
        }
    }
    return NULL;
}

static void threads_build_at_once(void **state)
{
    (void)state;
    struct harness *h = h_new(4);
    struct worker w[4];
    pthread_t t[4];
    uint32_t before = h_cpu(h)->native->used;
    for (unsigned i = 0; i < 4; i++) {
        w[i] = (struct worker){h, i, 0};
        assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(w[i].wrong, 0);
    }
    assert_true(h_cpu(h)->native->used - before <= 64 * 512); /* one each */
    h_free(h);
}

static void memory_that_is_not_shared_is_refused(void **state)
{
    (void)state;
    size_t n = native_area_size(1);
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_int_equal(native_area_attach(native_area_init(p, 1)), -EINVAL);
    munmap(p, n);
}

static void integer_instructions_run_natively_too(void **state)
{
    (void)state;
    struct harness *h = ready();
    struct cpu *c = h_cpu(h);
    struct insn in =
        DECODE("\xc4\xe2\xe3\xf5\xe7"); /* pdep rsp, rbx, rdi: registers that a thunk itself uses */
    in.exec = exec_native;
    in.native = 0;
    c->gpr[X86_RBX] = 5;
    c->gpr[X86_RDI] = 0xf0;
    run(h, &in);
    assert_int_equal(c->gpr[X86_RSP], 0x50);

    in = DECODE("\x11\xd8"); /* adc eax, ebx */
    in.exec = exec_native;
    in.native = 0;
    c->gpr[X86_RAX] = 0xffffffff;
    c->gpr[X86_RBX] = 0;
    c->rflags = 3;
    run(h, &in);
    assert_int_equal(c->gpr[X86_RAX], 0);
    assert_int_equal(c->rflags, 2 | X86_CF | X86_PF | X86_AF | X86_ZF);

    in = DECODE("\xf2\x48\x0f\x38\xf1\x03"); /* crc32 rax, qword [rbx] */
    in.exec = exec_native;
    in.native = 0;
    c->gpr[X86_RAX] = 0;
    c->gpr[X86_RBX] = DATA;
    h_put64(h, DATA, 1);
    run(h, &in);
    uint64_t want = 0, one = 1;
    __asm__("crc32q %1, %0" : "+r"(want) : "r"(one));
    assert_int_equal(c->gpr[X86_RAX], want);
    h_free(h);
}

static void what_no_thunk_can_hold_is_refused(void **state)
{
    static const char *const codes[] = {"\x50",         "\xeb\x01",     "\xf0\x01\x03", "\x02\xc4",
                                        "\xf3\xa4",     "\xcc",         "\x0f\x05",     "\xfa",
                                        "\x48\x8d\x03", "\x0f\xc1\x03", "\x9d"};
    (void)state;
    struct harness *h = ready();
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct insn in = decode(codes[i], (unsigned)strlen(codes[i]));
        in.native = 0;
        if (native_thunk(h_cpu(h), &in))
            fail_msg("case %u", i);
    }
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_instructions_share_a_thunk),
        cmocka_unit_test(no_page_is_writable_and_executable),
        cmocka_unit_test(a_full_area_still_runs_everything),
        cmocka_unit_test(a_forked_process_runs_and_adds_thunks),
        cmocka_unit_test(threads_build_at_once),
        cmocka_unit_test(memory_that_is_not_shared_is_refused),
        cmocka_unit_test(integer_instructions_run_natively_too),
        cmocka_unit_test(what_no_thunk_can_hold_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
