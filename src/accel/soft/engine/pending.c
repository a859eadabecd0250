/* Weak stand-ins for what has not landed yet. */
#include "accel/soft/engine/private.h"
#define WEAK __attribute__((weak))
WEAK bool exec_system_setup(struct insn *o, const void *zi, const void *ops, enum cpu_mode m) { (void)o; (void)zi; (void)ops; (void)m; return false; }
WEAK void cpu_deliver_fault(struct cpu *c) { cpu_exit(c, ENGINE_FAILED); }
WEAK void debug_update(struct cpu *c) { (void)c; }
WEAK void debug_watch(struct cpu *c, uint64_t l, unsigned n, bool w) { (void)c; (void)l; (void)n; (void)w; }
WEAK bool debug_watch_page(struct cpu *c, uint64_t p) { (void)c; (void)p; return false; }
WEAK void cpu_branch(struct cpu *c, uint64_t t, unsigned s) { c->next_rip = t & mask_size(s); }
WEAK void cpu_set_rflags(struct cpu *c, uint64_t v, uint64_t m) { c->rflags = (c->rflags & ~m) | (v & m) | 2; }
WEAK void cpu_need_cpl0(struct cpu *c) { if (c->cpl) cpu_gp(c, 0); }
WEAK enum engine_exit engine_run(struct engine *en, unsigned cpu, struct engine_exit_info *info) { (void)en; (void)cpu; (void)info; return ENGINE_FAILED; }
WEAK void engine_debug(struct engine *en, unsigned cpu, const struct vcpu_debug *d) { (void)en; (void)cpu; (void)d; }
