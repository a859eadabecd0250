/*
 * tlb: the soft TLB's contents, and what the guest's flushes do to it.
 *
 * An entry's tag carries a 12-bit address-space number. cpu->asid[0] is the number for the lower half of
 * linear space, tied to the PCID in use; asid[1] is that of the upper half, shared by all PCIDs. A flush
 * takes a new number, which makes all old entries miss; when numbers run out, everything is cleared. Global
 * pages live on in the upper half only; elsewhere they are flushed like others, which the architecture
 * allows. When a page of the upper half was not global, a CR3 load flushes that half as well.
 *
 * Large pages are held as pieces of 4 KiB. INVLPG must drop all pieces of the page, so a bloom of the GiB
 * with pieces says when to drop the half.
 */
#include <string.h>
#include "accel/soft/engine/private.h"

static uint32_t new_asid(struct cpu *c)
{
    struct cpu_private *p = c->priv;

    if (p->next_asid >= TLB_NO_ASID) {
        memset(c->tlb, 0xff, sizeof(c->tlb));
        memset(p->pcid, 0, sizeof(p->pcid));
        jump_flush(c);
        ftlb_flush_half(c, 0);
        ftlb_flush_half(c, 1);
        p->next_asid = 1;
        /* both halves need a number of the new round; the caller asked for one of them */
        c->asid[1] = p->next_asid++;
        c->asid[0] = p->next_asid++;
        p->high_private = 0;
        p->large_seen[0] = p->large_seen[1] = 0;
    }
    return p->next_asid++;
}

static uint16_t current_pcid(const struct cpu *c)
{
    return c->cr4 & CR4_PCIDE ? c->cr3 & 0xfff : 0;
}

static void remember_pcid(struct cpu *c, uint16_t pcid, uint32_t asid)
{
    struct cpu_private *p = c->priv;
    unsigned i;

    for (i = 0; i < PCID_SLOTS; i++)
        if (p->pcid[i].used && p->pcid[i].pcid == pcid)
            break;
    if (i == PCID_SLOTS)
        i = p->pcid_next++ % PCID_SLOTS;
    p->pcid[i].used = 1;
    p->pcid[i].pcid = pcid;
    p->pcid[i].asid = (uint16_t)asid;
}

static void use_low(struct cpu *c, uint32_t asid)
{
    c->asid[0] = asid;
    ftlb_flush_half(c, 0);
    cpu_update_jump(c);
}

static void flush_low(struct cpu *c)
{
    use_low(c, new_asid(c));
    remember_pcid(c, current_pcid(c), (uint32_t)c->asid[0]);
    c->priv->large_seen[0] = 0;
}

static void flush_high(struct cpu *c)
{
    uint32_t asid = new_asid(c);

    c->asid[1] = asid;
    ftlb_flush_half(c, 1);
    cpu_update_jump(c);
    c->priv->large_seen[1] = 0;
    c->priv->high_private = 0;
}

void tlb_reset(struct cpu *c)
{
    memset(c->priv->pcid, 0, sizeof(c->priv->pcid));
    flush_low(c);
    flush_high(c);
    c->priv->user_keys = c->priv->super_keys = 0;
    c->leave_block = 1;
}

void tlb_new_keys(struct cpu *c, uint16_t *seen, uint32_t changed)
{
    for (unsigned key = 0; key < 16; key++)
        if ((changed >> 2 * key & 3) && (*seen >> key & 1)) {
            tlb_reset(c);
            return;
        }
}

void cpu_set_pkru(struct cpu *c, uint32_t v)
{
    tlb_new_keys(c, &c->priv->user_keys, v ^ c->fpu.pkru);
    c->fpu.pkru = v;
}

void cpu_tlb_flush(struct cpu *c, bool global_too)
{
    if (global_too) {
        tlb_reset(c);
        return;
    }
    flush_low(c);
    if (c->priv->high_private)
        flush_high(c);
    c->leave_block = 1;
}

void tlb_new_pcid(struct cpu *c, uint16_t pcid, bool keep)
{
    struct cpu_private *p = c->priv;

    if (p->high_private)
        flush_high(c);
    c->leave_block = 1;
    for (unsigned i = 0; keep && i < PCID_SLOTS; i++)
        if (p->pcid[i].used && p->pcid[i].pcid == pcid) {
            use_low(c, p->pcid[i].asid);
            p->large_seen[0] = ~0ull; /* of that address space nothing is remembered */
            return;
        }
    use_low(c, new_asid(c));
    remember_pcid(c, pcid, (uint32_t)c->asid[0]);
    p->large_seen[0] = 0;
}

