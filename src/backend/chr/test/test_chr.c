/* File, pty and null; and stdio in a child process whose standard streams are pipes, files or a terminal of
 * ours. */
#include "backend/chr/chr.h"
#include "base/err.h"
#include "host/host.h"
#include "host/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- a device that keeps what it gets ---- */

struct device {
    struct chr *chr;
    struct loop *loop;
    char got[4096];
    size_t len, room, stop_at; /* the loop stops when stop_at bytes are there */
    unsigned writable;
};

static size_t device_room(void *opaque)
{
    return ((struct device *)opaque)->room;
}

static void device_receive(void *opaque, const uint8_t *p, size_t n)
{
    struct device *d = opaque;
    if (n > d->room || n > sizeof d->got - d->len - 1)
        abort();
    memcpy(d->got + d->len, p, n);
    d->len += n;
    d->room -= n;
    if (d->stop_at && d->len >= d->stop_at)
        loop_stop(d->loop);
}

static void device_writable(void *opaque)
{
    struct device *d = opaque;
    d->writable++;
    loop_stop(d->loop);
}

static void attach(struct device *d, struct chr *c, struct loop *l)
{
    *d = (struct device){.chr = c, .loop = l, .room = sizeof d->got - 1};
    c->ops->attach(c, &(struct chr_client){device_room, device_receive, device_writable, d});
}

static void stop_loop(void *opaque)
{
    loop_stop(opaque);
}

static void run_for(struct loop *l, uint64_t ms)
{
    struct loop_timer *t = loop_timer_new(l, stop_loop, l, NULL);
    loop_timer_arm(t, host_now_ns() + ms * 1000000);
    loop_run(l);
    loop_timer_free(t);
}

/* ---- file and null ---- */

static void a_file_is_created_and_appended_to(void **state)
{
    char path[] = "/tmp/chr-XXXXXX", text[32] = "";
    int fd = mkstemp(path);
    struct err e;
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct loop *l = loop_new(&e);
        struct chr *c = chr_file_open(path, l, &e);
        assert_non_null(c);
        assert_int_equal(c->ops->write(c, (const uint8_t *)"line\n", 5), 5);
        c->ops->close(c);
        loop_free(l);
    }
    assert_int_equal(read(fd, text, sizeof text - 1), 10);
    assert_string_equal(text, "line\nline\n");
    close(fd);
    unlink(path);
}

static void a_directory_is_refused_as_output_file(void **state)
{
    struct err e;
    struct loop *l = loop_new(&e);
    (void)state;
    assert_null(chr_file_open("/tmp", l, &e));
    assert_non_null(strstr(e.msg, "/tmp: is a directory"));
    assert_null(chr_file_open("/nonexistent/x", l, &e));
    assert_non_null(strstr(e.msg, "/nonexistent/x"));
    loop_free(l);
}

static void null_takes_everything(void **state)
{
    struct chr *c = chr_null_open();
    uint16_t cols = 1, rows = 1;
    (void)state;
    assert_int_equal(c->ops->write(c, (const uint8_t *)"x", 1), 1);
    c->ops->size(c, &cols, &rows);
    assert_int_equal(cols | rows, 0);
    c->ops->close(c);
}

/* ---- pty ---- */

static void a_pty_carries_bytes_unchanged_both_ways(void **state)
{
    char path[64], text[16] = "";
    struct err e;
    struct device d;
    struct loop *l = loop_new(&e);
    struct chr *c = chr_pty_open(l, path, sizeof path, &e);
    (void)state;
    assert_non_null(c);
    attach(&d, c, l);
    int fd = open(path, O_RDWR | O_NOCTTY);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a\r\n\x03z", 5), 5);
    d.stop_at = 5;
    loop_run(l);
    assert_memory_equal(d.got, "a\r\n\x03z", 5);
    assert_int_equal(c->ops->write(c, (const uint8_t *)"b\n\x04", 3), 3);
    assert_int_equal(read(fd, text, sizeof text), 3);
    assert_memory_equal(text, "b\n\x04", 3);
    close(fd);
    c->ops->close(c);
    loop_free(l);
}

