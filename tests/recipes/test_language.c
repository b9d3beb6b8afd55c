/* test_language.c: what recipes may say, what they may not, and the message with its line. Through tm_recipe_load alone, with a description
 * made up here: no plugin runs. */
#include "../support/cmocka_all.h"

#include "base/file.h"
#include "recipe/recipe.h"

#include <stdio.h>
#include <unistd.h>

static const char description_text[] =
    "{\"name\":\"words\",\"version\":\"2.1.0\",\"stages\":[{\"name\":\"sift\",\"revision\":3,\"doc\":\"\","
    "\"inputs\":["
    "{\"name\":\"records\",\"kind\":\"records\",\"optional\":false},{\"name\":\"list\",\"kind\":\"text\","
    "\"optional\":true},"
    "{\"name\":\"who\",\"kind\":\"character\",\"optional\":true},{\"name\":\"model\",\"kind\":\"model\","
    "\"optional\":true}],"
    "\"outputs\":[{\"name\":\"kept\",\"kind\":\"records\"},{\"name\":\"dropped\",\"kind\":\"records\"},"
    "{\"name\":\"metrics\",\"kind\":\"metrics\"}],"
    "\"parameters\":[{\"name\":\"limit\",\"type\":\"integer\",\"default\":10,\"minimum\":1,\"maximum\":100,"
    "\"doc\":\"\"},"
    "{\"name\":\"lora.rank\",\"type\":\"integer\",\"default\":16,\"doc\":\"\"},"
    "{\"name\":\"share\",\"type\":\"number\",\"default\":0.5,\"doc\":\"\"},"
    "{\"name\":\"words\",\"type\":\"strings\",\"default\":[],\"doc\":\"\"},"
    "{\"name\":\"mode\",\"type\":\"string\",\"default\":\"plain\",\"choices\":[\"plain\",\"fancy\"],\"doc\":"
    "\"\"}]}]}";

