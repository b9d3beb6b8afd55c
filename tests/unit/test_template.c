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

/* What stands in generation blocks is known byte by byte, through macros and captured blocks as well. */
static void test_generation_spans(void **state) {
    static const char source[] =
        "{% macro say(m) %}<{{ m.role }}>{% generation %}{{ m.content }}|{% endgeneration %}{% endmacro %}"
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ say(m) }}{% else %}{{ m.content }}{% endif "
        "%}"
        "{% endfor %}{% set end %}{% generation %}!{% endgeneration %}?{% endset %}{{ end }}";
    const lm_message messages[] = {{"user", "hey", 3}, {"assistant", "yo", 2}};
    const char *wanted = "hey<assistant>yo|!?", *spans = "00000000000000"
                                                         "1111"
                                                         "0";
    lm_template *template = NULL;
    lm_rendering rendering;
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    assert_int_equal(lm_template_compile(source, strlen(source), &template, &error), TEMPER_OK);
    assert_int_equal(lm_template_render(template, messages, 2, false, NULL, NULL, &rendering, &error),
                     TEMPER_OK);
    assert_string_equal(rendering.text, wanted);
    assert_true(rendering.spans);
    for (size_t i = 0; i < rendering.length; i++) {
        assert_int_equal(rendering.generated[i], spans[i] - '0');
    }
    assert_int_equal(rendering.author[14], LM_BY_ASSISTANT);
    assert_int_equal(rendering.message[14], 1);
    assert_int_equal(rendering.author[16], LM_BY_TEMPLATE);
    lm_rendering_free(&rendering);
    lm_template_free(template);
    assert_int_equal(lm_template_compile("{% generation %}a", 17, &template, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "no endgeneration"));
}

/* As Jinja2 gives them. */
static void test_values(void **state) {
    (void)state;
    check(
        "{{ {'a': [1, 2.5, none, true], 'b': ('x',)} }} {{ (1, 2) }} {{ {} }} {{ [\"it's\", '\"', 'a\\n'] }}",
        0, "{'a': [1, 2.5, None, True], 'b': ('x',)} (1, 2) {} [\"it's\", '\"', 'a\\n']", NULL);
    check("{{ {'a': {'b': 1}}.a.b }}{{ {'a': 1}['a'] }}{{ {'x': 1, 'x': 2} }}{{ {'a': 1}.get('b', 7) }}"
          "{{ {'a': 1}.get('b') }}",
          0, "11{'x': 2}7None", NULL);
    check("{{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }} {{ [1] == (1,) }} {{ 1 == 1.0 }} {{ 'a' in {'a': 1} }}",
          0, "True False True True", NULL);
    check("{{ 7 / 2 }} {{ 2 ** 3 }} {{ 1.5 + 1 }} ", 0, "3.5 8 2.5 ", NULL);
    check("{{ 0.1 + 0.2 }} {{ 1 / 3 }} {{ 100000.0 * 100000000000.0 }} {{ 1.0 / 100000 }} {{ -0.5 }}", 0,
          "0.30000000000000004 0.3333333333333333 1e+16 1e-05 -0.5", NULL);
    check("{{ 'abcdef'[1:3] }} {{ 'abc'[::-1] }} {{ 'abc'[-1] }} {{ [1, 2, 3, 4][::2] }} {{ [1, 2][5:] }} "
          "{{ [1, 2, 3][-2:] }} {{ '\xC3\xA9t\xC3\xA9'[:2] }} {{ [1, 2, 3][2:0:-1] }}",
          0, "bc cba c [1, 3] [] [2, 3] \xC3\xA9t [3, 2]", NULL);
    check("{{ [1] + [2] }}{{ 'ab' * 2 }}{{ [0] * 3 }}", 0, "[1, 2]abab[0, 0, 0]", NULL);
    check("{{ range(3) | list }} {{ range(5, 1, -2) | list }} {{ dict(a=1, b='x') }}", 0,
          "[0, 1, 2] [5, 3] {'a': 1, 'b': 'x'}", NULL);
}

