/* The local APIC's timer in all three modes, and HLT, which an interrupt ends. */
#include "common.inc"
    GUEST
    TO_LONG
    call idt_init
    APIC_ON
    APIC_SET(0x3e0, 0xb) /* divide by one: 1 GHz */

    /* One shot, 2 ms. */
    APIC_SET(0x320, 0x40)
    APIC_SET(0x380, 2000000)
    sti
1:  hlt
    cmp dword ptr [irq_total], 1
    jb 1b
    EQ(dword ptr [irq_last], 0x40)
    cli
    APIC_GET(0x390)
    EQ(eax, 0)

    /* Masked: counts down, tells nobody. */
    APIC_SET(0x320, 0x10041)
    APIC_SET(0x380, 1000000)
1:  APIC_GET(0x390)
    test eax, eax
    jnz 1b
    TAKE_IRQS
    EQ(dword ptr [irq_total], 1)

    /* Periodic, 1 ms, five of them. */
    APIC_SET(0x320, 0x20042)
    APIC_SET(0x380, 1000000)
    sti
1:  hlt
    cmp dword ptr [irq_total], 6
    jb 1b
    cli
    EQ(dword ptr [irq_last], 0x42)
    APIC_SET(0x320, 0x10000)
    APIC_SET(0x380, 0)
    TAKE_IRQS
    mov r14d, [irq_total]

    /* The current count goes down from the initial one. */
    APIC_SET(0x320, 0x10041)
    APIC_SET(0x380, 100000000)
    APIC_GET(0x390)
    mov ecx, eax
    EQ(ecx, ecx)
    cmp ecx, 100000000
    CHECK(be)
1:  APIC_GET(0x390)
    cmp eax, ecx
    je 1b
    CHECK(b)
    APIC_SET(0x380, 0)

    /* TSC deadline, if CPUID has it: a moment ahead, then one that has passed. */
    mov eax, 1
    cpuid
    bt ecx, 24
    jnc 3f
    APIC_SET(0x320, 0x40043)
    mov r15d, 2
2:  rdtsc
    shl rdx, 32
    or rax, rdx
    lea rax, [rax + 2000000]
    cmp r15d, 1
    jne 4f
    sub rax, 2000000
4:  mov rdx, rax
    shr rdx, 32
    mov ecx, 0x6e0
    wrmsr
    inc r14d
    sti
1:  hlt
    cmp [irq_total], r14d
    jb 1b
    cli
    EQ(dword ptr [irq_last], 0x43)
    mov ecx, 0x6e0
    rdmsr
    or eax, edx
    EQ(eax, 0)
    dec r15d
    jnz 2b
3:
    PASS
    EXCEPTIONS64
