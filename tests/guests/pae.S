/* PAE paging in 32-bit mode: 2 MiB and 4 KiB pages, page faults with their codes, write protection, no-execute,
 * accessed and dirty bits, an access across two pages. */
#include "common.inc"
    GUEST 1, FLAG_REAL
    TO_PROT32
    call idt_init

    /* PAE: PDPT at 0x50000, PD at 0x51000, PT at 0x52000 for 0x200000..0x3fffff. */
    mov edi, 0x50000
    mov ecx, 0x3000 / 4
    xor eax, eax
    cld
    rep stosd
    mov dword ptr [0x50000], 0x51001
    mov dword ptr [0x51000], 0x83   /* 0..2 MiB */
    mov dword ptr [0x51008], 0x52007
    mov dword ptr [0x52000], 0x300003 /* 0x200000 -> 0x300000 */
    mov dword ptr [0x52008], 0x300001 /* 0x201000 -> the same, read-only */
    mov dword ptr [0x52010], 0x300003 /* 0x202000 -> the same, no execute */
    mov dword ptr [0x52014], 0x80000000
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x800
    wrmsr
    mov eax, 0x50000
    mov cr3, eax
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, cr0
    or eax, 0x80010000
    mov cr0, eax

    mov dword ptr [0x200000], 0x55667788
    EQ(dword ptr [0x201000], 0x55667788)
    mov eax, [0x52000]
    and eax, 0x60
    EQ(eax, 0x60) /* accessed, dirty */
    mov eax, [0x52008]
    and eax, 0x60
    EQ(eax, 0x20) /* accessed only */

    EXPECT(1f)
    mov dword ptr [0x201ffc], 1
1:  EQ(dword ptr [exc_vec], 14)
    EQ(dword ptr [exc_err], 3)
    EQ(dword ptr [exc_cr2], 0x201ffc)

    mov byte ptr [0x202000], 0xc3 /* ret */
    EXPECT(1f)
    mov ebp, esp
    mov eax, 0x202000
    call eax
1:  mov esp, ebp
    EQ(dword ptr [exc_vec], 14)
    EQ(dword ptr [exc_err], 0x11)
    EQ(dword ptr [exc_cr2], 0x202000)
    mov eax, 0x200000
    call eax /* the same bytes where they may be executed */

    /* A changed entry takes effect after INVLPG. */
    mov dword ptr [0x52000], 0x301003
    mov eax, 0x200000
    invlpg [eax]
    mov dword ptr [0x200000], 0x99
    mov dword ptr [0x52008], 0x301001
    mov eax, 0x201000
    invlpg [eax]
    EQ(dword ptr [0x201000], 0x99)

    /* An access across two pages. */
    mov dword ptr [0x52010], 0x303003
    mov dword ptr [0x52014], 0
    mov eax, cr3
    mov cr3, eax
    mov dword ptr [0x200ffc], 0
    EXPECT(1f)
    mov dword ptr [0x200ffe], 0x12345678 /* the second page is read-only */
1:  EQ(dword ptr [exc_vec], 14)
    EQ(dword ptr [exc_cr2], 0x201000)
    EQ(dword ptr [0x200ffc], 0) /* and nothing of it was stored in the first */
    PASS
    .balign 4
    EXCEPTIONS32
