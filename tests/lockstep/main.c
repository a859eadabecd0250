/*
 * lockstep: options, and the search: a run with coarse stops; if it differs, one more to the last comparison
 * of memory, then one that compares memory at each stop; then from the last stop that was the same one that
 * stops wherever translated code looks; then the instruction.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/range.h"
#include "lockstep.h"

enum { SKIP = 77 };

static const char usage[] =
    "usage: lockstep [--flat IMAGE | --kernel FILE [--initrd FILE] [--cmdline TEXT] [--memory MIB]]\n"
    "                [--code-cache KIB] [--insns N] [--stride N] [--memory-each N] [--seed N] [--expect "
    "TEXT] [--verbose]\n";

/* In a process of its own, so that each begins with nothing. */
static void run_apart(const struct plan *p, struct result *r)
{
    int status;

    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        run_plan(p, r);
        fflush(stdout);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status)) {
        r->failed = true;
        snprintf(r->why, sizeof r->why, "a run died");
    }
}

/* One step of the search; false: it was not the same run again. */
static bool again(const struct plan *p, struct result *r, const char *what)
{
    uint64_t bad = r->bad;

    *r = (struct result){.bad = bad};
    run_apart(p, r);
    if (!r->failed && r->differs) {
        printf("  %s: the same at %llu, not at %llu\n", what, (unsigned long long)r->good,
               (unsigned long long)r->bad);
        return true;
    }
    printf("  %s: no difference this time (%s)\n", what, r->why);
    return false;
}

static void isolate_from(struct plan *p, struct result *r, uint64_t good, uint64_t bad)
{
    p->isolate_at = good;
    *r = (struct result){.bad = bad};
    run_apart(p, r);
}

/* Where more stops hide it: one stop only between two, closer and closer. */
static void search_straight(struct plan p, struct result *r, uint64_t good, uint64_t bad)
{
    uint64_t from = good, to = good + (bad - good) / 2;

    p.fine_from = UINT64_MAX;
    p.straight_from = p.memory_from = from;
    while (to > good && to < bad) {
        p.straight_to = to;
        *r = (struct result){0};
        run_apart(&p, r);
        if (r->failed)
            return;
        if (!r->differs)
            good = r->good;
        else if (r->bad < bad)
            bad = r->bad;
        else if (to == good + 1)
            break;
        to = r->differs && r->bad >= bad && to > good + 1 ? good + 1 : good + (bad - good) / 2;
    }
    printf("  without stops between: the same at %llu, not at %llu\n", (unsigned long long)good,
           (unsigned long long)bad);
    p.straight_to = good;
    isolate_from(&p, r, good, bad);
}

static void search(struct plan p, struct result *r)
{
    printf("DIFFERS: the same at %llu instructions, not at %llu\n", (unsigned long long)r->good,
           (unsigned long long)r->bad);
    p.expect = NULL;
    p.verbose = false;
    p.memory_from = r->good;
    p.limit = r->bad + 1000000;
    if (!again(&p, r, "memory at each stop"))
        return;
    uint64_t good = r->good, bad = r->bad;
    p.fine_from = r->good;
    p.memory_skip = 32; /* there are many, and memory is large */
    bool found = again(&p, r, "wherever it looks");
    if (found) {
        p.memory_from = r->good;
        p.memory_skip = 1;
        found = again(&p, r, "memory at each of these");
    }
    if (found)
        isolate_from(&p, r, r->good, r->bad);
    else {
        p.memory_skip = 1;
        search_straight(p, r, good, bad);
    }
}

static uint64_t number(const char *s)
{
    char *end;
    uint64_t v = strtoull(s, &end, 0);

    return v * (*end == 'k' ? 1000u : *end == 'M' ? 1000000u : *end == 'G' ? 1000000000u : 1u);
}

static void options(int argc, char **argv, struct plan *p, struct guest *g)
{
    static const struct option all[] = {{"flat", 1, NULL, 'f'},    {"kernel", 1, NULL, 'k'},
                                        {"initrd", 1, NULL, 'i'},  {"cmdline", 1, NULL, 'c'},
                                        {"memory", 1, NULL, 'm'},  {"insns", 1, NULL, 'n'},
                                        {"stride", 1, NULL, 's'},  {"seed", 1, NULL, 'r'},
                                        {"expect", 1, NULL, 'e'},  {"memory-each", 1, NULL, 'M'},
                                        {"verbose", 0, NULL, 'v'}, {"code-cache", 1, NULL, 'x'},
                                        {NULL, 0, NULL, 0}};
    int o;

    while ((o = getopt_long(argc, argv, "", all, NULL)) >= 0)
        switch (o) {
        case 'f':
            g->flat = optarg;
            break;
        case 'k':
            g->kernel = optarg;
            break;
        case 'i':
            g->initrd = optarg;
            break;
        case 'c':
            g->cmdline = optarg;
            break;
        case 'm':
            g->memory = number(optarg) << 20;
            break;
        case 'x':
            g->code_cache = number(optarg) << 10;
            break;
        case 'n':
            p->limit = number(optarg);
            break;
        case 's':
            p->stride = number(optarg);
            break;
        case 'r':
            p->seed = (unsigned)number(optarg);
            break;
        case 'e':
            p->expect = optarg;
            break;
        case 'M':
            p->memory_each = number(optarg);
            break;
        case 'v':
            p->verbose = true;
            break;
        default:
            fputs(usage, stderr);
            exit(2);
        }
    if (optind < argc || !g->flat == !g->kernel || !p->stride) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct guest g = {.cmdline = "console=ttyS0", .memory = 128 << 20};
    struct plan p = {.guest = &g,
                     .limit = UINT64_MAX,
                     .stride = 3000,
                     .memory_each = 1000000,
                     .memory_from = UINT64_MAX,
                     .memory_skip = 1,
                     .fine_from = UINT64_MAX,
                     .straight_from = UINT64_MAX,
                     .isolate_at = UINT64_MAX,
                     .seed = 1};
    struct result *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct timespec from, to;

    options(argc, argv, &p, &g);
    if (r == MAP_FAILED)
        return 2;
    clock_gettime(CLOCK_MONOTONIC, &from);
    run_apart(&p, r);
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (r->failed) {
        printf("%s: %s\n", r->unsupported ? "skipped" : "FAILED", r->why);
        return r->unsupported ? SKIP : 1;
    }
    bool differs = r->differs;
    printf(
        "%s%llu instructions, %llu interpreted by the translator's side, %llu interrupts; %llu comparisons, "
        "%llu of them of all memory; %s; %.1f s\n",
        differs ? "" : "the same: ", (unsigned long long)r->count, (unsigned long long)r->interpreted,
        (unsigned long long)r->interrupts, (unsigned long long)r->stops, (unsigned long long)r->memories,
        r->ended ? r->why : "to be continued",
        (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    if (differs)
        search(p, r);
    return differs;
}
