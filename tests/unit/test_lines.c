/* test_lines.c: sdk/lines against the core's strict parser, the two scans against each other, and passes over inputs that are
 * larger than a shard, with broken lines in them, in any order of the workers. */
#include "fake_host.h"

#include "base/json.h"
#include "lines/parse.h"
#include "lines/texts.h"
#include "support/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- a host for single lines: plain memory ----------------------------------------------------------------------- */

static void *plain_reallocate(const temper_host *host, void *block, size_t bytes) {
    (void)host;
    return realloc(block, bytes);
}

static void *plain_allocate(const temper_host *host, size_t bytes) {
    (void)host;
    return malloc(bytes);
}

static void plain_release(const temper_host *host, void *block) {
    (void)host;
    free(block);
}

static const temper_host plain = {.size = sizeof plain,
                                  .allocate = plain_allocate,
                                  .reallocate = plain_reallocate,
                                  .release = plain_release};

static uint64_t random_state = 1;
static uint32_t random_below(uint32_t bound) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((random_state >> 33) % bound);
}

static const char *const seeds[] = {
    "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi "
    "\\\"you\\\"\\n\\u00e9\"},{\"role\":\"assistant\",\"content\":\"\\ud83d\\ude00 ok\"}]}",
    "{ \"a\" : [ 1 , -2.5e+10 , true , false , null , { } , [ ] ] , \"b\" : \"\\\\\" , \"\\u0062c\" : 0 }",
    "{\"a\":{\"a\":{\"a\":[[[[\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"]]]]}},\"x\":\"tab\\t\",\"y\":\"\"}",
    "{\"n1\":1,\"n2\":2,\"n3\":3,\"n4\":4,\"n5\":5,\"n6\":6,\"n7\":7,\"n8\":8,\"n9\":9,\"n10\":10,\"n11\":11,"
    "\"n12\":12,\"n13\":13}",
    "{\"text\":\"plain and rather long text without anything in it that needs an escape, more than "
    "sixty-four bytes\"}",
};

/* Does the core find the same texts under the same names? */
static void same_value(const temper_line *line, uint32_t node, const temper_json *value,
                       temper_buffer *scratch) {
    static const temper_json_kind kinds[] = {TEMPER_JSON_NULL,   TEMPER_JSON_BOOLEAN, TEMPER_JSON_NUMBER,
                                             TEMPER_JSON_STRING, TEMPER_JSON_ARRAY,   TEMPER_JSON_OBJECT};
    const temper_node *n = &line->nodes[node];
    uint32_t child = node + 1;
    size_t i, length;
    assert_int_equal(kinds[n->kind], tm_json_kind(value));
    if (n->kind == TEMPER_NODE_STRING) {
        temper_span text;
        const char *expected = tm_json_string(value, &length);
        assert_true(node == 0 || temper_line_text(line, node, scratch, &text));
        assert_int_equal(text.length, length);
        assert_memory_equal(text.data, expected, length);
    } else if (n->kind == TEMPER_NODE_ARRAY) {
        for (i = 0; i < tm_json_length(value); i++, child = line->nodes[child].next) {
            assert_true(child < n->next);
            same_value(line, child, tm_json_element(value, i), scratch);
        }
        assert_int_equal(child, n->next);
    } else if (n->kind == TEMPER_NODE_OBJECT) {
        for (i = 0; i < tm_json_length(value); i++) {
            const temper_json *member;
            const char *name = tm_json_name(value, i, &member);
            uint32_t found = temper_line_member(line, node, name);
            assert_true(found != 0);
            same_value(line, found, member, scratch);
        }
        for (i = 0; child < n->next; child = line->nodes[child + 1].next) {
            i++;
        }
        assert_int_equal(i, tm_json_length(value));
    }
}

static bool compare_with_core(temper_line_reader *reader, const char *text, size_t length, size_t *sound) {
    temper_arena *arena = tm_arena_new();
    const temper_json *value = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    temper_buffer scratch;
    temper_line line;
    bool good = tm_json_parse(arena, text, length, &value, &error) == TEMPER_OK &&
                tm_json_kind(value) == TEMPER_JSON_OBJECT;
    temper_buffer_init(&scratch, &plain);
    assert_true(temper_line_read(reader, text, length, &line));
    if (good != (line.problem == NULL)) {
        fail_msg("core: %s; lines: %s; %.*s", good ? "sound" : error.message,
                 line.problem == NULL ? "sound" : line.problem, (int)length, text);
    }
    if (good) {
        same_value(&line, 0, value, &scratch);
        ++*sound;
    }
    temper_buffer_free(&scratch);
    tm_arena_free(arena);
    return good;
}

