/* tidy.c: reads the tree and says where it breaks the rules of the house: the arrows between folders, libm in results, tabs
 * and trailing spaces, lengths, head comments, folders that do not say what they are. Exit code 1 if it found anything. */
#include "tidy.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LONGEST_FILE = 900, LARGEST_FILE = 1 << 22 };

static size_t faults, files;

void complain(const char *path, size_t line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (line > 0) {
        printf("%s:%zu: ", path, line);
    } else {
        printf("%s: ", path);
    }
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    faults++;
}

static bool ends(const char *name, const char *end) {
    size_t length = strlen(name), end_length = strlen(end);
    return length >= end_length && strcmp(name + length - end_length, end) == 0;
}

static bool starts(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static char *read_text(const char *root, const char *path) {
    char whole[TIDY_PATH * 2];
    FILE *file;
    char *text = NULL;
    size_t count;
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    file = fopen(whole, "rb");
    if (file != NULL && (text = malloc(LARGEST_FILE + 1)) != NULL) {
        count = fread(text, 1, LARGEST_FILE, file);
        text[count] = 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    return text;
}

static void check_include(const char *root, const char *path, size_t line, const char *text) {
    char name[256];
    const char *at = text + strspn(text, " ");
    char close;
    size_t length;
    if (*at != '#') {
        return;
    }
    at++;
    at += strspn(at, " ");
    if (!starts(at, "include")) {
        return;
    }
    at += strlen("include");
    at += strspn(at, " ");
    if (*at != '"' && *at != '<') {
        return; /* a macro's name */
    }
    close = *at == '"' ? '"' : '>';
    length = strcspn(at + 1, close == '"' ? "\"\n" : ">\n");
    if (length >= sizeof name) {
        complain(path, line, "a header's name of %zu bytes", length);
        return;
    }
    memcpy(name, at + 1, length);
    name[length] = 0;
    arrows_check(root, path, line, name, close == '"');
}

/* What any text of ours must not have. */
static size_t check_lines(const char *root, const char *path, const char *text, bool c_file) {
    static const char unfinished[] = "TO"
                                     "DO",
                      broken[] = "FIX"
                                 "ME";
    bool sources = c_file && !starts(path, "tests/");
    size_t line = 1;
    const char *at = text;
    while (*at != 0) {
        size_t length = strcspn(at, "\n");
        const char *found = memchr(at, '\t', length);
        if (found != NULL) {
            complain(path, line, "a tab");
        }
        if (length > 0 && (at[length - 1] == ' ' || at[length - 1] == '\r')) {
            complain(path, line, "a space at the end of the line");
        }
        found = strstr(at, unfinished);
        if (found != NULL && found < at + length) {
            complain(path, line, "'%s': do it, or file an issue", unfinished);
        }
        found = strstr(at, broken);
        if (found != NULL && found < at + length) {
            complain(path, line, "'%s': do it, or file an issue", broken);
        }
        if (sources) {
            check_include(root, path, line, at);
        }
        at += length;
        if (*at == '\n') {
            at++;
            line++;
        } else {
            complain(path, line, "no line feed at the end of the file");
        }
    }
    return line - 1;
}

static void check_file(const char *root, const char *path) {
    bool c_file = ends(path, ".c") || ends(path, ".h");
    bool text_file = c_file || ends(path, ".lua") || ends(path, ".sh") || ends(path, ".cmake") ||
                     ends(path, "CMakeLists.txt");
    char *text, *code;
    size_t lines;
    if (!text_file || (text = read_text(root, path)) == NULL) {
        return;
    }
    files++;
    lines = check_lines(root, path, text, c_file);
    if (c_file) {
        if (lines > LONGEST_FILE) {
            complain(path, 0, "%zu lines: more than %d are two files", lines, LONGEST_FILE);
        }
        if (!starts(text, "/*")) {
            complain(path, 1, "no head comment: what it is, and its invariant");
        }
        if (!starts(path, "tests/") && (code = code_only(text)) != NULL) {
            scan_calls(path, code);
            free(code);
        }
    }
    free(text);
}

/* A folder of ours says what lives in it: a README.md, or a head comment in its CMakeLists.txt. */
static void check_says(const char *root, const char *folder) {
    char path[TIDY_PATH];
    char *text;
    snprintf(path, sizeof path, "%.400s/README.md", folder);
    text = read_text(root, path);
    if (text == NULL) {
        snprintf(path, sizeof path, "%.400s/CMakeLists.txt", folder);
        text = read_text(root, path);
        if (text == NULL || text[0] != '#') {
            complain(folder, 0,
                     "neither a README.md nor a CMakeLists.txt with a head comment says what lives here");
        }
    }
    free(text);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void walk(const char *root, const char *folder, bool must_say) {
    char whole[TIDY_PATH * 2], path[TIDY_PATH];
    struct dirent **entries = NULL;
    bool has_files = false;
    int count, i;
    snprintf(whole, sizeof whole, "%s/%s", root, folder);
    count = scandir(whole, &entries, NULL, by_name);
    for (i = 0; i < count; i++) {
        struct stat about;
        const char *name = entries[i]->d_name;
        if (name[0] != '.' && !starts(name, "build") && strlen(folder) + strlen(name) + 2 < sizeof path) {
            snprintf(path, sizeof path, "%.255s/%.255s", folder, name);
            snprintf(whole, sizeof whole, "%s/%s", root, path);
            if (lstat(whole, &about) == 0 && S_ISDIR(about.st_mode)) {
                walk(root, path, must_say);
            } else if (S_ISREG(about.st_mode)) {
                has_files = true;
                check_file(root, path);
            }
        }
        free(entries[i]);
    }
    free(entries);
    if (must_say && has_files) {
        check_says(root, folder);
    }
}

int main(int argc, char **argv) {
    static const struct {
        const char *folder;
        bool must_say;
    } trees[] = {{"include", false},  {"core", true},   {"plugins", true},  {"sdk", true},
                 {"examples", false}, {"tests", false}, {"recipes", false}, {"cmake", false}};
    size_t i;
    if (argc != 2) {
        fprintf(stderr, "usage: tidy ROOT\n");
        return 2;
    }
    if (!arrows_read(argv[1])) {
        fprintf(stderr,
                "docs/architecture.md does not list the folders under 'Folders and who may know whom'\n");
        return 2;
    }
    for (i = 0; i < sizeof trees / sizeof trees[0]; i++) {
        walk(argv[1], trees[i].folder, trees[i].must_say);
    }
    if (files == 0) {
        fprintf(stderr, "no files of ours under '%s'\n", argv[1]);
        return 2;
    }
    printf("%zu files, %zu faults\n", files, faults);
    return faults == 0 ? 0 : 1;
}
