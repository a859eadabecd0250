/*
 * debug: breakpoints and watchpoints, the guest's (DR0-DR7, SDM 3B 17.2) and gdb's.
 *
 * Pages with a data breakpoint stay out of the TLB, so that every access to them takes the slow path and is
 * looked at here. Instruction breakpoints make the loop go one instruction at a time.
 */
#include <string.h>
#include "accel/soft/engine/private.h"

/* One armed breakpoint. type: DR7's R/W field. */
struct point {
    uint64_t addr;
    unsigned len, type;
};

static bool guest_point(const struct cpu *c, unsigned i, struct point *p)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};

    if (!(c->dr7 >> (i * 2) & 3))
        return false;
    p->type = c->dr7 >> (16 + i * 4) & 3;
    p->len = lengths[c->dr7 >> (18 + i * 4) & 3];
    p->addr = c->dr[i] & ~(uint64_t)(p->len - 1);
    return true;
}

static bool gdb_point(const struct cpu *c, unsigned i, struct point *p)
{
    const struct cpu_debugger *d = &c->priv->dbg;

    if (!d->on || !d->hw[i].on)
        return false;
    p->type = d->hw[i].type;
    p->len = d->hw[i].len ? d->hw[i].len : 1;
    p->addr = d->hw[i].addr;
    return true;
}

void debug_update(struct cpu *c)
{
    struct cpu_private *p = c->priv;
    bool watch = false, breaks = false, ports = false, was = p->watch_armed;
    struct point q;

    for (unsigned i = 0; i < 4; i++) {
        if (guest_point(c, i, &q)) {
            watch |= q.type == 1 || q.type == 3;
            breaks |= q.type == 0;
            ports |= q.type == 2;
        }
        if (gdb_point(c, i, &q)) {
            watch |= q.type == 1 || q.type == 3;
            breaks |= q.type == 0;
        }
    }
    p->watch_armed = watch;
    p->break_armed = breaks;
    p->ports_armed = ports;
    if (watch || was)
        tlb_reset(c);
    c->leave_block = 1;
}

static bool data_hit(const struct point *p, uint64_t linear, unsigned size, bool write)
{
    if (p->type != 3 && !(p->type == 1 && write))
        return false;
    return linear < p->addr + p->len && p->addr < linear + size;
}

void debug_watch(struct cpu *c, uint64_t linear, unsigned size, bool write)
{
    struct point p;

    for (unsigned i = 0; i < 4; i++) {
        if (guest_point(c, i, &p) && data_hit(&p, linear, size, write)) {
            c->db_pending |= (uint8_t)(1u << i);
            c->leave_block = 1;
        }
        if (gdb_point(c, i, &p) && data_hit(&p, linear, size, write)) {
            c->debug_exit |= (uint8_t)(1u << i);
            c->priv->watch_addr = linear;
            c->leave_block = 1;
        }
    }
}

/* Port breakpoints (SDM 3B 17.2.4): type 2, and CR4.DE. */
void debug_port(struct cpu *c, uint16_t port, unsigned size)
{
    struct point p;

    if (!(c->cr4 & CR4_DE))
        return;
    for (unsigned i = 0; i < 4; i++)
        if (guest_point(c, i, &p) && p.type == 2 && port < p.addr + p.len && p.addr < port + size) {
            c->db_pending |= (uint8_t)(1u << i);
            c->leave_block = 1;
        }
}

bool debug_watch_page(struct cpu *c, uint64_t page)
{
    struct point p;

    for (unsigned i = 0; i < 4; i++) {
        if (guest_point(c, i, &p) && p.type && p.addr < page + 4096 && page < p.addr + p.len)
            return true;
        if (gdb_point(c, i, &p) && p.type && p.addr < page + 4096 && page < p.addr + p.len)
            return true;
    }
    return false;
}

void debug_before(struct cpu *c)
{
    uint64_t at = c->mode == MODE_64 ? c->rip : (uint32_t)(c->seg[X86_CS].base + c->rip);
    uint64_t hits = 0;
    struct point p;

    for (unsigned i = 0; i < 4; i++) {
        if (gdb_point(c, i, &p) && p.type == 0 && p.addr == at)
            cpu_exit_debug(c, 1u << i, 0, false);
        if (guest_point(c, i, &p) && p.type == 0 && p.addr == at)
            hits |= 1u << i;
    }
    /* MOV SS and POP SS hold off debug exceptions, these, too (SDM 3A 6.8.3) */
    if (hits && !(c->rflags & X86_RF) && !(c->shadow & 2))
        cpu_debug_fault(c, hits);
}

void debug_after(struct cpu *c, bool stepped)
{
    uint64_t bits = (c->db_pending & 0xfu) | (stepped || (c->db_pending & DB_STEP) ? 0x4000u : 0);

    c->db_pending = 0;
    if (unlikely(c->debug_exit)) {
        uint8_t hits = c->debug_exit;
        c->debug_exit = 0;
        cpu_exit_debug(c, hits, c->priv->watch_addr, false);
    }
    if (bits)
        cpu_debug_trap(c, bits);
}

void cpu_exit_debug(struct cpu *c, uint64_t dr6, uint64_t watch_addr, bool software)
{
    struct engine_exit_info *info = c->priv->info;

    if (info) {
        info->rip = c->rip;
        info->dr6 = dr6;
        info->watch_addr = watch_addr;
        info->software_break = software;
    }
    cpu_exit(c, ENGINE_DEBUG);
}

void engine_debug(struct engine *en, unsigned cpu, const struct vcpu_debug *d)
{
    struct cpu *c = en->cpu[cpu];
    struct cpu_debugger *g = &c->priv->dbg;

    memset(g, 0, sizeof(*g));
    g->single_step = d->single_step;
    g->software_breaks = d->software_breaks;
    for (unsigned i = 0; i < 4; i++) {
        g->hw[i].addr = d->hw[i].addr;
        g->hw[i].len = d->hw[i].len;
        g->hw[i].type = d->hw[i].type;
        g->hw[i].on = d->hw[i].on;
        g->on |= d->hw[i].on;
    }
    debug_update(c);
}
