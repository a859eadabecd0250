/* v86_32: virtual-8086 mode, with and without its extensions, and protected-mode virtual interrupts. */
#include "narrow.inc"
    .set VM, 0x20000
    .set VIF, 0x80000
    .set VIP, 0x100000

    .macro at_iopls name:req, body:req, setup, ax=0, bx=0, cx=0, dx=0, fl=2
    case "v86, \name, IOPL 0", v86, "\body", "\setup", ax=\ax, bx=\bx, cx=\cx, dx=\dx, fl=\fl
    case "v86, \name, IOPL 3", v86, "\body", "\setup", ax=\ax, bx=\bx, cx=\cx, dx=\dx, fl=\fl|0x3000
    .endm

    theme "== what IOPL rules"
    at_iopls "cli", "cli", "", fl=0x202
    at_iopls "sti", "sti; cli"
    at_iopls "pushf", "pushf; pop %ax", "", fl=0x200cd6
    at_iopls "pushfl", "pushfl; pop %eax", "", fl=0x200cd6
    at_iopls "popf", "push $0x7ed7; popf; pushf; pop %ax", "", ax=1
    at_iopls "popfl", "pushl $0xffbed7; popfl; pushfl; pop %eax"
    at_iopls "iret", "1: push $0x6d7; push %cs; push $2f - 1b; iret; 2: nop"
    at_iopls "iretl", "1: pushl $0x2006d7; pushl %cs; pushl $2f - 1b; iretl; 2: nop"
    at_iopls "iretl to v86 again", "1: pushl $0x23006d7; pushl %cs; pushl $2f - 1b; iretl; 2: nop"
    at_iopls "iretl beyond 0xffff", "pushl $2; pushl %cs; pushl $0x10000; iretl"
    at_iopls "int", "int $0x40"
    at_iopls "int to a landing", "int $0x40", "vector 0x40, bare_landing"
    at_iopls "int, dpl 0", "int $0x40", "vector 0x40, bare_landing, dpl=0"
    at_iopls "int, absent", "int $0x40", "vector 0x40, bare_landing, p=0"
    at_iopls "int3", "int3"
    at_iopls "int 3 by two bytes", ".byte 0xcd, 3"
    at_iopls "into", "into", "", fl=0x802
    at_iopls "icebp", ".byte 0xf1"
    at_iopls "in", "in $0x80, %al; mov $0, %al"
    at_iopls "out, allowed", "out %al, $0x80", "movw $0x2068, gdt + TSS; andb $~2, gdt + TSS + 5; load_tr TSS; \
        movb $0, tss + 0x68 + 0x10"
    at_iopls "hlt", "hlt"

    theme "== what is privileged, or not there"
    .macro in_v86 name:req, body:req, setup, ax=0, bx=0, cx=0, dx=0, fl=2, need=0
    case "v86, \name", v86, "\body", "\setup", ax=\ax, bx=\bx, cx=\cx, dx=\dx, fl=\fl, need=\need
    .endm
    in_v86 "nop", "nop"
    in_v86 "lgdt", "lgdt (%bx)"
    in_v86 "mov from cr0", "mov %cr0, %eax"
    in_v86 "mov from dr0", "mov %dr0, %eax"
    in_v86 "clts", "clts"
    in_v86 "lmsw", "lmsw %ax"
    in_v86 "smsw", "smsw %ax"
    in_v86 "sgdt", "sgdt (%bx); mov (%bx), %ax", bx=0x40
    in_v86 "smsw, UMIP", "smsw %ax", "cr4_set 0x800", need=UMIP
    in_v86 "sgdt, UMIP", "sgdt (%bx)", "cr4_set 0x800", bx=0x40, need=UMIP
    in_v86 "sldt", "sldt %ax"
    in_v86 "str", "str %ax"
    in_v86 "lldt", "lldt %ax"
    in_v86 "ltr", "ltr %ax"
    in_v86 "verr", "verr %ax"
    in_v86 "lar", "lar %ax, %cx"
    in_v86 "lsl", "lsl %ax, %cx"
    in_v86 "arpl", "arpl %ax, %cx"
    in_v86 "invlpg", "invlpg (%bx)"
    in_v86 "wbinvd", "wbinvd"
    in_v86 "rdmsr", "rdmsr", cx=0x174
    in_v86 "rdtsc, TSD", "rdtsc", "cr4_set 4"
    in_v86 "sysenter", "sysenter", "set_msr 0x174, KCODE; set_msr 0x176, bare_landing; set_msr 0x175, kernel_stack", \
        need=SYSENTER
    in_v86 "sysexit", ".byte 0x0f, 0x35", need=SYSENTER
    in_v86 "ud2", "ud2; nop"
    in_v86 "fnop, TS", "fnop", "cr0_set 8"
    in_v86 "divide by zero", "div %cl"
    in_v86 "bound", "bound %ax, (%bx)", ax=5, bx=0x40
    in_v86 "page fault", "mov (%bx), %al", "movl $0, first_pages + 4; movl $0x100, begin + DS; flush"
    in_v86 "a page of the kernel", "mov (%bx), %al", "movl $0x100, begin + DS"
    in_v86 "lock", "lock incw (%bx)", bx=0x40
    in_v86 "lock nop", ".byte 0xf0, 0x90"

    theme "== segments"
    in_v86 "mov ds", "mov %ax, %ds", ax=0x1234
    in_v86 "mov ss", "mov %ax, %ss", ax=0x1234
    in_v86 "mov null to ds, and a read", "mov %cx, %ax; mov %ax, %fs; mov %fs:(%bx), %al; mov $0, %al", bx=0x100
    in_v86 "pop es", "push %ax; pop %es", ax=0xffff
    in_v86 "lds", "lds (%bx), %ax", "movl $0x12345678, DATA + 0x40", bx=0x40
    in_v86 "mov to cs", ".byte 0x8e, 0xc8"
    in_v86 "a word at 0xffff", "mov (%bx), %ax", bx=0xffff
    in_v86 "a byte at 0x10000", "addr32 mov (%ebx), %al", bx=0x10000
    in_v86 "a word at 0xffff of the stack", "mov %bx, %bp; mov (%bp), %ax", bx=0xffff
    in_v86 "push at sp 1", "mov %bx, %sp; push %ax", bx=1
    in_v86 "pushl at sp 2", "mov %bx, %sp; pushl %eax", bx=2
    in_v86 "pop at 0xffff", "mov %bx, %sp; pop %ax", bx=0xffff
    in_v86 "far jump", "1: ljmp *(%bx); 2: nop", "mov begin + CS, %eax; shl $16, %eax; mov $2b - 1b, %ax; \
        mov %eax, DATA + 0x40", \
        bx=0x40
    in_v86 "far jump beyond 0xffff", "ljmpl *(%bx)", "movl $0x10000, DATA + 0x40", bx=0x40
    in_v86 "far call and return", "1: lcall *(%bx); nop; jmp 3f; 2: lret; 3:", \
        "mov begin + CS, %eax; shl $16, %eax; mov $2b - 1b, %ax; mov %eax, DATA + 0x40", bx=0x40
    in_v86 "jump beyond 0xffff", "jmpl *%eax", ax=0x10000
    in_v86 "the base of a segment", "mov %ax, %fs; mov %fs:(%bx), %cx", "movl $0x5678, DATA + 0x40; mov $DATA, %eax; \
        shr $4, %eax; add $4, %eax; mov %eax, begin + AX"

    theme "== interrupts and exceptions out of it"
    .macro out_of name:req, target, sel=KCODE, type=0xe, setup
    case "v86, int, gate \name", v86, "int $0x40", "by_task 13; vector 0x40, \target, \sel, 3, \type; \setup", \
        fl=0x3202, \
        ax=0x11, bx=0x22
    case "v86, exception, gate \name", v86, "fnop", "by_task 13; vector 7, \target, \sel, 0, \type; cr0_set 8; \
        \setup", \
        fl=0x202, ax=0x11, bx=0x22
    .endm
    out_of "of 32 bits", bare_landing
    out_of "of a trap", bare_landing, type=0xf
    out_of "of 16 bits", 0, TASK_CODE16, 6
    out_of "to ring 1", bare_landing, CODE1
    out_of "to conforming code", bare_landing, CONFORMING
    out_of "to user code", user_landing, UCODE|3
    out_of "to null", bare_landing, 0
    out_of "to data", bare_landing, KDATA
    out_of "to absent code", bare_landing, ABSENT_CODE
    out_of "to a task", 0, TASK, 5
    out_of "with a stack not mapped", bare_landing, setup="by_task 14; movl $0x50000000, tss + 4"
    out_of "with a null stack", bare_landing, setup="by_task 10; movl $0, tss + 8"
    out_of "with a small stack", bare_landing, setup="by_task 12; movl $16, tss + 4; movl $FREE, tss + 8; \
        segment FREE, esp0_stack-0x100, 0xff, 0x93"
    case "v86, exception with an error code", v86, "hlt", "vector 13, bare_landing"
    case "v86, exception with an error code, 16-bit gate", v86, "hlt", "vector 13, 0, TASK_CODE16, type=6"
    case "v86, int and back", v86, "int $0x40; nop", "vector 0x40, 2f; jmp 3f; 2: iret; 3:", fl=0x3202
    case "v86, exception to a task and back", v86, "fnop; nop", "gate idt+7*8, 0, TASK, 0, 5; cr0_set 8; \
        movl $2f, task + 0x20; \
        jmp 3f; 2: clts; addl $2, tss + 0x20; iret; 3:"
    case "v86, all segments at an interrupt", v86, "int $0x40", "vector 0x40, bare_landing; movl $0x1111, \
        begin + DS; \
        movl $0x2222, begin + ES; movl $0x3333, begin + FS; movl $0x4444, begin + GS", fl=0x3002

    theme "== into it"
    .macro to_v86 fl, ip=0, cs=0x1234
    push $0x4444
    push $0x3333
    push $0x2222
    push $0x1111
    push $0x5555
    push $0x12346666
    push $\fl
    push $\cs
    push $\ip
    iret
    .endm
    .macro landing_segment
    mov $user_landing, %eax
    shr $4, %eax
    mov %eax, begin + CX
    .endm
    .irp fl, 0x20002, 0x23202, 0x24002, 0x30002, 0x20102, 0x1a0002, 0x240002, 0xffe3fed7
    case "iret to v86, flags \fl", kernel, "push $0x4444; push $0x3333; push $0x2222; push $0x1111; push $0x5555; \
        push $0x12346666; push $\fl; push %ecx; push $0; iret", "landing_segment"
    .endr
    case "iret to v86, ip beyond", kernel, "to_v86 0x20002, 0x10000"
    case "iret to v86, upper half of cs", kernel, "push $0x4444; push $0x3333; push $0x2222; push $0x1111; \
        push $0x5555; \
        push $0x6666; push $0x20002; push %ecx; push $0; iret", "landing_segment; orl $0x77770000, begin + CX"
    case "iret to v86, ring 1", ring1, "to_v86 0x20002"
    case "iret to v86, user", user, "to_v86 0x20002"
    case "iretw does not", kernel, "pushw $2; pushw $TASK_CODE16; pushw $0; iretw", fl=2
    case "iret to v86, the frame's end not mapped", kernel, "mov %ebx, %esp; iret", "by_task 14; movl $0x1234, \
        WINDOW + 0xff4; \
        movl $0x20002, WINDOW + 0xff8; movl $0, window + 4", bx=WINDOW+0xff0
    case "popf does not load VM", kernel, "push $0x20002; popf; nop"
    case "task switch to v86", kernel, "ljmp $TASK, $0", "landing_segment; movl $0x20002, task + 0x24; movl $0, \
        task + 0x20; \
        mov begin + CX, %eax; mov %eax, task + 0x4c; movl $0x1234, task + 0x54; movl $0x5678, task + 0x50"
    case "task switch to v86, ip beyond", kernel, "ljmp $TASK, $0", "by_task 13; movl $0x20002, task + 0x24; \
        movl $0x10000, task + 0x20; movl $0x1234, task + 0x4c"
    case "task switch to v86 with an LDT", kernel, "ljmp $TASK, $0", "landing_segment; movl $0x20002, task + 0x24; \
        movl $0, task + 0x20; mov begin + CX, %eax; mov %eax, task + 0x4c; movl $LDT, task + 0x60"
    case "task switch to v86 with a bad LDT", kernel, "ljmp $TASK, $0", "by_task 10; landing_segment; \
        movl $0x20002, task + 0x24; mov begin + CX, %eax; mov %eax, task + 0x4c; movl $KDATA, task + 0x60"
    case "v86, far jump to a TSS is just a jump", v86, "ljmp *(%bx)", "landing_segment; mov begin + CX, %eax; \
        shl $16, %eax; \
        mov %eax, DATA + 0x40", bx=0x40

    theme "== debugging it"
    in_v86 "TF", "nop; nop", fl=0x102
    in_v86 "TF and pushf", "pushf; nop", fl=0x3102
    in_v86 "TF and popf that clears it", "push $2; popf; nop", "", fl=0x3102
    in_v86 "TF and int", "int $0x40", "vector 0x40, bare_landing", fl=0x3102
    in_v86 "TF and mov ss", "mov %ss, %ax; mov %ax, %ss; nop; nop", fl=0x102
    in_v86 "TF and ljmp", "ljmp *(%bx)", "landing_segment; mov begin + CX, %eax; shl $16, %eax; mov %eax, \
        DATA + 0x40", \
        bx=0x40, fl=0x102
    case "v86, a code breakpoint", v86, "nop; 1: nop", "set_dr 0, 1b; mov $0x401, %eax; mov %eax, %dr7", bed=0
    case "v86, a data breakpoint", v86, "mov %ax, (%bx); nop", "set_dr 0, DATA+0x40; mov $0xd0401, %eax; \
        mov %eax, %dr7", \
        bx=0x40, bed=0

    theme "== CR4.VME"
    .macro vme
    cr4_set 1
    movw $0x88, tss + 0x66
    movw $0x2088, gdt + TSS
    andb $~2, gdt + TSS + 5
    load_tr TSS
    .endm
