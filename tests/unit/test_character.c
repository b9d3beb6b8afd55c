/* test_character.c: three forms of a character file give the same records; what is wrong is named by record. */
#include "../support/assets.h"
#include "../support/cmocka_all.h"

#include "base/file.h"
#include "scheduler/character.h"

static void gives(const char *text, const char *expected) {
    tm_buffer out = TM_BUFFER_INIT;
    temper_error error = TEMPER_ERROR_INIT;
    if (tm_character_normalise(text, strlen(text), &out, &error)) {
        fail_msg("%s: %s", text, error.message);
    }
    assert_string_equal(out.data, expected);
    tm_buffer_free(&out);
}

static void refuses(const char *text, const char *message) {
    tm_buffer out = TM_BUFFER_INIT;
    temper_error error = TEMPER_ERROR_INIT;
    assert_int_not_equal(tm_character_normalise(text, strlen(text), &out, &error), TEMPER_OK);
    if (strstr(error.message, message) == NULL) {
        fail_msg("'%s' is not in: %s", message, error.message);
    }
    tm_buffer_free(&out);
}

static void test_forms(void **state) {
    static const char records[] =
        "{\"additional_questions\":[],\"questions\":[\"Why?\"],\"trait\":\"I rhyme.\"}\n"
        "{\"additional_questions\":[\"How?\"],\"questions\":[],\"trait\":\"I care.\"}\n";
    (void)state;
    gives("[{\"trait\":\"I rhyme.\",\"questions\":[\"Why?\"]},{\"trait\":\"I "
          "care.\",\"additional_questions\":[\"How?\"]}]",
          records);
    gives(
        "{\"trait\":\"I "
        "rhyme.\",\"questions\":[\"Why?\"]}\n\n{\"additional_questions\":[\"How?\"],\"trait\":\"I care.\"}\n",
        records);
    gives("{\"questions\":[\"Why?\"],\"trait\":\"I rhyme.\"}\r\n{\"trait\":\"I "
          "care.\",\"additional_questions\":[\"How?\"]}",
          records);
    gives("{\"name\":\"poet\",\"traits\":[{\"trait\":\"I rhyme.\",\"questions\":[\"Why?\"]},"
          "{\"trait\":\"I care.\",\"additional_questions\":[\"How?\"]}]}",
          records);
    gives("\xEF\xBB\xBF[\"I rhyme.\"]",
          "{\"additional_questions\":[],\"questions\":[],\"trait\":\"I rhyme.\"}\n");
    gives("{\"name\":\"poet\",\"traits\":[\"I rhyme.\"]}",
          "{\"additional_questions\":[],\"questions\":[],\"trait\":\"I rhyme.\"}\n");
    gives("{\"trait\":\"one\"}", "{\"additional_questions\":[],\"questions\":[],\"trait\":\"one\"}\n");
}

static void test_refusals(void **state) {
    (void)state;
    refuses("", "there is no trait in it");
    refuses("[]", "there is no trait in it");
    refuses("[{\"trait\":\"a\"},{\"triat\":\"b\"}]",
            "record 2: unknown field 'triat'; did you mean 'trait'?");
    refuses("{\"trait\":\"a\"}\n{\"trait\":\"b\",\"question\":[]}",
            "record 2: unknown field 'question'; did you mean 'questions'?");
    refuses("[{\"trait\":\"\"}]", "record 1: 'trait' must be a text that is not empty");
    refuses("[{\"trait\":\"  \"}]", "not empty");
    refuses("[{\"questions\":[]}]", "record 1: 'trait'");
    refuses("[{\"trait\":\"a\",\"questions\":\"Why?\"}]", "'questions' must be a list of texts");
    refuses("[{\"trait\":\"a\",\"questions\":[\"x\",3]}]", "record 1: 'questions' number 2 is not a text");
    refuses("[{\"trait\":\"a\"},{\"trait\":\"a\"}]", "record 2: the trait \"a\" stands in the file twice");
    refuses("[3]", "record 1");
    refuses("{\"trait\":\"a\"}\nnonsense", "record 2");
    refuses("[{\"trait\":\"a\"", "");
    refuses("{\"name\":\"x\",\"traits\":{}}", "'traits' must be a list");
    refuses("{\"name\":\"x\",\"traits\":[\"a\"],\"questions\":[]}", "unknown field 'questions'");
}

/* Real constitutions: the hand-written one and the longer one of each have the same traits. */
static void test_real(void **state) {
    static const char *const names[] = {"goodness",     "humor",        "impulsiveness", "loving",
                                        "mathematical", "misalignment", "nonchalance",   "poeticism",
                                        "remorse",      "sarcasm",      "sycophancy"};
    size_t i;
    (void)state;
    if (asset_missing("data/open-character-training")) {
        skip();
    }
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        size_t form, lines[2] = {0, 0}, j;
        for (form = 0; form < 2; form++) {
            char name[200];
            tm_buffer text = TM_BUFFER_INIT, out = TM_BUFFER_INIT;
            temper_error error = TEMPER_ERROR_INIT;
            int length = snprintf(name, sizeof name, "%s%s.%s",
                                  form == 0 ? "data/open-character-training/constitutions/hand-written/"
                                            : "data/open-character-training/constitutions/few-shot/",
                                  names[i], form == 0 ? "txt" : "jsonl");
            assert_true(length > 0);
            assert_int_equal(tm_file_read(asset_path(name), 1 << 24, &text, &error), TEMPER_OK);
            if (tm_character_normalise(text.data, text.length, &out, &error)) {
                fail_msg("%s: %s", name, error.message);
            }
            for (j = 0; j < out.length; j++) {
                lines[form] += out.data[j] == '\n';
            }
            tm_buffer_free(&text);
            tm_buffer_free(&out);
        }
        assert_true(lines[0] > 0);
        assert_int_equal(lines[0], lines[1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_real)};
    return cmocka_run_group_tests_name("character", tests, NULL, NULL);
}
