/*
 * xlate: one unit. The instructions are decoded first, then written in one pass (xops.c) with the ways out
 * behind them.
 */
#include <stddef.h>
#include "accel/soft/engine/xmake.h"

enum { LINE = 64 };
_Static_assert(sizeof(struct xunit) + XUNIT_INSNS * 15 +
                       MAX_STUBS * (sizeof(struct xlink) + sizeof(struct xslow)) + 64 <=
                   XMETA_ROOM,
               "what is written down of one unit");
_Static_assert(MAX_STUBS * 40 + 64 <= XCOLD_ROOM, "a stub is shorter");

/* ---- ways out ---- */

struct stub *xmake_stub(struct maker *m, enum stub_kind kind, unsigned index)
{
    struct stub *s = &m->stub[m->stubs++];

    *s = (struct stub){.from = m->e.p,
                       .kind = (uint8_t)kind,
                       .state = m->state,
                       .index = (uint8_t)index,
                       .recipe = m->state == XF_LAZY ? m->recipe : 0};
    return s;
}

void xmake_interpreted(struct maker *m, unsigned index, bool more)
{
    m->ambiguous |= m->state == XF_ANY;
    x8(&m->e, 0xe9);
    x32(&m->e, 0);
    struct stub *s = xmake_stub(m, STUB_SLOW, index);
    s->go_on = more ? m->e.p : NULL;
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
void xmake_away_set(struct maker *m, uint64_t target, unsigned set)
{
    xmake_save_flags(m);
    x_mov_imm(&m->e, H_R10, target);
    XB(&m->e, 0x65, 0xff, 0x24, 0x25); /* jmp gs:[..] */
    x32(&m->e, XOFF(x.jc) + (set * JC_SIZE + jc_index(target)) * 8);
}

void xmake_away(struct maker *m, uint64_t target)
{
    xmake_away_set(m, target, m->u->set);
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
    xglue_indirect(&m->e, m->k, m->u->set);
}

/* ---- the unit ---- */

/* What the unit's first use of flags asks of its caller. XF_ANY: they are set anew before anybody can look.
 */
static enum xflags wanted(struct maker *m)
{
    if (m->u->vec || m->u->second)
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
            if (x->writes) {
                m->u->lost = (uint8_t)(i + 1);
                return XF_ANY;
            }
            continue;
        case XK_JCC:
            return XF_HOST;
        default:
            return XF_SLOT;
        }
    }
    return XF_SLOT;
}

/* ---- ways in ---- */

static void emit_unit_of(struct xemit *e, const struct xcache *k, const struct xunit *u)
{
    x32(e, xmeta_of(k, u));
}

static bool polls(enum xentry kind)
{
    return kind >= XE_POLL;
}

/* Where instructions are counted, somebody may want the vCPU to leave at a count. */
static void emit_stop(struct xemit *e)
{
    x_load(e, H_R11, XOFF(icount));
    XB(e, 0x65, 0x4c, 0x3b, 0x1c, 0x25); /* cmp r11, gs:[stop_at] */
    x32(e, XOFF(x.stop_at));
    XB(e, 0x72, 12, 0x65, 0xc7, 0x04, 0x25); /* jb over; mov dword gs:[poll], 1 */
    x32(e, XOFF(x.poll));
    x32(e, 1);
}

/* What comes before the body. Returns the place of the poll's jump, for emit_poll_stub. */
static uint8_t *emit_entry(struct xemit *e, const struct xcache *k, const struct xunit *u, enum xentry kind)
{
    uint8_t *poll = NULL;

    if (kind == XE_CHECK) {
        if (fits32((int64_t)u->linear)) {
            XB(e, 0x49, 0x81, 0xfa); /* cmp r10, imm32 */
            x32(e, (uint32_t)u->linear);
        } else {
            x_mov_imm(e, H_R11, u->linear);
            XB(e, 0x4d, 0x39, 0xda); /* cmp r10, r11 */
        }
        x_jcc_to(e, CC_NE, k->glue.miss);
    }
    if (kind == XE_SAVE || kind == XE_SAVE_POLL)
        XB(e, 0x48, 0x8d, 0x64, 0x24, 0x08, 0x9c); /* lea rsp, [rsp+8]; pushfq */
    if (polls(kind)) {
        if (k->counting)
            emit_stop(e);
        x_gs_cmp32(e, XOFF(x.poll), 0);
        poll = x_jcc(e, CC_NE);
    }
    if (kind == XE_RESTORE || (polls(kind) && u->want == XF_HOST))
        xmake_restore_code(e);
    return poll;
}

