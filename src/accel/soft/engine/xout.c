/*
 * xout: into translated code, and the C side of the ways out of it.
 */
#include <string.h>
#include "accel/soft/engine/xlate.h"

/* ---- going on ---- */

static bool wanted_outside(struct cpu *c)
{
    uint32_t a = __atomic_load_n(&c->attention, __ATOMIC_RELAXED);
    struct cpu_private *p = c->priv;

    return (a && !(a == ATT_INTR && !(c->rflags & X86_IF))) || (c->rflags & CAREFUL_FLAGS) || c->shadow ||
           c->db_pending || c->debug_exit || p->timer_due < p->armed || p->break_armed || p->dbg.single_step;
}

bool xlate_possible(const struct cpu *c)
{
    /* units are the kernel's, which may do all, or the user's: not of CPL 1 and 2 */
    return c->mode == MODE_64 && c->tlb_user < FTLB_SETS && (c->cpl == 0 || c->cpl == 3) &&
           c->engine->xlate->enabled;
}

/* Where the translation of RIP begins, flags in the slot, made if need be; 0: the run loop decides. */
static uint64_t unknown_code(struct cpu *c, struct xcache *k)
{
    struct xunit *u = xcache_lock_unit(c, k);
    if (!u)
        return 0;
    jc_fill(c, u);
    uint64_t go = u->code + u->entry_slot; /* what the poll looks at has just been looked at */
    xcache_unlock(k);
    return go;
}

/* The same by the jump cache alone; 0: it does not know. */
static uint64_t known_code(struct cpu *c, const struct xcache *k)
{
    uint64_t at = c->x.jc[c->tlb_user][jc_index(c->rip)];
    uint32_t back;

    if (at == k->glue.miss)
        return 0;
    memcpy(&back, (const void *)(uintptr_t)(at - sizeof back), sizeof back);
    const struct xunit *u = (const struct xunit *)(const void *)(k->meta + (size_t)back * 8);
    return u->linear == c->rip ? u->code + u->entry_slot : 0;
}

/* Where the translation of RIP begins, flags in the slot; 0: the run loop decides. */
static uint64_t next_code(struct cpu *c)
{
    struct xcache *k = c->engine->xlate;

    if (wanted_outside(c) || !xlate_possible(c))
        return 0;
    uint64_t known = known_code(c, k);
    if (known)
        return known;
    return unknown_code(c, k);
}

static struct xunit *unit_of(struct cpu *c, const struct xmeta *m)
{
    return (struct xunit *)(void *)(c->engine->xlate->meta + (size_t)m->unit * 8);
}

/* The decoded instruction, kept by the place of its way out. */
static const struct insn *insn_of(struct cpu *c, const struct xunit *u, const struct xmeta *m)
{
    unsigned i = (unsigned)((uintptr_t)m >> 3) & (XINSN_KEPT - 1);
    struct cpu_private *p = c->priv;

    if (p->xinsn_key[i] != (uintptr_t)m) {
        p->xinsn_key[i] = (uintptr_t)m;
        insn_decode(u->guest + m->insn, (unsigned)(u->bytes - m->insn), MODE_64, &p->xinsn[i]);
    }
    return &p->xinsn[i];
}

/* Vector instructions may run as themselves now: up to which kind. MXCSR must have all exceptions masked, for
 * they would come as signals. */
static unsigned vectors_allowed(const struct cpu *c)
{
    if ((c->cr0 & (CR0_EM | CR0_TS)) || !(c->cr4 & CR4_OSFXSR) || (c->fpu.mxcsr & 0x1f80) != 0x1f80)
        return XVEC_NONE;
    return (c->cr4 & CR4_OSXSAVE) && (c->xcr0 & 6) == 6 ? XVEC_AVX : XVEC_SSE;
}

static bool want_vectors(struct cpu *c, const struct xunit *u)
{
    unsigned level = vectors_allowed(c);

    if (level < u->vec)
        return false;
    c->x.vec_want = level;
    c->x.vec_mxcsr = c->fpu.mxcsr;
    return true;
}

