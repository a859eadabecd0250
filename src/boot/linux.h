/*
 * linux: the setup header of the Linux/x86 boot protocol (Documentation/arch/x86/boot.rst, "THE REAL-MODE
 * KERNEL HEADER"). Offsets are those in the file, and in the zero page.
 */
#ifndef BOOT_LINUX_H
#define BOOT_LINUX_H
#include "boot/load.h"

enum {
    SETUP_FIRST = 0x1f1,
    SETUP_SECTS = 0x1f1,
    SETUP_SYSSIZE = 0x1f4,
    SETUP_VID_MODE = 0x1fa,
    SETUP_BOOT_FLAG = 0x1fe,
    SETUP_JUMP = 0x201, /* the header ends that many bytes after 0x202 */
    SETUP_MAGIC = 0x202,
    SETUP_VERSION = 0x206,
    SETUP_KERNEL_VERSION = 0x20e,
    SETUP_TYPE_OF_LOADER = 0x210,
    SETUP_LOADFLAGS = 0x211,
    SETUP_CODE32_START = 0x214,
    SETUP_RAMDISK_IMAGE = 0x218,
    SETUP_RAMDISK_SIZE = 0x21c,
    SETUP_HEAP_END_PTR = 0x224,     /* 2.01 */
    SETUP_CMD_LINE_PTR = 0x228,     /* 2.02 */
    SETUP_INITRD_ADDR_MAX = 0x22c,  /* 2.03 */
    SETUP_KERNEL_ALIGNMENT = 0x230, /* 2.05 */
    SETUP_RELOCATABLE = 0x234,      /* 2.05 */
    SETUP_MIN_ALIGNMENT = 0x235,    /* 2.10 */
    SETUP_XLOADFLAGS = 0x236,       /* 2.12 */
    SETUP_CMDLINE_SIZE = 0x238,     /* 2.06 */
    SETUP_PAYLOAD_OFFSET = 0x248,   /* 2.08 */
    SETUP_PAYLOAD_LENGTH = 0x24c,   /* 2.08 */
    SETUP_PREF_ADDRESS = 0x258,     /* 2.10 */
    SETUP_INIT_SIZE = 0x260,        /* 2.10 */
    SETUP_HEADER_MAX = 0x290,       /* where the zero page's next field begins */
    LOADED_HIGH = 0x01,
    CAN_USE_HEAP = 0x80,
    XLF_KERNEL_64 = 0x01,
    LINUX64_ENTRY_OFFSET = 0x200,
};

/* The fields a boot loader writes into a zero page or setup sector. */
void linux_fill_header(const struct load *l, uint8_t *zp, uint64_t cmdline, uint64_t load_at);
size_t linux_cmdline_max(const struct setup_header *h); /* bytes without the NUL; h may be NULL */
uint64_t linux_initrd_max(const struct setup_header *h, enum boot_entry mode); /* its end lies at or below */

#endif