/* Of sound text both scans find the same tokens; what is unsound one may take for a token more, and the grammar refuses it. */
static void compare_scans(temper_scan *a, temper_scan *b, const char *text, size_t length, bool sound) {
    const uint32_t *left, *right;
    uint32_t left_count, right_count;
    temper_scan_result left_result = temper_scan_text(a, text, length, &left, &left_count);
    temper_scan_result right_result = temper_scan_portable_text(b, text, length, &right, &right_count);
    if (sound) {
        assert_int_equal(left_result, TEMPER_SCAN_OK);
        assert_int_equal(right_result, TEMPER_SCAN_OK);
        assert_int_equal(left_count, right_count);
        assert_memory_equal(left, right, left_count * sizeof *left);
    }
}

static void lines_are_what_the_core_says(void **state) {
    static const char bytes[] = "{}[]:,\"\\ \t019.eE+-truefalsn\x01\x80\xC3\xED\xA0\xF4u/dD8";
    temper_line_reader *reader = temper_line_reader_new(&plain);
    temper_scan *simd = temper_scan_new(), *portable = temper_scan_portable_new();
    size_t sound = 0, i, round;
    (void)state;
    for (i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        size_t length = strlen(seeds[i]);
        compare_with_core(reader, seeds[i], length, &sound);
        compare_scans(simd, portable, seeds[i], length, true);
        for (round = 0; round < 4000; round++) {
            char *text = malloc(length); /* exactly as long as it is: a read behind it is found */
            size_t changes = 1 + random_below(3),
                   kept = random_below(8) == 0 ? random_below((uint32_t)length) : length;
            memcpy(text, seeds[i], length);
            while (changes-- > 0) {
                text[random_below((uint32_t)length)] = bytes[random_below(sizeof bytes - 1)];
            }
            compare_scans(simd, portable, text, kept, compare_with_core(reader, text, kept, &sound));
            free(text);
        }
    }
    assert_true(sound > 500);
    temper_scan_free(simd);
    temper_scan_portable_free(portable);
    temper_line_reader_free(reader);
}

static void problems_have_names(void **state) {
    static const struct {
        const char *text, *problem;
    } cases[] = {
        {"", "is empty"},
        {"[1]", "is no object"},
        {"{\"a\":1", "ends before its JSON does"},
        {"{\"a\":\"b", "ends within a string"},
        {"{\"a\":1}{\"b\":2}", "goes on behind its JSON"},
        {"{\"a\":tru}", "holds a word that is no JSON value"},
        {"{\"a\":01}", "holds a word that is no JSON value"},
        {"{\"a\":1,}", "holds an object with a member that has no name"},
        {"{\"a\" 1}", "lacks a colon behind a name"},
        {"{\"a\":}", "lacks a value"},
        {"{\"a\":[1 2]}", "lacks a comma"},
        {"{\"a\":1,\"\\u0061\":2}", "holds an object with a name twice"},
        {"{\"a\":\"\\ud800\"}", "holds half of a surrogate pair"},
        {"{\"a\":\"\\udc00\"}", "holds half of a surrogate pair"},
        {"{\"a\":\"\\x\"}", "holds an escape that JSON does not have"},
        {"{\"a\":\"\xFF\"}", "is not UTF-8"},
        {"{\"a\":\"\t\"}", "holds a control byte in a string"},
    };
    temper_line_reader *reader = temper_line_reader_new(&plain);
    char deep[1200];
    temper_line line;
    size_t i;
    (void)state;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(temper_line_read(reader, cases[i].text, strlen(cases[i].text), &line));
        assert_non_null(line.problem);
        assert_string_equal(line.problem, cases[i].problem);
    }
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    assert_true(temper_line_read(reader, deep, sizeof deep, &line));
    assert_string_equal(line.problem, "is nested deeper than 512 levels");
    temper_line_reader_free(reader);
}

