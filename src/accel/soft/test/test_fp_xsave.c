/* FXSAVE and XSAVE images against those that the host's own instructions store and load. */
#include "fp_lab.h"

enum { AREA = 1024, AT = 2048 };

static bool host_has_xsave(const struct lab *l, uint64_t components)
{
    struct cpu *c = h_cpu(l->h);
    return cpu_has(c, X86_FEATURE(X86_W_1_ECX, 26)) && (c->xcr0 & components) == components;
}

/* A state in which every component is in use, and the host's header would say so. */
static void busy_state(struct lab *l, struct host_state *s)
{
    lab_state(l, s, false);
    for (unsigned i = 0; i < 16; i++) {
        s->ymm[i][0] |= 1;
        s->ymm[i][31] |= 1;
    }
    s->rip = LAB_CODE;
    s->gpr[X86_RBX] = LAB_DATA + AT;
}

static int run_both(struct lab *l, struct host_state *s, const char *code, unsigned n, struct host_state *out)
{
    memcpy(l->code, code, n);
    memcpy(l->h->ram + LAB_RAM_CODE, code, n);
    memcpy(l->h->ram + LAB_RAM_DATA, l->data, LAB_BYTES);
    host_run(s, out, false);
    lab_to_engine(l, s);
    int why = h_step(l->h);
    return why ? h_cpu(l->h)->fault_vector : -1;
}

static void expect_same(struct lab *l, struct host_state *in, struct host_state *out, int vector)
{
    if (lab_compare(l, in, out, vector, l->data, true))
        fail();
}

/* op [rbx] with EDX:EAX = components; memory holds a pattern before. */
static void check_store(struct lab *l, const char *code, unsigned n, uint64_t components)
{
    struct host_state in, out;
    for (unsigned round = 0; round < 20; round++) {
        busy_state(l, &in);
        in.gpr[X86_RAX] = components;
        in.gpr[X86_RDX] = 0;
        for (unsigned i = 0; i < LAB_BYTES; i++)
            l->data[i] = (uint8_t)(i * 13 + round);
        expect_same(l, &in, &out, run_both(l, &in, code, n, &out));
    }
}

static void every_store_has_the_hosts_layout(void **state)
{
    (void)state;
    struct lab *l = lab_new(false, 0);
    check_store(l, "\x0f\xae\x03", 3, 0);     /* fxsave */
    check_store(l, "\x48\x0f\xae\x03", 4, 0); /* fxsave64 */
    if (!host_has_xsave(l, 7)) {
        lab_free(l);
        skip();
    }
    for (uint64_t components = 0; components < 8; components++) {
        check_store(l, "\x0f\xae\x23", 3, components);     /* xsave */
        check_store(l, "\x48\x0f\xae\x23", 4, components); /* xsave64 */
        if (cpu_has(h_cpu(l->h), X86_FEATURE(X86_W_D_1_EAX, 0)))
            check_store(l, "\x48\x0f\xae\x33", 4, components); /* xsaveopt64 */
        if (cpu_has(h_cpu(l->h), X86_FEATURE(X86_W_D_1_EAX, 1)))
            check_store(l, "\x48\x0f\xc7\x23", 4, components); /* xsavec64 */
    }
    lab_free(l);
}

/* A plausible image: legal or nearly so. */
static void random_image(struct lab *l)
{
    uint8_t *a = l->data + AT;
    uint64_t header[3] = {lab_random(l) & 7, 0, 0};
    uint32_t mxcsr = (uint32_t)lab_random(l) & 0xffff;
    for (unsigned i = 0; i < AREA; i += 64)
        lab_fill(l, a + i, 64);
    for (unsigned i = 0; i < 8; i++)
        lab_fill80(l, a + 32 + 16 * i);
    if (lab_random(l) % 8 == 0)
        mxcsr |= 1u << (16 + lab_random(l) % 16);
    memcpy(a + 24, &mxcsr, 4);
    memset(a + 512, 0, 64);
    if (lab_random(l) % 2)
        header[1] = 1ull << 63 | header[0] | (lab_random(l) & 7);
    switch (lab_random(l) % 16) {
    case 0:
        header[0] |= 8; /* a component that is not enabled, or not known */
        break;
    case 1:
        header[1] |= 1ull << 62;
        break;
    case 2:
        header[2] = 1;
        break;
    case 3:
        header[1] &= 1ull << 63;
        break;
    default:
        break;
    }
    memcpy(a + 512, header, sizeof header);
    if (lab_random(l) % 16 == 0)
        a[512 + 24 + lab_random(l) % 40] = 1;
}

