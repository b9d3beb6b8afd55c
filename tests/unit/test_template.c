/* test_template.c: chat templates: the subset, who wrote which byte, and what is refused and how.
 *
 * What Jinja2 gives for whole public templates is in tests/golden/test_template_renderings.c. */
#include "../support/cmocka_all.h"

#include "template/chat_template.h"

static const lm_message dialogue[] = {
    {"system", "S<b>", 4}, {"user", "  hi\n", 5}, {"assistant", "yo", 2}, {"user", "", 0}};

/* Renders over the first `count` messages; checks text, and the authors as a string of 't', 'c' and 'a'. */
static void check(const char *source, size_t count, const char *text, const char *authors) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_template *template;
    lm_rendering rendering;
    if (lm_template_compile(source, strlen(source), &template, &error) ||
        lm_template_render(template, dialogue, count, true, "<s>", "</s>", &rendering, &error)) {
        fail_msg("%s: %s", source, error.message);
    }
    if (strcmp(rendering.text, text) != 0) {
        fail_msg("%s: \"%s\", not \"%s\"", source, rendering.text, text);
    }
    assert_int_equal(strlen(text), rendering.length);
    for (size_t i = 0; authors != NULL && i < rendering.length; i++) {
        if ("tca"[rendering.author[i]] != authors[i]) {
            fail_msg("%s: byte %zu of \"%s\" is by '%c'", source, i, text, "tca"[rendering.author[i]]);
        }
        assert_int_equal(rendering.message[i] == UINT32_MAX, authors[i] == 't');
    }
    lm_rendering_free(&rendering);
    lm_template_free(template);
}

static void test_text_and_white_space(void **state) {
    (void)state;
    check("", 0, "", NULL);
    check("a\n", 0, "a", NULL); /* a last newline goes */
    check("a\r\nb\r\n\n", 0, "a\nb\n", NULL);
    check("a {# no #} b", 0, "a  b", NULL);
    check("x\n  {% if true %}\n y\n  {% endif %}\nz", 0, "x\n y\nz", NULL);
    check("x\n  {{ 1 }}\nz", 0, "x\n  1\nz", NULL);
    check("x \n {%- if true -%} \n y {%- endif %} z", 0, "xy z", NULL);
    check("x {{- 1 -}} \n y", 0, "x1y", NULL);
    check("a\n  {%+ if true %}b{% endif +%}\nc", 0, "a\n  b\nc", NULL);
    check("a\xC2\xA0\xE3\x80\x80{{- 1 -}}\xE2\x80\x83x", 0, "a1x", NULL);
    check("{{ '%}' }}{{ \"}}\" }}", 0, "%}}}", NULL);
    check("{ {{ 1 }} } %}", 0, "{ 1 } %}", NULL);
}

static void test_expressions(void **state) {
    (void)state;
    check("{{ 'a\\n\\t\\'\\\"\\\\\\x41\\u00e9\\101\\q' }}", 0,
          "a\n\t'\"\\A\xC3\xA9"
          "A\\q",
          NULL);
    check("{{ 'a' 'b' + \"c\" ~ 1 ~ true ~ none ~ nothing }}", 0, "abc1TrueNone", NULL);
    check("{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ (1 + 2) * 3 }}", 0, "3 3 -4 2 9",
          NULL);
    check("{{ 1 < 2 <= 2 }} {{ 1 < 2 > 5 }} {{ 'a' < 'b' }} {{ 1 == true }} {{ 1 == '1' }} {{ 2 != 3 }}", 0,
          "True False True True False True", NULL);
    check("{{ not 1 == 2 and true or fail }} {{ 'x' or 'y' }} {{ '' or 'y' }} {{ 1 and 0 }}", 0, "True x y 0",
          NULL);
    check("{{ 'b' in 'abc' }} {{ 'd' not in 'abc' }} {{ 2 in [1, 2] }} {{ '' in '' }} {{ not 'a' in ['a'] }}",
          0, "True True True True False", NULL);
    check("{{ 'y' if false else 'n' }}{{ 'y' if false }}{{ 'y' if true }}", 0, "ny", NULL);
    check("{{ x is defined }} {{ x is not defined }} {{ tools is none }} {{ bos_token is string }} "
          "{{ messages is iterable }} {{ messages[0] is mapping }}",
          1, "False True True True True True", NULL);
    check("{{ messages[0].role }} {{ messages[-1]['role'] }} {{ messages | length }} {{ messages[9] is "
          "defined }}",
          3, "system assistant 3 False", NULL);
    check("{{ messages[1:] | length }} {{ messages[:-1][0].role }} {{ messages[5:] | length }}", 3,
          "2 system 0", NULL);
    check("{{ 'content' in messages[0] }} {{ 'tools' in messages[0] }} {{ messages[0].tools is defined }}", 1,
          "True False False", NULL);
    check("{{ ' a '.strip() }}|{{ ' a ' | trim }}|{{ ' a '.lstrip() }}|{{ 'abc'.startswith('ab') }}|"
          "{{ 'abc'.endswith('x') }}|{{ '\xC3\xA9' | length }}",
          0, "a|a|a |True|False|1", NULL);
    check("{{ bos_token + eos_token }}", 0, "<s></s>", "ttttttt");
}

