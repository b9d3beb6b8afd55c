/* seen.c: which blobs this process has verified: an open-addressed table from digest to the file's identity (device, inode,
 * size, change time). A file that was changed since has another change time, and is verified again. */
#include "store/store_inside.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct seen_entry {
    tm_digest digest;
    bool used;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
} seen_entry;

struct seen_set {
    pthread_mutex_t mutex;
    seen_entry *entries;
    size_t capacity, count; /* capacity: a power of two, at most half used */
};

seen_set *seen_new(void) {
    seen_set *set = calloc(1, sizeof *set);
    if (set != NULL) {
        pthread_mutex_init(&set->mutex, NULL);
    }
    return set;
}

void seen_free(seen_set *set) {
    if (set != NULL) {
        pthread_mutex_destroy(&set->mutex);
        free(set->entries);
        free(set);
    }
}

/* The digest's entry, or the free one where it would go. */
static seen_entry *slot(seen_entry *entries, size_t capacity, const tm_digest *digest) {
    uint64_t hash;
    size_t at;
    memcpy(&hash, digest->bytes, sizeof hash);
    for (at = hash & (capacity - 1); entries[at].used; at = (at + 1) & (capacity - 1)) {
        if (tm_digest_equal(&entries[at].digest, digest)) {
            break;
        }
    }
    return &entries[at];
}

static bool grow(seen_set *set) {
    size_t capacity = set->capacity == 0 ? 64 : set->capacity * 2, i;
    seen_entry *entries = calloc(capacity, sizeof *entries);
    if (entries == NULL) {
        return false;
    }
    for (i = 0; i < set->capacity; i++) {
        if (set->entries[i].used) {
            *slot(entries, capacity, &set->entries[i].digest) = set->entries[i];
        }
    }
    free(set->entries);
    set->entries = entries;
    set->capacity = capacity;
    return true;
}

static seen_entry identity(const tm_digest *digest, const struct stat *about) {
    seen_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.digest = *digest;
    entry.used = true;
    entry.device = about->st_dev;
    entry.inode = about->st_ino;
    entry.size = about->st_size;
    entry.changed = about->st_ctim;
    return entry;
}

bool seen_has(seen_set *set, const tm_digest *digest, const struct stat *about) {
    bool same = false;
    pthread_mutex_lock(&set->mutex);
    if (set->capacity > 0) {
        const seen_entry *entry = slot(set->entries, set->capacity, digest);
        same = entry->used && entry->device == about->st_dev && entry->inode == about->st_ino &&
               entry->size == about->st_size && entry->changed.tv_sec == about->st_ctim.tv_sec &&
               entry->changed.tv_nsec == about->st_ctim.tv_nsec;
    }
    pthread_mutex_unlock(&set->mutex);
    return same;
}

void seen_add(seen_set *set, const tm_digest *digest, const struct stat *about) {
    pthread_mutex_lock(&set->mutex);
    if (set->count * 2 < set->capacity || grow(set)) {
        seen_entry *entry = slot(set->entries, set->capacity, digest);
        set->count += !entry->used;
        *entry = identity(digest, about);
    }
    pthread_mutex_unlock(&set->mutex);
}

void seen_remove(seen_set *set, const tm_digest *digest) {
    pthread_mutex_lock(&set->mutex);
    if (set->capacity > 0) {
        seen_entry *entry = slot(set->entries, set->capacity, digest);
        entry->inode = 0; /* stays in its place, matching no file */
        entry->size = -1;
    }
    pthread_mutex_unlock(&set->mutex);
}
