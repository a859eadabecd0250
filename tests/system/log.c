/* log: the first serial line, by pieces as long as its FIFO. */
#include "suite.h"

enum { COM1 = 0x3f8, FIFO = 16 };

static char line[FIFO];
static unsigned used;

static u8 status(void)
{
    u8 v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "d"((u16)(COM1 + 5)));
    return v;
}

static void out(unsigned reg, unsigned v)
{
    __asm__ volatile("outb %b0, %w1" : : "a"(v), "d"(COM1 + reg));
}

void log_init(void)
{
    out(3, 0x83);
    out(0, 1); /* 115200 baud */
    out(1, 0);
    out(3, 3); /* 8 bits */
    out(2, 7); /* FIFO */
}

static void send(void)
{
    const char *from = line;
    word n = used;

    while (!(status() & 0x20))
        ;
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"((u16)COM1) : "memory");
    used = 0;
}

void log_flush(void)
{
    send();
    while (!(status() & 0x40)) /* all is on its way */
        ;
}

void put(char ch)
{
    line[used++] = ch;
    if (used == FIFO)
        send();
}

void print(const char *s)
{
    while (*s)
        put(*s++);
}

void hex(word v)
{
    int shift = (int)sizeof(v) * 8 - 4;

    while (shift && !(v >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put("0123456789abcdef"[v >> shift & 15]);
}
