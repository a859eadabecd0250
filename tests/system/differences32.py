"""The 32-bit image's part of differences.py."""

BOCHS = [
    ("ARPL writes only when it changes something, as Intel's processors do; Bochs in any case.",
     "arpl that changes nothing on a read-only page"),
    ("RET pops ESP before SS, IRET EIP before the flags; Bochs the other way.",
     "lret to user, outer stack not mapped|iret, stack not mapped.*"),
    ("SDM 2A IRET: its operation says #SS, its list of exceptions #NP.",
     "iret to user, stack not present"),
    ("Bochs looks at the first byte of FXSAVE's area only.",
     "at the edge, fxsave"),
    ("SDM 2A CALL, INT: ESP is loaded with the new one; Bochs leaves the upper half to a 16-bit stack.",
     "inner stack of 16 bits.*"),
    ("SDM 3A 7.3 does not say in which order the TSSs are accessed; Bochs also reads the last word of the new one.",
     "task, (not mapped|half mapped|the last word not mapped|the old TSS (read only|not mapped)): .*|"
     ".*, its gate to a TSS that is not mapped, .*"),
    ("SDM 3A 7.3 asks for the limit of the new TSS; Bochs for that of the old one, too.",
     "task, the old TSS small: .*|from a 16-bit TSS, limit 0x2[08]"),
    ("An instruction that TF was set for is traced even if it switches tasks; Bochs forgets it.",
     "task, TF before: .*"),
]

BED = [
    # ---- not run: QEMU's processor would run on anywhere ----
    ("A 16-bit gate has an offset of 32 bits.",
     "call gate of 16 bits drops the upper half of the offset"),
    ("There are no segment limits, nor types.",
     "(data|stack|code), .*|at the edge, .*|lgdt at the edge"),
    # ---- AMD's processors differ from Intel's ----
    ("PUSH of a segment register writes the whole operand.",
     "push ds over ones"),
    # ---- KVM ----
    ("The new task's EIP is mixed with the old one when a segment of its cannot be loaded.",
     "task, .*: ljmp|iret with NT to itself"),
    ("Errors of task gates name no external events, and a TSS in the LDT has another vector.",
     "task gate, .*|l(jmp|call) to a TSS in the LDT"),
    ("Of 16-bit TSSs the upper halves of registers stay.",
     "(ljmp|lcall) to TASK16.*|to a 16-bit TSS.*"),
    ("VIF and VIP of the new task are not loaded.",
     "task, flags 0x180002.*"),
    ("T is not looked at.",
     "task, T.*"),
    ("LE stays.",
     "task, breakpoints: .*"),
    ("All of the new TSS is read; the old one is read before.",
     "task, (not mapped|the last word not mapped|the old TSS not mapped): .*|"
     ".*, its gate to a TSS that is not mapped, .*"),
    # ---- QEMU's processor is not as exact ----
    ("LTR of null is accepted.",
     "ltr, [03]"),
    ("There are no segment limits.",
     "(lcall|lret|lret to user|call gate|iret|iret to user|(int|exception) gate,) beyond the limit.*|"
     "l?call(.*) to 16-bit code, upper half.*|"
     "inner stack (too small|just large enough|beyond the limit|expand down, too low): .*|"
     "task, its stack small: .*|a bad stack: ss in (pf|int)"),
    ("There is no check whether a segment is there, may be read or written.",
     "lgdt, read-only segment|(a null|write to|write by|read by) .*|(movs|cmps) .*null.*|ss overridden by a null .*|"
     "a descriptor changed after the load"),
    ("RF is pushed clear, and error codes of deliveries have no EXT bit.",
     "exception gate, .*|exception with an error code.*|.*, its gate absent.*"),
    ("ICEBP is undefined.",
     "icebp.*"),
    ("VIF and VIP are not RFLAGS bits that can be loaded.",
     "iret .*flags 0x180002"),
    ("LOCK is allowed on anything.",
     "iret with lock"),
    ("The accessed bit of code is not set, and others with the rights of the privilege level.",
     ".* sets the accessed bits?|task, accessed bits: .*|a descriptor that is not accessed in a read-only page, user"),
    ("LAR gives bits 16 to 19 as zero.",
     "lar, .*"),
    ("ARPL writes in any case.",
     "arpl that changes nothing on a read-only page"),
    ("Stacks of far transfers are accessed as the kernel.",
     "(lcall|lret|iret), .*(not mapped|page of the stack ends).*|call gate, .*parameters? not mapped"),
    ("Absent segments have other vectors.",
     "(lret|iret) to user, stack not present|jump gate to absent code, kernel|inner stack not present: .*"),
    ("RET n takes n for a signed number.",
     "lret with 0xfffc bytes"),
    ("Calls through gates to conforming code change the stack.",
     "call gate to conforming code, .*"),
    ("RF is pushed clear.",
     "inner stack (in the LDT|odd|expand down): exception"),
    ("A 16-bit stack keeps the upper half of ESP.",
     "inner stack of 16 bits.*"),
]
