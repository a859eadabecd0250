/*
 * mem: accesses by segment and offset, and by linear address: everything that the inline path does not
 * settle.
 *
 * An access that crosses a page translates both pages before it touches either, so a fault on the second
 * leaves the first unread and unwritten.
 */
#include <string.h>
#include "accel/soft/engine/private.h"

static _Noreturn void seg_fault(struct cpu *c, unsigned seg)
{
    if (seg == X86_SS)
        cpu_raise_error(c, X86_SS_VEC, 0);
    cpu_gp(c, 0);
}

bool seg_holds(const struct x86_seg *s, uint64_t off, unsigned n)
{
    uint64_t last = off + n - 1;

    if ((s->attr & 0xc) == 4) /* data, expands down: above the limit */
        return off > s->limit && last <= (s->attr & X86_SEG_DB ? 0xffffffffull : 0xffffull);
    return last <= s->limit;
}

/* Segment checks of `n` bytes at seg:off; the linear address. SDM 3A 5.3 (limits), 5.5 (types), 3.3.7.1
 * (canonical). */
static uint64_t seg_linear(struct cpu *c, unsigned seg, uint64_t off, unsigned n, bool write)
{
    const struct x86_seg *s = &c->seg[seg];

    if (c->mode == MODE_64) {
        uint64_t linear = off + (seg >= X86_FS ? s->base : 0);
        if (!is_canonical(c, linear) || !is_canonical(c, linear + n - 1))
            seg_fault(c, seg);
        return linear;
    }
    if (!cpu_real(c)) {
        if (s->attr & X86_SEG_UNUSABLE)
            seg_fault(c, seg);
        bool code = s->attr & 8, rw = s->attr & 2;
        if (write ? code || !rw : code && !rw)
            seg_fault(c, seg);
    }
    if (!seg_holds(s, off, n))
        seg_fault(c, seg);
    return (uint32_t)(s->base + off);
}

uint64_t cpu_linear(struct cpu *c, unsigned seg, uint64_t off)
{
    if (c->mode == MODE_64)
        return off + (seg >= X86_FS ? c->seg[seg].base : 0);
    return (uint32_t)(c->seg[seg].base + off);
}

/* #AC: user accesses with CR0.AM and RFLAGS.AC (SDM 3A 6.15, interrupt 17). Vector operands of 16 and 32
 * bytes are left to the processor there; Intel's do not look at them. x87 images are looked at by their
 * words: those of 16-bit form have 14 or 94 bytes. */
static void check_alignment(struct cpu *c, uint64_t linear, unsigned n)
{
    if (likely(c->tlb_user != TLB_USER_CHECK) || n == 16 || n == 32)
        return;
    unsigned align = n == 10 ? 8 : n == 14 || n == 94 ? 2 : n > 32 || (n & (n - 1)) ? 4 : n;
    if (linear & (align - 1))
        cpu_raise_error(c, X86_AC_VEC, 0);
}

static uint64_t next_page(const struct cpu *c, uint64_t linear)
{
    uint64_t next = (linear & ~0xfffull) + 4096;

    return c->mode == MODE_64 || c->long_mode ? next : (uint32_t)next;
}

/* The two pieces of an access; n2 is 0 when it lies in one page. */
struct pieces {
    struct place a, b;
    unsigned n1, n2;
};

static void place_both(struct cpu *c, uint64_t linear, unsigned n, enum tlb_kind kind, enum tlb_set set,
                       struct pieces *p)
{
    unsigned room = 4096 - (unsigned)(linear & 0xfff);

    cpu_place(c, linear, kind, set, &p->a);
    p->n1 = n;
    p->n2 = 0;
    if (likely(n <= room))
        return;
    p->n1 = room;
    p->n2 = n - room;
    cpu_place(c, next_page(c, linear), kind, set, &p->b);
}

static void read_place(struct cpu *c, const struct place *p, uint8_t *out, unsigned n)
{
    if (p->host) {
        if (n <= 8 && (n & (n - 1)) == 0) {
            uint64_t v = host_load((uintptr_t)p->host, n);
            memcpy(out, &v, n);
        } else {
            host_copy(out, p->host, n);
        }
        return;
    }
    uint64_t gpa = p->gpa;
    while (n) {
        unsigned k = n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
        uint64_t v = cpu_mmio_read(c, gpa, k);
        memcpy(out, &v, k);
        out += k;
        gpa += k;
        n -= k;
    }
}

