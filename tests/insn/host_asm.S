/*
 * Into and out of an instruction under test on the host CPU. struct lab_state lies at STATE; its addresses fit 32 bits.
 */
#define STATE  0x10020000
#define RIP    (STATE + 128)
#define FLAGS  (STATE + 136)
#define FSBASE (STATE + 144)
#define GSBASE (STATE + 152)
#define HRSP   (STATE + 160)
#define HFS    (STATE + 168)
#define HGS    (STATE + 176)
#define ENTER  (STATE + 184)
#define FPU    (STATE + 192)
#define DSEL   (STATE + 1024)
#define SSEL   (STATE + 1028)

        .text
/* void lab_enter(int by_far_jump): runs the case and returns when lab_leave or the signal handler lets it. */
        .globl lab_enter
        .type lab_enter, @function
lab_enter:
        push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15
        mov %rsp, HRSP
        rdfsbase %rax
        mov %rax, HFS
        rdgsbase %rax
        mov %rax, HGS
        mov %edi, %ebx
        mov $7, %eax
        xor %edx, %edx
        xrstor FPU
        mov FSBASE, %rax
        wrfsbase %rax
        mov GSBASE, %rax
        wrgsbase %rax
        mov DSEL, %eax
        mov %eax, %ds
        mov %eax, %es
        mov SSEL, %eax
        mov %eax, %ss
        test %ebx, %ebx
        pushq FLAGS
        mov STATE + 8, %rcx
        mov STATE + 16, %rdx
        mov STATE + 24, %rbx
        mov STATE + 40, %rbp
        mov STATE + 48, %rsi
        mov STATE + 56, %rdi
        mov STATE + 64, %r8
        mov STATE + 72, %r9
        mov STATE + 80, %r10
        mov STATE + 88, %r11
        mov STATE + 96, %r12
        mov STATE + 104, %r13
        mov STATE + 112, %r14
        mov STATE + 120, %r15
        mov STATE, %rax
        jnz 1f
        popfq
        mov STATE + 32, %rsp
        jmp *RIP
1:      popfq
        mov STATE + 32, %rsp
        ljmp *ENTER

/* The instruction went on to its successor. */
        .globl lab_leave
        .type lab_leave, @function
lab_leave:
        mov %rax, STATE
        mov %rcx, STATE + 8
        mov %rdx, STATE + 16
        mov %rbx, STATE + 24
        mov %rsp, STATE + 32
        mov %rbp, STATE + 40
        mov %rsi, STATE + 48
        mov %rdi, STATE + 56
        mov %r8, STATE + 64
        mov %r9, STATE + 72
        mov %r10, STATE + 80
        mov %r11, STATE + 88
        mov %r12, STATE + 96
        mov %r13, STATE + 104
        mov %r14, STATE + 112
        mov %r15, STATE + 120
        mov HRSP, %rsp
        pushfq
        popq FLAGS
        rdfsbase %rax
        mov %rax, FSBASE
        rdgsbase %rax
        mov %rax, GSBASE
        mov $7, %eax
        xor %edx, %edx
        xsave FPU
        .globl lab_resume
lab_resume:
        xor %eax, %eax
        mov %eax, %fs
        mov %eax, %gs
        mov HFS, %rax
        wrfsbase %rax
        mov HGS, %rax
        wrgsbase %rax
        pushq $0x202
        popfq
        fninit
        ldmxcsr default_mxcsr(%rip)
        vzeroall
        mov $SEL_DATA, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
        ret

/* Signal handler: the instruction faulted, or went to an INT3. Thread-local storage comes back before any C runs. */
        .globl lab_signal
        .type lab_signal, @function
lab_signal:
        rdfsbase %rax
        mov %rax, FSBASE
        rdgsbase %rax
        mov %rax, GSBASE
        mov HFS, %rax
        wrfsbase %rax
        mov HGS, %rax
        wrgsbase %rax
        pushq $0x202
        popfq
        jmp lab_signal_c

        .section .rodata
default_mxcsr:
        .long 0x1f80
        .set SEL_DATA, 0x2b
        .section .note.GNU-stack, "", @progbits
