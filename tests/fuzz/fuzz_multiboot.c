/* Multiboot images, ELF or by their addresses. */
#include "boot_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    boot_input(data, size, BOOT_ENTRY_MULTIBOOT, false);
    return 0;
}
