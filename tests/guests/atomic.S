/* Locked instructions of two CPUs lose nothing: of all kinds and sizes, aligned, across lines, across pages that are
 * apart in memory, by the same or by other linear addresses, and at bytes that overlap. */
#include "common.inc"
#include "pair.inc"
#define DEADLINE 0x100200
#define ROUNDS 0x100240 /* of CPU 0; of CPU 1 64 bytes on */
#define ALIGNED 0x140000
#define ACROSS_LINES (ALIGNED + 60)
/* Two pages that are apart, twice: PAGE_TABLE */
#define PAGE_TABLE 0x27000
#define PAGES 0x600000
#define ALIAS 0x604000
#define FIRST 0x611000
#define SECOND 0x615000
#define ACROSS (PAGES + 0xffc)
#define ACROSS_ODD (PAGES + 0xfff)
#define ACROSS_ALIAS (ALIAS + 0xffc)

#define SUM 0
#define PARITY 1 /* bit 0 by the rounds of CPU 0, bit 1 by those of CPU 1 */
#define SUM_BEHIND 2 /* at + 128 */
#define NOTHING 3

    GUEST 2, FLAG_REAL /* a KVM that emulates does not lock across pages */
    PAIR
    .code64
second:
    jmp serve

/* Body R11 at R9, again and again; RBP is 1 for CPU 0, 2 for CPU 1. RAX to RSI and R13 (0 at first) are its own. */
work:
    xor r8d, r8d
    xor r13d, r13d
1:  mov r10d, 64
2:  call r11
    inc r8
    dec r10d
    jnz 2b
    NOW_IN_RAX
    cmp rax, [DEADLINE]
    jb 1b
    ret
work0:
    mov ebp, 1
    mov esi, [test]
    mov r11, [rsi]
    mov r9, [rsi + 8]
    call work
    mov [ROUNDS], r8
    ret
work1:
    mov ebp, 2
    mov esi, [test]
    mov r11, [rsi + 16]
    mov r9, [rsi + 24]
    call work
    mov [ROUNDS + 64], r8
    ret

#define BODY(name, ...) .balign 16 ; name: __VA_ARGS__ ; ret
BODY(inc64, lock inc qword ptr [r9])
BODY(inc32, lock inc dword ptr [r9])
BODY(inc16, lock inc word ptr [r9])
BODY(inc8, lock inc byte ptr [r9])
BODY(add64, mov eax, 1 ; lock add [r9], rax)
BODY(sub32, lock sub dword ptr [r9], -1)
BODY(adc64, stc ; lock adc qword ptr [r9], 0)
BODY(sbb64, stc ; lock sbb qword ptr [r9], -2)
BODY(xor8, lock xor [r9], bpl)
BODY(btc32, mov eax, ebp ; dec eax ; lock btc [r9], eax)
BODY(xadd64, mov eax, 1 ; lock xadd [r9], rax ; cmp rax, r13 ; jb went_back ; lea r13, [rax + 1])
BODY(xadd16, mov eax, 1 ; lock xadd [r9], ax)
BODY(cmpxchg64, mov rax, [r9] ; 3: lea rbx, [rax + 1] ; lock cmpxchg [r9], rbx ; jne 3b)
BODY(cmpxchg32, mov eax, [r9] ; 3: lea ebx, [rax + 1] ; lock cmpxchg [r9], ebx ; jne 3b)
BODY(cmpxchg8, mov al, [r9] ; 3: lea ebx, [rax + 1] ; lock cmpxchg [r9], bl ; jne 3b)
BODY(pair64, mov eax, [r9] ; mov edx, [r9 + 4] ; 3: mov ebx, eax ; mov ecx, edx ; add ebx, 1 ; adc ecx, 0 ; \
     lock cmpxchg8b [r9] ; jne 3b)
/* N, and all ones but N */
BODY(pair128, mov rax, [r9] ; mov rdx, [r9 + 8] ; 3: lea rbx, [rax + 1] ; mov rcx, rbx ; not rcx ; \
     lock cmpxchg16b [r9] ; je 4f ; not rdx ; cmp rdx, rax ; jne torn ; not rdx ; jmp 3b ; 4:)
