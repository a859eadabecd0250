#include "backend/chr/chr.h"
#include "backend/chr/port.h"
#include "base/err.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* The slave stays open here: without one the master reports a hang-up all the time, and forgets what it was
 * told. */
struct pty {
    int slave;
};

static void pty_closed(void *opaque)
{
    struct pty *p = opaque;
    if (p->slave >= 0)
        close(p->slave);
    free(p);
}

/* Raw, so that nothing is echoed back into the guest while nobody has set it otherwise. */
static int open_slave(const char *path, struct err *e)
{
    struct termios mode;
    int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, errno, "cannot open pseudo-terminal %s", path);
    if (!tcgetattr(fd, &mode)) {
        cfmakeraw(&mode);
        tcsetattr(fd, TCSANOW, &mode);
    }
    return fd;
}

struct chr *chr_pty_open(struct loop *loop, char *path_out, size_t cap, struct err *e)
{
    struct pty *p = malloc(sizeof *p);
    struct port_config cfg = {.in = -1, .out = -1, .overwrite = true, .closed = pty_closed, .opaque = p};
    if (!p) {
        err_set(e, ENOMEM, "no memory for a console");
        return NULL;
    }
    p->slave = -1;
    cfg.in = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (cfg.in < 0 || grantpt(cfg.in) || unlockpt(cfg.in) || ptsname_r(cfg.in, path_out, cap))
        err_sys(e, errno, "cannot make a pseudo-terminal");
    else
        p->slave = open_slave(path_out, e);
    if (p->slave >= 0) {
        cfg.out = fcntl(cfg.in, F_DUPFD_CLOEXEC, 3); /* an epoll set takes each fd once */
        if (cfg.out >= 0)
            return port_new(&cfg, loop, e);
        err_sys(e, errno, "cannot make a pseudo-terminal");
    }
    if (cfg.in >= 0)
        close(cfg.in);
    pty_closed(p);
    return NULL;
}
