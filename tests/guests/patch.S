/* One CPU changes code that the other runs: with the handshake of SDM 3A 8.1.3; as kernels do it, by INT3 and three
 * interrupts; and one byte of an immediate without further ado. */
#include "common.inc"
#include "pair.inc"
#define DEADLINE 0x100200
#define WANT   0x100240
#define SEEN   0x100280
#define ACK    0x1002c0
#define ROUND  0x100300
#define STABLE 0x100340 /* odd: being changed; else bit 1: the jump is there */
#define TARGET 0x100380 /* where INT3 leads */
#define LOOPS  0x1003c0
#define TRAPS  0x100400
#define STOP   0x100440
#define SETTLED 0x100480
#define SET_GATE(vector, handler) mov eax, offset handler ; mov [0x1000 + vector * 16], ax ; \
    shr eax, 16 ; mov [0x1000 + vector * 16 + 6], ax
/* RAX: until then */
#define FOR_TICKS(n) mov rbx, [TICKS] ; shl rbx, n ; TSC_PLUS_RBX ; mov [DEADLINE], rax

    GUEST 2
    PAIR
    .code64
second:
    jmp serve

/* ---- the handshake: CPU 1 ---- */
    .balign 4096
obey:
    xor r13d, r13d
1:  inc r13
2:  cmp [WANT], r13
    jb 2b
    cmp qword ptr [STOP], 0
    jne 9f
    xor eax, eax
    cpuid
    mov ebp, 40 /* so that it is warm when it is changed */
3:  call changing
    cmp eax, r13d
    jne 8f
here: /* in the midst of what runs */
    mov eax, 0
    cmp eax, r13d
    jne 8f
    dec ebp
    jnz 3b
    mov [SEEN], r13
    jmp 1b
8:  FAIL
9:  ret
    .balign 64
changing:
    mov eax, 0
    ret
    .fill 26, 1, 0x90
    .balign 4096

/* CPU 0: one form, then another: MOV; or NOP, MOV of one less, INC. */
change:
    xor r13d, r13d
1:  inc r13
    mov [here + 1], r13d
    mov edi, offset changing
    test r13d, 1
    jz 2f
    mov byte ptr [rdi], 0xb8
    mov [rdi + 1], r13d
    mov byte ptr [rdi + 5], 0xc3
    jmp 3f
2:  mov word ptr [rdi], 0xb890
    lea eax, [r13 - 1]
    mov [rdi + 2], eax
    mov dword ptr [rdi + 6], 0xc3c0ff
3:  mov [WANT], r13
4:  cmp [SEEN], r13
    jb 4b
    NOW_IN_RAX
    cmp rax, [DEADLINE]
    jb 1b
    inc r13
    mov qword ptr [STOP], 1
    mov [WANT], r13
    mov [ROUND], r13
    ret

/* ---- INT3 ---- */
    .balign 64
runs: /* CPU 1, with interrupts: 1 or 2, by what is at `site` */
    sti
1:  mov rbx, [STABLE]
    call poked
    mov rcx, [STABLE]
    cmp eax, 1
    jb 8f
    cmp eax, 2
    ja 8f
    cmp rbx, rcx
    jne 2f
    test ebx, 1
    jnz 2f
    shr ebx
    and ebx, 1
    inc ebx
    cmp eax, ebx
    jne 8f
    inc qword ptr [SETTLED]
2:  inc qword ptr [LOOPS]
    cmp qword ptr [STOP], 0
    je 1b
    cli
    ret
8:  FAIL
    .balign 64
    nop
    nop
    nop
poked: /* five bytes, across words */
    .byte 0x0f, 0x1f, 0x44, 0, 0
not_taken:
    mov eax, 1
    ret
taken:
    mov eax, 2
    ret

on_sync:
    push rax
    mov eax, APIC_AT + 0xb0
    mov dword ptr [rax], 0
    mov rax, [ROUND]
    mov [ACK], rax
    pop rax
    iretq
on_int3:
    cmp qword ptr [rsp], offset poked + 1
    jne 9f
    lock inc qword ptr [TRAPS]
    push rax
    mov rax, [TARGET]
    mov [rsp + 8], rax
    pop rax
    iretq
