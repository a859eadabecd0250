/* page32: rights, error codes and entries' flags, by 32-bit tables and by PAE. */
#include "narrow.inc"
    .set P, 1
    .set WR, 2
    .set US, 4
    .set ACC, 0x20
    .set DIRTY, 0x40
    .set PS, 0x80
    .set PAGE, WINDOW + 0x5000

/* Each kind of access to the byte at EBX, behind which a RET is. */
    .macro accesses of:req, setup, need=0
    case "\of, read", kernel, "mov (%ebx), %cl; xor %ecx, %ecx", "page_ret; \setup", bx=PAGE, need=\need
    case "\of, write", kernel, "mov %cl, (%ebx)", "page_ret; \setup", bx=PAGE, need=\need
    case "\of, execute", kernel, "call *%ebx", "page_ret; \setup", bx=PAGE, need=\need
    case "\of, read, user", user, "mov (%ebx), %cl; mov $0, %ecx", "page_ret; \setup", bx=PAGE, need=\need
    case "\of, write, user", user, "mov %cl, (%ebx)", "page_ret; \setup", bx=PAGE, need=\need
    case "\of, execute, user", user, "call *%ebx", "page_ret; \setup", bx=PAGE, need=\need
    .endm
    .macro page_ret
    movb $0xc3, PAGE
    .endm
    .macro slot bits
    pte 5, "\bits"
    flush
    .endm
    .macro slot_pae low, high=0
    call use_pae
    movl $(PAGE + (\low)), pae_window + 5 * 8
    movl $(\high), pae_window + 5 * 8 + 4
    flush
    .endm
    .macro flags_of entry
    mov \entry, %eax
    and $0xfff, %eax
    .endm

    theme "== rights, 32-bit tables"
    accesses "absent", "slot 0"
    accesses "kernel, read only", "slot P"
    accesses "kernel, writable", "slot P|WR"
    accesses "user, read only", "slot P|US"
    accesses "user, writable", "slot P|WR|US"
    accesses "bits 7 to 11", "slot P|WR|US|0xf80"
    accesses "user page in a kernel directory", "slot P|WR|US; andb $~US, directory + 4; flush"
    accesses "writable page in a read-only directory", "slot P|WR|US; andb $~WR, directory + 4; flush"
    accesses "no WP: kernel, read only", "slot P; cr0_clear 0x10000"
    accesses "no WP: user, read only", "slot P|US; cr0_clear 0x10000"
    accesses "no WP: user, read-only directory", "slot P|US|WR; andb $~WR, directory + 4; cr0_clear 0x10000; flush"
    accesses "directory absent", "andb $~P, directory + 4; flush"
    accesses "large, user", "movl $0x4000e7, directory + 4; flush"
    accesses "large, kernel", "movl $0x4000e3, directory + 4; flush"
    accesses "large, user, read only", "movl $0x4000e5, directory + 4; flush"
    accesses "large, PAT", "movl $0x4010e7, directory + 4; flush"
    accesses "large, reserved bit 21", "movl $0x6000e7, directory + 4; flush"
    accesses "large, absent with a reserved bit", "movl $0x6000e6, directory + 4; flush"
    accesses "PS without PSE", "orb $PS, directory + 4; cr4_clear 0x10; movl $0, directory + 8; flush"
    accesses "SMEP: user", "slot P|WR|US; cr4_set 0x100000", need=SMEP
    accesses "SMEP: kernel", "slot P|WR; cr4_set 0x100000", need=SMEP
    accesses "SMAP: user", "slot P|WR|US; cr4_set 0x200000", need=SMAP
    accesses "SMAP: user, AC", "slot P|WR|US; cr4_set 0x200000; orl $0x40000, begin + FL", need=SMAP
    accesses "SMAP: user, read only, no WP", "slot P|US; cr4_set 0x200000; cr0_clear 0x10000", need=SMAP
    accesses "SMAP and SMEP: large, user", "movl $0x4000e7, directory + 4; flush; cr4_set 0x300000", need=SMAP
    case "ring 1, kernel page, read", ring1, "mov (%ebx), %cl; mov $0, %ecx", "slot P|WR", bx=PAGE
    case "ring 2, kernel page, write", ring2, "mov %cl, (%ebx)", "slot P|WR", bx=PAGE
    case "ring 2, read-only page, write", ring2, "mov %cl, (%ebx)", "slot P|US", bx=PAGE
    case "ring 1, user page, execute, SMEP", ring1, "call *%ebx", "page_ret; slot P|WR|US; cr4_set 0x100000", \
        bx=PAGE, \
        need=SMEP

    theme "== rights, PAE"
    accesses "PAE: absent", "slot_pae 0"
    accesses "PAE: kernel, read only", "slot_pae P"
    accesses "PAE: kernel, writable", "slot_pae P|WR"
    accesses "PAE: user, read only", "slot_pae P|US"
    accesses "PAE: user, writable", "slot_pae P|WR|US"
    accesses "PAE: kernel, no execute", "slot_pae P|WR, 1<<31"
    accesses "PAE: user, no execute", "slot_pae P|WR|US, 1<<31"
    accesses "PAE: no execute without NXE", "slot_pae P|WR|US, 1<<31; set_msr 0xc0000080, 0"
    accesses "PAE: reserved bit 51", "slot_pae P|WR|US, 1<<19"
    accesses "PAE: reserved bit 52", "slot_pae P|WR|US, 1<<20"
    accesses "PAE: reserved bit 62", "slot_pae P|WR|US, 1<<30"
    accesses "PAE: absent with a reserved bit", "slot_pae WR|US, 1<<30"
    accesses "PAE: bits 7 to 11", "slot_pae P|WR|US|0xf80"
    accesses "PAE: user page in a kernel directory", "slot_pae P|WR|US; andb $~US, pae_directory + 16; flush"
    accesses "PAE: writable page in a read-only directory", "slot_pae P|WR|US; andb $~WR, pae_directory + 16; flush"
    accesses "PAE: page in a no-execute directory", "slot_pae P|WR|US; orb $0x80, pae_directory + 23; flush"
    accesses "PAE: reserved bit in the directory", "slot_pae P|WR|US; orb $0x40, pae_directory + 23; flush"
    accesses "PAE: directory absent", "slot_pae P|WR|US; andb $~P, pae_directory + 16; flush"
    accesses "PAE: no WP: user, read only", "slot_pae P|US; cr0_clear 0x10000"
    accesses "PAE: large, user", "call use_pae; movl $0x4000e7, pae_directory + 16; flush"
    accesses "PAE: large, kernel, read only", "call use_pae; movl $0x4000e1, pae_directory + 16; flush"
    accesses "PAE: large, no execute", "call use_pae; movl $0x4000e7, pae_directory + 16; \
        movl $1<<31, pae_directory + 20; flush"
    accesses "PAE: large, PAT", "call use_pae; movl $0x4010e7, pae_directory + 16; flush"
    accesses "PAE: large, reserved bit 13", "call use_pae; movl $0x4020e7, pae_directory + 16; flush"
    accesses "PAE: large, reserved bit 20", "call use_pae; movl $0x5000e7, pae_directory + 16; flush"
    accesses "PAE: large without PSE", "call use_pae; cr4_clear 0x10; movl $0x4000e7, pae_directory + 16; flush"
    accesses "PAE: SMEP: user", "slot_pae P|WR|US; cr4_set 0x100000", need=SMEP
    accesses "PAE: SMAP: user", "slot_pae P|WR|US; cr4_set 0x200000", need=SMAP
    accesses "PAE: no directory", "slot_pae P|WR; addl $0x40000000, begin + BX"
    accesses "PAE: the last GiB", "slot_pae P|WR; movl $pae_directory + 1, pdpt + 24; addl $0xc0000000, \
        begin + BX; flush"

    theme "== page-directory pointers"
    .irp bit, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11
    case "PDPTE, bit \bit", kernel, "mov %cr3, %eax; mov %eax, %cr3; xor %eax, %eax", \
        "call use_pae; orl $1 << \bit, pdpt + 8; orl $1, pdpt + 8"
    case "absent PDPTE, bit \bit", kernel, "mov %cr3, %eax; mov %eax, %cr3; xor %eax, %eax", \
        "call use_pae; orl $1 << \bit, pdpt + 8"
    .endr
    .irp bit, 51, 52, 62, 63
    case "PDPTE, bit \bit", kernel, "mov %cr3, %eax; mov %eax, %cr3; xor %eax, %eax", \
        "call use_pae; movl $1, pdpt + 8; movl $1 << (\bit - 32), pdpt + 12"
    .endr
    case "a bad PDPTE does not matter until CR3 is loaded", kernel, "mov (%ebx), %eax", "call use_pae; \
        movl $0x1e7, pdpt; movl $0x1e7, pdpt + 8", bx=DATA, bed=0
    case "a bad PDPTE and CR4.PGE", kernel, "mov %cr4, %eax; xor $0x80, %eax; mov %eax, %cr4", "call use_pae; \
        movl $0x1e7, pdpt + 8"
    case "a bad PDPTE and CR4.PSE", kernel, "mov %cr4, %eax; xor $0x10, %eax; mov %eax, %cr4", "call use_pae; \
        movl $0x1e7, pdpt + 8"
    case "a bad PDPTE and CR4.TSD", kernel, "mov %cr4, %eax; xor $4, %eax; mov %eax, %cr4", "call use_pae; \
        movl $0x1e7, pdpt + 8"
    case "a bad PDPTE and CR0.WP", kernel, "mov %cr0, %eax; xor $0x10000, %eax; mov %eax, %cr0", "call use_pae; \
        movl $0x1e7, pdpt + 8"
    case "a bad PDPTE and CR0.CD", kernel, "mov %cr0, %eax; xor $0x40000000, %eax; mov %eax, %cr0", "call use_pae; \
        movl $0x1e7, pdpt + 8"
    case "a bad PDPTE and CR0.PG", kernel, "mov %cr0, %eax; btr $31, %eax; mov %eax, %cr0; bts $31, %eax; \
        mov %eax, %cr0", \
        "call use_pae; movl $0x1e7, pdpt + 8"
    case "CR3 bits 5 to 11 count", kernel, "mov %eax, %cr3; mov $DATA, %ebx; mov (%ebx), %ecx; mov %cr3, %eax; \
        xor %ebx, %ebx; \
        sub $pae_first, %eax", "call use_pae; movl $pae_directory + 1, pae_first + 0xfe0; \
        movl $pae_directory + 1, pae_first + 0xff8; movl $0, pae_first + 0xfe4; movl $0, pae_first + 0xffc; \
        movl $0, pae_first + 0xfe8; movl $0, pae_first + 0xfec; movl $0, pae_first + 0xff0; movl $0, \
        pae_first + 0xff4", \
        ax=pae_first+0xfff

    theme "== accessed and dirty"
    case "A of a read", kernel, "mov (%ebx), %cl; xor %ecx, %ecx; flags_of window+20", "slot P|WR", bx=PAGE
    case "A and D of a write", kernel, "mov %cl, (%ebx); flags_of window+20", "slot P|WR", bx=PAGE
    case "A of the directory", kernel, "mov (%ebx), %cl; xor %ecx, %ecx; flags_of directory+4", \
        "movl $window + 7, directory + 4; slot P|WR", bx=PAGE
    case "D of the directory stays", kernel, "mov %cl, (%ebx); flags_of directory+4", \
        "movl $window + 7, directory + 4; slot P|WR", bx=PAGE
    case "A and D of a large page", kernel, "mov %cl, (%ebx); flags_of directory+4", "movl $0x400087, \
        directory + 4; flush", \
        bx=PAGE
    case "A of a large page", kernel, "mov (%ebx), %cl; xor %ecx, %ecx; flags_of directory+4", \
        "movl $0x400087, directory + 4; flush", bx=PAGE
    case "D of a write after a read", kernel, "mov (%ebx), %cl; mov %cl, (%ebx); xor %ecx, %ecx; \
        flags_of window+20", \
        "slot P|WR", bx=PAGE
    case "no D of a refused write", kernel, "mov %cl, (%ebx)", "slot P", bx=PAGE
    case "A of code", kernel, "call *%ebx; flags_of window+20", "page_ret; slot P|WR", bx=PAGE
    case "PAE: A and D of a write", kernel, "mov %cl, (%ebx); flags_of pae_window+40", "slot_pae P|WR", bx=PAGE
    case "PAE: A of a read", kernel, "mov (%ebx), %cl; xor %ecx, %ecx; flags_of pae_window+40", "slot_pae P|WR", \
        bx=PAGE
    case "PAE: A of the directory", kernel, "mov (%ebx), %cl; xor %ecx, %ecx; flags_of pae_directory+16", \
        "slot_pae P|WR; movl $pae_window + 7, pae_directory + 16; flush", bx=PAGE
    case "PAE: PDPTE has no A", kernel, "mov (%ebx), %cl; xor %ecx, %ecx; flags_of pdpt", "slot_pae P|WR", bx=PAGE
    case "PAE: A and D of a large page", kernel, "mov %cl, (%ebx); flags_of pae_directory+16", \
        "call use_pae; movl $0x400087, pae_directory + 16; flush", bx=PAGE
    case "A of the page of a descriptor", kernel, "mov %eax, %fs; flags_of window", \
        "segment LDT, WINDOW, 0xfff, 0x82, 0; movl $0xffff, WINDOW + 8; movl $0xcf9300, WINDOW + 12; mov $LDT, %eax; \
        lldt %ax; pte 0, P|WR; flush", ax=0xc
    case "D of the page of a descriptor", kernel, "mov %eax, %fs; flags_of window", \
        "segment LDT, WINDOW, 0xfff, 0x82, 0; movl $0xffff, WINDOW + 8; movl $0xcf9200, WINDOW + 12; mov $LDT, %eax; \
        lldt %ax; pte 0, P|WR; flush", ax=0xc

    theme "== accesses over two pages"
    .irp mode, kernel, user
    case "read over two pages, the second absent, \mode", \mode, "mov (%ebx), %eax", "pte 4, P|WR|US; slot 0", \
        bx=PAGE-2
    case "write over two pages, the second absent, \mode", \mode, "mov %eax, (%ebx)", "pte 4, P|WR|US; slot 0", \
        bx=PAGE-2
    case "write over two pages, the first absent, \mode", \mode, "mov %eax, (%ebx)", "pte 4, 0; slot P|WR|US", \
        bx=PAGE-2
    case "write over two pages, both absent, \mode", \mode, "mov %eax, (%ebx)", "pte 4, 0; slot 0", bx=PAGE-2
    case "write over two pages, the second read only, \mode", \mode, "mov %eax, (%ebx)", "pte 4, P|WR|US; \
        slot P|US", \
        bx=PAGE-2
    case "lock over two pages, the second read only, \mode", \mode, "lock incl (%ebx)", "pte 4, P|WR|US; slot P|US", \
        bx=PAGE-2
    case "push over two pages, the second absent, \mode", \mode, "mov %ebx, %ecx; xchg %esp, %ecx; push %eax; \
        xchg %esp, %ecx", "pte 4, P|WR|US; slot 0; by_task 14", bx=PAGE+2
    case "an instruction over two pages, the second absent, \mode", \mode, "jmp *%ebx", "movl $0x000001b8, PAGE - 2; \
        pte 4, P|WR|US; slot 0", bx=PAGE-2
    case "instructions up to a page that is absent, \mode", \mode, "jmp *%ebx", "movw $0x9090, PAGE - 2; \
        pte 4, P|WR|US; slot 0", bx=PAGE-2
    .endr
    case "a segment's base and the end of memory", kernel, "mov %fs:(%ebx), %eax", "segment FREE, 0xfffffff0, \
        0xfffff, 0x93, 12; \
        movl $FREE, begin + FS; movl $0x1234, DATA", bx=DATA+16
    case "a segment over the end of memory", kernel, "mov %fs:(%ebx), %eax", \
        "segment FREE, 0xfffffffe, 0xfffff, 0x93, 12; movl $FREE, begin + FS", bx=0
    case "invlpg", kernel, "mov (%ebx), %al; movl $0, window + 20; invlpg (%ebx); mov (%ebx), %al", "slot P|WR", \
        bx=PAGE
    case "mov to cr3 drops what is not global", kernel, "mov (%ebx), %al; movl $0, window + 20; mov %cr3, %ecx; \
        mov %ecx, %cr3; mov (%ebx), %al", "slot P|WR", bx=PAGE
    case "mov to cr4 drops global pages", kernel, "mov (%ebx), %al; movl $0, window + 20; mov %cr4, %ecx; \
        xor $0x80, %ecx; mov %ecx, %cr4; mov (%ebx), %al", "cr4_set 0x80; slot P|WR|0x100", bx=PAGE
    case "CR2 takes anything", kernel, "mov %eax, %cr2; mov %cr2, %ecx", ax=0x87654321
