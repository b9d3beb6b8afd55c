/* test_describe.c: descriptions: whole ones, ones that contradict themselves, files that are no plugin; the catalog; and
 * parameters checked against a description. */
#include "harness.h"

#include "base/file.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static temper_status describe(harness *h, const char *plugin, const temper_json **out) {
    h->error.message[0] = 0;
    h->status = tm_describe(TEST_WORKER, harness_plugin(h, plugin), h->arena, out, &h->error);
    return h->status;
}

static const temper_json *stage_of(harness *h, const char *plugin, const char *stage) {
    const temper_json *description;
    if (describe(h, plugin, &description)) {
        fail_msg("%s", h->error.message);
    }
    return tm_description_stage(description, stage);
}

static void a_whole_description(void **state) {
    harness *h = *state;
    const temper_json *description;
    tm_buffer text = TM_BUFFER_INIT;
    if (describe(h, "good", &description)) {
        fail_msg("%s", h->error.message);
    }
    assert_int_equal(tm_json_write(description, &text, &h->error), 0);
    assert_non_null(strstr(text.data, "\"contract\":\"1.0\""));
    assert_non_null(
        strstr(text.data, "{\"choices\":[\"plain\",\"fancy\"],\"default\":\"plain\",\"doc\":\"a "
                          "choice\",\"name\":\"mode\",\"since\":\"0.1\",\"type\":\"string\",\"unit\":\"\"}"));
    assert_non_null(strstr(
        text.data,
        "{\"default\":3,\"doc\":\"records a batch\",\"maximum\":1000,\"minimum\":1,\"name\":\"batch\""));
    assert_non_null(
        strstr(text.data,
               "{\"doc\":\"notes\",\"fields\":\"\",\"kind\":\"text\",\"name\":\"notes\",\"optional\":true}"));
    assert_non_null(strstr(text.data, "\"revision\":2"));
    assert_null(tm_description_stage(description, "shelves"));
    tm_buffer_free(&text);
    assert_int_equal(describe(h, "parrot", &description), 0);
    assert_string_equal(tm_json_text(tm_json_element(tm_json_member(description, "extensions"), 0), ""),
                        "temper.model/1");
}

static const char *const spoilt[][2] = {
    {"two inputs of one name", "\"pairs\" stands twice in inputs"},
    {"optional output", "output \"made\" is marked optional"},
    {"unknown kind", "\"pairs\" is of no known kind (77)"},
    {"no outputs", "it has no output"},
    {"no doc", "\"pairs\" in inputs has no doc"},
    {"reserved word", "\"label\" has a meaning of its own"},
    {"two parameters of one name", "parameter \"steps\" is described twice"},
    {"a group and its member", "is described twice"},
    {"default out of bounds",
     "parameter \"steps\": its default contradicts its description: 1000 is out of range: from 1 to 100"},
    {"default of another type", "\"ten\" is a string, where an integer is wanted"},
    {"default among no choices", "\"hinge\" is none of its choices: sigmoid or ipo"},
    {"default no JSON", "parameter \"loss\": its default is no JSON"},
    {"choices of a number", "only a string has choices"},
    {"offset outside", "parameter \"loss\" lies outside the struct"},
    {"shared field", "parameters \"steps\" and \"loss\" share a field"},
    {"unknown type", "parameter \"loss\" is of no known type (9)"},
    {"bound NaN", "a bound of parameter \"steps\" is NaN"},
    {"input and parameter", "\"pairs\" is both an input and a parameter"},
    {"bad name", "\"Steps\" is no name for a parameter"},
    {"no since", "parameter \"steps\": it needs a doc and the version"},
    {"missing text", "a parameter lacks a text"},
    {"not UTF-8", "parameter \"steps\": a text is not UTF-8"},
    {"two stages of one name", "stage \"one\" is described twice"},
    {"no run", "stage \"two\": create, run and destroy must all be there"},
    {"revision 0", "revisions count from 1"},
    {"another name", "the plugin calls itself \"mended\""},
    {"nothing offered", "offers no stage and no service"},
    {"no version", "needs a version and a doc"},
    {"small struct", "its size is too small"},
    {"refuse", "refuses to work with Temper"},
    {"give nothing", "gave no description"},
    {"abort on load", "crashed (SIGABRT"},
    {"hang on load", "did not describe itself within 0.5 s"},
};

