#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/err.h"
#include "host/host.h"

static void time_goes_on(void **state)
{
    uint64_t a = host_now_ns(), b = host_now_ns();
    (void)state;
    assert_true(a > 0 && b >= a);
    assert_true(host_realtime_ns() > 1600000000000000000ull);
}

static void the_tsc_has_a_plausible_frequency(void **state)
{
    uint64_t khz = host_tsc_khz();
    (void)state;
    assert_true(khz > 100000 && khz < 20000000);
}

static void whole_reads_and_writes_or_an_error(void **state)
{
    char in[3000], out[3000];
    int fd = memfd_create("file", 0);
    (void)state;
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (char)(i * 31);
    assert_int_equal(host_write_full(fd, in, sizeof in), 0);
    assert_int_equal(host_pwrite_full(fd, "abc", 3, 5000), 0);
    assert_int_equal(host_pread_full(fd, out, sizeof out, 0), 0);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(host_pread_full(fd, out, 3, 5000), 0);
    assert_memory_equal(out, "abc", 3);
    assert_int_equal(host_pread_full(fd, out, 4, 5000), -ENODATA);
    assert_int_equal(lseek(fd, 5002, SEEK_SET), 5002);
    assert_int_equal(host_read_full(fd, out, 1), 0);
    assert_int_equal(host_read_full(fd, out, 1), -ENODATA);
    assert_int_equal(host_read_full(fd, out, 0), 0);
    close(fd);
    assert_int_equal(host_read_full(-1, out, 1), -EBADF);
    assert_int_equal(host_write_full(-1, out, 1), -EBADF);
}

struct pipe_writer {
    int fd;
    size_t n;
};

static void *write_slowly(void *opaque)
{
    struct pipe_writer *w = opaque;
    for (size_t i = 0; i < w->n; i++) {
        char c = (char)i;
        if (write(w->fd, &c, 1) != 1)
            break;
    }
    close(w->fd);
    return NULL;
}

static void short_transfers_of_a_pipe_are_put_together(void **state)
{
    int p[2];
    char out[3000];
    pthread_t t;
    (void)state;
    assert_int_equal(pipe(p), 0);
    struct pipe_writer w = {.fd = p[1], .n = sizeof out};
    assert_int_equal(host_thread(&t, "writer", write_slowly, &w), 0);
    assert_int_equal(host_read_full(p[0], out, sizeof out), 0);
    for (size_t i = 0; i < sizeof out; i++)
        assert_int_equal(out[i], (char)i);
    assert_int_equal(host_read_full(p[0], out, 1), -ENODATA);
    pthread_join(t, NULL);
    close(p[0]);
}

static void a_memfd_has_its_size_for_ever(void **state)
{
    struct err e;
    struct stat st;
    int fd = host_memfd("sealed", 8192, &e);
    (void)state;
    assert_true(fd >= 0);
    fstat(fd, &st);
    assert_int_equal(st.st_size, 8192);
    assert_int_equal(ftruncate(fd, 4096), -1);
    assert_int_equal(ftruncate(fd, 16384), -1);
    close(fd);
    assert_true(host_memfd("vast", UINT64_MAX, &e) < 0);
    assert_non_null(strstr(e.msg, "vast"));
}

static void a_whole_file_is_read_up_to_its_limit(void **state)
{
    char path[] = "/tmp/liege-test-XXXXXX";
    int fd = mkstemp(path);
    uint8_t *data;
    size_t len;
    struct err e;
    static char big[200000];
    (void)state;
    memset(big, 'b', sizeof big);
    assert_int_equal(host_read_file(path, 10, &data, &len, &e), 0);
    assert_int_equal(len, 0);
    free(data);
    assert_int_equal(host_write_full(fd, big, sizeof big), 0);
    assert_int_equal(host_read_file(path, sizeof big, &data, &len, &e), 0);
    assert_int_equal(len, sizeof big);
    assert_memory_equal(data, big, sizeof big);
    free(data);
    assert_int_equal(host_read_file(path, sizeof big - 1, &data, &len, &e), -EFBIG);
    assert_non_null(strstr(e.msg, path));
    unlink(path);
    close(fd);
    assert_int_equal(host_read_file(path, 10, &data, &len, &e), -ENOENT);
    assert_int_equal(host_read_file("/tmp", 10, &data, &len, &e), -EISDIR);
    assert_int_equal(host_read_file("/proc/self/maps", 1 << 20, &data, &len, &e),
                     0); /* claims to have no size */
    assert_true(len > 100);
    free(data);
}

static void the_machine_has_memory(void **state)
{
    (void)state;
    assert_true(host_mem_total() > 16 << 20);
    assert_true(host_mem_available() <= host_mem_total() && host_mem_available() > 0);
}

static void *look_at_itself(void *opaque)
{
    sigset_t set;
    pthread_getname_np(pthread_self(), opaque, 16);
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    return (void *)(uintptr_t)(sigismember(&set, SIGTERM) && sigismember(&set, SIGUSR1) &&
                               !sigismember(&set, SIGSEGV) && !sigismember(&set, SIGBUS));
}

static void a_thread_has_its_name_and_leaves_signals_to_others(void **state)
{
    char name[16] = "";
    pthread_t t;
    void *ok;
    sigset_t before, after;
    (void)state;
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    assert_int_equal(host_thread(&t, "a-name", look_at_itself, name), 0);
    pthread_join(t, &ok);
    assert_true(ok);
    /* The thread may have looked before its maker named it. */
    assert_true(!strcmp(name, "a-name") || strcmp(name, "") != 0);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    assert_int_equal(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
}

static void a_membarrier_needs_no_preparation(void **state)
{
    (void)state;
    host_membarrier();
    host_membarrier();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_goes_on),
        cmocka_unit_test(the_tsc_has_a_plausible_frequency),
        cmocka_unit_test(whole_reads_and_writes_or_an_error),
        cmocka_unit_test(short_transfers_of_a_pipe_are_put_together),
        cmocka_unit_test(a_memfd_has_its_size_for_ever),
        cmocka_unit_test(a_whole_file_is_read_up_to_its_limit),
        cmocka_unit_test(the_machine_has_memory),
        cmocka_unit_test(a_thread_has_its_name_and_leaves_signals_to_others),
        cmocka_unit_test(a_membarrier_needs_no_preparation),
    };
    return cmocka_run_group_tests_name("host: host", tests, NULL, NULL);
}
