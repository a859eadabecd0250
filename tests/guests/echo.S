/*
 * echo: a Multiboot kernel that polls the serial line as a boot loader does, without interrupts, sends back what
 * comes, and ends by port 0xf4 with 0 behind a line feed.
 */
#define MAGIC 0x1badb002
#define FLAGS 2 /* memory information */
#define COM1 0x3f8

    .code32
    .section .text
    .global start
    .balign 4
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)
start:
    mov $COM1 + 1, %dx /* no interrupts */
    xor %al, %al
    out %al, %dx
    inc %dx /* the FIFO on, and empty */
    mov $7, %al
    out %al, %dx
    mov $COM1, %dx /* what is left over goes */
    in %dx, %al
1:  mov $COM1 + 5, %dx
    in %dx, %al
    test $1, %al
    jz 1b
    mov $COM1, %dx
    in %dx, %al
    out %al, %dx
    cmp $'\n', %al
    jne 1b
    xor %eax, %eax
    out %eax, $0xf4
2:  hlt
    jmp 2b
    .section .note.GNU-stack, "", @progbits
