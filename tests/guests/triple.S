/* A triple fault ends the machine, and the accelerator says that it was one. */
#include "common.inc"
    GUEST
    TO_PROT32
    REQUEST(REQ_TRIPLE)
    mov word ptr [idt_ptr], 0
    lidt [idt_ptr]
    ud2
    FAIL
