/* foreign.c: see foreign.h. */
#include "worker/foreign.h"

#include "base/pool.h"
#include "worker/host.h"
#include <locale.h>
#include <stdatomic.h>
#include <string.h>

static void warn(const char *who, const char *what, const char *changed) {
    char message[512];
    snprintf(message, sizeof message, "%s changed the %s when it %s; it was put back", who, changed, what);
    tm_log("warning", message);
}

void tm_foreign_check_thread(const char *who) {
    static atomic_bool said;
    if (!tm_fpenv_reset() && !atomic_exchange(&said, true)) {
        warn(who, "ran in parallel", "floating-point environment");
    }
}

void tm_foreign_check(const char *who, const char *what) {
    if (!tm_fpenv_reset()) {
        warn(who, what, "floating-point environment");
    }
    const char *locale = setlocale(LC_ALL, NULL);
    if (locale == NULL || strcmp(locale, "C") != 0) {
        warn(who, what, "locale");
        setlocale(LC_ALL, "C");
    }
}
