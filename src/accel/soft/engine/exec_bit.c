/*
 * exec_bit: BT, BTS, BTR, BTC, BSF, BSR, TZCNT, LZCNT, POPCNT, CRC32, ADCX, ADOX, RDRAND, RDSEED.
 */
#include "accel/soft/engine/exec_int.h"

/* ---- bit test: ops by number ---- */

enum { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT };

static uint64_t change_bit(struct cpu *c, const struct insn *in, uint64_t old, void *arg)
{
    unsigned bit = *(const unsigned *)arg;
    uint64_t m = 1ull << bit;

    /* CF is the bit; ZF stays; OF, SF, AF and PF are undefined and stay */
    flags_set(c, X86_CF, (old >> bit) & 1);
    switch (in->op) {
    case BIT_SET:
        return old | m;
    case BIT_RESET:
        return old & ~m;
    case BIT_COMPLEMENT:
        return old ^ m;
    default:
        return old;
    }
}

static void exec_bit(struct cpu *c, const struct insn *in)
{
    unsigned bit = (unsigned)insn_get(c, in, 1) & (in->opsize * 8u - 1);
    if (in->op == BIT_TEST)
        change_bit(c, in, insn_get(c, in, 0), &bit);
    else
        change_operand(c, in, change_bit, &bit);
}

/* A register bit offset reaches any bit string address: the operand moves by whole operands, signed (SDM 2A
 * BT). */
static void exec_bit_string(struct cpu *c, const struct insn *in)
{
    unsigned shift = 64 - in->opsize * 8;
    int64_t offset = (int64_t)(insn_get(c, in, 1) << shift) >> shift;
    unsigned bit = (unsigned)offset & (in->opsize * 8u - 1);
    struct insn moved = *in;

    if (SEED_BUG(4))
        offset = (int64_t)((uint64_t)offset & 0xffff);
    moved.disp += (offset >> (3 + size_index(in->opsize))) * in->opsize;
    if (in->op == BIT_TEST)
        change_bit(c, &moved, mem_get(c, &moved, in->opsize), &bit);
    else
        change_operand(c, &moved, change_bit, &bit);
}

/* ---- bit scan ---- */

/* With a source of zero the destination stays as it was, 32 bits of it zero-extended or not as processors
 * differ: it is left alone. */
