/* test_sources.c: what enters the store from outside, and records of strangers. */
#include "../support/cmocka_all.h"

#include "base/file.h"
#include "scheduler/sources.h"

#include <stdio.h>
#include <unistd.h>

typedef struct fixture {
    char folder[64];
    tm_store *store;
    temper_arena *arena;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    char *home;
    assert_non_null(f);
    strcpy(f->folder, "/tmp/temper-sources-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    home = tm_path_join(f->folder, "home");
    assert_int_equal(tm_store_open(home, &f->store, NULL), TEMPER_OK);
    free(home);
    f->arena = tm_arena_new();
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    tm_store_close(f->store);
    tm_arena_free(f->arena);
    (void)tm_folder_remove(f->folder, NULL);
    free(f);
    return 0;
}

static const char *put(const fixture *f, const char *name, const void *bytes, size_t length) {
    const char *path = tm_arena_format(f->arena, "%s/%s", f->folder, name);
    assert_int_equal(tm_file_write(path, bytes, length, NULL), TEMPER_OK);
    return path;
}

static void taken_as(const fixture *f, tm_kind kind, const char *text, const char *expected) {
    const void *data;
    size_t size;
    tm_digest digest;
    temper_error error = TEMPER_ERROR_INIT;
    if (tm_source_take(f->store, kind, put(f, "file", text, strlen(text)), &digest, &error)) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(tm_store_map(f->store, &digest, &data, &size, NULL), TEMPER_OK);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(data, expected, size);
    tm_store_unmap(f->store, data, size);
}

static void test_files(void **state) {
    const fixture *f = *state;
    tm_digest digest;
    temper_error error = TEMPER_ERROR_INIT;
    taken_as(f, TM_TEXT, "any text\n", "any text\n");
    taken_as(f, TM_TEXT, "", "");
    taken_as(f, TM_RECORDS, "{\"b\":1, \"a\":2}\n", "{\"b\":1, \"a\":2}\n"); /* lines are kept to the byte */
    taken_as(f, TM_RECORDS, " [{\"b\":1.10,\"a\":2},{}]", "{\"a\":2,\"b\":1.10}\n{}\n");
    taken_as(f, TM_CHARACTER, "[\"I rhyme.\"]",
             "{\"additional_questions\":[],\"questions\":[],\"trait\":\"I rhyme.\"}\n");
    assert_int_not_equal(tm_source_take(f->store, TM_TEXT, put(f, "bad", "ab\xff", 3), &digest, &error),
                         TEMPER_OK);
    assert_non_null(strstr(error.message, "not UTF-8 at byte 3"));
    assert_int_not_equal(tm_source_take(f->store, TM_RECORDS, put(f, "bad", "[1]", 3), &digest, &error),
                         TEMPER_OK);
    assert_non_null(strstr(error.message, "record 1 is no object"));
    assert_int_not_equal(tm_source_take(f->store, TM_CHARACTER, put(f, "bad", "{}", 2), &digest, &error),
                         TEMPER_OK);
    assert_non_null(strstr(error.message, "bad: record 1"));
    assert_int_not_equal(tm_source_take(f->store, TM_MODEL, "builtin:no", &digest, &error), TEMPER_OK);
    assert_non_null(strstr(error.message, "builtin model 'no' is not installed"));
    assert_int_not_equal(tm_source_take(f->store, TM_MODEL, "builtin:../x", &digest, &error), TEMPER_OK);
    assert_non_null(strstr(error.message, "a plain name is wanted"));
    assert_int_not_equal(tm_source_take(f->store, TM_MODEL, "/nowhere", &digest, &error), TEMPER_OK);
    assert_non_null(strstr(error.message, "/nowhere"));
}

#define PLAN(name)                                                                                           \
    "\"plan\":{\"temper\":1,\"seed\":0,\"profile\":\"bf16/1\",\"sources\":[],\"nodes\":[{\"name\":\"" name   \
    "\",\"plugin\":\"p\",\"version\":\"1\",\"stage\":\"s\",\"revision\":1,\"label\":\"\",\"line\":1,"        \
    "\"parameters\":{},\"inputs\":[]}]}"
#define NODES(name, kind)                                                                                    \
    "\"nodes\":[{\"name\":\"" name "\",\"outputs\":[{\"name\":\"o\",\"kind\":\"" kind                        \
    "\",\"digest\":\"sha256:"                                                                                \
    "2222222222222222222222222222222222222222222222222222222222222222\"}]}]"

static temper_status find(const fixture *f, const char *run, const temper_json **out, temper_error *error) {
    tm_digest digest, id;
    char text[TM_DIGEST_TEXT];
    assert_int_equal(tm_store_put(f->store, run, strlen(run), &digest, NULL), TEMPER_OK);
    tm_digest_text(&digest, text);
    return tm_run_find(f->store, text, f->arena, out, &id, error);
}

static void test_records_of_strangers(void **state) {
    static const char *const bad[][2] = {
        {"[]", "holds no plan"},
        {"nonsense", "is no run"},
        {"{\"plan\":3}", "is no run"},
        {"{" PLAN("a") "}", "nodes are not its plan's"},
        {"{" NODES("b", "text") "," PLAN("a") "}", "node 0 of the record"},
        {"{" NODES("a", "te\\u001bxt") "," PLAN("a") "}", "not printable"},
        {"{" NODES("a", "text") "," PLAN("a\\u001b[2J") "}", "is no run"},
        {"{\"left_out\":[{\"name\":\"\\u001b]0;x\"}]," NODES("a", "text") "," PLAN("a") "}", "not printable"},
    };
    const fixture *f = *state;
    const temper_json *run = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    tm_digest digest;
    size_t i;
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(find(f, bad[i][0], &run, &error), TEMPER_OK);
        if (strstr(error.message, bad[i][1]) == NULL) {
            fail_msg("'%s' is not in: %s", bad[i][1], error.message);
        }
    }
    if (find(f, "{" NODES("a", "text") "," PLAN("a") "}", &run, &error)) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(tm_run_output(run, NULL, TM_TEXT, &digest, &error), TEMPER_OK);
    assert_int_equal(tm_run_output(run, "o", TM_TEXT, &digest, &error), TEMPER_OK);
    assert_int_equal(tm_run_output(run, "a.o", TM_TEXT, &digest, &error), TEMPER_OK);
    assert_int_not_equal(tm_run_output(run, "b.o", TM_TEXT, &digest, &error), TEMPER_OK);
    assert_int_not_equal(tm_run_output(run, NULL, TM_MODEL, &digest, &error), TEMPER_OK);
    assert_non_null(strstr(error.message, "no output of kind model"));
    assert_int_not_equal(
        tm_run_find(f->store, "sha256:3333333333333333333333333333333333333333333333333333333333333333",
                    f->arena, &run, &digest, &error),
        TEMPER_OK);
    assert_non_null(strstr(error.message, "is not in the store of this machine"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_records_of_strangers, setup, teardown),
    };
    return cmocka_run_group_tests_name("sources", tests, NULL, NULL);
}
