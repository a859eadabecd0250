"""The 32-bit image's part of differences.py."""

BOCHS = [
    ("ARPL writes only when it changes something, as Intel's processors do; Bochs in any case.",
     "arpl that changes nothing on a read-only page"),
    ("RET pops ESP before SS; Bochs SS before ESP.",
     "lret to user, outer stack not mapped"),
    ("SDM 2A CALL, INT: ESP is loaded with the new one; Bochs leaves the upper half to a 16-bit stack.",
     "inner stack of 16 bits.*"),
]

BED = [
    # ---- not run: QEMU's processor would run on anywhere ----
    ("A 16-bit gate has an offset of 32 bits.",
     "call gate of 16 bits drops the upper half of the offset"),
    # ---- AMD's processors differ from Intel's ----
    ("PUSH of a segment register writes the whole operand.",
     "push ds over ones"),
    # ---- QEMU's processor is not as exact ----
    ("LTR of null is accepted.",
     "ltr, [03]"),
    ("There are no segment limits.",
     "(lcall|lret|lret to user|call gate) beyond the limit.*|l?call(.*) to 16-bit code, upper half.*|"
     "inner stack (too small|just large enough|beyond the limit|expand down, too low): .*"),
    ("There is no check whether a segment may be written by SGDT.",
     "lgdt, read-only segment"),
    ("The accessed bit of code is not set, and others with the rights of the privilege level.",
     ".* sets the accessed bits?|a descriptor that is not accessed in a read-only page, user"),
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
