/*
 * run: the vCPU's loop.
 *
 * Blocks run back to back; between two of them the loop looks at one word, cpu->attention, which collects
 * whatever anybody wants of this vCPU, and counts a budget down. When the budget is spent, every BUDGET
 * blocks (some ten microseconds; port and MMIO accesses shorten it), the clock is read and compared with the
 * APIC timer: that is the whole cost of time, no timer thread and no signal is needed while the vCPU runs,
 * and a sleeping one has the deadline in its sleep. Interrupts from other threads come by the attention word
 * at the next block, so their latency is a block's length.
 *
 * Anything that looks at single instructions (RFLAGS.TF, RF and VIP, interrupt shadows, breakpoints, gdb's
 * step, code at the end of its segment) runs through careful(), one instruction at a time.
 */
#include <string.h>
#include "accel/soft/engine/private.h"

enum { BUDGET = 256, QUIET_TICKS = 16, QUIET_NS = 4000000 };

/* ---- time ---- */

static void tick(struct cpu *c)
{
    struct cpu_private *p = c->priv;
    struct engine *en = c->engine;

    p->budget = BUDGET;
    uint64_t now = engine_now(en);
    if (now >= p->timer_due)
        lapic_timer_poll(c, now);
    if (++p->ticks % QUIET_TICKS == 0) {
        cpu_leave(c);
        en->out.quiescent(en->opaque, c->index);
        cpu_enter(c);
    }
    steal_poll(c, now);
}

/* Have the clock looked at when the APIC timer is due, and often enough for the outside's sake. */
static void arm(struct cpu *c)
{
    struct cpu_private *p = c->priv;
    struct engine *en = c->engine;
    uint64_t latest = engine_now(en) + QUIET_NS;

    if (!en->out.arm) {
        __atomic_store_n(&c->x.poll, 1, __ATOMIC_RELAXED);
        return;
    }
    p->armed = p->timer_due < latest ? p->timer_due : latest;
    en->out.arm(en->opaque, c->index, p->armed);
}

/* The host's timer comes early rather than late: wait for the rest, unless there is something else to do. */
static void wait_until_due(struct cpu *c)
{
    const struct cpu_private *p = c->priv;
    uint32_t wanted = __atomic_load_n(&c->attention, __ATOMIC_RELAXED);
    uint64_t now = engine_now(c->engine);

    while (now < p->timer_due && p->timer_due - now <= ENGINE_TIMER_EARLY &&
           __atomic_load_n(&c->attention, __ATOMIC_RELAXED) == wanted) {
        __builtin_ia32_pause();
        now = engine_now(c->engine);
    }
}

/* ---- what attention may want ---- */

static void clear_attention(struct cpu *c, uint32_t what)
{
    __atomic_fetch_and(&c->attention, ~what, __ATOMIC_SEQ_CST);
}

static void inject(struct cpu *c)
{
    struct cpu_private *p = c->priv;
    struct x86_events e = p->inject;

    p->has_inject = 0;
    if (e.triple_fault)
        cpu_triple_fault(c);
    if (e.exc_injected || e.exc_pending) {
        if (e.exc_has_payload && e.exc_vector == X86_PF_VEC)
            c->cr2 = e.exc_payload;
        if (e.exc_vector == X86_DB)
            cpu_debug_fault(c, e.exc_has_payload ? e.exc_payload & 0xf00f : c->dr6 & 0xf00f);
        if (e.exc_vector == X86_BP ||
            e.exc_vector == X86_OFV) { /* RIP is at the one-byte INT3 or INTO, as on KVM */
            c->next_rip = c->rip + 1;
            cpu_soft_interrupt(c, e.exc_vector, false);
        }
        if (e.exc_has_error)
            cpu_raise_error(c, e.exc_vector, e.exc_error);
        cpu_raise(c, e.exc_vector);
    }
    if (e.nmi_injected)
        cpu_deliver_interrupt(c, X86_NMI);
    else if (e.int_injected && !e.int_soft) /* RIP is still at a software interrupt: it runs again */
        cpu_deliver_interrupt(c, e.int_vector);
}

/* An interrupt that may be taken now is taken. true: one was. */
static bool take_interrupt(struct cpu *c)
{
    struct engine *en = c->engine;

    clear_attention(c, ATT_INTR);
    bool extint = lapic_extint(c);
    int v = lapic_pending(c);
    if (!extint && v < 0)
        return false;
    if (!(c->rflags & X86_IF) || c->shadow || (c->priv->dbg.single_step && !c->halted)) {
        cpu_attention(c, ATT_INTR); /* stays wanted */
        return false;
    }
    if (extint && en->out.ack_extint) {
        cpu_leave(c);
        int w = en->out.ack_extint(en->opaque);
        cpu_enter(c);
        cpu_attention(c, ATT_INTR); /* the line may still be up, the APIC may have more */
        if (w < 0)
            return false;
        c->halted = 0;
        cpu_deliver_interrupt(c, (uint8_t)w);
        return true;
    }
    if (v < 0)
        return false;
    c->halted = 0;
    lapic_accept(c, (uint8_t)v);
    cpu_attention(c, ATT_INTR);
    cpu_deliver_interrupt(c, (uint8_t)v);
    return true;
}

