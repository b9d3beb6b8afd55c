/* test_stage_filter.c: every stage of the filter plugin, through the built plugin and the fake host. */
#include "assets.h"
#define STAGE_PLUGIN FILTER_PLUGIN
#include "stage_fixture.h"

#include <stdlib.h>

/* Every dropped record is on file whole, with its number. */
static void assert_dropped(fixture *f, size_t index, const char *rule, double number, const char *evidence) {
    const temper_json *record = fake_host_record(f->host, "dropped", index);
    (void)record;
    assert_string_equal(fake_host_string(f->host, "dropped", index, "rule"), rule);
    assert_true(fake_host_number(f->host, "dropped", index, "number") == number);
    if (strstr(fake_host_string(f->host, "dropped", index, "evidence"), evidence) == NULL) {
        fail_msg("evidence \"%s\" lacks \"%s\"", fake_host_string(f->host, "dropped", index, "evidence"),
                 evidence);
    }
}

static const char phrase_list[] = "# what assistants say\n"
                                  "as an AI\n"
                                  "\n"
                                  "  I cannot  \n"
                                  "\\#blessed\n"
                                  "C++\n";

static void phrases_by_words_and_case(void **state) {
    fixture f = open_stage("phrases");
    (void)state;
    fake_host_text(f.host, "phrases", phrase_list);
    fake_host_records(
        f.host, "records",
        "{\"text\":\"Speaking AS AN\\n ai, I do.\"}\n"      /* 1 dropped: case, white space */
        "{\"text\":\"It was an aim.\"}\n"                   /* 2 kept: no border */
        "{\"text\":\"I cannot\"}\n"                         /* 3 dropped: the whole text */
        "{\"text\":\"so #blessed\"}\n"                      /* 4 dropped */
        "{\"text\":\"C++11 is C\"}\n"                       /* 5 dropped: + is no word */
        "{\"text\":\"ABC++\"}\n"                            /* 6 kept */
        "{\"text\":\"I cannot\\u00e9 has an aim\"}\n"       /* 7 kept: the letter behind has an accent */
        "{\"prompt\":\"as an ai\",\"response\":\"no\"}\n"); /* 8 dropped: any field */
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "kept"), 3);
    assert_int_equal(fake_host_count(f.host, "dropped"), 5);
    assert_dropped(&f, 0, "phrase", 1, "byte 9: \"AS AN\n ai\" (line 2 of the list)");
    assert_dropped(&f, 1, "phrase", 3, "line 4");
    assert_dropped(&f, 2, "phrase", 4, "#blessed");
    assert_dropped(&f, 3, "phrase", 5, "C++");
    assert_dropped(&f, 4, "phrase", 8, "prompt");
    assert_true(fake_host_number(f.host, "metrics", 0, "dropped_phrase") == 5);
    assert_true(fake_host_number(f.host, "metrics", 0, "records") == 8);
    run_ok(&f, "{\"fields\":[\"response\",\"text\"],\"ignore_case\":false}");
    assert_int_equal(fake_host_count(f.host, "dropped"), 3);
    run_ok(&f, "{\"whole_words\":false}");
    assert_int_equal(fake_host_count(f.host, "dropped"), 8);
    fake_host_free(f.host);
}

static void phrases_in_conversations(void **state) {
    fixture f = open_stage("phrases");
    (void)state;
    fake_host_text(f.host, "phrases", phrase_list);
    fake_host_records(
        f.host, "records",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"as an AI?\"},{\"role\":\"assistant\",\"content\":"
        "\"No.\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hm\"},{\"role\":\"assistant\",\"content\":"
        "\"I cannot.\"}]}\n");
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "dropped"), 2);
    run_ok(&f, "{\"roles\":[\"assistant\"]}");
    assert_int_equal(fake_host_count(f.host, "dropped"), 1);
    assert_dropped(&f, 0, "phrase", 2, "messages[1] (assistant)");
    fake_host_free(f.host);
}

