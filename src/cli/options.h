/*
 * options: one table per command drives parsing, help, completion and "did you mean".
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H
#include <stdbool.h>
struct err;

struct option_def {
    const char *name;  /* without the dashes */
    const char *value; /* what the value is called in help, NULL for a switch */
    const char *help;  /* one line */
    /* Called for each occurrence; value is NULL for a switch. 0 or -errno with `e`. */
    int (*set)(void *opaque, const char *value, struct err *e);
};

struct command {
    const char *name, *args, *about;
    const struct option_def *options; /* ends with a NULL name; may be NULL */
    const char *more;                 /* text under the options in help, may be NULL */
    int (*run)(const struct command *self, int argc,
               char **argv); /* exit status; argv[0] is the command's name */
};

/* Parse `--name value`, `--name=value`, `--name`. Stops at "--" or the first word that is no option; returns
 * its index, or -EINVAL. */
int options_parse(const struct command *c, int argc, char **argv, void *opaque, struct err *e);
void options_help(const struct command *c);

extern const struct command command_run, command_host, command_version;
extern const struct command *const commands[]; /* ends with NULL */

/* Print "liege: MESSAGE" on stderr. */
void complain(const struct err *e);

enum { EXIT_OFF = 0, EXIT_OTHER = 1, EXIT_USAGE = 2, EXIT_GUEST_RESET = 3, EXIT_GUEST_CRASH = 4 };

#endif
