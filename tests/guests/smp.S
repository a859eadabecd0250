/* Two CPUs: INIT and SIPI, IPIs both ways, locked operations that lose nothing, the second CPU's HLT. */
#include "common.inc"
#define ROUNDS 20000
    GUEST 2
    jmp main

    .balign 4096
trampoline: /* at 0x9000, where the SIPI's vector 9 points: real mode, CS 0x900 */
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x6000
    lock inc dword ptr [alive]
    ENTER_LONG 0x6000
    lidt [idt_ptr]
    APIC_ON
    APIC_GET(0x20)
    shr eax, 24
    mov [second_id], eax
    lock inc dword ptr [alive]
    mov ecx, ROUNDS
1:  lock inc qword ptr [counter]
    lock xadd [counter2], r8
    lock add dword ptr [counter + 4], 0
    dec ecx
    jnz 1b
    lock inc dword ptr [alive]
    /* Serve interrupts until told to end; 0x71 is answered by 0x70 to CPU 0. */
2:  sti
    hlt
    cli
    cmp dword ptr [irq_last], 0x71
    jne 2b
    mov dword ptr [irq_last], 0
    APIC_SET(0x310, 0)
    APIC_SET(0x300, 0x4070)
    jmp 2b

    .code16
main:
    TO_LONG
    call idt_init
    APIC_ON
    EQ(dword ptr [alive], 0)
    APIC_SET(0x310, 0x01000000)
    APIC_SET(0x300, 0xc500) /* INIT */
    mov ecx, 1000
1:  in al, PORT_ECHO
    loop 1b
    EQ(dword ptr [alive], 0)
    APIC_SET(0x300, 0x4609) /* SIPI to 0x9000 */
    mov ecx, 1000
1:  in al, PORT_ECHO
    loop 1b
    APIC_SET(0x300, 0x4609) /* a second one is ignored by a CPU that runs */
1:  pause
    cmp dword ptr [alive], 2
    jb 1b
    EQ(dword ptr [second_id], 1)
    mov ecx, ROUNDS
1:  lock inc qword ptr [counter]
    lock xadd [counter2], r8
    dec ecx
    jnz 1b
1:  pause
    cmp dword ptr [alive], 3
    jb 1b
    EQ(qword ptr [counter], 2 * ROUNDS)

    /* Ping and pong, by physical id. */
    mov r15d, 20
3:  APIC_SET(0x310, 0x01000000)
    APIC_SET(0x300, 0x4071)
    mov r14d, [irq_total]
    sti
1:  cmp dword ptr [irq_last], 0x70
    je 2f
    pause
    jmp 1b
2:  cli
    mov dword ptr [irq_last], 0
    dec r15d
    jnz 3b

    /* All but self. */
    APIC_SET(0x300, 0xc4071)
    sti
1:  pause
    cmp dword ptr [irq_last], 0x70
    jne 1b
    cli
    PASS
    .balign 8
counter:   .quad 0
counter2:  .quad 0
alive:     .long 0
second_id: .long 0
    EXCEPTIONS64
