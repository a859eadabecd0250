/*
 * timer: what makes a running vCPU look at the clock: a timer of the host that signals the vCPU's own thread.
 * The handler only sets the attention word, which translated code looks at on its way round a loop.
 *
 * A host takes its time for that, 20 us in a virtual machine, and about as much each time. So it is asked
 * that much earlier, less an eighth, and the engine waits for what is left (run.c), as KVM does
 * (lapic_timer_advance_ns). The lag falls at once to what was measured, and rises slowly: it is that of a
 * host which has nothing else to do.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "accel/soft/internal.h"
#include "host/host.h"

static int timer_signal(void)
{
    return SIGRTMIN + 5;
}

static void learn(struct soft_timer *t)
{
    uint64_t now = host_now_ns(), lag = now > t->due ? now - t->due : 0;

    if (lag > ENGINE_TIMER_EARLY)
        lag = ENGINE_TIMER_EARLY;
    t->lag = lag < t->lag ? lag : t->lag + (lag - t->lag) / 64;
}

static void on_timer(int number, siginfo_t *info, void *context)
{
    struct soft_timer *t = info->si_value.sival_ptr;

    (void)number;
    (void)context;
    if (info->si_code != SI_TIMER)
        return;
    learn(t);
    engine_timer(t->engine, t->cpu);
}

int soft_timer_new(struct soft *s, unsigned cpu)
{
    struct soft_timer *t = &s->timer[cpu];
    struct sigaction sa = {.sa_sigaction = on_timer, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    struct sigevent ev;
    sigset_t set;

    if (t->ready)
        return 0;
    *t = (struct soft_timer){.engine = s->engine, .cpu = cpu};
    sigfillset(&sa.sa_mask);
    if (sigaction(timer_signal(), &sa, NULL) < 0)
        return -errno;
    memset(&ev, 0, sizeof ev);
    ev.sigev_notify = SIGEV_THREAD_ID;
    ev.sigev_signo = timer_signal();
    ev.sigev_value.sival_ptr = t;
    ev._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &ev, &t->id) < 0)
        return -errno;
    sigemptyset(&set);
    sigaddset(&set, timer_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    t->ready = true;
    return 0;
}

void soft_timer_arm(struct soft *s, unsigned cpu, uint64_t host_ns)
{
    struct soft_timer *t = &s->timer[cpu];
    uint64_t early = t->lag - t->lag / 8;

    host_ns -= host_ns > early ? early : 0;
    t->due = host_ns;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(host_ns / 1000000000), .tv_nsec = (long)(host_ns % 1000000000)}};

    if (!when.it_value.tv_sec && !when.it_value.tv_nsec)
        when.it_value.tv_nsec = 1;
    timer_settime(t->id, TIMER_ABSTIME, &when, NULL);
}

void soft_timer_free(struct soft *s, unsigned cpu)
{
    if (s->timer[cpu].ready)
        timer_delete(s->timer[cpu].id);
    s->timer[cpu].ready = false;
}