static void spoilt_descriptions_are_refused(void **state) {
    harness *h = *state;
    const temper_json *description;
    setenv("TEMPER_DESCRIBE_DEADLINE", "0.5", 1);
    for (size_t i = 0; i < sizeof spoilt / sizeof *spoilt; i++) {
        bool slow = strcmp(spoilt[i][0], "hang on load") == 0;
        setenv("TEMPER_DESCRIBE_DEADLINE", slow ? "0.5" : "10", 1);
        setenv("TEST_BROKEN", spoilt[i][0], 1);
        if (describe(h, "broken", &description) == TEMPER_OK) {
            fail_msg("\"%s\" passed", spoilt[i][0]);
        }
        if (strstr(h->error.message, spoilt[i][1]) == NULL || strstr(h->error.message, "broken.so") == NULL) {
            fail_msg("\"%s\": %s", spoilt[i][0], h->error.message);
        }
    }
    unsetenv("TEMPER_DESCRIBE_DEADLINE");
    unsetenv("TEST_BROKEN");
    assert_int_equal(describe(h, "broken", &description), TEMPER_OK);
    setenv("TEST_BROKEN", "print on load", 1);
    assert_int_equal(describe(h, "broken", &description), TEMPER_OK);
    assert_string_equal(tm_json_text(tm_json_member(description, "name"), ""), "broken");
    unsetenv("TEST_BROKEN");
}

static void files_that_are_no_plugins(void **state) {
    harness *h = *state;
    const temper_json *description;
    describe(h, "future", &description);
    harness_failed(h, TEMPER_UNSUPPORTED, "future.so speaks major 2", "this program major 1", NULL);
    describe(h, "stranger", &description);
    harness_failed(h, TEMPER_INVALID, "stranger.so is no Temper plugin", NULL);
    describe(h, "unlinked", &description);
    harness_failed(h, TEMPER_INVALID, "unlinked.so", "symbol_that_nobody_has", NULL);
    describe(h, "nowhere", &description);
    harness_failed(h, TEMPER_INVALID, "there is no plugin file", "nowhere.so", NULL);
    h->status = tm_describe(TEST_WORKER, TEST_WORKER, h->arena, &description, &h->error);
    assert_int_not_equal(h->status, TEMPER_OK);
    h->status =
        tm_describe("/nonexistent/worker", harness_plugin(h, "good"), h->arena, &description, &h->error);
    harness_failed(h, TEMPER_IO, "/nonexistent/worker", NULL);
}

/* The same plugins as stages: the message names plugin and stage, too. */
static void such_files_as_stages(void **state) {
    harness *h = *state;
    harness_run(h, "future", "any", "{}");
    harness_failed(h, TEMPER_UNSUPPORTED, "future.any: ", "speaks major 2", NULL);
    harness_run(h, "unlinked", "any", "{}");
    harness_failed(h, TEMPER_INVALID, "unlinked.any: ", "symbol_that_nobody_has", NULL);
    setenv("TEST_BROKEN", "flush to zero on load", 1);
    harness_run(h, "broken", "one", "{\"steps\":1,\"loss\":\"ipo\"}");
    unsetenv("TEST_BROKEN");
    harness_failed(h, TEMPER_INVALID, "broken.one: ", "input \"pairs\" is missing", NULL);
    assert_non_null(
        strstr(h->log.data, "broken.so changed the floating-point environment when it was loaded"));
}

static void the_catalog(void **state) {
    harness *h = *state;
    const char *const folders[] = {TEST_PLUGINS};
    const char *const *names;
    const tm_plugin_entry *entry, *again;
    tm_catalog *catalog;
    if (tm_catalog_new(h->store, folders, 1, TEST_WORKER, &catalog, &h->error)) {
        fail_msg("%s", h->error.message);
    }
    size_t count = tm_catalog_names(catalog, &names);
    assert_true(count >= 6);
    for (size_t i = 1; i < count; i++) {
        assert_true(strcmp(names[i - 1], names[i]) < 0);
    }
    assert_int_equal(tm_catalog_find(catalog, "good", &entry, &h->error), 0);
    assert_int_equal(tm_catalog_find(catalog, "good", &again, &h->error), 0);
    assert_ptr_equal(entry, again);
    assert_string_equal(entry->path, harness_plugin(h, "good"));
    h->status = tm_catalog_find(catalog, "godo", &entry, &h->error);
    harness_failed(h, TEMPER_INVALID, "no plugin \"godo\"", "did you mean \"good\"?", TEST_PLUGINS, NULL);
    h->status = tm_catalog_find(catalog, "../good", &entry, &h->error);
    harness_failed(h, TEMPER_INVALID, "no plugin \"../good\"", NULL);
    h->status = tm_catalog_find(catalog, "future", &entry, &h->error);
    harness_failed(h, TEMPER_UNSUPPORTED, "plugin \"future\"", "speaks major 2", NULL);
    setenv("TEMPER_PROVIDER", "parrot", 1);
    assert_int_equal(tm_catalog_provider(catalog, &entry, &h->error), 0);
    setenv("TEMPER_PROVIDER", "good", 1);
    h->status = tm_catalog_provider(catalog, &entry, &h->error);
    harness_failed(h, TEMPER_UNSUPPORTED, "\"good\" cannot open models", NULL);
    unsetenv("TEMPER_PROVIDER");
    tm_catalog_free(catalog);
    setenv("TEMPER_PLUGINS", "relative/folder", 1);
    h->status = tm_catalog_new(h->store, folders, 1, TEST_WORKER, &catalog, &h->error);
    unsetenv("TEMPER_PLUGINS");
    harness_failed(h, TEMPER_INVALID, "only absolute folders", NULL);
}

