/*
 * child: the engine in a confined process of its own (accel_config.engine_process).
 *
 * The process is forked from the VMM, so the arena, shared RAM, its notes and the program itself lie at the
 * same addresses in both. It holds one thread for each vCPU, then gives up everything else: memory that is
 * not this guest's, descriptors, and all but a handful of system calls.
 *
 * Each vCPU has a mailbox. The parent's vCPU thread hands over TURN_RUN and waits; the child's thread runs
 * engine_run, and returns the turn for each callout (port, MMIO, EOI, ..) and at the end. Whoever waits polls
 * for a moment where that pays (poll_turn), then sleeps on the turn: 0.6 us a callout while both sides have a
 * CPU, 4 us while they share one, some 30 us when an idle CPU must be woken. Interrupts, kicks, wakes and
 * reads of state need no turn: they work on the arena from either side.
 *
 * The child ends when the parent does: its first thread reads from a pipe whose other end only the parent
 * holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "accel/soft/confine.h"
#include "accel/soft/internal.h"
#include "base/err.h"
#include "base/log.h"
#include "base/range.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "host/host.h"

enum { STACK_SIZE = 256 << 10, SPIN_US = 30, PROBE = 256, READY_MS = 10000 };

/* ---- turns ---- */

/* true: the other side slept, and was woken. */
static bool pass_turn(const struct soft *s, struct soft_mailbox *b, enum soft_turn turn)
{
    __atomic_store_n(&b->turn, turn, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&b->waiting[!s->child_side], __ATOMIC_SEQ_CST))
        return false;
    syscall(SYS_futex, &b->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
    return true;
}

/* The turn when it is one of the bits of `wanted`, else 0. The other side's word: any number. */
static unsigned look(const struct soft_mailbox *b, unsigned wanted)
{
    uint32_t turn = __atomic_load_n(&b->turn, __ATOMIC_SEQ_CST);

    return turn <= TURN_EXIT && (wanted >> turn & 1) ? turn : 0;
}

/*
 * Polling is worth about as long as sleeping and being woken takes, and only where the other side can run
 * meanwhile: on a busy host both may share one CPU, and each poll delays what it waits for. So polls that end
 * in vain grow shorter, one in PROBE is of full length, and the first that succeeds restores them. Whether
 * the other side was awake when it got the turn tells most, so each case has an account of its own.
 */
static unsigned poll_turn(const struct soft *s, const struct soft_mailbox *b, unsigned wanted,
                          struct soft_patience *p)
{
    uint64_t start = __builtin_ia32_rdtsc(), limit = ++p->polls % PROBE ? p->ticks : s->spin_ticks;
    unsigned turn;

    do {
        turn = look(b, wanted);
        if (turn) {
            p->ticks = s->spin_ticks;
            return turn;
        }
        __builtin_ia32_pause();
    } while (__builtin_ia32_rdtsc() - start < limit);
    p->ticks /= 2;
    return 0;
}

/* Wait until the turn is one of the bits of `wanted`; 0 after about ms milliseconds without (0: no limit). */
static unsigned wait_turn(const struct soft *s, struct soft_mailbox *b, unsigned wanted, unsigned ms,
                          struct soft_patience *p)
{
    const struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    unsigned turn = poll_turn(s, b, wanted, p);

    if (turn)
        return turn;
    __atomic_store_n(&b->waiting[s->child_side], 1, __ATOMIC_SEQ_CST);
    for (;;) {
        uint32_t now = __atomic_load_n(&b->turn, __ATOMIC_SEQ_CST);
        turn = look(b, wanted);
        if (turn || (syscall(SYS_futex, &b->turn, FUTEX_WAIT, now, ms ? &ts : NULL, NULL, 0) < 0 &&
                     errno == ETIMEDOUT))
            break;
    }
    __atomic_store_n(&b->waiting[s->child_side], 0, __ATOMIC_SEQ_CST);
    return turn;
}

/* ---- the child's side ---- */

/* Which vCPU this thread is: by the stack it runs on. */
static unsigned this_cpu(const struct soft *s)
{
    return (unsigned)(((uintptr_t)__builtin_frame_address(0) - (uintptr_t)s->stacks) / STACK_SIZE);
}

