#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "guest/bus.h"
#include "host/host.h"
#include "host/lock.h"

struct dev {
    char log[256];
    uint32_t value;
    struct lock lock;
    bool locked;
};

static void note(struct dev *d, char what, uint16_t offset, unsigned size, uint32_t value)
{
    size_t n = strlen(d->log);
    snprintf(d->log + n, sizeof d->log - n, "%c%u@%x=%x ", what, size, offset, value);
    d->locked = pthread_mutex_trylock(&d->lock.mutex) == EBUSY;
    if (!d->locked)
        pthread_mutex_unlock(&d->lock.mutex);
}

static uint32_t dev_read(void *opaque, uint16_t offset, unsigned size)
{
    struct dev *d = opaque;
    note(d, 'r', offset, size, d->value);
    return d->value;
}

static void dev_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
    note(opaque, 'w', offset, size, value);
}

static const struct bus_ops wide = {.read = dev_read, .write = dev_write};
static const struct bus_ops bytes = {.read = dev_read, .write = dev_write, .max_size = 1};
static const struct bus_ops mute = {0};

struct ctx {
    struct bus *b;
    struct dev d, e;
};

static int setup(void **state)
{
    struct ctx *c = calloc(1, sizeof *c);
    c->b = bus_new(NULL);
    lock_init(&c->d.lock, LOCK_DEVICE);
    lock_init(&c->e.lock, LOCK_DEVICE);
    assert_int_equal(bus_claim(c->b, "serial", 0x3f8, 8, &bytes, &c->d, &c->d.lock, NULL), 0);
    assert_int_equal(bus_claim(c->b, "next", 0x400, 4, &wide, &c->e, &c->e.lock, NULL), 0);
    assert_int_equal(bus_claim(c->b, "mute", 0x80, 1, &mute, NULL, NULL, NULL), 0);
    assert_int_equal(bus_claim(c->b, "last", 0xfffc, 4, &wide, &c->e, NULL, NULL), 0);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    bus_free(c->b);
    free(c);
    return 0;
}

static void an_access_reaches_the_holder_under_its_lock(void **state)
{
    struct ctx *c = *state;
    c->e.value = 0x12345678;
    assert_int_equal(bus_read(c->b, 0x400, 4), 0x12345678);
    assert_int_equal(bus_read(c->b, 0x402, 2), 0x5678);
    bus_write(c->b, 0x403, 1, 0xfff);
    assert_string_equal(c->e.log, "r4@0=12345678 r2@2=12345678 w1@3=ff ");
    assert_true(c->e.locked);
    assert_string_equal(c->d.log, "");
}

static void what_is_too_wide_is_split_lower_part_first(void **state)
{
    struct ctx *c = *state;
    bus_write(c->b, 0x3f8, 4, 0x44332211);
    assert_string_equal(c->d.log, "w1@0=11 w1@1=22 w1@2=33 w1@3=44 ");
    c->d.value = 0xab;
    assert_int_equal(bus_read(c->b, 0x3f8, 2), 0xabab);
}

static void an_access_across_two_devices_reaches_both(void **state)
{
    struct ctx *c = *state;
    bus_write(c->b, 0x3fe, 4, 0x44332211);
    assert_string_equal(c->d.log, "w1@6=11 w1@7=22 ");
    assert_string_equal(c->e.log, "w2@0=4433 ");
    c->e.value = 0xcd;
    assert_int_equal(bus_read(c->b, 0x403, 2), 0xffcd); /* and nobody */
}

static void nobody_reads_all_ones(void **state)
{
    struct ctx *c = *state;
    assert_int_equal(bus_read(c->b, 0x1000, 1), 0xff);
    assert_int_equal(bus_read(c->b, 0x1000, 2), 0xffff);
    assert_int_equal(bus_read(c->b, 0x1000, 4), 0xffffffff);
    assert_int_equal(bus_read(c->b, 0x80, 1), 0xff); /* claimed, without functions */
    bus_write(c->b, 0x80, 4, 0);
    bus_write(c->b, 0x1000, 4, 0);
    bus_write(c->b, 0xffff, 4, 0); /* beyond the last port */
    assert_string_equal(c->d.log, "");
}

