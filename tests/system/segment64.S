/* segment64: segment registers, LDTR and TR, and what LAR and its kin say of descriptors. */
#include "wide.inc"

    theme "== segment loads"
    .irp seg, ds, es, fs, gs
    case "mov \seg, null", kernel, "mov %eax, %\seg"
    case "mov \seg, null rpl 3", kernel, "mov %eax, %\seg", ax=3
    case "mov \seg, user data", kernel, "mov %eax, %\seg", ax=UDATA|3
    case "mov \seg, kernel data rpl 3", kernel, "mov %eax, %\seg", ax=KDATA|3
    case "mov \seg, not present", kernel, "mov %eax, %\seg", ax=ABSENT_DATA
    case "mov \seg, execute only", kernel, "mov %eax, %\seg", ax=EXECUTE_ONLY
    case "mov \seg, readable code", kernel, "mov %eax, %\seg", ax=KCODE
    case "mov \seg, beyond the table", kernel, "mov %eax, %\seg", ax=0x1000
    case "mov \seg, kernel data, user", user, "mov %eax, %\seg", ax=KDATA|3
    case "mov \seg, user data, user", user, "mov %eax, %\seg", ax=UDATA
    case "mov \seg, conforming code of the kernel, user", user, "mov %eax, %\seg", ax=CONFORMING|3
    case "mov \seg, kernel code, user", user, "mov %eax, %\seg", ax=KCODE|3
    .endr
    case "mov ds, read only", kernel, "mov %eax, %ds", ax=READ_ONLY
    case "mov ds, in no LDT", kernel, "mov %eax, %ds", ax=0xc
    case "mov ds, in the LDT", kernel, "mov $LDT, %ecx; lldt %cx; mov %eax, %ds", ax=0xc
    case "mov ds, null in the LDT", kernel, "mov $LDT, %ecx; lldt %cx; mov %eax, %ds", ax=4
    case "mov ds, beyond the LDT", kernel, "mov $LDT, %ecx; lldt %cx; mov %eax, %ds", ax=0x24
    case "mov ds, TSS", kernel, "mov %eax, %ds", ax=TSS
    case "mov ds sets the accessed bit", kernel, "mov %eax, %ds; mov gdt + UDATA2 + 4, %ecx", \
        "andb $~1, gdt + UDATA2 + 5", ax=UDATA2
    case "mov ds of a descriptor not mapped", kernel, "mov %eax, %ds", \
        "movw $0, gdt + LDT + 2; movb $0x20, gdt + LDT + 4; mov $LDT, %eax; lldt %ax; movq $0, window", ax=0xc
    case "mov ds of a descriptor not mapped, user", user, "mov %eax, %ds", \
        "movw $0, gdt + LDT + 2; movb $0x20, gdt + LDT + 4; mov $LDT, %eax; lldt %ax; movq $0, window", ax=0xc
    case "mov ss, null rpl 0", kernel, "mov %eax, %ss"
    case "mov ss, null rpl 3", kernel, "mov %eax, %ss", ax=3
    case "mov ss, null rpl 3, user", user, "mov %eax, %ss", ax=3
    case "mov ss, null, compat kernel", kernel32, "mov %eax, %ss"
    case "mov ss, user data", kernel, "mov %eax, %ss", ax=UDATA|3
    case "mov ss, user data, user", user, "mov %eax, %ss", ax=UDATA2|3
    case "mov ss, user data rpl 0, user", user, "mov %eax, %ss", ax=UDATA
    case "mov ss, kernel data, user", user, "mov %eax, %ss", ax=KDATA|3
    case "mov ss, not present", kernel, "mov %eax, %ss", ax=ABSENT_DATA
    case "mov ss, read only", kernel, "mov %eax, %ss", ax=READ_ONLY
    case "mov ss, kernel data", kernel, "mov %eax, %ss", ax=KDATA
    case "mov ss, kernel data rpl 3", kernel, "mov %eax, %ss", ax=KDATA|3
    case "mov ss, code", kernel, "mov %eax, %ss", ax=KCODE
    case "mov ss, beyond the table", kernel, "mov %eax, %ss", ax=0x1000
    case "mov to cs", kernel, ".byte 0x8e, 0xc8", ax=KCODE
    case "mov to the sixth", kernel, ".byte 0x8e, 0xf0", ax=KDATA
    case "mov from the sixth", kernel, ".byte 0x8c, 0xf0"
    case "mov from ds to 64 bits", kernel, "mov %ds, %rax", ax=-1
    case "mov from ds to 16 bits", kernel, ".byte 0x66, 0x8c, 0xd8", ax=-1
    case "push and pop fs", kernel, "push %fs; pop %rax; push $UDATA | 3; pop %fs"
    case "pop gs, absent", kernel, "push $ABSENT_DATA; pop %gs"
    case "push ds in 64-bit mode", kernel, ".byte 0x1e"
    case "push ds, compat", user32, "push %ds; pop %eax"
    case "pop ss, compat", user32, "push $UDATA2 | 3; pop %ss"
    case "lds in 64-bit mode is VEX", kernel, ".byte 0xc5, 0x00, 0x00"
    case "lds, compat", user32, "lds (%ebx), %eax", "movl $0x12345678, user_data; movl $UDATA2 | 3, user_data + 4", \
        bx=user_data
    case "les, kernel data, compat", user32, "les (%ebx), %eax", \
        "movl $0x12345678, user_data; movl $KDATA | 3, user_data + 4", bx=user_data
    case "lfs, 64-bit pointer", kernel, ".byte 0x48, 0x0f, 0xb4, 0x03", \
        "movq $0x12345678, user_data; movl $KDATA, user_data + 8", bx=user_data
    case "lss", kernel, "lssl (%rbx), %eax", "movl $0x12345678, user_data; movl $KDATA, user_data + 4", bx=user_data
    case "a null ds does not matter in 64-bit mode", kernel, "mov %eax, %ds; mov (%rbx), %al", \
        "movb $0x5a, user_data", bx=user_data
    case "a null ds does matter, compat", user32, "mov %ecx, %ds; mov (%ebx), %al", bx=user_data
    case "a read-only ds does matter, compat", user32, "mov %ecx, %ds; mov %al, (%ebx)", bx=user_data, cx=UREAD_ONLY|3
    case "fs keeps its base over a 64-bit segment load", kernel, \
        "mov %ecx, %fs; mov $0xc0000100, %ecx; rdmsr; xor %ecx, %ecx", "set_msr 0xc0000100, 0x12345678", cx=UDATA

    theme "== LDTR and TR"
    case "ltr, null", kernel, "ltr %ax", bed=0
    case "ltr, null rpl 3", kernel, "ltr %ax", ax=3, bed=0
    case "ltr, data", kernel, "ltr %ax", ax=KDATA
    case "ltr", kernel, "ltr %ax; mov gdt + TSS + 4, %al", "andb $~2, gdt + TSS + 5", ax=TSS
    case "ltr, busy", kernel, "ltr %ax", ax=TSS
    case "ltr, not present", kernel, "ltr %ax", "movb $9, gdt + TSS + 5", ax=TSS
    case "ltr, in the LDT", kernel, "ltr %ax", "mov $LDT, %eax; lldt %ax", ax=0xc
    case "ltr, 16-bit TSS", kernel, "ltr %ax", "movb $0x81, gdt + TSS + 5", ax=TSS
    case "ltr, call gate", kernel, "ltr %ax", "movb $0x8c, gdt + TSS + 5", ax=TSS
    case "ltr, beyond the table", kernel, "ltr %ax", ax=0x1000
    case "ltr, upper half beyond the table", kernel, "ltr %ax", \
        "mov gdt + TSS, %rax; btr $41, %rax; mov %rax, gdt + GDT_SIZE - 8", ax=GDT_SIZE-8
    case "ltr, upper half with a type", kernel, "ltr %ax", "andb $~2, gdt + TSS + 5; movb $1, gdt + TSS + 13", ax=TSS
    case "ltr, base not canonical", kernel, "ltr %ax", "andb $~2, gdt + TSS + 5; movl $0x8000, gdt + TSS + 8", ax=TSS
    case "ltr from memory not mapped", kernel, "ltr (%rbx)", "movq $0, window", bx=0x200000
    case "str", kernel, "str %eax", ax=-1
    case "str to memory writes two bytes", kernel, "str (%rbx); mov (%rbx), %eax", "movl $-1, user_data", bx=user_data
    case "lldt, null", kernel, "lldt %ax; sldt %ecx"
    case "lldt, null rpl 3", kernel, "lldt %ax; sldt %ecx", ax=3
    case "lldt", kernel, "lldt %ax; sldt %ecx", ax=LDT
    case "lldt, rpl 3", kernel, "lldt %ax; sldt %ecx", ax=LDT|3
    case "lldt, not an LDT", kernel, "lldt %ax", ax=KDATA
    case "lldt, not present", kernel, "lldt %ax", ax=ABSENT_LDT
    case "lldt, upper half with a type", kernel, "lldt %ax", "movb $2, gdt + LDT + 13", ax=LDT
    case "lldt, base not canonical", kernel, "lldt %ax", "movl $0x8000, gdt + LDT + 8", ax=LDT
    case "lldt, in the LDT", kernel, "lldt %ax", ax=0xc

    theme "== LAR, LSL, VERR, VERW"
    .macro describe mode, of, sel
    case "lar, \of", \mode, "lar %cx, %eax; pushf; and $0xf0ff00, %eax; popf", cx=\sel, ax=0xbad
    case "lsl, \of", \mode, "lsl %cx, %eax", cx=\sel, ax=0xbad
    case "verr, \of", \mode, "verr %cx", cx=\sel
    case "verw, \of", \mode, "verw %cx", cx=\sel
    .endm
    .irp sel, 0, KCODE, KDATA, UDATA|3, UCODE|3, UCODE32|3, UCODE16, ABSENT_DATA, READ_ONLY, EXECUTE_ONLY, \
        ABSENT_CODE, CONFORMING, TSS, LDT, ABSENT_LDT, FREE, 0x1000, 0xc, KDATA|3
    describe kernel, "\sel", "\sel"
    .endr
    .irp sel, KCODE, KDATA|3, UDATA, UDATA|3, UCODE|3, CONFORMING|3, UREAD_ONLY|3, TSS|3
    describe user, "\sel, user", "\sel"
    describe user32, "\sel, compat", "\sel"
    .endr
    case "lar, call gate", kernel, "lar %cx, %eax; pushf; and $0xf0ff00, %eax; popf", "call_gate 0", cx=FREE
    case "lsl, call gate", kernel, "lsl %cx, %eax", "call_gate 0", cx=FREE
    .irp type, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    case "lar, system type \type", kernel, "lar %cx, %eax; pushf; and $0xf0ff00, %eax; popf", \
        "movb $0x80 + \type, gdt + FREE + 5", cx=FREE
    case "lsl, system type \type", kernel, "lsl %cx, %eax", "movb $0x80 + \type, gdt + FREE + 5", cx=FREE
    .endr
    case "lsl, upper half with a type", kernel, "lsl %cx, %eax", "movb $1, gdt + TSS + 13", cx=TSS
    case "larw", kernel, "larw %cx, %ax", cx=KCODE, ax=-1
    case "larq", kernel, "larq %rcx, %rax; pushf; and $~0xf0000, %rax; popf", cx=KCODE, ax=-1
    case "lslw of a large one", kernel, "lslw %cx, %ax", cx=KCODE, ax=-1
    case "lar of memory not mapped", kernel, "lar (%rbx), %eax", "movq $0, window", bx=0x200000
    case "arpl in 64-bit mode is movslq", kernel, ".byte 0x63, 0xc1", cx=-1
    case "arpl, compat", user32, "arpl %cx, %ax", ax=0x10, cx=3
    case "arpl that changes nothing, compat", user32, "arpl %cx, %ax", ax=0x13, cx=2
    case "arpl on memory, compat", user32, "arpl %cx, (%ebx); mov (%ebx), %eax", "movl $0x50, user_data", \
        bx=user_data, cx=2