/* A load is refused. Some processors have loaded the other components before they look at MXCSR, and at what
 * is not aligned raise #AC or #GP where alignment checks are on (SDM 2D XRSTOR: either). */
static void tolerate_refusal(struct lab *l, const struct host_state *in, struct host_state *out, int vector)
{
    uint64_t at = in->gpr[X86_RBX] - LAB_DATA;
    uint32_t mxcsr;
    memcpy(&mxcsr, l->h->ram + LAB_RAM_DATA + at + 24, 4);
    if (out->trap == X86_GP && vector == X86_GP && mxcsr & ~mxcsr_mask(h_cpu(l->h))) {
        memcpy(out->ymm, in->ymm, sizeof out->ymm);
        memcpy(out->st, in->st, sizeof out->st);
        out->fcw = in->fcw;
        out->fsw = in->fsw;
        out->ftw = in->ftw;
    }
    if (out->trap == X86_GP && vector == X86_AC_VEC && in->rflags & X86_AC && at % 16)
        out->trap = vector;
}

static void check_loads(struct lab *l, const char *code, unsigned n, bool standard_only)
{
    struct host_state in, out;
    for (unsigned round = 0; round < 400; round++) {
        busy_state(l, &in);
        in.gpr[X86_RAX] = lab_random(l) & 7;
        in.gpr[X86_RDX] = 0;
        if (lab_random(l) % 16 == 0)
            in.gpr[X86_RBX] += 1 + lab_random(l) % 63; /* not aligned */
        random_image(l);
        if (standard_only)
            memset(l->data + AT + 520, 0, 8);
        int vector = run_both(l, &in, code, n, &out);
        tolerate_refusal(l, &in, &out, vector);
        expect_same(l, &in, &out, vector);
    }
}

static void every_load_takes_and_refuses_what_the_host_does(void **state)
{
    (void)state;
    struct lab *l = lab_new(false, 0);
    check_loads(l, "\x0f\xae\x0b", 3, true);     /* fxrstor */
    check_loads(l, "\x48\x0f\xae\x0b", 4, true); /* fxrstor64 */
    if (host_has_xsave(l, 7)) {
        bool compact = cpu_has(h_cpu(l->h), X86_FEATURE(X86_W_D_1_EAX, 1));
        check_loads(l, "\x0f\xae\x2b", 3, !compact);     /* xrstor */
        check_loads(l, "\x48\x0f\xae\x2b", 4, !compact); /* xrstor64 */
    }
    lab_free(l);
}

static struct cpu *at_area(struct lab *l, const char *code, unsigned n)
{
    struct cpu *c = h_cpu(l->h);
    memcpy(l->h->ram + LAB_RAM_CODE, code, n);
    memset(l->h->ram + LAB_RAM_DATA, 0, LAB_BYTES);
    c->rip = LAB_CODE;
    c->gpr[X86_RBX] = LAB_DATA + AT;
    c->gpr[X86_RAX] = 7;
    c->gpr[X86_RDX] = 0;
    return c;
}

