/*
 * internal: the accelerator object, and what soft.c (accel_ops) and child.c (the engine in a process of its
 * own) share.
 *
 * struct soft lies in a private mapping: a forked engine process has its own copy at the same address, in
 * which `child_side` is set. So the engine's outside is one table with one opaque pointer in both processes,
 * and each function knows on which side it runs.
 */
#ifndef SOFT_INTERNAL_H
#define SOFT_INTERNAL_H
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>
#include "accel/accel.h"
#include "accel/soft/engine/engine.h"
#include "accel/soft/profile.h"
#include "guest/mem.h"

/* A vCPU's sleep: one futex, AWAKE, ASLEEP, or WOKEN (a wake that came before the sleep). */
enum { AWAKE, ASLEEP, WOKEN };

/* A vCPU's mailbox: who moves next, and with what. The parent's vCPU thread and the child's take turns. */
enum soft_turn {
    TURN_IDLE,   /* nobody: the vCPU is not in vcpu_run */
    TURN_RUN,    /* child: engine_run */
    TURN_CALL,   /* parent: serve `op` */
    TURN_ANSWER, /* child: go on with `value` */
    TURN_EXIT,   /* parent: engine_run returned */
};
enum soft_op {
    OP_PIO_READ,
    OP_PIO_WRITE,
    OP_MMIO_READ,
    OP_MMIO_WRITE,
    OP_ACK_EXTINT,
    OP_EOI,
    OP_STOLEN,
    OP_TRANSLATED,
    OP_LOG
};

struct soft_mailbox {
    uint32_t turn;       /* futex, enum soft_turn */
    uint32_t waiting[2]; /* parent, child: may sleep on it */
    uint32_t op, size;
    uint64_t address, value;
    uint32_t exit; /* enum engine_exit */
    struct engine_exit_info info;
    char text[512];
};

/* At the arena's end, shared by both processes. */
struct soft_shared {
    uint32_t ready;    /* futex: the child is confined and waits for work */
    uint32_t started;  /* vCPU threads of the child that run */
    uint64_t time_off; /* guest time = host time - time_off, while vCPUs run */
    uint32_t sleep[ENGINE_MAX_CPUS];
    uint32_t tid[ENGINE_MAX_CPUS]; /* of the child's vCPU threads */
    struct soft_mailbox box[ENGINE_MAX_CPUS];
};

struct soft_vcpu {
    struct vcpu base;
    struct mem_reader *reader;
    int account; /* steal.c: a descriptor + 1; 0: not opened yet, -1: there is none */
};

enum { SOFT_MAX_SHARED = 16 };

struct soft {
    struct accel base;
    struct accel_config cfg;
    struct engine *engine;
    size_t arena_size;
    struct soft_shared *shared;
    struct x86_cpuid *cpuid;
    struct soft_vcpu *vcpu[ENGINE_MAX_CPUS];
    struct mem_listener listener;
    uint32_t tsc_khz;
    struct soft_timer {
        struct engine *engine;
        unsigned cpu;
        timer_t id;
        bool ready;
        uint64_t due, lag;    /* timer.c; on the vCPU's own thread */
    } timer[ENGINE_MAX_CPUS]; /* each made by its vCPU's thread */
    /* engine_process */
    bool child_side;
    pid_t child;         /* 0: threads */
    int alive;           /* write end of a pipe: the child ends when it closes */
    uint32_t spin_ticks; /* TSC ticks of a long poll of a mailbox */
    struct soft_patience {
        uint32_t ticks, polls;
    } patience[ENGINE_MAX_CPUS][2]; /* by whether the other side had to be woken; each side has its own */
    uint8_t *stacks;                /* of the child's vCPU threads */
    struct {
        const uint8_t *host;
        uint64_t size;
        const uint8_t *notes;
        const uint32_t *gens;
    } memory[SOFT_MAX_SHARED]; /* RAM that the child shares */
    unsigned memory_count;
    struct soft_sampler sampler[ENGINE_MAX_CPUS]; /* each made by its vCPU's thread */
    struct soft_profile *profile;                 /* NULL: nobody wants one */
};

void soft_sleep(uint32_t *word, uint64_t host_deadline_ns); /* UINT64_MAX: none */
void soft_wake(uint32_t *word);

/* ---- timer.c ---- */

/* On the vCPU's own thread, once: 0 or -errno. */
int soft_timer_new(struct soft *s, unsigned cpu);
/* On the vCPU's own thread: have engine_timer called at this time of CLOCK_MONOTONIC, in place of what was
 * armed. */
void soft_timer_arm(struct soft *s, unsigned cpu, uint64_t host_ns);
void soft_timer_free(struct soft *s, unsigned cpu);

/* ---- steal.c: in the VMM, on the vCPU's own thread ---- */

uint64_t soft_stolen(struct soft *s, unsigned cpu); /* for engine_outside.stolen_ns */
void soft_stolen_end(struct soft_vcpu *v);

/* ---- child.c ---- */

/* On the child's side: tell of translated code. */
void soft_child_translated(struct soft *s, const struct engine_block *b);

/* Fork the engine's process. cfg.mem must hold its RAM already, all of it shared memory. 0 or -errno. */
int soft_child_start(struct soft *s, struct err *e);
void soft_child_stop(struct soft *s);
/* engine_run in the child, its callouts served here. -EIO when the child has died. */
int soft_child_run(struct soft *s, unsigned cpu, enum engine_exit *why, struct engine_exit_info *info,
                   struct err *e);
/* On the child's side: hand a callout to the parent and wait for the answer. */
uint64_t soft_child_call(struct soft *s, enum soft_op op, uint64_t address, unsigned size, uint64_t value,
                         const char *text);
/* The child can reach this memory. */
bool soft_child_shares(const struct soft *s, const uint8_t *host);

#endif