static void write_place(struct cpu *c, const struct place *p, const uint8_t *in, unsigned n)
{
    if (p->host) {
        if (n <= 8 && (n & (n - 1)) == 0) {
            uint64_t v = 0;
            memcpy(&v, in, n);
            host_store((uintptr_t)p->host, n, v);
        } else {
            host_copy(p->host, in, n);
        }
        note_written(c, p->note, p->gpa, n);
        return;
    }
    uint64_t gpa = p->gpa;
    while (n) {
        unsigned k = n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
        uint64_t v = 0;
        memcpy(&v, in, k);
        cpu_mmio_write(c, gpa, k, v);
        in += k;
        gpa += k;
        n -= k;
    }
}

/* A callout may have replaced the slots: host pointers from before it are not used after it. */
static void refresh(struct cpu *c, const struct place *first, uint64_t linear, enum tlb_kind kind,
                    enum tlb_set set, struct place *p)
{
    if (!first->host && p->host)
        cpu_place(c, linear, kind, set, p);
}

void linear_load(struct cpu *c, uint64_t linear, void *out, unsigned n, enum tlb_set set)
{
    struct pieces p;

    if (unlikely(c->priv->watch_armed))
        debug_watch(c, linear, n, false);
    place_both(c, linear, n, TLB_READ, set, &p);
    read_place(c, &p.a, out, p.n1);
    if (p.n2) {
        refresh(c, &p.a, next_page(c, linear), TLB_READ, set, &p.b);
        read_place(c, &p.b, (uint8_t *)out + p.n1, p.n2);
    }
}

void linear_store(struct cpu *c, uint64_t linear, const void *in, unsigned n, enum tlb_set set)
{
    struct pieces p;

    if (unlikely(c->priv->watch_armed))
        debug_watch(c, linear, n, true);
    place_both(c, linear, n, TLB_WRITE, set, &p);
    if (p.n2 && p.a.host && p.b.host == p.a.host + p.n1 && n <= 8 && (n & (n - 1)) == 0) {
        uint64_t v = 0;
        memcpy(&v, in, n);
        host_store((uintptr_t)p.a.host, n, v);
        note_written(c, p.a.note, p.a.gpa, p.n1);
        note_written(c, p.b.note, p.b.gpa, p.n2);
        return;
    }
    write_place(c, &p.a, in, p.n1);
    if (p.n2) {
        refresh(c, &p.a, next_page(c, linear), TLB_WRITE, set, &p.b);
        write_place(c, &p.b, (const uint8_t *)in + p.n1, p.n2);
    }
}

void linear_probe_write(struct cpu *c, uint64_t linear, unsigned n, enum tlb_set set)
{
    struct place p;
    uint64_t at = linear;

    for (;;) {
        unsigned room = 4096 - (unsigned)(at & 0xfff);
        cpu_place(c, at, TLB_WRITE, set, &p);
        if (n <= room)
            return;
        n -= room;
        at = next_page(c, at);
    }
}

uint64_t cpu_load_slow(struct cpu *c, unsigned seg, uint64_t off, unsigned size)
{
    uint64_t linear = seg_linear(c, seg, off, size, false), v = 0;

    check_alignment(c, linear, size);
    const struct tlb_entry *t = tlb_hit(c, TLB_READ, linear, size);
    if (t && c->tlb_user != TLB_USER_CHECK)
        return host_load(linear + t->addend, size);
    linear_load(c, linear, &v, size, c->tlb_user);
    return v;
}

void cpu_store_slow(struct cpu *c, unsigned seg, uint64_t off, unsigned size, uint64_t value)
{
    uint64_t linear = seg_linear(c, seg, off, size, true);

    check_alignment(c, linear, size);
    linear_store(c, linear, &value, size, c->tlb_user);
}

/* Longer pieces: every page is translated before any byte moves. */
static unsigned long_places(struct cpu *c, uint64_t linear, unsigned n, enum tlb_kind kind, struct place *p,
                            unsigned *len)
{
    unsigned count = 0;

    while (n) {
        unsigned room = 4096 - (unsigned)(linear & 0xfff);
        len[count] = n < room ? n : room;
        cpu_place(c, linear, kind, c->tlb_user, &p[count]);
        n -= len[count++];
        linear = next_page(c, linear);
    }
    return count;
}