static void test_statements(void **state) {
    (void)state;
    check("{% for m in messages %}{{ loop.index0 }}{{ loop.index }}{{ loop.first }}{{ loop.last }} {% endfor "
          "%}",
          2, "01TrueFalse 12FalseTrue ", NULL);
    check("{% for m in messages if m.role == 'user' %}{{ loop.length }}{{ loop.revindex }}{{ m.role }}{% "
          "else %}none"
          "{% endfor %}",
          2, "11user", NULL);
    check("{% for m in messages %}x{% else %}none{% endfor %}", 0, "none", NULL);
    check("{% for m in messages %}{% if loop.first %}{% continue %}{% elif m.role == 'assistant' %}{% break "
          "%}{% else "
          "%}{{ m.role }}{% endif %}{% endfor %}",
          4, "user", NULL);
    check("{% for m in messages %}{% break %}{% else %}none{% endfor %}", 2, "none", NULL);
    check("{{ 2 >= true }}{{ false < 1 }}", 0, "TrueTrue", NULL);
    check("{% set x = 1 %}{% for m in messages %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}", 2, "221", NULL);
    check("{% set ns = namespace(n=0, s='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% set ns.s = "
          "m.role "
          "%}{% endfor %}{{ ns.n }}{{ ns.s }}",
          3, "3assistant", "tccccccccc");
    check("{% if false %}a{% elif 0 %}b{% elif messages %}c{% else %}d{% endif %}", 1, "c", NULL);
    check("{% for a in [1, 2] %}{% for b in [3] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
          0, "1112", NULL);
    check("{% generation %}a{% endgeneration %}b", 0, "ab", NULL);
}

static void test_authors(void **state) {
    (void)state;
    check("<{{ messages[2].content }}>{{ messages[1].content }}", 3, "<yo>  hi\n", "taatccccc");
    check("{{ '<' + messages[2]['content'] + '>' ~ messages[0].content }}", 3, "<yo>S<b>", "taatcccc");
    check("{{ (messages[2].content ~ messages[1].content) | trim }}", 3, "yo  hi", "aacccc");
    check("{{ messages[1].content.strip() + messages[2].role }}", 3, "hiassistant", "ccccccccccc");
    check("{% set x = messages[2].content %}{% set y = 'a' ~ x ~ x %}{{ y if true }}", 3, "ayoyo", "taaaa");
    check("{{ messages[3].content + '' + messages[2].content }}", 4, "yo", "aa");
}

static temper_status failure(const char *source, temper_error *error) {
    lm_template *template;
    lm_rendering rendering;
    temper_status status = lm_template_compile(source, strlen(source), &template, error);
    if (!status) {
        status = lm_template_render(template, dialogue, 4, true, "<s>", "</s>", &rendering, error);
        if (!status) {
            lm_rendering_free(&rendering);
        }
        lm_template_free(template);
    }
    return status;
}

