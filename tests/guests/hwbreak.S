/* Breakpoints and watchpoints in debug registers: gdb's, and the guest's own. */
#include "common.inc"
    GUEST 1, FLAG_REAL
    TO_LONG
    call idt_init

    /* Hardware breakpoint. */
    ARG(offset break_here)
    REQUEST(REQ_BREAK)
    mov ecx, 5
1:  dec ecx
    jnz 1b
break_here:
    nop
    GET_ARG2
    EQ(eax, offset break_here)
    REQUEST(REQ_STOP)
    GET_ARG
    EQ(eax, 0x20001) /* one stop, by the second register */

    /* Watchpoint on writes: reads pass. */
    ARG(offset watched)
    REQUEST(REQ_WATCH)
    mov eax, [watched]
    mov dword ptr [watched], 1
    mov dword ptr [watched + 4], 1
    nop
    GET_ARG2
    EQ(eax, offset watched)
    REQUEST(REQ_STOP)
    GET_ARG
    EQ(eax, 0x20001)
    EQ(dword ptr [watched], 1)

    /* The guest's own: execution breakpoint (a fault, RF lets it pass), watchpoint (a trap), single step. */
    xor eax, eax
    mov dr6, rax
    mov eax, offset own_break
    mov dr0, rax
    mov eax, offset watched
    mov dr1, rax
    mov eax, 0xd00000 | 5 | 0x400 /* DR0 execute, DR1 write of 4 */
    mov dr7, rax
    EXPECT(1f)
    nop
own_break:
    nop
1:  EQ(dword ptr [exc_vec], 1)
    EQ(dword ptr [exc_ip], offset own_break)
    mov rax, dr6
    and eax, 15
    EQ(eax, 1)
    xor eax, eax
    mov dr6, rax
    EXPECT(1f)
    mov dword ptr [watched], 7
own_watch:
    nop
1:  EQ(dword ptr [exc_vec], 1)
    EQ(dword ptr [exc_ip], offset own_watch)
    mov rax, dr6
    and eax, 15
    EQ(eax, 2)
    PASS
    .balign 8
watched: .long 0, 0
    EXCEPTIONS64
