/* boot: the first sector of a floppy: loads the suite (BOOT_SECTORS sectors behind it) to 0x10000 and begins it
 * in flat 32-bit protected mode. */
    .code16
    .global _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7c00, %sp
    mov %dl, drive
    mov $1, %si /* sector, from 0 */
    mov $0x1000, %bx
    mov %bx, %es
next:
    mov %si, %ax
    xor %dx, %dx
    mov $18, %cx
    div %cx
    inc %dl
    mov %dl, %cl
    xor %dx, %dx
    mov $2, %di
    div %di
    mov %al, %ch
    mov %dl, %dh
    mov drive, %dl
    xor %bx, %bx
    mov $0x0201, %ax
    int $0x13
    jc next
    mov %es, %ax
    add $32, %ax
    mov %ax, %es
    inc %si
    cmp $BOOT_SECTORS + 1, %si
    jne next
    in $0x92, %al
    or $2, %al
    out %al, $0x92
    lgdt pointer
    mov $1, %eax
    mov %eax, %cr0
    ljmp $8, $1f
    .code32
1:  mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $0x10000, %eax
    jmp *%eax
drive: .byte 0
    .balign 8
table: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
pointer:
    .word . - table - 1
    .long table
    .org 510
    .word 0xaa55
    .section .note.GNU-stack, "", @progbits
