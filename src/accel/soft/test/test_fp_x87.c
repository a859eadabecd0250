/* x87: every opcode with random operands against the host, environments and pointers, what happens to pending
 * exceptions. */
#include "fp_lab.h"

static void every_opcode(bool compat, unsigned unmasked, unsigned times)
{
    struct lab *l = lab_new(compat, unmasked);
    lab_seed_from_environment(l);
    if (compat && !host_has_compat(l->code)) {
        lab_free(l);
        return;
    }
    for (unsigned opcode = 0xd8; opcode <= 0xdf; opcode++) {
        for (unsigned form = 0; form < 72 * times; form++) {
            uint8_t b[16] = {0};
            unsigned n = 0, which = form % 72;
            if (lab_random(l) % 8 == 0)
                b[n++] = 0x66;
            b[n++] = (uint8_t)opcode;
            if (which < 64) {
                b[n++] = (uint8_t)(0xc0 + which);
            } else {
                b[n++] = (uint8_t)(0x43 | (which - 64) << 3); /* [rbx+disp8] */
                b[n++] = (uint8_t)lab_random(l);
            }
            if (lab_case(l, b, n, true) == LAB_UNKNOWN) {
                printf("not implemented: %02x %02x\n", opcode, b[n - 1]);
                l->unknown++;
            }
        }
    }
    printf("%u cases, %u differences, %u not implemented\n", l->cases, l->failures, l->unknown);
    assert_true(l->cases > 500);
    assert_int_equal(l->failures, 0);
    assert_int_equal(l->unknown, 0);
    lab_free(l);
}

static unsigned times(void)
{
    const char *more = getenv("FP_LAB_TIMES");
    return more ? (unsigned)atoi(more) : 8;
}

static void x87_instructions_act_as_on_the_host(void **state)
{
    (void)state;
    every_opcode(false, 0, times());
    every_opcode(true, 0, times());
}

static void unmasked_x87_exceptions_act_as_on_the_host(void **state)
{
    (void)state;
    every_opcode(false, 80, times());
    every_opcode(true, 80, times());
}

/* ---- sequences, run natively as a function and in the engine from the same addresses ---- */

struct sequence {
    const char *code; /* uses rbx (or ebx): operands, rsi: where images go */
    unsigned length;
};

static void place(struct lab *l, const char *code, unsigned n)
{
    memcpy(l->code, code, n);
    l->code[n] = 0xc3;
    memcpy(l->h->ram + LAB_RAM_CODE, code, n);
    for (unsigned i = 0; i < LAB_BYTES; i++)
        l->data[i] = (uint8_t)(i * 7 + 1);
    double two_and_a_half = 2.5;
    memcpy(l->data, &two_and_a_half, 8);
    memcpy(l->h->ram + LAB_RAM_DATA, l->data, LAB_BYTES);
}

static void run_host(struct lab *l)
{
    __asm__ volatile("fninit\n\tcall *%2\n\tfninit"
                     :
                     : "b"(l->data), "S"(l->data + 1024), "r"(l->code)
                     : "memory", "rax", "cc");
}

static void run_engine(struct lab *l, unsigned n)
{
    struct cpu *c = h_cpu(l->h);
    c->rip = LAB_CODE;
    c->gpr[X86_RBX] = LAB_DATA;
    c->gpr[X86_RSI] = LAB_DATA + 1024;
    fpu_init(&c->fpu);
    memset(c->fpu.st, 0, sizeof c->fpu.st);
    while (c->rip < LAB_CODE + n)
        if (h_step(l->h))
            fail_msg("vector %u at +%lu", c->fault_vector, c->rip - LAB_CODE);
}

/* Some processors record the opcode of every instruction, not of those alone that end in an unmasked
 * exception (SDM 1 8.1.9.1): `last` is what 32-bit images at [rsi], [rsi+64], [rsi+112] have there. */
static void forget_opcodes(struct lab *l, unsigned last)
{
    static const unsigned images[] = {1024, 1024 + 64, 1024 + 112};
    for (unsigned i = 0; i < 3; i++) {
        uint8_t *at = l->data + images[i] + 18;
        if ((at[0] | (unsigned)at[1] << 8) == last)
            memcpy(at, l->h->ram + LAB_RAM_DATA + images[i] + 18, 2);
    }
}

static void check_sequence(struct lab *l, unsigned last, const char *code, unsigned n)
{
    place(l, code, n);
    run_host(l);
    run_engine(l, n);
    forget_opcodes(l, last);
    for (unsigned i = 0; i < LAB_BYTES; i++)
        if (l->data[i] != l->h->ram[LAB_RAM_DATA + i])
            fail_msg("image byte %u: host %02x engine %02x", i - 1024, l->data[i],
                     l->h->ram[LAB_RAM_DATA + i]);
}
#define SEQUENCE(l, last, code) check_sequence(l, last, code, sizeof code - 1)

