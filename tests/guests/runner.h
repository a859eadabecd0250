/*
 * runner: the machine of the small guests. Its ports and addresses; common.inc repeats them for the guests.
 */
#ifndef GUESTS_RUNNER_H
#define GUESTS_RUNNER_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "accel/accel.h"
#include "host/lock.h"

enum {
    RAM_SIZE = 32 << 20,
    LOAD_AT = 0x8000,
    ROM_AT = 0x03000000,   /* one page: 0x5a in each byte; writes are dropped */
    FLASH_AT = 0x03100000, /* one page: reads are memory, writes are counted */
    REGS_AT = 0x03200000,  /* one page of registers that hold what is written; every access counts */
    REGS_REQUEST = 0xff0,  /* in that page: PORT_REQUEST once more */
    BELL_AT = 0x03300000,  /* a write of 4 bytes signals an event, where the accelerator can */
    MAX_CPUS = 4,
};

enum {
    PORT_ECHO = 0xe0,    /* 4 bytes that hold what is written, in any size */
    PORT_TEXT = 0xe9,    /* a character for the log */
    PORT_VERDICT = 0xf4, /* 4 bytes: 0 passed, else the line of the check that failed */
    PORT_REQUEST =
        0x500, /* 4 bytes: enum request; the machine acts at once or after a kick; read: 0 when it is done */
    PORT_ARG = 0x504, /* 4 bytes each: ARG, ARG2; results come back in them */
    PORT_ARG2 = 0x508,
    PORT_STREAM = 0x50c, /* reads count up from 0 in 1, 2 or 4 bytes; writes add up in ARG */
};

enum request {
    REQ_NMI = 1,  /* ARG: CPU */
    REQ_MSI,      /* ARG: address, ARG2: data */
    REQ_EXTINT,   /* raise the external-interrupt line; its acknowledgement gives vector ARG and lowers it */
    REQ_EOIS,     /* ARG <- EOIs seen, ARG2 <- vector of the last */
    REQ_ACCESSES, /* ARG <- accesses to the registers' page, ARG2 <- writes to the flash */
    REQ_BELL,     /* ARG <- rings of the doorbell so far */
    REQ_IRQFD,    /* as MSI, by an eventfd */
    REQ_DIRTY_ON,
    REQ_DIRTY, /* ARG: address; ARG <- whether its page was written since the last look, ARG2 <- pages in all
                */
    REQ_ROUND_TRIP, /* get, set, get; ARG <- 0 when both gets agree */
    REQ_STEP,  /* single-step until REQ_STOP; ARG: first address, ARG2: last: counts steps that end within */
    REQ_STOP,  /* end of debugging; ARG <- the count, ARG2 <- the last stop's DR6 bits 0-3 */
    REQ_BREAK, /* hardware breakpoint at ARG */
    REQ_WATCH, /* watch writes of 4 bytes at ARG */
    REQ_SOFT_BREAK, /* INT3 exits; the machine goes on behind it */
    REQ_TRANSLATE,  /* ARG: linear address; ARG <- guest-physical address, ARG2 <- 1 when there is none */
    REQ_TIME_STOP,  /* stop guest time for a second */
    REQ_CPUID,   /* ARG: address of entries {leaf, subleaf, eax, ebx, ecx, edx}, ARG2: how many; ARG <- wrong
                    ones */
    REQ_HALTED,  /* ARG: CPU; ARG <- its mp_state */
    REQ_TRIPLE,  /* a triple fault is expected from now on and means pass */
    REQ_TSC_KHZ, /* ARG <- kHz */
    REQ_FLIP,    /* take the page at ARG out of the map and put it back as a page of 0x77 */
    REQ_ACCEL,   /* ARG <- 1 on KVM, 2 on the software engine */
    REQ_SLOW,    /* ARG <- 1 where guest kernel code is emulated */
    REQ_WHERE,   /* ARG <- EBX, ARG2 <- EIP, where the request stopped its CPU */
    REQ_EFFORT,  /* ARG <- ms that a test of chance shall take, ARG2 <- CPUs of the host for it; 1
                    where guest code is emulated or interpreted */
};

struct machine;

struct cpu_thread {
    struct machine *m;
    struct vcpu *v;
    unsigned index;
    pthread_t thread;
};

struct machine {
    struct accel *a;
    struct mem_map *mem;
    struct bus *bus;
    struct clock *clock;
    struct ram *ram, *flash;
    struct mem_region *ram_region;
    bool slow, skipped, interpret;
    unsigned effort; /* ms */
    unsigned cpus;
    struct cpu_thread cpu[MAX_CPUS];
    struct lock lock;
    uint8_t regs[4096];
    uint32_t echo, arg, arg2;
    uint8_t stream;
    _Atomic uint32_t request; /* pending, 0: none */
    _Atomic unsigned requester;
    _Atomic uint32_t accesses, flash_writes, eois, last_eoi;
    int extint_vector;
    int bell, irq_event;
    _Atomic bool done, triple_expected;
    _Atomic uint32_t verdict;
    char text[4096], why[600];
    size_t text_len;
    /* debugging: the requester's thread only */
    bool stepping, breaking;
    uint64_t step_first, step_last;
    uint32_t stops, stop_dr6;
};

/* requests.c: on the requester's vCPU thread, quiesced. */
void machine_request(struct machine *m, struct cpu_thread *t);
/* requests.c: a VCPU_DEBUG exit. */
void machine_debug(struct machine *m, struct cpu_thread *t, const struct vcpu_exit_info *info);
void machine_fail(struct machine *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
