/* test_file.c: files that are there whole or not at all, and folders. */
#include "base/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/temper-file-XXXXXX";

static int set_up(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int tear_down(void **state) {
    (void)state;
    return tm_folder_remove(folder, NULL) == TEMPER_OK ? 0 : -1;
}

static size_t count_files(const char *path) {
    char **names;
    size_t count, i;
    assert_int_equal(tm_folder_list(path, &names, &count, NULL), TEMPER_OK);
    for (i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
    return count;
}

static void test_write_and_read(void **state) {
    char *path = tm_path_join(folder, "a");
    temper_error error = TEMPER_ERROR_INIT;
    tm_buffer text = TM_BUFFER_INIT;
    const void *data;
    size_t size;
    struct stat about;
    mode_t mask = umask(022);
    (void)state;
    assert_int_equal(tm_file_write(path, "hello", 5, NULL), TEMPER_OK);
    assert_int_equal(tm_file_write(path, "hello again", 11, NULL), TEMPER_OK); /* replaces */
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0644);
    umask(mask);
    tm_buffer_text(&text, "what was there before");
    assert_int_equal(tm_file_read(path, 11, &text, NULL), TEMPER_OK);
    assert_string_equal(text.data, "hello again");
    assert_int_equal(tm_file_read(path, 10, &text, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "10 bytes"));
    assert_int_equal(text.length, 0);
    assert_int_equal(tm_file_map(path, &data, &size, NULL), TEMPER_OK);
    assert_int_equal(size, 11);
    assert_memory_equal(data, "hello again", 11);
    tm_file_unmap(data, size);
    assert_int_equal(tm_file_write(path, "", 0, NULL), TEMPER_OK);
    assert_int_equal(tm_file_map(path, &data, &size, NULL), TEMPER_OK);
    assert_non_null(data);
    assert_int_equal(size, 0);
    tm_file_unmap(data, size);
    assert_int_equal(tm_file_read(path, 10, &text, NULL), TEMPER_OK);
    assert_string_equal(text.data, "");
    assert_int_equal(count_files(folder), 1);
    assert_int_equal(tm_file_read(folder, 10, &text, &error), TEMPER_INVALID);
    {
        char *fifo = tm_path_join(folder, "fifo"); /* is refused, not waited for */
        assert_int_equal(mkfifo(fifo, 0600), 0);
        assert_int_equal(tm_file_map(fifo, &data, &size, &error), TEMPER_INVALID);
        unlink(fifo);
        free(fifo);
    }
    assert_int_equal(tm_file_map("/nonexistent", &data, &size, &error), TEMPER_IO);
    assert_non_null(strstr(error.message, "/nonexistent"));
    assert_int_equal(tm_file_write("/nonexistent/a", "x", 1, &error), TEMPER_IO);
    tm_buffer_free(&text);
    unlink(path);
    free(path);
}

static void test_abort_leaves_nothing(void **state) {
    char *path = tm_path_join(folder, "b");
    tm_file_writer *writer;
    (void)state;
    assert_int_equal(tm_file_writer_new(path, &writer, NULL), TEMPER_OK);
    assert_int_equal(tm_file_writer_add(writer, "half", 4, NULL), TEMPER_OK);
    assert_int_equal(access(path, F_OK), -1);
    tm_file_writer_abort(writer);
    assert_int_equal(count_files(folder), 0);
    free(path);
}

/* RLIMIT_FSIZE in place of a full disk: the write fails part way, the old file stays, nothing else does. */
static void test_no_space(void **state) {
    char *path = tm_path_join(folder, "c"), *bytes = calloc(1, 100000);
    struct rlimit before, small;
    temper_error error = TEMPER_ERROR_INIT;
    tm_buffer text = TM_BUFFER_INIT;
    (void)state;
    assert_int_equal(tm_file_write(path, "old", 3, NULL), TEMPER_OK);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 50000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(tm_file_write(path, bytes, 100000, &error), TEMPER_IO);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_DFL);
    assert_non_null(strstr(error.message, path));
    assert_int_equal(count_files(folder), 1);
    assert_int_equal(tm_file_read(path, 100, &text, NULL), TEMPER_OK);
    assert_string_equal(text.data, "old");
    tm_buffer_free(&text);
    unlink(path);
    free(path);
    free(bytes);
}

static void test_folders(void **state) {
    char *deep = tm_path_join(folder, "x/y//z/"), *file = tm_path_join(folder, "x/y/file"),
         *top = tm_path_join(folder, "x");
    char *link_path = tm_path_join(folder, "x/link"), *outside = tm_path_join(folder, "outside"), **names;
    temper_error error = TEMPER_ERROR_INIT;
    size_t count;
    (void)state;
    assert_int_equal(tm_folder_make(deep, NULL), TEMPER_OK);
    assert_int_equal(tm_folder_make(deep, NULL), TEMPER_OK);
    assert_int_equal(tm_folder_make(outside, NULL), TEMPER_OK);
    assert_int_equal(tm_file_write(file, "x", 1, NULL), TEMPER_OK);
    assert_int_equal(tm_folder_make(file, &error), TEMPER_IO);
    assert_int_equal(symlink(outside, link_path), 0);
    assert_int_equal(tm_folder_list(top, &names, &count, NULL), TEMPER_OK);
    assert_int_equal(count, 2);
    assert_string_equal(names[0], "link");
    assert_string_equal(names[1], "y");
    free(names[0]);
    free(names[1]);
    free(names);
    assert_int_equal(tm_folder_remove(top, NULL), TEMPER_OK);
    assert_int_equal(access(top, F_OK), -1);
    assert_int_equal(access(outside, F_OK), 0); /* the link went, not what it pointed to */
    assert_int_equal(tm_folder_remove(top, &error), TEMPER_IO);
    assert_int_equal(tm_folder_remove(outside, NULL), TEMPER_OK);
    assert_int_equal(tm_folder_list(top, &names, &count, &error), TEMPER_IO);
    free(deep);
    free(file);
    free(top);
    free(link_path);
    free(outside);
}

static void test_paths(void **state) {
    char *path = tm_path_join("a", "b"), *slash = tm_path_join("a/", "b"), *empty = tm_path_join("", "b");
    char *program = tm_path_program_folder();
    (void)state;
    assert_string_equal(path, "a/b");
    assert_string_equal(slash, "a/b");
    assert_string_equal(empty, "b");
    assert_int_equal(program[0], '/');
    free(path);
    free(slash);
    free(empty);
    free(program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_and_read), cmocka_unit_test(test_abort_leaves_nothing),
        cmocka_unit_test(test_no_space),       cmocka_unit_test(test_folders),
        cmocka_unit_test(test_paths),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
