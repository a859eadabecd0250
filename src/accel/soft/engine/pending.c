/* Weak stand-ins for what has not landed yet. */
#include "accel/soft/engine/private.h"
#define WEAK __attribute__((weak))
WEAK bool exec_system_setup(struct insn *o, const void *zi, const void *ops, enum cpu_mode m) { (void)o; (void)zi; (void)ops; (void)m; return false; }
WEAK void cpu_deliver_fault(struct cpu *c) { cpu_exit(c, ENGINE_FAILED); }
WEAK bool msr_read(struct cpu *c, uint32_t i, uint64_t *v) { (void)c; (void)i; *v = 0; return false; }
WEAK bool msr_write(struct cpu *c, uint32_t i, uint64_t v, bool h) { (void)c; (void)i; (void)v; (void)h; return false; }
WEAK uint64_t tsc_at(const struct cpu *c, uint64_t now) { return now + (uint64_t)c->tsc_offset; }
WEAK bool lapic_is_page(const struct cpu *c, uint64_t gpa) { (void)c; (void)gpa; return false; }
WEAK uint64_t lapic_mmio_read(struct cpu *c, uint64_t gpa, unsigned size) { (void)c; (void)gpa; (void)size; return 0; }
WEAK void lapic_mmio_write(struct cpu *c, uint64_t gpa, unsigned size, uint64_t v) { (void)c; (void)gpa; (void)size; (void)v; }
WEAK bool lapic_base_write(struct cpu *c, uint64_t v, bool h) { (void)h; c->priv->lapic.base = v; return true; }
WEAK uint8_t lapic_tpr(const struct cpu *c) { return (uint8_t)c->priv->lapic.tpr; }
WEAK void lapic_set_tpr(struct cpu *c, uint8_t v) { c->priv->lapic.tpr = v; }
WEAK void lapic_get(struct cpu *c, struct x86_lapic *o) { (void)c; (void)o; }
WEAK void lapic_set(struct cpu *c, const struct x86_lapic *i, uint64_t d) { (void)c; (void)i; (void)d; }
WEAK void debug_update(struct cpu *c) { (void)c; }
WEAK void debug_watch(struct cpu *c, uint64_t l, unsigned n, bool w) { (void)c; (void)l; (void)n; (void)w; }
WEAK bool debug_watch_page(struct cpu *c, uint64_t p) { (void)c; (void)p; return false; }
WEAK void cpu_branch(struct cpu *c, uint64_t t, unsigned s) { c->next_rip = t & mask_size(s); }
WEAK void cpu_set_rflags(struct cpu *c, uint64_t v, uint64_t m) { c->rflags = (c->rflags & ~m) | (v & m) | 2; }
WEAK void cpu_need_cpl0(struct cpu *c) { if (c->cpl) cpu_gp(c, 0); }
