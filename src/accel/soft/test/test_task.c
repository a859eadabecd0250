/* Task switches and what they leave when they fail (SDM 3A chapter 7, 6.13). */
#include "system.h"

enum { VECTOR = 0x40, NEW_SP = 0x60000, NEW_STACK0 = 0x64000, T_LDT = 0x8800, S_BAD = 0x70 };
enum how { BY_INT_N, BY_INT3, BY_INTO, BY_INTERRUPT, BY_FAULT, HOWS };

static const char *const how_names[] = {"INT n", "INT3", "INTO", "interrupt", "#UD"};

static bool external(enum how how)
{
    return how == BY_INTERRUPT || how == BY_FAULT;
}

static uint32_t stack32(struct harness *h, unsigned i)
{
    struct x86_state s;
    engine_get(h->en, 0, &s);
    return h_get32(h, s.gpr[X86_RSP] + i * 4);
}

/* A task at T_TSS2 that writes VECTOR to the exit port at CPL 0, with a stack of its own for exceptions. */
static void new_task(struct harness *h)
{
    h_put64(h, T_GDT + S_TSS, t_desc(T_TSS, 0x67, 0xb | X86_SEG_P));
    h_put64(h, T_GDT + S_TSS2, t_desc(T_TSS2, 0x67, 0x9 | X86_SEG_P));
    h_put64(h, T_GDT + S_LDT, t_desc(T_LDT, 0xf, 0x2 | X86_SEG_P));
    h_put64(h, T_GDT + S_BAD, 0);
    memset(h->ram + T_TSS2, 0, 0x68);
    h_put32(h, T_TSS2 + 4, NEW_STACK0);
    h_put32(h, T_TSS2 + 8, S_DATA0);
    h_put32(h, T_TSS2 + 0x20, T_TRAPS + VECTOR * 16);
    h_put32(h, T_TSS2 + 0x24, 2);
    h_put32(h, T_TSS2 + 0x38, NEW_SP);
    for (unsigned i = 0; i < 6; i++)
        h_put32(h, T_TSS2 + 0x48 + i * 4, i == X86_CS ? S_CODE0 : S_DATA0);
}

static uint8_t gate_of(enum how how)
{
    static const uint8_t vectors[] = {VECTOR, X86_BP, X86_OFV, VECTOR, X86_UD};

    return vectors[how];
}

/* Have the CPU go to the new task that way, by task gate: the vector that is reported in the end. */
static unsigned go(struct harness *h, struct x86_state *s, enum how how)
{
    static const char *const code[] = {"\xcd\x40", "\xcc", "\xce", "\x90", "\x0f\x0b"};

    memset(h->ram + T_CODE, 0x90, 16);
    memcpy(h->ram + T_CODE, code[how], strlen(code[how]));
    t_gate(h, gate_of(how), false, S_TSS2, 0, 5, 3, 0);
    s->rflags |= how == BY_INTO ? X86_OF : 0;
    s->events.int_injected = how == BY_INTERRUPT;
    s->events.int_vector = VECTOR;
    return t_run(h, s) & 0xff;
}

/* ---- error codes ---- */

/* Before the new task is entered: faults of the old one. */
static void errors_about_the_tss_name_external_events_only(void **state)
{
    static const struct {
        uint64_t descriptor; /* of the TSS; the base is added */
        uint8_t vector;
    } cases[] = {{0, X86_GP}, /* of no type */
                 {0x8bull << 40 | 0x67, X86_GP},
                 {0x09ull << 40 | 0x67, X86_NP},
                 {0x89ull << 40 | 0x66, X86_TS}};

    (void)state;
    for (unsigned how = 0; how < HOWS; how++)
        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            struct harness *h = h_new(1);
            struct x86_state s = t_protected(h, 0);
            new_task(h);
            h_put64(h, T_GDT + S_TSS2, cases[i].descriptor | (uint64_t)T_TSS2 << 16);
            unsigned v = go(h, &s, how);
            if (v != cases[i].vector || stack32(h, 0) != (uint32_t)(S_TSS2 | external(how)))
                fail_msg("%s, case %u: vector %u, error %#x", how_names[how], i, v, stack32(h, 0));
            assert_int_equal(stack32(h, 1), T_CODE);
            assert_int_equal(h_cpu(h)->tr.sel, S_TSS);
            h_free(h);
        }
}

/* Behind that: faults of the new one. */
static void errors_in_the_new_task_name_external_events_only(void **state)
{
    static const struct {
        uint16_t at, value, vector, error;
    } cases[] = {{0x48, S_BAD, X86_TS, S_BAD}, /* ES */
                 {0x22, 0xffff, X86_GP, 0}};   /* EIP, beyond the limit of CS */

    (void)state;
    for (unsigned how = 0; how < HOWS; how++)
        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            struct harness *h = h_new(1);
            struct x86_state s = t_protected(h, 0);
            new_task(h);
            h_put64(h, T_GDT + S_CODE0, t_desc(0, 0xfffff, 0xb | X86_SEG_S | X86_SEG_P | X86_SEG_DB));
            h_put32(h, T_TSS2 + cases[i].at, cases[i].value);
            unsigned v = go(h, &s, how);
            if (v != cases[i].vector || stack32(h, 0) != (uint32_t)(cases[i].error | external(how)))
                fail_msg("%s, case %u: vector %u, error %#x", how_names[how], i, v, stack32(h, 0));
            assert_int_equal(h_cpu(h)->tr.sel, S_TSS2);
            h_free(h);
        }
}

/* ---- what the old task is left with ---- */

static void a_fault_leaves_rf_in_the_old_task(void **state)
{
    (void)state;
    for (unsigned how = 0; how < HOWS; how++) {
        struct harness *h = h_new(1);
        struct x86_state s = t_protected(h, 0);
        new_task(h);
        assert_int_equal(go(h, &s, how), VECTOR);
        uint32_t flags = h_get32(h, T_TSS + 0x24);
        if (flags != (s.rflags | (how == BY_FAULT ? X86_RF : 0)))
            fail_msg("%s: %#x", how_names[how], flags);
        assert_true(h_cpu(h)->rflags == (2 | X86_NT)); /* the new one has its own */
        h_free(h);
    }
}

static void a_trap_leaves_no_rf_in_the_old_task(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 0);

    new_task(h);
    t_gate(h, X86_DB, false, S_TSS2, 0, 5, 0, 0);
    T_PUT(h, T_CODE, "\x90\x90");
    s.rflags |= X86_TF;
    assert_int_equal(t_run(h, &s) & 0xff, VECTOR);
    assert_int_equal(h_get32(h, T_TSS + 0x20), T_CODE + 1);
    assert_int_equal(h_get32(h, T_TSS + 0x24), 2 | X86_TF);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_about_the_tss_name_external_events_only),
        cmocka_unit_test(errors_in_the_new_task_name_external_events_only),
        cmocka_unit_test(a_fault_leaves_rf_in_the_old_task),
        cmocka_unit_test(a_trap_leaves_no_rf_in_the_old_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
