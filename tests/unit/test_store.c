/* test_store.c: blobs whole or not at all, trees, cache and locks; with other processes putting, dying and holding locks. */
#include "base/file.h"
#include "store/store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/temper-store-XXXXXX";
static char root[64];
static tm_store *store;

static int set_up(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(root, sizeof root, "%s/store", folder);
    return tm_store_open(root, &store, NULL) == TEMPER_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    tm_store_close(store);
    return tm_folder_remove(folder, NULL) == TEMPER_OK ? 0 : -1;
}

static size_t count_in(const char *name) {
    char path[128], **names;
    size_t count, i;
    snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(tm_folder_list(path, &names, &count, NULL), TEMPER_OK);
    for (i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
    return count;
}

static void path_of(const tm_digest *digest, char path[256]) {
    char text[TM_DIGEST_TEXT];
    tm_digest_text(digest, text);
    snprintf(path, 256, "%s/blobs/sha256/%.2s/%s", root, text + 7, text + 9);
}

static void assert_blob(tm_store *in, const tm_digest *digest, const char *expected) {
    temper_error error = TEMPER_ERROR_INIT;
    const void *data;
    size_t size;
    if (tm_store_map(in, digest, &data, &size, &error) != TEMPER_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(data, expected, size);
    tm_store_unmap(in, data, size);
}

static void damage(const tm_digest *digest) {
    char path[256];
    int file;
    path_of(digest, path);
    assert_int_equal(chmod(path, 0644), 0);
    file = open(path, O_WRONLY);
    assert_int_equal(pwrite(file, "X", 1, 0), 1);
    close(file);
}

static void test_put_and_map(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    tm_digest digest, again, expected = tm_digest_of("hello", 5);
    char path[256];
    struct stat about;
    const void *data;
    size_t size;
    uint64_t bytes;
    (void)state;
    assert_false(tm_store_has(store, &expected));
    assert_int_equal(tm_store_map(store, &expected, &data, &size, &error), TEMPER_IO);
    assert_non_null(strstr(error.message, "not in the store"));
    assert_int_equal(tm_store_put(store, "hello", 5, &digest, NULL), TEMPER_OK);
    assert_true(tm_digest_equal(&digest, &expected));
    assert_true(tm_store_has(store, &digest));
    assert_blob(store, &digest, "hello");
    path_of(&digest, path);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 07777, 0444);
    assert_int_equal(tm_store_put(store, "hello", 5, &again, NULL), TEMPER_OK);
    assert_true(tm_digest_equal(&digest, &again));
    assert_int_equal(tm_store_size(store, &digest, &bytes, NULL), TEMPER_OK);
    assert_int_equal(bytes, 5);
    assert_int_equal(tm_store_put(store, NULL, 0, &digest, NULL), TEMPER_OK);
    assert_blob(store, &digest, "");
    assert_int_equal(count_in("tmp"), 0);
}

static void test_writer(void **state) {
    tm_store_writer *writer;
    tm_digest digest, expected = tm_digest_of("one two", 7);
    (void)state;
    assert_int_equal(tm_store_writer_new(store, &writer, NULL), TEMPER_OK);
    assert_int_equal(tm_store_writer_add(writer, "one ", 4, NULL), TEMPER_OK);
    assert_int_equal(tm_store_writer_add(writer, "two", 3, NULL), TEMPER_OK);
    assert_false(tm_store_has(store, &expected));
    assert_int_equal(count_in("tmp"), 1);
    assert_int_equal(tm_store_writer_commit(writer, &digest, NULL), TEMPER_OK);
    assert_true(tm_digest_equal(&digest, &expected));
    assert_blob(store, &digest, "one two");
    assert_int_equal(tm_store_writer_new(store, &writer, NULL), TEMPER_OK);
    assert_int_equal(tm_store_writer_add(writer, "never", 5, NULL), TEMPER_OK);
    tm_store_writer_abort(writer);
    tm_store_writer_abort(NULL);
    assert_int_equal(count_in("tmp"), 0);
    expected = tm_digest_of("never", 5);
    assert_false(tm_store_has(store, &expected));
}

/* Damage is found by a process that has not verified the blob, and by one that has (the file changed since). */
static void test_damage(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    tm_digest digest;
    tm_store *second;
    const void *data;
    size_t size;
    (void)state;
    assert_int_equal(tm_store_put(store, "precious", 8, &digest, NULL), TEMPER_OK);
    assert_blob(store, &digest, "precious");
    assert_int_equal(tm_store_open(root, &second, NULL), TEMPER_OK);
    damage(&digest);
    assert_int_equal(tm_store_map(second, &digest, &data, &size, &error), TEMPER_IO);
    assert_non_null(strstr(error.message, "damaged"));
    assert_false(tm_store_has(second, &digest));
    assert_int_equal(count_in("damaged"), 1);
    assert_int_equal(tm_store_put(second, "precious", 8, &digest, NULL), TEMPER_OK);
    assert_blob(second, &digest, "precious");
    damage(&digest);
    assert_int_equal(tm_store_map(second, &digest, &data, &size, &error), TEMPER_IO);
    assert_int_equal(count_in("damaged"), 2);
    /* put repairs what it finds damaged, instead of relying on the name */
    assert_int_equal(tm_store_put(store, "precious", 8, &digest, NULL), TEMPER_OK);
    damage(&digest);
    assert_int_equal(tm_store_put(store, "precious", 8, &digest, NULL), TEMPER_OK);
    assert_blob(store, &digest, "precious");
    assert_int_equal(count_in("damaged"), 3);
    tm_store_close(second);
}

/* Several processes put the same blobs at once; each succeeds, and every blob is sound. */
static void test_concurrent_put(void **state) {
    enum { PROCESSES = 4, BLOBS = 20 };
    pid_t children[PROCESSES];
    int go[2], i, j;
    (void)state;
    assert_int_equal(pipe(go), 0);
    for (i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            tm_store *own;
            char byte, text[32];
            close(go[1]);
            if (tm_store_open(root, &own, NULL) != TEMPER_OK ||
                read(go[0], &byte, 1) != 0) { /* the start: end of file */
                _exit(2);
            }
            for (j = 0; j < BLOBS; j++) {
                tm_digest digest;
                snprintf(text, sizeof text, "shared %d", j);
                if (tm_store_put(own, text, strlen(text), &digest, NULL) != TEMPER_OK) {
                    _exit(1);
                }
            }
            _exit(0);
        }
    }
    close(go[0]);
    close(go[1]);
    for (i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    for (j = 0; j < BLOBS; j++) {
        char text[32];
        tm_digest digest;
        snprintf(text, sizeof text, "shared %d", j);
        digest = tm_digest_of(text, strlen(text));
        assert_blob(store, &digest, text);
    }
    assert_int_equal(count_in("tmp"), 0);
}

/* A process is killed while it writes: nothing but a file in tmp/, which goes when it is old and nobody's. */
static void test_killed_writer(void **state) {
    tm_store *again;
    tm_digest never = tm_digest_of("half", 4);
    struct timespec pause = {0, 1000 * 1000};
    char path[128], **names;
    struct timeval old[2];
    size_t count;
    int ready[2], status, held;
    char byte;
    pid_t child;
    (void)state;
    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        tm_store_writer *writer;
        if (tm_store_writer_new(store, &writer, NULL) != TEMPER_OK ||
            tm_store_writer_add(writer, "half", 4, NULL) != TEMPER_OK || write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            nanosleep(&pause, NULL);
        }
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(ready[0]);
    close(ready[1]);
    assert_false(tm_store_has(store, &never));
    assert_int_equal(count_in("tmp"), 1);
    assert_int_equal(tm_store_open(root, &again, NULL), TEMPER_OK); /* young: kept */
    tm_store_close(again);
    assert_int_equal(count_in("tmp"), 1);

    snprintf(path, sizeof path, "%s/tmp", root);
    assert_int_equal(tm_folder_list(path, &names, &count, NULL), TEMPER_OK);
    snprintf(path, sizeof path, "%s/tmp/%s", root, names[0]);
    free(names[0]);
    free(names);
    gettimeofday(&old[0], NULL);
    old[0].tv_sec -= 25 * 60 * 60;
    old[1] = old[0];
    assert_int_equal(utimes(path, old), 0);
    held = open(path, O_RDONLY);
    assert_int_equal(flock(held, LOCK_EX), 0);
    assert_int_equal(tm_store_open(root, &again, NULL), TEMPER_OK); /* old, but somebody's: kept */
    tm_store_close(again);
    assert_int_equal(count_in("tmp"), 1);
    close(held);
    assert_int_equal(tm_store_open(root, &again, NULL), TEMPER_OK);
    tm_store_close(again);
    assert_int_equal(count_in("tmp"), 0);
}

/* The store refuses further bytes in the middle of a blob, and is as it was before. */
static void put_too_much(tm_store *in) {
    temper_error error = TEMPER_ERROR_INIT;
    size_t size = 1 << 20;
    char *bytes = malloc(size);
    tm_store_writer *writer;
    tm_digest digest;
    memset(bytes, 'x', size);
    digest = tm_digest_of(bytes, size);
    assert_int_equal(tm_store_put(in, bytes, size, &digest, &error), TEMPER_IO);
    assert_non_null(strstr(error.message, "cannot write to the store"));
    assert_false(tm_store_has(in, &digest));
    assert_int_equal(tm_store_writer_new(in, &writer, NULL), TEMPER_OK);
    assert_int_equal(tm_store_writer_add(writer, bytes, size, &error), TEMPER_IO);
    assert_int_equal(tm_store_writer_add(writer, "x", 1, &error), TEMPER_IO); /* not as if nothing had been */
    assert_int_equal(tm_store_writer_commit(writer, &digest, &error), TEMPER_IO);
    free(bytes);
}

static void test_file_size_limit(void **state) {
    struct rlimit before, small;
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    put_too_much(store);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(count_in("tmp"), 0);
}

static void test_full_disk(void **state) {
    char mount_point[64], kept[64];
    tm_store *full;
    tm_digest digest;
    (void)state;
    snprintf(mount_point, sizeof mount_point, "%s/full", folder);
    assert_int_equal(tm_folder_make(mount_point, NULL), TEMPER_OK);
    if (mount("tmpfs", mount_point, "tmpfs", 0, "size=512k") != 0) {
        print_message("skipped: no right to mount a small file system\n");
        skip();
    }
    assert_int_equal(tm_store_open(mount_point, &full, NULL), TEMPER_OK);
    put_too_much(full);
    assert_int_equal(tm_store_put(full, "there is room for this", 22, &digest, NULL), TEMPER_OK);
    assert_blob(full, &digest, "there is room for this");
    tm_store_close(full);
    memcpy(kept, root, sizeof kept);
    memcpy(root, mount_point, sizeof root);
    assert_int_equal(count_in("tmp"), 0);
    memcpy(root, kept, sizeof root);
    assert_int_equal(umount(mount_point), 0);
}

static void test_tree_paths(void **state) {
    static const char *const good[] = {"a", "a/b", "model.safetensors", "...", "a..b/.c", "\xc3\xa9"};
    static const char *const bad[] = {"",       "/a",  "a/",   "a//b", ".",    "..",
                                      "a/../b", "./a", "a\\b", "a\nb", "\xff", "a/."};
    char longest[257];
    size_t i;
    (void)state;
    for (i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(tm_tree_path_valid(good[i]));
    }
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(tm_tree_path_valid(bad[i]));
    }
    memset(longest, 'a', 256);
    longest[256] = 0;
    assert_false(tm_tree_path_valid(longest));
    longest[255] = 0;
    assert_true(tm_tree_path_valid(longest));
}

