#include "base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The one process-wide setting: what reaches stderr is the business of the process, not of a machine in it.
 */
static atomic_int threshold = LOG_WARN;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
    char line[1024] = "liege: ";
    size_t n = strlen(line);
    int was = errno;
    va_list ap;

    if ((int)level > atomic_load(&threshold))
        return;
    va_start(ap, fmt);
    vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    for (; line[n]; n++) /* what a guest or a file brought may not drive the person's terminal */
        if ((unsigned char)line[n] < 0x20 || line[n] == 0x7f)
            line[n] = ' ';
    line[n++] = '\n';
    /* One write, so that lines of several threads do not mix. A closed stderr is nobody's concern. */
    ssize_t put = write(STDERR_FILENO, line, n);
    (void)put;
    errno = was;
}
