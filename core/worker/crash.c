/* crash.c: see crash.h. In the handler nothing is allocated and no lock is waited for: it walks the stack (the unwinder was
 * loaded beforehand), takes the innermost frame that lies in a plugin, and sends one line. A static function has no name in
 * a shared object; its offset is what `addr2line -fe FILE.so OFFSET` turns into a line. */
#include "worker/crash.h"

#include "worker/wire.h"
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

void tm_crash_watch(void) {
    /* a sanitizer says more */
}

#else

enum { DEEPEST = 64, STACK_SIZE = 64 << 10 };

static const int watched[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

/* A plugin is NAME.so; a system's library has its version behind that. */
static bool is_plugin(const char *file) {
    size_t length = strlen(file);
    return length > 3 && strcmp(file + length - 3, ".so") == 0;
}

static void say_where(void) {
    void *frames[DEEPEST];
    char line[512];
    int count = backtrace(frames, DEEPEST);
    for (int i = 0; i < count; i++) {
        Dl_info info;
        if (!dladdr(frames[i], &info) || info.dli_fname == NULL || !is_plugin(info.dli_fname)) {
            continue;
        }
        const char *slash = strrchr(info.dli_fname, '/');
        int length =
            snprintf(line, sizeof line, "{\"crashed\":{\"at\":\"%s%s%.100s+0x%lx\"}}\n",
                     info.dli_sname != NULL ? info.dli_sname : "", info.dli_sname != NULL ? " in " : "",
                     slash != NULL ? slash + 1 : info.dli_fname,
                     (unsigned long)((const char *)frames[i] - (const char *)info.dli_fbase));
        if (length > 0 && (size_t)length < sizeof line) {
            tm_wire_last_words(line, (size_t)length);
        }
        return;
    }
}

static void on_crash(int number) {
    say_where();
    raise(number); /* SA_RESETHAND: now it kills */
}

void tm_crash_watch(void) {
    static char stack[STACK_SIZE];
    void *frame;
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack}; /* a stack overflow leaves no other */
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaltstack(&alternative, NULL);
    backtrace(&frame, 1); /* loads the unwinder, which allocates */
    for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) {
        sigaction(watched[i], &action, NULL);
    }
}

#endif
