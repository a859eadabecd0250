/*
 * xiret: IRET of 64-bit mode from CPL 0, the ordinary case: to code and stack whose descriptors are flat, as
 * all systems have them, at CPL 0 or 3. It looks at the descriptors in memory as the processor does; whatever
 * is not as usual (also flags that change how code runs) is left to the interpreter, with nothing changed.
 * SDM 2A IRET; 3A 5.8.
 */
#include <stddef.h>
#include "accel/soft/engine/xmake.h"

enum {
    STATUS = X86_ARITH_FLAGS,
    UNUSUAL = X86_TF | X86_NT | X86_VM | X86_AC | X86_VIF | X86_VIP,
    LOADED = STATUS | X86_IF | X86_DF | X86_IOPL | X86_ID,
    OFF_RIP = 0,
    OFF_CS = 8,
    OFF_FLAGS = 16,
    OFF_RSP = 24,
    OFF_SS = 32,
    FAILS = 48
};

/* Descriptors, present and accessed: base 0, limit 4 GiB; those of DPL 3 differ in two bits. */
#define FLAT_CODE 0x00af9b000000ffffull
#define FLAT_DATA 0x00cf93000000ffffull
#define FLAT_DPL3 (3ull << 45)

struct iret {
    struct xemit *e;
    const struct xcache *k;
    unsigned set;
    uint8_t *fail[FAILS];
    unsigned fails;
};

static void fail_if(struct iret *i, unsigned cc)
{
    i->fail[i->fails++] = x_jcc(i->e, cc);
}

static void fail_unless_byte(struct iret *i, uint32_t at, uint8_t value)
{
    XB(i->e, 0x65, 0x80, 0x3c, 0x25); /* cmp byte gs:[..], imm8 */
    x32(i->e, at);
    x8(i->e, value);
    fail_if(i, CC_NE);
}

/* The descriptor of the selector in EAX is `want`, in the GDT. Spoils RCX and RDX. */
static void check_descriptor(struct iret *i, uint64_t want)
{
    struct xemit *e = i->e;
    uint32_t table =
        XOFF(x.ftlb) + i->set * (uint32_t)sizeof(struct ftlb) + (uint32_t)offsetof(struct ftlb, e);

    XB(e, 0xa8, 0x04); /* test al, 4 */
    fail_if(i, CC_NE);
    XB(e, 0x89, 0xc1, 0x83, 0xc9, 0x07); /* mov ecx, eax; or ecx, 7 */
    XB(e, 0x65, 0x0f, 0xb7, 0x14, 0x25); /* movzx edx, word gs:[..] */
    x32(e, XOFF(gdtr) + (uint32_t)offsetof(struct x86_dtable, limit));
    XB(e, 0x39, 0xd1); /* cmp ecx, edx */
    fail_if(i, CC_A);
    XB(e, 0x83, 0xe1, 0xf8); /* and ecx, -8 */
    x_gs(e, true, 0x03, H_RCX, XOFF(gdtr) + (uint32_t)offsetof(struct x86_dtable, base));
    XB(e, 0x48, 0x89, 0xca, 0x48, 0xc1, 0xea, 12 - FTLB_SHIFT); /* mov rdx, rcx; shr rdx, .. */
    XB(e, 0x81, 0xe2);                                          /* and edx, .. */
    x32(e, (FTLB_SIZE - 1) << FTLB_SHIFT);
    x_gs_base(e, 0x2b, H_RCX, H_RDX,
              table + (uint32_t)offsetof(struct ftlb_entry, read)); /* sub rcx, gs:[rdx + ..] */
    XB(e, 0x48, 0x81, 0xf9);                                        /* cmp rcx, 4096 - 8 */
    x32(e, 4096 - 8);
    fail_if(i, CC_A);
    x_gs_base(e, 0x03, H_RCX, H_RDX, table + (uint32_t)offsetof(struct ftlb_entry, host)); /* add */
    x_mov_imm(e, H_RDX, want);
    XB(e, 0x48, 0x39, 0x11); /* cmp [rcx], rdx */
    fail_if(i, CC_NE);
}

/* movzx eax, word [r10 + at] */
static void load_selector(struct iret *i, unsigned at)
{
    XB(i->e, 0x41, 0x0f, 0xb7, 0x42, (uint8_t)at);
}