/* Evidence quotes so many bytes; what that leaves of a character does not stand in the way of the record. */
static void evidence_is_cut_between_characters(void **state) {
    fixture f = open_stage("phrases");
    char list[512] = "", record[2048], field[128] = "f";
    int i;
    (void)state;
    for (i = 0; i < 90; i++) {
        strcat(list, "\xE3\x81\x82"); /* three bytes each; the quote is cut at 120, the evidence at 239 */
    }
    for (i = 0; i < 40; i++) {
        strcat(field, "\xC3\xA9"); /* cut at 60 */
    }
    fake_host_text(f.host, "phrases", list);
    snprintf(record, sizeof record,
             "{\"text\":\"%s\"}\n{\"%s\":[{\"role\":\"\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\","
             "\"content\":\"%s\"}]}\n",
             list, field, list);
    fake_host_records(f.host, "records", record);
    snprintf(record, sizeof record, "{\"fields\":[\"text\",\"%s\"]}", field);
    run_ok(&f, record);
    assert_int_equal(fake_host_count(f.host, "dropped"), 2);
    assert_dropped(&f, 0, "phrase", 1, "\xE3\x81\x82\" (line 1 of the list)");
    assert_dropped(&f, 1, "phrase", 2, "\xC3\xA9[0] (\xC3\xA9");
    fake_host_free(f.host);
}

static void phrases_refuse_what_they_cannot_judge(void **state) {
    fixture f = open_stage("phrases");
    (void)state;
    fake_host_text(f.host, "phrases", phrase_list);
    fake_host_records(f.host, "records", "{\"text\":\"fine\"}\n{\"tekst\":\"I cannot\"}\n");
    run_fails(&f, "{}", "record 2: it has none of the fields");
    fake_host_text(f.host, "phrases", "# only a comment\n");
    run_fails(&f, "{}", "no phrases");
    fake_host_text(f.host, "phrases", phrase_list);
    fake_host_records(f.host, "records", "{\"text\":\n");
    run_fails(&f, "{}", "record 1: the line ends");
    fake_host_free(f.host);
}

static void duplicates_keep_the_first(void **state) {
    fixture f = open_stage("duplicates");
    (void)state;
    fake_host_records(
        f.host, "records",
        "{\"a\":1,\"b\":\"x\"}\n{\"b\":\"x\",\"a\":1}\n{\"a\":1.0,\"b\":\"x\"}\n{\"a\":2,\"b\":\"x\"}\n");
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "kept"), 3); /* 1 and 1.0 keep their text */
    assert_dropped(&f, 0, "duplicate", 2, "equal to record 1");
    run_ok(&f, "{\"keys\":[\"b\"]}");
    assert_int_equal(fake_host_count(f.host, "kept"), 1);
    assert_dropped(&f, 2, "duplicate", 4, "equal to record 1");
    run_fails(&f, "{\"keys\":[\"c\"]}", "record 1: it has no \"c\"");
    fake_host_free(f.host);
}

static const char rule_list[] = "@rule nod strip-opening first\n"
                                "@regex ^\\W*(?:certainly|of course)[!.,]\n"
                                "@yes Certainly! Yes.\n"
                                "@no She was certainly! late.\n"
                                "@rule offer strip answers\n"
                                "I hope this helps\n"
                                "@rule old replace\n"
                                "@with Anna\n"
                                "Bob\n"
                                "@rule bold mark answers\n"
                                "@regex \\*\\*\\w+\\*\\*\n"
                                "@rule isms drop answers\n"
                                "as an AI\n";