static void test_trees(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    tm_tree_entry entries[2] = {{(char *)(uintptr_t) "z", {{0}}, 0}, {(char *)(uintptr_t) "a/b", {{0}}, 0}};
    tm_tree tree = {entries, 2}, read;
    tm_digest digest, other;
    (void)state;
    assert_int_equal(tm_store_put(store, "zz", 2, &entries[0].digest, NULL), TEMPER_OK);
    entries[1].digest = tm_digest_of("nowhere", 7);
    assert_int_equal(tm_store_put_tree(store, &tree, &digest, NULL), TEMPER_OK);
    assert_int_equal(tm_store_get_tree(store, &digest, &read, &error), TEMPER_OK);
    assert_int_equal(read.count, 2);
    assert_string_equal(read.entries[0].path, "a/b"); /* sorted */
    assert_true(read.entries[0].size == TM_TREE_ABSENT);
    assert_string_equal(read.entries[1].path, "z");
    assert_int_equal(read.entries[1].size, 2);
    assert_true(tm_digest_equal(&read.entries[1].digest, &entries[0].digest));
    tm_tree_free(&read);
    entries[0].path = (char *)(uintptr_t) "a/b";
    assert_int_equal(tm_store_put_tree(store, &tree, &other, &error), TEMPER_INVALID); /* twice */
    entries[0].path = (char *)(uintptr_t) "a";
    assert_int_equal(tm_store_put_tree(store, &tree, &other, &error),
                     TEMPER_INVALID); /* a file and a folder */
    entries[0].path = (char *)(uintptr_t) "../a";
    assert_int_equal(tm_store_put_tree(store, &tree, &other, &error), TEMPER_INVALID);
    {
        static const char *const bad[] = {"[]", "{\"a\":1}", "{\"../a\":\"sha256:00\"}", "not JSON",
                                          "{\"a\":\"sha256:12\"}"};
        size_t i;
        for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            assert_int_equal(tm_store_put(store, bad[i], strlen(bad[i]), &digest, NULL), TEMPER_OK);
            assert_int_equal(tm_store_get_tree(store, &digest, &read, &error), TEMPER_INVALID);
            assert_non_null(strstr(error.message, "is no tree"));
        }
    }
}

