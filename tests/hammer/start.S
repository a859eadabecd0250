/* Entry by Linux's 64-bit protocol (RSI: zero page), the other CPUs' way into long mode, and the gates of all
 * vectors. */
    .section .text.start, "ax"
    .code64
    .globl start
start:
    cli
    mov %rsi, %r12
    lea stacks+65536(%rip), %rsp
    mov %r12, %rdi
    call setup
    call enter
    xor %edi, %edi
    call hammer
1:  hlt
    jmp 1b

/* GDT, IDT, page tables and what SSE needs, on the calling CPU. */
enter:
    lgdt gdtr(%rip)
    lidt idtr(%rip)
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    pop %rax
    push $0x08
    push %rax
    lea pml4(%rip), %rax
    mov %rax, %cr3
    mov %cr4, %rax
    or $0x620, %eax
    mov %rax, %cr4
    lretq

    .globl gdt, trampoline, trampoline_end, gates, bounce
    .balign 16
gdt: /* kernel's code and data, user's code and data, and a TSS for each CPU */
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00affb000000ffff, 0x00cff3000000ffff
    .fill 8, 8, 0
gdtr:
    .word gdtr - gdt - 1
    .quad gdt
idtr:
    .word 256 * 16 - 1
    .quad idt

/* Copied to 0x8000. From real mode to long mode in one step (SDM 3A 10.8.5 in one write of CR0). */
    .code16
trampoline:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl 0x8000 + tgdtr - trampoline
    mov $0x620, %eax
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x900, %eax
    wrmsr
    mov $0x80000011, %eax
    mov %eax, %cr0
    ljmpl $0x08, $ap
tgdtr:
    .word 23
    .long gdt
trampoline_end:

    .code64
ap:
    mov $1, %edi
    lock xaddl %edi, next_cpu(%rip)
    mov %edi, %ebx
    lea 1(%rdi), %eax
    shl $16, %eax
    lea stacks(%rip), %rsp
    add %rax, %rsp
    call enter
    mov %ebx, %edi
    call hammer
1:  hlt
    jmp 1b

/* 256 gates of 16 bytes each: error code (0 where the CPU has none), vector. An interrupt whose vector is an
 * exception's with an error code has none: what was pushed onto an aligned stack tells (SDM 3A 6.14.2). */
    .balign 16
gates:
    .set v, 0
    .rept 256
    .balign 16
    .if v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30
    test $8, %spl
    jz 1f
    push $0
1:
    .else
    push $0
    .endif
    push $v
    jmp common
    .set v, v + 1
    .endr

common:
    push %rax
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    cld
    mov %rsp, %rdi
    mov %rsp, %rax
    and $-16, %rsp
    push %rax
    push %rax
    call trap
    pop %rsp
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

/* Where an exception goes on. */
bounce:
    call give_up
    .section .note.GNU-stack, "", @progbits
