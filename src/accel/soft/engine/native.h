/*
 * native: guest instructions run as themselves on the host CPU, one at a time, with their operands in place.
 *
 * For each distinct encoding a *thunk* is built once: machine code that loads just the registers the
 * instruction names from struct cpu, runs it (its memory operand rewritten to point at the frame), and stores
 * back what it wrote. What may fault (guest memory, unmasked SIMD exceptions) is dealt with around the thunk
 * by exec_native.c, so a thunk either commits everything or nothing.
 *
 * The area lies in the engine's arena, which is a shared mapping: thunks are written through the arena and
 * run through a second, read-and-execute mapping of the same pages (never writable and executable at once).
 * Offsets into it are valid in every process that has the arena; the second mapping is inherited by fork, and
 * native_area_attach makes one in a process that has none. Bounded: when it is full, each vCPU builds what it
 * needs in a slot of its own, over and over.
 *
 *     native_area_size -> native_area_init (engine_init) -> native_area_attach (engine_init, engine_attach)
 * -> cpu->native = area for each CPU
 */
#ifndef ENGINE_NATIVE_H
#define ENGINE_NATIVE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu;
struct insn;

enum { NATIVE_PAGE = 4096, NATIVE_CODE = 8 << 20, NATIVE_SLOT = 512, NATIVE_BUCKETS = 4096 };

/* What a thunk works on besides struct cpu. Offsets are known to the generator. */
struct native_frame {
    uint8_t mem[64] __attribute__((aligned(64))); /* the memory operand */
    uint64_t flags;                               /* RFLAGS in, out */
    uint32_t mxcsr;                               /* to run with */
    uint32_t mxcsr_out;                           /* as the instruction left it */
    uint32_t stop;       /* when mxcsr_out & stop is not zero the thunk stores no registers back */
    uint32_t host_mxcsr; /* of the caller; the thunk saves and restores it */
    uint8_t fx[512] __attribute__((aligned(64))); /* x87 thunks: FXSAVE image in, out */
};

/* Thunk attributes. */
enum native_attr {
    NATIVE_MEM_READ = 1,
    NATIVE_MEM_WRITE = 2,
    NATIVE_MXCSR = 4, /* rounds by MXCSR or raises its flags */
    NATIVE_FLAGS_IN = 8,
    NATIVE_MMX = 16, /* names an MMX register */
    NATIVE_X87 = 32,
};

/* Head of a thunk; its code follows at NATIVE_ENTRY bytes from the head. */
struct native_thunk {
    uint32_t next; /* in its hash bucket: offset, 0 ends */
    uint32_t hash;
    uint32_t flags_out; /* RFLAGS bits it writes */
    uint16_t size;      /* code bytes */
    uint8_t attr;       /* enum native_attr */
    uint8_t mem_size;   /* bytes of the memory operand */
    uint8_t key[24];    /* the rewritten instruction and the guest registers bound to it */
};
enum { NATIVE_ENTRY = 64 };

struct native_area {
    uint64_t lock;
    uint64_t exec; /* address of this structure's executable twin in the process that runs vCPUs */
    uint32_t cpus;
    uint32_t used; /* bytes of code[] handed out */
    uint32_t bucket[NATIVE_BUCKETS];
    uint8_t code[]
        __attribute__((aligned(NATIVE_PAGE))); /* NATIVE_CODE bytes of thunks, then a slot per vCPU */
};

/* Bytes of arena wanted. The area must begin on a page boundary. */
size_t native_area_size(unsigned cpus);
/* Build an empty area in zeroed shared memory. */
struct native_area *native_area_init(void *mem, unsigned cpus);
/* Give this process an executable view of the area; harmless when it has one. 0; -EINVAL: the memory is not a
 * shared mapping; -EACCES, -EPERM: executable memory is refused here; -ENOMEM. */
int native_area_attach(struct native_area *a);

/* The same for any page-aligned part of the arena that will hold machine code; `exec` lies in it, and
 * receives the address of the executable view. */
int native_view(void *area, size_t size, uint64_t *exec);
void native_serialize(void); /* this thread's CPU forgets what it has read of code */

/* The thunk for an instruction, built when it is met first, or NULL if no thunk can hold it. May be called by
 * all vCPU threads at once. */
const struct native_thunk *native_thunk(struct cpu *c, const struct insn *in);

/* Run a thunk. */
static inline void native_call(const struct native_area *a, const struct native_thunk *t, struct cpu *c,
                               struct native_frame *f)
{
    void (*fn)(struct cpu *, struct native_frame *);
    uintptr_t at = a->exec + ((uintptr_t)t - (uintptr_t)a) + NATIVE_ENTRY;
    __builtin_memcpy(&fn, &at, sizeof fn);
    fn(c, f);
}

/* For other families: an exec function that runs any instruction which only reads and writes general
 * registers, arithmetic flags and at most one memory operand (no stack, no branch, no LOCK, no AH..BH)
 * natively, e.g. PDEP or CRC32. Set in->exec = exec_native; check features yourself. */
void exec_native(struct cpu *c, const struct insn *in);

#endif
