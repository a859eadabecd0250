/* The JSON form of a machine's configuration. What is accepted is printed, read again, and printed the same.
 */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "fuzz.h"
#include "vm/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vm_config c, again;
    struct err e = {""};
    vm_config_init(&c);
    if (vm_config_from_json(&c, (const char *)data, size, "fuzz", &e)) {
        if (!e.msg[0] || strchr(e.msg, '\n'))
            abort();
        vm_config_fini(&c);
        return 0;
    }
    vm_config_init(&again);
    char *text = vm_config_to_json(&c), *second = NULL;
    if (!text || vm_config_from_json(&again, text, strlen(text), "again", &e) ||
        !(second = vm_config_to_json(&again)) || strcmp(text, second) != 0)
        abort();
    (void)vm_config_check(&c, &e);
    free(text);
    free(second);
    vm_config_fini(&again);
    vm_config_fini(&c);
    return 0;
}
