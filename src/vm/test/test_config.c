#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "vm/config.h"

static void sizes_are_read_as_people_write_them(void **state)
{
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},           {"4096", 4096},     {"64K", 65536},         {"512M", 512ull << 20},
                {"2g", 2ull << 30}, {"1T", 1ull << 40}, {"16MiB", 16ull << 20}, {"1GB", 1ull << 30}};
    static const char *const bad[] = {"",          "M",  "-1",   "1.5G", "12Q", "5MM", "99999999999999999999",
                                      "20000000T", " 1", "0x10", "1KiBB"};
    uint64_t v;
    struct err e;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(vm_parse_size(good[i].text, "memory", &v, &e), 0);
        assert_true(v == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_true(vm_parse_size(bad[i], "memory", &v, &e) < 0);
        assert_non_null(strstr(e.msg, "memory: "));
    }
}

static void a_disk_option_is_taken_apart(void **state)
{
    struct vm_config c;
    struct err e;
    (void)state;
    vm_config_init(&c);
    assert_int_equal(vm_config_add_disk(&c, "a,,b=c.img,serial=S1,readonly,direct=on", &e), 0);
    assert_string_equal(c.disk[0].path, "a,b=c.img");
    assert_string_equal(c.disk[0].serial, "S1");
    assert_string_equal(c.disk[0].format, "raw");
    assert_true(c.disk[0].readonly && c.disk[0].direct);
    assert_int_equal(vm_config_add_disk(&c, "path=x.img", &e), 0);
    assert_string_equal(c.disk[1].path, "x.img");
    assert_true(vm_config_add_disk(&c, "", &e) < 0);
    assert_true(vm_config_add_disk(&c, "x,sreial=1", &e) < 0);
    assert_non_null(strstr(e.msg, "did you mean 'serial'"));
    assert_true(vm_config_add_disk(&c, "x,serial=123456789012345678901", &e) < 0);
    assert_true(vm_config_add_disk(&c, "x,readonly=maybe", &e) < 0);
    vm_config_fini(&c);
}

static void the_number_of_disks_is_bounded(void **state)
{
    struct vm_config c;
    struct err e;
    (void)state;
    vm_config_init(&c);
    for (int i = 0; i < VM_MAX_DISKS; i++)
        assert_int_equal(vm_config_add_disk(&c, "x", &e), 0);
    assert_true(vm_config_add_disk(&c, "x", &e) < 0);
    vm_config_fini(&c);
}

static void a_network_option_is_taken_apart(void **state)
{
    struct vm_config c;
    struct err e;
    (void)state;
    vm_config_init(&c);
    assert_int_equal(vm_config_add_net(&c,
                                       "user,hostfwd=tcp:2222:22,hostfwd=udp:[::1]:53:53,hostfwd=tcp:10.0.0."
                                       "1:80:8080,mac=52:54:00:12:34:56",
                                       &e),
                     0);
    assert_int_equal(c.net[0].forwards, 3);
    assert_int_equal(c.net[0].forward[0].host_port, 2222);
    assert_int_equal(c.net[0].forward[0].guest_port, 22);
    assert_string_equal(c.net[0].forward[0].host_addr, "");
    assert_true(c.net[0].forward[1].udp);
    assert_string_equal(c.net[0].forward[1].host_addr, "::1");
    assert_string_equal(c.net[0].forward[2].host_addr, "10.0.0.1");
    assert_int_equal(c.net[0].mac[5], 0x56);
    assert_int_equal(vm_config_add_net(&c, "tap=tap0", &e), 0);
    assert_string_equal(c.net[1].tap, "tap0");
    static const char *const bad[] = {"bridge",
                                      "tap=",
                                      "tap=0123456789abcdef",
                                      "user,mac=53:54:00:12:34:56",
                                      "user,mac=1",
                                      "user,hostfwd=tcp:1",
                                      "user,hostfwd=sctp:1:2",
                                      "user,hostfwd=tcp:0:22",
                                      "user,hostfwd=tcp:1:65536",
                                      "user,hostfwd=tcp:nohost:1:2",
                                      "tap=t,hostfwd=tcp:1:2",
                                      "user,what=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        unsigned n = c.nets;
        assert_true(vm_config_add_net(&c, bad[i], &e) < 0);
        assert_non_null(strstr(e.msg, "--net: "));
        free(c.net[n].tap);
        c.nets = n;
    }
    vm_config_fini(&c);
}

static void json_gives_back_what_went_in(void **state)
{
    struct vm_config a, b;
    struct err e = {0};
    (void)state;
    vm_config_init(&a);
    vm_config_init(&b);
    vm_config_set(&a.kernel, "/k \"quoted\"");
    a.memory = (3ull << 20) + 4096;
    a.cpus = 7;
    a.rng = a.no_reboot = true;
    vm_config_set(&a.console_device, "virtio");
    vm_config_set(&a.serial, "file=early");
    assert_int_equal(vm_config_add_initrd(&a, "one", &e), 0);
    assert_int_equal(vm_config_add_initrd(&a, "two,2", &e), 0);
    assert_int_equal(vm_config_add_disk(&a, "d,,1,serial=x,,y", &e), 0);
    assert_int_equal(vm_config_add_net(&a, "user,hostfwd=tcp:[::1]:1:2,restrict", &e), 0);
    assert_int_equal(vm_config_add_net(&a, "tap=t0,mac=02:00:00:00:00:01", &e), 0);
    char *one = vm_config_to_json(&a);
    assert_non_null(one);
    if (vm_config_from_json(&b, one, strlen(one), "test", &e))
        fail_msg("%s", e.msg);
    char *two = vm_config_to_json(&b);
    assert_string_equal(one, two);
    assert_string_equal(b.disk[0].path, "d,1");
    assert_int_equal(b.initrds, 2);
    assert_string_equal(b.initrd[1], "two,2");
    assert_true(vm_config_virtio_console(&b));
    assert_string_equal(b.serial, "file=early");
    free(one);
    free(two);
    vm_config_fini(&a);
    vm_config_fini(&b);
}

