/*
 * saveload: runs a machine from a config file; on SIGUSR1 saves it to two files and ends; or begins from two
 * such files. What the whole-machine save and load tests drive, until commands for it come.
 *
 *     saveload CONFIG.json STATE MEMORY          run; SIGUSR1: pause, save, exit 0
 *     saveload CONFIG.json STATE MEMORY --load   load, resume; SIGUSR1: save over new names STATE.2, MEMORY.2
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "base/err.h"
#include "host/host.h"
#include "host/loop.h"
#include "vm/vm.h"

struct saver {
    struct vm *vm;
    struct vm_saved to;
    int fd, status;
};

static int fail(const struct err *e)
{
    fprintf(stderr, "saveload: %s\n", e->msg);
    return 1;
}

static void on_signal(void *opaque, uint32_t events)
{
    struct saver *s = opaque;
    struct signalfd_siginfo info;
    struct err e = {0};
    (void)events;
    if (read(s->fd, &info, sizeof info) != sizeof info)
        return;
    uint64_t t0 = host_now_ns();
    if (vm_pause(s->vm, &e) || vm_save(s->vm, &s->to, &e))
        s->status = fail(&e);
    else
        fprintf(stderr, "saveload: saved in %.1f ms\n", (double)(host_now_ns() - t0) / 1e6);
    vm_quit(s->vm);
}

int main(int argc, char **argv)
{
    struct err e = {0};
    struct vm_config cfg;
    uint8_t *text;
    size_t len;
    char state2[4096], memory2[4096];
    if (argc < 4)
        return 2;
    bool load = argc > 4 && !strcmp(argv[4], "--load");
    vm_config_init(&cfg);
    if (host_read_file(argv[1], 1 << 20, &text, &len, &e) ||
        vm_config_from_json(&cfg, (char *)text, len, argv[1], &e) || vm_config_check(&cfg, &e))
        return fail(&e);
    free(text);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct saver s = {.to = {argv[2], argv[3]}, .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
    uint64_t t0 = host_now_ns();
    s.vm = vm_new(&cfg, load ? &s.to : NULL, &e);
    if (!s.vm)
        return fail(&e);
    if (load) {
        fprintf(stderr, "saveload: loaded in %.1f ms\n", (double)(host_now_ns() - t0) / 1e6);
        snprintf(state2, sizeof state2, "%s.2", argv[2]);
        snprintf(memory2, sizeof memory2, "%s.2", argv[3]);
        s.to = (struct vm_saved){state2, memory2};
    }
    struct loop_fd *source = loop_add_fd(vm_loop(s.vm), s.fd, EPOLLIN, on_signal, &s, &e);
    enum vm_end end = vm_run(s.vm, &e);
    if (end == VM_FAILED || end == VM_CRASHED)
        s.status = fail(&e);
    loop_del_fd(source);
    close(s.fd);
    vm_free(s.vm);
    vm_config_fini(&cfg);
    return s.status;
}
