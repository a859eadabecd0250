#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "state/state.h"

struct chip {
    uint8_t a;
    uint16_t b;
    uint32_t c;
    uint64_t d;
    bool on, flags[3];
    uint16_t fifo[5];
    uint8_t mac[6];
    struct {
        uint32_t index;
        uint64_t value;
    } msr[3];
    uint32_t not_saved;
};

static const struct field fields[] = {
    FIELD(struct chip, a, .max = 9),
    FIELD(struct chip, b),
    FIELD(struct chip, c),
    FIELD(struct chip, d),
    FIELD(struct chip, on),
    FIELD_ARRAY(struct chip, flags),
    FIELD_ARRAY(struct chip, fifo, .max = 1000),
    FIELD_BLOB(struct chip, mac),
    FIELD_STRIDED(struct chip, msr, value),
};

enum { COUNT = sizeof fields / sizeof fields[0] };

static const struct field_table table = {.name = "chip", .version = 1, .fields = fields, .count = COUNT};

static const struct chip sample = {
    .a = 9,
    .b = 0x1234,
    .c = 0x89abcdef,
    .d = 0xfedcba9876543210,
    .on = true,
    .flags = {true, false, true},
    .fifo = {1, 2, 3, 4, 1000},
    .mac = {0x52, 0x54, 0, 1, 2, 3},
    .msr = {{1, 11}, {2, 22}, {3, UINT64_MAX}},
    .not_saved = 5,
};

static struct buf put(const struct field_table *t, const void *obj)
{
    struct buf b = {0};
    state_put(&b, t, obj);
    assert_false(b.failed);
    return b;
}

static int get(const struct buf *b, const struct field_table *t, uint32_t version, void *obj, struct err *e)
{
    struct rbuf r = rbuf_of(b->data, b->len);
    e->msg[0] = 0;
    int rc = state_get(&r, t, version, obj, e);
    assert_true(!rc == !e->msg[0]);
    return rc;
}

static void what_was_put_is_got_and_what_is_not_in_the_table_is_left(void **state)
{
    struct buf b = put(&table, &sample);
    struct chip c;
    struct err e;
    (void)state;
    memset(&c, 0, sizeof c);
    c.not_saved = 7;
    c.msr[1].index = 99;
    assert_int_equal(get(&b, &table, 1, &c, &e), 0);
    assert_null(state_differs(&table, &sample, &c));
    assert_int_equal(c.not_saved, 7);
    assert_int_equal(c.msr[1].index, 99);
    assert_true(c.msr[2].value == UINT64_MAX && c.on && c.flags[2] && !c.flags[1]);
    buf_free(&b);
}

static void differences_are_named(void **state)
{
    struct chip c = sample;
    (void)state;
    assert_null(state_differs(&table, &sample, &c));
    c.not_saved++;
    c.msr[0].index++;
    assert_null(state_differs(&table, &sample, &c));
    c.mac[5]++;
    assert_string_equal(state_differs(&table, &sample, &c), "mac");
    c = sample;
    c.msr[2].value--;
    assert_string_equal(state_differs(&table, &sample, &c), "msr.value");
    c = sample;
    c.flags[1] = true;
    assert_string_equal(state_differs(&table, &sample, &c), "flags");
}

static void the_wire_carries_names_and_little_endian_elements(void **state)
{
    static const struct field one[] = {FIELD(struct chip, b)};
    static const struct field_table t = {.name = "one", .version = 1, .fields = one, .count = 1};
    struct buf b = put(&t, &sample);
    (void)state;
    assert_int_equal(b.len, 4 + 1 + 1 + 1 + 4 + 4 + 2);
    assert_memory_equal(b.data, "\1\0\0\0\1b\0\2\0\0\0\1\0\0\0\x34\x12", 17);
    buf_free(&b);
}

/* Whatever is refused leaves the object alone. */
static void refused(const struct buf *b, const struct field_table *t, uint32_t version, const char *word)
{
    struct chip c, before;
    struct err e;
    memset(&c, 0x01, sizeof c);
    before = c;
    assert_int_equal(get(b, t, version, &c, &e), -EINVAL);
    assert_memory_equal(&c, &before, sizeof c);
    if (!strstr(e.msg, word))
        fail_msg("'%s' does not name '%s'", e.msg, word);
}

