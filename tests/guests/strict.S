/* What a processor refuses: reserved bits, impossible values, addresses that are none. */
#include "common.inc"
#define WR(n, lo, hi) mov ecx, n ; mov eax, lo ; mov edx, hi ; wrmsr
    GUEST 1, FLAG_REAL
    TO_LONG
    call idt_init

    EXPECT(1f)
    mov rax, cr4
    bts rax, 63
    mov cr4, rax
1:  EQ(dword ptr [exc_vec], 13)
    EXPECT(1f)
    WR(0x277, 0x02020202, 0) /* PAT: type 2 is reserved */
1:  EQ(dword ptr [exc_vec], 13)
    EXPECT(1f)
    WR(0xc0000082, 0, 0x00800000) /* LSTAR: not canonical */
1:  EQ(dword ptr [exc_vec], 13)
    EXPECT(1f)
    WR(0x1b, 0xfee00d00, 0x80000000) /* APIC_BASE: beyond the physical width */
1:  EQ(dword ptr [exc_vec], 13)
    EXPECT(1f)
    mov rbp, 0x900000000000 /* not canonical, through SS */
    mov eax, [rbp]
1:  EQ(dword ptr [exc_vec], 12)
    EXPECT(1f)
    mov rax, 0x100000400
    mov dr7, rax
1:  EQ(dword ptr [exc_vec], 13)
    EXPECT(1f)
    mov rax, cr0
    and eax, 0xdfffffff
    or eax, 0x20000000 /* NW without CD */
    mov cr0, rax
1:  EQ(dword ptr [exc_vec], 13)

    /* A reserved bit in a page directory's entry. */
    bts dword ptr [0x22000 + 8 * 8 + 4], 19
    mov rax, cr3
    mov cr3, rax
    EXPECT(1f)
    mov eax, [0x1000000]
1:  EQ(dword ptr [exc_vec], 14)
    EQ(dword ptr [exc_err], 9)
    PASS
    EXCEPTIONS64
