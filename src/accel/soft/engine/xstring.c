/*
 * xstring: STOS and MOVS. Repeated ones are pieces of the host's own, each as long as both pages allow; a
 * piece that the fast TLB does not know, and DF, are for the interpreter, which goes on from where the
 * registers are.
 */
#include <stddef.h>
#include "accel/soft/engine/xmake.h"

enum { STOS, MOVS };

static unsigned shift_of(const struct xinsn *x)
{
    switch (x->zi.mnemonic) {
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_MOVSB:
        return 0;
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_MOVSW:
        return 1;
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_MOVSD:
        return 2;
    default:
        return 3;
    }
}

static bool moves(const struct xinsn *x)
{
    switch (x->zi.mnemonic) {
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSD:
    case ZYDIS_MNEMONIC_MOVSQ:
        return true;
    default:
        return false;
    }
}

/* Prefixes and opcode of an element of 1 << shift bytes, opcode + 1 being that of the wide forms. */
static void sized(struct xemit *e, unsigned shift, unsigned rex, unsigned opcode)
{
    if (shift == 1)
        x8(e, 0x66);
    if (shift == 3)
        rex |= 0x48;
    if (rex)
        x8(e, rex | 0x40);
    x8(e, shift ? opcode + 1 : opcode);
}

void xmake_string(struct maker *m, unsigned index)
{
    struct xemit *e = &m->e;
    const struct xinsn *x = &m->insn[index];
    unsigned shift = shift_of(x), n = 1u << shift;
    bool mov = moves(x);

    xmake_spoil_flags(m);
    x_gs_test(e, XOFF(rflags), X86_DF);
    x_jcc(e, CC_NE);
    xmake_stub(m, STUB_SLOW, index);
    if (x->zi.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) {
        x_call_to(e, m->k->glue.string[m->u->set][(mov ? MOVS : STOS) * 4 + shift]);
        x_jcc(e, CC_B);
        xmake_stub(m, STUB_SLOW, index);
        return;
    }
    if (mov) {
        x_mov(e, H_R10, H_RSI);
        xmake_probe(m, index, n, false, 1);
        sized(e, shift, 5, 0x8a); /* mov r11, [r10] */
        x8(e, 0x1a);
        x_store(e, H_R11, XOFF(x.target));
    }
    x_mov(e, H_R10, H_RDI);
    xmake_probe(m, index, n, true, 1);
    if (mov)
        x_load(e, H_R11, XOFF(x.target));
    sized(e, shift, mov ? 5 : 1, 0x88); /* mov [r10], r11 or rax */
    x8(e, mov ? 0x1a : 0x02);
    x_lea(e, true, H_RDI, H_RDI, 0xff, 1, (int32_t)n);
    if (mov)
        x_lea(e, true, H_RSI, H_RSI, 0xff, 1, (int32_t)n);
}

/* ---- the glue ---- */

/* RDX = the smaller one of RDX and R10 or RCX, unsigned */
static void at_most_r10(struct xemit *e)
{
    XB(e, 0x4c, 0x39, 0xd2, 0x49, 0x0f, 0x47, 0xd2); /* cmp rdx, r10; cmova rdx, r10 */
}
static void at_most_rcx(struct xemit *e)
{
    XB(e, 0x48, 0x39, 0xca, 0x48, 0x0f, 0x47, 0xd1); /* cmp rdx, rcx; cmova rdx, rcx */
}

/* r10 = 4096 - r10 */
static void rest_of_page(struct xemit *e)
{
    XB(e, 0x49, 0xf7, 0xda, 0x49, 0x81, 0xc2); /* neg r10; add r10, 4096 */
    x32(e, 4096);
}

static uint64_t repeated(const struct xcache *k, struct xemit *e, unsigned set, bool mov, unsigned shift)
{
    enum { RDX_WAS, LEFT, SOURCE, RSI_NEXT };
    uint64_t at = xglue_align(e);
    unsigned n = 1u << shift;
    uint8_t *fail[2], *done, *wanted;

    XB(e, 0x48, 0x85, 0xc9); /* test rcx, rcx */
    uint8_t *none = x_jcc(e, CC_E);
    uint64_t again = xhere(e);
    x_store(e, H_RDX, XOFF(x.scratch[RDX_WAS]));
    x_mov_imm(e, H_RDX, 4096);
    if (mov) {
        x_mov(e, H_R10, H_RSI);
        xprobe_begin(e, k, set, n, false);
        fail[0] = x_jcc(e, CC_A);
        XB(e, 0x4c, 0x29, 0xd2); /* sub rdx, r10 */
        xprobe_end(e, set);
        x_store(e, H_R10, XOFF(x.scratch[SOURCE]));
    }
    x_mov(e, H_R10, H_RDI);
    xprobe_begin(e, k, set, n, true);
    fail[1] = x_jcc(e, CC_A);
    rest_of_page(e);
    at_most_r10(e);
    rest_of_page(e);
    xprobe_end(e, set);
    if (shift)
        XB(e, 0x48, 0xc1, 0xea, (uint8_t)shift); /* shr rdx, .. */
    at_most_rcx(e);
    XB(e, 0x48, 0x29, 0xd1); /* sub rcx, rdx */
    x_store(e, H_RCX, XOFF(x.scratch[LEFT]));
    x_mov(e, H_RCX, H_RDX);
    if (mov) {
        x_lea(e, true, H_RSI, H_RSI, H_RDX, n, 0);
        x_store(e, H_RSI, XOFF(x.scratch[RSI_NEXT]));
        x_load(e, H_RSI, XOFF(x.scratch[SOURCE]));
    }
    x_lea(e, true, H_RDX, H_RDI, H_RDX, n, 0);
    x_mov(e, H_RDI, H_R10);
    x8(e, 0xf3);
    sized(e, shift, 0, mov ? 0xa4 : 0xaa); /* rep movs or stos */
    x_mov(e, H_RDI, H_RDX);
    if (mov)
        x_load(e, H_RSI, XOFF(x.scratch[RSI_NEXT]));
    x_load(e, H_RDX, XOFF(x.scratch[RDX_WAS]));
    x_load(e, H_RCX, XOFF(x.scratch[LEFT]));
    XB(e, 0x48, 0x85, 0xc9); /* test rcx, rcx */
    done = x_jcc(e, CC_E);
    x_gs_cmp32(e, XOFF(x.poll), 0);
    wanted = x_jcc(e, CC_NE);
    x_jmp_to(e, again);
    x_patch(e, done);
    x_patch(e, none);
    XB(e, 0xf8, 0xc3); /* clc; ret */
    if (mov)
        x_patch(e, fail[0]);
    x_patch(e, fail[1]);
    x_load(e, H_RDX, XOFF(x.scratch[RDX_WAS]));
    x_patch(e, wanted);
    XB(e, 0xf9, 0xc3); /* stc; ret */
    return at;
}

void xglue_strings(struct xcache *k, struct xemit *e)
{
    for (unsigned set = 0; set < FTLB_SETS; set++)
        for (unsigned i = 0; i < XSTRINGS; i++)
            k->glue.string[set][i] = repeated(k, e, set, i / 4 == MOVS, i % 4);
}