static void json_that_is_not_a_config_is_refused_by_name(void **state)
{
    static const struct {
        const char *text, *word;
    } bad[] = {{"", "line"},
               {"[]", "object"},
               {"{\"memroy\": 1}", "memory"},
               {"{\"cpus\": -1}", "cpus"},
               {"{\"cpus\": \"2\"}", "cpus"},
               {"{\"rng\": 1}", "rng"},
               {"{\"kernel\": 5}", "kernel"},
               {"{\"initrd\": 5}", "initrd"},
               {"{\"initrd\": [\"a\", 5]}", "initrd"},
               {"{\"initrd\": [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}", "initrd"},
               {"{\"disks\": 5}", "disks"},
               {"{\"disks\": [5]}", "disks"},
               {"{\"nets\": [{\"user\": true, \"mac\": 5}]}", "mac"},
               {"{\"a\": 1, \"a\": 2}", "duplicate"},
               {"{\"memory\": -5}", "memory"},
               {"{\"console\": null}", "console"},
               {"{\"board\": null}", "board"}};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct vm_config c;
        struct err e = {0};
        vm_config_init(&c);
        assert_true(vm_config_from_json(&c, bad[i].text, strlen(bad[i].text), "f.json", &e) < 0);
        assert_non_null(strstr(e.msg, "f.json"));
        assert_non_null(strstr(e.msg, bad[i].word));
        vm_config_fini(&c);
    }
}

static void initrds_are_a_path_or_paths_and_bounded(void **state)
{
    static const char one[] = "{\"initrd\": \"a\"}", none[] = "{\"initrd\": null}";
    struct vm_config c;
    struct err e;
    (void)state;
    vm_config_init(&c);
    assert_int_equal(vm_config_from_json(&c, none, sizeof none - 1, "f", &e), 0);
    assert_int_equal(c.initrds, 0);
    assert_int_equal(vm_config_from_json(&c, one, sizeof one - 1, "f", &e), 0);
    assert_string_equal(c.initrd[0], "a");
    while (c.initrds < VM_MAX_INITRDS)
        assert_int_equal(vm_config_add_initrd(&c, "more", &e), 0);
    assert_true(vm_config_add_initrd(&c, "over", &e) < 0);
    assert_non_null(strstr(e.msg, "--initrd"));
    assert_int_equal(c.initrds, VM_MAX_INITRDS);
    vm_config_fini(&c);
}

static void the_console_is_one_device_in_one_place(void **state)
{
    static const struct {
        const char *console, *device, *serial, *word; /* NULL: fine */
    } cases[] = {{"stdio", "serial", NULL, NULL},      {"pty", "virtio", NULL, NULL},
                 {"stdio", "virtio", "pty", NULL},     {"none", "virtio", "stdio", NULL},
                 {"pty", "virtio", "pty", NULL},       {"stdio", "virtio", "stdio", "stdio already"},
                 {"stdio", "serial", "pty", "virtio"}, {"stdio", "vga", NULL, "vga"},
                 {"stdio", "virtio", "lp", "serial"},  {"tty", "virtio", NULL, "console"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vm_config c;
        struct err e = {0};
        vm_config_init(&c);
        vm_config_set(&c.kernel, "k");
        vm_config_set(&c.console, cases[i].console);
        vm_config_set(&c.console_device, cases[i].device);
        vm_config_set(&c.serial, cases[i].serial);
        int r = vm_config_check(&c, &e);
        assert_int_equal(r < 0, cases[i].word != NULL);
        if (r < 0)
            assert_non_null(strstr(e.msg, cases[i].word));
        vm_config_fini(&c);
    }
}

static void a_config_is_judged_before_the_host_is_touched(void **state)
{
    struct vm_config c;
    struct err e;
    (void)state;
    vm_config_init(&c);
    assert_true(vm_config_check(&c, &e) < 0);
    assert_non_null(strstr(e.msg, "--kernel"));
    vm_config_set(&c.kernel, "k");
    assert_int_equal(vm_config_check(&c, &e), 0);
    c.memory = 1 << 20;
    assert_true(vm_config_check(&c, &e) < 0);
    c.memory = (64ull << 20) + 1;
    assert_true(vm_config_check(&c, &e) < 0);
    c.memory = 64ull << 20;
    c.cpus = 0;
    assert_true(vm_config_check(&c, &e) < 0);
    c.cpus = 1;
    vm_config_set(&c.name, "../x");
    assert_true(vm_config_check(&c, &e) < 0);
    vm_config_set(&c.name, "web-1");
    vm_config_set(&c.console, "file=");
    assert_true(vm_config_check(&c, &e) < 0);
    vm_config_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read_as_people_write_them),
        cmocka_unit_test(a_disk_option_is_taken_apart),
        cmocka_unit_test(the_number_of_disks_is_bounded),
        cmocka_unit_test(a_network_option_is_taken_apart),
        cmocka_unit_test(json_gives_back_what_went_in),
        cmocka_unit_test(json_that_is_not_a_config_is_refused_by_name),
        cmocka_unit_test(initrds_are_a_path_or_paths_and_bounded),
        cmocka_unit_test(the_console_is_one_device_in_one_place),
        cmocka_unit_test(a_config_is_judged_before_the_host_is_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
