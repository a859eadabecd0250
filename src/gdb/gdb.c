/* The socket and the session: one client at a time; the machine belongs to it while stopped. */
#include "gdb/gdb.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/err.h"
#include "base/log.h"
#include "gdb/internal.h"
#include "host/loop.h"
#include "x86/regs.h"
#include "x86/state.h"

/* Tell every vCPU what to watch for. Machine paused. */
static void apply(struct gdb *g)
{
    for (unsigned i = 0; i < vm_cpus(g->vm); i++) {
        struct vcpu_debug d = {.single_step = g->step_cpu == (int)i, .software_breaks = g->softs > 0};
        struct err e;
        for (unsigned k = 0; k < HW_MAX; k++) {
            d.hw[k].on = g->hw[k].on;
            d.hw[k].addr = g->hw[k].addr;
            d.hw[k].len = g->hw[k].len;
            d.hw[k].type = g->hw[k].type;
        }
        if (vcpu_debug(vm_vcpu(g->vm, i), &d, &e))
            log_warn("gdb: CPU %u: %s", i, e.msg);
        vm_hold_cpu(g->vm, i, g->step_alone && g->step_cpu >= 0 && g->step_cpu != (int)i);
    }
}

void gdb_go(struct gdb *g)
{
    if (!g->stopped)
        return;
    apply(g);
    g->stopped = false;
    vm_resume(g->vm, NULL);
}

/* An INT3 that is the guest's own, not ours: the guest gets it. */
static bool foreign_break(struct gdb *g, unsigned cpu, const struct vcpu_exit_info *info)
{
    struct x86_state *s;
    if (!info->software_break)
        return false;
    for (unsigned i = 0; i < g->softs; i++)
        if (g->soft[i].linear == info->rip)
            return false;
    s = calloc(1, sizeof *s);
    bool handed = s && !vcpu_get(vm_vcpu(g->vm, cpu), s, NULL);
    if (handed) {
        s->events.exc_injected = 1;
        s->events.exc_vector = X86_BP;
        s->events.exc_has_error = 0;
        handed = !vcpu_set(vm_vcpu(g->vm, cpu), s, NULL);
    }
    free(s);
    return handed;
}

static void on_stop(void *opaque, unsigned cpu, const struct vcpu_exit_info *info)
{
    struct gdb *g = opaque;
    if (g->fd < 0) { /* the client left meanwhile */
        vm_resume(g->vm, NULL);
        return;
    }
    if (g->stopped) { /* an interrupt came first: this pause is one more than ours */
        vm_resume(g->vm, NULL);
        return;
    }
    if (foreign_break(g, cpu, info)) {
        vm_resume(g->vm, NULL);
        return;
    }
    g->stopped = true;
    g->step_cpu = -1;
    g->stop_cpu = g->thread = cpu;
    gdb_stop_reply(g, info, 5);
}

void gdb_disconnect(struct gdb *g)
{
    if (g->fd < 0)
        return;
    loop_del_fd(g->source);
    g->source = NULL;
    close(g->fd);
    g->fd = -1;
    buf_free(&g->out);
    if (!g->stopped)
        vm_pause(g->vm, NULL);
    g->stopped = true;
    g->step_cpu = -1;
    g->step_alone = false;
    gdb_break_clear(g);
    gdb_go(g);
}

static void on_client(void *opaque, uint32_t events)
{
    struct gdb *g = opaque;
    if (events & EPOLLOUT)
        gdb_flush(g);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        gdb_input(g);
}

