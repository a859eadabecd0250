/* NMI: comes with IF off, ends HLT, does not nest until IRET, and one more is remembered meanwhile. */
#include "common.inc"
    GUEST
    TO_LONG
    call idt_init
    cli
    ARG(0)
    REQUEST(REQ_NMI)
1:  cmp dword ptr [nmi_count], 1
    jb 1b
    EQ(dword ptr [nmi_count], 1)

    /* By IPI to itself, delivery mode NMI, physical destination. */
    APIC_ON
    APIC_SET(0x310, 0)
    APIC_SET(0x300, 0x4400)
    mov ecx, 1000
1:  cmp dword ptr [nmi_count], 2
    je 2f
    loop 1b
    FAIL
2:
    /* In a handler of our own: two more arrive, one is kept, none comes in before IRET. */
    mov eax, offset handler
    mov [0x1000 + 2 * 16], ax
    ARG(0)
    REQUEST(REQ_NMI)
1:  cmp dword ptr [handled], 2
    jb 1b
    EQ(dword ptr [nested], 0)
    EQ(dword ptr [handled], 2)
    PASS
handler:
    push rax
    push rdx
    inc dword ptr [depth]
    cmp dword ptr [handled], 0
    jne 3f
    APIC_SET(0x300, 0x4400)
    APIC_SET(0x300, 0x4400)
    mov edx, 1000
2:  dec edx
    jnz 2b
3:  cmp dword ptr [depth], 1
    je 4f
    inc dword ptr [nested]
4:  dec dword ptr [depth]
    inc dword ptr [handled]
    pop rdx
    pop rax
    iretq
    .balign 8
depth: .long 0
handled: .long 0
nested: .long 0
    EXCEPTIONS64
