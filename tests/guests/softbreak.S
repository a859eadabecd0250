/* An INT3 that gdb has planted stops the machine, not the guest. */
#include "common.inc"
    GUEST
    TO_LONG
    call idt_init
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
