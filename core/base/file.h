/* file.h: reading whole files, and writing them so that a half-written one never has its final name. */
#ifndef TM_FILE_H
#define TM_FILE_H

#include "base/buffer.h"
#include <stdint.h>
#include <temper/status.h>

temper_status tm_file_read(const char *path, size_t limit, tm_buffer *out, temper_error *error);
/* Read-only mapping; an empty file maps to a valid pointer and size 0. */
temper_status tm_file_map(const char *path, const void **data, size_t *size, temper_error *error);
void tm_file_unmap(const void *data, size_t size);
/* Temporary file in the same folder, fsync, rename, fsync of the folder. */
temper_status tm_file_write(const char *path, const void *bytes, size_t count, temper_error *error);
/* The same as one goes. commit and abort free the writer; a writer whose add failed is to be aborted. */
typedef struct tm_file_writer tm_file_writer;
temper_status tm_file_writer_new(const char *path, tm_file_writer **out, temper_error *error);
temper_status tm_file_writer_add(tm_file_writer *writer, const void *bytes, size_t count,
                                 temper_error *error);
temper_status tm_file_writer_commit(tm_file_writer *writer, temper_error *error);
void tm_file_writer_abort(tm_file_writer *writer);
/* fsync of a folder: makes the names in it durable. */
temper_status tm_file_sync_folder(const char *path, temper_error *error);
/* mkdir -p */
temper_status tm_folder_make(const char *path, temper_error *error);
/* Removes a folder and what is in it; symbolic links are removed, not followed. */
temper_status tm_folder_remove(const char *path, temper_error *error);
/* Sorted names in a folder (no "." and ".."); free each and the array. */
temper_status tm_folder_list(const char *path, char ***names, size_t *count, temper_error *error);
/* malloc'ed "a/b". */
char *tm_path_join(const char *a, const char *b);
/* Absolute path of the running executable's folder; malloc'ed. */
char *tm_path_program_folder(void);

#endif
