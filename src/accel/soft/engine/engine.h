/*
 * engine: the software engine's own boundary. Freestanding: no malloc, no pointers into the VMM, no other
 * room's functions but base/ and the pure x86/ tables. All its state lies in one arena, a shared mapping;
 * what it needs from outside is struct engine_outside. So the same engine runs as threads of the VMM or in a
 * child process that holds nothing but this guest (accel/soft/child.c).
 *
 * Guest RAM reaches it as slots: host addresses are those of the process the engine runs in.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "x86/cpuid.h"
struct x86_state;

enum { ENGINE_MAX_CPUS = 64, ENGINE_MAX_SLOTS = 64, ENGINE_CODE_MIN = 512 << 10 };

/* A piece of guest-physical memory that is plain memory. Everything else goes out by mmio_read/mmio_write. */
struct engine_slot {
    uint64_t gpa, size;
    uint8_t *host;
    uint8_t *notes;    /* PAGE_* of guest/mem.h, one byte a page */
    uint32_t *gens;    /* page generations */
    uint32_t readonly; /* ROM and ROMD: writes go out by mmio_write */
};

struct engine_block;

/* The engine's whole outside. `o` is the opaque given at creation; functions run on the vCPU's thread unless
 * said otherwise. */
struct engine_outside {
    uint32_t (*pio_read)(void *o, uint16_t port, unsigned size);
    void (*pio_write)(void *o, uint16_t port, unsigned size, uint32_t value);
    uint64_t (*mmio_read)(void *o, uint64_t gpa, unsigned size);
    void (*mmio_write)(void *o, uint64_t gpa, unsigned size, uint64_t value);
    int (*ack_extint)(void *o);
    void (*eoi)(void *o, uint8_t vector);
    uint64_t (*now_ns)(void *o);  /* guest time: basis of TSC, APIC timer and paravirtual clock; any thread */
    uint64_t (*wall_ns)(void *o); /* wall clock, for KVM_WALL_CLOCK */
    void (*sleep)(void *o, unsigned cpu, uint64_t deadline_ns); /* until engine_outside.wake(cpu) or guest
                                                                   time `deadline_ns` (UINT64_MAX: none) */
    /* Have engine_timer called at guest time `deadline_ns`, in place of what was armed before. May be NULL:
     * then translated code is left again and again to look at the clock. */
    void (*arm)(void *o, unsigned cpu, uint64_t deadline_ns);
    void (*wake)(void *o, unsigned cpu); /* any thread; a wake before the sleep is not lost */
    void (*barrier)(void *o); /* every other vCPU thread passes a full memory barrier before this returns */
    void (*quiescent)(
        void *o,
        unsigned cpu); /* the vCPU holds no slot pointer now; called at least every few ms while it runs */
    /* How long this vCPU's thread was ready to run and had no CPU, since any beginning. May be NULL. */
    uint64_t (*stolen_ns)(void *o, unsigned cpu);
    /* Code was translated. Must call nothing of the engine. May be NULL: nobody wants to know. */
    void (*translated)(void *o, const struct engine_block *b);
    void (*log)(void *o, int level, const char *text);
};

/* What a piece of the executable view of translated code was made of. */
struct engine_block {
    uint64_t code; /* host address */
    uint32_t size;
    uint16_t bytes;       /* of guest code; 0: it is of no guest's */
    bool user;            /* CPL 3 */
    uint64_t linear, gpa; /* guest addresses */
    const uint8_t *guest; /* the bytes */
};

struct engine_config {
    unsigned cpus;
    uint32_t tsc_khz;
    /* not 0: now_ns goes with the host's TSC, which is one for all its CPUs and ticks so often: time is read
     * without asking outside (clock.c) */
    uint32_t host_tsc_khz;
    bool log_exceptions;
    size_t code_cache;             /* bytes for translated code; 0: 64 MiB; at least ENGINE_CODE_MIN */
    bool count;                    /* the instructions that translated code retires, which costs a little */
    const struct x86_cpuid *cpuid; /* one per CPU, copied */
};

struct engine; /* the arena */

/* Bytes of arena wanted for this configuration. */
size_t engine_arena_size(const struct engine_config *cfg);
/* Build the engine in zeroed shared memory, aligned to pages. Every vCPU is in its RESET state. */
struct engine *engine_init(void *arena, size_t size, const struct engine_config *cfg);
/* Attach this process to it: who answers. Must be called once in the process that runs vCPUs (again after
 * fork). 0, or the negative errno of native_area_attach: the arena must be a shared mapping, and executable
 * memory allowed. */
