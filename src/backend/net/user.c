/*
 * The user network: libslirp is the guest's whole outside (10.0.2.0/24: gateway .2, DNS .3, the guest .15 by
 * DHCP; fec0::/64 beside it) and speaks to the world through ordinary sockets, so it needs no privilege.
 *
 * slirp wants to be asked which sockets to watch before each sleep. They live in an epoll set of their own,
 * itself one fd on the loop; after anything that may have changed them (a frame of the guest, an event, a
 * timer) the kick has them asked for again. Frames for the guest are queued and handed over from the loop
 * only, never from within send(). Everything runs on the loop's thread.
 */
#include "backend/net/net.h"
#include "backend/net/slirp_api.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/ratelimit.h"
#include "host/host.h"
#include "host/loop.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    FRAME_MAX = 65536 + 64,
    QUEUE_MAX = 1024, /* frames that wait for the guest; more are dropped, and TCP sends them again */
    EVENTS = 64,
    SLEEP_MAX_MS = 60000,
    NETWORK = 0x0a000200,
    HOST_ADDR = NETWORK + 2,
    DNS_ADDR = NETWORK + 3,
    GUEST_ADDR = NETWORK + 15,
};

struct frame {
    struct frame *next;
    uint32_t len;
    uint8_t data[];
};

/* A socket that slirp wants watched; the index is what slirp knows it by. */
struct watch {
    int fd;
    uint32_t events, ready; /* EPOLL* */
};

struct user {
    struct net net;
    struct loop *loop;
    struct slirp_api api;
    Slirp *slirp;
    struct net_client client;
    bool attached, blocked; /* blocked: the guest had no buffer */

    int epoll, kick;
    struct loop_fd *epoll_fd, *kick_fd;
    struct loop_timer *sleep; /* slirp's own time-outs */
    bool kicked;

    struct watch *watch, *before; /* now, and at the fill before, to take out what is gone */
    unsigned watches, befores, cap, before_cap;

    struct frame *head, **tail;
    unsigned queued;
    struct ratelimit complaints;
    uint8_t out[FRAME_MAX]; /* a frame of the guest in one piece */
};

static struct user *user_of(struct net *n)
{
    return (struct user *)n;
}

