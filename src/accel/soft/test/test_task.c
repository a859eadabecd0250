/* Task switches and what they leave when they fail (SDM 3A chapter 7, 6.13). */
#include "system.h"

enum { VECTOR = 0x40, NEW_SP = 0x60000, NEW_STACK0 = 0x64000, T_LDT = 0x8800, S_BAD = 0x70 };
enum how { BY_INT_N, BY_INT3, BY_INTO, BY_INTERRUPT, BY_FAULT, HOWS };

static const char *const how_names[] = {"INT n", "INT3", "INTO", "interrupt", "#UD"};

static bool external(enum how how)
{
    return how == BY_INTERRUPT || how == BY_FAULT;
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
    h_put32(h, T_TSS2 + 0x64, 0x68 << 16); /* no I/O permission bitmap */
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
            if (v != cases[i].vector || t_stack32(h, 0) != (uint32_t)(S_TSS2 | external(how)))
                fail_msg("%s, case %u: vector %u, error %#x", how_names[how], i, v, t_stack32(h, 0));
            assert_int_equal(t_stack32(h, 1), T_CODE);
            assert_int_equal(h_cpu(h)->tr.sel, S_TSS);
            h_free(h);
        }
}

/* Behind that: faults of the new one. */
static void errors_in_the_new_task_name_external_events_only(void **state)
{
    static const struct {
        uint16_t at, value, vector, error;
    } cases[] = {{0x60, S_BAD, X86_TS, S_BAD}, /* LDT */
                 {0x50, S_BAD, X86_TS, S_BAD}, /* SS */
                 {0x48, S_BAD, X86_TS, S_BAD}, /* ES */
                 {0x4c, S_BAD, X86_TS, S_BAD}, /* CS */
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
            if (v != cases[i].vector || t_stack32(h, 0) != (uint32_t)(cases[i].error | external(how)))
                fail_msg("%s, case %u: vector %u, error %#x", how_names[how], i, v, t_stack32(h, 0));
            assert_int_equal(h_cpu(h)->tr.sel, S_TSS2);
            h_free(h);
        }
}

/* ---- the new task's segments ---- */

/* Beside those of system.h: what a segment register may not name, or may. */
enum {
    S_ABSENT_DATA = 0x80,  /* DPL 0, not present */
    S_ABSENT_CODE = 0x88,  /* DPL 0, not present */
    S_READ_ONLY = 0x90,    /* data, DPL 0 */
    S_EXECUTE = 0x98,      /* code that cannot be read, DPL 0 */
    S_CONFORMING = 0xa0,   /* code, DPL 0 */
    S_CONFORMING3 = 0xa8,  /* code, DPL 3 */
    S_LDT_ABSENT = 0xb0,   /* an LDT, not present */
    S_ABSENT_DATA3 = 0xb8, /* DPL 3, not present */
    S_LIMIT = 0xc0         /* beyond the table */
};

static void more_descriptors(struct harness *h, struct x86_state *s)
{
    uint32_t data = 0x2 | X86_SEG_S | X86_SEG_G | X86_SEG_DB, code = 0xa | X86_SEG_S | X86_SEG_G | X86_SEG_DB;
    const struct {
        uint16_t sel;
        uint32_t attr;
    } rows[] = {{S_ABSENT_DATA, data},
                {S_ABSENT_CODE, code},
                {S_READ_ONLY, (data & ~2u) | X86_SEG_P},
                {S_EXECUTE, (code & ~2u) | X86_SEG_P},
                {S_CONFORMING, code | 4 | X86_SEG_P},
                {S_CONFORMING3, code | 4 | X86_SEG_P | 3 << 5},
                {S_LDT_ABSENT, 2},
                {S_ABSENT_DATA3, data | 3 << 5}};

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        h_put64(h, T_GDT + rows[i].sel, t_desc(0, 0xffffffff, rows[i].attr));
    s->gdtr.limit = S_LIMIT - 1;
}

/* What a JMP to the task comes to: the rows of SDM 3A table 7-1, with some that are no errors. */
struct segment_case {
    const char *name;
    uint16_t es, cs, ss, ds, fs, gs, ldt;
    uint8_t vector; /* VECTOR: none */
    uint16_t error;
};

