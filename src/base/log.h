/*
 * log: lines on stderr for the person who runs the VM. Any thread. Levels are filtered by one process-wide
 * setting. What a guest can trigger goes through log_guest, or it could fill the host's disk.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H
#include "base/ratelimit.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level); /* default LOG_WARN */

void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * What a guest can trigger, however often. Two limits: the object's own, so that one bad device does not hide
 * the others (NULL: none), and one of the process, so that the guest's lines are few however many objects it
 * has. A line says how many were left out before it.
 */
enum { LOG_GUEST_BURST = 20, LOG_GUEST_A_SECOND = 2 };
void log_guest(struct ratelimit *own, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)

#endif
