/* arrows.c: who may include whom. The rules are read from docs/architecture.md, so that the document cannot say one thing
 * and the test another: each line "folder/  what it is  → names" allows the headers these names stand for, a folder's own,
 * and libc's. `<name>` in a folder stands for any that has no line of its own. */
#include "tidy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOMS = 64, NAMES = 256 };

typedef struct room {
    char folder[64]; /* "core/base/"; "plugins/<name>/" */
    char allowed[NAMES];
} room;

static room rooms[ROOMS];
static size_t room_count;

/* Names used in the document: folders of ours, and libraries. */
static const struct {
    const char *name, *prefix;
} folders[] = {
    {"base", "core/base/"},
    {"store", "core/store/"},
    {"archive", "core/archive/"},
    {"plugin", "core/plugin/"},
    {"scheduler", "core/scheduler/"},
    {"recipe", "core/recipe/"},
    {"worker", "core/worker/"},
    {"all of core", "core/"},
    {"include", "include/temper/"},
    {"sdk", "sdk/"},
    {"sandbox", "sdk/sandbox/"},
    {"lm", "plugins/lm/"},
};

static const struct {
    const char *header, *library;
} libraries[] = {
    {"archive.h", "libarchive"},
    {"archive_entry.h", "libarchive"},
    {"openssl/", "libcrypto"},
    {"jansson.h", "jansson"},
    {"pcre2.h", "pcre2"},
    {"utf8proc.h", "utf8proc"},
    {"lua.h", "lua"},
    {"lauxlib.h", "lua"},
    {"lualib.h", "lua"},
    {"jemalloc/", "jemalloc"},
    {"simdjson.h", "simdjson"},
    {"cld2/", "cld2"},
    {"unictype.h", "libunistring"},
    {"xxhash.h", "xxhash"},
    {"hs.h", "vectorscan"},
};