static const struct segment_case segment_cases[] = {
    {"whole", S_DATA0, S_CODE0, S_DATA0, S_DATA0, S_DATA0, S_DATA0, 0, VECTOR, 0},
    {"LDT null", S_DATA0, S_CODE0, S_DATA0, S_DATA0, S_DATA0, S_DATA0, 3, VECTOR, 0},
    {"LDT", S_DATA0, S_CODE0, S_DATA0, S_DATA0, S_DATA0, S_DATA0, S_LDT, VECTOR, 0},
    {"LDT in the LDT", S_DATA0, S_CODE0, S_DATA0, S_DATA0, S_DATA0, S_DATA0, 0xc, X86_TS, 0xc},
    {"LDT beyond", S_DATA0, S_CODE0, S_DATA0, S_DATA0, S_DATA0, S_DATA0, S_LIMIT, X86_TS, S_LIMIT},
    {"LDT of another type", S_DATA0, S_CODE0, S_DATA0, S_DATA0, S_DATA0, S_DATA0, S_TSS, X86_TS, S_TSS},
    {"LDT absent", S_DATA0, S_CODE0, S_DATA0, S_DATA0, S_DATA0, S_DATA0, S_LDT_ABSENT, X86_TS, S_LDT_ABSENT},
    {"LDT before SS", S_DATA0, S_CODE0, S_BAD, S_DATA0, S_DATA0, S_DATA0, S_LDT_ABSENT, X86_TS, S_LDT_ABSENT},
    {"SS null", S_DATA0, S_CODE0, 0, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, 0},
    {"SS beyond", S_DATA0, S_CODE0, S_LIMIT, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, S_LIMIT},
    {"SS without type", S_DATA0, S_CODE0, S_BAD, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, S_BAD},
    {"SS code", S_DATA0, S_CODE0, S_CODE0, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, S_CODE0},
    {"SS read-only", S_DATA0, S_CODE0, S_READ_ONLY, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, S_READ_ONLY},
    {"SS absent", S_DATA0, S_CODE0, S_ABSENT_DATA, S_DATA0, S_DATA0, S_DATA0, 0, X86_SS_VEC, S_ABSENT_DATA},
    {"SS absent, of DPL 3", S_DATA0, S_CODE0, S_ABSENT_DATA3, S_DATA0, S_DATA0, S_DATA0, 0, X86_SS_VEC,
     S_ABSENT_DATA3},
    {"SS of DPL 3", S_DATA0, S_CODE0, S_DATA3 | 3, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, S_DATA3},
    {"SS of RPL 3", S_DATA0, S_CODE0, S_DATA0 | 3, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, S_DATA0},
    {"SS of DPL 0, user", S_DATA3, S_CODE3 | 3, S_DATA0, S_DATA3, S_DATA3, S_DATA3, 0, X86_TS, S_DATA0},
    {"SS before DS", S_DATA0, S_CODE0, S_BAD, S_LIMIT, S_DATA0, S_DATA0, 0, X86_TS, S_BAD},
    {"SS before CS", S_DATA0, S_LIMIT, S_BAD, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, S_BAD},
    {"ES null", 1, S_CODE0, S_DATA0, S_DATA0, S_DATA0, S_DATA0, 0, VECTOR, 0},
    {"ES beyond", S_LIMIT, S_CODE0, S_DATA0, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, S_LIMIT},
    {"DS without type", S_DATA0, S_CODE0, S_DATA0, S_BAD, S_DATA0, S_DATA0, 0, X86_TS, S_BAD},
    {"FS unreadable", S_DATA0, S_CODE0, S_DATA0, S_DATA0, S_EXECUTE, S_DATA0, 0, X86_TS, S_EXECUTE},
    {"GS absent", S_DATA0, S_CODE0, S_DATA0, S_DATA0, S_DATA0, S_ABSENT_DATA, 0, X86_NP, S_ABSENT_DATA},
    {"GS absent code", S_DATA0, S_CODE0, S_DATA0, S_DATA0, S_DATA0, S_ABSENT_CODE, 0, X86_NP, S_ABSENT_CODE},
    {"DS of RPL 3", S_DATA0, S_CODE0, S_DATA0, S_DATA0 | 3, S_DATA0, S_DATA0, 0, X86_TS, S_DATA0},
    {"DS of DPL 0, user", S_DATA3, S_CODE3 | 3, S_DATA3 | 3, S_DATA0, S_DATA3, S_DATA3, 0, X86_TS, S_DATA0},
    {"DS conforming, user", S_DATA3, S_CODE3 | 3, S_DATA3 | 3, S_CONFORMING | 3, S_DATA3, S_DATA3, 0, X86_GP,
     0},
    {"DS before CS", S_DATA0, S_LIMIT, S_DATA0, S_BAD, S_DATA0, S_DATA0, 0, X86_TS, S_BAD},
    {"DS before ES", S_LIMIT, S_CODE0, S_DATA0, S_BAD, S_DATA0, S_DATA0, 0, X86_TS, S_BAD},
    {"CS null", S_DATA0, 0, S_DATA0, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, 0},
    {"CS beyond", S_DATA0, S_LIMIT, S_DATA0, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, S_LIMIT},
    {"CS data", S_DATA0, S_READ_ONLY, S_DATA0, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, S_READ_ONLY},
    {"CS of DPL 3", S_DATA0, S_CODE3, S_DATA0, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS, S_CODE3},
    {"CS of DPL 0, user", S_DATA3, S_CODE0 | 3, S_DATA3 | 3, S_DATA3, S_DATA3, S_DATA3, 0, X86_TS, S_CODE0},
    {"CS absent", S_DATA0, S_ABSENT_CODE, S_DATA0, S_DATA0, S_DATA0, S_DATA0, 0, X86_NP, S_ABSENT_CODE},
    {"CS conforming", S_DATA0, S_CONFORMING, S_DATA0, S_DATA0, S_DATA0, S_DATA0, 0, VECTOR, 0},
    {"CS conforming, user", S_DATA3, S_CONFORMING | 3, S_DATA3 | 3, S_DATA3, S_DATA3, S_DATA3, 0, X86_GP, 0},
    {"CS conforming, DPL 3", S_DATA0, S_CONFORMING3, S_DATA0, S_DATA0, S_DATA0, S_DATA0, 0, X86_TS,
     S_CONFORMING3},
    {"user", S_DATA3, S_CODE3 | 3, S_DATA3 | 3, S_DATA3, S_DATA3, S_DATA3, 0, X86_GP, 0}};