/* The register becomes that of limit and attributes in RAX, selector in [R10 + at]. */
static void load_segment(struct iret *i, unsigned seg, unsigned at)
{
    _Static_assert(offsetof(struct x86_seg, attr) == offsetof(struct x86_seg, limit) + 4, "one word");
    _Static_assert(sizeof(struct x86_seg) == offsetof(struct x86_seg, sel) + 8, "one word");
    x_gs_zero(i->e, xseg(seg, offsetof(struct x86_seg, base)));
    x_store(i->e, H_RAX, xseg(seg, offsetof(struct x86_seg, limit)));
    load_selector(i, at);
    x_store(i->e, H_RAX, xseg(seg, offsetof(struct x86_seg, sel)));
}

static uint64_t flat(bool code, unsigned dpl)
{
    uint64_t attr =
        (code ? 0xbu | X86_SEG_L : 0x3u | X86_SEG_DB) | X86_SEG_S | dpl << 5 | X86_SEG_P | X86_SEG_G;
    return attr << 32 | 0xffffffff;
}

/* A segment register that a return to CPL 3 leaves alone. */
static void check_null(struct iret *i, unsigned seg)
{
    XB(i->e, 0x65, 0x66, 0x83, 0x3c, 0x25); /* cmp word gs:[..], 0 */
    x32(i->e, xseg(seg, offsetof(struct x86_seg, sel)));
    x8(i->e, 0);
    fail_if(i, CC_NE);
    x_gs_test(i->e, xseg(seg, offsetof(struct x86_seg, attr)), X86_SEG_UNUSABLE);
    fail_if(i, CC_E);
}

/* Nothing can fail any more: flags (R11), stack pointer, and away. */
static void leave(struct iret *i, unsigned cpl)
{
    struct xemit *e = i->e;

    x_gs_byte(e, XOFF(cpl), cpl);
    XB(e, 0x44, 0x89, 0xd8, 0x25); /* mov eax, r11d; and eax, .. */
    x32(e, LOADED);
    XB(e, 0x83, 0xc8, 0x02); /* or eax, 2 */
    x_store(e, H_RAX, XOFF(rflags));
    x8(e, 0x25); /* and eax, .. */
    x32(e, STATUS);
    XB(e, 0x48, 0x89, 0x44, 0x24, 0x08); /* mov [rsp + 8], rax: the slot */
    XB(e, 0xf0, 0x83, 0x0c, 0x24, 0x00); /* lock or dword [rsp], 0: it serializes */
    XB(e, 0x4d, 0x8b, 0x7a, OFF_RSP, 0x4d, 0x8b, 0x52,
       OFF_RIP); /* mov r15, [r10 + ..]; mov r10, [r10 + ..] */
    x_load(e, H_RAX, XOFF(x.scratch[0]));
    x_load(e, H_RCX, XOFF(x.scratch[1]));
    x_load(e, H_RDX, XOFF(x.scratch[2]));
    x_lea(e, true, H_RSP, H_RSP, 0xff, 1, 8);
    if (cpl) {
        xglue_enter_set(e, i->k, TLB_USER);
        return;
    }
    x_gs_test(e, XOFF(cr4), CR4_SMAP); /* AC is clear */
    uint8_t *no_smap = x_jcc(e, CC_E);
    xglue_enter_set(e, i->k, TLB_SUPER_SMAP);
    x_patch(e, no_smap);
    xglue_enter_set(e, i->k, TLB_SUPER);
}

static void to_user(struct iret *i)
{
    struct xemit *e = i->e;

    XB(e, 0x83, 0xf9, 0x03); /* cmp ecx, 3 */
    fail_if(i, CC_NE);
    check_descriptor(i, FLAT_CODE | FLAT_DPL3);
    load_selector(i, OFF_SS);
    XB(e, 0x89, 0xc1, 0x83, 0xe1, 0x03, 0x83, 0xf9, 0x03); /* mov ecx, eax; and ecx, 3; cmp ecx, 3 */
    fail_if(i, CC_NE);
    check_descriptor(i, FLAT_DATA | FLAT_DPL3);
    check_null(i, X86_ES);
    check_null(i, X86_DS);
    check_null(i, X86_FS);
    check_null(i, X86_GS);
    x_mov_imm(e, H_RAX, flat(true, 3));
    load_segment(i, X86_CS, OFF_CS);
    x_mov_imm(e, H_RAX, flat(false, 3));
    load_segment(i, X86_SS, OFF_SS);
    leave(i, 3);
}