static void write_in(const char *name, const char *text) {
    char path[256], *slash;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    slash = strrchr(path, '/');
    *slash = 0;
    assert_int_equal(tm_folder_make(path, NULL), TEMPER_OK);
    *slash = '/';
    assert_int_equal(tm_file_write(path, text, strlen(text), NULL), TEMPER_OK);
}

static void test_folders(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    char path[128], loop[128];
    tm_digest digest, again;
    tm_tree tree;
    (void)state;
    write_in("model/config.json", "{}");
    write_in("model/model.safetensors", "weights");
    write_in("model/pytorch_model.bin", "the same weights");
    write_in("model/.git/HEAD", "hidden");
    write_in("model/sub/data.bin", "no safetensors beside it");
    write_in("elsewhere", "linked");
    snprintf(path, sizeof path, "%s/model/link", folder);
    assert_int_equal(symlink("../elsewhere", path), 0);
    snprintf(path, sizeof path, "%s/model", folder);
    assert_int_equal(tm_store_put_folder(store, path, &digest, &error), TEMPER_OK);
    assert_int_equal(tm_store_put_folder(store, path, &again, &error), TEMPER_OK);
    assert_true(tm_digest_equal(&digest, &again));
    assert_int_equal(tm_store_get_tree(store, &digest, &tree, &error), TEMPER_OK);
    assert_int_equal(tree.count, 4);
    assert_string_equal(tree.entries[0].path, "config.json");
    assert_string_equal(tree.entries[1].path, "link");
    assert_string_equal(tree.entries[2].path, "model.safetensors");
    assert_string_equal(tree.entries[3].path, "sub/data.bin");
    assert_blob(store, &tree.entries[1].digest, "linked");
    tm_tree_free(&tree);

    snprintf(path, sizeof path, "%s/elsewhere", folder);
    assert_int_equal(tm_store_put_folder(store, path, &digest, &error), TEMPER_OK);
    assert_int_equal(tm_store_get_tree(store, &digest, &tree, &error), TEMPER_OK);
    assert_int_equal(tree.count, 1);
    assert_string_equal(tree.entries[0].path, "elsewhere");
    tm_tree_free(&tree);

    snprintf(loop, sizeof loop, "%s/model/loop", folder);
    assert_int_equal(symlink(".", loop), 0);
    snprintf(path, sizeof path, "%s/model", folder);
    assert_int_equal(tm_store_put_folder(store, path, &digest, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "symbolic link"));
    unlink(loop);
    assert_int_equal(mkfifo(loop, 0600), 0);
    assert_int_equal(tm_store_put_folder(store, path, &digest, &error), TEMPER_INVALID);
    unlink(loop);
    snprintf(path, sizeof path, "%s/nothing", folder);
    assert_int_equal(tm_store_put_folder(store, path, &digest, &error), TEMPER_IO);
    assert_int_equal(tm_folder_make(path, NULL), TEMPER_OK);
    assert_int_equal(tm_store_put_folder(store, path, &digest, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "no files"));
}

