/* The decoder: generic fields, what is refused, what ends a block. */
#include "harness.h"

static struct insn decode(enum cpu_mode mode, const char *bytes, unsigned n)
{
    struct insn in;
    assert_int_equal(insn_decode((const uint8_t *)bytes, n, mode, &in), 0);
    return in;
}
#define DECODE(mode, bytes) decode(mode, bytes, sizeof(bytes) - 1)

static void an_instruction_that_runs_out_of_bytes_asks_for_more(void **state)
{
    struct insn in;
    (void)state;
    for (unsigned n = 0; n < 7; n++)
        assert_int_equal(insn_decode((const uint8_t *)"\x48\x81\xc3\x01\x02\x03\x04", n, MODE_64, &in), 1);
    assert_int_equal(insn_decode((const uint8_t *)"\x48\x81\xc3\x01\x02\x03\x04", 7, MODE_64, &in), 0);
    assert_int_equal(in.len, 7);
}

static void more_than_15_bytes_is_a_general_protection_fault(void **state)
{
    struct insn in;
    (void)state;
    in = DECODE(MODE_64, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90");
    assert_true(in.exec != exec_gp && in.len == 15);
    in = DECODE(MODE_64, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66");
    assert_true(in.exec == exec_gp);
    in = DECODE(MODE_64, "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x48\x81\xc3\x01\x02");
    assert_true(in.exec == exec_gp);
}

static void undefined_encodings_raise_ud(void **state)
{
    static const struct {
        const char *bytes;
        unsigned n;
    } list[] = {
        {"\x0f\x0b", 2},
        {"\x0f\xb9\xc0", 3},
        {"\x0f\xff\xc0", 3},
        {"\x06", 1},
        {"\xf0\x48\x89\x03", 4} /* lock mov */,
        {"\xf0\x01\xc3", 3} /* lock add ebx, eax */,
        {"\xf0\x39\x03", 3} /* lock cmp */,
        {"\xf0\x0f\xa3\x03", 4} /* lock bt */,
        {"\x0f\x20\xc8", 3} /* mov rax, cr1 */,
        {"\x8e\xc8", 2} /* mov cs, eax */,
        {"\x66\xc5\xf8\x57\xc0", 5} /* 66 before VEX */,
        {"\x48\xc5\xf8\x57\xc0", 5} /* REX before VEX */,
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        struct insn in = decode(MODE_64, list[i].bytes, list[i].n);
        assert_true(in.exec == exec_ud);
        assert_true(in.len >= 1 && (in.flags & INSN_END));
    }
}

static void hint_space_does_nothing(void **state)
{
    (void)state;
    exec_fn *nop = DECODE(MODE_64, "\x90").exec;
    assert_true(DECODE(MODE_64, "\x0f\x1f\x40\x00").exec == nop);
    assert_true(DECODE(MODE_64, "\xf3\x0f\x1e\xfa").exec == nop);     /* endbr64 */
    assert_true(DECODE(MODE_64, "\xf3\x48\x0f\x1e\xc8").exec == nop); /* rdsspq rax */
    assert_true(DECODE(MODE_64, "\x0f\x1a\xc0").exec == nop);         /* bndmov and friends */
    assert_true(DECODE(MODE_64, "\x0f\x1c\x00").exec == nop);         /* cldemote */
    assert_true(DECODE(MODE_64, "\x0f\x0d\x08").exec == nop);         /* prefetchw */
}

static void memory_operands_have_their_default_segment(void **state)
{
    (void)state;
    assert_int_equal(DECODE(MODE_64, "\x8b\x03").seg, X86_DS);
    assert_int_equal(DECODE(MODE_64, "\x8b\x45\x00").seg, X86_SS);
    assert_int_equal(DECODE(MODE_64, "\x36\x8b\x03").seg, X86_DS); /* ignored in 64-bit mode */
    assert_int_equal(DECODE(MODE_64, "\x65\x8b\x03").seg, X86_GS);
    assert_int_equal(DECODE(MODE_32, "\x36\x8b\x03").seg, X86_SS);
    assert_int_equal(DECODE(MODE_16, "\x8b\x02").seg, X86_SS); /* [bp+si] */
    assert_int_equal(DECODE(MODE_64, "\x64\xa4").seg, X86_FS); /* movs: the source's */
    assert_int_equal(DECODE(MODE_64, "\x65\xd7").seg, X86_GS); /* xlat */
}

static void the_last_repeat_prefix_of_a_string_instruction_counts(void **state)
{
    (void)state;
    assert_int_equal(DECODE(MODE_64, "\xf3\xa6").flags, INSN_REP | INSN_END);
    assert_int_equal(DECODE(MODE_64, "\xf2\xa6").flags, INSN_REPNE | INSN_END);
    assert_int_equal(DECODE(MODE_64, "\xf3\xf2\xa6").flags, INSN_REPNE | INSN_END);
    assert_int_equal(DECODE(MODE_64, "\xf2\xa4").flags, INSN_REPNE | INSN_END);
    assert_int_equal(DECODE(MODE_64, "\xf3\x01\xc3").flags, 0);
}

static void operands_are_resolved(void **state)
{
    (void)state;
    struct insn in = DECODE(MODE_64, "\x88\xe3"); /* mov bl, ah */
    assert_int_equal(in.kind[0], OPD_REG);
    assert_int_equal(in.reg[0], X86_RBX);
    assert_int_equal(in.kind[1], OPD_REG_HIGH);
    assert_int_equal(in.reg[1], 0);
    in = DECODE(MODE_64, "\x40\x88\xe3"); /* mov bl, spl */
    assert_int_equal(in.kind[1], OPD_REG);
    assert_int_equal(in.reg[1], X86_RSP);
    in = DECODE(MODE_64, "\x48\x8b\x05\x10\x00\x00\x00");
    assert_int_equal(in.base, INSN_RIP_BASE);
    assert_int_equal(in.disp, 16);
    in = DECODE(MODE_64, "\x48\xa1\x88\x77\x66\x55\x44\x33\x22\x11");
    assert_true((uint64_t)in.disp == 0x1122334455667788);
    in = DECODE(MODE_32, "\x67\x8b\x42\xfe"); /* mov eax, [bp+si-2] */
    assert_int_equal(in.adsize, 2);
    assert_int_equal(in.base, X86_RBP);
    assert_int_equal(in.index, X86_RSI);
    assert_int_equal(in.scale, 1);
    in = DECODE(MODE_32, "\x9a\x78\x56\x34\x12\xcd\xab");
    assert_int_equal(in.imm, 0x12345678);
    assert_int_equal(in.sel, 0xabcd);
    in = DECODE(MODE_64, "\xc8\x34\x12\x05");
    assert_int_equal(in.imm, 0x1234);
    assert_int_equal(in.sel, 5);
    in = DECODE(MODE_64, "\x48\x83\xc0\xff");
    assert_true(in.imm == UINT64_MAX);
    in = DECODE(MODE_64, "\x0f\x85\xfc\xff\xff\xff");
    assert_int_equal(in.cond, 5);
    assert_int_equal((int64_t)in.imm, -4);
}

static void what_may_branch_ends_a_block(void **state)
{
    (void)state;
    assert_true(DECODE(MODE_64, "\xeb\x00").flags & INSN_END);
    assert_true(DECODE(MODE_64, "\x74\x00").flags & INSN_END);
    assert_true(DECODE(MODE_64, "\xc3").flags & INSN_END);
    assert_true(DECODE(MODE_64, "\x0f\x05").flags & INSN_END);
    assert_true(DECODE(MODE_64, "\x0f\x22\xd8").flags & INSN_END);
    assert_true(DECODE(MODE_64, "\xfb").flags & INSN_END);
    assert_false(DECODE(MODE_64, "\x48\x01\xc3").flags & INSN_END);
    assert_false(DECODE(MODE_64, "\xa4").flags & INSN_END);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_instruction_that_runs_out_of_bytes_asks_for_more),
        cmocka_unit_test(more_than_15_bytes_is_a_general_protection_fault),
        cmocka_unit_test(undefined_encodings_raise_ud),
        cmocka_unit_test(hint_space_does_nothing),
        cmocka_unit_test(memory_operands_have_their_default_segment),
        cmocka_unit_test(the_last_repeat_prefix_of_a_string_instruction_counts),
        cmocka_unit_test(operands_are_resolved),
        cmocka_unit_test(what_may_branch_ends_a_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
