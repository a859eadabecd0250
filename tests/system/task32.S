/* task32: task switches by jumps, calls, interrupts, exceptions and returns, between TSSs of both sizes. */
#include "narrow.inc"
    .set LINK, 0x00
    .set T_CR3, 0x1c
    .set T_IP, 0x20
    .set T_FL, 0x24
    .set T_SP, 0x38
    .set T_ES, 0x48
    .set T_CS, 0x4c
    .set T_SS, 0x50
    .set T_DS, 0x54
    .set T_FS, 0x58
    .set T_GS, 0x5c
    .set T_LDT, 0x60
    .set T_TRAP, 0x64

/* The same switch in each of its ways. */
    .macro switch name:req, setup
    case "task, \name: ljmp", kernel, "ljmp $TASK, $0", "by_tasks; \setup", ax=0x11, bx=0x22, cx=0x33, dx=0x44
    case "task, \name: lcall", kernel, "lcall $TASK, $0", "by_tasks; \setup", ax=0x11, bx=0x22, cx=0x33, dx=0x44
    case "task, \name: int", kernel, "int $0x40", "by_tasks; vector 0x40, 0, TASK, type=5; \setup", ax=0x11, bx=0x22
    case "task, \name: iret", kernel, "iretl", "by_tasks; called_by TASK; \setup", ax=0x11, bx=0x22
    .endm
/* The same where the old TSS cannot take anything, and so no task gates either. */
    .macro switch_off name:req, setup
    case "task, \name: ljmp", kernel, "ljmp $TASK, $0", "\setup", ax=0x11, bx=0x22, cx=0x33, dx=0x44
    case "task, \name: lcall", kernel, "lcall $TASK, $0", "\setup", ax=0x11, bx=0x22, cx=0x33, dx=0x44
    case "task, \name: int", kernel, "int $0x40", "vector 0x40, 0, TASK, type=5; \setup", ax=0x11, bx=0x22
    case "task, \name: iret", kernel, "iretl", "called_by TASK; \setup", ax=0x11, bx=0x22
    .endm
/* What lies in the new TSS does not depend on the way. */
    .macro into name:req, setup
    case "task, \name: ljmp", kernel, "ljmp $TASK, $0", "by_tasks; \setup"
    case "task, \name: user exception", user, "hlt", "by_tasks; gate idt+13*8, 0, TASK, type=5; \setup"
    .endm
    .macro user_task
    movl $UCODE | 3, task + T_CS
    movl $UDATA | 3, task + T_SS
    movl $UDATA | 3, task + T_DS
    movl $UDATA | 3, task + T_ES
    movl $user_landing, task + T_IP
    movl $user_stack, task + T_SP
    .endm

