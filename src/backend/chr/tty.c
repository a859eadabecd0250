#include "backend/chr/tty.h"
#include "backend/chr/chr.h"
#include "base/err.h"
#include "base/range.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

enum tty_phase { TTY_FREE, TTY_CHANGING, TTY_HELD };

/* Signals that end a process unless it handles them. */
static const int fatal[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV,
                            SIGBUS, SIGILL,  SIGFPE, SIGSYS,  SIGXCPU, SIGPIPE};

static struct {
    atomic_int phase;
    int fd;
    struct termios saved, raw;
    struct sigaction was[ARRAY_LEN(fatal)], was_cont;
    bool ours[ARRAY_LEN(fatal)], cont_ours, atexit_done;
} tty;

void chr_restore_terminal(void)
{
    int was = errno;
    if (atomic_load(&tty.phase) == TTY_HELD)
        tcsetattr(tty.fd, TCSANOW, &tty.saved);
    errno = was;
}

/* Restore and die of the same signal, which SA_RESETHAND made deadly again. */
static void on_fatal(int sig)
{
    chr_restore_terminal();
    raise(sig);
}

/* After a stop the shell has its own mode on the terminal; only a foreground job may set it again. */
static void on_continue(int sig)
{
    int was = errno;
    (void)sig;
    if (atomic_load(&tty.phase) == TTY_HELD && tcgetpgrp(tty.fd) == getpgrp())
        tcsetattr(tty.fd, TCSANOW, &tty.raw);
    errno = was;
}

/* Only where nobody else handles the signal. */
static bool take_signal(int sig, void (*fn)(int), int flags, struct sigaction *was)
{
    struct sigaction sa = {.sa_flags = flags};
    sa.sa_handler = fn;
    sigemptyset(&sa.sa_mask);
    if (sigaction(sig, NULL, was) || was->sa_flags & SA_SIGINFO || was->sa_handler != SIG_DFL)
        return false;
    return !sigaction(sig, &sa, NULL);
}

/* Unless somebody took it over since. */
static void give_signal(int sig, void (*fn)(int), const struct sigaction *was)
{
    struct sigaction now;
    if (!sigaction(sig, NULL, &now) && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == fn)
        sigaction(sig, was, NULL);
}

int tty_raw(int fd, struct err *e)
{
    int none = TTY_FREE;
    if (!atomic_compare_exchange_strong(&tty.phase, &none, TTY_CHANGING))
        return err_set(e, EBUSY,
                       "the terminal serves another console already; give this one pty or file=PATH");
    tty.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (tty.fd < 0 || tcgetattr(fd, &tty.saved)) {
        int r = err_sys(e, errno, "cannot read the terminal's mode");
        if (tty.fd >= 0)
            close(tty.fd);
        atomic_store(&tty.phase, TTY_FREE);
        return r;
    }
    tty.raw = tty.saved;
    cfmakeraw(&tty.raw);
    tty.raw.c_oflag = tty.saved.c_oflag;
    atomic_store(&tty.phase, TTY_HELD);
    if (!tty.atexit_done)
        tty.atexit_done = !atexit(chr_restore_terminal);
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        tty.ours[i] = take_signal(fatal[i], on_fatal, SA_RESETHAND | SA_NODEFER, &tty.was[i]);
    tty.cont_ours = take_signal(SIGCONT, on_continue, SA_RESTART, &tty.was_cont);
    if (!tcsetattr(fd, TCSANOW, &tty.raw))
        return 0;
    int r = err_sys(e, errno, "cannot put the terminal in raw mode");
    tty_restore();
    return r;
}

void tty_restore(void)
{
    chr_restore_terminal();
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        if (tty.ours[i])
            give_signal(fatal[i], on_fatal, &tty.was[i]);
    if (tty.cont_ours)
        give_signal(SIGCONT, on_continue, &tty.was_cont);
    atomic_store(&tty.phase, TTY_CHANGING);
    close(tty.fd);
    atomic_store(&tty.phase, TTY_FREE);
}
