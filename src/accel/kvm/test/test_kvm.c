#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "accel/kvm/internal.h"
#include "base/err.h"
#include "guest/bus.h"
#include "guest/clock.h"
#include "x86/regs.h"

/* ---- page walk ---- */

static struct mem_map *memory(uint64_t size)
{
    struct err e = {""};
    struct mem_map *m = mem_map_new(&e);
    struct mem_region r = {
        .name = "ram", .size = size, .kind = MEM_RAM, .ram = ram_new("ram", size, RAM_ANONYMOUS, &e)};

    assert_non_null(m);
    assert_non_null(mem_add(m, &r, &e));
    return m;
}

static void put(struct mem_map *m, uint64_t at, unsigned size, uint64_t value)
{
    assert_int_equal(mem_store(m, at, size, value), 0);
}

static void walk_without_paging_is_identity(void **state)
{
    struct mem_map *m = memory(1 << 20);
    struct x86_state s = {.cr0 = CR0_PE};
    uint64_t gpa = 0;

    (void)state;
    assert_int_equal(kvm_walk(m, &s, 0x100012345, &gpa), 0);
    assert_int_equal(gpa, 0x12345);
    mem_map_free(m);
}

static void walk_of_four_levels_knows_all_page_sizes(void **state)
{
    struct mem_map *m = memory(1 << 20);
    struct x86_state s = {
        .cr0 = CR0_PG | CR0_PE, .cr4 = CR4_PAE, .efer = EFER_LMA | EFER_LME, .cr3 = 0x1000 | 0x18};
    uint64_t gpa = 0;

    (void)state;
    put(m, 0x1000 + 8 * 0x1ff, 8, 0x2003);
    put(m, 0x2000, 8, 0x3003);
    put(m, 0x2008, 8, 0x40000083); /* 1 GiB page at 0x40000000 */
    put(m, 0x3000, 8, 0x4003);
    put(m, 0x3008, 8, 0x8000000000a00083); /* 2 MiB page, not executable */
    put(m, 0x4008, 8, 0x8000000000077067);
    assert_int_equal(kvm_walk(m, &s, 0xffffff8000001234, &gpa), 0);
    assert_int_equal(gpa, 0x77234);
    assert_int_equal(kvm_walk(m, &s, 0xffffff8000201234, &gpa), 0);
    assert_int_equal(gpa, 0xa01234);
    assert_int_equal(kvm_walk(m, &s, 0xffffff8041234567, &gpa), 0);
    assert_int_equal(gpa, 0x41234567);
    assert_int_equal(kvm_walk(m, &s, 0xffffff8000002000, &gpa), -EFAULT);
    assert_int_equal(kvm_walk(m, &s, 0, &gpa), -EFAULT);
    /* Nothing was marked accessed. */
    uint64_t entry;
    assert_int_equal(mem_load(m, 0x2000, 8, &entry), 0);
    assert_int_equal(entry, 0x3003);
    /* A table outside memory. */
    put(m, 0x3010, 8, 0xfffff003);
    assert_int_equal(kvm_walk(m, &s, 0xffffff8000400000, &gpa), -EFAULT);
    mem_map_free(m);
}

static void walk_of_two_levels_knows_pse36(void **state)
{
    struct mem_map *m = memory(1 << 20);
    struct x86_state s = {.cr0 = CR0_PG | CR0_PE, .cr4 = CR4_PSE, .cr3 = 0x1000};
    uint64_t gpa = 0;

    (void)state;
    put(m, 0x1000 + 4 * 0x300, 4, 0x00400083 | 5 << 13);
    put(m, 0x1004, 4, 0x2003);
    put(m, 0x2008, 4, 0x55003);
    assert_int_equal(kvm_walk(m, &s, 0xc0001234, &gpa), 0);
    assert_int_equal(gpa, 0x500401234);
    assert_int_equal(kvm_walk(m, &s, 0x402678, &gpa), 0);
    assert_int_equal(gpa, 0x55678);
    mem_map_free(m);
}

static void walk_of_pae_uses_the_loaded_pdptes(void **state)
{
    struct mem_map *m = memory(1 << 20);
    struct x86_state s = {
        .cr0 = CR0_PG | CR0_PE, .cr4 = CR4_PAE, .cr3 = 0x1020, .pdpte = {0, 0x3001}, .pdpte_valid = 1};
    uint64_t gpa = 0;

    (void)state;
    put(m, 0x1028, 8, 0x5001); /* changed since: not looked at */
    put(m, 0x3000, 8, 0xe00083);
    assert_int_equal(kvm_walk(m, &s, 0x40012345, &gpa), 0);
    assert_int_equal(gpa, 0xe12345);
    s.pdpte_valid = 0;
    assert_int_equal(kvm_walk(m, &s, 0x40012345, &gpa), -EFAULT);
    put(m, 0x5000, 8, 0xc00083);
    assert_int_equal(kvm_walk(m, &s, 0x40012345, &gpa), 0);
    assert_int_equal(gpa, 0xc12345);
    mem_map_free(m);
}

/* ---- /dev/kvm, if any ---- */

