/* Instructions that a KVM may refuse to emulate in kernel code. They work all the same, one by one, with their
 * faults. */
#include "common.inc"
    GUEST
    TO_LONG
    call idt_init
    mov rax, 5
    mov rdx, 6
    mov [0x300000], rax
    mov [0x300008], rdx
    mov rbx, 7
    mov rcx, 8
    lock cmpxchg16b [0x300000]
    CHECK(z)
    EQ(qword ptr [0x300000], 7)
    EQ(qword ptr [0x300008], 8)
    lock cmpxchg16b [0x300000]
    CHECK(nz)
    EQ(rax, 7)
    EQ(rdx, 8)

    fninit
    fwait
    fld1
    fwait
    fstp dword ptr [0x300010]
    EQ(dword ptr [0x300010], 0x3f800000)
    mov dword ptr [0x300014], 0x1f00
    ldmxcsr [0x300014]
    stmxcsr [0x300018]
    EQ(dword ptr [0x300018], 0x1f00)
    clflush [0x300000]

    mov eax, 1
    cpuid
    bt ecx, 23
    jnc 1f
    mov eax, 0xf0f0
    popcnt ebx, eax
    EQ(ebx, 8)
1:
    mov eax, 1
    cpuid
    bt ecx, 26
    jnc 2f
    mov rax, cr4
    or eax, 0x40000
    mov cr4, rax
    xor ecx, ecx
    xgetbv
    and eax, 1
    EQ(eax, 1)
    mov eax, 3
    xor edx, edx
    xsetbv
    mov rax, 0x1122334455667788
    movq xmm1, rax
    mov eax, 3
    xor edx, edx
    xsave [0x301000]
    pxor xmm1, xmm1
    mov eax, 3
    xor edx, edx
    xrstor [0x301000]
    movq rbx, xmm1
    mov rax, 0x1122334455667788
    EQ(rax, rbx)
2:
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ebx, 20
    jnc 3f
    stac
    pushfq
    pop rax
    bt eax, 18
    CHECK(c)
    clac
    pushfq
    pop rax
    bt eax, 18
    CHECK(nc)
3:
    /* A misaligned operand of CMPXCHG16B: #GP. */
    EXPECT(1f)
    lock cmpxchg16b [0x300008]
1:  EQ(dword ptr [exc_vec], 13)
    PASS
    EXCEPTIONS64
