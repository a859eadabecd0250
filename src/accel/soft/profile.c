#include "accel/soft/profile.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include "accel/soft/internal.h"
#include "base/err.h"
#include "host/host.h"

/* GRANULE: two blocks do not begin in the same so many bytes of the cache: the shortest, a way into a unit,
 * is a jump and what it needs. FURTHEST: no block is longer. */
enum {
    RING = 1 << 20,
    GRANULE = 8,
    FURTHEST = 16 << 10,
    GUEST_BYTES = 512,
    PERIOD_NS = 1000000,
    OTHERS = 1 << 14
};
#define SAMPLE_CODE                                                                                          \
    (1ull << 62) /* of a sample: the rest is an offset in the cache, not a guest's address                   \
                  */

/* Of one vCPU: written by its signal handler. */
struct soft_ring {
    uint64_t written;
    uint64_t sample[RING];
};

struct block {
    struct block *retired; /* the next of those whose code is no more */
    uint64_t code;         /* offset in the cache */
    uint32_t size;
    struct hot_block hot;
    uint8_t guest[];
};

struct soft_profile {
    pthread_mutex_t lock;
    size_t code_size;
    struct symbols *symbols;
    FILE *map; /* for perf */
    uint64_t flushed;
    uint64_t glue_code, glue_size, glue_end; /* address and bytes; offset of its end */
    struct soft_ring *ring;                  /* shared, one for each vCPU */
    size_t rings;
    uint64_t read[ENGINE_MAX_CPUS], glue, lost; /* samples */
    struct block **begin;                       /* by GRANULE of the cache */
    struct block *retired;
    struct other {
        uint64_t rip, count;
    } * other; /* samples in the engine, by the guest's RIP: a hash */
};

/* ---- life ---- */

static int begin_samples(struct soft_profile *p, unsigned cpus, struct err *e)
{
    p->rings = cpus * sizeof(struct soft_ring);
    void *ring =
        mmap(NULL, p->rings, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *begin = mmap(NULL, p->code_size / GRANULE * sizeof(struct block *), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    p->ring = ring == MAP_FAILED ? NULL : ring;
    p->begin = begin == MAP_FAILED ? NULL : begin;
    p->other = calloc(OTHERS, sizeof p->other[0]);
    return p->ring && p->begin && p->other ? 0 : err_set(e, ENOMEM, "profile: out of memory");
}

int soft_profile_new(struct soft *s, struct err *e)
{
    if (!s->cfg.profile && !s->cfg.perf_map)
        return 0;
    struct soft_profile *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(e, ENOMEM, "out of memory");
    s->profile = p;
    pthread_mutex_init(&p->lock, NULL);
    p->code_size = engine_code_size(s->engine);
    if (s->cfg.symbols && !(p->symbols = symbols_load(s->cfg.symbols, e)))
        return -EINVAL;
    return s->cfg.profile ? begin_samples(p, s->cfg.cpus, e) : 0;
}

/* Where perf looks for it (its jit-interface.txt): it must be ours, and perf follows no link for us. */
int soft_profile_map(struct soft *s, struct err *e)
{
    char path[64];
    pid_t pid = s->child ? s->child : getpid();

    if (!s->cfg.perf_map)
        return 0;
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)pid);
    unlink(path); /* of a process that had this number before */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    s->profile->map = fd < 0 ? NULL : fdopen(fd, "w");
    if (!s->profile->map) {
        int r = err_sys(e, errno, "perf-map: %s", path);
        if (fd >= 0)
            close(fd);
        return r;
    }
    if (s->profile->glue_size)
        fprintf(s->profile->map, "%" PRIx64 " %" PRIx64 " [liege glue]\n", s->profile->glue_code,
                s->profile->glue_size);
    return 0;
}

const void *soft_profile_shared(const struct soft *s, size_t *size)
{
    *size = s->profile ? s->profile->rings : 0;
    return s->profile ? s->profile->ring : NULL;
}

void soft_profile_thread_end(struct soft *s, unsigned cpu)
{
    if (s->sampler[cpu].ready)
        timer_delete(s->sampler[cpu].id);
    s->sampler[cpu].ready = false;
}

void soft_profile_free(struct soft *s)
{
    struct soft_profile *p = s->profile;

    if (!p)
        return;
    if (p->map)
        fclose(p->map);
    for (size_t i = 0; p->begin && i < p->code_size / GRANULE; i++)
        free(p->begin[i]);
    for (struct block *b = p->retired, *next; b; b = next) {
        next = b->retired;
        free(b);
    }
    if (p->ring)
        munmap(p->ring, p->rings);
    if (p->begin)
        munmap(p->begin, p->code_size / GRANULE * sizeof(struct block *));
    symbols_free(p->symbols);
    free(p->other);
    pthread_mutex_destroy(&p->lock);
    free(p);
    s->profile = NULL;
}

