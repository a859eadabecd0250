/*
 * start64: how the 64-bit image is entered, how it enters cases, and its exceptions. The image is flat and
 * lies at 0x10000; it is begun at its first byte in flat 32-bit protected mode, by boot.S or through the
 * Multiboot header (with addresses, since it is no ELF).
 *
 * Exceptions come in on the stack IST 1 (a double fault on IST 2), so that a case may leave any stack; the
 * TSS's RSP0 serves cases.
 */
#include "asm.inc"
#include "begin.inc"
1:  call tables
    mov $top_table, %eax
    mov %eax, %cr3
    mov $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT */
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x901, %eax /* SCE, LME, NXE */
    wrmsr
    mov $0x80010033, %eax /* PG, WP, NE, ET, MP, PE */
    mov %eax, %cr0
    lgdt first_gdt_pointer
    ljmp $KCODE, $1f
    .code64
1:  mov $KDATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    call suite_main
1:  hlt
    jmp 1b

/* Enough of the page tables to get to C: machine64.c makes the real ones. */
    .code32
tables:
    movl $low_tables + 7, top_table
    movl $directory + 7, low_tables
    movl $0x83, directory
    ret
    .balign 8
first_gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
first_gdt_pointer:
    .word . - first_gdt - 1
    .long first_gdt

/* void enter(void (*setup)(void)) */
    .text
    .code64
    .global enter
enter:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, runner_rsp
    mov begin + FS, %fs /* their bases may be the setup's matter */
    mov begin + GS, %gs
    call *%rdi
    mov %cr0, %rax
    mov %rax, begin + CR0
    mov %cr4, %rax
    mov %rax, begin + CR4
    pushq begin + SS
    pushq begin + SP
    pushq begin + FL
    pushq begin + CS
    pushq begin + IP
    mov begin + DS, %ds
    mov begin + ES, %es
    mov begin + AX, %rax
    mov begin + CX, %rcx
    mov begin + DX, %rdx
    mov begin + BX, %rbx
    mov begin + BP, %rbp
    mov begin + SI, %rsi
    mov begin + DI, %rdi
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    xor %r11d, %r11d
    xor %r12d, %r12d
    xor %r13d, %r13d
    xor %r14d, %r14d
    xor %r15d, %r15d
    movb $1, running
    iretq

/*
 * Every vector comes here with its number and an error code on the stack: back to whoever called enter.
 * Outside of cases #DB comes by DR7.GD: the instruction is tried again. What else comes there is a fault of the
 * suite itself.
 */
    .balign 16
    .global stubs
stubs:
    .set i, 0
    .rept VECTORS
    .if (i != 8) && ((i < 10) || (i > 14)) && (i != 17)
    push $0
    .endif
    push $i
    jmp common
    .balign 16
    .set i, i + 1
    .endr
common:
    btrl $0, running
    jc 1f
    cmpq $1, (%rsp)
    je 3f
    orq $LOST, (%rsp)
1:  mov %rax, caught + AX
    mov %rcx, caught + CX
    mov %rdx, caught + DX
    mov %rbx, caught + BX
    mov %rbp, caught + BP
    mov %rsi, caught + SI
    mov %rdi, caught + DI
    .irp n, 8, 9, 10, 11, 12, 13, 14, 15
    mov %r\n, caught + R8 + (\n - 8) * W
    .endr
    pop caught + VECTOR
    pop caught + ERROR
    pop caught + IP
    pop caught + CS
    pop caught + FL
    pop caught + SP
    pop caught + SS
    mov %ds, caught + DS
    mov %es, caught + ES
    mov %fs, caught + FS
    mov %gs, caught + GS
    mov %cr0, %rax
    mov %rax, caught + CR0
    mov %cr2, %rax
    mov %rax, caught + CR2
    mov %cr4, %rax
    mov %rax, caught + CR4
    mov begin + DR6, %rax
    cmpb $1, caught + VECTOR
    jne 2f
    mov %dr6, %rax
2:  mov %rax, caught + DR6
    mov runner_rsp, %rsp
    push $2
    popfq
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
3:  add $16, %rsp
    iretq

/* Where cases may land in the kernel: shows what is on the stack. */
    .global landing, bare_landing
landing:
    mov (%rsp), %rax
    mov 8(%rsp), %rcx
    mov 16(%rsp), %rdx
    mov 24(%rsp), %rbx
bare_landing:
    ud2

    .section .bss
    .global top_table, low_tables, directory, first_pages, window
    .balign 4096
top_table: .space 4096
low_tables: .space 4096
directory: .space 4096
first_pages: .space 4096
window: .space 4096
    .global kernel_stack, rsp0_stack, ist1_stack, ist2_stack, ist3_stack
    .space 2048
kernel_stack:
    .space 1024
rsp0_stack:
    .space 1024
ist1_stack:
    .space 1024
ist2_stack:
    .space 1024
ist3_stack:
    .space 4096
runner_stack:
runner_rsp: .quad 0
running: .quad 0
    .global command_line
command_line: .quad 0
    .section .user, "awx"
    .balign 4096
    .global user_stack
    .global user_landing
user_landing: ud2
    .balign 64
    .global user_data
user_data: .space 3072
    .space 1024
user_stack:
