/*
 * exec_xchg: XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B.
 *
 * XCHG with memory is locked with or without the prefix (SDM 2D XCHG). The compares write their destination
 * back even when they fail, so it must be writable in any case.
 */
#include "accel/soft/engine/exec_int.h"

/* Atomic exchange on host memory at any alignment. */
static uint64_t host_xchg(void *p, unsigned size, uint64_t v)
{
    uint64_t old;
    switch (size) {
    case 1: {
        uint8_t x = (uint8_t)v;
        __asm__ volatile("xchgb %0, %1" : "+q"(x), "+m"(*(volatile uint8_t *)p) : : "memory");
        old = x;
        break;
    }
    case 2: {
        uint16_t x = (uint16_t)v;
        __asm__ volatile("xchgw %0, %1" : "+r"(x), "+m"(*(volatile uint16_t *)p) : : "memory");
        old = x;
        break;
    }
    case 4: {
        uint32_t x = (uint32_t)v;
        __asm__ volatile("xchgl %0, %1" : "+r"(x), "+m"(*(volatile uint32_t *)p) : : "memory");
        old = x;
        break;
    }
    default:
        __asm__ volatile("xchgq %0, %1" : "+r"(v), "+m"(*(volatile uint64_t *)p) : : "memory");
        old = v;
        break;
    }
    return old;
}

static void exec_xchg_reg(struct cpu *c, const struct insn *in)
{
    uint64_t a = insn_get(c, in, 0), b = insn_get(c, in, 1);
    insn_set_reg(c, in, 0, b);
    insn_set_reg(c, in, 1, a);
}

static void exec_xchg_mem(struct cpu *c, const struct insn *in)
{
    unsigned memory = in->kind[0] == OPD_MEM ? 0 : 1;
    uint64_t v = insn_get(c, in, 1 - memory), old;
    struct cpu_ref r;

    cpu_ref(c, in->seg, insn_ea(c, in), in->opsize, true, &r);
    if (r.host) {
        old = host_xchg(r.host, in->opsize, v);
    } else {
        old = cpu_ref_load(&r);
        cpu_ref_store(&r, v);
    }
    cpu_ref_end(&r);
    insn_set_reg(c, in, 1 - memory, old);
}

/* ---- XADD ---- */

static uint64_t add_flags(struct cpu *c, uint64_t a, uint64_t b, unsigned size)
{
    uint64_t m = mask_size(size), sum = (a + b) & m, sign = 1ull << (size * 8 - 1);
    uint64_t f = flags_szp(sum, size) | ((a ^ b ^ sum) & X86_AF);
    if (sum < (a & m))
        f |= X86_CF;
    if ((a ^ sum) & (b ^ sum) & sign)
        f |= X86_OF;
    flags_set(c, X86_ARITH_FLAGS, f);
    return sum;
}

struct xadd {
    uint64_t add, old;
};

static uint64_t change_xadd(struct cpu *c, const struct insn *in, uint64_t old, void *arg)
{
    struct xadd *x = arg;
    x->old = old;
    return add_flags(c, old, x->add, in->opsize);
}

/* The source register takes the old value first: with the same register twice, the sum stays. */
static void exec_xadd(struct cpu *c, const struct insn *in)
{
    struct xadd x = {.add = insn_get(c, in, 1)};
    if (in->kind[0] == OPD_MEM) {
        change_operand(c, in, change_xadd, &x);
        insn_set_reg(c, in, 1, x.old);
    } else {
        uint64_t old = insn_get(c, in, 0), sum = add_flags(c, old, x.add, in->opsize);
        insn_set_reg(c, in, SEED_BUG(8) ? 0 : 1, SEED_BUG(8) ? sum : old);
        insn_set_reg(c, in, SEED_BUG(8) ? 1 : 0, SEED_BUG(8) ? old : sum);
    }
}

/* ---- compare and exchange ---- */

static void exec_cmpxchg_reg(struct cpu *c, const struct insn *in)
{
    uint64_t acc = c->gpr[X86_RAX] & mask_size(in->opsize), old = insn_get(c, in, 0), v = insn_get(c, in, 1);
    flags_compare(c, acc, old, in->opsize);
    if (acc == old)
        insn_set_reg(c, in, 0, v);
    else
        cpu_set_gpr(c, X86_RAX, in->opsize, old);
}