uint64_t soft_child_call(struct soft *s, enum soft_op op, uint64_t address, unsigned size, uint64_t value,
                         const char *text)
{
    unsigned cpu = this_cpu(s);
    struct soft_mailbox *b = &s->shared->box[cpu];

    b->op = op;
    b->address = address;
    b->size = size;
    b->value = value;
    if (text) {
        strncpy(b->text, text, sizeof(b->text) - 1);
        b->text[sizeof(b->text) - 1] = 0;
    }
    bool woken = pass_turn(s, b, TURN_CALL);
    wait_turn(s, b, 1u << TURN_ANSWER, 0, &s->patience[cpu][woken]);
    return b->value;
}

/* What does not fit into a call's numbers goes where text does. */
struct told {
    uint64_t gpa;
    uint16_t bytes;
    uint8_t user;
    uint8_t guest[480];
};
_Static_assert(sizeof(struct told) <= sizeof(((struct soft_mailbox *)0)->text), "a unit's bytes");

void soft_child_translated(struct soft *s, const struct engine_block *b)
{
    struct told t = {.gpa = b->gpa, .bytes = b->bytes, .user = b->user};

    if (b->bytes > sizeof t.guest)
        return;
    memcpy(t.guest, b->guest, b->bytes);
    memcpy(s->shared->box[this_cpu(s)].text, &t, sizeof t);
    soft_child_call(s, OP_TRANSLATED, b->code, b->size, b->linear, NULL);
}

static void serve_translated(struct soft *s, const struct soft_mailbox *b, uint64_t code, uint32_t size,
                             uint64_t linear)
{
    struct told t;

    memcpy(&t, b->text, sizeof t);
    if (t.bytes && t.bytes <= sizeof t.guest)
        soft_profile_block(s, &(struct engine_block){.code = code,
                                                     .size = size,
                                                     .bytes = t.bytes,
                                                     .user = t.user != 0,
                                                     .linear = linear,
                                                     .gpa = t.gpa,
                                                     .guest = t.guest});
}

static void *child_vcpu(void *arg)
{
    struct soft *s = arg;
    unsigned cpu = this_cpu(s);
    struct soft_mailbox *b = &s->shared->box[cpu];

    s->shared->tid[cpu] = (uint32_t)gettid();
    if (soft_timer_new(s, cpu) || soft_profile_thread(s, cpu))
        _exit(1);
    __atomic_fetch_add(&s->shared->started, 1, __ATOMIC_SEQ_CST);
    for (bool woken = false;; woken = pass_turn(s, b, TURN_EXIT)) {
        wait_turn(s, b, 1u << TURN_RUN, 0, &s->patience[cpu][woken]);
        b->exit = engine_run(s->engine, cpu, &b->info);
    }
    return NULL;
}

static int start_threads(struct soft *s)
{
    for (unsigned i = 0; i < s->cfg.cpus; i++) {
        pthread_attr_t attr;
        pthread_t t;
        pthread_attr_init(&attr);
        pthread_attr_setstack(&attr, s->stacks + (size_t)i * STACK_SIZE, STACK_SIZE);
        int r = pthread_create(&t, &attr, child_vcpu, s);
        if (r)
            return -r;
    }
    /* a thread's own beginning needs system calls that will not be allowed */
    while (__atomic_load_n(&s->shared->started, __ATOMIC_SEQ_CST) < s->cfg.cpus)
        sched_yield();
    return 0;
}

