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
           c->db_pending || c->debug_exit || p->timer_due < p->armed || p->break_armed ||
           p->dbg.single_step || c->icount >= c->x.stop_at;
}

bool xlate_possible(const struct cpu *c)
{
    /* units are the kernel's, which may do all, or the user's: not of CPL 1 and 2 */
    return c->mode == MODE_64 && c->tlb_user < FTLB_SETS && (c->cpl == 0 || c->cpl == 3) &&
           c->engine->xlate->enabled;
}

/* From translated code, which another vCPU may have made: what that wrote down of it is read after this. And
 * translated code changes cpu->tlb_user alone (xsys.c): what follows from it. */
static inline void arrive(struct cpu *c)
{
    (void)__atomic_load_n(&c->engine->xlate->lock, __ATOMIC_ACQUIRE); /* xcache_unlock released it */
    if (unlikely(c->tlb_now != c->tlb[c->tlb_user]))
        cpu_update_ac(c);
}

/* Where the translation of RIP begins, flags in the slot, made if need be; 0: the run loop decides. */
static uint64_t unknown_code(struct cpu *c, struct xcache *k)
{
    struct xnear *n = &c->priv->xnear[c->tlb_user][(c->rip ^ c->rip >> 13) & (XNEAR - 1)];
    struct place p;

    if (n->linear == c->rip && n->unit && xcache_known_place(c, c->rip, &p) && p.gpa == n->gpa &&
        xunit_good(n->unit)) {
        jc_fill(c, n->unit);
        return xcode_at(k, n->unit->entry[XE_BODY]);
    }
    struct xunit *u = xcache_lock_unit(c, k, NULL);
    if (!u)
        return 0;
    if (jc_fill(c, u))
        *n = (struct xnear){.linear = u->linear, .gpa = u->gpa, .unit = u};
    uint64_t go = xcode_at(k, u->entry[XE_BODY]); /* what the poll looks at has just been looked at */
    xcache_unlock(k);
    return go;
}

