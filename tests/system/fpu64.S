/*
 * fpu64: who may use x87, MMX, SSE and AVX: CR0.TS, EM, MP, NE, CR4.OSFXSR, OSXMMEXCPT, OSXSAVE, XCR0;
 * alignment checks.
 */
#include "wide.inc"

    .set MP, 2
    .set EM, 4
    .set TS, 8
/* One instruction of each kind under the control bits given. */
    .macro kinds of:req, setup:req
    case "fnop, \of", user, "fnop", "\setup"
    case "fninit, \of", user, "fninit", "\setup"
    case "fnstsw, \of", user, "fnstsw %ax", "\setup", ax=-1
    case "fwait, \of", user, "fwait", "\setup"
    case "fld, not mapped, \of", user, "flds (%rbx)", "\setup", bx=0x50000000
    case "fxsave, \of", user, "fxsave (%rbx)", "\setup", bx=user_data
    case "fxsave, not aligned, \of", user, "fxsave 8(%rbx)", "\setup", bx=user_data
    case "fxsave, not mapped, \of", user, "fxsave (%rbx)", "\setup", bx=0x50000000
    case "mmx, \of", user, "pxor %mm0, %mm0", "\setup"
    case "emms, \of", user, "emms", "\setup"
    case "sse, \of", user, "xorps %xmm0, %xmm0", "\setup"
    case "sse, not mapped, \of", user, "movaps (%rbx), %xmm0", "\setup", bx=0x50000000
    case "sse, not aligned, \of", user, "movaps 8(%rbx), %xmm0", "\setup", bx=user_data
    case "sse to an integer register, \of", user, "movmskps %xmm0, %eax", "\setup"
    case "ldmxcsr, \of", user, "ldmxcsr (%rbx)", "\setup; movl $0x1f80, user_data", bx=user_data
    case "movnti, \of", user, "movnti %eax, (%rbx)", "\setup", bx=user_data
    case "prefetch, \of", user, "prefetchnta (%rbx)", "\setup"
    case "sfence, \of", user, "sfence", "\setup"
    case "pause, \of", user, "pause", "\setup"
    case "crc32, \of", user, "crc32b %al, %eax", "\setup"
    case "popcnt, \of", user, "popcnt %eax, %ecx", "\setup"
    case "cvtpi2ps of a register, \of", user, "cvtpi2ps %mm0, %xmm0", "\setup"
    case "movq2dq, \of", user, "movq2dq %mm0, %xmm0", "\setup"
    .endm

    theme "== availability of x87, MMX, SSE"
    kinds "as usual", "nop"
    kinds "TS", "cr0_set TS"
    kinds "TS, no MP", "cr0_set TS; cr0_clear MP"
    kinds "EM", "cr0_set EM"
    kinds "EM, TS", "cr0_set EM|TS"
    kinds "EM, TS, no MP", "cr0_set EM|TS; cr0_clear MP"
    kinds "OSFXSR off", "cr4_clear 0x200"
    kinds "OSFXSR off, TS", "cr4_clear 0x200; cr0_set TS"
    case "clts and fnop", kernel, "clts; fnop", "cr0_set TS"
    case "fnop, TS, kernel", kernel, "fnop", "cr0_set TS"
    case "fnop with lock", user, ".byte 0xf0; fnop"
    case "an undefined x87 opcode, EM", user, ".byte 0xd9, 0xd1", "cr0_set EM"
    case "an undefined x87 opcode, TS", user, ".byte 0xd9, 0xd1", "cr0_set TS"
    case "an undefined sse opcode, TS", user, ".byte 0xf3, 0x0f, 0x54, 0xc0", "cr0_set TS"

    theme "== x87 and SSE exceptions"
    .macro unmasked
    fninit
    movw $0x340, user_data
    fldcw user_data
    fld1
    fldz
    fdivrp
    .endm
    case "a pending x87 exception, fwait", user, "fwait", "unmasked"
    case "a pending x87 exception, fnop", user, "fnop", "unmasked"
    case "a pending x87 exception, fnstsw", user, "fnstsw %ax; and $0xff, %eax", "unmasked"
    case "a pending x87 exception, fnclex and fwait", user, "fnclex; fwait", "unmasked"
    case "a pending x87 exception, mmx", user, "pxor %mm0, %mm0", "unmasked"
    case "a pending x87 exception, emms", user, "emms", "unmasked"
    case "a pending x87 exception, sse", user, "xorps %xmm0, %xmm0", "unmasked"
    case "a pending x87 exception, cvtpi2ps", user, "cvtpi2ps %mm0, %xmm0", "unmasked"
    case "a pending x87 exception, cvttpd2pi", user, "cvttpd2pi %xmm0, %mm0", "unmasked"
    case "a pending x87 exception, TS, fwait", user, "fwait", "unmasked; cr0_set TS"
    case "a pending x87 exception, EM, fnop", user, "fnop", "unmasked; cr0_set EM"
    case "a pending x87 exception and a load not mapped", user, "flds (%rbx)", "unmasked", bx=0x50000000
    case "sse division by zero, unmasked", user, "divss %xmm1, %xmm0", \
        "movl $0x1d80, user_data; ldmxcsr user_data; xorps %xmm1, %xmm1; mov $0x3f800000, %eax; movd %eax, %xmm0"
    case "sse division by zero, unmasked, OSXMMEXCPT off", user, "divss %xmm1, %xmm0", \
        "movl $0x1d80, user_data; ldmxcsr user_data; xorps %xmm1, %xmm1; mov $0x3f800000, %eax; movd %eax, %xmm0; \
        cr4_clear 0x400"
    case "sse division by zero, masked", user, "divss %xmm1, %xmm0; stmxcsr (%rbx); mov (%rbx), %eax", \
        "xorps %xmm1, %xmm1; mov $0x3f800000, %eax; movd %eax, %xmm0", bx=user_data
    case "ldmxcsr, reserved bits", user, "ldmxcsr (%rbx)", "movl $0xffff0000, user_data", bx=user_data
    case "fxrstor, reserved bits of mxcsr", user, "fxrstor (%rbx)", \
        "fxsave user_data; movl $0xffff0000, user_data + 24", bx=user_data
    case "fxrstor, not aligned", user, "fxrstor 1(%rbx)", bx=user_data
    case "fxsave over two pages, the second not mapped", kernel, "fxsave (%rbx)", "movq $0, window + 8", bx=0x200f00

    theme "== XSAVE and AVX"
    .macro avx v=7
    cr4_set 0x40000
    mov $\v, %eax
    xor %ecx, %ecx
    xor %edx, %edx
    xsetbv
    .endm
    case "avx, OSXSAVE off", user, "vxorps %xmm0, %xmm0, %xmm0", need=XSAVE
    case "avx, XCR0 1", user, "vxorps %xmm0, %xmm0, %xmm0", "avx 1", need=XSAVE
    case "avx, XCR0 3", user, "vxorps %xmm0, %xmm0, %xmm0", "avx 3", need=XSAVE
    case "avx, XCR0 7", user, "vxorps %xmm0, %xmm0, %xmm0", "avx", need=XSAVE
    case "avx, TS", user, "vxorps %xmm0, %xmm0, %xmm0", "avx; cr0_set TS", need=XSAVE
    case "avx, TS, OSXSAVE off", user, "vxorps %xmm0, %xmm0, %xmm0", "cr0_set TS", need=XSAVE
    case "avx, EM", user, "vxorps %xmm0, %xmm0, %xmm0", "avx; cr0_set EM", need=XSAVE
    case "avx, OSFXSR off", user, "vxorps %xmm0, %xmm0, %xmm0", "avx; cr4_clear 0x200", need=XSAVE
    case "avx, 66 before", user, ".byte 0x66; vxorps %xmm0, %xmm0, %xmm0", "avx", need=XSAVE
    case "avx, lock before", user, ".byte 0xf0; vxorps %xmm0, %xmm0, %xmm0", "avx", need=XSAVE
    case "avx, rex before", user, ".byte 0x40; vxorps %xmm0, %xmm0, %xmm0", "avx", need=XSAVE
    case "avx, vvvv of an instruction without", user, ".byte 0xc5, 0xb0, 0x28, 0xc0", "avx", need=XSAVE
    case "avx, movaps not aligned", user, "vmovaps 8(%rbx), %xmm0", "avx", bx=user_data, need=XSAVE
    case "avx, movups not aligned", user, "vmovups 8(%rbx), %xmm0", "avx", bx=user_data, need=XSAVE
    case "bmi without OSXSAVE", user, "andn %eax, %eax, %eax; xor %eax, %eax", need=XSAVE
    case "xsave, OSXSAVE off", user, "xsave (%rbx)", bx=user_data, need=XSAVE
    case "xsave, TS", user, "xsave (%rbx)", "avx; cr0_set TS", bx=user_data, need=XSAVE
    case "xsave, EM", user, "xsave (%rbx)", "avx; cr0_set EM", bx=user_data, need=XSAVE
    case "xsave, not aligned", user, "xsave 16(%rbx)", "avx", bx=user_data, need=XSAVE
    case "xsave", user, "xsave (%rbx); mov 512(%rbx), %rcx", "avx; movl $0, user_data + 512", bx=user_data, ax=1, \
        need=XSAVE
    case "xrstor, reserved bit in XSTATE_BV", user, "xrstor (%rbx)", \
        "avx; mov $1, %eax; xor %edx, %edx; xsave user_data; movl $0x100, user_data + 512", bx=user_data, ax=7, \
        need=XSAVE
    case "xrstor, reserved bytes of the header", user, "xrstor (%rbx)", \
        "avx; mov $1, %eax; xor %edx, %edx; xsave user_data; movl $1, user_data + 540", bx=user_data, ax=7, need=XSAVE
    case "xrstor, not aligned", user, "xrstor 16(%rbx)", "avx", bx=user_data, need=XSAVE
    case "xsave with lock", user, ".byte 0xf0; xsave (%rbx)", "avx", bx=user_data, need=XSAVE
    case "xgetbv in compat mode", user32, "xgetbv", "avx", need=XSAVE

    theme "== alignment checks"
    .macro am
    cr0_set 0x40000
    .endm
    .set AC, 0x40002
    case "AM and AC off", user, "mov 1(%rbx), %ax", bx=user_data
    case "AM, AC off", user, "mov 1(%rbx), %ax; xor %eax, %eax", "am", bx=user_data
    case "AC, AM off", user, "mov 1(%rbx), %ax; mov $0, %eax", bx=user_data, fl=AC
    case "AM and AC, kernel", kernel, "mov 1(%rbx), %ax; mov $0, %eax", "am", bx=user_data, fl=AC
    case "AM and AC, word", user, "mov 1(%rbx), %ax", "am", bx=user_data, fl=AC
    case "AM and AC, word aligned", user, "mov 2(%rbx), %ax; mov $0, %eax", "am", bx=user_data, fl=AC
    case "AM and AC, dword", user, "mov 2(%rbx), %eax", "am", bx=user_data, fl=AC
    case "AM and AC, qword", user, "mov 4(%rbx), %rax", "am", bx=user_data, fl=AC
    case "AM and AC, byte", user, "mov 1(%rbx), %al; mov $0, %eax", "am", bx=user_data, fl=AC
    case "AM and AC, store", user, "mov %eax, 2(%rbx)", "am", bx=user_data, fl=AC
    case "AM and AC, read-modify-write", user, "incl 2(%rbx)", "am", bx=user_data, fl=AC
    case "AM and AC, locked", user, "lock incl 2(%rbx)", "am", bx=user_data, fl=AC
    case "AM and AC, compat", user32, "mov 2(%ebx), %eax", "am", bx=user_data, fl=AC
    case "AM and AC, push", user, "mov %rbx, %rsp; push %rax", "am", bx=user_data+0x104, fl=AC
    case "AM and AC, pop", user, "mov %rbx, %rsp; pop %rax", "am", bx=user_data+0x104, fl=AC
    case "AM and AC, call", user, "mov %rbx, %rsp; call 1f; 1:", "am", bx=user_data+0x104, fl=AC
    case "AM and AC, movs", user, "mov %ebx, %esi; lea 0x200(%rbx), %edi; movsl", "am", bx=user_data+1, fl=AC
    case "AM and AC, rep movs", user, "mov %ebx, %esi; lea 0x200(%rbx), %edi; mov $2, %ecx; rep movsl", "am", \
        bx=user_data+1, fl=AC
    case "AM and AC, rep stos", user, "mov %ebx, %edi; mov $2, %ecx; rep stosq", "am", bx=user_data+4, fl=AC
    case "AM and AC, flds", user, "flds 2(%rbx)", "am", bx=user_data, fl=AC
    case "AM and AC, fldl", user, "fldl 4(%rbx)", "am", bx=user_data, fl=AC
    case "AM and AC, fldt", user, "fldt 4(%rbx)", "am", bx=user_data, fl=AC
    case "AM and AC, movups", user, "movups 2(%rbx), %xmm0", "am", bx=user_data, fl=AC
    case "AM and AC, movups at 8", user, "movups 8(%rbx), %xmm0", "am", bx=user_data, fl=AC
    case "AM and AC, movaps at 8", user, "movaps 8(%rbx), %xmm0", "am", bx=user_data, fl=AC
    case "AM and AC, movsd", user, "movsd 4(%rbx), %xmm0", "am", bx=user_data, fl=AC
    case "AM and AC, cmpxchg16b at 8", user, "cmpxchg16b 8(%rbx)", "am", bx=user_data, fl=AC
    case "AM and AC, cmpxchg8b", user, "cmpxchg8b 4(%rbx)", "am", bx=user_data, fl=AC
    case "AM and AC, sgdt", user, "sgdt 1(%rbx)", "am", bx=user_data, fl=AC
    case "AM and AC, far pointer", user, "lcalll *1(%rbx)", "am", bx=user_data, fl=AC
    case "AM and AC, not aligned and not mapped", user, "mov 1(%rbx), %eax", "am", bx=0x50000000, fl=AC
    case "AM and AC, over two pages, the second not mapped", user, "mov (%rbx), %eax", \
        "am; movq $0, window + 8; orb $4, window", bx=0x200ffd, fl=AC
    case "AM and AC, not canonical", user, "mov 1(%rbx), %eax", "am", bx=1<<47, fl=AC
    case "AM and AC, iretq of a frame not aligned", user, "mov %rbx, %rsp; iretq", "am", bx=user_data+0x104, fl=AC
    case "AM and AC, syscall and int are not concerned", user, "mov %rbx, %rsp; int $0x40", \
        "am; vector 0x40, landing", bx=user_data+0x101, fl=AC
    case "AM and AC, bt with a bit offset", user, "bt %ecx, (%rbx)", "am", bx=user_data, cx=33, fl=AC
    case "AM and AC, xlat", user, "mov $1, %al; xlat; mov $0, %eax", "am", bx=user_data, fl=AC
    case "AM and AC, enter", user, "mov %rbx, %rsp; enter $0, $0", "am", bx=user_data+0x104, fl=AC
    case "AM and AC, fxsave at 8", user, "fxsave 8(%rbx)", "am", bx=user_data, fl=AC
