/* The order of loads and stores of two CPUs, by litmus tests of x86-TSO (P. Sewell et al., x86-TSO, CACM 53 (7); SDM
 * 3A 8.2.3): what it forbids is never seen, and what it allows, a store that waits behind a later load, is. X and Y are
 * on different pages, or side by side. Results are EAX and EBX of each. */
#include "common.inc"
#include "pair.inc"
#define N 256 /* of each when they meet, each on a line of its own */
#define X 0x110000
#define Y 0x120000
#define Y_THIS 0x100200 /* Y, or beside X */
#define OWN 0x130000    /* results of CPU 0, of CPU 1 */
#define OTHER 0x131000
#define USUAL 0
#define FORBIDDEN 1
#define RELAXED 2

    GUEST 2
    PAIR
    .code64
second:
    jmp serve

/* Program R11 with each X and Y; its results to R13. */
all:
    xor r10d, r10d
1:  mov edi, r10d
    shl edi, 6
    lea rsi, [rdi + X]
    add rdi, [Y_THIS]
    call r11
    mov [r13 + r10 * 8], eax
    mov [r13 + r10 * 8 + 4], ebx
    inc r10d
    cmp r10d, N
    jb 1b
    ret
all0:
    mov r11, [program0]
    mov r13d, OWN
    jmp all
all1:
    mov r11, [program1]
    mov r13d, OTHER
    jmp all

/* P0 and P1 have X in RSI and Y in RDI; RAX to RDX, R8 and R9 are theirs. */
#define PROGRAM(name, ...) name: __VA_ARGS__ ; ret
/* Checks have EAX and EBX of CPU 0 in R8 and R9, of CPU 1 in R10 and R11, X in EAX and Y in EDX. */
#define WHEN2(what, a, b) a ; jne 9f ; b ; jne 9f ; mov eax, what ; ret ; 9: xor eax, eax ; ret
#define A_IS(n) cmp r8d, n
#define B_IS(n) cmp r9d, n
#define C_IS(n) cmp r10d, n
#define D_IS(n) cmp r11d, n
#define X_IS(n) cmp eax, n
#define Y_IS(n) cmp edx, n

    .balign 16
PROGRAM(sb0, mov dword ptr [rsi], 1 ; mov eax, [rdi])
    .balign 16
PROGRAM(sb1, mov dword ptr [rdi], 1 ; mov eax, [rsi])
    .balign 16
PROGRAM(sb_fence0, mov dword ptr [rsi], 1 ; mfence ; mov eax, [rdi])
    .balign 16
PROGRAM(sb_fence1, mov dword ptr [rdi], 1 ; mfence ; mov eax, [rsi])
    .balign 16
PROGRAM(sb_lock0, mov dword ptr [rsi], 1 ; lock add dword ptr [rsp - 8], 0 ; mov eax, [rdi])
    .balign 16
PROGRAM(sb_lock1, mov dword ptr [rdi], 1 ; lock or qword ptr [rsp], 0 ; mov eax, [rsi])
    .balign 16
PROGRAM(sb_xchg0, mov ecx, 1 ; xchg [rsi], ecx ; mov eax, [rdi])
    .balign 16
