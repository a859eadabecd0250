/* debug64: single steps, breakpoints of code, data and ports, the debug registers; interrupt shadows. */
#include "wide.inc"

    .set TF, 0x102
    .set RF, 0x10002
    .set DATA, user_data /* what the data breakpoints are about */

    theme "== single steps"
    case "TF", kernel, "nop; nop", fl=TF
    case "TF, user", user, "nop; nop", fl=TF
    case "TF, compat", user32, "nop; nop", fl=TF
    case "TF, the instruction is done", kernel, "mov $5, %eax; nop", fl=TF
    case "TF, jump", kernel, "jmp 1f; nop; 1: nop", fl=TF
    case "TF, call", kernel, "call 1f; nop; 1: nop", fl=TF
    case "TF by popf", kernel, "push $0x102; popf; nop; nop"
    case "TF by popf, user", user, "push $0x102; popf; nop; nop"
    case "TF off by popf", kernel, "popf; nop; nop", "subq $8, begin + SP; movq $2, kernel_stack - 8", fl=TF
    case "TF by iretq", kernel, "frame KDATA, kernel_stack, 0x102, KCODE, 1f; iretq; 1: nop; nop"
    case "TF off by iretq", kernel, "iretq", "movq $KDATA, kernel_stack - 8; movq $kernel_stack, kernel_stack - 16; \
        movq $2, kernel_stack - 24; movq $KCODE, kernel_stack - 32; movq $bare_landing, kernel_stack - 40; subq $40, \
        begin + SP", fl=TF
    case "TF by iretq to user", kernel, "frame UDATA|3, user_stack, 0x102, UCODE|3, user_landing; iretq"
    case "TF and an instruction that faults", kernel, "mov (%rbx), %eax", bx=0x50000000, fl=TF
    case "TF and a fault behind it", kernel, "nop; mov (%rbx), %eax", bx=0x50000000, fl=TF
    case "TF and ud2", kernel, "ud2; nop", fl=TF
    case "TF and int", kernel, "int $0x40; nop; nop", "vector 0x40, 2f; jmp 3f; 2: pushf; pop %rax; iretq; 3:", fl=TF
    case "TF and int, user", user, "int $0x40; nop; nop", "vector 0x40, 2f; jmp 3f; 2: pushf; pop %rax; iretq; 3:", \
        fl=TF
    case "TF and int3", user, "int3; nop", fl=TF
    case "TF and icebp", kernel, ".byte 0xf1; nop", fl=TF
    case "TF and into, compat", user32, "into; nop", fl=TF|0x800
    case "TF and rep movsb", kernel, "rep movsb; nop", "movq $DATA, begin + SI; movq $DATA + 64, begin + DI", cx=3, \
        fl=TF
    case "TF and rep movsb of nothing", kernel, "rep movsb; nop", fl=TF
    case "TF and rep stosb of one", kernel, "rep stosb; nop", "movq $DATA, begin + DI", cx=1, fl=TF
    case "TF and repe cmpsb that ends", kernel, "repe cmpsb; nop", \
        "movq $DATA, begin + SI; movq $DATA + 1, begin + DI; movw $0x201, DATA", cx=3, fl=TF
    case "TF and rep outsb", kernel, "rep outsb; nop", "movq $DATA, begin + SI", cx=3, dx=0x80, fl=TF
    case "TF and mov ss", kernel, "mov %eax, %ss; nop; nop", ax=KDATA, fl=TF
    case "TF and mov ss twice", kernel, "mov %eax, %ss; mov %eax, %ss; nop; nop", ax=KDATA, fl=TF
    case "TF and mov ss, user", user, "mov %eax, %ss; nop; nop", ax=UDATA|3, fl=TF
    case "TF and mov ss of null", kernel, "mov %eax, %ss; nop; nop", fl=TF
    case "TF and mov ds", kernel, "mov %eax, %ds; nop; nop", ax=KDATA, fl=TF
    case "TF and pop ss, compat", user32, "pop %ss; nop; nop", "subq $4, begin + SP; movl $UDATA | 3, user_stack - 4", \
        fl=TF
    case "TF and lss", kernel, "lssl (%rbx), %eax; nop; nop", "movl $KDATA, DATA + 4", bx=DATA, fl=TF
    case "TF and mov ss before a fault", kernel, "mov %eax, %ss; mov (%rbx), %eax", ax=KDATA, bx=0x50000000, fl=TF
    case "TF and mov ss before int", kernel, "mov %eax, %ss; int $0x40; nop", \
        "vector 0x40, 2f; jmp 3f; 2: nop; nop; ud2; 3:", ax=KDATA, fl=TF
    case "TF and mov ss before ud2", kernel, "mov %eax, %ss; ud2; nop", ax=KDATA, fl=TF
    case "TF and sti", kernel, "sti; cli; nop", fl=TF
    case "TF and cli", kernel, "cli; nop", fl=TF|0x200
    case "TF and cpuid", kernel, "cpuid; nop", ax=3, fl=TF
    case "TF and in", kernel, "in %dx, %al; nop", dx=0x3ff, fl=TF
    case "TF and out", kernel, "out %al, $0x80; nop", fl=TF
    case "TF and rdmsr", kernel, "rdmsr; nop", cx=0xc0000080, fl=TF
    case "TF and wrmsr", kernel, "wrmsr; nop", cx=0xc0000082, fl=TF
    case "TF and mov to cr3", kernel, "mov %rax, %cr3; nop", "mov %cr3, %rax; mov %rax, begin + AX", fl=TF, bed=1
    case "TF and mov to cr0", kernel, "mov %rax, %cr0; nop", "mov %cr0, %rax; mov %rax, begin + AX", fl=TF
    case "TF and mov to cr8", kernel, "mov %rax, %cr8; nop", fl=TF
    case "TF and mov from dr0", kernel, "mov %dr0, %rax; nop", fl=TF
    case "TF and wbinvd", kernel, "wbinvd; nop", fl=TF
    case "TF and invlpg", kernel, "invlpg (%rbx); nop", bx=0x200000, fl=TF
    case "TF and pause", kernel, "pause; nop", fl=TF
    case "TF and clts", kernel, "clts; nop", fl=TF
    case "TF and lgdt", kernel, "lgdt (%rbx); nop", "sgdt DATA", bx=DATA, fl=TF
    case "TF and ltr", kernel, "ltr %ax; nop", "andb $~2, gdt + TSS + 5", ax=TSS, fl=TF
    case "TF and a far jump", kernel, "ljmpl *(%rbx)", "movl $bare_landing, DATA; movl $KCODE, DATA + 4", bx=DATA, fl=TF
    case "TF and a far jump to compat", kernel, "ljmpl *(%rbx)", "movl $bare_landing, DATA; movl $KCODE32, DATA + 4", \
        bx=DATA, fl=TF
    case "TF and lretq to user", kernel, "lretq", "movq $UDATA | 3, kernel_stack - 8; \
        movq $user_stack, kernel_stack - 16; movq $UCODE | 3, kernel_stack - 24; movq $user_landing, \
        kernel_stack - 32; subq $32, begin + SP", fl=TF
    case "TF and a call gate", user, "lcalll *(%rbx)", "call_gate bare_landing; movl $FREE, DATA + 4", bx=DATA, fl=TF
    case "TF and RF", kernel, "nop; nop", fl=TF|RF
    case "TF with BS set in DR6 already", kernel, "nop; nop", \
        "mov $0xffff4fff, %eax; mov %rax, %dr6; mov %rax, begin + DR6", fl=TF
    case "TF with an instruction of 16 bytes", kernel, ".fill 15, 1, 0x66; nop", fl=TF
    case "TF and an instruction over two pages", kernel, "jmp *%rbx", \
        "movl $0x34b8, 0x200ffe; movl $0x0b0f0000, 0x201001; movl $0x102, begin + FL; addq $2, begin + IP", bx=0x200ffe

    theme "== code breakpoints"
    .macro dr n, addr, control
    mov $\addr, %eax
    mov %rax, %dr\n
    mov $(\control + 0x400), %eax
    mov %rax, %dr7
    .endm
    case "a code breakpoint at the begin", kernel, "1: nop; nop", "dr 0, 1b, 1"
    case "a code breakpoint", kernel, "nop; 1: nop", "dr 0, 1b, 1"
    case "a code breakpoint, user", user, "nop; 1: nop", "dr 1, 1b, 4"
    case "a code breakpoint, compat", user32, "nop; 1: nop", "dr 2, 1b, 0x10"
    case "a code breakpoint, DR3, global", kernel, "nop; 1: nop", "dr 3, 1b, 0x80"
    case "a code breakpoint, not enabled", kernel, "nop; 1: nop", "dr 0, 1b, 0"
    case "a code breakpoint within an instruction", kernel, "nop; mov $0, %eax; nop", \
        "dr 0, begin, 1; mov begin + IP, %rax; add $2, %rax; mov %rax, %dr0"
    case "two code breakpoints at once", kernel, "nop; 1: nop", "dr 0, 1b, 1; dr 1, 1b, 5"
    case "a code breakpoint and another that is off", kernel, "nop; 1: nop", "dr 0, 1b, 1; dr 1, 1b, 1"
    case "a code breakpoint under RF", kernel, "1: nop; nop", "dr 0, 1b, 1", fl=RF
    case "RF lasts for one instruction", kernel, "nop; 1: nop", "dr 0, 1b, 1", fl=RF
    case "a code breakpoint under RF, user", user, "1: nop; nop", "dr 0, 1b, 1", fl=RF
    case "a code breakpoint on a jump's target", kernel, "jmp 1f; nop; 1: nop", "dr 0, 1b, 1"
    case "a code breakpoint on a fault", kernel, "1: ud2; nop", "dr 0, 1b, 1"
    case "a code breakpoint on a fault, under RF", kernel, "1: ud2; nop", "dr 0, 1b, 1", fl=RF
    case "a code breakpoint on ud2's end", kernel, "nop; 1:", "dr 0, 1b, 1"
    case "a code breakpoint after mov ss", kernel, "mov %eax, %ss; 1: nop; nop", "dr 0, 1b, 1", ax=KDATA
    case "a code breakpoint two after mov ss", kernel, "mov %eax, %ss; nop; 1: nop", "dr 0, 1b, 1", ax=KDATA
    case "a code breakpoint after sti", kernel, "sti; 1: cli; nop", "dr 0, 1b, 1"
    case "a code breakpoint on an iretq's target", kernel, "frame KDATA, kernel_stack, 2, KCODE, 1f; iretq; 1: nop", \
        "dr 0, 1b, 1"
    case "a code breakpoint on an iretq's target, RF", kernel, \
        "frame KDATA, kernel_stack, 0x10002, KCODE, 1f; iretq; 1: nop; nop", "dr 0, 1b, 1"
    case "RF by iretl, compat kernel", kernel32, "push $0x10002; push $KCODE32; push $1f; iret; 1: nop; nop", \
        "dr 0, 1b, 1"
    case "RF is not loaded by popf", kernel, "push $0x10002; popf; 1: nop", "dr 0, 1b, 1"
    case "a code breakpoint on a handler", kernel, "int $0x40", "vector 0x40, bare_landing; dr 0, bare_landing, 1"
    case "a code breakpoint on a rep", kernel, "1: rep stosb; nop", "movq $DATA, begin + DI; dr 0, 1b, 1", cx=3
    case "a code breakpoint on a rep, under RF", kernel, "1: rep stosb; nop", "movq $DATA, begin + DI; dr 0, 1b, 1", \
        cx=3, fl=RF
    case "a code breakpoint and TF", kernel, "nop; 1: nop", "dr 0, 1b, 1", fl=TF
    case "a code breakpoint and TF, under RF", kernel, "1: nop; nop", "dr 0, 1b, 1", fl=TF|RF
    case "a code breakpoint in a page not mapped", kernel, "jmp *%rbx", "dr 0, 0x50000000, 1", bx=0x50000000
    case "a code breakpoint in a page not mapped, in the upper half", kernel, "jmp *%rbx", \
        "mov begin + BX, %rax; mov %rax, %dr0; mov $0x401, %eax; mov %rax, %dr7", bx=-0x1000
    case "a code breakpoint, length 8 set", kernel, "nop; 1: nop", "dr 0, 1b, 1"
    case "fault in a breakpoint's delivery", kernel, "1: nop", "vector 1, landing, p=0, ist=1; dr 0, 1b, 1"

    theme "== data breakpoints"
    .set PAGE, 0x205000