/* The same by the jump cache alone; 0: it does not know. */
static uint64_t known_code(struct cpu *c, struct xcache *k)
{
    uint64_t at = c->x.jc[c->tlb_user][jc_index(c->rip)];

    if (at == k->glue.miss)
        return 0;
    const struct xunit *u = xmeta_at(k, (const uint8_t *)(uintptr_t)at - sizeof(uint32_t));
    return u->linear == c->rip ? xcode_at(k, u->entry[XE_BODY]) : 0;
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

/* The slow way that was called, `at` behind the call. */
static const struct xkept *kept(struct cpu *c, const uint8_t *at)
{
    struct xkept *w = &c->priv->xkept[(uintptr_t)at & (XKEPT - 1)];
    struct xcache *k = c->engine->xlate;

    if (w->key == (uintptr_t)at)
        return w;
    unsigned behind = 0;
    const uint8_t *p = at;
    for (; *p == XCALL; p += XCALL_BYTES)
        behind++;
    w->unit = xmeta_at(k, p + 1);
    w->way =
        (const struct xslow *)(void *)(k->meta + (size_t)w->unit->slow * 8) + w->unit->n_slow - 1 - behind;
    w->key = (uintptr_t)at;
    insn_decode(w->unit->guest + w->way->at, (unsigned)(w->unit->bytes - w->way->at), MODE_64, &w->insn);
    return w;
}

/* Instruction n of a group, at c->rip. */
static const struct insn *kept_further(struct cpu *c, const uint8_t *at, const struct xunit *u, unsigned n)
{
    uintptr_t key = (uintptr_t)at | (uintptr_t)n << 48;
    struct xkept *w = &c->priv->xkept[((uintptr_t)at + n * 61) & (XKEPT - 1)];

    if (w->key != key) {
        unsigned from = (unsigned)(c->rip - u->linear);
        w->key = key;
        insn_decode(u->guest + from, u->bytes - from, MODE_64, &w->insn);
    }
    return &w->insn;
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

/* One instruction; true: it came to its end, and nothing speaks against the next. */
static bool interpret(struct cpu *c, const struct insn *in)
{
    uint64_t next = c->rip + in->len;

    c->leave_block = 0;
    c->priv->n_slow++;
    do {
        c->next_rip = next;
        in->exec(c, in);
        c->icount++;
    } while (c->next_rip == c->rip && (in->flags & (INSN_REP | INSN_REPNE)) && !wanted_outside(c));
    c->rip = c->next_rip;
    return c->rip == next && (!c->leave_block || SEED_BUG(23)) && !wanted_outside(c);
}

/* The fast TLB did not know a group's bytes. True: now it does. */
static bool group_known(struct cpu *c, struct xunit *u, const struct xslow *way)
{
    uint64_t linear = c->gpr[way->base] + (uint64_t)(int64_t)way->low;
    bool two_pages = (linear & 0xfff) + way->bytes > 4096;

    ftlb_refill(c, linear);
    if (!two_pages && ftlb_knows(c, linear, way->write))
        return true;
    if ((two_pages || ftlb_knows(c, linear, false)) && u->crossed < XCROSSED && ++u->crossed == XCROSSED) {
        c->engine->xlate->alone[xalone_index(u->linear)] = 1;
        xcache_drop(c, u);
    }
    return false;
}

uint64_t xlate_slow(struct cpu *c, const uint8_t *at)
{
    arrive(c);
    const struct xkept *w = kept(c, at);
    struct xunit *u = w->unit;
    struct xcache *k = c->engine->xlate;
    const struct xslow way = *w->way;
    const struct insn *in = &w->insn; /* used up before another instruction may take its place */
    unsigned n = 0;
    uint64_t seen = c->priv->xcache_seen; /* who waits for others may find the cache emptied */

    c->rip = u->linear + way.at;
    if (way.count > 1 && group_known(c, u, &way) && (!u->vec || want_vectors(c, u)))
        return xcode_at(k, u->code) + way.probe;
    if (k->counting)
        c->icount -= way.ahead;
    if (way.access)
        refill(c, in);
    bool on = interpret(c, in) && c->priv->xcache_seen == seen;
    while (on && ++n < way.count)
        on = interpret(c, kept_further(c, at, u, n)) && c->priv->xcache_seen == seen;
    if (on && (!__atomic_load_n(&u->dead, __ATOMIC_RELAXED) || SEED_BUG(23)) && c->tlb_user == u->set &&
        way.go_on && (!u->vec || SEED_BUG(39) || want_vectors(c, u))) {
        if (k->counting)
            c->icount += way.behind;
        return xcode_at(k, u->code) + way.go_on;
    }
    if (c->db_pending | c->debug_exit) {
        if (!(c->shadow & 2))
            debug_after(c, false);
        return 0;
    }
    return k->single ? 0 : next_code(c);
}

uint64_t xlate_link(struct cpu *c, const void *at) /* in the code, at any byte */
{
    arrive(c);
    struct xcache *k = c->engine->xlate;
    struct xlink *l = xmeta_at(k, at);

    if (SEED_BUG(22) && wanted_outside(c))
        return 0;
    c->rip = l->target;
    if (k->single || wanted_outside(c) || !xlate_possible(c))
        return 0;
    uint64_t flushes = k->n_flush;
    struct xunit *u = xcache_lock_unit(c, k, l);
    if (!u)
        return 0;
    int32_t now = 0;
    if (k->n_flush == flushes)
        memcpy(&now, l->site - sizeof now, sizeof now);
    /* another vCPU may have come here before and linked it */
    bool may = k->n_flush == flushes && now == l->unlinked && !l->from->dead && l->from->page == u->page;
    uint64_t to = may ? xentry_address(k, u, xentry_for(u, l)) : 0;
    if (to) {
        xcache_set_site(l->site, (int32_t)(to - ((uintptr_t)l->site + k->delta)));
        l->next = u->in;
        u->in = l;
    }
    uint64_t go = xcode_at(k, u->entry[XE_BODY]); /* what the poll looks at has just been looked at */
    xcache_unlock(k);
    return go;
}

uint64_t xlate_miss(struct cpu *c)
{
    arrive(c);
    c->rip = c->x.target;
    return c->engine->xlate->single || wanted_outside(c) ? 0 : unknown_code(c, c->engine->xlate);
}

uint64_t xlate_poll(struct cpu *c, const void *at)
{
    arrive(c);
    const struct xunit *u = xmeta_at(c->engine->xlate, at);

    c->rip = u->linear;
    return 0;
}

/* Flags are nobody's, but an interrupt would show them: on to where they are set anew. Nothing there can
 * fault. */
uint64_t xlate_lost(struct cpu *c, const void *at)
{
    arrive(c);
    const struct xunit *u = xmeta_at(c->engine->xlate, at);
    struct insn in;
    unsigned from = 0;

    c->rip = u->linear;
    for (unsigned i = 0; i < u->lost; i++) {
        insn_decode(u->guest + from, (unsigned)(u->bytes - from), MODE_64, &in);
        c->next_rip = c->rip + in.len;
        in.exec(c, &in);
        c->rip = c->next_rip;
        from += in.len;
        c->icount++;
        c->priv->n_slow++;
    }
    return 0;
}

uint64_t xlate_once(struct cpu *c, const void *at)
{
    struct xunit *u = xmeta_at(c->engine->xlate, at);
    struct place p;

    arrive(c);
    c->rip = u->linear;
    c->priv->interpret_once = 1;
    /* it runs into the next page, and may be made of what is there now */
    if ((u->linear & 0xfff) + u->bytes >= 4096 && xcache_known_place(c, (u->linear | 0xfff) + 1, &p) &&
        (u->second ? ++u->crossed == XSECOND : u->crossed != XSECOND))
        xcache_drop(c, u);
    return 0;
}

uint64_t xlate_vec(struct cpu *c, const void *at)
{
    arrive(c);
    struct xcache *k = c->engine->xlate;
    struct xunit *u = xmeta_at(k, at);

    c->rip = u->linear;
    if (!want_vectors(c, u)) {
        c->priv->interpret_once = 1;
        return 0;
    }
    return xcode_at(k, u->code) + u->go_on;
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