static void a_pty_that_nobody_reads_loses_the_oldest_bytes_and_stalls_nobody(void **state)
{
    char path[64], text[65536];
    struct err e;
    struct loop *l = loop_new(&e);
    struct chr *c = chr_pty_open(l, path, sizeof path, &e);
    (void)state;
    assert_non_null(c);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(c->ops->write(c, (const uint8_t *)"0123456789", 10), 10);
    assert_int_equal(c->ops->write(c, (const uint8_t *)"end", 3), 3);
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
    bool seen = false;
    for (int i = 0; i < 200 && !seen; i++) {
        run_for(l, 2);
        ssize_t n = read(fd, text, sizeof text);
        seen = n >= 3 && !memcmp(text + n - 3, "end", 3);
    }
    assert_true(seen);
    close(fd);
    c->ops->close(c);
    loop_free(l);
}

/* ---- stdio in a child ---- */

enum act { ACT_ECHO, ACT_CLOSE, ACT_EXIT, ACT_ABORT, ACT_CRASH, ACT_WAIT, ACT_DEAF };

static void on_quit(void *opaque)
{
    loop_stop(opaque);
}

/* Echo what comes until '.', quit or 5 seconds. */
static int child_echo(struct loop *l, struct chr *c, bool deaf)
{
    struct device d;
    attach(&d, c, l);
    if (deaf)
        d.room = 0;
    uint64_t end = host_now_ns() + 5000000000ull;
    while (host_now_ns() < end) {
        d.stop_at = 1;
        run_for(l, 2000);
        if (!d.len)
            return deaf ? 7 : 8;
        c->ops->write(c, (const uint8_t *)d.got, d.len);
        bool last = memchr(d.got, '.', d.len);
        d.len = 0;
        d.room = sizeof d.got - 1;
        c->ops->resume(c);
        if (last)
            return 0;
    }
    return 9;
}

static int child(enum act act)
{
    struct err e;
    struct loop *l = loop_new(&e);
    struct chr_escape esc = {on_quit, l};
    struct chr *c = chr_stdio_open(&esc, l, &e);
    if (!c)
        return 10;
    c->ops->write(c, (const uint8_t *)"ready\n", 6);
    int r = 0;
    if (act == ACT_ECHO || act == ACT_DEAF)
        r = child_echo(l, c, act == ACT_DEAF);
    else if (act == ACT_EXIT)
        exit(0);
    else if (act == ACT_ABORT)
        abort();
    else if (act == ACT_CRASH)
        raise(SIGSEGV);
    else if (act == ACT_WAIT)
        run_for(l, 5000);
    c->ops->close(c);
    loop_free(l);
    return r;
}

static pid_t spawn(enum act act, int in, int out, int tty)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    if (tty >= 0) {
        setsid();
        ioctl(tty, TIOCSCTTY, 0);
        in = out = tty;
    }
    dup2(in, 0);
    dup2(out, 1);
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    signal(SIGSEGV, SIG_DFL); /* the test framework took them */
    signal(SIGABRT, SIG_DFL);
    signal(SIGILL, SIG_DFL);
    signal(SIGFPE, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    int r = child(act);
    _exit(r);
}

static int status_of(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* Read until `words` are in the text, for at most 5 s. */
static void expect(int fd, const char *words)
{
    char text[4096] = "";
    size_t n = 0;
    while (!strstr(text, words)) {
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 5000) != 1)
            fail_msg("'%s' instead of '%s'", text, words);
        ssize_t got = read(fd, text + n, sizeof text - 1 - n);
        if (got <= 0)
            fail_msg("ended with '%s' instead of '%s'", text, words);
        n += (size_t)got;
        text[n] = 0;
    }
}