static void exec_cmpxchg_mem(struct cpu *c, const struct insn *in)
{
    uint64_t acc = c->gpr[X86_RAX] & mask_size(in->opsize), v = insn_get(c, in, 1), old;
    struct cpu_ref r;

    cpu_ref(c, in->seg, insn_ea(c, in), in->opsize, in->flags & INSN_LOCK, &r);
    if (r.host && (in->flags & INSN_LOCK)) {
        old = acc;
        host_cas(r.host, in->opsize, &old, v);
    } else {
        old = cpu_ref_load(&r);
        cpu_ref_store(&r, old == acc ? v : old);
    }
    cpu_ref_end(&r);
    flags_compare(c, SEED_BUG(7) ? old : acc, SEED_BUG(7) ? acc : old, in->opsize);
    if (acc != old)
        cpu_set_gpr(c, X86_RAX, in->opsize, old);
}

static void exec_cmpxchg8b(struct cpu *c, const struct insn *in)
{
    uint64_t expect = (uint64_t)(uint32_t)c->gpr[X86_RDX] << 32 | (uint32_t)c->gpr[X86_RAX];
    uint64_t v = (uint64_t)(uint32_t)c->gpr[X86_RCX] << 32 | (uint32_t)c->gpr[X86_RBX], old;
    struct cpu_ref r;

    need_feature(c, FEAT_CX8);
    cpu_ref(c, in->seg, insn_ea(c, in), 8, in->flags & INSN_LOCK, &r);
    if (r.host && (in->flags & INSN_LOCK)) {
        old = expect;
        host_cas(r.host, 8, &old, v);
    } else {
        old = cpu_ref_load(&r);
        cpu_ref_store(&r, old == expect ? v : old);
    }
    cpu_ref_end(&r);
    flags_set(c, X86_ZF, old == expect ? X86_ZF : 0);
    if (old != expect) {
        c->gpr[X86_RAX] = (uint32_t)old;
        c->gpr[X86_RDX] = old >> 32;
    }
}

static bool host_cas16(void *p, uint64_t expect[2], const uint64_t v[2])
{
    bool same;
    __asm__ volatile("lock cmpxchg16b %[m]"
                     : "+a"(expect[0]), "+d"(expect[1]), [m] "+m"(*(volatile unsigned __int128 *)p),
                       "=@ccz"(same)
                     : "b"(v[0]), "c"(v[1])
                     : "memory");
    return same;
}

static void exec_cmpxchg16b(struct cpu *c, const struct insn *in)
{
    uint64_t expect[2] = {c->gpr[X86_RAX], c->gpr[X86_RDX]}, v[2] = {c->gpr[X86_RBX], c->gpr[X86_RCX]};
    uint64_t ea = insn_ea(c, in);
    struct cpu_ref r;
    bool same;

    need_feature(c, FEAT_CX16);
    if (cpu_linear(c, in->seg, ea) & 15)
        cpu_gp(c, 0);
    cpu_ref(c, in->seg, ea, 16, in->flags & INSN_LOCK, &r);
    if (r.host) {
        same = host_cas16(r.host, expect, v);
        cpu_ref_end(&r);
    } else {
        /* not RAM: two accesses, as no bus would make it one */
        cpu_ref_end(&r);
        uint64_t low = cpu_load(c, in->seg, ea, 8), high = cpu_load(c, in->seg, ea + 8, 8);
        same = low == expect[0] && high == expect[1];
        cpu_store(c, in->seg, ea, 8, same ? v[0] : low);
        cpu_store(c, in->seg, ea + 8, 8, same ? v[1] : high);
        expect[0] = low;
        expect[1] = high;
    }
    flags_set(c, X86_ZF, same ? X86_ZF : 0);
    if (!same) {
        c->gpr[X86_RAX] = expect[0];
        c->gpr[X86_RDX] = expect[1];
    }
}

bool exec_xchg_setup(struct insn *out)
{
    switch (out->op) {
    case ZYDIS_MNEMONIC_XCHG:
        out->exec = out->kind[0] == OPD_MEM || out->kind[1] == OPD_MEM ? exec_xchg_mem : exec_xchg_reg;
        return true;
    case ZYDIS_MNEMONIC_XADD:
        out->exec = exec_xadd;
        return true;
    case ZYDIS_MNEMONIC_CMPXCHG:
        out->exec = out->kind[0] == OPD_MEM ? exec_cmpxchg_mem : exec_cmpxchg_reg;
        return true;
    case ZYDIS_MNEMONIC_CMPXCHG8B:
        out->exec = exec_cmpxchg8b;
        return true;
    case ZYDIS_MNEMONIC_CMPXCHG16B:
        out->exec = exec_cmpxchg16b;
        return true;
    default:
        return false;
    }
}
