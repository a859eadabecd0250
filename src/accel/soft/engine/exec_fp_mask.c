/*
 * exec_fp_mask: vector memory operations whose accesses depend on data: masked moves and gathers. Element by
 * element, so that an element whose mask bit is clear is never touched and a fault is that of the first
 * element that has one.
 */
#include <Zydis/Zydis.h>
#include <string.h>
#include "accel/soft/engine/fp.h"

/* ---- MASKMOVQ, MASKMOVDQU ---- */

/* Bytes of reg[0] go to [rDI] where the top bit of the byte in reg[1] is set (SDM 2B). Whether bytes that are
 * not written may fault is left open there: they do, and the upper half first, as on Intel's processors. */
static void store_masked_bytes(struct cpu *c, const struct insn *in, const uint8_t *data, const uint8_t *mask,
                               unsigned n)
{
    uint64_t di = c->gpr[X86_RDI];
    uint64_t wrap = mask_size(in->adsize);
    for (unsigned i = n; i > 0; i -= 8)
        cpu_probe_write(c, in->seg, (di + i - 8) & wrap, 8);
    for (unsigned i = 0; i < n; i++)
        if (mask[i] & 0x80)
            cpu_store(c, in->seg, (di + i) & wrap, 1, data[i]);
}

static void exec_maskmovdqu(struct cpu *c, const struct insn *in)
{
    if (in->op == ZYDIS_MNEMONIC_VMASKMOVDQU)
        fp_check_vex(c, in);
    else
        fp_check_sse(c, in);
    store_masked_bytes(c, in, c->fpu.ymm[in->reg[0]], c->fpu.ymm[in->reg[1]], 16);
}

static void exec_maskmovq(struct cpu *c, const struct insn *in)
{
    uint8_t data[8], mask[8];
    unsigned top = fpu_top(&c->fpu);
    fp_check_mmx(c, in);
    memcpy(data, c->fpu.st[(in->reg[0] - top) & 7], 8);
    memcpy(mask, c->fpu.st[(in->reg[1] - top) & 7], 8);
    fpu_enter_mmx(&c->fpu); /* stays entered should the store fault */
    store_masked_bytes(c, in, data, mask, 8);
}

/* ---- elements: never subject to #AC, whatever RFLAGS.AC says ---- */

static uint64_t load_element(struct cpu *c, const struct insn *in, uint64_t ea, unsigned size)
{
    uint64_t v = 0;
    if (!(c->rflags & X86_AC))
        return cpu_load(c, in->seg, ea, size);
    for (unsigned i = 0; i < size; i++)
        v |= cpu_load(c, in->seg, (ea + i) & mask_size(in->adsize), 1) << 8 * i;
    return v;
}

static void probe_element(struct cpu *c, const struct insn *in, uint64_t ea, unsigned size)
{
    cpu_probe_write(c, in->seg, ea, 1);
    for (unsigned i = 1; i < size; i++) /* where another page begins, should one do so inside */
        if (cpu_linear(c, in->seg, ea + i) % 4096 == 0)
            cpu_probe_write(c, in->seg, (ea + i) & mask_size(in->adsize), 1);
}

