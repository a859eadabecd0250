"""Where the system suite's places rightly differ from the software engine: for each image and place a reason and the
cases (regular expressions that match whole names). An entry that covers no difference is an error, as is a difference
without an entry. "SDM" is Intel's manual; where it leaves a choice, the entry says so."""

import differences32

# Features of CPUID that a place lacks.
MISSING = {"soft": {"monitor"}, "bochs": set(), "bed": {"monitor", "pcid", "invpcid", "xsave", "vme"}}

BOCHS = [
    ("The engine's models do not advertise MONITOR; Bochs' does.",
     "monitor.*|mwait.*"),
    ("Bochs asks DR7.GD before the privilege level; KVM's VMX code relies on the other order.",
     "mov from dr7, GD, .*"),
    ("Bochs puts the old SS into the error code of a new stack that is not canonical; the new one is null (SDM "
     "2A CALL, INT).",
     "call gate, rsp0 not canonical|int on IST 3 not canonical|int, rsp0 not canonical"),
    ("SDM 2A IRET: a null SS must have the new CPL as its RPL; Bochs does not ask.",
     "iretq to null rpl [13] stack"),
    ("SDM 2A IRET: its operation says #SS, its list of exceptions #NP.",
     "iretq to absent stack"),
    ("Bochs drops null selectors whatever their RPL is.",
     "iretq to user, null segments with rpl"),
    ("SDM 3A 6.14.3: IRET in 64-bit mode pops SS:RSP in any case; Bochs does not with 32-bit operands.",
     "iretl in 64-bit mode"),
    ("Behind SYSCALL and SYSRET the new TF counts (Linux's arch/x86/entry/entry_64.S says so and depends on it); "
     "in Bochs the old one.",
     "syscall, TF, masked|sysretq, TF|sysretq, TF on"),
    ("SDM 4: the upper halves of these are reserved; Bochs drops what is written there.",
     "fmask, upper half|tsc_aux, upper half"),
    ("SDM 3A 4.6.1: implicit accesses are never allowed by RFLAGS.AC; in Bochs they are.",
     "the GDT in it, AC"),
    ("SDM 2A INVPCID: the type is the whole 64-bit register; Bochs takes 32 bits of it.",
     "invpcid, type 0x100000000.*"),
    ("SDM 3B 17.3.1.1: RF is pushed set between the iterations of a string instruction.",
     "TF and rep .*|data breakpoint .: a write that faults later|port breakpoint: rep outsb"),
    ("SDM 3A 6.8.3: only the first of several instructions that load SS is sure to hold off traps.",
     "TF and mov ss twice"),
    ("SDM 3B 17.2.3: DR6 may show breakpoints that are not enabled.",
     "a code breakpoint and another that is off"),
    ("SDM 3A table 6-2: traps of the instruction before come first, then interrupts, then code breakpoints; "
     "Bochs joins them.",
     "a code breakpoint and TF|data breakpoint . and a code breakpoint behind|an interrupt and a code "
     "breakpoint at its return"),
    ("What MOV SS held off strikes behind INT n, too (CVE-2018-8897); Bochs forgets it.",
     "data breakpoint 3: after mov ss, then int"),
    ("Bit 11 belongs to RTM, which is not there (SDM 3B 17.2.4).",
     "dr7, all ones but GD"),
    ("The instruction has not been executed: no step has been made. Bochs shows BS beside BD.",
     "GD and TF"),
    ("CMPS reads its second operand first, as Intel's current processors do; Bochs the first.",
     "cmps, both not mapped"),
    ("SDM 2B REP: a page fault leaves the flags of before; Bochs has those of the last comparison.",
     "rep scas into the next page"),
]

