/* The memory map changes under a running CPU; doorbells. */
#include "common.inc"
    GUEST
    TO_LONG
    mov dword ptr [0x400000], 0x11
    mov dword ptr [0x3ff000], 0x22
    mov dword ptr [0x401000], 0x33
    mov eax, [0x400000]
    ARG(0x400000)
    REQUEST(REQ_FLIP)
    EQ(dword ptr [0x400000], 0x77777777)
    EQ(dword ptr [0x400ffc], 0x77777777)
    EQ(dword ptr [0x3ff000], 0x22)
    EQ(dword ptr [0x401000], 0x33)
    mov dword ptr [0x400010], 5
    EQ(dword ptr [0x400010], 5)

    /* Code in it. */
    mov byte ptr [0x400020], 0xc3
    mov eax, 0x400020
    call rax

    /* The doorbell rings whether the accelerator turns it into an event or the device is called. */
    mov ecx, BELL_AT
    mov dword ptr [rcx], 1
    mov dword ptr [rcx], 1
    ARG(1)
    REQUEST(REQ_BELL)
    GET_ARG
    EQ(eax, 2)
    mov dword ptr [rcx], 1
    mov dword ptr [rcx], 9
    mov dword ptr [rcx], 1
    mov ebx, 1000
1:  in al, PORT_ECHO
    dec ebx
    jnz 1b
    ARG(0)
    REQUEST(REQ_BELL)
    GET_ARG
    EQ(eax, 3)
    PASS