/* TASK's TSS in the window. */
    .macro task_at offset
    mov $task, %esi
    mov $WINDOW + \offset, %edi
    mov $26, %ecx
    rep movsl
    movw $\offset, gdt + TASK + 2
    movb $WINDOW >> 16, gdt + TASK + 4
    movb $0, gdt + TASK + 7
    .endm

    theme "== the new TSS"
    switch "plain", ""
    switch "not present", "andb $0x7f, gdt + TASK + 5"
    switch "busy", "orb $2, gdt + TASK + 5"
    switch "not busy", "andb $~2, gdt + TASK + 5"
    switch "busy and not present", "movb $0x0b, gdt + TASK + 5"
    switch "limit 0x66", "movb $0x66, gdt + TASK"
    switch "limit 0x67", "movb $0x67, gdt + TASK"
    switch "limit 0x2b", "movb $0x2b, gdt + TASK"
    switch "of pages", "orb $0x80, gdt + TASK + 6"
    switch "an LDT", "movb $0x82, gdt + TASK + 5"
    switch "data", "movb $0x93, gdt + TASK + 5"
    switch "a type of 0", "movb $0x80, gdt + TASK + 5"
    switch "a reserved type", "movb $0x8a, gdt + TASK + 5"
    switch "not mapped", "task_at 0; movl $0, window; flush"
    switch "half mapped", "task_at 0xfe0; movl $0, window + 4; flush"
    switch "the last word not mapped", "task_at 0xf9a; movl $0, window + 4; flush"
    switch "in a read-only page", "task_at 0x800; pte 0, 1; flush"
    switch "dpl 3", "orb $0x60, gdt + TASK + 5"

    .irp how, ljmp, lcall
    .irp sel, TASK, TASK|3, TSS, TASK16
    case "\how to \sel", kernel, "\how $\sel, $0", "by_tasks", ax=0x11, bx=0x22
    case "\how to \sel, user", user, "\how $\sel, $0", ax=0x11, bx=0x22
    case "\how to \sel of dpl 3, user", user, "\how $\sel, $0", "orb $0x60, gdt + (\sel & ~7) + 5"
    .endr
    case "\how to a TSS in the LDT", kernel, "\how $0xc, $0", "mov gdt + TASK, %eax; mov %eax, ldt + 8; \
        mov gdt + TASK + 4, %eax; mov %eax, ldt + 12; mov $LDT, %eax; lldt %ax"
    .endr

    theme "== task gates"
    .macro task_gated name:req, sel=TASK, dpl=3, p=1, setup
    case "task gate, \name: ljmp", kernel, "ljmp $FREE, $0", "gate gdt+FREE, 0, \sel, \dpl, 5, \p; \setup"
    case "task gate, \name: lcall", kernel, "lcall $FREE, $0", "gate gdt+FREE, 0, \sel, \dpl, 5, \p; \setup"
    case "task gate, \name: int", kernel, "int $0x40", "gate idt+0x40*8, 0, \sel, \dpl, 5, \p; \setup"
    case "task gate, \name: ljmp, user", user, "ljmp $FREE | 3, $0", "gate gdt+FREE, 0, \sel, \dpl, 5, \p; \setup"
    case "task gate, \name: lcall, user", user, "lcall $FREE | 3, $0", "gate gdt+FREE, 0, \sel, \dpl, 5, \p; \setup"
    case "task gate, \name: int, user", user, "int $0x40", "gate idt+0x40*8, 0, \sel, \dpl, 5, \p; \setup"
    case "task gate, \name: exception, user", user, "fnop", "gate idt+7*8, 0, \sel, \dpl, 5, \p; cr0_set 8; \setup"
    .endm
    task_gated "plain"
    task_gated "of dpl 0", dpl=0
    task_gated "not present", p=0
    task_gated "of dpl 0, not present", dpl=0, p=0
    task_gated "to null", 0
    task_gated "to rpl 3", TASK|3
    task_gated "to the LDT", 0xc, setup="mov gdt + TASK, %eax; mov %eax, ldt + 8; mov gdt + TASK + 4, %eax; \
        mov %eax, ldt + 12; mov $LDT, %eax; lldt %ax"
    task_gated "to beyond the table", 0x1000
    task_gated "to code", KCODE
    task_gated "to a gate", FREE
    task_gated "to a busy TSS", TSS
    task_gated "to an absent TSS", TASK, setup="andb $0x7f, gdt + TASK + 5"
    task_gated "to a small TSS", TASK, setup="movb $0x66, gdt + TASK"
    task_gated "in the LDT", TASK, setup="mov gdt + FREE, %eax; mov %eax, ldt; mov gdt + FREE + 4, %eax; \
        mov %eax, ldt + 4; mov $LDT, %eax; lldt %ax"

    theme "== segments in the new TSS"
    .irp sel, 0, 3, KDATA, KCODE|3, UCODE|3, UCODE, ABSENT_CODE, CONFORMING, CONFORMING|3, CONFORMING3, \
        EXECUTE_ONLY, \
        0x1000, TSS, 0xc, KCODE16, CODE1|1
    into "cs \sel", "movl $\sel, task + T_CS"
    .endr
    .irp sel, 0, 3, KDATA|3, UDATA|3, DATA1, READ_ONLY, ABSENT_DATA, KCODE, 0x1000, TSS, 0xc
    into "ss \sel", "movl $\sel, task + T_SS"
    .endr
    .irp sel, 3, KDATA|3, UDATA|3, READ_ONLY, ABSENT_DATA, KCODE, EXECUTE_ONLY, CONFORMING, 0x1000, TSS, 0xc
    into "ds \sel", "movl $\sel, task + T_DS"
    .endr
    .irp seg, ES, FS, GS
    into "\seg absent", "movl $ABSENT_DATA, task + T_\seg"
    into "\seg beyond the table", "movl $0x1000, task + T_\seg"
    .endr
    .irp sel, 3, LDT, LDT|3, ABSENT_LDT, KDATA, 0x1000, 0xc, TASK
    into "ldt \sel", "movl $\sel, task + T_LDT"
    .endr
    into "ds and ss in its LDT", "movl $LDT, task + T_LDT; movl $0xc, task + T_DS; movl $0xc, task + T_SS"
    into "cs in its LDT", "movl $LDT, task + T_LDT; movl $0xc, task + T_CS; \
        mov gdt + KCODE, %eax; mov %eax, ldt + 8; mov gdt + KCODE + 4, %eax; mov %eax, ldt + 12"
    into "everything bad", "movl $LDT + 8, task + T_LDT; movl $0x1000, task + T_DS; movl $0x1008, task + T_SS; \
        movl $0x1010, task + T_CS; movl $0x1018, task + T_ES"
    into "accessed bits", "segment FREE, 0, 0xfffff, 0x92, 12; segment FREE+8, 0, 0xfffff, 0x9a, 12; \
        movl $FREE, task + T_DS; movl $FREE, task + T_SS; movl $FREE + 8, task + T_CS"
    into "upper halves", "movw $-1, task + T_DS + 2; movw $-1, task + T_SS + 2; movw $-1, task + T_CS + 2; \
        movw $-1, task + T_LDT + 2; movw $-1, task + T_GS + 2"
    into "user", "user_task"
    into "user with the kernel's ds", "user_task; movl $KDATA, task + T_DS"
    into "user with the kernel's ss", "user_task; movl $KDATA | 3, task + T_SS"
    into "user with null ds", "user_task; movl $0, task + T_DS"
    into "user with null ss", "user_task; movl $0, task + T_SS"
    into "ring 1", "movl $CODE1 | 1, task + T_CS; movl $DATA1 | 1, task + T_SS; movl $DATA1 | 1, task + T_DS"
    into "ip beyond the limit", "segment FREE, 0, 0xfff, 0x9b; movl $FREE, task + T_CS"
    into "ip not mapped", "movl $0x50000000, task + T_IP"
    into "16-bit code", "movl $TASK_CODE16, task + T_CS; movl $0, task + T_IP"
    case "task, 16-bit code, upper half of ip", kernel, "ljmp $TASK, $0", \
        "movl $TASK_CODE16, task + T_CS; movl $0x10000, task + T_IP", bed=0

    theme "== flags, stack, CR3 and T in the new TSS"
    .irp fl, 0, 0x202, 0x3002, 0x4002, 0x10002, 0x40002, 0x180002, 0x200002, 0xd7, 0xffc0802a, 0x8d5
    into "flags \fl", "movl $\fl, task + T_FL"
    into "flags \fl, user", "user_task; movl $\fl, task + T_FL"
    .endr
    into "TF", "movl $0x102, task + T_FL; movl $2f, task + T_IP; jmp 3f; 2: nop; nop; 3:"
    into "TF, user", "movl $0x102, task + T_FL; user_task"
    into "T", "movl $1, task + T_TRAP"
    into "T, user", "movl $1, task + T_TRAP; user_task"
    into "T and TF", "movl $1, task + T_TRAP; movl $0x102, task + T_FL"
    into "T and a bad ds", "movl $1, task + T_TRAP; movl $0x1000, task + T_DS"
    into "T and ip beyond the limit", "movl $1, task + T_TRAP; segment FREE, 0, 0xfff, 0x9b; movl $FREE, task + T_CS"
    into "bits beside T", "movw $0xfffe, task + T_TRAP"
    into "its stack not mapped", "movl $0x50000000, task + T_SP"
    into "its stack read only", "pte 0, 1; movl $WINDOW + 0x800, task + T_SP"
    into "its stack small", "segment FREE, task_stack-0x100, 0xff, 0x93; movl $FREE, task + T_SS; movl $2, \
        task + T_SP"
    into "its stack of 16 bits", "segment FREE, task_stack-0x100, 0xffff, 0x93, 0; movl $FREE, task + T_SS; \
        movl $0x12340100, task + T_SP"
    .macro other_directory
    mov $directory, %esi
    mov $pae_first, %edi
    mov $1024, %ecx
    rep movsl
    movl $pae_first, task + T_CR3
    .endm
    into "another CR3", "other_directory"
    into "another CR3 that does not map the TSS", "other_directory; segment TASK, WINDOW, 0x67, 0x89, 0; \
        task_at 0; movl $0, pae_first + 4"
    into "another CR3 that does not map the stack", "other_directory; movl $WINDOW + 0x800, task + T_SP; \
        movl $0, pae_first + 4"
    into "another CR3 that does not map the code", "other_directory; movl $WINDOW + 0x800, task + T_IP; \
        movl $0, pae_first + 4"
    into "another CR3 that does not map the LDT", "other_directory; segment LDT, WINDOW, 0x1f, 0x82, 0; \
        movl $LDT, task + T_LDT; movl $0xc, task + T_DS; movl $0, pae_first + 4"
    into "low bits in CR3", "orl $0x18, task + T_CR3"
    into "reserved bits in CR3", "orl $0xfe7, task + T_CR3"
    into "CR3 does not count without paging", "movl $0x12345000, task + T_CR3; cr0_clear 0x80000000"
    into "TS is set", "cr0_clear 8"

    theme "== the old TSS"
    switch "all of the old registers", "movl $0x4000ad7, begin + FL; movl $0x55, begin + SI; movl $0x66, begin + DI; \
        movl $0x77, begin + BP; movl $UDATA, begin + ES; movl $UDATA2, begin + FS; movl $READ_ONLY, begin + GS"
    switch "ones in the old TSS", "mov $tss, %edi; mov $26, %ecx; mov $-1, %eax; rep stosl; movl $esp0_stack, \
        tss + 4; \
        movl $KDATA, tss + 8; movw $TASK, tss"
    switch "an LDT in the old task", "mov $LDT, %eax; lldt %ax; movl $0x17, begin + FS"
    .macro old_in_window limit=0x67
    segment FREE, WINDOW, \limit, 0x89, 0
    movl $esp0_stack, WINDOW + 4
    movl $KDATA, WINDOW + 8
    movl $0, WINDOW
    load_tr FREE
    .endm
    switch_off "the old TSS read only", "old_in_window; movl $TASK, WINDOW; pte 0, 1; flush"
    switch_off "the old TSS not mapped", "old_in_window; movl $TASK, WINDOW; movl $0, window; flush"
    switch_off "the old TSS small", "old_in_window 0x5e; movl $TASK, WINDOW"
    switch_off "the old TSS just large enough", "old_in_window 0x5f; movl $TASK, WINDOW"
    switch_off "the old descriptor is gone", "movl $0, gdt + TSS + 4"
    switch_off "the old descriptor is not busy", "andb $~2, gdt + TSS + 5"
    switch "TF before", "orl $0x100, begin + FL"
    switch "NT before", "orl $0x4000, begin + FL"
    switch "breakpoints", "mov $0x7ff, %eax; mov %eax, %dr7"

    theme "== returns and nesting"
    case "task called and back", kernel, "lcall $TASK, $0", "movl $2f, task + T_IP; jmp 3f; 2: mov $7, %ecx; \
        iretl; 3:", ax=5
    case "task called and back, user", user, "lcall $TASK, $0", \
        "movl $2f, task + T_IP; orb $0x60, gdt + TASK + 5; jmp 3f; 2: iretl; 3:", ax=5
    case "task called and back by a jump", kernel, "lcall $TASK, $0; nop", \
        "movl $2f, task + T_IP; jmp 3f; 2: ljmp $TSS, $0; 3:", ax=5
    case "task called and back, and called again", kernel, "lcall $TASK, $0; lcall $TASK, $0", \
        "movl $2f, task + T_IP; jmp 3f; 2: iretl; inc %eax; iretl; 3:", ax=5
    case "task by int and back", user, "int $0x40; nop", \
        "vector 0x40, 0, TASK, type=5; movl $2f, task + T_IP; jmp 3f; 2: iretl; 3:", ax=5
    case "task by exception and back", user, "hlt; nop", \
        "gate idt+13*8, 0, TASK, 0, 5; movl $2f, task + T_IP; jmp 3f; 2: incl tss + T_IP; pop %eax; iretl; 3:", ax=5
    case "task calls a third one that returns twice", kernel, "lcall $TASK, $0", \
        "movl $2f, task + T_IP; jmp 3f; 2: lcall $CATCH, $0; iretl; 3: movl $4f, catchers + T_IP; jmp 5f; \
        4: iretl; 5:"
    case "task called calls its caller", kernel, "lcall $TASK, $0", \
        "movl $2f, task + T_IP; jmp 3f; 2: lcall $TSS, $0; 3:", ax=5
    case "iret with NT of another size", kernel, "iretw", "called_by TASK"
    case "iret with NT, user", user, "iretl", "called_by TASK"
    case "iret with NT to null", kernel, "iretl", "called_by TASK; movl $0, tss"
    case "iret with NT to rpl 3", kernel, "iretl", "called_by TASK; movl $TASK | 3, tss"
    case "iret with NT to upper half", kernel, "iretl", "called_by TASK; movl $0x12340000 | TASK, tss"
    case "iret with NT to the LDT", kernel, "iretl", "called_by TASK; movl $0xc, tss"
    case "iret with NT to beyond the table", kernel, "iretl", "called_by TASK; movl $0x1000, tss"
    case "iret with NT to itself", kernel, "iretl", "called_by TASK; movl $TSS, tss"
    case "iret with NT to code", kernel, "iretl", "called_by TASK; movl $KCODE, tss"
    case "iret with NT to a gate", kernel, "iretl", "call_gate bare_landing; called_by TASK; movl $FREE, tss"
    case "iret with NT, the link not mapped", kernel, "iretl", "called_by TASK; old_in_window; movl $0, window; flush"
    case "lret with NT", kernel, "push $KCODE; push $1f; lret; 1:", fl=0x4002
    case "a nested task's NT is saved at its return", kernel, "iretl", "called_by TASK", ax=1

    theme "== 16-bit TSSs"
    .macro from16
    load_tr TASK16
    .endm
    case "to a 16-bit TSS: ljmp", kernel, "ljmp $TASK16, $0", ax=0x11223344, bx=0x55667788
    case "to a 16-bit TSS: lcall", kernel, "lcall $TASK16, $0", ax=0x11223344, bx=0x55667788
    case "to a 16-bit TSS: int", kernel, "int $0x40", "vector 0x40, 0, TASK16, type=5"
    case "to a 16-bit TSS: exception", user, "hlt", "gate idt+13*8, 0, TASK16, 0, 5"
    case "to a 16-bit TSS: iret", kernel, "iretl", "called_by TASK16"
    case "to a 16-bit TSS, limit 0x2a", kernel, "ljmp $TASK16, $0", "movb $0x2a, gdt + TASK16"
    case "to a 16-bit TSS, limit 0x2a: int", kernel, "int $0x40", "vector 0x40, 0, TASK16, type=5; movb $0x2a, \
        gdt + TASK16"
    case "to a 16-bit TSS with fs and gs", kernel, "ljmp $TASK16, $0", "movl $UDATA, begin + FS; movl $UDATA, \
        begin + GS"
    case "to a 16-bit TSS with TF", kernel, "ljmp $TASK16, $0", "movw $0x102, task16 + 0x10"
    case "to a 16-bit TSS with an LDT", kernel, "ljmp $TASK16, $0", "movw $LDT, task16 + 0x2a; movw $0xc, \
        task16 + 0x28"
    case "to a 16-bit TSS, busy", kernel, "ljmp $TASK16, $0", "orb $2, gdt + TASK16 + 5"
    case "from a 16-bit TSS: ljmp", kernel, "ljmp $TASK, $0", "from16", ax=0x11223344, bx=0x55667788, fl=0x200002
    case "from a 16-bit TSS: lcall", kernel, "lcall $TASK, $0", "from16", ax=0x11223344, bx=0x55667788
    case "from a 16-bit TSS: int", kernel, "int $0x40", "vector 0x40, 0, TASK, type=5; from16", ax=0x11223344
    case "from a 16-bit TSS: exception", kernel, "fnop", "gate idt+7*8, 0, TASK, 0, 5; cr0_set 8; from16", \
        ax=0x11223344
    case "from a 16-bit TSS: iret", kernel, "iretl", "called_by TASK; from16; movw $TASK, task16", ax=0x11223344
    case "from a 16-bit TSS, limit 0x28", kernel, "ljmp $TASK, $0", "movb $0x28, gdt + TASK16; from16"
    case "from a 16-bit TSS, limit 0x29", kernel, "ljmp $TASK, $0", "movb $0x29, gdt + TASK16; from16"
    case "from a 16-bit TSS, limit 0x20", kernel, "ljmp $TASK, $0", "movb $0x20, gdt + TASK16; from16"
    case "from a 16-bit TSS to itself", kernel, "ljmp $TASK16, $0", "from16"
