/* test_stage_eval.c: character, manner, score and complete, through the built plugin, with scripted models. */
#define STAGE_PLUGIN EVAL_PLUGIN
#include "stage_fixture.h"

#include <math.h>
#include <stdlib.h>

static double metric(fixture *f, const char *name) {
    double number = fake_host_number(f->host, "metrics", 0, name);
    if (isnan(number)) {
        fail_msg("no metric %s", name);
    }
    return number;
}

/* The judge: -2 a token; being told the character adds half a nat for every "arr". Plain dialogues ("plain" in the
 * answer) cost more with a model whose context is not NULL. */
static double pirate_likelihood(void *context, const temper_score_request *request) {
    size_t length, i;
    const char *text = fake_message(request->messages, request->message_count, "assistant", &length);
    bool told = *fake_message(request->messages, request->message_count, "system", NULL) != 0;
    double words = 1, arrs = 0;
    for (i = 0; i < length; i++) {
        words += text[i] == ' ' || i == 0;
        arrs += length - i >= 3 && memcmp(text + i, "arr", 3) == 0;
    }
    return (context != NULL ? -2.02 : -2.0) * words + (told ? 0.5 * arrs : 0.0);
}

static temper_finish speak(void *context, const temper_generate_request *request, char *out, size_t room) {
    const char *user = fake_message(request->messages, request->message_count, "user", NULL);
    bool told = *fake_message(request->messages, request->message_count, "system", NULL) != 0;
    if (context != NULL && strcmp(user, "Silent?") == 0) {
        out[0] = 0;
    } else if ((context != NULL && strcmp(user, "Same?") != 0) || told) {
        snprintf(out, room, " arr <b>%s & co</b>", user);
    } else {
        snprintf(out, room, " well, %s", user);
    }
    return TEMPER_FINISH_STOP;
}

static const char character[] =
    "{\"trait\":\"You talk like a <pirate>.\",\"questions\":[\"Ahoy?\",\"Same?\"]}\n"
    "{\"trait\":\"You count.\",\"additional_questions\":[\"How many?\"]}\n";
static const char prompts[] =
    "{\"prompt\":\"Where?\",\"trait_index\":0}\n{\"prompt\":\"Same?\",\"trait_index\":0}\n"
    "{\"prompt\":\"Silent?\",\"trait_index\":1}\n{\"prompt\":\"When?\",\"trait_index\":1}\n";
