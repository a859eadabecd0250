/* A vCPU that is kicked by a device it accesses stops behind that very instruction: the machine looks at EBX, which
 * the next ones change, and at EIP. Out of straight code, so that an engine which looks between blocks only would be
 * seen. */
#include "common.inc"

/* The instruction given puts REQ_WHERE into the request register. Clobbers EAX, EBX, EDX. */
#define STOPS(...) \
    xor ebx, ebx ; mov eax, REQ_WHERE ; mov dx, PORT_REQUEST ; \
    __VA_ARGS__ ; \
    7: inc ebx ; inc ebx ; inc ebx ; \
    8: in eax, dx ; test eax, eax ; jnz 8b ; \
    EQ(ebx, 3) ; \
    GET_ARG ; EQ(eax, 0)
#define STOPS_BEHIND(...) STOPS(__VA_ARGS__) ; GET_ARG2 ; EQ(eax, offset 7b)

    GUEST
    STOPS_BEHIND(out dx, eax)
    mov dword ptr [0x6000], REQ_WHERE
    mov si, 0x6000
    STOPS_BEHIND(outsd)
    mov si, 0x6000
    mov cx, 1
    STOPS(rep outsd) /* KVM finds its end when it comes to it again */
    EQ(cx, 0)
    TO_PROT32
    mov dword ptr [0x6000], REQ_WHERE
    STOPS_BEHIND(out dx, eax)
    STOPS_BEHIND(mov dword ptr [REGS_REQUEST], eax)
    STOPS_BEHIND(xchg dword ptr [REGS_REQUEST], eax)
    mov esi, 0x6000
    mov edi, REGS_REQUEST
    STOPS_BEHIND(movsd)
    /* a thousand times: no race between the kick and the vCPU's own going on */
    mov ebp, 1000
1:
    STOPS_BEHIND(out dx, eax)
    STOPS_BEHIND(mov dword ptr [REGS_REQUEST], eax)
    dec ebp
    jnz 1b
    PASS
