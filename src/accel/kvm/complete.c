#include <errno.h>
#include "accel/kvm/internal.h"
#include "base/err.h"

int kvm_complete(struct kvm_vcpu *v, struct err *e)
{
    return err_set(e, ENOTSUP, "virtual CPU %u: nothing here executes it", v->v.index);
}

void kvm_completer_free(struct kvm_vcpu *v)
{
    (void)v;
}
