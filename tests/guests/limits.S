/* Limits of segments, in real and in protected mode; in an expand-down one; exceptions by the stack segment. */
#include "common.inc"
    GUEST 1, FLAG_REAL
    /* An address beyond 64 KiB is #GP in real mode, and so is a word that straddles the end. */
    mov word ptr [13 * 4], offset protection
    mov word ptr [13 * 4 + 2], 0
    mov ebx, 0x10000
    mov eax, [ebx]
    EQ(word ptr [protected], 1)
    mov ebx, 0xffff
    mov al, [ebx]
    EQ(word ptr [protected], 1)
    .byte 0x67, 0x66, 0x8b, 0x03 /* mov eax, [ebx] */
    EQ(word ptr [protected], 2)

    TO_PROT32
    call idt_init
    mov ax, 0x48
    mov fs, ax
    mov al, fs:[0xff]
    EXPECT(1f)
    mov ax, fs:[0xff]
1:  EQ(dword ptr [exc_vec], 13)
    EQ(dword ptr [exc_err], 0)
    EXPECT(1f)
    mov ebx, 0x100
    mov fs:[ebx], al
1:  EQ(dword ptr [exc_vec], 13)

    /* Expand-down, limit 0xff: what lies above is in. */
    mov dword ptr [gdt + 0x4c], 0x00409700
    mov ax, 0x48
    mov fs, ax
    mov al, fs:[ebx]
    EXPECT(1f)
    mov al, fs:[0xff]
1:  EQ(dword ptr [exc_vec], 13)

    /* Through SS it is #SS. */
    mov dword ptr [gdt + 0x4c], 0x00409300
    mov ax, 0x48
    mov ss, ax
    mov esp, 0x100
    EXPECT(1f)
    mov ebp, 0x7000
    mov al, [ebp]
1:  mov ax, 0x10
    mov ss, ax
    mov esp, 0x7000
    EQ(dword ptr [exc_vec], 12)
    EQ(dword ptr [exc_err], 0)

    /* Null selectors load, but do not serve. */
    xor eax, eax
    mov gs, ax
    EXPECT(1f)
    mov eax, gs:[0]
1:  EQ(dword ptr [exc_vec], 13)
    PASS
    .code16
protection:
    inc word ptr [protected]
    push bp
    mov bp, sp
    add word ptr [bp + 2], 4
    pop bp
    iret
protected:  .word 0
    EXCEPTIONS32
