/* limit32: segment limits and types: what an access, a push, a fetch at the edge of a segment leads to. */
#include "narrow.inc"

/* FREE is the segment; FS and BX name its bytes. */
    .macro edge name:req, access, flags, limit, base, offsets:vararg
    .irp off, \offsets
    case "data, \name, byte at \off", user, "movb %fs:(%ebx), %al", "segment FREE, \base, \limit, \access, \flags; \
        movl $FREE | 3, begin + FS", bx=\off, bed=0
    case "data, \name, write of a word at \off", user, "movw %ax, %fs:(%ebx)", "segment FREE, \base, \limit, \
        \access, \
        \flags; \
        movl $FREE | 3, begin + FS", bx=\off, bed=0
    case "data, \name, long at \off", user, "movl %fs:(%ebx), %eax", "segment FREE, \base, \limit, \access, \flags; \
        movl $FREE | 3, begin + FS", bx=\off, bed=0
    case "data, \name, eight bytes at \off", user, "fldl %fs:(%ebx)", "segment FREE, \base, \limit, \access, \flags; \
        movl $FREE | 3, begin + FS", bx=\off, bed=0
    case "data, \name, ten bytes at \off", user, "fldt %fs:(%ebx)", "segment FREE, \base, \limit, \access, \flags; \
        movl $FREE | 3, begin + FS", bx=\off, bed=0
    .endr
    .endm

    theme "== data segments"
    edge "0 to 0x1ff", 0xf3, 4, 0x1ff, DATA, 0, 0x1f6, 0x1f8, 0x1fc, 0x1fd, 0x1fe, 0x1ff, 0x200, 0xfffffffe
    edge "a byte", 0xf3, 4, 0, DATA, 0, 1
    edge "pages", 0xf3, 12, 0, DATA-0x200, 0x200, 0xffe, 0xfff
    edge "all but the last", 0xf3, 12, 0xffffe, DATA, 0x40, 0xffffefff, 0xfffffffe
    edge "all", 0xf3, 12, 0xfffff, DATA+0x20, 0xfffffff0, 0xfffffffe, 0xffffffff
    edge "expand down", 0xf7, 4, 0x1ff, DATA, 0x100, 0x1ff, 0x200, 0x300, 0xffffffff, 0xfffffffe
    edge "expand down in pages", 0xf7, 12, 0, DATA-0x1000, 0xfff, 0x1000
    edge "expand down of everything", 0xf7, 12, 0xfffff, DATA, 0x100, 0xfffffffe
    edge "expand down of 16 bits", 0xf7, 0, 0x1ff, DATA, 0x100, 0x200, 0xfffe, 0xffff, 0x10000
    edge "expand down of 16 bits, all", 0xf7, 0, 0xffff, DATA, 0x100, 0xffff
    edge "read only", 0xf1, 4, 0x1ff, DATA, 0x10, 0x1fe
    edge "read only, expand down", 0xf5, 4, 0x1ff, DATA, 0x100, 0x300
    edge "code", 0xfb, 4, 0x1ff, DATA, 0x10, 0x1ff

    theme "== instructions at the edge"
    .macro at_edge name:req, body, bx=0x1fc, mode=user
    case "at the edge, \name", \mode, "\body", "segment FREE, DATA, 0x1ff, 0xf3; movl $FREE | 3, begin + FS; \
        movl $FREE | 3, begin + DS; movl $FREE | 3, begin + ES; movl $0x100, begin + SI; movl $\bx, begin + DI", \
        bx=\bx, cx=4, bed=0
    .endm
    .irp off, 0x1f8, 0x1f9, 0x1fc, 0x1fd, 0x1ff, 0x200
    at_edge "cmpxchg8b at \off", "cmpxchg8b (%ebx)", \off
    at_edge "xchg at \off", "xchg %eax, (%ebx)", \off
    at_edge "lock add at \off", "lock addl $1, (%ebx)", \off
    at_edge "fnstenv at \off", "fnstenv (%ebx)", \off
    at_edge "fstpt at \off", "fldz; fstpt (%ebx)", \off
    at_edge "bound at \off", "bound %eax, (%ebx)", \off
    at_edge "les at \off", "les (%ebx), %eax", \off
    at_edge "sgdt at \off", "sgdtl (%ebx)", \off
    at_edge "push of memory at \off", "pushl %ds:(%ebx)", \off
    at_edge "pop to memory at \off", "push $5; popl %ds:(%ebx)", \off
    at_edge "movsl to \off", "movsl", \off
    at_edge "rep stosb from \off", "rep stosb", \off
    at_edge "rep movsl to \off", "rep movsl", \off
    at_edge "xlat at \off", "xlat", \off
    at_edge "bt with a bit beyond at \off", "bt %ecx, (%ebx)", \off
    at_edge "insb to \off", "insb", \off
    at_edge "lods from \off", "mov %edi, %esi; lodsl", \off
    at_edge "cmps at \off", "cmpsl", \off
    at_edge "movups at \off", "movups (%ebx), %xmm0", \off
    at_edge "movaps at \off", "movaps (%ebx), %xmm0", \off
    at_edge "invlpg at \off", "invlpg (%ebx)", \off
    at_edge "clflush at \off", "clflush (%ebx)", \off
    at_edge "prefetch at \off", "prefetcht0 (%ebx)", \off
    at_edge "lea at \off", "lea (%ebx), %eax", \off
    at_edge "verr of memory at \off", "verr (%ebx)", \off
    at_edge "long nop at \off", "nopl (%ebx)", \off
    .endr
    at_edge "fsave", "fnsave (%ebx)", 0x195
    at_edge "fsave just within", "fnsave (%ebx)", 0x194
    at_edge "fxsave", "fxsave (%ebx)", 0x10
    at_edge "bts far beyond", "bts %eax, (%ebx)", 0
    at_edge "rep stosb of nothing beyond", "xor %ecx, %ecx; rep stosb", 0x1000
    at_edge "rep stosl downwards", "std; rep stosl", 4
    at_edge "16-bit address that wraps", "addr16 mov -1(%bx), %al", 0
    at_edge "16-bit address", "addr16 mov 1(%bx), %al", 0x1fe
    at_edge "sgdt, kernel", "sgdtl (%ebx)", 0x1fc, kernel
    case "lgdt at the edge", kernel, "lgdtl %fs:(%ebx)", "segment FREE, DATA, 0x1ff, 0x93; movl $FREE, begin + FS", \
        bx=0x1fc, bed=0
    at_edge "invlpg, kernel", "invlpg (%ebx)", 0x200, kernel

    theme "== null and wrong segments"
    .irp seg, ds, es, fs, gs
    case "a null \seg, read", user, "mov %ecx, %\seg; mov %\seg:(%ebx), %eax", bx=DATA
    case "a null \seg, rpl 3, write", user, "mov %ecx, %\seg; mov %eax, %\seg:(%ebx)", bx=DATA, cx=3
    case "a null \seg, kernel", kernel, "mov %ecx, %\seg; mov %\seg:(%ebx), %eax", bx=DATA
    case "write to code by \seg", kernel, "mov %ecx, %\seg; mov %eax, %\seg:(%ebx)", bx=DATA, cx=KCODE
    case "write to read-only \seg", kernel, "mov %ecx, %\seg; mov %eax, %\seg:(%ebx)", bx=DATA, cx=READ_ONLY
    .endr
    case "write by cs", kernel, "mov %eax, %cs:(%ebx)", bx=DATA
    case "read by cs", kernel, "mov %cs:(%ebx), %eax", bx=DATA
    case "read by cs, execute only", kernel, "ljmp $EXECUTE_ONLY, $1f; 1: mov %cs:(%ebx), %eax", bx=DATA
    case "movs from a null ds", user, "mov %ecx, %ds; movsb"
    case "movs to a null es", user, "mov %ecx, %es; movsb"
    case "cmps of nulls", user, "mov %ecx, %es; mov %ecx, %ds; cmpsb"
    case "a null ds, lea", user, "mov %ecx, %ds; lea (%ebx), %eax", bx=DATA
    case "a null ds, nop", user, "mov %ecx, %ds; nopl (%ebx)", bx=DATA
    case "a null ds, prefetch", user, "mov %ecx, %ds; prefetcht0 (%ebx)", bx=DATA
    case "a null ds, clflush", user, "mov %ecx, %ds; clflush (%ebx)", bx=DATA
    case "a null ds, invlpg", kernel, "mov %ecx, %ds; invlpg (%ebx)", bx=DATA
    case "ss overridden by a null ds, ebp", user, "mov %ecx, %ds; mov %ds:(%ebp), %eax"
    case "a descriptor changed after the load", user, "mov %fs:(%ebx), %eax", "segment FREE, DATA, 0xff, 0xf3; \
        mov $FREE | 3, %eax; mov %eax, %fs; movl $FREE | 3, begin + FS; segment FREE, DATA, 0xf, 0xf3", bx=0x10

    theme "== stacks"
    .macro on_stack name:req, body, sp, access=0xf3, flags=4, limit=0x1ff, mode=user
    case "stack, \name at \sp", \mode, "\body", "segment FREE, DATA, \limit, \access, \flags; \
        movl $FREE | 3, begin + SS; movl $\sp, begin + SP; mov $DATA, %edi; mov $0x40, %ecx; rep stosl", \
        bx=0x1fe, cx=0x600, bed=0
    .endm
    .irp sp, 0, 2, 4, 0x1fc, 0x1fe, 0x200, 0x202, 0x204
    on_stack "push", "push %eax", \sp
    on_stack "pushw", "pushw %ax", \sp
    on_stack "pop", "pop %eax", \sp
    on_stack "popw", "popw %ax", \sp
    on_stack "pusha", "pusha", \sp
    on_stack "popa", "popa", \sp
    on_stack "pushf", "pushf", \sp
    on_stack "call", "call 1f; 1:", \sp
    on_stack "ret", "ret", \sp
    on_stack "enter", "enter $8, $0", \sp
    on_stack "enter of two levels", "enter $8, $2", \sp
    on_stack "leave", "mov %esp, %ebp; leave", \sp
    on_stack "lcall", "lcall $UCODE | 3, $1f; 1:", \sp
    on_stack "lret", "lret", \sp
    on_stack "iret", "iret", \sp
    on_stack "push ds", "push %ds", \sp
    on_stack "pop ds", "pop %ds", \sp
    on_stack "read by ebp", "mov %esp, %ebp; mov (%ebp), %eax", \sp
    on_stack "read by esp", "mov (%esp), %eax", \sp
    .endr
    .irp sp, 0, 1, 2, 3, 4, 0xfffe, 0xffff, 0x10000, 0x12340000, 0x12340002
    on_stack "16 bits, push", "push %eax", \sp, 0xf3, 0, 0xffff
    on_stack "16 bits, pushw", "pushw %ax", \sp, 0xf3, 0, 0xffff
    on_stack "16 bits, pop", "pop %eax", \sp, 0xf3, 0, 0xffff
    on_stack "16 bits, popw", "popw %ax", \sp, 0xf3, 0, 0xffff
    on_stack "16 bits, pusha", "pusha", \sp, 0xf3, 0, 0xffff
    on_stack "16 bits, popaw", "popaw", \sp, 0xf3, 0, 0xffff
    on_stack "16 bits, call", "call 1f; 1:", \sp, 0xf3, 0, 0xffff
    on_stack "16 bits, enter", "enter $8, $1", \sp, 0xf3, 0, 0xffff
    on_stack "16 bits, leave", "mov %esp, %ebp; leave", \sp, 0xf3, 0, 0xffff
    on_stack "16 bits, ret", "mov $1f, %edi; mov %edi, %ss:(%esp); ret; 1:", \sp, 0xf3, 0, 0xffff
    .endr
    .irp sp, 0x1fe, 0x200, 0x204, 0x20a, 0
    on_stack "expand down, push", "push %eax", \sp, 0xf7
    on_stack "expand down, pop", "pop %eax", \sp, 0xf7
    on_stack "expand down, pusha", "pusha", \sp, 0xf7
    .endr

    theme "== code"
    .macro in_code name:req, body, limit, flags=4
    case "code, \name", user, "\body", "mov begin + IP, %eax; movl $0, begin + IP; movl $FREE | 3, begin + CS; \
        mov %ax, gdt + FREE + 2; shr $16, %eax; mov %al, gdt + FREE + 4; mov %ah, gdt + FREE + 7; \
        movw $\limit, gdt + FREE; movb $0xfb, gdt + FREE + 5; movb $(\flags << 4), gdt + FREE + 6", \
        bed=0
    .endm
    in_code "an instruction up to the limit", "nop; mov $0x12345678, %eax; 1:", 5
    in_code "an instruction over the limit", "nop; mov $0x12345678, %eax; 1:", 4
    in_code "an instruction beyond the limit", "nop; mov $0x12345678, %eax; 1:", 0
    in_code "a jump beyond the limit", "jmp .+0x40", 0x20
    in_code "a jump beyond the limit, taken", "jz .+0x40", 0x20
    in_code "a conditional jump beyond the limit, taken", "jnz .+0x40", 0x20
    in_code "a call beyond the limit", "call .+0x40", 0x20
    in_code "a return beyond the limit", "push $0x40; ret", 0x20
    in_code "an indirect jump beyond the limit", "mov $0x40, %eax; jmp *%eax", 0x20
    in_code "a loop beyond the limit", "mov $2, %ecx; loop .+0x40", 0x20
    in_code "a jump with an operand prefix", "mov $0x10020, %eax; .byte 0x66; jmp *%eax", 0x1f
    in_code "a jump to -1", "mov $-1, %eax; jmp *%eax", 0x20
    in_code "data behind the limit of cs", "mov %cs:0x40, %eax", 0x20
