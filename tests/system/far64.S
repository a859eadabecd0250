/* far64: far jumps, calls and returns, call gates. */
#include "wide.inc"

    theme "== far jumps and calls"
    .irp how, jump, call
    .irp sel, 0, 3, KCODE, KCODE|3, KDATA, ABSENT_CODE, UCODE|3, CONFORMING, CONFORMING|3, CONFORMING3|3, \
        EXECUTE_ONLY, TSS, LDT, 0x1000, 0xc
    case "far \how to \sel", kernel, "far_\how \sel, 1f; 1:"
    .endr
    case "far \how to CODE_L_AND_D", kernel, "far_\how CODE_L_AND_D, 1f; 1:", bed=0
    case "far \how to KCODE32", kernel, "far_\how KCODE32, 1f; 1:"
    case "far \how to KCODE32 and on", kernel, "far_\how KCODE32, 1f; 1: inc %eax; .byte 0x48"
    case "far \how to 0x14 in the LDT", kernel, "far_\how 0x14, 1f; 1:", "mov $LDT, %eax; lldt %ax"
    .irp sel, KCODE|3, UCODE, UCODE|3, UCODE32|3, CONFORMING|3, CONFORMING3, UDATA|3, 0
    case "far \how to \sel, user", user, "far_\how \sel, 1f; 1:"
    .endr
    case "far \how to 0x1f in the LDT, user", user, "far_\how 0x1f, 1f; 1:", "mov $LDT, %eax; lldt %ax"
    case "far \how to not mapped", kernel, "far_\how KCODE, 0x50000000"
    case "far \how beyond the limit of a compat segment", kernel, "far_\how FREE, 0x20000", \
        "movabs $0x00409b000000ffff, %rax; mov %rax, gdt + FREE"
    .endr
    case "far jump of 64 bits, not canonical", kernel, "push $KCODE; push %rax; .byte 0x48, 0xff, 0x2c, 0x24", ax=1<<47
    case "far call of 64 bits, not canonical", kernel, "push $KCODE; push %rax; .byte 0x48, 0xff, 0x1c, 0x24", ax=1<<47
    case "far jump of 64 bits", kernel, "push $KCODE; push $1f; .byte 0x48, 0xff, 0x2c, 0x24; 1:"
    case "what a far call of 64 bits pushes", kernel, "push $KCODE; push $1f; .byte 0x48, 0xff, 0x1c, 0x24; \
        1: mov 8(%rsp), %eax"
    case "what a far call pushes", kernel, "far_call KCODE, 1f; 1: mov 4(%rsp), %eax"
    case "far call of 16 bits to ABSENT_CODE", kernel, "lea -8(%rsp), %rsp; movw $0x10, (%rsp); \
        movw $ABSENT_CODE, 2(%rsp); lcallw *(%rsp)"
    case "far call, stack not mapped", kernel, "mov %ecx, %esp; lcalll *(%rbx)", \
        "movl $bare_landing, user_data; movl $KCODE, user_data + 4; movq $0, window", cx=0x201000, bx=user_data
    case "far call, stack not canonical", kernel, "mov %rax, %rsp; lcalll *(%rbx)", \
        "movl $bare_landing, user_data; movl $KCODE, user_data + 4", ax=1<<47, bx=user_data
    case "direct far jump does not exist in 64-bit mode", kernel, ".byte 0xea, 0, 0, 0, 0, 8, 0"
    case "direct far call does not exist in 64-bit mode", kernel, ".byte 0x9a, 0, 0, 0, 0, 8, 0"
    case "direct far jump, compat to 64", user32, "ljmp $UCODE | 3, $1f; 1: .byte 0x48, 0xff, 0xc8"
    case "direct far call, compat", user32, "lcall $UCODE | 3, $1f; 1: .byte 0x8b, 0x04, 0x24"
    case "far jump of a register", kernel, ".byte 0xff, 0xe8"
    case "the accessed bit of code is set", kernel, "far_jump KCODE32, 1f; 1: mov gdt + KCODE32 + 4, %eax", \
        "andb $~1, gdt + KCODE32 + 5"

    theme "== far returns"
    .irp sel, 0, 3, KCODE, KCODE|3, KDATA, ABSENT_CODE, UCODE, CONFORMING, CONFORMING|3, CONFORMING3, KCODE32, TSS, \
        0x1000
    case "lretq to \sel", kernel, "push $KDATA; push $kernel_stack; push $\sel; push $1f; lretq; 1:"
    .endr
    case "lretq to CODE_L_AND_D", kernel, "push $CODE_L_AND_D; push $1f; lretq; 1:", bed=0
    case "lretq to user", kernel, "push $UDATA | 3; push $user_stack; push $UCODE | 3; push $user_landing; lretq"
    case "lretq to user drops the kernel's segments", kernel, \
        "mov %ecx, %fs; mov %edx, %gs; push $UDATA | 3; push $user_stack; push $UCODE | 3; push $user_landing; lretq", \
        cx=KDATA, dx=UDATA|3
    case "lretq to compat user", kernel, "push $UDATA | 3; push $user_stack; push $UCODE32 | 3; push $user_landing; \
        lretq"
    case "lretq to user, kernel stack", kernel, "push $KDATA; push $user_stack; push $UCODE | 3; push $user_landing; \
        lretq"
    case "lretq to user, null stack", kernel, "push $3; push $user_stack; push $UCODE | 3; push $user_landing; lretq"
    case "lretq to user, stack not present", kernel, "push $ABSENT_DATA | 3; push $user_stack; push $UCODE | 3; \
        push $user_landing; lretq", "orb $0x60, gdt + ABSENT_DATA + 5"
    case "lretq to user, stack beyond the table", kernel, "push $0x1003; push $user_stack; push $UCODE | 3; \
        push $user_landing; lretq"
    case "lretq to user, read-only stack", kernel, "push $UREAD_ONLY | 3; push $user_stack; push $UCODE | 3; \
        push $user_landing; lretq"
    case "lretq to user, rip not canonical", kernel, "push $UDATA | 3; push $user_stack; push $UCODE | 3; push %rax; \
        lretq", ax=1<<47
    case "lretq, rip not canonical", kernel, "push $KCODE; push %rax; lretq", ax=1<<47
    case "lretq with 24 bytes", kernel, "push $KCODE; push $1f; lretq $24; 1:"
    case "lretq to user with 8 bytes", kernel, "push $UDATA | 3; push $user_stack; push $0; push $UCODE | 3; \
        push $user_landing; lretq $8"
    case "lretl", kernel, "lea -8(%rsp), %rsp; movl $1f, (%rsp); movl $KCODE, 4(%rsp); lretl; 1:"
    case "lretq to the kernel, user", user, "push $KCODE; push $bare_landing; lretq"
    case "lretq, user", user, "push $UCODE | 3; push $1f; lretq; 1:"
    case "lretq to compat, user", user, "push $UCODE32 | 3; push $1f; lretq; 1:"
    case "lret to 64 bits, compat", user32, "push $UCODE | 3; push $1f; lret; 1:"
    case "lretq, second half of the stack not mapped", kernel, "mov %rcx, %rsp; lretq", "movq $0, window + 8", \
        cx=0x200ff8
    case "lretq, stack not canonical", kernel, "mov %rcx, %rsp; lretq", cx=1<<47

    theme "== call gates in long mode"
    case "call gate to the kernel, user", user, "far_call FREE", "call_gate landing"
    case "call gate to the kernel, rpl 3, user", user, "far_call FREE|3", "call_gate landing"
    case "call gate to the kernel, compat", user32, "lcall $FREE | 3, $0", "call_gate landing"
    case "call gate, kernel", kernel, "far_call FREE", "call_gate landing"
    case "call gate, compat kernel", kernel32, "lcall $FREE, $0", "call_gate landing"
    case "jump through a call gate, kernel", kernel, "far_jump FREE", "call_gate bare_landing"
    case "jump through a call gate to the kernel, user", user, "far_jump FREE", "call_gate landing"
    case "jump through a call gate to conforming code, user", user, "far_jump FREE", \
        "call_gate user_landing, CONFORMING"
    case "call gate to conforming code, user", user, "far_call FREE; ", "call_gate user_landing, CONFORMING"
    case "call gate to user code, user", user, "far_call FREE", "call_gate user_landing, UCODE|3"
    case "call gate to user code, kernel", kernel, "far_call FREE", "call_gate user_landing, UCODE|3"
    case "call gate of dpl 0, user", user, "far_call FREE", "call_gate landing, dpl=0"
    case "call gate of dpl 0, rpl 3, kernel", kernel, "far_call FREE|3", "call_gate landing, dpl=0"
    case "call gate not present", kernel, "far_call FREE", "call_gate landing, p=0"
    case "call gate not present, user", user, "far_call FREE", "call_gate landing, p=0, dpl=0"
    case "call gate to null", kernel, "far_call FREE", "call_gate landing, 0"
    case "call gate to data", kernel, "far_call FREE", "call_gate landing, KDATA"
    case "call gate to absent code", kernel, "far_call FREE", "call_gate landing, ABSENT_CODE"
    case "call gate to 32-bit code", kernel, "far_call FREE", "call_gate landing, KCODE32"
    case "call gate to code with L and D", kernel, "far_call FREE", "call_gate landing, CODE_L_AND_D", bed=0
    case "call gate to beyond the table", kernel, "far_call FREE", "call_gate landing, 0x1000"
    case "call gate to KCODE rpl 3", kernel, "far_call FREE", "call_gate landing, KCODE|3"
    case "call gate of 16 bits", kernel, "far_call FREE", "call_gate landing, type=4"
    case "task gate", kernel, "far_call FREE", "call_gate landing, type=5"
    case "interrupt gate in the GDT", kernel, "far_call FREE", "call_gate landing, type=0xe"
    case "call gate, upper half with a type", kernel, "far_call FREE", "call_gate landing, high=0x0c0000000000"
    case "call gate, upper half beyond the table", kernel, "far_call GDT_SIZE-8", \
        "call_gate landing; mov gdt + FREE, %rax; mov %rax, gdt + GDT_SIZE - 8"
    case "call gate, offset not canonical", kernel, "far_call FREE", "call_gate landing, high=0x8000"
    case "call gate, offset not canonical, user", user, "far_call FREE", "call_gate landing, high=0x8000"
    case "call gate, rsp0 not canonical", user, "far_call FREE", "call_gate landing; movl $0x8000, tss + 8"
    case "call gate, rsp0 not mapped", user, "far_call FREE", "call_gate landing; movl $0x50000000, tss + 4"
    case "call gate, rsp0 odd", user, "far_call FREE", "call_gate landing; subl $3, tss + 4"
    case "call gate, stack not mapped, kernel", kernel, "mov %ecx, %esp; lcalll *(%rbx)", \
        "call_gate landing; movl $FREE, user_data + 4; movq $0, window", cx=0x201000, bx=user_data
    case "return from a call gate", user, "far_call FREE; 1:", "call_gate 2f; jmp 3f; 2: mov $7, %r8d; lretq; 3:"
    case "call gate into the code of its own return", user, "far_call FREE; mov %cs, %eax", \
        "call_gate 2f; jmp 3f; 2: mov $KDATA, %ecx; mov %ecx, %ds; mov %ecx, %ss; lretq; 3:"
