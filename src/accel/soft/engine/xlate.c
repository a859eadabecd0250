/*
 * xlate: one unit. The instructions are decoded first, then written in one pass (xops.c) with the ways out
 * behind them.
 */
#include <stddef.h>
#include "accel/soft/engine/xmake.h"

enum { LINE = 64 };

/* ---- flags ---- */

void xmake_save_flags(struct maker *m)
{
    if (m->state != XF_HOST)
        return;
    XB(&m->e, 0x48, 0x8d, 0x64, 0x24, 0x08, 0x9c); /* lea rsp, [rsp+8]; pushfq */
    m->state = XF_BOTH;
}

void xmake_restore_code(struct xemit *e)
{
    x_store(e, H_RAX, XOFF(x.save));
    XB(e, 0x8a, 0x44, 0x24, 0x01, 0x04, 0x78, 0x8a, 0x24, 0x24, 0x9e); /* as in xglue.c: flags_from_slot */
    x_load(e, H_RAX, XOFF(x.save));
}

void xmake_restore_flags(struct maker *m)
{
    if (m->state != XF_SLOT)
        return;
    xmake_restore_code(&m->e);
    m->state = XF_BOTH;
}

/* What comes next spoils the host's flags. */
void xmake_spoil_flags(struct maker *m)
{
    xmake_save_flags(m);
    m->state = XF_SLOT;
}

/* ---- ways out ---- */

struct stub *xmake_stub(struct maker *m, enum stub_kind kind, unsigned index)
{
    struct stub *s = &m->stub[m->stubs++];

    *s = (struct stub){.from = m->e.p, .kind = (uint8_t)kind, .state = m->state, .index = (uint8_t)index};
    return s;
}

static void emit_meta(struct maker *m, unsigned index, const uint8_t *go_on)
{
    struct xmeta t = {.unit = (uint32_t)(((uint8_t *)m->u - m->k->meta) / 8),
                      .insn = index < m->count ? m->insn[index].at : 0,
                      .go_on = (uint16_t)(go_on ? go_on - m->start : 0),
                      .index = (uint8_t)index};
    xbytes(&m->e, &t, sizeof t);
}

/* Leave one instruction to the interpreter; go_on NULL: what follows it is looked up anew. */
void xmake_call_slow(struct maker *m, unsigned state, unsigned index, const uint8_t *go_on)
{
    x_call_to(&m->e, m->k->glue.slow[state != XF_HOST]);
    emit_meta(m, index, go_on);
}

void xmake_interpreted(struct maker *m, unsigned index, bool more)
{
    enum { CALL = 5 };
    m->ambiguous |= m->state == XF_ANY;
    xmake_call_slow(m, m->state, index, more ? m->e.p + CALL + sizeof(struct xmeta) : NULL);
    m->state = XF_BOTH;
}

static bool same_page(const struct maker *m, uint64_t target)
{
    return (target ^ m->u->linear) < 4096;
}

/* So that a displacement may be changed while others run it: it lies within a cache line. */
static void align_site(struct maker *m, unsigned opcode_bytes)
{
    uint64_t at = xhere(&m->e) + opcode_bytes;
    for (unsigned n = (at & (LINE - 1)) > LINE - 4 ? LINE - (at & (LINE - 1)) : 0; n; n--)
        x8(&m->e, 0x90);
}

/* The target is on another page: by the jump cache. */
void xmake_away(struct maker *m, uint64_t target)
{
    xmake_save_flags(m);
    x_mov_imm(&m->e, H_R10, target);
    XB(&m->e, 0x65, 0xff, 0x24, 0x25); /* jmp gs:[..] */
    x32(&m->e, XOFF(x.jc) + (m->u->set * JC_SIZE + jc_index(target)) * 8);
}

void xmake_jump(struct maker *m, unsigned index, uint64_t target)
{
    m->ambiguous |= m->state == XF_ANY;
    if (!same_page(m, target)) {
        xmake_away(m, target);
        return;
    }
    align_site(m, 1);
    x8(&m->e, 0xe9);
    x32(&m->e, 0);
    xmake_stub(m, STUB_LINK, index)->target = target;
}

