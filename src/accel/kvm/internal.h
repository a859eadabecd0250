/*
 * kvm: the accelerator on Linux KVM. Private to the room.
 *
 * Theory of operation. The irqchip is split: local APICs are KVM's, everything in front of them is ours. A
 * vCPU's thread stays in vcpu.c's loop, where KVM_RUN alternates with the port, MMIO, EOI and MSR exits that
 * the loop serves itself. Whoever wants the thread (a kick, an NMI, the PIC's line) sets a flag, sets
 * immediate_exit and signals the thread: a signal that comes before KVM_RUN makes it return at once, so no
 * request is lost.
 *
 * KVM finishes a port or MMIO access only on the next KVM_RUN. `unfinished` remembers that; quiescing enters
 * with immediate_exit until nothing is left. All ioctls that read or write state come after that.
 *
 * Locks: `slots_lock` and `routes_lock` are leaves. Per-vCPU fields belong to the vCPU's thread unless marked
 * atomic.
 */
#ifndef ACCEL_KVM_INTERNAL_H
#define ACCEL_KVM_INTERNAL_H
#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include "accel/accel.h"
#include "guest/mem.h"
#include "host/lock.h"
#include "x86/cpuid.h"
#include "x86/state.h"

struct err;

/* The first GSIs are kept for routes of level-triggered messages: KVM tells us of an EOI only for vectors
 * that a route among them has. */
enum { KVM_LEVEL_ROUTES = 128, KVM_FD_ROUTES = 1024 };

struct kvm_caps {
    bool sregs2, exception_payload, triple_fault_event, smm, readonly_mem, user_space_msr, enforce_pv,
        tsc_control, tsc_offset, tsc_deadline, mce, guest_debug2, any_length, emulation_exit;
    uint32_t slots;
};

struct kvm_slot {
    uint64_t gpa, size;
    uint8_t *host;
    struct ram *ram;
    uint64_t ram_offset;
    uint32_t id;
    bool readonly;
};

struct kvm_stats {
    _Atomic uint64_t pio, mmio, halt, other, interrupts, refused;
};

struct kvm_vcpu {
    struct vcpu v;
    struct kvm_accel *k;
    int fd;
    struct kvm_run *run;
    struct mem_reader *reader; /* of the vCPU's thread, made at its first run */
    _Atomic pid_t tid;         /* of the thread that runs it; 0 before the first run */
    _Atomic bool in_run;       /* inside KVM_RUN, or about to be */
    _Atomic bool inside;       /* between entry to vcpu_run and its return */
    _Atomic bool kicked, nmi_wanted;
    bool unfinished; /* an access whose result KVM has not taken yet */
    bool deferred;   /* quiescing came upon an exit: the next run gives it */
    enum vcpu_exit deferred_exit;
    struct vcpu_exit_info deferred_info;
    unsigned refetch; /* entries retried because the code's page was in no slot for a moment */
    struct vcpu_debug debug;
    struct kvm_stats stats;
    _Atomic clockid_t cpu_clock;
    _Atomic uint64_t cpu_ns;       /* the thread's CPU time when it last left vcpu_run */
    struct completer *completer;   /* finishes instructions that KVM refuses; made at the first one */
    struct x86_lapic frozen_lapic; /* while time is stopped: the timers as they stood */
    uint64_t frozen_deadline;
    bool frozen;
};

struct kvm_accel {
    struct accel a;
    struct accel_config cfg;
    int dev, vm;
    size_t run_size;
    struct kvm_caps caps;
    struct x86_cpuid *cpuid; /* one per vCPU */
    struct x86_host host;
    uint32_t tsc_khz;
    struct kvm_vcpu *_Atomic *vcpus;
    uint32_t msrs[X86_MAX_MSRS]; /* saved MSRs of the table that this KVM has; found with the first vCPU */
    uint32_t msr_count;
    _Atomic bool extint;

    struct lock slots_lock;
    struct mem_listener listener;
    bool listening;
    struct kvm_slot *slots;
    size_t slot_count, slot_cap;
    bool dirty_log;

    struct lock routes_lock;
    struct kvm_irq_routing *routes; /* the table as KVM has it */
    uint64_t route_used[KVM_LEVEL_ROUTES];
    uint64_t route_tick;
    int *route_fd; /* eventfd of each irqfd route, -1: free */

    uint64_t clock_ns; /* the paravirtual clock where time stopped, or as a load set it */
    bool clock_known, stopped;
    uint64_t stop_tsc;  /* host TSC then */
    int64_t tsc_offset; /* the offset last given to a vCPU, so that all get the same */
    bool tsc_offset_known;
};

static inline struct kvm_accel *kvm_of(struct accel *a)
{
    return (struct kvm_accel *)(void *)a;
}
static inline struct kvm_vcpu *kvm_vcpu_of(struct vcpu *v)
{
    return (struct kvm_vcpu *)(void *)v;
}

/* ioctl that gives its result or a negative errno. */
int kvm_ioctl(int fd, unsigned long request, void *arg);
int kvm_ioctl_value(int fd, unsigned long request, unsigned long value);

/* ---- open.c ---- */
int kvm_dev_open(struct err *e); /* /dev/kvm, API checked; fd or -errno */

