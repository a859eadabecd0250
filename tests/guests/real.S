/* Real mode: segments, far calls, interrupts through the vector table, strings, 16-bit arithmetic. */
#include "common.inc"
    GUEST
    EQ(sp, 0x7000)

    /* Segment arithmetic: 0x1234:0x10 is 0x12350. */
    mov ax, 0x1234
    mov es, ax
    mov dword ptr es:[0x10], 0xcafe1234
    mov ax, 0x1235
    mov fs, ax
    EQ(dword ptr fs:[0], 0xcafe1234)

    /* Far call and return. */
    .byte 0x9a
    .word far_target, 0
    EQ(bx, 0x77)

    /* INT n through the table, IF cleared in the handler and restored after. */
    mov word ptr [0x60 * 4], offset handler
    mov word ptr [0x60 * 4 + 2], 0
    sti
    int 0x60
    pushf
    pop ax
    test ax, 0x200
    CHECK(nz)
    test word ptr [flags_seen], 0x200
    CHECK(z)
    cli

    /* Division by zero: a fault, so the saved address is the instruction's. */
    mov word ptr [0], offset divide
    mov word ptr [2], 0
    xor bl, bl
    mov ax, 7
divide_at:
    div bl
    EQ(word ptr [divided], offset divide_at)

    /* Strings, both directions. */
    mov ax, 0
    mov es, ax
    mov si, offset text
    mov di, 0x6000
    mov cx, 8
    cld
    rep movsb
    EQ(si, offset text + 8)
    EQ(cx, 0)
    mov si, 0x6000
    mov di, offset text
    mov cx, 8
    repe cmpsb
    CHECK(e)
    std
    mov di, 0x6007
    mov al, 'a'
    mov cx, 100
    repne scasb
    CHECK(e)
    EQ(di, 0x5fff)
    cld

    /* Arithmetic and flags. */
    mov ax, 0x7fff
    add ax, 1
    CHECK(o)
    mov al, 0x99
    add al, 1
    daa
    CHECK(c)
    EQ(al, 0)
    mov ax, 0x1234
    mul ax
    EQ(dx, 0x014b)
    EQ(ax, 0x5a90)
    mov eax, 0x80000000
    rol eax, 1
    EQ(eax, 1)
    enter 16, 0
    leave
    EQ(sp, 0x7000)
    pusha
    popa
    EQ(sp, 0x7000)

    /* Big real mode does not come about by itself; a wrapped stack does. */
    xor sp, sp
    push ax
    EQ(sp, 0xfffe)
    mov sp, 0x7000
    PASS

far_target:
    mov bx, 0x77
    lret
handler:
    pushf
    pop word ptr [flags_seen]
    iret
divide:
    push bp
    mov bp, sp
    mov ax, [bp + 2]
    mov [divided], ax
    add word ptr [bp + 2], 2
    pop bp
    iret
flags_seen: .word 0
divided:    .word 0
text:       .ascii "abcdefgh"