static void stdio_over_pipes_passes_every_byte_and_outlives_its_input(void **state)
{
    int in[2], out[2];
    (void)state;
    assert_int_equal(pipe(in) | pipe(out), 0);
    pid_t pid = spawn(ACT_ECHO, in[0], out[1], -1);
    close(in[0]);
    close(out[1]);
    expect(out[0], "ready\n");
    assert_int_equal(write(in[1], "\x01x\x01h one", 8), 8); /* no escapes in a script's input */
    expect(out[0], "\x01x\x01h one");
    assert_int_equal(write(in[1], " two.", 5), 5);
    close(in[1]);
    expect(out[0], " two.");
    assert_int_equal(status_of(pid), 0);
    close(out[0]);
}

static void stdio_reads_a_file_and_stops_at_its_end(void **state)
{
    char path[] = "/tmp/chr-XXXXXX";
    int in = mkstemp(path), out[2];
    (void)state;
    unlink(path);
    assert_int_equal(pipe(out), 0);
    assert_int_equal(write(in, "from a file.", 12), 12);
    lseek(in, 0, SEEK_SET);
    pid_t pid = spawn(ACT_ECHO, in, out[1], -1);
    expect(out[0], "ready\nfrom a file.");
    assert_int_equal(status_of(pid), 0);
    close(in);
    in = open("/dev/null", O_RDONLY);
    pid = spawn(ACT_ECHO, in, out[1], -1);
    expect(out[0], "ready\n");
    assert_int_equal(WEXITSTATUS(status_of(pid)), 8);
    close(in);
    close(out[0]);
    close(out[1]);
}

static void a_stalled_reader_blocks_nobody_and_writable_tells_when_it_moves(void **state)
{
    int out[2], keep = dup(1);
    static uint8_t block[8192];
    struct err e;
    struct device d;
    (void)state;
    assert_int_equal(pipe(out), 0);
    fflush(NULL);
    dup2(out[1], 1);
    struct loop *l = loop_new(&e);
    struct chr *c = chr_stdio_open(NULL, l, &e);
    dup2(keep, 1);
    close(out[1]);
    assert_non_null(c);
    attach(&d, c, l);
    size_t taken = 0, n;
    do
        taken += n = c->ops->write(c, block, sizeof block);
    while (n == sizeof block);
    assert_in_range(taken, 64 << 10, 256 << 10);
    size_t seen = 0;
    for (int i = 0; i < 100 && seen < taken; i++) {
        ssize_t got;
        run_for(l, 2);
        while (poll(&(struct pollfd){.fd = out[0], .events = POLLIN}, 1, 0) == 1 &&
               (got = read(out[0], block, sizeof block)) > 0)
            seen += (size_t)got;
    }
    assert_int_equal(seen, taken);
    assert_int_equal(d.writable, 1);
    close(out[0]);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(c->ops->write(c, block, 100), 100); /* the reader is gone */
    assert_int_equal(c->ops->write(c, block, sizeof block), sizeof block);
    c->ops->close(c);
    loop_free(l);
    close(keep);
}

/* ---- a terminal ---- */

struct term {
    int master, slave;
    struct termios before;
};

static void term_up(struct term *t)
{
    char path[64];
    t->master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_int_equal(grantpt(t->master) | unlockpt(t->master) | ptsname_r(t->master, path, sizeof path), 0);
    t->slave = open(path, O_RDWR | O_NOCTTY);
    assert_true(t->slave >= 0);
    assert_int_equal(tcgetattr(t->slave, &t->before), 0);
    assert_true(t->before.c_lflag & ICANON);
}

static void term_down(struct term *t)
{
    close(t->slave);
    close(t->master);
}

static void assert_cooked(struct term *t)
{
    struct termios now;
    assert_int_equal(tcgetattr(t->slave, &now), 0);
    assert_int_equal(now.c_lflag, t->before.c_lflag);
    assert_int_equal(now.c_iflag, t->before.c_iflag);
    assert_int_equal(now.c_oflag, t->before.c_oflag);
}