9:  FAIL

/* CPU 0 */
sync:
    inc qword ptr [ROUND]
    APIC_SET(0x310, 0x01000000)
    APIC_SET(0x300, 0x4072)
    mov rax, [ROUND]
1:  cmp [ACK], rax
    jne 1b
    RANDOM(ecx, 8)
1:  dec ecx
    jns 1b
    ret
poke: /* EBP: bytes 1 to 4, BL: byte 0; R13: where it leads */
    inc qword ptr [STABLE]
    mov [TARGET], r13
    mov byte ptr [poked], 0xcc
    call sync
    mov [poked + 1], ebp
    call sync
    mov [poked], bl
    call sync
    mov rax, [SETTLED]
    inc qword ptr [STABLE]
1:  cmp [SETTLED], rax /* until it was run as it is now */
    je 1b
    ret
pokes:
    mov ebp, taken - not_taken
    mov bl, 0xe9
    mov r13d, offset taken
    call poke
    mov ebp, 0x0000441f
    mov bl, 0x0f
    mov r13d, offset not_taken
    call poke
    NOW_IN_RAX
    cmp rax, [DEADLINE]
    jb pokes
    mov qword ptr [STOP], 1
    ret

/* ---- one byte ---- */
    .balign 4096
counts: /* CPU 1: what it sees only grows, as numbers of 8 bits go */
    xor r13d, r13d
1:  call counted
    mov ecx, eax
    sub cl, r13b
    js 8f
    mov r13d, eax
    mov [SEEN], rax
    inc qword ptr [LOOPS]
    cmp qword ptr [STOP], 0
    je 1b
    ret
8:  FAIL
counted:
    xor eax, eax
    mov al, 0
    ret
beside: /* data on the same page */
    .quad 0
    .balign 4096
count: /* CPU 0: at most 100 ahead; each 50th is waited for */
    xor r13d, r13d
1:  inc r13
    mov [counted + 3], r13b
    inc qword ptr [beside]
    mov ecx, 50
2:  dec ecx
    jnz 2b
3:  mov eax, r13d
    sub al, [SEEN]
    cmp al, 100
    ja 3b
    inc ebp
    cmp ebp, 50
    jb 4f
    xor ebp, ebp
3:  cmp [SEEN], r13b
    jne 3b
4:  NOW_IN_RAX
    cmp rax, [DEADLINE]
    jb 1b
    mov [ROUND], r13
    mov qword ptr [STOP], 1
    ret

/* ---- */
    START_PAIR
    SET_GATE(0x72, on_sync)
    SET_GATE(3, on_int3)
    FOR_TICKS(2)
    mov r14d, offset change
    mov ebp, offset obey
    call together
    mov esi, offset text_handshake
    call say
    mov rax, [ROUND]
    call say_number
    cmp qword ptr [ROUND], 4
    CHECK(a)

    mov qword ptr [STOP], 0
    mov qword ptr [ROUND], 0
    FOR_TICKS(3)
    mov r14d, offset pokes
    mov ebp, offset runs
    call together
    mov esi, offset text_pokes
    call say
    mov rax, [ROUND]
    call say_number
    mov esi, offset text_traps
    call say
    mov rax, [TRAPS]
    call say_number
    mov esi, offset text_loops
    call say
    mov rax, [LOOPS]
    call say_number
    cmp qword ptr [TRAPS], 0
    CHECK(a)
    cmp qword ptr [SETTLED], 4
    CHECK(a)

    mov qword ptr [STOP], 0
    mov qword ptr [SEEN], 0
    mov qword ptr [LOOPS], 0
    FOR_TICKS(2)
    mov r14d, offset count
    mov ebp, offset counts
    call together
    mov esi, offset text_bytes
    call say
    mov rax, [ROUND]
    call say_number
    mov esi, offset text_loops
    call say
    mov rax, [LOOPS]
    call say_number
    cmp qword ptr [ROUND], 50
    CHECK(a)
    PASS
text_handshake: .asciz "handshakes: "
text_pokes: .asciz "\ninterrupts: "
text_traps: .asciz ", traps: "
text_loops: .asciz ", loops: "
text_bytes: .asciz "\nbytes: "
    EXCEPTIONS64
