/* features: what CPUID says about those that cases ask for. */
#include "suite.h"

static const struct {
    const char *name;
    u32 leaf, reg, bit;
} features[FEATURES] = {
    [UMIP] = {"umip", 7, 2, 2},
    [FSGSBASE] = {"fsgsbase", 7, 1, 0},
    [SMEP] = {"smep", 7, 1, 7},
    [SMAP] = {"smap", 7, 1, 20},
    [PCID] = {"pcid", 1, 2, 17},
    [INVPCID] = {"invpcid", 7, 1, 10},
    [XSAVE] = {"xsave", 1, 2, 26},
    [RDTSCP] = {"rdtscp", 0x80000001, 3, 27},
    [SYSENTER] = {"sysenter", 1, 3, 11},
    [MONITOR] = {"monitor", 1, 2, 3},
    [VME] = {"vme", 1, 3, 1},
    [PKU] = {"pku", 7, 2, 3},
};

int feature_here(word need)
{
    u32 r[4];

    if (!need)
        return 1;
    __asm__ volatile("cpuid"
                     : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
                     : "a"(features[need].leaf & 0x80000000u), "c"(0));
    if (r[0] < features[need].leaf)
        return 0;
    __asm__ volatile("cpuid"
                     : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
                     : "a"(features[need].leaf), "c"(0));
    return r[features[need].reg] >> features[need].bit & 1;
}

const char *feature_name(word need)
{
    return features[need].name;
}

void features_print(void)
{
    for (word i = 1; i < FEATURES; i++)
        if (!feature_here(i)) {
            print("no ");
            print(features[i].name);
            put('\n');
        }
}