void cpu_tlb_flush_page(struct cpu *c, uint64_t linear)
{
    uint64_t page = linear & ~0xfffull;
    unsigned half = (unsigned)(linear >> 63);

    c->leave_block = 1;
    if (c->priv->large_seen[half] >> (linear >> 30 & 63) & 1) {
        if (half)
            flush_high(c);
        else
            flush_low(c);
        return;
    }
    jump_flush_page(c, linear);
    ftlb_flush_page(c, linear);
    for (unsigned set = 0; set < 4; set++)
        for (unsigned kind = 0; kind < TLB_KINDS; kind++) {
            struct tlb_entry *t = &c->tlb[set][kind][linear >> 12 & (TLB_SIZE - 1)];
            if ((t->tag & ~0xfffull) == page)
                t->tag = ~0ull;
        }
}

void cpu_tlb_flush_pcid(struct cpu *c, unsigned type, uint64_t pcid, uint64_t linear)
{
    uint64_t now = current_pcid(c);

    c->leave_block = 1;
    switch (type) {
    case 0:
        if (pcid == now || linear >> 63) {
            cpu_tlb_flush_page(c, linear);
            break;
        }
        __attribute__((fallthrough)); /* of another address space all goes */
    case 1:
        if (c->priv->high_private)
            flush_high(c);
        if (pcid == now) {
            flush_low(c);
            break;
        }
        for (unsigned i = 0; i < PCID_SLOTS; i++)
            if (c->priv->pcid[i].pcid == pcid)
                c->priv->pcid[i].used = 0;
        break;
    case 2:
        tlb_reset(c);
        break;
    default:
        memset(c->priv->pcid, 0, sizeof(c->priv->pcid));
        flush_low(c);
        if (c->priv->high_private)
            flush_high(c);
        break;
    }
}

static unsigned access_of(enum tlb_kind kind, enum tlb_set set)
{
    unsigned a = 0;

    if (kind == TLB_WRITE)
        a |= WALK_WRITE;
    else if (kind == TLB_FETCH)
        a |= WALK_FETCH;
    if (set == TLB_USER || set == TLB_USER_CHECK)
        a |= WALK_USER;
    else if (set == TLB_SUPER_SMAP)
        a |= WALK_SMAP;
    return a;
}

static void fill(struct cpu *c, enum tlb_set set, enum tlb_kind kind, uint64_t linear, const struct place *p)
{
    uint64_t page = linear & ~0xfffull;
    struct tlb_entry *t = &c->tlb[set][kind][linear >> 12 & (TLB_SIZE - 1)];

    t->addend = (uintptr_t)p->host - (uintptr_t)linear;
    t->gpa = p->gpa & ~0xfffull;
    t->note = p->note;
    t->tag = page | c->asid[linear >> 63];
    ftlb_fill(c, set, kind, linear, p);
}

static void remember(struct cpu *c, uint64_t linear, const struct walk *w)
{
    unsigned half = (unsigned)(linear >> 63);

    if (w->large)
        c->priv->large_seen[half] |= 1ull << (linear >> 30 & 63);
    if (half && !w->global)
        c->priv->high_private = 1;
    c->priv->user_keys |= w->user_key;
    c->priv->super_keys |= w->super_key;
}

void cpu_place(struct cpu *c, uint64_t linear, enum tlb_kind kind, enum tlb_set set, struct place *p)
{
    const struct tlb_entry *t = &c->tlb[set][kind][linear >> 12 & (TLB_SIZE - 1)];

    if (likely(t->tag == ((linear & ~0xfffull) | c->asid[linear >> 63]))) {
        p->host = (uint8_t *)(uintptr_t)(linear + t->addend);
        p->note = t->note;
        p->gpa = t->gpa | (linear & 0xfff);
        return;
    }

    struct walk w;
    c->priv->n_miss++;
    if (!cpu_walk(c, linear, access_of(kind, set), &w))
        cpu_page_fault(c, linear, w.error);
    p->gpa = w.gpa;
    p->note = &c->engine->no_note;
    p->host = NULL;
    const struct engine_slot *s = slot_find(c, w.gpa);
    if (!s || (s->readonly && kind == TLB_WRITE) || lapic_is_page(c, w.gpa))
        return;
    p->host = s->host + (w.gpa - s->gpa);
    if (s->notes)
        p->note = &s->notes[(w.gpa - s->gpa) >> 12];
    bool log = c->engine->dirty_log;
    if (log && kind == TLB_WRITE)
        __atomic_fetch_or(p->note, NOTE_WRITTEN, __ATOMIC_RELAXED);
    if (set == TLB_USER_CHECK ||
        (c->priv->watch_armed && kind != TLB_FETCH && debug_watch_page(c, linear & ~0xfffull)))
        return;
    remember(c, linear, &w);
    fill(c, set, kind, linear, p);
    /* a page that may be written may be read; one that is dirty already may be written without telling anyone
     */
    if (kind == TLB_WRITE)
        fill(c, set, TLB_READ, linear, p);
    else if (kind == TLB_READ && w.writable && w.dirty && !log && !s->readonly)
        fill(c, set, TLB_WRITE, linear, p);
}
