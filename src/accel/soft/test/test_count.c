/* Instructions are counted exactly, and a vCPU stops at a count; flags that the SDM calls undefined are the
 * host's in both tiers. tests/lockstep stands on this. */
#include "accel/soft/engine/xlate.h"
#include "system.h"

enum { MOST = 400, OUTS = 600 };

/* A loop with a call, forward branches, a page's worth of string elements (to the debug port, where an
 * instruction yields after 256), and a fault, whose handler ends the run. Every register that it changes is
 * compared. */
GUEST(mixed,
      "mov $20, %ecx\n 1: add $3, %eax\n push %rax\n pop %rdx\n test $1, %al\n jz 2f\n inc %ebx\n"
      "2: call 3f\n dec %ecx\n jnz 1b\n mov $0x20000, %esi\n mov $600, %ecx\n mov $0x80, %edx\n rep outsb\n"
      "mov $0x20000, %edi\n mov $3000, %ecx\n rep stosb\n ud2\n"
      "3: lea 1(%rbp), %rbp\n imul $7, %ebp, %r8d\n ret");
enum { LOOP = 20, TAIL = 7 /* behind it, REP OUTSB and REP STOSB among them */, HANDLER = 2 };

static void no_timer(void *o, unsigned cpu, uint64_t deadline)
{
    (void)o, (void)cpu, (void)deadline;
}

static struct harness *begin(struct x86_state *s, bool translate)
{
    struct harness *h = h_new(1);

    h->time = 1000;
    h->en->out.arm = no_timer; /* else translated code is left again and again */
    h->en->xlate->enabled &= translate;
    *s = t_long(h, 0);
    h_code(h, T_CODE, mixed);
    return h;
}

static bool finished(const struct harness *h)
{
    return h->exit_value == X86_UD;
}

/* Stops at each count in turn; the state at each. Returns how many there are. */
static unsigned stop_everywhere(struct x86_state *at)
{
    struct x86_state s;
    struct harness *h = begin(&s, false);
    unsigned n = 0;

    assert_int_equal(engine_set(h->en, 0, &s), 0);
    h->exit_value = 0x1000;
    uint64_t from = engine_icount(h->en, 0);
    while (!finished(h)) {
        assert_true(++n < MOST);
        engine_stop_at(h->en, 0, from + n);
        assert_int_equal(h_run(h), ENGINE_KICKED);
        assert_int_equal(engine_icount(h->en, 0), from + n);
        engine_get(h->en, 0, &at[n]);
    }
    assert_int_equal(h->port_writes, OUTS);
    h_free(h);
    return n;
}

static struct x86_state at[MOST];

static void interpreted_code_stops_behind_each_instruction(void **state)
{
    (void)state;
    unsigned n = stop_everywhere(at), in_loop = 0, taken = 0;

    for (unsigned i = 1; i <= n; i++) {
        in_loop += at[i].gpr[X86_RCX] <= LOOP && at[i].gpr[X86_RBP] < LOOP;
        taken += at[i].gpr[X86_RBX] > at[i - 1].gpr[X86_RBX];
    }
    /* 1; of each round 9 and 3 of the function, and one more where EAX is odd; then the rest */
    assert_int_equal(taken, LOOP / 2);
    assert_int_equal(n, 1 + LOOP * (8 + 3) + LOOP / 2 + TAIL + HANDLER);
    /* a fault is no instruction: behind REP STOSB RIP is at UD2, and then behind the handler's first */
    assert_int_equal(at[n - HANDLER].rip, T_CODE + (uint64_t)(mixed_end - mixed) - 11);
    assert_int_equal(at[n - HANDLER + 1].rip, T_TRAPS + X86_UD * 16 + 2);
    assert_true(in_loop > LOOP);
}

static void same(const struct x86_state *a, const struct x86_state *b)
{
    assert_memory_equal(a->gpr, b->gpr, sizeof a->gpr);
    assert_int_equal(a->rip, b->rip);
    assert_int_equal(a->rflags, b->rflags);
}

static void translated_code_stops_where_it_looks_next(void **state)
{
    struct x86_state s, got;
    struct harness *h = begin(&s, true);
    unsigned n = stop_everywhere(at), exact = 0;
    (void)state;

    if (!h->en->xlate->enabled) {
        h_free(h);
        return;
    }
    for (unsigned i = 1; i <= n; i++) {
        memset(h->ram + 0x20000, 0, 0x1000);
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        h_cpu(h)->attention = 0; /* a stop may have come before the kick */
        h->exit_value = 0x1000;
        uint64_t from = engine_icount(h->en, 0);
        engine_stop_at(h->en, 0, from + i);
        assert_int_equal(h_run(h), ENGINE_KICKED);
        uint64_t did = engine_icount(h->en, 0) - from;
        assert_true(did >= i && did <= n);
        assert_true(did - i <= 16); /* a round at most */
        exact += did == i;
        engine_get(h->en, 0, &got);
        same(&at[did], &got);
        engine_stop_at(h->en, 0, INT64_MAX);
        if (!finished(h)) { /* it goes on to the same end */
            assert_int_equal(h_run(h), ENGINE_KICKED);
            assert_int_equal(engine_icount(h->en, 0) - from, n);
        }
    }
    assert_true(exact > LOOP && exact < n);
    h_free(h);
}

