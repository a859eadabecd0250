#include "base/log.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

/* The one process-wide setting: what reaches stderr is the business of the process, not of a machine in it. */
static atomic_int threshold = LOG_WARN;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    if ((int)level > atomic_load(&threshold))
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    fprintf(stderr, "liege: %s\n", line);
}
