/* code16: 16-bit code segments, operand and address sizes, and their stacks. */
#include "narrow.inc"
/* With a 16-bit stack, too. */
    .macro sixteen name:req, body:req, setup, ax=0, bx=0, cx=0, dx=0, fl=2
    case "16 bits, \name", kernel16, "\body", "\setup", ax=\ax, bx=\bx, cx=\cx, dx=\dx, fl=\fl
    case "16 bits, \name, user", user16, "\body", "\setup", ax=\ax, bx=\bx, cx=\cx, dx=\dx, fl=\fl
    case "16 bits, \name, 16-bit stack", user16, "\body", "segment FREE, DATA, 0x3ff, 0xf3, 0; movl $FREE | 3, \
        begin + SS; \
        movl $0x12340200, begin + SP; movl $FREE | 3, begin + DS; movl $FREE | 3, begin + ES; \setup", ax=\ax, \
        bx=\bx, \
        cx=\cx, dx=\dx, fl=\fl
    .endm

/* A jump beyond the limit. */
    .macro beyond name:req, body:req, cx=0
    case "16 bits, \name", user16, "\body", "movw $0xfff, gdt + UCODE16; movb $0, gdt + UCODE16 + 6", cx=\cx, bed=0
    .endm

    theme "== operand sizes"
    sixteen "push imm8", "pushw $-2; pop %cx"
    sixteen "push imm32", "pushl $-2; pop %cx"
    sixteen "push ds", "push %ds; pop %cx"
    sixteen "pushl ds", "pushl %ds; pop %cx"
    sixteen "pusha", "pusha", ax=0x11112222, bx=0x33334444
    sixteen "pushal", "pushal", ax=0x11112222, bx=0x33334444
    sixteen "popa", "pusha; mov $0, %ax; mov $0, %bx; popa", ax=0x11112222, bx=0x33334444
    sixteen "popal", "pushal; xor %eax, %eax; popal", ax=0x11112222, bx=0x33334444
    sixteen "pushf", "pushf; pop %ax", fl=0x200cd7
    sixteen "pushfl", "pushfl; pop %eax", fl=0x200cd7
    sixteen "popf", "push $0xcd7; popf", fl=0x200002
    sixteen "popfl", "pushl $0x200cd7; popfl"
    sixteen "call", "call 1f; 1: pop %ax"
    sixteen "calll", "calll 1f; 1: pop %eax; nop"
    sixteen "an indirect call", "1: call *%ax; nop; 2: nop", "movl $2b - 1b + 0x55550000, begin + AX"
    sixteen "an indirect calll", "1: calll *%eax; nop; 2: nop", "movl $2b - 1b, begin + AX"
    beyond "an indirect calll beyond 0xffff", "mov $0x10000, %eax; calll *%eax"
    sixteen "an indirect jump", "1: jmp *%ax; nop; 2: nop", "movl $2b - 1b + 0x55550000, begin + AX"
    sixteen "an indirect jmpl", "1: jmpl *%eax; nop; 2: nop", "movl $2b - 1b, begin + AX"
    beyond "jmp that wraps", "jmp .-0x100"
    beyond "jmpl that wraps", ".byte 0x66, 0xe9; .long -0x100"
    beyond "jcc that wraps", "jnz .-0x100"
    beyond "jccl that wraps", ".byte 0x66, 0x0f, 0x85; .long -0x100"
    beyond "a short jmpl that wraps", ".byte 0x66, 0xeb, 0x80"
    sixteen "loop by cx", "nop; 1: loop 1b", cx=0x10002
    sixteen "loop by ecx", "nop; 1: addr32 loop 1b", cx=2
    beyond "loop that wraps", ".byte 0xe2, 0x80", cx=5
    sixteen "jcxz", "jcxz 1f; nop; 1:", cx=0x10000
    sixteen "jecxz", "jecxz 1f; inc %ax; 1:", cx=0x10000
    sixteen "cwd", "cwd", ax=0x12348000
    sixteen "cdq", "cdq", ax=0x82348000
    sixteen "cbw", "cbw", ax=0x12348080
    sixteen "mul", "mul %cx", ax=0x1234ffff, cx=0x5678ffff, dx=0x11112222
    sixteen "div by zero", "div %cx", ax=5
    sixteen "idiv overflow", "idiv %cx", dx=0x8000, cx=2
    sixteen "bswap", "bswap %eax", ax=0x12345678
    sixteen "shld", "shld $4, %cx, %ax", ax=0x12345678, cx=0x9abcdef0
    sixteen "lar", "lar %cx, %ax", cx=UDATA|3, ax=0x55555555
    sixteen "lsl", "lsl %cx, %ax", cx=UDATA|3, ax=0x55555555
    sixteen "lsll", "lsll %ecx, %eax", cx=UDATA|3, ax=0x55555555
    sixteen "sldt", "sldt %ax", ax=-1
    sixteen "sldtl", "sldt %eax", ax=-1
    sixteen "smsw", "smsw %ax", ax=-1
    sixteen "bound", "bound %ax, (%bx)", bx=0x7000
    sixteen "into", "into", fl=0x802
    sixteen "int3", "int3"
    sixteen "ud2", "ud2; nop"
    sixteen "enter 0", "enter $8, $0"
    sixteen "enter 1", "enter $8, $1"
    sixteen "enter 3", "enter $8, $3"
    sixteen "enterl 3", ".byte 0x66; enter $8, $3"
    sixteen "leave", "mov %sp, %bp; leave"
    sixteen "leavel", "mov %esp, %ebp; .byte 0x66; leave"
    sixteen "mov from esp", "mov %esp, %eax; mov %sp, %cx", cx=-1
    sixteen "inc sp", "inc %sp; dec %esp"

    theme "== addresses of 16 bits"
    .macro addressed name:req, body:req, ax=0, bx=0, cx=0, si=0, di=0, bp=0
    case "address, \name", user16, "\body", "segment FREE, DATA, 0xffff, 0xf3, 0; movl $FREE | 3, begin + DS; \
        movl $FREE | 3, begin + ES; movl $\si, begin + SI; movl $\di, begin + DI; movl $\bp, begin + BP; \
        mov $DATA, %edi; \
        mov $0x100, %ecx; 1: mov %ecx, (%edi); add $4, %edi; loop 1b", ax=\ax, bx=\bx, cx=\cx
    .endm
    addressed "bx", "mov (%bx), %ax", bx=0x12340010
    addressed "bx and si that wrap", "mov (%bx,%si), %ax", bx=0xfff0, si=0x20
    addressed "bx and di and disp that wrap", "mov 0x7ff0(%bx,%di), %ax", bx=0x8000, di=0x20
    addressed "bp is the stack's", "mov (%bp), %ax", bp=0x10
    addressed "bp and si with ds", "mov %ds:(%bp,%si), %ax", bp=0x10, si=4
    addressed "negative displacement", "mov -4(%si), %ax", si=0x20
    addressed "negative displacement that wraps", "mov -4(%si), %al"
    addressed "disp16", "mov 0x20, %cx"
    addressed "a word at 0xffff", "mov (%bx), %ax", bx=0xffff
    addressed "a long at 0xfffe", "mov (%bx), %eax", bx=0xfffe
    addressed "lea that wraps", "lea 0x20(%bx,%si), %ax", bx=0xfff0, si=8, ax=-1
    addressed "leal that wraps", "lea 0x20(%bx,%si), %eax", bx=0xfff0, si=8, ax=-1
    addressed "lea of 32 bits", "addr32 lea 0x20(%ebx,%esi,4), %ax", bx=0xffff0, si=8, ax=-1
    addressed "32 bits beyond 0xffff", "addr32 mov (%ebx), %ax", bx=0x10000
    addressed "32 bits", "addr32 mov (%ebx,%esi,4), %ax", bx=0x10, si=4
    addressed "esp as base", "addr32 mov (%esp), %ax"
    addressed "movsb that wraps", "cld; movsb", si=0xffff, di=0x10
    addressed "movsb", "movsb", si=0x12340020, di=0x10
    addressed "rep movsb by cx", "rep movsb", si=0x20, di=0x40, cx=0x10003
    addressed "rep movsb by ecx", "addr32 rep movsb", si=0x20, di=0x40, cx=3
    addressed "rep stosb that wraps", "rep stosb", di=0x1234fffe, cx=4
    addressed "stosb downwards", "std; stosb; stosb; stosb; cld", di=0x12340001
    addressed "lodsw at 0xffff", "lodsw", si=0xffff
    addressed "cmpsw", "cmpsw", si=0x20, di=0x24
    addressed "scasb", "repne scasb", di=0x20, cx=0x20, ax=0x77
    addressed "xlat by bx", "xlat", bx=0x1234fff0, ax=0x20
    addressed "xlat by ebx", "addr32 xlat", bx=0x10, ax=0x20
    addressed "bt with a bit far off", "bt %ax, (%bx)", bx=0x20, ax=0x8000
    addressed "les", "les (%bx), %ax", bx=0x20
    addressed "cmpxchg8b at 0xfffc", "cmpxchg8b (%bx)", bx=0xfffc

    theme "== far transfers and interrupts"
    case "16 bits, ljmp", kernel16, "ljmp $TASK_CODE16, $0"
    case "16 bits, ljmpl", kernel16, "ljmpl $KCODE, $bare_landing"
    case "16 bits, lcall", kernel16, "lcall $TASK_CODE16, $0"
    case "16 bits, lcalll", kernel16, "lcalll $KCODE, $bare_landing"
    case "16 bits, lret", kernel16, "pushw $TASK_CODE16; pushw $0; lret"
    case "16 bits, lretl", kernel16, "pushl $KCODE; pushl $bare_landing; lretl"
    case "16 bits, iret", kernel16, "pushw $0x246; pushw $TASK_CODE16; pushw $0; iret", fl=0x240002
    case "16 bits, iretl", kernel16, "pushl $0x200246; pushl $KCODE; pushl $bare_landing; iretl"
    case "16 bits, ljmp, memory", kernel16, "addr32 ljmpl *(%ebx)", "movl $bare_landing, DATA; movl $KCODE, \
        DATA + 4", bx=DATA
    case "16 bits, int to 16 bits", kernel16, "int $0x40", "vector 0x40, 0, TASK_CODE16, type=6"
    case "16 bits, int to 32 bits", user16, "int $0x40", "vector 0x40, bare_landing"
    case "16 bits, call gate of 16 bits", user16, "lcall $FREE, $0", "call_gate 0, TASK_CODE16, type=4, count=2"
    case "16 bits, call gate of 32 bits", user16, "lcall $FREE, $0", "call_gate bare_landing, count=1"
    case "16 bits, task switch", kernel16, "ljmp $TASK, $0"
    case "16 bits, task switch to 16 bits", kernel16, "lcall $TASK16, $0"
    case "16 bits, ip at 0xffff", kernel16, "nop", "movb $0x90, DATA + 0xff; \
        segment FREE, DATA-0xff00, 0xffff, 0x9b, 0; movl $FREE, begin + CS; movl $0xffff, begin + IP", bed=0
    case "16 bits, an instruction over 0xffff", kernel16, "nop", "movb $0xb8, DATA + 0xff; \
        segment FREE, DATA-0xff00, 0xffff, 0x9b, 0; movl $FREE, begin + CS; movl $0xffff, begin + IP", bed=0
    case "16 bits, an instruction over 0xffff, larger limit", kernel16, "nop", "movl $0x001234b8, DATA + 0xff; \
        movl $0x0b0f, DATA + 0x102; segment FREE, DATA-0xff00, 0xfffff, 0x9b, 0; movl $FREE, begin + CS; \
        movl $0xffff, begin + IP"
    case "16 bits, lgdt drops the base's last byte", kernel16, "addr32 lgdt (%ebx); addr32 sgdt 8(%ebx); \
        addr32 mov 8(%ebx), %eax; addr32 mov 12(%ebx), %ecx; addr32 lgdtl 24(%ebx)", \
        "sgdt DATA + 24; sgdt DATA; movb $0x12, DATA + 5", bx=DATA