static void assert_raw(struct term *t)
{
    struct termios now;
    assert_int_equal(tcgetattr(t->slave, &now), 0);
    assert_int_equal(now.c_lflag & (ICANON | ECHO | ISIG), 0);
}

static void the_terminal_is_raw_while_open_and_restored_on_close_exit_abort_and_crash(void **state)
{
    static const enum act acts[] = {ACT_CLOSE, ACT_EXIT, ACT_ABORT, ACT_CRASH};
    static const int signals[] = {0, 0, SIGABRT, SIGSEGV};
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct term t;
        term_up(&t);
        pid_t pid = spawn(acts[i], -1, -1, t.slave);
        int status = status_of(pid);
        assert_int_equal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, signals[i]);
        assert_cooked(&t);
        term_down(&t);
    }
}

static void the_terminal_is_restored_when_a_signal_ends_the_process(void **state)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    (void)state;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct term t;
        term_up(&t);
        pid_t pid = spawn(ACT_WAIT, -1, -1, t.slave);
        expect(t.master, "ready");
        assert_raw(&t);
        kill(pid, signals[i]);
        int status = status_of(pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), signals[i]);
        assert_cooked(&t);
        term_down(&t);
    }
}

static void ctrl_a_twice_sends_one_and_ctrl_a_with_another_key_passes_both(void **state)
{
    struct term t;
    (void)state;
    term_up(&t);
    pid_t pid = spawn(ACT_ECHO, -1, -1, t.slave);
    expect(t.master, "ready");
    assert_int_equal(write(t.master, "<\x01\x01>", 4), 4);
    expect(t.master, "<\x01>");
    assert_int_equal(write(t.master, "[\x01", 2), 2);
    assert_int_equal(write(t.master, "c]", 2), 2);
    expect(t.master, "\x01"
                     "c]");
    assert_int_equal(write(t.master, "\x01h", 2), 2);
    expect(t.master, "end the virtual machine");
    assert_int_equal(write(t.master, ".", 1), 1);
    assert_int_equal(status_of(pid), 0);
    term_down(&t);
}

static void ctrl_a_x_quits_even_when_the_guest_takes_no_input(void **state)
{
    struct term t;
    char junk[2000];
    (void)state;
    memset(junk, 'j', sizeof junk);
    term_up(&t);
    pid_t pid = spawn(ACT_DEAF, -1, -1, t.slave);
    expect(t.master, "ready");
    for (int i = 0; i < 5; i++)
        assert_int_equal(write(t.master, junk, sizeof junk), sizeof junk);
    uint64_t start = host_now_ns();
    assert_int_equal(write(t.master, "\x01x", 2), 2);
    assert_int_equal(WEXITSTATUS(status_of(pid)), 7);
    assert_true(host_now_ns() - start < 1900000000ull); /* by the key and not by its time limit */
    assert_cooked(&t);
    term_down(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_created_and_appended_to),
        cmocka_unit_test(a_directory_is_refused_as_output_file),
        cmocka_unit_test(null_takes_everything),
        cmocka_unit_test(a_pty_carries_bytes_unchanged_both_ways),
        cmocka_unit_test(a_pty_that_nobody_reads_loses_the_oldest_bytes_and_stalls_nobody),
        cmocka_unit_test(stdio_over_pipes_passes_every_byte_and_outlives_its_input),
        cmocka_unit_test(stdio_reads_a_file_and_stops_at_its_end),
        cmocka_unit_test(a_stalled_reader_blocks_nobody_and_writable_tells_when_it_moves),
        cmocka_unit_test(the_terminal_is_raw_while_open_and_restored_on_close_exit_abort_and_crash),
        cmocka_unit_test(the_terminal_is_restored_when_a_signal_ends_the_process),
        cmocka_unit_test(ctrl_a_twice_sends_one_and_ctrl_a_with_another_key_passes_both),
        cmocka_unit_test(ctrl_a_x_quits_even_when_the_guest_takes_no_input),
    };
    static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_DFL); /* children of nohup, or of a shell that puts them behind, ignore some */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
