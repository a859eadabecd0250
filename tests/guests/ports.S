/* Port I/O: sizes, parts of a port, ports that nobody has, strings in both directions and across pages. */
#include "common.inc"
    GUEST
    mov eax, 0x11223344
    out PORT_ECHO, eax
    xor eax, eax
    in eax, PORT_ECHO
    EQ(eax, 0x11223344)
    in al, PORT_ECHO + 1
    EQ(al, 0x33)
    in ax, PORT_ECHO + 2
    EQ(ax, 0x1122)
    mov al, 0x99
    out PORT_ECHO + 3, al
    in eax, PORT_ECHO
    EQ(eax, 0x99223344)
    mov dx, PORT_ECHO
    mov ax, 0xbeef
    out dx, ax
    in eax, dx
    EQ(eax, 0x9922beef)

    /* IN to EAX zero-extends nothing smaller. */
    mov eax, 0xffffffff
    in al, PORT_ECHO
    EQ(eax, 0xffffffef)

    /* Nobody there. */
    mov dx, 0x3e00
    xor eax, eax
    in eax, dx
    EQ(eax, 0xffffffff)
    in al, dx
    EQ(al, 0xff)
    out dx, eax

    /* REP INSB: the stream counts up. Into two pages. */
    cld
    mov di, 0x5ff0
    mov cx, 64
    mov dx, PORT_STREAM
    rep insb
    EQ(di, 0x6030)
    EQ(cx, 0)
    EQ(byte ptr [0x5ff0], 0)
    EQ(byte ptr [0x602f], 63)
    mov di, 0x6002
    mov cx, 4
    rep insd
    EQ(di, 0x6012)
    EQ(dword ptr [0x6002], 0x43424140)
    EQ(dword ptr [0x600e], 0x4f4e4d4c)
    std
    mov di, 0x6106
    mov cx, 4
    rep insw
    cld
    EQ(di, 0x60fe)
    EQ(word ptr [0x6106], 0x5150)
    EQ(word ptr [0x6100], 0x5756)

    /* REP OUTS: the sum of what was written. */
    ARG(0)
    mov di, 0x6200
    mov cx, 100
    mov ax, 3
    rep stosw
    mov si, 0x6200
    mov cx, 100
    mov dx, PORT_STREAM
    rep outsw
    EQ(si, 0x62c8)
    GET_ARG
    EQ(eax, 300)
    mov si, 0x6200
    mov cx, 0
    mov dx, PORT_STREAM
    rep outsb
    EQ(si, 0x6200)
    PASS