static void every_truncation_is_refused(void **state)
{
    struct buf b = put(&table, &sample);
    (void)state;
    for (size_t n = 0; n < b.len; n++) {
        struct buf cut = {.data = b.data, .len = n};
        refused(&cut, &table, 1, "");
    }
    buf_u8(&b, 0);
    refused(&b, &table, 1, "1 bytes too many");
    buf_free(&b);
}

static void a_flipped_byte_never_touches_an_object_that_is_refused(void **state)
{
    struct buf b = put(&table, &sample);
    struct err e;
    (void)state;
    for (size_t at = 0; at < b.len; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            struct chip c, before;
            memset(&c, 0x01, sizeof c);
            before = c;
            b.data[at] ^= (uint8_t)(1u << bit);
            if (get(&b, &table, 1, &c, &e) == 0)
                assert_true(c.a <= 9 && c.fifo[0] <= 1000); /* a value changed to another allowed one */
            else
                assert_memory_equal(&c, &before, sizeof c);
            b.data[at] ^= (uint8_t)(1u << bit);
        }
    buf_free(&b);
}

static void values_beyond_their_maximum_are_refused_by_name(void **state)
{
    struct chip c = sample;
    struct buf b;
    (void)state;
    c.a = 10;
    b = put(&table, &c);
    refused(&b, &table, 1, "field a");
    buf_free(&b);
    c = sample;
    c.fifo[3] = 1001;
    b = put(&table, &c);
    refused(&b, &table, 1, "field fifo");
    buf_free(&b);
}

static void a_truth_is_zero_or_one(void **state)
{
    static const struct field as_byte[] = {{.name = "on", .size = 1, .count = 1}};
    static const struct field_table byte_table = {.name = "t", .version = 1, .fields = as_byte, .count = 1};
    static const struct field as_bool[] = {{.name = "on", .size = 1, .count = 1, .kind = FIELD_BOOL}};
    static const struct field_table bool_table = {.name = "t", .version = 1, .fields = as_bool, .count = 1};
    uint8_t two = 2, one = 1, got[sizeof(struct chip)];
    struct err e;
    (void)state;
    assert_int_equal(fields[4].kind, FIELD_BOOL); /* by the member's type */
    assert_int_equal(fields[5].kind, FIELD_BOOL);
    struct buf b = put(&byte_table, &two);
    b.data[4 + 1 + 2] = FIELD_BOOL; /* a 2 where a truth is wanted */
    refused(&b, &bool_table, 1, "field on");
    buf_free(&b);
    b = put(&bool_table, &two); /* an object of ours that holds one: a truth */
    assert_int_equal(get(&b, &bool_table, 1, got, &e), 0);
    assert_int_equal(got[0], 1);
    assert_null(state_differs(&bool_table, &two, &one));
    assert_non_null(state_differs(&byte_table, &two, &one));
    buf_free(&b);
}

static const struct field newer[] = {
    FIELD(struct chip, a),
    FIELD(struct chip, b, .since = 2, .dflt = 0x4321),
    FIELD_ARRAY(struct chip, flags, .since = 3, .dflt = 1),
    FIELD_BLOB(struct chip, mac, .since = 3, .dflt = 0xff),
    FIELD_STRIDED(struct chip, msr, value, .since = 2, .dflt = 7),
};
static const struct field_table v3 = {.name = "chip", .version = 3, .fields = newer, .count = 5};
static const struct field_table v1 = {.name = "chip", .version = 1, .fields = newer, .count = 1};

static void an_older_section_gets_the_defaults_of_what_it_lacks(void **state)
{
    struct buf b = put(&v1, &sample);
    struct chip c = {0};
    struct err e;
    (void)state;
    assert_int_equal(get(&b, &v3, 1, &c, &e), 0);
    assert_int_equal(c.a, sample.a);
    assert_int_equal(c.b, 0x4321);
    assert_true(c.flags[0] && c.flags[2]);
    assert_memory_equal(c.mac, "\xff\xff\xff\xff\xff\xff", 6);
    assert_true(c.msr[0].value == 7 && c.msr[2].value == 7 && c.msr[1].index == 0);
    refused(&b, &v3, 2, "field b is missing");
    refused(&b, &v3, 3, "missing");
    buf_free(&b);
}

static void a_newer_or_impossible_version_is_refused(void **state)
{
    struct buf b = put(&v1, &sample);
    (void)state;
    refused(&b, &v1, 2, "version 2");
    refused(&b, &v1, 0, "version 0");
    refused(&b, &v1, UINT32_MAX, "version");
    buf_free(&b);
    b = put(&v3, &sample);
    refused(&b, &v3, 1, "field b came with version 2");
    buf_free(&b);
}

