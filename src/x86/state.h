/*
 * x86 state: all architectural state of one vCPU in one neutral form.
 *
 * The only way state leaves or enters an accelerator (accel_vcpu_get/set); gdb, save/load and the
 * interpreter's completion of instructions that KVM refuses all work on it. Pure data: no pointers. Names
 * follow the SDM.
 */
#ifndef X86_STATE_H
#define X86_STATE_H
#include <stdbool.h>
#include <stdint.h>

enum x86_gpr {
    X86_RAX,
    X86_RCX,
    X86_RDX,
    X86_RBX,
    X86_RSP,
    X86_RBP,
    X86_RSI,
    X86_RDI,
    X86_R8,
    X86_R9,
    X86_R10,
    X86_R11,
    X86_R12,
    X86_R13,
    X86_R14,
    X86_R15,
};

/* Encoding order of segment registers (SDM 2B 3.1.1.1: Sreg). */
enum x86_seg_reg { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_SEGS };

/* A segment register with its hidden part. `attr` is descriptor bits 40..55 without the limit nibble (SDM
 * 3A 3.4.5): bits 0-3 type, 4 S, 5-6 DPL, 7 P, 12 AVL, 13 L, 14 D/B, 15 G; and bit 16 = unusable (null
 * selector loaded). */
struct x86_seg {
    uint64_t base;
    uint32_t limit; /* in bytes, the granularity applied */
    uint32_t attr;
    uint16_t sel;
    uint16_t pad[3];
};

#define X86_SEG_TYPE(a)  ((a)&0xfu)
#define X86_SEG_S        (1u << 4)
#define X86_SEG_DPL(a)   (((a) >> 5) & 3u)
#define X86_SEG_P        (1u << 7)
#define X86_SEG_AVL      (1u << 12)
#define X86_SEG_L        (1u << 13)
#define X86_SEG_DB       (1u << 14)
#define X86_SEG_G        (1u << 15)
#define X86_SEG_UNUSABLE (1u << 16)

struct x86_dtable {
    uint64_t base;
    uint16_t limit;
    uint16_t pad[3];
};

enum { X86_MAX_MSRS = 128 };

struct x86_msr {
    uint32_t index;
    uint32_t pad;
    uint64_t value;
};

/* Whether a vCPU runs, sleeps in HLT, or awaits INIT/SIPI. */
enum x86_mp_state { X86_MP_RUNNABLE, X86_MP_HALTED, X86_MP_WAIT_SIPI, X86_MP_UNINITIALIZED };

/* An event that delivery has begun for, or that is pending. A #BP or #OF to deliver has RIP at its INT3 or
 * INTO, not behind. */
struct x86_events {
    uint8_t exc_injected, exc_pending, exc_vector, exc_has_error; /* an exception, its error code below */
    uint32_t exc_error;
    uint64_t exc_payload; /* CR2 for #PF, DR6 bits for #DB, when exc_has_payload */
    uint8_t exc_has_payload;
    uint8_t int_injected, int_vector, int_soft;    /* an interrupt whose delivery did not finish */
    uint8_t shadow;                                /* bit 0: STI, bit 1: MOV SS */
    uint8_t nmi_injected, nmi_pending, nmi_masked; /* pending: up to two */
    uint8_t smi_pending, in_smm;
    uint8_t triple_fault;
    uint8_t pad[3];
    uint32_t sipi_vector;
};

/* Local APIC registers: regs[i] is the 32-bit register at MMIO offset i*16 (SDM 3A table 11-1), as in an
 * xAPIC page. In x2APIC mode regs[2] (ID) holds the full 32-bit id. `timer_ns` is what remains until the
 * timer fires, 0 when stopped. */
struct x86_lapic {
    uint32_t regs[64];
    uint64_t timer_remaining_ns;
};

/* x87, SSE and AVX state by component; each component in its own fixed place, so vendors' XSAVE offsets do
 * not matter. */