static void kick(struct user *u)
{
    uint64_t one = 1;
    if (u->kicked)
        return;
    u->kicked = true;
    while (write(u->kick, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* ---- frames for the guest ---- */

static ssize_t send_packet(const void *p, size_t n, void *opaque)
{
    struct user *u = opaque;
    struct frame *f = u->queued < QUEUE_MAX && n <= FRAME_MAX && u->attached ? malloc(sizeof *f + n) : NULL;
    if (!f)
        return (ssize_t)n;
    f->next = NULL;
    f->len = (uint32_t)n;
    memcpy(f->data, p, n);
    *u->tail = f;
    u->tail = &f->next;
    u->queued++;
    kick(u);
    return (ssize_t)n;
}

static void drop_first(struct user *u)
{
    struct frame *f = u->head;
    u->head = f->next;
    if (!u->head)
        u->tail = &u->head;
    u->queued--;
    free(f);
}

static void deliver(struct user *u)
{
    while (u->head && u->attached && !u->blocked) {
        struct iovec iov = {u->head->data, u->head->len};
        u->blocked = true; /* a resume from within receive() clears it */
        bool taken = u->client.receive(u->client.opaque, &iov, 1, u->head->len);
        if (!taken)
            return;
        u->blocked = false;
        drop_first(u);
    }
}

/* ---- slirp's other callbacks ---- */

static void guest_error(const char *msg, void *opaque)
{
    struct user *u = opaque;
    log_guest(&u->complaints, LOG_DEBUG, "user network: %s", msg);
}

static int64_t clock_ns(void *opaque)
{
    (void)opaque;
    return (int64_t)host_now_ns();
}

/* A timer of slirp's, which it may free from within its own callback. */
struct slirp_timer {
    struct user *u;
    struct loop_timer *timer;
    SlirpTimerCb fn;
    void *opaque;
};

static void timer_fired(void *opaque)
{
    struct slirp_timer *t = opaque;
    kick(t->u);
    t->fn(t->opaque);
}

static void timer_free(void *timer, void *opaque)
{
    struct slirp_timer *t = timer;
    (void)opaque;
    if (!t)
        return;
    loop_timer_free(t->timer);
    free(t);
}

static void *timer_new(SlirpTimerCb fn, void *cb_opaque, void *opaque)
{
    struct user *u = opaque;
    struct slirp_timer *t = malloc(sizeof *t);
    if (!t)
        return NULL;
    *t = (struct slirp_timer){.u = u, .fn = fn, .opaque = cb_opaque};
    t->timer = loop_timer_new(u->loop, timer_fired, t, NULL);
    if (t->timer)
        return t;
    free(t);
    return NULL;
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    struct slirp_timer *t = timer;
    (void)opaque;
    if (t)
        loop_timer_arm(t->timer, expire_ms > 0 ? (uint64_t)expire_ms * 1000000 : 1);
}

static void poll_fd_changed(int fd, void *opaque)
{
    (void)fd;
    kick(opaque);
}

static void notify(void *opaque)
{
    kick(opaque);
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = clock_ns,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = poll_fd_changed,
    .unregister_poll_fd = poll_fd_changed,
    .notify = notify,
};

/* ---- watching its sockets ---- */

static const struct {
    int slirp;
    uint32_t epoll;
} event_map[] = {{SLIRP_POLL_IN, EPOLLIN},
                 {SLIRP_POLL_OUT, EPOLLOUT},
                 {SLIRP_POLL_PRI, EPOLLPRI},
                 {SLIRP_POLL_ERR, EPOLLERR},
                 {SLIRP_POLL_HUP, EPOLLHUP}};

static int add_poll(int fd, int events, void *opaque)
{
    struct user *u = opaque;
    if (u->watches == u->cap) {
        unsigned cap = u->cap ? u->cap * 2 : 32;
        struct watch *grown = realloc(u->watch, cap * sizeof *grown);
        if (!grown)
            return -1;
        u->watch = grown;
        u->cap = cap;
    }
    struct watch w = {.fd = fd};
    for (size_t i = 0; i < sizeof event_map / sizeof event_map[0]; i++)
        if (events & event_map[i].slirp)
            w.events |= event_map[i].epoll;
    u->watch[u->watches] = w;
    return (int)u->watches++;
}

static int get_revents(int index, void *opaque)
{
    struct user *u = opaque;
    int events = 0;
    if (index < 0 || (unsigned)index >= u->watches)
        return 0;
    for (size_t i = 0; i < sizeof event_map / sizeof event_map[0]; i++)
        if (u->watch[index].ready & event_map[i].epoll)
            events |= event_map[i].slirp;
    return events;
}

static int by_fd(const void *a, const void *b)
{
    return ((const struct watch *)a)->fd - ((const struct watch *)b)->fd;
}

/* Take out what was watched before and is not wanted any more; a socket that was closed went by itself. */
static void forget_gone(struct user *u)
{
    struct watch *now = malloc((u->watches + 1) * sizeof *now);
    if (!now)
        return;
    if (u->watches)
        memcpy(now, u->watch, u->watches * sizeof *now);
    qsort(now, u->watches, sizeof *now, by_fd);
    for (unsigned i = 0; i < u->befores; i++)
        if (!bsearch(&u->before[i], now, u->watches, sizeof *now, by_fd))
            epoll_ctl(u->epoll, EPOLL_CTL_DEL, u->before[i].fd, NULL);
    free(now);
}

/* A number may have been closed and given to another socket since: so each is set anew, and added where the
 * set lost it. */
static void watch_all(struct user *u)
{
    for (unsigned i = 0; i < u->watches; i++) {
        struct epoll_event ev = {.events = u->watch[i].events, .data.u32 = i};
        if (epoll_ctl(u->epoll, EPOLL_CTL_MOD, u->watch[i].fd, &ev) && errno == ENOENT)
            epoll_ctl(u->epoll, EPOLL_CTL_ADD, u->watch[i].fd, &ev);
    }
}

/* Ask slirp what to watch and how long it may sleep. */
static void refill(struct user *u)
{
    uint32_t timeout = SLEEP_MAX_MS;
    struct watch *spare = u->before;
    unsigned spare_cap = u->before_cap;
    u->before = u->watch;
    u->befores = u->watches;
    u->before_cap = u->cap;
    u->watch = spare;
    u->cap = spare_cap;
    u->watches = 0;
    u->api.fill(u->slirp, &timeout, add_poll, u);
    forget_gone(u);
    watch_all(u);
    loop_timer_arm(u->sleep, host_now_ns() + (uint64_t)timeout * 1000000);
}

/* Let slirp look at what is ready; then ask again, and give the guest what came of it. */
static void serve(struct user *u)
{
    u->api.poll(u->slirp, 0, get_revents, u);
    refill(u);
    deliver(u);
}

static void on_sockets(void *opaque, uint32_t events)
{
    struct user *u = opaque;
    struct epoll_event ev[EVENTS];
    int n = epoll_wait(u->epoll, ev, EVENTS, 0);
    (void)events;
    for (unsigned i = 0; i < u->watches; i++)
        u->watch[i].ready = 0;
    for (int i = 0; i < n; i++)
        if (ev[i].data.u32 < u->watches)
            u->watch[ev[i].data.u32].ready = ev[i].events;
    serve(u);
}

static void on_sleep(void *opaque)
{
    struct user *u = opaque;
    for (unsigned i = 0; i < u->watches; i++)
        u->watch[i].ready = 0;
    serve(u);
}

static void on_kick(void *opaque, uint32_t events)
{
    struct user *u = opaque;
    uint64_t count;
    (void)events;
    while (read(u->kick, &count, sizeof count) < 0 && errno == EINTR)
        ;
    u->kicked = false;
    refill(u);
    deliver(u);
}

/* ---- the ops ---- */

static void user_caps(struct net *n, struct net_caps *out)
{
    (void)n;
    *out = (struct net_caps){0};
}

static void user_attach(struct net *n, const struct net_client *client)
{
    struct user *u = user_of(n);
    u->attached = client;
    u->client = client ? *client : (struct net_client){0};
    u->blocked = false;
    while (!client && u->head)
        drop_first(u);
}

static int user_offload(struct net *n, const struct net_caps *wanted)
{
    (void)n;
    (void)wanted;
    return 0;
}

static int user_send(struct net *n, const struct iovec *iov, int iovcnt, uint64_t len)
{
    struct user *u = user_of(n);
    size_t at = 0;
    if (len > sizeof u->out)
        return -EMSGSIZE;
    for (int i = 0; i < iovcnt && at < len; i++) {
        size_t m = iov[i].iov_len < len - at ? iov[i].iov_len : (size_t)len - at;
        memcpy(u->out + at, iov[i].iov_base, m);
        at += m;
    }
    u->api.input(u->slirp, u->out, (int)at);
    kick(u);
    return 0;
}

static void user_resume(struct net *n)
{
    struct user *u = user_of(n);
    u->blocked = false;
    if (u->head)
        kick(u);
}

static void user_close(struct net *n)
{
    struct user *u = user_of(n);
    u->attached = false;
    if (u->slirp)
        u->api.cleanup(u->slirp);
    while (u->head)
        drop_first(u);
    loop_timer_free(u->sleep);
    loop_del_fd(u->epoll_fd);
    loop_del_fd(u->kick_fd);
    if (u->epoll >= 0)
        close(u->epoll);
    if (u->kick >= 0)
        close(u->kick);
    slirp_api_close(&u->api);
    free(u->watch);
    free(u->before);
    free(u);
}

static const struct net_ops user_ops = {
    .caps = user_caps,
    .attach = user_attach,
    .offload = user_offload,
    .send = user_send,
    .resume = user_resume,
    .close = user_close,
};

/* ---- opening ---- */

static struct in_addr ipv4(uint32_t a)
{
    return (struct in_addr){.s_addr = htonl(a)};
}

static int start_slirp(struct user *u, const struct net_user_config *cfg, struct err *e)
{
    SlirpConfig c = {
        .version = 1,
        .restricted = cfg->restricted,
        .in_enabled = true,
        .vnetwork = ipv4(NETWORK),
        .vnetmask = ipv4(0xffffff00),
        .vhost = ipv4(HOST_ADDR),
        .vnameserver = ipv4(DNS_ADDR),
        .vdhcp_start = ipv4(GUEST_ADDR),
        .in6_enabled = true,
        .vprefix_len = 64,
        .vhostname = "liege",
    };
    inet_pton(AF_INET6, "fec0::", &c.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &c.vhost6);
    inet_pton(AF_INET6, "fec0::3", &c.vnameserver6);
    u->slirp = u->api.start(&c, &callbacks, u);
    return u->slirp ? 0 : err_set(e, EINVAL, "libslirp did not start the user network");
}

static int forward(struct user *u, const struct net_hostfwd *f, struct err *e)
{
    const char *proto = f->udp ? "udp" : "tcp", *host = f->host_addr[0] ? f->host_addr : "127.0.0.1";
    struct in_addr addr;
    if (inet_pton(AF_INET, host, &addr) != 1)
        return err_set(e, EINVAL, "hostfwd: '%s' is not an IPv4 address of this host", host);
    if (!f->guest_port)
        return err_set(e, EINVAL, "hostfwd: guest port 0; give 1 to 65535");
    if (!u->api.hostfwd(u->slirp, f->udp, addr, f->host_port, ipv4(GUEST_ADDR), f->guest_port))
        return 0;
    int code = errno ? errno : EINVAL;
    if (code == EADDRINUSE)
        return err_set(e, code, "hostfwd: %s port %s:%u is in use by another program; choose another", proto,
                       host, f->host_port);
    if (code == EACCES)
        return err_set(e, code, "hostfwd: %s port %s:%u needs privilege; choose one above 1023", proto, host,
                       f->host_port);
    if (code == EADDRNOTAVAIL)
        return err_set(e, code, "hostfwd: %s is not an address of this host", host);
    return err_sys(e, code, "hostfwd: cannot listen on %s port %s:%u", proto, host, f->host_port);
}

static int watch_loop(struct user *u, struct err *e)
{
    u->epoll = epoll_create1(EPOLL_CLOEXEC);
    u->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (u->epoll < 0 || u->kick < 0)
        return err_sys(e, errno, "user network: no descriptor left");
    u->epoll_fd = loop_add_fd(u->loop, u->epoll, EPOLLIN, on_sockets, u, e);
    u->kick_fd = u->epoll_fd ? loop_add_fd(u->loop, u->kick, EPOLLIN, on_kick, u, e) : NULL;
    u->sleep = u->kick_fd ? loop_timer_new(u->loop, on_sleep, u, e) : NULL;
    return u->sleep ? 0 : -ENOMEM;
}

struct net *net_user_open(const struct net_user_config *cfg, struct loop *loop, struct err *e)
{
    struct user *u = calloc(1, sizeof *u);
    if (!u) {
        err_set(e, ENOMEM, "no memory for a user network");
        return NULL;
    }
    u->net.ops = &user_ops;
    u->loop = loop;
    u->epoll = u->kick = -1;
    u->tail = &u->head;
    int r = slirp_api_open(&u->api, e);
    r = r ? r : watch_loop(u, e);
    r = r ? r : start_slirp(u, cfg, e);
    for (unsigned i = 0; i < cfg->fwds && !r; i++)
        r = forward(u, &cfg->fwd[i], e);
    if (!r) {
        kick(u);
        return &u->net;
    }
    user_close(&u->net);
    return NULL;
}