BODY(by_bts, 3: lock bts dword ptr [r9], 5 ; jc 3b ; inc qword ptr [r9 + 128] ; mov dword ptr [r9], 0)
BODY(by_xchg, 3: mov eax, 1 ; xchg [r9], eax ; test eax, eax ; jnz 3b ; inc qword ptr [r9 + 128] ; \
     mov dword ptr [r9], 0)
BODY(by_btr, 3: lock bts dword ptr [r9], 31 ; jc 3b ; add qword ptr [r9 + 128], 1 ; lock btr dword ptr [r9], 31)
/* Both halves are the same, always. */
BODY(both_halves, mov rax, 0x100000001 ; lock xadd [r9], rax ; mov ebx, eax ; shr rax, 32 ; cmp eax, ebx ; jne torn)
BODY(store_halves, mov eax, r8d ; shl rax, 32 ; mov ebx, r8d ; or rax, rbx ; mov [r9], rax)
BODY(load_halves, mov rax, [r9] ; mov ebx, eax ; shr rax, 32 ; cmp eax, ebx ; jne torn)
went_back:
    FAIL
torn:
    FAIL

/* Width: what of the sum is kept. */
#define TEST(name, body0, at0, body1, at1, kind, width) \
    .quad body0, at0, body1, at1, kind, (1 << (width - 1)) * 2 - 1 ; .asciz name ; .balign 128
    .balign 128
tests:
    TEST("inc 64", inc64, ALIGNED, inc64, ALIGNED, SUM, 64)
    TEST("inc 32, sub 32", inc32, ALIGNED, sub32, ALIGNED, SUM, 32)
    TEST("inc 16, xadd 16", inc16, ALIGNED, xadd16, ALIGNED, SUM, 16)
    TEST("inc 8, cmpxchg 8", inc8, ALIGNED + 3, cmpxchg8, ALIGNED + 3, SUM, 8)
    TEST("adc, sbb", adc64, ALIGNED, sbb64, ALIGNED, SUM, 64)
    TEST("xor, btc", xor8, ALIGNED, btc32, ALIGNED, PARITY, 64)
    TEST("xadd", xadd64, ALIGNED, xadd64, ALIGNED, SUM, 64)
    TEST("cmpxchg", cmpxchg64, ALIGNED, cmpxchg64, ALIGNED, SUM, 64)
    TEST("cmpxchg8b", pair64, ALIGNED, pair64, ALIGNED, SUM, 64)
    TEST("cmpxchg8b, inc 64", pair64, ALIGNED, inc64, ALIGNED, SUM, 64)
    TEST("cmpxchg16b", pair128, ALIGNED, pair128, ALIGNED, SUM, 64)
    TEST("lock by bts", by_bts, ALIGNED, by_bts, ALIGNED, SUM_BEHIND, 64)
    TEST("lock by xchg", by_xchg, ALIGNED, by_xchg, ALIGNED, SUM_BEHIND, 64)
    TEST("lock by bts, btr", by_btr, ALIGNED, by_btr, ALIGNED, SUM_BEHIND, 64)
    TEST("xadd, load", both_halves, ALIGNED, load_halves, ALIGNED, NOTHING, 64)
    TEST("store, load", store_halves, ALIGNED + 8, load_halves, ALIGNED + 8, NOTHING, 64)
    TEST("lines: inc 64", inc64, ACROSS_LINES, add64, ACROSS_LINES, SUM, 64)
    TEST("lines: xadd, cmpxchg", xadd64, ACROSS_LINES, cmpxchg64, ACROSS_LINES, SUM, 64)
    TEST("lines: cmpxchg8b", pair64, ACROSS_LINES, pair64, ACROSS_LINES, SUM, 64)
    TEST("lines: inc 64, inc 32", inc64, ACROSS_LINES, inc32, ACROSS_LINES, SUM, 32)
    TEST("lines: inc 16", inc16, ALIGNED + 63, xadd16, ALIGNED + 63, SUM, 16)
    TEST("pages: inc 64", inc64, ACROSS, inc64, ACROSS, SUM, 64)
    TEST("pages: add, sub 32", add64, ACROSS_ODD, sub32, ACROSS_ODD, SUM, 32)
    TEST("pages: xadd, cmpxchg", xadd64, ACROSS, cmpxchg64, ACROSS, SUM, 64)
    TEST("pages: cmpxchg 32", cmpxchg32, ACROSS_ODD, cmpxchg32, ACROSS_ODD, SUM, 32)
    TEST("pages: cmpxchg8b", pair64, ACROSS, pair64, ACROSS_ALIAS, SUM, 64)
    TEST("pages: alias", inc64, ACROSS, adc64, ACROSS_ALIAS, SUM, 64)
    TEST("pages: first", inc64, ACROSS, inc32, FIRST + 0xffc, SUM, 32)
    TEST("pages: first, xadd", both_halves, ACROSS, both_halves, ACROSS_ALIAS, NOTHING, 64)
    TEST("pages: 16", inc16, ACROSS_ODD, xadd16, ACROSS_ODD, SUM, 16)
    .quad 0

    START_PAIR
    cld
    mov edi, PAGE_TABLE /* 2 MiB by 4 KiB pages, all where they were but four */
    mov eax, PAGES + 7
