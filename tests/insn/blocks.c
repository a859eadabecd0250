/*
 * blocks: main.
 *
 *   blocks [--cases N] [--seed S] [--case N | --from N] [--step PERCENT] [--keep-on] [--show]
 *
 * Cases run in a child process; one that differs, hangs or dies is made smaller and shown. Exit status 0:
 * none did.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "blocks.h"

enum { PATIENCE = 10 /* seconds */ };

struct options {
    uint64_t cases, seed, first;
    unsigned step_percent, failures;
    bool show;
};

/* Seen by both processes. */
struct progress {
    uint64_t now, done;
    uint32_t failed;
    char what[80], why[400];
    struct counts n;
};

static struct progress *progress;

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"cases", required_argument, NULL, 'c'}, {"seed", required_argument, NULL, 's'},
        {"case", required_argument, NULL, 'n'},  {"from", required_argument, NULL, 'm'},
        {"step", required_argument, NULL, 't'},  {"failures", required_argument, NULL, 'f'},
        {"show", no_argument, NULL, 'l'},        {NULL, 0, NULL, 0},
    };
    int ch;

    *o = (struct options){.cases = 30000, .seed = 1, .step_percent = 1, .failures = 1};
    while ((ch = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (ch) {
        case 'c':
            o->cases = strtoull(optarg, NULL, 0);
            break;
        case 's':
            o->seed = strtoull(optarg, NULL, 0);
            break;
        case 'n':
            o->first = strtoull(optarg, NULL, 0);
            o->cases = 1;
            break;
        case 'm':
            o->first = strtoull(optarg, NULL, 0);
            break;
        case 't':
            o->step_percent = (unsigned)atoi(optarg);
            break;
        case 'f':
            o->failures = (unsigned)atoi(optarg);
            break;
        case 'l':
            o->show = true;
            break;
        default:
            fprintf(
                stderr,
                "usage: blocks [--cases N] [--seed S] [--case N | --from N] [--step PERCENT] [--failures N] "
                "[--show]\n");
            return false;
        }
    }
    return true;
}

static void count(struct bench *b)
{
    const struct cpu *c = b->sut->c;

    b->n.instructions = c->icount;
    b->n.interpreted = c->priv->n_interpreted + c->priv->n_slow;
}

/* In the child, to the end or to a case that fails. */
static void work(const struct options *o)
{
    struct bench *b = bench_open(o->seed, o->step_percent);

    for (; progress->now < o->first + o->cases; progress->now++) {
        if (progress->now % 32 == 0)
            patience(PATIENCE);
        prog_make(&b->prog, o->seed, progress->now);
        bool good = case_run(b);
        count(b);
        progress->n = b->n;
        if (!good) {
            progress->failed = 1;
            snprintf(progress->what, sizeof progress->what, "%s", b->what);
            memcpy(progress->why, b->why, sizeof b->why);
            break;
        }
    }
    _exit(0);
}

static void add(struct counts *sum, const struct counts *b)
{
    sum->instructions += b->instructions;
    sum->interpreted += b->interpreted;
    sum->runs += b->runs;
    sum->discarded += b->discarded;
    sum->interrupted += b->interrupted;
    sum->kicked += b->kicked;
    sum->faulted += b->faulted;
    sum->patched += b->patched;
    sum->remapped += b->remapped;
    sum->stepped += b->stepped;
    for (unsigned i = 0; i < 256; i++)
        sum->ended[i] += b->ended[i];
}

static void report(const struct counts *s, uint64_t cases, double seconds, unsigned failed)
{
    uint64_t faults = 0;

    for (unsigned i = 0; i < 32; i++)
        faults += s->ended[i];
    printf("%llu cases in %.1f s (%.0f a second), %llu thrown away\n"
           "%llu runs, %llu instructions, %llu of them interpreted\n"
           "%llu runs ended by a fault, %llu were interrupted, %llu kicked, %llu resumed behind a fault\n"
           "%llu patched, %llu remapped, %llu stepped\n%u differ\n",
           (unsigned long long)cases, seconds, (double)cases / seconds, (unsigned long long)s->discarded,
           (unsigned long long)s->runs, (unsigned long long)s->instructions,
           (unsigned long long)s->interpreted, (unsigned long long)faults, (unsigned long long)s->interrupted,
           (unsigned long long)s->kicked, (unsigned long long)s->faulted, (unsigned long long)s->patched,
           (unsigned long long)s->remapped, (unsigned long long)s->stepped, failed);
}

static double seconds_since(const struct timespec *a)
{
    struct timespec b;

    clock_gettime(CLOCK_MONOTONIC, &b);
    return (double)(b.tv_sec - a->tv_sec) + (double)(b.tv_nsec - a->tv_nsec) / 1e9;
}

/* One child's share. True: its last case failed. */
static bool share(const struct options *o)
{
    int status;

    progress->failed = 0;
    progress->what[0] = 0;
    memset(&progress->n, 0, sizeof progress->n);
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        abort();
    if (!child)
        work(o);
    if (waitpid(child, &status, 0) < 0)
        abort();
    if (!progress->failed && WIFSIGNALED(status))
        snprintf(progress->why, sizeof progress->why,
                 WTERMSIG(status) == SIGPROF ? "it hangs" : "it dies by signal %d", WTERMSIG(status));
    return !WIFEXITED(status) || WEXITSTATUS(status) || progress->failed;
}

static void show_failure(const struct options *o)
{
    static struct bench b;

    b.step_percent = o->step_percent;
    prog_make(&b.prog, o->seed, progress->now);
    printf("DIFFERS: %s: %s\n", progress->what, progress->why);
    small_show(&b, o->seed, progress->now);
}

int main(int argc, char **argv)
{
    struct options o;
    struct counts sum = {0};
    static struct prog p;
    struct timespec start;
    unsigned failed = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!parse(argc, argv, &o))
        return 2;
    prog_forms();
    if (o.show) {
        prog_make(&p, o.seed, o.first);
        prog_show(&p);
        return 0;
    }
    progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED)
        return 2;
    clock_gettime(CLOCK_MONOTONIC, &start);
    progress->now = o.first;
    while (progress->now < o.first + o.cases && failed < o.failures) {
        bool bad = share(&o);
        add(&sum, &progress->n);
        if (bad) {
            failed++;
            show_failure(&o);
            progress->now++;
        }
    }
    report(&sum, progress->now - o.first, seconds_since(&start), failed);
    return failed ? 1 : 0;
}
