/* test_recipe.c: recipes that mean harm. Each is refused, or stopped within the load deadline, with its line; the program that
 * loads them lives on. */
#include "../recipes/program.h"

#include "base/file.h"
#include "recipe/recipe.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static temper_status describe(void *context, const char *plugin, const temper_json **out,
                              temper_error *error) {
    (void)context;
    (void)out;
    return temper_fail(error, TEMPER_INVALID, "no plugin %s", plugin);
}

/* Loads with a short deadline: the mechanism is the same, the suite is quick. */
static void stopped(const program *p, const char *text, double deadline, const char *message) {
    char path[128];
    const tm_recipe_request request = {.path = path,
                                       .profile = "bf16/1",
                                       .describe = describe,
                                       .program = TEST_TEMPER,
                                       .deadline = deadline};
    tm_recipe recipe;
    temper_error error = TEMPER_ERROR_INIT;
    double began = now();
    snprintf(path, sizeof path, "%s/evil.lua", p->folder);
    program_write(p, "evil.lua", text);
    assert_int_not_equal(tm_recipe_load(&request, &recipe, &error), TEMPER_OK);
    if (strstr(error.message, message) == NULL) {
        fail_msg("'%s' is not in: %s", message, error.message);
    }
    assert_true(now() - began < deadline + 50);
}

static void test_endless(void **state) {
    const program *p = *state;
    stopped(p, "local x = 1\nwhile true do end", 0.5, "evil.lua:2: the recipe was still loading after 0.5 s");
    stopped(p, "local x = 1\nwhile true do pcall(error) end", 0.5, "evil.lua:2:");
    stopped(p, "local function f() return f2 end\n\nfor i = 1, math.huge do\n  local y = i\nend", 0.5,
            "evil.lua:");
    /* Inside C no hook fires: the line is the one that was entered. */
    stopped(p, "local s = string.rep('a', 40)\nlocal n = 0\nprint(s:find(string.rep('a-', 20) .. 'b'))", 0.5,
            "evil.lua:3:");
    stopped(p,
            "local s = string.rep('a', 40)\nlocal function f(x) return x end\nlocal t = f(1) + "
            "#(s:gsub(string.rep('a-', 20) .. 'b', ''))",
            0.5, "evil.lua:3:");
    stopped(p, "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end})\nlocal x = t[1]",
            5, "evil.lua:");
    stopped(p, "local function f() return f() end\nf = nil\nlocal g\ng = function() return g() end\ng()", 0.5,
            "evil.lua:4:");
    stopped(p, "table.sort({3, 2, 1}, function() while true do end end)", 0.5, "evil.lua:1:");
    stopped(p, "string.rep('x', 100, string.rep('y', 1e6)):rep(1e9)", 5, "evil.lua:1:");
}

static void test_memory(void **state) {
    const program *p = *state;
    stopped(p, "local a = 1\n\nlocal s = string.rep('x', 10 * 1024 * 1024 * 1024)", 5,
            "evil.lua:3: resulting string too large");
    stopped(p, "local a = 1\nlocal s = string.rep('x', 1024 * 1024 * 1024)", 5,
            "evil.lua:2: out of memory: a recipe may use 256 MB");
    stopped(p, "local s = 'xxxxxxxxxxxxxxxx'\nwhile true do\n  s = s .. s\nend", 5,
            "evil.lua:3: out of memory");
    stopped(p, "local t = {}\nfor i = 1, 1e9 do t[i] = string.rep('x', 100000) .. i end", 5,
            "evil.lua:2: out of memory");
    stopped(p, "local function deep(n) local a, b, c, d, e = n, n, n, n, n return deep(n + 1) + 1 end", 5,
            "");
    stopped(p, "local f\nf = function(n) return 1 + f(n + 1) end\nf(1)", 5, "evil.lua:2: stack overflow");
    stopped(p, "local t = {}\nt[1] = t\nlocal temper = require 'temper'\ntemper.int { 'a', default = t }", 5,
            "evil.lua:4:");
    stopped(p, "return ('x'):rep(1e5):rep(1e5)", 5, "evil.lua:1:");
    /* A message of a thousand million bytes is cut, not carried. */
    stopped(p, "error(string.rep('long', 1e7))", 5, "evil.lua:1: longlong");
}

static void test_strange_files(void **state) {
    const program *p = *state;
    char command[256], path[128];
    const tm_recipe_request request = {
        .path = path, .profile = "bf16/1", .describe = describe, .program = TEST_TEMPER};
    tm_recipe recipe;
    temper_error error = TEMPER_ERROR_INIT;
    stopped(p, "\033LuaT\001", 5, "compiled Lua is refused");
    stopped(p, "\xff\xfe\x00", 5, "evil.lua:1:");
    stopped(p, "error('\\xff\\xfe')", 5, "evil.lua:1:");
    stopped(p, "-- nothing", 5, "evil.lua:1:");
    /* A folder, a device, a file larger than any recipe. */
    snprintf(path, sizeof path, "%s", p->folder);
    assert_int_not_equal(tm_recipe_load(&request, &recipe, &error), TEMPER_OK);
    snprintf(path, sizeof path, "/dev/zero");
    assert_int_not_equal(tm_recipe_load(&request, &recipe, &error), TEMPER_OK);
    snprintf(command, sizeof command, "truncate -s 1G %s/large.lua", p->folder);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/large.lua", p->folder);
    assert_int_not_equal(tm_recipe_load(&request, &recipe, &error), TEMPER_OK);
}

/* The deadline people get, through the program: five seconds and no more than a moment beside. */
static void test_the_real_deadline(void **state) {
    program *p = *state;
    double began = now();
    program_write(p, "loop.lua", "local n = 0\nrepeat n = n + 1 until false\n");
    assert_int_equal(program_run(p, "plan loop.lua"), 1);
    assert_has(p->err, "loop.lua:2: the recipe was still loading after 5 s");
    assert_true(now() - began >= 4.9 && now() - began < 60);
    program_write(p, "exec.lua", "local a\nos.execute('touch touched')\n");
    assert_int_equal(program_run(p, "run exec.lua"), 1);
    assert_has(p->err, "exec.lua:2: 'os' is not there");
    assert_null(program_read(p, "touched", &(size_t){0}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_endless, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_memory, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_strange_files, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_the_real_deadline, program_setup, program_teardown),
    };
    return cmocka_run_group_tests_name("hostile recipes", tests, NULL, NULL);
}
