/*
 * calls: a freestanding guest with debugging information, for a debugger to look at: a chain of calls with
 * arguments, and a global that changes. It ends by port 0xf4 with 3 (see calls_start.S, which calls
 * guest_main).
 */
int guest_main(void);

volatile int watched = 11;
volatile int total;

static __attribute__((noinline)) int innermost(int depth, const char *name)
{
    total += depth;
    watched = depth * 100;
    return name[0] + depth;
}

static __attribute__((noinline)) int middle(int factor)
{
    int got = innermost(factor + 1, "liege");
    total += got;
    return got * factor;
}

static __attribute__((noinline)) int outer(int a, int b)
{
    int product = middle(a + b);
    return product - a;
}

int guest_main(void)
{
    int result = outer(2, 5);
    watched = result;
    return watched == (108 + 8) * 7 - 2 ? 3 : 4;
}
