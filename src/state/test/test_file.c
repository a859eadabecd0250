#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/err.h"
#include "host/host.h"
#include "state/state.h"

struct dev {
    uint32_t x;
    uint8_t y[3];
};

static const struct field fields[] = {FIELD(struct dev, x), FIELD_ARRAY(struct dev, y)};
static const struct field_table table = {.name = "dev", .version = 1, .fields = fields, .count = 2};

static const struct dev one = {1, {1, 2, 3}}, two = {2, {4, 5, 6}};

/* The bytes of a small file: dev.0, dev.1 and a raw section. malloc'ed to its exact length, for the address
 * sanitizer. */
static uint8_t *small_file(size_t *len)
{
    struct err e;
    struct dev a = one, b = two;
    struct state_writer *w = state_writer_new("microvm-1", &e);
    int fd = memfd_create("state", 0);
    assert_non_null(w);
    assert_int_equal(state_write(w, &(struct saved){.table = &table, .obj = &a, .instance = 0}), 0);
    assert_int_equal(state_write(w, &(struct saved){.table = &table, .obj = &b, .instance = 1}), 0);
    assert_int_equal(state_write_raw(w, "raw", 7, 3, "payload", 7), 0);
    assert_int_equal(state_finish(w, fd, &e), 0);
    *len = (size_t)lseek(fd, 0, SEEK_END);
    uint8_t *p = malloc(*len);
    assert_int_equal(host_pread_full(fd, p, *len, 0), 0);
    close(fd);
    return p;
}

static void a_file_gives_back_its_sections(void **state)
{
    struct err e;
    size_t len, n;
    uint32_t version;
    const uint8_t *p;
    uint8_t *file = small_file(&len);
    struct dev a = {0}, b = {0};
    struct state_reader *r = state_reader_new(file, len, &e);
    (void)state;
    assert_non_null(r);
    assert_string_equal(state_board(r), "microvm-1");
    assert_int_equal(state_read(r, &(struct saved){.table = &table, .obj = &b, .instance = 1}, &e), 0);
    assert_int_equal(state_read(r, &(struct saved){.table = &table, .obj = &a}, &e), 0);
    assert_null(state_differs(&table, &a, &one));
    assert_null(state_differs(&table, &b, &two));
    assert_int_equal(state_reader_done(r, &e), -EINVAL);
    assert_non_null(strstr(e.msg, "raw.7"));
    assert_int_equal(state_read_raw(r, "raw", 7, &version, &p, &n, &e), 0);
    assert_int_equal(version, 3);
    assert_int_equal(n, 7);
    assert_memory_equal(p, "payload", 7);
    assert_int_equal(state_reader_done(r, &e), 0);
    assert_int_equal(state_read(r, &(struct saved){.table = &table, .obj = &a, .instance = 2}, &e), -ENOENT);
    assert_non_null(strstr(e.msg, "dev.2"));
    assert_int_equal(state_read_raw(r, "ra", 7, &version, &p, &n, &e), -ENOENT);
    state_reader_free(r);
    state_reader_free(NULL);
    free(file);
}

static void a_section_that_does_not_fit_its_table_is_named_with_the_field(void **state)
{
    static const struct field other[] = {FIELD(struct dev, x, .max = 1), FIELD_ARRAY(struct dev, y)};
    static const struct field_table strict = {.name = "dev", .version = 1, .fields = other, .count = 2};
    struct err e;
    size_t len;
    uint8_t *file = small_file(&len);
    struct dev d = {0};
    struct state_reader *r = state_reader_new(file, len, &e);
    (void)state;
    assert_int_equal(state_read(r, &(struct saved){.table = &strict, .obj = &d, .instance = 1}, &e), -EINVAL);
    assert_non_null(strstr(e.msg, "dev.1"));
    assert_non_null(strstr(e.msg, "field x"));
    state_reader_free(r);
    free(file);
}

static void refused(const void *p, size_t n)
{
    struct err e = {""};
    uint8_t *exact = malloc(n ? n : 1);
    if (n)
        memcpy(exact, p, n);
    assert_null(state_reader_new(exact, n, &e));
    assert_true(e.msg[0]);
    assert_null(strchr(e.msg, '\n'));
    free(exact);
}

static void every_truncation_is_refused(void **state)
{
    size_t len;
    uint8_t *file = small_file(&len);
    (void)state;
    for (size_t n = 0; n < len; n++)
        refused(file, n);
    refused(NULL, 0);
    free(file);
}

static void every_flipped_bit_is_refused(void **state)
{
    size_t len;
    uint8_t *file = small_file(&len);
    (void)state;
    for (size_t at = 0; at < len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            file[at] ^= (uint8_t)(1u << bit);
            refused(file, len);
            file[at] ^= (uint8_t)(1u << bit);
        }
        file[at] ^= 0xff;
        refused(file, len);
        file[at] ^= 0xff;
    }
    free(file);
}

static void bytes_after_the_end_are_refused(void **state)
{
    size_t len;
    uint8_t *file = small_file(&len);
    uint8_t *more = realloc(file, len * 2);
    (void)state;
    memset(more + len, 0, len);
    refused(more, len + 1);
    memcpy(more + len, more, len);
    refused(more, len * 2);
    free(more);
}

/* A file whose checksums are right, whatever is in it. */
static struct buf forged(const void *sections, size_t n, bool sum_sections)
{
    struct buf b = {0};
    buf_put(&b, "LIEGEST1\1\0\0\0\5board", 18);
    size_t at = b.len;
    buf_put(&b, sections, n);
    if (sum_sections)
        buf_u32(&b, crc32c(0, b.data + at, b.len - at));
    buf_u8(&b, 0);
    buf_u32(&b, crc32c(0, b.data, b.len));
    return b;
}

