#include "base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Process-wide, as nothing else is: what reaches stderr is the business of the process, not of a machine in
 * it.
 */
static atomic_int threshold = LOG_WARN;
static struct ratelimit guests = {.burst = LOG_GUEST_BURST, .interval_ms = 1000 / LOG_GUEST_A_SECOND};
static atomic_ullong left_out;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

static void put(const char *note, const char *fmt, va_list ap)
{
    char line[1024] = "liege: ";
    size_t n = strlen(line), room = sizeof line - n - strlen(note) - 1;
    int was = errno;

    vsnprintf(line + n, room, fmt, ap);
    for (; line[n]; n++) /* what a guest or a file brought may not drive the person's terminal */
        if ((unsigned char)line[n] < 0x20 || line[n] == 0x7f)
            line[n] = ' ';
    for (; *note; note++)
        line[n++] = *note;
    line[n++] = '\n';
    /* One write, so that lines of several threads do not mix. A closed stderr is nobody's concern. */
    ssize_t done = write(STDERR_FILENO, line, n);
    (void)done;
    errno = was;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
    va_list ap;

    if ((int)level > atomic_load(&threshold))
        return;
    va_start(ap, fmt);
    put("", fmt, ap);
    va_end(ap);
}

void log_guest(struct ratelimit *own, enum log_level level, const char *fmt, ...)
{
    char note[80] = "";
    va_list ap;

    if ((int)level > atomic_load(&threshold))
        return;
    if ((own && !ratelimit_ok(own)) || !ratelimit_ok(&guests)) {
        atomic_fetch_add(&left_out, 1);
        return;
    }
    unsigned long long n = atomic_exchange(&left_out, 0);
    if (n)
        snprintf(note, sizeof note, " (%llu of the guest's messages left out)", n);
    va_start(ap, fmt);
    put(note, fmt, ap);
    va_end(ap);
}
