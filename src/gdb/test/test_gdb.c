#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "gdb/internal.h"

static void every_register_reads_back_what_was_written(void **state)
{
    struct x86_state *s = calloc(1, sizeof *s);
    (void)state;
    assert_non_null(s);
    for (unsigned r = 0; r < gdb_reg_count(); r++) {
        uint8_t in[16], out[16];
        size_t n = gdb_reg_size(r);
        for (unsigned i = 0; i < 16; i++)
            in[i] = (uint8_t)(r * 7 + i + 1);
        if (n == 4 && r < 40) /* selectors and x87 words hold 16 bits; the tag word only empty and valid */
            memset(in + 2, 0, 2);
        if (r == 34)
            memcpy(in, "\x03\xc0\x00\x00", 4);
        assert_int_equal(gdb_reg_set(s, r, in), n);
        assert_int_equal(gdb_reg_get(s, r, out), n);
        if (r != 17 && r != 35 && r != 36 && r != 37 && r != 38 && r != 39)
            assert_memory_equal(in, out, n);
    }
    assert_int_equal(gdb_reg_get(s, gdb_reg_count(), (uint8_t[16]){0}), 0);
    assert_int_equal(gdb_reg_set(s, 100000, (uint8_t[16]){0}), 0);
    free(s);
}

static void the_description_names_each_register_once(void **state)
{
    struct buf b = {0};
    unsigned count = 0;
    (void)state;
    gdb_target_xml(&b);
    buf_u8(&b, 0);
    for (const char *p = (char *)b.data; (p = strstr(p, "<reg ")); p++)
        count++;
    assert_int_equal(count, gdb_reg_count());
    assert_non_null(strstr((char *)b.data, "org.gnu.gdb.i386.core"));
    buf_free(&b);
}

static void hexadecimal_is_read_strictly(void **state)
{
    const char *p = "1fZ";
    uint8_t out[2];
    (void)state;
    assert_true(hex_u64(&p) == 0x1f);
    assert_int_equal(*p, 'Z');
    assert_true(hex_bytes("00fF", out, 2));
    assert_int_equal(out[1], 0xff);
    assert_false(hex_bytes("0g", out, 1));
    assert_false(hex_bytes("0", out, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_register_reads_back_what_was_written),
        cmocka_unit_test(the_description_names_each_register_once),
        cmocka_unit_test(hexadecimal_is_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