static void a_forger_who_knows_the_checksum_gets_no_further_than_the_lengths(void **state)
{
    struct err e;
    struct buf b = forged("\1s\0\0\0\0\1\0\0\0\2\0\0\0ab", 16, true);
    (void)state;
    struct state_reader *r = state_reader_new(b.data, b.len, &e); /* the forger's art is right */
    assert_non_null(r);
    state_reader_free(r);
    buf_free(&b);
    static const char *const bad[] = {
        "\1s\0\0\0\0\1\0\0\0\3\0\0\0ab", /* a byte longer than it is: into the checksum */
        "\1s\0\0\0\0\1\0\0\0\xff\xff\xff\xff"
        "ab",                               /* endless */
        "\1 \0\0\0\0\1\0\0\0\2\0\0\0ab",    /* a space in the name */
        "\1\x1b\0\0\0\0\1\0\0\0\2\0\0\0ab", /* an escape in the name */
        "\377s\0\0\0\0\1\0\0\0\2\0\0\0ab",  /* a name beyond the file */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        b = forged(bad[i], 16, true);
        refused(b.data, b.len);
        buf_free(&b);
    }
}

static void a_section_there_twice_is_refused_by_name(void **state)
{
    struct err e;
    struct buf two_of_it = {0};
    (void)state;
    for (int i = 0; i < 2; i++) {
        size_t at = two_of_it.len;
        buf_put(&two_of_it, "\4twin\3\0\0\0\1\0\0\0\0\0\0\0", 17);
        buf_u32(&two_of_it, crc32c(0, two_of_it.data + at, 17));
    }
    struct buf b = forged(two_of_it.data, two_of_it.len, false);
    assert_null(state_reader_new(b.data, b.len, &e));
    assert_non_null(strstr(e.msg, "twin.3"));
    buf_free(&b);
    buf_free(&two_of_it);
}

static void more_sections_than_any_machine_has_are_refused(void **state)
{
    struct buf many = {0};
    struct err e;
    (void)state;
    for (uint32_t i = 0; i < 5000; i++) {
        size_t at = many.len;
        buf_put(&many, "\1m", 2);
        buf_u32(&many, i);
        buf_u64(&many, 1);
        buf_u32(&many, crc32c(0, many.data + at, 14));
    }
    struct buf b = forged(many.data, many.len, false);
    assert_null(state_reader_new(b.data, b.len, &e));
    assert_non_null(strstr(e.msg, "sections"));
    buf_free(&b);
    buf_free(&many);
}

static void another_format_and_another_file_are_refused(void **state)
{
    size_t len;
    uint8_t *file = small_file(&len);
    struct err e;
    (void)state;
    file[8] = 2;
    assert_null(state_reader_new(file, len, &e));
    assert_non_null(strstr(e.msg, "format 2"));
    assert_null(state_reader_new("#!/bin/sh\nexit 1\n", 17, &e));
    assert_string_equal(e.msg, "not a saved state");
    assert_null(state_reader_new(file, (64 << 20) + 1, &e)); /* not one byte is looked at */
    free(file);
}

static void a_state_too_large_to_load_is_not_written(void **state)
{
    struct err e;
    struct state_writer *w = state_writer_new("board", &e);
    uint8_t *big = calloc(1, 40 << 20);
    int fd = memfd_create("state", 0);
    (void)state;
    assert_int_equal(state_write_raw(w, "a", 0, 1, big, 40 << 20), 0);
    assert_int_equal(state_write_raw(w, "b", 0, 1, big, 40 << 20), 0);
    assert_int_equal(state_finish(w, fd, &e), -EFBIG);
    assert_int_equal(lseek(fd, 0, SEEK_END), 0);
    free(big);
    close(fd);
}

static void a_pipe_takes_a_state_and_a_closed_fd_is_an_error(void **state)
{
    int p[2];
    struct err e;
    uint8_t got[64];
    (void)state;
    assert_int_equal(pipe(p), 0);
    assert_int_equal(state_finish(state_writer_new("b", &e), p[1], &e), 0);
    close(p[1]);
    ssize_t n = read(p[0], got, sizeof got);
    struct state_reader *r = state_reader_new(got, (size_t)n, &e);
    assert_non_null(r);
    assert_int_equal(state_reader_done(r, &e), 0);
    state_reader_free(r);
    close(p[0]);
    assert_int_equal(state_finish(state_writer_new("b", &e), -1, &e), -EBADF);
    assert_true(e.msg[0]);
    state_writer_free(state_writer_new("b", &e));
    state_writer_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_gives_back_its_sections),
        cmocka_unit_test(a_section_that_does_not_fit_its_table_is_named_with_the_field),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_is_refused),
        cmocka_unit_test(bytes_after_the_end_are_refused),
        cmocka_unit_test(a_forger_who_knows_the_checksum_gets_no_further_than_the_lengths),
        cmocka_unit_test(a_section_there_twice_is_refused_by_name),
        cmocka_unit_test(more_sections_than_any_machine_has_are_refused),
        cmocka_unit_test(another_format_and_another_file_are_refused),
        cmocka_unit_test(a_state_too_large_to_load_is_not_written),
        cmocka_unit_test(a_pipe_takes_a_state_and_a_closed_fd_is_an_error),
    };
    return cmocka_run_group_tests_name("state: file", tests, NULL, NULL);
}
