#include "x86/state.h"
#include <errno.h>
#include <string.h>
#include "x86/regs.h"

/* Data segment, writable, accessed, present; code: execute/read, accessed, present (SDM 3A 3.4.5.1). */
enum { ATTR_DATA = 0x93, ATTR_CODE = 0x9b, ATTR_LDT = 0x82, ATTR_TSS_BUSY = 0x8b };

static void reset_lapic(struct x86_lapic *l, uint32_t apic_id)
{
    /* SDM 3A 11.4.7.1: masked LVTs, flat model, spurious vector 0xff with the APIC software-disabled. */
    l->regs[X86_LAPIC_ID] = apic_id << 24;
    l->regs[X86_LAPIC_VERSION] = 0x00050014;
    l->regs[X86_LAPIC_DFR] = 0xffffffff;
    l->regs[X86_LAPIC_SVR] = 0xff;
    for (unsigned i = X86_LAPIC_LVT_TIMER; i <= X86_LAPIC_LVT_ERROR; i++)
        l->regs[i] = 0x10000;
}

void x86_state_reset(struct x86_state *s, bool bsp, uint32_t apic_id)
{
    memset(s, 0, sizeof *s);
    s->rip = 0xfff0;
    s->rflags = 2;
    s->gpr[X86_RDX] = 0x600;
    for (unsigned i = 0; i < X86_SEGS; i++)
        s->seg[i] = (struct x86_seg){.limit = 0xffff, .attr = ATTR_DATA};
    s->seg[X86_CS] = (struct x86_seg){.sel = 0xf000, .base = 0xffff0000, .limit = 0xffff, .attr = ATTR_CODE};
    s->ldtr = (struct x86_seg){.limit = 0xffff, .attr = ATTR_LDT};
    s->tr = (struct x86_seg){.limit = 0xffff, .attr = ATTR_TSS_BUSY};
    s->gdtr.limit = s->idtr.limit = 0xffff;
    s->cr0 = CR0_CD | CR0_NW | CR0_ET;
    s->dr6 = 0xffff0ff0;
    s->dr7 = 0x400;
    s->xcr0 = XCR0_X87;
    s->fpu.fcw = 0x40;
    s->fpu.ftw = 0xff; /* tag word 5555h: eight registers that hold zero, none empty */
    s->fpu.mxcsr = 0x1f80;
    s->apic_base = APIC_BASE_ADDR | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0);
    s->mp_state = bsp ? X86_MP_RUNNABLE : X86_MP_WAIT_SIPI;
    reset_lapic(&s->lapic, apic_id);
}

static struct x86_msr *find(const struct x86_state *s, uint32_t index)
{
    uint32_t n = s->msr_count < X86_MAX_MSRS ? s->msr_count : X86_MAX_MSRS;

    for (uint32_t i = 0; i < n; i++)
        if (s->msrs[i].index == index)
            return (struct x86_msr *)(uintptr_t)&s->msrs[i];
    return NULL;
}

uint64_t x86_state_msr(const struct x86_state *s, uint32_t index, uint64_t dflt)
{
    const struct x86_msr *m = find(s, index);

    return m ? m->value : dflt;
}

int x86_state_msr_set(struct x86_state *s, uint32_t index, uint64_t value)
{
    struct x86_msr *m = find(s, index);

    if (!m) {
        if (s->msr_count >= X86_MAX_MSRS)
            return -ENOSPC;
        m = &s->msrs[s->msr_count++];
        *m = (struct x86_msr){.index = index};
    }
    m->value = value;
    return 0;
}