typedef struct fixture {
    char folder[64];
    temper_arena *arena;
    const temper_json *description;
    char printed[4096];
    tm_recipe recipe;
    temper_error error;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    strcpy(f->folder, "/tmp/temper-language-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->arena = tm_arena_new();
    assert_int_equal(
        tm_json_parse(f->arena, description_text, sizeof description_text - 1, &f->description, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    tm_recipe_free(&f->recipe);
    tm_arena_free(f->arena);
    (void)tm_folder_remove(f->folder, NULL);
    free(f);
    return 0;
}

static void put(const fixture *f, const char *name, const char *text) {
    char *path = tm_path_join(f->folder, name), *slash = strrchr(path, '/');
    *slash = 0;
    assert_int_equal(tm_folder_make(path, NULL), 0);
    *slash = '/';
    assert_int_equal(tm_file_write(path, text, strlen(text), NULL), 0);
    free(path);
}

static temper_status describe(void *context, const char *plugin, const temper_json **out,
                              temper_error *error) {
    fixture *f = context;
    if (strcmp(plugin, "words") != 0) {
        return temper_fail(error, TEMPER_INVALID, "there is no plugin \"%s\"", plugin);
    }
    *out = f->description;
    return TEMPER_OK;
}

static void take_print(void *context, const char *text) {
    fixture *f = context;
    size_t used = strlen(f->printed);
    snprintf(f->printed + used, sizeof f->printed - used, "%s\n", text);
}

static temper_status load_with(fixture *f, const char *text, const char *const *settings, size_t count) {
    char *path = tm_path_join(f->folder, "main.lua");
    const tm_recipe_request request = {.path = path,
                                       .settings = settings,
                                       .setting_count = count,
                                       .seed = 7,
                                       .profile = "bf16/1",
                                       .describe = describe,
                                       .print = take_print,
                                       .context = f,
                                       .program = TEST_TEMPER,
                                       .deadline = 20};
    temper_status status;
    put(f, "main.lua", text);
    tm_recipe_free(&f->recipe);
    f->printed[0] = 0;
    f->error = (temper_error)TEMPER_ERROR_INIT;
    status = tm_recipe_load(&request, &f->recipe, &f->error);
    free(path);
    return status;
}

/* Fails to load, with this in the message. */
static void refused(fixture *f, const char *text, const char *message) {
    if (load_with(f, text, NULL, 0) == TEMPER_OK) {
        fail_msg("loaded: %s", text);
    }
    if (strstr(f->error.message, message) == NULL) {
        fail_msg("'%s' is not in: %s", message, f->error.message);
    }
}

static void prints(fixture *f, const char *text, const char *expected) {
    char whole[4096];
    snprintf(whole, sizeof whole, "%s\nerror(\"enough\", 0)", text);
    assert_int_not_equal(load_with(f, whole, NULL, 0), TEMPER_OK);
    if (strcmp(f->printed, expected) != 0) {
        fail_msg("printed '%s' (%s), expected '%s'", f->printed, f->error.message, expected);
    }
}

#define HEAD "local temper = require \"temper\"\nlocal words = temper.plugin \"words\"\n"
#define DATA "local data = temper.records \"data.jsonl\"\n"
#define END "\nreturn { a = s.kept }"

static void test_sandbox(void **state) {
    fixture *f = *state;
    refused(f, "local a\nos.execute('true')", "main.lua:2: 'os' is not there");
    refused(f, "io.open('/etc/passwd')", "main.lua:1: 'io' is not there");
    refused(f, "load('return 1')()", "'load' is not there");
    refused(f, "dofile('x')", "'dofile' is not there");
    refused(f, "coroutine.wrap(print)", "'coroutine' is not there");
    refused(f, "debug.getregistry()", "'debug' is not there");
    refused(f, "collectgarbage()", "'collectgarbage' is not there");
    refused(f, "package.loadlib()", "'package' is not there");
    refused(f, "local x = string.dump(print)", "main.lua:1:");
    refused(f, "math.random()", "'math.random' is not there: a recipe gives the same plan each time");
    refused(f, "math.randomseed(1)", "'math.randomseed' is not there");
    refused(f, "\n\npritn('x')", "main.lua:3: 'pritn' was never declared; did you mean 'print'?");
    refused(f, "x = 1", "main.lua:1: 'x' is assigned but was never declared: write `local x`");
    refused(f, "function helper() end", "write `local function helper`");
    refused(f, "temper.model 'x'", "begin with: local temper = require \"temper\"");
    refused(f, "setmetatable({}, {__gc = print})", "'__gc' is not there");
    refused(f, "setmetatable({}, {__mode = 'k'})", "'__mode' is not there");
    refused(f, "print(string.format('%p', {}))", "%p is not there");
    refused(f, "print(('%-20p'):format({}))", "%p is not there");
    refused(f, "for k in pairs({[{}] = 1}) do end", "has no fixed order");
    refused(f, "local t = getmetatable('').__index", "main.lua:1:");
    refused(f, "local x = = 3", "main.lua:1: unexpected symbol");
    refused(f, "error({})", "main.lua:1: the recipe raised a table");
    refused(f, "local function f() return nil + 1 end\nreturn f()", "main.lua:1:");
    refused(f, "\033Lua", "compiled Lua is refused");
    refused(f, "return {}", "asks for no stage");
}

static void test_same_everywhere(void **state) {
    fixture *f = *state;
    prints(f, "print(tostring({}), tostring(print), ('%s'):format({}), string.format('%q', 'a'))",
           "table\tfunction\ttable\t\"a\"\n");
    prints(f, "for k, v in pairs({b = 1, a = 2, [3] = 3, [1] = 4, [2.5] = 5, [true] = 6}) do print(k, v) end",
           "1\t4\n2.5\t5\n3\t3\na\t2\nb\t1\ntrue\t6\n");
    prints(f,
           "local t = {a = 1, b = 2, c = 3} for k in pairs(t) do t[k] = nil end print(next(t), next({z = "
           "1}), next({1, 2}, 1))",
           "nil\tz\t2\t2\n");
    prints(f,
           "local t = {{2, 'a'}, {1, 'b'}, {2, 'c'}, {1, 'd'}, {0, 'e'}}\n"
           "table.sort(t, function(x, y) return x[1] < y[1] end)\n"
           "local s = '' for _, v in ipairs(t) do s = s .. v[2] end print(s)",
           "ebdac\n");
    prints(f, "local t = {3, 1, 2} table.sort(t) print(table.concat(t, ','))", "1,2,3\n");
    /* temper/math.h's values, also through the operator and strings' arithmetic */
    prints(f, "print(string.format('%.17g %.17g %.17g', 2 ^ 0.5, 10 ^ -2, '3' ^ '0.5'))",
           "1.4142135623730951 0.01 1.7320508075688772\n");
    prints(f,
           "print(string.format('%.17g %.17g', math.exp(1), math.log(10)), math.log(8, 2), math.sqrt(2) == 2 "
           "^ 0.5)",
           "2.7182818284590451 2.3025850929940459\t3.0\ttrue\n");
    prints(f, "print(select('#', pcall(error, 'x')), tostring(0/0), 7 // 2, 7 % -3)", "2\tnan\t3\t-2\n");
    prints(f, "print(require('temper') == require('temper'), _VERSION)", "true\tLua 5.4\n");
}

static void test_modules(void **state) {
    fixture *f = *state;
    put(f, "data.jsonl", "{}\n");
    put(f, "parts/make.lua",
        "local temper = require 'temper'\nreturn function(w, d)\n  return w.sift { records = d }\nend\n");
    assert_int_equal(
        load_with(f, HEAD DATA "local make = require 'parts.make'\nlocal s = make(words, data)" END, NULL, 0),
        0);
    assert_int_equal(tm_json_length(tm_json_member(tm_json_member(f->recipe.graph->json, "recipe"), "files")),
                     2);
    assert_int_equal(f->recipe.graph->nodes[0].line, 5); /* where the main file asked */
    refused(f, "require 'nothing'", "main.lua:1:");
    refused(f, "require '../main'", "a module is a file in the recipe's folder");
    refused(f, "require '/etc/passwd'", "a module is a file in the recipe's folder");
    put(f, "round.lua", "return require 'round'");
    refused(f, "require 'round'", "round.lua:1: module 'round' requires itself");
    put(f, "bad.lua", "local a\nlocal b = nothing");
    refused(f, "require 'bad'", "bad.lua:2: 'nothing' was never declared");
}

static void test_stages(void **state) {
    fixture *f = *state;
    put(f, "data.jsonl", "{}\n");
    put(f, "list.txt", "a\n");
    refused(f, HEAD "words.sfit {}", "main.lua:3: plugin words has no stage 'sfit'; did you mean 'sift'?");
    refused(f, "require 'temper'.plugin 'wrods'", "main.lua:1: there is no plugin \"wrods\"");
    refused(f, HEAD DATA "local s = words.sift {\n  records = data,\n  limti = 3,\n}",
            "main.lua:6: words.sift has no 'limti'; did you mean 'limit'?");
    refused(f, HEAD DATA "local s = words.sift { records = data, rank = 3 }",
            "did you mean lora = { rank = … }?");
    refused(f, HEAD DATA "local s = words.sift { records = data,\n lora = {\n  rnak = 3 } }", "lora.rank");
    refused(f, HEAD DATA "local s = words.sift { records = data, limit = 'x' }", "main.lua:4: words.sift: ");
    refused(f, HEAD DATA "local s = words.sift { records = data, limit = 0 }", "from 1 to 100");
    refused(f, HEAD DATA "local s = words.sift { records = data, limit = 2.5 }", "integer");
    refused(f, HEAD DATA "local s = words.sift { records = data, share = 0/0 }", "not a finite number");
    refused(f, HEAD DATA "local s = words.sift { records = data, mode = 'plian' }", "plain or fancy");
    refused(f, HEAD DATA "local s = words.sift { data }", "a value without a name");
    refused(f, HEAD DATA "local s = words.sift(data, 1)", "takes one table");
    refused(f, HEAD "local s = words.sift { limit = 3 }",
            "main.lua:3: words.sift needs the input 'records' (records)");
    refused(f, HEAD "local s = words.sift { records = 3 }", "input 'records' takes records, not a number");
    refused(f, HEAD "local s = words.sift { records = 'dta.jsonl' }",
            "No such file or directory; did you mean 'data.jsonl'?");
    refused(f, HEAD "local s = words.sift { records = temper.text 'list.txt' }",
            "takes records, but text \"list.txt\" is text");
    refused(f, HEAD DATA "local s = words.sift { records = data, model = 'folder' }",
            "takes a model: temper.model \"folder\"");
    refused(f, HEAD DATA "local a = words.sift { records = data }\nlocal s = words.sift { records = a }",
            "add .kept");
    refused(f, HEAD DATA "local a = words.sift { records = data }\nlocal x = a.kpet",
            "main.lua:5: words.sift has no output 'kpet'; did you mean 'kept'?");
    refused(f, HEAD DATA "local a = words.sift { records = data }\nlocal b = words.sift { records = data }",
            "main.lua:5: words.sift is asked for twice with the same inputs and parameters (first at "
            "main.lua:4)");
    refused(f, HEAD DATA "local a = words.sift { records = data, label = 'A b' }", "lower-case letters");
    refused(f, HEAD DATA "local a = words.sift { records = data, words = { 'a', b = 1 } }",
            "either a list without gaps or a table of names");
    refused(f, HEAD DATA "local a = words.sift { records = data, words = { print } }",
            "cannot be a function");
    refused(f, HEAD DATA "local a = words.sift { records = data, limit = data }",
            "is a parameter and cannot be");
    refused(f, HEAD DATA "local a = words.sift { records = data }\na.kept = 1", "cannot be changed");
    refused(f, HEAD DATA "local a = words.sift { records = data }\nreturn { x = a }",
            "name one of its outputs");
    refused(f, HEAD DATA "local a = words.sift { records = data }\nreturn { x = data }",
            "is an input of the run");
    refused(f, HEAD DATA "local a = words.sift { records = data }\nreturn a.kept",
            "returns a table of results");
    refused(f, HEAD DATA "local a = words.sift { records = data }", "a recipe ends with what it makes");
    refused(f, HEAD "temper.modle 'x'", "main.lua:3: there is no temper.modle; did you mean 'model'?");
}

static void test_plan(void **state) {
    fixture *f = *state;
    const tm_graph *graph;
    const temper_json *parameters;
    int64_t rank = 0;
    put(f, "data.jsonl", "{}\n");
    put(f, "list.txt", "a\n");
    assert_int_equal(
        load_with(f,
                  HEAD "temper.doc 'what it does'\n" DATA
                       "local a = words.sift { records = data, list = 'list.txt', lora = { rank = 4 } }\n"
                       "local b = words.sift { records = a.kept, label = 'again' }\n"
                       "local c = words.sift { records = a.dropped, list = temper.text 'list.txt', words = { "
                       "'x', 'y' } }\n"
                       "temper.expect(b, { dropped = { '<=', 3 }, share = { { '>=', 0 }, { '<', 1 } } })\n"
                       "return { kept = b.kept, rest = c.kept }",
                  NULL, 0),
        0);
    graph = f->recipe.graph;
    assert_string_equal(f->recipe.doc, "what it does");
    assert_string_equal(f->recipe.title, "main");
    assert_int_equal(graph->source_count, 2); /* list.txt is named twice and is one source */
    assert_int_equal(graph->node_count, 3);
    assert_string_equal(graph->nodes[0].name, "sift");
    assert_string_equal(graph->nodes[1].name, "sift-again");
    assert_string_equal(graph->nodes[2].name, "sift-2");
    assert_int_equal(graph->nodes[1].inputs[0].node, 0);
    assert_string_equal(graph->nodes[2].inputs[0].output, "dropped");
    parameters = graph->nodes[0].parameters;
    assert_true(tm_json_integer(tm_json_member(parameters, "lora.rank"), &rank));
    assert_int_equal(rank, 4);
    assert_string_equal(tm_json_text(tm_json_member(parameters, "mode"), ""), "plain");
    assert_int_equal(graph->expectation_count, 3);
    assert_string_equal(graph->expectations[0].metric, "dropped");
    assert_string_equal(graph->expectations[2].op, "<");
    assert_string_equal(graph->nodes[0].version, "2.1.0");
    assert_int_equal(graph->nodes[0].revision, 3);
    assert_int_equal(graph->seed, 7);
}

static void test_parameters(void **state) {
    fixture *f = *state;
    static const char body[] =
        HEAD "local data = temper.records { 'data', default = 'data.jsonl', doc = 'rows' }\n"
             "local limit = temper.int { 'limit', default = 5, min = 1, max = 50, doc = 'most' }\n"
             "local share = temper.number { 'share', default = 0.25 }\n"
             "local mode = temper.string { 'mode', default = 'plain', choices = { 'plain', 'fancy' } }\n"
             "local loud = temper.flag { 'loud', default = false }\n"
             "local s = words.sift { records = data, limit = loud and 50 or limit, share = share, mode = "
             "mode }" END;
    const char *good[] = {"limit=7", "share=1e-3", "mode=fancy", "loud=true"};
    const char *bad[][2] = {{"limit=0", "at least 1 and at most 50"},
                            {"limit=seven", "'limit' is a whole number"},
                            {"limit=7.5", "'limit' is a whole number"},
                            {"share=much", "'share' is a number"},
                            {"share=nan", "'share' is a number"},
                            {"mode=loud", "must be one of \"plain\", \"fancy\""},
                            {"loud=maybe", "'loud' is true or false"},
                            {"lmit=3", "main.lua has no parameter 'lmit'; did you mean 'limit'?"},
                            {"limit", "write --set NAME=VALUE"},
                            {"data=/nowhere/x.jsonl", "No such file"}};
    double share = 0;
    size_t i;
    put(f, "data.jsonl", "{}\n");
    assert_int_equal(load_with(f, body, good, 4), 0);
    assert_true(tm_json_double(tm_json_member(f->recipe.graph->nodes[0].parameters, "share"), &share));
    assert_true(share == 1e-3);
    assert_int_equal(tm_json_length(f->recipe.declared), 5);
    /* The path of a source never enters the plan's parameters: its name does. */
    assert_string_equal(
        tm_json_text(tm_json_member(tm_json_member(f->recipe.graph->json, "parameters"), "data"), ""),
        "data.jsonl");
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(load_with(f, body, bad[i], 1), 0);
        if (strstr(f->error.message, bad[i][1]) == NULL) {
            fail_msg("'%s' is not in: %s", bad[i][1], f->error.message);
        }
    }
    refused(f, HEAD "temper.int { 'a', default = 0, min = 1 }",
            "main.lua:3: the default of 'a' is 0: it must be at least 1");
    refused(f, HEAD "temper.int { 'a', default = 'x' }", "must be a whole number");
    refused(f, HEAD "temper.int { 'a', defualt = 0 }",
            "temper.int has no 'defualt'; did you mean 'default'?");
    refused(f, HEAD "temper.int { 'a', default = 1 }\ntemper.flag { 'a' }",
            "main.lua:4: parameter 'a' is declared twice: first at main.lua:3");
    refused(f, HEAD "temper.string { 'must', doc = 'what to say' }",
            "parameter 'must' has no default and was not set: --set must=…   what to say");
    refused(f, HEAD "temper.text { 'must' }", "parameter 'must' has no default");
    refused(f, HEAD "temper.int { 'Bad Name', default = 1 }", "is not a parameter name");
    refused(f, HEAD "temper.int {}", "needs a name first");
    refused(f, HEAD "temper.model (temper.builtin 'no-such')", "builtin model 'no-such' is not installed");
    refused(f, HEAD "temper.expect({}, {})", "takes a stage first");
    put(f, "data.jsonl", "{}\n");
    refused(f,
            HEAD DATA "local s = words.sift { records = data }\ntemper.expect(s, {\n  total = { '=>', 3 } })",
            "main.lua:6: expect 'total': the comparison is one of");
    refused(
        f, HEAD DATA "local s = words.sift { records = data }\ntemper.expect(s.kept, { total = { '>', 3 } })",
        "has no metrics");
}

/* Two loads of one recipe are one plan to the byte; another place of the same folder changes nothing that is hashed. */
static void test_stability(void **state) {
    fixture *f = *state;
    static const char body[] = HEAD DATA "local t = {}\nfor i = 1, 40 do t['key' .. i] = i end\nlocal list = "
                                         "{}\nfor k, v in pairs(t) do list[#list + 1] = k end\n"
                                         "local s = words.sift { records = data, words = list }" END;
    tm_buffer first = TM_BUFFER_INIT, second = TM_BUFFER_INIT;
    int i;
    put(f, "data.jsonl", "{}\n");
    assert_int_equal(load_with(f, body, NULL, 0), 0);
    assert_int_equal(tm_json_write(f->recipe.graph->json, &first, NULL), 0);
    for (i = 0; i < 5; i++) { /* Lua seeds its hash anew each time */
        assert_int_equal(load_with(f, body, NULL, 0), 0);
        tm_buffer_clear(&second);
        assert_int_equal(tm_json_write(f->recipe.graph->json, &second, NULL), 0);
        assert_string_equal(first.data, second.data);
    }
    tm_buffer_free(&first);
    tm_buffer_free(&second);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sandbox, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_everywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_modules, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plan, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parameters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stability, setup, teardown),
    };
    return cmocka_run_group_tests_name("language", tests, NULL, NULL);
}