int engine_attach(struct engine *en, const struct engine_outside *out, void *opaque);
/* From now on this process can only read those parts of the arena that its own vCPU threads have no business
 * to change and that other processes rely on: pointers, slots, CPUID, who answers. 0 or -errno. */
int engine_protect(struct engine *en);
/* Where executable views of machine code lie in this process: i = 0 (native_area.c), 1 (xcache.c); and give
 * them up, for a process that runs no vCPU. */
uint64_t engine_machine_code(const struct engine *en, unsigned i);
size_t engine_code_size(const struct engine *en); /* bytes of the view of translated code */
/* About where this vCPU is in the guest's code: any thread, signal safe. */
uint64_t engine_rip(const struct engine *en, unsigned cpu);
void engine_drop_machine_code(struct engine *en);
/* Replace the slots; all vCPU threads that run see them at their next instruction boundary, and this returns
 * when they do (the caller must not hold what a vCPU needs to reach one: called from mem listeners, i.e.
 * possibly on a vCPU thread inside mmio_write). */
void engine_set_slots(struct engine *en, const struct engine_slot *slots, unsigned count);

/* The process that ran the vCPUs is no more: nobody waits for its threads. */
void engine_vcpus_died(struct engine *en);

enum engine_exit { ENGINE_KICKED, ENGINE_DEBUG, ENGINE_TRIPLE_FAULT, ENGINE_FAILED };
struct engine_exit_info {
    uint64_t rip, dr6, watch_addr;
    uint8_t software_break;
    char why[256]; /* FAILED */
};
enum engine_exit engine_run(struct engine *en, unsigned cpu, struct engine_exit_info *info);
/* A device wrote to pages that hold code (their generations have changed); any thread. */
void engine_code_event(struct engine *en);
/* The time given to engine_outside.arm has come, or will within ENGINE_TIMER_EARLY nanoseconds; any thread,
 * signal safe. */
enum { ENGINE_TIMER_EARLY = 30000 };
void engine_timer(struct engine *en, unsigned cpu);
void engine_kick(struct engine *en, unsigned cpu); /* any thread, signal safe */
/* Have engine_run return ENGINE_KICKED behind the instruction with which `count` have been retired (what
 * engine_icount says; INT64_MAX: never), and before anything is delivered there: interpreted code right
 * behind it, translated code where it next looks, which is the same place each time. Only with config.count,
 * while the vCPU does not run. */
void engine_stop_at(struct engine *en, unsigned cpu, uint64_t count);
uint64_t engine_icount(const struct engine *en, unsigned cpu);

void engine_get(struct engine *en, unsigned cpu, struct x86_state *s);
int engine_set(struct engine *en, unsigned cpu,
               const struct x86_state *s); /* -EINVAL: state that this CPU cannot be in */
int engine_translate(struct engine *en, unsigned cpu, uint64_t linear, uint64_t *gpa);
int engine_msi(struct engine *en, uint64_t address, uint32_t data); /* any thread: number of targets */
void engine_extint(struct engine *en, bool level);                  /* any thread */
void engine_nmi(struct engine *en, unsigned cpu);                   /* any thread */
struct vcpu_debug;
void engine_debug(struct engine *en, unsigned cpu, const struct vcpu_debug *d);
struct accel_stats;
void engine_stats(struct engine *en, struct accel_stats *out);

/* Dirty tracking of vCPU writes; any thread outside the engine. collect ors PAGE_DIRTY into the slots' notes.
 */
void engine_dirty_log(struct engine *en, bool on);
void engine_dirty_collect(struct engine *en);
/* What a guest of this engine may be offered: for struct x86_cpu_config.allow. */
void engine_features(struct x86_features *f);

/* Execute up to `count` instructions of `s` with the interpreter, without local APIC or interrupts: what
 * completes an instruction that KVM refused, and the heart of instruction tests. Works in `scratch`
 * (engine_arena_size of a 1-CPU config, engine_init'ed, slots set). Returns the number executed; an exception
 * is delivered through the guest's IDT as ever. */
unsigned engine_step_state(struct engine *scratch, struct x86_state *s, unsigned count);

/* The same for one instruction of 64-bit mode as translated code, where the fast TLB knows `pages` (linear
 * addresses). 1: done, an exception delivered; 0: the translator leaves it to the interpreter; -1: not a
 * state for it. */
int engine_step_translated(struct engine *scratch, struct x86_state *s, const uint64_t *pages,
                           unsigned count);

#endif
