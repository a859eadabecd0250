#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/list.h"
#include "base/nearest.h"
#include "base/range.h"

static void a_range_is_inside_only_when_all_of_it_is(void **state)
{
    (void)state;
    assert_true(range_inside(0, 10, 10));
    assert_true(range_inside(10, 0, 10));
    assert_false(range_inside(11, 0, 10));
    assert_false(range_inside(1, 10, 10));
    assert_false(range_inside(UINT64_MAX, 2, 10)); /* the sum would wrap */
    assert_false(range_inside(5, UINT64_MAX, 10));
}

static void a_range_may_end_at_the_top_and_not_beyond(void **state)
{
    (void)state;
    assert_true(range_no_wrap(UINT64_MAX, 1));
    assert_true(range_no_wrap(UINT64_MAX, 0));
    assert_false(range_no_wrap(UINT64_MAX, 2));
    assert_true(range_no_wrap(0, UINT64_MAX));
}

static void ranges_overlap_when_they_share_a_byte(void **state)
{
    (void)state;
    assert_true(range_overlap(0, 10, 9, 1));
    assert_false(range_overlap(0, 10, 10, 1));
    assert_true(range_overlap(9, 1, 0, 10));
    assert_false(range_overlap(0, 0, 0, 10));
    assert_true(range_overlap(UINT64_MAX - 1, 2, UINT64_MAX, 1));
}

static void alignment_goes_to_powers_of_two(void **state)
{
    (void)state;
    assert_true(is_pow2(1) && is_pow2(1ull << 63));
    assert_false(is_pow2(0) || is_pow2(3));
    assert_int_equal(align_up(1, 4096), 4096);
    assert_int_equal(align_up(4096, 4096), 4096);
    assert_int_equal(align_down(8191, 4096), 4096);
}

struct item {
    int value;
    struct list node;
};

static void a_list_keeps_its_order_through_removals(void **state)
{
    struct list head;
    struct item it[4];
    int sum = 0;
    (void)state;
    list_init(&head);
    assert_true(list_empty(&head));
    for (int i = 0; i < 4; i++) {
        it[i].value = i;
        list_append(&head, &it[i].node);
    }
    list_remove(&it[1].node);
    list_append(&head, &it[1].node);
    list_for_each (n, &head)
        sum = sum * 10 + CONTAINER_OF(n, struct item, node)->value;
    assert_int_equal(sum, 231); /* 0 2 3 1 */
    list_remove(&it[2].node);
    list_remove(&it[2].node); /* an unlinked node may be unlinked */
    assert_true(list_empty(&it[2].node));
    for (int i = 0; i < 3; i++) {
        static const int left[] = {0, 3, 1};
        struct list *n = list_pop(&head);
        assert_int_equal(CONTAINER_OF(n, struct item, node)->value, left[i]);
        assert_true(list_empty(n) && list_empty(&head) == (i == 2));
    }
}

static void the_nearest_word_is_named_and_a_far_one_is_not(void **state)
{
    static const char *const words[] = {"kernel", "initrd", "memory", "cpus", NULL};
    (void)state;
    assert_string_equal(nearest("kernle", words), "kernel");
    assert_string_equal(nearest("memry", words), "memory");
    assert_string_equal(nearest("cpu", words), "cpus");
    assert_null(nearest("zzzzzzzzz", words));
    assert_null(nearest("a-word-much-longer-than-any-that-could-be-meant-in-this-program-at-all", words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_inside_only_when_all_of_it_is),
        cmocka_unit_test(a_range_may_end_at_the_top_and_not_beyond),
        cmocka_unit_test(ranges_overlap_when_they_share_a_byte),
        cmocka_unit_test(alignment_goes_to_powers_of_two),
        cmocka_unit_test(a_list_keeps_its_order_through_removals),
        cmocka_unit_test(the_nearest_word_is_named_and_a_far_one_is_not),
    };
    return cmocka_run_group_tests_name("base: pure", tests, NULL, NULL);
}