/* ---- features.c ---- */
/* What this KVM can give to a guest. */
int kvm_features(struct kvm_accel *k, struct x86_features *out, struct err *e);
int kvm_vcpu_set_cpuid(struct kvm_vcpu *v, struct err *e);

/* ---- slots.c ---- */
void kvm_slots_init(struct kvm_accel *k);
void kvm_slots_free(struct kvm_accel *k);
int kvm_dirty_log(struct accel *a, bool on, struct err *e);
int kvm_dirty_collect(struct accel *a, struct err *e);

/* ---- vcpu.c, vcpu.c ---- */
struct vcpu *kvm_vcpu_new(struct accel *a, unsigned index, struct err *e);
void kvm_vcpu_free(struct vcpu *v);
enum vcpu_exit kvm_vcpu_run(struct vcpu *v, struct vcpu_exit_info *info, struct err *e);
void kvm_vcpu_kick(struct vcpu *v);
int kvm_vcpu_quiesce(struct vcpu *v, struct err *e);
int kvm_vcpu_nmi(struct vcpu *v);
/* Make the thread look at its flags without a VCPU_KICKED. Any thread. */
void kvm_vcpu_poke(struct kvm_vcpu *v);
int kvm_kick_signal(void);
/* Serve the exit in v->run. 0: go on; 1: *x says why to leave. */
int kvm_exit(struct kvm_vcpu *v, enum vcpu_exit *x, struct vcpu_exit_info *info, struct err *e);

/* ---- regs.c, fpu.c, lapic.c, msrs.c ---- */
enum kvm_part {
    KVM_PART_REGS = 1,   /* general, segment, control and debug registers */
    KVM_PART_FPU = 2,    /* x87, vectors, XCR0 */
    KVM_PART_EVENTS = 4, /* pending events, shadows */
    KVM_PART_MSRS = 8,
    KVM_PART_LAPIC = 16,
    KVM_PART_TIME = 32, /* TSC and the paravirtual clock */
    KVM_PART_MP = 64,
    KVM_PART_ALL = 127,
};
int kvm_state_get(struct kvm_vcpu *v, struct x86_state *s, unsigned parts, struct err *e);
int kvm_state_set(struct kvm_vcpu *v, const struct x86_state *s, unsigned parts, struct err *e);
int kvm_vcpu_get(struct vcpu *v, struct x86_state *s, struct err *e);
int kvm_vcpu_set(struct vcpu *v, const struct x86_state *s, struct err *e);
int kvm_fpu_get(struct kvm_vcpu *v, struct x86_state *s, struct err *e);
int kvm_fpu_set(struct kvm_vcpu *v, const struct x86_state *s, struct err *e);
int kvm_lapic_get(struct kvm_vcpu *v, struct x86_lapic *l, struct err *e);
int kvm_lapic_set(struct kvm_vcpu *v, const struct x86_lapic *l, struct err *e);
int kvm_msrs_find(struct kvm_vcpu *v, struct err *e);
int kvm_msrs_get(struct kvm_vcpu *v, struct x86_state *s, struct err *e);
int kvm_msrs_set(struct kvm_vcpu *v, const struct x86_state *s, struct err *e);
int kvm_msr_get(struct kvm_vcpu *v, uint32_t index, uint64_t *value);
int kvm_msr_set(struct kvm_vcpu *v, uint32_t index, uint64_t value);

/* ---- irq.c ---- */
int kvm_routes_init(struct kvm_accel *k, struct err *e);
void kvm_routes_free(struct kvm_accel *k);
int kvm_msi(struct accel *a, struct msi_message m);
void kvm_extint(struct accel *a, bool level);
/* Give the PIC's interrupt to the boot CPU when it may have it; ask for a window when it may not yet. */
int kvm_extint_inject(struct kvm_vcpu *v, struct err *e);
int kvm_irqfd(struct accel *a, int eventfd, struct msi_message m, bool on, struct err *e);
int kvm_doorbell(struct accel *a, uint64_t gpa, unsigned size, int eventfd, bool on, struct err *e);

/* ---- time.c ---- */
void kvm_time_stopped(struct accel *a, bool stopped);
int kvm_time_get(struct kvm_vcpu *v, struct x86_state *s, struct err *e);
int kvm_time_set(struct kvm_vcpu *v, const struct x86_state *s, struct err *e);

/* ---- debug.c, walk.c ---- */
int kvm_vcpu_debug(struct vcpu *v, const struct vcpu_debug *d, struct err *e);
void kvm_debug_exit(struct kvm_vcpu *v, struct vcpu_exit_info *info);
int kvm_vcpu_translate(struct vcpu *v, uint64_t linear, uint64_t *gpa);
/* Page walk of SDM 3A chapter 4, without side effects. 0 or -EFAULT. */
int kvm_walk(const struct mem_map *m, const struct x86_state *s, uint64_t linear, uint64_t *gpa);

/* ---- complete.c ---- */
/* Execute the instruction that KVM refused. 0, or -errno with the reason. On the vCPU's thread. */
int kvm_complete(struct kvm_vcpu *v, struct err *e);
void kvm_completer_free(struct kvm_vcpu *v);

#endif
