/*
 * exec_int: which file of the integer family executes an instruction; and reading, changing and writing back
 * one operand.
 */
#include "accel/soft/engine/exec_int.h"

#define CAS(T, suffix)                                                                                       \
    {                                                                                                        \
        T e = (T)*expect;                                                                                    \
        __asm__ volatile("lock cmpxchg" suffix " %[v], %[m]"                                                 \
                         : "+a"(e), [m] "+m"(*(volatile T *)p), "=@ccz"(same)                                \
                         : [v] "q"((T)value)                                                                 \
                         : "memory");                                                                        \
        *expect = e;                                                                                         \
        return same;                                                                                         \
    }

bool host_cas(void *p, unsigned size, uint64_t *expect, uint64_t value)
{
    bool same;
    switch (size) {
    case 1:
        CAS(uint8_t, "b")
    case 2:
        CAS(uint16_t, "w")
    case 4:
        CAS(uint32_t, "l")
    default:
        CAS(uint64_t, "q")
    }
}

void flags_compare(struct cpu *c, uint64_t a, uint64_t b, unsigned size)
{
    uint32_t ax;
    unsigned shift = 64 - size * 8;
    /* the operands at the top of 64 bits give all flags but AF and PF, which come from the low byte */
    __asm__("cmpq %[b], %[a]" FLAGS_OUT : "=&a"(ax) : [a] "r"(a << shift), [b] "r"(b << shift) : "cc");
    flags_unpack(c, ax);
    uint64_t low = a - b;
    flags_set(c, X86_PF | X86_AF, (flags_szp(low, 1) & X86_PF) | ((a ^ b ^ low) & X86_AF));
}

void change_operand(struct cpu *c, const struct insn *in, change_fn *fn, void *arg)
{
    if (in->kind[0] != OPD_MEM) {
        insn_set_reg(c, in, 0, fn(c, in, insn_get(c, in, 0), arg));
        return;
    }

    struct cpu_ref r;
    bool locked = in->flags & INSN_LOCK;
    cpu_ref(c, in->seg, insn_ea(c, in), in->opsize, locked, &r);
    uint64_t old = cpu_ref_load(&r);
    if (!locked || !r.host) {
        cpu_ref_store(&r, fn(c, in, old, arg) & mask_size(in->opsize));
    } else {
        /* the flags that the function takes in are those of before each try */
        uint64_t flags = c->rflags, changed;
        do {
            c->rflags = flags;
            changed = fn(c, in, old, arg) & mask_size(in->opsize);
        } while (!host_cas(r.host, in->opsize, &old, changed));
    }
    cpu_ref_end(&r);
}

bool exec_int_setup(struct insn *out, const void *zydis_insn, const void *zydis_ops, enum cpu_mode mode)
{
    const ZydisDecodedInstruction *zi = zydis_insn;
    const ZydisDecodedOperand *ops = zydis_ops;

    if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX || zi->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
        zi->encoding == ZYDIS_INSTRUCTION_ENCODING_XOP)
        return false;
    return exec_alu_setup(out, zi, ops) || exec_mov_setup(out, zi, ops) || exec_flow_setup(out, zi, mode) ||
           exec_stack_setup(out, zi, ops) || exec_xchg_setup(out) || exec_shift_setup(out) ||
           exec_muldiv_setup(out, zi) || exec_bit_setup(out, ops) || exec_bmi_setup(out, ops) ||
           exec_string_setup(out, zi) || exec_decimal_setup(out) || exec_misc_setup(out, zi);
}
