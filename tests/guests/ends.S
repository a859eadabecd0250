/*
 * ends: a Multiboot kernel that says B, asks for an end in the way that the last character of its command line
 * names, and with the very next instructions says X: nobody must ever see that.
 */
#define MAGIC 0x1badb002
#define FLAGS 2 /* memory information */

    .code32
    .section .text
    .global start
    .balign 4
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)
start:
    mov 16(%ebx), %esi
1:  lodsb
    test %al, %al
    jnz 1b
    mov -2(%esi), %bl
    mov $0x3f8, %dx
    mov $'B', %al
    out %al, %dx
    mov $ways, %esi
2:  cmp %bl, (%esi)
    je 3f
    add $4, %esi
    cmp $ways_end, %esi
    jb 2b
    ud2
3:  movzwl 2(%esi), %edx
    mov 1(%esi), %al
    jmp 4f
    .balign 64
4:  out %al, %dx
    mov $'X', %al
    mov $0x3f8, %edx
    out %al, %dx
5:  hlt
    jmp 5b

.macro WAY name, value, port
    .byte \name, \value
    .word \port
.endm
    .balign 4
ways:
    WAY 'a', 0x01, 0x602 /* ACPI reset register */
    WAY 'k', 0xfe, 0x64  /* keyboard controller */
    WAY '9', 0x01, 0x92  /* port 0x92 */
    WAY 'c', 0x06, 0xcf9 /* reset control register */
    WAY 'p', 0x34, 0x600 /* ACPI sleep control: soft-off */
    WAY 'd', 0x05, 0xf4  /* debug exit */
ways_end:
    .section .note.GNU-stack, "", @progbits