static void test_cache(void **state) {
    temper_arena *arena = tm_arena_new();
    temper_json *record = tm_json_object(arena);
    const temper_json *read = NULL;
    tm_digest key = tm_digest_of("key", 3);
    char path[256], text[TM_DIGEST_TEXT];
    size_t damaged = count_in("damaged");
    int file;
    (void)state;
    assert_int_equal(tm_store_cache_get(store, &key, arena, &read, NULL), TEMPER_END);
    assert_true(tm_json_set_string(arena, record, "output", "x"));
    assert_int_equal(tm_store_cache_put(store, &key, record, NULL), TEMPER_OK);
    assert_true(tm_json_set_string(arena, record, "output", "y"));
    assert_int_equal(tm_store_cache_put(store, &key, record, NULL), TEMPER_OK);
    assert_int_equal(tm_store_cache_get(store, &key, arena, &read, NULL), TEMPER_OK);
    assert_true(tm_json_equal(read, record));
    assert_int_equal(count_in("tmp"), 0);
    tm_digest_text(&key, text);
    snprintf(path, sizeof path, "%s/cache/%s", root, text + 7);
    assert_int_equal(chmod(path, 0644), 0);
    file = open(path, O_WRONLY);
    assert_int_equal(pwrite(file, "z", 1, 11), 1); /* still JSON, not what was written */
    close(file);
    assert_int_equal(tm_store_cache_get(store, &key, arena, &read, NULL), TEMPER_END);
    assert_int_equal(count_in("damaged"), damaged + 1);
    assert_int_equal(tm_store_cache_get(store, &key, arena, &read, NULL), TEMPER_END);
    tm_arena_free(arena);
}