void xmake_jcc(struct maker *m, unsigned index, uint64_t target)
{
    xmake_restore_flags(m);
    align_site(m, 2);
    XB(&m->e, 0x0f, (uint8_t)(0x80 | (m->insn[index].zi.opcode & 15)));
    x32(&m->e, 0);
    xmake_stub(m, same_page(m, target) ? STUB_LINK : STUB_AWAY, index)->target = target;
}

/* To the linear address in R10; flags are in the slot. */
void xmake_indirect(struct maker *m)
{
    XB(&m->e, 0x45, 0x89, 0xd3, 0x41, 0x81, 0xe3); /* mov r11d, r10d; and r11d, .. */
    x32(&m->e, JC_SIZE - 1);
    XB(&m->e, 0x65, 0x42, 0xff, 0x24, 0xdd); /* jmp gs:[r11*8 + ..] */
    x32(&m->e, XOFF(x.jc) + m->u->set * JC_SIZE * 8);
}

/* ---- the unit ---- */

/* What the unit's first use of flags asks of its caller. XF_ANY: they are set anew before anybody can look.
 */
static enum xflags wanted(const struct maker *m)
{
    if (m->u->vec)
        return XF_SLOT; /* its check spoils flags */
    for (unsigned i = 0; i < m->count; i++) {
        const struct xinsn *x = &m->insn[i];
        switch ((enum xkind)x->kind) {
        case XK_NOTHING:
        case XK_LEA:
            continue;
        case XK_PLAIN:
            if (x->mem)
                return XF_SLOT;
            if (x->reads)
                return XF_HOST;
            if (x->writes)
                return XF_ANY;
            continue;
        case XK_JCC:
            return XF_HOST;
        default:
            return XF_SLOT;
        }
    }
    return XF_SLOT;
}

/* The ways in. In order: for indirect jumps, R10 to be checked; with flags in the host, saving them; then the
 * poll. */
static void emit_top(struct maker *m)
{
    struct xunit *u = m->u;
    struct xemit *e = &m->e;

    u->entry_checked = (uint16_t)(e->p - m->start);
    if (fits32((int64_t)u->linear)) {
        XB(e, 0x49, 0x81, 0xfa); /* cmp r10, imm32 */
        x32(e, (uint32_t)u->linear);
    } else {
        x_mov_imm(e, H_R11, u->linear);
        XB(e, 0x4d, 0x39, 0xda); /* cmp r10, r11 */
    }
    x_jcc_to(e, CC_NE, m->k->glue.miss);
    XB(e, 0xeb, 0x06); /* jmp over what follows */
    u->entry_saving = (uint16_t)(e->p - m->start);
    XB(e, 0x48, 0x8d, 0x64, 0x24, 0x08, 0x9c); /* lea rsp, [rsp+8]; pushfq */
    u->entry_poll = (uint16_t)(e->p - m->start);
    m->state = XF_SLOT;
    x_gs_cmp32(e, XOFF(x.poll), 0);
    x_jcc(e, CC_NE);
    xmake_stub(m, STUB_POLL, 0);
    u->entry_slot = (uint16_t)(e->p - m->start);
    if (u->vec) {
        x_gs_cmp32(e, XOFF(x.vec_live), u->vec);
        x_jcc(e, CC_B);
        xmake_stub(m, STUB_VEC, 0)->go_on = e->p;
    }
    if (u->want == XF_HOST) {
        xmake_restore_code(e);
        m->state = XF_HOST;
    }
    u->entry_body = (uint16_t)(e->p - m->start);
    if (u->want == XF_ANY)
        m->state = XF_ANY;
    if (m->k->counting) {
        x_load(e, H_R11, XOFF(icount));
        x_lea(e, true, H_R11, H_R11, 0xff, 1, u->insns);
        x_store(e, H_R11, XOFF(icount));
    }
}

static struct xlink *new_link(struct maker *m, const struct stub *s)
{
    struct xcache *k = m->k;

    if (k->meta_used + sizeof(struct xlink) > sizeof k->meta) {
        m->failed = true;
        return NULL;
    }
    struct xlink *l = (struct xlink *)(void *)(k->meta + k->meta_used);
    k->meta_used += (sizeof *l + 7) & ~(size_t)7;
    *l = (struct xlink){.site = s->from,
                        .target = s->target,
                        .state = s->state,
                        .backward = s->target <= m->u->linear + m->insn[s->index].at};
    return l;
}

