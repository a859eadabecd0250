/*
 * spec: what a user asks for by --cpu: a model, and changes to it. Private to the room. Pure.
 *
 *     MODEL[,+FEATURE][,-FEATURE][,phys-bits=N][,vendor=GenuineIntel|AuthenticAMD]...
 *
 * FEATURE is a name of x86_feature_names(). What is added must be given, or the machine is refused; what
 * every 64-bit system expects cannot be taken away.
 */
#ifndef X86_SPEC_H
#define X86_SPEC_H
#include "x86/cpuid.h"
#include "x86/model.h"
struct err;

struct x86_cpu_spec {
    const struct x86_model *model;
    struct x86_features add, drop;
    uint32_t phys_bits; /* 0: the model's */
    const char *vendor; /* NULL: the model's */
};

/* 0 or -EINVAL. */
int x86_cpu_spec_parse(struct x86_cpu_spec *s, const char *text, struct err *e);

#endif