static void test_refused_by_name_and_line(void **state) {
    static const struct {
        const char *source, *word, *line;
    } refused[] = {
        {"\n\n{% macro f() %}{% endmacro %}", "macro", "line 3"},
        {"{% include 'x' %}", "include", "line 1"},
        {"{% raw %}{% endraw %}", "raw", "line 1"},
        {"{% call f() %}", "call", "line 1"},
        {"{% filter upper %}", "filter", "line 1"},
        {"a\n{% for a, b in x %}{% endfor %}", "more than one name", "line 2"},
        {"{% for a in x recursive %}{% endfor %}", "recursive", "line 1"},
        {"{% set a, b = 1, 2 %}", "set", "line 1"},
        {"{% set x %}a{% endset %}", "set", "line 1"},
        {"{{ {'a': 1} }}", "dict literal", "line 1"},
        {"{{ (1, 2) }}", "tuple", "line 1"},
        {"{{ messages[::-1] }}", "step", "line 1"},
        {"{{ 1.5 }}", "number", "line 1"},
        {"{{ 2 ** 3 }}", "**", "line 1"},
        {"{{ 3 / 2 }}", "/", "line 1"},
        {"\n{{ messages | tojson }}", "tojson", "line 2"},
        {"{{ 'a' | replace('a', 'b') }}", "replace", "line 1"},
        {"{{ 1 is divisibleby(2) }}", "divisibleby", "line 1"},
        {"{{ 1 is callable }}", "callable", "line 1"},
        {"{{ strftime_now('%Y') }}", "strftime_now", "line 1"},
        {"{{ 'a'.split('b') }}", "split", "line 1"},
        {"{{ messages }}", "a list", "line 1"},
        {"{{ messages[0] }}", "a message", "line 1"},
        {"{% for m in messages %}{{ loop.cycle }}{% endfor %}", "cycle", "line 1"},
        {"{% break %}", "break", "line 1"},
        {"{{ '\\N{BULLET}' }}", "escape", "line 1"},
    };
    static const struct {
        const char *source, *word;
    } invalid[] = {
        {"{{ x.y }}", "'x' is undefined"},
        {"{{ x['y'] }}", "'x' is undefined"},
        {"{{ messages[0].tools.x }}", "'tools' is undefined"},
        {"{{ 'a' + x }}", "undefined"},
        {"{{ 1 // 0 }}", "zero"},
        {"{{ 9223372036854775807 + 1 }}", "range"},
        {"{% for m in tools %}{% endfor %}", "none"},
        {"{% if true %}", "endif"},
        {"{% for m in messages %}{% endif %}", "endif"},
        {"{% endfor %}", "endfor"},
        {"{% if 1 if 2 else 3 %}{% endif %}", "if"},
        {"{{ 'abc }}", "closed"},
        {"{{ (1 }}", "closed"},
        {"{{ messages[0 }}", "closed"},
        {"{{ }}", "end of the tag"},
        {"{% if %}{% endif %}", "end of the tag"},
        {"{{ 1 2 }}", "2"},
        {"{% set ns.x = 1 %}", "namespace"},
        {"{# a", "{#"},
        {"{% if true", "{%"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        temper_error error = TEMPER_ERROR_INIT;
        if (failure(refused[i].source, &error) != TEMPER_UNSUPPORTED ||
            strstr(error.message, refused[i].word) == NULL ||
            strstr(error.message, refused[i].line) == NULL) {
            fail_msg("%s: %s", refused[i].source, error.message);
        }
    }
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        temper_error error = TEMPER_ERROR_INIT;
        if (failure(invalid[i].source, &error) == TEMPER_OK ||
            strstr(error.message, invalid[i].word) == NULL) {
            fail_msg("%s: %s", invalid[i].source, error.message);
        }
    }
}

static void test_raise_exception(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    assert_int_equal(failure("{{ raise_exception('Only ' ~ 2 ~ ' roles!') }}", &error), TEMPER_INVALID);
    assert_string_equal(error.message, "Only 2 roles!");
}

static char *repeat(const char *text, size_t times, const char *end) {
    size_t length = strlen(text);
    char *out = malloc(length * times + strlen(end) + 1);
    for (size_t i = 0; i < times; i++) {
        memcpy(out + i * length, text, length);
    }
    strcpy(out + length * times, end);
    return out;
}