static void emit_stub(struct maker *m, struct stub *s)
{
    x_patch(&m->e, s->from);
    switch ((enum stub_kind)s->kind) {
    case STUB_SLOW:
        xmake_call_slow(m, XF_SLOT, s->index, s->go_on);
        return;
    case STUB_POLL:
        x_call_to(&m->e, m->k->glue.poll);
        emit_meta(m, 0, NULL);
        return;
    case STUB_VEC:
        x_call_to(&m->e, m->k->glue.vec);
        emit_meta(m, 0, s->go_on);
        return;
    case STUB_AWAY:
        m->state = s->state;
        xmake_away(m, s->target);
        return;
    case STUB_LINK: {
        struct xlink *l = new_link(m, s);
        if (!l)
            return;
        memcpy(&l->unlinked, s->from - 4, 4);
        x_call_to(&m->e, m->k->glue.link[s->state != XF_HOST]);
        x32(&m->e, (uint32_t)(((uint8_t *)l - m->k->meta) / 8));
        return;
    }
    }
}

static unsigned decode(struct maker *m, const uint8_t *bytes, unsigned room)
{
    ZydisDecoder d;
    unsigned at = 0;

    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
    ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
    while (m->count < (m->k->single ? 1 : XUNIT_INSNS) && at < room) {
        struct xinsn *x = &m->insn[m->count];
        if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, bytes + at, room - at, &x->zi, x->ops)))
            break; /* undefined, or runs into the next page: the interpreter sees to it */
        x->at = (uint16_t)at;
        x->bytes = bytes + at;
        xinsn_classify(m->c, x);
        at += x->zi.length;
        m->count++;
        if (x->vec > m->u->vec)
            m->u->vec = x->vec;
        enum xkind kind = (enum xkind)x->kind;
        if (kind == XK_CALL || kind == XK_CALL_IND || kind == XK_JMP || kind == XK_JMP_IND ||
            kind == XK_RET || kind == XK_STUB_END)
            break;
    }
    return at;
}

static void emit_code(struct maker *m, uint64_t end)
{
    bool more = true;

    emit_top(m);
    for (unsigned i = 0; i < m->count && more; i++)
        more = xmake_insn(m, i);
    if (more)
        xmake_jump(m, m->count - 1, end);
}

struct xunit *xlate_unit(struct cpu *c, struct xcache *k, uint64_t linear, const struct place *p)
{
    struct xinsn insn[XUNIT_INSNS];
    struct maker m = {.c = c, .k = k, .insn = insn};
    unsigned room = 4096 - (unsigned)(p->gpa & 0xfff);
    size_t used = k->meta_used;

    if (room > XUNIT_INSNS * 15)
        room = XUNIT_INSNS * 15;
    m.u = (struct xunit *)(void *)(k->meta + used);
    memset(m.u, 0, sizeof *m.u);
    host_copy(m.u->guest, p->host, room);
    m.u->gpa = p->gpa;
    m.u->linear = linear;
    m.u->set = c->tlb_user;
    unsigned bytes = decode(&m, m.u->guest, room);
    if (!m.count)
        return NULL;
    m.u->bytes = (uint16_t)bytes;
    m.u->insns = (uint8_t)m.count;
    m.u->want = (uint8_t)wanted(&m);
    k->meta_used += (sizeof *m.u + bytes + 7) & ~(size_t)7;

    while (((uintptr_t)k->next & 15) != 12)
        *k->next++ = 0xcc;
    uint32_t back = (uint32_t)(used / 8); /* from a jump cache's entry to its unit: xcache.c, known_code */
    memcpy(k->next, &back, sizeof back);
    k->next += sizeof back;
    m.e = (struct xemit){.p = k->next, .delta = k->delta};
    m.start = k->next;
    m.u->code = xhere(&m.e);
    emit_code(&m, linear + bytes);
    if (m.ambiguous) { /* an instruction before the first that sets flags turned out not to be plain */
        m.u->want = XF_SLOT;
        m.e.p = m.start;
        m.stubs = 0;
        emit_code(&m, linear + bytes);
    }
    for (unsigned i = 0; i < m.stubs; i++)
        emit_stub(&m, &m.stub[i]);
    if (m.failed) {
        k->meta_used = used;
        return NULL;
    }
    k->n_units++;
    k->n_guest_bytes += bytes;
    k->n_host_bytes += (uint64_t)(m.e.p - m.start);
    k->next = m.e.p;
    return m.u;
}