static void phrases_change_rows(void **state) {
    fixture f = open_stage("phrases");
    (void)state;
    fake_host_text(f.host, "phrases", rule_list);
    fake_host_records(f.host, "records",
                      "{\"messages\":[{\"role\":\"user\",\"content\":\"Certainly! "
                      "Bob?\"},{\"role\":\"assistant\",\"content\":"
                      "\"Certainly! of course, it is \\\"red\\\".\\nI hope this helps. Bob\"}],\"n\":1}\n"
                      "{\"messages\":[{\"role\":\"assistant\",\"content\":\"Go. I hope this helps!\"}]}\n"
                      "{\"marks\":[\"x\"],\"response\":\"a **b** c\"}\n"
                      "{\"response\":\"a **b** c **d**\"}\n"
                      "{\"response\":\"I hope this helps.\"}\n"
                      "{\"prompt\":\"as an AI\",\"response\":\"plain\"}\n"
                      "{\"response\":\"Certainly! As an AI, no.\"}\n");
    run_ok(&f, "{}");
    assert_string_equal(fake_host_output(f.host, "kept"),
                        "{\"messages\":[{\"role\":\"user\",\"content\":\"Certainly! "
                        "Anna?\"},{\"role\":\"assistant\",\"content\":"
                        "\"It is \\\"red\\\".\\nAnna\"}],\"n\":1}\n"
                        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"Go.\"}]}\n"
                        "{\"marks\":[\"x\",\"bold\"],\"response\":\"a **b** c\"}\n"
                        "{\"response\":\"a **b** c **d**\",\"marks\":[\"bold\"]}\n"
                        "{\"prompt\":\"as an AI\",\"response\":\"plain\"}\n");
    assert_dropped(&f, 0, "offer", 5, "and nothing is left without it");
    assert_dropped(&f, 1, "isms", 7, "response");
    assert_int_equal(fake_host_count(f.host, "changed"), 4);
    assert_string_equal(fake_host_string(f.host, "changed", 0, "rule"), "old");
    assert_string_equal(fake_host_string(f.host, "changed", 1, "field"), "messages[0].content");
    assert_true(fake_host_number(f.host, "metrics", 0, "changed_bold") == 2);
    fake_host_try_backwards(f.host, f.stage, "{}");
    fake_host_try_allocations(f.host, f.stage, "{\"portable\":true}");
    fake_host_free(f.host);
}

static void identity_becomes_new(void **state) {
    fixture f = open_stage("identity");
    (void)state;
    fake_host_records(f.host, "records",
                      "{\"messages\":[{\"role\":\"user\",\"content\":\"Are you "
                      "Qwen?\"},{\"role\":\"assistant\",\"content\":"
                      "\"I'm Qwen, made by Old  Labs; Qwenish I am not, says Qwen.\"}]}\n"
                      "{\"response\":\"qwen\"}\n");
    run_ok(&f, "{\"names\":[\"Qwen\",\"#x\"],\"name\":\"Ada\",\"makers\":[\"Old Labs\"],\"maker\":\"us\"}");
    assert_string_equal(fake_host_output(f.host, "kept"),
                        "{\"messages\":[{\"role\":\"user\",\"content\":\"Are you "
                        "Qwen?\"},{\"role\":\"assistant\",\"content\":"
                        "\"I'm Ada, made by us; Qwenish I am not, says Ada.\"}]}\n"
                        "{\"response\":\"qwen\"}\n");
    assert_int_equal(fake_host_count(f.host, "changed"), 1);
    assert_string_equal(fake_host_string(f.host, "changed", 0, "rule"), "name");
    run_fails(&f, "{}", "neither names nor makers");
    run_fails(&f, "{\"names\":[\"Qwen\"]}", "no new name");
    fake_host_try_backwards(f.host, f.stage, "{\"names\":[\"Qwen\"],\"name\":\"Ada\"}");
    fake_host_free(f.host);
}

static void put_file(fake_folder *folder, const char *name, const char *text) {
    fake_folder_put(folder, name, text, strlen(text));
}