/* Lengths in DR7: 0: 1 byte, 1: 2, 2: 8, 3: 4. */
    .macro watch addr, rw, len, n=0
    dr \n, "\addr", "((1 << (2 * \n)) | (\rw << (16 + 4 * \n)) | (\len << (18 + 4 * \n)))"
    .endm
    .irp rw, 1, 3
    case "data breakpoint \rw: write", kernel, "mov %eax, (%rbx); nop; nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: read", kernel, "mov (%rbx), %ecx; xor %ecx, %ecx; nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: write, user", user, "mov %eax, (%rbx); nop; nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: read, compat", user32, "mov (%ebx), %ecx; mov $0, %ecx; nop", "watch DATA, \rw, 3", \
        bx=DATA
    case "data breakpoint \rw: read-modify-write", kernel, "incl (%rbx); nop", "movl $5, DATA; watch DATA, \rw, 3", \
        bx=DATA
    case "data breakpoint \rw: locked", kernel, "lock incl (%rbx); nop", "movl $5, DATA; watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: cmpxchg that fails", kernel, "cmpxchg %ecx, (%rbx); nop", \
        "movl $5, DATA; watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: test", kernel, "testb $1, (%rbx); nop", "movl $5, DATA; watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: push", kernel, "lea 8(%rbx), %rsp; push %rax; nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: pop", kernel, "mov %rbx, %rsp; pop %rax; nop", "watch DATA, \rw, 3; movq $0, DATA", \
        bx=DATA
    case "data breakpoint \rw: call", kernel, "lea 8(%rbx), %rsp; call 1f; nop; 1: nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: movs", kernel, "mov %ebx, %esi; lea 64(%rbx), %edi; movsl; nop", "watch DATA, \rw, 3", \
        bx=DATA
    case "data breakpoint \rw: rep movs", kernel, "lea -4(%rbx), %edi; lea 64(%rbx), %esi; mov $5, %ecx; rep movsb; \
        nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: rep stos, last element", kernel, "lea -4(%rbx), %edi; mov $5, %ecx; rep stosb; nop", \
        "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: lea is no access", kernel, "lea (%rbx), %eax; nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: prefetch, invlpg, nop are no access", kernel, \
        "prefetchnta (%rbx); invlpg (%rbx); nopl (%rbx)", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: sse", kernel, "movups %xmm0, -8(%rbx); nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: sse load", kernel, "movups -8(%rbx), %xmm0; nop", "watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: x87 store", kernel, "fstpt -2(%rbx); nop", "fldz; watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: fxsave", kernel, "fxsave (%rbx); nop", "watch DATA + 256, \rw, 3", bx=DATA
    case "data breakpoint \rw: sgdt", kernel, "sgdt (%rbx); nop", "watch DATA + 8, \rw, 0", bx=DATA
    case "data breakpoint \rw: the GDT", kernel, "mov %eax, %fs; nop", "watch gdt + UDATA, \rw, 3", ax=UDATA|3
    case "data breakpoint \rw: the IDT", kernel, "int $0x40; nop", \
        "vector 0x40, 2f; jmp 3f; 2: nop; nop; ud2; 3: watch idt + 0x400, \rw, 3", bed=0
    case "data breakpoint \rw: the stack of an interrupt", kernel, "mov %rbx, %rsp; int $0x40; nop", \
        "vector 0x40, 2f; jmp 3f; 2: nop; nop; ud2; 3: watch DATA+0x38, \rw, 3", bx=DATA+0x40, bed=0
    case "data breakpoint \rw: the stack of an interrupt from user", user, "int $0x40; nop", \
        "vector 0x40, 2f; jmp 3f; 2: nop; nop; ud2; 3: watch rsp0_stack-16, \rw, 3", bed=0
    case "data breakpoint \rw: the TSS", user, "int $0x40; nop", \
        "vector 0x40, 2f; jmp 3f; 2: nop; nop; ud2; 3: watch tss + 4, \rw, 3", bed=0
    case "data breakpoint \rw: the bitmap of ports", user, "out %al, $0x80; nop", \
        "tss_limit 0x2068; movb $0, tss + 0x78; watch tss + 0x78, \rw, 0"
    case "data breakpoint \rw: after mov ss", kernel, "mov (%rbx), %ss; nop; nop", \
        "movl $KDATA, DATA; watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: after mov ss, then int", kernel, "mov (%rbx), %ss; int $0x40; nop", \
        "vector 0x40, 2f; jmp 3f; 2: nop; nop; ud2; 3: movl $KDATA, DATA; watch DATA, \rw, 3", bx=DATA
    case "data breakpoint \rw: a write that faults later", kernel, "movl $PAGE - 4, %edi; mov $2, %ecx; rep stosl", \
        "watch 0x204ffc, \rw, 3; movq $0, window + 5 * 8"
    case "data breakpoint \rw: a write over two pages, the second not mapped", kernel, "mov %rax, (%rbx)", \
        "watch 0x204ffc, \rw, 3; movq $0, window + 5 * 8", bx=0x204ffc
    case "data breakpoint \rw and TF", kernel, "mov %eax, (%rbx); nop; nop", "watch DATA, \rw, 3", bx=DATA, fl=TF
    case "data breakpoint \rw and a code breakpoint behind", kernel, "mov %eax, (%rbx); 1: nop; nop", \
        "dr 1, 1b, 0; watch DATA, \rw, 3; mov %dr7, %rax; or $4, %eax; mov %rax, %dr7", bx=DATA
    .endr
    .irp len, 0, 1, 2, 3
    .irp at, -8, -4, -2, -1, 0, 1, 2, 3, 4, 7, 8
    case "data breakpoint of length \len, byte at \at", kernel, "movb %al, \at(%rbx); nop", \
        "watch DATA + 64, 1, \len", bx=DATA+64
    .endr
    case "data breakpoint of length \len, qword from -7", kernel, "mov %rax, -7(%rbx); nop", \
        "watch DATA + 64, 1, \len", bx=DATA+64
    case "data breakpoint of length \len, address not aligned, byte below", kernel, "movb %al, -1(%rbx); nop", \
        "watch DATA + 65, 1, \len", bx=DATA+65
    case "data breakpoint of length \len, address not aligned, byte above", kernel, "movb %al, 1(%rbx); nop", \
        "watch DATA + 65, 1, \len", bx=DATA+65
    .endr
    case "two data breakpoints at once", kernel, "mov %rax, (%rbx); nop", \
        "watch DATA, 1, 3; mov $DATA + 4, %eax; mov %rax, %dr2; mov %dr7, %rax; or $0x0d000010, %eax; mov %rax, %dr7", \
        bx=DATA
    case "a data breakpoint by linear address, fs base", kernel, "mov %eax, %fs:(%rbx); nop", \
        "watch DATA, 1, 3; set_msr 0xc0000100, 0x10", bx=DATA-0x10
    case "a data breakpoint in another mapping of the page", kernel, "mov %eax, (%rbx); nop", \
        "watch 0x205000, 1, 3; pte 6, 3, 0x1ff000", bx=0x206000
    case "a data breakpoint in the upper half", kernel, "mov %eax, (%rbx); nop", \
        "mov begin + BX, %rax; mov %rax, %dr0; mov $0xd0401, %eax; mov %rax, %dr7", bx=0xffff800000205000
    case "a data breakpoint, 32 bits of DR0 do not do", kernel, "mov %eax, (%rbx); nop", "watch 0x205000, 1, 3", \
        bx=0xffff800000205000
    case "type 2 without CR4.DE", kernel, "out %al, $0x80; nop", "watch 0x80, 2, 0"
    case "port breakpoint: out", kernel, "out %al, $0x80; nop; nop", "cr4_set 8; watch 0x80, 2, 0"
    case "port breakpoint: in", kernel, "in %dx, %al; nop; nop", "cr4_set 8; watch 0x3ff, 2, 0", dx=0x3ff
    case "port breakpoint: the next port", kernel, "out %al, $0x81; nop; nop", "cr4_set 8; watch 0x80, 2, 0"
    case "port breakpoint: a word reaches it", kernel, "out %ax, %dx; nop; nop", "cr4_set 8; watch 0x84, 2, 0", dx=0x83
    case "port breakpoint: length 4", kernel, "out %al, $0x83; nop; nop", "cr4_set 8; watch 0x80, 2, 3"
    case "port breakpoint: rep outsb", kernel, "mov %ebx, %esi; rep outsb; nop", "cr4_set 8; watch 0x80, 2, 0", \
        bx=DATA, cx=3, dx=0x80
    case "port breakpoint: memory at that address", kernel, "mov (%rbx), %eax; nop", \
        "cr4_set 8; watch DATA, 2, 3; movl $0, DATA", bx=DATA
    case "port breakpoint, user, denied", user, "out %al, $0x80; nop", "cr4_set 8; watch 0x80, 2, 0"

    theme "== debug registers"
    .irp n, 0, 3
    case "dr\n takes anything", kernel, "mov %rax, %dr\n; mov %dr\n, %rcx", ax=0x8123456789abcdef
    .endr
    case "dr6, all ones", kernel, "mov %rax, %dr6; mov %dr6, %rcx", ax=0xffffffff
    case "dr6, zero", kernel, "mov %rax, %dr6; mov %dr6, %rcx"
    case "dr6, high half", kernel, "mov %rax, %dr6", ax=1<<32
    case "dr7, all ones but GD", kernel, "mov %rax, %dr7; mov %dr7, %rcx; mov $0x400, %eax; mov %rax, %dr7", \
        ax=0xffffdf00
    case "dr7, zero", kernel, "mov %rax, %dr7; mov %dr7, %rcx"
    case "dr7, high half", kernel, "mov %rax, %dr7", ax=0x400|1<<32
    case "dr4 is dr6", kernel, "mov %rax, %dr6; .byte 0x0f, 0x21, 0xe1", ax=3
    case "dr5 is dr7", kernel, ".byte 0x0f, 0x21, 0xe9"
    case "dr4, DE", kernel, ".byte 0x0f, 0x21, 0xe1", "cr4_set 8"
    case "dr5, DE", kernel, ".byte 0x0f, 0x23, 0xe9", "cr4_set 8"
    case "dr8", kernel, ".byte 0x44, 0x0f, 0x21, 0xc0"
    case "mov dr with lock", kernel, ".byte 0xf0, 0x0f, 0x21, 0xc0"
    case "mov dr, operand size is ignored", kernel, ".byte 0x66, 0x0f, 0x21, 0xc1", cx=-1
    .irp n, 0, 3, 6, 7
    case "GD: mov from dr\n", kernel, "mov %dr\n, %rax; nop", "set_dr 7, 0x2400"
    case "GD: mov to dr\n", kernel, "mov %rax, %dr\n; nop", "set_dr 7, 0x2400"
    .endr
    case "GD: mov from dr4, DE", kernel, ".byte 0x0f, 0x21, 0xe1", "cr4_set 8; set_dr 7, 0x2400"
    case "GD: dr7, high half", kernel, "mov %rax, %dr7", "set_dr 7, 0x2400", ax=1<<32
    case "GD is off in the handler", kernel, "mov %dr0, %rax; nop", \
        "set_dr 7, 0x2400; vector 1, 2f; jmp 3f; 2: mov %dr7, %rax; ud2; 3:"
    case "GD and TF", kernel, "mov %dr0, %rax; nop", "set_dr 7, 0x2400; movl $0x102, begin + FL"
    case "DR6 keeps B bits of before", kernel, ".byte 0xf1", "set_dr 6, 0xffff0fff; mov %rax, begin + DR6"
    case "a step clears B bits of before?", kernel, "nop", "set_dr 6, 0xffff0fff; mov %rax, begin + DR6", fl=TF

    theme "== interrupt shadows"
