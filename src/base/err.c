#include "base/err.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line, whatever a path or a guest's string brings. */
static void one_line(char *p)
{
    for (; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
}

__attribute__((format(printf, 2, 0))) static void set_v(struct err *e, const char *fmt, va_list ap)
{
    if (!e)
        return;
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    one_line(e->msg);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set_v(e, fmt, ap);
    va_end(ap);
    return -abs(code);
}

int err_sys(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;
    char reason[128];
    va_start(ap, fmt);
    set_v(e, fmt, ap);
    va_end(ap);
    if (e) {
        size_t n = strlen(e->msg);
        snprintf(e->msg + n, sizeof e->msg - n, ": %s", strerror_r(abs(code), reason, sizeof reason));
    }
    return -abs(code);
}

int err_prefix(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;
    struct err was;
    if (!e)
        return -abs(code);
    was = *e;
    va_start(ap, fmt);
    set_v(e, fmt, ap);
    va_end(ap);
    size_t n = strlen(e->msg);
    if (was.msg[0])
        snprintf(e->msg + n, sizeof e->msg - n, ": %s", was.msg);
    return -abs(code);
}
