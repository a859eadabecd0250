/* fast64: SYSCALL, SYSRET, SYSENTER, SYSEXIT. */
#include "wide.inc"

    .macro lstar target=bare_landing
    set_msr 0xc0000082, \target
    .endm
    .macro sysenter_msrs cs=KCODE, esp=0x12340, eip=bare_landing
    set_msr 0x174, \cs
    set_msr 0x175, \esp
    set_msr 0x176, \eip
    .endm

    theme "== SYSCALL"
    case "syscall, user", user, "syscall; nop", "lstar"
    case "syscall, kernel", kernel, "syscall; nop", "lstar"
    case "syscall, compat", user32, "syscall; nop", "lstar; set_msr 0xc0000083, bare_landing"
    case "syscall, compat kernel", kernel32, "syscall; nop", "lstar; set_msr 0xc0000083, bare_landing"
    case "syscall, SCE off, user", user, "syscall; nop", "lstar; set_msr 0xc0000080, 0xd00"
    case "syscall, SCE off, kernel", kernel, "syscall; nop", "lstar; set_msr 0xc0000080, 0xd00"
    case "syscall saves the flags in r11", user, "syscall; nop", "lstar", fl=0x200ad7
    .irp mask, 0x200, 0x700, 0x400, 0x100, 0x4000, 0x40000, 0x200000, 0x8d5, 0xffffffff, 2
    case "syscall, mask \mask", user, "syscall; nop", "lstar; set_msr 0xc0000084, \mask", fl=0x244ed7
    .endr
    case "syscall, mask does not show in r11", user, "syscall; nop", "lstar; set_msr 0xc0000084, 0x47700", fl=0x204602
    case "syscall, TF, masked", user, "syscall; nop", "lstar; set_msr 0xc0000084, 0x100", fl=0x102
    case "syscall, TF, not masked", user, "syscall; nop", "lstar; set_msr 0xc0000084, 0x200", fl=0x302
    case "syscall, null STAR", user, "syscall; nop", "lstar; set_msr 0xc0000081, 0"
    case "syscall, STAR with rpl 3", user, "syscall; nop", "lstar; set_msr 0xc0000081, KCODE<<32|3<<32"
    case "syscall, STAR of another segment", user, "syscall; nop", "lstar; set_msr 0xc0000081, 0x1230<<32"
    case "syscall does not touch the stack", user, "mov %ecx, %esp; syscall; nop", "lstar", cx=0x50000000
    case "syscall to not mapped", user, "syscall; nop", "lstar 0x50000000"
    case "syscall to a user page", user, "syscall; nop", "lstar user_landing"
    case "syscall with lock", user, ".byte 0xf0; syscall", bed=0
    case "syscall keeps ds and gs", user, "mov %ecx, %gs; syscall; nop", "lstar", cx=UDATA2|3
    case "the stack segment of syscall is usable", user, "syscall; nop", \
        "lstar 2f; jmp 3f; 2: mov $kernel_stack, %esp; push $5; pop %rax; mov %ss, %edx; lar %dx, %ebx; \
        and $0xf0ff00, %ebx; ud2; 3:"

    theme "== SYSRET"
    case "sysretq", kernel, "sysretq", cx=user_landing
    case "sysretl", kernel, "sysretl", cx=user_landing
    case "sysretq, SCE off", kernel, "sysretq", "set_msr 0xc0000080, 0xd00", cx=user_landing
    case "sysretq, compat kernel", kernel32, ".byte 0x0f, 0x07", cx=user_landing
    case "sysretq, rip not canonical", kernel, "sysretq", cx=1<<47
    case "sysretl, rip not canonical", kernel, "sysretl", cx=0x800000000000+user_landing
    case "sysretl, upper half of rip", kernel, "sysretl", cx=0x100000000+user_landing
    case "sysretq, kernel code", kernel, "sysretq", cx=bare_landing
    .irp fl, 0x202, 0x10002, 0x20002, 0x3002, 0x244cd5, 0x180002, 0xffbeff
    case "sysretq, flags \fl", kernel, "mov $\fl, %r11d; sysretq", cx=user_landing
    case "sysretl, flags \fl", kernel, "mov $\fl, %r11d; sysretl", cx=user_landing
    .endr
    case "sysretq, STAR with rpl 0", kernel, "sysretq", "set_msr 0xc0000081, UCODE32<<48", cx=user_landing
    case "sysretq, STAR with rpl 3", kernel, "sysretq", "set_msr 0xc0000081, (UCODE32|3)<<48", cx=user_landing
    case "sysretl, STAR with rpl 3", kernel, "sysretl", "set_msr 0xc0000081, (UCODE32|3)<<48", cx=user_landing
    case "sysretq keeps the stack pointer and segments", kernel, "mov %ecx, %fs; mov $user_landing, %ecx; sysretq", \
        cx=KDATA
    case "sysretq, TF", kernel, "mov $0x102, %r11d; sysretq", cx=user_landing
    case "sysretq, TF on", kernel, "sysretq", cx=user_landing, fl=0x102
    case "sysretl, operand prefix", kernel, ".byte 0x66; sysretl", cx=user_landing

    theme "== SYSENTER and SYSEXIT"
    case "sysenter, user", user, "sysenter", "sysenter_msrs", need=SYSENTER
    case "sysenter, compat", user32, "sysenter", "sysenter_msrs", need=SYSENTER, bed=0
    case "sysenter, kernel", kernel, "sysenter", "sysenter_msrs", need=SYSENTER
    case "sysenter, null", user, "sysenter", "sysenter_msrs 0", need=SYSENTER
    case "sysenter, null rpl 3", user, "sysenter", "sysenter_msrs 3", need=SYSENTER
    case "sysenter, rpl 3", user, "sysenter", "sysenter_msrs KCODE|3", need=SYSENTER
    case "sysenter, flags", user, "sysenter", "sysenter_msrs", fl=0x244ed7, need=SYSENTER
    case "sysenter, TF", user, "sysenter", "sysenter_msrs", fl=0x102, need=SYSENTER
    case "sysenter, 64-bit stack and code", user, "sysenter", \
        "sysenter_msrs KCODE, 0xffff800012345678, 0xffff800000000000+bare_landing", need=SYSENTER
    case "sysexitl", kernel, ".byte 0x0f, 0x35", "sysenter_msrs", cx=user_stack, dx=user_landing, need=SYSENTER
    case "sysexitq", kernel, ".byte 0x48, 0x0f, 0x35", "sysenter_msrs", cx=user_stack, dx=user_landing, need=SYSENTER
    case "sysexitl, upper halves", kernel, ".byte 0x0f, 0x35", "sysenter_msrs", cx=0x100000000+user_stack, \
        dx=0x8000000000000000+user_landing, need=SYSENTER
    case "sysexitq, rip not canonical", kernel, ".byte 0x48, 0x0f, 0x35", "sysenter_msrs", cx=user_stack, dx=1<<47, \
        need=SYSENTER
    case "sysexitq, rsp not canonical", kernel, ".byte 0x48, 0x0f, 0x35", "sysenter_msrs", cx=1<<47, dx=user_landing, \
        need=SYSENTER
    case "sysexitl, null", kernel, ".byte 0x0f, 0x35", cx=user_stack, dx=user_landing, need=SYSENTER
    case "sysexitq, null", kernel, ".byte 0x48, 0x0f, 0x35", cx=user_stack, dx=user_landing, need=SYSENTER
    case "sysexit, flags stay", kernel, ".byte 0x48, 0x0f, 0x35", "sysenter_msrs", cx=user_stack, dx=user_landing, \
        fl=0x3246, need=SYSENTER
    case "sysexit, compat kernel", kernel32, "sysexit", "sysenter_msrs", cx=user_stack, dx=user_landing, need=SYSENTER

    theme "== SWAPGS and the FS and GS bases"
    case "swapgs", kernel, "swapgs; mov $0xc0000101, %ecx; rdmsr; mov %eax, %ebx; mov $0xc0000102, %ecx; rdmsr", \
        "set_msr 0xc0000101, 0x1111; set_msr 0xc0000102, 0x2222"
    case "swapgs and an access", kernel, "swapgs; mov %gs:0, %eax", \
        "set_msr 0xc0000102, user_data; movl $0x5a5a, user_data"
    case "swapgs, compat kernel", kernel32, ".byte 0x0f, 0x01, 0xf8"
    case "swapgs, compat", user32, ".byte 0x0f, 0x01, 0xf8"
    .irp i, 0, 1, 2, 3
    case "fsgsbase \i, CR4 off", kernel, ".byte 0xf3, 0x48, 0x0f, 0xae, 0xc0 + \i * 8", need=FSGSBASE
    case "fsgsbase \i, CR4 off, user", user, ".byte 0xf3, 0x48, 0x0f, 0xae, 0xc0 + \i * 8", need=FSGSBASE
    case "fsgsbase \i, kernel", kernel, ".byte 0xf3, 0x48, 0x0f, 0xae, 0xc0 + \i * 8; rdfsbase %rbx; rdgsbase %rdx", \
        "cr4_set 0x10000", ax=0x123456789a, need=FSGSBASE
    case "fsgsbase \i, user", user, ".byte 0xf3, 0x48, 0x0f, 0xae, 0xc0 + \i * 8; rdfsbase %rbx; rdgsbase %rdx", \
        "cr4_set 0x10000", ax=0x123456789a, need=FSGSBASE
    case "fsgsbase \i, 32 bits", user, ".byte 0xf3, 0x0f, 0xae, 0xc0 + \i * 8; rdfsbase %rbx; rdgsbase %rdx", \
        "cr4_set 0x10000", ax=0xff9a123456789a, need=FSGSBASE
    case "fsgsbase \i, not canonical", user, ".byte 0xf3, 0x48, 0x0f, 0xae, 0xc0 + \i * 8", "cr4_set 0x10000", \
        ax=1<<47, need=FSGSBASE
    case "fsgsbase \i, compat", user32, ".byte 0xf3, 0x0f, 0xae, 0xc0 + \i * 8", "cr4_set 0x10000", need=FSGSBASE
    case "fsgsbase \i without f3", user, ".byte 0x48, 0x0f, 0xae, 0xc0 + \i * 8", "cr4_set 0x10000", need=FSGSBASE
    .endr
    case "fs base and an access", user, "mov %fs:(%rbx), %eax", \
        "set_msr 0xc0000100, user_data-16; movl $0x5a5a, user_data", bx=16
    case "fs base and an access, compat", user32, "mov %fs:(%ebx), %eax", \
        "set_msr 0xc0000100, user_data-16; movl $0x5a5a, user_data", bx=16
    case "fs base that makes the address wrap", user, "mov %fs:(%rbx), %eax", \
        "set_msr 0xc0000100, 0xffffffffffffff00; movl $0x5a5a, user_data", bx=user_data+0x100
    case "fs base that leaves the canonical range", user, "mov %fs:(%rbx), %eax", \
        "set_msr 0xc0000100, 0x7ffffffff000", bx=0x1000
