/* The shadows of STI and MOV SS. */
#include "common.inc"
    GUEST 1, FLAG_REAL
    TO_LONG
    call idt_init
    APIC_ON
    APIC_SET(0x3e0, 0xb)

    /* STI's shadow: the interrupt that waits comes after the next instruction, so HLT is entered and left. */
    APIC_SET(0x320, 0x44)
    APIC_SET(0x380, 1)
    mov ecx, 100000
1:  loop 1b
    xor ebx, ebx
    mov r14d, [irq_total]
    inc r14d
    sti
    mov ebx, [irq_total]
    nop
    nop
    cli
    EQ([irq_total], r14d)
    inc ebx
    EQ(ebx, r14d)
    /* MOV SS holds off a single step for one instruction. */
    EXPECT(1f)
    mov ax, ss
    pushfq
    or dword ptr [rsp], 0x100
    popfq
    mov ss, ax
    nop
stepped:
    nop
1:  EQ(dword ptr [exc_vec], 1)
    EQ(dword ptr [exc_ip], offset stepped)
    PASS
    EXCEPTIONS64
