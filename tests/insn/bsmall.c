/*
 * bsmall: a failing program made smaller: instructions are left out, one after the other and many at once, as
 * long as it fails. Each try runs in a process of its own, with fresh engines, so that it may hang or crash.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "blocks.h"

enum { SECONDS = 1 };

struct outcome {
    char what[80], why[400];
    uint32_t failed;
};

static struct outcome *verdict;

void patience(unsigned seconds)
{
    struct itimerval t = {.it_value.tv_sec = seconds};

    setitimer(ITIMER_PROF, &t, NULL);
}

static void attempt(const struct prog *p, uint64_t seed, unsigned step_percent)
{
    struct bench *b = bench_open(seed, step_percent);

    b->prog = *p;
    verdict->failed = !case_run(b);
    snprintf(verdict->what, sizeof verdict->what, "%s", b->what ? b->what : "");
    memcpy(verdict->why, b->why, sizeof b->why);
}

static bool fails(const struct prog *p, uint64_t seed, unsigned step_percent)
{
    int status;

    memset(verdict, 0, sizeof *verdict);
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        abort();
    if (!child) {
        patience(SECONDS);
        attempt(p, seed, step_percent);
        _exit(0);
    }
    if (waitpid(child, &status, 0) < 0)
        abort();
    if (WIFSIGNALED(status)) {
        verdict->failed = 1;
        snprintf(verdict->why, sizeof verdict->why,
                 WTERMSIG(status) == SIGPROF ? "it hangs" : "it dies by signal %d", WTERMSIG(status));
    }
    return verdict->failed;
}

static void leave_out(struct prog *p, unsigned from, unsigned n)
{
    for (unsigned i = from; i < p->count && (i < from + n || p->item[i].glued); i++)
        p->item[i].off = 1;
}

void small_show(struct bench *b, uint64_t seed, uint64_t number)
{
    struct prog p = b->prog;

    verdict = mmap(NULL, sizeof *verdict, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (verdict == MAP_FAILED)
        abort();
    printf("case %llu of seed %llu:\n", (unsigned long long)number, (unsigned long long)seed);
    if (!fails(&p, seed, b->step_percent)) {
        printf("  alone it does not fail; cases before it matter\n");
        prog_show(&p);
        return;
    }
    struct outcome first = *verdict;
    for (unsigned n = p.count / 2; n; n /= 2)
        for (unsigned at = 0; at < p.count; at += n) {
            struct prog less = p;
            if (n == 1 && (p.item[at].off || p.item[at].glued))
                continue;
            leave_out(&less, at, n);
            if (memcmp(&less, &p, sizeof p) && fails(&less, seed, b->step_percent)) {
                p = less;
                first = *verdict;
            }
        }
    prog_show(&p);
    printf("  %s: %s\n", first.what, first.why);
    munmap(verdict, sizeof *verdict);
}
