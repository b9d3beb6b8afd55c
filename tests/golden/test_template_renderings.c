/* test_template_renderings.c: 43 public chat templates against Jinja2 as transformers sets it up.
 *
 * Every one compiles and every case renders to the byte, with every byte's author right; where Jinja2 fails, so do we. */
#include "../support/cmocka_all.h"

#include "template/chat_template.h"
#include <jansson.h>

#include "../support/assets.h"

#include <time.h>

enum { MAX_MESSAGES = 16 };

struct counts {
    unsigned rendered, failed_as_expected, unsupported, wrong;
};

static lm_message messages[MAX_MESSAGES];
static unsigned undated; /* cases that render otherwise, or not at all, without a date */

static size_t read_messages(const json_t *list) {
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)(uintptr_t)list, i, item) {
        const json_t *content = json_object_get(item, "content");
        assert_true(i < MAX_MESSAGES && json_is_string(content));
        messages[i] = (lm_message){json_string_value(json_object_get(item, "role")),
                                   json_string_value(content), json_string_length(content)};
    }
    return json_array_size(list);
}

/* Bytes by content are a run of that message's own bytes; those of an assistant are marked as such. */
static void check_authors(const lm_rendering *rendering, size_t count) {
    for (size_t i = 0, end; i < rendering->length; i = end) {
        for (end = i + 1; end < rendering->length && rendering->author[end] == rendering->author[i] &&
                          rendering->message[end] == rendering->message[i];
             end++) {
        }
        if (rendering->author[i] == LM_BY_TEMPLATE) {
            assert_int_equal(rendering->message[i], UINT32_MAX);
            continue;
        }
        assert_true(rendering->message[i] < count);
        const lm_message *message = &messages[rendering->message[i]];
        bool content =
            memmem(message->content, message->content_length, rendering->text + i, end - i) != NULL;
        bool role = memmem(message->role, strlen(message->role), rendering->text + i, end - i) != NULL;
        assert_true(content || role);
        if (rendering->author[i] == LM_BY_ASSISTANT) {
            assert_true(content && strcmp(message->role, "assistant") == 0);
        }
    }
}

static int64_t read_now(const char *text) {
    struct tm parts = {0};
    assert_non_null(text);
    assert_non_null(strptime(text, "%Y-%m-%dT%H:%M:%S", &parts));
    return timegm(&parts);
}

/* Messages as structs give the same as messages as JSON, unless the date is asked for. */
static void check_plain(const lm_template *template, size_t count, bool prompt, const char *bos,
                        const char *eos, const lm_rendering *expected) {
    lm_rendering rendering;
    if (!lm_template_render(template, messages, count, prompt, bos, eos, &rendering, NULL)) {
        assert_non_null(expected);
        if (expected->length == rendering.length &&
            memcmp(expected->text, rendering.text, rendering.length) == 0) {
            assert_memory_equal(expected->author, rendering.author, rendering.length);
            assert_memory_equal(expected->message, rendering.message,
                                rendering.length * sizeof *rendering.message);
        } else {
            undated++;
        }
        lm_rendering_free(&rendering);
    } else {
        undated += expected != NULL;
    }
}

static void check_rendering(const lm_template *template, const json_t *line, struct counts *counts) {
    temper_error error = TEMPER_ERROR_INIT;
    const json_t *expected = json_object_get(line, "expected");
    size_t count = read_messages(json_object_get(line, "messages"));
    lm_rendering rendering;
    const char *bos = json_string_value(json_object_get(line, "bos_token")),
               *eos = json_string_value(json_object_get(line, "eos_token"));
    bool prompt = json_is_true(json_object_get(line, "add_generation_prompt"));
    int64_t now = read_now(json_string_value(json_object_get(line, "now")));
    temper_status status = lm_template_render_json(template, json_object_get(line, "messages"), NULL, prompt,
                                                   bos, eos, &now, &rendering, &error);
    check_plain(template, count, prompt, bos, eos, status == TEMPER_OK ? &rendering : NULL);
    if (status == TEMPER_UNSUPPORTED) {
        assert_non_null(strstr(error.message, "line "));
        counts->unsupported++;
    } else if (status != TEMPER_OK) {
        counts->failed_as_expected += expected == NULL;
        counts->wrong += expected != NULL;
        if (expected != NULL) {
            print_message("%s %s: %s\n", json_string_value(json_object_get(line, "template")),
                          json_string_value(json_object_get(line, "case")), error.message);
        }
    } else {
        bool same = expected != NULL && json_string_length(expected) == rendering.length &&
                    memcmp(json_string_value(expected), rendering.text, rendering.length) == 0;
        if (!same) {
            print_message("%s %s:\n%s\nexpected\n%s\n", json_string_value(json_object_get(line, "template")),
                          json_string_value(json_object_get(line, "case")), rendering.text,
                          expected == NULL ? json_string_value(json_object_get(line, "error"))
                                           : json_string_value(expected));
        }
        counts->rendered += same;
        counts->wrong += !same;
        check_authors(&rendering, count);
        lm_rendering_free(&rendering);
    }
}

static char *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*length + 1);
    assert_int_equal(fread(text, 1, *length, file), *length);
    text[*length] = 0;
    fclose(file);
    return text;
}

static void test_renderings(void **state) {
    FILE *file = fopen(asset_path("templates/renderings.jsonl"), "r");
    char *line = NULL, name[256] = "";
    size_t room = 0;
    unsigned templates = 0, compiled = 0, whole = 0;
    lm_template *template = NULL;
    struct counts counts = {0}, before = {0};
    (void)state;
    assert_non_null(file);
    while (getline(&line, &room, file) > 0) {
        json_t *root = json_loads(line, 0, NULL);
        const char *now = json_string_value(json_object_get(root, "template"));
        assert_non_null(now);
        if (strcmp(now, name) != 0) {
            char path[512];
            size_t length;
            temper_error error = TEMPER_ERROR_INIT;
            whole += templates > 0 && counts.unsupported == before.unsupported;
            before = counts;
            snprintf(name, sizeof name, "%s", now);
            snprintf(path, sizeof path, "templates/%s", now);
            char *source = read_file(asset_path(path), &length);
            lm_template_free(template);
            templates++;
            if (lm_template_compile(source, length, &template, &error)) {
                assert_non_null(strstr(error.message, "line "));
                template = NULL;
                print_message("%s: %s\n", now, error.message);
            }
            compiled += template != NULL;
            free(source);
        }
        if (template != NULL) {
            check_rendering(template, root, &counts);
        } else {
            counts.unsupported++;
        }
        json_decref(root);
    }
    whole += counts.unsupported == before.unsupported;
    lm_template_free(template);
    free(line);
    fclose(file);
    print_message(
        "%u templates, %u compile, %u wholly in the subset; %u rendered, %u failed as Jinja2 did, %u "
        "unsupported, %u wrong\n",
        templates, compiled, whole, counts.rendered, counts.failed_as_expected, counts.unsupported,
        counts.wrong);
    assert_int_equal(counts.wrong, 0);
    assert_int_equal(templates, 43);
    assert_int_equal(compiled, 43);
    assert_int_equal(whole, 43);
    assert_int_equal(counts.rendered, 686);
    assert_int_equal(counts.failed_as_expected, 88);
    assert_int_equal(undated, 58); /* whose text holds the day */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_renderings)};
    return assets_skip() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
