#include "accel/soft/confine.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- memory ---- */

struct mapping {
    uintptr_t from, to;
    bool shared;
    char path[8]; /* its beginning */
};

static const char *hex(const char *p, uintptr_t *v)
{
    for (*v = 0;; p++) {
        if (*p >= '0' && *p <= '9')
            *v = *v << 4 | (uintptr_t)(*p - '0');
        else if (*p >= 'a' && *p <= 'f')
            *v = *v << 4 | (uintptr_t)(*p - 'a' + 10);
        else
            return p;
    }
}

/* "from-to rwxp offset dev inode   path" */
static void parse(const char *line, struct mapping *m)
{
    const char *p = hex(line, &m->from);
    p = hex(p + 1, &m->to);
    m->shared = p[4] == 's';
    for (unsigned field = 0; field < 4; field++) {
        while (*p && *p != ' ')
            p++;
        while (*p == ' ')
            p++;
    }
    while (*p && *p != ' ')
        p++;
    while (*p == ' ')
        p++;
    strncpy(m->path, p, sizeof(m->path) - 1);
    m->path[sizeof(m->path) - 1] = 0;
}

static bool overlaps(const struct mapping *m, const struct confine_range *keep, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (m->from < keep[i].to && keep[i].from < m->to)
            return true;
    return false;
}

/* Program, libraries with the zeroed data that follows them, and what the kernel gave. */
static bool is_program(const struct mapping *m, uintptr_t program_end)
{
    if (m->shared)
        return false;
    if (m->path[0] == '/')
        return strncmp(m->path, "/memfd:", 7) != 0;
    if (m->path[0] == '[')
        return m->path[1] == 'v';
    return m->path[0] == 0 && m->from == program_end;
}

static uintptr_t thread_pointer(void)
{
    uintptr_t v;
    __asm__("mov %%fs:0, %0" : "=r"(v));
    return v;
}

int confine_memory(const struct confine_range *keep, size_t count)
{
    enum { MAX = 512 };
    struct mapping drop[MAX];
    unsigned drops = 0;
    char buf[4096];
    size_t have = 0;
    uintptr_t program_end = 0;
    const struct confine_range self[] = {
        {(uintptr_t)__builtin_frame_address(0), (uintptr_t)__builtin_frame_address(0) + 1},
        {thread_pointer(), thread_pointer() + 1},
    };
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    for (;;) {
        ssize_t n = read(fd, buf + have, sizeof(buf) - 1 - have);
        if (n <= 0)
            break;
        have += (size_t)n;
        buf[have] = 0;
        char *line = buf, *eol;
        while ((eol = strchr(line, '\n'))) {
            struct mapping m;
            *eol = 0;
            parse(line, &m);
            bool program = is_program(&m, program_end);
            if (program)
                program_end = m.to;
            if (!program && !overlaps(&m, keep, count) && !overlaps(&m, self, 2)) {
                if (drops == MAX) {
                    close(fd);
                    return -E2BIG;
                }
                drop[drops++] = m;
            }
            line = eol + 1;
        }
        have = (size_t)(buf + have - line);
        memmove(buf, line, have);
    }
    close(fd);
    for (unsigned i = 0; i < drops; i++)
        munmap((void *)drop[i].from, drop[i].to - drop[i].from);
    return 0;
}

/* ---- descriptors ---- */

void confine_files(int fd)
{
    if (fd > 0)
        syscall(SYS_close_range, 0, fd - 1, 0);
    syscall(SYS_close_range, fd + 1, UINT_MAX, 0);
}

/* ---- system calls ---- */

#define ALLOW(nr)                                                                                            \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

int confine_calls(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_futex),         /* sleep.c, mailboxes */
        ALLOW(SYS_sched_yield),   /* world.c, native_area.c */
        ALLOW(SYS_timer_settime), /* timer.c */
        ALLOW(SYS_membarrier),    /* block.c */
        ALLOW(SYS_clock_gettime), /* where the vDSO cannot answer */
        ALLOW(SYS_read),          /* the pipe that says the parent lives */
        ALLOW(SYS_exit_group),
        ALLOW(SYS_rt_sigreturn),
        ALLOW(SYS_restart_syscall),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) < 0)
        return -errno;
    return 0;
}
