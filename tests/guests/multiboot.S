/*
 * multiboot: an ELF32 kernel with a Multiboot header and one module (Multiboot 0.6.96). It prints the command line,
 * the module's own line, the module's text, the highest RAM byte below 4 GiB that the memory map names and which
 * vector of the interrupt controller wakes it from HLT, and ends by port 0xf4 with 5, or with the number of the check
 * that failed.
 */
#define MAGIC 0x1badb002
#define FLAGS 3 /* modules on page boundaries, memory information */

    .code32
    .section .text
    .global start
    .balign 4
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)
start:
    mov $stack_end, %esp
    mov $1, %ebp /* the number of the check */
    cmp $0x2badb002, %eax
    jne fail
    inc %ebp
    mov %cr0, %eax /* 2: protected mode without paging */
    and $0x80000001, %eax
    cmp $1, %eax
    jne fail
    inc %ebp
    mov (%ebx), %eax /* 3: memory, command line, modules and map are there */
    and $0x4d, %eax
    cmp $0x4d, %eax
    jne fail
    inc %ebp
    cmpl $1, 20(%ebx) /* 4: one module */
    jne fail
    inc %ebp
    mov 24(%ebx), %edi /* 5: on a page boundary, not empty, above us */
    mov (%edi), %esi
    test $0xfff, %esi
    jnz fail
    cmp 4(%edi), %esi
    jae fail
    cmp $_end, %esi
    jb fail
    inc %ebp
    pushf /* 6: interrupts are off */
    pop %eax
    test $0x200, %eax
    jnz fail

    mov $label_cmdline, %esi
    call print
    mov 16(%ebx), %esi
    call print
    mov $label_module, %esi
    call print
    mov 8(%edi), %esi
    call print
    mov $label_text, %esi
    call print
    mov (%edi), %esi
1:  cmp 4(%edi), %esi
    jae 2f
    lodsb
    call put
    jmp 1b
2:  mov $label_memory, %esi
    call print
    call top_of_memory
    call print_hex
    mov $label_vector, %esi
    call print
    call await_interrupt
    call print_hex
    mov $10, %al
    call put
    mov $5, %eax
    jmp leave
fail:
    mov $label_failed, %esi
    call print
    mov %ebp, %eax
    call print_hex
    mov $10, %al
    call put
    lea 0x40(%ebp), %eax
leave:
    out %eax, $0xf4
1:  hlt
    jmp 1b

/* EAX: the vector of the first external interrupt. A BIOS has left the timer ticking at IRQ 0, which is vector 8. */
await_interrupt:
    xor %ecx, %ecx
1:  lea vectors(,%ecx,8), %eax
    mov %ax, idt(,%ecx,8)
    mov %cs, idt+2(,%ecx,8)
    movw $0x8e00, idt+4(,%ecx,8)
    shr $16, %eax
    mov %ax, idt+6(,%ecx,8)
    inc %ecx
    cmp $32, %ecx
    jb 1b
    lidt idtr
    sti
    hlt
    cli
    mov seen, %eax
    ret

    .balign 8
vectors: /* eight bytes each */
    .set v, 0
    .rept 32
    push $v
    jmp.d32 any_vector
    nop
    .set v, v + 1
    .endr
any_vector:
    pop seen
    iret

/* EAX: the end of the last type 1 range below 4 GiB. */
top_of_memory:
    push %esi
    mov 48(%ebx), %esi
    mov 44(%ebx), %ecx
    add %esi, %ecx
    xor %edx, %edx
1:  cmp %ecx, %esi
    jae 3f
    cmpl $1, 20(%esi)
    jne 2f
    cmpl $0, 8(%esi)
    jne 2f
    mov 4(%esi), %eax
    add 12(%esi), %eax
    cmp %edx, %eax
    jb 2f
    mov %eax, %edx
2:  add (%esi), %esi
    add $4, %esi
    jmp 1b
3:  mov %edx, %eax
    pop %esi
    ret

print:
    lodsb
    test %al, %al
    jz 1f
    call put
    jmp print
1:  ret

print_hex:
    push %ecx
    mov $8, %ecx
1:  rol $4, %eax
    push %eax
    and $15, %eax
    movzbl digits(%eax), %eax
    call put
    pop %eax
    loop 1b
    pop %ecx
    ret

/* AL to the first serial line. */
put:
    push %edx
    push %eax
    mov $0x3fd, %dx
1:  in %dx, %al
    test $0x20, %al
    jz 1b
    pop %eax
    mov $0x3f8, %dx
    out %al, %dx
    pop %edx
    ret

    .section .data
digits: .ascii "0123456789abcdef"
label_cmdline: .asciz "cmdline: "
label_module: .asciz "\nmodule: "
label_text: .asciz "\ntext: "
label_memory: .asciz "\nmemory: "
label_vector: .asciz "\nvector: "
seen: .long -1
    .balign 8
idt: .space 32 * 8
idtr: .word . - idt - 1
    .long idt
label_failed: .asciz "failed: "
    .section .bss
    .space 4096
stack_end:
    .section .note.GNU-stack, "", @progbits
