/* State survives being taken out and put back: registers, vectors, x87, debug registers, MSRs, a running timer,
 * an interrupt in service. */
#include "common.inc"
    GUEST
    TO_LONG
    call idt_init
    APIC_ON
    fninit
    fldpi
    fld1
    mov dword ptr [scratch], 0x1fa0
    ldmxcsr [scratch]
    mov rax, 0x0123456789abcdef
    movq xmm15, rax
    movq xmm3, rax
    pslldq xmm3, 8
    mov eax, 0x1000
    mov dr2, rax
    mov ecx, 0xc0000102
    mov eax, 0x5000
    xor edx, edx
    wrmsr
    APIC_SET(0x3e0, 0xb)
    APIC_SET(0x320, 0x60)
    APIC_SET(0x380, 4000000000)
    APIC_SET(0x300, 0x40045) /* pending */
    mov rbx, 0x1111111122222222
    mov rsi, 0x3333333344444444
    mov r8, 0x8888888888888888
    mov r15, 0xffffffff00000001
    stc

    REQUEST(REQ_ROUND_TRIP)
    GET_ARG
    EQ(eax, 0)
    mov rax, 0x1111111122222222
    EQ(rax, rbx)
    mov rax, 0x3333333344444444
    EQ(rax, rsi)
    mov rax, 0x8888888888888888
    EQ(rax, r8)
    mov rax, 0xffffffff00000001
    EQ(rax, r15)
    mov rcx, 0x0123456789abcdef
    movq rax, xmm15
    EQ(rax, rcx)
    psrldq xmm3, 8
    movq rax, xmm3
    EQ(rax, rcx)
    stmxcsr [scratch]
    EQ(dword ptr [scratch], 0x1fa0)
    fistp dword ptr [scratch]
    EQ(dword ptr [scratch], 1)
    fistp dword ptr [scratch]
    EQ(dword ptr [scratch], 3)
    mov rax, dr2
    EQ(rax, 0x1000)
    mov ecx, 0xc0000102
    rdmsr
    EQ(eax, 0x5000)
    APIC_GET(0x390)
    cmp eax, 2000000000
    CHECK(a)
    TAKE_IRQS
    EQ(dword ptr [irq_last], 0x45)

    /* Once more in the shadow of an STI: what waits comes after exactly one instruction. */
    APIC_SET(0x300, 0x40046)
    mov edx, PORT_REQUEST
    mov eax, REQ_ROUND_TRIP
    mov edi, [irq_total]
    sti
    out dx, eax
    nop
    nop
    cli
7:  in eax, dx
    test eax, eax
    jnz 7b
    inc edi
    EQ([irq_total], edi)
    EQ(dword ptr [irq_last], 0x46)
    PASS
    .balign 16
scratch: .quad 0
    EXCEPTIONS64
