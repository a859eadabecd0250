/*
 * seed: bugs planted on purpose. `meson setup -Dseed_bug=N` builds the engine with bug N of SEED_BUGS, so
 * that tests/insn/seeded.sh can show that it is found: those of the interpreter, 1 to 20, by the instruction
 * lab, and those of the translator, from 21 on, by the lab or by random blocks. In any other build
 * SEED_BUG(n) is 0 and the compiler drops the branch.
 */
#ifndef ENGINE_SEED_H
#define ENGINE_SEED_H

#if __has_include("seed_config.h")
#include "seed_config.h" /* made by meson: SEED_BUG_NUMBER */
#else
#define SEED_BUG_NUMBER 0
#endif

enum { SEED_BUGS = 45 };
#define SEED_BUG(n) (SEED_BUG_NUMBER == (n))

#endif
