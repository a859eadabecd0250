/*
 * seed: bugs planted on purpose. `meson setup -Dseed_bug=N` builds the interpreter with bug N, so that tests/insn/seeded.sh can show that the
 * instruction lab finds it. In any other build SEED_BUG(n) is 0 and the compiler drops the branch.
 */
#ifndef ENGINE_SEED_H
#define ENGINE_SEED_H

#ifndef SEED_BUG_NUMBER
#define SEED_BUG_NUMBER 0
#endif
#define SEED_BUG(n) (SEED_BUG_NUMBER == (n))

#endif
