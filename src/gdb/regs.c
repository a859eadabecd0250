/*
 * The register file: names and order as GDB's standard features org.gnu.gdb.i386.core, .sse and .segments
 * want them, and the system registers in a feature of our own.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "base/range.h"
#include "gdb/internal.h"
#include "x86/regs.h"

enum reg_kind { R_FIELD, R_ST, R_XMM, R_FTAG, R_MSR };

struct reg {
    const char *name, *type;
    uint8_t bytes, field_size; /* on the wire; in struct x86_state */
    enum reg_kind kind;
    size_t offset; /* of the field; index of ST and XMM; number of the MSR */
};

#define AT(member) offsetof(struct x86_state, member)
#define G(name, i)                                                                                           \
    {                                                                                                        \
        name, "int64", 8, 8, R_FIELD, AT(gpr[i])                                                             \
    }
#define GP(name, i)                                                                                          \
    {                                                                                                        \
        name, "data_ptr", 8, 8, R_FIELD, AT(gpr[i])                                                          \
    }
#define SEG(name, i)                                                                                         \
    {                                                                                                        \
        name, "int32", 4, 2, R_FIELD, AT(seg[i].sel)                                                         \
    }
#define ST(n)                                                                                                \
    {                                                                                                        \
        "st" #n, "i387_ext", 10, 10, R_ST, n                                                                 \
    }
#define XMM(n)                                                                                               \
    {                                                                                                        \
        "xmm" #n, "vec128", 16, 16, R_XMM, n                                                                 \
    }
#define F(name, member)                                                                                      \
    {                                                                                                        \
        name, "int", 4, sizeof(((struct x86_state *)0)->member), R_FIELD, AT(member)                         \
    }
#define SYS(name, member)                                                                                    \
    {                                                                                                        \
        name, "int64", 8, 8, R_FIELD, AT(member)                                                             \
    }

static const struct reg regs[] = {
    G("rax", 0),
    G("rbx", 3),
    G("rcx", 1),
    G("rdx", 2),
    G("rsi", 6),
    G("rdi", 7),
    GP("rbp", 5),
    GP("rsp", 4),
    G("r8", 8),
    G("r9", 9),
    G("r10", 10),
    G("r11", 11),
    G("r12", 12),
    G("r13", 13),
    G("r14", 14),
    G("r15", 15),
    {"rip", "code_ptr", 8, 8, R_FIELD, AT(rip)},
    {"eflags", "i386_eflags", 4, 8, R_FIELD, AT(rflags)},
    SEG("cs", X86_CS),
    SEG("ss", X86_SS),
    SEG("ds", X86_DS),
    SEG("es", X86_ES),
    SEG("fs", X86_FS),
    SEG("gs", X86_GS),
    ST(0),
    ST(1),
    ST(2),
    ST(3),
    ST(4),
    ST(5),
    ST(6),
    ST(7),
    F("fctrl", fpu.fcw),
    F("fstat", fpu.fsw),
    {"ftag", "int", 4, 2, R_FTAG, 0},
    F("fiseg", fpu.fcs),
    {"fioff", "int", 4, 4, R_FIELD, AT(fpu.fip)},
    F("foseg", fpu.fds),
    {"fooff", "int", 4, 4, R_FIELD, AT(fpu.fdp)},
    F("fop", fpu.fop),
    XMM(0),
    XMM(1),
    XMM(2),
    XMM(3),
    XMM(4),
    XMM(5),
    XMM(6),
    XMM(7),
    XMM(8),
    XMM(9),
    XMM(10),
    XMM(11),
    XMM(12),
    XMM(13),
    XMM(14),
    XMM(15),
    {"mxcsr", "i386_mxcsr", 4, 4, R_FIELD, AT(fpu.mxcsr)},
    SYS("fs_base", seg[X86_FS].base),
    SYS("gs_base", seg[X86_GS].base),
    {"k_gs_base", "int64", 8, 8, R_MSR, MSR_KERNEL_GS_BASE},
    SYS("cr0", cr0),
    SYS("cr2", cr2),
    SYS("cr3", cr3),
    SYS("cr4", cr4),
    SYS("cr8", cr8),
    SYS("efer", efer),
};

enum { FIRST_SSE = 40, FIRST_SEGMENTS = 57, FIRST_SYSTEM = 59 };

static const char core_head[] =
    "<feature name=\"org.gnu.gdb.i386.core\"><flags id=\"i386_eflags\" size=\"4\">"
    "<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/><field name=\"PF\" "
    "start=\"2\" end=\"2\"/>"
    "<field name=\"AF\" start=\"4\" end=\"4\"/><field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" "
    "start=\"7\" end=\"7\"/>"
    "<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/><field name=\"DF\" "
    "start=\"10\" end=\"10\"/>"
    "<field name=\"OF\" start=\"11\" end=\"11\"/><field name=\"NT\" start=\"14\" end=\"14\"/><field "
    "name=\"RF\" start=\"16\" end=\"16\"/>"
    "<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/></flags>";