/* What the instruction is about to access: its operand, or the stack's top. */
static void refill(struct cpu *c, const struct insn *in)
{
    for (unsigned i = 0; i < 2; i++)
        if (in->kind[i] == OPD_MEM && in->memsize) {
            ftlb_refill(c, c->fast_base[in->seg] + insn_ea(c, in));
            return;
        }
    ftlb_refill(c, c->gpr[X86_RSP]);
    ftlb_refill(c, c->gpr[X86_RSP] - 8);
}

uint64_t xlate_slow(struct cpu *c, const struct xmeta *m)
{
    struct xunit *u = unit_of(c, m);
    const struct insn *in = insn_of(c, u, m);
    struct xcache *k = c->engine->xlate;

    c->rip = u->linear + m->insn;
    uint64_t next = c->rip + in->len;
    if (k->counting)
        c->icount -= (uint64_t)(u->insns - m->index);
    c->leave_block = 0;
    c->priv->n_slow++;
    refill(c, in);
    do {
        c->next_rip = next;
        in->exec(c, in);
    } while (c->next_rip == c->rip && (in->flags & (INSN_REP | INSN_REPNE)) && !wanted_outside(c));
    c->rip = c->next_rip;
    c->icount++;
    if (c->rip == next && !c->leave_block && !u->dead && c->tlb_user == u->set && !wanted_outside(c) &&
        m->go_on && (!u->vec || want_vectors(c, u))) {
        if (k->counting)
            c->icount += (uint64_t)(u->insns - m->index) - 1;
        return u->code + m->go_on;
    }
    if (c->db_pending | c->debug_exit) {
        if (!(c->shadow & 2))
            debug_after(c, false);
        return 0;
    }
    return k->single ? 0 : next_code(c);
}

/* A flags slot valid: which way into `u` for a jump that has flags in `state`. */
static unsigned entry_for(const struct xunit *u, const struct xlink *l)
{
    if (l->state == XF_HOST || (l->state == XF_BOTH && u->want == XF_HOST && !l->backward)) {
        if (u->want == XF_SLOT || l->backward)
            return u->entry_saving;
        return u->entry_body;
    }
    return l->backward ? u->entry_poll : u->entry_slot;
}

uint64_t xlate_link(struct cpu *c, const void *at) /* in the code, at any byte */
{
    struct xcache *k = c->engine->xlate;
    uint32_t link;

    memcpy(&link, at, sizeof link);
    struct xlink *l = (struct xlink *)(void *)(k->meta + (size_t)link * 8);
    c->rip = l->target;
    if (k->single || wanted_outside(c) || !xlate_possible(c))
        return 0;
    uint64_t flushes = k->n_flush;
    struct xunit *u = xcache_lock_unit(c, k);
    if (!u)
        return 0;
    if (k->n_flush == flushes && true) {
        xcache_set_site(l->site, (int32_t)(u->code + entry_for(u, l) - ((uintptr_t)l->site + k->delta)));
        l->next = u->in;
        u->in = l;
    }
    uint64_t go = u->code + u->entry_slot; /* what the poll looks at has just been looked at */
    xcache_unlock(k);
    return go;
}

uint64_t xlate_miss(struct cpu *c)
{
    c->rip = c->x.target;
    return c->engine->xlate->single || wanted_outside(c) ? 0 : unknown_code(c, c->engine->xlate);
}

uint64_t xlate_poll(struct cpu *c, const struct xmeta *m)
{
    c->rip = unit_of(c, m)->linear;
    return 0;
}

uint64_t xlate_vec(struct cpu *c, const struct xmeta *m)
{
    struct xunit *u = unit_of(c, m);

    c->rip = u->linear;
    if (!want_vectors(c, u)) {
        c->priv->interpret_once = 1;
        return 0;
    }
    return u->code + m->go_on;
}

void xlate_thread(struct cpu *c)
{
    if (!c->x.on)
        return;
    __asm__ volatile("wrgsbase %0" : : "r"(c));
    __asm__ volatile("stmxcsr %0" : "=m"(c->x.host_mxcsr));
}

bool xlate_run(struct cpu *c)
{
    struct xcache *k = c->engine->xlate;

    if (c->priv->interpret_once) {
        c->priv->interpret_once = 0;
        return false;
    }
    uint64_t go = next_code(c);
    if (!go)
        return false;
    void (*enter)(struct cpu *, uint64_t);
    memcpy(&enter, &k->glue.enter, sizeof enter);
    enter(c, go);
    return true;
}