1:  mov [rdi], rax
    add eax, 0x1000
    add edi, 8
    cmp edi, PAGE_TABLE + 0x1000
    jb 1b
    mov qword ptr [PAGE_TABLE], FIRST + 7
    mov qword ptr [PAGE_TABLE + 8], SECOND + 7
    mov qword ptr [PAGE_TABLE + 0x20], FIRST + 7
    mov qword ptr [PAGE_TABLE + 0x28], SECOND + 7
    mov qword ptr [0x22018], PAGE_TABLE + 7
    mov rax, cr3
    mov cr3, rax
    mov r14d, offset reload
    mov ebp, offset reload
    call together
    mov dword ptr [test], offset tests
next_test:
    mov esi, [test]
    cmp qword ptr [rsi], 0
    je all_done
    xor eax, eax
    mov edi, ALIGNED
    mov ecx, 64
    rep stosq
    mov esi, [test]
    mov rdi, [rsi + 8]
    mov [rdi], rax
    cmp qword ptr [rsi], offset pair128
    jne 1f
    mov qword ptr [rdi + 8], -1
1:  mov rbx, [TICKS]
    TSC_PLUS_RBX
    mov [DEADLINE], rax
    mov r14d, offset work0
    mov ebp, offset work1
    call together

    mov esi, [test]
    mov rdi, [rsi + 8]
    mov rax, [ROUNDS]
    mov rbx, [ROUNDS + 64]
    mov rcx, [rsi + 32]
    cmp ecx, NOTHING
    je 3f
    cmp ecx, PARITY
    je 2f
    add rax, rbx
    mov rdx, [rdi]
    cmp ecx, SUM_BEHIND
    jne 1f
    mov rdx, [rdi + 128]
1:  sub rax, rdx
    test rax, [rsi + 40]
    jnz lost
    jmp 3f
2:  and eax, 1
    and ebx, 1
    lea eax, [rax + rbx * 2]
    cmp rax, [rdi]
    jne lost
3:  call say_test
    add dword ptr [test], 128
    mov esi, [test]
    jmp next_test
lost:
    call say_test
    FAIL
all_done:
    PASS
reload:
    mov rax, cr3
    mov cr3, rax
    ret
say_test:
    mov esi, [test]
    add esi, 48
    call say
    mov esi, offset text_rounds
    call say
    mov rax, [ROUNDS]
    call say_number
    mov esi, offset text_and
    call say
    mov rax, [ROUNDS + 64]
    call say_number
    mov al, 10
    out PORT_TEXT, al
    ret
text_rounds: .asciz ": "
text_and: .asciz " + "
    .balign 8
test: .quad 0
    EXCEPTIONS64
