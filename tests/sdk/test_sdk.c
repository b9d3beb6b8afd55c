/* test_sdk.c: what a stranger does: install, find_package, build out of tree, check, run. The prefix is then moved: nothing
 * in it may know where it was made. */
#include "../plugin/harness.h"

#include "base/file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct place {
    char root[64], prefix[96];
} place;

/* Runs a shell command, quietly unless it fails. */
static void sh(const place *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void sh(const place *p, const char *format, ...) {
    char command[4096], full[5000], log[128];
    tm_buffer text = TM_BUFFER_INIT;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    snprintf(log, sizeof log, "%s/log", p->root);
    snprintf(full, sizeof full, "( %s ) >%s 2>&1 </dev/null", command, log);
    int code = system(full);
    if (code != 0) {
        tm_file_read(log, 1 << 20, &text, NULL);
        fail_msg("%s: code %d\n%s", command, code, text.data != NULL ? text.data : "");
    }
}

static int setup(void **state) {
    place *p = calloc(1, sizeof *p);
    snprintf(p->root, sizeof p->root, "/tmp/temper-sdk-XXXXXX");
    assert_non_null(mkdtemp(p->root));
    snprintf(p->prefix, sizeof p->prefix, "%s/moved", p->root);
    *state = p;
    unsetenv("DESTDIR");
    sh(p,
       "%s --install %s --prefix %s/first --component sdk && %s --install %s --prefix %s/first --component "
       "runtime && mv %s/first %s",
       SDK_CMAKE, SDK_BUILD, p->root, SDK_CMAKE, SDK_BUILD, p->root, p->root, p->prefix);
    return 0;
}

static int teardown(void **state) {
    place *p = *state;
    tm_folder_remove(p->root, NULL);
    free(p);
    return 0;
}

static void build(const place *p, const char *source, const char *name) {
    sh(p,
       "%s -S %s -B %s/build-%s -G '%s' -DCMAKE_C_COMPILER=%s -DCMAKE_C_FLAGS='-Wall -Wextra -Wpedantic "
       "-Werror' -DCMAKE_PREFIX_PATH=%s && %s --build %s/build-%s",
       SDK_CMAKE, source, p->root, name, SDK_GENERATOR, SDK_COMPILER, p->prefix, SDK_CMAKE, p->root, name);
}

/* The installed program finds its worker and its plugins from where it stands. */
static void the_installation_stands(void **state) {
    const place *p = *state;
    sh(p, "cd / && TEMPER_HOME=%s/home %s/bin/temper plugin list | grep -q '^filter '", p->root, p->prefix);
    sh(p, "cd / && TEMPER_HOME=%s/home %s/bin/temper plan %s/share/temper/recipes/character.lua", p->root,
       p->prefix, p->prefix);
    sh(p,
       "cd / && TEMPER_HOME=%s/home %s/bin/temper plugin definitions > %s/temper.d.lua && grep -q "
       "'fun(given: temper.filter.pairs.given)' %s/temper.d.lua && grep -q '^---@field length_ratio? number "
       "' %s/temper.d.lua",
       p->root, p->prefix, p->root, p->root, p->root);
    sh(p, "test -f %s/include/temper/plugin.h && test -f %s/lib/libtemper-math.a", p->prefix, p->prefix);
    sh(p, "! find %s | grep -E 'rogue|parrot|broken'", p->prefix);
}

/* `temper plugin new`, then exactly what it tells its reader to do. */
static void a_new_plugin(void **state) {
    const place *p = *state;
    sh(p, "cd %s && %s/bin/temper plugin new my-filter && ! grep -rn '@name@' my-filter", p->root, p->prefix);
    sh(p, "cd %s && ! %s/bin/temper plugin new my-filter", p->root, p->prefix);
    sh(p, "cd %s && ! %s/bin/temper plugin new My/Filter", p->root, p->prefix);
    char source[128];
    snprintf(source, sizeof source, "%s/my-filter", p->root);
    build(p, source, "my-filter");
    sh(p,
       "nm -D --defined-only %s/build-my-filter/my-filter.so | grep -v ' temper_plugin_v1$' && exit 1 || "
       "true",
       p->root);
    sh(p, "cd %s/build-my-filter && %s -E env ctest --output-on-failure --no-tests=error", p->root,
       SDK_CMAKE);
    sh(p,
       "cd %s/my-filter && TEMPER_HOME=%s/home %s/bin/temper run recipe.lua --plugins %s/build-my-filter "
       "--out %s/runs",
       p->root, p->root, p->prefix, p->root, p->root);
    sh(p, "cd / && %s/bin/temper verify %s/runs/*.temper", p->prefix, p->root);
}

/* The example plugin, out of tree, and its stage through the installed worker. */
static void the_example(void **state) {
    const place *p = *state;
    build(p, SDK_SOURCE "/examples/tiny-chat", "tiny-chat");
    sh(p, "cd / && %s/bin/temper plugin check %s/build-tiny-chat/tinyworld.so", p->prefix, p->root);
}

/* A plugin that uses the helpers. */
static void the_support_library(void **state) {
    const place *p = *state;
    char path[128];
    static const char list[] = "cmake_minimum_required(VERSION 3.25)\nproject(words LANGUAGES "
                               "C)\nfind_package(Temper 0.1 REQUIRED)\n"
                               "temper_add_plugin(words words.c)\n"
                               "target_link_libraries(plugin-words PRIVATE Temper::support)\n";
    static const char code[] =
        "#include <support/text.h>\n#include <temper/math.h>\n#include <temper/sdk.h>\n"
        "#define NONE(P, S)\n"
        "static const temper_parameter *const words_parameter_table[] = {NULL};\n"
        "typedef struct words_parameters { char none; } words_parameters;\n"
        "typedef struct pass { const temper_host *host; temper_output *out; } pass;\n"
        "static temper_status each(void *c, const temper_json *r, uint64_t n, temper_error *e) {\n"
        "    pass *p = c; temper_span t; temper_status s = temper_need_text(p->host, r, n, \"text\", "
        "&t.data, &t.length, e);\n"
        "    if (s) { return s; }\n"
        "    temper_arena *a = p->host->json->arena_new(); temper_json *o = p->host->json->new_object(a);\n"
        "    temper_set_number(p->host, a, o, \"log\", temper_log((double)temper_text_count(t)));\n"
        "    s = p->host->write_record(p->out, o, e); p->host->json->arena_free(a); return s;\n}\n"
        "static temper_status words_run(void *self, const temper_host *host, temper_error *error) {\n"
        "    pass p = {host, NULL}; (void)self; temper_status s = host->output(host, \"out\", &p.out, "
        "error);\n"
        "    return s ? s : temper_each_record(host, \"records\", each, &p, error);\n}\n"
        "TEMPER_INPUTS(words, TEMPER_PORT(TEMPER_RECORDS, \"records\", 0, \"text\", \"texts\"))\n"
        "TEMPER_OUTPUTS(words, TEMPER_PORT(TEMPER_RECORDS, \"out\", 0, \"log\", \"numbers\"))\n"
        "TEMPER_SIMPLE_STAGE(words, 1, \"Counts.\");\n"
        "TEMPER_PLUGIN(\"words\", \"0.1.0\", \"me\", \"MIT\", \"Counts.\", &words_stage)\n";
    sh(p, "mkdir %s/words", p->root);
    snprintf(path, sizeof path, "%s/words/CMakeLists.txt", p->root);
    assert_int_equal(tm_file_write(path, list, sizeof list - 1, NULL), 0);
    snprintf(path, sizeof path, "%s/words/words.c", p->root);
    assert_int_equal(tm_file_write(path, code, sizeof code - 1, NULL), 0);
    snprintf(path, sizeof path, "%s/words", p->root);
    build(p, path, "words");
    sh(p, "cd / && %s/bin/temper plugin check %s/build-words/words.so", p->prefix, p->root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_installation_stands),
        cmocka_unit_test(a_new_plugin),
        cmocka_unit_test(the_example),
        cmocka_unit_test(the_support_library),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
