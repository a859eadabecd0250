/*
 * cpu: one virtual processor inside the engine, and what every exec function may do with it.
 *
 * Precise faults by order: an exec function makes every access that may fault before it changes any register,
 * flag or memory. A fault does not return (cpu_raise and whatever calls it leave by longjmp to the run loop,
 * which delivers the event); RIP still points at the instruction then. Exec functions for normal instructions
 * do not advance RIP: the loop has set cpu->next_rip and commits it after they return; a branch stores to
 * cpu->next_rip.
 *
 * Room order inside the engine: mem, lapic, excp, seg, msr -> exec_* -> decode -> block -> run.
 */
#ifndef ENGINE_CPU_H
#define ENGINE_CPU_H
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include "accel/accel.h"
#include "accel/soft/engine/engine.h"
#include "accel/soft/engine/xfast.h"
#include "x86/regs.h"
#include "x86/state.h"

struct insn;
struct block;
struct native_area;

/* Begins a part of the arena, up to the end of its structure, that vCPU threads only read, on pages of its
 * own: engine_protect lets the process they run in do no more. Pointers that the VMM follows, and what it
 * takes for true, lie in such parts only. */
#define ENGINE_FIXED __attribute__((aligned(4096)))

/* How instruction bytes decode and addresses form. The block cache is keyed by it. */
enum cpu_mode {
    MODE_16,
    MODE_32,
    MODE_64
}; /* default operand/address size of CS; MODE_16 includes real and v8086 */

/* One soft-TLB way: a linear page whose access is known to be plain RAM (or RAM reads). A non-matching tag
 * means slow path. */
struct tlb_entry {
    uint64_t
        tag; /* linear page address, its low 12 bits an address-space number (cpu->asid); all ones: empty */
    uintptr_t addend; /* host address = linear + addend */
    uint64_t gpa;     /* of the page */
    uint8_t *note;    /* PAGE_* of the page: a store that finds PAGE_CODE set goes the slow way */
};
/* A direct-mapped memory of which block a linear address led to (block.h). */
enum { JUMP_PAGES = 64, JUMP_SLOTS = 128, JUMP_SIZE = JUMP_PAGES * JUMP_SLOTS };
enum { TLB_BITS = 10, TLB_SIZE = 1 << TLB_BITS };
enum tlb_kind { TLB_READ, TLB_WRITE, TLB_FETCH, TLB_KINDS };

struct cpu {
    /* --- hot --- */
    uint64_t gpr[16];
    uint64_t rip;      /* of the instruction being executed (full linear offset, not masked) */
    uint64_t next_rip; /* what follows unless the instruction branches */
    uint64_t rflags;   /* always whole: bit 1 set, all status flags in place */
    uint8_t mode;      /* enum cpu_mode of CS now */
    uint8_t cpl;
    uint8_t long_mode;   /* EFER.LMA */
    uint8_t shadow;      /* bit 0 STI, bit 1 MOV SS: set by exec, cleared by the loop one instruction later */
    uint8_t tlb_user;    /* index of the TLB set in use: enum tlb_set of private.h */
    uint8_t leave_block; /* set by whatever changes mode, mapping or interrupts: the loop re-enters from the
                            top */
    uint8_t shadow_set;  /* this instruction started a shadow */
    uint8_t in_exception; /* 0, 1 contributory, 2 page fault, 3 double fault in delivery (SDM 3A table 6-5) */
    uint32_t attention; /* atomic; non-zero: something outside wants the loop (enum attention of private.h) */
    uint64_t icount;    /* instructions retired */
    /* Derived by cpu_update_mode, for the inline access path: the TLB set in use; what a tag's low bits must
     * be, for the lower and the upper half of linear space (tlb.c); the bases to add, and which segments need
     * no limit or type check for reads and for writes. */
    struct tlb_entry (*tlb_now)[TLB_SIZE];
    uint64_t asid[2];
    uint64_t jump_tag[2]; /* what the low 16 bits of struct jump's key must be (block.h) */
    uint64_t fast_base[X86_SEGS];
    uint8_t fast_read, fast_write;
    struct x86_seg seg[X86_SEGS];

    /* --- vector and x87 state, in x86_state's form --- */
    struct x86_fpu fpu;

    /* --- system --- */
    struct x86_seg ldtr, tr;
    struct x86_dtable gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, efer, xcr0, xss;
    uint64_t pdpte[4];
    uint64_t dr[4], dr6, dr7;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, pkrs;
    int64_t tsc_offset; /* guest TSC = scaled now + offset */
    uint64_t tsc_adjust;
    uint64_t pvclock_msr, wallclock_msr, steal_msr;
    uint64_t pvclock_late;             /* the clock page is to be written before this vCPU runs again */
    struct x86_msr msrs[X86_MAX_MSRS]; /* others that are only stored: MTRRs and so on */
    uint32_t msr_count;

    uint8_t halted;   /* HLT, waiting */
    uint8_t mp_state; /* enum x86_mp_state */
    uint8_t nmi_masked;
    uint8_t debug_exit; /* gdb's own break: leave with ENGINE_DEBUG */
    uint8_t db_pending; /* DR6.B0-B3 of data breakpoints that this instruction hit, DB_STEP: a #DB trap
                           follows it */

