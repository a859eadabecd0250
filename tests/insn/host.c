/*
 * host: cases on this CPU, in a child process.
 *
 * The child holds the code and data pages at their fixed addresses, enters each instruction through lab_enter
 * with the whole register state loaded, and leaves it by a jump placed behind the instruction, or by a
 * signal: then the state is that of the signal frame, which the kernel made from what the processor pushed.
 * INT3 fills the rest of the code pages, so a branch is seen where it arrives.
 */
#include <errno.h>
#include <asm/ldt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include "lab.h"

void lab_enter(int is_32bit);
void lab_leave(void);
void lab_resume(void);
void lab_signal(int sig, siginfo_t *info, void *uc);
void lab_signal_c(int sig, siginfo_t *info, ucontext_t *uc);

struct shared {
    unsigned n;    /* cases in this batch */
    unsigned next; /* first not yet begun: where a dead child stopped */
    unsigned done;
    uint8_t pristine[DATA_PAGES * PAGE];
};

struct host {
    unsigned batch;
    struct shared *shared;
    struct lab_case *cases;
    struct lab_result *results;
    int go, back; /* pipes: a byte starts a batch, a byte ends it */
    pid_t child;
};

/* What the signal handler of the child tells the loop; a child runs one case at a time. */
static struct lab_result *volatile running;
static volatile uint64_t running_rip, running_next, running_base; /* offsets in CS, and its base */

static uint8_t int3s[CODE_PAGES * PAGE];