/* ---- samples ---- */

/* The piece of code that has this byte, as far as it was told. */
static struct block *block_at(const struct soft_profile *p, uint64_t offset)
{
    uint64_t g = offset / GRANULE, steps = FURTHEST / GRANULE;

    while (!p->begin[g] && g && --steps)
        g--;
    struct block *b = p->begin[g];
    return b && offset >= b->code && offset - b->code < b->size ? b : NULL;
}

static void count_other(struct soft_profile *p, uint64_t rip)
{
    for (unsigned n = 0, i = (unsigned)((rip * 0x9e3779b97f4a7c15ull) >> 50); n < OTHERS; n++) {
        struct other *o = &p->other[(i + n) & (OTHERS - 1)];
        if (o->count && o->rip != rip)
            continue;
        o->rip = rip;
        o->count++;
        return;
    }
    p->lost++;
}

/* What was sampled is looked up before other code takes its place. The lock is held. */
static void drain(struct soft *s)
{
    struct soft_profile *p = s->profile;

    for (unsigned i = 0; i < s->cfg.cpus; i++) {
        uint64_t written = __atomic_load_n(&p->ring[i].written, __ATOMIC_ACQUIRE), read = p->read[i];
        if (written - read > RING) {
            p->lost += written - read - RING;
            read = written - RING;
        }
        for (; read != written; read++) {
            uint64_t sample = __atomic_load_n(&p->ring[i].sample[read & (RING - 1)], __ATOMIC_RELAXED);
            uint64_t offset = sample & ~SAMPLE_CODE;
            bool code = sample >> 62 == 1 && offset < p->code_size;
            bool glue = code && offset < p->glue_end;
            struct block *b = code && !glue ? block_at(p, offset) : NULL;
            if (b)
                b->hot.translated++;
            else if (glue)
                p->glue++;
            else if (code)
                p->lost++;
            else
                count_other(p, sample);
        }
        p->read[i] = written;
    }
}

static void on_sample(int number, siginfo_t *info, void *context)
{
    const struct soft_sampler *t = info->si_value.sival_ptr;
    const ucontext_t *u = context;

    (void)number;
    if (info->si_code != SI_TIMER)
        return;
    uint64_t offset = (uint64_t)u->uc_mcontext.gregs[REG_RIP] - t->code, n = t->ring->written;
    uint64_t sample = offset < t->code_size ? SAMPLE_CODE | offset : engine_rip(t->engine, t->cpu);
    __atomic_store_n(&t->ring->sample[n & (RING - 1)], sample, __ATOMIC_RELAXED);
    __atomic_store_n(&t->ring->written, n + 1, __ATOMIC_RELEASE);
}

