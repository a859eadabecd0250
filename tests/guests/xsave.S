/* XSAVE: what CPUID says of it follows CR4 and XCR0; its area; XCR0 that cannot be; state that is taken out and
 * put back meanwhile. */
#include "common.inc"
#define AREA 0x300000
#define SETXCR0(v) mov eax, v ; xor edx, edx ; xor ecx, ecx ; xsetbv
    GUEST 1, FLAG_REAL
    TO_LONG
    call idt_init
    mov eax, 1
    cpuid
    bt ecx, 27
    CHECK(nc) /* OSXSAVE mirrors CR4 */
    bt ecx, 26
    jc 1f
    EXPECT(2f)
    xor ecx, ecx
    xgetbv
2:  EQ(dword ptr [exc_vec], 6)
    PASS
1:  EXPECT(2f)
    xor ecx, ecx
    xgetbv
2:  EQ(dword ptr [exc_vec], 6)
    mov rax, cr4
    or eax, 0x40000
    mov cr4, rax
    mov eax, 1
    cpuid
    bt ecx, 27
    CHECK(c)
    mov r15d, ecx
    xor ecx, ecx
    xgetbv
    EQ(eax, 1)

    EXPECT(1f)
    SETXCR0(0) /* x87 is always on */
1:  EQ(dword ptr [exc_vec], 13)
    EXPECT(1f)
    SETXCR0(5) /* no AVX without SSE */
1:  EQ(dword ptr [exc_vec], 13)
    EXPECT(1f)
    mov eax, 3
    mov edx, 0x40000000
    xor ecx, ecx
    xsetbv
1:  EQ(dword ptr [exc_vec], 13)
    SETXCR0(3)
    mov eax, 0xd
    xor ecx, ecx
    cpuid
    EQ(ebx, 576)
    bt r15d, 28
    jnc 3f
    SETXCR0(7)
    mov eax, 0xd
    xor ecx, ecx
    cpuid
    EQ(ebx, 832)
    mov eax, 0xd
    mov ecx, 2
    cpuid
    EQ(eax, 256)
    EQ(ebx, 576)

    /* All of YMM through a save, a change and a restore, and through the machine's hands. */
    mov rax, 0x1122334455667788
    vmovq xmm5, rax
    vpermilpd xmm5, xmm5, 0
    vinsertf128 ymm5, ymm5, xmm5, 1
    mov eax, 7
    xor edx, edx
    xsave [AREA]
    EQ(dword ptr [AREA + 576 + 5 * 16], 0x55667788)
    mov eax, [AREA + 512]
    and eax, 7
    EQ(eax, 7)
    REQUEST(REQ_ROUND_TRIP)
    GET_ARG
    EQ(eax, 0)
    xor ecx, ecx
    xgetbv
    EQ(eax, 7)
    vextractf128 xmm6, ymm5, 1
    vmovq rax, xmm6
    mov rcx, 0x1122334455667788
    EQ(rax, rcx)
    vzeroall
    mov eax, 7
    xor edx, edx
    xrstor [AREA]
    vextractf128 xmm6, ymm5, 1
    vmovq rax, xmm6
    mov rcx, 0x1122334455667788
    EQ(rax, rcx)

    /* A header with reserved bits: #GP. */
    bts dword ptr [AREA + 520], 0
    EXPECT(1f)
    mov eax, 7
    xor edx, edx
    xrstor [AREA]
1:  EQ(dword ptr [exc_vec], 13)

    /* Without XCR0's leave, AVX is undefined. */
    SETXCR0(3)
    EXPECT(1f)
    vzeroall
1:  EQ(dword ptr [exc_vec], 6)
3:  PASS
    EXCEPTIONS64