/* The vector's bit in the bitmap is clear, and vector 0x40 of the real-mode table is label 2 behind label 1. */
    .macro redirected vector=0x40
    vme
    movb $0, tss + 0x68 + \vector / 8
    orb $4, first_pages
    flush
    mov begin + CS, %eax
    shl $16, %eax
    mov $(2b - 1b), %ax
    mov %eax, \vector * 4
    .endm
    .macro with_vme name:req, body:req, setup, fl=2, ax=0, bx=0
    .irp virtual, 0, VIF, VIP, VIF|VIP
    case "VME, \name, IOPL 0, \virtual", v86, "\body", "\setup", fl=\fl|\virtual, ax=\ax, bx=\bx, need=VME
    case "VME, \name, IOPL 3, \virtual", v86, "\body", "\setup", fl=\fl|\virtual|0x3000, ax=\ax, bx=\bx, need=VME
    .endr
    .endm
    with_vme "cli", "cli", "vme", fl=0x202
    with_vme "sti", "sti; nop", "vme"
    with_vme "pushf", "pushf; pop %ax", "vme", fl=0x202
    with_vme "pushfl", "pushfl; pop %eax", "vme"
    with_vme "popf with IF", "push $0x7ed7; popf", "vme"
    with_vme "popf with IF but not TF", "push $0x7ad7; popf; nop", "vme"
    with_vme "popf without IF", "push $0x4d7; popf; nop", "vme", fl=0x202
    with_vme "popf with TF", "push $0x102; popf; nop; nop", "vme", fl=2
    with_vme "popfl", "pushl $0x6d7; popfl; nop", "vme"
    with_vme "iret with IF", "1: push $0x6d7; push %cs; push $2f - 1b; iret; 2: nop", "vme"
    with_vme "iret without IF", "1: push $0x4d7; push %cs; push $2f - 1b; iret; 2: nop", "vme", fl=0x202
    with_vme "iret with TF", "1: push $0x102; push %cs; push $2f - 1b; iret; 2: nop; nop", "vme"
    with_vme "iretl", "1: pushl $0x6d7; pushl %cs; pushl $2f - 1b; iretl; 2: nop", "vme"
    with_vme "int", "1: int $0x40; nop; 2: pop %ax; pop %bx; pop %cx", "vme; vector 0x40, bare_landing", fl=0x202
    with_vme "int, redirected", "1: int $0x40; nop; 2: pop %ax; pop %bx; pop %cx", "redirected", fl=0x602
    with_vme "int, redirected, with TF", "1: int $0x40; nop; 2: nop; nop", "redirected", fl=0x4302
    with_vme "int and iret", "1: int $0x40; nop; jmp 3f; 2: iret; 3:", "redirected", fl=0x602
    with_vme "int3, redirected", "1: int3; nop; 2: nop", "redirected 3"
    with_vme "int 3, redirected", "1: .byte 0xcd, 3; nop; 2: pop %ax", "redirected 3"
    with_vme "into, redirected", "1: into; nop; 2: nop", "redirected 4", fl=0x802
    case "VME, int, its table not mapped", v86, "1: int $0x40; nop; 2: nop", "redirected; andb $~4, first_pages; \
        flush", \
        need=VME
    case "VME, int, its stack not mapped", v86, "1: int $0x40; nop; 2: nop", "redirected; movl $0x100, \
        begin + SS", need=VME
    case "VME, int, sp 3", v86, "1: mov $3, %sp; int $0x40; nop; 2: nop", "redirected", need=VME
    case "VME, int, the bitmap beyond the limit", v86, "1: int $0x40; nop; 2: nop", "redirected; \
        movw $0x6f, gdt + TSS; andb $~2, gdt + TSS + 5; load_tr TSS", need=VME
    case "VME, int, the bitmap at the limit", v86, "1: int $0x40; nop; 2: nop", "redirected; \
        movw $0x70, gdt + TSS; andb $~2, gdt + TSS + 5; load_tr TSS", need=VME
    case "VME, int, no base in the TSS", v86, "1: int $0x40; nop; 2: nop", "redirected; \
        movw $0x66, gdt + TSS; andb $~2, gdt + TSS + 5; load_tr TSS", need=VME
    case "VME, exceptions are not redirected", v86, "1: ud2; nop; 2: nop", "redirected 6", need=VME
    case "VME, cli in protected mode", user, "cli", "vme", need=VME
    case "VME, VIF set, then VIP by iret", kernel, "push $0; push $0; push $0; push $0; push $0x5555; push $0x6666; \
        push $0x1a0002; push %ecx; push $0; iret", "vme; landing_segment", need=VME

    theme "== CR4.PVI"
    .irp mode, user, ring1, kernel
    .irp virtual, 0, VIF, VIP, VIF|VIP
    case "PVI, cli, \mode, \virtual", \mode, "cli", "cr4_set 2", fl=0x202|\virtual, need=VME
    case "PVI, sti, \mode, \virtual", \mode, "sti; nop", "cr4_set 2", fl=2|\virtual, need=VME
    .endr
    case "PVI, popf, \mode", \mode, "push $0x202; popf; pushf; pop %eax; push $2; popf", "cr4_set 2", need=VME
    case "PVI, pushf, \mode", \mode, "pushf; pop %eax", "cr4_set 2", fl=VIF|2, need=VME
    case "PVI, sti, IOPL 3, \mode", \mode, "sti; nop; cli", "cr4_set 2", fl=0x3002, need=VME
    case "PVI, int, \mode", \mode, "int $0x40", "cr4_set 2; vector 0x40, bare_landing", fl=VIF|0x202, need=VME
    .endr
    case "PVI, cli, v86", v86, "cli", "cr4_set 2", fl=0x202, need=VME
    case "PVI, iret of VIF, user", user, "push $0x80202; push $UCODE | 3; push $user_landing; iret", "cr4_set 2", \
        need=VME
    case "cr4, VME", kernel, "mov %cr4, %eax; or $1, %eax; mov %eax, %cr4", need=VME
    case "cr4, PVI", kernel, "mov %cr4, %eax; or $2, %eax; mov %eax, %cr4", need=VME