static void test_locks(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    struct timespec pause = {0, 1000 * 1000};
    int lock = -1, second = -1, ready[2], status;
    char byte;
    pid_t child;
    (void)state;
    assert_int_equal(tm_store_lock(store, "run-1", 0, &lock, NULL), TEMPER_OK);
    assert_int_equal(tm_store_lock(store, "run-1", 0.05, &second, &error), TEMPER_FAILED);
    assert_non_null(strstr(error.message, "run-1"));
    assert_int_equal(tm_store_lock(store, "run-2", 0, &second, NULL), TEMPER_OK);
    tm_store_unlock(second);
    tm_store_unlock(lock);
    assert_int_equal(tm_store_lock(store, "run-1", 0, &lock, NULL), TEMPER_OK);
    tm_store_unlock(lock);
    assert_int_equal(tm_store_lock(store, "../x", 0, &lock, &error), TEMPER_INVALID);
    assert_int_equal(tm_store_lock(store, "", 0, &lock, &error), TEMPER_INVALID);
    /* a killed process holds nothing */
    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        if (tm_store_lock(store, "run-1", 0, &lock, NULL) != TEMPER_OK || write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            nanosleep(&pause, NULL);
        }
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(tm_store_lock(store, "run-1", 0, &lock, &error), TEMPER_FAILED);
    kill(child, SIGKILL);
    assert_int_equal(tm_store_lock(store, "run-1", 10, &lock, NULL), TEMPER_OK);
    tm_store_unlock(lock);
    tm_store_unlock(-1);
    waitpid(child, &status, 0);
    close(ready[0]);
    close(ready[1]);
}

static void test_where(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    char place[128], expected[160];
    tm_store *other;
    (void)state;
    snprintf(place, sizeof place, "%s/home", folder);
    setenv("TEMPER_HOME", place, 1);
    assert_int_equal(tm_store_open(NULL, &other, NULL), TEMPER_OK);
    assert_string_equal(tm_store_root(other), place);
    tm_store_close(other);
    unsetenv("TEMPER_HOME");
    setenv("XDG_DATA_HOME", place, 1);
    snprintf(expected, sizeof expected, "%s/temper", place);
    assert_int_equal(tm_store_open(NULL, &other, NULL), TEMPER_OK);
    assert_string_equal(tm_store_root(other), expected);
    tm_store_close(other);
    setenv("XDG_DATA_HOME", "relative", 1);
    setenv("HOME", place, 1);
    snprintf(expected, sizeof expected, "%s/.local/share/temper", place);
    assert_int_equal(tm_store_open(NULL, &other, NULL), TEMPER_OK);
    assert_string_equal(tm_store_root(other), expected);
    tm_store_close(other);
    unsetenv("HOME");
    assert_int_equal(tm_store_open(NULL, &other, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "TEMPER_HOME"));
    assert_int_equal(tm_store_open("/proc/nowhere", &other, &error), TEMPER_IO);
}

