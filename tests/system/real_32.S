/* real_32: real mode, and what is left of protected mode in it. */
#include "narrow.inc"

    .macro in_real name:req, body:req, setup, ax=0, bx=0, cx=0, dx=0, fl=2, need=0, bed=1
    case "real, \name", real, "\body", "\setup", ax=\ax, bx=\bx, cx=\cx, dx=\dx, fl=\fl, need=\need, bed=\bed
    .endm
/* Vector n leads to label 2 behind label 1, the body's first. */
    .macro real_vector n
    mov begin + CS, %eax
    shl $16, %eax
    mov $(2b - 1b), %ax
    mov %eax, real_ivt + (\n) * 4
    .endm
/* A far pointer at DATA + 0x40 to label 2 behind label 1. */
    .macro far_pointer
    mov begin + CS, %eax
    shl $16, %eax
    mov $(2b - 1b), %ax
    mov %eax, DATA + 0x40
    .endm

    theme "== real mode"
    in_real "nop", "nop"
    in_real "flags", "pushf; pop %ax", "", fl=0x3ad7
    in_real "popf of all ones", "push $0xfcff; popf; pushf; pop %ax; push $2; popf"
    in_real "popfl", "pushl $0x240002; popfl; pushfl; pop %eax; pushl $2; popfl"
    in_real "int", "1: int $0x40; nop; 2: pop %ax; pop %bx; pop %cx; xor %bx, %bx", "real_vector 0x40", \
        fl=0x302|0x4c00
    in_real "int to a stub", "int $0x41"
    in_real "int beyond the table", "int $0x50"
    in_real "int3", "int3"
    in_real "into", "into", "", fl=0x802
    in_real "into, OF off", "into"
    in_real "icebp", ".byte 0xf1"
    in_real "bound", "bound %ax, (%bx)", "", ax=5, bx=0x40
    in_real "divide by zero", "div %cl"
    in_real "aam 0", "aam $0"
    in_real "ud2", "ud2; nop"
    in_real "fnop, TS", "fnop", "cr0_set 8"
    in_real "iret", "1: push $0x6d7; push %cs; push $2f - 1b; iret; 2: push $2; popf"
    in_real "iretl", "1: pushl $0x2006d7; pushl %cs; pushl $2f - 1b; iretl; 2: pushl $2; popfl"
    in_real "iretl beyond 0xffff", "pushl $2; pushl %cs; pushl $0x10000; iretl", bed=0
    in_real "iretl with VM", "1: pushl $0x20002; pushl %cs; pushl $2f - 1b; iretl; 2: nop"
    in_real "iret with NT", "1: push $0x2; push %cs; push $2f - 1b; iret; 2: nop", "", fl=0x4002
    in_real "TF", "nop; nop", "", fl=0x102
    in_real "TF and int", "1: int $0x40; 2: nop; nop", "real_vector 0x40", fl=0x102
    in_real "TF and mov ss", "mov %ss, %ax; mov %ax, %ss; nop; nop", "", fl=0x102
    in_real "TF and popf", "push $2; popf; nop; nop", "", fl=0x102
    in_real "cli, sti", "cli; sti; cli", "", fl=0x202

    theme "== what needs protected mode, or does not"
    .irp i, "sldt %ax", "str %ax", "lldt %ax", "ltr %ax", "verr %ax", "verw %ax", "lar %ax, %cx", "lsl %ax, %cx", \
        "arpl %ax, %cx", "sysexit"
    in_real "\i", "\i"
    .endr
    in_real "smsw", "smsw %ax"
    in_real "lmsw sets TS", "lmsw %ax; smsw %cx", "", ax=0x1a
    in_real "mov from cr0", "mov %cr0, %eax"
    in_real "mov to cr0, PG without PE", "mov %cr0, %eax; bts $31, %eax; mov %eax, %cr0"
    in_real "clts", "clts; smsw %ax", "cr0_set 8"
    in_real "mov from dr7", "mov %dr7, %eax"
    in_real "rdmsr, none such", "rdmsr", "", cx=0x12345
    in_real "sysenter", "sysenter", "set_msr 0x174, KCODE", need=SYSENTER
    in_real "rdtsc, TSD", "rdtsc; xor %eax, %eax; xor %edx, %edx", "cr4_set 4"
    in_real "sgdt", "sgdt (%bx); mov (%bx), %ax", "cr4_set 0x800", bx=0x40, need=UMIP
    in_real "invlpg", "invlpg (%bx)"
    in_real "out", "out %al, $0x80"
    in_real "lock nop", ".byte 0xf0, 0x90"
    in_real "16 bytes", ".fill 15, 1, 0x66; nop"

    theme "== limits"
    in_real "a word at 0xffff", "mov (%bx), %ax", "", bx=0xffff, bed=0
    in_real "a byte at 0x10000", "addr32 mov (%ebx), %al", "", bx=0x10000, bed=0
    in_real "a word at 0xffff by bp", "mov %bx, %bp; mov (%bp), %ax", "", bx=0xffff, bed=0
    in_real "pushl at sp 0", "mov %bx, %sp; pushl %eax; mov %sp, %cx; mov $0x1000, %sp; mov %ss:0xfffc, %edx"
    in_real "string over 0xffff", "mov %bx, %si; lodsw", "", bx=0xffff, bed=0
    in_real "rep movsb that wraps", "mov $0xfffe, %si; mov $4, %cx; mov $0x80, %di; rep movsb"
    in_real "jump beyond 0xffff", "jmpl *%eax", "", ax=0x10000, bed=0
    in_real "far jump beyond 0xffff", "ljmpl *(%bx)", "movl $0x10000, DATA + 0x40", bx=0x40, bed=0
    in_real "far jump", "1: ljmp *(%bx); nop; 2: nop", "far_pointer", bx=0x40
    in_real "far call and return", "1: lcall *(%bx); nop; jmp 3f; 2: lret; 3:", "far_pointer", bx=0x40
    in_real "far call of 32 bits", "1: lcalll *(%bx); nop; 2: popl %eax; popl %ecx", "far_pointer; mov %eax, \
        DATA + 0x42; \
        andl $0xffff, DATA + 0x40; movw $0, DATA + 0x42; mov begin + CS, %eax; mov %ax, DATA + 0x44", bx=0x40
    in_real "lret n", "1: push %cs; push $2f - 1b; lret $4; 2: nop"
    in_real "mov to cs", ".byte 0x8e, 0xc8"
    in_real "mov ds", "mov %ax, %ds; mov (%bx), %cx; mov $0, %cx", "", ax=0xffff, bx=0
    in_real "lds", "lds (%bx), %ax", "movl $0x12345678, DATA + 0x40", bx=0x40
    in_real "lss", "lss (%bx), %ax; mov %ss, %cx; mov $0x1234, %dx", "movw $0x5678, DATA + 0x40; mov begin + SS, \
        %ax; \
        mov %ax, DATA + 0x42", bx=0x40
    in_real "pusha at sp 0x10", "mov %esp, %ecx; mov $0x10, %sp; pusha; mov %sp, %ax; mov %ecx, %esp"
    in_real "enter", "enter $8, $2; leave"
    in_real "a data breakpoint", "mov %al, (%bx); nop", "set_dr 0, DATA+0x40; mov $0x10401, %eax; mov %eax, \
        %dr7", bx=0x40, \
        bed=0
