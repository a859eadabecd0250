/*
 * liege host: what this machine offers to virtual machines, and what --accel auto would take.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "accel/accel.h"
#include "base/err.h"
#include "cli/options.h"
#include "host/host.h"
#include "x86/cpuid.h"

static int set_json(void *opaque, const char *value, struct err *e)
{
    (void)value;
    (void)e;
    *(bool *)opaque = true;
    return 0;
}

static const struct option_def options[] = {{"json", NULL, "machine-readable output", set_json},
                                            {NULL, NULL, NULL, NULL}};

static void read_line(const char *path, char *out, size_t cap)
{
    FILE *f = fopen(path, "re");
    out[0] = 0;
    if (f && fgets(out, (int)cap, f))
        out[strcspn(out, "\n")] = 0;
    if (f)
        fclose(f);
}

static void cpu_name(char *out, size_t cap)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    snprintf(out, cap, "unknown");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "model name", 10) && strchr(line, ':')) {
            line[strcspn(line, "\n")] = 0;
            snprintf(out, cap, "%s", strchr(line, ':') + 2);
            break;
        }
    if (f)
        fclose(f);
}

static json_t *kvm_facts(bool *usable)
{
    struct err e = {0};
    double mips = 0;
    int r = accel_kvm_probe(&mips, &e);
    *usable = r == 0;
    json_t *o = json_pack("{sb ss}", "usable", r == 0, "why",
                          r == 0 ? "guest kernel code runs at native speed" : e.msg);
    if (mips > 0)
        json_object_set_new(o, "measured-mips", json_integer((json_int_t)mips));
    return o;
}

static json_t *model_facts(void)
{
    json_t *list = json_array();
    for (const char *const *m = x86_cpu_models(); *m; m++) {
        struct x86_cpuid c;
        struct err e = {0};
        struct x86_cpu_config cfg = {.model = *m, .cpus = 1, .hypervisor_leaves = true};
        memset(&cfg.allow, 0xff, sizeof cfg.allow);
        int r = x86_cpuid_build(&c, &cfg, &e);
        json_array_append_new(list, json_pack("{ss ss sb ss}", "name", *m, "about", x86_cpu_model_about(*m),
                                              "possible", r == 0, "why-not", r ? e.msg : ""));
    }
    return list;
}

static json_t *feature_facts(void)
{
    struct x86_features f;
    size_t n;
    const struct x86_feature_name *names = x86_feature_names(&n);
    json_t *list = json_array();
    x86_features_host(&f);
    for (size_t i = 0; i < n; i++)
        if (f.w[names[i].feature >> 5] >> (names[i].feature & 31) & 1)
            json_array_append_new(list, json_string(names[i].name));
    return list;
}

static json_t *limit_facts(void)
{
    struct rlimit files, locked;
    char huge[128], thp[128], uring[16];
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_MEMLOCK, &locked);
    read_line("/proc/sys/vm/nr_hugepages", huge, sizeof huge);
    read_line("/sys/kernel/mm/transparent_hugepage/enabled", thp, sizeof thp);
    read_line("/proc/sys/kernel/io_uring_disabled", uring, sizeof uring);
    int tap = access("/dev/net/tun", R_OK | W_OK) ? errno : 0;
    return json_pack(
        "{sI sI ss ss ss ss}", "open-files", (json_int_t)files.rlim_cur, "locked-memory-bytes",
        (json_int_t)locked.rlim_cur, "huge-pages", *huge ? huge : "none", "transparent-huge-pages",
        *thp ? thp : "none", "io-uring",
        !strcmp(uring, "0") ? "allowed"
        : *uring            ? "restricted"
                            : "unknown",
        "tap", tap ? strerror(tap) : "/dev/net/tun can be opened (making an interface needs CAP_NET_ADMIN)");
}

static void print_text(json_t *all)
{
    size_t i;
    json_t *v;
    const char *key;
    json_t *kvm = json_object_get(all, "kvm"), *limits = json_object_get(all, "limits");
    printf("host       %s, %s\n", json_string_value(json_object_get(all, "kernel")),
           json_string_value(json_object_get(all, "cpu")));
    printf("cpus       %lld\n", (long long)json_integer_value(json_object_get(all, "cpus")));
    printf("memory     %lld MiB, %lld MiB available\n",
           (long long)json_integer_value(json_object_get(all, "memory-mib")),
           (long long)json_integer_value(json_object_get(all, "available-mib")));
    printf("kvm        %s: %s\n", json_is_true(json_object_get(kvm, "usable")) ? "usable" : "not used",
           json_string_value(json_object_get(kvm, "why")));
    printf("auto       --accel auto takes %s\n", json_string_value(json_object_get(all, "auto")));
    json_object_foreach(limits, key, v)
    {
        if (json_is_integer(v))
            printf("%-10s %lld\n", key, (long long)json_integer_value(v));
        else
            printf("%-10s %s\n", key, json_string_value(v));
    }
    printf("models\n");
    json_array_foreach(json_object_get(all, "models"), i, v)
        printf("  %-12s %s%s%s\n", json_string_value(json_object_get(v, "name")),
               json_string_value(json_object_get(v, "about")),
               json_is_true(json_object_get(v, "possible")) ? "" : "; not here: ",
               json_string_value(json_object_get(v, "why-not")));
    printf("features  ");
    json_array_foreach(json_object_get(all, "features"), i, v) printf(" %s", json_string_value(v));
    printf("\n");
}

static int host_run(const struct command *self, int argc, char **argv)
{
    struct err e;
    struct utsname u;
    char cpu[128];
    bool json = false, usable;
    int at = options_parse(self, argc, argv, &json, &e);
    if (at >= 0 && at < argc)
        at = err_set(&e, EINVAL, "unexpected '%s'; 'liege help host' explains", argv[at]);
    if (at < 0) {
        complain(&e);
        return EXIT_USAGE;
    }
    uname(&u);
    cpu_name(cpu, sizeof cpu);
    json_t *kvm = kvm_facts(&usable);
    json_t *all =
        json_pack("{ss ss sI sI sI so ss so so so}", "kernel", u.release, "cpu", cpu, "cpus",
                  (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "memory-mib",
                  (json_int_t)(host_mem_total() >> 20), "available-mib",
                  (json_int_t)(host_mem_available() >> 20), "kvm", kvm, "auto", usable ? "kvm" : "soft",
                  "limits", limit_facts(), "models", model_facts(), "features", feature_facts());
    if (json) {
        char *text = json_dumps(all, JSON_INDENT(2));
        if (text)
            puts(text);
        free(text);
    } else {
        print_text(all);
    }
    json_decref(all);
    return EXIT_OFF;
}

const struct command command_host = {
    .name = "host",
    .args = "[--json]",
    .about = "Show what this machine offers: KVM or not and why, features, limits.",
    .options = options,
    .run = host_run};
