/*
 * An interrupt that comes between any two host instructions of translated code is not taken in the shadow of
 * STI. The host's trap flag, set on the way in, stops at each of them.
 */
#include <signal.h>
#include <ucontext.h>
#include "harness.h"
#include "accel/soft/engine/xlate.h"

enum { VECTOR = 0x40, CODE = 0x10000, ISR = 0x9000, MOST = 400 };

static struct harness *stepped;
static unsigned seen, target;

uint64_t shadow_enter_at;
void shadow_enter(void);
__asm__(".text\n"
        "shadow_enter:\n"
        "    pushfq\n"
        "    orl $0x100, (%rsp)\n"
        "    popfq\n"
        "    jmp *shadow_enter_at(%rip)\n");

static void on_trap(int sig, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    greg_t *r = u->uc_mcontext.gregs;
    (void)sig, (void)info;

    if ((uintptr_t)r[REG_RIP] - (uintptr_t)shadow_enter < 32)
        return;
    if ((uint64_t)r[REG_RIP] - stepped->en->xlate_exec < stepped->en->xlate_code && target && ++seen < target)
        return;
    if (target && seen == target) {
        struct cpu *c = h_cpu(stepped);
        c->priv->lapic.irr[VECTOR / 32] |= 1u << VECTOR % 32;
        cpu_attention(c, ATT_INTR);
        target = 0;
    }
    r[REG_EFL] &= ~(greg_t)X86_TF;
}

/* From the start, with the code translated; the interrupt comes at host instruction `at`, 0: never. True:
 * there were so many. */
static bool run_once(struct harness *h, unsigned at)
{
    struct xglue *glue = &h->en->xlate->glue;
    struct cpu *c = h_cpu(h);

    c->rip = c->next_rip = CODE + 0xff0;
    c->rflags = 2;
    c->gpr[X86_RSP] = 0x80000;
    c->priv->lapic.irr[VECTOR / 32] = c->priv->lapic.isr[VECTOR / 32] = 0;
    seen = 0;
    target = at;
    shadow_enter_at = glue->enter;
    if (at)
        glue->enter = (uintptr_t)shadow_enter;
    assert_int_equal(h_run(h), ENGINE_KICKED);
    glue->enter = shadow_enter_at;
    return at && !target;
}

static void no_alarm(void *o, unsigned cpu, uint64_t deadline)
{
    (void)o, (void)cpu, (void)deadline;
}

static void sti_at_the_end_of_a_page_has_its_shadow(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, CODE + 0xff0, 0);
    struct sigaction a = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    unsigned n = 0;

    h_put64(h, 0x6008, 0x00af9b000000ffff); /* GDT: 64-bit code */
    s.gdtr.base = 0x6000;
    s.gdtr.limit = 0x17;
    s.idtr.base = 0x7000;
    s.idtr.limit = 0xfff;
    h_put64(h, 0x7000 + VECTOR * 16, ISR | 8ull << 16 | 0x8eull << 40);
    s.lapic.regs[X86_LAPIC_SVR] = 0x1ff;
    /* xor eax, eax, ten NOPs, sti | inc eax; out eax: it is 1 whenever the interrupt comes */
    memset(h->ram + CODE + 0xff0, 0x90, 16);
    memcpy(h->ram + CODE + 0xff0, "\x31\xc0", 2);
    memcpy(h->ram + CODE + 0xfff, "\xfb\xff\xc0\xe7\xf4\xeb\xfe", 7);
    memcpy(h->ram + ISR, "\xe7\xf4\xeb\xfe", 4);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    h->en->out.arm = no_alarm; /* or translated code is left to look at the clock */
    stepped = h;
    sigaction(SIGTRAP, &a, NULL);
    for (unsigned i = 0; i < 3; i++)
        run_once(h, 0);
    while (n < MOST && run_once(h, n + 1)) {
        assert_int_equal(h->exit_value, 1);
        n++;
    }
    assert_in_range(n, 8, MOST - 1);
    signal(SIGTRAP, SIG_DFL);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sti_at_the_end_of_a_page_has_its_shadow)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