/* A blob large enough for the writer's own thread, added in pieces that stay and pieces that do not; then mapped unverified,
 * sound and damaged. */
static void test_large_writer_and_late_check(void **state) {
    enum { SIZE = 24 << 20 };
    char *bytes = malloc(SIZE), small[100000], path[256];
    temper_error error = TEMPER_ERROR_INIT;
    tm_store_writer *writer;
    tm_store_check *check;
    tm_store *other;
    tm_digest digest, expected;
    const void *data;
    size_t at, piece, size, damaged = count_in("damaged");
    uint64_t feeds = 0, found;
    int file;
    (void)state;
    for (at = 0; at < SIZE; at++) {
        bytes[at] = (char)(at * 2654435761u >> 11);
        feeds += bytes[at] == '\n';
    }
    expected = tm_digest_of(bytes, SIZE);
    assert_int_equal(tm_store_writer_new(store, &writer, &error), TEMPER_OK);
    for (at = 0; at < SIZE; at += piece) {
        piece = at % 3 == 0 ? 99999 : 1234567;
        piece = SIZE - at < piece ? SIZE - at : piece;
        if (piece <= sizeof small) { /* overwritten as soon as it was added */
            memcpy(small, bytes + at, piece);
            assert_int_equal(tm_store_writer_add(writer, small, piece, &error), TEMPER_OK);
            memset(small, 0, sizeof small);
        } else {
            assert_int_equal(tm_store_writer_add_lasting(writer, bytes + at, piece, &error), TEMPER_OK);
        }
    }
    assert_int_equal(tm_store_writer_finish(writer, &found, &error), TEMPER_OK);
    assert_int_equal(found, feeds);
    assert_int_equal(tm_store_writer_commit(writer, &digest, &error), TEMPER_OK);
    assert_true(tm_digest_equal(&digest, &expected));
    assert_int_equal(tm_store_open(root, &other, &error), TEMPER_OK); /* one that has not seen it */
    assert_int_equal(tm_store_map_begin(other, &digest, &data, &size, &check, &error), TEMPER_OK);
    assert_int_equal(size, SIZE);
    assert_non_null(check);
    assert_int_equal(tm_store_map_end(check, false, &error), TEMPER_OK);
    assert_memory_equal(data, bytes, SIZE);
    tm_store_unmap(other, data, size);
    tm_store_close(other);
    path_of(&digest, path);
    assert_int_equal(chmod(path, 0644), 0);
    file = open(path, O_WRONLY);
    assert_int_equal(pwrite(file, "!", 1, SIZE / 2), 1);
    close(file);
    assert_int_equal(tm_store_open(root, &other, &error), TEMPER_OK);
    assert_int_equal(tm_store_map_begin(other, &digest, &data, &size, &check, &error), TEMPER_OK);
    assert_int_equal(tm_store_map_end(check, false, &error), TEMPER_IO);
    assert_non_null(strstr(error.message, "damaged"));
    assert_int_equal(count_in("damaged"), damaged + 1);
    tm_store_unmap(other, data, size);
    tm_store_close(other);
    assert_int_equal(tm_store_writer_new(store, &writer, &error),
                     TEMPER_OK); /* an abort in the middle leaves nothing */
    assert_int_equal(tm_store_writer_add_lasting(writer, bytes, SIZE, &error), TEMPER_OK);
    assert_int_equal(tm_store_writer_add(writer, small, sizeof small, &error), TEMPER_OK);
    tm_store_writer_abort(writer);
    assert_false(tm_store_has(store, &digest));
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_and_map),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_concurrent_put),
        cmocka_unit_test(test_killed_writer),
        cmocka_unit_test(test_file_size_limit),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_tree_paths),
        cmocka_unit_test(test_trees),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_large_writer_and_late_check),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_locks),
        cmocka_unit_test(test_where),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
