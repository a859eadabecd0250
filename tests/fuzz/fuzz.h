/*
 * fuzz: what every target of this folder defines. Built with clang's libFuzzer (-Dfuzz=true), or with
 * replay.c, which gives it the committed corpus as a unit test.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H
#include <stddef.h>
#include <stdint.h>

/* One input. Returns 0; a finding is a crash, a sanitizer's report or a time-out. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
