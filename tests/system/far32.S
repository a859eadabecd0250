/* far32: far jumps, calls and returns, call gates of both sizes to inner rings, with parameters. */
#include "narrow.inc"

    theme "== far jumps and calls"
    .irp how, ljmp, lcall
    .irp sel, 0, 3, KCODE, KCODE|3, KDATA, ABSENT_CODE, UCODE|3, CODE1|1, CONFORMING, CONFORMING|3, CONFORMING3|3, \
        EXECUTE_ONLY, LDT, 0x1000, 0xc
    case "\how to \sel", kernel, "\how $\sel, $1f; 1:"
    .endr
    .irp sel, KCODE, KCODE|3, UCODE, UCODE|3, CONFORMING, CONFORMING|3, CONFORMING3, UDATA|3, 0
    case "\how to \sel, user", user, "\how $\sel, $1f; 1:"
    .endr
    .endr
    .irp how, ljmp, lcall
    case "\how to 0x1c in the LDT", user, "\how $0x1f, $1f; 1:", "mov $LDT, %eax; lldt %ax"
    case "\how beyond the limit", kernel, "\how $FREE, $bare_landing", "segment FREE, 0, 0xfff, 0x9b"
    case "\how to not mapped", kernel, "\how $KCODE, $0x50000000"
    case "\how to absent code beyond the limit", kernel, "\how $FREE, $bare_landing", "segment FREE, 0, 0xfff, 0x1b"
    case "\how, 16 bits", kernel, "\how\()w *(%ebx)", "movl $(FREE << 16 | 0x10), DATA; segment FREE, \
        bare_landing-0x10, \
        0xffff, 0x9b", bx=DATA
    case "\how to 16-bit code", kernel, "\how $FREE, $0x10", "segment FREE, bare_landing-0x10, 0xffff, 0x9b, 0"
    case "\how to 16-bit code, upper half", kernel, "\how $FREE, $0x10010", \
        "segment FREE, bare_landing-0x10, 0xffff, 0x9b, 0", bed=0
    case "\how to code with an odd base", kernel, "\how $FREE, $0x13", "segment FREE, bare_landing-0x13, 0xffff, 0x9b"
    case "\how of memory", kernel, "\how *(%ebx)", "movl $bare_landing, DATA; movl $KCODE, DATA + 4", bx=DATA
    case "\how of memory, selector not mapped", kernel, "\how *(%ebx)", "movl $0, window + 4", bx=WINDOW+0xffc
    case "\how sets the accessed bit", kernel, "\how $FREE, $bare_landing", "segment FREE, 0, 0xfffff, 0x9a, 12"
    case "\how to conforming code, ring 1", ring1, "\how $CONFORMING, $1f; 1:"
    case "\how to conforming code of ring 1, user", user, "\how $FREE | 3, $1f; 1:", "segment FREE, 0, 0xfffff, \
        0xbf, 12"
    case "\how to conforming code of ring 1, ring 0", kernel, "\how $FREE, $1f; 1:", "segment FREE, 0, 0xfffff, \
        0xbf, 12"
    case "\how, TF", kernel, "\how $KCODE, $bare_landing", fl=0x102
    .endr
    case "lcall of a register", kernel, ".byte 0xff, 0xd8"
    case "ljmp of a register", kernel, ".byte 0xff, 0xe8"
    case "lcall, stack not mapped", user, "mov %ecx, %esp; lcall $UCODE | 3, $1f; 1:", cx=0x50000000
    case "lcall, page of the stack ends", user, "mov %ecx, %esp; lcall $UCODE | 3, $1f; 1:", "pte 1, 7; movl $0, \
        window", \
        cx=WINDOW+0x1004

    theme "== far returns"
    .irp sel, 0, 3, KCODE, KCODE|3, CODE1|1, KDATA, ABSENT_CODE, UCODE, CONFORMING, CONFORMING3, CONFORMING|3, TSS, \
        0x1000, EXECUTE_ONLY
    case "lret to \sel", kernel, "push $UDATA | 3; push $user_stack; push $\sel; push $1f; lret; 1:"
    .endr
    .irp sel, 0, UCODE, UCODE|3, CONFORMING|3, CONFORMING3|3, KCODE, CODE1|1
    case "lret to \sel, user", user, "push $\sel; push $1f; lret; 1:"
    .endr
    .irp sel, 0, 3, UDATA, UDATA|3, KDATA, KDATA|3, UREAD_ONLY|3, ABSENT_DATA|3, UCODE|3, 0x1003, LDT|3, DATA1|3
    case "lret to user, stack \sel", kernel, "push $\sel; push $user_stack; push $UCODE | 3; push $user_landing; lret"
    .endr
    case "lret to user, stack not present", kernel, "push $FREE | 3; push $user_stack; push $UCODE | 3; \
        push $user_landing; lret", "segment FREE, 0, 0xfffff, 0x73, 12"
    case "lret to ring 1", kernel, "push $DATA1 | 1; push $esp2_stack; push $CODE1 | 1; push $bare_landing; lret"
    case "lret to ring 2 of ring 1", ring1, "push $DATA2 | 2; push $esp2_stack; push $CODE2 | 2; \
        push $bare_landing; lret"
    case "lret to ring 0 of ring 1", ring1, "push $DATA2; push $esp2_stack; push $KCODE; push $bare_landing; lret"
    .irp sel, KDATA, READ_ONLY, CONFORMING, UDATA|3, DATA1, KCODE, 0
    case "lret to user with \sel in ds to gs", kernel, "mov %ecx, %ds; mov %ecx, %es; mov %ecx, %fs; mov %ecx, %gs; \
        push $UDATA | 3; push $user_stack; push $UCODE | 3; push $user_landing; lret", cx=\sel
    case "lret to ring 1 with \sel in ds to gs", kernel, "mov %ecx, %ds; mov %ecx, %es; mov %ecx, %fs; mov %ecx, \
        %gs; \
        push $DATA1 | 1; push $esp1_stack - 512; push $CODE1 | 1; push $bare_landing; lret", cx=\sel
    .endr
    case "lret with 24 bytes", user, "push $UCODE | 3; push $1f; lret $24; 1:"
    case "lret with 0xfffc bytes", user, "push $UCODE | 3; push $1f; lret $0xfffc; 1:"
    case "lret to user with 8 bytes", kernel, "push $UDATA | 3; push $user_stack - 64; push $0; push $0; \
        push $UCODE | 3; \
        push $user_landing; lret $8"
    case "lretw", kernel, "pushw $FREE; pushw $0x10; lretw", "segment FREE, bare_landing-0x10, 0xffff, 0x9b"
    case "lretw to user", kernel, "pushw $UDATA | 3; pushw $0x800; pushw $FREE | 3; pushw $0x10; lretw", \
        "segment FREE, user_landing-0x10, 0xffff, 0xfb"
    case "lretw to user, 16-bit stack", kernel, "pushw $UDATA16 | 3; pushw $0x800; pushw $FREE | 3; pushw $0x10; \
        lretw", \
        "segment FREE, user_landing-0x10, 0xffff, 0xfb"
    case "lret to user, 16-bit stack", kernel, "push $UDATA16 | 3; push $0x12345678; push $UCODE | 3; \
        push $user_landing; lret"
    case "lret to user, 16-bit stack, 8 bytes", kernel, "push $UDATA16 | 3; push $0x1234fffc; push $0; push $0; \
        push $UCODE | 3; push $user_landing; lret $8"
    case "lret, upper half of the selector", kernel, "push $0x12340000 | KCODE; push $1f; lret; 1:"
    case "lret beyond the limit", kernel, "push $FREE; push $bare_landing; lret", "segment FREE, 0, 0xfff, 0x9b"
    case "lret to user beyond the limit", kernel, "push $UDATA | 3; push $user_stack; push $FREE | 3; \
        push $user_landing; lret", \
        "segment FREE, 0, 0xfff, 0xfb"
    case "lret to not mapped", kernel, "push $KCODE; push $0x50000000; lret"
    case "lret, second half of the stack not mapped", user, "mov %ecx, %esp; lret", "pte 0, 7; movl $0, window + 4", \
        cx=WINDOW+0xffc
    case "lret to user, outer stack not mapped", kernel, "mov %ecx, %esp; lret", "by_task 14; movl $UCODE | 3, \
        WINDOW + 0xffc; \
        movl $user_landing, WINDOW + 0xff8; movl $0, window + 4", cx=WINDOW+0xff8

    theme "== call gates"
    .macro gated name:req, target, sel=KCODE, dpl=3, type=0xc, p=1, count=0
    case "call gate\name, user", user, "push $0x11; push $0x22; push $0x33; lcall $FREE, $0", \
        "call_gate \target, \sel, \dpl, \type, \p, \count"
    case "call gate\name, kernel", kernel, "push $0x11; push $0x22; push $0x33; lcall $FREE, $0", \
        "call_gate \target, \sel, \dpl, \type, \p, \count"
    case "call gate\name, ring 1", ring1, "push $0x11; push $0x22; push $0x33; lcall $FREE, $0", \
        "call_gate \target, \sel, \dpl, \type, \p, \count"
    case "jump gate\name, user", user, "ljmp $FREE, $0", "call_gate \target, \sel, \dpl, \type, \p, \count"
    case "jump gate\name, kernel", kernel, "ljmp $FREE, $0", "call_gate \target, \sel, \dpl, \type, \p, \count"
    .endm
    gated " plain", bare_landing
    gated " to ring 1", bare_landing, CODE1
    gated " to ring 2", bare_landing, CODE2
    gated " to user code", user_landing, UCODE|3
    gated " to conforming code", user_landing, CONFORMING
    gated " to conforming code of ring 3", user_landing, CONFORMING3
    gated " to KCODE rpl 3", bare_landing, KCODE|3
    gated " to null", bare_landing, 0
    gated " to data", bare_landing, KDATA
    gated " to absent code", bare_landing, ABSENT_CODE
    gated " to execute-only code", bare_landing, EXECUTE_ONLY
    gated " to a TSS", bare_landing, TSS
    gated " to a gate", bare_landing, FREE
    gated " to beyond the table", bare_landing, 0x1000
    gated " of dpl 0", bare_landing, dpl=0
    gated " of dpl 1", bare_landing, dpl=1
    gated " not present", bare_landing, p=0
    gated " of dpl 0, not present", bare_landing, p=0, dpl=0
    gated " with one parameter", bare_landing, count=1
    gated " with three parameters", bare_landing, count=3
    gated " with reserved bits of the count", bare_landing, count=0xe2
    gated " of 16 bits", 0, TASK_CODE16, type=4
    gated " of 16 bits with three parameters", 0, TASK_CODE16, type=4, count=3
    gated " that is an interrupt gate", bare_landing, type=0xe
    gated " that is of type 13", bare_landing, type=0xd
    gated " to not mapped", 0x50000000
    case "call gate, rpl 3, dpl 2, ring 2", ring2, "lcall $FREE | 3, $0", "call_gate bare_landing, dpl=2"
    case "call gate, rpl 2, dpl 2, ring 2", ring2, "lcall $FREE | 2, $0", "call_gate bare_landing, dpl=2"
    case "call gate of 16 bits drops the upper half of the offset", user, "lcall $FREE, $0", \
        "call_gate 0x30000, TASK_CODE16, type=4", bed=0
    case "call gate with 31 parameters", user, "lcall $FREE, $0; 1:", "call_gate 2f, count=31; movl $0x77, \
        user_stack - 124; \
        subl $128, begin + SP; jmp 3f; 2: mov 8(%esp), %eax; mov 12(%esp), %ecx; mov 132(%esp), %edx; \
        mov 136(%esp), %ebx; \
        lret $124; 3:"
    case "return from a call gate", user, "push $0x11; push $0x22; lcall $FREE, $0; 1:", "call_gate 2f, count=2; \
        jmp 3f; \
        2: mov 8(%esp), %eax; lret $8; 3:"
    case "call gate beyond the limit of the code", user, "lcall $FREE, $0", \
        "call_gate bare_landing, FREE+8; segment FREE+8, 0, 0xfff, 0x9b"
    case "call gate beyond the limit of the code, kernel", kernel, "lcall $FREE, $0", \
        "call_gate bare_landing, FREE+8; segment FREE+8, 0, 0xfff, 0x9b"
    case "call gate to 16-bit code", user, "lcall $FREE, $0", "call_gate 0, TASK_CODE16"
    case "call gate to 16-bit code, upper half of the offset", user, "lcall $FREE, $0", "call_gate 0x10000, \
        TASK_CODE16", bed=0
    case "call gate, the parameters not mapped", user, "mov %ecx, %esp; lcall $FREE, $0", \
        "call_gate bare_landing, count=2", \
        cx=0x50000000
    case "call gate, a parameter not mapped", user, "mov %ecx, %esp; lcall $FREE, $0", \
        "call_gate bare_landing, count=2; pte 0, 7; movl $0, window + 4", cx=WINDOW+0xffc
    case "call gate sets the accessed bits", user, "lcall $FREE, $0", "call_gate bare_landing, FREE+8; \
        segment FREE+8, 0, 0xfffff, 0x9a, 12; segment FREE+16, 0, 0xfffff, 0x92, 12; movl $FREE + 16, tss + 8"
    case "call gate, user ds to gs", user, "lcall $FREE, $0", "call_gate bare_landing"
    case "call gate, TF", user, "lcall $FREE, $0", "call_gate bare_landing", fl=0x102

    theme "== stacks of inner rings"
    .macro inner name:req, setup
    case "inner stack \name: call gate", user, "lcall $FREE, $0", "by_task 10; by_task 12; by_task 14; by_task 13; \
        call_gate bare_landing; \setup"
    case "inner stack \name: call gate, parameters", user, "lcall $FREE, $0", "by_task 10; by_task 12; \
        by_task 14; by_task 13; \
        call_gate bare_landing, count=4; subl $16, begin + SP; \setup"
    case "inner stack \name: int", user, "int $0x40", "by_task 10; by_task 12; by_task 14; by_task 13; \
        vector 0x40, bare_landing; \setup"
    case "inner stack \name: exception", user, "hlt", "by_task 10; by_task 12; by_task 14; \
        vector 13, bare_landing; \setup"
    .endm
    inner "null", "movl $0, tss + 8"
    inner "null rpl 3", "movl $3, tss + 8"
    inner "rpl 3", "movl $KDATA | 3, tss + 8"
    inner "of ring 1", "movl $DATA1, tss + 8"
    inner "of user", "movl $UDATA | 3, tss + 8"
    inner "read only", "movl $READ_ONLY, tss + 8"
    inner "not present", "movl $ABSENT_DATA, tss + 8"
    inner "code", "movl $KCODE, tss + 8"
    inner "a TSS", "movl $TASK, tss + 8"
    inner "beyond the table", "movl $0x1000, tss + 8"
    inner "in no LDT", "movl $0xc, tss + 8"
    inner "in the LDT", "movl $0xc, tss + 8; mov $LDT, %eax; lldt %ax"
    inner "not mapped", "movl $0x50000000, tss + 4"
    inner "half mapped", "movl $0, window; movl $WINDOW + 0x1008, tss + 4"
    inner "read-only page", "pte 0, 1; movl $WINDOW + 0x800, tss + 4"
    inner "user page", "pte 0, 7; movl $WINDOW + 0x800, tss + 4"
    inner "odd", "subl $3, tss + 4"
    inner "too small", "segment FREE+8, esp0_stack-0x200, 0x1ff, 0x93; movl $FREE + 8, tss + 8; movl $12, tss + 4"
    inner "just large enough", "segment FREE+8, esp0_stack-0x200, 0x1ff, 0x93; movl $FREE + 8, tss + 8; movl $20, \
        tss + 4"
    inner "beyond the limit", "segment FREE+8, esp0_stack-0x200, 0x1ff, 0x93; movl $FREE + 8, tss + 8; \
        movl $0x201, tss + 4"
    inner "at the limit", "segment FREE+8, esp0_stack-0x200, 0x1ff, 0x93; movl $FREE + 8, tss + 8; movl $0x200, \
        tss + 4"
    inner "of 16 bits", "segment FREE+8, esp0_stack-0x200, 0xffff, 0x93, 0; movl $FREE + 8, tss + 8; \
        movl $0x12340200, tss + 4"
    inner "of 16 bits that wraps", "segment FREE+8, 0, 0xffff, 0x93, 0; movl $FREE + 8, tss + 8; movl $8, tss + 4"
    inner "expand down", "segment FREE+8, 0, 0, 0x97, 12; movl $FREE + 8, tss + 8"
    inner "expand down, too low", "segment FREE+8, 0, 0x80, 0x97, 12; movl $FREE + 8, tss + 8"
    inner "and a 16-bit TSS", "mov $TASK16, %eax; ltr %ax"
    .irp limit, 0xb, 0xf, 0x10, 0x11, 0x12, 0x13
    case "call gate to ring 1, TSS of \limit", user, "lcall $FREE, $0", \
        "call_gate bare_landing, CODE1; movb $\limit, gdt + TSS; andb $~2, gdt + TSS + 5; mov $TSS, %eax; ltr %ax"
    case "int to ring 1, TSS of \limit", user, "int $0x40", \
        "vector 0x40, bare_landing, CODE1; movb $\limit, gdt + TSS; andb $~2, gdt + TSS + 5; mov $TSS, %eax; ltr %ax"
    .endr
