/*
 * profile: what the translator's code is, for people: a map of it for perf(1), and samples of where vCPUs
 * spend their time, as a report of the hottest blocks with their instructions.
 *
 * Calls: soft_profile_new before the engine is attached; soft_profile_map when it is known which process runs
 * vCPUs; soft_profile_block for each piece of code that the engine makes; soft_profile_thread once on each
 * vCPU's thread; soft_profile_text; soft_profile_free. All but the first two and the last from any thread.
 *
 * It believes nothing that the engine's process says: samples and blocks are numbers that are compared with
 * what was told before. Not at all in use (soft.profile is NULL) where nobody asked for it.
 */
#ifndef SOFT_PROFILE_H
#define SOFT_PROFILE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
struct soft;
struct engine;
struct engine_block;
struct err;

int soft_profile_new(struct soft *s, struct err *e);
int soft_profile_map(struct soft *s, struct err *e);
void soft_profile_block(struct soft *s, const struct engine_block *b);
int soft_profile_thread(struct soft *s, unsigned cpu); /* 0 or -errno */
void soft_profile_thread_end(struct soft *s, unsigned cpu);
char *soft_profile_text(struct soft *s); /* malloc'ed; NULL: there is none */
void soft_profile_free(struct soft *s);

/* For a vCPU's signal handler, in the process that runs it. */
struct soft_sampler {
    struct engine *engine;
    unsigned cpu;
    uint64_t code, code_size; /* of the view of translated code */
    struct soft_ring *ring;
    timer_t id;
    bool ready;
};

/* What the process that runs vCPUs shares with the VMM. */
const void *soft_profile_shared(const struct soft *s, size_t *size);

/* ---- symbols.c: names of guest addresses, from a file of lines as in /proc/kallsyms and System.map ---- */

struct symbols;
struct symbols *symbols_load(const char *path, struct err *e);
/* The symbol at or before `address` and the distance to it, or NULL; `symbols` may be NULL. */
const char *symbols_find(const struct symbols *symbols, uint64_t address, uint64_t *distance);
void symbols_free(struct symbols *symbols);

/* ---- hottest.c: the report ---- */

struct hot_block {
    uint64_t linear, gpa;
    uint64_t translated, engine; /* samples in its code; in the engine on its behalf */
    uint16_t bytes;
    bool user;
    const uint8_t *guest; /* its instructions; NULL: they were never translated */
};

/* The report of `count` blocks, which are sorted here; beside them samples in the code between units and C,
 * and samples that are lost. malloc'ed, or NULL. */
char *hottest_text(struct hot_block *hot, size_t count, uint64_t glue, uint64_t lost,
                   const struct symbols *symbols);

#endif