static void die(const char *what)
{
    fprintf(stderr, "lab: host: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *map_shared(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("mmap");
    return p;
}

static void map_fixed(uintptr_t at, size_t n, int prot, int fd, off_t off)
{
    int flags = MAP_FIXED_NOREPLACE | MAP_POPULATE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
    if (mmap((void *)at, n, prot, flags, fd, off) != (void *)at)
        die("a fixed address is taken");
}

/* ---- the child ---- */

/* XSAVE image of a signal frame, initial components written out (SDM 1 13.6: their bit in XSTATE_BV is
 * clear). */
static void copy_fpu(struct lab_fpu *out, const struct _libc_fpstate *fp)
{
    uint64_t have;

    memcpy(out->image, fp, sizeof(out->image));
    memcpy(&have, out->image + 512, 8);
    if (!(have & 4))
        memset(out->image + 576, 0, 256);
    if (!(have & 2))
        memset(out->image + 160, 0, 256);
    if (!(have & 1)) {
        static const uint8_t initial[24] = {0x7f, 0x03};
        memcpy(out->image, initial, sizeof(initial));
        memset(out->image + 32, 0, 128);
    }
}

static const uint8_t greg_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

void lab_signal_c(int sig, siginfo_t *info, ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    struct lab_result *r = running;
    struct lab_state *state = (struct lab_state *)STATE_BASE;
    (void)info;

    if (!r)
        _exit(3);
    for (unsigned i = 0; i < 16; i++)
        state->gpr[i] = (uint64_t)g[greg_of[i]];
    state->rip = (uint64_t)g[REG_RIP];
    state->rflags = (uint64_t)g[REG_EFL];
    copy_fpu(&state->fpu, uc->uc_mcontext.fpregs);
    r->vector = (uint8_t)g[REG_TRAPNO];
    r->error = (uint32_t)g[REG_ERR];
    r->cr2 = (uint64_t)g[REG_CR2];
    if (sig == SIGTRAP && r->vector == X86_BP) {
        /* arrived at an INT3 of the code page: the instruction was a branch */
        state->rip--;
        r->vector = state->rip > running_rip && state->rip < running_next + LAB_EXIT_BYTES * 2 ? LAB_ASTRAY
                                                                                               : LAB_NO_FAULT;
    } else if (r->vector == X86_DB && state->rip >= STUB_BASE && state->rip < STUB_BASE + PAGE) {
        /* the instruction set TF: the trap came after the jump behind it */
        state->rip = running_next;
        r->vector = LAB_NO_FAULT;
    } else if (r->vector == X86_PF_VEC && (r->error & PF_I) && r->cr2 == state->rip + running_base &&
               state->rip != running_rip) {
        /* a branch to where nothing can be fetched: the branch itself is complete */
        r->vector = LAB_NO_FAULT;
        state->rflags &= ~(uint64_t)X86_RF;
    }
    if (r->vector != LAB_NO_FAULT && state->rip != running_rip)
        r->vector = LAB_ASTRAY;
    g[REG_RIP] = (greg_t)(uintptr_t)lab_resume;
    g[REG_RSP] = (greg_t)state->host_rsp;
    g[REG_EFL] = 0x202;
    g[REG_CSGSFS] = (g[REG_CSGSFS] & 0x0000ffffffff0000ll) | SEL_CODE64 | (greg_t)SEL_DATA << 48;
}

static void set_ldt(unsigned sel, uint32_t base, uint32_t limit, bool code, bool wide)
{
    struct user_desc d = {.entry_number = sel >> 3,
                          .base_addr = base,
                          .limit = limit,
                          .seg_32bit = wide,
                          .contents = code ? 2 : 0,
                          .useable = 1};
    if (syscall(SYS_modify_ldt, 1, &d, sizeof(d)))
        die("modify_ldt");
}

static void child_setup(int fd)
{
    static uint8_t alternate[65536] __attribute__((aligned(64)));
    stack_t ss = {.ss_sp = alternate, .ss_size = sizeof(alternate)};
    struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    uint8_t *stub = (uint8_t *)STUB_BASE;
    /* 64-bit way out: jmp *[STUB_BASE + 64]; 32-bit: ljmp $0x33, $STUB_BASE */
    static const uint8_t out64[] = {0xff, 0x24, 0x25, 0x40, 0x00, 0x01, 0x10},
                         out32[] = {0xea, 0x00, 0x00, 0x01, 0x10, SEL_CODE64, 0x00};
    uintptr_t leave = (uintptr_t)lab_leave;

    map_fixed(CODE_BASE, CODE_PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, -1, 0);
    map_fixed(STUB_BASE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, -1, 0);
    map_fixed(STATE_BASE, PAGE, PROT_READ | PROT_WRITE, -1, 0);
    for (unsigned p = 0; p < DATA_PAGES; p++)
        if (data_page_present(p))
            map_fixed(DATA_BASE + p * PAGE, PAGE, p == DATA_RO ? PROT_READ : PROT_READ | PROT_WRITE, fd,
                      (off_t)p * PAGE);
    memset((void *)CODE_BASE, 0xcc, CODE_PAGES * PAGE);
    memset(int3s, 0xcc, sizeof(int3s));
    memcpy(stub, out64, sizeof(out64));
    memcpy(stub + 16, out32, sizeof(out32));
    memcpy(stub + 64, &leave, 8);

    set_ldt(SEL_LDT_CODE16, CODE_BASE, LDT_CODE_LIMIT, true, false);
    set_ldt(SEL_LDT_DATA, LDT_BASE, LDT_LIMIT, false, true);
    set_ldt(SEL_LDT_STACK16, LDT_BASE, LDT_LIMIT, false, false);
    if (sigaltstack(&ss, NULL))
        die("sigaltstack");
    sa.sa_sigaction = lab_signal;
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (sigaction(signals[i], &sa, NULL))
            die("sigaction");
    __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(SEL_DATA));
}

static void put_code(const struct lab_case *k)
{
    uint8_t *at = (uint8_t *)k->in.rip;

    memcpy(at, k->bytes, (size_t)(k->len - k->fetch_cut));
    if (!k->fetch_cut)
        lab_exit_bytes(k, at + k->len);
}