static bool take_nmi(struct cpu *c)
{
    if (c->nmi_masked || c->shadow)
        return false; /* behind STI, too, as where STI and HLT belong together (SDM 2B, STI) */
    uint32_t a = __atomic_load_n(&c->attention, __ATOMIC_SEQ_CST), left;
    do
        left = a & ~(uint32_t)(a & ATT_NMI2 ? ATT_NMI2 : ATT_NMI);
    while (!__atomic_compare_exchange_n(&c->attention, &a, left, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    c->nmi_masked = 1;
    c->halted = 0;
    cpu_deliver_interrupt(c, X86_NMI);
    return true;
}

static void startup(struct cpu *c)
{
    uint8_t vector = (uint8_t)__atomic_load_n(&c->priv->lapic.sipi_vector, __ATOMIC_ACQUIRE);

    if (c->mp_state != X86_MP_WAIT_SIPI)
        return;
    c->seg[X86_CS].sel = (uint16_t)(vector << 8);
    c->seg[X86_CS].base = (uint64_t)vector << 12;
    c->rip = c->next_rip = 0;
    c->mp_state = X86_MP_RUNNABLE;
    cpu_update_mode(c);
}

static bool asleep(const struct cpu *c)
{
    return c->halted || c->mp_state != X86_MP_RUNNABLE;
}

static void sleep_once(struct cpu *c)
{
    struct engine *en = c->engine;
    struct cpu_private *p = c->priv;
    uint64_t due = c->mp_state == X86_MP_RUNNABLE ? p->timer_due : UINT64_MAX;

    p->n_halt++;
    p->run_ns += engine_now(en) - p->run_from;
    cpu_leave(c);
    en->out.sleep(en->opaque, c->index, due);
    cpu_enter(c);
    p->run_from = engine_now(en);
    if (p->run_from >= p->timer_due)
        lapic_timer_poll(c, p->run_from);
}

/* Serve what the attention word says, and sleep while there is nothing to run. Deliveries may raise. */
static void service(struct cpu *c)
{
    for (;;) {
        uint32_t a = __atomic_load_n(&c->attention, __ATOMIC_SEQ_CST);
        if (a & ATT_KICK) {
            clear_attention(c, ATT_KICK);
            cpu_exit(c, ENGINE_KICKED);
        }
        if (a & (ATT_CODE | ATT_DEVICE_CODE)) {
            clear_attention(c, ATT_CODE | ATT_DEVICE_CODE);
            xcache_attention(c, a);
        }
        if (a & ATT_STOP) {
            clear_attention(c, ATT_STOP);
            cpu_leave(c);
            cpu_enter(c);
        }
        if (a & ATT_INIT) {
            clear_attention(c, ATT_INIT);
            cpu_init_signal(c);
        }
        if (a & ATT_SIPI) {
            clear_attention(c, ATT_SIPI);
            startup(c);
        }
        if (a & ATT_DEBUG)
            clear_attention(c, ATT_DEBUG);
        if (a & ATT_TIMER) {
            clear_attention(c, ATT_TIMER);
            c->priv->armed = 0;
            if (__atomic_exchange_n(&c->priv->timer_came, 0, __ATOMIC_RELAXED))
                wait_until_due(c);
            c->priv->ticks = UINT32_MAX; /* the outside is told that we stand still */
            tick(c);
        }
        if (c->mp_state == X86_MP_RUNNABLE) {
            if (c->priv->has_inject)
                inject(c);
            if ((c->db_pending | c->debug_exit) && !(c->shadow & 2))
                debug_after(c, false); /* earned by a delivery: before interrupts (SDM 3A 6.9) */
            if ((a & ATT_NMI) && take_nmi(c))
                return;
            if ((__atomic_load_n(&c->attention, __ATOMIC_SEQ_CST) & ATT_INTR) && take_interrupt(c))
                return;
        }
        if (!asleep(c)) {
            clear_attention(c, ATT_HALT);
            return;
        }
        sleep_once(c);
    }
}

/* ---- execution ---- */

static inline uint64_t code_address(const struct cpu *c)
{
    return c->mode == MODE_64 ? c->rip : (uint32_t)(c->seg[X86_CS].base + c->rip);
}

static inline struct block *lookup(struct cpu *c)
{
    uint64_t linear = code_address(c);
    const struct jump *j = &c->jump[jump_index(linear)];

    if (likely(j->key == (linear << 16 | c->jump_tag[linear >> 63]))) {
        struct block *b = j->block;
        if (likely(__atomic_load_n(b->gen, __ATOMIC_RELAXED) == b->gen_at))
            return b;
    }
    return block_get(c);
}

static bool beyond_limit(const struct cpu *c, unsigned bytes)
{
    return c->mode != MODE_64 && c->rip + bytes - 1 > c->seg[X86_CS].limit;
}

/* One instruction, with all that can only be seen between two. */
static void careful(struct cpu *c)
{
    if (c->priv->break_armed)
        debug_before(c);
    cpu_check_pending(c);
    bool step = c->rflags & X86_TF;
    c->rflags &= ~(uint64_t)X86_RF; /* a fault pushes it set all the same; IRET loads it */
    c->shadow_set = 0;
    struct block *b = lookup(c);
    const struct insn *in = &b->insn[0];
    if (beyond_limit(c, in->len))
        cpu_gp(c, 0);
    c->leave_block = 0;
    c->next_rip = c->rip + in->len;
    in->exec(c, in);
    step = step && !(in->flags & INSN_OWN_STEP);
    if ((in->flags & (INSN_REP | INSN_REPNE)) && c->next_rip == c->rip)
        c->rflags |= X86_RF; /* between iterations no instruction breakpoint strikes again */
    c->rip = c->next_rip;
    c->icount++;
    c->priv->n_interpreted++;
    if (!c->shadow_set)
        c->shadow = 0;
    /* traps wait while MOV SS or POP SS holds them off */
    if (!(c->shadow & 2) && (step || c->db_pending || c->debug_exit))
        debug_after(c, step);
    if (c->priv->dbg.single_step)
        cpu_exit_debug(c, 0x4000, 0, false);
}

static inline void run_block(struct cpu *c, const struct block *b)
{
    const struct insn *in = b->insn, *end = in + b->count;

    c->leave_block = 0;
    do {
        c->next_rip = c->rip + in->len;
        in->exec(c, in);
        c->rip = c->next_rip;
        c->icount++;
    } while (++in != end && !c->leave_block);
    c->priv->n_interpreted += (uint64_t)(in - b->insn);
    if (unlikely(c->db_pending | c->debug_exit) && !(c->shadow & 2))
        debug_after(c, false);
}

static _Noreturn void loop(struct cpu *c)
{
    struct cpu_private *p = c->priv;

    for (;;) {
        bool near_stop = (int64_t)(c->x.stop_at - c->icount) <= BLOCK_INSNS;
        if (unlikely(near_stop) && c->icount >= c->x.stop_at && c->icount != p->no_stop_at)
            cpu_exit(c, ENGINE_KICKED);
        if (unlikely(__atomic_load_n(&c->x.poll, __ATOMIC_RELAXED))) /* before the look at what it is about */
            __atomic_exchange_n(&c->x.poll, 0, __ATOMIC_SEQ_CST);
        uint32_t a = __atomic_load_n(&c->attention, __ATOMIC_RELAXED);
        if (unlikely(a) && !(a == ATT_INTR && !(c->rflags & X86_IF)))
            service(c);
        if (unlikely(--p->budget == 0))
            tick(c);
        /* RF alone hides breakpoints from the next instruction, which no interrupt comes before now: without
         * any it is over */
        if ((c->rflags & CAREFUL_FLAGS) == X86_RF && !p->break_armed)
            c->rflags &= ~(uint64_t)X86_RF;
        if (unlikely((c->rflags & CAREFUL_FLAGS) || c->shadow || p->break_armed || p->dbg.single_step)) {
            careful(c);
            continue;
        }
        if (xlate_possible(c)) {
            if (unlikely(!p->armed || p->timer_due < p->armed))
                arm(c);
            if (xlate_run(c))
                continue;
        }
        if (unlikely(near_stop)) {
            careful(c);
            continue;
        }
        const struct block *b = lookup(c);
        if (unlikely(beyond_limit(c, b->bytes))) {
            careful(c);
            continue;
        }
        run_block(c, b);
    }
}

static void begin(struct cpu *c, struct engine_exit_info *info)
{
    struct cpu_private *p = c->priv;

    memset(info, 0, sizeof(*info));
    p->info = info;
    p->budget = BUDGET;
    p->armed = 0;
    c->in_exception = 0;
    clock_settle(c->engine);
    p->run_from = engine_now(c->engine);
    xlate_thread(c);
    cpu_attention(c, ATT_INTR | ATT_TIMER | (asleep(c) || p->has_inject ? ATT_HALT : 0));
    cpu_enter(c);
    if (c->pvclock_late)
        pvclock_update(c);
}

static enum engine_exit end(struct cpu *c)
{
    struct cpu_private *p = c->priv;

    if (p->holds_world) {
        p->holds_world = 0;
        world_go(c->engine);
    }
    cpu_leave(c);
    p->run_ns += engine_now(c->engine) - p->run_from;
    p->info->rip = c->rip;
    p->info = NULL;
    return (enum engine_exit)p->exit_kind;
}

enum engine_exit engine_run(struct engine *en, unsigned cpu, struct engine_exit_info *info)
{
    struct cpu *c = en->cpu[cpu];

    begin(c, info);
    int why = _setjmp(c->fault_env);
    if (why == LEAVE_EXIT)
        return end(en->cpu[cpu]);
    if (why == LEAVE_FAULT) {
        cpu_deliver_fault(c);
        if (c->priv->dbg.single_step)
            cpu_exit_debug(c, 0x4000, 0, false);
    }
    loop(c);
}
