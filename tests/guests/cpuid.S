/* CPUID as the accelerator said it would be, leaf by leaf. */
#include "common.inc"
    GUEST 3
    TO_LONG
    mov r15d, 0x100000
    xor r14d, r14d
    mov r13d, offset leaves
1:  mov eax, [r13]
    mov ecx, [r13 + 4]
    cmp eax, -1
    je 2f
    mov [r15], eax
    mov [r15 + 4], ecx
    cpuid
    mov [r15 + 8], eax
    mov [r15 + 12], ebx
    mov [r15 + 16], ecx
    mov [r15 + 20], edx
    add r15, 24
    inc r14d
    add r13, 8
    jmp 1b
2:  ARG(0x100000)
    ARG2(r14d)
    REQUEST(REQ_CPUID)
    GET_ARG
    EQ(eax, 0)
    mov eax, 0x40000000
    cpuid
    EQ(ebx, 0x4b4d564b)
    mov eax, 1
    cpuid
    bt ecx, 31
    CHECK(c)
    bt ecx, 21
    CHECK(c)
    shr ebx, 24
    EQ(ebx, 0)
    PASS
    .balign 8
leaves:
    .long 0, 0, 1, 0, 4, 0, 4, 1, 4, 2, 4, 3, 7, 0, 0xb, 0, 0xb, 1, 0xb, 2
    .long 0xd, 0, 0xd, 1, 0xd, 2, 0x15, 0, 0x40000000, 0, 0x40000001, 0, 0x40000010, 0
    .long 0x80000000, 0, 0x80000001, 0, 0x80000002, 0, 0x80000006, 0, 0x80000007, 0, 0x80000008, 0
    .long -1
