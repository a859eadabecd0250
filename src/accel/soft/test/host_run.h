/*
 * host_run: run one instruction on the host CPU from a given register state and see what it leaves.
 *
 * A signal handler replaces the interrupted context by the wanted one (general registers, flags with TF, and
 * the whole XSAVE image), the instruction runs, and the trap or fault that follows hands the context back.
 * x87, SSE and AVX state are exact both ways.
 */
#ifndef SOFT_TEST_HOST_RUN_H
#define SOFT_TEST_HOST_RUN_H
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

struct host_state {
    uint64_t gpr[16], rflags, rip;
    uint8_t ymm[16][32], st[8][16];
    uint32_t mxcsr;
    uint16_t fcw, fsw;
    uint8_t ftw;
    int trap; /* out: vector; 1 (debug trap) means that it completed */
    uint64_t cr2;
};

enum { HOST_CS64 = 0x33, HOST_CS32 = 0x23, HOST_FRAME = 8192 };
enum {
    HOST_FX_MXCSR = 24,
    HOST_FX_ST = 32,
    HOST_FX_XMM = 160,
    HOST_SW_SIZE = 480,
    HOST_XSTATE = 512,
    HOST_AVX = 576
};

static struct {
    const struct host_state *in;
    struct host_state *out;
    int phase;
    uint16_t cs;
    gregset_t saved;
    uint8_t fp[HOST_FRAME];
    uint32_t fp_size;
    uint8_t stack[1 << 16] __attribute__((aligned(64)));
} host;

static const int host_reg[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                 REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static void host_enter(ucontext_t *u, uint8_t *fp)
{
    const struct host_state *s = host.in;
    greg_t *g = u->uc_mcontext.gregs;
    uint64_t features;
    memcpy(host.saved, g, sizeof(gregset_t));
    memcpy(&host.fp_size, fp + HOST_SW_SIZE, 4);
    if (host.fp_size > HOST_FRAME)
        _exit(98);
    memcpy(host.fp, fp, host.fp_size);
    for (unsigned i = 0; i < 16; i++)
        g[host_reg[i]] = (greg_t)s->gpr[i];
    g[REG_EFL] = (greg_t)((s->rflags & 0x408d5) | 0x302);
    g[REG_RIP] = (greg_t)s->rip;
    g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | host.cs;
    memset(fp, 0, HOST_FX_MXCSR);
    memcpy(fp, &s->fcw, 2);
    memcpy(fp + 2, &s->fsw, 2);
    fp[4] = s->ftw;
    memcpy(fp + HOST_FX_MXCSR, &s->mxcsr, 4);
    memcpy(fp + HOST_FX_ST, s->st, 128);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(fp + HOST_FX_XMM + 16 * i, s->ymm[i], 16);
        memcpy(fp + HOST_AVX + 16 * i, s->ymm[i] + 16, 16);
    }
    memcpy(&features, fp + HOST_XSTATE, 8);
    features |= 7;
    memcpy(fp + HOST_XSTATE, &features, 8);
}

static void host_leave(ucontext_t *u, uint8_t *fp)
{
    struct host_state *s = host.out;
    greg_t *g = u->uc_mcontext.gregs;
    uint64_t features;
    memset(s, 0, sizeof *s);
    memcpy(&features, fp + HOST_XSTATE, 8);
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = (uint64_t)g[host_reg[i]];
    s->rflags = (uint64_t)g[REG_EFL];
    s->rip = (uint64_t)g[REG_RIP];
    s->trap = (int)g[REG_TRAPNO];
    s->cr2 = (uint64_t)g[REG_CR2];
    s->fcw = 0x37f;
    if (features & 1) {
        memcpy(&s->fcw, fp, 2);
        memcpy(&s->fsw, fp + 2, 2);
        s->ftw = fp[4];
        memcpy(s->st, fp + HOST_FX_ST, 128);
    }
    memcpy(&s->mxcsr, fp + HOST_FX_MXCSR, 4);
    for (unsigned i = 0; i < 16; i++) {
        if (features & 2)
            memcpy(s->ymm[i], fp + HOST_FX_XMM + 16 * i, 16);
        if (features & 4)
            memcpy(s->ymm[i] + 16, fp + HOST_AVX + 16 * i, 16);
    }
    memcpy(g, host.saved, sizeof(gregset_t));
    memcpy(fp, host.fp, host.fp_size);
}

/* The kernel leaves RFLAGS.AC as the interrupted code had it. */
static inline void host_clear_ac(void)
{
    __asm__ volatile(
        "lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x40000, (%%rsp)\n\tpopfq\n\tlea 128(%%rsp), %%rsp" ::
            : "memory", "cc");
}

static void host_signal(int sig, siginfo_t *info, void *context)
{
    host_clear_ac();
    ucontext_t *u = context;
    uint8_t *fp = (uint8_t *)u->uc_mcontext.fpregs;
    (void)sig;
    (void)info;
    if (host.phase == 1)
        host_enter(u, fp);
    else if (host.phase == 2)
        host_leave(u, fp);
    else
        _exit(99);
    host.phase++;
}

static inline void host_init(void)
{
    static const int signals[] = {SIGUSR1, SIGTRAP, SIGSEGV, SIGILL, SIGFPE, SIGBUS};
    stack_t ss = {.ss_sp = host.stack, .ss_size = sizeof host.stack};
    struct sigaction sa = {.sa_sigaction = host_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigaltstack(&ss, NULL);
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &sa, NULL);
    /* data segments that 32-bit code can use */
    __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(0x2b));
}

/* Run the instruction at in->rip, in 64-bit or compatibility mode. */
static inline void host_run(const struct host_state *in, struct host_state *out, bool compat)
{
    host.in = in;
    host.out = out;
    host.cs = compat ? HOST_CS32 : HOST_CS64;
    host.phase = 1;
    raise(SIGUSR1);
}

/* Does this kernel let a 64-bit process run 32-bit code? `code` is an executable page below 4 GiB. */
static inline bool host_has_compat(uint8_t *code)
{
    struct host_state in = {.rip = (uint64_t)(uintptr_t)code, .mxcsr = 0x1f80, .fcw = 0x37f}, out;
    code[0] = 0x40; /* INC EAX there; a REX prefix in 64-bit code */
    code[1] = 0x90;
    host_run(&in, &out, true);
    return out.trap == 1 && out.gpr[0] == 1;
}

#endif
