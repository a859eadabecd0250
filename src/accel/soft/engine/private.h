/*
 * private: what the engine's own files share beyond cpu.h. The layout of the arena, the vCPU's private part,
 * and calls between files.
 *
 * The arena: struct engine, then for each vCPU its struct cpu, struct cpu_private and block cache, then the
 * area of native thunks (native.h). It is one shared mapping at one address in every process that looks at it
 * (the VMM and a forked engine), so pointers into it are plain. Those that the VMM follows, from engine_*
 * calls, lie in parts marked ENGINE_FIXED; of everything else it believes nothing: whatever stands there,
 * these calls stay within the arena and this guest's memory (test_protect).
 *
 * A vCPU thread is either inside (it may hold host pointers of slots: `inside` is 1) or outside: in a
 * callout, asleep, not in engine_run. Whoever replaces slots, or needs all others to stand still for a
 * bus-locked access across pages, stops the world: sets en->stop, asks by attention, and waits until every
 * other vCPU is outside; nobody comes inside again until the stop ends (world.c).
 */
#ifndef ENGINE_PRIVATE_H
#define ENGINE_PRIVATE_H
#include "accel/soft/engine/block.h"
#include "accel/soft/engine/cpu.h"
#include "accel/soft/engine/engine.h"
#include "accel/soft/engine/insn.h"
#include "guest/mem.h"
#include "x86/cpuid.h"
#include "x86/msr.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Sets of the soft TLB by who accesses. */
enum tlb_set {
    TLB_SUPER_SMAP, /* supervisor, user pages forbidden (CR4.SMAP, RFLAGS.AC clear), and implicit supervisor
                       accesses */
    TLB_USER,
    TLB_SUPER,      /* supervisor without SMAP */
    TLB_USER_CHECK, /* user with alignment check: never filled, so every access goes the slow way */
};
enum { TLB_NO_ASID = 0xfff };

/* Our own bits in a page's note, beside PAGE_CODE and PAGE_DIRTY of guest/mem.h. */
enum {
    NOTE_FAST = 0x20,      /* some fast TLB lets stores to it through (ftlb.c) */
    NOTE_CODE_SEEN = 0x40, /* a barrier has passed since PAGE_CODE was set: block.c */
    NOTE_WRITTEN = 0x80,   /* written by a vCPU since engine_dirty_collect */
};

enum attention {
    ATT_KICK = 1, /* leave engine_run */
    ATT_INTR = 2, /* the local APIC or the ExtINT line may have an interrupt */
    ATT_NMI = 4,
    ATT_INIT = 8,
    ATT_SIPI = 16,
    ATT_STOP = 32,         /* the world is being stopped */
    ATT_CODE = 64,         /* units of translated code were dropped: empty the jump cache */
    ATT_TIMER = 128,       /* look at the APIC timer now */
    ATT_HALT = 256,        /* halted or waiting for SIPI; or an event is to be injected */
    ATT_DEVICE_CODE = 512, /* a device wrote to pages that hold code */
    ATT_DEBUG = 1024,      /* a delivery has hit a data breakpoint */
    ATT_NMI2 = 2048,       /* with ATT_NMI: two of them */
};

/* How the run loop was entered by longjmp. */
enum { LEAVE_FAULT = 1, LEAVE_EXIT = 2 };

/* cpu->fault_soft: which software interrupt; INT3 stands for INTO, too. */
/* In cpu->db_pending beside DR6.B0-B3: a single-step trap. */
enum { DB_STEP = 0x40 };

enum { SOFT_NONE, SOFT_INT_N, SOFT_INT3, SOFT_INT1 };