struct x86_fpu {
    uint16_t fcw, fsw;
    uint8_t ftw; /* abridged: bit i set = physical register i not empty */
    uint8_t pad0;
    uint16_t fop;
    uint64_t fip, fdp; /* offsets, with selectors where 32-bit images carry them */
    uint16_t fcs, fds;
    uint32_t mxcsr;
    uint8_t st[8][16]; /* ST(0..7), 80 bits each, in the order of FXSAVE */
    uint8_t ymm[32]
               [32]; /* XMM in the low 16 bytes, AVX high half above; 16..31 and zmm_hi only with AVX-512 */
    uint8_t zmm_hi[32][32];
    uint64_t opmask[8];
    uint32_t pkru;
    uint32_t pad1;
};

struct x86_state {
    uint64_t gpr[16], rip, rflags;
    struct x86_seg seg[X86_SEGS], ldtr, tr;
    struct x86_dtable gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, xcr0, xss;
    uint64_t pdpte[4]; /* PAE page-directory pointers as loaded; valid when pdpte_valid */
    uint64_t dr[4], dr6, dr7;
    uint8_t pdpte_valid;
    uint8_t mp_state; /* enum x86_mp_state */
    uint8_t pad[6];
    uint64_t apic_base; /* IA32_APIC_BASE */
    struct x86_fpu fpu;
    struct x86_events events;
    struct x86_lapic lapic;
    uint32_t tsc_khz;
    uint32_t msr_count;
    uint64_t tsc;        /* guest TSC at the moment of the get; set resumes from it */
    uint64_t pvclock_ns; /* KVM's paravirtual clock at the moment of the get, in CPU 0; 0: not known, the
                            machine's clock is taken */
    struct x86_msr
        msrs[X86_MAX_MSRS]; /* what x86/msr.h tabulates as saved, tsc_deadline and tsc_adjust among them */
};

/* State at power-up RESET (SDM 3A table 9-1). `bsp` decides APIC_BASE.BSP and whether it runs or waits for
 * SIPI; `apic_id` the LAPIC ID. EDX is 0x600: who knows the CPUID puts leaf 1 EAX there. msrs[] is left
 * empty: x86_state_reset_msrs (x86/msr.h) fills it. */
void x86_state_reset(struct x86_state *s, bool bsp, uint32_t apic_id);

enum {
    X86_LAPIC_ID = 0x02,
    X86_LAPIC_VERSION = 0x03,
    X86_LAPIC_TPR = 0x08,
    X86_LAPIC_LDR = 0x0d,
    X86_LAPIC_DFR = 0x0e,
    X86_LAPIC_SVR = 0x0f,
    X86_LAPIC_ISR = 0x10,
    X86_LAPIC_TMR = 0x18,
    X86_LAPIC_IRR = 0x20,
    X86_LAPIC_ESR = 0x28,
    X86_LAPIC_ICR = 0x30,
    X86_LAPIC_ICR2 = 0x31,
    X86_LAPIC_LVT_TIMER = 0x32,
    X86_LAPIC_LVT_THERMAL = 0x33,
    X86_LAPIC_LVT_PMC = 0x34,
    X86_LAPIC_LVT_LINT0 = 0x35,
    X86_LAPIC_LVT_LINT1 = 0x36,
    X86_LAPIC_LVT_ERROR = 0x37,
    X86_LAPIC_TIMER_INITIAL = 0x38,
    X86_LAPIC_TIMER_CURRENT = 0x39,
    X86_LAPIC_TIMER_DIVIDE = 0x3e,
}; /* index in x86_lapic.regs = MMIO offset / 16 */

/* Value of an MSR in the table of `s`; the default when it is not there. set: 0 or -ENOSPC. */
uint64_t x86_state_msr(const struct x86_state *s, uint32_t index, uint64_t dflt);
int x86_state_msr_set(struct x86_state *s, uint32_t index, uint64_t value);

#endif