    /* --- fault in flight: set by cpu_raise, read by the loop after longjmp --- */
    jmp_buf fault_env;
    uint8_t fault_vector, fault_has_error, fault_is_trap, fault_soft;
    uint32_t fault_error;

    struct tlb_entry tlb[4][TLB_KINDS][TLB_SIZE]; /* [set][kind][page bits] */
    struct jump {
        uint64_t key;
        struct block *block;
    } jump[JUMP_SIZE];
    struct xfast x;

    /* --- what the VMM follows --- */
    struct ENGINE_FIXED {
        unsigned index;
        struct engine *engine;
        struct cpu_private *priv;   /* run.c, lapic.c, block.c: their own state, in the arena */
        struct native_area *native; /* thunks of machine code (native.h): set when the engine is built, never
                                       NULL when instructions run */
        struct cpu *self;           /* for translated code, which only has GS */
    };
};

/* ---- leaving an instruction (excp.c) ---- */

_Noreturn void cpu_raise(struct cpu *c, uint8_t vector); /* exception without error code */
_Noreturn void cpu_raise_error(struct cpu *c, uint8_t vector, uint32_t error);
_Noreturn void cpu_page_fault(struct cpu *c, uint64_t linear, uint32_t error);
static inline _Noreturn void cpu_ud(struct cpu *c)
{
    cpu_raise(c, X86_UD);
}
static inline _Noreturn void cpu_gp(struct cpu *c, uint32_t error)
{
    cpu_raise_error(c, X86_GP, error);
}
/* Traps and software interrupts: INT n, INT3, INTO, INT1. Deliver after the instruction: return address is
 * next_rip. */
_Noreturn void cpu_soft_interrupt(struct cpu *c, uint8_t vector, bool is_int_n);

/* ---- memory (mem.c) ---- */

/* A segment:offset access of `size` (1, 2, 4, 8) bytes as the current instruction makes it: segment limit and
 * type, canonical form, alignment check, paging with the current privilege, A/D bits. MMIO goes out. Faults
 * do not return. Offsets are already masked to the address size. */
static inline uint64_t cpu_load(struct cpu *c, unsigned seg, uint64_t off, unsigned size);
static inline void cpu_store(struct cpu *c, unsigned seg, uint64_t off, unsigned size, uint64_t value);
/* n bytes (10, 16, 28, 32, 108, 512, up to 4096): everything is checked before anything is stored. `align`:
 * required alignment (else #GP(0)), 1 for none, 0 when not even RFLAGS.AC asks for any. */
void cpu_load_bytes(struct cpu *c, unsigned seg, uint64_t off, void *out, unsigned n, unsigned align);
void cpu_store_bytes(struct cpu *c, unsigned seg, uint64_t off, const void *in, unsigned n, unsigned align);
/* All checks of a store of n bytes without storing. */
void cpu_probe_write(struct cpu *c, unsigned seg, uint64_t off, unsigned n);

/* A location to read, then write back: write permission is checked first. Plain and LOCKed read-modify-writes
 * use it. */
struct cpu_ref {
    uint8_t *host; /* RAM in one piece (may straddle pages that are contiguous on the host); NULL: use
                      load/store through ref */
    struct cpu *c;
    uint64_t linear, gpa[2];
    const uint8_t *note[2]; /* of the pages touched; [1] NULL when there is one */
    uint8_t size, mmio;
    uint8_t locked; /* cross-page fallback holds the engine's bus lock until cpu_ref_end */
};
static inline void cpu_ref(struct cpu *c, unsigned seg, uint64_t off, unsigned size, bool locked,
                           struct cpu_ref *r);          /* size up to 16 */
static inline uint64_t cpu_ref_load(struct cpu_ref *r); /* size <= 8 */
static inline void cpu_ref_store(struct cpu_ref *r, uint64_t value);
static inline void cpu_ref_end(struct cpu_ref *r); /* after all stores and atomics: notes the write
                                                      (self-modifying code); releases the lock */

/* Supervisor accesses by linear address, whatever CPL is: descriptor tables, TSS, stacks during delivery. */
uint64_t cpu_sys_load(struct cpu *c, uint64_t linear, unsigned size);
void cpu_sys_store(struct cpu *c, uint64_t linear, unsigned size, uint64_t value);

/* Linear address of seg:off for LEA-free uses (INVLPG, CLFLUSH, MONITOR); no access. */
uint64_t cpu_linear(struct cpu *c, unsigned seg, uint64_t off);

/* REP string operations in bulk: host pointer to as many bytes as are plain RAM at seg:off within one page,
 * for reading or writing; 0 bytes: go element by element. Segment checks for the whole piece are done. After
 * writing call cpu_bulk_written. */
unsigned cpu_bulk(struct cpu *c, unsigned seg, uint64_t off, bool write, uint8_t **host);
void cpu_bulk_written(struct cpu *c, unsigned seg, uint64_t off, unsigned n);