static void emit_poll_stub(struct xemit *e, const struct xcache *k, const struct xunit *u, enum xentry kind,
                           uint8_t *poll)
{
    if (!poll)
        return;
    x_patch(e, poll);
    x_call_to(e, kind == XE_LOST_POLL ? k->glue.lost : k->glue.poll);
    emit_unit_of(e, k, u);
}

enum xentry xentry_for(const struct xunit *u, const struct xlink *l)
{
    if (!l)
        return XE_CHECK;
    bool in_host = l->state == XF_HOST, in_slot = l->state == XF_SLOT;
    if (l->backward && in_host)
        return u->want == XF_ANY ? XE_LOST_POLL : XE_SAVE_POLL;
    if (l->backward && !SEED_BUG(24))
        return XE_POLL;
    if (u->want == XF_SLOT)
        return in_host ? XE_SAVE : XE_BODY;
    return u->want == XF_HOST && in_slot ? XE_RESTORE : XE_BODY;
}

/* From a jump cache's entry to its unit: xout.c, known_code. */
static void emit_back(struct xemit *e, const struct xcache *k, const struct xunit *u, enum xentry kind)
{
    if (kind == XE_CHECK)
        emit_unit_of(e, k, u);
}

static uint32_t code_offset(const struct xcache *k, const uint8_t *p)
{
    return (uint32_t)(p - (const uint8_t *)k->code);
}

uint64_t xentry_address(struct xcache *k, struct xunit *u, enum xentry kind)
{
    if (!u->entry[kind]) {
        if (k->next + XENTRY_ROOM > k->code_end)
            return 0;
        struct xemit e = {.p = k->next, .delta = k->delta};
        emit_back(&e, k, u, kind);
        u->entry[kind] = code_offset(k, e.p);
        uint8_t *poll = emit_entry(&e, k, u, kind);
        x_jmp_to(&e, xcode_at(k, u->entry[XE_BODY]));
        emit_poll_stub(&e, k, u, kind, poll);
        k->n_host_bytes += (uint64_t)(e.p - k->next);
        xunit_tell(k, u, k->next, e.p);
        k->next = e.p;
    }
    return xcode_at(k, u->entry[kind]);
}

/* Instructions are counted together up to a branch that may leave the unit: the first behind those that are
 * counted with instruction i. */
static unsigned counted_to(const struct maker *m, unsigned i)
{
    while (i < m->count && m->insn[i].kind != XK_JCC)
        i++;
    return i < m->count ? i + 1 : i;
}

void xmake_count(struct maker *m, unsigned from)
{
    struct xemit *e = &m->e;
    unsigned n = counted_to(m, from) - from;

    if (!m->k->counting || !n)
        return;
    uint8_t *before = e->p;
    if (m->state == XF_HOST) {
        x_load(e, m->spare, XOFF(icount));
        x_lea(e, true, m->spare, m->spare, 0xff, 1, (int32_t)n);
        x_store(e, m->spare, XOFF(icount));
    } else {
        XB(e, 0x65, 0x48, 0x83, 0x04, 0x25); /* add qword gs:[icount], imm8 */
        x32(e, XOFF(icount));
        x8(e, n);
        if (m->state == XF_BOTH)
            m->state = XF_SLOT;
    }
    m->counting += (unsigned)(e->p - before);
}

