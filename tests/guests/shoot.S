/* A page's translation is taken from another CPU: by an interrupt, whose handler invalidates (SDM 3A 4.10.5). When the
 * handler has answered, that CPU reads, writes and executes nothing by the old one, whatever it had been running. */
#include "common.inc"
#include "pair.inc"
#define DEADLINE 0x100200
#define ROUND  0x100240
#define ACK    0x100280
#define STABLE 0x1002c0
#define LOOPS  0x100300
#define FAULTS 0x100340
#define PAGE_TABLE 0x27000
#define PTE PAGE_TABLE
#define V 0x600000 /* here is the page: at FRAME_A, at FRAME_B */
#define FRAME_A 0x611000
#define FRAME_B 0x615000
#define IN_FRAME_COUNT 8
#define IN_FRAME_CODE 0x100 /* MOV EAX, imm; RET */
#define POISON 0xdead
#define SET_GATE(vector, handler) mov eax, offset handler ; mov [0x1000 + vector * 16], ax ; \
    shr eax, 16 ; mov [0x1000 + vector * 16 + 6], ax

    GUEST 2
    PAIR
    .code64
/* CPU 1. What it finds there is of the round that it knew to be over before, or of a later one. */
second:
    mov rax, cr0
    or eax, 0x10000 /* WP */
    mov cr0, rax
    inc r15
1:  cmp [GO], r15
    jb 1b
    mov [HERE1], r15
    sti
victim:
    mov rcx, [STABLE]
    mov rbx, [V]
    cmp rbx, POISON
    je stale_read
    cmp rbx, rcx
    jb stale_read
    inc qword ptr [V + IN_FRAME_COUNT]
    mov esi, V + IN_FRAME_CODE
    mov rcx, [STABLE]
    call rsi
    cmp rax, rcx
    jb stale_code
    inc qword ptr [LOOPS]
    jmp victim
stale_read:
    FAIL
stale_code:
    FAIL

/* Each second round by INVLPG, the others by CR3. */
on_shoot:
    push rax
    mov eax, V
    invlpg [rax]
    test byte ptr [ROUND], 1
    jz 1f
    jmp 2f
1:  mov rax, cr3
    mov cr3, rax
2:  mov eax, APIC_AT + 0xb0
    mov dword ptr [rax], 0
    mov rax, [ROUND]
    mov [ACK], rax
    pop rax
    iretq

/* Until all is allowed again. */
on_fault:
    push rax
    push rcx
    mov rcx, cr2
    and rcx, ~0xfff
    cmp rcx, V
    jne 9f
    inc qword ptr [FAULTS]
    mov rcx, 0x8000000000000003
    sti
1:  mov rax, [PTE]
    and rax, rcx
    cmp rax, 3
    jne 1b
    cli
    pop rcx
    pop rax
    add rsp, 8
    iretq
9:  FAIL

/* CPU 0 */
shoot:
    mov eax, V
    invlpg [rax]
    inc qword ptr [ROUND]
    APIC_SET(0x310, 0x01000000)
    APIC_SET(0x300, 0x4071)
    mov rax, [ROUND]
1:  cmp [ACK], rax
    jne 1b
    ret
pause_a_while:
    RANDOM(ecx, 10)
1:  dec ecx
    jns 1b
    ret

    START_PAIR
    mov rax, cr0
    or eax, 0x10000
    mov cr0, rax
    SET_GATE(0x71, on_shoot)
    SET_GATE(14, on_fault)
    mov edi, PAGE_TABLE
    mov eax, V + 7
1:  mov [rdi], rax
    add eax, 0x1000
    add edi, 8
    cmp edi, PAGE_TABLE + 0x1000
    jb 1b
    mov esi, FRAME_A
    mov edi, FRAME_B
    mov dword ptr [rsi + IN_FRAME_CODE], 0xb8
    mov dword ptr [rdi + IN_FRAME_CODE], 0xb8
    mov byte ptr [rsi + IN_FRAME_CODE + 5], 0xc3
    mov byte ptr [rdi + IN_FRAME_CODE + 5], 0xc3
    mov qword ptr [PTE], FRAME_A + 7
    mov qword ptr [0x22018], PAGE_TABLE + 7
    mov rax, cr3
    mov cr3, rax
    mov rbx, [TICKS]
    shl rbx, 3
    TSC_PLUS_RBX
    mov [DEADLINE], rax
    inc r15
    mov [GO], r15
1:  cmp [HERE1], r15
    jb 1b

/* RSI: the frame that is there, RDI: the other, R14: the last round's number */
    xor r14d, r14d
next:
    inc r14
    mov [rdi], r14
    mov [rdi + IN_FRAME_CODE + 1], r14d
    test r14d, 3
    jnz 1f
    mov qword ptr [PTE], 0 /* not there for a while */
    call shoot
    mov rbp, [rsi + IN_FRAME_COUNT]
    mov r13, [rdi + IN_FRAME_COUNT]
    call pause_a_while
    EQ([rsi + IN_FRAME_COUNT], rbp)
    EQ([rdi + IN_FRAME_COUNT], r13)
1:  lea rax, [rdi + 7]
    mov ebx, r14d
    and ebx, 3
    cmp ebx, 2
    jne 1f
    lea rax, [rdi + 5] /* not to be written to */
1:  cmp ebx, 3
    jne 1f
    bts rax, 63 /* not to be executed */
1:  mov [PTE], rax
    call shoot
    mov [STABLE], r14
    mov qword ptr [rsi], POISON
    mov dword ptr [rsi + IN_FRAME_CODE + 1], 0
    mov rbp, [rsi + IN_FRAME_COUNT]
    mov r13, [rdi + IN_FRAME_COUNT]
    call pause_a_while
    EQ([rsi + IN_FRAME_COUNT], rbp)
    cmp ebx, 2
    jne 1f
    EQ([rdi + IN_FRAME_COUNT], r13)
1:  lea rax, [rdi + 7] /* more rights need no invalidation */
    mov [PTE], rax
    xchg rsi, rdi
    NOW_IN_RAX
    cmp rax, [DEADLINE]
    jb next
    mov esi, offset text_rounds
    call say
    mov rax, r14
    call say_number
    mov esi, offset text_loops
    call say
    mov rax, [LOOPS]
    call say_number
    mov esi, offset text_faults
    call say
    mov rax, [FAULTS]
    call say_number
    cmp r14, 8
    CHECK(a)
    cmp qword ptr [LOOPS], 8
    CHECK(a)
    cmp qword ptr [FAULTS], 0
    CHECK(a)
    PASS
text_rounds: .asciz "rounds: "
text_loops:  .asciz ", loops: "
text_faults: .asciz ", faults: "
    EXCEPTIONS64
