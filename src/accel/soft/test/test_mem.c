#include "harness.h"

static void a_load_and_a_store_execute(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);
    /* mov rax,[rbx]; mov [rbx+8],rax */
    memcpy(h->ram + 0x10000, "\x48\x8b\x03\x48\x89\x43\x08", 7);
    s.gpr[X86_RBX] = 0x20000;
    h_put64(h, 0x20000, 0x1122334455667788);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_step(h), 0);
    assert_int_equal(h_step(h), 0);
    assert_true(h_get64(h, 0x20008) == 0x1122334455667788);
    assert_int_equal(h_cpu(h)->rip, 0x10007);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_load_and_a_store_execute)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