BED = [
    # ---- not run: QEMU's processor does not survive it ----
    ("LTR of null is accepted, and then there is no TSS.",
     "ltr, null.*"),
    ("Code with L and D is accepted, and then VMRUN refuses it; so does what SYSENTER makes in compatibility "
     "mode.",
     ".*CODE_L_AND_D|call gate to code with L and D|sysenter, compat"),
    ("Reserved bits of CR3 are accepted, and then VMRUN refuses them.",
     "cr3, bit .*"),
    ("LOCK on these is accepted, and the processor is gone.",
     "syscall with lock|hlt with lock"),
    ("LGDT and LIDT take any base.",
     "l[gi]dt, base not canonical"),
    ("A data breakpoint that a delivery hits ends QEMU.",
     "data breakpoint .: the (IDT|TSS|stack of .*)"),
    # ---- AMD's processors differ from Intel's ----
    ("SYSCALL and SYSRET work in compatibility mode.",
     "sys(call|ret|retq), compat.*"),
    ("SYSRET checks no RIP: the fetch does.",
     "sysretq, rip not canonical"),
    ("LOCK MOV CR0 is MOV CR8.",
     "mov cr with lock is no cr8"),
    ("66 makes branches near in 16 bits; REX.W makes no far pointers longer.",
     "jmp, operand prefix|lfs, 64-bit pointer"),
    ("PUSH of a segment register writes the whole operand.",
     "push ds, compat"),
    # ---- KVM ----
    ("KVM makes a whole REP OUTS of one exit; I/O breakpoints end at its exits.",
     "TF and rep outsb|port breakpoint: .*"),
    ("DR7.GD, DR6 and DR7 as KVM keeps them: what it intercepts is emulated without them.",
     "GD.*|dr[67], all ones.*|DR6 keeps B bits of before"),
    # ---- QEMU's processor is not as exact ----
    ("Privilege is asked before the register's number.",
     "mov (to|from) (cr|dr).*"),
    ("Canonical form is asked of data only, always with #GP.",
     ".*not canonical.*|load over the edge of the canonical range|iretq to compat user, upper half of the "
     "pointers"),
    ("Reserved bits are not looked at.",
     "(cr0|cr4|cr8), .*|fmask, upper half|sysenter_cs|ldmxcsr, reserved bits|fxrstor, reserved bits of mxcsr"),
    ("Compatibility mode has no segment checks.",
     "a (null|read-only) ds does matter, compat|fs base and an access, compat|far .* compat segment"),
    ("System descriptors are taken as in 32-bit mode.",
     "l(ar|sl), system type .*|.*upper half with a type|ltr, 16-bit TSS"),
    ("The accessed bit of code is not set; the RPL of a conforming segment's selector stays.",
     "the accessed bit of code is set|call gate to conforming code, user"),
    ("IRET and RET: SS is asked for its kind later, and with other vectors.",
     "(iretq|lretq) to .*(null|absent|not present).*|mov ss, null rpl 3"),
    ("VIF, VIP and VM are not RFLAGS bits that can be loaded.",
     "iretq with flags .*|sysret[lq], flags .*"),
    ("An IST loads a null SS even when the privilege stays.",
     "int on IST 3.*"),
    ("The error code of gates counts 16 bytes, and has no EXT bit.",
     "int.*gate.*|int beyond.*|ud2, .*|.*gate not present|fault in a breakpoint's delivery|an interrupt, gate .*"),
    ("ICEBP is undefined.",
     "(TF and )?icebp.*"),
    ("SYSCALL clears arithmetic flags; SYSENTER clears TF.",
     "syscall(, mask| saves the flags).*|sysenter, TF"),
    ("LOCK is allowed on anything.",
     ".* with lock"),
    ("Decoding fetches on to the length that it guesses.",
     "instruction of .* bytes, the last not mapped"),
    ("CLFLUSH is no access; LOCK reads first; ENTER probes nothing; REP SCAS keeps the flags of its comparisons.",
     "clflush.*|a locked write|enter, .*|rep scas into the next page"),
    ("MMX and conversions from it are not asked for CR0.EM and TS, nor for pending exceptions; TS comes before "
     "EM.",
     "(emms|mmx|sse|cvtpi2ps|movq2dq|an undefined x87).*, (EM|TS|OSFXSR).*|a pending x87 exception.*"),
    ("SSE raises no exceptions.",
     "sse division by zero, unmasked.*"),
    ("There is no alignment check.",
     "AM and AC.*"),
    ("A page fault by reserved bits has P clear.",
     ".*(reserved bit|PS in the PML4|no execute without NXE).*"),
    ("RFLAGS.AC counts for implicit accesses, and not while an interrupt is delivered.",
     "the GDT in it, AC|SMAP: an interrupt from user with AC to a stack of user pages"),
    ("Shadows: STI has one against traps, MOV SS against breakpoints none; LSS has one; SS twice none.",
     "TF and (lss|sti|pause)|a code breakpoint after mov ss|an interrupt (after sti and mov ss|and TF)|data "
     "breakpoint .: after mov ss.*"),
    ("Code breakpoints strike again at each iteration, and join with traps.",
     "a code breakpoint (on a rep, under RF|and .*)|data breakpoint . and a code breakpoint behind"),
    ("Data breakpoints: of a repeated store the next instruction is meant by the trap; implicit accesses have "
     "none; addresses are not aligned; one at a time.",
     "data breakpoint .: (rep .*|the bitmap.*)|data breakpoint of length .*|two data breakpoints at once"),
]
DIFFERENCES = {"system64": {"bochs": BOCHS, "bed": BED},
               "system32": {"bochs": differences32.BOCHS, "bed": differences32.BED}}
