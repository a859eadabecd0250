/* Requests: what is written is read back, by every engine, direct or not; and what a bad request gets. */
#include "backend/block/disk.h"
#include "base/err.h"
#include "host/host.h"
#include "host/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { SIZE = 4 << 20 };

struct fixture {
    char path[64];
    struct loop *loop;
    struct disk *disk;
    struct err e;
};

/* In the build's folder, where a file system takes direct access; /tmp may be memory. */
static void make_file(char *path, size_t cap, uint64_t size)
{
    snprintf(path, cap, "./disk-test-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

static bool up(struct fixture *f, enum disk_engine engine, bool direct)
{
    make_file(f->path, sizeof f->path, SIZE);
    f->loop = loop_new(&f->e);
    f->disk =
        disk_open(&(struct disk_config){.path = f->path, .engine = engine, .direct = direct, .serial = "S1"},
                  f->loop, &f->e);
    if (!f->disk)
        print_message("%s\n", f->e.msg);
    return f->disk;
}

static void down(struct fixture *f)
{
    if (f->disk)
        f->disk->ops->close(f->disk);
    loop_free(f->loop);
    unlink(f->path);
}

struct waiter {
    struct disk_request r;
    struct loop *loop;
    atomic_uint *left;
    int result;
    bool done, inside;
};

static void on_done(struct disk_request *r, int result)
{
    struct waiter *w = r->opaque;
    w->result = result;
    w->done = true;
    assert_false(w->inside);
    assert_true(!w->loop || loop_is_current(w->loop));
    if (w->loop && atomic_fetch_sub(w->left, 1) == 1)
        loop_stop(w->loop);
}

static int run(struct fixture *f, enum disk_op op, uint64_t off, uint64_t len, struct iovec *iov, int n,
               bool unmap)
{
    atomic_uint left = 1;
    struct waiter w = {.r = {.op = op,
                             .offset = off,
                             .length = len,
                             .iov = iov,
                             .iovcnt = n,
                             .unmap = unmap,
                             .done = on_done,
                             .opaque = &w},
                       .loop = f->loop,
                       .left = &left,
                       .inside = true};
    f->disk->ops->submit(f->disk, &w.r);
    w.inside = false;
    loop_run(f->loop);
    assert_true(w.done);
    return w.result;
}

static int rw(struct fixture *f, enum disk_op op, uint64_t off, void *p, size_t n)
{
    return run(f, op, off, n, &(struct iovec){p, n}, 1, false);
}

/* ---- round trips ---- */

/* Random pieces against a copy in memory; `skew` misaligns the memory. */
static void round_trips(enum disk_engine engine, bool direct, unsigned skew)
{
    struct fixture f;
    if (!up(&f, engine, direct)) {
        down(&f);
        assert_true(direct || engine == DISK_ENGINE_IO_URING); /* what the machine may lack */
        return;
    }
    uint8_t *copy = calloc(1, SIZE), *raw = aligned_alloc(4096, 1 << 20), *mem = raw + skew;
    struct disk_info info;
    f.disk->ops->info(f.disk, &info);
    assert_int_equal(info.size, SIZE);
    assert_string_equal(info.serial, "S1");
    srand(engine * 4 + direct * 2 + 1);
    for (int i = 0; i < 200; i++) {
        uint64_t len = (1 + (uint64_t)rand() % 256) * 512,
                 off = (uint64_t)rand() % ((SIZE - len) / 512) * 512;
        size_t cut = (size_t)rand() % (len / 512) * 512 + skew;
        cut = cut < len ? cut : len;
        struct iovec iov[2] = {{mem, cut}, {mem + cut + 512, len - cut}};
        bool write = rand() & 1;
        for (size_t j = 0; write && j < len; j++)
            mem[j < cut ? j : j + 512] = copy[off + j] = (uint8_t)rand();
        assert_int_equal(run(&f, write ? DISK_WRITE : DISK_READ, off, len, iov, 2, false), 0);
        assert_memory_equal(mem, copy + off, cut);
        assert_memory_equal(mem + cut + 512, copy + off + cut, len - cut);
    }
    assert_int_equal(run(&f, DISK_FLUSH, 0, 0, NULL, 0, false), 0);
    uint8_t *whole = malloc(SIZE);
    int fd = open(f.path, O_RDONLY);
    assert_int_equal(host_pread_full(fd, whole, SIZE, 0), 0);
    assert_memory_equal(whole, copy, SIZE);
    close(fd);
    free(whole);
    free(copy);
    free(raw);
    down(&f);
}

static void io_uring_reads_back_what_it_wrote(void **state)
{
    (void)state;
    round_trips(DISK_ENGINE_IO_URING, false, 0);
    round_trips(DISK_ENGINE_IO_URING, false, 3);
}

static void threads_read_back_what_they_wrote(void **state)
{
    (void)state;
    round_trips(DISK_ENGINE_THREADS, false, 0);
}

static void direct_disks_take_any_memory_and_any_sector(void **state)
{
    (void)state;
    for (unsigned skew = 0; skew < 1024; skew += 511) {
        round_trips(DISK_ENGINE_IO_URING, true, skew);
        round_trips(DISK_ENGINE_THREADS, true, skew);
    }
}

/* ---- many at once ---- */

enum { MANY = 1000, SUBMITTERS = 4 };

struct many {
    struct fixture *f;
    struct waiter *w;
    struct iovec *iov;
    unsigned from;
};

static void *submit_some(void *opaque)
{
    struct many *m = opaque;
    for (unsigned i = m->from; i < MANY; i += SUBMITTERS)
        m->f->disk->ops->submit(m->f->disk, &m->w[i].r);
    return NULL;
}

static void many_at_once(enum disk_engine engine, bool drain)
{
    struct fixture f;
    atomic_uint left = MANY;
    uint8_t *mem = calloc(MANY, 512);
    struct waiter *w = calloc(MANY, sizeof *w);
    struct iovec *iov = calloc(MANY, sizeof *iov);
    pthread_t t[SUBMITTERS];
    struct many m[SUBMITTERS];
    if (!up(&f, engine, false)) {
        assert_int_equal(engine, DISK_ENGINE_IO_URING);
        goto out;
    }
    for (unsigned i = 0; i < MANY; i++) {
        memset(mem + i * 512, (int)(i * 7), 512);
        iov[i] = (struct iovec){mem + i * 512, 512};
        w[i] = (struct waiter){.r = {.op = DISK_WRITE,
                                     .offset = i * 512,
                                     .length = 512,
                                     .iov = &iov[i],
                                     .iovcnt = 1,
                                     .done = on_done,
                                     .opaque = &w[i]},
                               .loop = drain ? NULL : f.loop,
                               .left = &left};
    }
    for (unsigned i = 0; i < SUBMITTERS; i++) {
        m[i] = (struct many){&f, w, iov, i};
        assert_int_equal(pthread_create(&t[i], NULL, submit_some, &m[i]), 0);
    }
    if (!drain)
        loop_run(f.loop);
    for (unsigned i = 0; i < SUBMITTERS; i++)
        pthread_join(t[i], NULL);
    if (drain)
        f.disk->ops->drain(f.disk);
    for (unsigned i = 0; i < MANY; i++)
        assert_true(w[i].done && !w[i].result);
    uint8_t *got = malloc(MANY * 512);
    int fd = open(f.path, O_RDONLY);
    assert_int_equal(host_pread_full(fd, got, MANY * 512, 0), 0);
    assert_memory_equal(got, mem, MANY * 512);
    close(fd);
    free(got);
out:
    down(&f);
    free(mem);
    free(w);
    free(iov);
}

static void a_thousand_requests_of_four_threads_complete_on_the_loop(void **state)
{
    (void)state;
    many_at_once(DISK_ENGINE_IO_URING, false);
    many_at_once(DISK_ENGINE_THREADS, false);
}

static void drain_completes_everything_in_flight(void **state)
{
    (void)state;
    many_at_once(DISK_ENGINE_IO_URING, true);
    many_at_once(DISK_ENGINE_THREADS, true);
}

/* ---- discard and zeroes ---- */

static void discard_and_write_zeroes_give_zeroes_and_only_unmapping_gives_space_back(void **state)
{
    struct fixture f;
    struct stat st;
    uint8_t *mem = malloc(SIZE);
    (void)state;
    assert_true(up(&f, DISK_ENGINE_AUTO, false));
    memset(mem, 0xaa, SIZE);
    assert_int_equal(rw(&f, DISK_WRITE, 0, mem, SIZE), 0);
    assert_int_equal(run(&f, DISK_FLUSH, 0, 0, NULL, 0, false), 0);
    stat(f.path, &st);
    blkcnt_t full = st.st_blocks;
    assert_int_equal(run(&f, DISK_WRITE_ZEROES, 0, 1 << 20, NULL, 0, false), 0);
    assert_int_equal(run(&f, DISK_DISCARD, 1 << 20, 1 << 20, NULL, 0, false), 0);
    assert_int_equal(run(&f, DISK_WRITE_ZEROES, 2 << 20, 1 << 20, NULL, 0, true), 0);
    stat(f.path, &st);
    assert_int_equal(st.st_size, SIZE);
    assert_in_range(full - st.st_blocks, 2 << 11, 3 << 11);
    assert_int_equal(rw(&f, DISK_READ, 0, mem, SIZE), 0);
    for (size_t i = 0; i < SIZE; i++)
        assert_int_equal(mem[i], i < 3 << 20 ? 0 : 0xaa);
    free(mem);
    down(&f);
}

/* ---- what is refused ---- */

static void a_request_outside_the_disk_or_not_of_whole_sectors_fails(void **state)
{
    struct fixture f;
    uint8_t mem[2048];
    struct iovec two[2] = {{mem, 512}, {mem, 1024}};
    (void)state;
    assert_true(up(&f, DISK_ENGINE_AUTO, false));
    assert_int_equal(rw(&f, DISK_READ, SIZE, mem, 512), -EINVAL);
    assert_int_equal(rw(&f, DISK_READ, SIZE - 512, mem, 1024), -EINVAL);
    assert_int_equal(rw(&f, DISK_WRITE, UINT64_MAX - 511, mem, 1024), -EINVAL);
    assert_int_equal(rw(&f, DISK_READ, 100, mem, 512), -EINVAL);
    assert_int_equal(rw(&f, DISK_READ, 0, mem, 100), -EINVAL);
    assert_int_equal(run(&f, DISK_READ, 0, 1024, two, 2, false), -EINVAL); /* more memory than told */
    assert_int_equal(run(&f, DISK_READ, 0, 2048, two, 2, false), -EINVAL);
    assert_int_equal(run(&f, DISK_READ, 0, 0, NULL, 0, false), 0);
    down(&f);
}

static void a_file_that_shrank_gives_an_error_and_no_wait(void **state)
{
    (void)state;
    for (unsigned engine = DISK_ENGINE_AUTO; engine <= DISK_ENGINE_THREADS; engine += 2) {
        struct fixture f;
        static uint8_t mem[SIZE];
        assert_true(up(&f, engine, false));
        assert_int_equal(truncate(f.path, 4096), 0);
        assert_int_equal(rw(&f, DISK_READ, 0, mem, 8192), -EIO);
        assert_int_equal(rw(&f, DISK_READ, 1 << 20, mem, 512), -EIO);
        assert_int_equal(rw(&f, DISK_READ, 0, mem, 4096), 0);
        down(&f);
    }
}

static void a_read_only_disk_refuses_to_be_changed(void **state)
{
    struct fixture f;
    uint8_t mem[512];
    struct disk_info info;
    (void)state;
    assert_true(up(&f, DISK_ENGINE_AUTO, false));
    f.disk->ops->close(f.disk);
    f.disk = disk_open(&(struct disk_config){.path = f.path, .readonly = true}, f.loop, &f.e);
    assert_non_null(f.disk);
    f.disk->ops->info(f.disk, &info);
    assert_true(info.readonly && !info.discard && !info.write_zeroes);
    assert_int_equal(rw(&f, DISK_WRITE, 0, mem, 512), -EROFS);
    assert_int_equal(run(&f, DISK_DISCARD, 0, 512, NULL, 0, false), -EROFS);
    assert_int_equal(run(&f, DISK_WRITE_ZEROES, 0, 512, NULL, 0, true), -EROFS);
    assert_int_equal(rw(&f, DISK_READ, 0, mem, 512), 0);
    assert_int_equal(run(&f, DISK_FLUSH, 0, 0, NULL, 0, false), 0);
    down(&f);
}

/* ---- io_uring forbidden ---- */

static void forbid_io_uring(void)
{
    struct sock_filter code[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr)},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_io_uring_setup},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
    };
    struct sock_fprog prog = {.len = 4, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
        _exit(9);
}

