/* control32: control registers, MSRs, SYSENTER, encodings that must fault. */
#include "narrow.inc"
    .macro cr0_xor bit
    mov %cr0, %eax
    btc $\bit, %eax
    mov %eax, %cr0
    .endm
    .macro cr4_xor bit
    mov %cr4, %eax
    btc $\bit, %eax
    mov %eax, %cr4
    .endm

    theme "== CR0, CR3, CR4"
    case "cr0, PG without PE", kernel, "cr0_xor 0"
    case "cr0, NW without CD", kernel, "cr0_xor 29"
    case "cr0, CD and NW", kernel, "mov %cr0, %eax; or $0x60000000, %eax; mov %eax, %cr0"
    .irp bit, 1, 2, 3, 4, 5, 6, 15, 16, 17, 18, 19, 28, 30, 31
    case "cr0, bit \bit", kernel, "cr0_xor \bit; mov %cr0, %eax"
    .endr
    case "cr0, PG and PE off and on in one", kernel, "mov %eax, %cr0", ax=0x80000000
    .irp bit, 2, 3, 4, 6, 7, 8, 9, 10, 15, 19, 24, 25, 26, 27, 28, 29, 30, 31
    case "cr4, bit \bit", kernel, "cr4_xor \bit"
    .endr
    case "cr4, UMIP", kernel, "cr4_xor 11", need=UMIP
    case "cr4, FSGSBASE", kernel, "cr4_xor 16", need=FSGSBASE
    case "cr4, PCIDE", kernel, "cr4_xor 17", need=PCID
    case "cr4, OSXSAVE", kernel, "cr4_xor 18", need=XSAVE
    case "cr4, SMEP", kernel, "cr4_xor 20", need=SMEP
    case "cr4, SMAP", kernel, "cr4_xor 21", need=SMAP
    case "cr3, low bits", kernel, "mov %cr3, %eax; or $0xfff, %eax; mov %eax, %cr3; mov %cr3, %ecx; sub %ecx, %eax; \
        xor %ecx, %ecx; mov $directory, %edx; mov %edx, %cr3; xor %edx, %edx"
    .irp n, 1, 5, 6, 7
    case "mov from cr\n", kernel, ".byte 0x0f, 0x20, 0xc0 + \n * 8"
    case "mov to cr\n", kernel, ".byte 0x0f, 0x22, 0xc0 + \n * 8"
    .endr
    case "mov from cr8 by lock", kernel, ".byte 0xf0, 0x0f, 0x20, 0xc0"
    case "mov cr, mod is ignored", kernel, ".byte 0x0f, 0x20, 0x11", cx=5
    case "mov cr, operand size is ignored", kernel, ".byte 0x66, 0x0f, 0x20, 0xd1", cx=-1
    case "clts", kernel, "clts; mov %cr0, %eax", "cr0_set 8"
    case "lmsw sets TS, EM, MP", kernel, "lmsw %cx; mov %cr0, %eax", cx=0xe
    case "lmsw does not clear PE", kernel, "lmsw %cx; mov %cr0, %eax"
    case "lmsw ignores the upper bits", kernel, "lmsw %cx; mov %cr0, %eax", cx=0xfff1
    case "smsw to 32 bits", kernel, "smsw %eax", ax=-1
    case "smsw to 16 bits", kernel, "smsw %ax", ax=-1
    case "smsw to memory writes two bytes", kernel, "smsw (%ebx); mov (%ebx), %eax", "movl $-1, DATA", bx=DATA
    .irp on, 0, 0x800
    .irp mode, user, ring1, kernel
    case "sgdt, umip \on, \mode", \mode, "sgdtl (%ebx); mov (%ebx), %eax", "cr4_set \on", bx=DATA, need=UMIP
    case "sidt, umip \on, \mode", \mode, "sidtl (%ebx); mov (%ebx), %eax", "cr4_set \on", bx=DATA, need=UMIP
    case "sldt, umip \on, \mode", \mode, "sldt %eax", "cr4_set \on", ax=-1, need=UMIP
    case "str, umip \on, \mode", \mode, "str %eax", "cr4_set \on", ax=-1, need=UMIP
    case "smsw, umip \on, \mode", \mode, "smsw %eax", "cr4_set \on", ax=-1, need=UMIP
    .endr
    .endr

    theme "== EFER and other MSRs"
    case "rdmsr, none such", kernel, "rdmsr", cx=0x12345
    case "wrmsr, none such", kernel, "wrmsr", cx=0x12345
    .irp bit, 1, 2, 7, 8, 9, 10, 16, 31
    case "efer, bit \bit", kernel, "rdmsr; bts $\bit, %eax; wrmsr; rdmsr", cx=0xc0000080
    .endr
    case "efer, bit 32", kernel, "rdmsr; mov $1, %edx; wrmsr", cx=0xc0000080
    case "efer, LME on without paging, then on without PAE", kernel, "mov %cr0, %ebx; btr $31, %ebx; mov %ebx, %cr0; \
        rdmsr; bts $8, %eax; wrmsr; bts $31, %ebx; mov %ebx, %cr0", cx=0xc0000080, bed=0
    case "efer, NXE off", kernel, "rdmsr; btr $11, %eax; wrmsr; rdmsr", cx=0xc0000080
    case "sysenter_esp", kernel, "wrmsr; rdmsr", cx=0x175, ax=0x12345678, need=SYSENTER
    case "rdtsc, TSD, kernel", kernel, "rdtsc; xor %eax, %eax; xor %edx, %edx", "cr4_set 4"
    case "rdmsr, user, none such", user, "rdmsr", cx=0x12345

    theme "== SYSENTER and SYSEXIT, SYSCALL"
    .macro sysenter_msrs cs=KCODE, esp=kernel_stack, eip=bare_landing
    set_msr 0x174, \cs
    set_msr 0x175, \esp
    set_msr 0x176, \eip
    .endm
    case "sysenter, user", user, "sysenter", "sysenter_msrs", need=SYSENTER
    case "sysenter, kernel", kernel, "sysenter", "sysenter_msrs", need=SYSENTER
    case "sysenter, ring 1", ring1, "sysenter", "sysenter_msrs", need=SYSENTER
    case "sysenter, null", user, "sysenter", "sysenter_msrs 0", need=SYSENTER
    case "sysenter, null rpl 3", user, "sysenter", "sysenter_msrs 3", need=SYSENTER
    case "sysenter, rpl 3", user, "sysenter", "sysenter_msrs KCODE|3", need=SYSENTER
    case "sysenter, upper half", user, "sysenter", "sysenter_msrs 0x12340000|KCODE", need=SYSENTER
    case "sysenter, flags", user, "sysenter", "sysenter_msrs", fl=0x244ed7, need=SYSENTER
    case "sysenter, 16-bit code", user16, "sysenter", "sysenter_msrs", need=SYSENTER
    case "sysenter to not mapped", user, "sysenter", "sysenter_msrs eip=0x50000000", need=SYSENTER
    case "what sysenter makes of the segments", user, "sysenter", "sysenter_msrs KCODE, kernel_stack, 2f; jmp 3f; \
        2: mov %cs, %eax; lar %eax, %ecx; mov %ss, %eax; lsl %eax, %edx; mov %ds, %ebx; ud2; 3:", need=SYSENTER
    case "sysexit", kernel, "sysexit", "sysenter_msrs", cx=user_stack, dx=user_landing, need=SYSENTER
    case "sysexit, null", kernel, "sysexit", cx=user_stack, dx=user_landing, need=SYSENTER
    case "sysexit, null rpl 3", kernel, "sysexit", "sysenter_msrs 3", cx=user_stack, dx=user_landing, need=SYSENTER
    case "sysexit, rpl 3", kernel, "sysexit", "sysenter_msrs KCODE|3", cx=user_stack, dx=user_landing, need=SYSENTER
    case "sysexit, ring 1", ring1, "sysexit", "sysenter_msrs", cx=user_stack, dx=user_landing, need=SYSENTER
    case "sysexit, user", user, "sysexit", "sysenter_msrs", cx=user_stack, dx=user_landing, need=SYSENTER
    case "sysexit, flags stay", kernel, "sysexit", "sysenter_msrs", cx=user_stack, dx=user_landing, fl=0x243ad7, \
        need=SYSENTER
    case "sysexit keeps ds to gs", kernel, "mov %eax, %fs; sysexit", "sysenter_msrs", cx=user_stack, \
        dx=user_landing, \
        ax=KDATA, need=SYSENTER
    case "sysexit, TF", kernel, "sysexit", "sysenter_msrs", cx=user_stack, dx=user_landing, fl=0x102, need=SYSENTER
    case "sysenter, TF", user, "sysenter", "sysenter_msrs", fl=0x102, need=SYSENTER
    case "sysexit with lock", kernel, ".byte 0xf0; sysexit", "sysenter_msrs", cx=user_stack, dx=user_landing, \
        need=SYSENTER
    case "syscall, SCE off", kernel, "syscall"
    case "sysret, SCE off", kernel, "sysretl"

    theme "== encodings"
    .macro bytes name:req, b:vararg
    case "\name", kernel, ".byte \b", "", bx=DATA
    .endm
    bytes "swapgs", 0x0f, 0x01, 0xf8
    bytes "rdfsbase", 0xf3, 0x0f, 0xae, 0xc0
    bytes "ud0", 0x0f, 0xff, 0xc0
    bytes "ud1", 0x0f, 0xb9, 0xc0
    bytes "0f 04", 0x0f, 0x04
    bytes "0f 0a", 0x0f, 0x0a
    bytes "0f 0c", 0x0f, 0x0c
    bytes "0f 24", 0x0f, 0x24, 0xc0
    bytes "0f 26", 0x0f, 0x26, 0xc0
    bytes "0f 36", 0x0f, 0x36
    bytes "0f 01 with a register, lgdt", 0x0f, 0x01, 0xd6
    bytes "0f 00 /6", 0x0f, 0x00, 0xf0
    bytes "0f 00 /7", 0x0f, 0x00, 0xf8
    bytes "0f 01 /5", 0x0f, 0x01, 0x2b
    bytes "0f ba /0", 0x0f, 0xba, 0xc0, 0
    bytes "0f c7 /0", 0x0f, 0xc7, 0x03
    bytes "cmpxchg8b of a register", 0x0f, 0xc7, 0xc8
    bytes "c6 /1", 0xc6, 0x0b, 0
    bytes "8f /1", 0x8f, 0xcb
    bytes "fe /2", 0xfe, 0xd0
    bytes "ff /7", 0xff, 0xff
    bytes "invlpg of a register, 7", 0x0f, 0x01, 0xff
    bytes "82 is 80", 0x82, 0xc0, 5
    bytes "salc", 0xd6
    bytes "aam 0", 0xd4, 0
    bytes "lea of a register", 0x8d, 0xc0
    bytes "movbe without", 0x0f, 0x38, 0xf0, 0xc0
    .irp op, 0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0xfe, 0x86
    bytes "lock \op on memory", 0xf0, \op, 0x03
    bytes "lock \op on a register", 0xf0, \op, 0xc3
    .endr
    bytes "lock cmp", 0xf0, 0x38, 0x03
    bytes "lock mov", 0xf0, 0x88, 0x03
    bytes "lock test", 0xf0, 0x84, 0x03
    bytes "lock nop", 0xf0, 0x90
    bytes "lock bt", 0xf0, 0x0f, 0xa3, 0x03
    bytes "lock bts", 0xf0, 0x0f, 0xab, 0x03
    bytes "lock push", 0xf0, 0x50
    case "lock hlt", kernel, ".byte 0xf0, 0xf4", bed=0
    case "15 bytes", kernel, ".fill 14, 1, 0x66; nop"
    case "16 bytes", kernel, ".fill 15, 1, 0x66; nop"
    case "16 bytes of an invalid one", kernel, ".fill 14, 1, 0x66; ud2"
    case "16 bytes, the end not mapped", kernel, "jmp *%ebx", "mov $WINDOW + 0x1000 - 15, %edi; mov $15, %ecx; \
        mov $0x66, %al; \
        rep stosb; movl $0, window + 4; flush", bx=WINDOW+0x1000-15
    .macro fpu name:req, body, setup
    case "\name", kernel, "\body", "\setup"
    case "\name, user", user, "\body", "\setup"
    .endm
    fpu "fnop, TS", "fnop", "cr0_set 8"
    fpu "fnop, EM", "fnop", "cr0_set 4"
    fpu "wait, TS", "wait", "cr0_set 8; cr0_clear 2"
    fpu "wait, TS and MP", "wait", "cr0_set 8"
    fpu "wait, EM", "wait", "cr0_set 4"
    fpu "emms, TS", "emms", "cr0_set 8"
    fpu "emms, EM", "emms", "cr0_set 4"
    fpu "xorps, OSFXSR off", "xorps %xmm0, %xmm0", "cr4_clear 0x200"
    fpu "xorps, TS", "xorps %xmm0, %xmm0", "cr0_set 8"
    fpu "xorps, EM", "xorps %xmm0, %xmm0", "cr0_set 4"
    fpu "fxsave, TS", "fxsave DATA", "cr0_set 8"
    fpu "fxsave, EM", "fxsave DATA", "cr0_set 4"
    fpu "AM and AC", "mov DATA+1, %ax", "cr0_set 0x40000; orl $0x40000, begin + FL"