static void run_one(const struct lab_case *k, struct lab_result *r, uint8_t *data, const uint8_t *pristine)
{
    struct lab_state *state = (struct lab_state *)STATE_BASE;
    unsigned clean = k->fetch_cut ? (unsigned)(k->len - k->fetch_cut) : k->len + (unsigned)LAB_EXIT_BYTES;
    uint64_t code_base = k->mode == MODE_16 ? CODE_BASE : 0;

    if (k->patch_len)
        memcpy(data + (k->patch_at - DATA_BASE), k->patch, k->patch_len);
    put_code(k);
    *state = k->in;
    state->enter[0] = (uint32_t)(k->in.rip - code_base);
    state->enter[1] = k->mode == MODE_16 ? SEL_LDT_CODE16 : SEL_CODE32;
    state->data_sel = k->ldt ? SEL_LDT_DATA : SEL_DATA;
    state->stack_sel = !k->ldt ? SEL_DATA : k->mode == MODE_16 ? SEL_LDT_STACK16 : SEL_LDT_DATA;
    r->vector = LAB_NO_FAULT;
    r->error = 0;
    r->cr2 = 0;
    running_rip = k->in.rip - code_base;
    running_next = running_rip + k->len;
    running_base = code_base;
    running = r;
    lab_enter(k->mode != MODE_64);
    running = NULL;
    if (r->vector == LAB_NO_FAULT && state->rip == k->in.rip)
        state->rip = k->in.rip + k->len;
    else
        state->rip += code_base;
    r->out = *state;
    memset((void *)k->in.rip, 0xcc, clean);
    /* a store may have hit the code pages */
    if (memcmp((void *)CODE_BASE, int3s, sizeof(int3s)))
        memset((void *)CODE_BASE, 0xcc, CODE_PAGES * PAGE);
    lab_collect(data, pristine, r);
}

_Noreturn static void child_main(struct host *h, int go, int back)
{
    int fd = memfd_create("lab-data", 0);
    char byte;

    if (fd < 0 || ftruncate(fd, DATA_PAGES * PAGE))
        die("memfd");
    uint8_t *data = mmap(NULL, DATA_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        die("mmap");
    child_setup(fd);
    while (read(go, &byte, 1) == 1) {
        alarm(20);
        memcpy(data, h->shared->pristine, DATA_PAGES * PAGE);
        while (h->shared->next < h->shared->n) {
            unsigned i = h->shared->next++;
            run_one(&h->cases[i], &h->results[i], data, h->shared->pristine);
            h->shared->done = h->shared->next;
        }
        if (write(back, &byte, 1) != 1)
            break;
    }
    _exit(0);
}

/* ---- the parent ---- */

static void spawn(struct host *h)
{
    int go[2], back[2];
    if (pipe(go) || pipe(back))
        die("pipe");
    fflush(stdout);
    h->child = fork();
    if (h->child < 0)
        die("fork");
    if (h->child == 0) {
        close(go[1]);
        close(back[0]);
        child_main(h, go[0], back[1]);
    }
    close(go[0]);
    close(back[1]);
    h->go = go[1];
    h->back = back[0];
}

struct host *host_open(unsigned batch)
{
    struct host *h = calloc(1, sizeof(*h));
    if (!h)
        die("memory");
    h->batch = batch;
    h->shared = map_shared(sizeof(struct shared));
    h->cases = map_shared(batch * sizeof(struct lab_case));
    h->results = map_shared(batch * sizeof(struct lab_result));
    signal(SIGPIPE, SIG_IGN);
    spawn(h);
    return h;
}

static void reap(struct host *h)
{
    close(h->go);
    close(h->back);
    waitpid(h->child, NULL, 0);
}

void host_close(struct host *h)
{
    reap(h);
    munmap(h->shared, sizeof(struct shared));
    munmap(h->cases, h->batch * sizeof(struct lab_case));
    munmap(h->results, h->batch * sizeof(struct lab_result));
    free(h);
}

struct lab_case *host_cases(struct host *h)
{
    return h->cases;
}

const struct lab_result *host_results(struct host *h)
{
    return h->results;
}

uint8_t *host_pristine(struct host *h)
{
    return h->shared->pristine;
}

static void start(struct host *h)
{
    if (write(h->go, "g", 1) != 1)
        die("child");
}

void host_start(struct host *h, unsigned n)
{
    h->shared->n = n;
    h->shared->next = h->shared->done = 0;
    start(h);
}

void host_wait(struct host *h)
{
    char byte;
    while (read(h->back, &byte, 1) != 1) {
        /* the child died in the case before `next`: go on behind it with a new one */
        reap(h);
        if (h->shared->next > h->shared->done)
            h->results[h->shared->next - 1].vector = LAB_LOST;
        h->shared->done = h->shared->next;
        spawn(h);
        start(h);
    }
}
