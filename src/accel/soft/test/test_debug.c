#include <pthread.h>
#include <unistd.h>
#include "accel/accel.h"
#include "system.h"

static enum engine_exit run(struct harness *h, struct engine_exit_info *info)
{
    return engine_run(h->en, 0, info);
}

/* ---- the guest's own debugging ---- */

static void tf_traps_after_each_instruction(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\x90\x90");
    s.rflags |= X86_TF;
    assert_int_equal(t_run(h, &s) & 0xff, X86_DB);
    engine_get(h->en, 0, &s);
    assert_true(s.dr6 & 0x4000);
    assert_int_equal(h_get64(h, s.gpr[X86_RSP]), T_CODE + 1);
    assert_true(h_get64(h, s.gpr[X86_RSP] + 16) & X86_TF);
    assert_false(s.rflags & X86_TF);
    h_free(h);
}

static void mov_ss_holds_the_single_step_trap_off(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\x8e\xd0\x90\x90"); /* mov %eax,%ss; nop; nop */
    s.gpr[X86_RAX] = S_DATA0;
    s.rflags |= X86_TF;
    assert_int_equal(t_run(h, &s) & 0xff, X86_DB);
    engine_get(h->en, 0, &s);
    assert_int_equal(h_get64(h, s.gpr[X86_RSP]), T_CODE + 3);
    h_free(h);
}

static void an_instruction_breakpoint_faults_before_and_rf_passes_it(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\x90\x90\xe7\xf4\xeb\xfe");
    s.dr[0] = T_CODE + 1;
    s.dr7 = 0x401;
    assert_int_equal(t_run(h, &s) & 0xff, X86_DB);
    struct x86_state t;
    engine_get(h->en, 0, &t);
    assert_int_equal(t.dr6 & 0xf, 1);
    assert_int_equal(h_get64(h, t.gpr[X86_RSP]), T_CODE + 1);
    s.rip = T_CODE + 1;
    s.rflags |= X86_RF;
    s.gpr[X86_RAX] = 0x33;
    assert_int_equal(t_run(h, &s), 0x33);
    h_free(h);
}

static void a_data_breakpoint_traps_after_the_store(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\x8a\x0b\x88\x03\x90\x90"); /* mov (%rbx),%cl: a read does not hit a write breakpoint;
                                                     mov %al,(%rbx) */
    s.gpr[X86_RBX] = 0x20003;
    s.gpr[X86_RAX] = 0x55;
    s.dr[1] = 0x20000;
    s.dr7 = 0x400 | 4 | 1u << 20 | 3u << 22; /* DR1: write, four bytes */
    assert_int_equal(t_run(h, &s) & 0xff, X86_DB);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.dr6 & 0xf, 2);
    assert_int_equal(h_get64(h, s.gpr[X86_RSP]), T_CODE + 4);
    assert_int_equal(h->ram[0x20003], 0x55);
    h_free(h);
}

static void general_detect_faults_on_access_to_debug_registers(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\x0f\x21\xf8"); /* mov %dr7,%rax */
    s.dr7 = 0x2400;
    assert_int_equal(t_run(h, &s) & 0xff, X86_DB);
    engine_get(h->en, 0, &s);
    assert_true((s.dr6 & 0x2000) && !(s.dr7 & 0x2000));
    assert_int_equal(h_get64(h, s.gpr[X86_RSP]), T_CODE);
    h_free(h);
}

static void a_data_breakpoint_on_the_stack_of_an_interrupt_strikes_at_its_handler(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 3);

    T_PUT(h, T_CODE, "\xcd\x80");
    t_gate(h, 0x80, true, S_CODE0, T_TRAPS + 0x80 * 16, 0xe, 3, 0);
    t_gate(h, X86_DB, true, S_CODE0, T_TRAPS + X86_DB * 16, 0xe, 0, 1);
    s.dr[0] = T_STACK0 - 16;
    s.dr7 = 0x401 | 1u << 16 | 3u << 18;
    assert_int_equal(t_run(h, &s) & 0xff, X86_DB);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.dr6 & 0xf, 1);
    assert_int_equal(h_get64(h, s.gpr[X86_RSP]), T_TRAPS + 0x80 * 16);
    h_free(h);
}

static void *kick_later(void *opaque)
{
    struct harness *h = opaque;

    usleep(20000);
    engine_kick(h->en, 0);
    return NULL;
}

static void a_data_breakpoint_on_the_stack_of_its_own_trap_can_be_stopped(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 3);
    struct engine_exit_info info;
    pthread_t kicker;

    /* every #DB hits the breakpoint again: no handler ever runs, but the vCPU can be kicked out */
    T_PUT(h, T_CODE, "\xcd\x80");
    t_gate(h, 0x80, true, S_CODE0, T_TRAPS + 0x80 * 16, 0xe, 3, 0);
    t_gate(h, X86_DB, true, S_CODE0, T_TRAPS + X86_DB * 16, 0xe, 0, 1);
    s.dr[0] = T_IST1 - 16;
    s.dr[1] = T_STACK0 - 16;
    s.dr7 = 0x405 | 0xddu << 16;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    pthread_create(&kicker, NULL, kick_later, h);
    assert_int_equal(run(h, &info), ENGINE_KICKED);
    pthread_join(kicker, NULL);
    h_free(h);
}