PROGRAM(sb_xchg1, mov ecx, 1 ; xchg [rdi], ecx ; mov eax, [rsi])
/* Both store buffers drain before what is behind one of these (SDM 3A 8.3, 11.10). */
#define DRAINS(name, ...) \
    .balign 16 ; PROGRAM(sb_##name##0, mov dword ptr [rsi], 1 ; __VA_ARGS__ ; mov eax, [rdi]) ; \
    .balign 16 ; PROGRAM(sb_##name##1, mov dword ptr [rdi], 1 ; __VA_ARGS__ ; mov eax, [rsi])
DRAINS(cpuid, xor eax, eax ; cpuid)
DRAINS(wrmsr, mov ecx, 0xc0000102 ; xor eax, eax ; xor edx, edx ; wrmsr)
DRAINS(cr0, mov rax, cr0 ; mov cr0, rax)
DRAINS(cr3, mov rax, cr3 ; mov cr3, rax)
DRAINS(dr0, xor eax, eax ; mov dr0, rax)
DRAINS(lidt, lidt [idt_ptr])
DRAINS(lgdt, lgdt [gdt_ptr])
DRAINS(invlpg, invlpg [rsp])
DRAINS(out, out PORT_ECHO, al)
DRAINS(iret, mov rcx, rsp ; push 0x10 ; push rcx ; pushfq ; push 0x18 ; lea rax, [rip + 7f] ; push rax ; iretq ; 7:)
sb_seen:
    WHEN2(RELAXED, A_IS(0), C_IS(0))
sb_never:
    WHEN2(FORBIDDEN, A_IS(0), C_IS(0))

    .balign 16
PROGRAM(mp0, mov dword ptr [rsi], 1 ; mov dword ptr [rdi], 1)
    .balign 16
PROGRAM(mp1, mov eax, [rdi] ; mov ebx, [rsi])
mp_never:
    WHEN2(FORBIDDEN, C_IS(1), D_IS(0))
    .balign 16
PROGRAM(mp_push0, mov rcx, rsp ; lea rsp, [rsi + 8] ; push 1 ; mov rsp, rcx ; mov ecx, 1 ; mov [rdi], cl)
    .balign 16
PROGRAM(mp_cmp1, xor ebx, ebx ; mov eax, 1 ; cmp dword ptr [rdi], 0 ; cmovz eax, ebx ; add ebx, [rsi])

    .balign 16
PROGRAM(lb0, mov eax, [rsi] ; mov dword ptr [rdi], 1)
    .balign 16
PROGRAM(lb1, mov eax, [rdi] ; mov dword ptr [rsi], 1)
lb_never:
    WHEN2(FORBIDDEN, A_IS(1), C_IS(1))

    .balign 16
PROGRAM(corr0, mov dword ptr [rsi], 1)
    .balign 16
PROGRAM(corr1, mov eax, [rsi] ; mov ebx, [rsi])
corr_never:
    WHEN2(FORBIDDEN, C_IS(1), D_IS(0))

    .balign 16
PROGRAM(ww0, mov dword ptr [rsi], 1 ; mov dword ptr [rdi], 2)
    .balign 16
PROGRAM(ww1, mov dword ptr [rdi], 1 ; mov dword ptr [rsi], 2)
ww_never:
    WHEN2(FORBIDDEN, X_IS(1), Y_IS(1))

    .balign 16
PROGRAM(r0, mov dword ptr [rsi], 1 ; mov dword ptr [rdi], 1)
    .balign 16
PROGRAM(r1, mov dword ptr [rdi], 2 ; mov eax, [rsi])
    .balign 16
PROGRAM(r_fence1, mov dword ptr [rdi], 2 ; mfence ; mov eax, [rsi])
r_seen:
    WHEN2(RELAXED, Y_IS(2), C_IS(0))
r_never:
    WHEN2(FORBIDDEN, Y_IS(2), C_IS(0))

    .balign 16
PROGRAM(s0, mov dword ptr [rsi], 2 ; mov dword ptr [rdi], 1)
    .balign 16
PROGRAM(s1, mov eax, [rdi] ; mov dword ptr [rsi], 1)
s_never:
    WHEN2(FORBIDDEN, C_IS(1), X_IS(2))

    .balign 16
PROGRAM(n6_0, mov dword ptr [rsi], 1 ; mov eax, [rsi] ; mov ebx, [rdi])
    .balign 16
PROGRAM(n6_1, mov dword ptr [rdi], 2 ; mov dword ptr [rsi], 2)
n6_seen: /* its own store is read before others see it: 1, 0, and X is 1 */
    cmp r8d, 1
    jne 9f
    WHEN2(RELAXED, B_IS(0), X_IS(1))

    .balign 16
PROGRAM(n5_0, mov dword ptr [rsi], 1 ; mov eax, [rsi])
    .balign 16
PROGRAM(n5_1, mov dword ptr [rsi], 2 ; mov eax, [rsi])
n5_never:
    WHEN2(FORBIDDEN, A_IS(2), C_IS(1))

/* A store of 8 bytes, of all kinds, is one; so is a load. */
    .balign 16
PROGRAM(whole0, mov rcx, -1 ; mov [rsi], rcx)
    .balign 16
PROGRAM(whole_movs0, mov qword ptr [rsp - 8], -1 ; mov rcx, rdi ; mov rdi, rsi ; lea rsi, [rsp - 8] ; movsq)
    .balign 16
PROGRAM(whole1, mov rax, [rsi] ; mov rbx, rax ; shr rbx, 32)
whole_never:
    xor eax, eax
    cmp r10d, r11d
    setne al
    ret

#define SHAPE(name, p0, p1, check, seen) .quad p0, p1, check, seen ; .asciz name ; .balign 32
    .balign 32
shapes:
    SHAPE("SB", sb0, sb1, sb_seen, 1)
    SHAPE("SB+mfence", sb_fence0, sb_fence1, sb_never, 0)
    SHAPE("SB+lock", sb_lock0, sb_lock1, sb_never, 0)
    SHAPE("SB+xchg", sb_xchg0, sb_xchg1, sb_never, 0)
    SHAPE("SB+cpuid", sb_cpuid0, sb_cpuid1, sb_never, 0)
    SHAPE("SB+wrmsr", sb_wrmsr0, sb_wrmsr1, sb_never, 0)
    SHAPE("SB+cr0", sb_cr00, sb_cr01, sb_never, 0)
    SHAPE("SB+cr3", sb_cr30, sb_cr31, sb_never, 0)
    SHAPE("SB+dr0", sb_dr00, sb_dr01, sb_never, 0)
    SHAPE("SB+lidt", sb_lidt0, sb_lidt1, sb_never, 0)
    SHAPE("SB+lgdt", sb_lgdt0, sb_lgdt1, sb_never, 0)
    SHAPE("SB+invlpg", sb_invlpg0, sb_invlpg1, sb_never, 0)
    SHAPE("SB+out", sb_out0, sb_out1, sb_never, 0)
    SHAPE("SB+iret", sb_iret0, sb_iret1, sb_never, 0)
    SHAPE("MP", mp0, mp1, mp_never, 0)
    SHAPE("MP+push+cmp", mp_push0, mp_cmp1, mp_never, 0)
    SHAPE("LB", lb0, lb1, lb_never, 0)
    SHAPE("CoRR", corr0, corr1, corr_never, 0)
    SHAPE("2+2W", ww0, ww1, ww_never, 0)
    SHAPE("R", r0, r1, r_seen, 0)
    SHAPE("R+mfence", r0, r_fence1, r_never, 0)
    SHAPE("S", s0, s1, s_never, 0)
    SHAPE("n5", n5_0, n5_1, n5_never, 0)
    SHAPE("n6", n6_0, n6_1, n6_seen, 0)
    SHAPE("whole", whole0, whole1, whole_never, 0)
    SHAPE("whole+movs", whole_movs0, whole1, whole_never, 0)
    .quad 0

    START_PAIR
    cld
    mov dword ptr [shape], offset shapes
next_shape:
    mov esi, [shape]
    cmp qword ptr [rsi], 0
    je all_done
    mov qword ptr [runs], 0
    mov qword ptr [relaxed], 0
    mov rbx, [TICKS]
    TSC_PLUS_RBX
    mov [deadline], rax
    shl rbx, 9
    add rax, rbx
    mov [patience], rax
once:
    mov qword ptr [Y_THIS], Y
    test r15d, 3
    jnz 1f
    mov qword ptr [Y_THIS], X + 8
1:  xor eax, eax
    mov edi, X
    mov ecx, N * 8
    rep stosq
    mov edi, Y
    mov ecx, N * 8
    rep stosq
    mov esi, [shape]
    mov rax, [rsi]
    mov [program0], rax
    mov rax, [rsi + 8]
    mov [program1], rax
    mov r14d, offset all0
    mov ebp, offset all1
    call together
    xor r13d, r13d
look:
    mov r8d, [OWN + r13 * 8]
    mov r9d, [OWN + r13 * 8 + 4]
    mov r10d, [OTHER + r13 * 8]
    mov r11d, [OTHER + r13 * 8 + 4]
    mov ecx, r13d
    shl ecx, 6
    mov eax, [rcx + X]
    add rcx, [Y_THIS]
    mov edx, [rcx]
    mov esi, [shape]
    call [rsi + 16]
    inc qword ptr [runs]
    cmp eax, FORBIDDEN
    je forbidden
    cmp eax, RELAXED
    jne 1f
    inc qword ptr [relaxed]
1:  inc r13d
    cmp r13d, N
    jb look
    NOW_IN_RAX
    cmp rax, [deadline]
    jb once
    mov esi, [shape]
    cmp qword ptr [rsi + 24], 0
    je 1f
    cmp qword ptr [relaxed], 0 /* it must be seen, where two can run at once */
    jne 1f
    cmp dword ptr [PARALLEL], 2
    jb 1f
    cmp rax, [patience]
    jb once
    FAIL
1:  call say_shape
    add dword ptr [shape], 64
    jmp next_shape

forbidden:
    call say_shape
    FAIL
all_done:
    PASS

say_shape:
    mov esi, [shape]
    add esi, 32
    call say
    mov esi, offset text_runs
    call say
    mov rax, [runs]
    call say_number
    mov esi, offset text_relaxed
    call say
    mov rax, [relaxed]
    call say_number
    mov al, 10
    out PORT_TEXT, al
    ret
text_runs: .asciz ": "
text_relaxed: .asciz " runs, relaxed "
    .balign 8
shape:    .quad 0
runs:     .quad 0
relaxed:  .quad 0
deadline: .quad 0
patience: .quad 0
program0: .quad 0
program1: .quad 0
    EXCEPTIONS64
