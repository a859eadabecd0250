/* Interrupts that come from outside: messages edge and level with their EOI, an eventfd, the PIC's line;
 * priorities; the self IPI. */
#include "common.inc"
#define MSI_TO_0 0xfee00000
    GUEST
    TO_LONG
    call idt_init
    APIC_ON

    /* Edge: delivered while halted or not, and no EOI is told. */
    ARG(MSI_TO_0)
    ARG2(0x51)
    REQUEST(REQ_MSI)
    GET_ARG
    EQ(eax, 1)
    EQ(dword ptr [irq_total], 0) /* IF is off */
    TAKE_IRQS
    EQ(dword ptr [irq_total], 1)
    EQ(dword ptr [irq_last], 0x51)
    REQUEST(REQ_EOIS)
    GET_ARG
    EQ(eax, 0)

    /* Level: its EOI is told, by vector. */
    ARG(MSI_TO_0)
    ARG2(0x8052)
    REQUEST(REQ_MSI)
    TAKE_IRQS
    EQ(dword ptr [irq_last], 0x52)
    REQUEST(REQ_EOIS)
    GET_ARG
    EQ(eax, 1)
    GET_ARG2
    EQ(eax, 0x52)
    /* And again, with another one of a lower class pending: both. */
    ARG(MSI_TO_0)
    ARG2(0x8033)
    REQUEST(REQ_MSI)
    ARG(MSI_TO_0)
    ARG2(0x8052)
    REQUEST(REQ_MSI)
    TAKE_IRQS
    EQ(dword ptr [irq_last], 0x33)
    EQ(dword ptr [irq_total], 4)
    REQUEST(REQ_EOIS)
    GET_ARG
    EQ(eax, 3)

    /* TPR holds a class back. */
    mov rax, 6
    mov cr8, rax
    APIC_GET(0x80)
    EQ(eax, 0x60)
    ARG(MSI_TO_0)
    ARG2(0x63)
    REQUEST(REQ_MSI)
    TAKE_IRQS
    EQ(dword ptr [irq_total], 4)
    APIC_GET(0x230) /* IRR, vectors 0x60..0x7f */
    EQ(eax, 8)
    xor eax, eax
    mov cr8, rax
    TAKE_IRQS
    EQ(dword ptr [irq_total], 5)

    /* No such CPU: no target. */
    ARG(0xfee0f000)
    ARG2(0x51)
    REQUEST(REQ_MSI)
    GET_ARG
    EQ(eax, 0)

    /* By eventfd, in HLT. */
    ARG(MSI_TO_0)
    ARG2(0x54)
    REQUEST(REQ_IRQFD)
    sti
1:  cmp dword ptr [irq_total], 6
    jb 1b
    cli
    EQ(dword ptr [irq_last], 0x54)

    /* A self IPI. */
    APIC_SET(0x300, 0x40055)
    TAKE_IRQS
    EQ(dword ptr [irq_last], 0x55)
    EQ(dword ptr [irq_total], 7)

    /* The PIC's line: LINT0 masked lets nothing through, as ExtINT it does, without an EOI of the local APIC. */
    APIC_SET(0x350, 0x10700)
    ARG(0x56)
    REQUEST(REQ_EXTINT)
    sti
    nop
    nop
    nop
    EQ(dword ptr [irq_total], 7)
    APIC_SET(0x350, 0x700)
1:  cmp dword ptr [irq_total], 8
    jb 1b
    cli
    EQ(dword ptr [irq_last], 0x56)
    /* And out of HLT. */
    ARG(0x57)
    REQUEST(REQ_EXTINT)
    sti
    hlt
    cli
    EQ(dword ptr [irq_last], 0x57)
    EQ(dword ptr [irq_total], 9)
    PASS
    EXCEPTIONS64
