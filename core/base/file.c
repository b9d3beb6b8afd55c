/* file.c: whole files and folders; see file.h. A file that is written gets its final name only after its bytes are on
 * the disk; whatever fails before that leaves nothing behind. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static temper_status out_of_memory(temper_error *error) {
    return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}

static temper_status open_to_read(const char *path, int flags, int *file, struct stat *status,
                                  temper_error *error) {
    int opened = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (opened < 0) {
        return temper_fail(error, TEMPER_IO, "cannot open '%s': %s", path, strerror(errno));
    }
    if (fstat(opened, status) != 0) {
        int cause = errno;
        close(opened);
        return temper_fail(error, TEMPER_IO, "cannot look at '%s': %s", path, strerror(cause));
    }
    if (S_ISDIR(status->st_mode)) {
        close(opened);
        return temper_fail(error, TEMPER_INVALID, "'%s' is a folder, where a file is needed", path);
    }
    *file = opened;
    return TEMPER_OK;
}

temper_status tm_file_read(const char *path, size_t limit, tm_buffer *out, temper_error *error) {
    struct stat about;
    temper_status status;
    int file = -1;
    if ((status = open_to_read(path, 0, &file, &about, error))) {
        return status;
    }
    tm_buffer_clear(out);
    if (S_ISREG(about.st_mode) && about.st_size > 0 && (uint64_t)about.st_size <= limit) {
        tm_buffer_reserve(out, (size_t)about.st_size + 1); /* a failure shows below */
    }
    for (;;) {
        ssize_t count;
        if (!tm_buffer_reserve(out, 4096)) {
            status = out_of_memory(error);
            break;
        }
        count = read(file, out->data + out->length, out->capacity - out->length - 1);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            status = temper_fail(error, TEMPER_IO, "cannot read '%s': %s", path, strerror(errno));
            break;
        }
        out->length += (size_t)count;
        out->data[out->length] = 0;
        if (out->length > limit) {
            status = temper_fail(error, TEMPER_INVALID, "'%s' is larger than the %zu bytes allowed here",
                                 path, limit);
            break;
        }
        if (count == 0) {
            break;
        }
    }
    close(file);
    if (status) {
        tm_buffer_clear(out);
    }
    return status;
}

static const char empty_file[1] = {0};

temper_status tm_file_map(const char *path, const void **data, size_t *size, temper_error *error) {
    struct stat about;
    temper_status status;
    void *mapped;
    int file = -1;
    if ((status = open_to_read(path, O_NONBLOCK, &file, &about, error))) {
        return status;
    }
    if (!S_ISREG(about.st_mode)) {
        status = temper_fail(error, TEMPER_INVALID, "'%s' is not a regular file", path);
    } else if (about.st_size == 0) {
        *data = empty_file;
        *size = 0;
    } else if ((uint64_t)about.st_size > SIZE_MAX / 2) {
        status = temper_fail(error, TEMPER_INVALID, "'%s' is too large to map", path);
    } else {
        mapped = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (mapped == MAP_FAILED) {
            status = temper_fail(error, errno == ENOMEM ? TEMPER_NO_MEMORY : TEMPER_IO, "cannot map '%s': %s",
                                 path, strerror(errno));
        } else {
            *data = mapped;
            *size = (size_t)about.st_size;
        }
    }
    close(file);
    return status;
}

void tm_file_unmap(const void *data, size_t size) {
    if (data != NULL && size > 0) {
        munmap((void *)(uintptr_t)data, size);
    }
}

static char *parent_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return strdup(".");
    }
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

temper_status tm_file_sync_folder(const char *path, temper_error *error) {
    temper_status status = TEMPER_OK;
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return temper_fail(error, TEMPER_IO, "cannot open the folder '%s': %s", path, strerror(errno));
    }
    /* EINVAL: a file system that cannot sync folders; there is nothing more to be done there. */
    if (fsync(folder) != 0 && errno != EINVAL) {
        status = temper_fail(error, TEMPER_IO, "cannot sync the folder '%s': %s", path, strerror(errno));
    }
    close(folder);
    return status;
}

