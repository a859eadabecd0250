/* control64: control registers, MSRs, XCR0, descriptor-table registers, hints of the system kind. */
#include "wide.inc"

    .macro cr0_xor bits
    mov %cr0, %rax
    btc $\bits, %rax
    mov %rax, %cr0
    .endm
    .macro cr4_xor bit
    mov %cr4, %rax
    btc $\bit, %rax
    mov %rax, %cr4
    .endm
/* After a body that read them: their addresses and flags are not the question. */
    .macro forget
    xor %eax, %eax
    .endm

    theme "== CR0"
    case "cr0, PG without PE", kernel, "cr0_xor 0"
    case "cr0, PG off in long mode", kernel, "cr0_xor 31"
    case "cr0, NW without CD", kernel, "cr0_xor 29"
    case "cr0, CD", kernel, "cr0_xor 30"
    case "cr0, CD and NW", kernel, "mov %cr0, %rax; or $0x60000000, %eax; mov %rax, %cr0"
    case "cr0, bit 32", kernel, "cr0_xor 32"
    case "cr0, bit 63", kernel, "cr0_xor 63"
    .irp bit, 1, 2, 3, 4, 5, 6, 15, 16, 17, 18, 28
    case "cr0, bit \bit", kernel, "cr0_xor \bit; mov %cr0, %rax"
    .endr
    case "cr0, PG off, compat kernel, PCIDE off", kernel32, \
        "mov %cr0, %eax; btr $31, %eax; mov %eax, %cr0; mov $0xc0000080, %ecx; rdmsr; mov %eax, %ebx; mov %cr0, %eax; \
        bts $31, %eax; mov %eax, %cr0; rdmsr"
    case "cr0, WP off with CR4.CET would matter", kernel, "cr0_xor 16"
    case "clts", kernel, "clts; mov %cr0, %rax", "cr0_set 8"
    case "lmsw sets TS, EM, MP", kernel, "lmsw %cx; mov %cr0, %rax", cx=0xe
    case "lmsw does not clear PE", kernel, "lmsw %cx; mov %cr0, %rax"
    case "lmsw ignores the upper bits", kernel, "lmsw %cx; mov %cr0, %rax", cx=0xfff1
    case "lmsw from memory", kernel, "lmsw (%rbx); mov %cr0, %rax", "movl $0xffff000b, user_data", bx=user_data
    case "lmsw from memory not mapped", kernel, "lmsw (%rbx)", "movq $0, window", bx=0x200000
    case "smsw to 64 bits", kernel, "smsw %rax", ax=-1
    case "smsw to 16 bits", kernel, "smsw %ax", ax=-1
    case "smsw to memory writes two bytes", kernel, "smsw (%rbx); mov (%rbx), %eax", "movl $-1, user_data", bx=user_data

    theme "== CR2, CR3, CR8, the others"
    case "cr2 takes anything", kernel, "mov %rax, %cr2; mov %cr2, %rcx", ax=0x8000123456789abc
    case "cr3, low bits", kernel, "mov %cr3, %rax; or $0xfff, %eax; mov %rax, %cr3; mov %cr3, %rcx; sub %rcx, %rax; \
        xor %ecx, %ecx"
    case "cr3, bit 63", kernel, "mov %cr3, %rax; bts $63, %rax; mov %rax, %cr3", bed=0
    case "cr3, bit 62", kernel, "mov %cr3, %rax; bts $62, %rax; mov %rax, %cr3", bed=0
    case "cr3, bit 52", kernel, "mov %cr3, %rax; bts $52, %rax; mov %rax, %cr3", bed=0
    case "cr3, bit 51", kernel, "mov %cr3, %rax; bts $51, %rax; mov %rax, %cr3", bed=0
    .irp n, 1, 5, 6, 7, 9, 10, 15
    case "mov from cr\n", kernel, ".byte 0x40 + (\n & 8) / 2, 0x0f, 0x20, 0xc0 + (\n & 7) * 8"
    case "mov to cr\n", kernel, ".byte 0x40 + (\n & 8) / 2, 0x0f, 0x22, 0xc0 + (\n & 7) * 8"
    .endr
    case "cr8", kernel, "mov %rax, %cr8; mov %cr8, %rcx", ax=15
    case "cr8, 16", kernel, "mov %rax, %cr8", ax=16
    case "cr8, bit 63", kernel, "mov %rax, %cr8", ax=1<<63
    case "mov cr with lock is no cr8", kernel, ".byte 0xf0, 0x0f, 0x20, 0xc0"
    case "mov cr, mod is ignored", kernel, ".byte 0x0f, 0x20, 0x11"
    case "mov cr, operand size is ignored", kernel, ".byte 0x66, 0x0f, 0x20, 0xd1", cx=-1
    case "mov cr with rex.w and rex.b", kernel, ".byte 0x49, 0x0f, 0x20, 0xd0; mov %r8, %rax", \
        "mov $0x1234, %eax; mov %rax, %cr2"

    theme "== CR4"
    .irp bit, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    case "cr4, bit \bit", kernel, "cr4_xor \bit"
    .endr
    .irp bit, 15, 19, 24, 25, 26, 27, 28, 29, 30, 31, 32, 63
    case "cr4, bit \bit", kernel, "cr4_xor \bit"
    .endr
    case "cr4, UMIP", kernel, "cr4_xor 11", need=UMIP
    case "cr4, FSGSBASE", kernel, "cr4_xor 16", need=FSGSBASE
    case "cr4, OSXSAVE", kernel, "cr4_xor 18", need=XSAVE
    case "cr4, SMEP", kernel, "cr4_xor 20", need=SMEP
    case "cr4, SMAP", kernel, "cr4_xor 21", need=SMAP
    case "cr4, PCIDE", kernel, "cr4_xor 17", need=PCID
    case "cr4, PCIDE with low bits in CR3", kernel, "cr4_xor 17", "mov %cr3, %rax; or $1, %rax; mov %rax, %cr3", \
        need=PCID
    case "cr4, PCIDE with PWT and PCD in CR3", kernel, "cr4_xor 17", "mov %cr3, %rax; or $0x18, %rax; mov %rax, %cr3", \
        need=PCID
    case "cr4, PCIDE, then PG off, compat kernel", kernel32, "mov %cr0, %eax; btr $31, %eax; mov %eax, %cr0", \
        "cr4_set 0x20000", need=PCID
    case "cr4, PAE off, compat kernel", kernel32, "mov %cr4, %eax; btr $5, %eax; mov %eax, %cr4"
    case "CPUID shows OSXSAVE", kernel, "mov $1, %eax; cpuid; bt $27, %ecx; sbb %eax, %eax; xor %ebx, %ebx; \
        xor %ecx, %ecx; xor %edx, %edx", "cr4_set 0x40000", need=XSAVE
    case "CPUID shows no OSXSAVE", kernel, "mov $1, %eax; cpuid; bt $27, %ecx; sbb %eax, %eax; xor %ebx, %ebx; \
        xor %ecx, %ecx; xor %edx, %edx", need=XSAVE

    theme "== EFER and other MSRs"
    case "rdmsr, none such", kernel, "rdmsr", cx=0x12345
    case "wrmsr, none such", kernel, "wrmsr", cx=0x12345
    case "rdmsr with rex.w", kernel, "rex.w rdmsr", cx=0xc0000080
    case "rdmsr, upper half of rcx", kernel, "rdmsr", cx=0xffffffffc0000080
    case "rdmsr clears the upper halves", kernel, "rdmsr", cx=0xc0000080, ax=-1, dx=-1
    .irp bit, 1, 2, 7, 9, 10, 16, 31
    case "efer, bit \bit", kernel, "rdmsr; bts $\bit, %eax; wrmsr; rdmsr", cx=0xc0000080
    .endr
    case "efer, bit 32", kernel, "rdmsr; mov $1, %edx; wrmsr", cx=0xc0000080
    case "efer, LME off", kernel, "rdmsr; btr $8, %eax; wrmsr", cx=0xc0000080
    case "efer, LMA off is ignored", kernel, "rdmsr; btr $10, %eax; wrmsr; rdmsr", cx=0xc0000080
    case "efer, SCE off", kernel, "rdmsr; btr $0, %eax; wrmsr; rdmsr", cx=0xc0000080
    case "efer, NXE off", kernel, "rdmsr; btr $11, %eax; wrmsr; rdmsr", cx=0xc0000080
    .irp msr, 0xc0000082, 0xc0000083, 0xc0000100, 0xc0000101, 0xc0000102, 0x175, 0x176
    case "msr \msr", kernel, "wrmsr; rdmsr", cx=\msr, ax=0x12345678, dx=0x7fff
    case "msr \msr, upper half", kernel, "wrmsr; rdmsr", cx=\msr, ax=0x12345678, dx=0xffff8000
    case "msr \msr, not canonical", kernel, "wrmsr", cx=\msr, ax=0, dx=0x8000
    case "msr \msr, not canonical from above", kernel, "wrmsr", cx=\msr, ax=-1, dx=0xffff7fff
    .endr
    case "star takes anything", kernel, "wrmsr; rdmsr", cx=0xc0000081, ax=-1, dx=-1
    case "fmask", kernel, "wrmsr; rdmsr", cx=0xc0000084, ax=-1
    case "fmask, upper half", kernel, "wrmsr; rdmsr", cx=0xc0000084, ax=-1, dx=1
    case "sysenter_cs", kernel, "wrmsr; rdmsr", cx=0x174, ax=0x12345, need=SYSENTER
    case "tsc_aux", kernel, "wrmsr; rdmsr", cx=0xc0000103, ax=-1, need=RDTSCP
    case "tsc_aux, upper half", kernel, "wrmsr", cx=0xc0000103, dx=1, need=RDTSCP
    case "rdtscp shows tsc_aux", kernel, "wrmsr; rdtscp; xor %eax, %eax; xor %edx, %edx", cx=0xc0000103, ax=0x1234567, \
        need=RDTSCP
    case "pat", kernel, "rdmsr; wrmsr; rdmsr", cx=0x277
    .irp type, 2, 3, 8, 0x80
    case "pat, type \type", kernel, "rdmsr; mov $\type, %al; wrmsr", cx=0x277
    .endr
    case "apic_base, reserved bit", kernel, "rdmsr; or $1, %eax; wrmsr", cx=0x1b
    case "apic_base, x2APIC without enable", kernel, "rdmsr; btr $11, %eax; bts $10, %eax; wrmsr", cx=0x1b
    case "apic_base, beyond the physical width", kernel, "rdmsr; or $0x80000000, %edx; wrmsr", cx=0x1b
    case "x2APIC register without x2APIC", kernel, "rdmsr", cx=0x802
    case "mtrr_cap cannot be written", kernel, "rdmsr; wrmsr", cx=0xfe
    case "mtrr_def_type, type 2", kernel, "wrmsr", cx=0x2ff, ax=0xc02
    case "mtrr_def_type, reserved bit", kernel, "wrmsr", cx=0x2ff, ax=0xe06
    case "mtrr_physbase0, type 7", kernel, "wrmsr", cx=0x200, ax=7
    case "mtrr_physbase0, reserved bit", kernel, "wrmsr", cx=0x200, ax=0x100
    case "mtrr_physmask0, reserved bit", kernel, "wrmsr", cx=0x201, ax=0x400
    case "mtrr_fix64k, type 2", kernel, "wrmsr", cx=0x250, ax=2
    case "rdpmc, no such counter", kernel, "rdpmc", cx=0x1234

    theme "== XCR0"
    case "xgetbv", kernel, "xgetbv", "cr4_set 0x40000", need=XSAVE
    case "xgetbv of register 2", kernel, "xgetbv", "cr4_set 0x40000", cx=2, need=XSAVE
    .irp v, 0, 1, 2, 3, 4, 5, 6, 7, 0x20, 0x87, 0x27, 0xa7
    case "xsetbv \v", kernel, "xsetbv; xgetbv", "cr4_set 0x40000", ax=\v, need=XSAVE
    .endr
    case "xsetbv, bit 63", kernel, "xsetbv", "cr4_set 0x40000", ax=1, dx=1<<31, need=XSAVE
    case "xsetbv, bit 62", kernel, "xsetbv", "cr4_set 0x40000", ax=1, dx=1<<30, need=XSAVE
    case "xsetbv of register 1", kernel, "xsetbv", "cr4_set 0x40000", ax=1, cx=1, need=XSAVE
    case "xsetbv, OSXSAVE off", kernel, "xsetbv", ax=1, need=XSAVE
    case "xsetbv, upper half of rcx", kernel, "xsetbv", "cr4_set 0x40000", ax=1, cx=1<<32, need=XSAVE
    case "xsetbv with 66", kernel, ".byte 0x66, 0x0f, 0x01, 0xd1", "cr4_set 0x40000", ax=1, need=XSAVE

    theme "== PKRU"
    case "cr4, PKE", kernel, "cr4_xor 22", need=PKU
    case "CPUID shows OSPKE", kernel, "mov $7, %eax; cpuid; and $0x18, %ecx; xor %eax, %eax; xor %ebx, %ebx; \
        xor %edx, %edx", "cr4_set 0x400000", need=PKU
    case "CPUID shows no OSPKE", kernel, "mov $7, %eax; cpuid; and $0x18, %ecx; xor %eax, %eax; xor %ebx, %ebx; \
        xor %edx, %edx", need=PKU
    .irp m, kernel, user, kernel32, user32
    case "wrpkru and rdpkru, \m", \m, "wrpkru; rdpkru", "cr4_set 0x400000", ax=0x55555554, need=PKU
    case "rdpkru, PKE off, \m", \m, "rdpkru", need=PKU
    case "wrpkru, PKE off, \m", \m, "wrpkru", need=PKU
    case "rdpkru, ecx, \m", \m, "rdpkru", "cr4_set 0x400000", cx=1, need=PKU
    case "wrpkru, ecx, \m", \m, "wrpkru", "cr4_set 0x400000", cx=1, need=PKU
    case "wrpkru, edx, \m", \m, "wrpkru", "cr4_set 0x400000", dx=1, need=PKU
    .endr
    case "rdpkru, upper halves", kernel, "wrpkru; mov %ebx, %eax; mov %rbx, %rdx; rdpkru", "cr4_set 0x400000", ax=5, \
        bx=-1, cx=1<<32, dx=1<<32, need=PKU
    case "rdpkru, with lock", kernel, ".byte 0xf0, 0x0f, 0x01, 0xee", "cr4_set 0x400000", need=PKU
    case "rdpkru with 66", kernel, ".byte 0x66, 0x0f, 0x01, 0xee", "cr4_set 0x400000", need=PKU
    case "wrpkru with f3", kernel, ".byte 0xf3, 0x0f, 0x01, 0xef", "cr4_set 0x400000", need=PKU
    case "xsetbv 0x203", kernel, "xsetbv; xgetbv", "cr4_set 0x40000", ax=0x203, need=PKU
    case "xsetbv 0x201", kernel, "xsetbv; xgetbv", "cr4_set 0x40000", ax=0x201, need=PKU
    case "xsetbv 0x200", kernel, "xsetbv; xgetbv", "cr4_set 0x40000", ax=0x200, need=PKU
    case "xsave of PKRU", kernel, "xsetbv; mov $0x200, %eax; xsave (%rbx); mov 2688(%rbx), %rcx; mov 512(%rbx), %rdx; \
        xor %eax, %eax", "cr4_set 0x440000; xor %ecx, %ecx; xor %edx, %edx; mov $0x1234, %eax; wrpkru; \
        movq $0, 0x205000 + 512; movq $-1, 0x205000 + 2688", ax=0x207, bx=0x205000, need=PKU
    case "xrstor of no PKRU", kernel, "xsetbv; mov $0x200, %eax; xrstor (%rbx); rdpkru", "cr4_set 0x440000; \
        xor %ecx, %ecx; xor %edx, %edx; mov $0x1234, %eax; wrpkru; mov $0x205200, %edi; mov $8, %ecx; rep stosq", \
        ax=0x207, bx=0x205000, need=PKU

    theme "== LGDT, LIDT"
    case "lgdt and sgdt", kernel, "sgdt (%rbx); lgdt (%rbx); mov (%rbx), %ax", bx=user_data
    case "lgdt, base not canonical", kernel, "lgdt (%rbx)", \
        "movl $0xffff, user_data; movl $0x8000, user_data + 6; movl $0, user_data + 2", bx=user_data, bed=0
    case "lidt, base not canonical", kernel, "lidt (%rbx)", \
        "movl $0xffff, user_data; movl $0x8000, user_data + 6; movl $0, user_data + 2", bx=user_data, bed=0
    case "lgdt, base in two pages, the second not mapped", kernel, "lgdt (%rbx)", "movq $0, window + 8", bx=0x200ffc
    case "sgdt to two pages, the second not mapped", kernel, "sgdt (%rbx)", "movq $0, window + 8", bx=0x200ff8
    case "sgdt to two pages, the second not mapped, nothing is written", kernel, "mov (%rbx), %eax", \
        "movq $0, window + 8; movl $0x5a5a, 0x200ff8; mov $0x200ff8, %ebx; mov idt + 14 * 16, %rax", bx=0x200ff8
    case "lgdt of a register", kernel, ".byte 0x0f, 0x01, 0xd7"
    case "sidt of a register", kernel, ".byte 0x0f, 0x01, 0xce"
    case "lgdt, address not canonical", kernel, "lgdt (%rbx)", bx=1<<47
    case "lgdt with 66 takes all of the base", kernel, "sgdt (%rbx); .byte 0x66; lgdt (%rbx); sgdt 16(%rbx); \
        mov 6(%rbx), %eax; sub 22(%rbx), %eax", bx=user_data

    theme "== caches and waits"
    case "invd", kernel, "wbinvd"
    case "wbinvd with lock", kernel, ".byte 0xf0; wbinvd"
    case "clflush, not mapped", kernel, "clflush (%rbx)", "movq $0, window", bx=0x200000
    case "clflush of a read-only page", kernel, "clflush (%rbx)", "pte 0, 1", bx=0x200000
    case "monitor", kernel, "monitor", need=MONITOR
    case "monitor, extension", kernel, "monitor", cx=1, need=MONITOR
    case "mwait, extension", kernel, "mwait", cx=2, need=MONITOR
    case "rsm", kernel, "rsm"
    case "vmxoff", kernel, ".byte 0x0f, 0x01, 0xc4"
    case "vmlaunch", kernel, ".byte 0x0f, 0x01, 0xc2"
    case "vmxon", kernel, ".byte 0xf3, 0x0f, 0xc7, 0x33", bx=user_data
    case "hlt with lock", kernel, ".byte 0xf0; hlt", bed=0
    case "getsec", kernel, ".byte 0x0f, 0x37"
    case "undefined 0f 0a", kernel, ".byte 0x0f, 0x0a"
    case "undefined 0f ff", kernel, ".byte 0x0f, 0xff, 0xc0"
    case "instruction of 15 bytes", kernel, ".fill 14, 1, 0x66; nop"
    case "instruction of 16 bytes", kernel, ".fill 15, 1, 0x66; nop"
    case "instruction of 16 bytes, the last not mapped", kernel, "jmp *%rbx", \
        "mov $0x66666666, %eax; mov $0x200ff0, %edi; stosl; stosl; stosl; stosl; movq $0, window + 8", bx=0x200ff1
    case "instruction of 3 bytes, the last not mapped", kernel, "jmp *%rbx", \
        "movl $0xc8c74890, 0x200ffc; movq $0, window + 8", bx=0x200ffd
    .irp op, 0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x82, 0xd4, 0xd5, 0xd6
    case "opcode \op is none in 64-bit mode", kernel, ".byte \op, 0, 0, 0"
    .endr
