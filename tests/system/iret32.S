/* iret32: interrupt and trap gates of both sizes, INT, exceptions in exceptions, IRET. */
#include "narrow.inc"
    .set IOPL3, 0x3002

    theme "== interrupts through gates"
    .macro int_gated name:req, target, sel=KCODE, dpl=3, type=0xe, p=1, setup
    case "int gate, \name, kernel", kernel, "int $0x40", "vector 0x40, \target, \sel, \dpl, \type, \p; \setup", \
        fl=0x202
    case "int gate, \name, ring 1", ring1, "int $0x40", "vector 0x40, \target, \sel, \dpl, \type, \p; \setup", \
        fl=0x202
    case "int gate, \name, user", user, "int $0x40", "vector 0x40, \target, \sel, \dpl, \type, \p; \setup", fl=0x202
    case "exception gate, \name, kernel", kernel, "fnop", "gate idt+7*8, \target, \sel, \dpl, \type, \p; \
        cr0_set 8; \setup", fl=0x202
    case "exception gate, \name, user", user, "fnop", "gate idt+7*8, \target, \sel, \dpl, \type, \p; \
        cr0_set 8; \setup", fl=0x202
    .endm
    int_gated "plain", bare_landing
    int_gated "trap", bare_landing, type=0xf
    int_gated "16 bits", 0, TASK_CODE16, type=6
    int_gated "trap of 16 bits", 0, TASK_CODE16, type=7
    int_gated "ring 1", bare_landing, CODE1
    int_gated "ring 2", bare_landing, CODE2
    int_gated "user code", user_landing, UCODE|3
    int_gated "conforming", bare_landing, CONFORMING
    int_gated "conforming of ring 3", user_landing, CONFORMING3
    int_gated "dpl 0", bare_landing, dpl=0
    int_gated "dpl 1", bare_landing, dpl=1
    int_gated "absent", bare_landing, p=0
    int_gated "absent, dpl 0", bare_landing, dpl=0, p=0
    int_gated "null", bare_landing, 0
    int_gated "null rpl 3", bare_landing, 3
    int_gated "rpl 3", bare_landing, KCODE|3
    int_gated "data", bare_landing, KDATA
    int_gated "absent code", bare_landing, ABSENT_CODE
    int_gated "a TSS", bare_landing, TASK
    int_gated "beyond the table", bare_landing, 0x1000
    int_gated "in no LDT", bare_landing, 0xc
    int_gated "beyond the limit of the code", bare_landing, FREE, setup="segment FREE, 0, 0xfff, 0x9b"
    int_gated "to 16-bit code", 0, TASK_CODE16
    int_gated "a call gate", bare_landing, type=0xc
    int_gated "type 0", bare_landing, type=0
    int_gated "type 13", bare_landing, type=0xd
    int_gated "reserved bits", bare_landing, setup="movb $0x1f, idt + 0x40 * 8 + 4; movb $0x1f, idt + 7 * 8 + 4"
    int_gated "not mapped", 0x50000000
    case "int gate, all flags, kernel", kernel, "int $0x40", "vector 0x40, bare_landing", fl=0x247ed7
    case "int gate, all flags, user", user, "int $0x40", "vector 0x40, bare_landing", fl=0x247ed7
    case "trap gate, all flags, user", user, "int $0x40", "vector 0x40, bare_landing, type=0xf", fl=0x247ed7
    case "int gate, TF, user", user, "int $0x40", "vector 0x40, bare_landing", fl=0x102
    case "int gate of 16 bits with parameters on the stack, user", user16, "int $0x40", "vector 0x40, 0, \
        TASK_CODE16, type=6"
    case "int gate, 16-bit code, kernel", kernel16, "int $0x40", "vector 0x40, bare_landing"

    theme "== the IDT and its limit"
    .macro idt_limit n
    sidt DATA
    movw $\n, DATA
    lidt DATA
    .endm
    .irp mode, kernel, user
    case "int at the IDT's limit, \mode", \mode, "int $0x40", "vector 0x40, bare_landing; idt_limit 0x207"
    case "int, half beyond the IDT's limit, \mode", \mode, "int $0x40", "vector 0x40, bare_landing; idt_limit 0x206"
    case "int beyond the IDT's limit, \mode", \mode, "int $0x40", "idt_limit 0x1ff"
    case "int 0xff, \mode", \mode, "int $0xff"
    case "int 3 by two bytes, \mode", \mode, ".byte 0xcd, 3"
    case "int3, \mode", \mode, "int3"
    case "int3, dpl 0, \mode", \mode, "int3", "andb $~0x60, idt + 3 * 8 + 5"
    case "int 13, \mode", \mode, "int $13"
    case "int 14, dpl 3, \mode", \mode, "int $14", "vector 14, bare_landing"
    case "int 8, dpl 3, \mode", \mode, "int $8", "vector 8, bare_landing"
    case "icebp, \mode", \mode, ".byte 0xf1"
    case "icebp, dpl 0, absent, \mode", \mode, ".byte 0xf1", "andb $0x7f, idt + 1 * 8 + 5"
    case "int, the IDT not mapped, \mode", \mode, "int $0x40", "sidt DATA; \
        mov $idt, %esi; mov $WINDOW + 0x1000 - 0x200, %edi; mov $0x50 * 2, %ecx; rep movsl; \
        movl $WINDOW + 0x1000 - 0x200, DATA + 2; lidt DATA; movl $0, window + 4; flush"
    case "exception with an error code, 16-bit gate, \mode", \mode, "mov %ecx, %ds", \
        "gate idt+13*8, 0, TASK_CODE16, 0, 6", cx=0x1000
    case "exception with an error code, 32-bit gate, \mode", \mode, "mov %ecx, %ds", \
        "gate idt+13*8, bare_landing, KCODE, 0, 14", cx=0x1000
    case "exception with an error code, 32-bit trap gate, \mode", \mode, "mov %ecx, %ds", \
        "gate idt+13*8, bare_landing, KCODE, 0, 15", cx=0x1000, fl=0x202
    .endr
    case "exception with an error code to ring 1", user, "mov %ecx, %ds", "gate idt+13*8, bare_landing, CODE1, 0, \
        14", \
        cx=0x1000

    theme "== exceptions in exceptions"
    .macro chain name:req, body, setup, fl=2
    case "\name, kernel", kernel, "\body", "\setup", fl=\fl
    case "\name, user", user, "\body", "\setup", fl=\fl
    .endm
    .macro absent n
    andb $0x7f, idt + \n * 8 + 5
    .endm
    chain "de, its gate absent", "xor %ecx, %ecx; div %ecx", "absent 0"
    chain "ud, its gate absent", "ud2; nop", "absent 6"
    chain "br, its gate absent", "bound %eax, DATA", "movl $5, DATA; movl $6, DATA + 4; absent 5"
    chain "of, its gate absent", "into", "absent 4", fl=0x802
    chain "bp, its gate absent", "int3", "absent 3"
    chain "nm, its gate absent", "fnop", "cr0_set 8; absent 7"
    chain "gp, its gate absent", "mov %eax, %cr4", "absent 13; movl $-1, begin + AX"
    chain "np, its gate absent", "mov $ABSENT_DATA | 3, %eax; mov %eax, %fs", "orb $0x60, gdt + ABSENT_DATA + 5; \
        absent 11"
    chain "pf, its gate absent", "mov 0x50000000, %eax", "absent 14"
    chain "gp, np's and its gate absent", "mov $0x1000, %eax; mov %eax, %fs", "absent 13; absent 11"
    chain "ud, its gate absent and np's", "ud2; nop", "absent 6; absent 11"
    chain "int, its gate absent and np's", "int $0x40", "absent 0x40; absent 11"
    chain "int, its gate absent, np's in a page not there", "int $0x40", "absent 0x40; gate idt+11*8, 0x50000000, \
        KCODE, 0, 14"
    chain "pf, its gate a task gate to nothing", "mov 0x50000000, %eax", "gate idt+14*8, 0, 0, 0, 5"
    chain "de, its gate to a TSS that is not mapped", "xor %ecx, %ecx; div %ecx", \
        "gate idt+0*8, 0, TASK, 0, 5; movl $0, window; movw $0, gdt + TASK + 2; movb $0x40, gdt + TASK + 4"
    chain "pf, its gate to a TSS that is not mapped", "mov 0x50000000, %eax", \
        "gate idt+14*8, 0, TASK, 0, 5; movl $0, window; movw $0, gdt + TASK + 2; movb $0x40, gdt + TASK + 4"
    chain "gp, its gate to a TSS that is not mapped", "mov $0x1000, %eax; mov %eax, %fs", \
        "gate idt+13*8, 0, TASK, 0, 5; movl $0, window; movw $0, gdt + TASK + 2; movb $0x40, gdt + TASK + 4"
    chain "db, its gate absent", "nop; nop", "absent 1", fl=0x102
    case "a bad stack: pf in pf", kernel, "mov $0x50000000, %esp; mov 0x60000000, %eax", ""
    case "a bad stack: pf in gp", kernel, "mov $0x50000000, %esp; mov %ecx, %fs", "", cx=0x1000
    case "a bad stack: pf in ud", kernel, "mov $0x50000000, %esp; .byte 0x0f, 0xff", "by_task 14"
    case "a bad stack: pf in int", kernel, "mov $0x50000000, %esp; int $0x40", "by_task 14"
    case "a bad stack: pf in nm", kernel, "mov $0x50000000, %esp; fnop", "by_task 14; cr0_set 8"
    case "a bad stack: ss in ud", kernel, "mov %ecx, %ss; xor %esp, %esp; .byte 0x0f, 0xff", \
        "by_task 12; segment FREE, 0, 0xff, 0x97", cx=FREE
    case "a bad stack: ss in pf", kernel, "mov %ecx, %ss; mov $0x80, %esp; mov 0x60000000, %eax", \
        "by_task 12; segment FREE, 0, 0xff, 0x97", cx=FREE
    case "a bad stack: ss in int", kernel, "mov %ecx, %ss; mov $0x80, %esp; int $0x40", \
        "by_task 12; segment FREE, 0, 0xff, 0x97", cx=FREE

    theme "== IRET"
    .irp sel, 0, 3, KCODE, KCODE|3, CODE1|1, KDATA, ABSENT_CODE, UCODE, CONFORMING, CONFORMING3, CONFORMING|3, TSS, \
        0x1000, EXECUTE_ONLY, 0xc
    case "iret to \sel", kernel, "frame UDATA|3, user_stack, 2, \sel, 1f; iret; 1:"
    .endr
    .irp sel, 0, UCODE, UCODE|3, CONFORMING|3, CONFORMING3|3, KCODE, CODE1|1
    case "iret to \sel, user", user, "frame0 2, \sel, 1f; iret; 1:"
    .endr
    .irp sel, 0, 3, UDATA, UDATA|3, KDATA, KDATA|3, UREAD_ONLY|3, ABSENT_DATA|3, UCODE|3, 0x1003, LDT|3, DATA1|3
    case "iret to user, stack \sel", kernel, "frame \sel, user_stack, 2, UCODE|3, user_landing; iret"
    .endr
    case "iret to user, stack not present", kernel, "frame FREE|3, user_stack, 2, UCODE|3, user_landing; iret", \
        "segment FREE, 0, 0xfffff, 0x73, 12"
    case "iret to ring 1", kernel, "frame DATA1|1, esp2_stack, 2, CODE1|1, bare_landing; iret"
    case "iret to ring 2 of ring 1", ring1, "frame DATA2|2, esp2_stack, 2, CODE2|2, bare_landing; iret"
    case "iret to ring 0 of ring 1", ring1, "frame0 2, KCODE, bare_landing; iret"
    .irp fl, 0, 0x202, 0x3002, 0x10002, 0x40002, 0x180002, 0x200002, 0xcd7, 0xffc0802a
    case "iret with flags \fl", kernel, "frame0 \fl, KCODE, bare_landing; iret"
    case "iret to user with flags \fl", kernel, "frame UDATA|3, user_stack, \fl, UCODE|3, user_landing; iret"
    case "iret with flags \fl, user", user, "frame0 \fl, UCODE|3, user_landing; iret"
    case "iret with flags \fl, user of IOPL 3", user, "frame0 \fl, UCODE|3, user_landing; iret", fl=IOPL3
    case "iret with flags \fl, ring 1 of IOPL 1", ring1, "frame0 \fl, CODE1|1, bare_landing; iret", fl=0x1002
    .endr
    case "iret with TF", kernel, "frame0 0x102, KCODE, 1f; iret; 1: nop; nop"
    case "iret to user with TF", kernel, "frame UDATA|3, user_stack, 0x102, UCODE|3, user_landing; iret"
    case "iret with RF and TF", kernel, "frame0 0x10102, KCODE, 1f; iret; 1: nop; nop"
    case "iret while TF", kernel, "iret; 1: nop", "movl $1b, kernel_stack - 12; movl $KCODE, kernel_stack - 8; \
        movl $2, kernel_stack - 4; subl $12, begin + SP", fl=0x102
    case "iret beyond the limit", kernel, "frame0 2, FREE, bare_landing; iret", "segment FREE, 0, 0xfff, 0x9b"
    case "iret to user beyond the limit", kernel, "frame UDATA|3, user_stack, 2, FREE|3, user_landing; iret", \
        "segment FREE, 0, 0xfff, 0xfb"
    case "iret to not mapped", kernel, "frame0 2, KCODE, 0x50000000; iret"
    case "iret, upper half of the selector", kernel, "frame0 2, 0x12340000|KCODE, bare_landing; iret"
    case "iret to user, 16-bit stack", kernel, "frame UDATA16|3, 0x12345678, 2, UCODE|3, user_landing; iret"
    case "iret to 16-bit code", kernel, "frame0 2, TASK_CODE16, 0; iret"
    case "iret to user with kernel data in ds to gs", kernel, "mov %ecx, %fs; mov %ecx, %gs; \
        frame UDATA|3, user_stack, 2, UCODE|3, user_landing; iret", cx=KDATA
    case "iret to user with conforming code in fs", kernel, "mov %ecx, %fs; mov %edx, %gs; \
        frame UDATA|3, user_stack, 2, UCODE|3, user_landing; iret", cx=CONFORMING, dx=READ_ONLY
    case "iretw", kernel, "pushw $0x46; pushw $TASK_CODE16; pushw $0; iretw"
    case "iretw keeps the upper half of the flags", kernel, "pushw $0x46; pushw $TASK_CODE16; pushw $0; iretw", \
        fl=0x240002
    case "iretw to user", kernel, "pushw $UDATA | 3; pushw $0x800; pushw $2; pushw $FREE | 3; pushw $0x10; iretw", \
        "segment FREE, user_landing-0x10, 0xffff, 0xfb"
    case "iretw to user, 16-bit stack", kernel, "pushw $UDATA16 | 3; pushw $0x800; pushw $2; pushw $FREE | 3; \
        pushw $0x10; iretw", "segment FREE, user_landing-0x10, 0xffff, 0xfb"
    case "iret, stack not mapped", kernel, "mov %ecx, %esp; iret", "by_task 14", cx=0x50000000
    case "iret, stack not mapped, user", user, "mov %ecx, %esp; iret", cx=0x50000000
    case "iret, end of the stack not mapped, user", user, "mov %ecx, %esp; iret", "pte 0, 7; movl $0, window + 4", \
        cx=WINDOW+0xff8
    case "iret to user, end of the stack not mapped", kernel, "mov %ecx, %esp; iret", "by_task 14; \
        movl $2, WINDOW + 0xff8; movl $UCODE | 3, WINDOW + 0xff4; movl $user_landing, WINDOW + 0xff0; movl $0, \
        window + 4", \
        cx=WINDOW+0xff0
    case "iret, null, and the stack's end not mapped", kernel, "mov %ecx, %esp; iret", "by_task 14; by_task 13; \
        movl $2, WINDOW + 0xff8; movl $0, WINDOW + 0xff4; movl $user_landing, WINDOW + 0xff0; movl $0, window + 4", \
        cx=WINDOW+0xff0
    case "iret with lock", kernel, ".byte 0xf0; iret"
    case "iret sets the accessed bit", kernel, "frame0 2, FREE, bare_landing; iret", "segment FREE, 0, 0xfffff, \
        0x9a, 12"

    theme "== flags and IOPL"
    .irp iopl, 0, 1, 3
    .irp mode, ring1, user
    case "cli, iopl \iopl, \mode", \mode, "cli", fl=0x202 | \iopl << 12
    case "sti, iopl \iopl, \mode", \mode, "sti; cli", fl=2 | \iopl << 12
    case "popf of all ones, iopl \iopl, \mode", \mode, "push $~0x100; popf; pushf; push $2; popf; pop %eax", \
        fl=2 | \iopl << 12
    case "popf of zero, iopl \iopl, \mode", \mode, "push $0; popf", fl=0x202 | \iopl << 12
    case "popfw, iopl \iopl, \mode", \mode, "pushw $0xfeff; popfw; pushf; push $2; popf; pop %eax", \
        fl=0x40002 | \iopl << 12
    case "out, iopl \iopl, \mode", \mode, "out %al, $0x80", fl=2 | \iopl << 12
    case "insb, iopl \iopl, \mode", \mode, "insb", fl=2 | \iopl << 12, dx=0x3ff
    .endr
    .endr
    case "popf of all ones, kernel", kernel, "push $~0x100; popf; pushf; push $2; popf; pop %eax"
    case "popf of RF and VM, kernel", kernel, "push $0x30002; popf; pushf; push $2; popf; pop %eax"
    case "popfw of all ones, kernel", kernel, "pushw $0xfeff; popfw; pushf; push $2; popf; pop %eax"
    case "pushfw", kernel, "pushfw", fl=0x240cd6
    case "pushf does not show RF", kernel, "pushf; pop %eax", fl=0x10002
    .irp mode, user, ring1
    case "hlt, \mode", \mode, "hlt"
    case "clts, \mode", \mode, "clts"
    case "lmsw, \mode", \mode, "lmsw %ax"
    case "smsw, \mode", \mode, "smsw %eax"
    case "invlpg, \mode", \mode, "invlpg DATA"
    case "invd, \mode", \mode, "invd"
    case "wbinvd, \mode", \mode, "wbinvd"
    case "mov from cr0, \mode", \mode, "mov %cr0, %eax"
    case "mov to cr3, \mode", \mode, "mov %eax, %cr3"
    case "mov from dr0, \mode", \mode, "mov %dr0, %eax"
    case "rdmsr, \mode", \mode, "rdmsr", cx=0x174
    case "rdtsc, TSD, \mode", \mode, "rdtsc", "cr4_set 4"
    case "rdpmc, \mode", \mode, "rdpmc"
    .endr

    theme "== the I/O permission bitmap"
    .macro tss_limit n
    movw $\n, gdt + TSS
    andb $~2, gdt + TSS + 5
    load_tr TSS
    .endm
    case "out, no bitmap", user, "out %al, $0x80"
    case "out, denied", user, "out %al, $0x80", "tss_limit 0x2068"
    case "out, allowed", user, "out %al, $0x80", "tss_limit 0x2068; movb $0, tss + 0x68 + 0x10"
    case "out, allowed, ring 1", ring1, "out %al, $0x80", "tss_limit 0x2068; movb $0, tss + 0x68 + 0x10"
    case "outw across bytes, the second denied", user, "out %ax, $0x87", "tss_limit 0x2068; movw $0x100, \
        tss + 0x68 + 0x10"
    case "outl, allowed", user, "out %eax, $0x84", "tss_limit 0x2068; movb $0xf, tss + 0x68 + 0x10"
    case "out, the second byte beyond the limit", user, "out %al, $0x80", "tss_limit 0x78; movb $0, tss + 0x78"
    case "out, the second byte at the limit", user, "out %al, $0x80", "tss_limit 0x79; movb $0, tss + 0x78"
    case "out, no base in the TSS", user, "out %al, $0x80", "movl $0, tss + 0x64; tss_limit 0x66"
    case "out, bitmap over the TSS", user, "out %al, $0", "movw $0x20, tss + 0x66"