/* The local APIC (lapic.c). What other threads touch is atomic. */
struct lapic {
    uint64_t base; /* IA32_APIC_BASE */
    uint32_t id, ldr, dfr, svr, tpr;
    uint32_t esr, esr_next; /* as read; as accumulated */
    uint32_t icr_low, icr_high;
    uint32_t lvt[6];                 /* timer, thermal, performance, LINT0, LINT1, error */
    uint32_t isr[8], tmr[8], irr[8]; /* irr, tmr: atomic */
    uint32_t timer_initial, timer_divide;
    uint64_t timer_start; /* guest ns when the count began */
    uint64_t timer_due;   /* guest ns of the next expiry; UINT64_MAX: none */
    uint64_t tsc_deadline;
    uint32_t sipi_vector; /* atomic */
    uint32_t extint;      /* atomic: level of the LINT0 ExtINT line */
};

enum { PCID_SLOTS = 8, XJC_LOG = 1 << 14, XKEPT = 1024, XNEAR = 1 << 13 };

/* A slow way of translated code (xout.c), kept by its place. */
struct xkept {
    uintptr_t key; /* of a group's further instructions: with their number in the top bits */
    struct xunit *unit;
    const struct xslow *way;
    struct insn insn;
};

struct cpu_debugger {
    uint8_t single_step, software_breaks, on, pad;
    struct {
        uint64_t addr;
        uint8_t len, type, on;
    } hw[4];
};

struct cpu_private {
    struct lapic lapic;
    uint32_t inside;     /* atomic */
    uint32_t slots_seen; /* en->slots_version this CPU's TLB was filled under */
    uint32_t flush_seen;
    uint8_t holds_world;    /* stopped the world for a locked access */
    uint8_t watch_armed;    /* data breakpoints exist: their pages stay out of the TLB */
    uint8_t break_armed;    /* instruction breakpoints exist */
    uint8_t ports_armed;    /* port breakpoints exist */
    uint8_t exit_kind;      /* enum engine_exit wanted by LEAVE_EXIT */
    uint8_t stepping_state; /* engine_step_state: no callouts for interrupts */
    struct engine_exit_info *info;
    uint32_t budget;     /* blocks until the next look at the clock */
    uint64_t no_stop_at; /* not with so many instructions retired: an event was delivered since, or a part of
                            the next is done */
    uint32_t ticks;
    uint32_t last_slot; /* where slot_find begins */
    /* TLB generations: tlb.c */
    uint32_t next_asid;
    uint8_t high_private;           /* non-global pages of the upper half were filled */
    uint16_t user_keys, super_keys; /* protection keys of pages that were filled: bit by key */
    uint64_t large_seen[2];         /* by half: bloom of the GiB in which pieces of large pages were filled */
    struct {
        uint16_t pcid, asid;
        uint8_t used;
    } pcid[PCID_SLOTS];
    uint32_t pcid_next;
    /* time */
    uint64_t timer_due; /* copy of lapic.timer_due, compared with the clock when the budget ends */
    uint64_t steal_from, steal_next; /* steal.c: what the host said last, + 1; when it is asked again */
    struct cpu_debugger dbg;
    uint64_t watch_addr;      /* the watchpoint that was hit, for the exit */
    uint64_t exc_cr2;         /* of the #PF in flight */
    uint64_t exc_dr6;         /* of the #DB in flight */
    struct x86_events inject; /* events that engine_set brought, delivered when the vCPU next runs */
    uint8_t has_inject;
    /* counters */
    /* translated code: xcache.c */
    uint8_t interpret_once;
    uint64_t xcache_seen;
    uint8_t timer_came;    /* engine_timer was called */
    uint64_t armed;        /* guest ns at which engine_timer comes; 0: not at all */
    uint32_t jc_logged[2]; /* by half of linear space: entries of the jump cache that were filled */
    uint32_t jc_log[2][XJC_LOG];
    uint64_t jc_pages[2][16]; /* bloom of the pages with such entries */
    struct xkept xkept[XKEPT];
    /* Units by linear address, of all address spaces: what the jump cache forgets with each change of CR3. */
    struct xnear {
        uint64_t linear, gpa;
        struct xunit *unit;
    } xnear[FTLB_SETS][XNEAR];
    uint64_t n_slow, n_interpreted;
    uint64_t n_blocks, n_pio, n_mmio, n_halt, n_miss, n_intr, n_inval, run_ns, run_from;

