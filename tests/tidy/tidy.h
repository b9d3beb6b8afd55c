/* tidy.h: what the files of this checker share. It stands on libc alone: it must build when nothing else does. */
#ifndef TIDY_H
#define TIDY_H

#include <stdbool.h>
#include <stddef.h>

enum { TIDY_PATH = 512 };

/* Prints "path:line: message" and counts it. */
void complain(const char *path, size_t line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Reads the arrows from the first code block after "Folders and who may know whom" in docs/architecture.md. */
bool arrows_read(const char *root);
/* One #include of a file (paths are relative to the root), held against them. */
void arrows_check(const char *root, const char *path, size_t line, const char *name, bool quoted);

/* A C file's text with comments, strings and character constants blanked, lines kept; malloc'ed. */
char *code_only(const char *text);
/* Complains of calls of libm functions whose bits differ from one C library to the next. */
void scan_calls(const char *path, const char *code);

#endif
