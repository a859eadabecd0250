/*
 * page64: paging with four levels: rights, error codes, reserved bits, flags of entries, WP, SMEP, SMAP, NX,
 * global pages, PCIDs, protection keys.
 */
#include "wide.inc"

    .set P, 1
    .set WR, 2
    .set US, 4
    .set A, 0x20
    .set D, 0x40
    .set PS, 0x80
    .set G, 0x100
    .set NX, 1<<63
    .set PAGE, 0x205000 /* the window's page 5, on which most cases work */
    .set SLOT, window + 5 * 8

/* Reads, writes and executes the page from the kernel and from user mode; the page has RET in it. */
    .macro accesses of:req, setup:req, need=0
    case "\of, read", kernel, "mov (%rbx), %cl; xor %ecx, %ecx", "page_ret; \setup", bx=PAGE, need=\need
    case "\of, write", kernel, "mov %cl, (%rbx)", "page_ret; \setup", bx=PAGE, need=\need
    case "\of, execute", kernel, "call *%rbx", "page_ret; \setup", bx=PAGE, need=\need
    case "\of, read, user", user, "mov (%rbx), %cl; mov $0, %ecx", "page_ret; \setup", bx=PAGE, need=\need
    case "\of, write, user", user, "mov %cl, (%rbx)", "page_ret; \setup", bx=PAGE, need=\need
    case "\of, execute, user", user, "call *%rbx", "page_ret; \setup", bx=PAGE, need=\need
    .endm
    .macro smep
    cr4_set 0x100000
    .endm
    .macro smap
    cr4_set 0x200000
    .endm
    .macro page_ret
    movb $0xc3, PAGE
    .endm
    .macro flush
    mov %cr3, %rax
    mov %rax, %cr3
    .endm
    .macro slot bits
    pte 5, \bits
    flush
    .endm

    theme "== rights"
    accesses "absent", "slot 0"
    accesses "kernel, read only", "slot P"
    accesses "kernel, writable", "slot P|WR"
    accesses "user, read only", "slot P|US"
    accesses "user, writable", "slot P|WR|US"
    accesses "kernel, no execute", "slot P|WR|NX"
    accesses "user, no execute", "slot P|WR|US|NX"
    accesses "no execute without NXE", "slot P|WR|US|NX; set_msr 0xc0000080, 0x501"
    accesses "reserved bit", "slot P|WR|US|1<<51"
    accesses "bits 52 to 62", "slot P|WR|US|0x7ff<<52"
    accesses "available bits", "slot P|WR|US|0xe00"
    accesses "PWT and PCD", "slot P|WR|US|0x18"
    accesses "PAT", "slot P|WR|US|PS"
    accesses "user page in a kernel directory", "slot P|WR|US; andb $~US, directory + 8"
    accesses "writable page in a read-only directory", "slot P|WR|US; andb $~WR, directory + 8"
    accesses "page in a no-execute directory", "slot P|WR|US; orb $0x80, directory + 15"
    accesses "no WP: kernel, read only", "slot P; cr0_clear 0x10000"
    accesses "no WP: user, read only", "slot P|US; cr0_clear 0x10000"
    accesses "not mapped in the PML4", "nop; mov $0x8000000000, %rax; addq %rax, begin + BX"
    accesses "not mapped in the PDPT", "nop; addq $0x40000000, begin + BX"
    accesses "directory not present", "andb $~P, directory + 8; flush"
    accesses "reserved bit in the directory", "movb $8, directory + 14; flush"
    accesses "reserved bit in the PDPT", "movb $8, low_tables + 22; movq $directory + 7, low_tables + 16; \
        movb $8, low_tables + 22; addq $0x80000000 - 0x200000, begin + BX"
    accesses "PS in the PML4", "movq $low_tables + 0x87, top_table + 8; mov $0x8000000000, %rax; addq %rax, begin + BX"
    accesses "large page", "movq $0x2000e7, directory + 8; flush"
    accesses "large page, no execute, read only", "movq $0x2000e5, directory + 8; movb $0x80, directory + 15; flush"
    accesses "large page, PAT", "movq $0x2010e7, directory + 8; flush"
    accesses "large page, reserved bit 13", "movq $0x2020e7, directory + 8; flush"
    accesses "large page, reserved bit 20", "movq $0x3000e7, directory + 8; flush"
    accesses "page of 1 GiB", "movq $0xe7, low_tables + 8; addq $0x40000000, begin + BX"
    accesses "page of 1 GiB, reserved bit 13", "movq $0x20e7, low_tables + 8; addq $0x40000000, begin + BX"
    accesses "page of 1 GiB, reserved bit 29", "movq $0x200000e7, low_tables + 8; addq $0x40000000, begin + BX"
    accesses "the same in the upper half", "slot P|WR|US; mov $0xffff800000000000, %rax; addq %rax, begin + BX"
    accesses "SMEP: user, writable", "slot P|WR|US; smep"
    accesses "SMEP: kernel, writable", "slot P|WR; smep"
    accesses "SMEP: absent", "slot 0; smep"
    accesses "SMEP without NXE: absent", "slot 0; smep; set_msr 0xc0000080, 0x501"
    accesses "no NXE: absent", "slot 0; set_msr 0xc0000080, 0x501"
    accesses "SMAP: user, writable", "slot P|WR|US; smap"
    accesses "SMAP: user, read only", "slot P|US; smap"
    accesses "SMAP: kernel, writable", "slot P|WR; smap"
    accesses "SMAP and AC: user, writable", "slot P|WR|US; smap; orl $0x40000, begin + FL"
    accesses "SMAP and AC: user, read only, no WP", "slot P|US; smap; orl $0x40000, begin + FL; cr0_clear 0x10000"

    theme "== protection keys"
    .set KEY, 9<<59
    .set AD, 1<<18
    .set WD, 2<<18
    .macro pkru bits
    cr4_set 0x400000
    xor %ecx, %ecx
    xor %edx, %edx
    mov $\bits, %eax
    wrpkru
    .endm
    .macro keyed of:req, setup:req
    accesses "\of", "\setup", PKU
    .endm
    keyed "key 9", "slot P|WR|US|KEY; pkru 0"
    keyed "key 9, no access", "slot P|WR|US|KEY; pkru AD"
    keyed "key 9, no write", "slot P|WR|US|KEY; pkru WD"
    keyed "key 9, no access and no write", "slot P|WR|US|KEY; pkru AD|WD"
    keyed "key 9, no access to other keys", "slot P|WR|US|KEY; pkru ~(AD|WD|3)"
    keyed "key 9, no write, no WP", "slot P|WR|US|KEY; pkru WD; cr0_clear 0x10000"
    keyed "key 9, no access, no WP", "slot P|WR|US|KEY; pkru AD; cr0_clear 0x10000"
    keyed "key 9 of a kernel page, no access", "slot P|WR|KEY; pkru AD"
    keyed "key 9, read only, no access", "slot P|US|KEY; pkru AD"
    keyed "key 9, read only, no write", "slot P|US|KEY; pkru WD"
    keyed "key 9, absent, no access", "slot KEY; pkru AD"
    keyed "key 9, reserved bit, no access", "slot P|WR|US|KEY|1<<51; pkru AD"
    keyed "key 9, no execute, no access", "slot P|WR|US|KEY|NX; pkru AD"
    keyed "key 9, SMAP", "slot P|WR|US|KEY; pkru 0; smap"
    keyed "key 9, SMAP, no access", "slot P|WR|US|KEY; pkru AD; smap"
    keyed "key 9, SMAP and AC, no write", "slot P|WR|US|KEY; pkru WD; smap; orl $0x40000, begin + FL"
    keyed "key 9 without CR4.PKE, no access", "slot P|WR|US|KEY; pkru AD; cr4_clear 0x400000"
    keyed "key 9 of a large page, no access", "mov $(KEY|0x2000e7), %rax; mov %rax, directory + 8; flush; pkru AD"
    keyed "key 9 of a large page, no write", "mov $(KEY|0x2000e7), %rax; mov %rax, directory + 8; flush; pkru WD"
    keyed "key 9 of the directory alone, no access", "slot P|WR|US; orb $0x48, directory + 15; pkru AD"
    case "wrpkru counts at once", user, "mov (%rbx), %cl; xor %ecx, %ecx; wrpkru; mov (%rbx), %al", \
        "slot P|WR|US|KEY; pkru 0", ax=AD, bx=PAGE, need=PKU
    case "the stack in it when an exception comes, key 9, no write", user, "int $0x40", \
        "slot P|WR|US|KEY; vector 0x40, landing; movl $PAGE + 64, tss + 4; pkru WD", need=PKU

    theme "== SMAP"
    .macro smap_case name:req, body:req, setup, fl=2
    case "\name", kernel, "\body", "slot P|WR|US; smap; \setup", bx=PAGE, fl=\fl, need=SMAP
    .endm
    smap_case "stac and a read", "stac; mov (%rbx), %eax; xor %eax, %eax"
    smap_case "stac, clac and a read", "stac; clac; mov (%rbx), %eax"
    smap_case "popf of AC and a read", "push $0x40002; popf; mov (%rbx), %eax; mov $0, %eax"
    smap_case "a locked write", "lock incl (%rbx)"
    smap_case "a push", "lea 8(%rbx), %rsp; push %rax"
    smap_case "rep movs from it", "mov %ebx, %esi; mov $kernel_stack - 64, %edi; mov $8, %ecx; rep movsb"
    smap_case "rep stos to it", "mov %ebx, %edi; mov $8, %ecx; rep stosb"
    smap_case "invlpg is no access", "invlpg (%rbx)"
    smap_case "prefetch is no access", "prefetchnta (%rbx)"
    smap_case "clflush is a read", "clflush (%rbx)"
    smap_case "sgdt to it", "sgdt (%rbx)"
    smap_case "the GDT in it", "mov %ecx, %ds", "mov gdt + KDATA, %rax; stac; mov %rax, PAGE; clac; \
        movw $PAGE & 0xffff, gdt + LDT + 2; movb $PAGE >> 16, gdt + LDT + 4; movb $0, gdt + LDT + 7; mov $LDT, \
        %eax; lldt %ax; movl $4, begin + CX"
    smap_case "the GDT in it, AC", "mov %ecx, %ds", "mov gdt + KDATA, %rax; stac; mov %rax, PAGE; clac; \
        movw $PAGE & 0xffff, gdt + LDT + 2; movb $PAGE >> 16, gdt + LDT + 4; movb $0, gdt + LDT + 7; mov $LDT, \
        %eax; lldt %ax; movl $4, begin + CX", fl=0x40002
    smap_case "the stack in it when an exception comes", "lea 64(%rbx), %rsp; int $0x40", "vector 0x40, landing"
    smap_case "the stack in it when an exception comes, AC", "lea 64(%rbx), %rsp; int $0x40", "vector 0x40, landing", \
        fl=0x40002
    case "SMAP: a far call from user to a stack of user pages", user, "far_call FREE", \
        "slot P|WR|US; smap; call_gate landing; movl $PAGE + 64, tss + 4", need=SMAP
    case "SMAP: an interrupt from user to a stack of user pages", user, "int $0x40", \
        "slot P|WR|US; smap; vector 0x40, landing; movl $PAGE + 64, tss + 4", need=SMAP
    case "SMAP: an interrupt from user with AC to a stack of user pages", user, "int $0x40", \
        "slot P|WR|US; smap; vector 0x40, landing; movl $PAGE + 64, tss + 4", fl=0x40002, need=SMAP
    case "SMAP: clac shows in pushf", kernel, "stac; pushf; pop %rax; clac; pushf; pop %rcx", "smap", need=SMAP
    case "stac without CR4.SMAP", kernel, "stac", need=SMAP
    case "SMAP off: AC does not matter", kernel, "mov (%rbx), %eax; xor %eax, %eax", "slot P|WR|US", bx=PAGE

    theme "== accessed and dirty"
    .macro flags name:req, body:req, setup
    case "\name", kernel, "\body; mov directory + 8, %eax; mov SLOT, %ecx", \
        "slot P|WR; movq $window + 7, directory + 8; flush; \setup", bx=PAGE
    .endm
    flags "a read sets A", "mov (%rbx), %eax"
    flags "a write sets A and D", "mov %eax, (%rbx)"
    flags "a read, then a write", "mov (%rbx), %eax; mov %eax, (%rbx)"
    flags "a call into it sets A", "call *%rbx", "page_ret; slot P|WR; movq $window + 7, directory + 8; flush"
    flags "a refused write sets nothing", "movl $1f, idt + 14 * 16; 1:", "slot P"
    flags "a cmpxchg that fails sets D", "mov $1, %eax; lock cmpxchg %eax, (%rbx)", \
        "movl $5, PAGE; slot P|WR; movq $window + 7, directory + 8; flush"
    flags "invlpg sets nothing", "invlpg (%rbx)"
    flags "prefetch of it", "nop"
    case "a user's refused write leaves the entry", user, "mov %eax, (%rbx)", "slot P|US", bx=PAGE
    case "flags after a refused user read", kernel, "mov SLOT, %eax", "slot P", bx=PAGE

    theme "== the TLB"
    .macro remap
    pte 5, P|WR, 0x201000
    .endm
    .macro two_pages
    movl $0x11, 0x205000
    movl $0x22, 0x206000
    .endm
    .macro tlb name:req, body:req, setup, need=0
    case "\name", kernel, "mov (%rbx), %eax; movl $0x206000 + P + WR, SLOT; \body; mov (%rbx), %eax; xor %ecx, %ecx; \
        xor %edx, %edx", "two_pages; \setup; flush", bx=PAGE, need=\need
    .endm
    tlb "invlpg drops the page", "invlpg (%rbx)"
    tlb "invlpg within the page", "invlpg 0xfff(%rbx)"
    tlb "a load of CR3 drops the page", "mov %cr3, %rax; mov %rax, %cr3"
    tlb "a load of CR3 with PGE drops it", "mov %cr3, %rax; mov %rax, %cr3", "cr4_set 0x80"
    tlb "a change of PGE drops a global page", "mov %cr4, %rax; btc $7, %rax; mov %rax, %cr4", \
        "slot P|WR|G; cr4_set 0x80"
    tlb "invlpg drops a global page", "invlpg (%rbx)", "slot P|WR|G; cr4_set 0x80"
    tlb "a change of PSE", "mov %cr4, %rax; btc $4, %rax; mov %rax, %cr4"
    tlb "a change of SMEP and a load of CR3", "mov %cr4, %rax; btc $20, %rax; mov %rax, %cr4; mov %cr3, %rax; \
        mov %rax, %cr3", need=SMEP
    tlb "invpcid of the address", "push %rbx; push $0; mov $0, %eax; invpcid (%rsp), %rax; add $16, %rsp", need=INVPCID
    tlb "invpcid of the PCID", "push %rbx; push $0; mov $1, %eax; invpcid (%rsp), %rax; add $16, %rsp", need=INVPCID
    tlb "invpcid of all", "push %rbx; push $0; mov $2, %eax; invpcid (%rsp), %rax; add $16, %rsp", \
        "slot P|WR|G; cr4_set 0x80", need=INVPCID
    tlb "invpcid of all but global", "push %rbx; push $0; mov $3, %eax; invpcid (%rsp), %rax; add $16, %rsp", \
        need=INVPCID
    tlb "a change of PCID", "mov %cr3, %rax; or $1, %rax; mov %rax, %cr3", "cr4_set 0x20000", need=PCID
    tlb "the same PCID, flushed", "mov %cr3, %rax; mov %rax, %cr3", "cr4_set 0x20000", need=PCID
    tlb "invpcid of another PCID, then its use", "push %rbx; push $1; mov $1, %eax; invpcid (%rsp), %rax; \
        add $16, %rsp; mov %cr3, %rax; or $1, %rax; bts $63, %rax; mov %rax, %cr3", "cr4_set 0x20000", need=INVPCID
    case "CR3 does not show bit 63", kernel, "mov %cr3, %rax; bts $63, %rax; mov %rax, %cr3; mov %cr3, %rcx; \
        btr $63, %rax; sub %rcx, %rax; xor %ecx, %ecx", "cr4_set 0x20000", need=PCID
    case "CR3 shows the PCID", kernel, "mov %cr3, %rax; or $0x123, %rax; mov %rax, %cr3; mov %cr3, %rcx; \
        sub %rcx, %rax; xor %ecx, %ecx", "cr4_set 0x20000", need=PCID
    case "CR4.PCIDE off with a PCID in CR3", kernel, "mov %cr3, %rax; or $0x123, %rax; mov %rax, %cr3; \
        mov %cr4, %rax; btr $17, %rax; mov %rax, %cr4", "cr4_set 0x20000", need=PCID
    case "a not-present entry is not kept", kernel, "movl $0x206000 + P + WR, SLOT; mov (%rbx), %eax", \
        "two_pages; slot 0", bx=PAGE
    case "more rights need no flush: read only to writable", kernel, \
        "mov (%rbx), %eax; movl $0x205000 + P + WR, SLOT; mov %eax, (%rbx)", "slot P", bx=PAGE

    theme "== INVLPG and INVPCID"
    case "invlpg, not mapped", kernel, "invlpg (%rbx)", bx=0x50000000
    case "invlpg, not canonical", kernel, "invlpg (%rbx)", bx=1<<47
    case "invlpg with lock", kernel, ".byte 0xf0; invlpg (%rbx)", bx=PAGE
    .irp type, 0, 1, 2, 3, 4, 0x100000000, 0xffffffffffffffff
    case "invpcid, type \type", kernel, "push $0; push $0; mov $\type, %rax; invpcid (%rsp), %rax; add $16, %rsp; \
        xor %eax, %eax", need=INVPCID
    case "invpcid, type \type, PCID 1 without PCIDE", kernel, \
        "push $0; push $1; mov $\type, %rax; invpcid (%rsp), %rax", need=INVPCID
    case "invpcid, type \type, PCID 1", kernel, "push $0; push $1; mov $\type, %rax; invpcid (%rsp), %rax", \
        "cr4_set 0x20000", need=INVPCID
    case "invpcid, type \type, reserved bits", kernel, "push $0; push $0x1000; mov $\type, %rax; \
        invpcid (%rsp), %rax", need=INVPCID
    case "invpcid, type \type, address not canonical", kernel, \
        "mov $1, %eax; shl $47, %rax; push %rax; push $0; mov $\type, %rax; invpcid (%rsp), %rax", need=INVPCID
    case "invpcid, type \type, not mapped", kernel, "mov $\type, %rax; invpcid (%rbx), %rax", bx=0x50000000, \
        need=INVPCID
    .endr
    case "invpcid, type in 32 bits", kernel32, "push $0; push $0; push $0; push $0; mov $3, %eax; \
        .byte 0x66, 0x0f, 0x38, 0x82, 0x04, 0x24", need=INVPCID
    case "invpcid of a register", kernel, ".byte 0x66, 0x0f, 0x38, 0x82, 0xc0", need=INVPCID
    case "invpcid without 66", kernel, ".byte 0x0f, 0x38, 0x82, 0x03", bx=user_data, need=INVPCID

    theme "== pieces of accesses"
    case "a read over two pages, the second not mapped", kernel, "mov (%rbx), %rax", "slot 0", bx=PAGE-4
    case "a write over two pages, the second read only", kernel, "mov %rax, (%rbx)", \
        "movl $0x5a5a5a5a, PAGE - 4; slot P", bx=PAGE-4
    case "a write over two pages, the first read only", kernel, "mov %rax, (%rbx)", "pte 4, P; flush", bx=PAGE-4
    case "a write over two pages, both read only", kernel, "mov %rax, (%rbx)", "pte 4, P; slot P", bx=PAGE-4
    case "code over two pages, the second not mapped", kernel, "jmp *%rbx", "movl $0xb8909090, PAGE - 4; slot 0", \
        bx=PAGE-4
    case "code over two pages, the second no execute", kernel, "jmp *%rbx", "movl $0xb8909090, PAGE - 4; slot P|NX", \
        bx=PAGE-4
    case "movs from good to bad", kernel, "mov $PAGE - 8, %esi; mov %ebx, %edi; mov $4, %ecx; rep movsl", "slot P", \
        bx=PAGE-8
    case "rep stos into the next page", kernel, "mov %ebx, %edi; mov $4, %ecx; rep stosl", "slot 0", bx=PAGE-8
    case "rep stos into the next page, backwards", kernel, "std; mov %ebx, %edi; mov $4, %ecx; rep stosl", \
        "pte 4, 0; flush", bx=PAGE+4
    case "rep lods into the next page", kernel, "mov %ebx, %esi; mov $4, %ecx; rep lodsb", \
        "movl $0x04030201, PAGE - 4; slot 0", bx=PAGE-2
    case "rep scas into the next page", kernel, "mov %ebx, %edi; mov $4, %ecx; repne scasb", \
        "movl $0x04030201, PAGE - 4; slot 0", bx=PAGE-2
    case "cmps, both not mapped", kernel, "mov %ebx, %esi; lea 0x1000(%rbx), %edi; cmpsb", "slot 0; pte 6, 0", bx=PAGE
    case "movs, both not mapped", kernel, "mov %ebx, %esi; lea 0x1000(%rbx), %edi; movsb", "slot 0; pte 6, 0", bx=PAGE
    case "push of memory, both not mapped", kernel, "lea 0x1008(%rbx), %rsp; push (%rbx)", "slot 0; pte 6, 0", bx=PAGE
    case "pop to memory, destination not mapped", kernel, "pop (%rbx)", "slot 0", bx=PAGE
    case "call through memory not mapped", kernel, "call *(%rbx)", "slot 0", bx=PAGE
    case "call, stack not mapped, target not mapped", kernel, "lea 8(%rbx), %rsp; call *%rcx", "slot 0", bx=PAGE, \
        cx=0x50000000
    case "enter, stack not mapped", kernel, "lea 8(%rbx), %rsp; enter $16, $0", "pte 4, 0; flush", bx=PAGE
    case "leave, frame not mapped", kernel, "mov %ebx, %ebp; leave", "slot 0", bx=PAGE
    case "xchg, read only", kernel, "xchg %eax, (%rbx)", "slot P", bx=PAGE
    case "cmpxchg that fails, read only", kernel, "cmpxchg %ecx, (%rbx)", "movl $5, PAGE; slot P", bx=PAGE
    case "test is a read", kernel, "testl $1, (%rbx)", "slot P", bx=PAGE
    case "bt with a far offset", kernel, "bt %rcx, (%rbx)", "slot 0", bx=PAGE+0x1000, cx=-8
    case "bts with a far offset, read only", kernel, "bts %rcx, (%rbx)", "slot P", bx=PAGE+0x1000, cx=-8
    case "load, not canonical", kernel, "mov (%rbx), %eax", bx=1<<47
    case "load through rsp, not canonical", kernel, "mov %rbx, %rsp; mov (%rsp), %eax", bx=1<<47
    case "load through rbp, not canonical", kernel, "mov %rbx, %rbp; mov (%rbp), %eax", bx=1<<47
    case "load through rbp with ds, not canonical", kernel, "mov %rbx, %rbp; mov %ds:(%rbp), %eax", bx=1<<47
    case "load through r13, not canonical", kernel, "mov %rbx, %r13; mov (%r13), %eax", bx=1<<47
    case "load over the edge of the canonical range", kernel, "mov (%rbx), %rax", bx=0x7ffffffffffc
    case "load that wraps at the top", kernel, "mov (%rbx), %rax", bx=-4
    case "push, not canonical", kernel, "mov %rbx, %rsp; push %rax", bx=1<<47
    case "jmp, not canonical", kernel, "jmp *%rbx", bx=1<<47
    case "call, not canonical", kernel, "call *%rbx", bx=1<<47
    case "ret, not canonical", kernel, "push %rbx; ret", bx=1<<47
    case "ret with a count, not canonical", kernel, "push %rbx; ret $8", bx=1<<47
    case "jmp, operand prefix", kernel, ".byte 0x66, 0xe9, 0, 0, 0, 0"
    case "an address of 32 bits wraps", kernel, "mov 16(%ebx), %eax; xor %eax, %eax", bx=0xfffffff8
    case "rip-relative with 67", kernel, ".byte 0x67; mov 0(%rip), %eax; mov $0, %eax"