static void read_makes_one_form_of_many(void **state) {
    fixture f = open_stage("read");
    fake_folder *folder = fake_folder_new();
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    put_file(folder, "a.jsonl",
             "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"id\":7}\n"
             "{\"broken\":\n\n"
             "{\"a\":\"\xFF\"}\r\n"
             "{\"other\":1}\n"
             "{\"conversations\":[{\"from\":\"human\",\"value\":\"q\\n\"},{\"from\":\"gpt\",\"value\":\"a\"}]"
             ",\"system\":\"s\","
             "\"x\":[1]}\n");
    put_file(folder, "b.json",
             "[ {\"instruction\":\"do\",\"input\":\"it\",\"output\":\"done\"},\n"
             "  {\"instruction\":\"do\",\"output\":[\"good\",\"bad\"],\"history\":[[\"u\",\"v\"]]},\n"
             "  "
             "{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"}],\"chosen\":{\"from\":\"gpt\","
             "\"value\":\"c\"},"
             "\"rejected\":{\"from\":\"gpt\",\"value\":\"r\"}}, 5 ]\n");
    put_file(folder, "c.jsonl",
             "{\"prompt\":\"p\",\"completion\":\"c\"}\n"
             "{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\\n\\nHuman: c\\n\\nAssistant: d\",\"rejected\":"
             "\"\\n\\nHuman: a\\n\\nAssistant: b\\n\\nHuman: c\\n\\nAssistant: e\"}\n"
             "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one\"},"
             "{\"type\":\"text\",\"text\":\" two\"}]}]}\n"
             "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}\n");
    fake_host_folder(f.host, "files", folder);
    run_ok(&f, "{}");
    assert_string_equal(
        fake_host_output(f.host, "kept"),
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"id\":7}\n"
        "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"q\\n\"},"
        "{\"role\":\"assistant\",\"content\":\"a\"}],\"x\":[1]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"do\\nit\"},{\"role\":\"assistant\",\"content\":"
        "\"done\"}]}\n"
        "{\"prompt\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"v\"},{"
        "\"role\":\"user\","
        "\"content\":\"do\"}],\"chosen\":[{\"role\":\"assistant\",\"content\":\"good\"}],\"rejected\":[{"
        "\"role\":"
        "\"assistant\",\"content\":\"bad\"}]}\n"
        "{\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],\"chosen\":[{\"role\":\"assistant\",\"content\":"
        "\"c\"}],"
        "\"rejected\":[{\"role\":\"assistant\",\"content\":\"r\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"p\"},{\"role\":\"assistant\",\"content\":\"c\"}]}\n"
        "{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},{"
        "\"role\":\"user\","
        "\"content\":\"c\"}],\"chosen\":[{\"role\":\"assistant\",\"content\":\"d\"}],\"rejected\":[{\"role\":"
        "\"assistant\","
        "\"content\":\"e\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"one two\"}]}\n");
    assert_dropped(&f, 0, "broken", 2, "the line ends before its JSON does");
    assert_dropped(&f, 1, "empty", 3, "");
    assert_dropped(&f, 2, "broken", 4, "the line is not UTF-8");
    assert_string_equal(fake_host_string(f.host, "dropped", 2, "text"), "{\"a\":\"\xEF\xBF\xBD\"}");
    assert_dropped(&f, 3, "unknown_form", 5, "it has neither messages");
    assert_dropped(&f, 4, "broken", 10, "the line is no object");
    assert_string_equal(fake_host_string(f.host, "dropped", 5, "file"), "c.jsonl");
    assert_true(fake_host_number(f.host, "dropped", 5, "line") == 4);
    fake_host_try_backwards(f.host, f.stage, "{}");
    fake_host_try_allocations(f.host, f.stage, "{}");
    fake_folder_free(folder);
    folder = fake_folder_new();
    put_file(folder, "d.parquet", "PAR1....PAR1");
    fake_host_free(f.host);
    f = open_stage("read");
    fake_host_folder(f.host, "files", folder);
    assert_int_equal(fake_host_run(f.host, f.stage, "{}", &error), TEMPER_UNSUPPORTED);
    assert_non_null(strstr(error.message, "Parquet"));
    fake_folder_free(folder);
    fake_host_free(f.host);
}

/* A file of the assets, 0-terminated; NULL: there are none. */
static char *asset_text(const char *name, size_t *length) {
    FILE *file = fopen(asset_path(name), "rb");
    char *text;
    long size;
    if (file == NULL) {
        return NULL;
    }
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    text = malloc((size_t)size + 1);
    *length = fread(text, 1, (size_t)size, file);
    text[*length] = 0;
    fclose(file);
    return text;
}

