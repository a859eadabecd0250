/* Runs a fuzz target on every file of the folders given, as a test. */
#include "base/err.h"
#include "fuzz.h"
#include "host/host.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static int replay_file(const char *path)
{
    struct err e;
    uint8_t *data;
    size_t len;
    if (host_read_file(path, 16 << 20, &data, &len, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    LLVMFuzzerTestOneInput(data, len);
    free(data);
    return 0;
}

static int replay_folder(const char *folder, unsigned *count)
{
    DIR *d = opendir(folder);
    int failed = 0;
    if (!d) {
        fprintf(stderr, "%s: no such corpus\n", folder);
        return 1;
    }
    for (struct dirent *f; (f = readdir(d));) {
        char path[4096];
        if (f->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
        failed |= replay_file(path);
        (*count)++;
    }
    closedir(d);
    return failed;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= replay_folder(argv[i], &count);
    printf("%u inputs\n", count);
    return failed || !count;
}
