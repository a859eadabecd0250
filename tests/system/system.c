/*
 * system: privileged and system instructions, one line for each case: its name and what came of it: "ok", or
 * the vector with its error code (and the address of a page fault). The log goes to the first serial line and
 * to port 0xe9, and must be the same wherever the image runs.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

void system_main(void);

extern u64 gdt[], directory[], recover;
extern u8 stubs[];
u64 saved_rsp;
extern volatile struct {
    u32 vector, error;
    u64 cr2;
} caught;

static struct {
    u64 low, high;
} idt[32];
static u32 tss[26 + 2];
static u64 fine_table[512] __attribute__((aligned(4096)));
static u8 page[8192] __attribute__((aligned(4096)));

static void put(char c)
{
    u8 ready;
    do
        __asm__ volatile("inb %1, %0" : "=a"(ready) : "d"((u16)0x3fd));
    while (!(ready & 0x20));
    __asm__ volatile("outb %0, %1" : : "a"(c), "d"((u16)0x3f8));
    __asm__ volatile("outb %0, $0xe9" : : "a"(c));
}

static void print(const char *s)
{
    while (*s)
        put(*s++);
}

static void hex(u64 v)
{
    int shift = 60;
    while (shift && !(v >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put("0123456789abcdef"[v >> shift & 15]);
}

static void report(const char *name)
{
    print(name);
    if (caught.vector == 99) {
        print(": ok\n");
        return;
    }
    print(": vector ");
    hex(caught.vector);
    print(" error ");
    hex(caught.error);
    if (caught.vector == 14) {
        print(" at ");
        hex(caught.cr2);
    }
    put('\n');
}

/* Run `text` with %rax, %rcx, %rdx as given; a fault ends it. */
#define TRY(name, text, a_, c_, d_)                                                                          \
    do {                                                                                                     \
        u64 a = (a_), c = (c_), d = (d_);                                                                    \
        caught.vector = 99;                                                                                  \
        __asm__ volatile("movq $1f, recover\n mov %%rsp, saved_rsp\n" text "\n1: mov saved_rsp, %%rsp"       \
                         : "+a"(a), "+c"(c), "+d"(d)                                                         \
                         :                                                                                   \
                         : "rbx", "memory", "cc");                                                           \
        report(name);                                                                                        \
    } while (0)

static void print_value(const char *name, u64 v)
{
    print(name);
    print(" = ");
    hex(v);
    put('\n');
}

static void segments(void)
{
    TRY("mov ds, null", "mov %%eax, %%ds", 0, 0, 0);
    TRY("mov ds, null rpl 3", "mov %%eax, %%ds", 3, 0, 0);
    TRY("mov ds, kernel data", "mov %%eax, %%ds", 0x10, 0, 0);
    TRY("mov ds, user data", "mov %%eax, %%ds", 0x1b, 0, 0);
    TRY("mov ds, kernel data rpl 3", "mov %%eax, %%ds", 0x13, 0, 0);
    TRY("mov ds, not present", "mov %%eax, %%ds", 0x28, 0, 0);
    TRY("mov ds, read only", "mov %%eax, %%ds", 0x30, 0, 0);
    TRY("mov ds, execute only", "mov %%eax, %%ds", 0x38, 0, 0);
    TRY("mov ds, beyond the table", "mov %%eax, %%ds", 0x1000, 0, 0);
    TRY("mov ds, in no LDT", "mov %%eax, %%ds", 0x14, 0, 0);
    TRY("mov ds, TSS", "mov %%eax, %%ds", 0x58, 0, 0);
    TRY("mov ss, null rpl 0", "mov %%eax, %%ss", 0, 0, 0);
    TRY("mov ss, null rpl 3", "mov %%eax, %%ss", 3, 0, 0);
    TRY("mov ss, user data", "mov %%eax, %%ss", 0x1b, 0, 0);
    TRY("mov ss, not present", "mov %%eax, %%ss", 0x28, 0, 0);
    TRY("mov ss, read only", "mov %%eax, %%ss", 0x30, 0, 0);
    TRY("mov ss, kernel data", "mov %%eax, %%ss", 0x10, 0, 0);
    TRY("ltr null", "ltr %%ax", 0, 0, 0);
    TRY("ltr data", "ltr %%ax", 0x10, 0, 0);
    TRY("ltr", "ltr %%ax", 0x58, 0, 0);
    TRY("ltr busy", "ltr %%ax", 0x58, 0, 0);
    TRY("lldt null", "lldt %%ax", 0, 0, 0);
    TRY("lldt not an LDT", "lldt %%ax", 0x10, 0, 0);
}