static void texts_come_and_go(void **state) {
    static const char *const raws[] = {"", "a\\\"b\\\\c\\n", "\\u00e9\\ud83d\\ude00\\/\\b\\f", "plain"};
    static const char *const texts[] = {"", "a\"b\\c\n", "\xC3\xA9\xF0\x9F\x98\x80/\b\f", "plain"};
    static const char *const quoted[] = {"\"\"", "\"a\\\"b\\\\c\\n\"", "\"\xC3\xA9\xF0\x9F\x98\x80/\\b\\f\"",
                                         "\"plain\""};
    temper_buffer out;
    size_t i;
    (void)state;
    temper_buffer_init(&out, &plain);
    for (i = 0; i < 4; i++) {
        temper_buffer_clear(&out);
        temper_unescape(&out, temper_span_of(raws[i]));
        assert_string_equal(out.data, texts[i]);
        temper_buffer_clear(&out);
        temper_quote(&out, temper_span_of(texts[i]));
        assert_string_equal(out.data, quoted[i]);
    }
    temper_buffer_free(&out);
}

/* --- a pass ------------------------------------------------------------------------------------------------------ */

typedef struct tally {
    uint64_t broken, lines;
} tally;

static tally total;
static bool unread;

/* Sound lines go on, every third one rewritten; of broken ones the number and the problem. */
static void each(void *context, temper_shard *shard, const temper_line *line) {
    tally *own = shard->own;
    (void)context;
    own->lines++;
    if (line->problem != NULL) {
        temper_buffer *out = temper_shard_begin(shard, 1);
        own->broken++;
        temper_buffer_format(out, "{\"number\":%llu,\"problem\":\"%s\"}", (unsigned long long)line->number,
                             line->problem);
        temper_shard_end(shard, 1);
    } else if (line->number % 3 != 0 || unread) {
        temper_shard_copy(shard, 0, line);
    } else {
        temper_buffer *out = temper_shard_begin(shard, 0);
        temper_span raw = temper_line_raw(line, temper_line_member(line, 0, "id"));
        temper_buffer_format(out, "{\"id\":%.*s,\"new\":true}", (int)raw.length, raw.data);
        temper_shard_end(shard, 0);
    }
}

static temper_status joined(void *context, temper_shard *shard, temper_error *error) {
    const tally *own = shard->own;
    (void)context, (void)error;
    assert_int_equal(own->lines, shard->lines);
    total.broken += own->broken;
    total.lines += own->lines;
    return TEMPER_OK;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    temper_lines_pass pass = {.host = host,
                              .input = host->input(host, "records"),
                              .line = each,
                              .joined = joined,
                              .own_size = sizeof(tally),
                              .longest = 3 << 20,
                              .unread = unread};
    (void)self;
    host->output(host, "kept", &pass.sinks[0], error);
    host->output(host, "broken", &pass.sinks[1], error);
    memset(&total, 0, sizeof total);
    return temper_lines_run(&pass, error);
}

static temper_status create(const temper_host *host, const void *parameters, void **self,
                            temper_error *error) {
    (void)host, (void)parameters, (void)error;
    *self = NULL;
    return TEMPER_OK;
}

static void destroy(void *self) {
    (void)self;
}

