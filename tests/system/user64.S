/* user64: what user mode may not do, in 64-bit and compatibility mode; ports; UMIP; flags that it may not change. */
#include "wide.inc"

    .macro both name:req, body:req, setup, ax=0, bx=0, cx=0, dx=0, fl=2, need=0
    case "\name, user", user, "\body", "\setup", ax=\ax, bx=\bx, cx=\cx, dx=\dx, fl=\fl, need=\need
    case "\name, compat", user32, "\body", "\setup", ax=\ax, bx=\bx, cx=\cx, dx=\dx, fl=\fl, need=\need
    .endm
    .set IOPL3, 0x3002
    .set CLOSED, 0x300000 /* an address that user mode may not touch */

    theme "== privileged instructions in user mode"
    both "hlt", "hlt"
    both "clts", "clts"
    both "lmsw", "lmsw %ax"
    both "lmsw, closed memory", "lmsw (%ebx)", bx=CLOSED
    both "invd", "invd"
    both "wbinvd", "wbinvd"
    both "invlpg", "invlpg (%ebx)", bx=user_stack
    both "invlpg, closed memory", "invlpg (%ebx)", bx=CLOSED
    both "lgdt", "lgdt (%ebx)", bx=user_data
    both "lgdt, closed memory", "lgdt (%ebx)", bx=CLOSED
    both "lidt", "lidt (%ebx)", bx=user_data
    both "lldt", "lldt %ax"
    both "lldt, closed memory", "lldt (%ebx)", bx=CLOSED
    both "ltr", "ltr %ax", ax=TSS
    both "ltr, null", "ltr %ax"
    both "rdmsr", "rdmsr", cx=0xc0000080
    both "rdmsr, none such", "rdmsr", cx=0x12345
    both "wrmsr", "wrmsr", cx=0xc0000080
    both "rdpmc", "rdpmc"
    both "rdtsc", "rdtsc; xor %eax, %eax; xor %edx, %edx"
    both "rdtsc, TSD", "rdtsc", "cr4_set 4"
    both "rdtscp", "rdtscp; xor %eax, %eax; xor %edx, %edx; xor %ecx, %ecx", need=RDTSCP
    both "rdtscp, TSD", "rdtscp", "cr4_set 4", need=RDTSCP
    case "swapgs, user", user, "swapgs"
    both "sysret", "sysretl"
    both "sysexit", ".byte 0x0f, 0x35", need=SYSENTER
    both "sysexit, SYSENTER_CS set", ".byte 0x0f, 0x35", "mov $0x174, %ecx; mov $KCODE, %eax; xor %edx, %edx; wrmsr", \
        need=SYSENTER
    both "rsm", "rsm"
    both "vmxoff", ".byte 0x0f, 0x01, 0xc4"
    both "stac", "stac", need=SMAP
    both "clac", "clac", need=SMAP
    both "invpcid", ".byte 0x66, 0x0f, 0x38, 0x82, 0x03", bx=user_data, need=INVPCID
    both "invpcid, closed memory", ".byte 0x66, 0x0f, 0x38, 0x82, 0x03", bx=CLOSED, need=INVPCID
    both "xsetbv, OSXSAVE off", "xsetbv", need=XSAVE
    both "xsetbv", "xsetbv", "cr4_set 0x40000", ax=1, need=XSAVE
    both "xgetbv, OSXSAVE off", "xgetbv", need=XSAVE
    both "xgetbv", "xgetbv", "cr4_set 0x40000", need=XSAVE
    both "ud2", "ud2; nop"

    theme "== control and debug registers in user mode"
    .irp n, 0, 1, 2, 3, 4, 5, 8, 9, 15
    case "mov from cr\n, user", user, ".byte 0x40 + (\n & 8) / 2, 0x0f, 0x20, 0xc0 + (\n & 7) * 8"
    case "mov to cr\n, user", user, ".byte 0x40 + (\n & 8) / 2, 0x0f, 0x22, 0xc0 + (\n & 7) * 8"
    .endr
    .irp n, 0, 1, 2, 3, 4, 7
    case "mov from cr\n, compat", user32, ".byte 0x0f, 0x20, 0xc0 + \n * 8"
    case "mov to cr\n, compat", user32, ".byte 0x0f, 0x22, 0xc0 + \n * 8"
    .endr
    .irp n, 0, 1, 3, 4, 5, 6, 7
    both "mov from dr\n", ".byte 0x0f, 0x21, 0xc0 + \n * 8"
    both "mov to dr\n", ".byte 0x0f, 0x23, 0xc0 + \n * 8"
    .endr
    case "mov from dr8, user", user, ".byte 0x44, 0x0f, 0x21, 0xc0"
    both "mov from dr4, DE", ".byte 0x0f, 0x21, 0xe0", "cr4_set 8"
    both "mov to dr5, DE", ".byte 0x0f, 0x23, 0xe8", "cr4_set 8"
    both "mov from dr7, GD", ".byte 0x0f, 0x21, 0xf8", "mov $0x2400, %eax; mov %rax, %dr7"

    theme "== IOPL"
    .irp iopl, 0, 1, 2, 3
    both "cli, iopl \iopl", "cli", fl=0x202 | \iopl << 12
    both "sti, iopl \iopl", "sti; cli", fl=2 | \iopl << 12
    both "popf of all ones, iopl \iopl", "push $-1; popf; pushf; push $0x2; popf; .byte 0x58", fl=2 | \iopl << 12
    both "popf of zero, iopl \iopl", "push $0; popf", fl=0x202 | \iopl << 12
    both "out, iopl \iopl", "out %al, $0x80", fl=2 | \iopl << 12
    .endr
    both "popfw of all ones", "pushw $-1; popfw; pushfw; pushw $2; popfw; pop %ax", fl=IOPL3
    case "popf of IOPL and IF, kernel", kernel, "push $0x3202; popf; pushf; push $2; popf; pop %rax"
    case "popf of NT and ID, kernel", kernel, "push $0x204002; popf; pushf; push $2; popf; pop %rax"
    case "popf of RF and VM, kernel", kernel, "push $0x30002; popf; pushf; push $2; popf; pop %rax"
    case "popf of VIF and VIP, kernel", kernel, "push $0x180002; popf; pushf; push $2; popf; pop %rax"
    case "popfw leaves the upper half, kernel", kernel, "push $0x200002; popf; pushw $2; popfw; pushf; push $2; popf; \
        pop %rax"
    case "pushf does not show RF", kernel, "pushf; pop %rax", fl=0x10002

    theme "== the I/O permission bitmap"
    both "in, no bitmap", "in $0x80, %al"
    both "insb, no bitmap", "insb", dx=0x3ff
    both "outsb, no bitmap, closed memory", "outsb", dx=0x80
    both "rep outsb of nothing, no bitmap", "rep outsb", dx=0x80
    both "out, denied", "out %al, $0x80", "tss_limit 0x2068"
    both "out, allowed", "out %al, $0x80", "tss_limit 0x2068; movb $0, tss + 0x68 + 0x10"
    both "out, the only one allowed", "out %al, $0x83", "tss_limit 0x2068; movb $0xf7, tss + 0x68 + 0x10"
    both "out, the only one denied", "out %al, $0x83", "tss_limit 0x2068; movb $8, tss + 0x68 + 0x10"
    both "outw, the second denied", "out %ax, $0x82", "tss_limit 0x2068; movb $8, tss + 0x68 + 0x10"
    both "outw across bytes, the second denied", "out %ax, $0x87", "tss_limit 0x2068; movw $0x100, tss + 0x68 + 0x10"
    both "outw across bytes, allowed", "out %ax, $0x87", "tss_limit 0x2068; movw $0xfe7f, tss + 0x68 + 0x10"
    both "outl across bytes, the last denied", "out %eax, $0x85", "tss_limit 0x2068; movw $0x100, tss + 0x68 + 0x10"
    both "outl, allowed", "out %eax, $0x84", "tss_limit 0x2068; movb $0xf, tss + 0x68 + 0x10"
    both "out, last byte of the bitmap is the limit", "out %al, $0x80", "tss_limit 0x78; movb $0, tss + 0x78"
    both "out, one byte beyond it is needed", "out %al, $0x80", "tss_limit 0x79; movb $0, tss + 0x78"
    both "out, TSS without a base field", "out %al, $0x80", "tss_limit 0x66; movw $0, tss + 0x66"
    both "out, bitmap base within the TSS", "out %al, $0x00", "movw $0x20, tss + 0x66"
    both "out, bitmap base beyond 0xdfff", "out %al, $0x80", "tss_limit 0xffff; movw $0xe000, tss + 0x66"
    both "out to 0xffff, allowed", "out %al, %dx", "tss_limit 0x2068; movb $0, tss + 0x68 + 0x1fff", dx=0xffff
    both "outw to 0xffff, terminator in the limit", "out %ax, %dx", "tss_limit 0x2068; movb $0, tss + 0x68 + 0x1fff", \
        dx=0xffff
    both "outsb, allowed", "mov $user_data, %esi; outsb", "tss_limit 0x2068; movb $0, tss + 0x68 + 0x10", dx=0x80
    both "outsb, allowed, closed memory", "mov $CLOSED, %esi; outsb", "tss_limit 0x2068; movb $0, tss + 0x68 + 0x10", \
        dx=0x80
    both "insb, allowed, closed memory", "mov $CLOSED, %edi; insb", "tss_limit 0x2068; movb $0, tss + 0x68 + 0x7f", \
        dx=0x3ff
    both "out, bitmap absent", "out %al, $0x80", "tss_limit 0x2068"

    theme "== UMIP"
    .irp on, 0, 0x800
    both "sgdt, umip \on", "sgdt (%ebx); movzwl (%ebx), %eax; mov 2(%ebx), %ecx", "cr4_set \on", bx=user_data, need=UMIP
    both "sidt, umip \on", "sidt (%ebx); movzwl (%ebx), %eax; mov 2(%ebx), %ecx", "cr4_set \on", bx=user_data, need=UMIP
    both "sgdt to closed memory, umip \on", "sgdt (%ebx)", "cr4_set \on", bx=CLOSED, need=UMIP
    both "sldt, umip \on", "sldt %eax", "cr4_set \on; mov $LDT, %eax; lldt %ax", ax=-1, need=UMIP
    both "sldt to memory, umip \on", "sldt (%ebx); mov (%ebx), %eax", "cr4_set \on; movl $-1, user_data", \
        bx=user_data, need=UMIP
    both "str, umip \on", "str %eax", "cr4_set \on", ax=-1, need=UMIP
    both "strw, umip \on", "str %ax", "cr4_set \on", ax=-1, need=UMIP
    both "smsw, umip \on", "smsw %eax", "cr4_set \on", ax=-1, need=UMIP
    both "smswl to memory, umip \on", "smsw (%ebx); mov (%ebx), %eax", "cr4_set \on; movl $-1, user_data", \
        bx=user_data, need=UMIP
    case "sgdt, kernel, umip \on", kernel, "sgdt (%rbx); movzwl (%rbx), %eax", "cr4_set \on", bx=user_data, need=UMIP
    case "str, kernel, umip \on", kernel, "str %eax", "cr4_set \on", need=UMIP
    .endr
