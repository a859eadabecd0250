/*
 * timer: what makes a running vCPU look at the clock: a timer of the host that signals the vCPU's own thread.
 * The handler only sets the attention word, which translated code looks at on its way round a loop.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "accel/soft/internal.h"

static int timer_signal(void)
{
    return SIGRTMIN + 5;
}

static void on_timer(int number, siginfo_t *info, void *context)
{
    const struct soft_timer *t = info->si_value.sival_ptr;

    (void)number;
    (void)context;
    if (info->si_code == SI_TIMER)
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
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(host_ns / 1000000000), .tv_nsec = (long)(host_ns % 1000000000)}};

    if (!when.it_value.tv_sec && !when.it_value.tv_nsec)
        when.it_value.tv_nsec = 1;
    timer_settime(s->timer[cpu].id, TIMER_ABSTIME, &when, NULL);
}

void soft_timer_free(struct soft *s, unsigned cpu)
{
    if (s->timer[cpu].ready)
        timer_delete(s->timer[cpu].id);
    s->timer[cpu].ready = false;
}
