#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "x86/msr.h"
#include "x86/regs.h"

/* glibc keeps the first two real-time signals to itself; SIGRTMIN is the first free one. */
static int kick_signal(void)
{
    return SIGRTMIN + 5;
}

static void on_kick(int sig)
{
    (void)sig; /* its work is done: KVM_RUN has returned */
}

int kvm_kick_signal(void)
{
    struct sigaction sa = {.sa_handler = on_kick, .sa_flags = SA_RESTART};

    return sigaction(kick_signal(), &sa, NULL);
}

static int set_up_mce(struct kvm_vcpu *v, struct err *e)
{
    uint64_t mcg_cap = x86_msr_reset(&v->k->cpuid[v->v.index], MSR_MCG_CAP);
    int r = v->k->caps.mce && mcg_cap ? kvm_ioctl(v->fd, KVM_X86_SETUP_MCE, &mcg_cap) : 0;

    return r < 0 ? err_sys(e, r, "/dev/kvm: machine-check banks") : 0;
}

static int set_reset_state(struct kvm_vcpu *v, struct err *e)
{
    const struct x86_cpuid *c = &v->k->cpuid[v->v.index];
    struct x86_state s;

    x86_state_reset(&s, v->v.index == 0, v->v.index);
    x86_state_reset_msrs(&s, c);
    s.gpr[X86_RDX] = x86_cpuid_get(c, 1, 0).eax;
    return kvm_state_set(v, &s, KVM_PART_ALL & ~(unsigned)KVM_PART_TIME, e);
}

static int prepare(struct kvm_vcpu *v, struct err *e)
{
    struct kvm_accel *k = v->k;
    int r;

    v->fd = kvm_ioctl_value(k->vm, KVM_CREATE_VCPU, v->v.index);
    if (v->fd < 0)
        return err_sys(e, v->fd, "/dev/kvm: virtual CPU %u cannot be created", v->v.index);
    v->run = mmap(NULL, k->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) {
        v->run = NULL;
        return err_sys(e, errno, "/dev/kvm: shared page of virtual CPU %u", v->v.index);
    }
    r = kvm_vcpu_set_cpuid(v, e);
    if (!r)
        r = set_up_mce(v, e);
    if (!r && !k->msr_count)
        r = kvm_msrs_find(v, e);
    if (!r)
        r = set_reset_state(v, e);
    return r;
}

struct vcpu *kvm_vcpu_new(struct accel *a, unsigned index, struct err *e)
{
    struct kvm_accel *k = kvm_of(a);
    struct kvm_vcpu *v = index < k->cfg.cpus && !k->vcpus[index] ? calloc(1, sizeof *v) : NULL;

    if (!v) {
        err_set(e, EINVAL, "kvm: virtual CPU %u cannot be had", index);
        return NULL;
    }
    v->v = (struct vcpu){.accel = a, .index = index};
    v->k = k;
    v->fd = -1;
    if (prepare(v, e)) {
        kvm_vcpu_free(&v->v);
        return NULL;
    }
    k->vcpus[index] = v;
    return &v->v;
}

void kvm_vcpu_free(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);

    if (v->k->vcpus[v->v.index] == v)
        v->k->vcpus[v->v.index] = NULL;
    kvm_completer_free(v);
    mem_reader_free(v->reader);
    if (v->run)
        munmap(v->run, v->k->run_size);
    if (v->fd >= 0)
        close(v->fd);
    free(v);
}

void kvm_vcpu_poke(struct kvm_vcpu *v)
{
    /* Signal-safe: atomics and one system call. A thread that is not in KVM_RUN looks at the flags before it
     * goes there. */
    __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (atomic_load(&v->in_run))
        syscall(SYS_tgkill, getpid(), atomic_load(&v->tid), kick_signal());
}

void kvm_vcpu_kick(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);

    atomic_store(&v->kicked, true);
    kvm_vcpu_poke(v);
}

int kvm_vcpu_nmi(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);

    atomic_store(&v->nmi_wanted, true);
    kvm_vcpu_poke(v);
    return 0;
}

/* The first run binds the vCPU to its thread. */
static int bind_thread(struct kvm_vcpu *v, struct err *e)
{
    sigset_t kick;
    clockid_t clock;

    v->reader = mem_reader_new(v->k->cfg.mem, e);
    if (!v->reader)
        return -ENOMEM;
    sigemptyset(&kick);
    sigaddset(&kick, kick_signal());
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
    if (pthread_getcpuclockid(pthread_self(), &clock) == 0)
        v->cpu_clock = clock;
    atomic_store(&v->tid, (pid_t)syscall(SYS_gettid));
    return 0;
}

/* What others asked for while the thread was elsewhere. True: leave with VCPU_KICKED. */
static bool attend(struct kvm_vcpu *v)
{
    __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    if (atomic_exchange(&v->nmi_wanted, false))
        kvm_ioctl_value(v->fd, KVM_NMI, 0);
    return atomic_exchange(&v->kicked, false);
}

static int enter(struct kvm_vcpu *v)
{
    int r = kvm_ioctl_value(v->fd, KVM_RUN, 0);

    v->unfinished = false;
    return r;
}

static enum vcpu_exit leave(struct kvm_vcpu *v, enum vcpu_exit x)
{
    struct timespec t;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0)
        v->cpu_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    atomic_store(&v->in_run, false);
    atomic_store(&v->inside, false);
    return x;
}

enum vcpu_exit kvm_vcpu_run(struct vcpu *vcpu, struct vcpu_exit_info *info, struct err *e)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    enum vcpu_exit x;
    int r;

    if (!v->reader && bind_thread(v, e))
        return VCPU_FAILED;
    if (v->deferred) {
        v->deferred = false;
        *info = v->deferred_info;
        return v->deferred_exit;
    }
    atomic_store(&v->inside, true);
    for (;;) {
        /* in_run before the flags are read: a poke that comes after the reading sends its signal. */
        atomic_store(&v->in_run, true);
        if (attend(v))
            return leave(v, VCPU_KICKED);
        if (v->v.index == 0 && kvm_extint_inject(v, e))
            return leave(v, VCPU_FAILED);
        mem_reader_offline(v->reader, true);
        r = enter(v);
        mem_reader_offline(v->reader, false);
        atomic_store(&v->in_run, false);
        if (r == -EINTR || r == -EAGAIN)
            continue;
        if (r < 0) {
            err_sys(e, r, "kvm: virtual CPU %u does not run%s", v->v.index,
                    r == -EFAULT ? " (memory of the guest cannot be had from the host)" : "");
            return leave(v, VCPU_FAILED);
        }
        if (kvm_exit(v, &x, info, e))
            return leave(v, x);
    }
}

int kvm_vcpu_quiesce(struct vcpu *vcpu, struct err *e)
{
    struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
    enum vcpu_exit x;
    struct vcpu_exit_info info = {0};
    int r;

    while (v->unfinished) {
        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        r = enter(v);
        if (r == -EINTR || r == -EAGAIN)
            continue;
        if (r < 0)
            return err_sys(e, r, "kvm: virtual CPU %u cannot finish an access", v->v.index);
        if (!kvm_exit(v, &x, &info, e))
            continue;
        if (x == VCPU_FAILED)
            return -EIO;
        v->deferred = true;
        v->deferred_exit = x;
        v->deferred_info = info;
    }
    return 0;
}
