/*
 * boot: the first sector of a disk: loads the image behind it (SECTORS, in pieces of 32 KiB) to 0x10000 and
 * begins it in flat 32-bit protected mode, for emulators that know no Multiboot.
 */
    .code16
    .global _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7c00, %sp
    mov $SECTORS / 64, %bp
1:  mov $packet, %si
    mov $0x42, %ah /* read, by linear number */
    int $0x13
    jc 1b
    addw $64, from
    addw $0x800, segment
    dec %bp
    jnz 1b
    in $0x92, %al
    or $2, %al
    out %al, $0x92 /* A20 */
    lgdt pointer
    mov $1, %eax
    mov %eax, %cr0
    ljmp $8, $1f
    .code32
1:  mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax /* no Multiboot */
    mov $0x10000, %ecx
    jmp *%ecx
    .balign 8
packet:
    .word 16, 64, 0
segment: .word 0x1000
from: .quad 1
table: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
pointer:
    .word . - table - 1
    .long table
    .org 510
    .word 0xaa55
    .section .note.GNU-stack, "", @progbits
