#include "host/signals.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/err.h"
#include "host/host.h"
#include "host/loop.h"

struct signals {
    sigset_t set;
    pthread_t thread;
    bool waits, end; /* the thread runs; it shall not (atomic) */
    int pipe[2];     /* a byte for each signal: its number */
    struct loop_fd *source;
    void (*fn)(void *opaque, int number);
    void *opaque;
};

static void *wait_for_signals(void *arg)
{
    struct signals *s = arg;

    while (!__atomic_load_n(&s->end, __ATOMIC_ACQUIRE)) {
        int n = sigwaitinfo(&s->set, NULL);
        uint8_t number = (uint8_t)n;
        if (n > 0 && !__atomic_load_n(&s->end, __ATOMIC_ACQUIRE) && write(s->pipe[1], &number, 1) < 0)
            continue; /* the pipe is full of signals that nobody has looked at */
    }
    return NULL;
}

static void on_byte(void *opaque, uint32_t events)
{
    struct signals *s = opaque;
    uint8_t number;

    (void)events;
    if (read(s->pipe[0], &number, 1) == 1)
        s->fn(s->opaque, number);
}

struct signals *signals_new(struct loop *loop, const sigset_t *set, void (*fn)(void *opaque, int number),
                            void *opaque, struct err *e)
{
    struct signals *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "out of memory");
        return NULL;
    }
    *s = (struct signals){.set = *set, .pipe = {-1, -1}, .fn = fn, .opaque = opaque};
    int r = pipe2(s->pipe, O_CLOEXEC | O_NONBLOCK) < 0 ? -errno : 0;
    if (!r && !(s->source = loop_add_fd(loop, s->pipe[0], EPOLLIN, on_byte, s, e))) {
        signals_free(s);
        return NULL;
    }
    if (!r)
        r = host_thread(&s->thread, "signals", wait_for_signals, s);
    if (r) {
        err_sys(e, -r, "cannot wait for signals");
        signals_free(s);
        return NULL;
    }
    s->waits = true;
    return s;
}

void signals_free(struct signals *s)
{
    if (!s)
        return;
    if (s->waits) {
        int any = 1;
        while (sigismember(&s->set, any) != 1)
            any++;
        __atomic_store_n(&s->end, true, __ATOMIC_RELEASE);
        pthread_kill(s->thread, any);
        pthread_join(s->thread, NULL);
    }
    loop_del_fd(s->source);
    for (unsigned i = 0; i < 2; i++)
        if (s->pipe[i] >= 0)
            close(s->pipe[i]);
    free(s);
}