/* OUT is not for the user: a task that comes to run at CPL 3 reports #GP(0). */
static void the_new_tasks_segments_are_checked_in_its_context(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof(segment_cases) / sizeof(segment_cases[0]); i++) {
        const struct segment_case *k = &segment_cases[i];
        struct harness *h = h_new(1);
        struct x86_state s = t_protected(h, 0);
        const uint16_t sel[] = {k->es, k->cs, k->ss, k->ds, k->fs, k->gs, k->ldt};
        new_task(h);
        more_descriptors(h, &s);
        for (unsigned r = 0; r < 7; r++)
            h_put32(h, T_TSS2 + 0x48 + r * 4, sel[r]);
        T_PUT(h, T_CODE, "\xea\x00\x00\x00\x00\x40\x00"); /* ljmp $0x40,$0 */
        unsigned v = t_run(h, &s) & 0xff;
        if (v != k->vector || (v != VECTOR && t_stack32(h, 0) != k->error))
            fail_msg("%s: vector %u, error %#x", k->name, v, t_stack32(h, 0));
        assert_int_equal(h_cpu(h)->tr.sel, S_TSS2);
        h_free(h);
    }
}

/* Without a good SS the exception comes to the stack that the new TSS has for CPL 0. */
static void a_bad_stack_segment_is_reported_on_the_new_tasks_inner_stack(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 0);

    new_task(h);
    h_put32(h, T_TSS2 + 0x50, S_BAD | 1);
    T_PUT(h, T_CODE, "\xea\x00\x00\x00\x00\x40\x00");
    assert_int_equal(t_run(h, &s) & 0xff, X86_TS);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.gpr[X86_RSP], NEW_STACK0 - 24);
    assert_int_equal(t_stack32(h, 0), S_BAD);
    assert_int_equal(t_stack32(h, 1), T_TRAPS + VECTOR * 16);
    assert_int_equal(t_stack32(h, 2), S_CODE0);
    assert_int_equal(t_stack32(h, 3), 2 | X86_RF);
    assert_int_equal(t_stack32(h, 4), NEW_SP);
    assert_int_equal(t_stack32(h, 5), S_BAD | 1);
    h_free(h);
}

/* ---- CR3 ---- */

/* Page-directory pointers: the present ones are good, one of them is not, a bad one is not present. */
enum { GOOD = 0x4000, GOOD_TOO = 0x4020, BAD = 0x4040, BAD_ABSENT = 0x4060 };

static struct x86_state pae(struct harness *h)
{
    struct x86_state s = t_protected(h, 0);

    h_identity(h);
    for (unsigned at = GOOD; at <= BAD_ABSENT; at += 0x20)
        h_put64(h, at, (H_TABLES + 0x2000) | 1);
    h_put64(h, BAD + 24, (H_TABLES + 0x2000) | 3); /* bit 1 is reserved */
    h_put64(h, BAD_ABSENT + 24, 0x1e6);
    s.cr0 |= CR0_PG;
    s.cr4 |= CR4_PAE;
    s.cr3 = GOOD;
    return s;
}

