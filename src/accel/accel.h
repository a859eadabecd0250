/*
 * accel: who executes the guest's instructions, and its local APICs. Two implementations: accel/kvm (Linux
 * KVM) and accel/soft (our own engine). Callers see only this header.
 *
 * Life:   accel_open -> vcpu_new for each CPU -> [vcpu_set] -> vcpu_run in a loop on the vCPU's own thread ->
 * vcpu_free -> accel_close.
 *
 * An accelerator calls bus_read/bus_write and mem_mmio_read/write itself, on the vCPU's thread. HLT sleeps
 * inside vcpu_run: whether a vCPU is halted is state, not an event. So the vCPU loop is one screen and the
 * same for both:
 *
 *     for (;;) switch (vcpu_run(v, &info, &e)) { case VCPU_KICKED: look at what the vm wants; ... }
 *
 * A guest's reset or power-off is a device write: the device posts it to the vm by callback, and the vm kicks
 * all vCPUs; the one that wrote executes nothing after it.
 */
#ifndef ACCEL_ACCEL_H
#define ACCEL_ACCEL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "guest/irq.h"
#include "x86/cpuid.h"
struct err;
struct mem_map;
struct bus;
struct clock;
struct x86_state;
struct buf;

enum vcpu_exit {
    VCPU_KICKED, /* vcpu_kick was called (or one was pending); nothing is wrong */
    VCPU_DEBUG,  /* a breakpoint, watchpoint or single step that gdb asked for: vcpu_exit_info says which */
    VCPU_TRIPLE_FAULT, /* the CPU has shut down; state is readable */
    VCPU_FAILED,       /* the accelerator cannot go on; `e` says why */
};

struct vcpu_exit_info {
    uint64_t rip;
    uint64_t dr6;        /* DEBUG: which, as DR6 would say */
    uint64_t watch_addr; /* DEBUG: linear address of the watchpoint hit, else 0 */
    bool software_break; /* DEBUG: an INT3 planted by vcpu_debug with software breakpoints */
};

/* What gdb wants of a vCPU. Guest-visible debug registers are saved aside while hardware breakpoints are in
 * use. */
struct vcpu_debug {
    bool single_step;
    bool software_breaks; /* INT3 (0xcc) exits instead of going to the guest */
    struct {
        uint64_t addr;
        uint8_t len;  /* 1, 2, 4, 8 */
        uint8_t type; /* DR7 R/W: 0 execute, 1 write, 3 read or write */
        bool on;
    } hw[4];
};

/* Counters, all monotonic, read at any time without stopping (so they may be slightly behind). */
struct accel_stats {
    uint64_t instructions; /* retired by the engine; 0 on KVM */
    uint64_t
        interpreted; /* of these, not as translated code: by the interpreter, or by a C function on the way */
    uint64_t blocks; /* decoded or translated */
    uint64_t guest_bytes, host_bytes; /* of guest code that was translated; of what it became */
    uint64_t exits_pio, exits_mmio, exits_halt, exits_other;
    uint64_t tlb_misses, interrupts, invalidations,
        refused;     /* refused: instructions KVM left to the interpreter */
    uint64_t run_ns; /* vCPU time not spent halted */
    /* of the software engine's translator; bytes of its cache, and parts of it that gave way to newer code */
    uint64_t translations, code_used, code_size, evictions;
};

/* Given at creation; the callee (board) outlives the accelerator. */
struct accel_callbacks {
    /* The PIC's INTA cycle: the vector for the external-interrupt line, or -1 if it went away. vCPU thread.
     * May be NULL (no PIC). */
    int (*ack_extint)(void *opaque);
    /* A local APIC broadcast an EOI for a level-triggered vector. vCPU thread. */
    void (*eoi)(void *opaque, uint8_t vector);
    void *opaque;
};