static void store_element(struct cpu *c, const struct insn *in, uint64_t ea, unsigned size, uint64_t v)
{
    if (!(c->rflags & X86_AC)) {
        cpu_store(c, in->seg, ea, size, v);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        cpu_store(c, in->seg, (ea + i) & mask_size(in->adsize), 1, v >> 8 * i & 0xff);
}

/* ---- VMASKMOVPS/PD, VPMASKMOVD/Q ---- */

static unsigned maskmov_element(const struct insn *in)
{
    return in->op == ZYDIS_MNEMONIC_VMASKMOVPD || in->op == ZYDIS_MNEMONIC_VPMASKMOVQ ? 8 : 4;
}

static bool element_on(const uint8_t *mask, unsigned i, unsigned size)
{
    return mask[(i + 1) * size - 1] & 0x80;
}

static void exec_vmaskmov_load(struct cpu *c, const struct insn *in)
{
    uint8_t result[32] = {0};
    unsigned size = maskmov_element(in);
    fp_check_vex(c, in);
    uint64_t ea = insn_ea(c, in), wrap = mask_size(in->adsize);
    const uint8_t *mask = c->fpu.ymm[in->reg[1]];
    for (unsigned i = 0; i * size < in->opsize; i++) {
        if (!element_on(mask, i, size))
            continue;
        uint64_t v = load_element(c, in, (ea + i * size) & wrap, size);
        memcpy(result + i * size, &v, size);
    }
    memcpy(c->fpu.ymm[in->reg[0]], result, 32);
}

static void exec_vmaskmov_store(struct cpu *c, const struct insn *in)
{
    unsigned size = maskmov_element(in);
    fp_check_vex(c, in);
    uint64_t ea = insn_ea(c, in), wrap = mask_size(in->adsize);
    const uint8_t *mask = c->fpu.ymm[in->reg[1]], *data = c->fpu.ymm[in->reg[2]];
    for (unsigned i = 0; i * size < in->opsize; i++)
        if (element_on(mask, i, size))
            probe_element(c, in, (ea + i * size) & wrap, size);
    for (unsigned i = 0; i * size < in->opsize; i++) {
        uint64_t v = 0;
        if (!element_on(mask, i, size))
            continue;
        memcpy(&v, data + i * size, size);
        store_element(c, in, (ea + i * size) & wrap, size, v);
    }
}

/* ---- gathers ---- */

struct gather {
    uint16_t mnemonic;
    uint8_t index, element;
};

static const struct gather gathers[] = {
    {ZYDIS_MNEMONIC_VPGATHERDD, 4, 4}, {ZYDIS_MNEMONIC_VPGATHERDQ, 4, 8}, {ZYDIS_MNEMONIC_VPGATHERQD, 8, 4},
    {ZYDIS_MNEMONIC_VPGATHERQQ, 8, 8}, {ZYDIS_MNEMONIC_VGATHERDPS, 4, 4}, {ZYDIS_MNEMONIC_VGATHERDPD, 4, 8},
    {ZYDIS_MNEMONIC_VGATHERQPS, 8, 4}, {ZYDIS_MNEMONIC_VGATHERQPD, 8, 8},
};

static int64_t index_of(const uint8_t *v, unsigned i, unsigned size)
{
    int64_t q;
    int32_t d;
    if (size == 8) {
        memcpy(&q, v + 8 * i, 8);
        return q;
    }
    memcpy(&d, v + 4 * i, 4);
    return d;
}

/* Elements are gathered from the lowest; what was gathered before a fault is kept, its mask elements cleared,
 * so the instruction can be restarted. Before that each element of the mask is made all of its top bit, and
 * what is above them zero (SDM 2C VPGATHERDD). Destination, mask and index are distinct registers, else #UD.
 */
static void exec_gather(struct cpu *c, const struct insn *in)
{
    const struct gather *g = &gathers[in->imm];
    unsigned dst = in->reg[0], idx = in->reg[1], msk = in->reg[2];
    fp_check_vex(c, in);
    uint8_t *result = c->fpu.ymm[dst], *mask = c->fpu.ymm[msk];
    const uint8_t *index = c->fpu.ymm[idx];
    unsigned count = in->opsize / (g->index > g->element ? g->index : g->element), size = g->element;
    uint64_t base = (uint64_t)in->disp + (in->base < 16 ? c->gpr[in->base] : 0), wrap = mask_size(in->adsize);

    for (unsigned i = 0; i < count; i++)
        memset(mask + i * size, element_on(mask, i, size) ? 0xff : 0, size);
    memset(mask + count * size, 0, 32 - count * size);
    for (unsigned i = 0; i < count; i++) {
        if (element_on(mask, i, size)) {
            uint64_t ea = base + (uint64_t)index_of(index, i, g->index) * in->scale;
            uint64_t v = load_element(c, in, ea & wrap, size);
            memcpy(result + i * size, &v, size);
        }
        memset(mask + i * size, 0, size);
    }
    memset(result + count * size, 0, 32 - count * size);
}

static bool gather_setup(struct insn *out, const ZydisDecodedInstruction *zi)
{
    for (unsigned i = 0; i < sizeof gathers / sizeof *gathers; i++) {
        if (gathers[i].mnemonic != zi->mnemonic)
            continue;
        out->opsize = zi->raw.vex.L ? 32 : 16; /* a narrow destination is named as less */
        bool distinct =
            out->reg[0] != out->reg[1] && out->reg[0] != out->reg[2] && out->reg[1] != out->reg[2];
        out->exec = distinct ? exec_gather : exec_ud;
        out->imm = i;
        return true;
    }
    return false;
}

bool fp_mask_setup(struct insn *out, const void *zi_, const void *ops_)
{
    const ZydisDecodedInstruction *zi = zi_;
    (void)ops_;
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
        out->exec = exec_maskmovdqu;
        return true;
    case ZYDIS_MNEMONIC_MASKMOVQ:
        out->exec = exec_maskmovq;
        return true;
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
        out->exec = out->kind[0] == OPD_MEM ? exec_vmaskmov_store : exec_vmaskmov_load;
        return true;
    default:
        return gather_setup(out, zi);
    }
}