static void a_taken_port_is_refused_with_its_holders_name(void **state)
{
    struct ctx *c = *state;
    struct err e;
    assert_int_equal(bus_claim(c->b, "late", 0x3ff, 1, &wide, NULL, NULL, &e), -EBUSY);
    assert_non_null(strstr(e.msg, "serial"));
    assert_int_equal(bus_claim(c->b, "late", 0x3f0, 100, &wide, NULL, NULL, &e), -EBUSY);
    assert_int_equal(bus_claim(c->b, "late", 0xffff, 2, &wide, NULL, NULL, &e), -EINVAL);
    assert_int_equal(bus_claim(c->b, "late", 0, 0, &wide, NULL, NULL, &e), -EINVAL);
    assert_int_equal(bus_claim(c->b, "between", 0x3f0, 8, &wide, NULL, NULL, &e), 0);
}

static void a_released_port_is_nobodys_and_can_be_claimed_again(void **state)
{
    struct ctx *c = *state;
    bus_release(c->b, 0x400, 4);
    bus_release(c->b, 0x400, 4); /* nothing there: nothing happens */
    assert_int_equal(bus_read(c->b, 0x400, 1), 0xff);
    assert_int_equal(bus_claim(c->b, "again", 0x402, 2, &bytes, &c->e, NULL, NULL), 0);
    c->e.value = 7;
    assert_int_equal(bus_read(c->b, 0x403, 1), 7);
    assert_int_equal(bus_read(c->b, 0x401, 1), 0xff);
}

static void a_bus_that_is_full_says_so(void **state)
{
    struct ctx *c = *state;
    struct err e;
    int r = 0;
    unsigned n = 0;
    for (; !r && n < 2000; n++)
        r = bus_claim(c->b, "many", (uint16_t)(0x2000 + n), 1, &bytes, &c->d, NULL, &e);
    assert_int_equal(r, -ENOSPC);
    c->d.value = 3;
    assert_int_equal(bus_read(c->b, 0x2000, 1), 3);
}

struct storm {
    struct bus *b;
    atomic_bool stop;
};

static uint32_t fixed(void *opaque, uint16_t offset, unsigned size)
{
    (void)size;
    return (uint32_t)(uintptr_t)opaque + offset;
}

static const struct bus_ops fixed_ops = {.read = fixed, .max_size = 1};

static void *read_ports(void *opaque)
{
    struct storm *s = opaque;
    for (unsigned i = 0; i < 1000 || !atomic_load(&s->stop); i++) {
        uint32_t moving = bus_read(s->b, 0x1001, 1);
        assert_int_equal(bus_read(s->b, 0x500, 1), 0x10); /* never disturbed */
        assert_int_equal(bus_read(s->b, 0x2001, 1), 0x21);
        assert_true(moving == 0xff || moving == 0x31 || moving == 0x41);
    }
    return NULL;
}

static void vcpus_read_ports_while_a_bar_moves(void **state)
{
    struct storm s = {.b = bus_new(NULL)};
    pthread_t t[2];
    (void)state;
    bus_claim(s.b, "low", 0x500, 1, &fixed_ops, (void *)0x10, NULL, NULL);
    bus_claim(s.b, "high", 0x2000, 16, &fixed_ops, (void *)0x20, NULL, NULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(host_thread(&t[i], "vcpu", read_ports, &s), 0);
    for (unsigned i = 0; i < 5000; i++) {
        bus_claim(s.b, "bar", 0x1000, 4, &fixed_ops, (void *)(uintptr_t)(i % 2 ? 0x30 : 0x40), NULL, NULL);
        bus_claim(s.b, "other", 0x600, 4, &fixed_ops, (void *)0x50, NULL, NULL);
        bus_release(s.b, 0x1000, 4);
        bus_release(s.b, 0x600, 4);
        if (i % 64 == 0)
            sched_yield();
    }
    atomic_store(&s.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    bus_free(s.b);
    bus_free(NULL);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(an_access_reaches_the_holder_under_its_lock),
        T(what_is_too_wide_is_split_lower_part_first),
        T(an_access_across_two_devices_reaches_both),
        T(nobody_reads_all_ones),
        T(a_taken_port_is_refused_with_its_holders_name),
        T(a_released_port_is_nobodys_and_can_be_claimed_again),
        T(a_bus_that_is_full_says_so),
        cmocka_unit_test(vcpus_read_ports_while_a_bar_moves),
    };
    return cmocka_run_group_tests_name("guest: bus", tests, NULL, NULL);
}
