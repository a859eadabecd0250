#include "harness.h"

/* Code that changes, code on two pages, and what is remembered of pages. */

/* The store changes the immediate of the instruction right after it, in the same block. */
GUEST(patch_next, "movl $0x1234, 1f+1(%rip)\n 1: mov $0, %eax\n out %eax, $0xf4\n 2: jmp 2b");

static void a_store_into_the_running_block_takes_effect_at_once(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    h_code(h, 0x10000, patch_next);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        assert_int_equal(h_run(h), ENGINE_KICKED);
        assert_int_equal(h->exit_value, 0x1234);
    }
    h_free(h);
}

/* The function at 0x12ffd, mov $imm,%eax; ret, lies across two pages; it is called, patched in its second
 * page, and called again. */
GUEST(patch_crossing, "mov $0x12ffd, %ebx\n call *%rbx\n mov %eax, %ecx\n movb $0x77, 0x13000\n call *%rbx\n "
                      "shl $16, %ecx\n or %ecx, %eax\n out %eax, $0xf4\n 2: jmp 2b");

static void an_instruction_across_two_pages_is_watched_in_both(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    h_code(h, 0x10000, patch_crossing);
    memcpy(h->ram + 0x12ffd, "\xb8\x01\x00\x00\x00\xc3", 6);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 0x00010000 | 0x770001);
    h_free(h);
}

/* The stack's page may be read and not written; nothing is at 0. */
GUEST(push_nowhere, "mov $9, %ecx\n 1: mov (%rsp), %rax\n dec %ecx\n jnz 1b\n mov $0x20, %esp\n push %rax\n "
                    "mov $1, %eax\n out %eax, $0xf4\n 2: jmp 2b");
GUEST(say_cr2, "mov %cr2, %rax\n or $0x800, %eax\n out %eax, $0xf4\n 2: jmp 2b");

static void a_stack_that_may_be_read_says_nothing_of_stores_elsewhere(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    h_handle_ud(h, &s);
    h_put64(h, H_TABLES + 0x2000, (H_TABLES + 0x3000) | 7);
    for (uint64_t k = 1; k < 512; k++)
        h_put64(h, H_TABLES + 0x3000 + k * 8, k << 12 | (k == 0x30 ? 0x65 : 0x67));
    h_idt64(h, 0x7000, X86_PF_VEC, 0x11000, 8, 0xe);
    h_put64(h, 0x7000 + X86_PF_VEC * 16, h_get64(h, 0x7000 + X86_PF_VEC * 16) | 1ull << 32); /* IST 1 */
    s.tr.base = 0x8000;
    s.tr.limit = 0x67;
    s.tr.attr = 0x8b;
    h_put64(h, 0x8000 + 0x24, 0x20000);
    s.gpr[X86_RSP] = 0x30100;
    h_code(h, 0x10000, push_nowhere);
    h_code(h, 0x11000, say_cr2);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 0x818);
    h_free(h);
}

/* 3000 calls of a function whose one MOVABS begins in the last byte of a page; every 1000 its second page is
 * another one: the store changes a byte of it, then INVLPG follows a change of the page table. */
GUEST(call_crossing, "xor %esi, %esi\n mov $3000, %ecx\n"
                     "1: mov $0x12fff, %ebx\n call *%rbx\n add %rax, %rsi\n"
                     "cmp $2001, %ecx\n jne 2f\n movb $7, (%rdx)\n"
                     "2: cmp $1001, %ecx\n jne 3f\n mov %r8, (%r9)\n invlpg (%rdx)\n"
                     "3: dec %ecx\n jnz 1b\n mov %esi, %eax\n out %eax, $0xf4\n 4: jmp 4b");

