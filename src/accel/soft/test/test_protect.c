/* What a VMM relies on when the engine runs in a process of its own: constant parts of the arena that this
 * process cannot change, and calls that come back whatever stands in the rest. */
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "accel/accel.h"
#include "accel/soft/engine/xlate.h"
#include "accel/soft/test/harness.h"

static sigjmp_buf refused;

static void on_fault(int sig)
{
    (void)sig;
    siglongjmp(refused, 1);
}

static bool may_write(void *at)
{
    volatile uint8_t *p = at;

    if (sigsetjmp(refused, 1))
        return false;
    *p = *p;
    return true;
}

/* In a process as the VMM forks it. 0, or which of the expectations failed. */
static int look_from_inside(struct engine *en)
{
    struct cpu *c = en->cpu[1];
    struct cpu_private *p = c->priv;
    void *constant[] = {
        &en->cpus,      &en->attached,      &en->out,           &en->out.log,      &en->opaque,
        &en->slot[0],   &en->slot_count,    &en->cpu[0],        &en->cpu[63],      &en->native,
        &c->index,      &c->engine,         &c->priv,           &c->native,        &p->blocks,
        &p->cpuid,      &p->features,       &p->tsc_mul,        &p->phys_reserved, &p->amd,
        &en->dirty_log, &en->slots_version, &en->flush_version,
    };
    void *own[] = {
        &en->stop,  &en->stop_lock,          &en->arb, &en->no_note, &c->gpr[0],   &c->attention, &c->fpu,
        &c->tlb[0], &c->jump[JUMP_SIZE - 1], p,        &p->inside,   &p->run_from, p->blocks,     en->native,
    };
    struct sigaction sa = {.sa_handler = on_fault};

    sigaction(SIGSEGV, &sa, NULL);
    if (engine_protect(en))
        return 1;
    for (unsigned i = 0; i < sizeof(constant) / sizeof(*constant); i++)
        if (may_write(constant[i]))
            return 10 + (int)i;
    for (unsigned i = 0; i < sizeof(own) / sizeof(*own); i++)
        if (!may_write(own[i]))
            return 100 + (int)i;
    return 0;
}

static void a_protected_process_cannot_change_what_others_follow(void **state)
{
    struct harness *h = h_new(2);
    int status;

    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(look_from_inside(h->en));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(may_write(&h->en->slot[0])); /* here it is as before */
    h_free(h);
}

/* ---- calls on an arena full of anything ---- */

static uint64_t seed = 1;

static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* From `from` up to the constant part. */
static void fill(void *from, const void *to, unsigned how)
{
    uint8_t *at = from;

    for (size_t i = 0, n = (size_t)((const uint8_t *)to - at); i < n; i++)
        at[i] = how == 0 ? 0xff : how == 1 ? 0x80 : (uint8_t)rnd();
}

static void spoil(struct engine *en, unsigned how)
{
    fill(en, &en->cpus, how);
    for (unsigned i = 0; i < 2; i++) {
        struct cpu *c = en->cpu[i];
        fill(c, &c->index, how);
        fill(c->priv, &c->priv->blocks, how);
        fill(c->priv->blocks, (uint8_t *)c->priv->blocks + 4096, how);
        c->priv->inside = 0; /* whoever says that it is inside only makes others wait */
    }
    fill(en->native, (uint8_t *)en->native + 4096, how);
    fill(en->xlate, &en->xlate->code, how);
    en->stop = en->stop_lock = 0;
}

static void call_all(struct harness *h, const struct x86_state *good)
{
    static struct x86_state s;
    struct engine *en = h->en;
    struct engine_slot slot = {.gpa = 0, .size = H_RAM, .host = h->ram, .notes = h->notes, .gens = h->gens};
    struct accel_stats stats;
    uint64_t gpa;

    engine_get(en, 0, &s);
    assert_true(s.msr_count <= X86_MAX_MSRS);
    for (unsigned i = 0; i < 64; i++)
        engine_translate(en, 1, rnd() >> (i % 32), &gpa);
    for (unsigned i = 0; i < 64; i++) {
        uint64_t r = rnd();
        engine_msi(en, 0xfee00000 | (r & 0xff00c), (uint32_t)(r >> 32));
    }
    engine_extint(en, true);
    engine_nmi(en, 1);
    engine_kick(en, 0);
    engine_stats(en, &stats);
    engine_dirty_log(en, true);
    engine_dirty_collect(en);
    engine_dirty_log(en, false);
    engine_set_slots(en, &slot, 1);
    engine_debug(en, 0, &(struct vcpu_debug){.single_step = true});
    engine_debug(en, 0, &(struct vcpu_debug){0});
    engine_vcpus_died(en);
    assert_int_equal(engine_set(en, 1, good), 0);
}

static void calls_come_back_whatever_stands_in_the_arena(void **state)
{
    struct harness *h = h_new(2);
    static struct x86_state good;
    struct engine_outside out = h->en->out;

    (void)state;
    good = h_long_mode(h, 0x10000, 0);
    /* a clock page, in pages that are said to hold code */
    assert_int_equal(x86_state_msr_set(&good, MSR_KVM_SYSTEM_TIME, 0x20001), 0);
    memset(h->notes, 0xff, H_RAM / 4096);
    for (unsigned round = 0; round < 30; round++) {
        spoil(h->en, round);
        call_all(h, &good);
    }
    assert_memory_equal(&out, &h->en->out, sizeof(out));
    /* and what was set is there */
    static struct x86_state s;
    engine_get(h->en, 1, &s);
    assert_int_equal(s.rip, 0x10000);
    assert_int_equal(s.msr_count, good.msr_count);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_protected_process_cannot_change_what_others_follow),
        cmocka_unit_test(calls_come_back_whatever_stands_in_the_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
