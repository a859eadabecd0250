/* rng: xoroshiro128+ (Blackman and Vigna), seeded by splitmix64. */
#include "lab.h"

void rng_seed(struct rng *r, uint64_t seed)
{
    for (unsigned i = 0; i < 2; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15ull);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        r->s[i] = z ^ (z >> 31);
    }
}

uint64_t rng_next(struct rng *r)
{
    uint64_t a = r->s[0], b = r->s[1], sum = a + b;
    b ^= a;
    r->s[0] = (a << 24 | a >> 40) ^ b ^ (b << 16);
    r->s[1] = b << 37 | b >> 27;
    return sum;
}