static const char sse_head[] =
    "</feature><feature name=\"org.gnu.gdb.i386.sse\"><vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/><vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
    "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/><vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
    "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/><union id=\"vec128\"><field name=\"v4_float\" "
    "type=\"v4f\"/>"
    "<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/><field "
    "name=\"v8_int16\" type=\"v8i16\"/>"
    "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/><field "
    "name=\"uint128\" type=\"uint128\"/>"
    "</union><flags id=\"i386_mxcsr\" size=\"4\"><field name=\"IE\" start=\"0\" end=\"0\"/><field "
    "name=\"DE\" start=\"1\" end=\"1\"/>"
    "<field name=\"ZE\" start=\"2\" end=\"2\"/><field name=\"OE\" start=\"3\" end=\"3\"/><field name=\"UE\" "
    "start=\"4\" end=\"4\"/>"
    "<field name=\"PE\" start=\"5\" end=\"5\"/><field name=\"DAZ\" start=\"6\" end=\"6\"/><field name=\"IM\" "
    "start=\"7\" end=\"7\"/>"
    "<field name=\"DM\" start=\"8\" end=\"8\"/><field name=\"ZM\" start=\"9\" end=\"9\"/><field name=\"OM\" "
    "start=\"10\" end=\"10\"/>"
    "<field name=\"UM\" start=\"11\" end=\"11\"/><field name=\"PM\" start=\"12\" end=\"12\"/><field "
    "name=\"FZ\" start=\"15\" end=\"15\"/>"
    "</flags>";

static void put_regs(struct buf *b, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        buf_printf(b, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"/>", regs[i].name,
                   regs[i].bytes * 8u, regs[i].type, i);
}

void gdb_target_xml(struct buf *b)
{
    buf_printf(b,
               "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>"
               "<architecture>i386:x86-64</architecture>%s",
               core_head);
    put_regs(b, 0, FIRST_SSE);
    buf_printf(b, "%s", sse_head);
    put_regs(b, FIRST_SSE, FIRST_SEGMENTS);
    buf_printf(b, "</feature><feature name=\"org.gnu.gdb.i386.segments\">");
    put_regs(b, FIRST_SEGMENTS, FIRST_SYSTEM);
    buf_printf(b, "</feature><feature name=\"org.liege.system\">");
    put_regs(b, FIRST_SYSTEM, ARRAY_LEN(regs));
    buf_printf(b, "</feature></target>");
}

unsigned gdb_reg_count(void)
{
    return ARRAY_LEN(regs);
}

size_t gdb_reg_size(unsigned reg)
{
    return reg < ARRAY_LEN(regs) ? regs[reg].bytes : 0;
}

/* The full tag word as GDB shows it, from the abridged one: empty is 3; the others say 0 (valid) without
 * looking at the contents. */
static uint16_t full_tag(uint8_t abridged)
{
    uint16_t tag = 0;
    for (unsigned i = 0; i < 8; i++)
        if (!(abridged >> i & 1))
            tag |= (uint16_t)(3u << i * 2);
    return tag;
}

size_t gdb_reg_get(const struct x86_state *s, unsigned reg, uint8_t out[16])
{
    if (reg >= ARRAY_LEN(regs))
        return 0;
    const struct reg *r = &regs[reg];
    uint64_t v;
    memset(out, 0, 16);
    switch (r->kind) {
    case R_FIELD:
        memcpy(out, (const uint8_t *)s + r->offset, r->field_size < r->bytes ? r->field_size : r->bytes);
        break;
    case R_ST:
        memcpy(out, s->fpu.st[r->offset], 10);
        break;
    case R_XMM:
        memcpy(out, s->fpu.ymm[r->offset], 16);
        break;
    case R_FTAG:
        v = full_tag(s->fpu.ftw);
        memcpy(out, &v, 4);
        break;
    case R_MSR:
        v = x86_state_msr(s, (uint32_t)r->offset, 0);
        memcpy(out, &v, 8);
        break;
    }
    return r->bytes;
}

size_t gdb_reg_set(struct x86_state *s, unsigned reg, const uint8_t *in)
{
    if (reg >= ARRAY_LEN(regs))
        return 0;
    const struct reg *r = &regs[reg];
    uint64_t v = 0;
    switch (r->kind) {
    case R_FIELD:
        memcpy((uint8_t *)s + r->offset, in, r->field_size < r->bytes ? r->field_size : r->bytes);
        break;
    case R_ST:
        memcpy(s->fpu.st[r->offset], in, 10);
        break;
    case R_XMM:
        memcpy(s->fpu.ymm[r->offset], in, 16);
        break;
    case R_FTAG:
        memcpy(&v, in, 4);
        s->fpu.ftw = 0;
        for (unsigned i = 0; i < 8; i++)
            if ((v >> i * 2 & 3) != 3)
                s->fpu.ftw |= (uint8_t)(1u << i);
        break;
    case R_MSR:
        memcpy(&v, in, 8);
        if (x86_state_msr_set(s, (uint32_t)r->offset, v))
            return 0;
        break;
    }
    return r->bytes;
}
