/* Pause and resume: vCPUs first, then devices, then guest time; resume in reverse. */
#include "base/check.h"
#include "guest/clock.h"
#include "host/loop.h"
#include "vm/internal.h"

static bool all_parked(struct vm *vm)
{
    for (unsigned i = 0; i < vm->cfg.cpus; i++)
        if (vm->cpu[i].started && vm->cpu[i].state == CPU_RUNNING)
            return false;
    return true;
}

int vm_pause(struct vm *vm, struct err *e)
{
    (void)e;
    pthread_mutex_lock(&vm->mutex);
    bool first = !vm->stopped;
    vm->stop++;
    vm->stopped = true;
    cpus_kick(vm);
    while (!all_parked(vm))
        pthread_cond_wait(&vm->changed, &vm->mutex);
    pthread_mutex_unlock(&vm->mutex);
    if (first) {
        board_pause(vm->board);
        accel_time_stopped(vm->accel, true);
        clock_stop(vm->clock);
    }
    return 0;
}

int vm_resume(struct vm *vm, struct err *e)
{
    (void)e;
    pthread_mutex_lock(&vm->mutex);
    CHECK(vm->stop > 0);
    bool last = --vm->stop == 0;
    pthread_mutex_unlock(&vm->mutex);
    if (!last)
        return 0;
    if (vm->stopped) {
        clock_start(vm->clock);
        accel_time_stopped(vm->accel, false);
        board_resume(vm->board);
    }
    pthread_mutex_lock(&vm->mutex);
    vm->stopped = false;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->mutex);
    return 0;
}

bool vm_paused(const struct vm *vm)
{
    return vm->stopped;
}
