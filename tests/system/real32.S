/*
 * real32: how cases enter real mode, and exceptions there. All of it lies in one segment, which begins at
 * real_base; what is written in one page of its own.
 */
#include "asm.inc"
#define AT(label) %cs:(label - real_base)
    .text
    .code32
    .global real_enter, real_base, real_stubs, real_pointer, real_regs, real_ivt
    .balign 16
real_enter:
    mov %cr0, %eax
    and $0x7fffffff, %eax
    mov %eax, %cr0
    lidt real_idtr
    ljmp $REAL_CODE, $1f - real_base
    .balign 16
real_base:
    .code16
1:  mov $REAL_DATA, %ax
    .irp seg, ds, es, fs, gs, ss
    mov %ax, %\seg
    .endr
    mov %cr0, %eax
    and $~1, %eax
    mov %eax, %cr0
    ljmp *AT(real_pointer)
    .global real_entry
real_entry:
    mov AT(real_regs + SS), %ss
    mov AT(real_regs + SP), %esp
    pushw AT(real_regs + FL)
    pushw AT(real_regs + CS)
    pushw AT(real_regs + IP)
    mov AT(real_regs + ES), %es
    mov AT(real_regs + DS), %ds
    mov AT(real_regs + FS), %fs
    mov AT(real_regs + GS), %gs
    mov AT(real_regs + AX), %eax
    mov AT(real_regs + CX), %ecx
    mov AT(real_regs + DX), %edx
    mov AT(real_regs + BX), %ebx
    mov AT(real_regs + BP), %ebp
    mov AT(real_regs + SI), %esi
    mov AT(real_regs + DI), %edi
    iret

    .balign 16
real_stubs:
    .set i, 0
    .rept VECTORS
    movw $i, AT(real_regs + VECTOR)
    jmp real_common
    .balign 16
    .set i, i + 1
    .endr
real_common:
    mov %eax, AT(real_regs + AX)
    mov %ecx, AT(real_regs + CX)
    mov %edx, AT(real_regs + DX)
    mov %ebx, AT(real_regs + BX)
    mov %ebp, AT(real_regs + BP)
    mov %esi, AT(real_regs + SI)
    mov %edi, AT(real_regs + DI)
    popw AT(real_regs + IP)
    popw AT(real_regs + CS)
    popw AT(real_regs + FL)
    mov %esp, AT(real_regs + SP)
    mov %ss, AT(real_regs + SS)
    mov %ds, AT(real_regs + DS)
    mov %es, AT(real_regs + ES)
    mov %fs, AT(real_regs + FS)
    mov %gs, AT(real_regs + GS)
    mov %cr0, %eax
    mov %eax, AT(real_regs + CR0)
    or $1, %eax
    mov %eax, %cr0
    ljmpl $KCODE, $1f
    .code32
1:  mov $KDATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov runner_esp, %esp
    cld
    call real_caught
    jmp back

    .balign 4096
real_pointer: .long 0
real_idtr:
    .word VECTORS * 4 - 1
    .long real_ivt
    .balign 4
real_regs: .space 34 * 4
real_ivt: .space VECTORS * 4
    .balign 4096
