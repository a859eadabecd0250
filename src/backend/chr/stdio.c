#include "backend/chr/chr.h"
#include "backend/chr/port.h"
#include "backend/chr/tty.h"
#include "base/err.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CTRL_A = 0x01 };

struct stdio {
    struct chr_escape esc;
    bool tty, escaped;
    int screen; /* where the terminal shows: for help and its size */
};

static void say_help(const struct stdio *s)
{
    static const char text[] = "\r\nCtrl-A x       end the virtual machine at once\r\n"
                               "Ctrl-A h       this help\r\n"
                               "Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";
    ssize_t ignored = write(s->screen, text, sizeof text - 1);
    (void)ignored;
}

/* Ctrl-A begins an escape. A key that means nothing to us goes to the guest together with its Ctrl-A. The one
 * byte more than came in is that of a Ctrl-A that ended the read before. */
static size_t filter_keys(void *opaque, uint8_t *p, size_t n)
{
    struct stdio *s = opaque;
    uint8_t out[PORT_IN_SIZE + 1];
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t key = p[i];
        if (!s->escaped && key == CTRL_A) {
            s->escaped = true;
            continue;
        }
        bool escaped = s->escaped;
        s->escaped = false;
        if (escaped && (key == 'x' || key == 'X')) {
            if (s->esc.quit)
                s->esc.quit(s->esc.opaque);
        } else if (escaped && (key == 'h' || key == '?')) {
            say_help(s);
        } else {
            if (escaped && key != CTRL_A)
                out[len++] = CTRL_A;
            out[len++] = key;
        }
    }
    memcpy(p, out, len);
    return len;
}

static void terminal_size(void *opaque, uint16_t *cols, uint16_t *rows)
{
    struct stdio *s = opaque;
    struct winsize w;
    if (!ioctl(s->screen, TIOCGWINSZ, &w)) {
        *cols = w.ws_col;
        *rows = w.ws_row;
    }
}

static void stdio_closed(void *opaque)
{
    struct stdio *s = opaque;
    if (s->tty)
        tty_restore();
    free(s);
}

/*
 * Our own open file description of stdout, so that not waiting on it changes nothing for the shell and others
 * who share it. A file has a position that must stay shared, and never makes us wait; a socket is told with
 * each send. What cannot be opened again (a terminal of another user, after su) is used as it is.
 */
static int own_output(bool *socket)
{
    struct stat st;
    char path[32];
    if (fstat(STDOUT_FILENO, &st))
        return -1;
    *socket = S_ISSOCK(st.st_mode);
    if (S_ISFIFO(st.st_mode) || isatty(STDOUT_FILENO)) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", STDOUT_FILENO);
        int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0)
            return fd;
    }
    return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
}

struct chr *chr_stdio_open(const struct chr_escape *esc, struct loop *loop, struct err *e)
{
    struct stdio *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no memory for a console");
        return NULL;
    }
    if (esc)
        s->esc = *esc;
    struct port_config cfg = {.closed = stdio_closed, .size = terminal_size, .opaque = s};
    cfg.out = own_output(&cfg.out_socket);
    cfg.in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    s->screen = isatty(cfg.out) ? cfg.out : cfg.in;
    s->tty = cfg.in >= 0 && isatty(cfg.in);
    if (s->tty && tty_raw(cfg.in, e)) {
        close(cfg.in);
        if (cfg.out >= 0)
            close(cfg.out);
        free(s);
        return NULL;
    }
    if (s->tty)
        cfg.filter = filter_keys;
    return port_new(&cfg, loop, e);
}
