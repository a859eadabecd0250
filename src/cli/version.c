#include <stdio.h>
#include "cli/options.h"

static int version_run(const struct command *self, int argc, char **argv)
{
    (void)self;
    (void)argc;
    (void)argv;
    printf("liege %s\n", LIEGE_VERSION);
    return EXIT_OFF;
}

const struct command command_version = {
    .name = "version", .args = "", .about = "Print the version.", .run = version_run};
