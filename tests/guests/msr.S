/* Model-specific registers: values at reset, what may be written, and #GP for what is not there. */
#include "common.inc"
#define RD(n) mov ecx, n ; rdmsr
#define WR(n, lo, hi) mov ecx, n ; mov eax, lo ; mov edx, hi ; wrmsr
    GUEST
    TO_LONG
    call idt_init

    RD(0x1b)
    EQ(eax, 0xfee00900)
    RD(0x277)
    EQ(eax, 0x00070406)
    EQ(edx, 0x00070406)
    WR(0x277, 0x00010406, 0x00070406)
    RD(0x277)
    EQ(eax, 0x00010406)
    RD(0xfe)
    EQ(eax, 0x508)
    EXPECT(1f)
    WR(0xfe, 0, 0)
1:  EQ(dword ptr [exc_vec], 13)
    RD(0x1a0)
    and eax, 1
    EQ(eax, 1)
    RD(0x179)
    EQ(eax, 0x104)

    WR(0x174, 0x10, 0)
    RD(0x174)
    EQ(eax, 0x10)
    WR(0xc0000082, 0x81000000, 0xffffffff)
    RD(0xc0000082)
    EQ(eax, 0x81000000)
    EQ(edx, 0xffffffff)
    WR(0xc0000081, 0, 0x00230010)
    RD(0xc0000081)
    EQ(edx, 0x00230010)
    WR(0x2ff, 0xc06, 0)
    RD(0x2ff)
    EQ(eax, 0xc06)
    WR(0x200, 0x80000000, 0)
    WR(0x201, 0x80000800, 0)
    RD(0x201)
    EQ(eax, 0x80000800)

    /* EFER: LMA stays, a reserved bit is #GP, LME may not change under paging. */
    RD(0xc0000080)
    and eax, 0x500
    EQ(eax, 0x500)
    EXPECT(1f)
    WR(0xc0000080, 0x20d00, 0)
1:  EQ(dword ptr [exc_vec], 13)
    EXPECT(1f)
    WR(0xc0000080, 0x800, 0)
1:  EQ(dword ptr [exc_vec], 13)

    /* Nobody's. */
    EXPECT(1f)
    RD(0x12345678)
1:  EQ(dword ptr [exc_vec], 13)
    EXPECT(1f)
    WR(0x12345678, 0, 0)
1:  EQ(dword ptr [exc_vec], 13)
    EXPECT(1f)
    RD(0x802) /* x2APIC's, outside x2APIC mode */
1:  EQ(dword ptr [exc_vec], 13)

    /* TSC goes on, and TSC_ADJUST moves it, where it is. */
    rdtsc
    mov esi, eax
    mov edi, edx
    rdtsc
    sub eax, esi
    sbb edx, edi
    CHECK(ae)
    PASS
    EXCEPTIONS64
