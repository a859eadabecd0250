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

/* The address sanitizer's companion watches these: host accesses of any alignment. */
static void repeated_strings_work_at_odd_addresses(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);
    /* rep stosd; mov rdi,rbx; rep stosq with a count of none; mov ecx,4; repe scasd */
    memcpy(h->ram + 0x10000, "\xf3\xab\x48\x89\xdf\xf3\x48\xab\xb9\x04\x00\x00\x00\xf3\xaf", 15);
    s.gpr[X86_RAX] = 0x11223344;
    s.gpr[X86_RCX] = 4;
    s.gpr[X86_RBX] = s.gpr[X86_RDI] = 0x20001;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(h_step(h), 0);
    assert_true(h_get64(h, 0x20001) == 0x1122334411223344 && h_get64(h, 0x20009) == 0x1122334411223344);
    assert_true(h_get64(h, 0x20011) == 0 && h_get64(h, 0x20000) == 0x2233441122334400);
    assert_int_equal(h_cpu(h)->gpr[X86_RDI], 0x20011);
    assert_int_equal(h_cpu(h)->gpr[X86_RCX], 0);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_load_and_a_store_execute),
                                       cmocka_unit_test(repeated_strings_work_at_odd_addresses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
