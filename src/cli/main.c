/*
 * liege: the command line. main() finds the command; each command is a table of options and a function.
 */
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "base/nearest.h"
#include "cli/options.h"

static int help_run(const struct command *self, int argc, char **argv);

static const struct command command_help = {
    .name = "help", .args = "[COMMAND]", .about = "Explain a command and its options.", .run = help_run};

const struct command *const commands[] = {&command_run, &command_host, &command_version, &command_help, NULL};

static const struct command *find_command(const char *name, struct err *e)
{
    const char *words[8], *near;
    unsigned n = 0;
    for (; commands[n]; n++) {
        if (!strcmp(commands[n]->name, name))
            return commands[n];
        words[n] = commands[n]->name;
    }
    words[n] = NULL;
    near = nearest(name, words);
    err_set(e, 2,
            near ? "unknown command '%s'; did you mean '%s'?"
                 : "unknown command '%s'; 'liege help' lists them",
            name, near);
    return NULL;
}

static void overview(FILE *f)
{
    fprintf(f, "Liege creates and runs virtual machines.\n\nUsage: liege COMMAND [OPTION]...\n\n");
    for (unsigned i = 0; commands[i]; i++)
        fprintf(f, "  %-10s %s\n", commands[i]->name, commands[i]->about);
    fprintf(f, "\n'liege help COMMAND' explains one. The manual: man liege.\n");
}

static int help_run(const struct command *self, int argc, char **argv)
{
    struct err e;
    (void)self;
    if (argc < 2) {
        overview(stdout);
        return EXIT_OFF;
    }
    const struct command *c = find_command(argv[1], &e);
    if (!c) {
        complain(&e);
        return EXIT_USAGE;
    }
    options_help(c);
    return EXIT_OFF;
}

int main(int argc, char **argv)
{
    struct err e;
    if (argc < 2) {
        overview(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h"))
        name = "help";
    else if (!strcmp(name, "--version") || !strcmp(name, "-V"))
        name = "version";
    const struct command *c = find_command(name, &e);
    if (!c) {
        complain(&e);
        return EXIT_USAGE;
    }
    if (argc > 2 && (!strcmp(argv[2], "--help") || !strcmp(argv[2], "-h"))) {
        options_help(c);
        return EXIT_OFF;
    }
    return c->run(c, argc - 1, argv + 1);
}
