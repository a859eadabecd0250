/*
 * start32: how the 32-bit image goes on behind begin.inc, how it enters cases, and its exceptions.
 *
 * Exceptions of the kernel come in on the stack that they find, by interrupt gates; a double fault, and what a
 * setup asks for with `by_task`, through task gates (machine32.c).
 */
#include "asm.inc"
#include "begin.inc"
1:  call suite_main
1:  hlt
    jmp 1b

/* void enter(void (*setup)(void)) */
    .text
    .global enter
enter:
    push %ebx
    push %ebp
    push %esi
    push %edi
    mov %esp, runner_esp
    call *20(%esp)
    call machine_watch
    cmpb $0, real_mode
    jne real_enter
    testl $0x20000, begin + FL
    jnz 2f
    testb $3, begin + CS
    jnz 1f
    mov begin + SS, %ss
    mov begin + SP, %esp
    jmp 3f
2:  pushl begin + GS
    pushl begin + FS
    pushl begin + DS
    pushl begin + ES
1:  pushl begin + SS
    pushl begin + SP
3:  pushl begin + FL
    pushl begin + CS
    pushl begin + IP
    mov begin + CX, %ecx
    mov begin + DX, %edx
    mov begin + BX, %ebx
    mov begin + BP, %ebp
    mov begin + SI, %esi
    mov begin + DI, %edi
    movb $1, running
    testl $0x20000, begin + FL
    jnz 4f
    mov begin + FS, %fs
    mov begin + GS, %gs
    mov begin + ES, %es
    mov begin + DS, %eax
    mov %eax, %ds
4:  mov %cs:begin + AX, %eax
    iretl

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
    push %eax
    push %ds
    mov $KDATA, %eax
    mov %eax, %ds
    btrl $0, running
    jnc 4f
1:  popl caught + DS
    popl caught + AX
    andl $0xffff, caught + DS /* the upper half may be anything */
    mov %ecx, caught + CX
    mov %edx, caught + DX
    mov %ebx, caught + BX
    mov %ebp, caught + BP
    mov %esi, caught + SI
    mov %edi, caught + DI
    mov %es, %eax
    mov %eax, caught + ES
    mov %fs, %eax
    mov %eax, caught + FS
    mov %gs, %eax
    mov %eax, caught + GS
    popl caught + VECTOR
    popl caught + ERROR
    popl caught + IP
    popl caught + CS
    andl $0xffff, caught + CS
    popl caught + FL
    testl $0x20000, caught + FL
    jnz 2f
    testb $3, caught + CS
    jnz 2f
    mov %esp, caught + SP
    mov %ss, %eax
    mov %eax, caught + SS
    jmp 3f
2:  popl caught + SP
    popl caught + SS
    andl $0xffff, caught + SS
    testl $0x20000, caught + FL
    jz 3f
    .irp field, ES, DS, FS, GS
    popl caught + \field
    andl $0xffff, caught + \field
    .endr
3:  mov %cr0, %eax
    mov %eax, caught + CR0
    mov %cr2, %eax
    mov %eax, caught + CR2
    mov %cr3, %eax
    mov %eax, caught + CR3
    mov %cr4, %eax
    mov %eax, caught + CR4
    mov %dr7, %eax
    mov %eax, caught + DR7
    xor %eax, %eax
    str %ax
    mov %eax, caught + TR
    sldt %ax
    mov %eax, caught + LDTR
    mov begin + DR6, %eax
    cmpb $1, caught + VECTOR
    jne 3f
    mov %dr6, %eax
3:  mov %eax, caught + DR6
    .global back
back:
    mov $KDATA, %eax
    mov %eax, %ss
    mov runner_esp, %esp
    mov %eax, %es
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    push $2
    popfl
    pop %edi
    pop %esi
    pop %ebp
    pop %ebx
    ret
4:  cmpl $1, %ss:8(%esp)
    je 5f
    orl $LOST, %ss:8(%esp)
    jmp 1b
5:
    pop %ds
    pop %eax
    add $8, %esp
    iretl

/* The tasks of exceptions begin here, with the vector in EAX; the error code is on the stack where there is one. */
    .global task_stub
task_stub:
    movb $0, running
    xor %ecx, %ecx
    mov $catcher_errors, %edx
    bt %eax, (%edx)
    jnc 1f
    pop %ecx
1:  clts
    push %ecx
    push %eax
    call task_caught
    jmp back
    .section .rodata
    .balign 4
catcher_errors: .long 0x00027d00
    .text

/* Where cases may land in the kernel. */
    .global bare_landing, task_landing
bare_landing:
    ud2
    .balign 16
task_landing:
    ud2

    .section .bss
    .global directory, first_pages, window, pdpt, pae_directory, pae_first, pae_window
    .balign 4096
directory: .space 4096
first_pages: .space 4096
window: .space 4096
pae_directory: .space 4096
pae_first: .space 4096
pae_window: .space 4096
pdpt: .space 32
    .global kernel_stack, esp0_stack, esp1_stack, esp2_stack, task_stack
    .space 2048
kernel_stack:
    .space 1024
esp0_stack:
    .space 1024
esp1_stack:
    .space 1024
esp2_stack:
    .space 1024
task_stack:
    .space 4096
runner_stack:
    .global runner_esp, real_mode
runner_esp: .long 0
running: .long 0
real_mode: .long 0
    .global command_line
command_line: .long 0
    .section .user, "awx"
    .balign 4096
    .global user_stack, user_landing, user_data
user_landing: ud2
    .balign 4096 /* QEMU is slow where code and data share a page */
user_data: .space 3072
    .space 1024
user_stack:
