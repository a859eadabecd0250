/* bzImages: unpacked, entered themselves, and in real mode. */
#include "boot_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    boot_input(data, size, BOOT_ENTRY_AUTO, false);
    boot_input(data, size, BOOT_ENTRY_AUTO, true);
    boot_input(data, size, BOOT_ENTRY_LINUX16, false);
    return 0;
}
