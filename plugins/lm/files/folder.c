/* folder.c: a model's folder, or one file, by mmap.
 *
 * Invariant: every lm_file of the set stays mapped, at the size it had when it was opened, until lm_folder_close. */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILES = 65536 };

struct lm_folder {
    lm_file *files;
    size_t count, capacity;
    lm_file_set set;
};

static temper_status add_file(lm_folder *self, const char *name, const void *data, size_t size,
                              temper_error *error) {
    if (self->count >= MAX_FILES) {
        return temper_fail(error, TEMPER_INVALID, "more than %d files: this is no model's folder", MAX_FILES);
    }
    if (self->count == self->capacity) {
        size_t capacity = self->capacity == 0 ? 16 : self->capacity * 2;
        lm_file *files = realloc(self->files, capacity * sizeof *files);
        if (files == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the list of files");
        }
        self->files = files;
        self->capacity = capacity;
    }
    char *copy = strdup(name);
    if (copy == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the list of files");
    }
    self->files[self->count++] = (lm_file){copy, data, size};
    return TEMPER_OK;
}

/* Maps one regular file; anything else in a folder (a socket, a dangling link, a directory) is passed over. */
static temper_status map_file(lm_folder *self, int directory, const char *entry, const char *name,
                              temper_error *error) {
    struct stat info;
    const void *data = "";
    temper_status status = TEMPER_OK;
    int fd = openat(directory, entry, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT || errno == ELOOP || errno == ENXIO
                   ? TEMPER_OK
                   : temper_fail(error, TEMPER_IO, "%s: %s", name, strerror(errno));
    }
    if (fstat(fd, &info) != 0) {
        status = temper_fail(error, TEMPER_IO, "%s: %s", name, strerror(errno));
        goto out;
    }
    if (!S_ISREG(info.st_mode)) {
        goto out;
    }
    if (info.st_size > 0) {
        data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = temper_fail(error, TEMPER_IO, "%s: %s", name, strerror(errno));
            goto out;
        }
    }
    status = add_file(self, name, data, (size_t)info.st_size, error);
    if (status && info.st_size > 0) {
        munmap((void *)(uintptr_t)data, (size_t)info.st_size);
    }
out:
    close(fd);
    return status;
}

/* Takes over `fd`. */
static temper_status map_directory(lm_folder *self, int fd, const char *prefix, temper_error *error) {
    temper_status status = TEMPER_OK;
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        close(fd);
        return temper_fail(error, TEMPER_IO, "cannot read the folder: %s", strerror(errno));
    }
    struct dirent *entry;
    while (!status && (entry = readdir(directory)) != NULL) {
        char name[sizeof entry->d_name + 8];
        snprintf(name, sizeof name, "%s%s", prefix, entry->d_name);
        status = map_file(self, dirfd(directory), entry->d_name, name, error);
    }
    closedir(directory);
    return status;
}

static int by_name(const void *left, const void *right) {
    return strcmp(((const lm_file *)left)->name, ((const lm_file *)right)->name);
}

static temper_status open_directory(lm_folder *self, int fd, temper_error *error) {
    int base = openat(fd, "base", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    temper_status status = map_directory(self, fd, "", error);
    if (base >= 0) {
        if (status) {
            close(base);
        } else {
            status = map_directory(self, base, "base/", error);
        }
    }
    return status;
}

temper_status lm_folder_open(const char *path, lm_folder **out, temper_error *error) {
    temper_status status;
    const char *slash = strrchr(path, '/');
    lm_folder *self = calloc(1, sizeof *self);
    *out = NULL;
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to open %s", path);
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        status = open_directory(self, fd, error);
    } else if (errno == ENOTDIR) {
        status = map_file(self, AT_FDCWD, path, slash == NULL ? path : slash + 1, error);
    } else {
        status = temper_fail(error, TEMPER_IO, "%s", strerror(errno));
    }
    if (!status && self->count == 0) {
        status = temper_fail(error, TEMPER_INVALID, "there is no file in it");
    }
    if (status) {
        lm_folder_close(self);
        return temper_fail_in(error, status, "%s", path);
    }
    qsort(self->files, self->count, sizeof *self->files, by_name);
    self->set = (lm_file_set){self->files, self->count};
    *out = self;
    return TEMPER_OK;
}

const lm_file_set *lm_folder_files(const lm_folder *folder) {
    return &folder->set;
}

void lm_folder_close(lm_folder *folder) {
    if (folder == NULL) {
        return;
    }
    for (size_t i = 0; i < folder->count; i++) {
        if (folder->files[i].size > 0) {
            munmap((void *)(uintptr_t)folder->files[i].data, folder->files[i].size);
        }
        free((void *)(uintptr_t)folder->files[i].name);
    }
    free(folder->files);
    free(folder);
}
