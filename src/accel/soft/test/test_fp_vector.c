/* Every vector instruction that the decoder knows, random operands, against the host CPU. */
#include "fp_lab.h"
#include "accel/soft/engine/native.h"

/* Vector forms that no CPU we describe has, so that the engine may not know them. */
static bool beyond(const ZydisDecodedInstruction *zi)
{
    switch (zi->meta.isa_set) {
    case ZYDIS_ISA_SET_KEYLOCKER:
    case ZYDIS_ISA_SET_KEYLOCKER_WIDE:
    case ZYDIS_ISA_SET_FMA4:
    case ZYDIS_ISA_SET_XOP:
    case ZYDIS_ISA_SET_AMD3DNOW:
        return true;
    default:
        return false;
    }
}

static bool names_vector(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
    if (zi->meta.exception_class != ZYDIS_EXCEPTION_CLASS_NONE)
        return zi->meta.exception_class < ZYDIS_EXCEPTION_CLASS_K20; /* opmask instructions */
    for (unsigned i = 0; i < zi->operand_count; i++) {
        if (op[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        ZydisRegisterClass k = ZydisRegisterGetClass(op[i].reg.value);
        if (k == ZYDIS_REGCLASS_MMX || k == ZYDIS_REGCLASS_XMM || k == ZYDIS_REGCLASS_YMM)
            return true;
    }
    return false;
}

/* Is this encoding one that the lab should try? Features that the guest does not have raise #UD there and
 * must not be compared. */
static bool wanted(struct lab *l, const uint8_t *b, unsigned least)
{
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    struct insn in;
    if (!lab_decode(l, b, least, &zi, op) || beyond(&zi) || !names_vector(&zi, op))
        return false;
    if (insn_decode(b, 15, l->compat ? MODE_32 : MODE_64, &in))
        return false;
    return in.exec == exec_ud || in.exec == exec_gp || cpu_has(h_cpu(l->h), in.sel);
}

static void try_form(struct lab *l, const uint8_t *b, unsigned least)
{
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    if (!wanted(l, b, least) || lab_case(l, b, least, false) != LAB_UNKNOWN)
        return;
    lab_decode(l, b, least, &zi, op);
    if (zi.meta.isa_set == ZYDIS_ISA_SET_AVX2GATHER)
        return; /* registers that must differ do not */
    printf("not implemented: %s\n", ZydisMnemonicGetString(zi.mnemonic));
    l->unknown++;
}

static unsigned put_operands(struct lab *l, uint8_t *b, unsigned n, bool memory, unsigned reg)
{
    unsigned rm = (unsigned)lab_random(l) & 7;
    if (memory) {
        b[n++] = (uint8_t)(0x40 | reg << 3 | (rm & 1 ? 3 : 6)); /* [rbx+disp8] or [rsi+disp8] */
        b[n++] = (uint8_t)lab_random(l);
    } else {
        b[n++] = (uint8_t)(0xc0 | reg << 3 | rm);
    }
    b[n] = (uint8_t)lab_random(l);
    return n;
}

static void legacy_forms(struct lab *l, unsigned map, unsigned prefix, unsigned opcode, unsigned times)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    for (unsigned form = 0; form < 32 * times; form++) {
        uint8_t b[16] = {0};
        unsigned n = 0;
        if (prefix)
            b[n++] = prefixes[prefix];
        if (!l->compat)
            b[n++] = (uint8_t)(0x40 | (form >> 4 & 1) << 3 | (lab_random(l) & 5));
        b[n++] = 0x0f;
        if (map > 1)
            b[n++] = map == 2 ? 0x38 : 0x3a;
        b[n++] = (uint8_t)opcode;
        n = put_operands(l, b, n, form & 8, form & 7);
        try_form(l, b, n);
    }
}

static void vex_forms(struct lab *l, unsigned map, unsigned prefix, unsigned opcode, unsigned times)
{
    bool gather = map == 2 && opcode >= 0x90 && opcode <= 0x93;
    for (unsigned form = 0; form < 64 * times; form++) {
        uint8_t b[16] = {0};
        unsigned n = 0, r = (unsigned)lab_random(l), vvvv = r & 1 ? 15 : r >> 1 & 15;
        b[n++] = 0xc4;
        b[n++] = (uint8_t)(map | 0x40 | (l->compat ? 0xa0 : (r & 0x100 ? 0x80 : 0) | (r & 0x200 ? 0x20 : 0)));
        b[n++] = (uint8_t)((form >> 5 & 1) << 7 | vvvv << 3 | (form >> 4 & 1) << 2 | prefix);
        b[n++] = (uint8_t)opcode;
        if (gather) { /* [rbx+index*scale+disp8] */
            b[1] |= 0x20;
            b[n++] = (uint8_t)(0x44 | (form & 7) << 3);
            b[n++] = (uint8_t)((r >> 10 & 0xf8) | 3);
            b[n++] = (uint8_t)(r >> 20 & 15);
        } else {
            n = put_operands(l, b, n, form & 8, form & 7);
        }
        try_form(l, b, n);
    }
}

static void every_form(struct lab *l, bool vex, unsigned times)
{
    for (unsigned map = 1; map <= 3; map++)
        for (unsigned prefix = 0; prefix < 4; prefix++)
            for (unsigned opcode = 0; opcode < 256; opcode++) {
                if (vex)
                    vex_forms(l, map, prefix, opcode, times);
                else
                    legacy_forms(l, map, prefix, opcode, times);
            }
}

static void check(bool compat, unsigned unmasked, bool vex)
{
    const char *more = getenv("FP_LAB_TIMES");
    struct lab *l = lab_new(compat, unmasked);
    lab_seed_from_environment(l);
    if (compat && !host_has_compat(l->code)) {
        lab_free(l);
        skip();
    }
    every_form(l, vex, more ? (unsigned)atoi(more) : 1);
    printf("%u cases, %u differences, %u forms not implemented, %u bytes of thunks\n", l->cases, l->failures,
           l->unknown, h_cpu(l->h)->native->used);
    assert_true(l->cases > 1000);
    assert_int_equal(l->failures, 0);
    assert_int_equal(l->unknown, 0);
    lab_free(l);
}

static void legacy_vector_instructions_act_as_on_the_host(void **state)
{
    (void)state;
    check(false, 10, false);
}

static void vex_instructions_act_as_on_the_host(void **state)
{
    (void)state;
    check(false, 10, true);
}

static void unmasked_simd_exceptions_act_as_on_the_host(void **state)
{
    (void)state;
    check(false, 80, false);
    check(false, 80, true);
}

static void vector_instructions_act_as_on_the_host_in_32_bit_code(void **state)
{
    (void)state;
    check(true, 20, false);
    check(true, 20, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legacy_vector_instructions_act_as_on_the_host),
        cmocka_unit_test(vex_instructions_act_as_on_the_host),
        cmocka_unit_test(unmasked_simd_exceptions_act_as_on_the_host),
        cmocka_unit_test(vector_instructions_act_as_on_the_host_in_32_bit_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
