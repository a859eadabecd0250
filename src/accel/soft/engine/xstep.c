/*
 * xstep: one instruction as translated code, for tests: what step.c is for the interpreter.
 */
#include "accel/soft/engine/xlate.h"

/* Let the fast TLB know the page as far as the guest may use it, so that accesses run in translated code at
 * once. */
static void warm(struct cpu *c, uint64_t page)
{
    unsigned user = c->tlb_user == TLB_USER ? WALK_USER : 0;
    struct place p;
    struct walk w;

    if (!cpu_walk(c, page, user | WALK_PEEK, &w))
        return;
    cpu_place(c, page, TLB_READ, c->tlb_user, &p);
    if (w.writable)
        cpu_place(c, page, TLB_WRITE, c->tlb_user, &p);
}

int engine_step_translated(struct engine *scratch, struct x86_state *s, const uint64_t *pages, unsigned count)
{
    struct cpu *c = scratch->cpu[0];
    struct xcache *k = scratch->xlate;
    volatile int done = -1;

    if (!k->enabled || engine_set(scratch, 0, s))
        return -1;
    k->single = XSINGLE;
    c->priv->stepping_state = 1;
    c->priv->armed = c->priv->timer_due;
    xlate_thread(c);
    cpu_enter(c);
    int why = _setjmp(c->fault_env);
    if (why == LEAVE_FAULT) {
        cpu_deliver_fault(c);
        done = 1;
    }
    if (!why && xlate_possible(c)) {
        for (unsigned i = 0; i < count; i++)
            warm(c, pages[i]);
        c->x.poll = 0;
        __atomic_store_n(&c->attention, 0, __ATOMIC_RELAXED);
        done = 0;
        if (xlate_run(c) && !c->priv->interpret_once)
            done = 1;
        c->priv->interpret_once = 0;
    }
    cpu_leave(c);
    c->priv->stepping_state = 0;
    k->single = 0;
    engine_get(scratch, 0, s);
    return done;
}