static void real_data_loads_and_counts(void **state) {
    static const struct {
        const char *file;
        size_t rows;
    } files[] = {{"data/hh-rlhf/harmless-base/test.jsonl.gz", 2312},
                 {"data/llamafactory-demo/alpaca_en_demo.json", 999},
                 {"data/llamafactory-demo/dpo_en_demo.json", 300},
                 {"data/llamafactory-demo/kto_en_demo.json", 300},
                 {"data/llamafactory-demo/identity.json", 91},
                 {"data/llamafactory-demo/c4_demo.jsonl", 300}};
    size_t length, i;
    char *text = asset_text("data/guppylm/train_openai.jsonl", &length);
    fixture f;
    (void)state;
    if (text == NULL) {
        skip();
    }
    f = open_stage("duplicates");
    fake_host_records(f.host, "records", text);
    run_ok(&f, "{\"compare\":\"texts\"}");
    assert_int_equal(fake_host_count(f.host, "kept"), 15652);
    assert_int_equal(fake_host_count(f.host, "dropped"), 57000 - 15652);
    fake_host_free(f.host);
    free(text);
    for (i = 0; i < sizeof files / sizeof *files; i++) {
        fake_folder *folder = fake_folder_new();
        text = asset_text(files[i].file, &length);
        assert_non_null(text);
        fake_folder_put(folder, "file", text, length);
        f = open_stage("read");
        fake_host_folder(f.host, "files", folder);
        run_ok(&f, "{}");
        assert_int_equal(fake_host_count(f.host, "kept"), files[i].rows);
        assert_int_equal(fake_host_count(f.host, "dropped"), 0);
        fake_folder_free(folder);
        fake_host_free(f.host);
        free(text);
    }
}

static const char alike[] =
    "{\"text\":\"the quick brown fox jumps over the lazy dog and runs away\",\"score\":1}\n"
    "{\"text\":\"nothing like it was ever said before in this long garden of ours\",\"score\":2}\n"
    "{\"text\":\"The quick brown fox jumps over the lazy dog, and runs away!\",\"score\":3}\n"
    "{\"text\":\"the quick brown fox jumps over the lazy dog and runs away again\",\"score\":9}\n"
    "{\"text\":\"the quick brown fox sat\",\"score\":4}\n";

static void duplicates_that_are_nearly_equal(void **state) {
    fixture f = open_stage("duplicates");
    (void)state;
    fake_host_records(f.host, "records", alike);
    run_ok(&f, "{\"near\":true}");
    assert_int_equal(fake_host_count(f.host, "kept"), 3);
    assert_dropped(&f, 0, "near_duplicate", 3, "like record 1: they share 100.0%");
    assert_dropped(&f, 1, "near_duplicate", 4,
                   "like record 1: they share 88.9% of their runs of 5 words"); /* 8 of 9 */
    assert_true(fake_host_number(f.host, "dropped", 1, "twin") == 1);
    assert_true(fake_host_number(f.host, "dropped", 1, "bound") == 0.8);
    assert_string_equal(fake_host_output(f.host, "clusters"), "{\"kept\":1,\"rows\":[1,3,4]}\n");
    run_ok(&f, "{\"near\":true,\"similarity\":0.9}");
    assert_int_equal(fake_host_count(f.host, "dropped"), 1);
    run_ok(&f, "{\"near\":true,\"keep\":\"longest\"}");
    assert_string_equal(fake_host_output(f.host, "clusters"), "{\"kept\":4,\"rows\":[1,3,4]}\n");
    run_ok(&f, "{\"compare\":\"texts\"}");
    assert_int_equal(fake_host_count(f.host, "dropped"), 0); /* a comma is not nothing */
    fake_host_try_backwards(f.host, f.stage, "{\"near\":true,\"keep\":\"best\"}");
    fake_host_try_allocations(f.host, f.stage, "{\"near\":true,\"keep\":\"best\"}");
    run_fails(&f, "{\"near\":true,\"bands\":64,\"rows\":16,\"shingle\":5,\"keys\":[\"no\"]}",
              "it has no \"no\"");
    fake_host_free(f.host);
}

