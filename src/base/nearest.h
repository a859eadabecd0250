/*
 * nearest: "did you mean ...?". Pure.
 */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H
#include <stddef.h>

/* The word of the NULL-terminated list with the smallest edit distance to `text`, or NULL when none is near
 * (more than a third of its letters differ, at least two allowed). */
const char *nearest(const char *text, const char *const *words);

#endif
