#include "backend/chr/chr.h"
#include "backend/chr/port.h"
#include "base/err.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

struct chr *chr_file_open(const char *path, struct loop *loop, struct err *e)
{
    struct port_config cfg = {.in = -1};
    cfg.out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
    if (cfg.out >= 0)
        return port_new(&cfg, loop, e);
    if (errno == EISDIR)
        err_set(e, errno, "%s: is a directory; give the path of a file for the console's output", path);
    else if (errno == ENXIO)
        err_set(e, errno, "%s: nobody reads this pipe yet; start its reader first", path);
    else
        err_sys(e, errno, "%s: cannot open for the console's output", path);
    return NULL;
}

/* ---- null: takes everything, gives nothing ---- */

static void null_attach(struct chr *c, const struct chr_client *client)
{
    (void)c;
    (void)client;
}

static size_t null_write(struct chr *c, const uint8_t *p, size_t n)
{
    (void)c;
    (void)p;
    return n;
}

static void null_nothing(struct chr *c)
{
    (void)c;
}

static void null_size(struct chr *c, uint16_t *cols, uint16_t *rows)
{
    (void)c;
    *cols = *rows = 0;
}

static void null_close(struct chr *c)
{
    free(c);
}

struct chr *chr_null_open(void)
{
    static const struct chr_ops ops = {.attach = null_attach,
                                       .write = null_write,
                                       .resume = null_nothing,
                                       .size = null_size,
                                       .flush = null_nothing,
                                       .close = null_close};
    struct chr *c = malloc(sizeof *c);
    if (c)
        c->ops = &ops;
    return c;
}