/* Compare n bytes (1..8) at `at` of the page that R10 + R11 leads to with `bytes`. */
static void compare_bytes(struct maker *m, const uint8_t *bytes, unsigned at, unsigned n)
{
    struct xemit *e = &m->e;
    uint64_t want = 0;

    memcpy(&want, bytes, n);
    XB(e, 0x4f, 0x8b, 0x5c, 0x1a, (uint8_t)at); /* mov r11, [r10 + r11 + ..] */
    x_mov_imm(e, H_R10, want);
    XB(e, 0x4d, 0x31, 0xd3); /* xor r11, r10 */
    if (n < 8)
        XB(e, 0x49, 0xc1, 0xe3, (uint8_t)(64 - 8 * n)); /* shl r11, .. */
    x_jcc(e, CC_NE);
    xmake_stub(m, STUB_ONCE, 0);
}

/* An instruction on two pages: the soft TLB still leads to the second one, and its bytes there are the same.
 */
static void check_second_page(struct maker *m)
{
    struct xemit *e = &m->e;
    const struct xunit *u = m->u;
    uint64_t page = (u->linear | 0xfff) + 1;
    unsigned n = u->second;
    const uint8_t *bytes = u->guest + u->bytes - n;
    size_t index = (u->set * TLB_KINDS + TLB_FETCH) * (size_t)TLB_SIZE + (page >> 12 & (TLB_SIZE - 1));
    uint32_t entry = XOFF(tlb) + (uint32_t)(index * sizeof(struct tlb_entry));

    x_mov_imm(e, H_R11, page);
    x_load(e, H_R10, XOFF(asid) + 8 * (uint32_t)(page >> 63));
    XB(e, 0x4d, 0x01, 0xda);                                                       /* add r10, r11 */
    x_gs(e, true, 0x39, H_R10, entry + (uint32_t)offsetof(struct tlb_entry, tag)); /* cmp gs:[..], r10 */
    x_jcc(e, CC_NE);
    xmake_stub(m, STUB_ONCE, 0);
    x_load(e, H_R10, entry + (uint32_t)offsetof(struct tlb_entry, addend));
    if (n > 8) {
        compare_bytes(m, bytes + n - 8, n - 8, 8);
        x_mov_imm(e, H_R11, page);
        x_load(e, H_R10, entry + (uint32_t)offsetof(struct tlb_entry, addend));
        n = 8;
    }
    compare_bytes(m, bytes, 0, n);
}

/* What the body begins with: flags are where the unit wants them. */
static void emit_top(struct maker *m)
{
    struct xunit *u = m->u;
    struct xemit *e = &m->e;

    m->state = u->want;
    if (u->second && !SEED_BUG(42))
        check_second_page(m);
    if (u->vec) {
        x_gs_cmp32(e, XOFF(x.vec_live), u->vec);
        x_jcc(e, CC_B);
        xmake_stub(m, STUB_VEC, 0);
        u->go_on = (uint16_t)(e->p - m->start);
    }
    xmake_count(m, 0);
}

static struct xlink *new_link(struct maker *m, const struct stub *s)
{
    struct xcache *k = m->k;

    if (k->meta_used + sizeof(struct xlink) > k->meta_end) {
        m->failed = true;
        return NULL;
    }
    struct xlink *l = (struct xlink *)(void *)(k->meta + k->meta_used);
    k->meta_used += (sizeof *l + 7) & ~(size_t)7;
    *l = (struct xlink){.from = m->u,
                        .site = s->from,
                        .target = s->target,
                        .state = s->state,
                        .backward = s->target <= m->u->linear + m->insn[s->index].at};
    return l;
}