/* By the host, with the guest's flags: the operation's own sizes, since a flag may depend on them. */
#define DEFINE_SCAN(name, size, T)                                                                           \
    static uint64_t name##_##size(uint32_t *ax, uint64_t old, uint64_t from)                                 \
    {                                                                                                        \
        T a = (T)old;                                                                                        \
        uint32_t f = *ax;                                                                                    \
        __asm__(FLAGS_IN #name " %[b], %[a]" FLAGS_OUT : [a] "+&r"(a), "+&a"(f) : [b] "r"((T)from) : "cc");  \
        *ax = f;                                                                                             \
        return a;                                                                                            \
    }

#define DEFINE_SCANS(name)                                                                                   \
    DEFINE_SCAN(name, 2, uint16_t)                                                                           \
    DEFINE_SCAN(name, 4, uint32_t)                                                                           \
    DEFINE_SCAN(name, 8, uint64_t)

DEFINE_SCANS(bsf)
DEFINE_SCANS(bsr)
DEFINE_SCANS(tzcnt)
DEFINE_SCANS(lzcnt)

enum scan { BSF, BSR, TZCNT, LZCNT };
typedef uint64_t scan_fn(uint32_t *ax, uint64_t old, uint64_t from);
static scan_fn *const scans[4][4] = {{NULL, bsf_2, bsf_4, bsf_8},
                                     {NULL, bsr_2, bsr_4, bsr_8},
                                     {NULL, tzcnt_2, tzcnt_4, tzcnt_8},
                                     {NULL, lzcnt_2, lzcnt_4, lzcnt_8}};

static void scan(struct cpu *c, const struct insn *in, enum scan what)
{
    uint64_t from = insn_get(c, in, 1);
    uint32_t ax = flags_pack(c->rflags);
    uint64_t v = scans[what][size_index(in->opsize)](&ax, 0, from);

    flags_unpack(c, ax);
    if (from || what >= TZCNT) /* BSF and BSR of 0 leave the register alone, its upper half, too */
        insn_set_reg(c, in, 0, v);
}

static void exec_bsf(struct cpu *c, const struct insn *in)
{
    scan(c, in, BSF);
}

static void exec_bsr(struct cpu *c, const struct insn *in)
{
    scan(c, in, BSR);
}

/* Without their feature TZCNT and LZCNT are BSF and BSR with an ignored prefix (SDM 2B). */
static void exec_tzcnt(struct cpu *c, const struct insn *in)
{
    scan(c, in, cpu_has(c, FEAT_BMI1) ? TZCNT : BSF);
}

static void exec_lzcnt(struct cpu *c, const struct insn *in)
{
    scan(c, in, cpu_has(c, FEAT_ABM) ? LZCNT : BSR);
}

static void exec_popcnt(struct cpu *c, const struct insn *in)
{
    need_feature(c, FEAT_POPCNT);
    uint64_t v = insn_get(c, in, 1);
    flags_set(c, X86_ARITH_FLAGS, v ? 0 : X86_ZF);
    insn_set_reg(c, in, 0, (uint64_t)__builtin_popcountll(v));
}

/* ---- CRC32: the Castagnoli polynomial, reflected (SDM 2A CRC32) ---- */

static void exec_crc32(struct cpu *c, const struct insn *in)
{
    need_feature(c, FEAT_SSE42);
    unsigned size = in->memsize; /* of the source, register or memory */
    uint64_t v = in->kind[1] == OPD_MEM ? mem_get(c, in, size) : reg_get(c, in, 1, size);
    uint32_t crc = (uint32_t)c->gpr[in->reg[0]];

    for (unsigned i = 0; i < size; i++, v >>= 8) {
        crc ^= (uint32_t)v & 0xff;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    c->gpr[in->reg[0]] = crc;
}

/* ---- ADCX, ADOX: addition with one flag as carry ---- */

static void add_with_flag(struct cpu *c, const struct insn *in, uint64_t flag)
{
    need_feature(c, FEAT_ADX);
    uint64_t b = insn_get(c, in, 1), a = insn_get(c, in, 0);
    unsigned __int128 sum = (unsigned __int128)a + b + (c->rflags & flag ? 1 : 0);
    flags_set(c, flag, sum >> (in->opsize * 8) ? flag : 0);
    insn_set_reg(c, in, 0, (uint64_t)sum);
}

static void exec_adcx(struct cpu *c, const struct insn *in)
{
    add_with_flag(c, in, X86_CF);
}

static void exec_adox(struct cpu *c, const struct insn *in)
{
    add_with_flag(c, in, X86_OF);
}

/* ---- random numbers: the host's own instruction. A guest has the feature only where the host does ---- */

static void set_random(struct cpu *c, const struct insn *in, uint64_t v, bool ok)
{
    insn_set_reg(c, in, 0, ok ? v : 0);
    flags_set(c, X86_ARITH_FLAGS, ok ? X86_CF : 0);
}

static void exec_rdrand(struct cpu *c, const struct insn *in)
{
    uint64_t v;
    bool ok;
    need_feature(c, FEAT_RDRAND);
    __asm__ volatile("rdrand %0" : "=r"(v), "=@ccc"(ok));
    set_random(c, in, v, ok);
}

static void exec_rdseed(struct cpu *c, const struct insn *in)
{
    uint64_t v;
    bool ok;
    need_feature(c, FEAT_RDSEED);
    __asm__ volatile("rdseed %0" : "=r"(v), "=@ccc"(ok));
    set_random(c, in, v, ok);
}

static bool setup_bit_test(struct insn *out, uint16_t op)
{
    out->op = op;
    out->exec = out->kind[0] == OPD_MEM && out->kind[1] == OPD_REG ? exec_bit_string : exec_bit;
    return true;
}

bool exec_bit_setup(struct insn *out, const ZydisDecodedOperand *ops)
{
    switch (out->op) {
    case ZYDIS_MNEMONIC_BT:
        return setup_bit_test(out, BIT_TEST);
    case ZYDIS_MNEMONIC_BTS:
        return setup_bit_test(out, BIT_SET);
    case ZYDIS_MNEMONIC_BTR:
        return setup_bit_test(out, BIT_RESET);
    case ZYDIS_MNEMONIC_BTC:
        return setup_bit_test(out, BIT_COMPLEMENT);
    case ZYDIS_MNEMONIC_BSF:
        out->exec = exec_bsf;
        return true;
    case ZYDIS_MNEMONIC_BSR:
        out->exec = exec_bsr;
        return true;
    case ZYDIS_MNEMONIC_TZCNT:
        out->exec = exec_tzcnt;
        return true;
    case ZYDIS_MNEMONIC_LZCNT:
        out->exec = exec_lzcnt;
        return true;
    case ZYDIS_MNEMONIC_POPCNT:
        out->exec = exec_popcnt;
        return true;
    case ZYDIS_MNEMONIC_CRC32:
        out->memsize = (uint8_t)(ops[1].size / 8);
        out->exec = exec_crc32;
        return true;
    case ZYDIS_MNEMONIC_ADCX:
        out->exec = exec_adcx;
        return true;
    case ZYDIS_MNEMONIC_ADOX:
        out->exec = exec_adox;
        return true;
    case ZYDIS_MNEMONIC_RDRAND:
        out->exec = exec_rdrand;
        return true;
    case ZYDIS_MNEMONIC_RDSEED:
        out->exec = exec_rdseed;
        return true;
    default:
        return false;
    }
}