void cpu_load_bytes(struct cpu *c, unsigned seg, uint64_t off, void *out, unsigned n, unsigned align)
{
    uint64_t linear = seg_linear(c, seg, off, n, false);
    struct place p[3];
    unsigned len[3];
    uint8_t *to = out;

    if (align > 1 && linear & (align - 1))
        cpu_gp(c, 0);
    if (align)
        check_alignment(c, linear, n);
    if (unlikely(c->priv->watch_armed))
        debug_watch(c, linear, n, false);
    unsigned count = long_places(c, linear, n, TLB_READ, p, len);
    for (unsigned i = 0; i < count; i++) {
        if (i)
            refresh(c, &p[i - 1], next_page(c, linear) + 4096 * (i - 1), TLB_READ, c->tlb_user, &p[i]);
        read_place(c, &p[i], to, len[i]);
        to += len[i];
    }
}

void cpu_store_bytes(struct cpu *c, unsigned seg, uint64_t off, const void *in, unsigned n, unsigned align)
{
    uint64_t linear = seg_linear(c, seg, off, n, true);
    struct place p[3];
    unsigned len[3];
    const uint8_t *from = in;

    if (align > 1 && linear & (align - 1))
        cpu_gp(c, 0);
    if (align)
        check_alignment(c, linear, n);
    if (unlikely(c->priv->watch_armed))
        debug_watch(c, linear, n, true);
    unsigned count = long_places(c, linear, n, TLB_WRITE, p, len);
    for (unsigned i = 0; i < count; i++) {
        if (i)
            refresh(c, &p[i - 1], next_page(c, linear) + 4096 * (i - 1), TLB_WRITE, c->tlb_user, &p[i]);
        write_place(c, &p[i], from, len[i]);
        from += len[i];
    }
}

void cpu_probe_write(struct cpu *c, unsigned seg, uint64_t off, unsigned n)
{
    uint64_t linear = seg_linear(c, seg, off, n, true);

    check_alignment(c, linear, n);
    linear_probe_write(c, linear, n, c->tlb_user);
}

/* ---- read-modify-write ---- */

static void ref_places(struct cpu *c, struct cpu_ref *r)
{
    struct pieces p;

    place_both(c, r->linear, r->size, TLB_WRITE, c->tlb_user, &p);
    r->gpa[0] = p.a.gpa;
    r->note[0] = p.a.note;
    r->gpa[1] = p.n2 ? p.b.gpa : 0;
    r->note[1] = p.n2 ? p.b.note : NULL;
    r->host = p.a.host;
    r->mmio = !p.a.host || (p.n2 && !p.b.host);
    if (p.n2 && (!p.a.host || p.b.host != p.a.host + p.n1))
        r->host = NULL;
}

void cpu_ref_slow(struct cpu *c, unsigned seg, uint64_t off, unsigned size, bool locked, struct cpu_ref *r)
{
    r->c = c;
    r->size = (uint8_t)size;
    r->locked = 0;
    r->linear = seg_linear(c, seg, off, size, true);
    check_alignment(c, r->linear, size);
    if (unlikely(c->priv->watch_armed))
        debug_watch(c, r->linear, size, true);
    ref_places(c, r);
    if (locked && !r->host && !r->mmio) {
        /* two pages apart on the host: no single host access reaches both, so everyone else stands still */
        world_stop(c->engine, c);
        c->priv->holds_world = r->locked = 1;
        if (c->priv->slots_seen != c->engine->slots_version)
            tlb_reset(c);
        ref_places(c, r);
    }
}

/* By pieces: what cpu_ref could not give a pointer to. */
static void ref_copy(struct cpu_ref *r, uint8_t *buf, bool write)
{
    struct cpu *c = r->c;
    struct pieces p;

    place_both(c, r->linear, r->size, TLB_WRITE, c->tlb_user, &p);
    if (write)
        write_place(c, &p.a, buf, p.n1);
    else
        read_place(c, &p.a, buf, p.n1);
    if (!p.n2)
        return;
    refresh(c, &p.a, next_page(c, r->linear), TLB_WRITE, c->tlb_user, &p.b);
    if (write)
        write_place(c, &p.b, buf + p.n1, p.n2);
    else
        read_place(c, &p.b, buf + p.n1, p.n2);
}

uint64_t cpu_ref_load_slow(struct cpu_ref *r)
{
    uint64_t v[2] = {0};

    ref_copy(r, (uint8_t *)v, false);
    return v[0];
}

void cpu_ref_store_slow(struct cpu_ref *r, uint64_t value)
{
    uint64_t v[2] = {value, 0};

    ref_copy(r, (uint8_t *)v, true);
}

