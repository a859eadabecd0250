"""The 32-bit image's part of differences.py."""

BOCHS = [
    ("ARPL writes only when it changes something, as Intel's processors do; Bochs in any case.",
     "arpl that changes nothing on a read-only page"),
    ("RET pops ESP before SS; Bochs SS before ESP.",
     "lret to user, outer stack not mapped"),
    ("SDM 2A CALL, INT: ESP is loaded with the new one; Bochs leaves the upper half to a 16-bit stack.",
     "inner stack of 16 bits.*"),
    ("SDM 3A 7.3 does not say in which order the TSSs are accessed; Bochs also reads the last word of the new one.",
     "task, (not mapped|half mapped|the last word not mapped|the old TSS (read only|not mapped)): .*"),
    ("SDM 3A 7.3 asks for the limit of the new TSS; Bochs for that of the old one, too.",
     "task, the old TSS small: .*|from a 16-bit TSS, limit 0x2[08]"),
    ("An instruction that TF was set for is traced even if it switches tasks; Bochs forgets it.",
     "task, TF before: .*"),
]

BED = [
    # ---- not run: QEMU's processor would run on anywhere ----
    ("A 16-bit gate has an offset of 32 bits.",
     "call gate of 16 bits drops the upper half of the offset"),
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
     "task, (not mapped|the last word not mapped|the old TSS not mapped): .*"),
    # ---- QEMU's processor is not as exact ----
    ("LTR of null is accepted.",
     "ltr, [03]"),
    ("There are no segment limits.",
     "(lcall|lret|lret to user|call gate) beyond the limit.*|l?call(.*) to 16-bit code, upper half.*|"
     "inner stack (too small|just large enough|beyond the limit|expand down, too low): .*|"
     "task, its stack small: .*"),
    ("There is no check whether a segment may be written by SGDT.",
     "lgdt, read-only segment"),
    ("The accessed bit of code is not set, and others with the rights of the privilege level.",
     ".* sets the accessed bits?|task, accessed bits: .*|a descriptor that is not accessed in a read-only page, user"),
    ("LAR gives bits 16 to 19 as zero.",
     "lar, .*"),
    ("ARPL writes in any case.",
     "arpl that changes nothing on a read-only page"),
    ("Stacks of far transfers are accessed as the kernel.",
     "(lcall|lret), .*(not mapped|page of the stack ends)|call gate, .*parameters? not mapped"),
    ("Absent segments have other vectors.",
     "lret to user, stack not present|jump gate to absent code, kernel|inner stack not present: .*"),
    ("RET n takes n for a signed number.",
     "lret with 0xfffc bytes"),
    ("Calls through gates to conforming code change the stack.",
     "call gate to conforming code, .*"),
    ("RF is pushed clear.",
     "inner stack (in the LDT|odd|expand down): exception"),
    ("A 16-bit stack keeps the upper half of ESP.",
     "inner stack of 16 bits.*"),
]
