#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/range.h"

static void what_a_buffer_was_given_a_reader_gives_back(void **state)
{
    struct buf b = {0};
    (void)state;
    buf_u8(&b, 0x12);
    buf_u16(&b, 0x3456);
    buf_u32(&b, 0x789abcde);
    buf_u64(&b, 0x1122334455667788);
    buf_put(&b, "bytes", 5);
    buf_zero(&b, 3);
    buf_printf(&b, "%d-%s", 42, "x");
    assert_false(b.failed);
    assert_int_equal(b.len, 1 + 2 + 4 + 8 + 5 + 3 + 4);

    struct rbuf r = rbuf_of(b.data, b.len);
    assert_int_equal(rbuf_u8(&r), 0x12);
    assert_int_equal(rbuf_u16(&r), 0x3456);
    assert_int_equal(rbuf_u32(&r), 0x789abcde);
    assert_true(rbuf_u64(&r) == 0x1122334455667788);
    assert_memory_equal(rbuf_take(&r, 5), "bytes", 5);
    char zero[3], text[4];
    assert_true(rbuf_get(&r, zero, 3));
    assert_memory_equal(zero, "\0\0\0", 3);
    assert_true(rbuf_get(&r, text, 4));
    assert_memory_equal(text, "42-x", 4);
    assert_int_equal(rbuf_left(&r), 0);
    assert_false(r.failed);
    buf_free(&b);
    assert_null(b.data);
}

static void the_wire_is_little_endian(void **state)
{
    struct buf b = {0};
    (void)state;
    buf_u32(&b, 0x01020304);
    assert_memory_equal(b.data, "\4\3\2\1", 4);
    buf_set_u32(&b, 0, 0x0a0b0c0d);
    assert_memory_equal(b.data, "\xd\xc\xb\xa", 4);
    buf_free(&b);
}

static void a_reader_past_its_end_gives_zeros_and_remembers(void **state)
{
    uint8_t three[3] = {1, 2, 3};
    uint32_t filled = 0xffffffff;
    (void)state;
    struct rbuf r = rbuf_of(three, sizeof three);
    assert_false(rbuf_get(&r, &filled, 4));
    assert_int_equal(filled, 0);
    assert_true(r.failed);
    assert_int_equal(rbuf_u8(&r), 0); /* even what would still be there */
    assert_null(rbuf_take(&r, SIZE_MAX));
}

static void an_empty_reader_is_fine_until_it_is_asked(void **state)
{
    (void)state;
    struct rbuf r = rbuf_of(NULL, 0);
    assert_int_equal(rbuf_left(&r), 0);
    assert_true(rbuf_get(&r, NULL, 0));
    assert_false(r.failed);
    rbuf_u8(&r);
    assert_true(r.failed);
}

static void a_buffer_grows_as_far_as_needed_and_an_impossible_size_is_remembered(void **state)
{
    struct buf b = {0};
    (void)state;
    for (unsigned i = 0; i < 100000; i++)
        buf_u32(&b, i);
    assert_int_equal(b.len, 400000);
    for (unsigned i = 0; i < 100000; i++)
        assert_memory_equal(b.data + 4 * i, &i, 4);
    buf_zero(&b, SIZE_MAX - 5);
    assert_true(b.failed);
    buf_u8(&b, 1);
    buf_set_u32(&b, 0, 1);
    assert_int_equal(b.len, 400000);
    buf_free(&b);
}

static void crc32c_gives_the_check_values_of_rfc_3720(void **state)
{
    uint8_t b[32];
    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    memset(b, 0, sizeof b);
    assert_int_equal(crc32c(0, b, sizeof b), 0x8a9136aa);
    memset(b, 0xff, sizeof b);
    assert_int_equal(crc32c(0, b, sizeof b), 0x62a8ab43);
    for (unsigned i = 0; i < sizeof b; i++)
        b[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, b, sizeof b), 0x46dd794e);
    assert_int_equal(crc32c(0, b, 0), 0);
}

static void both_forms_of_crc32c_agree_for_every_length_alignment_and_split(void **state)
{
    uint8_t b[96];
    (void)state;
    for (unsigned i = 0; i < sizeof b; i++)
        b[i] = (uint8_t)(i * 37 + 11);
    for (size_t at = 0; at < 9; at++)
        for (size_t n = 0; n + at <= sizeof b; n++) {
            uint32_t whole = crc32c_portable(0, b + at, n);
            assert_int_equal(crc32c(0, b + at, n), whole);
            assert_int_equal(crc32c(crc32c(0, b + at, n / 3), b + at + n / 3, n - n / 3), whole);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_buffer_was_given_a_reader_gives_back),
        cmocka_unit_test(the_wire_is_little_endian),
        cmocka_unit_test(a_reader_past_its_end_gives_zeros_and_remembers),
        cmocka_unit_test(an_empty_reader_is_fine_until_it_is_asked),
        cmocka_unit_test(a_buffer_grows_as_far_as_needed_and_an_impossible_size_is_remembered),
        cmocka_unit_test(crc32c_gives_the_check_values_of_rfc_3720),
        cmocka_unit_test(both_forms_of_crc32c_agree_for_every_length_alignment_and_split),
    };
    return cmocka_run_group_tests_name("base: buf", tests, NULL, NULL);
}