static void transfers(void)
{
    TRY("lretq to a null selector", "push $0\n push $1f\n lretq", 0, 0, 0);
    TRY("lretq to data", "push $0x10\n push $1f\n lretq", 0, 0, 0);
    TRY("lretq to code not present", "push $0x40\n push $1f\n lretq", 0, 0, 0);
    TRY("lretq to code with L and D", "push $0x48\n push $1f\n lretq", 0, 0, 0);
    TRY("lretq to user code, rpl 0", "push $0x20\n push $1f\n lretq", 0, 0, 0);
    TRY("iretq with a null selector", "push $0x10\n push $0x60000\n push $2\n push $0\n push $1f\n iretq", 0,
        0, 0);
    TRY("iretq with user stack for the kernel",
        "push $0x1b\n push $0x60000\n push $2\n push $8\n push $1f\n iretq", 0, 0, 0);
    TRY("int 0x50 beyond the table", "int $0x50", 0, 0, 0);
    TRY("int3", "int3", 0, 0, 0);
    TRY("icebp", ".byte 0xf1", 0, 0, 0);
    TRY("ud2", "ud2", 0, 0, 0);
}

static void describe(void)
{
    static const u16 selectors[] = {0,    8,    0x10, 0x1b, 0x23, 0x28, 0x30,
                                    0x38, 0x40, 0x50, 0x58, 0x68, 0x78, 0x1000};

    for (unsigned i = 0; i < sizeof(selectors) / sizeof(selectors[0]); i++) {
        u64 rights = 0, limit = 0;
        u8 z1, z2, z3, z4;
        __asm__ volatile("lar %2, %0\n setz %1" : "+r"(rights), "=q"(z1) : "r"((u64)selectors[i]) : "cc");
        __asm__ volatile("lsl %2, %0\n setz %1" : "+r"(limit), "=q"(z2) : "r"((u64)selectors[i]) : "cc");
        __asm__ volatile("verr %1\n setz %0" : "=q"(z3) : "r"(selectors[i]) : "cc");
        __asm__ volatile("verw %1\n setz %0" : "=q"(z4) : "r"(selectors[i]) : "cc");
        print("selector ");
        hex(selectors[i]);
        print_value(" zf", (u64)(z1 << 3 | z2 << 2 | z3 << 1 | z4));
        if (z1)
            print_value(" lar", rights);
        if (z2)
            print_value(" lsl", limit);
    }
}

static void registers(void)
{
    u64 cr0, cr4;

    __asm__ volatile("mov %%cr0, %0\n mov %%cr4, %1" : "=r"(cr0), "=r"(cr4));
    TRY("cr0, PG without PE", "mov %%rax, %%cr0", cr0 & ~1ul, 0, 0);
    TRY("cr0, NW without CD", "mov %%rax, %%cr0", cr0 | 1ul << 29, 0, 0);
    TRY("cr0, bit 32", "mov %%rax, %%cr0", cr0 | 1ul << 32, 0, 0);
    TRY("cr0, PG off in long mode", "mov %%rax, %%cr0", cr0 & ~(1ul << 31), 0, 0);
    TRY("cr4, PAE off in long mode", "mov %%rax, %%cr4", cr4 & ~0x20ul, 0, 0);
    TRY("cr4, bit 31", "mov %%rax, %%cr4", cr4 | 1ul << 31, 0, 0);
    TRY("cr4, bit 63", "mov %%rax, %%cr4", cr4 | 1ul << 63, 0, 0);
    TRY("cr1", ".byte 0x0f, 0x20, 0xc8", 0, 0, 0);
    TRY("cr8, 16", "mov %%rax, %%cr8", 16, 0, 0);
    TRY("dr6, high half", "mov %%rax, %%dr6", 1ul << 32, 0, 0);
    TRY("dr7, high half", "mov %%rax, %%dr7", 0x400 | 1ul << 32, 0, 0);
    TRY("dr4, DE off", ".byte 0x0f, 0x21, 0xe0", 0, 0, 0);
    TRY("dr4, DE on", "mov %%rax, %%cr4\n .byte 0x0f, 0x21, 0xe2", cr4 | 8, 0, 0);
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
    TRY("rdmsr, none such", "rdmsr", 0, 0x12345, 0);
    TRY("wrmsr, none such", "wrmsr", 0, 0x12345, 0);
    TRY("efer, bit 1", "rdmsr\n or $2, %%eax\n wrmsr", 0, 0xc0000080, 0);
    TRY("efer, LME off", "rdmsr\n and $~0x100, %%eax\n wrmsr", 0, 0xc0000080, 0);
    TRY("fs base, not canonical", "wrmsr", 0, 0xc0000100, 0x800000);
    TRY("gs base, not canonical", "wrmsr", 0, 0xc0000101, 0x800000);
    TRY("lstar, not canonical", "wrmsr", 0, 0xc0000082, 0x800000);
    TRY("pat, type 2", "wrmsr", 2, 0x277, 0);
    TRY("pat, type 6", "rdmsr\n wrmsr", 0, 0x277, 0);
}

