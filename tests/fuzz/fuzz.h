/*
 * fuzz: what every target of this folder defines. Built with clang's libFuzzer (-Dfuzz=true), or with
 * replay.c, which gives it the committed corpus as a unit test.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>

/* One input. Returns 0; a finding is a crash, a sanitizer's report or a time-out. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* For targets that give each input fresh guest memory: by single pages, since the kernel clears a huge one
 * whole, which takes longer than an input. Called once, at the first input. */
static inline void fuzz_small_pages(void)
{
    static bool done;
    if (!done)
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    done = true;
}

#endif
