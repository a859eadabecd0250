/*
 * err: one line of context for a failed operation.
 *
 * A function that can fail returns 0 or a negative errno and, given a non-NULL `struct err`, puts there one
 * line that names what was wrong, where, and what would mend it. Only cli prints it. The caller owns the
 * struct (usually on its stack); no allocation, no threads shared.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

struct err {
    char msg[512]; /* NUL-terminated, no newline; "" when nothing was set */
};

/* Set the message (printf style) and return -|code|, so `return err_set(e, EINVAL, "...")` works. `e` may be
 * NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, and append ": " and strerror(code). */
int err_sys(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "prefix: " before a message that a callee set; returns -|code|. */
int err_prefix(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
