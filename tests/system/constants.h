/*
 * constants: numbers that C and assembly know by the same names. Whoever includes it defines CONSTANT(name,
 * value): assembly makes symbols of them, since the preprocessor does not look into the quotes of a case.
 */
/* Selectors, in both images. SYSRET and SYSEXIT want UCODE32 to UDATA2 in this order. */
CONSTANT(KCODE, 0x08)
CONSTANT(KDATA, 0x10)
CONSTANT(UCODE32, 0x18)
CONSTANT(UDATA, 0x20)
CONSTANT(UCODE, 0x28)
CONSTANT(UDATA2, 0x30)
CONSTANT(KCODE32, 0x38)
CONSTANT(UCODE16, 0x40)
CONSTANT(ABSENT_DATA, 0x48)
CONSTANT(READ_ONLY, 0x50)
CONSTANT(EXECUTE_ONLY, 0x58)
CONSTANT(ABSENT_CODE, 0x60)
CONSTANT(CODE_L_AND_D, 0x68)
CONSTANT(CONFORMING, 0x70)
CONSTANT(CONFORMING3, 0x78)
CONSTANT(UREAD_ONLY, 0x80)
CONSTANT(KCODE16, 0x88)
CONSTANT(KDATA16, 0x90)
CONSTANT(UDATA16, 0x98)
CONSTANT(TSS, 0xa0)
CONSTANT(LDT, 0xb0)
CONSTANT(ABSENT_LDT, 0xc0)
/* Descriptors from here on are for cases to fill in. */
CONSTANT(FREE, 0xd0)
#ifdef WIDE
CONSTANT(GDT_SIZE, 0x180)
#else
CONSTANT(CODE1, 0x180)
CONSTANT(DATA1, 0x188)
CONSTANT(CODE2, 0x190)
CONSTANT(DATA2, 0x198)
CONSTANT(TASK, 0x1a0)   /* another task */
CONSTANT(TASK16, 0x1a8) /* one with a 16-bit TSS, and its code */
CONSTANT(TASK_CODE16, 0x1b0)
CONSTANT(REAL_CODE, 0x1b8)
CONSTANT(REAL_DATA, 0x1c0)
/* The tasks that take exceptions: one for each vector that the processor knows. */
CONSTANT(CATCH, 0x200)
CONSTANT(GDT_SIZE, 0x300)
#endif

/* In the IDT; from 0x40 on user mode may call. */
CONSTANT(VECTORS, 0x50)
/* In caught.vector: outside of a case. */
CONSTANT(LOST, 0x100)

/* Features that cases need. */
CONSTANT(UMIP, 1)
CONSTANT(FSGSBASE, 2)
CONSTANT(SMEP, 3)
CONSTANT(SMAP, 4)
CONSTANT(PCID, 5)
CONSTANT(INVPCID, 6)
CONSTANT(XSAVE, 7)
CONSTANT(RDTSCP, 8)
CONSTANT(SYSENTER, 9)
CONSTANT(MONITOR, 10)
CONSTANT(VME, 11)
CONSTANT(PKU, 12)
CONSTANT(FEATURES, 13)
