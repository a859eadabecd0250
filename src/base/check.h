/*
 * check: assertions on our own invariants. Always compiled in, never reachable by guest, file or peer input.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

/* Abort with file, line and the expression when `cond` is false. */
#define CHECK(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))

_Noreturn void check_failed(const char *expr, const char *file, int line);

#endif