static void test_filters_and_methods(void **state) {
    (void)state;
    check("{{ {'a': [1, 'x\\n', none], 'b': {}} | tojson }} {{ [] | tojson }} {{ 'a<\xC3\xA9' | tojson }} "
          "{{ '\xF0\x9F\x98\x80\xC3\xA9' | tojson(ensure_ascii=True) }}",
          0, "{\"a\": [1, \"x\\n\", null], \"b\": {}} [] \"a<\xC3\xA9\" \"\\ud83d\\ude00\\u00e9\"", NULL);
    check("{{ {'b': [1, 2], 'a': {}} | tojson(indent=2) }}", 0,
          "{\n  \"b\": [\n    1,\n    2\n  ],\n  \"a\": {}\n}", NULL);
    check("{{ {'b': 1, 'a': 2} | tojson(separators=(',', ':'), sort_keys=true) }}", 0, "{\"a\":2,\"b\":1}",
          NULL);
    check("{{ [1, 'a'] | join(', ') }}{{ x | default('d') }}{{ '' | default('e', true) }}{{ 'aB' | upper }}"
          "{{ 'aB'.lower() }}{{ 'a bc' | title }}{{ 'a bC' | capitalize }}",
          0, "1, adeABabA BcA bc", NULL);
    check("{{ 'a\nb\n\nc' | indent(2) }}|{{ 'a\nb' | indent(1, true) }}", 0, "a\n  b\n\n  c| a\n b", NULL);
    check("{{ [{'n': 1, 'k': 'x'}, {'n': 2}] | selectattr('k', 'defined') | map(attribute='n') | list }}"
          "{{ [{'n': 1}, {'n': 2}] | rejectattr('n', 'equalto', 1) | list }}{{ [1, 2, 3] | select('odd') | "
          "list }}"
          "{{ none | selectattr('x') | list }}",
          0, "[1][{'n': 2}][1, 3][]", NULL);
    check("{{ {'b': 1, 'A': 2} | dictsort }}{{ [3, 1, 2] | sort }}{{ ['b', 'A'] | sort(reverse=true) }}"
          "{{ [1, 1, 2] | unique | list }}{{ [3, 1] | min }}{{ [3, 1] | max }}{{ [1, 2] | first }}{{ [1, 2] "
          "| last }}"
          "{{ 'abc' | reverse }}{{ '12' | int + 1 }}{{ 'x' | int(5) }}{{ [1, 2] | sum }}",
          0, "[('A', 2), ('b', 1)][1, 2, 3]['b', 'A'][1, 2]1312cba1353", NULL);
    check("{{ 'a,b,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a,b,c'.split(',', 1) }}{{ 'a,b,c'.rsplit(',', "
          "1) }}"
          "{{ 'a</think>b'.split('</think>')[-1] }}",
          0, "['a', 'b', 'c']['a', 'b']['a', 'b,c']['a,b', 'c']b", NULL);
    check("{{ 'aXbX'.replace('X', '--') }}{{ 'xxaxx'.strip('x') }}{{ 'ab' | replace('', '.') }}"
          "{{ 'abc'.startswith(('x', 'a')) }}{{ 'a-b'.find('-') }}{{ '\n a'.lstrip('\n') }}",
          0, "a--b--a.a.b.True1 a", NULL);
    check("{{ 4 is divisibleby 2 }}{{ 3 is even }}{{ 'a' is in ['a'] }}{{ 1 is eq 1 and 2 is gt 1 }}{{ 1.0 "
          "is float }}",
          0, "TrueFalseTrueTrueTrue", NULL);
}

static void test_blocks(void **state) {
    (void)state;
    check("{% macro f(a, b='B') %}[{{ a }}{{ b }}]{% endmacro %}{{ f(1) }}{{ f(1, b=2) }}{{ f(b=3, a=4) }}",
          0, "[1B][12][43]", NULL);
    check("{% macro fac(n) %}{% if n == 0 %}1{% else %}{{ n * (fac(n - 1) | int) }}{% endif %}{% endmacro "
          "%}{{ fac(5) "
          "}}",
          0, "120", NULL);
    check("{% set x = 1 %}{% macro f() %}{{ x }}{% set x = 9 %}{% endmacro %}{% set x = 2 %}{{ f() }}{{ x }}",
          0, "22", NULL);
    check("{% macro f(a) %}<{{ caller(a) }}>{% endmacro %}{% call(x) f(7) %}{{ x }}!{% endcall %}", 0, "<7!>",
          NULL);
    check("{% set a, b = 1, [2] %}{{ a }}{{ b }}{% for k, v in {'x': 1, 'y': 2}.items() %}{{ k }}{{ v }}{% "
          "endfor %}"
          "{% for k in {'x': 1} %}{{ k }}{% endfor %}{% for c in 'h\xC3\xA9' %}{{ c }}-{% endfor %}",
          0, "1[2]x1y2xh-\xC3\xA9-", NULL);
    check("{% set x %}a{{ 1 }}{% endset %}{{ x }}{% set y | upper %}b{% endset %}{{ y }}"
          "{% filter upper | trim %} c {% endfilter %}{% with z = 5 %}{{ z }}{% endwith %}{{ z }}",
          0, "a1BC5", NULL);
    check("{% for n in [{'v': 1, 'c': [{'v': 2, 'c': []}]}] recursive %}{{ loop.depth }}{{ n.v }}({{ "
          "loop(n.c) }})"
          "{% endfor %}",
          0, "11(22())", NULL);
    check("{% for x in [1, 2, 3] %}{{ loop.cycle('a', 'b') }}{% endfor %}", 0, "aba", NULL);
    check("{{ strftime_now is defined }}", 0, "False", NULL);
    check("{% macro f(m) %}<{{ m.content }}>{% endmacro %}{{ f(messages[2]) }}{% set x %}{{ "
          "messages[0].content }}"
          "{% endset %}{{ x | tojson }}",
          3, "<yo>\"S<b>\"", "taattcccct");
    check("{{ messages[2].content.replace('o', messages[0].content[0]) }}{{ "
          "messages[1].content.split('i')[0] | upper }}"
          "{{ {messages[0].role: 1} }}",
          3, "yS  H{'system': 1}",
          "acccc"
          "tt"
          "cccccc"
          "ttttt");
}

