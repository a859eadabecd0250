/*
 * One epoll set. Every fd and timer is a source whose deletion is deferred to the end of the round, since
 * epoll_wait may have reported it already. Timers are timerfds: arming is a system call that any thread may
 * make, and needs no lock.
 */
#include "host/loop.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "base/check.h"
#include "base/err.h"
#include "base/list.h"
#include "base/range.h"

struct loop_fd {
    struct loop *loop;
    int fd;
    uint32_t events;
    bool dead;
    void (*fn)(void *opaque, uint32_t events);
    void *opaque;
    struct loop_fd *next_dead;
};

struct loop_timer {
    struct loop_fd *source;
    int fd;
    atomic_uint settings; /* what was written before the timer was set is seen by fn: said once more for those
                             who do not know the kernel */
    void (*fn)(void *opaque);
    void *opaque;
};

struct post {
    struct list node;
    void (*fn)(void *opaque);
    void *opaque;
};

struct loop {
    int epoll, wake;
    struct loop_fd *wake_source, *dead;
    atomic_bool stop;
    _Atomic(pthread_t) runner; /* the thread in loop_run, 0 when none is; changes with the mutex held */
    pthread_mutex_t mutex;     /* guards posts */
    struct list posts;
    void (*idle)(void *opaque), (*busy)(void *opaque);
    void *idle_opaque, *busy_opaque;
};

static void kick(struct loop *l)
{
    uint64_t one = 1;
    int was = errno;
    if (write(l->wake, &one, sizeof one) < 0)
        CHECK(errno == EAGAIN);
    errno = was;
}

static void take_posts(struct loop *l, struct list *out)
{
    list_init(out);
    pthread_mutex_lock(&l->mutex);
    while (!list_empty(&l->posts))
        list_append(out, list_pop(&l->posts));
    pthread_mutex_unlock(&l->mutex);
}

/* Those that are there now: what they post in turn comes after the fds have had their turn. */
static void run_posts(struct loop *l)
{
    struct list now;
    take_posts(l, &now);
    while (!list_empty(&now)) {
        struct post *p = CONTAINER_OF(list_pop(&now), struct post, node);
        p->fn(p->opaque);
        free(p);
    }
}

/* What is posted by the last posts of a loop that goes away has nowhere to run. */
static void drop_posts(struct loop *l)
{
    struct list now;
    take_posts(l, &now);
    while (!list_empty(&now))
        free(CONTAINER_OF(list_pop(&now), struct post, node));
}

static void on_wake(void *opaque, uint32_t events)
{
    struct loop *l = opaque;
    uint64_t count;
    (void)events;
    CHECK(read(l->wake, &count, sizeof count) == sizeof count || errno == EAGAIN);
    run_posts(l);
}

struct loop *loop_new(struct err *e)
{
    struct loop *l = calloc(1, sizeof *l);
    if (!l) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    list_init(&l->posts);
    pthread_mutex_init(&l->mutex, NULL);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll < 0 || l->wake < 0)
        err_sys(e, errno, "cannot make an event loop");
    else
        l->wake_source = loop_add_fd(l, l->wake, EPOLLIN, on_wake, l, e);
    if (!l->wake_source) {
        loop_free(l);
        return NULL;
    }
    return l;
}

static void bury(struct loop *l)
{
    while (l->dead) {
        struct loop_fd *f = l->dead;
        l->dead = f->next_dead;
        free(f);
    }
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    run_posts(l);
    drop_posts(l);
    loop_del_fd(l->wake_source);
    bury(l);
    if (l->wake >= 0)
        close(l->wake);
    if (l->epoll >= 0)
        close(l->epoll);
    pthread_mutex_destroy(&l->mutex);
    free(l);
}

void loop_on_idle(struct loop *l, void (*fn)(void *opaque), void *opaque)
{
    l->idle = fn;
    l->idle_opaque = opaque;
}

void loop_on_busy(struct loop *l, void (*fn)(void *opaque), void *opaque)
{
    l->busy = fn;
    l->busy_opaque = opaque;
}

static void set_runner(struct loop *l, pthread_t thread)
{
    pthread_mutex_lock(&l->mutex);
    atomic_store(&l->runner, thread);
    pthread_mutex_unlock(&l->mutex);
}

/* A callback before this one may have deleted the source, or lost interest in what was reported. */
static void dispatch(struct loop_fd *f, uint32_t events)
{
    events &= f->events | EPOLLERR | EPOLLHUP;
    if (!f->dead && f->events && events)
        f->fn(f->opaque, events);
}

void loop_run(struct loop *l)
{
    struct epoll_event ev[32];
    set_runner(l, pthread_self());
    while (!atomic_exchange(&l->stop, false)) {
        if (l->idle)
            l->idle(l->idle_opaque);
        int n = epoll_wait(l->epoll, ev, ARRAY_LEN(ev), -1);
        CHECK(n >= 0 || errno == EINTR);
        if (l->busy)
            l->busy(l->busy_opaque);
        for (int i = 0; i < n; i++)
            dispatch(ev[i].data.ptr, ev[i].events);
        bury(l);
    }
    set_runner(l, 0);
    run_posts(l); /* somebody may wait for them in loop_call */
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stop, true);
    kick(l);
}

