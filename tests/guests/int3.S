/* INT3: to the guest's handler as a trap, and out to the machine when gdb plants it. INT n in protected mode. */
#include "common.inc"
    GUEST
    TO_LONG
    call idt_init
    EXPECT(1f)
    int3
behind:
    nop
1:  EQ(dword ptr [exc_vec], 3)
    EQ(dword ptr [exc_ip], offset behind)
    int 0x80
    EQ(dword ptr [irq_last], 0x80)

    REQUEST(REQ_SOFT_BREAK)
    xor ebx, ebx
planted:
    int3
    inc ebx
    REQUEST(REQ_STOP)
    EQ(ebx, 1)
    GET_ARG
    and eax, 0xffff
    EQ(eax, 1)
    GET_ARG2
    EQ(eax, offset planted)
    PASS
    EXCEPTIONS64