static const temper_port *const inputs[] = {TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", ""), NULL};
static const temper_port *const outputs[] = {TEMPER_PORT(TEMPER_RECORDS, "kept", 0, "", ""),
                                             TEMPER_PORT(TEMPER_RECORDS, "broken", 0, "", ""), NULL};
static const temper_parameter *const parameters[] = {NULL};
static const temper_stage stage = {.size = sizeof stage,
                                   .revision = 1,
                                   .name = "try",
                                   .inputs = inputs,
                                   .outputs = outputs,
                                   .parameters = parameters,
                                   .create = create,
                                   .run = run,
                                   .destroy = destroy};

/* Some megabytes: sound lines of all lengths; when `broken`, also empty, cut and giant ones, and ends by CR LF. */
static char *make_lines(bool broken, tm_buffer *expected, tm_buffer *faults, uint64_t *count) {
    tm_buffer text = TM_BUFFER_INIT;
    char filler[4000];
    uint64_t number;
    memset(filler, 'x', sizeof filler);
    for (number = 1; text.length < (7u << 20); number++) {
        int length = (int)random_below(sizeof filler);
        uint32_t kind = broken ? random_below(40) : 40;
        const char *problem = NULL, *before = kind == 5 ? "  " : "", *after = kind == 6 ? " \r" : "";
        if (kind == 0) {
            problem = "is empty";
        } else if (kind == 1) {
            tm_buffer_format(&text, "{\"id\":%llu,\"text\":\"%.*s", (unsigned long long)number, length,
                             filler);
            problem = "ends within a string";
        } else if (kind == 2) {
            tm_buffer_format(&text, "{\"id\":%llu,\"text\":\"\xFF\"}", (unsigned long long)number);
            problem = "is not UTF-8";
        } else if (kind == 3 && number % 50 == 0) {
            char *giant = malloc(5 << 20);
            memset(giant, 'y', 5 << 20);
            tm_buffer_append(&text, giant, 5 << 20);
            free(giant);
            problem = "is too long";
        } else {
            tm_buffer_format(&text, "%s{\"id\":%llu,\"text\":\"%.*s\"}%s", before, (unsigned long long)number,
                             length, filler, after);
            if (number % 3 == 0) {
                tm_buffer_format(expected, "{\"id\":%llu,\"new\":true}\n", (unsigned long long)number);
            } else {
                tm_buffer_format(expected, "{\"id\":%llu,\"text\":\"%.*s\"}\n", (unsigned long long)number,
                                 length, filler);
            }
        }
        if (problem != NULL) {
            tm_buffer_format(faults, "{\"number\":%llu,\"problem\":\"%s\"}\n", (unsigned long long)number,
                             problem);
        }
        tm_buffer_text(&text, "\n");
    }
    text.length--;
    text.data[text.length] = 0; /* the last line ends without a line feed */
    *count = number - 1;
    return text.data;
}

static void passes(bool broken) {
    tm_buffer expected = TM_BUFFER_INIT, faults = TM_BUFFER_INIT;
    fake_host *host = fake_host_new();
    temper_error error = TEMPER_ERROR_INIT;
    uint64_t count;
    char *text;
    random_state = 7;
    tm_buffer_text(&faults, "");
    text = make_lines(broken, &expected, &faults, &count);
    fake_host_records(host, "records", text);
    unread = false;
    assert_int_equal(fake_host_run(host, &stage, "{}", &error), TEMPER_OK);
    assert_true(strcmp(fake_host_output(host, "kept"), expected.data) == 0);
    assert_true(strcmp(fake_host_output(host, "broken"), faults.data == NULL ? "" : faults.data) == 0);
    assert_int_equal(total.lines, count);
    assert_int_equal(fake_host_blocks(host), 0);
    fake_host_try_backwards(host, &stage, "{}");
    if (!broken) {
        unread = true;
        assert_int_equal(fake_host_run(host, &stage, "{}", &error), TEMPER_OK);
        assert_int_equal(strlen(fake_host_output(host, "kept")), strlen(text) + 1);
        unread = false;
    }
    free(text);
    tm_buffer_free(&expected);
    tm_buffer_free(&faults);
    fake_host_free(host);
}

static void a_pass_over_sound_lines(void **state) {
    (void)state;
    passes(false);
}

static void a_pass_over_broken_lines(void **state) {
    (void)state;
    passes(true);
}

static void small_inputs(void **state) {
    static const struct {
        const char *text, *kept;
        uint64_t lines;
    } cases[] = {{"", "", 0},
                 {"\n", "", 0},
                 {"{}", "{}\n", 1},
                 {"{}\n", "{}\n", 1},
                 {"{}\r\n{} \n\n\n", "{}\n{}\n", 2},
                 {"\xEF\xBB\xBF{}\n{}\n", "{}\n{}\n", 2}};
    size_t i;
    (void)state;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_host *host = fake_host_new();
        temper_error error = TEMPER_ERROR_INIT;
        fake_host_records(host, "records", cases[i].text);
        assert_int_equal(fake_host_run(host, &stage, "{}", &error), TEMPER_OK);
        assert_string_equal(fake_host_output(host, "kept"), cases[i].kept);
        assert_int_equal(total.lines, cases[i].lines);
        fake_host_free(host);
    }
}

static void memory_may_be_short(void **state) {
    fake_host *host = fake_host_new();
    (void)state;
    fake_host_records(host, "records", "{\"id\":1}\n{\"id\":2,\"text\":\"\\n\"}\n{\"id\":3}\n{\"id\":4");
    fake_host_try_allocations(host, &stage, "{}");
    fake_host_free(host);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines_are_what_the_core_says),
                                       cmocka_unit_test(problems_have_names),
                                       cmocka_unit_test(texts_come_and_go),
                                       cmocka_unit_test(a_pass_over_sound_lines),
                                       cmocka_unit_test(a_pass_over_broken_lines),
                                       cmocka_unit_test(small_inputs),
                                       cmocka_unit_test(memory_may_be_short)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
