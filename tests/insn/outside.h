/*
 * outside: what the lab's and the blocks' engines have around them. Who has more copies it and fills that in.
 */
#ifndef INSN_OUTSIDE_H
#define INSN_OUTSIDE_H
#include "accel/soft/engine/engine.h"

extern const struct engine_outside no_outside;

#endif
