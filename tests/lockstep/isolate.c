/*
 * isolate: which of the few instructions between two places it is. The translator is given, from the same
 * state, the first of them, the first two, and so on, in units that end there; each time in a process of its
 * own. What it does wrong only with its units as they had been (stale, linked, with the flags of another
 * unit's end) is not found so: then all of them are shown.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "accel/soft/engine/xlate.h"
#include "lockstep.h"

enum { MOST = 200 };

static void put(struct side *s, const struct x86_state *at, uint64_t count)
{
    struct x86_state copy = *at;

    engine_set(s->en, 0, &copy);
    s->c->icount = s->counted = count;
    s->c->priv->no_stop_at = 0;
}

/* The same behind the first n? */
static bool same_behind(struct side *ref, struct side *sut, const struct x86_state at[2], uint64_t count,
                        uint64_t n, bool tell)
{
    put(ref, &at[0], count);
    put(sut, &at[1], count);
    sut->en->xlate->stale = 1;
    sut->en->xlate->single = XSINGLE_TO_STOP;
    bool same = side_go(ref, count + n) && side_go(sut, count + n);
    side_pass_time(ref);
    side_pass_time(sut);
    same = same && same_cpu(ref, sut, tell);
    return same & same_memory(ref, sut, tell);
}

static bool in_child(struct side *ref, struct side *sut, const struct x86_state at[2], uint64_t count,
                     uint64_t n, bool tell)
{
    int status;

    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        return true;
    if (!child) {
        bool same = same_behind(ref, sut, at, count, n, tell);
        fflush(stdout);
        _exit(same ? 0 : 1);
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The n-th instruction from here, and what is in the registers before it. */
static void show_at(struct side *ref, const struct x86_state *at, uint64_t count, uint64_t n)
{
    fflush(stdout);
    pid_t child = fork();
    if (child > 0)
        waitpid(child, NULL, 0);
    if (child)
        return;
    put(ref, at, count);
    side_go(ref, count + n);
    show_instruction(ref, "    ");
    fflush(stdout);
    _exit(0);
}

void isolate(struct side *ref, struct side *sut, uint64_t bad, struct result *r)
{
    static struct x86_state at[2];
    uint64_t count = ref->c->icount, n = bad - count;

    engine_get(ref->en, 0, &at[0]);
    engine_get(sut->en, 0, &at[1]);
    if (n > MOST)
        n = MOST;
    for (uint64_t i = 1; i <= n; i++) {
        if (in_child(ref, sut, at, count, i, false))
            continue;
        printf("  the instruction, %llu retired before it:\n", (unsigned long long)(count + i - 1));
        show_at(ref, &at[0], count, i - 1);
        in_child(ref, sut, at, count, i, true);
        r->found = true;
        r->good = count + i - 1;
        r->bad = count + i;
        return;
    }
    printf("  one of these, and only with the translator's units as they were:\n");
    for (uint64_t i = 0; i < n; i++)
        show_at(ref, &at[0], count, i);
}