static struct lab *lab_with_host_selectors(void)
{
    struct lab *l = lab_new(false, 0);
    uint16_t ds, cs;
    __asm__("mov %%ds, %0\n\tmov %%cs, %1" : "=r"(ds), "=r"(cs));
    h_cpu(l->h)->seg[X86_DS].sel = ds;
    h_cpu(l->h)->seg[X86_CS].sel = cs;
    return l;
}

static void environments_are_as_the_host_stores_them(void **state)
{
    (void)state;
    struct lab *l = lab_with_host_selectors();
    SEQUENCE(l, 0x503, "\xdd\x03\xd9\x36");                     /* fld qword [rbx]; fnstenv [rsi] */
    SEQUENCE(l, 0x6c1, "\xdd\x03\xd9\xe8\xde\xc1\x66\xd9\x36"); /* fld; fld1; faddp; 16-bit fnstenv */
    SEQUENCE(l, 0x1ee, "\xdd\x03\xd9\xfe\xd9\xee\xdd\x36");     /* fld; fsin; fldz; fnsave */
    SEQUENCE(l, 0x503, "\xdd\x03\x66\xdd\x36");                 /* fld; 16-bit fnsave */
    /* fld; fld st0; fnsave; frstor; fnstenv */
    SEQUENCE(l, 0x1c0, "\xdd\x03\xd9\xc0\xdd\x36\xdd\x26\xd9\x76\x70");
    SEQUENCE(l, 0x1f6, "\xdd\x03\xd9\xd0\xd9\xf6\xd9\x36"); /* fnop and fdecstp record their address */
    /* fldenv brings pointers back */
    SEQUENCE(l, 0x503, "\xdd\x03\xd9\x36\xd9\xee\xd9\x26\xd9\x76\x40");
    /* control instructions record nothing */
    SEQUENCE(l, 0x503, "\xdd\x03\x9b\xdb\xe2\x9b\xd9\x7e\x40\xd9\x6e\x40\xd9\x36");
    SEQUENCE(l, 0x503, "\xdd\x03\x0f\x6f\x03\xd9\x36");         /* MMX use leaves pointers, empties nothing */
    SEQUENCE(l, 0x503, "\xdd\x03\x0f\x6f\x03\x0f\x77\xd9\x36"); /* emms */
    /* fld; fnstcw; and word, ~4; fldcw; fldz; fdivp; fnstenv: an unmasked exception records its opcode */
    SEQUENCE(l, 0x6f9, "\xdd\x03\xd9\x7e\x40\x66\x83\x66\x40\xfb\xd9\x6e\x40\xd9\xee\xde\xf9\xd9\x36");
    /* and after fnclex, fld1, it is still that one */
    SEQUENCE(l, 0x1e8,
             "\xdd\x03\xd9\x7e\x40\x66\x83\x66\x40\xfb\xd9\x6e\x40\xd9\xee\xde\xf9\xdb\xe2\xd9\xe8\xd9\x36");
    lab_free(l);
}

static void storing_an_environment_masks_all_exceptions(void **state)
{
    (void)state;
    struct lab *l = lab_with_host_selectors();
    struct cpu *c = h_cpu(l->h);
    place(l, "\xd9\x36", 2);
    c->rip = LAB_CODE;
    c->gpr[X86_RSI] = LAB_DATA + 1024;
    c->fpu.fcw = 0x340;
    c->fpu.fsw = 0x8081;
    assert_int_equal(h_step(l->h), 0);
    assert_int_equal(c->fpu.fcw, 0x37f);
    assert_int_equal(c->fpu.fsw, 1);
    lab_free(l);
}

/* 387 images in the forms that 64-bit code cannot store: values chosen, layout of SDM 1 figures 8-9 to 8-12.
 */
static void check_image(struct x86_state *s, struct harness *h, const char *code, unsigned n,
                        const uint8_t *want, unsigned bytes)
{
    s->fpu.fcw = 0x37f;
    s->fpu.fsw = 0x3800;
    s->fpu.ftw = 0;
    s->fpu.fip = 0x1234;
    s->fpu.fdp = 0x5678;
    s->fpu.fcs = 0x2000;
    s->fpu.fds = 0x3000;
    s->fpu.fop = 0x51e;
    s->gpr[X86_RBX] = 0x4000;
    memcpy(h->ram + s->rip + s->seg[X86_CS].base, code, n);
    assert_int_equal(engine_set(h->en, 0, s), 0);
    memset(h->ram + 0x4000, 0xaa, 64);
    assert_int_equal(h_step(h), 0);
    assert_memory_equal(h->ram + 0x4000, want, bytes);
    assert_int_equal(h->ram[0x4000 + bytes], 0xaa);
}

