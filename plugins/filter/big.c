/* big.c: see big.h. */
#include "big.h"

#include <sys/mman.h>
#include <unistd.h>

void filter_big_init(filter_big *big, const temper_host *host, size_t *left) {
    memset(big, 0, sizeof *big);
    big->host = host;
    big->left = left;
}

/* From memory to a file, or a larger file. */
static bool grow_file(filter_big *big, size_t capacity) {
    FILE *file = big->file != NULL ? big->file : tmpfile();
    void *mapped = MAP_FAILED;
    if (file == NULL) {
        return false;
    }
    if (ftruncate(fileno(file), (off_t)capacity) == 0) {
        mapped = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    }
    if (mapped == MAP_FAILED) {
        if (big->file == NULL) {
            fclose(file);
        }
        return false;
    }
    if (big->file == NULL && big->data != NULL) {
        memcpy(mapped, big->data, big->length);
        big->host->release(big->host, big->data);
        *big->left += big->capacity;
    } else if (big->file != NULL) {
        munmap(big->data, big->capacity);
    }
    big->file = file;
    big->data = mapped;
    big->capacity = capacity;
    return true;
}

static bool grow(filter_big *big, size_t needed) {
    size_t capacity = big->capacity < (1 << 16) ? 1 << 16 : big->capacity;
    unsigned char *data;
    while (capacity < needed) {
        capacity += capacity / 2;
    }
    capacity = (capacity + 4095) & ~(size_t)4095;
    if (big->file != NULL || capacity - big->capacity > *big->left) {
        return grow_file(big, capacity);
    }
    data = big->host->reallocate(big->host, big->data, capacity);
    if (data == NULL) {
        return false;
    }
    *big->left -= capacity - big->capacity;
    big->data = data;
    big->capacity = capacity;
    return true;
}

void *filter_big_add(filter_big *big, size_t more) {
    void *at;
    if (big->data == NULL && !grow(big, 1)) {
        return NULL;
    }
    if (more > SIZE_MAX / 4 - big->length ||
        (big->length + more > big->capacity && !grow(big, big->length + more))) {
        return NULL;
    }
    at = big->data + big->length;
    big->length += more;
    return at;
}

void filter_big_free(filter_big *big) {
    if (big->file != NULL) {
        munmap(big->data, big->capacity);
        fclose(big->file);
    } else if (big->data != NULL) {
        big->host->release(big->host, big->data);
        *big->left += big->capacity;
    }
    big->file = NULL;
    big->data = NULL;
    big->length = big->capacity = 0;
}
