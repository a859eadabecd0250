/* INT3 and INT n: to the guest's handlers, as traps. */
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
    PASS
    EXCEPTIONS64