static void environments_have_four_forms(void **state)
{
    static const uint8_t protected32[28] = {0x7f, 3,    0xff, 0xff, 0, 0x38, 0xff, 0xff, 0xff, 0xff,
                                            0xff, 0xff, 0x34, 0x12, 0, 0,    0,    0x20, 0x1e, 5,
                                            0x78, 0x56, 0,    0,    0, 0x30, 0xff, 0xff};
    static const uint8_t protected16[14] = {0x7f, 3, 0,    0x38, 0xff, 0xff, 0x34,
                                            0x12, 0, 0x20, 0x78, 0x56, 0,    0x30};
    /* linear: 0x2000 * 16 + 0x1234, 0x3000 * 16 + 0x5678 */
    static const uint8_t real16[14] = {0x7f, 3,    0,    0x38, 0xff, 0xff, 0x34,
                                       0x12, 0x1e, 0x25, 0x78, 0x56, 0,    0x30};
    static const uint8_t real32[28] = {0x7f, 3,    0xff, 0xff, 0,    0x38, 0xff, 0xff, 0xff, 0xff,
                                       0xff, 0xff, 0x34, 0x12, 0xff, 0xff, 0x1e, 0x25, 0,    0,
                                       0x78, 0x56, 0xff, 0xff, 0,    0x30, 0,    0};
    (void)state;
    struct harness *h = h_new(1);
    h_cpu(h)->priv->features.w[X86_W_7_EBX] &= ~(1u << 13); /* FCS and FDS are stored */
    struct x86_state s = h_protected(h, 0x10000);
    check_image(&s, h, "\xd9\x33", 2, protected32, 28);
    check_image(&s, h, "\x66\xd9\x33", 3, protected16, 14);
    s.cr0 &= ~CR0_PE;
    for (unsigned i = 0; i < X86_SEGS; i++)
        s.seg[i] = (struct x86_seg){.limit = 0xffff, .attr = 0x93};
    s.rip = 0x1000;
    check_image(&s, h, "\xd9\x37", 2, real16, 14); /* [bx] */
    check_image(&s, h, "\x66\xd9\x37", 3, real32, 28);
    h_free(h);
}

/* ---- exceptions ---- */

static struct cpu *one(struct lab *l, const char *code, unsigned n)
{
    struct cpu *c = h_cpu(l->h);
    place(l, code, n);
    c->rip = LAB_CODE;
    c->gpr[X86_RBX] = LAB_DATA;
    c->gpr[X86_RSI] = LAB_DATA + 1024;
    return c;
}

static void a_pending_exception_waits_for_a_waiting_instruction(void **state)
{
    (void)state;
    struct lab *l = lab_new(false, 0);
    struct cpu *c = one(l, "\xd8\xf1\xdf\xe0\xd9\x7e\x40\xd9\xee",
                        9); /* fdiv st0, st1; fnstsw ax; fnstcw [rsi+64]; fldz */
    fpu_init(&c->fpu);
    c->fpu.fcw = 0x37b; /* divide by zero unmasked */
    c->fpu.ftw = 3;
    c->fpu.st[0][7] = 0x80;
    c->fpu.st[0][8] = 0xff;
    c->fpu.st[0][9] = 0x3f; /* 1 / 0 */
    c->fpu.ftw = 3;
    c->fpu.fsw = 0;
    memset(c->fpu.st[1], 0, 16);
    assert_int_equal(h_step(l->h), 0);
    assert_int_equal(c->fpu.st[0][9], 0x3f); /* the operand stays */
    assert_int_equal(h_step(l->h), 0);
    assert_int_equal(c->gpr[X86_RAX] & 0x8084, 0x8084);
    assert_int_equal(h_step(l->h), 0);
    assert_int_equal(h_step(l->h), LEAVE_FAULT);
    assert_int_equal(c->fault_vector, X86_MF);
    assert_int_equal(c->rip, LAB_CODE + 7);
    assert_int_equal(c->fpu.fip, LAB_CODE);
    lab_free(l);
}

static void a_store_that_faults_leaves_the_stack(void **state)
{
    (void)state;
    struct lab *l = lab_new(false, 0);
    struct cpu *c = one(l, "\xdb\x3b", 2); /* fstp tbyte [rbx] */
    fpu_init(&c->fpu);
    c->fpu.fsw = 7 << 11;
    c->fpu.ftw = 0x80;
    c->gpr[X86_RBX] = LAB_DATA + LAB_BYTES - 9;
    assert_int_equal(h_step(l->h), LEAVE_FAULT);
    assert_int_equal(c->fault_vector, X86_PF_VEC);
    assert_int_equal(c->cr2, LAB_DATA + LAB_BYTES);
    assert_int_equal(c->fpu.fsw, 7 << 11);
    assert_int_equal(c->fpu.ftw, 0x80);
    assert_memory_equal(l->h->ram + LAB_RAM_DATA, l->data, LAB_BYTES);
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x87_instructions_act_as_on_the_host),
        cmocka_unit_test(unmasked_x87_exceptions_act_as_on_the_host),
        cmocka_unit_test(environments_are_as_the_host_stores_them),
        cmocka_unit_test(storing_an_environment_masks_all_exceptions),
        cmocka_unit_test(environments_have_four_forms),
        cmocka_unit_test(a_pending_exception_waits_for_a_waiting_instruction),
        cmocka_unit_test(a_store_that_faults_leaves_the_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