struct tm_file_writer {
    char *path, *temporary, *folder;
    int file;
};

temper_status tm_file_writer_new(const char *path, tm_file_writer **out, temper_error *error) {
    temper_status status = TEMPER_OK;
    tm_file_writer *writer = calloc(1, sizeof *writer);
    size_t size = strlen(path) + 32;
    uint64_t random = 0;
    if (writer == NULL) {
        return out_of_memory(error);
    }
    writer->file = -1;
    writer->path = strdup(path);
    writer->folder = parent_folder(path);
    writer->temporary = malloc(size);
    if (writer->path == NULL || writer->folder == NULL || writer->temporary == NULL) {
        status = out_of_memory(error);
        goto out;
    }
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) {
        status = temper_fail(error, TEMPER_IO, "no random bytes for a temporary name: %s", strerror(errno));
        goto out;
    }
    snprintf(writer->temporary, size, "%s.%016" PRIx64 ".tmp", path, random);
    writer->file = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (writer->file < 0) {
        status =
            temper_fail(error, TEMPER_IO, "cannot make a file in '%s': %s", writer->folder, strerror(errno));
    }
out:
    if (status) {
        tm_file_writer_abort(writer);
    } else {
        *out = writer;
    }
    return status;
}

temper_status tm_file_writer_add(tm_file_writer *writer, const void *bytes, size_t count,
                                 temper_error *error) {
    const char *at = bytes;
    while (count > 0) {
        ssize_t written = write(writer->file, at, count < (1u << 30) ? count : (1u << 30));
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return temper_fail(error, TEMPER_IO, "cannot write '%s': %s", writer->path,
                               strerror(written == 0 ? ENOSPC : errno));
        }
        at += written;
        count -= (size_t)written;
    }
    return TEMPER_OK;
}

temper_status tm_file_writer_commit(tm_file_writer *writer, temper_error *error) {
    temper_status status = TEMPER_OK;
    if (fsync(writer->file) != 0) {
        status = temper_fail(error, TEMPER_IO, "cannot sync '%s': %s", writer->path, strerror(errno));
    } else if (rename(writer->temporary, writer->path) != 0) {
        status =
            temper_fail(error, TEMPER_IO, "cannot put '%s' in its place: %s", writer->path, strerror(errno));
    } else {
        close(writer->file);
        writer->file = -1;
        status = tm_file_sync_folder(writer->folder, error);
    }
    tm_file_writer_abort(writer);
    return status;
}

void tm_file_writer_abort(tm_file_writer *writer) {
    if (writer == NULL) {
        return;
    }
    if (writer->file >= 0) {
        close(writer->file);
        unlink(writer->temporary);
    }
    free(writer->path);
    free(writer->temporary);
    free(writer->folder);
    free(writer);
}

temper_status tm_file_write(const char *path, const void *bytes, size_t count, temper_error *error) {
    tm_file_writer *writer;
    temper_status status = tm_file_writer_new(path, &writer, error);
    if (status) {
        return status;
    }
    if ((status = tm_file_writer_add(writer, bytes, count, error))) {
        tm_file_writer_abort(writer);
        return status;
    }
    return tm_file_writer_commit(writer, error);
}

temper_status tm_folder_make(const char *path, temper_error *error) {
    temper_status status = TEMPER_OK;
    struct stat about;
    char *copy = strdup(path), *at;
    if (copy == NULL) {
        return out_of_memory(error);
    }
    for (at = copy + (copy[0] == '/'); status == TEMPER_OK; at++) {
        char kept = *at;
        if (kept != '/' && kept != 0) {
            continue;
        }
        *at = 0;
        if (copy[0] != 0 && mkdir(copy, 0777) != 0 && errno != EEXIST) {
            status = temper_fail(error, TEMPER_IO, "cannot make the folder '%s': %s", copy, strerror(errno));
        }
        *at = kept;
        if (kept == 0) {
            break;
        }
    }
    if (status == TEMPER_OK && (stat(path, &about) != 0 || !S_ISDIR(about.st_mode))) {
        status = temper_fail(error, TEMPER_IO, "'%s' is there already and is no folder", path);
    }
    free(copy);
    return status;
}

