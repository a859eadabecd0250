/* iret64: IRET in all its forms, and what interrupts and exceptions push and change in long mode. */
#include "wide.inc"

    .section .user, "awx"
user_fsbase:
    rdfsbase %rax
    ud2

    theme "== iret"
    .irp cs, 0, 3, KCODE, KCODE|3, KDATA, ABSENT_CODE, UCODE, CONFORMING, CONFORMING|3, CONFORMING3, KCODE32, TSS, \
        0x1000
    case "iretq to \cs", kernel, "frame KDATA, kernel_stack, 2, \cs, 1f; iretq; 1:"
    .endr
    case "iretq to CODE_L_AND_D", kernel, "frame KDATA, kernel_stack, 2, CODE_L_AND_D, 1f; iretq; 1:", bed=0
    case "iretq to null rpl 0 stack", kernel, "frame 0, kernel_stack, 2, KCODE, 1f; iretq; 1:"
    case "iretq to null rpl 1 stack", kernel, "frame 1, kernel_stack, 2, KCODE, 1f; iretq; 1:"
    case "iretq to null rpl 3 stack", kernel, "frame 3, kernel_stack, 2, KCODE, 1f; iretq; 1:"
    case "iretq to null stack, compat kernel", kernel, "frame 0, kernel_stack, 2, KCODE32, 1f; iretq; 1:"
    case "iretq to user stack, kernel", kernel, "frame UDATA|3, kernel_stack, 2, KCODE, 1f; iretq; 1:"
    case "iretq to absent stack", kernel, "frame ABSENT_DATA, kernel_stack, 2, KCODE, 1f; iretq; 1:"
    case "iretq to read-only stack", kernel, "frame READ_ONLY, kernel_stack, 2, KCODE, 1f; iretq; 1:"
    case "iretq to code for a stack", kernel, "frame KCODE, kernel_stack, 2, KCODE, 1f; iretq; 1:"
    case "iretq to a stack beyond the table", kernel, "frame 0x1000, kernel_stack, 2, KCODE, 1f; iretq; 1:"
    case "iretq to user", kernel, "frame UDATA|3, user_stack, 2, UCODE|3, user_landing; iretq"
    case "iretq to user, segments of the kernel are dropped", kernel, \
        "mov %ecx, %fs; mov %edx, %gs; frame UDATA|3, user_stack, 2, UCODE|3, user_landing; iretq", cx=KCODE, \
        dx=CONFORMING
    case "iretq to user, null segments with rpl", kernel, "mov %ecx, %ds; mov %edx, %gs; \
        frame UDATA|3, user_stack, 2, UCODE|3, user_landing; iretq", cx=1, dx=3
    case "iretq to user, a segment's base goes", kernel, "mov %edx, %fs; \
        frame UDATA|3, user_stack, 2, UCODE|3, user_fsbase; iretq", "cr4_set 0x10000; movabs $0x11cf9300111111ff, \
        %rax; mov %rax, gdt + FREE", dx=FREE, need=FSGSBASE
    case "iretq to compat user", kernel, "frame UDATA|3, user_stack, 2, UCODE32|3, user_landing; iretq"
    case "iretq to compat user, upper half of the pointers", kernel, \
        "mov $1, %eax; shl $32, %rax; push $UDATA | 3; lea user_stack(%rax), %rcx; push %rcx; push $2; \
        push $UCODE32 | 3; lea user_landing(%rax), %rcx; push %rcx; xor %eax, %eax; iretq"
    case "iretq to user, kernel stack", kernel, "frame KDATA, user_stack, 2, UCODE|3, user_landing; iretq"
    case "iretq to user, null stack", kernel, "frame 3, user_stack, 2, UCODE|3, user_landing; iretq"
    case "iretq to user, stack of rpl 0", kernel, "frame UDATA, user_stack, 2, UCODE|3, user_landing; iretq"
    case "iretq to user, code not mapped", kernel, "frame UDATA|3, user_stack, 2, UCODE|3, 0x50000000; iretq"
    case "iretq to user, code of the kernel", kernel, "frame UDATA|3, user_stack, 2, UCODE|3, bare_landing; iretq"
    case "iretq to user, rip not canonical", kernel, "push $UDATA | 3; push $user_stack; push $2; push $UCODE | 3; \
        push %rax; iretq", ax=1<<47
    case "iretq, rip not canonical", kernel, "push $KDATA; push $kernel_stack; push $2; push $KCODE; push %rax; \
        iretq", ax=1<<47
    case "iretq to user, rsp not canonical", kernel, "push $UDATA | 3; push %rax; push $2; push $UCODE | 3; \
        push $user_landing; iretq", ax=1<<47
    case "iretq, NT", kernel, "frame KDATA, kernel_stack, 2, KCODE, 1f; iretq; 1:", fl=0x4002
    case "iretq, NT, user", user, "frame UDATA|3, user_stack, 2, UCODE|3, 1f; iretq; 1:", fl=0x4002
    case "iret, NT, compat kernel", kernel32, "push $2; push $KCODE32; push $1f; iret; 1:", fl=0x4002
    case "iretq loads NT", kernel, "frame KDATA, kernel_stack, 0x4002, KCODE, 1f; iretq; 1:"
    case "iretl in 64-bit mode", kernel, "sub $20, %rsp; movl $1f, (%rsp); movl $KCODE, 4(%rsp); movl $2, 8(%rsp); \
        movl $kernel_stack, 12(%rsp); movl $KDATA, 16(%rsp); iretl; 1:"
    case "iretw in 64-bit mode", kernel, "sub $10, %rsp; movw $0x1234, (%rsp); movw $UCODE32 | 3, 2(%rsp); \
        movw $2, 4(%rsp); movw $0x4000, 6(%rsp); movw $UDATA | 3, 8(%rsp); iretw"
    case "iretq in the kernel to the kernel, user", user, "frame KDATA, kernel_stack, 2, KCODE, bare_landing; iretq"
    case "iretq, user", user, "frame UDATA|3, user_stack, 2, UCODE|3, 1f; iretq; 1:"
    case "iretq to compat, user", user, "frame UDATA|3, user_stack, 2, UCODE32|3, 1f; iretq; 1:"
    case "iretq to conforming code, user", user, "frame UDATA2|3, user_stack, 2, CONFORMING|3, 1f; iretq; 1:"
    case "iretq to 16-bit code, user", user, "frame UDATA|3, user_stack, 2, UCODE16|3, 0; iretq; 1:", \
        "mov $1b, %eax; mov %ax, gdt + UCODE16 + 2; shr $16, %eax; mov %al, gdt + UCODE16 + 4"
    case "iret, compat", user32, "push $2; push $UCODE32 | 3; push $1f; iret; 1:"
    case "iret to 64 bits, compat", user32, "push $2; push $UCODE | 3; push $1f; iret; 1:"
    case "iretq, end of the frame not mapped", kernel, "movl $1f, 0x200fe0; movl $KCODE, 0x200fe8; movl $2, 0x200ff0; \
        mov %rcx, %rsp; iretq; 1:", "movq $0, window + 8", cx=0x200fe0
    case "iretq, stack not canonical", kernel, "mov %rcx, %rsp; iretq", cx=1<<47
    .irp fl, 0x202, 0x3002, 0x0, 0x20002, 0x200002, 0x180002, 0x40002, 0x10002, 0x7fffbeff, 0x8d7
    case "iretq with flags \fl", kernel, "frame KDATA, kernel_stack, \fl, KCODE, 1f; iretq; 1: pushf; push $2; popf; \
        pop %rax"
    case "iretq with flags \fl, user", user, "frame UDATA|3, user_stack, \fl, UCODE|3, 1f; iretq; 1: pushf; push $2; \
        popf; pop %rax"
    case "iretq with flags \fl, user, iopl 3", user, "frame UDATA|3, user_stack, \fl, UCODE|3, 1f; iretq; 1: pushf; \
        push $0x3002; popf; pop %rax", fl=0x3002
    .endr
    case "iret with flags, compat kernel", kernel32, "push $0x43202; push $KCODE32; push $1f; iret; 1: pushf; \
        push $2; popf; pop %eax"

    theme "== interrupts"
    case "int to the kernel, user", user, "int $0x40", "vector 0x40, landing"
    case "int to the kernel, compat", user32, "int $0x40", "vector 0x40, landing"
    case "int, kernel", kernel, "int $0x40", "vector 0x40, landing"
    case "int, compat kernel", kernel32, "int $0x40", "vector 0x40, landing"
    case "int aligns the stack, kernel", kernel, "sub $5, %rsp; int $0x40", "vector 0x40, landing"
    case "int aligns the stack, user", user, "int $0x40", "vector 0x40, landing; subl $5, tss + 4"
    case "int on IST 3, kernel", kernel, "int $0x40", "vector 0x40, landing, ist=3"
    case "int on IST 3, user", user, "int $0x40", "vector 0x40, landing, ist=3"
    case "int on IST 3 not aligned", kernel, "int $0x40", "vector 0x40, landing, ist=3; subl $5, tss + 0x34"
    case "int on IST 3 not canonical", kernel, "int $0x40", "vector 0x40, landing, ist=3; movl $0x8000, tss + 0x38"
    case "int on IST 3 not mapped", kernel, "int $0x40", "vector 0x40, landing, ist=3; movl $0x50000000, tss + 0x34"
    case "int on IST 3 beyond the TSS", kernel, "int $0x40", "vector 0x40, landing, ist=3; tss_limit 0x3a"
    case "int on IST 3 at the TSS's end", kernel, "int $0x40", "vector 0x40, landing, ist=3; tss_limit 0x3b"
    case "int, rsp0 not canonical", user, "int $0x40", "vector 0x40, landing; movl $0x8000, tss + 8"
    case "int, rsp0 not mapped", user, "int $0x40", "vector 0x40, landing; movl $0x50000000, tss + 4"
    case "int, stack not mapped", kernel, "mov %ecx, %esp; int $0x40", "vector 0x40, landing", cx=0x50000000
    case "int, stack not canonical", kernel, "mov %rcx, %rsp; int $0x40", "vector 0x40, landing", cx=1<<47
    case "int, gate's offset not canonical", kernel, "int $0x40", "vector 0x40, landing, high=0x8000"
    case "int, gate's offset not canonical, user", user, "int $0x40", "vector 0x40, landing, high=0x8000"
    case "int, handler not mapped", user, "int $0x40", "vector 0x40, 0x50000000"
    case "int through an interrupt gate clears IF", kernel, "int $0x40; cli", \
        "vector 0x40, 2f; jmp 3f; 2: pushf; pop %rax; mov 16(%rsp), %rcx; ud2; 3:", fl=0x202
    case "int through a trap gate keeps IF", kernel, "int $0x40; cli", \
        "vector 0x40, 2f, type=0xf; jmp 3f; 2: pushf; pop %rax; mov 16(%rsp), %rcx; cli; ud2; 3:", fl=0x202
    case "int keeps IOPL, AC, ID, DF, arithmetic flags; clears NT", kernel, "int $0x40", \
        "vector 0x40, 2f; jmp 3f; 2: pushf; pop %rax; ud2; 3:", fl=0x2470d7
    case "int, gate of dpl 0, user", user, "int $0x40", "vector 0x40, landing, dpl=0"
    case "int, gate of dpl 0, compat", user32, "int $0x40", "vector 0x40, landing, dpl=0"
    case "int, gate not present", kernel, "int $0x40", "vector 0x40, landing, p=0"
    case "int, gate of dpl 0 not present, user", user, "int $0x40", "vector 0x40, landing, p=0, dpl=0"
    case "int beyond the table", kernel, "int $0x50"
    case "int beyond the table, user", user, "int $0xff"
    .irp type, 0, 4, 5, 6, 7, 9, 0xc, 0xd, 0x1e
    case "int, gate of type \type", kernel, "int $0x40", "vector 0x40, landing, type=\type"
    .endr
    .irp sel, 0, 3, KCODE|3, KDATA, ABSENT_CODE, UCODE, UCODE|3, KCODE32, TSS, 0x1000, 0xc
    case "int, gate to \sel", kernel, "int $0x40", "vector 0x40, landing, \sel"
    case "int, gate to \sel, user", user, "int $0x40", "vector 0x40, landing, \sel"
    .endr
    case "int, gate to CODE_L_AND_D", kernel, "int $0x40", "vector 0x40, landing, CODE_L_AND_D", bed=0
    case "int, gate to conforming code, user", user, "int $0x40", "vector 0x40, user_landing, CONFORMING"
    case "int, gate to user code, user", user, "int $0x40", "vector 0x40, user_landing, UCODE"
    case "int, gate to conforming code, kernel", kernel, "int $0x40", "vector 0x40, landing, CONFORMING"
    case "int3, user", user, "int3", "vector 3, landing"
    case "int3, gate of dpl 0, user", user, "int3", "vector 3, landing, dpl=0"
    case "int3 by int 3, gate of dpl 0, user", user, ".byte 0xcd, 3", "vector 3, landing, dpl=0"
    case "int3", kernel, "int3"
    case "icebp, gate of dpl 0, user", user, ".byte 0xf1"
    case "icebp", kernel, ".byte 0xf1"
    case "into in 64-bit mode", user, ".byte 0xce"
    case "into, compat", user32, "into", fl=0x802
    case "into without overflow, compat", user32, "into"
    case "into, gate of dpl 0, compat", user32, "into", "vector 4, landing, dpl=0", fl=0x802
    case "bound, compat", user32, "bound %eax, (%ebx)", "movl $1, user_data; movl $2, user_data + 4", bx=user_data
    case "bound in 64-bit mode is EVEX", user, ".byte 0x62, 0, 0, 0, 0, 0"
    case "div by 0", user, "div %ecx"
    case "aam 0, compat", user32, "aam $0"
    case "return from an interrupt", user, "int $0x40", "vector 0x40, 2f; jmp 3f; 2: mov $7, %r8d; iretq; 3:", fl=0x202

    theme "== exceptions in exceptions"
    case "ud2, gate not present", kernel, "ud2; nop", "vector 6, landing, p=0, ist=1"
    case "ud2, gate of a bad type", kernel, "ud2; nop", "vector 6, landing, type=5, ist=1"
    case "ud2, gate to null", kernel, "ud2; nop", "vector 6, landing, 0, ist=1"
    case "ud2, gate to data, user", user, "ud2; nop", "vector 6, landing, KDATA, ist=1"
    case "ud2, stack not mapped", kernel, "mov %rcx, %rsp; ud2; nop", "vector 6, landing", cx=0x50000000
    case "ud2, stack not canonical", kernel, "mov %rcx, %rsp; ud2; nop", "vector 6, landing", cx=1<<47
    case "page fault, IDT ends before it", kernel, "mov (%rcx), %eax", \
        "push $0; push $0; movw $0xdf, 6(%rsp); movl $idt, 8(%rsp); lidt 6(%rsp); add $16, %rsp", cx=0x50000000
    case "page fault, gate not present", kernel, "mov (%rcx), %eax", "vector 14, landing, p=0, ist=1", cx=0x50000000
    case "page fault, stack not mapped", kernel, "mov %rcx, %rsp; mov (%rcx), %eax", "vector 14, landing", cx=0x50000000
    case "#GP, gate not present", kernel, "mov %ecx, %ds", "vector 13, landing, p=0, ist=1", cx=0x1000
    case "#GP, stack not mapped", kernel, "mov %rdx, %rsp; mov %ecx, %ds", "vector 13, landing", cx=0x1000, \
        dx=0x50000000
    case "#GP, stack not mapped, gate of #PF not present", kernel, "mov %rdx, %rsp; mov %ecx, %ds", \
        "vector 13, landing; vector 14, landing, p=0, ist=1", cx=0x1000, dx=0x50000000
    case "#NP, gate not present", kernel, "mov %ecx, %ds", "vector 11, landing, p=0, ist=1", cx=ABSENT_DATA
    case "int, gate not present, #NP's neither", kernel, "int $0x40", \
        "vector 0x40, landing, p=0; vector 11, landing, p=0, ist=1"
    case "#DE, gate not present", kernel, "div %ecx", "vector 0, landing, p=0, ist=1"
    case "#DB, gate not present", kernel, ".byte 0xf1", "vector 1, landing, p=0, ist=1"
    case "page fault while the #GP's stack is pushed, user", user, "mov %ecx, %ds", \
        "vector 13, landing; movl $0x50000000, tss + 4", cx=0x1000