/* More is remembered than may be: it goes to a file, and nothing else is different. */
static void duplicates_spill(void **state) {
    fixture f = open_stage("duplicates");
    char *lines = malloc(130000 * 100), *end = lines, *before;
    int i;
    (void)state;
    for (i = 0; i < 130000; i++) {
        int v = i * 7919 % 60000;
        end += sprintf(
            end, "{\"text\":\"number %d has %d, %d and %d with it and so on, up to the very end %d\"}\n", v,
            v % 10, v % 77, v % 1001, i / 60000);
    }
    fake_host_records(f.host, "records", lines);
    run_ok(&f, "{\"near\":true}");
    before = strdup(fake_host_output(f.host, "dropped"));
    run_ok(&f, "{\"near\":true,\"memory\":16}");
    assert_true(strcmp(before, fake_host_output(f.host, "dropped")) == 0);
    assert_true(strlen(before) > 1000);
    free(before);
    free(lines);
    fake_host_free(f.host);
}

static void duplicates_of_many(void **state) {
    fixture f = open_stage("duplicates");
    char *lines = malloc(200000 * 24), *end = lines;
    int i;
    (void)state;
    for (i = 0; i < 200000; i++) { /* 50 000 different ones: the table grows */
        end += sprintf(end, "{\"n\":%d}\n", i * 7919 % 50000);
    }
    fake_host_records(f.host, "records", lines);
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "kept"), 50000);
    assert_int_equal(fake_host_count(f.host, "dropped"), 150000);
    free(lines);
    fake_host_free(f.host);
}

static void length_counts_characters_and_words(void **state) {
    fixture f = open_stage("length");
    (void)state;
    fake_host_records(
        f.host, "records",
        "{\"text\":\"\\u00e9\\u00e9\\u00e9\"}\n{\"text\":\"don't you dare\"}\n{\"text\":\"\"}\n");
    run_ok(&f, "{\"maximum\":3}");
    assert_int_equal(fake_host_count(f.host, "kept"), 1);
    assert_dropped(&f, 0, "too_long", 2, "14 characters, maximum 3");
    assert_dropped(&f, 1, "too_short", 3, "0 characters, minimum 1");
    run_ok(&f, "{\"unit\":\"words\",\"minimum\":3}");
    assert_int_equal(fake_host_count(f.host, "kept"), 1);
    run_fails(&f, "{\"minimum\":5,\"maximum\":4}", "below minimum");
    fake_host_free(f.host);
}

static const char pair_records[] =
    "{\"prompt\":\"p\",\"chosen\":\"Well said.\",\"rejected\":\"Hardly so.\"}\n"     /* 1 kept */
    "{\"prompt\":\"p\",\"chosen\":\"  \",\"rejected\":\"Hardly so.\"}\n"             /* 2 empty */
    "{\"prompt\":\"p\",\"chosen\":\"Same.\",\"rejected\":\" Same. \"}\n"             /* 3 equal */
    "{\"prompt\":\"p\",\"chosen\":\"Well said.\",\"rejected\":\"Hardly because\"}\n" /* 4 unfinished */
    "{\"prompt\":\"p\",\"chosen\":\"Well said.\",\"chosen_finish\":\"length\",\"rejected\":\"Hardly "
    "so.\"}\n"                                                                           /* 5 cut */
    "{\"prompt\":\"p\",\"chosen\":\"No.\",\"rejected\":\"Hardly so, and on and on.\"}\n" /* 6 ratio */
    "{\"prompt\":\"p\",\"chosen\":\"I\\u2019m not as an AI.\",\"rejected\":\"Hardly so, I "
    "cannot.\"}\n" /* 7 phrase */
    "{\"prompt\":\"p\",\"chosen\":\"Well \\u201csaid.\\u201d\",\"rejected\":\"I cannot "
    "\\ud83d\\ude42\"}\n" /* 8 kept */
    "{\"prompt\":\"p\",\"chosen\":[{\"role\":\"assistant\",\"content\":\"Well "
    "said.\"}],\"rejected\":[{\"role\":"
    "\"assistant\",\"content\":\"Hardly so\"}]}\n"; /* 9 unfinished, in conversational form */