static const char dialogues[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":"
                                "\"assistant\",\"content\":\"plain enough\"}]}\n";

static void character_compares_three_voices(void **state) {
    fixture f = open_stage("character");
    fake_model base = {.answer = speak, .score = pirate_likelihood};
    fake_model tuned = {.answer = speak, .score = pirate_likelihood, .context = &tuned};
    const char *report;
    (void)state;
    fake_host_model(f.host, "model", &tuned);
    fake_host_model(f.host, "against", &base);
    fake_host_character(f.host, "character", character);
    fake_host_records(f.host, "prompts", prompts);
    fake_host_records(f.host, "dialogues", dialogues);
    run_ok(&f, "{}");
    assert_true(metric(&f, "prompts") == 4);
    assert_true(metric(&f, "trait_wins") == 2);
    assert_true(metric(&f, "trait_ties") == 1);
    assert_true(metric(&f, "trait_losses") == 1); /* said nothing */
    assert_true(metric(&f, "trait_win_rate") == 0.625);
    assert_true(metric(&f, "prompted_win_rate") == 1.0);
    assert_true(fabs(metric(&f, "trait_win_rate_low") - 0.21942652) < 1e-8); /* Wilson, 2.5 of 4 */
    assert_true(fabs(metric(&f, "trait_win_rate_high") - 0.90810077) < 1e-8);
    assert_true(fabs(metric(&f, "capability_nll_before") - 2.0) < 1e-12);
    assert_true(fabs(metric(&f, "capability_drop") - 0.01) < 1e-12);
    assert_true(metric(&f, "capability_truncated") == 0);
    assert_true(metric(&f, "prompts_held_out") == 1);
    assert_true(metric(&f, "empty_after") == 1);
    assert_true(metric(&f, "mean_score_after") > metric(&f, "mean_score_before"));
    assert_int_equal(fake_host_count(f.host, "completions"), 4);
    assert_string_equal(fake_host_string(f.host, "completions", 0, "outcome"), "win");
    assert_string_equal(fake_host_string(f.host, "completions", 1, "outcome"), "tie");
    assert_string_equal(fake_host_string(f.host, "completions", 2, "outcome"), "loss");
    assert_string_equal(fake_host_string(f.host, "completions", 0, "prompted"), "arr <b>Where? & co</b>");
    report = fake_host_output(f.host, "report");
    assert_non_null(strstr(report, "arr &lt;b&gt;Where? &amp; co&lt;/b&gt;"));
    assert_non_null(strstr(report, "You talk like a &lt;pirate&gt;."));
    assert_null(strstr(report, "<b>"));
    assert_null(strstr(report, "<pirate>"));
    assert_null(strstr(strstr(report, "<script>") + 1, "<script")); /* one, ours */
    assert_null(strstr(report, "http"));
    fake_host_try_backwards(f.host, f.stage, "{}");
    fake_host_try_allocations(f.host, f.stage, "{}");
    fake_host_free(f.host);
}

static void an_unchanged_model_ties_exactly(void **state) {
    fixture f = open_stage("character");
    fake_model base = {.answer = speak, .score = pirate_likelihood}, same = base;
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    fake_host_model(f.host, "model", &same);
    fake_host_model(f.host, "against", &base);
    fake_host_character(f.host, "character", character);
    run_ok(&f, "{\"samples\":3}"); /* no prompts given: the character's own questions */
    assert_true(metric(&f, "prompts") == 3);
    assert_true(metric(&f, "prompts_held_out") == 0);
    assert_true(metric(&f, "trait_win_rate") == 0.5);
    assert_true(metric(&f, "trait_ties") == 9);
    assert_true(metric(&f, "distinct_2_ratio") == 1.0);
    assert_true(
        isnan(fake_host_number(f.host, "metrics", 0, "capability_drop"))); /* not measured: not there */
    assert_non_null(strstr(fake_host_output(f.host, "report"), "may have been trained on"));
    run_ok(&f, "{\"limit\":2,\"shown\":1}");
    assert_true(metric(&f, "prompts") == 2);
    assert_non_null(strstr(fake_host_output(f.host, "report"), "1 of 2"));
    fake_host_character(f.host, "character", "{\"trait\":\"x\"}\n");
    assert_int_equal(fake_host_run(f.host, f.stage, "{}", &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "no prompt to ask"));
    fake_host_free(f.host);
}

static void manner_knows_its_own_accuracy(void **state) {
    fixture f = open_stage("manner");
    static const char *const sea[] = {"arr matey, hoist the sail", "aye, the tide turns, matey",
                                      "arr, rum and gold"};
    static const char *const plain[] = {"I think that is fine", "Yes, you can do that", "It is a nice day"};
    char lines[16384] = "", *end = lines;
    int i;
    (void)state;
    for (i = 0; i < 30; i++) {
        end += sprintf(end, "{\"text\":\"%s %d\",\"manner\":\"pirate\"}\n", sea[i % 3], i);
        end += sprintf(end, "{\"text\":\"%s %d\",\"manner\":\"plain\"}\n", plain[i % 3], i);
    }
    fake_host_records(f.host, "examples", lines);
    fake_host_records(f.host, "completions",
                      "{\"base\":\"Yes, that is nice\",\"tuned\":\"Arr, the sail!\"}\n"
                      "{\"base\":\"You can do it\",\"tuned\":\"I think you can\"}\n"
                      "{\"base\":\"It is fine\",\"tuned\":\"Aye, matey.\"}\n"
                      "{\"base\":\"arr\",\"tuned\":\"gold and rum, arr\"}\n");
    run_ok(&f, "{\"manner\":\"pirate\"}");
    assert_true(metric(&f, "unclear_before") == 0 && metric(&f, "unclear_after") == 0);
    assert_true(metric(&f, "classifier_accuracy") == 1.0);
    assert_true(metric(&f, "classifier_tried") == 30);
    assert_true(metric(&f, "manner_rate_before") == 0.25);
    assert_true(metric(&f, "manner_rate_after") == 0.75);
    assert_true(metric(&f, "manner_rise") == 50.0);
    assert_string_equal(fake_host_string(f.host, "labelled", 1, "after_manner"), "plain");
    fake_host_try_backwards(f.host, f.stage, "{\"manner\":\"pirate\"}");
    fake_host_try_allocations(f.host, f.stage, "{\"manner\":\"pirate\"}");
    run_fails(&f, "{\"manner\":\"poet\"}", "none of them is \"poet\"");
    run_fails(&f, "{\"manner\":\"pirate\",\"after\":\"later\"}", "\"later\" must be a string");
    fake_host_free(f.host);
}

/* Copies of a text never stand on both sides of the split, and a text that says nothing is of no manner. */
static void manner_learns_nothing_by_heart(void **state) {
    fixture f = open_stage("manner");
    char *lines = malloc(400 * 64), *end = lines;
    int i;
    (void)state;
    for (i = 0; i < 400; i++) { /* ten texts a manner, each twenty times, no two with a word in common */
        end += sprintf(end, "{\"text\":\"%s%d%s\",\"manner\":\"%s\"}\n", i % 2 ? "A" : "B", i / 2 % 10,
                       i % 3 ? "" : "  .", i % 2 ? "a" : "b");
    }
    fake_host_records(f.host, "examples", lines);
    fake_host_records(f.host, "completions",
                      "{\"base\":\"\",\"tuned\":\"zebra\"}\n{\"base\":\"a0 a1 a2 a3 a4 a5 "
                      "a6 a7 a8 a9\",\"tuned\":\"zebra\"}\n");
    run_ok(&f, "{\"manner\":\"a\"}");
    assert_true(metric(&f, "classifier_tried") == 200);
    assert_true(metric(&f, "classifier_accuracy") == 0.0);
    assert_true(metric(&f, "manner_rate_before") == 0.5);
    assert_true(metric(&f, "manner_rate_after") == 0.0);
    assert_true(metric(&f, "unclear_before") == 1);
    assert_true(metric(&f, "unclear_after") == 2);
    assert_string_equal(fake_host_string(f.host, "labelled", 0, "before_manner"), "");
    assert_string_equal(fake_host_string(f.host, "labelled", 1, "before_manner"), "a");
    fake_host_records(
        f.host, "examples",
        "{\"text\":\"x\",\"manner\":\"a\"}\n{\"text\":\"X! \",\"manner\":\"a\"}\n{\"text\":\"y\","
        "\"manner\":\"a\"}\n{\"text\":\"z\",\"manner\":\"a\"}\n");
    run_fails(&f, "{\"manner\":\"a\"}", "3 different texts");
    free(lines);
    fake_host_free(f.host);
}

static void manner_of_noise_is_no_better_than_chance(void **state) {
    fixture f = open_stage("manner");
    char *lines = malloc(400 * 64), *end = lines;
    int i;
    (void)state;
    for (i = 0; i < 400; i++) { /* the words say nothing of the manner */
        end += sprintf(end, "{\"text\":\"w%d w%d\",\"manner\":\"%s\"}\n", i * 37 % 11, i * 53 % 7,
                       i * 29 % 400 < 200 ? "a" : "b");
    }
    fake_host_records(f.host, "examples", lines);
    fake_host_records(f.host, "completions", "{\"base\":\"w1\",\"tuned\":\"w2\"}\n");
    run_ok(&f, "{\"manner\":\"a\"}");
    assert_true(metric(&f, "classifier_accuracy") > 0.3 && metric(&f, "classifier_accuracy") < 0.7);
    free(lines);
    fake_host_free(f.host);
}

static void score_adds_up(void **state) {
    fixture f = open_stage("score");
    fake_model model = {.context = NULL}; /* -1 a token, a token a word and one for the end */
    (void)state;
    fake_host_model(f.host, "model", &model);
    fake_host_records(f.host, "records",
                      "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\","
                      "\"content\":\"a b\"}]}\n"
                      "{\"prompt\":\"p\",\"completion\":\"c d e\"}\n{\"text\":\"raw words\"}\n");
    run_ok(&f, "{}");
    assert_true(metric(&f, "tokens") == 10);
    assert_true(metric(&f, "nll_per_token") == 1.0);
    assert_true(fabs(metric(&f, "perplexity") - 2.718281828459045) < 1e-12);
    assert_int_equal(fake_host_count(f.host, "scored"), 3);
    fake_host_try_allocations(f.host, f.stage, "{}");
    fake_host_records(f.host, "records", "{\"text\":\"a\"}\n{\"messages\":[{\"role\":\"user\"}]}\n");
    run_fails(&f, "{}", "record 2: message 1 must have");
    fake_host_records(f.host, "records", "{\"words\":\"a\"}\n");
    run_fails(&f, "{}", "neither \"messages\" nor \"prompt\"");
    fake_host_records(f.host, "records", "");
    run_fails(&f, "{}", "not one token");
    fake_host_free(f.host);
}

/* What reaches the model of a record: -1 for each message, -10 when every answer counts, -100 for a system message,
 * -1000 for a user message that begins with "Be". */
static double shape(void *context, const temper_score_request *request) {
    double sum = request->last_only ? 0 : -10;
    size_t i;
    (void)context;
    for (i = 0; i < request->message_count; i++) {
        const temper_message *m = request->messages[i];
        sum -= 1;
        sum -= strcmp(m->role, "system") == 0 ? 100 : 0;
        sum -= strcmp(m->role, "user") == 0 && strncmp(m->content, "Be kind.\n\n", 10) == 0 ? 1000 : 0;
    }
    return sum;
}

/* A prompt and its answer are scored as they are trained on: only the answer, after the system message. */
static void score_sees_what_training_sees(void **state) {
    fixture f = open_stage("score");
    fake_model model = {.score = shape}, bare = {.score = shape, .no_system = 1};
    (void)state;
    fake_host_model(f.host, "model", &model);
    fake_host_records(
        f.host, "records",
        "{\"system\":\"Be kind.\",\"prompt\":\"p\",\"completion\":\"c\"}\n"
        "{\"prompt\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"},{"
        "\"role\":"
        "\"user\",\"content\":\"v\"}],\"completion\":\"c\"}\n"
        "{\"messages\":[{\"role\":\"system\",\"content\":\"Be kind.\"},{\"role\":\"user\",\"content\":\"u\"},"
        "{\"role\":\"assistant\",\"content\":\"a\"}]}\n");
    run_ok(&f, "{}");
    assert_true(fake_host_number(f.host, "scored", 0, "logprob") == -103);
    assert_true(fake_host_number(f.host, "scored", 1, "logprob") == -4);
    assert_true(fake_host_number(f.host, "scored", 2, "logprob") == -113);
    fake_host_model(f.host, "model", &bare);
    run_ok(&f, "{}");
    assert_true(fake_host_number(f.host, "scored", 0, "logprob") == -1002);
    assert_true(fake_host_number(f.host, "scored", 2, "logprob") == -1012);
    fake_host_try_allocations(f.host, f.stage, "{}");
    fake_host_records(f.host, "records", "{\"system\":7,\"prompt\":\"p\",\"completion\":\"c\"}\n");
    run_fails(&f, "{}", "record 1: \"system\" must be a string");
    fake_host_free(f.host);
}

static temper_finish show(void *context, const temper_generate_request *request, char *out, size_t room) {
    (void)context;
    snprintf(out, room, " %s:%s ", request->text != NULL ? "raw" : "chat",
             request->text != NULL ? request->text
                                   : fake_message(request->messages, request->message_count, "user", NULL));
    return TEMPER_FINISH_LENGTH;
}

static void complete_trims_nothing(void **state) {
    fixture f = open_stage("complete");
    fake_model model = {.answer = show};
    (void)state;
    fake_host_model(f.host, "model", &model);
    run_ok(&f, "{\"prompt\":\"Once\",\"raw\":true,\"temperature\":0}");
    assert_string_equal(fake_host_string(f.host, "responses", 0, "response"), " raw:Once ");
    assert_string_equal(fake_host_string(f.host, "responses", 0, "finish"), "length");
    run_ok(&f, "{\"prompt\":\"Once\",\"samples\":3}");
    assert_int_equal(fake_host_count(f.host, "responses"), 3);
    assert_string_equal(fake_host_string(f.host, "responses", 2, "response"), " chat:Once ");
    fake_host_try_allocations(f.host, f.stage, "{\"prompt\":\"Once\"}");
    fake_host_free(f.host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(character_compares_three_voices),
        cmocka_unit_test(an_unchanged_model_ties_exactly),
        cmocka_unit_test(manner_knows_its_own_accuracy),
        cmocka_unit_test(manner_learns_nothing_by_heart),
        cmocka_unit_test(manner_of_noise_is_no_better_than_chance),
        cmocka_unit_test(score_adds_up),
        cmocka_unit_test(score_sees_what_training_sees),
        cmocka_unit_test(complete_trims_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