/* Messages as JSON: tool calls, tools, a date; whose each byte is. */
static void test_json_context(void **state) {
    static const char source[] =
        "{% for t in tools %}{{ t.name }}{% endfor %}{% for m in messages %}{{ m.role[0] }}"
        "{% for c in m.tool_calls or [] %}{{ c.arguments | tojson }}{% endfor %}{% endfor %}"
        "{{ strftime_now('%d %b %Y') }}{{ bos_token }}";
    static const char expected[] = "getua{\"city\": \"Bern\"}26 Jul 2024<s>", authors[] = "ccccctt"
                                                                                          "aaaattttaaaatt"
                                                                                          "tttttttttttttt";
    json_t *messages = json_loads("[{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"assistant\", "
                                  "\"tool_calls\": [{\"arguments\": {\"city\": \"Bern\"}}]}]",
                                  0, NULL);
    json_t *variables = json_loads("{\"tools\": [{\"name\": \"get\"}]}", 0, NULL);
    int64_t now = 1721986200;
    lm_template *template;
    lm_rendering rendering;
    (void)state;
    assert_int_equal(lm_template_compile(source, sizeof source - 1, &template, NULL), TEMPER_OK);
    assert_int_equal(
        lm_template_render_json(template, messages, variables, false, "<s>", NULL, &now, &rendering, NULL),
        TEMPER_OK);
    assert_string_equal(rendering.text, expected);
    for (size_t i = 0; i < rendering.length; i++) {
        assert_int_equal("tca"[rendering.author[i]], authors[i]);
    }
    assert_int_equal(rendering.message[0], UINT32_MAX);
    assert_int_equal(rendering.message[3], 0);
    assert_int_equal(rendering.message[7], 1);
    lm_rendering_free(&rendering);
    json_decref(messages);
    messages = json_loads("[{\"content\": \"x\"}]", 0, NULL);
    assert_int_equal(
        lm_template_render_json(template, messages, NULL, false, NULL, NULL, NULL, &rendering, NULL),
        TEMPER_INVALID);
    json_decref(messages);
    json_decref(variables);
    lm_template_free(template);
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
        {"\n\n{% include 'x' %}", "include", "line 3"},
        {"{% raw %}{% endraw %}", "raw", "line 1"},
        {"{% do x %}", "do", "line 1"},
        {"{% set a.b.c = 1 %}", "set", "line 1"},
        {"{% call x.y() %}{% endcall %}", "call", "line 1"},
        {"\n{{ 'a' | xmlattr }}", "xmlattr", "line 2"},
        {"{{ 'a' | map('nothing') | list }}", "nothing", "line 1"},
        {"{{ 1 is sameas(1) }}", "sameas", "line 1"},
        {"{{ '%s' % 1 }}", "%", "line 1"},
        {"{{ 'a' | trim('a', 'b') }}", "trim", "line 1"},
        {"{{ '\u00e9' | upper }}", "ASCII", "line 1"},
        {"{{ strftime_now('%Y') }}", "strftime_now", "line 1"},
        {"{{ lipsum() }}", "lipsum", "line 1"},
        {"{{ 'a'.zfill(3) }}", "zfill", "line 1"},
        {"{{ namespace(a=1) }}", "a namespace", "line 1"},
        {"{% for m in messages %}{{ loop.changed(1) }}{% endfor %}", "changed", "line 1"},
        {"{% macro f(x) %}{{ f(x) }}{% endmacro %}\n{{ f(1) }}", "inside one another", "line 1"},
        {"{% break %}", "break", "line 1"},
        {"{% for m in messages %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}", "break", "line 1"},
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
        {"{{ [1].append(2) }}", "change"},
        {"{{ {'a': 1}.pop('a') }}", "pop"},
        {"{{ 'a' | tojson(1, 2, 3, 4, 5) }}", "tojson"},
        {"{{ x | tojson }}", "undefined"},
        {"{{ f(1) }}", "'f' is undefined"},
        {"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "takes no argument 2"},
        {"{% for a, b in [[1]] %}{% endfor %}", "1 values for 2 names"},
        {"{{ 1 < 'a' }}", "order"},
        {"{{ 1 / 0 }}", "zero"},
        {"{{ 2 ** 64 }}", "range"},
        {"{{ range(1000000) }}", "range"},
        {"{{ [1][::0] }}", "zero"},
        {"{% set x %}a", "endset"},
        {"{{ {'a' 1} }}", ":"},
        {"{{ {'a': 1 }}", "closed"},
        {"{% for a.b in x %}{% endfor %}", "without \"in\""},
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
        cmocka_unit_test(test_generation_spans),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_filters_and_methods),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_json_context),
        cmocka_unit_test(test_authors),
        cmocka_unit_test(test_refused_by_name_and_line),
        cmocka_unit_test(test_raise_exception),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_mentions_system),
        cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
