/* What compilers make of integers, floating point, signals and threads; prints results only. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t state = 88172645463325252u;

__attribute__((noinline)) static uint64_t mix(int i)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state + (uint64_t)i;
}

__attribute__((noinline)) static uint32_t crc(const uint8_t *p, size_t n)
{
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c & 1 ? (c >> 1) ^ 0xedb88320u : c >> 1;
    }
    return ~c;
}

static sigjmp_buf back;
static volatile sig_atomic_t got;
static volatile uintptr_t nowhere = 8;

static void on_fault(int sig, siginfo_t *info, void *context)
{
    (void)context;
    got += sig == SIGFPE ? info->si_code == FPE_INTDIV : 1;
    siglongjmp(back, 1);
}

static void faults(void)
{
    struct sigaction a;
    memset(&a, 0, sizeof(a));
    a.sa_sigaction = on_fault;
    a.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &a, NULL);
    sigaction(SIGFPE, &a, NULL);
    sigaction(SIGILL, &a, NULL);
    for (volatile int i = 0; i < 300; i++) {
        if (sigsetjmp(back, 1))
            continue;
        if (i % 3 == 0) {
            *(volatile int *)nowhere = i;
        } else if (i % 3 == 1) {
            volatile int zero = 0;
            printf("%d", i / zero);
        } else {
            __asm__ volatile("ud2");
        }
    }
    printf("faults %d\n", (int)got);
}

int main(void)
{
    static uint8_t bytes[1 << 16];
    uint64_t sum = 0, high = 0;
    for (int i = 0; i < 200000; i++) {
        uint64_t a = mix(i), b = mix(-i) | 1;
        sum += a / b + a % (b >> 40 | 1) + (uint64_t)((int64_t)a / (int32_t)(b | 1));
        sum += (uint64_t)__builtin_popcountll(a) + (uint64_t)__builtin_clzll(b) + (a >> (b & 63)) +
               (a << (a & 31));
        high += (a >> 32) * (b >> 32);
        bytes[a & 0xffff] ^= (uint8_t)b;
    }
    printf("integers %016" PRIx64 " %016" PRIx64 " crc %08" PRIx32 "\n", sum, high,
           crc(bytes, sizeof(bytes)));
    double d = 0;
    for (int i = 1; i < 20000; i++)
        d += sin(i) * log(i) + pow(1.0 + 1.0 / i, 5) + fmod(i * 1e5, 7.25) - cbrt(i);
    long double l = 1;
    for (int i = 1; i < 1000; i++)
        l = l * (1 + 1.0L / i) - sqrtl((long double)i) + expl(-i / 100.0L);
    float f = 0;
    for (int i = 1; i < 50000; i++)
        f += 1.0f / (float)i + (float)(int)(f * 3.0f);
    printf("floats %.15g %.17Lg %.8g\n", d, l, (double)fmodf(f, 1000.0f));
    for (size_t n = 1; n < sizeof(bytes) / 2; n = n * 3 + 1) {
        memmove(bytes + n / 2, bytes, n);
        memset(bytes + n, (int)n, n / 3);
    }
    printf("crc %08" PRIx32 "\n", crc(bytes, sizeof(bytes)));
    faults();
    fflush(stdout);
    int children = 0, status;
    for (int i = 0; i < 100; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(i & 63);
        if (waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == (i & 63))
            children++;
    }
    printf("children %d\n", children);
    return 0;
}
