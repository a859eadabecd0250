/* Protected mode: segments, gates, exceptions with their error codes, back to real mode. */
#include "common.inc"
    GUEST
    TO_PROT32
    call idt_init

    EXPECT(1f)
    ud2
1:  EQ(dword ptr [exc_vec], 6)

    EXPECT(2f)
    xor edx, edx
    xor ecx, ecx
1:  div ecx
2:  EQ(dword ptr [exc_vec], 0)
    EQ(dword ptr [exc_ip], offset 1b)

    /* A selector beyond the GDT: #GP with it as the error code. */
    EXPECT(1f)
    mov ax, 0xff8
    mov ds, ax
1:  EQ(dword ptr ss:[exc_vec], 13)
    EQ(dword ptr ss:[exc_err], 0xff8)

    /* A segment that is not present: #NP. */
    EXPECT(1f)
    mov ax, 0x40
    mov es, ax
1:  EQ(dword ptr [exc_vec], 11)
    EQ(dword ptr [exc_err], 0x40)

    /* A code segment in SS: #GP. */
    EXPECT(1f)
    mov ax, 0x08
    mov ss, ax
1:  EQ(dword ptr [exc_vec], 13)
    EQ(dword ptr [exc_err], 8)

    /* LSL, LAR, VERR, VERW. */
    mov eax, 0x48
    lsl ebx, eax
    CHECK(z)
    EQ(ebx, 0xff)
    lar ebx, eax
    CHECK(z)
    and ebx, 0xff00
    EQ(ebx, 0x9300)
    mov ax, 0x08
    verr ax
    CHECK(z)
    verw ax
    CHECK(nz)

    /* CR0 that cannot be: PG without PE. */
    EXPECT(1f)
    mov eax, 0x80000010
    mov cr0, eax
1:  EQ(dword ptr [exc_vec], 13)

    /* x87 and SSE need CR0.EM off and TS off. */
    mov eax, cr0
    or eax, 8
    mov cr0, eax
    EXPECT(1f)
    fninit
1:  EQ(dword ptr [exc_vec], 7)
    clts
    fninit
    fld1
    fadd st(0), st(0)
    fistp dword ptr [value]
    EQ(dword ptr [value], 2)

    /* A far return to a 16-bit segment and to real mode. */
    .byte 0xea
    .long sixteen
    .word 0x20
    .code16
sixteen:
    mov ax, 0x28
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    .byte 0xea
    .word real, 0
real:
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    lidt [real_idt]
    mov word ptr [0x61 * 4], offset handler
    mov word ptr [0x61 * 4 + 2], 0
    int 0x61
    EQ(bx, 0x5555)
    PASS
handler:
    mov bx, 0x5555
    iret
    .balign 4
value: .long 0
    EXCEPTIONS32