static void a_repeated_store_stops_at_a_data_breakpoint(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\xf3\xaa\x90"); /* rep stosb */
    s.gpr[X86_RDI] = 0x20000;
    s.gpr[X86_RCX] = 100;
    s.dr[0] = 0x20008;
    s.dr7 = 0x401 | 1u << 16;
    assert_int_equal(t_run(h, &s) & 0xff, X86_DB);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.gpr[X86_RCX], 91);
    assert_int_equal(s.gpr[X86_RDI], 0x20009);
    assert_int_equal(h_get64(h, s.gpr[X86_RSP]), T_CODE);
    assert_true(h_get64(h, s.gpr[X86_RSP] + 16) & X86_RF);
    h_free(h);
}

static void a_port_breakpoint_traps_behind_the_access_when_de_is_set(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);

    T_PUT(h, T_CODE, "\x66\xe7\x7f\x0f\x0b"); /* out %ax,$0x7f; ud2 */
    s.dr[2] = 0x80;
    s.dr7 = 0x400 | 1u << 4 | 2u << 24;
    assert_int_equal(t_run(h, &s) & 0xff, X86_UD);
    s.cr4 |= CR4_DE;
    assert_int_equal(t_run(h, &s) & 0xff, X86_DB);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.dr6 & 0xf, 4);
    assert_int_equal(h_get64(h, s.gpr[X86_RSP]), T_CODE + 3);

    s = t_long(h, 0);
    T_PUT(h, T_CODE, "\xf3\x6e\x90"); /* rep outsb: stops after the element that hit */
    s.cr4 |= CR4_DE;
    s.gpr[X86_RSI] = 0x20000;
    s.gpr[X86_RCX] = 3;
    s.gpr[X86_RDX] = 0x80;
    s.dr[0] = 0x80;
    s.dr7 = 0x401 | 2u << 16;
    assert_int_equal(t_run(h, &s) & 0xff, X86_DB);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.gpr[X86_RCX], 2);
    h_free(h);
}

/* ---- gdb's ---- */

static void a_debugger_steps_one_instruction_at_a_time(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);
    struct vcpu_debug d = {.single_step = true};
    struct engine_exit_info info;

    T_PUT(h, T_CODE, "\x90\x0f\x0b\x90");
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    engine_debug(h->en, 0, &d);
    assert_int_equal(run(h, &info), ENGINE_DEBUG);
    assert_int_equal(info.rip, T_CODE + 1);
    assert_int_equal(run(h, &info), ENGINE_DEBUG); /* into the exception's handler */
    assert_int_equal(info.rip, T_TRAPS + X86_UD * 16);
    h_free(h);
}

static void a_planted_int3_leaves_instead_of_reaching_the_guest(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);
    struct vcpu_debug d = {.software_breaks = true};
    struct engine_exit_info info;

    T_PUT(h, T_CODE, "\x90\xcc");
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    engine_debug(h->en, 0, &d);
    assert_int_equal(run(h, &info), ENGINE_DEBUG);
    assert_true(info.software_break);
    assert_int_equal(info.rip, T_CODE + 1);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.rip, T_CODE + 1);
    d.software_breaks = false;
    engine_debug(h->en, 0, &d);
    assert_int_equal(run(h, &info), ENGINE_KICKED);
    assert_int_equal(h->exit_value & 0xff, X86_BP);
    h_free(h);
}

static void a_debuggers_breakpoint_and_watchpoint_leave_with_the_address(void **state)
{
    (void)state;
    struct harness *h = h_new(1);
    struct x86_state s = t_long(h, 0);
    struct vcpu_debug d = {.hw = {[0] = {.addr = T_CODE + 2, .len = 1, .type = 0, .on = true},
                                  [1] = {.addr = 0x20000, .len = 4, .type = 1, .on = true}}};
    struct engine_exit_info info;

    T_PUT(h, T_CODE, "\x90\x90\x88\x03\x90");
    s.gpr[X86_RBX] = 0x20002;
    assert_int_equal(engine_set(h->en, 0, &s), 0);
    engine_debug(h->en, 0, &d);
    assert_int_equal(run(h, &info), ENGINE_DEBUG);
    assert_int_equal(info.rip, T_CODE + 2);
    assert_int_equal(info.dr6 & 0xf, 1);
    d.hw[0].on = false;
    engine_debug(h->en, 0, &d);
    assert_int_equal(run(h, &info), ENGINE_DEBUG);
    assert_int_equal(info.rip, T_CODE + 4);
    assert_int_equal(info.dr6 & 0xf, 2);
    assert_int_equal(info.watch_addr, 0x20002);
    engine_get(h->en, 0, &s);
    assert_int_equal(s.dr6 & 0xf, 0); /* the guest's own registers are not touched */
    h_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tf_traps_after_each_instruction),
        cmocka_unit_test(mov_ss_holds_the_single_step_trap_off),
        cmocka_unit_test(an_instruction_breakpoint_faults_before_and_rf_passes_it),
        cmocka_unit_test(a_data_breakpoint_traps_after_the_store),
        cmocka_unit_test(general_detect_faults_on_access_to_debug_registers),
        cmocka_unit_test(a_data_breakpoint_on_the_stack_of_an_interrupt_strikes_at_its_handler),
        cmocka_unit_test(a_data_breakpoint_on_the_stack_of_its_own_trap_can_be_stopped),
        cmocka_unit_test(a_repeated_store_stops_at_a_data_breakpoint),
        cmocka_unit_test(a_port_breakpoint_traps_behind_the_access_when_de_is_set),
        cmocka_unit_test(a_debugger_steps_one_instruction_at_a_time),
        cmocka_unit_test(a_planted_int3_leaves_instead_of_reaching_the_guest),
        cmocka_unit_test(a_debuggers_breakpoint_and_watchpoint_leave_with_the_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
