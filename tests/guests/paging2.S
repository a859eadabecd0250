/* Paging without PAE: 4 MiB and 4 KiB pages. */
#include "common.inc"
    GUEST 1, FLAG_REAL
    TO_PROT32
    call idt_init

    /* Two-level tables with a 4 MiB identity page and a second view of it at 0x40000000. */
    mov edi, 0x40000
    mov ecx, 1024
    xor eax, eax
    cld
    rep stosd
    mov dword ptr [0x40000], 0x83
    mov dword ptr [0x40000 + 4 * 0x100], 0x83
    mov eax, 0x40000
    mov cr3, eax
    mov eax, cr4
    or eax, 0x10
    mov cr4, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov dword ptr [0x200000], 0x11223344
    EQ(dword ptr [0x40200000], 0x11223344)
    EXPECT(1f)
    mov eax, [0x50000000]
1:  EQ(dword ptr [exc_vec], 14)
    EQ(dword ptr [exc_cr2], 0x50000000)
    EQ(dword ptr [exc_err], 0)

    /* A page table for 0x400000..0x7fffff: the second page read-only. */
    mov dword ptr [0x40004], 0x41007
    mov dword ptr [0x41000], 0x300003
    mov dword ptr [0x41004], 0x300001
    mov eax, cr0
    or eax, 0x10000
    mov cr0, eax
    mov dword ptr [0x400010], 0x1234
    EQ(dword ptr [0x401010], 0x1234)
    EXPECT(1f)
    mov dword ptr [0x401010], 1
1:  EQ(dword ptr [exc_vec], 14)
    EQ(dword ptr [exc_err], 3)
    EQ(dword ptr [exc_cr2], 0x401010)
    mov eax, [0x41000]
    and eax, 0x60
    EQ(eax, 0x60)
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    PASS
    EXCEPTIONS32