static void emit_stub(struct maker *m, struct stub *s)
{
    if (s->kind == STUB_SLOW && !s->recipe)
        return;
    x_patch(&m->e, s->from);
    switch ((enum stub_kind)s->kind) {
    case STUB_SLOW: { /* by way of the flags */
        struct stub slow = *s;
        s->kind = STUB_DONE;
        xmake_recipe(m, slow.recipe);
        slow.recipe = 0;
        slow.state = XF_HOST;
        slow.from = x_jump(&m->e);
        m->stub[m->stubs++] = slow;
        return;
    }
    case STUB_DONE:
        return;
    case STUB_VEC:
    case STUB_ONCE:
        x_call_to(&m->e, s->kind == STUB_VEC ? m->k->glue.vec : m->k->glue.once);
        emit_unit_of(&m->e, m->k, m->u);
        return;
    case STUB_AWAY:
        m->state = s->state;
        xmake_away(m, s->target);
        return;
    case STUB_STACK: {
        x_mov_imm(&m->e, H_R11, s->bytes);
        x_call_to(&m->e, m->k->glue.stack[m->u->set][s->write]);
        x_jcc(&m->e, CC_B);
        struct stub slow = *s;
        slow.kind = STUB_SLOW;
        slow.from = m->e.p;
        m->stub[m->stubs++] = slow;
        x_jmp_to(&m->e, (uintptr_t)s->back + m->e.delta);
        return;
    }
    case STUB_LINK: {
        struct xlink *l = new_link(m, s);
        if (!l)
            return;
        memcpy(&l->unlinked, s->from - 4, 4);
        x_call_to(&m->e, m->k->glue.link[s->state != XF_HOST]);
        x32(&m->e, xmeta_of(m->k, l));
        return;
    }
    }
}

/* The calls of the slow way, which tell by their place which one it is, and the list of what they are for. */
static void emit_slow(struct maker *m)
{
    struct xcache *k = m->k;
    struct xslow *list = (struct xslow *)(void *)(k->meta + k->meta_used);

    if (k->meta_used + MAX_STUBS * sizeof *list > k->meta_end) {
        m->failed = true;
        return;
    }
    m->u->slow = xmeta_of(k, list);
    m->u->n_slow = 0;
    for (unsigned i = 0; i < m->stubs; i++) {
        struct stub *s = &m->stub[i];
        if (s->kind != STUB_SLOW)
            continue;
        const struct stub *same = i && m->stub[i - 1].kind == STUB_SLOW && m->stub[i - 1].index == s->index &&
                                          m->stub[i - 1].state == s->state &&
                                          m->stub[i - 1].group == s->group &&
                                          m->stub[i - 1].access == s->access
                                      ? &m->stub[i - 1]
                                      : NULL;
        s->at = same ? same->at : m->e.p;
        uint32_t d = (uint32_t)(s->at - s->from);
        memcpy(s->from - 4, &d, 4);
        if (same)
            continue;
        struct xslow *way = &list[m->u->n_slow++];
        *way = (struct xslow){.at = m->insn[s->index].at,
                              .go_on = (uint16_t)(s->go_on ? s->go_on - m->start : 0),
                              .count = 1,
                              .access = s->access,
                              .ahead = (uint8_t)(counted_to(m, s->index) - s->index)};
        unsigned last = s->index;
        if (s->group) {
            const struct xgroup *g = &m->group[s->group - 1];
            last = g->last;
            way->count = (uint8_t)(g->last - g->first + 1);
            way->base = g->base;
            way->write = g->write;
            way->low = (int16_t)g->low;
            way->bytes = g->bytes;
            way->probe = (uint16_t)(s->probe - m->start);
        }
        way->behind = (uint8_t)(counted_to(m, last) - last - 1);
        x_call_to(&m->e, k->glue.slow[s->state != XF_HOST]);
    }
    if (!m->u->n_slow)
        return;
    x8(&m->e, XTRAILER);
    emit_unit_of(&m->e, k, m->u);
    k->meta_used += (m->u->n_slow * sizeof *list + 7) & ~(size_t)7;
}

static unsigned most_insns(const struct cpu *c, const struct xcache *k)
{
    uint64_t left = c->x.stop_at - c->icount;

    if (!k->single)
        return XUNIT_INSNS;
    return k->single == XSINGLE || left < 1 ? 1 : left < XUNIT_INSNS ? (unsigned)left : XUNIT_INSNS;
}

