/* x2APIC mode: registers as MSRs, the self IPI, the ICR in one write, reserved bits. */
#include "common.inc"
#define RD(n) mov ecx, n ; rdmsr
#define WR(n, lo, hi) mov ecx, n ; mov eax, lo ; mov edx, hi ; wrmsr
    GUEST
    TO_LONG
    call idt_init
    RD(0x1b)
    or eax, 0x400
    wrmsr
    mov dword ptr [x2apic], 1
    RD(0x1b)
    EQ(eax, 0xfee00d00)
    RD(0x802)
    EQ(eax, 0)
    RD(0x80d)
    EQ(eax, 1) /* logical id: cluster 0, bit 0 */
    WR(0x80f, 0x1ff, 0)

    WR(0x83f, 0x61, 0) /* self IPI */
    TAKE_IRQS
    EQ(dword ptr [irq_last], 0x61)
    WR(0x830, 0x62, 0) /* ICR: physical 0 */
    TAKE_IRQS
    EQ(dword ptr [irq_last], 0x62)
    WR(0x830, 0x863, 1) /* logical 1 */
    TAKE_IRQS
    EQ(dword ptr [irq_last], 0x63)

    WR(0x83e, 0xb, 0)
    WR(0x832, 0x64, 0)
    WR(0x838, 1000000, 0)
    sti
1:  hlt
    cmp dword ptr [irq_total], 4
    jb 1b
    cli
    EQ(dword ptr [irq_last], 0x64)

    EXPECT(1f)
    RD(0x831) /* there is no ICR2 */
1:  EQ(dword ptr [exc_vec], 13)
    REQUEST(REQ_ROUND_TRIP)
    GET_ARG
    EQ(eax, 0)
    PASS
    EXCEPTIONS64
