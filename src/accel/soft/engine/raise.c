/*
 * raise: how an instruction is left by an exception. What happens then is in excp.c.
 */
#include "accel/soft/engine/private.h"

static _Noreturn void leave(struct cpu *c, uint8_t vector, bool has_error, uint32_t error)
{
    c->fault_vector = vector;
    c->fault_has_error = has_error;
    c->fault_error = error;
    c->fault_is_trap = 0;
    c->fault_soft = 0;
    longjmp(c->fault_env, LEAVE_FAULT);
}

void cpu_raise(struct cpu *c, uint8_t vector)
{
    leave(c, vector, false, 0);
}

void cpu_raise_error(struct cpu *c, uint8_t vector, uint32_t error)
{
    leave(c, vector, true, error);
}

void cpu_page_fault(struct cpu *c, uint64_t linear, uint32_t error)
{
    c->cr2 = linear;
    leave(c, X86_PF_VEC, true, error);
}

void cpu_soft_interrupt(struct cpu *c, uint8_t vector, bool is_int_n)
{
    c->fault_vector = vector;
    c->fault_has_error = 0;
    c->fault_error = 0;
    c->fault_is_trap = 1;
    c->fault_soft = is_int_n ? SOFT_INT_N : vector == X86_DB ? SOFT_INT1 : SOFT_INT3;
    longjmp(c->fault_env, LEAVE_FAULT);
}

static _Noreturn void debug(struct cpu *c, uint64_t dr6_bits, bool trap)
{
    c->priv->exc_dr6 = dr6_bits;
    c->fault_vector = X86_DB;
    c->fault_has_error = 0;
    c->fault_error = 0;
    c->fault_is_trap = trap;
    c->fault_soft = 0;
    longjmp(c->fault_env, LEAVE_FAULT);
}

void cpu_debug_trap(struct cpu *c, uint64_t dr6_bits)
{
    debug(c, dr6_bits, true);
}

void cpu_debug_fault(struct cpu *c, uint64_t dr6_bits)
{
    debug(c, dr6_bits, false);
}