/* A remembered description is not asked for again; another file of the same name is another plugin. */
static void descriptions_are_remembered(void **state) {
    harness *h = *state;
    const char *const folders[] = {TEST_PLUGINS};
    const tm_plugin_entry *entry;
    tm_catalog *catalog;
    assert_int_equal(tm_catalog_new(h->store, folders, 1, TEST_WORKER, &catalog, &h->error), 0);
    assert_int_equal(tm_catalog_find(catalog, "broken", &entry, &h->error), 0);
    tm_catalog_free(catalog);
    setenv("TEST_BROKEN", "abort on load", 1);
    assert_int_equal(tm_catalog_new(h->store, folders, 1, TEST_WORKER, &catalog, &h->error), 0);
    assert_int_equal(tm_catalog_find(catalog, "broken", &entry, &h->error), 0);
    unsetenv("TEST_BROKEN");
    assert_string_equal(tm_json_text(tm_json_member(entry->description, "name"), ""), "broken");
    tm_catalog_free(catalog);
}

static const char *const parameter_cases[][2] = {
    /* given, resolved or the message */
    {"{\"must\":\"x\"}",
     "{\"batch\":3,\"loud\":false,\"mode\":\"plain\",\"must\":\"x\",\"scale.factor\":0.5,\"words\":[]}"},
    {"{\"must\":\"x\",\"scale\":{\"factor\":1},\"batch\":4.0,\"words\":[\"b\",\"a\"]}",
     "{\"batch\":4,\"loud\":false,\"mode\":\"plain\",\"must\":\"x\",\"scale.factor\":1,\"words\":[\"b\","
     "\"a\"]}"},
    {"{\"must\":\"x\",\"scale.factor\":0.250}",
     "{\"batch\":3,\"loud\":false,\"mode\":\"plain\",\"must\":\"x\",\"scale.factor\":0.25,\"words\":[]}"},
    {"{}", "copy needs the parameter \"must\": required"},
    {"{\"must\":\"x\",\"batsh\":1}", "copy has no parameter \"batsh\"; did you mean \"batch\"?"},
    {"{\"must\":\"x\",\"scale\":{\"fctor\":1}}", "did you mean \"scale.factor\"?"},
    {"{\"must\":\"x\",\"scale\":{\"factor\":1},\"scale.factor\":1}",
     "parameter \"scale.factor\" is given twice"},
    {"{\"must\":\"x\",\"batch\":0}", "parameter \"batch\": 0 is out of range: from 1 to 1000"},
    {"{\"must\":\"x\",\"batch\":1.5}", "parameter \"batch\": 1.5 is a number, where an integer is wanted"},
    {"{\"must\":\"x\",\"batch\":\"3\"}",
     "parameter \"batch\": \"3\" is a string, where an integer is wanted"},
    {"{\"must\":\"x\",\"batch\":1e300}", "an integer is wanted"},
    {"{\"must\":\"x\",\"loud\":1}", "parameter \"loud\": 1 is a number, where true or false is wanted"},
    {"{\"must\":\"x\",\"mode\":\"plan\"}",
     "parameter \"mode\": \"plan\" is none of its choices: plain or fancy"},
    {"{\"must\":\"x\",\"words\":[1]}",
     "parameter \"words\": 1 is a number, where a list of strings is wanted"},
    {"{\"must\":\"x\",\"words\":\"a\"}", "a list of strings is wanted"},
    {"{\"must\":\"a\\u0000b\"}", "U+0000"},
    {"{\"must\":null}", "parameter \"must\": null is nothing, where a string is wanted"},
    {"[1]", "parameters are a table"},
};

static void parameters_are_resolved(void **state) {
    harness *h = *state;
    const temper_json *stage = stage_of(h, "good", "copy");
    for (size_t i = 0; i < sizeof parameter_cases / sizeof *parameter_cases; i++) {
        const temper_json *given, *resolved = NULL;
        tm_buffer text = TM_BUFFER_INIT;
        const char *json = parameter_cases[i][0], *wanted = parameter_cases[i][1];
        assert_int_equal(tm_json_parse(h->arena, json, strlen(json), &given, &h->error), 0);
        temper_status status = tm_parameters_resolve(h->arena, stage, given, &resolved, &h->error);
        if (status == TEMPER_OK) {
            assert_int_equal(tm_json_write(resolved, &text, &h->error), 0);
            assert_string_equal(text.data, wanted);
        } else if (wanted[0] == '{' || strstr(h->error.message, wanted) == NULL) {
            fail_msg("%s: %s", json, h->error.message);
        }
        tm_buffer_free(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_whole_description, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(spoilt_descriptions_are_refused, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(files_that_are_no_plugins, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(such_files_as_stages, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(the_catalog, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(descriptions_are_remembered, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(parameters_are_resolved, harness_setup, harness_teardown),
    };
    setenv("TEMPER_CANCEL_GRACE", "0.3", 1);
    harness_signals_are_plain();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