    struct ENGINE_FIXED {
        struct block_cache *blocks;
        struct x86_cpuid cpuid;
        struct x86_features features;
        uint64_t phys_reserved; /* physical address bits that this CPU lacks, within 0..51 */
        uint64_t tsc_mul;       /* ticks per ns, 24.40 fixed point */
        uint32_t tsc_khz;
        uint8_t amd; /* the vendor is AuthenticAMD: SYSCALL in compatibility mode */
    };
};

/* Guest time by the host's TSC (clock.c): ns = from_ns + (TSC - from_tsc) * mul >> 32, while the difference
 * is below CLOCK_STALE. Translated code reads the first four words (xsys.c). */
struct engine_clock {
    uint64_t seq; /* atomic; odd: being changed */
    uint64_t from_tsc, from_ns, mul;
    uint64_t base_tsc, base_ns, rate; /* how fast time goes, seen over long; as mul */
};
enum { CLOCK_STALE = 1 << 24 }; /* some milliseconds */
enum { TSC_SHIFT = 40 };        /* of cpu_private.tsc_mul */

struct engine {
    uint32_t stop, stop_lock; /* atomic */
    uint32_t arb;             /* where the next lowest-priority message starts */
    uint8_t no_note;          /* the note of pages whose slot has none */
    struct engine_clock clock __attribute__((aligned(64)));

    struct ENGINE_FIXED {
        uint32_t cpus;
        uint32_t tsc_khz, host_tsc_khz;
        uint8_t log_exceptions, count, dirty_log, attached;
        uint32_t slots_version; /* atomic */
        uint32_t flush_version; /* atomic: whoever comes inside with an older one fills its TLB anew (dirty
                                   tracking) */
        uint32_t slot_count;
        struct engine_outside out;
        void *opaque;
        struct engine_slot slot[ENGINE_MAX_SLOTS]; /* sorted by gpa */
        struct cpu *cpu[ENGINE_MAX_CPUS];
        struct xcache *xlate;
        size_t xlate_code;                /* bytes of its code */
        uint64_t xlate_exec, native_exec; /* addresses of the executable views of their code */
        struct native_area *native;       /* thunks of machine code: native.h */
    };
};

enum { ENGINE_BLOCKS_SIZE = 32 << 20 };

/* ---- engine.c ---- */

struct cpu *engine_cpu(struct engine *en, unsigned index);
static inline void cpu_attention(struct cpu *c, uint32_t what) /* any thread */
{
    __atomic_fetch_or(&c->attention, what, __ATOMIC_SEQ_CST);
    __atomic_store_n(&c->x.poll, 1, __ATOMIC_SEQ_CST);
}
/* Two NMIs that come before the processor gets to take the first are both taken: a real one would have begun
 * with the first at once. */