static void where_io_uring_is_forbidden_threads_serve_unless_it_was_insisted_on(void **state)
{
    int status;
    (void)state;
    pid_t pid = fork();
    if (!pid) {
        struct fixture f, insist;
        forbid_io_uring();
        round_trips(DISK_ENGINE_AUTO, false, 0);
        bool opened = up(&f, DISK_ENGINE_AUTO, false), forced = up(&insist, DISK_ENGINE_IO_URING, false);
        bool told = strstr(insist.e.msg, "io_uring is not available");
        down(&f);
        down(&insist);
        _exit(!opened || forced || !told);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(io_uring_reads_back_what_it_wrote),
        cmocka_unit_test(threads_read_back_what_they_wrote),
        cmocka_unit_test(direct_disks_take_any_memory_and_any_sector),
        cmocka_unit_test(a_thousand_requests_of_four_threads_complete_on_the_loop),
        cmocka_unit_test(drain_completes_everything_in_flight),
        cmocka_unit_test(discard_and_write_zeroes_give_zeroes_and_only_unmapping_gives_space_back),
        cmocka_unit_test(a_request_outside_the_disk_or_not_of_whole_sectors_fails),
        cmocka_unit_test(a_file_that_shrank_gives_an_error_and_no_wait),
        cmocka_unit_test(a_read_only_disk_refuses_to_be_changed),
        cmocka_unit_test(where_io_uring_is_forbidden_threads_serve_unless_it_was_insisted_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