/*
 * The local APIC in the window's page 7. An interrupt that it sends to itself waits for IF; the handler shows
 * where it struck.
 */
    .set APIC, 0x207000
    .macro pending
    pte 7, 0x1b, 0xfedf9000
    movl $0x1ff, APIC + 0xf0
    movl $0, APIC + 0xb0
    movl $0, APIC + 0x310
    movl $0x44041, APIC + 0x300
    vector 0x41, 2f
    jmp 3f
2:  movl $0, APIC + 0xb0
    mov (%rsp), %rdi
    sub begin + IP, %rdi
    mov 16(%rsp), %rsi
    ud2
3:
    .endm
    case "no interrupt without IF", kernel, "nop; nop; sti; nop; nop", "pending"
    case "an interrupt after sti and one instruction", kernel, "sti; nop; nop", "pending"
    case "an interrupt after sti and sti", kernel, "sti; sti; nop; nop", "pending"
    case "an interrupt after popf", kernel, "push $0x202; popf; nop; nop", "pending"
    case "an interrupt after iretq", kernel, "frame KDATA, kernel_stack, 0x202, KCODE, 1f; iretq; 1: nop; nop", \
        "pending"
    case "an interrupt after iretq to user", kernel, "frame UDATA|3, user_stack, 0x202, UCODE|3, user_landing; iretq", \
        "pending"
    case "an interrupt at once", kernel, "nop; nop", "pending", fl=0x202
    case "an interrupt at once, user", user, "nop; nop", "pending", fl=0x202
    case "an interrupt at once, compat", user32, "nop; nop", "pending", fl=0x202
    case "an interrupt after sti and mov ss", kernel, "sti; mov %eax, %ss; nop; nop", "pending", ax=KDATA
    case "cr8 holds the interrupt off", kernel, "sti; nop; nop; nop; mov %rcx, %cr8; nop; nop", \
        "mov begin + AX, %rax; mov %rax, %cr8; pending", ax=5
    case "cr8 of the interrupt's class holds it off", kernel, "sti; nop; nop; nop; mov %rcx, %cr8; nop; nop", \
        "mov begin + AX, %rax; mov %rax, %cr8; pending", ax=4
    case "cr8 below the interrupt's class does not", kernel, "sti; nop; nop; nop; mov %rcx, %cr8; nop; nop", \
        "mov begin + AX, %rax; mov %rax, %cr8; pending", ax=3
    case "sti, cli: no interrupt", kernel, "sti; cli; nop; nop; sti; nop", "pending"
    case "sti and an instruction that faults", kernel, "sti; mov (%rbx), %eax; nop", "pending", bx=0x50000000
    case "sti and hlt", kernel, "sti; hlt; nop", "pending"
    case "hlt with IF and an interrupt pending", kernel, "hlt; nop", "pending", fl=0x202
    case "an interrupt and TF", kernel, "sti; nop; nop", "pending", fl=TF
    case "an interrupt and a code breakpoint at its return", kernel, "sti; nop; 1: nop", "pending; dr 0, 1b, 1"
    case "an interrupt and a data breakpoint together", kernel, "sti; mov %eax, (%rbx); nop", \
        "pending; watch DATA, 1, 3", bx=DATA
    case "an interrupt on the stack of IST 3, user", user, "nop; nop", "pending; movb $3, idt + 0x414", fl=0x202
    case "an interrupt, gate not present", kernel, "sti; nop; nop", "pending; vector 0x41, landing, p=0"
    case "an interrupt, gate not present, user", user, "nop; nop", "pending; vector 0x41, landing, p=0", fl=0x202