/* By the time that this thread runs, so that one which sleeps is left alone. */
int soft_profile_thread(struct soft *s, unsigned cpu)
{
    struct sigaction sa = {.sa_sigaction = on_sample, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    const struct itimerspec period = {.it_interval = {.tv_nsec = PERIOD_NS},
                                      .it_value = {.tv_nsec = PERIOD_NS}};
    const int number = SIGRTMIN + 6;
    struct sigevent ev;
    sigset_t set;

    if (!s->profile || !s->profile->ring || s->sampler[cpu].ready)
        return 0;
    struct soft_sampler *t = &s->sampler[cpu];
    *t = (struct soft_sampler){.engine = s->engine,
                               .cpu = cpu,
                               .code = engine_machine_code(s->engine, 1),
                               .code_size = s->profile->code_size,
                               .ring = &s->profile->ring[cpu]};
    sigfillset(&sa.sa_mask);
    memset(&ev, 0, sizeof ev);
    ev.sigev_notify = SIGEV_THREAD_ID;
    ev.sigev_signo = number;
    ev.sigev_value.sival_ptr = t;
    ev._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (sigaction(number, &sa, NULL) < 0 || timer_create(CLOCK_THREAD_CPUTIME_ID, &ev, &t->id) < 0)
        return -errno;
    t->ready = true;
    sigemptyset(&set);
    sigaddset(&set, number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    return timer_settime(t->id, 0, &period, NULL) < 0 ? -errno : 0;
}

/* ---- code ---- */

static void write_map(struct soft_profile *p, const struct engine_block *b)
{
    uint64_t distance, now = host_now_ns();
    const char *name = symbols_find(p->symbols, b->linear, &distance);

    fprintf(p->map, "%" PRIx64 " %x [guest %s] ", b->code, b->size, b->user ? "user" : "kernel");
    if (name)
        fprintf(p->map, "%s+0x%" PRIx64 " ", name, distance);
    fprintf(p->map, "0x%" PRIx64 " physical 0x%" PRIx64 "\n", b->linear, b->gpa);
    if (now - p->flushed > 1000000000) {
        p->flushed = now;
        fflush(p->map);
    }
}

/* Those whose code is overwritten are kept if they were ever met. */
static void retire(struct soft_profile *p, uint64_t from, uint64_t size)
{
    for (uint64_t g = from / GRANULE; g <= (from + size - 1) / GRANULE; g++) {
        struct block *b = p->begin[g];
        if (!b || b->code >= from + size || b->code + b->size <= from)
            continue;
        p->begin[g] = NULL;
        if (b->hot.translated) {
            b->retired = p->retired;
            p->retired = b;
        } else
            free(b);
    }
}

static void keep(struct soft *s, const struct engine_block *b, uint64_t offset)
{
    struct soft_profile *p = s->profile;
    struct block *n = malloc(sizeof *n + b->bytes);

    drain(s);
    retire(p, offset, b->size);
    if (!n)
        return;
    *n = (struct block){
        .code = offset,
        .size = b->size,
        .hot = {.linear = b->linear, .gpa = b->gpa, .bytes = b->bytes, .user = b->user, .guest = n->guest}};
    memcpy(n->guest, b->guest, b->bytes);
    free(p->begin[offset / GRANULE]);
    p->begin[offset / GRANULE] = n;
}

void soft_profile_block(struct soft *s, const struct engine_block *b)
{
    struct soft_profile *p = s->profile;
    uint64_t offset = b->code - engine_machine_code(s->engine, 1);

    if (!p || offset >= p->code_size || !b->size || b->size > FURTHEST || b->size > p->code_size - offset ||
        b->bytes > GUEST_BYTES)
        return;
    pthread_mutex_lock(&p->lock);
    if (!b->bytes) {
        p->glue_code = b->code;
        p->glue_size = b->size;
        p->glue_end = offset + b->size;
    } else {
        if (p->map)
            write_map(p, b);
        if (p->begin)
            keep(s, b, offset);
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- the report ---- */

static int by_place(const void *a, const void *b)
{
    const struct hot_block *x = a, *y = b;

    if (x->linear != y->linear)
        return x->linear < y->linear ? -1 : 1;
    return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

/* All blocks that are known, each once, in the order of their addresses. */
static size_t all_blocks(const struct soft_profile *p, struct hot_block *out)
{
    size_t n = 0, kept = 0;

    for (const struct block *b = p->retired; b; b = b->retired)
        out[n++] = b->hot;
    for (size_t i = 0; i < p->code_size / GRANULE; i++)
        if (p->begin[i])
            out[n++] = p->begin[i]->hot;
    qsort(out, n, sizeof *out, by_place);
    for (size_t i = 0; i < n; i++)
        if (kept && !by_place(&out[kept - 1], &out[i]))
            out[kept - 1].translated += out[i].translated;
        else
            out[kept++] = out[i];
    return kept;
}

/* The last block that begins at or before `rip`, if that is one of its instructions. */
static struct hot_block *with_rip(struct hot_block *hot, size_t count, uint64_t rip)
{
    size_t from = 0, to = count;

    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (hot[mid].linear > rip)
            to = mid;
        else
            from = mid + 1;
    }
    return from && rip - hot[from - 1].linear < hot[from - 1].bytes ? &hot[from - 1] : NULL;
}

static size_t count_blocks(const struct soft_profile *p)
{
    size_t n = OTHERS;

    for (const struct block *b = p->retired; b; b = b->retired)
        n++;
    for (size_t i = 0; i < p->code_size / GRANULE; i++)
        n += p->begin[i] != NULL;
    return n;
}

char *soft_profile_text(struct soft *s)
{
    struct soft_profile *p = s->profile;
    char *text = NULL;

    if (!p || !p->ring)
        return NULL;
    pthread_mutex_lock(&p->lock);
    drain(s);
    struct hot_block *hot = malloc(count_blocks(p) * sizeof *hot);
    if (hot) {
        size_t blocks = all_blocks(p, hot), n = blocks;
        for (unsigned i = 0; i < OTHERS; i++) {
            const struct other *o = &p->other[i];
            struct hot_block *b = o->count ? with_rip(hot, blocks, o->rip) : NULL;
            if (b)
                b->engine += o->count;
            else if (o->count)
                hot[n++] = (struct hot_block){.linear = o->rip, .engine = o->count};
        }
        text = hottest_text(hot, n, p->glue, p->lost, p->symbols);
    }
    pthread_mutex_unlock(&p->lock);
    free(hot);
    return text;
}
