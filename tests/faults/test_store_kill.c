/* test_store_kill.c: writers killed at times nobody chose. Whatever the moment, each blob that has its name is whole, and
 * besides blobs there is nothing but files in tmp/. */
#include "base/file.h"
#include "store/store.h"
#include <temper/rng.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { KILLS = 25, LARGEST = 40000 };

static char folder[] = "/tmp/temper-kill-XXXXXX";

/* Puts blobs, caches records and makes trees until it is killed. */
static void write_for_ever(uint64_t round) {
    static char bytes[LARGEST];
    temper_arena *arena = tm_arena_new();
    temper_json *record = tm_json_object(arena);
    tm_store *store;
    uint64_t i, j;
    if (tm_store_open(folder, &store, NULL) != TEMPER_OK) {
        _exit(1);
    }
    for (i = 0;; i++) {
        size_t size = (size_t)temper_random_below(round, 1, i, LARGEST);
        tm_tree_entry entries[1] = {{(char *)(uintptr_t) "a", {{0}}, 0}};
        tm_tree tree = {entries, 1};
        tm_digest digest;
        for (j = 0; j + 8 <= size; j += 8) {
            uint64_t word = temper_random(round, i, j);
            memcpy(bytes + j, &word, 8);
        }
        if (tm_store_put(store, bytes, size, &entries[0].digest, NULL) != TEMPER_OK ||
            tm_store_put_tree(store, &tree, &digest, NULL) != TEMPER_OK ||
            !tm_json_set_integer(arena, record, "number", (int64_t)i) ||
            tm_store_cache_put(store, &digest, record, NULL) != TEMPER_OK) {
            _exit(1);
        }
    }
}

static size_t check_blobs(tm_store *store) {
    char path[128], **folders, **names;
    size_t folder_count, count, i, j, blobs = 0;
    snprintf(path, sizeof path, "%s/blobs/sha256", folder);
    assert_int_equal(tm_folder_list(path, &folders, &folder_count, NULL), TEMPER_OK);
    for (i = 0; i < folder_count; i++) {
        assert_int_equal(strlen(folders[i]), 2);
        snprintf(path, sizeof path, "%s/blobs/sha256/%.2s", folder, folders[i]);
        assert_int_equal(tm_folder_list(path, &names, &count, NULL), TEMPER_OK);
        for (j = 0; j < count; j++) {
            char text[80];
            tm_digest digest;
            temper_error error = TEMPER_ERROR_INIT;
            const void *data;
            size_t size;
            snprintf(text, sizeof text, "%.2s%.62s", folders[i], names[j]);
            assert_true(strlen(names[j]) == 62 && tm_digest_parse(text, &digest));
            if (tm_store_map(store, &digest, &data, &size, &error) != TEMPER_OK) {
                fail_msg("%s", error.message);
            }
            tm_store_unmap(store, data, size);
            blobs++;
            free(names[j]);
        }
        free(names);
        free(folders[i]);
    }
    free(folders);
    return blobs;
}

static void check_cache(tm_store *store) {
    char path[128], **names;
    size_t count, i;
    temper_arena *arena = tm_arena_new();
    snprintf(path, sizeof path, "%s/cache", folder);
    assert_int_equal(tm_folder_list(path, &names, &count, NULL), TEMPER_OK);
    for (i = 0; i < count; i++) {
        const temper_json *record;
        tm_digest key;
        assert_true(tm_digest_parse(names[i], &key));
        assert_int_equal(tm_store_cache_get(store, &key, arena, &record, NULL),
                         TEMPER_OK); /* whole, and its key's */
        free(names[i]);
    }
    free(names);
    tm_arena_free(arena);
}

static void test_kills(void **state) {
    tm_store *store;
    size_t blobs;
    uint64_t round;
    (void)state;
    assert_non_null(mkdtemp(folder));
    for (round = 0; round < KILLS; round++) {
        struct timespec pause = {0, (long)(2000000 + temper_random_below(9, 0, round, 30000000))};
        int status;
        pid_t child = fork();
        if (child == 0) {
            write_for_ever(round);
        }
        nanosleep(&pause, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* it had not failed before */
    }
    assert_int_equal(tm_store_open(folder, &store, NULL), TEMPER_OK);
    blobs = check_blobs(store);
    check_cache(store);
    print_message("%d kills, %zu blobs, each whole\n", KILLS, blobs);
    tm_store_close(store);
    assert_int_equal(tm_folder_remove(folder, NULL), TEMPER_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kills)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