static inline void cpu_attention_nmi(struct cpu *c) /* any thread */
{
    uint32_t a = __atomic_load_n(&c->attention, __ATOMIC_SEQ_CST), with;

    do
        with = a | (a & ATT_NMI ? ATT_NMI2 : ATT_NMI);
    while (!__atomic_compare_exchange_n(&c->attention, &a, with, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    cpu_attention(c, 0);
}
/* On its own thread: while one is served, one waits at most. */
static inline void cpu_unmask_nmi(struct cpu *c)
{
    if (c->nmi_masked)
        __atomic_fetch_and(&c->attention, ~(uint32_t)ATT_NMI2, __ATOMIC_SEQ_CST);
    c->nmi_masked = 0;
}
/* clock.c. Guest time; never behind what it gave before while the machine runs. */
uint64_t engine_now(struct engine *en);
/* The same when the guest's clock may have stood still meanwhile: before a vCPU runs. */
void clock_settle(struct engine *en);
/* What the outside says, for whoever looks at a machine that stands. */
static inline uint64_t engine_now_outside(struct engine *en)
{
    return en->out.now_ns(en->opaque);
}
void engine_poke(struct engine *en, unsigned cpu,
                 uint32_t what); /* attention, and out of its sleep; any thread */
/* Leave engine_run from inside an instruction. */
_Noreturn void cpu_exit(struct cpu *c, enum engine_exit kind);
_Noreturn void cpu_failed(struct cpu *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Execute one instruction at RIP, decoded afresh, without delivering what it raises. 0: done, RIP advanced.
 * Otherwise LEAVE_FAULT (the event is in fault_*) or LEAVE_EXIT. For tests and engine_step_state. */
int cpu_step_raw(struct cpu *c);

/* ---- state.c ---- */

void cpu_init_signal(struct cpu *c); /* INIT (SDM 3A 9.1.1): as RESET, but for caches, FPU, MSRs and time */

/* ---- world.c ---- */

void cpu_enter(struct cpu *c); /* come inside; flushes the TLB when slots changed meanwhile */
static inline void cpu_leave(struct cpu *c)
{
    __atomic_store_n(&c->priv->inside, 0, __ATOMIC_RELEASE);
}
void world_stop(struct engine *en, struct cpu *self); /* self may be NULL or outside */
void world_go(struct engine *en);

/* ---- callouts (world.c): the only places from which guest code reaches the outside ---- */

uint64_t cpu_mmio_read(struct cpu *c, uint64_t gpa, unsigned size); /* size 1..8, any alignment */
void cpu_mmio_write(struct cpu *c, uint64_t gpa, unsigned size, uint64_t value);

/* ---- phys.c: guest-physical memory ---- */

const struct engine_slot *slot_find(struct cpu *c, uint64_t gpa);
/* Host pointer to [gpa, gpa+len) within one slot, or NULL. */
uint8_t *phys_host(struct cpu *c, uint64_t gpa, unsigned len, bool write);
void phys_written(struct cpu *c, uint64_t gpa, unsigned len);         /* notes: code, dirty */
bool phys_read(struct cpu *c, uint64_t gpa, void *out, unsigned len); /* RAM and ROM only; may cross slots */
bool phys_write(struct cpu *c, uint64_t gpa, const void *in, unsigned len);

/* ---- walk.c: page tables ---- */

enum walk_access {
    WALK_WRITE = 1,
    WALK_USER = 2,
    WALK_FETCH = 4,
    WALK_SMAP = 8 /* user pages forbidden */,
    WALK_PEEK = 16 /* no A/D */
};
struct walk {
    uint64_t gpa;
    uint32_t error;                      /* page-fault error code when cpu_walk is false */
    bool writable, dirty, large, global; /* writable: a write by the same privilege would be allowed */
    uint16_t user_key, super_key;        /* the protection key that was looked at: a bit, or 0 */
};
bool cpu_walk(struct cpu *c, uint64_t linear, unsigned access, struct walk *w);
/* PAE: load the four pointers from CR3, #GP(0) on reserved bits; `false` then, nothing changed. */
bool cpu_load_pdptes(struct cpu *c, uint64_t cr3);

/* ---- tlb.c ---- */

void tlb_reset(struct cpu *c); /* drop everything */
/* PKRU or IA32_PKRS changes by these bits: what was filled under them goes. `seen`: user_keys, super_keys. */
void tlb_new_keys(struct cpu *c, uint16_t *seen, uint32_t changed);
void cpu_set_pkru(struct cpu *c, uint32_t v);
void tlb_new_pcid(struct cpu *c, uint16_t pcid, bool keep); /* CR3 load: flush that PCID unless keep */
/* Translate one access within one page; #PF does not return. host is NULL for what is not plain memory. */
struct place {
    uint8_t *host;
    uint8_t *note;
    uint64_t gpa;
};
void cpu_place(struct cpu *c, uint64_t linear, enum tlb_kind kind, enum tlb_set set, struct place *p);
static inline enum tlb_set cpu_system_set(const struct cpu *c) /* of implicit supervisor accesses */
{
    return c->cr4 & CR4_SMAP ? TLB_SUPER_SMAP : TLB_SUPER;
}

/* ---- ftlb.c ---- */

void ftlb_init(struct cpu *c);
/* The set in use knows the page. */
bool ftlb_knows(const struct cpu *c, uint64_t linear, bool write);
void ftlb_flush_half(struct cpu *c, unsigned half);
void ftlb_flush_page(struct cpu *c, uint64_t linear);
void ftlb_fill(struct cpu *c, enum tlb_set set, enum tlb_kind kind, uint64_t linear, const struct place *p);
void ftlb_refill(struct cpu *c, uint64_t linear);
void ftlb_drop_writes(struct cpu *c, const uint8_t *host);

/* ---- xcache.c: translated code ---- */

size_t xcache_size(size_t code); /* bytes of arena for so many of code; 0: the usual */
size_t xcache_init(struct xcache *k,
                   size_t code); /* k lies in as many bytes; the number for the code alone */
void xcache_attach(struct engine *en);
void xcache_detach(struct engine *en);
void xlate_thread(struct cpu *c); /* this thread will run translated code of this vCPU */
bool xlate_possible(const struct cpu *c);
bool xlate_run(struct cpu *c);      /* run translated code at RIP; false: interpret one block */
void xcache_emptied(struct cpu *c); /* cpu_enter found units gone */
uint64_t xcache_generation(const struct engine *en); /* changes when some go */
void xcache_stats(const struct engine *en, struct accel_stats *out);
uint64_t xcache_code(const struct engine *en); /* address of the executable view */
void xcache_distrust(struct engine *en);       /* memory may have changed behind our back */
bool xcache_written(struct cpu *c, uint64_t gpa, unsigned n);
void xcache_attention(struct cpu *c, uint32_t what);
void jc_flush(struct cpu *c);
void jc_flush_half(struct cpu *c, unsigned half);
void jc_flush_page(struct cpu *c, uint64_t linear);

/* ---- mode.c ---- */

void cpu_update_ac(struct cpu *c);                /* only RFLAGS.AC or CR0.AM changed */
static inline void cpu_update_jump(struct cpu *c) /* after asid, mode or tlb_user changed */
{
    uint64_t tag = (uint64_t)c->tlb_user << 14 | (uint64_t)c->mode << 12;

    c->jump_tag[0] = tag | c->asid[0];
    c->jump_tag[1] = tag | c->asid[1];
}

/* ---- mem.c ---- */

static inline bool is_canonical_to(uint64_t a, unsigned bits)
{
    return (uint64_t)((int64_t)(a << (64 - bits)) >> (64 - bits)) == a;
}
/* As the paging mode has linear addresses, of 48 or 57 bits (SDM 1 3.3.7.1): accesses and branches. */
static inline bool is_canonical(const struct cpu *c, uint64_t a)
{
    return is_canonical_to(a, c->cr4 & CR4_LA57 ? 57 : 48);
}
/* As the processor has them, in whatever mode: bases of segments and tables, MSRs, INVPCID (SDM 3A 4.5.2). */
static inline bool is_canonical_base(const struct cpu *c, uint64_t a)
{
    return is_canonical_to(a, cpu_has(c, X86_F_LA57) ? 57 : 48);
}
static inline void note_written(struct cpu *c, const uint8_t *note, uint64_t gpa, unsigned n)
{
    if (note_has_code(note))
        cpu_code_written(c, gpa, n);
}
/* n bytes at `off` lie within the limit of `s` (16- and 32-bit modes), expand-down included. */
bool seg_holds(const struct x86_seg *s, uint64_t off, unsigned n);
/* Linear accesses of any length with an explicit TLB set. */
void linear_load(struct cpu *c, uint64_t linear, void *out, unsigned n, enum tlb_set set);
void linear_store(struct cpu *c, uint64_t linear, const void *in, unsigned n, enum tlb_set set);
/* n words at once, where nothing can fault or has to be told; false: nothing was done. */
bool linear_store_known(struct cpu *c, uint64_t linear, const uint64_t *words, unsigned n, enum tlb_set set);
void linear_probe_write(struct cpu *c, uint64_t linear, unsigned n, enum tlb_set set);

/* ---- excp.c ---- */

void cpu_deliver_fault(struct cpu *c);                     /* what fault_* says; may itself raise */
void cpu_deliver_interrupt(struct cpu *c, uint8_t vector); /* external interrupt or NMI, at RIP; may raise */
_Noreturn void cpu_triple_fault(struct cpu *c);
_Noreturn void cpu_debug_trap(struct cpu *c,
                              uint64_t dr6_bits); /* #DB with these DR6 bits, returning to next_rip */
_Noreturn void
cpu_debug_fault(struct cpu *c,
                uint64_t dr6_bits); /* the same, returning to rip: instruction breakpoints, general detect */

/* ---- seg.c ---- */

struct descriptor {
    uint64_t at; /* linear address, 0 when none */
    uint64_t base;
    uint32_t limit, attr, low, high;
};
/* Fetch the 8 bytes of `sel`'s descriptor: false when the index is beyond its table or the LDT unusable. */
bool desc_fetch(struct cpu *c, uint16_t sel, struct descriptor *d);
void desc_fetch_system64(struct cpu *c, uint16_t sel,
                         struct descriptor *d); /* upper half of a 16-byte one: base completed, #GP(sel) */
/* That upper half is within the table and as it must be. */
bool desc_whole64(struct cpu *c, uint16_t sel, const struct descriptor *d);
void desc_set_accessed(struct cpu *c, struct descriptor *d);
void desc_to_seg(const struct descriptor *d, uint16_t sel, struct x86_seg *s);
struct x86_seg seg_null(const struct cpu *c, uint16_t sel);
struct x86_seg seg_v86(uint16_t sel);
/* Stack segment for privilege `dpl`, with `vector` raised on error: delivery and call gates. */
void seg_check_stack(struct cpu *c, uint16_t sel, unsigned dpl, uint8_t vector, unsigned ext,
                     struct x86_seg *out);
/* The stack for `dpl` of the 16- or 32-bit TSS; in 64-bit mode the stack pointer at `at` of the TSS. #TS(TR)
 * when it lies beyond the limit. */
/* After a return to an outer privilege: data segments that it may not use become null (SDM 2B RET). */
void seg_drop_inner(struct cpu *c);
void tss_stack(struct cpu *c, unsigned dpl, unsigned ext, uint16_t *ss, uint64_t *sp);
uint64_t tss_stack64(struct cpu *c, unsigned at, unsigned ext);

/* VIF stands for IF where IOPL keeps IF from a program: in v8086 mode with CR4.VME, else for CLI and STI at
 * CPL 3 with CR4.PVI (SDM 3A 20.3, 20.4). */
static inline bool cpu_virtual_if(const struct cpu *c)
{
    return c->cpl == 3 && (c->rflags & X86_IOPL) != X86_IOPL && (c->cr4 & (cpu_v86(c) ? CR4_VME : CR4_PVI));
}
/* At the beginning of an instruction: an interrupt for which VIF waits is #GP(0) (SDM 3A 20.3.2). */
static inline void cpu_check_pending(struct cpu *c)
{
    const uint64_t both = X86_VIF | X86_VIP;

    if (unlikely((c->rflags & both) == both) && cpu_virtual_if(c))
        cpu_gp(c, 0);
}
/* The flags with which instructions are executed one at a time, and that looked at. */
enum { CAREFUL_FLAGS = X86_TF | X86_RF | X86_VIP };
/* PUSHF, POPF, IRET and INT n of v8086 mode are such that do, for operands of 16 bits. true: by VIF; #GP(0)
 * when neither that nor IOPL allows them. */
static inline bool cpu_v86_virtual(struct cpu *c, unsigned opsize)
{
    if (!cpu_v86(c) || (c->rflags & X86_IOPL) == X86_IOPL)
        return false;
    if (opsize != 2 || !(c->cr4 & CR4_VME))
        cpu_gp(c, 0);
    return true;
}
/* FLAGS as such a program sees them, and the checks and the loading of those that it pops. */
uint64_t cpu_virtual_flags(const struct cpu *c);
void cpu_check_virtual_flags(struct cpu *c, uint64_t value);
void cpu_set_virtual_flags(struct cpu *c, uint64_t value);

/* ---- task.c ---- */

enum task_how { TASK_JUMP, TASK_CALL, TASK_IRET, TASK_INTERRUPT };
/* What leads to another task. The old one is left with this RIP and these flags. */
struct task_cause {
    enum task_how how;
    uint64_t return_rip, flags;
    uint32_t error; /* pushed on the new task's stack */
    bool has_error;
    uint8_t ext; /* of the error codes of faults on the way (SDM 3A 6.13) */
};
void task_switch(struct cpu *c, uint16_t sel, const struct task_cause *why);

/* ---- msr.c, time.c ---- */

bool msr_read(struct cpu *c, uint32_t index, uint64_t *value);
bool msr_write(struct cpu *c, uint32_t index, uint64_t value,
               bool host); /* host: by engine_set: no checks that the guest has */
void tsc_set_khz(struct cpu *c, uint32_t khz);
void tsc_write(struct cpu *c, uint64_t value, bool host);
void tsc_adjust_write(struct cpu *c, uint64_t value);
uint64_t tsc_at(const struct cpu *c, uint64_t now_ns);
uint64_t tsc_to_ns(const struct cpu *c, uint64_t tsc); /* guest ns at which the TSC reaches `tsc` */
bool pvclock_write(struct cpu *c, uint32_t index, uint64_t value, bool host);
void pvclock_update(struct cpu *c); /* on the owner's thread */

/* ---- steal.c ---- */

void steal_write(struct cpu *c, uint64_t value);
void steal_poll(struct cpu *c, uint64_t now); /* on the owner's thread, which holds no host pointers */

/* ---- lapic.c ---- */

void lapic_reset(struct cpu *c, bool init);
bool lapic_is_page(const struct cpu *c, uint64_t gpa); /* this CPU's xAPIC page */
uint64_t lapic_mmio_read(struct cpu *c, uint64_t gpa, unsigned size);
void lapic_mmio_write(struct cpu *c, uint64_t gpa, unsigned size, uint64_t value);
bool lapic_msr_read(struct cpu *c, uint32_t index, uint64_t *value);
bool lapic_msr_write(struct cpu *c, uint32_t index, uint64_t value);
bool lapic_base_write(struct cpu *c, uint64_t value, bool host);
int lapic_pending(
    struct cpu *c); /* the vector that may be delivered now (above PPR), or -1; ExtINT not included */
void lapic_accept(struct cpu *c, uint8_t vector); /* IRR -> ISR */
bool lapic_extint(struct cpu *c);                 /* the PIC's line is up and LINT0 lets it through */
uint8_t lapic_tpr(const struct cpu *c);
void lapic_set_tpr(struct cpu *c, uint8_t tpr);
void lapic_error(struct cpu *c, uint32_t esr_bits);
bool lapic_x2(const struct lapic *a);
void lapic_get(struct cpu *c, struct x86_lapic *out);
void lapic_set(struct cpu *c, const struct x86_lapic *in, uint64_t deadline);

/* ---- lapic_bus.c ---- */

void lapic_inject(struct cpu *c, uint8_t vector, bool level); /* any thread */
void lapic_send(struct cpu *c, uint32_t icr, uint32_t dest);
/* The same to the CPUs of a set: bit i of low and high, of `width` bits each, is APIC id first + i. How many
 * receive it. */
int lapic_send_set(struct cpu *c, uint64_t low, uint64_t high, unsigned width, uint64_t first, uint32_t icr);

/* ---- lapic_timer.c; all on the owner's thread ---- */

void lapic_timer_poll(struct cpu *c, uint64_t now);
void lapic_timer_start(struct cpu *c, uint32_t initial);
uint32_t lapic_timer_current(struct cpu *c);
void lapic_timer_divide(struct cpu *c, uint32_t divide);
void lapic_timer_mode(struct cpu *c, uint32_t was);
void lapic_timer_off(struct cpu *c);
void lapic_timer_rearm(struct cpu *c); /* after TSC_ADJUST or TSC writes */
uint64_t lapic_timer_remaining(struct cpu *c);
void lapic_timer_resume(struct cpu *c, uint64_t remaining_ns, uint64_t deadline);
void lapic_set_deadline(struct cpu *c, uint64_t tsc);

/* ---- xsave.c ---- */

uint64_t xsave_in_use(const struct cpu *c); /* XINUSE (SDM 1 13.6) */

/* ---- debug.c ---- */

/* Leave engine_run with ENGINE_DEBUG at the present RIP. */
_Noreturn void cpu_exit_debug(struct cpu *c, uint64_t dr6, uint64_t watch_addr, bool software);

void debug_update(struct cpu *c); /* after DR7 or the debugger's wishes changed */
void debug_watch(struct cpu *c, uint64_t linear, unsigned size,
                 bool write);                                 /* slow-path accesses while watch_armed */
bool debug_watch_page(struct cpu *c, uint64_t page);          /* a data breakpoint lies in this page */
void debug_port(struct cpu *c, uint16_t port, unsigned size); /* port accesses while ports_armed */

void debug_before(struct cpu *c); /* instruction breakpoints at RIP; may not return */
void debug_after(struct cpu *c,
                 bool stepped); /* the traps that the instruction just committed has earned; may not return */

/* ---- block.c ---- */

size_t block_cache_size(void);
void block_cache_init(struct cpu *c, void *at);
struct block *block_get(struct cpu *c); /* the block at RIP; fetch faults do not return */
void block_flush(struct cpu *c);
void jump_flush(struct cpu *c);
void jump_flush_page(struct cpu *c, uint64_t linear);
/* The generation and the note of a page of memory, or NULL; mark it as code (block.c: self-modifying code).
 */
uint32_t *block_gen_of(struct cpu *c, uint64_t gpa, uint8_t **note);
/* No code of the page is known any more. First the note, then the generation: a decoder that set the note
 * again in between sees the new generation (block.c). */
static inline void page_without_code(uint8_t *note, uint32_t *gen)
{
    __atomic_fetch_and(note, (uint8_t) ~(PAGE_CODE | NOTE_CODE_SEEN), __ATOMIC_SEQ_CST);
    __atomic_fetch_add(gen, 1, __ATOMIC_SEQ_CST);
}
bool block_claim_page(struct cpu *c, uint8_t *note, const uint32_t *gen, uint32_t *at);
/* Before a page is claimed: no fast TLB lets stores to it through any more. May stop the world: the caller
 * holds no host pointers, and looks the place up again when this returns true. */
bool block_close_page(struct cpu *c, const struct place *p);
/* Decode the one instruction at RIP afresh into *in. Fetch faults do not return. */
void block_decode_one(struct cpu *c, struct insn *in);

/* A repeated instruction that has work left goes on when it is come to again; it is counted when it is done.
 */
static inline void insn_part_done(struct cpu *c)
{
    c->next_rip = c->rip;
    c->priv->no_stop_at = c->icount;
    c->icount--; /* the loop adds one */
}

#endif