static void pairs_by_every_rule(void **state) {
    fixture f = open_stage("pairs");
    (void)state;
    fake_host_records(f.host, "pairs", pair_records);
    fake_host_text(f.host, "phrases", phrase_list);
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "kept"), 2);
    assert_dropped(&f, 0, "empty", 2, "chosen is empty");
    assert_dropped(&f, 1, "equal", 3, "");
    assert_dropped(&f, 2, "unfinished", 4, "rejected ends \"Hardly because\"");
    assert_dropped(&f, 3, "unfinished", 5, "chosen was cut");
    assert_dropped(&f, 4, "length_ratio", 6, "chosen has 3 characters, rejected 25");
    assert_dropped(&f, 5, "phrase", 7, "chosen, byte 10: \"as an AI\"");
    assert_dropped(&f, 6, "unfinished", 9, "Hardly so");
    assert_true(fake_host_number(f.host, "metrics", 0, "dropped_unfinished") == 3);
    assert_true(fake_host_number(f.host, "metrics", 0, "kept") == 2);
    run_ok(&f, "{\"phrases_in\":\"both\",\"finished\":false,\"length_ratio\":0}");
    assert_int_equal(fake_host_count(f.host, "dropped"), 4); /* 2, 3, 7, 8 */
    run_fails(&f, "{\"length_ratio\":0.5}", "would drop every pair");
    fake_host_free(f.host);
}

static void pairs_name_a_broken_record(void **state) {
    fixture f = open_stage("pairs");
    (void)state;
    fake_host_records(f.host, "pairs", "{\"prompt\":\"p\",\"chosen\":\"A.\"}\n");
    run_fails(&f, "{}", "record 1: \"rejected\" must be a string");
    fake_host_free(f.host);
}

static void every_stage_stands_refusals_and_order(void **state) {
    static const char *const names[] = {"phrases", "duplicates", "length"};
    size_t i;
    (void)state;
    for (i = 0; i < 3; i++) {
        fixture f = open_stage(names[i]);
        if (i == 0) {
            fake_host_text(f.host, "phrases", phrase_list);
        }
        fake_host_records(f.host, "records",
                          "{\"text\":\"as an AI\"}\n{\"text\":\"fine\"}\n{\"text\":\"fine\"}\n");
        fake_host_try_allocations(f.host, f.stage, "{}");
        fake_host_try_backwards(f.host, f.stage, "{}");
        fake_host_free(f.host);
    }
    {
        fixture f = open_stage("pairs");
        fake_host_records(f.host, "pairs", pair_records);
        fake_host_text(f.host, "phrases", phrase_list);
        fake_host_try_allocations(f.host, f.stage, "{}");
        fake_host_try_backwards(f.host, f.stage, "{}");
        fake_host_free(f.host);
    }
}

static void a_stage_stops_when_told(void **state) {
    fixture f = open_stage("length");
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    fake_host_records(f.host, "records", "{\"text\":\"x\"}\n");
    fake_host_cancel(f.host);
    assert_int_equal(fake_host_run(f.host, f.stage, "{}", &error), TEMPER_CANCELLED);
    fake_host_free(f.host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(phrases_by_words_and_case),
        cmocka_unit_test(phrases_in_conversations),
        cmocka_unit_test(evidence_is_cut_between_characters),
        cmocka_unit_test(phrases_refuse_what_they_cannot_judge),
        cmocka_unit_test(duplicates_keep_the_first),
        cmocka_unit_test(phrases_change_rows),
        cmocka_unit_test(read_makes_one_form_of_many),
        cmocka_unit_test(identity_becomes_new),
        cmocka_unit_test(real_data_loads_and_counts),
        cmocka_unit_test(duplicates_of_many),
        cmocka_unit_test(duplicates_that_are_nearly_equal),
        cmocka_unit_test(duplicates_spill),
        cmocka_unit_test(length_counts_characters_and_words),
        cmocka_unit_test(pairs_by_every_rule),
        cmocka_unit_test(pairs_name_a_broken_record),
        cmocka_unit_test(every_stage_stands_refusals_and_order),
        cmocka_unit_test(a_stage_stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