static void initial_components_are_marked_so_and_not_stored_by_xsavec(void **state)
{
    (void)state;
    struct lab *l = lab_new(false, 0);
    struct cpu *c = at_area(l, "\x48\x0f\xc7\x23\x48\x0f\xae\x23", 8);
    uint8_t *a = l->h->ram + LAB_RAM_DATA + AT;
    if (!cpu_has(c, X86_FEATURE(X86_W_D_1_EAX, 1))) {
        lab_free(l);
        skip();
    }
    memset(&c->fpu, 0, sizeof c->fpu);
    c->fpu.fcw = 0x37f;
    c->fpu.mxcsr = 0x1f80;
    c->fpu.ymm[3][20] = 1;
    memset(a, 0xaa, AREA);
    assert_int_equal(h_step(l->h), 0);
    assert_int_equal(h_get64(l->h, LAB_RAM_DATA + AT + 512), XCR0_AVX);
    assert_true(h_get64(l->h, LAB_RAM_DATA + AT + 520) == (1ull << 63 | 7));
    assert_int_equal(a[0], 0xaa);
    assert_int_equal(a[160], 0xaa);
    assert_int_equal(a[576 + 16 * 3 + 4], 1);
    h_put64(l->h, LAB_RAM_DATA + AT + 512, 0xf0);
    assert_int_equal(h_step(l->h), 0);
    assert_int_equal(h_get64(l->h, LAB_RAM_DATA + AT + 512),
                     0xf4); /* XSAVE keeps bits that were not asked for */
    assert_int_equal(a[0], 0x7f);
    lab_free(l);
}

static void a_save_that_would_fault_stores_nothing(void **state)
{
    static const char *const codes[] = {"\x48\x0f\xae\x23", "\x48\x0f\xae\x03"};
    (void)state;
    struct lab *l = lab_new(false, 0);
    for (unsigned i = 0; i < 2; i++) {
        struct cpu *c = at_area(l, codes[i], 4);
        memset(l->h->ram + LAB_RAM_DATA, 0x55, LAB_BYTES);
        memset(l->data, 0x55, LAB_BYTES);
        c->fpu.ymm[0][0] = 1;
        c->gpr[X86_RBX] = LAB_DATA + LAB_BYTES - (i ? 256 : 768);
        assert_int_equal(h_step(l->h), LEAVE_FAULT);
        assert_int_equal(c->fault_vector, X86_PF_VEC);
        assert_memory_equal(l->h->ram + LAB_RAM_DATA, l->data, LAB_BYTES);
    }
    lab_free(l);
}

static void outside_64_bit_mode_eight_vector_registers_are_moved(void **state)
{
    (void)state;
    struct lab *l = lab_new(true, 0);
    struct cpu *c = at_area(l, "\x0f\xae\x03\x0f\xae\x0b", 6);
    uint8_t *a = l->h->ram + LAB_RAM_DATA + AT;
    memset(a, 0xaa, 512);
    memset(c->fpu.ymm, 0x11, sizeof c->fpu.ymm);
    assert_int_equal(h_step(l->h), 0);
    assert_int_equal(a[160 + 127], 0x11);
    assert_int_equal(a[160 + 128], 0xaa);
    memset(c->fpu.ymm, 0x22, sizeof c->fpu.ymm);
    assert_int_equal(h_step(l->h), 0);
    assert_int_equal(c->fpu.ymm[7][0], 0x11);
    assert_int_equal(c->fpu.ymm[8][0], 0x22);
    assert_int_equal(c->fpu.ymm[7][16], 0x22);
    lab_free(l);
}

static void a_supervisor_save_is_for_cpl_0(void **state)
{
    (void)state;
    struct lab *l = lab_new(false, 0);
    struct cpu *c = at_area(l, "\x48\x0f\xc7\x2b", 4); /* xsaves64 */
    assert_int_equal(h_step(l->h), LEAVE_FAULT);
    assert_int_equal(c->fault_vector, cpu_has(c, X86_FEATURE(X86_W_D_1_EAX, 3)) ? X86_GP : X86_UD);
    lab_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_store_has_the_hosts_layout),
        cmocka_unit_test(every_load_takes_and_refuses_what_the_host_does),
        cmocka_unit_test(initial_components_are_marked_so_and_not_stored_by_xsavec),
        cmocka_unit_test(a_save_that_would_fault_stores_nothing),
        cmocka_unit_test(outside_64_bit_mode_eight_vector_registers_are_moved),
        cmocka_unit_test(a_supervisor_save_is_for_cpl_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
