/*
 * The vCPU threads. Each runs vcpu_run in a loop; when the vm wants it to stop it finishes a pending access
 * (quiesce) and parks. What a guest asks for (reset, power-off) and what goes wrong is noted as a request bit
 * and handled on the loop's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "base/check.h"
#include "base/log.h"
#include "host/host.h"
#include "vm/internal.h"

void vm_request(struct vm *vm, unsigned bits)
{
    uint64_t one = 1;
    atomic_fetch_or(&vm->requests, bits);
    if (write(vm->request_fd, &one, sizeof one) != sizeof one)
        CHECK(errno == EAGAIN); /* the counter is full: the loop will look anyway */
}

void cpus_kick(struct vm *vm)
{
    for (unsigned i = 0; i < vm->cfg.cpus; i++)
        if (vm->cpu[i].vcpu)
            vcpu_kick(vm->cpu[i].vcpu);
}

void cpus_ask(struct vm *vm, unsigned bits)
{
    atomic_store(&vm->asked, true);
    cpus_kick(vm);
    vm_request(vm, bits);
}

/* Park while the vm wants it; false when the thread shall end. A thread parked here is quiesced: state may be
 * read from any thread. */
static bool may_run(struct vm_cpu *c)
{
    struct vm *vm = c->vm;
    bool run;
    pthread_mutex_lock(&vm->mutex);
    while ((vm->stop || c->hold || atomic_load(&vm->asked)) && !vm->ending) {
        if (c->state != CPU_PARKED) {
            c->state = CPU_PARKED;
            pthread_cond_broadcast(&vm->changed);
        }
        pthread_cond_wait(&vm->changed, &vm->mutex);
    }
    run = !vm->ending;
    c->state = run ? CPU_RUNNING : CPU_GONE;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->mutex);
    return run;
}

/* This vCPU cannot go on by itself: tell the loop, and stop with the others. */
static void stop_all(struct vm_cpu *c, unsigned request)
{
    struct vm *vm = c->vm;
    pthread_mutex_lock(&vm->mutex);
    if (!vm->held) {
        vm->bad_cpu = c->index;
        vm->held = true;
        vm->stop++;
    }
    pthread_mutex_unlock(&vm->mutex);
    vm_request(vm, request);
    cpus_kick(vm);
}

static void *cpu_main(void *arg)
{
    struct vm_cpu *c = arg;
    struct vm *vm = c->vm;
    struct err e = {0};
    while (may_run(c)) {
        enum vcpu_exit x = vcpu_run(c->vcpu, &c->debug, &e);
        if (x != VCPU_FAILED && vcpu_quiesce(c->vcpu, &e) < 0)
            x = VCPU_FAILED;
        switch (x) {
        case VCPU_KICKED:
            break;
        case VCPU_DEBUG:
            stop_all(c, REQUEST_DEBUG);
            break;
        case VCPU_TRIPLE_FAULT:
            stop_all(c, REQUEST_CRASH);
            break;
        case VCPU_FAILED:
            vm->bad = e;
            stop_all(c, REQUEST_FAIL);
            break;
        }
    }
    return NULL;
}

int cpus_start(struct vm *vm, struct err *e)
{
    for (unsigned i = 0; i < vm->cfg.cpus; i++) {
        struct vm_cpu *c = &vm->cpu[i];
        char name[16];
        snprintf(name, sizeof name, "vcpu%u", i);
        c->state = CPU_PARKED;
        int r = host_thread(&c->thread, name, cpu_main, c);
        if (r)
            return err_sys(e, r, "cannot start the thread of CPU %u", i);
        c->started = true;
    }
    return 0;
}

void cpus_end(struct vm *vm)
{
    pthread_mutex_lock(&vm->mutex);
    vm->ending = true;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->mutex);
    cpus_kick(vm);
    for (unsigned i = 0; i < vm->cfg.cpus; i++) {
        if (vm->cpu[i].started)
            pthread_join(vm->cpu[i].thread, NULL);
        vm->cpu[i].started = false;
    }
}
