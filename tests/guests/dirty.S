/* The dirty log: pages that the CPU wrote since the last look, and no others. */
#include "common.inc"
    GUEST
    TO_LONG
    mov dword ptr [0x300000], 1
    mov dword ptr [0x301000], 1
    REQUEST(REQ_DIRTY_ON)
    ARG(0x300000)
    REQUEST(REQ_DIRTY) /* whatever was before */
    mov dword ptr [0x300800], 2
    mov eax, [0x301000]
    ARG(0x300000)
    REQUEST(REQ_DIRTY)
    GET_ARG
    EQ(eax, 1)
    GET_ARG2
    cmp eax, 16
    CHECK(b)
    ARG(0x300000)
    REQUEST(REQ_DIRTY)
    GET_ARG
    EQ(eax, 0)
    mov eax, [0x300000]
    mov dword ptr [0x301ffe], 5 /* two pages */
    ARG(0x302000)
    REQUEST(REQ_DIRTY)
    GET_ARG
    EQ(eax, 1)
    mov dword ptr [0x300000], 3
    ARG(0x300000)
    REQUEST(REQ_DIRTY)
    GET_ARG
    EQ(eax, 1)
    PASS
