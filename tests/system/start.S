/*
 * start: how the suite is entered, and its exceptions. The image is flat and lies at 0x10000; it is begun at its
 * first byte in flat 32-bit protected mode, by boot.S or through the Multiboot header (with addresses, since it is
 * no ELF). On to long mode with the first GiB mapped one to one.
 */
    .section .text.start, "ax"
    .code32
    .global start
start:
    jmp begin
    .balign 4
header:
    .long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)
    .long header, start, _edata, _end, start
begin:
    cli
    cld
    mov $stack_end, %esp
    mov $_edata, %edi
    mov $_end, %ecx
    sub %edi, %ecx
    xor %eax, %eax
    lldt %ax
    rep stosb
    movl $low_tables + 7, top_table
    movl $directory + 7, low_tables
    mov $directory, %edi
    mov $0x87, %eax
1:  mov %eax, (%edi)
    movl $0, 4(%edi)
    add $8, %edi
    add $0x200000, %eax
    cmp $0x40000087, %eax
    jne 1b
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
    lgdt gdt_pointer
    ljmp $8, $1f
    .code64
1:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    call system_main
    mov $5, %eax
    out %eax, $0xf4 /* ends Liege */
    mov $farewell, %esi
    mov $8, %ecx
    mov $0x8900, %edx
    rep outsb /* ends Bochs */
1:  hlt
    jmp 1b
farewell: .ascii "Shutdown"

/* Every vector: what came is kept in `caught`, and execution goes on at `recover`. */
    .macro stub n, has_error
    .if \has_error == 0
    push $0
    .endif
    push $\n
    jmp common
    .balign 16
    .endm
    .balign 16
    .global stubs
stubs:
    .set i, 0
    .rept 32
    .if (i == 8) || (i == 10) || (i == 11) || (i == 12) || (i == 13) || (i == 14) || (i == 17)
    stub i, 1
    .else
    stub i, 0
    .endif
    .balign 16
    .set i, i + 1
    .endr
common:
    push %rax
    mov 8(%rsp), %rax
    mov %eax, caught
    mov 16(%rsp), %rax
    mov %eax, caught + 4
    mov %cr2, %rax
    mov %rax, caught + 8
    mov recover, %rax
    mov %rax, 24(%rsp)
    andl $~0x100, 40(%rsp)
    pop %rax
    add $16, %rsp
    iretq

    .section .data
    .balign 16
    .global gdt, gdt_pointer
gdt:
    .quad 0
    .quad 0x00af9b000000ffff /* 08 kernel code, 64 bit */
    .quad 0x00cf93000000ffff /* 10 kernel data */
    .quad 0x00cff3000000ffff /* 18 user data */
    .quad 0x00affb000000ffff /* 20 user code, 64 bit */
    .quad 0x00cf13000000ffff /* 28 data, not present */
    .quad 0x00cf91000000ffff /* 30 data, read only */
    .quad 0x00cf99000000ffff /* 38 code, execute only */
    .quad 0x00af1b000000ffff /* 40 code, not present */
    .quad 0x00ef9b000000ffff /* 48 code, both L and D */
    .quad 0x00af9f000000ffff /* 50 code, conforming */
    .quad 0, 0               /* 58 TSS */
    .quad 0, 0               /* 68 LDT, not present */
    .quad 0x00008c0000080000, 0 /* 78 call gate into 08, offset 0 */
gdt_pointer:
    .word . - gdt - 1
    .quad gdt
    .global caught, recover
    .balign 8
caught: .quad 0, 0
recover: .quad 0
    .section .bss
    .balign 4096
    .global top_table, directory
top_table: .space 4096
low_tables: .space 4096
directory: .space 4096
    .space 8192
stack_end:
    .section .note.GNU-stack, "", @progbits