static void an_unknown_field_is_refused_by_name(void **state)
{
    static const struct field_table fewer = {
        .name = "chip", .version = 1, .fields = fields + 1, .count = COUNT - 1};
    static const struct field other[] = {{.name = "zeta", .size = 1, .count = 1}};
    static const struct field_table others = {.name = "chip", .version = 1, .fields = other, .count = 1};
    struct buf b = put(&others, &sample);
    (void)state;
    refused(&b, &table, 1, "'zeta'");
    buf_free(&b);
    b = put(&table, &sample);
    refused(&b, &fewer, 1, "fields");
    buf_free(&b);
}

static void a_field_of_another_form_or_there_twice_is_refused_by_name(void **state)
{
    static const struct field narrow[] = {{.name = "c", .size = 2, .count = 2}};
    static const struct field blob[] = {{.name = "c", .size = 4, .count = 1, .kind = FIELD_BYTES}};
    static const struct field once[] = {FIELD(struct chip, c)},
                              both[] = {FIELD(struct chip, c), FIELD(struct chip, a)};
    static const struct field twice[] = {FIELD(struct chip, c), FIELD(struct chip, c)};
#define TABLE(f)                                                                                             \
    {                                                                                                        \
        .name = "t", .version = 1, .fields = f, .count = sizeof f / sizeof f[0]                              \
    }
    static const struct field_table tn = TABLE(narrow), tb = TABLE(blob), to = TABLE(once), t2 = TABLE(twice),
                                    tboth = TABLE(both);
    struct buf b = put(&to, &sample);
    (void)state;
    refused(&b, &tn, 1, "field c");
    refused(&b, &tb, 1, "field c");
    buf_free(&b);
    b = put(&t2, &sample);
    refused(&b, &tboth, 1, "field c appears twice");
    buf_free(&b);
}

static int post_load(void *obj, struct err *e)
{
    struct chip *c = obj;
    c->not_saved = c->a * 2u;
    return c->b == 0xdead ? err_set(e, EINVAL, "b and a do not go together") : 0;
}

static void post_load_derives_and_may_refuse(void **state)
{
    static const struct field_table t = {
        .name = "chip", .version = 1, .fields = fields, .count = COUNT, .post_load = post_load};
    struct chip c = sample, got = {0};
    struct err e;
    (void)state;
    struct buf b = put(&t, &c);
    assert_int_equal(get(&b, &t, 1, &got, &e), 0);
    assert_int_equal(got.not_saved, 18);
    buf_free(&b);
    c.b = 0xdead;
    b = put(&t, &c);
    assert_int_equal(get(&b, &t, 1, &got, &e), -EINVAL);
    assert_string_equal(e.msg, "b and a do not go together");
    buf_free(&b);
}

static void fields_may_come_in_another_order(void **state)
{
    static const struct field ab[] = {FIELD(struct chip, a), FIELD(struct chip, b)},
                              ba[] = {FIELD(struct chip, b), FIELD(struct chip, a)};
    static const struct field_table t1 = TABLE(ab), t2 = TABLE(ba);
    struct buf b = put(&t1, &sample);
    struct chip c = {0};
    struct err e;
    (void)state;
    assert_int_equal(get(&b, &t2, 1, &c, &e), 0);
    assert_null(state_differs(&t1, &sample, &c));
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_got_and_what_is_not_in_the_table_is_left),
        cmocka_unit_test(differences_are_named),
        cmocka_unit_test(the_wire_carries_names_and_little_endian_elements),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(a_flipped_byte_never_touches_an_object_that_is_refused),
        cmocka_unit_test(values_beyond_their_maximum_are_refused_by_name),
        cmocka_unit_test(a_truth_is_zero_or_one),
        cmocka_unit_test(an_older_section_gets_the_defaults_of_what_it_lacks),
        cmocka_unit_test(a_newer_or_impossible_version_is_refused),
        cmocka_unit_test(an_unknown_field_is_refused_by_name),
        cmocka_unit_test(a_field_of_another_form_or_there_twice_is_refused_by_name),
        cmocka_unit_test(post_load_derives_and_may_refuse),
        cmocka_unit_test(fields_may_come_in_another_order),
    };
    return cmocka_run_group_tests_name("state: fields", tests, NULL, NULL);
}
