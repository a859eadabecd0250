/*
 * step: one instruction at a time, without blocks, interrupts or timers: for tests, and for what KVM refuses.
 */
#include "accel/soft/engine/private.h"

/* The caller has set fault_env. */
static void step_one(struct cpu *c)
{
    struct insn in;

    cpu_check_pending(c);
    c->rflags &= ~(uint64_t)X86_RF; /* as in the loop: IRET loads it */
    c->shadow_set = 0;
    block_decode_one(c, &in);
    c->next_rip = c->rip + in.len;
    if (c->mode != MODE_64)
        c->next_rip &= 0xffffffffull;
    in.exec(c, &in);
    c->rip = c->next_rip;
    c->icount++;
    c->shadow = c->shadow_set ? c->shadow : 0;
}

int cpu_step_raw(struct cpu *c)
{
    cpu_enter(c);
    int why = _setjmp(c->fault_env);
    if (why == 0)
        step_one(c);
    if (c->priv->holds_world) {
        c->priv->holds_world = 0;
        world_go(c->engine);
    }
    cpu_leave(c);
    return why;
}

unsigned engine_step_state(struct engine *scratch, struct x86_state *s, unsigned count)
{
    struct cpu *c = scratch->cpu[0];
    volatile unsigned done = 0;

    if (engine_set(scratch, 0, s))
        return 0;
    c->priv->stepping_state = 1;
    cpu_enter(c);
    int why = _setjmp(c->fault_env);
    if (why == LEAVE_FAULT)
        cpu_deliver_fault(c);
    while (why != LEAVE_EXIT && done < count && !c->halted) {
        done++;
        step_one(c);
    }
    cpu_leave(c);
    c->priv->stepping_state = 0;
    engine_get(scratch, 0, s);
    return done;
}
