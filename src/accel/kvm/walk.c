#include <errno.h>
#include "accel/kvm/internal.h"
#include "x86/regs.h"

enum { PTE_P = 1, PTE_PS = 0x80 };

#define ADDR 0x000ffffffffff000ull

/* KVM_TRANSLATE would set accessed bits in the guest's tables; this only reads. */
int kvm_walk(const struct mem_map *m, const struct x86_state *s, uint64_t linear, uint64_t *gpa)
{
    bool pae = s->cr4 & CR4_PAE, lma = s->efer & EFER_LMA;
    unsigned bits = pae ? 9 : 10, entry_size = pae ? 8 : 4, level = lma ? 4 : pae ? 3 : 2;
    uint64_t table = s->cr3 & (lma ? ADDR : pae ? 0xffffffe0ull : 0xfffff000ull), entry;

    if (!lma)
        linear = (uint32_t)linear;
    if (!(s->cr0 & CR0_PG)) {
        *gpa = linear;
        return 0;
    }
    for (;; level--) {
        unsigned shift = 12 + (level - 1) * bits;
        unsigned index = (unsigned)(linear >> shift) & ((1u << bits) - 1);
        bool pdpt = pae && !lma && level == 3;

        if (pdpt && s->pdpte_valid)
            entry = s->pdpte[index & 3];
        else if (mem_load(m, table + (uint64_t)(pdpt ? index & 3 : index) * entry_size, entry_size, &entry))
            return -EFAULT;
        if (!(entry & PTE_P))
            return -EFAULT;
        if (level == 1 || (!pdpt && level <= 3 && (entry & PTE_PS) && (pae || s->cr4 & CR4_PSE))) {
            uint64_t page = (1ull << shift) - 1, base = entry & ADDR & ~page;

            /* PSE-36: bits 32..39 of a 4 MiB page lie in bits 13..20 (SDM 3A table 4-4). */
            if (!pae && level == 2)
                base = (entry & 0xffc00000u) | (entry >> 13 & 0xff) << 32;
            *gpa = base | (linear & page);
            return 0;
        }
        table = entry & (pae ? ADDR : 0xfffff000ull);
    }
}