static void on_connect(void *opaque, uint32_t events)
{
    struct gdb *g = opaque;
    struct err e;
    int one = 1, fd = accept4(g->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    (void)events;
    if (fd < 0)
        return;
    if (g->fd >= 0) { /* one client at a time */
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    g->fd = fd;
    g->in_len = 0;
    g->no_ack = g->swbreak = g->hwbreak = g->phys = false;
    g->thread = g->stop_cpu = 0;
    g->run_thread = -1;
    g->source = loop_add_fd(vm_loop(g->vm), fd, EPOLLIN, on_client, g, &e);
    if (!g->source) {
        log_warn("gdb: %s", e.msg);
        close(fd);
        g->fd = -1;
        return;
    }
    if (!g->stopped) {
        vm_pause(g->vm, NULL);
        g->stopped = true;
    }
}

/* ---- the listening end ---- */

static int listen_on(const struct sockaddr *sa, socklen_t len, int family, const char *where, struct err *e)
{
    int one = 1, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(e, errno, "--gdb %s", where);
    if (family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, sa, len) || listen(fd, 1)) {
        int r =
            err_sys(e, errno,
                    errno == EADDRINUSE ? "--gdb %s: take another, or end what uses it" : "--gdb %s", where);
        close(fd);
        return r;
    }
    return fd;
}

static int listen_tcp(const char *where, struct err *e)
{
    char text[64];
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    snprintf(text, sizeof text, "%s", where + 4);
    char *port = strrchr(text, ':'), *end;
    if (port) {
        *port++ = 0;
        if (inet_pton(AF_INET, text, &sa.sin_addr) != 1)
            return err_set(e, EINVAL, "--gdb %s: '%s' is not an IPv4 address", where, text);
    } else {
        port = text;
    }
    unsigned long n = strtoul(port, &end, 10);
    if (!*port || *end || n < 1 || n > 65535)
        return err_set(e, EINVAL, "--gdb %s: a port is a number from 1 to 65535", where);
    sa.sin_port = htons((uint16_t)n);
    return listen_on((struct sockaddr *)&sa, sizeof sa, AF_INET, where, e);
}

static int listen_unix(struct gdb *g, const char *where, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(where + 5) >= sizeof sa.sun_path || !where[5])
        return err_set(e, EINVAL, "--gdb %s: a socket path has 1 to %zu bytes", where,
                       sizeof sa.sun_path - 1);
    strcpy(sa.sun_path, where + 5);
    int fd = listen_on((struct sockaddr *)&sa, sizeof sa, AF_UNIX, where, e);
    if (fd >= 0)
        g->unix_path = strdup(sa.sun_path);
    return fd;
}

struct gdb *gdb_new(struct vm *vm, const char *where, struct err *e)
{
    struct gdb *g = calloc(1, sizeof *g);
    if (!g) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    g->vm = vm;
    g->fd = -1;
    g->step_cpu = g->run_thread = -1;
    if (!strncmp(where, "tcp:", 4))
        g->listen_fd = listen_tcp(where, e);
    else if (!strncmp(where, "unix:", 5))
        g->listen_fd = listen_unix(g, where, e);
    else
        g->listen_fd = err_set(e, EINVAL, "--gdb %s: write tcp:PORT or unix:PATH", where);
    if (g->listen_fd >= 0)
        g->listen_source = loop_add_fd(vm_loop(vm), g->listen_fd, EPOLLIN, on_connect, g, e);
    if (!g->listen_source) {
        gdb_free(g);
        return NULL;
    }
    g->stopped = true;
    vm_start_paused(vm);
    vm_on_debug(vm, on_stop, g);
    return g;
}

void gdb_end(struct gdb *g, enum vm_end end)
{
    if (!g || g->fd < 0)
        return;
    gdb_reply(g, end == VM_POWERED_OFF || end == VM_RESET ? "W00" : "X09");
    gdb_flush(g);
}

void gdb_free(struct gdb *g)
{
    if (!g)
        return;
    loop_del_fd(g->source);
    loop_del_fd(g->listen_source);
    if (g->fd >= 0)
        close(g->fd);
    if (g->listen_fd >= 0)
        close(g->listen_fd);
    if (g->unix_path)
        unlink(g->unix_path);
    free(g->unix_path);
    buf_free(&g->out);
    free(g);
}
