/* bprog: a program's bytes, and the program on paper. */
#include <stdio.h>
#include <string.h>
#include "blocks.h"

const uint64_t region_base[REGIONS] = {0x10000000ull, 0x7f5512200000ull, 0xffffffff81000000ull,
                                       0xffff888012200000ull};

static bool set_fix(const struct prog *p, const struct item *x, uint8_t *code)
{
    int32_t end = x->at + x->len, target = x->add;

    if (x->fix == FIX_NONE)
        return true;
    if (x->fix != FIX_PLACE)
        target += p->item[x->to].at + (x->fix == FIX_ALIAS ? AT_ALIAS : 0);
    target -= end;
    if (x->fix == FIX_ITEM8) {
        if (target != (int8_t)target)
            return false;
        code[x->at + x->fix_at] = (uint8_t)target;
    } else
        memcpy(code + x->at + x->fix_at, &target, 4);
    return true;
}

bool prog_lay(struct prog *p, struct image *m)
{
    static uint8_t code[CODE_SIZE];
    unsigned at = p->start;

    memset(code, 0xcc, sizeof code);
    for (unsigned i = 0; i < p->count; i++) {
        struct item *x = &p->item[i];
        x->at = (uint16_t)at;
        if (x->off)
            continue;
        if (at + x->len > CODE_SIZE)
            return false;
        memcpy(code + at, x->bytes, x->len);
        at += x->len;
    }
    p->bytes = (uint16_t)(at - p->start);
    p->item[p->count].at = (uint16_t)at; /* what lies beside the code */
    for (unsigned i = 0; i < p->count; i++)
        if (!p->item[i].off && !set_fix(p, &p->item[i], code))
            return false;
    memcpy(m->code[CODE_A], code, 4096);
    memcpy(m->code[CODE_B], code + 4096, 4096);
    /* the page that may stand in the second one's place: other immediates */
    for (unsigned i = 0; i < p->patches; i++) {
        const struct item *x = &p->item[p->patch[i].item];
        if (!x->off && x->imm_len <= sizeof p->patch[i].bytes)
            memcpy(code + x->at + x->imm_at, p->patch[i].bytes, x->imm_len);
    }
    memcpy(m->code[CODE_B2], code + 4096, 4096);
    return true;
}

static void show_item(const struct prog *p, unsigned i, const uint8_t *code)
{
    const struct item *x = &p->item[i];
    ZydisDisassembledInstruction d;
    char note[96] = "";

    if (x->off)
        return;
    if (x->fix == FIX_ITEM || x->fix == FIX_ITEM8 || x->fix == FIX_ALIAS)
        snprintf(note, sizeof note, "  ; item %d%s%+d", x->to, x->fix == FIX_ALIAS ? " by its alias" : "",
                 x->add);
    else if (x->fix == FIX_PLACE)
        snprintf(note, sizeof note, "  ; %s%#x",
                 x->add >= AT_DEVICE  ? "device "
                 : x->add >= AT_TABLE ? "page table "
                 : x->add >= AT_POKE  ? "poke "
                                      : "data ",
                 (unsigned)x->add & 0xffff);
    uint64_t rip = item_rip(p, p->region, i);
    printf("  %3u %llx:", i, (unsigned long long)rip);
    for (unsigned k = 0; k < 12; k++)
        printf(k < x->len ? " %02x" : "   ", code[x->at + k]);
    if (ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, rip, code + x->at, x->len, &d)))
        printf(" %s%s\n", d.text, note);
    else
        printf(" ?%s\n", note);
}

void prog_show(struct prog *p)
{
    static const char *const name[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                       "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static struct image m;
    static uint8_t code[CODE_SIZE + 16];

    prog_lay(p, &m);
    memcpy(code, m.code[CODE_A], 4096);
    memcpy(code + 4096, m.code[CODE_B], 4096);
    printf("  ring %u, region %#llx%s, rflags %#llx, fs %#llx, gs %#llx, kernel gs %#llx, mxcsr %#x\n ",
           p->ring, (unsigned long long)region_base[p->region], p->smap ? ", SMAP" : "",
           (unsigned long long)p->rflags, (unsigned long long)p->fs, (unsigned long long)p->gs,
           (unsigned long long)p->kernel_gs, p->fpu.mxcsr);
    for (unsigned i = 0; i < 16; i++)
        printf(" %s=%llx%s", name[i],
               (unsigned long long)(p->gpr[i] + (p->pointers >> i & 1 ? region_base[p->region] : 0)),
               i == 7 ? "\n " : "");
    printf("\n");
    for (unsigned i = 0; i < p->count; i++)
        show_item(p, i, code);
    for (unsigned i = 0; i < p->patches; i++)
        if (!p->item[p->patch[i].item].off)
            printf("  patch %u: item %d\n", i, p->patch[i].item);
}