struct accel_config {
    struct mem_map *mem;
    struct bus *bus;
    struct clock *clock;
    struct accel_callbacks cb;
    unsigned cpus;         /* 1..255 */
    const char *cpu_model; /* for x86_cpuid_build */
    bool engine_process;   /* soft: run the engine in a confined child process instead of threads */
    bool debug_exceptions; /* log each exception delivered (soft) */
    bool profile;          /* soft: sample where vCPUs spend their time, for accel_profile */
    bool perf_map;         /* soft: tell perf of translated code, in /tmp/perf-PID.map */
    const char
        *symbols; /* soft: names of the guest's code for these two, a file like /proc/kallsyms, or NULL */
    size_t code_cache;       /* soft: bytes for translated code; 0: as many as usual */
    bool count_instructions; /* for accel_stats (soft), which costs a little */
};

struct accel_ops;

struct accel {
    const struct accel_ops *ops;
};

struct vcpu {
    struct accel *accel;
    unsigned index; /* = APIC id */
};

struct accel_ops {
    const char *name; /* "kvm", "soft" */
    void (*close)(struct accel *a);
    struct vcpu *(*vcpu_new)(struct accel *a, unsigned index, struct err *e);
    void (*vcpu_free)(struct vcpu *v);
    enum vcpu_exit (*vcpu_run)(struct vcpu *v, struct vcpu_exit_info *info, struct err *e);
    void (*vcpu_kick)(struct vcpu *v);
    int (*vcpu_quiesce)(struct vcpu *v, struct err *e);
    int (*vcpu_get)(struct vcpu *v, struct x86_state *s, struct err *e);
    int (*vcpu_set)(struct vcpu *v, const struct x86_state *s, struct err *e);
    int (*vcpu_debug)(struct vcpu *v, const struct vcpu_debug *d, struct err *e);
    int (*vcpu_translate)(struct vcpu *v, uint64_t linear, uint64_t *gpa);
    int (*vcpu_nmi)(struct vcpu *v);
    int (*msi)(struct accel *a, struct msi_message m);
    void (*extint)(struct accel *a, bool level);
    void (*time_stopped)(struct accel *a, bool stopped);
    int (*irqfd)(struct accel *a, int eventfd, struct msi_message m, bool on, struct err *e);
    int (*doorbell)(struct accel *a, uint64_t gpa, unsigned size, int eventfd, bool on, struct err *e);
    int (*dirty_log)(struct accel *a, bool on, struct err *e);
    int (*dirty_collect)(struct accel *a, struct err *e);
    void (*stats)(struct accel *a, struct accel_stats *out);
    char *(*profile)(struct accel *a);
    const struct x86_cpuid *(*cpuid)(struct accel *a, unsigned index);
    uint32_t (*tsc_khz)(struct accel *a);
};

/* Create an accelerator. Errors name what is missing and how to mend it (`/dev/kvm: Permission denied; join
 * group kvm or use --accel soft`). */
struct accel *accel_kvm_open(const struct accel_config *cfg, struct err *e);
struct accel *accel_soft_open(const struct accel_config *cfg, struct err *e);

/* Is KVM here, and does it run guest code at native speed? 0: yes. -ENOENT, -EACCES, ...: no, `e` says why.
 * -EOPNOTSUPP: it is there but emulates guest kernel code (measured: a loop of guest kernel instructions;
 * takes about 10 ms); *mips gets the measured speed when not NULL. */
int accel_kvm_probe(double *mips, struct err *e);

/* ---- calls; threads and contracts ---- */

static inline void accel_close(struct accel *a) /* all vCPUs freed; NULL is fine */
{
    if (a)
        a->ops->close(a);
}
/* A vCPU in its RESET state (index 0: BSP runnable, others wait for SIPI). */
static inline struct vcpu *vcpu_new(struct accel *a, unsigned index, struct err *e)
{
    return a->ops->vcpu_new(a, index, e);
}
static inline void vcpu_free(struct vcpu *v)
{
    if (v)
        v->accel->ops->vcpu_free(v);
}
/* Run until one of enum vcpu_exit. Always on the same thread, the vCPU's own. */
static inline enum vcpu_exit vcpu_run(struct vcpu *v, struct vcpu_exit_info *info, struct err *e)
{
    return v->accel->ops->vcpu_run(v, info, e);
}
/* Make a running (or the next) vcpu_run return VCPU_KICKED soon. Any thread, async-signal safe. Called by a
 * device that this vCPU is accessing: before the next instruction. */
