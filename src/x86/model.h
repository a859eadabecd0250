/*
 * model: CPU models as sets of features; what lies behind x86_cpuid_build. Private to the room. Pure.
 */
#ifndef X86_MODEL_H
#define X86_MODEL_H
#include "x86/cpuid.h"

struct x86_model {
    const char *name, *about;
    const uint32_t
        *required; /* list ended by X86_FEATURE_NONE: without any of these the model is refused; NULL: none */
    const uint32_t *isa; /* list: user-mode instructions wanted, given where they can be */
    uint32_t signature;  /* leaf 1 EAX; 0: the host's signature, vendor, brand and all that can be given */
};

const struct x86_model *x86_model_find(const char *name);

/* The features that `m` asks for (`want`), and those without which it is refused (`required`). */
void x86_model_features(const struct x86_model *m, struct x86_features *want, struct x86_features *required);

/* Features that every machine keeps (`fixed`), and all that one can be given where host and accelerator have
 * them (`can`). */
void x86_model_limits(struct x86_features *fixed, struct x86_features *can);

/* Features that depend on the host's own instruction set (as opposed to what an accelerator supplies). */
void x86_features_user_isa(struct x86_features *f);

/* Drop features whose prerequisites are absent. */
void x86_features_close(struct x86_features *f);

#endif
