/* Guest memory by virtual or physical address, and what is planted there. */
#include <errno.h>
#include <string.h>
#include "base/range.h"
#include "gdb/internal.h"
#include "guest/mem.h"

static int to_gpa(struct gdb *g, uint64_t addr, uint64_t *gpa)
{
    if (g->phys) {
        *gpa = addr;
        return 0;
    }
    return vcpu_translate(vm_vcpu(g->vm, g->thread), addr, gpa);
}

/* The bytes that breakpoints hide, put back into what was read at gpa. */
static void unhide(const struct gdb *g, uint64_t gpa, uint8_t *p, size_t n)
{
    for (unsigned i = 0; i < g->softs; i++)
        if (range_inside(g->soft[i].gpa - gpa, 1, n))
            p[g->soft[i].gpa - gpa] = g->soft[i].was;
}

int gdb_mem_read(struct gdb *g, uint64_t addr, uint8_t *out, size_t n)
{
    while (n) {
        uint64_t gpa, in_page = MEM_PAGE - addr % MEM_PAGE;
        size_t part = n < in_page ? n : (size_t)in_page;
        int r = to_gpa(g, addr, &gpa);
        if (r || (r = mem_read(vm_mem(g->vm), gpa, out, part)))
            return r;
        unhide(g, gpa, out, part);
        addr += part;
        out += part;
        n -= part;
    }
    return 0;
}

/* A write over a planted breakpoint changes what it hides. */
static int write_piece(struct gdb *g, uint64_t gpa, const uint8_t *in, size_t n)
{
    int r = mem_write(vm_mem(g->vm), gpa, in, n);
    for (unsigned i = 0; !r && i < g->softs; i++)
        if (range_inside(g->soft[i].gpa - gpa, 1, n)) {
            uint8_t cc = 0xcc;
            g->soft[i].was = in[g->soft[i].gpa - gpa];
            r = mem_write(vm_mem(g->vm), g->soft[i].gpa, &cc, 1);
        }
    return r;
}

int gdb_mem_write(struct gdb *g, uint64_t addr, const uint8_t *in, size_t n)
{
    while (n) {
        uint64_t gpa, in_page = MEM_PAGE - addr % MEM_PAGE;
        size_t part = n < in_page ? n : (size_t)in_page;
        int r = to_gpa(g, addr, &gpa);
        if (r || (r = write_piece(g, gpa, in, part)))
            return r;
        addr += part;
        in += part;
        n -= part;
    }
    return 0;
}

static int add_hw(struct gdb *g, uint64_t addr, unsigned len, uint8_t type)
{
    if (type && len != 1 && len != 2 && len != 4 && len != 8)
        return -EINVAL;
    for (unsigned i = 0; i < HW_MAX; i++)
        if (!g->hw[i].on) {
            g->hw[i] =
                (struct hw_break){.addr = addr, .len = type ? (uint8_t)len : 1, .type = type, .on = true};
            return 0;
        }
    return -ENOSPC;
}

static int remove_hw(struct gdb *g, uint64_t addr, unsigned len, uint8_t type)
{
    for (unsigned i = 0; i < HW_MAX; i++)
        if (g->hw[i].on && g->hw[i].addr == addr && g->hw[i].type == type && (!type || g->hw[i].len == len)) {
            g->hw[i].on = false;
            return 0;
        }
    return -ENOENT;
}

/* Software breakpoints stand in memory. Where the address is not mapped (a kernel that has yet to turn paging
 * on) a debug register takes the place: the person asked to stop there, not for a byte to be written. */
static int add_soft(struct gdb *g, uint64_t addr)
{
    uint64_t gpa;
    uint8_t was, cc = 0xcc;
    for (unsigned i = 0; i < g->softs; i++)
        if (g->soft[i].linear == addr)
            return 0;
    if (to_gpa(g, addr, &gpa) || mem_read(vm_mem(g->vm), gpa, &was, 1) || g->softs == BREAKS_MAX)
        return add_hw(g, addr, 1, 0);
    unhide(g, gpa, &was, 1);
    int r = mem_write(vm_mem(g->vm), gpa, &cc, 1);
    if (r)
        return add_hw(g, addr, 1, 0);
    g->soft[g->softs++] = (struct soft_break){.linear = addr, .gpa = gpa, .was = was};
    return 0;
}

static void lift(struct gdb *g, unsigned i)
{
    struct soft_break b = g->soft[i];
    g->soft[i] = g->soft[--g->softs];
    for (unsigned k = 0; k < g->softs; k++)
        if (g->soft[k].gpa == b.gpa)
            return; /* another address of the same byte still wants it */
    mem_write(vm_mem(g->vm), b.gpa, &b.was, 1);
}

static const int8_t hw_type[] = {
    -1, 0, 1, 3, 3}; /* Z1 execute, Z2 write, Z3 read (x86 has only read or write), Z4 access */

int gdb_break_add(struct gdb *g, unsigned type, uint64_t addr, unsigned len)
{
    return type == 0                   ? add_soft(g, addr)
           : type < ARRAY_LEN(hw_type) ? add_hw(g, addr, len, (uint8_t)hw_type[type])
                                       : -EINVAL;
}

int gdb_break_remove(struct gdb *g, unsigned type, uint64_t addr, unsigned len)
{
    for (unsigned i = 0; type == 0 && i < g->softs; i++)
        if (g->soft[i].linear == addr) {
            lift(g, i);
            return 0;
        }
    return type < ARRAY_LEN(hw_type) ? remove_hw(g, addr, len, type ? (uint8_t)hw_type[type] : 0) : -EINVAL;
}

void gdb_break_clear(struct gdb *g)
{
    while (g->softs)
        lift(g, g->softs - 1);
    memset(g->hw, 0, sizeof g->hw);
}
