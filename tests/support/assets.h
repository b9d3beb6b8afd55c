/* assets.h: where the real models and data lie, for tests that need them.
 *
 * TEMPER_TEST_ASSETS, or ../shared/assets from the repository's root, which is where CTest runs a test. */
#ifndef TEMPER_TESTS_ASSETS_H
#define TEMPER_TESTS_ASSETS_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* The path of an asset, in one of a few buffers used in turn. */
static inline const char *asset_path(const char *name) {
    static char paths[4][4096];
    static unsigned next;
    const char *folder = getenv("TEMPER_TEST_ASSETS");
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder == NULL || *folder == 0 ? "../shared/assets" : folder,
             name);
    return path;
}

static inline int asset_missing(const char *name) {
    struct stat info;
    return stat(asset_path(name), &info) != 0;
}

/* In main: if (assets_skip()) return 77; */
static inline int assets_skip(void) {
    if (asset_missing("README.md")) {
        printf("skipped: no assets\n");
        return 1;
    }
    return 0;
}

#endif
