/* segment32: segment registers, LDTR and TR, descriptor-table registers, what LAR and its kin say of descriptors. */
#include "narrow.inc"

    theme "== segment loads"
    .irp seg, ds, es, fs, gs
    .irp sel, 0, 3, UDATA|3, UDATA, KDATA|3, KDATA, ABSENT_DATA, READ_ONLY, EXECUTE_ONLY, KCODE, CONFORMING, TSS, \
        0x1000, \
        GDT_SIZE-8, 0xc
    case "mov \seg, \sel", kernel, "mov %eax, %\seg", ax=\sel
    .endr
    .irp sel, 0, 3, KDATA, KDATA|3, UDATA, UDATA|3, UREAD_ONLY, CONFORMING|3, CONFORMING, KCODE|3, UCODE, LDT
    case "mov \seg, \sel, user", user, "mov %eax, %\seg", ax=\sel
    .endr
    .endr
    .irp sel, 0, 3, KDATA, KDATA|1, KDATA|3, DATA1, DATA1|1, UDATA|3, ABSENT_DATA, READ_ONLY, KCODE, \
        EXECUTE_ONLY, CONFORMING, TSS, \
        0x1000, 0xc
    case "mov ss, \sel", kernel, "mov %eax, %ss", ax=\sel
    case "mov ss, \sel, ring 1", ring1, "mov %eax, %ss", ax=\sel
    .endr
    .irp sel, 0, 3, UDATA, UDATA|3, UDATA2|3, KDATA|3, UREAD_ONLY|3, UCODE|3
    case "mov ss, \sel, user", user, "mov %eax, %ss", ax=\sel
    .endr
    case "mov ds sets the accessed bit", kernel, "mov %eax, %ds", "andb $~1, gdt + UDATA2 + 5", ax=UDATA2
    case "mov ds, refused, does not", user, "mov %eax, %ds", "andb $~1, gdt + KDATA + 5", ax=KDATA
    case "mov ss sets the accessed bit", kernel, "mov %eax, %ss", "segment FREE, 0, 0xfffff, 0x92, 12", ax=FREE
    case "mov ds, in the LDT", kernel, "mov %eax, %ds", "mov $LDT, %ecx; lldt %cx", ax=0xc
    case "mov ds, null in the LDT", kernel, "mov %eax, %ds", "mov $LDT, %ecx; lldt %cx", ax=4
    case "mov ds, beyond the LDT", kernel, "mov %eax, %ds", "mov $LDT, %ecx; lldt %cx", ax=0x24
    case "mov ds, half a descriptor in the LDT", kernel, "mov %eax, %ds", \
        "movb $0x1b, gdt + LDT; mov $LDT, %ecx; lldt %cx", ax=0x1c
    case "mov ds sets the accessed bit in the LDT", kernel, "mov %eax, %ds", \
        "andb $~1, ldt + 13; mov $LDT, %ecx; lldt %cx", ax=0xc
    case "mov to cs", kernel, ".byte 0x8e, 0xc8", ax=KCODE
    case "mov to the sixth", kernel, ".byte 0x8e, 0xf0", ax=KDATA
    case "mov from the seventh", kernel, ".byte 0x8c, 0xf8"
    case "mov from ds to 32 bits", kernel, "mov %ds, %eax", ax=-1
    case "mov from ds to 16 bits", kernel, ".byte 0x66, 0x8c, 0xd8", ax=-1
    case "mov from ds to memory writes two bytes", kernel, "mov %ds, (%ebx); mov (%ebx), %ecx", "movl $-1, DATA", \
        bx=DATA
    case "mov ds, upper half of the register", kernel, "mov %eax, %ds", ax=0x12340000|UDATA
    .irp seg, ds, es, ss, fs, gs
    case "push and pop \seg", kernel, "push %\seg; push $KDATA; pop %\seg; pop %ecx"
    case "pushw and popw \seg", kernel, "pushw %\seg; pushw $KDATA; popw %\seg; popw %cx"
    case "pop \seg, absent", kernel, "push $ABSENT_DATA; pop %\seg"
    case "pop \seg, upper half", kernel, "push $0x12340000 | KDATA; pop %\seg"
    .endr
    case "push cs", kernel, "push %cs"
    case "push ds over ones", kernel, "push $-1; pop %eax; push %ds"
    .irp seg, ds, es, ss, fs, gs
    case "l\seg", kernel, "l\seg (%ebx), %eax", "movl $0x12345678, DATA; movl $KDATA, DATA + 4", bx=DATA
    case "l\seg of 16 bits", kernel, "l\seg\()w (%ebx), %ax", "movl $(0x5678 | KDATA << 16), DATA", bx=DATA, ax=-1
    case "l\seg, absent", kernel, "l\seg (%ebx), %eax", "movl $ABSENT_DATA, DATA + 4", bx=DATA
    case "l\seg, null", kernel, "l\seg (%ebx), %eax", "movl $0, DATA + 4", bx=DATA
    case "l\seg, kernel data, user", user, "l\seg (%ebx), %eax", "movl $KDATA | 3, DATA + 4", bx=DATA
    .endr
    case "lds of a register", kernel, ".byte 0xc5, 0xc0"
    case "les of a register", kernel, ".byte 0xc4, 0xc0"
    case "lss of a register", kernel, ".byte 0x0f, 0xb2, 0xc0"
    case "les, selector not mapped", kernel, "les (%ebx), %eax", "movl $0, window + 4", bx=WINDOW+0xffc

    theme "== LDTR and TR"
    .irp sel, 0, 3, KDATA, TSS, TASK, TASK|3, TASK16, 0xc, 0x1000, LDT, FREE
    case "ltr, \sel", kernel, "ltr %ax", ax=\sel
    .endr
    case "ltr, not present", kernel, "ltr %ax", "movb $9, gdt + TASK + 5", ax=TASK
    case "ltr, busy of 16 bits", kernel, "ltr %ax", "movb $0x83, gdt + TASK16 + 5", ax=TASK16
    case "ltr, busy and not present", kernel, "ltr %ax", "movb $0x0b, gdt + TASK + 5", ax=TASK
    case "ltr, small limit", kernel, "ltr %ax", "movb $0, gdt + TASK", ax=TASK
    case "ltr, call gate", kernel, "ltr %ax", "call_gate 0", ax=FREE
    case "ltr, in the LDT", kernel, "ltr %ax", "mov gdt + TASK, %eax; mov %eax, ldt + 8; mov gdt + TASK + 4, %eax; \
        mov %eax, ldt + 12; mov $LDT, %eax; lldt %ax", ax=0xc
    case "ltr, user", user, "ltr %ax", ax=TASK
    case "ltr, ring 1", ring1, "ltr %ax", ax=TASK
    case "ltr from memory not mapped", kernel, "ltr (%ebx)", "movl $0, window", bx=WINDOW
    case "str", kernel, "str %eax", ax=-1
    case "str to 16 bits", kernel, "str %ax", ax=-1
    case "str to memory writes two bytes", kernel, "str (%ebx); mov (%ebx), %eax", "movl $-1, DATA", bx=DATA
    case "str, user", user, "str %eax", ax=-1
    .irp sel, 0, 3, LDT, LDT|3, KDATA, ABSENT_LDT, 0xc, 4, 0x1000, TASK, FREE
    case "lldt, \sel", kernel, "lldt %ax", ax=\sel
    .endr
    case "lldt, user", user, "lldt %ax", ax=LDT
    case "lldt with an LDT of a byte", kernel, "lldt %ax; mov %ecx, %fs", "movb $0, gdt + LDT", ax=LDT, cx=4
    case "lldt, an LDT of its own", kernel, "lldt %ax; mov %ecx, %fs", "segment FREE, DATA, 0xf, 0x82, 0; \
        movl $0xffff, DATA + 8; movl $0xcf9300, DATA + 12", ax=FREE, cx=0xc
    case "sldt", kernel, "sldt %eax", "mov $LDT, %eax; lldt %ax", ax=-1
    case "sldt to 16 bits", kernel, "sldt %ax", "mov $LDT, %eax; lldt %ax", ax=-1
    case "sldt to memory writes two bytes", kernel, "sldt (%ebx); mov (%ebx), %eax", "movl $-1, DATA", bx=DATA

    theme "== GDTR and IDTR"
    .irp t, g, i
    case "s\t\()dt", kernel, "s\t\()dtl (%ebx); mov (%ebx), %eax; mov 4(%ebx), %ecx", \
        "movl $-1, DATA; movl $-1, DATA + 4", bx=DATA
    case "s\t\()dt of 16 bits writes all the base", kernel, "s\t\()dtw (%ebx); mov (%ebx), %eax; mov 4(%ebx), %ecx", \
        "movl $-1, DATA; movl $-1, DATA + 4", bx=DATA
    case "l\t\()dt of 16 bits leaves the base's last byte", kernel, "l\t\()dtw (%ebx); s\t\()dtl 8(%ebx); \
        mov 8(%ebx), %eax; mov 12(%ebx), %ecx; l\t\()dtl 24(%ebx)", "s\t\()dt DATA + 24; movl $0x56780023, DATA; \
        movl $0xff123456, DATA + 4; s\t\()dt DATA; movb $0xff, DATA + 5", bx=DATA
    case "l\t\()dt of 32 bits", kernel, "l\t\()dtl (%ebx); s\t\()dtl 8(%ebx); \
        mov 8(%ebx), %eax; mov 12(%ebx), %ecx; l\t\()dtl 24(%ebx)", "s\t\()dt DATA + 24; movl $0x56780023, DATA; \
        movl $0xff123456, DATA + 4", bx=DATA
    case "l\t\()dt, user", user, "l\t\()dtl (%ebx)", bx=DATA
    case "s\t\()dt, user", user, "s\t\()dtl (%ebx); mov (%ebx), %eax", bx=DATA
    case "l\t\()dt, base not mapped", kernel, "l\t\()dtl (%ebx)", "movl $0, window + 4", bx=WINDOW+0xffe
    case "s\t\()dt, base not mapped", kernel, "s\t\()dtl (%ebx)", "movl $0, window + 4", bx=WINDOW+0xffe
    .endr
    case "lgdt of a register", kernel, ".byte 0x0f, 0x01, 0xd7"
    case "lidt of a register", kernel, ".byte 0x0f, 0x01, 0xdf"
    case "lgdt, read-only segment", kernel, "mov %ecx, %es; sgdtl %es:(%ebx)", bx=DATA, cx=READ_ONLY
    case "a GDT that ends in a descriptor", kernel, "mov %eax, %fs", \
        "sgdt DATA; movw $FREE + 6, DATA; lgdt DATA; segment FREE, 0, 0xfffff, 0x93, 12", ax=FREE
    case "a GDT that ends behind a descriptor", kernel, "mov %eax, %fs", \
        "sgdt DATA; movw $FREE + 7, DATA; lgdt DATA; segment FREE, 0, 0xfffff, 0x93, 12", ax=FREE
    case "a descriptor not mapped", kernel, "mov %eax, %fs", \
        "movl $0, window; segment LDT, WINDOW, 0xfff, 0x82, 0; mov $LDT, %eax; lldt %ax", ax=0xc
    case "a descriptor not mapped, user", user, "mov %eax, %fs", \
        "movl $0, window; segment LDT, WINDOW, 0xfff, 0x82, 0; mov $LDT, %eax; lldt %ax", ax=0xc
    case "a descriptor that is not accessed in a read-only page, user", user, "mov %eax, %fs", \
        "movl $0xffff, WINDOW + 8; movl $0xcff200, WINDOW + 12; pte 0, 1; segment LDT, WINDOW, 0xfff, 0x82, 0; \
        mov $LDT, %eax; lldt %ax", ax=0xf
    case "an accessed descriptor in a read-only page, user", user, "mov %eax, %fs", \
        "movl $0xffff, WINDOW + 8; movl $0xcff300, WINDOW + 12; pte 0, 1; segment LDT, WINDOW, 0xfff, 0x82, 0; \
        mov $LDT, %eax; lldt %ax", ax=0xf

    theme "== LAR, LSL, VERR, VERW, ARPL"
    .macro describe mode, of, sel, setup=
    case "lar, \of", \mode, "lar %cx, %eax", "\setup", cx=\sel, ax=0xbad
    case "lsl, \of", \mode, "lsl %cx, %eax", "\setup", cx=\sel, ax=0xbad
    case "verr, \of", \mode, "verr %cx", "\setup", cx=\sel
    case "verw, \of", \mode, "verw %cx", "\setup", cx=\sel
    .endm
    .irp sel, 0, KCODE, KDATA, UDATA|3, ABSENT_DATA, READ_ONLY, EXECUTE_ONLY, ABSENT_CODE, CONFORMING, TSS, LDT, \
        ABSENT_LDT, FREE, 0x1000, 0xc, KDATA|3
    describe kernel, "\sel", "\sel"
    .endr
    .irp sel, KDATA|3, UDATA, UCODE|3, CONFORMING|3, UREAD_ONLY|3, TSS|3
    describe user, "\sel, user", "\sel"
    .endr
    describe ring1, "DATA1, ring 1", DATA1
    describe ring1, "DATA1|2, ring 1", "DATA1|2"
    describe ring1, "DATA2|1, ring 1", "DATA2|1"
    describe ring1, "KDATA, ring 1", KDATA
    .irp type, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    describe kernel, "system type \type", FREE, "segment FREE, 0x12345678, 0x4321, 0x80+\type, 8"
    .endr
    case "larw", kernel, "larw %cx, %ax", cx=KCODE, ax=-1
    case "lslw of a large one", kernel, "lslw %cx, %ax", cx=KCODE, ax=-1
    case "lar of memory not mapped", kernel, "lar (%ebx), %eax", "movl $0, window", bx=WINDOW
    case "arpl", user, "arpl %cx, %ax", ax=0x10, cx=3
    case "arpl that changes nothing", user, "arpl %cx, %ax", ax=0x13, cx=2
    case "arpl on equals", kernel, "arpl %cx, %ax", ax=0xfff2, cx=2, fl=0x42
    case "arpl on memory", user, "arpl %cx, (%ebx); mov (%ebx), %eax", "movl $0x50, DATA", bx=DATA, cx=2
    case "arpl that changes nothing on a read-only page", user, "arpl %cx, (%ebx)", "pte 0, 5", bx=WINDOW
    case "arpl on a read-only page", user, "arpl %cx, (%ebx)", "pte 0, 5", bx=WINDOW, cx=1

    theme "== BOUND, INTO"
    case "bound, within", user, "bound %eax, (%ebx)", "movl $-5, DATA; movl $5, DATA + 4", bx=DATA, ax=5
    case "bound, above", user, "bound %eax, (%ebx)", "movl $-5, DATA; movl $5, DATA + 4", bx=DATA, ax=6
    case "bound, below", user, "bound %eax, (%ebx)", "movl $-5, DATA; movl $5, DATA + 4", bx=DATA, ax=-6
    case "bound, lower bound", kernel, "bound %eax, (%ebx)", "movl $-5, DATA; movl $5, DATA + 4", bx=DATA, ax=-5
    case "boundw", user, "bound %ax, (%ebx)", "movl $0x5fffb, DATA", bx=DATA, ax=0x1234fffa
    case "boundw, within", user, "bound %ax, (%ebx)", "movl $0x5fffb, DATA", bx=DATA, ax=0x1234fffb
    case "bound of a register", kernel, ".byte 0x62, 0xc0, 0, 0, 0, 0"
    case "bound, upper bound not mapped", user, "bound %eax, (%ebx)", "pte 0, 7; movl $0, window + 4", bx=WINDOW+0xffc
    case "into, OF off", user, "into"
    case "into, OF on", user, "into", fl=0x802
    case "into, OF on, kernel", kernel, "into", fl=0x802
    case "into, gate of dpl 0, user", user, "into", "andb $~0x60, idt + 4 * 8 + 5", fl=0x802
    case "into, gate of dpl 0, OF off", user, "into", "andb $~0x60, idt + 4 * 8 + 5"
