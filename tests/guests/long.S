/* Long mode: 64-bit registers, addresses, exceptions, 4 KiB pages, the user bit, compatibility mode. */
#include "common.inc"
    GUEST
    TO_LONG
    call idt_init

    mov rax, 0x123456789abcdef0
    mov r15, rax
    bswap r15
    mov rbx, 0xf0debc9a78563412
    EQ(r15, rbx)
    mov rax, -1
    mov eax, 1
    EQ(rax, 1) /* a 32-bit write clears the upper half */
    mov rax, -1
    mov ax, 1
    mov rbx, 0xffffffffffff0001
    EQ(rax, rbx)

    EXPECT(1f)
    ud2
1:  EQ(dword ptr [exc_vec], 6)

    /* A non-canonical address. */
    EXPECT(1f)
    mov rbx, 0x800000000000
    mov eax, [rbx]
1:  EQ(dword ptr [exc_vec], 13)
    EQ(dword ptr [exc_err], 0)

    /* Beyond the map. */
    EXPECT(1f)
    mov rbx, 0x100000000
    mov [rbx], eax
1:  EQ(dword ptr [exc_vec], 14)
    EQ(dword ptr [exc_err], 2)

    /* A page table for 0x200000..0x3fffff: page 0 plain, 1 absent, 2 read-only, 3 without execution. */
    mov edi, 0x30000
    xor eax, eax
    mov ecx, 1024
    rep stosd
    mov dword ptr [0x30000], 0x200007
    mov dword ptr [0x30010], 0x202005
    mov dword ptr [0x30018], 0x203007
    mov dword ptr [0x3001c], 0x80000000
    mov dword ptr [0x22008], 0x30007
    mov rax, cr3
    mov cr3, rax
    mov rax, cr0
    or eax, 0x10000
    mov cr0, rax
    mov ebx, 0x200000
    mov qword ptr [rbx], 42
    EXPECT(1f)
    mov eax, [rbx + 0x1ff8]
1:  EQ(dword ptr [exc_vec], 14)
    EQ(dword ptr [exc_err], 0)
    EQ(dword ptr [exc_cr2], 0x201ff8)
    EXPECT(1f)
    mov qword ptr [rbx + 0x2008], 1
1:  EQ(dword ptr [exc_vec], 14)
    EQ(dword ptr [exc_err], 3)
    mov byte ptr [rbx + 0x3000], 0xc3
    EXPECT(1f)
    mov rbp, rsp
    lea rax, [rbx + 0x3000]
    call rax
1:  mov rsp, rbp
    EQ(dword ptr [exc_vec], 14)
    EQ(dword ptr [exc_err], 0x11)

    /* REP STOSQ into the absent page: stops exactly there. */
    EXPECT(1f)
    lea rdi, [rbx + 0xf80]
    mov ecx, 32
    xor eax, eax
    rep stosq
1:  EQ(dword ptr [exc_vec], 14)
    EQ(dword ptr [exc_cr2], 0x201000)
    EQ(rdi, 0x201000)
    EQ(ecx, 16)

    /* CR4.PAE may not go in long mode. */
    EXPECT(1f)
    mov rax, cr4
    and eax, ~0x20
    mov cr4, rax
1:  EQ(dword ptr [exc_vec], 13)

    /* RIP-relative, SWAPGS, FS and GS bases by MSR. */
    mov ecx, 0xc0000101
    mov eax, 0x210000
    xor edx, edx
    wrmsr
    mov ecx, 0xc0000102
    mov eax, 0x220000
    wrmsr
    mov dword ptr [rip + local], 5
    EQ(dword ptr [local], 5)
    swapgs
    mov ecx, 0xc0000101
    rdmsr
    EQ(eax, 0x220000)
    mov ecx, 0xc0000102
    rdmsr
    EQ(eax, 0x210000)

    /* Compatibility mode and back. */
    push 0x08
    push offset compat
    rex.W lret
    .code32
compat:
    mov ax, 0x10
    mov ds, ax
    mov eax, -1
    inc eax /* REX prefixes are INC here */
    EQ(eax, 0)
    .byte 0xea
    .long back
    .word 0x18
    .code64
back:
    EQ(rsp, 0x7000)
    PASS
    .balign 8
local: .long 0
    EXCEPTIONS64
