/* What gdb needs: single steps and translation; and the guest's own single step beside them. */
#include "common.inc"
    GUEST
    TO_LONG
    call idt_init

    /* Exactly as many stops as instructions end in the region. */
    ARG(offset steps_first)
    ARG2(offset steps_last)
    REQUEST(REQ_STEP)
    mov ecx, 3
steps_first:
    nop
    add ebx, 1
    dec ecx
    jnz steps_first
steps_last:
    nop
    REQUEST(REQ_STOP)
    GET_ARG
    and eax, 0xffff
    EQ(eax, 13) /* 3 rounds of 4, and the last nop's start */

    /* Translation. */
    ARG(0x12345678)
    REQUEST(REQ_TRANSLATE)
    GET_ARG
    EQ(eax, 0x12345678)
    mov dword ptr [0x25ff8], 0
    mov rax, cr3
    mov cr3, rax
    ARG(0xffe00000)
    REQUEST(REQ_TRANSLATE)
    GET_ARG2
    EQ(eax, 1)

    /* The guest's own single step. */
    mov eax, 0x400
    mov dr7, rax
    xor eax, eax
    mov dr6, rax
    EXPECT(1f)
    pushfq
    or dword ptr [rsp], 0x100
    popfq
    nop
own_step:
    nop
1:  EQ(dword ptr [exc_vec], 1)
    EQ(dword ptr [exc_ip], offset own_step)
    mov rax, dr6
    and eax, 0x4000
    EQ(eax, 0x4000)
    PASS
    EXCEPTIONS64