struct loop_fd *loop_add_fd(struct loop *l, int fd, uint32_t events,
                            void (*fn)(void *opaque, uint32_t events), void *opaque, struct err *e)
{
    struct loop_fd *f = malloc(sizeof *f);
    if (!f) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    *f = (struct loop_fd){.loop = l, .fd = fd, .events = events, .fn = fn, .opaque = opaque};
    struct epoll_event ev = {.events = events, .data.ptr = f};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev)) {
        err_sys(e, errno, "cannot watch fd %d", fd);
        free(f);
        return NULL;
    }
    if (!events)
        epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
    return f;
}

/* With no event wanted the fd leaves the set: epoll reports hang-ups whatever is asked, which would spin. */
void loop_mod_fd(struct loop_fd *f, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = f};
    if (events == f->events)
        return;
    int op = !events ? EPOLL_CTL_DEL : !f->events ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    CHECK(epoll_ctl(f->loop->epoll, op, f->fd, &ev) == 0);
    f->events = events;
}

void loop_del_fd(struct loop_fd *f)
{
    if (!f)
        return;
    if (f->events)
        epoll_ctl(f->loop->epoll, EPOLL_CTL_DEL, f->fd, NULL);
    f->dead = true;
    f->next_dead = f->loop->dead;
    f->loop->dead = f;
}

static void on_timer(void *opaque, uint32_t events)
{
    struct loop_timer *t = opaque;
    uint64_t count;
    (void)events;
    atomic_load(&t->settings);
    if (read(t->fd, &count, sizeof count) == sizeof count) /* else it was disarmed or moved meanwhile */
        t->fn(t->opaque);
}

struct loop_timer *loop_timer_new(struct loop *l, void (*fn)(void *opaque), void *opaque, struct err *e)
{
    struct loop_timer *t = calloc(1, sizeof *t);
    if (!t) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    t->fn = fn;
    t->opaque = opaque;
    t->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (t->fd < 0)
        err_sys(e, errno, "timerfd");
    else
        t->source = loop_add_fd(l, t->fd, EPOLLIN, on_timer, t, e);
    if (!t->source) {
        loop_timer_free(t);
        return NULL;
    }
    return t;
}

static void set_timer(struct loop_timer *t, uint64_t ns)
{
    struct itimerspec ts = {
        .it_value = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)}};
    atomic_fetch_add(&t->settings, 1);
    CHECK(timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &ts, NULL) == 0);
}

void loop_timer_arm(struct loop_timer *t, uint64_t deadline_ns)
{
    if (deadline_ns > INT64_MAX)
        deadline_ns = INT64_MAX;
    set_timer(t, deadline_ns ? deadline_ns : 1);
}

void loop_timer_disarm(struct loop_timer *t)
{
    set_timer(t, 0);
}

void loop_timer_free(struct loop_timer *t)
{
    if (!t)
        return;
    loop_del_fd(t->source);
    if (t->fd >= 0)
        close(t->fd);
    free(t);
}

/* only_running: refuse with -ESRCH when the loop does not run. */
static int post(struct loop *l, void (*fn)(void *opaque), void *opaque, bool only_running)
{
    struct post *p = malloc(sizeof *p);
    if (!p)
        return -ENOMEM;
    *p = (struct post){.fn = fn, .opaque = opaque};
    pthread_mutex_lock(&l->mutex);
    bool refused = only_running && !atomic_load(&l->runner);
    if (!refused)
        list_append(&l->posts, &p->node);
    pthread_mutex_unlock(&l->mutex);
    if (refused) {
        free(p);
        return -ESRCH;
    }
    kick(l);
    return 0;
}

int loop_post(struct loop *l, void (*fn)(void *opaque), void *opaque)
{
    return post(l, fn, opaque, false);
}

struct call {
    void (*fn)(void *opaque);
    void *opaque;
    pthread_mutex_t mutex;
    pthread_cond_t done_cond;
    bool done;
};

static void run_call(void *opaque)
{
    struct call *c = opaque;
    c->fn(c->opaque);
    pthread_mutex_lock(&c->mutex);
    c->done = true;
    pthread_cond_signal(&c->done_cond);
    pthread_mutex_unlock(&c->mutex);
}

bool loop_is_current(const struct loop *l)
{
    return atomic_load(&l->runner) == pthread_self();
}

void loop_call(struct loop *l, void (*fn)(void *opaque), void *opaque)
{
    struct call c = {.fn = fn, .opaque = opaque};
    if (loop_is_current(l)) {
        fn(opaque);
        return;
    }
    pthread_mutex_init(&c.mutex, NULL);
    pthread_cond_init(&c.done_cond, NULL);
    int r = post(l, run_call, &c, true);
    CHECK(r != -ENOMEM);
    if (r) {
        fn(opaque);
    } else {
        pthread_mutex_lock(&c.mutex);
        while (!c.done)
            pthread_cond_wait(&c.done_cond, &c.mutex);
        pthread_mutex_unlock(&c.mutex);
    }
    pthread_cond_destroy(&c.done_cond);
    pthread_mutex_destroy(&c.mutex);
}