static const char *const libc[] = {
    "arm_neon.h",    "arpa/inet.h",    "assert.h",    "ctype.h",       "dirent.h",       "dlfcn.h",
    "errno.h",       "execinfo.h",     "fcntl.h",     "fenv.h",        "float.h",        "immintrin.h",
    "inttypes.h",    "limits.h",       "link.h",      "locale.h",      "math.h",         "netdb.h",
    "netinet/in.h",  "netinet/tcp.h",  "poll.h",      "pthread.h",     "sched.h",        "signal.h",
    "spawn.h",       "stdarg.h",       "stdatomic.h", "stdbool.h",     "stddef.h",       "stdint.h",
    "stdio.h",       "stdlib.h",       "string.h",    "strings.h",     "sys/auxv.h",     "sys/file.h",
    "sys/ioctl.h",   "sys/mman.h",     "sys/prctl.h", "sys/random.h",  "sys/resource.h", "sys/socket.h",
    "sys/stat.h",    "sys/statvfs.h",  "sys/time.h",  "sys/types.h",   "sys/uio.h",      "sys/un.h",
    "sys/utsname.h", "sys/wait.h",     "termios.h",   "time.h",        "unistd.h",       "cpuid.h",
    "sys/syscall.h", "linux/limits.h", "malloc.h",    "sys/sysinfo.h", "syslog.h",
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool starts(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void read_line(const char *line) {
    static const char arrow[] = "\xe2\x86\x92 "; /* → */
    const char *names = strstr(line, arrow), *end = strchr(line, ' ');
    room *r = &rooms[room_count];
    size_t length = end == NULL ? 0 : (size_t)(end - line);
    if (length < 2 || line[length - 1] != '/' || length >= sizeof r->folder || room_count == ROOMS) {
        return;
    }
    memcpy(r->folder, line, length);
    r->folder[length] = 0;
    r->allowed[0] = 0;
    if (names != NULL) {
        snprintf(r->allowed, sizeof r->allowed, "%s", names + sizeof arrow - 1);
        r->allowed[strcspn(r->allowed, "\n")] = 0;
    }
    room_count++;
}

bool arrows_read(const char *root) {
    char path[TIDY_PATH], line[1024];
    int state = 0; /* before the heading, before the block, in it */
    FILE *file;
    snprintf(path, sizeof path, "%s/docs/architecture.md", root);
    file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }
    while (state < 3 && fgets(line, sizeof line, file) != NULL) {
        if (state == 0 && starts(line, "## Folders and who may know whom")) {
            state = 1;
        } else if (state >= 1 && starts(line, "```")) {
            state++;
        } else if (state == 2) {
            read_line(line);
        }
    }
    fclose(file);
    return room_count >= 8; /* fewer: the document is not what this reads */
}

/* The room with the longest folder that the path lies in; "plugins/<name>/" is shorter than any real name. */
static const room *room_of(const char *path) {
    const room *best = NULL;
    size_t best_length = 0, i;
    for (i = 0; i < room_count; i++) {
        const char *any = strchr(rooms[i].folder, '<');
        size_t length = any == NULL ? strlen(rooms[i].folder) : (size_t)(any - rooms[i].folder);
        if (strncmp(path, rooms[i].folder, length) == 0 && (best == NULL || length > best_length)) {
            best = &rooms[i];
            best_length = length;
        }
    }
    return best;
}

static bool allows(const room *r, const char *name) {
    const char *at = r->allowed;
    size_t length = strlen(name);
    while (*at != 0) {
        size_t part = strcspn(at, ",");
        if (part == length && strncmp(at, name, length) == 0) {
            return true;
        }
        at += part;
        at += strspn(at, ", ");
    }
    return false;
}

/* In its own folder? For "plugins/<name>/" that is one level below plugins/. */
static bool own_folder(const char *path, const char *target) {
    const room *r = room_of(path);
    const char *any = r == NULL ? NULL : strchr(r->folder, '<');
    size_t length;
    if (r == NULL || room_of(target) != r) {
        return false;
    }
    if (any == NULL) {
        return true;
    }
    length = (size_t)(any - r->folder);
    length += strcspn(path + length, "/") + 1;
    return strncmp(path, target, length) == 0;
}

static void check_ours(const char *path, size_t line, const char *target) {
    const room *from = room_of(path);
    size_t i;
    if (from == NULL || own_folder(path, target)) {
        return;
    }
    for (i = 0; i < COUNT(folders); i++) {
        if (starts(target, folders[i].prefix) && allows(from, folders[i].name)) {
            return;
        }
    }
    complain(path, line, "%s may not include %s (it may: %s)", from->folder, target, from->allowed);
}

static bool exists(const char *root, const char *path) {
    char whole[TIDY_PATH * 2];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    return access(whole, F_OK) == 0;
}

/* "a/b/../c" to "a/c", in place. */
static void simplify(char *path) {
    char *up;
    while ((up = strstr(path, "/../")) != NULL && up != path) {
        char *before = up - 1;
        while (before > path && *before != '/') {
            before--;
        }
        memmove(*before == '/' ? before + 1 : before, up + 4, strlen(up + 4) + 1);
    }
}

static bool resolve(const char *root, const char *path, const char *name, char out[TIDY_PATH]) {
    static const char *const places[] = {"core/", "include/", "plugins/lm/", "plugins/", "sdk/", ""};
    const char *slash = strrchr(path, '/');
    size_t i;
    snprintf(out, TIDY_PATH, "%.*s/%s", slash == NULL ? 0 : (int)(slash - path), path, name);
    simplify(out);
    if (exists(root, out)) {
        return true;
    }
    for (i = 0; i < COUNT(places); i++) {
        snprintf(out, TIDY_PATH, "%s%s", places[i], name);
        if (exists(root, out)) {
            return true;
        }
    }
    return false;
}

void arrows_check(const char *root, const char *path, size_t line, const char *name, bool quoted) {
    const room *from = room_of(path);
    char target[TIDY_PATH];
    size_t i;
    if (from == NULL || starts(path, "tests/")) {
        return;
    }
    if (quoted) {
        if (!resolve(root, path, name, target)) {
            complain(path, line, "\"%s\" is nowhere to be found", name);
        } else {
            check_ours(path, line, target);
        }
        return;
    }
    if (starts(name, "temper/")) {
        snprintf(target, sizeof target, "include/%s", name);
        if (!exists(root, target)) {
            complain(path, line, "<%s> is no header of ours", name);
        }
        check_ours(path, line, target);
        return;
    }
    for (i = 0; i < COUNT(libraries); i++) {
        if (starts(name, libraries[i].header)) {
            if (!allows(from, libraries[i].library)) {
                complain(path, line,
                         "%s may not include <%s>: only folders with '%s' in docs/architecture.md may",
                         from->folder, name, libraries[i].library);
            }
            return;
        }
    }
    for (i = 0; i < COUNT(libc); i++) {
        if (strcmp(name, libc[i]) == 0) {
            return;
        }
    }
    complain(path, line,
             "<%s> belongs to no library this house stands on (tests/tidy/arrows.c, docs/dependencies.md)",
             name);
}
