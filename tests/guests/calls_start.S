/*
 * calls_start: how calls.c is entered: an ELF64 image with a PVH note, in 32-bit protected mode without paging
 * (Xen's PVH start-of-day ABI); on to long mode with the first GiB mapped one to one.
 */
    .section .note.pvh, "a", @note
    .long 4, 8, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .quad start32

    .section .text
    .code32
    .global start32
start32:
    mov $table_top, %edi
    movl $table_mid + 3, (%edi)
    mov $table_mid, %edi
    movl $table_low + 3, (%edi)
    mov $table_low, %edi
    mov $0x83, %eax
1:  mov %eax, (%edi)
    add $8, %edi
    add $0x200000, %eax
    cmp $0x40000083, %eax
    jne 1b
    mov $table_top, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT */
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000001, %eax
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $start64
    .code64
start64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $stack_end, %esp
    xor %ebp, %ebp
    call guest_main
    out %eax, $0xf4
1:  hlt
    jmp 1b

    .section .data
    .balign 8
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
    .word . - gdt - 1
    .quad gdt
    .section .bss
    .balign 4096
table_top: .space 4096
table_mid: .space 4096
table_low: .space 4096
    .space 8192
stack_end:
    .section .note.GNU-stack, "", @progbits