static void to_kernel(struct iret *i)
{
    struct xemit *e = i->e;

    check_descriptor(i, FLAT_CODE);
    load_selector(i, OFF_SS);
    XB(e, 0x85, 0xc0); /* test eax, eax */
    uint8_t *null = x_jcc(e, CC_E);
    XB(e, 0xa8, 0x03); /* test al, 3 */
    fail_if(i, CC_NE);
    check_descriptor(i, FLAT_DATA);
    x_mov_imm(e, H_RAX, flat(false, 0));
    uint8_t *both = x_jump(e);
    x_patch(e, null);
    x_mov_imm(e, H_RAX, (uint64_t)X86_SEG_UNUSABLE << 32);
    x_patch(e, both);
    load_segment(i, X86_SS, OFF_SS);
    x_mov_imm(e, H_RAX, flat(true, 0));
    load_segment(i, X86_CS, OFF_CS);
    leave(i, 0);
}

static uint64_t make(const struct xcache *k, struct xemit *e, unsigned set)
{
    struct iret i = {.e = e, .k = k, .set = set};
    uint64_t at = xglue_align(e);

    x_store(e, H_RAX, XOFF(x.scratch[0]));
    x_store(e, H_RCX, XOFF(x.scratch[1]));
    x_store(e, H_RDX, XOFF(x.scratch[2]));
    x_gs_test(e, XOFF(rflags), X86_NT);
    fail_if(&i, CC_NE);
    x_gs_cmp32(e, XOFF(attention), 0);
    fail_if(&i, CC_NE);
    fail_unless_byte(&i, XOFF(nmi_masked), 0);
    XB(e, 0x4d, 0x8b, 0x5a, OFF_FLAGS, 0x41, 0xf7, 0xc3); /* mov r11, [r10 + ..]; test r11d, .. */
    x32(e, UNUSUAL);
    fail_if(&i, CC_NE);
    /* RF hides instruction breakpoints at the first instruction: it is nobody's when there are none */
    XB(e, 0x41, 0xf7, 0xc3); /* test r11d, .. */
    x32(e, X86_RF);
    uint8_t *no_rf = x_jcc(e, CC_E);
    x_load(e, H_RAX, XOFF(priv));
    XB(e, 0x80, 0xb8); /* cmp byte [rax + ..], 0 */
    x32(e, offsetof(struct cpu_private, break_armed));
    x8(e, 0);
    fail_if(&i, CC_NE);
    x_load(e, H_RAX, XOFF(icount)); /* who stops behind it sees RF */
    x_gs(e, true, 0x3b, H_RAX, XOFF(x.stop_at));
    fail_if(&i, CC_AE);
    x_patch(e, no_rf);
    XB(e, 0x49, 0x8b, 0x42, OFF_RIP, 0x48, 0xc1, 0xf8, 0x2f); /* mov rax, [r10 + ..]; sar rax, 47 */
    XB(e, 0x48, 0xff, 0xc0, 0x48, 0x83, 0xf8, 0x01);          /* inc rax; cmp rax, 1: canonical */
    fail_if(&i, CC_A);
    load_selector(&i, OFF_CS);
    XB(e, 0x89, 0xc1, 0x83, 0xe1, 0x03); /* mov ecx, eax; and ecx, 3 */
    uint8_t *user = x_jcc(e, CC_NE);
    to_kernel(&i);
    x_patch(e, user);
    to_user(&i);
    for (unsigned n = 0; n < i.fails; n++)
        x_patch(e, i.fail[n]);
    x_load(e, H_RAX, XOFF(x.scratch[0]));
    x_load(e, H_RCX, XOFF(x.scratch[1]));
    x_load(e, H_RDX, XOFF(x.scratch[2]));
    x8(e, 0xc3); /* ret */
    return at;
}

void xglue_iret(struct xcache *k, struct xemit *e)
{
    for (unsigned set = 0; set < FTLB_SETS; set++)
        k->glue.iret[set] = make(k, e, set);
}
