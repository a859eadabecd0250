#include "backend/chr/port.h"
#include "base/err.h"
#include "base/log.h"
#include "host/host.h"
#include "host/loop.h"
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define FLUSH_NS 1000000000ull

struct port {
    struct chr chr;
    struct port_config cfg;
    struct loop *loop;
    struct chr_client client; /* loop thread */
    bool attached;

    /* Input; loop thread. in_fd is NULL when the fd cannot be polled (a file, /dev/null: never blocks) or has
     * ended. */
    struct loop_fd *in_fd;
    bool in_ended, in_unpollable;
    uint8_t in[PORT_IN_SIZE + 1];
    size_t in_at, in_len;

    /* Output. */
    struct lock lock; /* guards what follows */
    uint8_t *ring;
    size_t out_at, out_len;
    bool out_dead, refused; /* refused: a writer got less than it gave and awaits writable() */
    struct loop_fd *out_fd; /* loop thread; NULL: cannot be polled */

    /* resume() and writers of other threads reach the loop through this; unlike a post it can be taken back
     * on close. */
    int kick;
    struct loop_fd *kick_fd;
};

static struct port *port_of(struct chr *c)
{
    return (struct port *)c;
}

static void kick(struct port *p)
{
    uint64_t one = 1;
    while (write(p->kick, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* ---- input ---- */

static void deliver(struct port *p)
{
    while (p->attached && p->in_len) {
        size_t n = p->client.can_receive(p->client.opaque);
        n = n < p->in_len ? n : p->in_len;
        if (!n)
            return;
        size_t at = p->in_at;
        p->in_at += n;
        p->in_len -= n;
        p->client.receive(p->client.opaque, p->in + at, n);
    }
}

/* With a filter input is always read; what the guest does not take in time is lost then, as on a real line.
 */
static bool want_input(const struct port *p)
{
    return !p->in_ended && (p->cfg.filter || (p->attached && !p->in_len));
}

static void end_input(struct port *p)
{
    p->in_ended = true;
    loop_del_fd(p->in_fd);
    p->in_fd = NULL;
}

static void read_some(struct port *p)
{
    uint8_t bytes[PORT_IN_SIZE + 1];
    ssize_t got = read(p->cfg.in, bytes, PORT_IN_SIZE);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got <= 0) {
        end_input(p);
        return;
    }
    size_t n = p->cfg.filter ? p->cfg.filter(p->cfg.opaque, bytes, (size_t)got) : (size_t)got;
    memmove(p->in, p->in + p->in_at, p->in_len);
    p->in_at = 0;
    size_t room = sizeof p->in - p->in_len;
    n = n < room ? n : room;
    memcpy(p->in + p->in_len, bytes, n);
    p->in_len += n;
}

static void pump(struct port *p)
{
    deliver(p);
    while (p->in_unpollable && want_input(p)) {
        read_some(p);
        deliver(p);
    }
    if (p->in_fd)
        loop_mod_fd(p->in_fd, want_input(p) ? EPOLLIN : 0);
}

static void on_input(void *opaque, uint32_t events)
{
    struct port *p = opaque;
    (void)events;
    if (want_input(p))
        read_some(p);
    pump(p);
}

/* ---- output ---- */

/* As much as goes without waiting: bytes written, 0 when it is full; a dead far end takes all. Under the
 * lock. */
static size_t put(struct port *p, const uint8_t *bytes, size_t n)
{
    size_t done = 0;
    while (done < n && !p->out_dead) {
        ssize_t w = p->cfg.out_socket ? send(p->cfg.out, bytes + done, n - done, MSG_DONTWAIT | MSG_NOSIGNAL)
                                      : write(p->cfg.out, bytes + done, n - done);
        if (w > 0)
            done += (size_t)w;
        else if (w < 0 && errno == EAGAIN)
            return done;
        else if (w < 0 && errno != EINTR) {
            p->out_dead = true;
            if (errno != EPIPE && errno != EIO)
                log_warn("console output is lost from here on: %s", strerror(errno));
        }
    }
    return n;
}

/* Write the ring out. Under the lock. */
static void drain_ring(struct port *p)
{
    while (p->out_len) {
        size_t piece = PORT_OUT_SIZE - p->out_at;
        piece = piece < p->out_len ? piece : p->out_len;
        size_t n = put(p, p->ring + p->out_at, piece);
        p->out_at = (p->out_at + n) % PORT_OUT_SIZE;
        p->out_len -= n;
        if (n < piece)
            return;
    }
}

/* Keep what did not go. Returns the bytes taken. Under the lock. */
static size_t keep(struct port *p, const uint8_t *bytes, size_t n)
{
    size_t taken = n;
    if (p->cfg.overwrite && n > PORT_OUT_SIZE) {
        bytes += n - PORT_OUT_SIZE;
        n = PORT_OUT_SIZE;
    }
    size_t room = PORT_OUT_SIZE - p->out_len;
    if (n > room && p->cfg.overwrite) {
        p->out_at = (p->out_at + (n - room)) % PORT_OUT_SIZE;
        p->out_len -= n - room;
    } else if (n > room) {
        p->refused = true;
        taken = n = room;
    }
    for (size_t i = 0; i < n; i++)
        p->ring[(p->out_at + p->out_len + i) % PORT_OUT_SIZE] = bytes[i];
    p->out_len += n;
    return taken;
}

static size_t port_write(struct chr *c, const uint8_t *bytes, size_t n)
{
    struct port *p = port_of(c);
    if (p->cfg.out < 0)
        return n;
    lock_take(&p->lock);
    bool idle = !p->out_len;
    size_t done = idle ? put(p, bytes, n) : 0;
    if (done < n)
        done += keep(p, bytes + done, n - done);
    bool watch = idle && p->out_len;
    lock_drop(&p->lock);
    if (watch)
        kick(p);
    return done;
}

static void service_output(struct port *p)
{
    lock_take(&p->lock);
    drain_ring(p);
    bool tell = p->refused && p->out_len <= PORT_OUT_SIZE / 2, more = p->out_len;
    if (tell)
        p->refused = false;
    lock_drop(&p->lock);
    if (p->out_fd)
        loop_mod_fd(p->out_fd, more ? EPOLLOUT : 0);
    if (tell && p->attached && p->client.writable)
        p->client.writable(p->client.opaque);
}

static void on_output(void *opaque, uint32_t events)
{
    (void)events;
    service_output(opaque);
}

static void on_kick(void *opaque, uint32_t events)
{
    struct port *p = opaque;
    uint64_t count;
    (void)events;
    while (read(p->kick, &count, sizeof count) < 0 && errno == EINTR)
        ;
    pump(p);
    if (p->cfg.out >= 0)
        service_output(p);
}

/* ---- the rest of the table ---- */

static void port_attach(struct chr *c, const struct chr_client *client)
{
    struct port *p = port_of(c);
    p->attached = client;
    p->client = client ? *client : (struct chr_client){0};
    if (client)
        kick(p);
}

static void port_resume(struct chr *c)
{
    kick(port_of(c));
}

static void port_size(struct chr *c, uint16_t *cols, uint16_t *rows)
{
    struct port *p = port_of(c);
    *cols = *rows = 0;
    if (p->cfg.size)
        p->cfg.size(p->cfg.opaque, cols, rows);
}

static void port_flush(struct chr *c)
{
    struct port *p = port_of(c);
    uint64_t deadline = host_now_ns() + FLUSH_NS;
    for (;;) {
        lock_take(&p->lock);
        drain_ring(p);
        bool more = p->out_len && !p->out_dead && !p->cfg.overwrite;
        lock_drop(&p->lock);
        uint64_t now = host_now_ns();
        if (!more || now >= deadline)
            return;
        poll(&(struct pollfd){.fd = p->cfg.out, .events = POLLOUT}, 1, (int)((deadline - now) / 1000000) + 1);
    }
}

static void close_fds(const struct port_config *cfg)
{
    if (cfg->in >= 0)
        close(cfg->in);
    if (cfg->out >= 0 && cfg->out != cfg->in)
        close(cfg->out);
    if (cfg->closed)
        cfg->closed(cfg->opaque);
}

static void port_close(struct chr *c)
{
    struct port *p = port_of(c);
    if (p->cfg.out >= 0 && p->ring)
        port_flush(c);
    loop_del_fd(p->in_fd);
    loop_del_fd(p->out_fd);
    loop_del_fd(p->kick_fd);
    if (p->kick >= 0)
        close(p->kick);
    close_fds(&p->cfg);
    lock_destroy(&p->lock);
    free(p->ring);
    free(p);
}

static const struct chr_ops port_ops = {
    .attach = port_attach,
    .write = port_write,
    .resume = port_resume,
    .size = port_size,
    .flush = port_flush,
    .close = port_close,
};

/* A file or /dev/null cannot be watched and need not be: it never makes us wait. */
static void watch(struct port *p)
{
    if (p->cfg.in >= 0) {
        p->in_fd = loop_add_fd(p->loop, p->cfg.in, EPOLLIN, on_input, p, NULL);
        p->in_unpollable = !p->in_fd;
        p->in_ended = false;
    }
    if (p->cfg.out >= 0)
        p->out_fd = loop_add_fd(p->loop, p->cfg.out, EPOLLOUT, on_output, p, NULL);
}

struct chr *port_new(const struct port_config *cfg, struct loop *loop, struct err *e)
{
    struct port *p = calloc(1, sizeof *p);
    if (!p) {
        err_set(e, ENOMEM, "no memory for a console");
        close_fds(cfg);
        return NULL;
    }
    *p = (struct port){.chr.ops = &port_ops, .cfg = *cfg, .loop = loop, .in_ended = true, .kick = -1};
    lock_init(&p->lock, LOCK_LEAF);
    p->ring = malloc(PORT_OUT_SIZE);
    p->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!p->ring || p->kick < 0)
        err_set(e, ENOMEM, "no memory or descriptor for a console");
    else
        p->kick_fd = loop_add_fd(loop, p->kick, EPOLLIN, on_kick, p, e);
    if (!p->kick_fd) {
        port_close(&p->chr);
        return NULL;
    }
    watch(p);
    return &p->chr;
}