void cpu_tlb_flush(struct cpu *c, bool global_too);      /* CR3, CR4 writes */
void cpu_tlb_flush_page(struct cpu *c, uint64_t linear); /* INVLPG */
void cpu_tlb_flush_pcid(struct cpu *c, unsigned type, uint64_t pcid,
                        uint64_t linear); /* INVPCID types 0..3 */
/* Recompute mode, cpl-derived indices and TLB set after CS, SS, CR0, CR4, EFER, RFLAGS.AC/VM changed. Sets
 * leave_block. */
void cpu_update_mode(struct cpu *c);

/* ---- segments and transfers (seg.c, excp.c, system.c) ---- */

void cpu_load_seg(struct cpu *c, unsigned seg,
                  uint16_t sel); /* MOV/POP to ES, SS, DS, FS, GS, with all checks */
void cpu_far_jump(struct cpu *c, uint16_t sel, uint64_t off, unsigned opsize);
void cpu_far_call(struct cpu *c, uint16_t sel, uint64_t off, unsigned opsize);
void cpu_far_ret(struct cpu *c, unsigned opsize, uint16_t pop);
void cpu_iret(struct cpu *c, unsigned opsize);
/* Check that a near branch target is legal (limit or canonical: #GP(0)) and set next_rip, masked to opsize.
 */
void cpu_branch(struct cpu *c, uint64_t target, unsigned opsize);

/* RFLAGS image for POPF/IRET: writes those of `mask` that CPL and IOPL allow. */
void cpu_set_rflags(struct cpu *c, uint64_t value, uint64_t mask);
/* Leave the block after this instruction, because what follows may decode or run differently. */
static inline void cpu_leave_block(struct cpu *c)
{
    c->leave_block = 1;
}
/* #GP(0) unless port I/O is allowed now (IOPL or the TSS bitmap). */
void cpu_check_io(struct cpu *c, uint16_t port, unsigned size);
uint32_t cpu_in(struct cpu *c, uint16_t port, unsigned size);
void cpu_out(struct cpu *c, uint16_t port, unsigned size, uint32_t value);
void cpu_need_cpl0(struct cpu *c); /* #GP(0) otherwise */

void cpu_set_cr(struct cpu *c, unsigned cr, uint64_t value); /* MOV CRn with all checks */
uint64_t cpu_get_cr(struct cpu *c, unsigned cr);
uint64_t cpu_rdmsr(struct cpu *c, uint32_t index); /* #GP(0) when unknown */
void cpu_wrmsr(struct cpu *c, uint32_t index, uint64_t value);
uint64_t cpu_tsc(struct cpu *c);
void cpu_cpuid(struct cpu *c); /* EAX, ECX in; EAX..EDX out */

/* ---- feature of this vCPU's CPUID (cached words) ---- */
bool cpu_has(const struct cpu *c, uint32_t feature); /* X86_FEATURE(...) */

/* ---- small helpers ---- */

static inline bool cpu_pe(const struct cpu *c)
{
    return c->cr0 & CR0_PE;
}
static inline bool cpu_v86(const struct cpu *c)
{
    return (c->rflags & X86_VM) != 0;
}
static inline bool cpu_real(const struct cpu *c) /* real or v8086: selectors are paragraph numbers */
{
    return !cpu_pe(c) || cpu_v86(c);
}
/* Bytes of stack-pointer width: 8 in 64-bit mode, else by SS.B. */
static inline unsigned cpu_stack_size(const struct cpu *c)
{
    return c->mode == MODE_64 ? 8 : (c->seg[X86_SS].attr & X86_SEG_DB) ? 4 : 2;
}
static inline uint64_t mask_size(unsigned size)
{
    return size == 8 ? ~0ull : (1ull << (size * 8)) - 1;
}
/* Write a register with x86's rule: 8/16 bits merge, 32 bits zero-extend. Byte registers AH..BH are resolved
 * by the decoder (see insn.h). */
static inline void cpu_set_gpr(struct cpu *c, unsigned reg, unsigned size, uint64_t v)
{
    if (size == 8)
        c->gpr[reg] = v;
    else if (size == 4)
        c->gpr[reg] = (uint32_t)v;
    else if (size == 2)
        c->gpr[reg] = (c->gpr[reg] & ~0xffffull) | (v & 0xffff);
    else
        c->gpr[reg] = (c->gpr[reg] & ~0xffull) | (v & 0xff);
}

/* Stack pushes and pops of the current instruction: check first (several pushes: cpu_push computes on a local
 * rsp; commit at the end). */
void cpu_push_at(struct cpu *c, uint64_t *sp, unsigned size,
                 uint64_t v); /* *sp is decremented by size under the stack width, then stored to SS:*sp */
uint64_t cpu_pop_at(struct cpu *c, uint64_t *sp, unsigned size);
uint16_t cpu_pop_selector(struct cpu *c, uint64_t *sp, unsigned size); /* `size` bytes on, two are read */
void cpu_set_sp(struct cpu *c, uint64_t sp);                           /* commit, by stack width */

#include "accel/soft/engine/mem_inline.h"

#endif