static void an_instruction_across_two_pages_is_translated_and_still_watched(void **state)
{
    (void)state;
    static const uint8_t at[] = {1, 8};

    for (unsigned i = 0; i < 2;
         i++) { /* the byte that changes: of the first eight on the second page, and behind */
        struct harness *h = h_new(1);
        struct x86_state s = h_long_mode(h, 0x10000, 0);

        h_put64(h, H_TABLES + 0x2000, (H_TABLES + 0x3000) | 7); /* the first 2 MiB by small pages */
        for (uint64_t k = 0; k < 512; k++)
            h_put64(h, H_TABLES + 0x3000 + k * 8, k << 12 | 0x67);
        s.gpr[X86_RDX] = 0x13000u + at[i];
        s.gpr[X86_R8] = 0x18067;
        s.gpr[X86_R9] = H_TABLES + 0x3000 + 0x13 * 8;
        h_code(h, 0x10000, call_crossing);
        memcpy(h->ram + 0x12fff, "\x48\xb8\x01\x00\x00\x00\x00\x00\x00\x00\xc3", 11);
        memcpy(h->ram + 0x18000, "\xb8\x05\x00\x00\x00\x00\x00\x00\x00\xc3", 10);
        assert_int_equal(engine_set(h->en, 0, &s), 0);
        assert_int_equal(h_run(h), ENGINE_KICKED);
        uint32_t second = i ? 1 : 7; /* a byte at the top does not reach EAX */
        assert_int_equal(h->exit_value, 1000 + 1000 * second + 5000);
        if (h_cpu(h)->x.on)
            assert_true(h_cpu(h)->priv->n_slow + h_cpu(h)->priv->n_interpreted < 500);
        engine_get(h->en, 0, &s);
        assert_true(s.gpr[X86_RSI] >> 56 == (i ? 1000u * 7 & 0xff : 0));
        h_free(h);
    }
}

/* The same frame at two linear addresses: code runs through one and is written through the other. */
GUEST(patch_alias, "mov $0x14000, %ebx\n call *%rbx\n mov %eax, %ecx\n mov $0x40014001, %edx\n movl $9, "
                   "(%rdx)\n call *%rbx\n shl $8, %ecx\n or %ecx, %eax\n"
                   "out %eax, $0xf4\n 2: jmp 2b");

static void code_written_through_an_alias_is_noticed(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    h_put64(h, H_TABLES + 0x1000 + 8, (H_TABLES + 0x2000) | 7); /* the second GiB is the first once more */
    h_code(h, 0x10000, patch_alias);
    memcpy(h->ram + 0x14000, "\xb8\x05\x00\x00\x00\xc3", 6);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 0x509);
    h_free(h);
}

static void a_device_that_writes_code_makes_it_decode_anew(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    memcpy(h->ram + 0x10000, "\xb8\x05\x00\x00\x00\xe7\xf4\xeb\xfe", 9);
    engine_set(h->en, 0, &s);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 5);
    assert_true(h->notes[0x10] & PAGE_CODE);
    h->ram[0x10001] = 6; /* as ram_written does: the bytes, then the generation of a page with code */
    h->gens[0x10]++;
    engine_code_event(h->en); /* and who listens to ram_written tells the engine */
    h_cpu(h)->rip = 0x10000;
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 6);
    h_free(h);
}

/* Its handler makes FF FF, which is undefined, to FF C0, INC EAX, and returns there. */
GUEST(undefined_code, "xor %eax, %eax\n xor %ecx, %ecx\n .byte 0xff, 0xff\n out %eax, $0xf4\n 2: jmp 2b");
GUEST(undefined_handler, "inc %ecx\n movb $0xc0, 0x10005\n cmp $4, %ecx\n je 1f\n iretq\n"
                         "1: mov $0x77, %eax\n out %eax, $0xf4\n 2: jmp 2b");

static void an_undefined_instruction_that_is_mended_runs(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);

    h_handle_ud(h, &s);
    h_code(h, 0x10000, undefined_code);
    h_code(h, 0x11000, undefined_handler);
    assert_int_equal(h->ram[0x10005], 0xff);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 1);
    h_free(h);
}