static inline void vcpu_kick(struct vcpu *v)
{
    v->accel->ops->vcpu_kick(v);
}
/* Finish a pending port, MMIO or string access so that state may be read. On the vCPU's thread, after
 * vcpu_run returned. */
static inline int vcpu_quiesce(struct vcpu *v, struct err *e)
{
    return v->accel->ops->vcpu_quiesce(v, e);
}
/* All architectural state. Only while quiesced and not in vcpu_run; then any thread. */
static inline int vcpu_get(struct vcpu *v, struct x86_state *s, struct err *e)
{
    return v->accel->ops->vcpu_get(v, s, e);
}
static inline int vcpu_set(struct vcpu *v, const struct x86_state *s, struct err *e)
{
    return v->accel->ops->vcpu_set(v, s, e);
}
static inline int vcpu_debug(struct vcpu *v, const struct vcpu_debug *d, struct err *e) /* while quiesced */
{
    return v->accel->ops->vcpu_debug(v, d, e);
}
/* Guest page walk without side effects, while quiesced: 0 or -EFAULT. */
static inline int vcpu_translate(struct vcpu *v, uint64_t linear, uint64_t *gpa)
{
    return v->accel->ops->vcpu_translate(v, linear, gpa);
}
static inline int vcpu_nmi(struct vcpu *v) /* any thread */
{
    return v->accel->ops->vcpu_nmi(v);
}
/* Deliver a message-signalled interrupt. Any thread, legal under device and irq locks. 1 delivered, 0 no
 * target, or -errno. */
static inline int accel_msi(struct accel *a, struct msi_message m)
{
    return a->ops->msi(a, m);
}
/* The PIC's INTR output, wired to the boot CPU's LINT0 (ExtINT). Any thread, legal under irq locks. */
static inline void accel_extint(struct accel *a, bool level)
{
    a->ops->extint(a, level);
}
/* Guest time (struct clock) is about to stop, or has restarted. With all vCPUs quiesced. */
static inline void accel_time_stopped(struct accel *a, bool stopped)
{
    a->ops->time_stopped(a, stopped);
}
/* Let eventfd inject `m` without a call. -ENOTSUP: use accel_msi instead. For whoever raises interrupts from
 * outside of this process; to a device in it a message costs the same one system call by accel_msi. */
static inline int accel_irqfd(struct accel *a, int eventfd, struct msi_message m, bool on, struct err *e)
{
    return a->ops->irqfd(a, eventfd, m, on, e);
}
/* Let a guest write at gpa signal eventfd instead of calling the region's ops. size 0: any. -ENOTSUP: the ops
 * are called as ever. A region's own doorbells (struct mem_bell) are the board's to pass on (board/bells.c).
 */
static inline int accel_doorbell(struct accel *a, uint64_t gpa, unsigned size, int eventfd, bool on,
                                 struct err *e)
{
    return a->ops->doorbell(a, gpa, size, eventfd, on, e);
}
/* Dirty tracking of vCPU writes: collect ors PAGE_DIRTY into the ram blocks' notes and clears the
 * accelerator's own log. */
static inline int accel_dirty_log(struct accel *a, bool on, struct err *e)
{
    return a->ops->dirty_log(a, on, e);
}
static inline int accel_dirty_collect(struct accel *a, struct err *e)
{
    return a->ops->dirty_collect(a, e);
}
static inline void accel_stats(struct accel *a, struct accel_stats *out)
{
    a->ops->stats(a, out);
}
/* A report of where vCPUs spent their time; any thread. malloc'ed, NULL: there is none. */
static inline char *accel_profile(struct accel *a)
{
    return a->ops->profile ? a->ops->profile(a) : NULL;
}
/* What CPUID answers on vCPU `index`; valid for the accelerator's life. */
static inline const struct x86_cpuid *accel_cpuid(struct accel *a, unsigned index)
{
    return a->ops->cpuid(a, index);
}
static inline uint32_t accel_tsc_khz(struct accel *a)
{
    return a->ops->tsc_khz(a);
}

#endif
