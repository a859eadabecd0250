/* Guest time: the paravirtual clock and the TSC agree, and stand still while the machine is stopped; so does the
 * APIC timer. */
#include "common.inc"
#define CLOCK 0x100000
    GUEST
    TO_LONG
    call idt_init
    APIC_ON
    APIC_SET(0x3e0, 0xb)
    mov ecx, 0x4b564d01
    mov eax, CLOCK + 1
    xor edx, edx
    wrmsr
    mov ecx, 0x4b564d01
    rdmsr
    EQ(eax, CLOCK + 1)

    call now
    mov r12, rax
1:  in al, PORT_ECHO
    call now
    sub rax, r12
    cmp rax, 3000000
    jb 1b
    CHECK(ae)

    /* A second stopped does not show, nor does it on the timer. */
    APIC_SET(0x320, 0x40)
    APIC_SET(0x380, 4000000000)
    call now
    mov r12, rax
    rdtsc
    shl rdx, 32
    lea r13, [rax + rdx]
    REQUEST(REQ_TIME_STOP)
    call now
    sub rax, r12
    CHECK(ae)
    cmp rax, 500000000
    CHECK(b)
    REQUEST(REQ_SLOW) /* a KVM that emulates has no TSC of the guest's own */
    GET_ARG
    test eax, eax
    jnz 6f
    REQUEST(REQ_TSC_KHZ)
    GET_ARG
    mov r15d, eax
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, r13
    CHECK(ae)
    imul r15, r15, 500 /* ticks in half a second */
    cmp rax, r15
    CHECK(b)
6:  APIC_GET(0x390)
    cmp eax, 3500000000
    CHECK(ae)
    mov ebx, eax

    /* The wall clock is written once, on request. */
    mov ecx, 0x4b564d00
    mov eax, 0x101000
    xor edx, edx
    wrmsr
    cmp dword ptr [0x101004], 0x60000000
    CHECK(a)
    PASS

/* RAX: nanoseconds of the paravirtual clock (version, system time, multiplier and shift as in the kernel's msr.rst). */
now:
1:  mov ebx, [CLOCK]
    test ebx, 1
    jnz 1b
    lfence
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, [CLOCK + 8]
    movsx ecx, byte ptr [CLOCK + 28]
    test ecx, ecx
    js 2f
    shl rax, cl
    jmp 3f
2:  neg ecx
    shr rax, cl
3:  mov edx, [CLOCK + 24]
    mul rdx
    shrd rax, rdx, 32
    add rax, [CLOCK + 16]
    cmp ebx, [CLOCK]
    jne 1b
    ret
    EXCEPTIONS64
