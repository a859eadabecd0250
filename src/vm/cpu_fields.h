/* cpu_fields: the field table of struct x86_state (section "cpu", instance = index). */
#ifndef VM_CPU_FIELDS_H
#define VM_CPU_FIELDS_H
#include "state/state.h"

extern const struct field_table vm_cpu_table;

#endif