/* Sanitizers need their shadow memory and system calls: under them the process is separate, not confined. */
static int give_up_the_rest(struct soft *s, int pipe_end)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct confine_range keep[6 + 3 * SOFT_MAX_SHARED];
    size_t n = 0;

    keep[n++] = (struct confine_range){(uintptr_t)s, (uintptr_t)s + sizeof(*s)};
    keep[n++] = (struct confine_range){(uintptr_t)s->engine, (uintptr_t)s->engine + s->arena_size};
    for (unsigned i = 0; i < 2; i++)
        keep[n++] =
            (struct confine_range){engine_machine_code(s->engine, i), engine_machine_code(s->engine, i) + 1};
    keep[n++] =
        (struct confine_range){(uintptr_t)s->stacks, (uintptr_t)s->stacks + (size_t)s->cfg.cpus * STACK_SIZE};
    size_t shared;
    uintptr_t ring = (uintptr_t)soft_profile_shared(s, &shared);
    if (ring)
        keep[n++] = (struct confine_range){ring, ring + shared};
    for (unsigned i = 0; i < s->memory_count; i++) {
        uint64_t pages = s->memory[i].size / MEM_PAGE;
        uintptr_t host = (uintptr_t)s->memory[i].host, notes = (uintptr_t)s->memory[i].notes,
                  gens = (uintptr_t)s->memory[i].gens;
        keep[n++] = (struct confine_range){host, host + s->memory[i].size};
        keep[n++] = (struct confine_range){notes, notes + pages};
        keep[n++] = (struct confine_range){gens, gens + pages * sizeof(uint32_t)};
    }
    confine_files(pipe_end);
    int r = confine_memory(keep, n);
    return r ? r : confine_calls();
#else
    (void)s;
    (void)pipe_end;
    return 0;
#endif
}

static _Noreturn void child_main(struct soft *s, int pipe_end)
{
    sigset_t all;
    char c;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_NAME, "liege-engine");
    prctl(PR_SET_DUMPABLE, 0);
    s->child_side = true;
    host_membarrier(); /* registers this process */
    if (start_threads(s) || engine_protect(s->engine) || give_up_the_rest(s, pipe_end))
        _exit(1);
    __atomic_store_n(&s->shared->ready, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &s->shared->ready, FUTEX_WAKE, 1, NULL, NULL, 0);
    while (read(pipe_end, &c, 1) < 0 && errno == EINTR)
        ;
    _exit(0);
}

/* ---- the parent's side ---- */

bool soft_child_shares(const struct soft *s, const uint8_t *host)
{
    for (unsigned i = 0; i < s->memory_count; i++)
        if (host >= s->memory[i].host && host < s->memory[i].host + s->memory[i].size)
            return true;
    return false;
}

static int note_memory(struct soft *s, struct err *e)
{
    const struct mem_view *v = mem_view(s->cfg.mem);

    for (size_t i = 0; i < v->count; i++) {
        const struct ram *r = v->section[i].region->ram;
        if (!r || soft_child_shares(s, r->host))
            continue;
        if (r->backing != RAM_MEMFD) {
            if (v->section[i].kind == MEM_RAM)
                return err_set(e, ENOTSUP, "engine-process: guest memory %s is not shared memory", r->name);
            continue; /* ROM is served by calls */
        }
        if (s->memory_count == SOFT_MAX_SHARED)
            return err_set(e, ENOTSUP, "engine-process: more than %d pieces of guest memory",
                           SOFT_MAX_SHARED);
        s->memory[s->memory_count].host = r->host;
        s->memory[s->memory_count].size = r->size;
        s->memory[s->memory_count].notes = r->notes;
        s->memory[s->memory_count].gens = r->gens;
        s->memory_count++;
    }
    return 0;
}

static bool child_is_dead(const struct soft *s)
{
    siginfo_t info = {0};

    return waitid(P_PID, (id_t)s->child, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == s->child;
}

static int wait_ready(struct soft *s, struct err *e)
{
    const struct timespec tenth = {.tv_nsec = 100000000};

    for (unsigned ms = 0; !__atomic_load_n(&s->shared->ready, __ATOMIC_SEQ_CST); ms += 100) {
        if (ms >= READY_MS || child_is_dead(s))
            return err_set(e, EIO,
                           "engine-process: the engine's process did not start (seccomp refused here?)");
        syscall(SYS_futex, &s->shared->ready, FUTEX_WAIT, 0, &tenth, NULL, 0);
    }
    return 0;
}

int soft_child_start(struct soft *s, struct err *e)
{
    int ends[2], r = note_memory(s, e);

    if (r)
        return r;
    s->stacks = mmap(NULL, (size_t)s->cfg.cpus * STACK_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (s->stacks == MAP_FAILED) {
        s->stacks = NULL;
        return err_sys(e, errno, "engine-process: stacks");
    }
    s->spin_ticks = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? s->tsc_khz / 1000 * SPIN_US : 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(e, errno, "engine-process: pipe");
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[1]);
        child_main(s, ends[0]);
    }
    r = errno;
    close(ends[0]);
    if (pid < 0) {
        close(ends[1]);
        return err_sys(e, r, "engine-process: fork");
    }
    s->child = pid;
    s->alive = ends[1];
    engine_drop_machine_code(s->engine); /* the child writes it: nothing to have executable here */
    return wait_ready(s, e);
}