/* Ends in an error, soon, however it is made. */
static void test_hostile(void **state) {
    static const char *const deep[] = {"{{ ((((",   "{% if 1 %}", "{{ not not not ",
                                       "{{ - - - ", "{{ [[[[",    "{{ 1 if 1 else 1 if 1 else ",
                                       "{{ a[a[a[", "{{ 'a' ~ "};
    static const char *const pieces[] = {"(", "{% if 1 %}", "not ", "-", "[", "1 if 1 else ", "a[", "'a'~"};
    (void)state;
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) {
        char *middle = repeat(pieces[i], 100000, "1 }}"), *source = NULL;
        assert_true(asprintf(&source, "%s%s", deep[i], middle) > 0);
        failure(source, NULL); /* either way, without a crash */
        free(middle);
        free(source);
    }
    temper_error error = TEMPER_ERROR_INIT;
    char *terms = repeat("1 and ", 400, "1"), *busy = NULL;
    assert_true(
        asprintf(&busy,
                 "{%% set a = [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1] %%}{%% for a1 in a %%}{%% for a2 "
                 "in a %%}{%% for a3 in a %%}{%% for a4 in a %%}{%% if %s %%}{%% endif %%}{%% endfor "
                 "%%}{%% endfor %%}{%% endfor %%}{%% endfor %%}",
                 terms) > 0);
    assert_int_equal(failure(busy, &error), TEMPER_INVALID);
    free(terms);
    free(busy);
    assert_non_null(strstr(error.message, "steps"));
    char *ones = repeat("1,", 200, "1");
    assert_true(asprintf(&busy,
                         "{%% set a = [%s] %%}{%% set b = [a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a] %%}"
                         "{%% set c = [b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b,b] %%}"
                         "{%% set d = [c,c,c,c,c,c,c,c,c,c,c,c,c,c,c,c,c,c,c,c] %%}"
                         "{%% set e = [d,d,d,d,d,d,d,d,d,d,d,d,d,d,d,d,d,d,d,d] %%}"
                         "{%% set f = [e,e,e,e,e,e,e,e,e,e,e,e,e,e,e,e,e,e,e,e] %%}{{ f == f }}",
                         ones) > 0);
    assert_int_equal(failure(busy, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "steps"));
    free(ones);
    free(busy);
    char *doubling = repeat("{% set x = x ~ x %}", 60, "{{ x }}"), *source = NULL;
    assert_true(asprintf(&source, "{%% set x = 'ab' %%}%s", doubling) > 0);
    assert_int_equal(failure(source, &error), TEMPER_NO_MEMORY);
    free(doubling);
    free(source);
    char *nested = repeat("{% set ns.x = [ns.x] %}", 2000, "{{ ns.x == ns.x }}");
    assert_true(asprintf(&source, "{%% set ns = namespace(x=1) %%}%s", nested) > 0);
    assert_int_equal(failure(source, &error), TEMPER_UNSUPPORTED);
    free(nested);
    free(source);
    char *long_text = repeat("0123456789abcdef", 4096, "");
    assert_true(
        asprintf(&source,
                 "{%% set a = '%s' %%}{%% for m in messages %%}{%% for m in messages %%}{%% for m in "
                 "messages %%}{%% for m in messages %%}{%% for m in messages %%}{%% for m in messages "
                 "%%}{{ a }}{%% endfor %%}{%% endfor %%}{%% endfor %%}{%% endfor %%}{%% endfor %%}{%% "
                 "endfor %%}",
                 long_text) > 0);
    assert_int_equal(failure(source, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "bytes of output"));
    free(long_text);
    free(source);
    lm_template *template;
    assert_int_equal(lm_template_compile("a\0b", 3, &template, &error), TEMPER_INVALID);
    /* A loop kept past its end is still whole. */
    check("{% set ns = namespace(l=0) %}{% for m in messages %}{% set ns.l = [loop] %}{% endfor %}{{ "
          "ns.l[0].index }}",
          2, "3", NULL);
}

static void test_mentions_system(void **state) {
    static const struct {
        const char *source;
        bool mentions;
    } cases[] = {
        {"{% for m in messages %}{% if m.role == 'system' %}[{{ m.content }}]{% endif %}{% endfor %}", true},
        {"{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}", false},
        {"{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}", false},
        {"{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lm_template *template;
        assert_int_equal(lm_template_compile(cases[i].source, strlen(cases[i].source), &template, NULL),
                         TEMPER_OK);
        assert_int_equal(lm_template_mentions_system(template), cases[i].mentions);
        lm_template_free(template);
    }
}

/* Where a template is found, and in which order. */
static void test_find(void **state) {
    static const char list[] =
        "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"T\"}, {\"name\": "
        "\"default\", \"template\": \"D\"}]}";
    static const char odd[] = "{\"chat_template\": 7}";
    lm_file files[] = {{"tokenizer_config.json", list, sizeof list - 1}, {"chat_template.jinja", "J", 1}};
    lm_file_set both = {files, 2}, one = {files, 1};
    temper_error error = TEMPER_ERROR_INIT;
    char *source;
    size_t length;
    (void)state;
    assert_int_equal(lm_template_find(&both, &source, &length, &error), TEMPER_OK);
    assert_string_equal(source, "J");
    free(source);
    assert_int_equal(lm_template_find(&one, &source, &length, &error), TEMPER_OK);
    assert_string_equal(source, "D");
    free(source);
    files[0] = (lm_file){"tokenizer_config.json", odd, sizeof odd - 1};
    assert_int_equal(lm_template_find(&one, &source, &length, &error), TEMPER_UNSUPPORTED);
    files[0] = (lm_file){"base/tokenizer_config.json", list, sizeof list - 1};
    assert_int_equal(lm_template_find(&one, &source, &length, &error), TEMPER_OK);
    free(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_and_white_space),
        cmocka_unit_test(test_expressions),
        cmocka_unit_test(test_statements),
        cmocka_unit_test(test_authors),
        cmocka_unit_test(test_refused_by_name_and_line),
        cmocka_unit_test(test_raise_exception),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_mentions_system),
        cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
