/* Opening: what is refused and why; locks, among ourselves and with QEMU's tools. */
#include "backend/block/disk.h"
#include "base/err.h"
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void make_file_in(const char *folder, char *path, size_t cap, uint64_t size)
{
    snprintf(path, cap, "%s/disk-test-XXXXXX", folder);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

static void make_file(char *path, size_t cap, uint64_t size)
{
    make_file_in(".", path, cap, size);
}

static struct disk *open_disk(const char *path, bool readonly, struct loop *l, struct err *e)
{
    e->msg[0] = 0;
    return disk_open(&(struct disk_config){.path = path, .readonly = readonly, .engine = DISK_ENGINE_THREADS},
                     l, e);
}

static void refused(const char *path, bool readonly, const char *words)
{
    struct err e;
    struct loop *l = loop_new(&e);
    assert_null(open_disk(path, readonly, l, &e));
    print_message("%s\n", e.msg);
    assert_non_null(strstr(e.msg, words));
    assert_non_null(strstr(e.msg, path));
    loop_free(l);
}

static void a_missing_image_or_a_directory_or_a_device_is_refused(void **state)
{
    (void)state;
    refused("/nonexistent/disk.img", false, "no such file");
    refused("/tmp", false, "is a directory");
    refused("/tmp", true, "is a directory");
    refused("/dev/zero", false, "neither a file nor a block device");
}

static void an_image_that_may_not_be_written_is_refused_unless_read_only(void **state)
{
    char path[64];
    struct err e;
    int status;
    (void)state;
    make_file_in("/tmp", path, sizeof path, 4096);
    assert_int_equal(chmod(path, 0444), 0);
    pid_t pid = fork();
    if (!pid) {
        if (!geteuid() && seteuid(65534))
            _exit(77);
        struct loop *l = loop_new(&e);
        struct disk *w = open_disk(path, false, l, &e);
        bool told = strstr(e.msg, "cannot be opened for writing");
        printf("%s\n", e.msg);
        struct disk *r = open_disk(path, true, l, &e);
        _exit(w || !told || !r);
    }
    waitpid(pid, &status, 0);
    unlink(path);
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(status, 0);
}

static void a_tail_that_fills_no_sector_is_left_out_and_less_than_one_sector_is_refused(void **state)
{
    char path[64];
    struct err e;
    struct disk_info info;
    struct loop *l = loop_new(&e);
    (void)state;
    make_file(path, sizeof path, 1000);
    struct disk *d = open_disk(path, false, l, &e);
    assert_non_null(d);
    d->ops->info(d, &info);
    assert_int_equal(info.size, 512);
    d->ops->close(d);
    assert_int_equal(truncate(path, 100), 0);
    refused(path, false, "smaller than a sector (100 bytes)");
    unlink(path);
    loop_free(l);
}

static void an_image_of_another_format_is_not_opened_as_writable_raw(void **state)
{
    static const struct {
        const char *name, *bytes;
        unsigned at, len;
    } rows[] = {{"qcow2", "QFI\xfb", 0, 4},
                {"vmdk", "KDMV", 0, 4},
                {"vdi", "\x7f\x10\xda\xbe", 64, 4},
                {"vhdx", "vhdxfile", 0, 8}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[64], words[64];
        struct err e;
        struct loop *l = loop_new(&e);
        make_file(path, sizeof path, 65536);
        int fd = open(path, O_WRONLY);
        assert_int_equal(pwrite(fd, rows[i].bytes, rows[i].len, rows[i].at), rows[i].len);
        close(fd);
        snprintf(words, sizeof words, "is a %s image and not raw", rows[i].name);
        refused(path, false, words);
        struct disk *d = open_disk(path, true, l, &e);
        assert_non_null(d);
        d->ops->close(d);
        loop_free(l);
        unlink(path);
    }
}

static void an_unknown_format_or_a_long_serial_is_refused(void **state)
{
    struct err e;
    struct loop *l = loop_new(&e);
    (void)state;
    assert_null(disk_open(&(struct disk_config){.path = "x", .format = "qcow9"}, l, &e));
    assert_non_null(strstr(e.msg, "format 'qcow9' is not supported"));
    assert_null(disk_open(&(struct disk_config){.path = "x", .serial = "123456789012345678901"}, l, &e));
    assert_non_null(strstr(e.msg, "longer than 20"));
    loop_free(l);
}

/* ---- locks ---- */

static void two_writers_or_a_reader_beside_a_writer_are_refused_and_two_readers_are_not(void **state)
{
    char path[64];
    struct err e;
    struct loop *l = loop_new(&e);
    (void)state;
    make_file(path, sizeof path, 65536);
    struct disk *w = open_disk(path, false, l, &e);
    assert_non_null(w);
    refused(path, false, "two must not write");
    refused(path, true, "writes to it");
    w->ops->close(w);
    struct disk *r1 = open_disk(path, true, l, &e), *r2 = open_disk(path, true, l, &e);
    assert_true(r1 && r2);
    refused(path, false, "in use by another virtual machine");
    r1->ops->close(r1);
    r2->ops->close(r2);
    w = open_disk(path, false, l, &e); /* closing gives the locks back */
    assert_non_null(w);
    w->ops->close(w);
    unlink(path);
    loop_free(l);
}

/* Run a command; its output must contain `words`. */
static void assert_says(const char *command, const char *words)
{
    char text[4096];
    FILE *p = popen(command, "r");
    assert_non_null(p);
    size_t n = fread(text, 1, sizeof text - 1, p);
    text[n] = 0;
    pclose(p);
    if (!strstr(text, words))
        fail_msg("'%s' said: %s", command, text);
}

static bool have(const char *tool)
{
    char command[128];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", tool);
    return !system(command);
}

static void qemu_tools_do_not_write_to_a_disk_that_we_have_open(void **state)
{
    char path[64], command[256];
    struct err e;
    struct loop *l = loop_new(&e);
    (void)state;
    if (!have("qemu-io") || !have("qemu-img")) {
        print_message("qemu-utils is not installed\n");
        loop_free(l);
        skip();
    }
    make_file(path, sizeof path, 65536);
    struct disk *d = open_disk(path, false, l, &e);
    assert_non_null(d);
    snprintf(command, sizeof command, "qemu-io -f raw -c 'write 0 512' %s 2>&1", path);
    assert_says(command, "Failed to get \"write\" lock");
    snprintf(command, sizeof command, "qemu-img resize -f raw %s 128K 2>&1", path);
    assert_says(command, "Failed to get \"write\" lock");
    snprintf(command, sizeof command, "qemu-img convert -f raw -O raw %s %s.copy 2>&1; rm -f %s.copy", path,
             path, path);
    assert_says(command, "Failed to get shared \"write\" lock");
    d->ops->close(d);
    d = open_disk(path, true, l, &e);
    snprintf(command, sizeof command, "qemu-io -f raw -c 'write 0 512' %s 2>&1", path);
    assert_says(command, "Failed to get \"write\" lock");
    snprintf(command, sizeof command, "qemu-io -f raw -r -c 'read 0 512' %s 2>&1", path);
    assert_says(command, "read 512/512 bytes");
    d->ops->close(d);
    unlink(path);
    loop_free(l);
}

static void a_disk_that_a_qemu_machine_has_open_is_refused(void **state)
{
    char path[64], drive[128];
    struct err e;
    struct loop *l = loop_new(&e);
    struct disk *d = NULL;
    (void)state;
    if (!have("qemu-system-x86_64")) {
        print_message("qemu-system-x86 is not installed\n");
        loop_free(l);
        skip();
    }
    make_file(path, sizeof path, 65536);
    snprintf(drive, sizeof drive, "file=%s,format=raw,if=none,id=d", path);
    pid_t pid = fork();
    if (!pid) {
        execlp("qemu-system-x86_64", "qemu-system-x86_64", "-accel", "tcg", "-S", "-display", "none",
               "-nodefaults", "-drive", drive, "-device", "virtio-blk-pci,drive=d", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 200; i++) { /* until it has its locks: at most 20 s */
        d = open_disk(path, false, l, &e);
        if (!d)
            break;
        d->ops->close(d);
        poll(NULL, 0, 100);
    }
    bool reader = open_disk(path, true, l, &e);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_null(d);
    assert_false(reader);
    print_message("%s\n", e.msg);
    unlink(path);
    loop_free(l);
}

static void a_block_device_has_the_size_that_the_kernel_tells(void **state)
{
    char path[64], command[128], dev[64] = "";
    struct err e;
    struct disk_info info;
    struct loop *l = loop_new(&e);
    (void)state;
    make_file(path, sizeof path, 1 << 20);
    snprintf(command, sizeof command, "losetup -f --show %s 2>/dev/null", path);
    FILE *p = popen(command, "r");
    bool made = p && fgets(dev, sizeof dev, p) && dev[0] == '/';
    if (p)
        pclose(p);
    if (!made) {
        print_message("no loop device can be made here\n");
        unlink(path);
        loop_free(l);
        skip();
    }
    dev[strcspn(dev, "\n")] = 0;
    struct disk *d = open_disk(dev, false, l, &e);
    if (d) {
        d->ops->info(d, &info);
        d->ops->close(d);
    }
    snprintf(command, sizeof command, "losetup -d %s", dev);
    assert_int_equal(system(command), 0);
    unlink(path);
    loop_free(l);
    assert_non_null(d);
    assert_int_equal(info.size, 1 << 20);
    assert_int_equal(info.block_size, 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_image_or_a_directory_or_a_device_is_refused),
        cmocka_unit_test(an_image_that_may_not_be_written_is_refused_unless_read_only),
        cmocka_unit_test(a_tail_that_fills_no_sector_is_left_out_and_less_than_one_sector_is_refused),
        cmocka_unit_test(an_image_of_another_format_is_not_opened_as_writable_raw),
        cmocka_unit_test(an_unknown_format_or_a_long_serial_is_refused),
        cmocka_unit_test(two_writers_or_a_reader_beside_a_writer_are_refused_and_two_readers_are_not),
        cmocka_unit_test(qemu_tools_do_not_write_to_a_disk_that_we_have_open),
        cmocka_unit_test(a_disk_that_a_qemu_machine_has_open_is_refused),
        cmocka_unit_test(a_block_device_has_the_size_that_the_kernel_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
