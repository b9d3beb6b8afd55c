/* test_text.c: temper tokenize and temper render: records in order, bad ones in their place, and back again. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL TEST_SOURCE_FOLDER "/examples/tiny-chat/model"

static void copy_tokenizer(const program *p, const char *folder) {
    char *text = NULL, name[128];
    size_t size = 0;
    FILE *file = fopen(MODEL "/tokenizer.json", "rb");
    assert_non_null(file);
    assert_true(getdelim(&text, &size, 0, file) > 0);
    fclose(file);
    snprintf(name, sizeof name, "%s/tokenizer.json", folder);
    program_write(p, name, text);
    free(text);
}

static void test_tokenize(void **state) {
    program *p = *state;
    copy_tokenizer(p, "bytes"); /* a tokenizer and nothing else */
    assert_int_equal(
        program_run_with(p, "tokenize bytes", "{\"text\": \"Hi\", \"id\": [1]}\n\n{\"text\": \"\"}"), 0);
    assert_string_equal(p->out, "{\"ids\":[72,105],\"id\":[1]}\n{\"ids\":[]}\n");
    /* A special token that a user writes is text unless it is asked for. */
    const char *special = "{\"text\": \"<|end|>\"}\n";
    assert_int_equal(program_run_with(p, "tokenize bytes", special), 0);
    assert_string_equal(p->out, "{\"ids\":[60,124,101,110,100,124,62]}\n");
    assert_int_equal(program_run_with(p, "tokenize bytes --special", special), 0);
    assert_lacks(p->out, "124");
    program_write(p, "back.jsonl", "{\"ids\": [72, 195, 169, 226, 130]}\n");
    assert_int_equal(program_run(p, "tokenize bytes --decode back.jsonl"), 0);
    assert_string_equal(p->out, "{\"text\":\"H\xC3\xA9\xEF\xBF\xBD\"}\n");
}

static void test_bad_records(void **state) {
    program *p = *state;
    copy_tokenizer(p, "bytes");
    assert_int_equal(
        program_run_with(p, "tokenize bytes",
                         "{\"text\": \"a\"}\nno\n{\"text\": 1}\n{\"text\": \"\xFF\"}\n[]\n{\"text\": "
                         "\"b\"}\n"),
        1);
    assert_has(p->out, "{\"ids\":[97]}\n{\"error\":");
    assert_has(p->out, "needs a \\\"text\\\"");
    assert_has(p->out, "not UTF-8");
    assert_has(p->out, "a record is a JSON object");
    assert_has(p->out, "\n{\"ids\":[98]}\n");
    assert_int_equal(
        program_run_with(p, "tokenize bytes --decode", "{\"ids\": [72]}\n{\"ids\": [9999]}\n{}\n"), 1);
    assert_has(p->out, "{\"text\":\"H\"}\n{\"error\":");
    assert_has(p->out, "9999");
    /* What is missing is said in full. */
    program_write(p, "empty/readme.txt", "nothing here\n");
    assert_int_equal(program_run_with(p, "tokenize empty", "{}\n"), 1);
    assert_has(p->err, "no tokenizer");
    program_write(p, "words/tokenizer.json", "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {}}}");
    assert_int_equal(program_run_with(p, "tokenize words", "{}\n"), 1);
    assert_has(p->err, "WordPiece");
}

static void test_render(void **state) {
    program *p = *state;
    assert_int_equal(program_run_with(p, "render " MODEL,
                                      "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], "
                                      "\"add_generation_prompt\": true}\n"),
                     0);
    assert_string_equal(p->out, "{\"text\":\"<|user|>Hi<|end|><|assistant|>\"}\n");
    program_write(p, "dated.jinja",
                  "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}{% if m.role == 'x' %}"
                  "{{ raise_exception('no x') }}{% endif %}{% endfor %}{{ tools | tojson if tools }}"
                  "{{ strftime_now('%Y-%m-%d') if strftime_now is defined }}");
    assert_int_equal(
        program_run_with(
            p, "render dated.jinja",
            "{\"messages\": [{\"role\": \"u\", \"content\": \"a\"}], \"bos_token\": \"<s>\", \"tools\": "
            "[1], \"now\": \"2024-07-26T09:30:00\"}\n{\"messages\": [{\"role\": \"x\", \"content\": "
            "\"a\"}]}\n{\"messages\": 3}\n{\"messages\": [], \"now\": \"soon\"}\n"),
        1);
    assert_has(p->out, "{\"text\":\"<s>u:a[1]2024-07-26\"}\n{\"error\":");
    assert_has(p->out, "no x");
    assert_has(p->out, "\\\"messages\\\", a list");
    assert_has(p->out, "\\\"now\\\"");
    program_write(p, "broken.jinja", "{% if %}");
    assert_int_equal(program_run_with(p, "render broken.jinja", ""), 1);
    assert_has(p->err, "broken.jinja");
    copy_tokenizer(p, "bytes");
    assert_int_equal(program_run_with(p, "render bytes", "{\"messages\": []}\n"), 1);
    assert_has(p->out, "{\"error\":");
}

/* Many records, in order. */
static void test_many(void **state) {
    program *p = *state;
    copy_tokenizer(p, "bytes");
    size_t size = 0;
    char *many = malloc(2000 * 32);
    assert_non_null(many);
    for (int i = 0; i < 2000; i++) {
        size += (size_t)snprintf(many + size, 32, "{\"text\": \"%d\"}\n", i);
    }
    assert_int_equal(program_run_with(p, "tokenize bytes", many), 0);
    const char *last = strstr(p->out, "{\"ids\":[49,57,57,57]}\n");
    assert_non_null(last);
    assert_string_equal(last, "{\"ids\":[49,57,57,57]}\n");
    free(many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tokenize, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_bad_records, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_render, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_many, program_setup, program_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
