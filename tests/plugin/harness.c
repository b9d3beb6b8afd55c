/* harness.c: see harness.h. */
#include "harness.h"

#include "base/file.h"
#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int harness_setup(void **state) {
    harness *h = calloc(1, sizeof *h);
    snprintf(h->folder, sizeof h->folder, "/tmp/temper-test-XXXXXX");
    assert_non_null(mkdtemp(h->folder));
    h->error.size = sizeof h->error;
    h->arena = tm_arena_new();
    h->inputs = tm_json_array(h->arena);
    h->threads = 2;
    if (tm_store_open(h->folder, &h->store, &h->error)) {
        fail_msg("%s", h->error.message);
    }
    *state = h;
    return 0;
}

int harness_teardown(void **state) {
    harness *h = *state;
    tm_store_close(h->store);
    tm_folder_remove(h->folder, NULL);
    tm_arena_free(h->arena);
    tm_buffer_free(&h->log);
    tm_buffer_free(&h->progress);
    free(h);
    return 0;
}

const char *harness_plugin(harness *h, const char *name) {
    return tm_arena_format(h->arena, "%s/%s.so", TEST_PLUGINS, name);
}

static void add_input(harness *h, const char *name, const char *kind, const tm_digest *digest) {
    char text[TM_DIGEST_TEXT];
    temper_json *entry = tm_json_object(h->arena);
    tm_digest_text(digest, text);
    assert_true(tm_json_set_string(h->arena, entry, "name", name));
    assert_true(tm_json_set_string(h->arena, entry, "kind", kind));
    assert_true(tm_json_set_string(h->arena, entry, "digest", text));
    assert_true(tm_json_append(h->arena, h->inputs, entry));
}

void harness_input(harness *h, const char *name, const char *kind, const void *bytes, size_t length) {
    tm_digest digest;
    if (tm_store_put(h->store, bytes, length, &digest, &h->error)) {
        fail_msg("%s", h->error.message);
    }
    add_input(h, name, kind, &digest);
}

void harness_model(harness *h, const char *name, const char *weights) {
    char config[] = "config.json", file[] = "weights";
    tm_tree_entry entries[2] = {{config, {{0}}, 2}, {file, {{0}}, strlen(weights)}};
    tm_tree tree = {entries, 2};
    tm_digest digest;
    assert_int_equal(tm_store_put(h->store, "{}", 2, &entries[0].digest, &h->error), 0);
    assert_int_equal(tm_store_put(h->store, weights, strlen(weights), &entries[1].digest, &h->error), 0);
    assert_int_equal(tm_store_put_tree(h->store, &tree, &digest, &h->error), 0);
    add_input(h, name, "model", &digest);
}

static void take_log(void *context, const char *level, const char *message) {
    harness *h = context;
    tm_buffer_format(&h->log, "%s: %s\n", level, message);
}

static void take_progress(void *context, double done, double total, const char *unit, const char *detail) {
    harness *h = context;
    tm_buffer_format(&h->progress, "%.0f/%.0f %s %s\n", done, total, unit, detail);
}

static void *cancel_later(void *context) {
    harness *h = context;
    usleep((useconds_t)(h->cancel_after * 1e6));
    __atomic_store_n(&h->cancel, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

void harness_run(harness *h, const char *plugin, const char *stage, const char *parameters) {
    tm_job_events events = {h, take_progress, take_log};
    temper_arena *a = h->arena;
    const temper_json *values;
    pthread_t thread;
    temper_json *job = tm_json_object(a);
    if (tm_json_parse(a, parameters, strlen(parameters), &values, &h->error)) {
        fail_msg("%s", h->error.message);
    }
    tm_json_set_string(a, job, "store", tm_store_root(h->store));
    tm_json_set_string(a, job, "plugin", harness_plugin(h, plugin));
    if (h->provider != NULL) {
        tm_json_set_string(a, job, "provider", harness_plugin(h, h->provider));
    }
    tm_json_set_string(a, job, "stage", stage);
    tm_json_set_string(a, job, "seed_path", "7/stage/");
    tm_json_set_string(a, job, "profile", "f32/1");
    tm_json_set_integer(a, job, "threads", h->threads);
    tm_json_set_integer(a, job, "memory", h->memory);
    if (h->stage_id != NULL) {
        tm_json_set_string(a, job, "stage_id", h->stage_id);
    }
    tm_json_set(a, job, "parameters", values);
    assert_true(tm_json_set(a, job, "inputs", h->inputs));
    tm_buffer_clear(&h->log);
    tm_buffer_clear(&h->progress);
    h->error.message[0] = 0;
    h->outputs = NULL;
    if (h->cancel_after > 0) {
        assert_int_equal(pthread_create(&thread, NULL, cancel_later, h), 0);
    }
    h->status = tm_job_run(TEST_WORKER, job, &events, &h->cancel, a, &h->outputs, &h->statistics, &h->error);
    if (h->cancel_after > 0) {
        pthread_join(thread, NULL);
        h->cancel = 0;
        h->cancel_after = 0;
    }
}

const char *harness_output(harness *h, const char *name) {
    if (h->status) {
        fail_msg("the stage failed: %s", h->error.message);
    }
    for (size_t i = 0; i < tm_json_length(h->outputs); i++) {
        const temper_json *entry = tm_json_element(h->outputs, i);
        tm_digest digest;
        const void *data;
        size_t size;
        if (strcmp(tm_json_text(tm_json_member(entry, "name"), ""), name) != 0) {
            continue;
        }
        assert_true(tm_digest_parse(tm_json_text(tm_json_member(entry, "digest"), ""), &digest));
        if (tm_store_map(h->store, &digest, &data, &size, &h->error)) {
            fail_msg("%s", h->error.message);
        }
        char *text = tm_arena_copy(h->arena, data, size);
        tm_store_unmap(h->store, data, size);
        return text;
    }
    fail_msg("there is no output %s", name);
    return NULL;
}

void harness_failed(const harness *h, temper_status status, ...) {
    va_list parts;
    const char *part;
    if (h->status != status) {
        fail_msg("status %d, wanted %d: %s", (int)h->status, (int)status, h->error.message);
    }
    va_start(parts, status);
    while ((part = va_arg(parts, const char *)) != NULL) {
        if (strstr(h->error.message, part) == NULL) {
            va_end(parts);
            fail_msg("the message lacks \"%s\": %s", part, h->error.message);
        }
    }
    va_end(parts);
}

void harness_signals_are_plain(void) {
    setenv("ASAN_OPTIONS", "handle_segv=0:handle_abort=0:handle_sigbus=0:allow_user_segv_handler=1", 1);
    setenv("TSAN_OPTIONS", "handle_segv=0:handle_abort=0:handle_sigbus=0", 1);
}

static size_t count_files(const char *path) {
    DIR *folder = opendir(path);
    struct dirent *entry;
    size_t count = 0;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char *inner = tm_path_join(path, entry->d_name);
        count += entry->d_type == DT_DIR ? count_files(inner) : 1;
        free(inner);
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return count;
}

size_t harness_blobs(const harness *h) {
    char *path = tm_path_join(h->folder, "blobs");
    size_t count = count_files(path);
    free(path);
    return count;
}