/* A device that answers a store by writing the code right behind it. */
static void patching_device(void *o, uint64_t gpa, unsigned size, uint64_t value)
{
    struct harness *h = o;
    (void)gpa, (void)size;
    memcpy(h->ram + 0x10006, &value, 4);
    h->gens[0x10]++;
    engine_code_event(h->en);
}

static void code_that_a_device_writes_is_seen_behind_the_access(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_protected(h, 0x10000); /* interpreted */

    h->en->out.mmio_write = patching_device;
    s.gpr[X86_RAX] = 0x1234;
    /* mov %eax, 0x2000000; mov $5, %eax; out %eax, $0xf4; jmp . */
    memcpy(h->ram + 0x10000, "\xa3\x00\x00\x00\x02\xb8\x05\x00\x00\x00\xe7\xf4\xeb\xfe", 14);
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 0x1234);
    h_free(h);
}
/* What compilers write all the time: the end of a function that used the upper halves of vector registers,
 * numbers taken from memory to a general register, the call for a thread's variable as linkers pad it (66 66
 * REX.W E8). */
GUEST(every_day, "xor %esi, %esi\n mov $1000, %ecx\n mov $0x20000, %ebx\n vpcmpeqb %ymm0, %ymm0, %ymm0\n"
                 "1: vzeroupper\n vmovdqu %ymm0, 64(%rbx)\n cvttsd2si (%rbx), %rax\n add %rax, %rsi\n"
                 "cvtss2si 8(%rbx), %eax\n add %rax, %rsi\n vcvttss2si 8(%rbx), %rax\n add %rax, %rsi\n"
                 "vcvtsd2si (%rbx), %eax\n add %rax, %rsi\n"
                 ".byte 0x66, 0x66, 0x48, 0xe8\n .long 3f - . - 4\n"
                 "dec %ecx\n jnz 1b\n mov %esi, %eax\n out %eax, $0xf4\n 2: jmp 2b\n 3: inc %esi\n ret");

static void code_of_every_day_is_translated(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = h_long_mode(h, 0x10000, 0);
    double d = 5.75;
    float f = 2.5;

    if (!cpu_has(h_cpu(h), X86_F_AVX2)) {
        h_free(h);
        return;
    }
    s.xcr0 = 7;
    s.gpr[X86_RSP] = 0x30100;
    h_code(h, 0x10000, every_day);
    memcpy(h->ram + 0x20000, &d, sizeof(d));
    memcpy(h->ram + 0x20008, &f, sizeof(f));
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    assert_int_equal(h_run(h), ENGINE_KICKED);
    assert_int_equal(h->exit_value, 1000 * (5 + 2 + 2 + 6 + 1));
    static const uint64_t upper_halves[2];
    assert_memory_equal(h->ram + 0x20050, upper_halves, sizeof upper_halves);
    if (h_cpu(h)->x.on)
        assert_true(h_cpu(h)->priv->n_slow + h_cpu(h)->priv->n_interpreted < 500);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_into_the_running_block_takes_effect_at_once),
        cmocka_unit_test(an_instruction_across_two_pages_is_watched_in_both),
        cmocka_unit_test(a_stack_that_may_be_read_says_nothing_of_stores_elsewhere),
        cmocka_unit_test(an_instruction_across_two_pages_is_translated_and_still_watched),
        cmocka_unit_test(code_written_through_an_alias_is_noticed),
        cmocka_unit_test(code_of_every_day_is_translated),
        cmocka_unit_test(a_device_that_writes_code_makes_it_decode_anew),
        cmocka_unit_test(an_undefined_instruction_that_is_mended_runs),
        cmocka_unit_test(code_that_a_device_writes_is_seen_behind_the_access),
    };
    return cmocka_run_group_tests_name("soft: code", tests, NULL, NULL);
}
