/* load.c: see load.h. RTLD_NOW, so that a missing symbol is a message here and no crash later; RTLD_LOCAL, so that two
 * plugins never see each other's symbols. */
#include "worker/load.h"

#include "worker/foreign.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { MAJORS_TRIED = 64 };

typedef temper_status entry_function(const temper_hello *hello, const temper_plugin **plugin);

char *tm_plugin_name_of(const char *file) {
    const char *slash = strrchr(file, '/');
    char *name = strdup(slash != NULL ? slash + 1 : file);
    if (name != NULL && strlen(name) > 3 && strcmp(name + strlen(name) - 3, ".so") == 0) {
        name[strlen(name) - 3] = 0;
    }
    return name;
}

/* The entry is missing: does the file speak another major, or is it no plugin at all? */
static temper_status explain_missing_entry(void *library, const char *file, temper_error *error) {
    for (int major = 0; major < MAJORS_TRIED; major++) {
        char symbol[32];
        snprintf(symbol, sizeof symbol, "temper_plugin_v%d", major);
        if (dlsym(library, symbol) != NULL) {
            return temper_fail(
                error, TEMPER_UNSUPPORTED,
                "%s speaks major %d of the plugin contract, this program major %d: rebuild it with this "
                "program's SDK, or use %s program",
                file, major, TEMPER_CONTRACT_MAJOR, major > TEMPER_CONTRACT_MAJOR ? "a newer" : "an older");
        }
    }
    return temper_fail(error, TEMPER_INVALID,
                       "%s is no Temper plugin: it does not export temper_plugin_v%d (see docs/plugins.md)",
                       file, TEMPER_CONTRACT_MAJOR);
}

temper_status tm_load_plugin(const char *file, const temper_plugin **out, temper_error *error) {
    const temper_hello hello = {sizeof hello, TEMPER_CONTRACT_MINOR, TM_VERSION};
    const temper_plugin *plugin = NULL;
    entry_function *entry;
    struct stat info;
    if (file[0] != '/') {
        return temper_fail(error, TEMPER_INVALID, "the path of a plugin is absolute, not %s", file);
    }
    if (stat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
        return temper_fail(error, TEMPER_INVALID, "there is no plugin file %s", file);
    }
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return temper_fail(error, TEMPER_INVALID, "cannot load the plugin: %s", dlerror());
    }
    tm_foreign_check(file, "was loaded");
    void *symbol = dlsym(library, "temper_plugin_v1");
    if (symbol == NULL) {
        return explain_missing_entry(library, file, error);
    }
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from a data pointer to a function's */
    temper_status status = entry(&hello, &plugin);
    tm_foreign_check(file, "was asked for its description");
    if (status) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s refuses to work with Temper %s", file, TM_VERSION);
    }
    if (plugin == NULL || plugin->size < sizeof *plugin) {
        return temper_fail(error, TEMPER_INVALID, "%s: temper_plugin_v1 gave %s", file,
                           plugin == NULL ? "no description" : "a description whose size field is too small");
    }
    *out = plugin;
    return TEMPER_OK;
}