void cpu_ref_end_slow(struct cpu_ref *r)
{
    struct cpu *c = r->c;

    if (r->host) {
        note_written(c, r->note[0], r->gpa[0], r->size);
        if (r->note[1])
            note_written(c, r->note[1], r->gpa[1], r->size);
    }
    if (r->locked) {
        c->priv->holds_world = 0;
        world_go(c->engine);
        cpu_enter(c);
        r->locked = 0;
    }
}

/* ---- implicit supervisor accesses ---- */

bool linear_store_known(struct cpu *c, uint64_t linear, const uint64_t *words, unsigned n, enum tlb_set set)
{
    const struct tlb_entry *t = &c->tlb[set][TLB_WRITE][linear >> 12 & (TLB_SIZE - 1)];

    if (t->tag != ((linear & ~0xfffull) | c->asid[linear >> 63]) || (linear & 0xfff) + n * 8 > 4096 ||
        c->priv->watch_armed)
        return false;
    for (unsigned i = 0; i < n; i++)
        host_store(linear + t->addend + i * 8, 8, words[i]);
    note_written(c, t->note, t->gpa | (linear & 0xfff), n * 8);
    return true;
}

uint64_t cpu_sys_load(struct cpu *c, uint64_t linear, unsigned size)
{
    const struct tlb_entry *t = &c->tlb[cpu_system_set(c)][TLB_READ][linear >> 12 & (TLB_SIZE - 1)];
    uint64_t v = 0;

    if (likely(t->tag == ((linear & ~0xfffull) | c->asid[linear >> 63]) && (linear & 0xfff) + size <= 4096 &&
               !c->priv->watch_armed))
        return host_load(linear + t->addend, size);

    linear_load(c, linear, &v, size, cpu_system_set(c));
    return v;
}

void cpu_sys_store(struct cpu *c, uint64_t linear, unsigned size, uint64_t value)
{
    linear_store(c, linear, &value, size, cpu_system_set(c));
}

/* ---- strings ---- */

unsigned cpu_bulk(struct cpu *c, unsigned seg, uint64_t off, bool write, uint8_t **host)
{
    struct place p;
    uint64_t linear = seg_linear(c, seg, off, 1, write);
    unsigned room = 4096 - (unsigned)(linear & 0xfff);

    if (c->tlb_user == TLB_USER_CHECK || c->priv->watch_armed)
        return 0;
    const struct x86_seg *s = &c->seg[seg];
    if (c->mode != MODE_64) {
        if ((s->attr & 0xc) == 4 && !cpu_real(c))
            return 0;
        if (room > s->limit - off + 1)
            room = (unsigned)(s->limit - off) + 1;
    }
    cpu_place(c, linear, write ? TLB_WRITE : TLB_READ, c->tlb_user, &p);
    *host = p.host;
    return p.host ? room : 0;
}

void cpu_bulk_written(struct cpu *c, unsigned seg, uint64_t off, unsigned n)
{
    struct place p;

    if (!n)
        return;
    cpu_place(c, cpu_linear(c, seg, off), TLB_WRITE, c->tlb_user, &p);
    note_written(c, p.note, p.gpa, n);
}

/* ---- stack ---- */

static uint64_t stack_mask(const struct cpu *c)
{
    return mask_size(cpu_stack_size(c));
}

void cpu_push_at(struct cpu *c, uint64_t *sp, unsigned size, uint64_t v)
{
    uint64_t mask = stack_mask(c), at = (*sp - size) & mask;

    cpu_store(c, X86_SS, at, size, v);
    *sp = (*sp & ~mask) | at;
}

uint64_t cpu_pop_at(struct cpu *c, uint64_t *sp, unsigned size)
{
    uint64_t mask = stack_mask(c), at = *sp & mask;
    uint64_t v = cpu_load(c, X86_SS, at, size);

    *sp = (*sp & ~mask) | ((at + size) & mask);
    return v;
}

uint16_t cpu_pop_selector(struct cpu *c, uint64_t *sp, unsigned size)
{
    uint64_t mask = stack_mask(c), at = *sp & mask;
    uint16_t sel = (uint16_t)cpu_load(c, X86_SS, at, 2);

    *sp = (*sp & ~mask) | ((at + size) & mask);
    return sel;
}

void cpu_set_sp(struct cpu *c, uint64_t sp)
{
    unsigned size = cpu_stack_size(c);

    if (size ==
        4) /* only the low half belongs to the stack; outside 64-bit mode the upper half is not seen */
        c->gpr[X86_RSP] = (uint32_t)sp;
    else
        cpu_set_gpr(c, X86_RSP, size, sp);
}