/* Empties the folder that `folder` (owned, closed here) is open on. */
static temper_status remove_within(int folder, const char *path, unsigned depth, temper_error *error) {
    temper_status status = TEMPER_OK;
    DIR *listing = fdopendir(folder);
    struct dirent *entry;
    if (listing == NULL) {
        status = temper_fail(error, TEMPER_IO, "cannot list '%s': %s", path, strerror(errno));
        close(folder);
        return status;
    }
    while (status == TEMPER_OK && (errno = 0, entry = readdir(listing)) != NULL) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || unlinkat(folder, name, 0) == 0 ||
            errno == ENOENT) {
            continue;
        }
        if (errno == EISDIR || errno == EPERM) {
            int inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (inner >= 0) {
                if (depth >= 256) {
                    close(inner);
                    status = temper_fail(error, TEMPER_IO, "'%s' is nested too deep to remove", path);
                } else {
                    status = remove_within(inner, path, depth + 1, error);
                }
                if (status == TEMPER_OK && unlinkat(folder, name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
                    status = temper_fail(error, TEMPER_IO, "cannot remove '%s' in '%s': %s", name, path,
                                         strerror(errno));
                }
                continue;
            }
        }
        status = temper_fail(error, TEMPER_IO, "cannot remove '%s' in '%s': %s", name, path, strerror(errno));
    }
    if (status == TEMPER_OK && errno != 0) {
        status = temper_fail(error, TEMPER_IO, "cannot list '%s': %s", path, strerror(errno));
    }
    closedir(listing);
    return status;
}

temper_status tm_folder_remove(const char *path, temper_error *error) {
    temper_status status;
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0) {
        return temper_fail(error, TEMPER_IO, "cannot remove the folder '%s': %s", path, strerror(errno));
    }
    if ((status = remove_within(folder, path, 0, error))) {
        return status;
    }
    if (rmdir(path) != 0) {
        return temper_fail(error, TEMPER_IO, "cannot remove the folder '%s': %s", path, strerror(errno));
    }
    return TEMPER_OK;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

temper_status tm_folder_list(const char *path, char ***names, size_t *count, temper_error *error) {
    temper_status status = TEMPER_OK;
    char **list = NULL, **grown;
    size_t used = 0, room = 0;
    struct dirent *entry;
    DIR *listing = opendir(path);
    if (listing == NULL) {
        return temper_fail(error, TEMPER_IO, "cannot list '%s': %s", path, strerror(errno));
    }
    while ((errno = 0, entry = readdir(listing)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (used == room) {
            room = room == 0 ? 16 : room * 2;
            grown = realloc(list, room * sizeof *list);
            if (grown == NULL) {
                status = out_of_memory(error);
                goto out;
            }
            list = grown;
        }
        list[used] = strdup(entry->d_name);
        if (list[used] == NULL) {
            status = out_of_memory(error);
            goto out;
        }
        used++;
    }
    if (errno != 0) {
        status = temper_fail(error, TEMPER_IO, "cannot list '%s': %s", path, strerror(errno));
        goto out;
    }
    if (used > 0) {
        qsort(list, used, sizeof *list, by_bytes);
    } else if ((list = calloc(1, sizeof *list)) == NULL) {
        status = out_of_memory(error);
    }
out:
    closedir(listing);
    if (status) {
        while (used > 0) {
            free(list[--used]);
        }
        free(list);
    } else {
        *names = list;
        *count = used;
    }
    return status;
}

char *tm_path_join(const char *a, const char *b) {
    size_t length = strlen(a), size = length + strlen(b) + 2;
    char *joined = malloc(size);
    if (joined != NULL) {
        snprintf(joined, size, "%s%s%s", a, length > 0 && a[length - 1] != '/' ? "/" : "", b);
    }
    return joined;
}

char *tm_path_program_folder(void) {
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0) {
        return NULL;
    }
    path[length] = 0;
    return parent_folder(path);
}
