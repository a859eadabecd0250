/* debug32: single steps and breakpoints where 32-bit code has what 64-bit code has not. */
#include "narrow.inc"
    .set TF, 0x102
    .set RF, 0x10002
    .macro dr n, addr, control
    set_dr \n, "\addr"
    mov $(\control + 0x400), %eax
    mov %eax, %dr7
    .endm
    .macro watch addr, rw, len, n=0
    dr \n, "\addr", "((1 << (2 * \n)) | (\rw << (16 + 4 * \n)) | (\len << (18 + 4 * \n)))"
    .endm
    .macro handler
    vector 0x40, 2f
    jmp 3f
2:  nop
    nop
    ud2
3:
    .endm

    theme "== single steps"
    .macro step name:req, body:req, setup, mode=kernel, ax=0, bx=DATA, cx=0
    case "TF and \name", \mode, "\body", "\setup", fl=TF, ax=\ax, bx=\bx, cx=\cx
    .endm
    step "nop", "nop; nop"
    step "nop, user", "nop; nop", mode=user
    step "nop, ring 1", "nop; nop", mode=ring1
    step "nop, 16-bit code", "nop; nop", mode=kernel16
    step "popf that clears it", "push $2; popf; nop; nop"
    step "popfw that clears it", "pushw $2; popfw; nop; nop"
    step "pushf", "pushf; nop"
    step "int", "int $0x40", "vector 0x40, bare_landing"
    step "int through a task gate", "int $0x40", "vector 0x40, 0, TASK, type=5"
    step "int3", "int3"
    step "into", "into; nop"
    step "a faulting instruction", "mov %ecx, %cr4; nop", cx=-1
    step "ljmp", "ljmp $KCODE, $1f; 1: nop"
    step "lcall", "lcall $KCODE, $1f; 1: nop"
    step "a call gate", "lcall $FREE, $0", "call_gate bare_landing", mode=user
    step "lret to user", "push $UDATA | 3; push $user_stack; push $UCODE | 3; push $user_landing; lret"
    step "iret", "iret; 1: nop; nop", "movl $1b, kernel_stack - 12; movl $KCODE, kernel_stack - 8; \
        movl $0x102, kernel_stack - 4; subl $12, begin + SP"
    step "mov ss", "mov %ecx, %ss; nop; nop", cx=KDATA
    step "mov ds", "mov %ecx, %ds; nop; nop", cx=KDATA
    step "pop ss", "pop %ss; nop; nop", "movl $KDATA, kernel_stack - 4; subl $4, begin + SP"
    step "lss", "lss (%ebx), %esp; nop; nop", "movl $kernel_stack, DATA; movl $KDATA, DATA + 4"
    step "mov ss and a faulting one", "mov %ecx, %ss; ud2; nop", cx=KDATA
    step "mov ss and int", "mov %ecx, %ss; int $0x40; nop", "vector 0x40, bare_landing", cx=KDATA
    step "sti", "sti; nop; cli"
    step "cli", "cli; nop"
    step "mov cr0", "mov %cr0, %eax; nop"
    step "mov to cr0", "mov %eax, %cr0; nop", "mov %cr0, %eax; mov %eax, begin + AX"
    step "mov to cr3", "mov %eax, %cr3; nop", "mov %cr3, %eax; mov %eax, begin + AX"
    step "mov to dr7", "mov %eax, %dr7; nop", ax=0x400
    step "mov from dr6", "mov %dr6, %eax; nop"
    step "invlpg", "invlpg (%ebx); nop"
    step "ltr", "ltr %ax; nop", ax=TASK
    step "lldt", "lldt %ax; nop", ax=LDT
    step "lgdt", "lgdt (%ebx); nop", "sgdt DATA"
    step "rep stosb", "rep stosb; nop", "movl $DATA, begin + DI", cx=3
    step "rep stosb of nothing", "rep stosb; nop", "movl $DATA, begin + DI"
    step "cpuid", "cpuid; xor %eax, %eax; nop", ax=0x80000000
    step "arpl", "arpl %cx, %ax; nop", cx=3
    step "bound", "bound %eax, (%ebx); nop"
    step "a jump", "jmp 1f; nop; 1: nop"
    step "fnop", "fnop; nop"
    step "pusha", "pusha; nop"
    step "enter", "enter $8, $2; nop"
    step "out", "out %al, $0x80; nop"
    step "wbinvd", "wbinvd; nop"
    step "ud2's end", "nop"
    case "TF set by popf", kernel, "push $0x102; popf; nop; nop"
    case "TF set by iret", kernel, "frame0 0x102, KCODE, 1f; iret; 1: nop; nop"
    case "TF set by iret to user", kernel, "frame UDATA|3, user_stack, 0x102, UCODE|3, user_landing; iret"
    case "TF set by a task switch", kernel, "ljmp $TASK, $0", "movl $TF, task + 0x24; movl $2f, task + 0x20; jmp 3f; \
        2: nop; nop; 3:"
    case "TF set by a return to a task", kernel, "iret", "movl $TF, task + 0x24; movl $2f, task + 0x20; jmp 3f; \
        2: nop; nop; 3: called_by TASK"
    case "TF and RF", kernel, "nop; nop", fl=TF|RF
    case "icebp and TF", kernel, ".byte 0xf1; nop", fl=TF

    theme "== code breakpoints"
    case "a code breakpoint", kernel, "nop; 1: nop", "dr 0, 1b, 1"
    case "a code breakpoint, user", user, "nop; 1: nop", "dr 1, 1b, 4"
    case "a code breakpoint, 16-bit code", kernel16, "nop; 1: nop", "dr 2, 1b, 0x10", bed=0
    case "a code breakpoint is linear", kernel, "ljmp $FREE, $0x10", "segment FREE, bare_landing-0x10, 0xffff, 0x9b; \
        dr 0, bare_landing, 1", bed=0
    case "a code breakpoint under RF", kernel, "1: nop; nop", "dr 0, 1b, 1", fl=RF
    case "a code breakpoint on an iret's target", kernel, "frame0 2, KCODE, 1f; iret; 1: nop", "dr 0, 1b, 1"
    case "a code breakpoint on an iret's target, RF", kernel, "frame0 0x10002, KCODE, 1f; iret; 1: nop; nop", \
        "dr 0, 1b, 1"
    case "a code breakpoint on an iretw's target", kernel, "pushw $2; pushw $FREE; pushw $0x10; iretw", \
        "segment FREE, bare_landing-0x10, 0xffff, 0x9b; dr 0, bare_landing, 1", fl=RF, bed=0
    case "a code breakpoint on popf", kernel, "push $0x10002; popf; 1: nop", "dr 0, 1b, 1"
    case "a code breakpoint on a call gate's target", user, "lcall $FREE, $0", "call_gate bare_landing; dr 0, \
        bare_landing, 1"
    case "a code breakpoint after mov ss", kernel, "mov %eax, %ss; 1: nop; nop", "dr 0, 1b, 1", ax=KDATA
    case "a code breakpoint after pop ss", kernel, "push %ss; pop %ss; 1: nop; nop", "dr 0, 1b, 1"
    case "a code breakpoint on a handler", kernel, "int $0x40", "vector 0x40, bare_landing; dr 0, bare_landing, 1"
    case "a code breakpoint on a new task", kernel, "ljmp $TASK, $0", "dr 0, task_landing, 2"
    case "a local code breakpoint on a new task", kernel, "ljmp $TASK, $0", "dr 0, task_landing, 1"
    case "a code breakpoint on a new task with RF", kernel, "ljmp $TASK, $0", \
        "movl $RF, task + 0x24; movl $2f, task + 0x20; jmp 3f; 2: nop; nop; ud2; 3: dr 0, 2b, 2"
    case "a code breakpoint on a new task with T", kernel, "ljmp $TASK, $0", "movl $1, task + 0x64; dr 0, \
        task_landing, 2"
    case "a code breakpoint on a far jump that faults", kernel, "1: ljmp $0x1000, $0", "dr 0, 1b, 1"
    case "a code breakpoint through a task gate", kernel, "nop; 1: nop", "by_task 1; dr 0, 1b, 1"
    case "a code breakpoint through a task gate and back", kernel, "nop; 1: nop; nop", "gate idt+1*8, 0, TASK, 0, 5; \
        movl $2f, task + 0x20; jmp 3f; 2: orl $0x10000, tss + 0x24; iret; 3: dr 0, 1b, 2"

    theme "== data breakpoints"
    .irp rw, 1, 3
    case "data breakpoint \rw: write", kernel, "mov %eax, (%ebx); nop; nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: read, user", user, "mov (%ebx), %ecx; nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw is linear", kernel, "mov %eax, %fs:(%ebx); nop", "segment FREE, DATA-0x10, 0xffff, \
        0x93; \
        movl $FREE, begin + FS; watch DATA, \rw, 3", bx=0x10
    case "data breakpoint \rw: pusha", kernel, "lea 32(%ebx), %esp; pusha; nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: popa", kernel, "mov %ebx, %esp; popa; nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: enter", kernel, "lea 32(%ebx), %esp; enter $0, $3; nop", \
        "watch DATA + 20, \rw, 3; movl $DATA + 100, begin + BP", bx=DATA
    case "data breakpoint \rw: lcall", kernel, "lea 8(%ebx), %esp; lcall $KCODE, $1f; 1: nop", "watch DATA, \rw, \
        3", bx=DATA
    case "data breakpoint \rw: iret", kernel, "mov %ebx, %esp; iret; 1: nop", "movl $1b, DATA; movl $KCODE, \
        DATA + 4; \
        movl $2, DATA + 8; watch DATA + 4, \rw, 3", bx=DATA, bed=0
    case "data breakpoint \rw: bound", kernel, "bound %eax, (%ebx); nop", "watch DATA + 4, \rw, 3", bx=DATA
    case "data breakpoint \rw: les", kernel, "les (%ebx), %eax; nop", "movl $KDATA, DATA + 4; watch DATA + 4, \
        \rw, 1", bx=DATA
    case "data breakpoint \rw: arpl", kernel, "arpl %cx, (%ebx); nop", "watch DATA, \rw, 1", bx=DATA, cx=3
    case "data breakpoint \rw: the GDT", kernel, "mov %eax, %fs; nop", "watch gdt + UDATA, \rw, 3", ax=UDATA|3
    case "data breakpoint \rw: the stack of int", kernel, "mov %ebx, %esp; int $0x40; nop", \
        "handler; watch DATA + 0x38, \rw, 3", bx=DATA+0x40, bed=0
    case "data breakpoint \rw: the stack of a call gate", user, "lcall $FREE, $0", "call_gate 2f; jmp 3f; 2: nop; \
        nop; ud2; \
        3: watch esp0_stack-8, \rw, 3", bed=0
    case "data breakpoint \rw: the TSS of a call gate", user, "lcall $FREE, $0", "call_gate 2f; jmp 3f; 2: nop; \
        nop; ud2; \
        3: watch tss + 4, \rw, 3", bed=0
    case "data breakpoint \rw: the old TSS", kernel, "ljmp $TASK, $0", "movl $2f, task + 0x20; jmp 3f; 2: nop; \
        nop; ud2; 3: \
        watch tss + 0x28, \rw, 3; mov %dr7, %eax; or $2, %eax; mov %eax, %dr7", bed=0
    case "data breakpoint \rw: after mov ss, then int", kernel, "mov (%ebx), %ss; int $0x40; nop", \
        "handler; movl $KDATA, DATA; watch DATA, \rw, 3", bx=DATA, bed=0
    case "data breakpoint \rw: after mov ss, then a task switch", kernel, "mov (%ebx), %ss; ljmp $TASK, $0", \
        "movl $KDATA, DATA; watch DATA, \rw, 3", bx=DATA, bed=0
    case "data breakpoint \rw and TF", kernel, "mov %eax, (%ebx); nop; nop", "watch DATA, \rw, 3", bx=DATA, fl=TF
    .endr
    theme "== debug registers"
    .irp n, 4, 5, 6, 7
    case "mov from dr\n", kernel, ".byte 0x0f, 0x21, 0xc0 + \n * 8"
    case "mov to dr\n", kernel, ".byte 0x0f, 0x23, 0xc0 + \n * 8; mov %dr6, %ecx; mov %dr7, %edx", ax=0x400
    case "mov from dr\n, DE", kernel, ".byte 0x0f, 0x21, 0xc0 + \n * 8", "cr4_set 8"
    case "mov from dr\n, user", user, ".byte 0x0f, 0x21, 0xc0 + \n * 8"
    case "mov from dr\n, GD", kernel, ".byte 0x0f, 0x21, 0xc0 + \n * 8; nop", "mov $0x2400, %eax; mov %eax, %dr7"
    .endr
    case "dr0 takes anything", kernel, "mov %eax, %dr0; mov %dr0, %ecx", ax=-1
    case "dr6, all ones", kernel, "mov %eax, %dr6; mov %dr6, %ecx", ax=-1
    case "dr7, zero", kernel, "mov %eax, %dr7; mov %dr7, %ecx"
    case "port breakpoint", kernel, "out %al, $0x80; nop; nop", "cr4_set 8; watch 0x80, 2, 0"
    case "port breakpoint without DE", kernel, "out %al, $0x80; nop; nop", "watch 0x80, 2, 0"