/* ---- flags ---- */

/* Operands in RBX and RSI (and RAX, RDX); results are not looked at, the lab does that. */
static const struct {
    const char *code;
    uint32_t feature;
} flag_case[] = {
    {"\x48\x0f\xaf\xde", 0},              /* imul rbx, rsi */
    {"\x6b\xde\x0b", 0},                  /* imul ebx, esi, 11 */
    {"\x66\xf7\xe6", 0},                  /* mul si */
    {"\x40\xf6\xee", 0},                  /* imul sil */
    {"\x48\x0f\xbc\xde", 0},              /* bsf rbx, rsi */
    {"\x0f\xbd\xde", 0},                  /* bsr ebx, esi */
    {"\xc1\xcb\x05", 0},                  /* ror ebx, 5 */
    {"\x48\xc1\xc3\x21", 0},              /* rol rbx, 33 */
    {"\xc1\xcb\x01", 0},                  /* ror ebx, 1 */
    {"\xc0\xc3\x09", 0},                  /* rol bl, 9 */
    {"\xf3\x48\x0f\xbc\xde", X86_F_BMI1}, /* tzcnt rbx, rsi */
    {"\xc4\xe2\xf8\xf2\xde", X86_F_BMI1}, /* andn rbx, rax, rsi */
    {"\xc4\xe2\x60\xf3\xce", X86_F_BMI1}, /* blsr ebx, esi */
    {"\xc4\xe2\xf8\xf7\xde", X86_F_BMI1}, /* bextr rbx, rsi, rax */
};

struct flag_run {
    uint64_t rax, rdx, rbx, rsi, flags;
};

/* `code` in executable memory, with RET behind it. */
static uint64_t on_host(const uint8_t *code, struct flag_run r)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n push %[f]\n popfq\n call *%[code]\n pushfq\n pop %[f]\n cld\n"
                     "lea 128(%%rsp), %%rsp"
                     : "+a"(r.rax), "+d"(r.rdx), "+b"(r.rbx), "+S"(r.rsi), [f] "+r"(r.flags)
                     : [code] "r"(code)
                     : "cc", "memory");
    return r.flags & X86_ARITH_FLAGS;
}

static void undefined_flags_are_those_of_the_host(void **state)
{
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, T_CODE, 0);
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t seed = 1;
    (void)state;

    assert_ptr_not_equal(page, MAP_FAILED);
    for (unsigned i = 0; i < sizeof flag_case / sizeof *flag_case; i++) {
        size_t n = strlen(flag_case[i].code);
        if (flag_case[i].feature && !cpu_has(h_cpu(h), flag_case[i].feature))
            continue;
        memcpy(h->ram + T_CODE, flag_case[i].code, n);
        memcpy(page, flag_case[i].code, n);
        page[n] = 0xc3;
        for (unsigned k = 0; k < 100; k++) {
            struct flag_run r;
            uint64_t *word[] = {&r.rax, &r.rdx, &r.rbx, &r.rsi, &r.flags};
            for (unsigned w = 0; w < 5; w++) {
                seed = seed * 6364136223846793005ull + 1442695040888963407ull;
                *word[w] = seed >> (k & 31);
            }
            r.flags = (r.flags & X86_ARITH_FLAGS) | 2;
            s.gpr[X86_RAX] = r.rax;
            s.gpr[X86_RDX] = r.rdx;
            s.gpr[X86_RBX] = r.rbx;
            s.gpr[X86_RSI] = r.rsi;
            s.rflags = r.flags;
            assert_int_equal(engine_set(h->en, 0, &s), 0);
            assert_int_equal(h_step(h), 0);
            if ((h_cpu(h)->rflags & X86_ARITH_FLAGS) != on_host(page, r))
                fail_msg("case %u, %u: flags %#x, the host's %#x", i, k,
                         (unsigned)(h_cpu(h)->rflags & X86_ARITH_FLAGS), (unsigned)on_host(page, r));
        }
    }
    munmap(page, 4096);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interpreted_code_stops_behind_each_instruction),
        cmocka_unit_test(translated_code_stops_where_it_looks_next),
        cmocka_unit_test(undefined_flags_are_those_of_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