void soft_child_stop(struct soft *s)
{
    if (s->child) {
        close(s->alive);
        kill(s->child, SIGKILL);
        while (waitpid(s->child, NULL, 0) < 0 && errno == EINTR)
            ;
        s->child = 0;
    }
    if (s->stacks)
        munmap(s->stacks, (size_t)s->cfg.cpus * STACK_SIZE);
}

/* Everything in the mailbox is the child's word: read once, and checked where it matters by the callees. */
static void serve(struct soft *s, unsigned cpu)
{
    struct soft_mailbox *b = &s->shared->box[cpu];
    uint32_t op = __atomic_load_n(&b->op, __ATOMIC_RELAXED),
             size = __atomic_load_n(&b->size, __ATOMIC_RELAXED);
    uint64_t address = __atomic_load_n(&b->address, __ATOMIC_RELAXED),
             value = __atomic_load_n(&b->value, __ATOMIC_RELAXED);
    bool port_size = size == 1 || size == 2 || size == 4, mem_size = size >= 1 && size <= 8;
    char text[sizeof(b->text)];

    switch (op) {
    case OP_PIO_READ:
        b->value = port_size ? bus_read(s->cfg.bus, (uint16_t)address, size) : 0;
        break;
    case OP_PIO_WRITE:
        if (port_size)
            bus_write(s->cfg.bus, (uint16_t)address, size, (uint32_t)value);
        break;
    case OP_MMIO_READ:
        b->value = mem_size ? mem_mmio_read(s->cfg.mem, address, size) : 0;
        break;
    case OP_MMIO_WRITE:
        if (mem_size)
            mem_mmio_write(s->cfg.mem, address, size, value);
        break;
    case OP_ACK_EXTINT:
        b->value = s->cfg.cb.ack_extint ? (uint64_t)(int64_t)s->cfg.cb.ack_extint(s->cfg.cb.opaque) : ~0ull;
        break;
    case OP_EOI:
        if (s->cfg.cb.eoi)
            s->cfg.cb.eoi(s->cfg.cb.opaque, (uint8_t)value);
        break;
    case OP_STOLEN:
        b->value = soft_stolen(s, cpu);
        break;
    case OP_TRANSLATED:
        serve_translated(s, b, address, size, value);
        break;
    case OP_LOG:
        memcpy(text, b->text, sizeof(text));
        text[sizeof(text) - 1] = 0;
        if (s->cfg.debug_exceptions) /* asked for; else there is nothing that it could want to say */
            log_debug("%s", text);
        break;
    default:
        break;
    }
}

int soft_child_run(struct soft *s, unsigned cpu, enum engine_exit *why, struct engine_exit_info *info,
                   struct err *e)
{
    struct soft_mailbox *b = &s->shared->box[cpu];
    struct mem_reader *reader = s->vcpu[cpu]->reader;
    uint64_t guest = clock_now(s->cfg.clock), host = clock_to_host(s->cfg.clock, guest);

    if (host != UINT64_MAX)
        __atomic_store_n(&s->shared->time_off, host - guest, __ATOMIC_SEQ_CST);
    bool woken = pass_turn(s, b, TURN_RUN);
    for (;;) {
        unsigned turn = wait_turn(s, b, 1u << TURN_CALL | 1u << TURN_EXIT, 500, &s->patience[cpu][woken]);
        if (turn == TURN_EXIT)
            break;
        if (turn == TURN_CALL) {
            mem_reader_offline(reader, false);
            serve(s, cpu);
            mem_reader_offline(reader, true);
            woken = pass_turn(s, b, TURN_ANSWER);
        } else if (child_is_dead(s)) {
            engine_vcpus_died(s->engine);
            return err_set(e, EIO, "the engine's process has died");
        }
    }
    *why = (enum engine_exit)b->exit;
    *info = b->info;
    info->why[sizeof(info->why) - 1] = 0;
    return 0;
}