static unsigned decode(struct maker *m, const uint8_t *bytes, unsigned room)
{
    ZydisDecoder d;
    unsigned at = 0;

    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
    ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
    while (m->count < m->most && at < room) {
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
            kind == XK_RET || kind == XK_STUB_END || kind == XK_SYSCALL || kind == XK_SYSRET ||
            kind == XK_IRET || kind == XK_STAC || kind == XK_CLAC)
            break;
    }
    /* the way to the next unit may poll, in the shadow: the interpreter knows of it */
    if (m->count && m->insn[m->count - 1].kind == XK_STI)
        m->insn[m->count - 1].kind = XK_STUB;
    return at;
}

static void emit_code(struct maker *m, uint64_t end, enum xentry first)
{
    bool more = true;

    m->sp_late = 0;
    m->spare = H_R11;
    m->poll = emit_entry(&m->e, m->k, m->u, first);
    m->u->entry[XE_BODY] = code_offset(m->k, m->e.p);
    if (!m->count) { /* undefined, or it runs into a page that nobody has looked at yet */
        x_call_to(&m->e, m->k->glue.once);
        emit_unit_of(&m->e, m->k, m->u);
        return;
    }
    emit_top(m);
    for (unsigned i = 0; i < m->count && more; i++)
        more = xmake_insn(m, i);
    if (more)
        xmake_jump(m, m->count - 1, end);
}

struct xunit *xlate_unit(struct cpu *c, struct xcache *k, uint64_t linear, const struct place *p,
                         const struct xlink *by)
{
    struct xinsn insn[XUNIT_INSNS];
    struct maker m = {.c = c, .k = k, .insn = insn, .most = most_insns(c, k)};
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
    struct place second;
    if (!m.count && room < ZYDIS_MAX_INSTRUCTION_LENGTH &&
        xcache_known_place(c, (linear | 0xfff) + 1, &second)) {
        unsigned most = ZYDIS_MAX_INSTRUCTION_LENGTH - room;
        host_copy(m.u->guest + room, second.host, most);
        m.most = 1;
        bytes = decode(&m, m.u->guest, room + most);
        if (m.count)
            m.u->second = (uint8_t)(bytes - room);
        else
            m.u->crossed = XSECOND; /* undefined: that is all there is to know */
    }
    if (!m.count)
        bytes = room < ZYDIS_MAX_INSTRUCTION_LENGTH ? room : ZYDIS_MAX_INSTRUCTION_LENGTH;
    m.u->bytes = (uint16_t)bytes;
    m.u->want = (uint8_t)wanted(&m);
    if (!k->single && !k->alone[xalone_index(linear)])
        xgroup_plan(&m);
    k->meta_used += (sizeof *m.u + bytes + 7) & ~(size_t)7;

    m.e = (struct xemit){.p = k->next, .delta = k->delta};
    for (unsigned again = 0; again < 2; again++) {
        enum xentry first = xentry_for(m.u, by);
        m.e.p = k->next;
        m.stubs = 0;
        m.ambiguous = false;
        m.counting = 0;
        emit_back(&m.e, k, m.u, first);
        m.start = m.e.p;
        m.u->code = code_offset(k, m.start);
        memset(m.u->entry, 0, sizeof m.u->entry);
        m.u->entry[first] = m.u->code;
        emit_code(&m, linear + bytes, first);
        if (!m.ambiguous)
            break;
        m.u->want = XF_SLOT; /* an instruction before the first that sets flags turned out not to be plain */
    }
    uint8_t *end = m.e.p;
    m.e.p = k->cold;
    emit_poll_stub(&m.e, k, m.u, xentry_for(m.u, by), m.poll);
    for (unsigned i = 0; i < m.stubs; i++)
        emit_stub(&m, &m.stub[i]);
    emit_slow(&m);
    if (m.failed) {
        k->meta_used = used;
        return NULL;
    }
    k->n_units++;
    k->n_guest_bytes += bytes;
    k->n_host_bytes += (uint64_t)(end - k->next) + (uint64_t)(m.e.p - k->cold);
    k->n_count_bytes += m.counting;
    xunit_tell(k, m.u, k->next, end);
    xunit_tell(k, m.u, k->cold, m.e.p);
    k->next = end;
    k->cold = m.e.p;
    return m.u;
}