static void the_probe_says_why_not(void **state)
{
    struct err e = {""};
    double mips = -1;
    int r = accel_kvm_probe(&mips, &e);

    (void)state;
    assert_true(r <= 0);
    assert_int_equal(r < 0, e.msg[0] != 0);
    if (r < 0)
        assert_non_null(strstr(e.msg, "/dev/kvm"));
    if (r == 0 || r == -EOPNOTSUPP)
        assert_true(mips > 0);
}

struct box {
    struct accel_config c;
    struct accel *a;
};

static bool open_box(struct box *b, unsigned cpus)
{
    struct err e = {""};

    *b = (struct box){.c = {.mem = memory(1 << 20),
                            .bus = bus_new(&e),
                            .clock = clock_new(&e),
                            .cpus = cpus,
                            .cpu_model = "x86-64-v1"}};
    b->a = accel_kvm_open(&b->c, &e);
    if (!b->a)
        assert_true(e.msg[0]);
    return b->a != NULL;
}

static void close_box(struct box *b)
{
    accel_close(b->a);
    mem_map_free(b->c.mem);
    bus_free(b->c.bus);
    clock_free(b->c.clock);
}

/* Without KVM the test is skipped. */
static void need_box(struct box *b, unsigned cpus)
{
    if (open_box(b, cpus))
        return;
    close_box(b);
    skip();
}

static void a_kick_before_the_run_is_not_lost(void **state)
{
    struct vcpu_exit_info info;
    struct err e = {""};
    struct box b;
    struct vcpu *v;

    (void)state;
    need_box(&b, 1);
    v = vcpu_new(b.a, 0, &e);
    assert_non_null(v);
    vcpu_kick(v);
    assert_int_equal(vcpu_run(v, &info, &e), VCPU_KICKED);
    assert_int_equal(vcpu_quiesce(v, &e), 0);
    vcpu_free(v);
    close_box(&b);
}

static void a_vcpu_is_there_once_and_within_bounds(void **state)
{
    struct err e = {""};
    struct box b;
    struct vcpu *v;

    (void)state;
    need_box(&b, 2);
    v = vcpu_new(b.a, 1, &e);
    assert_non_null(v);
    assert_null(vcpu_new(b.a, 1, &e));
    assert_null(vcpu_new(b.a, 2, &e));
    assert_true(accel_tsc_khz(b.a) > 100000);
    vcpu_free(v);
    close_box(&b);
}

static void impossible_state_is_refused_with_a_reason(void **state)
{
    static struct x86_state s, bad;
    struct err e = {""};
    struct box b;
    struct vcpu *v;

    (void)state;
    need_box(&b, 1);
    v = vcpu_new(b.a, 0, &e);
    assert_non_null(v);
    assert_int_equal(vcpu_get(v, &s, &e), 0);
    bad = s;
    bad.mp_state = 77;
    assert_true(vcpu_set(v, &bad, &e) < 0 && e.msg[0]);
    bad = s;
    bad.msr_count = X86_MAX_MSRS + 1;
    assert_int_equal(vcpu_set(v, &bad, &e), -EINVAL);
    bad = s;
    bad.msr_count = 1;
    bad.msrs[0] = (struct x86_msr){.index = 0x12345, .value = 1};
    assert_int_equal(vcpu_set(v, &bad, &e), -EINVAL);
    assert_non_null(strstr(e.msg, "0x12345"));
    bad = s;
    bad.tsc_khz = 77000;
    if (!kvm_of(b.a)->caps.tsc_control) {
        assert_int_equal(vcpu_set(v, &bad, &e), -ENOTSUP);
        assert_non_null(strstr(e.msg, "77000"));
    }
    assert_int_equal(vcpu_set(v, &s, &e), 0);
    vcpu_free(v);
    close_box(&b);
}

static void level_messages_have_one_route_each_and_the_oldest_goes(void **state)
{
    struct box b;
    struct kvm_accel *k;

    (void)state;
    need_box(&b, 1);
    k = kvm_of(b.a);
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t v = 0x30; v < 0x38; v++)
            assert_int_equal(accel_msi(b.a, (struct msi_message){.address = 0xfee00000, .data = 0x8000 | v}),
                             0); /* no vCPU yet */
    assert_int_equal(k->routes->nr, 8);
    accel_msi(b.a, (struct msi_message){.address = 0xfee00000, .data = 0x99}); /* edge: needs none */
    assert_int_equal(k->routes->nr, 8);
    for (uint32_t i = 0; i < 200; i++)
        accel_msi(b.a, (struct msi_message){.address = 0xfee00000 | (i & 1) << 12, .data = 0x8020 + i / 2});
    assert_int_equal(k->routes->nr, KVM_LEVEL_ROUTES);
    close_box(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walk_without_paging_is_identity),
        cmocka_unit_test(walk_of_four_levels_knows_all_page_sizes),
        cmocka_unit_test(walk_of_two_levels_knows_pse36),
        cmocka_unit_test(walk_of_pae_uses_the_loaded_pdptes),
        cmocka_unit_test(the_probe_says_why_not),
        cmocka_unit_test(a_kick_before_the_run_is_not_lost),
        cmocka_unit_test(a_vcpu_is_there_once_and_within_bounds),
        cmocka_unit_test(impossible_state_is_refused_with_a_reason),
        cmocka_unit_test(level_messages_have_one_route_each_and_the_oldest_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
