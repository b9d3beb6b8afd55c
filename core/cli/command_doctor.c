/* command_doctor.c: what this machine has for Temper. Every line is a fact looked up now; a line that is BAD says what would mend
 * it, and only what keeps a run from working is BAD. */
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "scheduler/sources.h"

#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

typedef enum finding { GOOD, WEAK, BAD } finding;

typedef struct examination {
    const cli_options *options;
    size_t bad;
} examination;

static void tell(examination *all, finding verdict, const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void tell(examination *all, finding verdict, const char *what, const char *format, ...) {
    static const char *const names[] = {"ok", "note", "BAD"};
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    all->bad += verdict == BAD;
    if (all->options->json) {
        cli_event("finding", "what", what, "verdict", names[verdict], "text", text, (char *)NULL);
    } else {
        printf(" %-12s %-4s  %s\n", what, names[verdict], text);
    }
}

/* The value of a line "NAME: value" in a file of /proc, or "". */
static void proc_value(const char *path, const char *name, char *out, size_t size) {
    char line[512];
    FILE *file = fopen(path, "re");
    out[0] = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, name, strlen(name)) == 0 && colon != NULL) {
            colon += 1 + strspn(colon + 1, " \t");
            snprintf(out, size, "%.*s", (int)strcspn(colon, "\n"), colon);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void look_at_processor(examination *all) {
    const char *kernels = tm_kernel_set_here();
    char model[128];
    proc_value("/proc/cpuinfo", "model name", model, sizeof model);
    tell(all, GOOD, "processor", "%s · %u thread%s", *model != 0 ? model : "unknown",
         cli_threads(all->options), cli_threads(all->options) == 1 ? "" : "s");
    if (strcmp(kernels, "scalar") == 0) {
        tell(all, WEAK, "kernels",
             "scalar: right bits and slow; a processor with AVX2 and FMA, AVX-512 or NEON is many times "
             "faster");
    } else {
        tell(all, GOOD, "kernels", "%s%s (temper selftest --kernels checks it)", kernels,
             getenv("TEMPER_KERNELS") != NULL ? ", as TEMPER_KERNELS says" : "");
    }
}

static void look_at_memory(examination *all) {
    char total[64], available[64], bytes[16], other[16];
    double whole, now;
    proc_value("/proc/meminfo", "MemTotal", total, sizeof total);
    proc_value("/proc/meminfo", "MemAvailable", available, sizeof available);
    whole = 1024 * strtod(total, NULL);
    now = 1024 * strtod(available, NULL);
    if (!(whole > 0)) {
        tell(all, WEAK, "memory", "unknown: /proc/meminfo cannot be read");
    } else if (now < 512.0 * 1024 * 1024) {
        tell(all, BAD, "memory", "%s available of %s: end other programs; a small model wants 0.5 GB",
             tm_text_bytes(now, bytes), tm_text_bytes(whole, other));
    } else {
        tell(all, GOOD, "memory",
             "%s available of %s; room for a model of about %.1f billion parameters in bf16",
             tm_text_bytes(now, bytes), tm_text_bytes(whole, other), 0.75 * now / 2e9);
    }
}

static void look_at_huge_pages(examination *all) {
    char mode[128] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    bool read = file != NULL && fgets(mode, sizeof mode, file) != NULL;
    if (file != NULL) {
        fclose(file);
    }
    if (!read) {
        tell(all, WEAK, "huge pages", "unknown; without them generation is somewhat slower");
    } else if (strstr(mode, "[never]") != NULL) {
        tell(
            all, WEAK, "huge pages",
            "off: generation is somewhat slower; echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
    } else {
        tell(all, GOOD, "huge pages", "%s", strstr(mode, "[always]") != NULL ? "always" : "where asked for");
    }
}

static void look_at_store(examination *all, tm_store *store) {
    struct statvfs about;
    char bytes[16];
    double space;
    if (statvfs(tm_store_root(store), &about) != 0) {
        tell(all, WEAK, "store", "%s; how much room is left cannot be seen", tm_store_root(store));
        return;
    }
    space = (double)about.f_bavail * (double)about.f_frsize;
    if (space < 256.0 * 1024 * 1024) {
        tell(all, BAD, "store",
             "%s: %s left on the disk: free some (temper gc), or set TEMPER_HOME to a folder elsewhere",
             tm_store_root(store), tm_text_bytes(space, bytes));
    } else {
        tell(all, GOOD, "store", "%s · %s left on the disk", tm_store_root(store),
             tm_text_bytes(space, bytes));
    }
}

static void look_at_plugins(examination *all, tm_catalog *catalog) {
    const char *const *names;
    size_t count = tm_catalog_names(catalog, &names), i, good = 0;
    tm_buffer list = TM_BUFFER_INIT;
    const tm_plugin_entry *entry;
    temper_error error = TEMPER_ERROR_INIT;
    for (i = 0; i < count; i++) {
        if (tm_catalog_find(catalog, names[i], &entry, &error) == TEMPER_OK) {
            tm_buffer_format(&list, "%s%s", good++ > 0 ? " " : "", names[i]);
        } else {
            tell(all, BAD, "plugin", "%s: %s", names[i], error.message);
        }
    }
    if (good == 0) {
        tell(all, BAD, "plugins",
             "none found: build or install Temper whole, or name a folder with --plugins");
    } else {
        tell(all, GOOD, "plugins", "%s", tm_buffer_ok(&list) ? list.data : "");
    }
    if (tm_catalog_provider(catalog, &entry, &error) != TEMPER_OK) {
        tell(all, BAD, "provider", "%s", error.message);
    }
    tm_buffer_free(&list);
}

static void look_at_builtin(examination *all) {
    char *path = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    if (tm_builtin_find("tiny-chat", &path, &error) == TEMPER_OK) {
        tell(all, GOOD, "builtin", "tiny-chat in %s", path);
    } else {
        tell(all, WEAK, "builtin", "%s", error.message);
    }
    free(path);
}

int cli_doctor(const cli_options *options) {
    examination all = {.options = options};
    cli_context context;
    temper_error error = TEMPER_ERROR_INIT;
    struct utsname system;
    temper_status status;
    if (uname(&system) == 0) {
        tell(&all, GOOD, "temper", "%s on %s %s, %s", TEMPER_VERSION, system.sysname, system.release,
             system.machine);
    }
    look_at_processor(&all);
    look_at_memory(&all);
    look_at_huge_pages(&all);
    status = cli_open(options, &context, &error);
    if (status) {
        tell(&all, BAD, "store", "%s", error.message);
    } else {
        look_at_store(&all, context.store);
        look_at_plugins(&all, context.catalog);
        cli_close(&context);
    }
    look_at_builtin(&all);
    return all.bad > 0 ? CLI_FAILED : CLI_OK;
}