static void addresses(void)
{
    TRY("load, not canonical", "mov (%%rax), %%rcx", 1ul << 47, 0, 0);
    TRY("invlpg, not canonical", "invlpg (%%rax)", 1ul << 47, 0, 0);
    TRY("jmp, not canonical", "jmp *%%rax", 1ul << 47, 0, 0);
    TRY("lgdt, base not canonical", "push %%rax\n pushw $0x7f\n lgdt (%%rsp)\n add $10, %%rsp", 1ul << 47, 0,
        0);
}

/* Each access against each page-table entry. */
static void paging(void)
{
    static const struct {
        const char *name;
        u64 bits;
    } rows[] = {{"absent", 0},
                {"read only", 1},
                {"writable", 3},
                {"user read only", 5},
                {"no execute", 3 | 1ul << 63},
                {"reserved bit", 3 | 1ul << 51}};
    u64 entry = directory[1];

    for (unsigned i = 0; i < 512; i++)
        fine_table[i] = 0x200000 + i * 4096ul + 3;
    directory[1] = (u64)fine_table | 7;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fine_table[5] = rows[i].bits ? ((u64)page | rows[i].bits) : 0;
        page[0] = 0xc3;
        __asm__ volatile("invlpg (%0)" : : "r"(0x205000ul) : "memory");
        print(rows[i].name);
        TRY(", read", "mov (%%rax), %%cl", 0x205000, 0, 0);
        print(rows[i].name);
        TRY(", write", "mov %%cl, (%%rax)", 0x205000, 0xc3, 0);
        print(rows[i].name);
        TRY(", execute", "call *%%rax", 0x205000, 0, 0);
        print_value(" accessed and dirty", fine_table[5] >> 5 & 3);
    }
    directory[1] = entry;
    __asm__ volatile("mov %%cr3, %%rax\n mov %%rax, %%cr3" : : : "rax", "memory");
}

static void prepare(void)
{
    __asm__ volatile("outb %0, %1" : : "a"((u8)3), "d"((u16)0x3fb)); /* eight bits, no parity */
    for (u64 i = 0; i < 32; i++) {
        u64 at = (u64)stubs + i * 16;
        idt[i].low = (at & 0xffff) | 8ul << 16 | 0x8eul << 40 | (at >> 16 & 0xffff) << 48;
        idt[i].high = at >> 32;
    }
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (u64)idt};
    __asm__ volatile("lidt %0" : : "m"(pointer));
    u64 base = (u64)tss;
    gdt[11] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ul << 40 | (base >> 24 & 0xff) << 56;
    gdt[12] = base >> 32;
}

void system_main(void)
{
    prepare();
    print("system: begin\n");
    segments();
    transfers();
    describe();
    registers();
    addresses();
    paging();
    print("system: end\n\n\n\n\n\n\n\n"); /* what an emulator may lose at its end is worth nothing */
    u8 status;
    do
        __asm__ volatile("inb %1, %0" : "=a"(status) : "d"((u16)0x3fd));
    while (!(status & 0x40));
}