static void a_task_with_bad_page_directory_pointers_is_invalid(void **state)
{
    static const uint32_t good[] = {GOOD, GOOD_TOO, BAD_ABSENT};

    (void)state;
    for (unsigned how = 0; how < HOWS; how++) {
        struct harness *h = h_new(1);
        struct x86_state s = pae(h);
        new_task(h);
        h_put32(h, T_TSS2 + 0x1c, BAD);
        unsigned v = go(h, &s, how);
        if (v != X86_TS || t_stack32(h, 0) != external(how))
            fail_msg("%s: vector %u, error %#x", how_names[how], v, t_stack32(h, 0));
        assert_int_equal(t_stack32(h, 1), T_TRAPS + VECTOR * 16);
        assert_int_equal(h_cpu(h)->gpr[X86_RSP], NEW_STACK0 - 24);
        assert_int_equal(h_cpu(h)->tr.sel, S_TSS2);
        assert_true(h_cpu(h)->cr3 == GOOD);
        for (unsigned i = 0; i < 3; i++) {
            new_task(h);
            h_put32(h, T_TSS2 + 0x1c, good[i]);
            assert_int_equal(go(h, &s, how), VECTOR);
            assert_true(h_cpu(h)->cr3 == good[i]);
        }
        h_free(h);
    }
}

static void mov_to_cr3_refuses_bad_page_directory_pointers(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = pae(h);

    T_PUT(h, T_CODE, "\x0f\x22\xd8\xe6\xf4\xeb\xfe"); /* mov %eax,%cr3; out %al,$0xf4; jmp . */
    s.gpr[X86_RAX] = BAD;
    assert_int_equal(t_run(h, &s) & 0xff, X86_GP);
    assert_int_equal(t_stack32(h, 0), 0);
    assert_int_equal(t_stack32(h, 1), T_CODE);
    assert_true(h_cpu(h)->cr3 == GOOD);
    s.gpr[X86_RAX] = BAD_ABSENT;
    assert_int_equal(t_run(h, &s) & 0xff, BAD_ABSENT & 0xff);
    assert_true(h_cpu(h)->cr3 == BAD_ABSENT);
    h_free(h);
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

/* ---- what the new task is entered with ---- */

/* A jump writes nothing to the new TSS; a call writes the link. */
static void only_a_link_is_written_to_the_new_tss(void **state)
{
    static const struct {
        const char *code;
        unsigned vector;
    } ways[] = {{"\xea\0\0\0\0\x40", VECTOR}, {"\x9a\0\0\0\0\x40", X86_PF_VEC}};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct harness *h = h_new(1);
        struct x86_state s = pae(h);
        new_task(h);
        h_put32(h, T_TSS2 + 0x1c, GOOD);
        h_put64(h, T_GDT + S_TSS2, t_desc(0x200000 + T_TSS2, 0x67, 0x9 | X86_SEG_P));
        h_put64(h, H_TABLES + 0x2000 + 8, 0xe1); /* 0x200000 is 0, read only */
        s.cr0 |= CR0_WP;
        memcpy(h->ram + T_CODE, ways[i].code, 7);
        assert_int_equal(t_run(h, &s) & 0xff, ways[i].vector);
        h_free(h);
    }
}

static void no_error_code_is_pushed_where_the_task_cannot_begin(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 0);

    new_task(h);
    h_put64(h, T_GDT + S_BAD, t_desc(0, 0xff, 0xb | X86_SEG_S | X86_SEG_P | X86_SEG_DB));
    h_put32(h, T_TSS2 + 0x4c, S_BAD);
    t_gate(h, X86_GP, false, S_TSS2, 0, 5, 0, 0);
    T_PUT(h, T_CODE, "\x0f\x22\xe0"); /* mov %eax, %cr4 */
    s.gpr[X86_RAX] = 0xffffffff;
    assert_int_equal(t_run(h, &s) & 0xff, X86_DF_VEC);
    assert_int_equal(h_cpu(h)->gpr[X86_RSP], NEW_SP - 16);
    h_free(h);
}

static void a_task_may_return_to_itself(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_protected(h, 0);

    new_task(h);
    h_put32(h, T_TSS, S_TSS);
    T_PUT(h, T_CODE, "\xcf\xb0\x42\xe6\xf4\xeb\xfe"); /* iret; mov $0x42, %al; out %al, $0xf4; jmp . */
    s.rflags |= X86_NT;
    assert_int_equal(t_run(h, &s) & 0xff, 0x42);
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_about_the_tss_name_external_events_only),
        cmocka_unit_test(errors_in_the_new_task_name_external_events_only),
        cmocka_unit_test(the_new_tasks_segments_are_checked_in_its_context),
        cmocka_unit_test(a_bad_stack_segment_is_reported_on_the_new_tasks_inner_stack),
        cmocka_unit_test(a_task_with_bad_page_directory_pointers_is_invalid),
        cmocka_unit_test(mov_to_cr3_refuses_bad_page_directory_pointers),
        cmocka_unit_test(a_fault_leaves_rf_in_the_old_task),
        cmocka_unit_test(a_trap_leaves_no_rf_in_the_old_task),
        cmocka_unit_test(only_a_link_is_written_to_the_new_tss),
        cmocka_unit_test(no_error_code_is_pushed_where_the_task_cannot_begin),
        cmocka_unit_test(a_task_may_return_to_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
