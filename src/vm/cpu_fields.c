/* The saved form of struct x86_state: one row a register. */
#include "vm/cpu_fields.h"
#include <errno.h>
#include "base/err.h"
#include "base/range.h"
#include "x86/state.h"

#define S(member, ...) FIELD(struct x86_state, member, __VA_ARGS__)
#define A(member, ...) FIELD_ARRAY(struct x86_state, member, __VA_ARGS__)
#define B(member, ...) FIELD_BLOB(struct x86_state, member, __VA_ARGS__)
#define SEG(member)    S(member.base), S(member.limit), S(member.attr), S(member.sel)

static const struct field fields[] = {
    A(gpr),
    S(rip),
    S(rflags),
    SEG(seg[X86_ES]),
    SEG(seg[X86_CS]),
    SEG(seg[X86_SS]),
    SEG(seg[X86_DS]),
    SEG(seg[X86_FS]),
    SEG(seg[X86_GS]),
    SEG(ldtr),
    SEG(tr),
    S(gdtr.base),
    S(gdtr.limit),
    S(idtr.base),
    S(idtr.limit),
    S(cr0),
    S(cr2),
    S(cr3),
    S(cr4),
    S(cr8, .max = 15),
    S(efer),
    S(xcr0),
    S(xss),
    A(pdpte),
    S(pdpte_valid, .max = 1),
    A(dr),
    S(dr6),
    S(dr7),
    S(mp_state, .max = X86_MP_UNINITIALIZED),
    S(apic_base),
    S(fpu.fcw),
    S(fpu.fsw),
    S(fpu.ftw),
    S(fpu.fop),
    S(fpu.fip),
    S(fpu.fdp),
    S(fpu.fcs),
    S(fpu.fds),
    S(fpu.mxcsr),
    B(fpu.st),
    B(fpu.ymm),
    B(fpu.zmm_hi),
    A(fpu.opmask),
    S(fpu.pkru),
    S(events.exc_injected, .max = 1),
    S(events.exc_pending, .max = 1),
    S(events.exc_vector, .max = 31),
    S(events.exc_has_error, .max = 1),
    S(events.exc_error),
    S(events.exc_payload),
    S(events.exc_has_payload, .max = 1),
    S(events.int_injected, .max = 1),
    S(events.int_vector),
    S(events.int_soft, .max = 1),
    S(events.shadow, .max = 3),
    S(events.nmi_injected, .max = 1),
    S(events.nmi_pending, .max = 2),
    S(events.nmi_masked, .max = 1),
    S(events.smi_pending, .max = 1),
    S(events.in_smm, .max = 1),
    S(events.triple_fault, .max = 1),
    S(events.sipi_vector, .max = 255),
    A(lapic.regs),
    S(lapic.timer_remaining_ns),
    S(tsc_khz),
    S(tsc),
    S(pvclock_ns),
    S(msr_count, .max = X86_MAX_MSRS),
    FIELD_STRIDED(struct x86_state, msrs, index),
    FIELD_STRIDED(struct x86_state, msrs, value),
};

const struct field_table vm_cpu_table = {
    .name = "cpu", .version = 1, .fields = fields, .count = ARRAY_LEN(fields)};
