/* test_report.c: the page beside an archive: it says what was asked and what came of it, asks nothing of a network, and a
 * browser shows it without a complaint at the width of a telephone and of a desk. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *small_report(program *p) {
    char *archive, path[256], *page;
    size_t length = 0;
    int code = program_run(p, "run " TEST_SOURCE_FOLDER
                              "/recipes/character.lua --set per_trait=12 --set held_out=3 --set "
                              "samples=2 --set max_tokens=96 --set epochs=1 --name small");
    if (code != 0 && code != 1) { /* so little training need not meet the expectations */
        fail_msg("exit code %d: %s%s", code, p->out, p->err);
    }
    archive = program_word(p, "archive");
    assert_non_null(archive);
    snprintf(path, sizeof path, "%.*s.html", (int)(strlen(archive) - strlen(".temper")), archive);
    page = program_read(p, path, &length);
    assert_non_null(page);
    assert_int_equal(strlen(page), length);
    program_write(p, "page.html", page);
    free(archive);
    return page;
}

static size_t count(const char *text, const char *part) {
    size_t found = 0;
    while ((text = strstr(text, part)) != NULL) {
        found++;
        text++;
    }
    return found;
}

static void test_says_all(void **state) {
    static const char *const parts[] = {
        "Side by side",    "Training: dpo",    "What was expected",       "The ledger",
        "The graph",       "What was asked",   "To do it again",          "sha256:",
        "rewards/margins", "constitution.ask", "temper reproduce small-", "per_trait"};
    static const char *const fetching[] = {"http:", "https:", " src=", "url(", "@import", "<link", " href="};
    program *p = *state;
    char *page = small_report(p);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        assert_has(page, parts[i]);
    }
    for (size_t i = 0; i < sizeof fetching / sizeof *fetching; i++) {
        assert_null(strstr(page, fetching[i]));
    }
    assert_null(strstr(page, p->folder)); /* no path of this machine */
    assert_int_equal(count(page, "<svg"), count(page, "</svg>"));
    assert_int_equal(count(page, "<svg"), count(page, "aria-label=\"")); /* who cannot see it is told */
    assert_int_equal(count(page, "<section"), count(page, "</section>"));
    free(page);
}

/* A recipe of one stage without a report has a page as well. */
static void test_plain_run(void **state) {
    program *p = *state;
    char *archive, path[256], *page;
    size_t length;
    program_write(p, "one.lua",
                  "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
                  "local word = temper.string { \"word\", default = \"a<b\" }\n"
                  "return { n = patient.count { steps = 4 }.numbers }\n");
    assert_int_equal(program_run(p, "run one.lua"), 0);
    archive = program_word(p, "archive");
    snprintf(path, sizeof path, "%.*s.html", (int)(strlen(archive) - strlen(".temper")), archive);
    page = program_read(p, path, &length);
    assert_non_null(page);
    assert_has(page, "patient.count");
    assert_has(page, "a&lt;b");
    assert_null(strstr(page, "a<b"));
    free(page);
    free(archive);
}

static bool browser(char out[32]) {
    static const char *const names[] = {"chromium", "chromium-browser", "google-chrome"};
    for (size_t i = 0; i < 3; i++) {
        char command[64];
        snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", names[i]);
        if (system(command) == 0) {
            snprintf(out, 32, "%s", names[i]);
            return true;
        }
    }
    return false;
}

/* The page, with a line that writes down what only a browser knows: is anything wider than the window, and what the script did. */
static void test_in_a_browser(void **state) {
    static const int widths[] = {390, 1280};
    program *p = *state;
    char name[32], command[1024], *page, *end, *probed, *shown;
    size_t length, size;
    if (!browser(name)) {
        print_message("skipped: no chromium\n");
        skip();
    }
    page = small_report(p);
    end = strstr(page, "</body>");
    assert_non_null(end);
    size = strlen(page) + 1024;
    probed = malloc(size);
    assert_non_null(probed);
    snprintf(probed, size,
             "%.*s<script>var d=document,e=d.documentElement,f=d.querySelector('.tools input');"
             "e.dataset.wide=e.scrollWidth>e.clientWidth+1;f.value='no such words';"
             "f.dispatchEvent(new Event('input'));e.dataset.left="
             "[].filter.call(d.querySelectorAll('article'),function(a){return !a.hidden}).length;"
             "e.dataset.asked=performance.getEntriesByType('resource').length</script>%s",
             (int)(end - page), page, end);
    program_write(p, "probed.html", probed);
    for (size_t i = 0; i < 2; i++) {
        snprintf(command, sizeof command,
                 "cd '%s' && timeout 60 %s --headless --no-sandbox --disable-gpu --disable-dev-shm-usage "
                 "--user-data-dir=browser --enable-logging=stderr --window-size=%d,900 --dump-dom "
                 "\"file://$PWD/probed.html\" >dom.html 2>browser.log",
                 p->folder, name, widths[i]);
        assert_int_equal(system(command), 0);
        shown = program_read(p, "dom.html", &length);
        assert_non_null(shown);
        assert_has(shown, "data-wide=\"false\"");
        assert_has(shown, "data-left=\"0\"");
        assert_has(shown, "data-asked=\"0\"");
        free(shown);
        shown = program_read(p, "browser.log", &length);
        assert_non_null(shown);
        assert_null(strstr(shown, "CONSOLE")); /* what a page complains of stands there under this word */
        free(shown);
    }
    free(probed);
    free(page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_says_all, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_plain_run, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_in_a_browser, program_setup, program_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
