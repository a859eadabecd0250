/* Memory-mapped registers: sizes, read-modify-write, string moves in and out, ROM and flash. */
#include "common.inc"
    GUEST
    TO_LONG
    call idt_init
    mov ebx, REGS_AT

    mov rax, 0x1122334455667788
    mov [rbx], rax
    EQ(rax, [rbx])
    EQ(dword ptr [rbx + 4], 0x11223344)
    EQ(word ptr [rbx + 2], 0x5566)
    EQ(byte ptr [rbx + 7], 0x11)
    mov byte ptr [rbx + 1], 0xaa
    EQ(word ptr [rbx], 0xaa88)
    movzx ecx, byte ptr [rbx + 1]
    EQ(ecx, 0xaa)
    movsx ecx, word ptr [rbx]
    EQ(ecx, 0xffffaa88)

    /* Exactly one access for one load. */
    REQUEST(REQ_ACCESSES)
    GET_ARG
    mov r8d, eax
    mov ecx, [rbx + 8]
    REQUEST(REQ_ACCESSES)
    GET_ARG
    sub eax, r8d
    EQ(eax, 1)

    /* Read-modify-write: a read and a write each. */
    mov dword ptr [rbx + 16], 5
    REQUEST(REQ_ACCESSES)
    GET_ARG
    mov r8d, eax
    add dword ptr [rbx + 16], 7
    or dword ptr [rbx + 16], 0x100
    inc dword ptr [rbx + 16]
    REQUEST(REQ_ACCESSES)
    GET_ARG
    sub eax, r8d
    EQ(eax, 6)
    EQ(dword ptr [rbx + 16], 0x10d)
    not byte ptr [rbx + 16]
    EQ(dword ptr [rbx + 16], 0x1f2)
    mov eax, 0x77
    xchg [rbx + 16], eax
    EQ(eax, 0x1f2)
    EQ(dword ptr [rbx + 16], 0x77)
    mov eax, 0x77
    mov ecx, 0x88
    lock cmpxchg [rbx + 16], ecx
    CHECK(z)
    EQ(dword ptr [rbx + 16], 0x88)
    mov eax, 0x77
    lock cmpxchg [rbx + 16], ecx
    CHECK(nz)
    EQ(eax, 0x88)
    mov eax, 3
    lock xadd [rbx + 16], eax
    EQ(eax, 0x88)
    EQ(dword ptr [rbx + 16], 0x8b)
    bts dword ptr [rbx + 16], 31
    CHECK(nc)
    EQ(dword ptr [rbx + 16], 0x8000008b)
    test dword ptr [rbx + 16], 0x80000000
    CHECK(nz)
    push qword ptr [rbx + 16]
    pop qword ptr [rbx + 24]
    EQ(dword ptr [rbx + 24], 0x8000008b)

    /* Strings: memory to registers and back. */
    mov edi, 0x100000
    mov eax, 0x03020100
    mov ecx, 16
1:  stosd
    add eax, 0x04040404
    loop 1b
    mov esi, 0x100000
    lea edi, [rbx + 0x100]
    mov ecx, 64
    rep movsb
    EQ(edi, REGS_AT + 0x140)
    EQ(dword ptr [rbx + 0x13c], 0x3f3e3d3c)
    lea esi, [rbx + 0x100]
    mov edi, 0x100101
    mov ecx, 16
    rep movsd
    EQ(dword ptr [0x100101], 0x03020100)
    EQ(dword ptr [0x10013d], 0x3f3e3d3c)
    lea edi, [rbx + 0x200]
    mov rax, 0x0101010101010101
    mov ecx, 8
    rep stosq
    EQ(byte ptr [rbx + 0x23f], 1)
    EQ(byte ptr [rbx + 0x240], 0)
    lea esi, [rbx + 0x200]
    lodsd
    EQ(eax, 0x01010101)
    mov edi, 0x100000
    lea esi, [rbx + 0x100]
    mov ecx, 64
    repe cmpsb
    CHECK(e)

    /* ROM reads as it is and keeps it. */
    mov ecx, ROM_AT
    EQ(dword ptr [rcx], 0x5a5a5a5a)
    mov dword ptr [rcx], 0
    EQ(dword ptr [rcx], 0x5a5a5a5a)

    /* Flash: reads are memory, writes are calls. */
    mov ecx, FLASH_AT
    EQ(dword ptr [rcx + 8], 0xa5a5a5a5)
    mov dword ptr [rcx + 8], 0x50
    mov byte ptr [rcx + 8], 0x70
    EQ(dword ptr [rcx + 8], 0xa5a5a5a5)
    REQUEST(REQ_ACCESSES)
    GET_ARG2
    EQ(eax, 2)

    /* Nobody there: all ones, writes vanish. */
    mov ecx, 0x03400000
    mov dword ptr [rcx], 0
    EQ(dword ptr [rcx], 0xffffffff)
    PASS
    EXCEPTIONS64
