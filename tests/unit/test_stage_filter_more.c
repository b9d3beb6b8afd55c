/* test_stage_filter_more.c: the filter's stages on what texts are like, what is in evaluation sets, samples, mixtures and predicates,
 * through the built plugin and the fake host; every one on one thread and on several, with equal outputs. */
#define STAGE_PLUGIN FILTER_PLUGIN
#include "stage_fixture.h"

#include <stdlib.h>

static void assert_dropped(fixture *f, size_t index, const char *rule, double number, const char *evidence) {
    assert_string_equal(fake_host_string(f->host, "dropped", index, "rule"), rule);
    assert_true(fake_host_number(f->host, "dropped", index, "number") == number);
    if (strstr(fake_host_string(f->host, "dropped", index, "evidence"), evidence) == NULL) {
        fail_msg("evidence \"%s\" lacks \"%s\"", fake_host_string(f->host, "dropped", index, "evidence"),
                 evidence);
    }
}

/* {"text": unit, unit, …} */
static char *repeated(const char *head, const char *unit, int times, const char *tail) {
    char *out = malloc(strlen(head) + strlen(unit) * (size_t)times + strlen(tail) + 32), *end = out;
    int i;
    if (out == NULL) {
        abort();
    }
    end += sprintf(end, "{\"text\":\"%s", head);
    for (i = 0; i < times; i++) {
        end += sprintf(end, "%s", unit);
    }
    sprintf(end, "%s\"}\n", tail);
    return out;
}

/* --- repetition ------------------------------------------------------------------------------------------------------- */

static void repetition_loops_and_sentences(void **state) {
    fixture f = open_stage("repetition");
    char *loop = repeated("It was a day. ", "and then he went home ", 5, ""),
         *three =
             repeated("Well now. ", "I really like the sea. But not today, my friend. ", 3, "The end of it."),
         *laugh = repeated("", "ha ", 6, ""), *lines = calloc(1, 8192);
    (void)state;
    assert_non_null(lines);
    sprintf(lines,
            "%s%s%s{\"text\":\"I like the sea. I like the sea! You like it, too.\"}\n{\"text\":\"\"}\n", loop,
            three, laugh);
    fake_host_records(f.host, "records", lines);
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "kept"), 3);
    assert_dropped(&f, 0, "loop", 1, "ends in 5 times \"and then he went home\"");
    assert_dropped(&f, 1, "sentence", 2, "3 times \"I really like the sea\"");
    assert_true(fake_host_number(f.host, "dropped", 0, "start") == 14);
    run_ok(&f, "{\"loop\":0,\"sentences\":2}");
    assert_dropped(&f, 0, "sentence", 2, "2 times");
    run_ok(&f, "{\"loop\":0,\"sentences\":0}");
    assert_int_equal(fake_host_count(f.host, "kept"), 5);
    free(loop);
    free(three);
    free(laugh);
    free(lines);
    fake_host_free(f.host);
}

/* Gopher's fractions, against what one counts by hand. */
static void repetition_gopher(void **state) {
    fixture f = open_stage("repetition");
    (void)state;
    /* Four lines of nine, the third and fourth stood before: 2 of 4 lines, and the 4-gram rules hold, too; lines come first. */
    fake_host_records(f.host, "records",
                      "{\"text\":\"one two three four\\nfive six seven eight\\none two three four\\nfive six "
                      "seven eight\"}\n");
    run_ok(&f, "{\"words\":1,\"loop\":0,\"sentences\":0}");
    assert_dropped(&f, 0, "lines", 1, "share that stood before 0.5, at most 0.3");
    run_ok(&f, "{\"words\":1,\"loop\":0,\"sentences\":0,\"lines\":0.5,\"line_bytes\":0.4}");
    assert_dropped(&f, 0, "lines", 1, "bytes that stood before 0.5, at most 0.4");
    /* "one two" twice: 12 of 77 bytes; the first of equals. "one two three" is 2 x 11 of 77. */
    run_ok(&f, "{\"words\":1,\"loop\":0,\"sentences\":0,\"lines\":1,\"line_bytes\":1}");
    assert_dropped(&f, 0, "top_ngram", 1, "one n-gram");
    run_ok(&f, "{\"words\":1,\"loop\":0,\"sentences\":0,\"lines\":1,\"line_bytes\":1,\"top_2\":1,\"top_3\":1,"
               "\"top_4\":1}");
    assert_dropped(&f, 0, "ngrams_again", 1, "one two three four\nfive");
    run_ok(&f, "{\"words\":100,\"loop\":0,\"sentences\":0}");
    assert_int_equal(fake_host_count(f.host, "kept"), 1); /* too short to be asked */
    fake_host_free(f.host);
}

/* --- charset ---------------------------------------------------------------------------------------------------------- */

static void charset_rules(void **state) {
    fixture f = open_stage("charset");
    (void)state;
    fake_host_records(
        f.host, "records",
        "{\"text\":\"tab\\tand\\nlines, caf\\u00e9, \\u2019quotes\\u2019, na\\u00efve "
        "\\u00c5ngstr\\u00f6m\"}\n"                                                /* 1 kept */
        "{\"text\":\"a bell\\u0007\"}\n"                                           /* 2 control */
        "{\"text\":\"lost \\ufffd here\"}\n"                                       /* 3 replacement */
        "{\"text\":\"don\\u00e2\\u20ac\\u2122t\"}\n"                               /* 4 mojibake: â€™ */
        "{\"text\":\"Caf\\u00c3\\u00a9\"}\n"                                       /* 5 mojibake: Ã© */
        "{\"text\":\"N\\u00c3O \\u00e0 guerra, S\\u00e3o Paulo, \\u00c2ngela\"}\n" /* 6 kept: Portuguese */
        "{\"text\":\"hid\\u200bden\"}\n"                                           /* 7 invisible */
        "{\"text\":\"\\ud83d\\udc69\\u200d\\ud83d\\udcbb a coder\"}\n"             /* 8 kept: emoji */
        "{\"text\":\"a\\u200db\"}\n"                                               /* 9 invisible */
        "{\"text\":\"\\u202eevil\"}\n"                                             /* 10 invisible */
        "{\"text\":\"\\u043f\\u0440\\u0438\\u0432\\u0435\\u0442\"}\n"              /* 11 kept: Cyrillic */
        "{\"text\":\"\\u0915\\u094d\\u200d\\u0937\"}\n"); /* 12 kept: a joiner's place */
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "kept"), 5);
    assert_dropped(&f, 0, "control", 2, "byte 6: a control character (U+0007)");
    assert_dropped(&f, 1, "replacement", 3, "U+FFFD");
    assert_dropped(&f, 2, "mojibake", 4, "byte 3");
    assert_dropped(&f, 3, "mojibake", 5, "\xC3\x83\xC2\xA9");
    assert_dropped(&f, 4, "invisible", 7, "U+200B");
    assert_dropped(&f, 5, "invisible", 9, "U+200D");
    assert_dropped(&f, 6, "invisible", 10, "U+202E");
    run_ok(&f, "{\"control\":false,\"replacement\":false,\"mojibake\":false,\"invisible\":false}");
    assert_int_equal(fake_host_count(f.host, "kept"), 12);
    run_ok(&f, "{\"scripts\":[\"latin\"]}");
    assert_dropped(&f, 7, "script", 11,
                   "1 of its letters are of other scripts, at most 0.1; the first is Cyrillic");
    run_ok(&f, "{\"scripts\":[\"Latin\",\"Cyrillic\",\"Devanagari\"]}");
    assert_int_equal(fake_host_count(f.host, "kept"), 5);
    run_fails(&f, "{\"scripts\":[\"Klingon\"]}", "no script \"Klingon\"");
    fake_host_free(f.host);
}

/* --- language --------------------------------------------------------------------------------------------------------- */

static void language_of_chats(void **state) {
    fixture f = open_stage("language");
    (void)state;
    fake_host_records(
        f.host, "records",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"What should I cook for dinner "
        "tonight?\"},{\"role\":\"assistant\","
        "\"content\":\"Try a simple soup with lentils and a slice of bread.\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Was soll ich heute "
        "kochen?\"},{\"role\":\"assistant\","
        "\"content\":\"Vielleicht eine einfache Suppe mit Linsen und dazu eine Scheibe Brot.\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"ok\"},{\"role\":\"assistant\",\"content\":\"Bien!\"}"
        "]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"How do I print in Python, please? I am "
        "new.\"},{\"role\":"
        "\"assistant\",\"content\":\"Like this:\\n```python\\nfor i in range(10):\\n    "
        "print(i)\\n```\\nThat prints ten "
        "numbers.\"}]}\n");
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "kept"), 3);
    assert_dropped(&f, 0, "other_language", 2, "de ");
    run_ok(&f, "{\"languages\":[\"de\"]}");
    assert_int_equal(fake_host_count(f.host, "kept"), 2); /* the German, and the one that is too short */
    run_fails(&f, "{\"languages\":[\"klingonish\"]}", "no language \"klingonish\"");
    run_fails(&f, "{\"languages\":[]}", "at least one");
    fake_host_free(f.host);
}

/* --- quality ---------------------------------------------------------------------------------------------------------- */

static void quality_measures(void **state) {
    fixture f = open_stage("quality");
    (void)state;
    fake_host_records(
        f.host, "records",
        "{\"text\":\"Here:\\n- one\\n* two\\n3. three\\n\"}\n"                  /* 3 of 4 lines are items */
        "{\"text\":\"# Head\\nword **two words** word\\nlast line\\nWhat?\"}\n" /* a heading; bold; a question */
        "{\"text\":\"Is it? \\ud83d\\ude00\"}\n"                        /* a question behind an emoji */
        "{\"text\":\"```\\n# no heading\\n- no item\\n```\\nDone.\"}\n" /* code is not looked at */
        "{\"messages\":[{\"role\":\"user\",\"content\":\"- a\\n- b\\n- c\\n- d?\"},{\"role\":\"assistant\","
        "\"content\":\"No.\"}]}\n"); /* the user's lists are his */
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "kept"), 5);
    assert_true(fake_host_number(f.host, "metrics", 0, "list_share") == 3.0 / 11.0);
    assert_true(fake_host_number(f.host, "metrics", 0, "heading_share") == 1.0 / 11.0);
    assert_true(fake_host_number(f.host, "metrics", 0, "question_share") == 2.0 / 5.0);
    assert_true(fake_host_number(f.host, "metrics", 0, "texts") == 5);
    run_ok(&f, "{\"lists\":0.5,\"questions\":0.5,\"bold\":0.1,\"least_words\":1,\"headings\":0.3}");
    assert_dropped(&f, 0, "lists", 1, "text: share of lines that are items of lists 0.75, at most 0.5");
    assert_dropped(&f, 1, "bold", 2, "share of words in bold 0.25");
    assert_dropped(&f, 2, "questions", 3, "ends with a question 1");
    fake_host_free(f.host);
}

/* --- slop ------------------------------------------------------------------------------------------------------------- */

static void slop_against_a_reference(void **state) {
    fixture f = open_stage("slop");
    char *records = malloc(1 << 16), *reference = malloc(1 << 16), *end = records, *other = reference;
    int i;
    (void)state;
    for (i = 0; i < 20; i++) {
        end += sprintf(
            end,
            "{\"prompt\":\"a rich tapestry of\",\"response\":\"It is a rich tapestry of item%d things%d with "
            "words%d and thoughts%d too%d\"}\n",
            i, i, i, i, i);
        other += sprintf(other, "{\"text\":\"the cat%d sat on the mat%d\"}\n", i, i);
    }
    end += sprintf(
        end, "{\"response\":\"It is a rich tapestry of\"}\n{\"response\":\"the cat sat on the mat\"}\n");
    fake_host_records(f.host, "records", records);
    fake_host_records(f.host, "reference", reference);
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "dropped"), 1);
    assert_dropped(&f, 0, "slop", 21, "100 % of its words are slop");
    assert_int_equal(fake_host_count(f.host, "phrases"), 4); /* four trigrams of six words */
    assert_true(fake_host_number(f.host, "phrases", 0, "records") == 21);
    assert_true(fake_host_number(f.host, "phrases", 0, "reference") == 0);
    assert_true(fake_host_number(f.host, "metrics", 0, "slop_phrases") == 4);
    /* The same in the reference: nothing is slop. */
    fake_host_records(f.host, "reference", records);
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "dropped"), 0);
    assert_int_equal(fake_host_count(f.host, "phrases"), 0);
    fake_host_records(f.host, "reference", "");
    run_fails(&f, "{}", "no records to compare with");
    free(records);
    free(reference);
    fake_host_free(f.host);
}

/* --- decontaminate ---------------------------------------------------------------------------------------------------- */

static void decontaminate_names_the_item(void **state) {
    fixture f = open_stage("decontaminate");
    (void)state;
    fake_host_records(
        f.host, "evaluation",
        "{\"question\":\"Is it?\",\"answer\":\"No.\"}\n"
        "{\"question\":\"Natalia sold clips to 48 of her friends in April, and then half as many in May.\","
        "\"answer\":\"She sold 48 divided by 2, that is 24 clips in the month of May.\"}\n");
    fake_host_records(f.host, "second",
                      "{\"turns\":[\"Compose an engaging travel blog post about a recent trip\"]}\n");
    fake_host_records(f.host, "records",
                      "{\"text\":\"A puzzle: natalia SOLD clips to 48 of her friends in April and then half "
                      "as many, in May!\"}\n"
                      "{\"text\":\"Clips are sold in April to friends.\"}\n"
                      "{\"messages\":[{\"role\":\"user\",\"content\":\"hm\"},{\"role\":\"assistant\","
                      "\"content\":\"She sold 48 divided by "
                      "2, that is 24 clips in the month of May.\"}]}\n"
                      "{\"text\":\"Compose an engaging travel blog post about a recent trip\"}\n"
                      "{\"text\":\"Is it? No.\"}\n");
    run_ok(&f, "{\"names\":[\"gsm8k\",\"mt_bench\"]}");
    assert_int_equal(fake_host_count(f.host, "kept"), 2);
    assert_dropped(&f, 0, "query", 1, "has 100 % of \"question\" of item 2 of gsm8k: \"natalia SOLD clips");
    assert_dropped(&f, 1, "answer", 3, "messages[1] (assistant): has 100 % of \"answer\" of item 2 of gsm8k");
    assert_dropped(&f, 2, "query", 4, "\"turns\" of item 1 of mt_bench");
    assert_int_equal(fake_host_count(f.host, "found"), 3);
    assert_string_equal(fake_host_string(f.host, "found", 0, "set"), "gsm8k");
    assert_true(fake_host_number(f.host, "metrics", 0, "evaluation_too_short") == 2);
    run_ok(&f, "{\"answers\":false}");
    assert_int_equal(fake_host_count(f.host, "kept"), 3);
    run_fails(&f, "{\"names\":[\"a\",\"b\",\"c\"]}", "3 names for 2 evaluation sets");
    fake_host_free(f.host);
}

/* Half of an item's words are enough, fewer are not. */
static void decontaminate_overlap(void **state) {
    fixture f = open_stage("decontaminate");
    (void)state;
    fake_host_records(f.host, "evaluation",
                      "{\"q\":\"a1 a2 a3 a4 a5 a6 a7 a8 a9 b1 b2 b3 b4 b5 b6 b7 b8 b9 c1 c2\"}\n"); /* 20 */
    fake_host_records(
        f.host, "records",
        "{\"text\":\"x a1 a2 a3 a4 a5 a6 a7 a8 a9 y\"}\n"                      /* 9 of 20 */
        "{\"text\":\"x a1 a2 a3 a4 a5 a6 a7 a8 a9 b1 y\"}\n"                   /* 10 of 20 */
        "{\"text\":\"a1 a2 a3 a4 a5 a6 a7 x b3 b4 b5 b6 b7 b8 b9 c1 c2\"}\n"); /* 9: the first seven are no 8-gram */
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "kept"), 2);
    assert_dropped(&f, 0, "query", 2, "50 %");
    assert_true(fake_host_number(f.host, "dropped", 0, "value") == 0.5);
    fake_host_free(f.host);
}

/* Items and rows that say one word ten thousand times: that run of words is in too many places to mean anything, and costs no more
 * than another. */
static void decontaminate_what_everybody_says(void **state) {
    fixture f = open_stage("decontaminate");
    char *item = repeated("", "ha ", 10000, "one two three four five six seven eight"),
         *rows = malloc(1 << 20), *end = rows;
    int i;
    (void)state;
    for (i = 0; i < 10; i++) {
        end += sprintf(end, "%s", item);
    }
    fake_host_records(f.host, "evaluation", rows);
    fake_host_records(f.host, "records", rows);
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "kept"),
                     10); /* eight words of ten thousand are not half of them */
    run_ok(&f, "{\"overlap\":0.0001}");
    assert_dropped(&f, 9, "query", 10, "ha ha ha ha ha ha ha one");
    free(item);
    free(rows);
    fake_host_free(f.host);
}

/* --- hostile rows, and threads --------------------------------------------------------------------------------------- */

/* Rows of odd shapes and characters, from a seed. */
static char *hostile(int count) {
    static const char *const pieces[] = {"",
                                         "a ",
                                         " ",
                                         "\\n\\n",
                                         "```\\n",
                                         "**",
                                         "# ",
                                         "- ",
                                         "?",
                                         "\\u200b",
                                         "\\ufffd",
                                         "\\u0000",
                                         "\xC3\xA9\xC3\xA9",
                                         "x x x x x ",
                                         "\xC3\x83\xC2\xA9",
                                         "ha ha ha ha ha ha ha ha ",
                                         "the end. ",
                                         "\xE3\x80\x82",
                                         "\xF0\x9F\x8F\xB4\xF3\xA0\x81\xA7",
                                         "one two three four five six "};
    static const char *const shapes[][2] = {
        {"{\"text\":\"", "\"}\n"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"", "\"}]}\n"},
        {"{\"messages\":[{\"role\":3,\"content\":\"", "\"},{\"content\":null},7]}\n"},
        {"{\"prompt\":\"", "\",\"completion\":\"q\",\"text\":[]}\n"},
        {"{\"response\":\"", "\",\"prompt\":[{\"role\":\"user\",\"content\":{}}]}\n"}};
    char *out = malloc((size_t)count * 900 + 1), *end = out, text[800];
    uint64_t state = 11;
    int i, k;
    for (i = 0; i < count; i++) {
        text[0] = 0;
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
        for (k = 0; k < (int)(state >> 60); k++) {
            strcat(text, pieces[(state >> (k * 3)) % (sizeof pieces / sizeof *pieces)]);
        }
        end += sprintf(end, "%s%s%s", shapes[(state >> 33) % 5][0], text, shapes[(state >> 33) % 5][1]);
    }
    return out;
}

/* Each stage gets through them, and gives the same bytes when shards and rows are dealt out backwards. */
static void hostile_rows_on_any_threads(void **state) {
    static const char *const stages[][3] = {
        {"charset", "{\"scripts\":[\"Latin\"]}", "kept"},
        {"repetition", "{\"words\":1,\"of\":\"all\"}", "kept"},
        {"language", "{\"characters\":0,\"unsure\":true}", "dropped"},
        {"quality",
         "{\"lists\":0.1,\"bold\":0.1,\"headings\":0.1,\"questions\":0.1,\"least_lines\":1,\"least_words\":"
         "1}",
         "dropped"},
        {"slop", "{\"ngram\":1,\"least\":2,\"ratio\":1,\"of\":\"all\"}", "phrases"},
        {"decontaminate", "{\"shortest\":1,\"ngram\":3,\"overlap\":0.3}", "found"},
        {"select", "{\"rows\":300}", "dropped"},
        {"mixture", "{\"weights.b\":0.5,\"times\":2}", "records"},
        {"predicate", "{\"keep\":\"row.messages ~= nil\"}", "kept"}};
    char *rows = hostile(1500), *other = hostile(300);
    size_t i, k;
    (void)state;
    for (i = 0; i < sizeof stages / sizeof *stages; i++) {
        char *bytes = NULL, *metrics = NULL;
        int turn;
        for (turn = 0; turn < 2; turn++) {
            fixture f = open_stage(stages[i][0]);
            if (turn == 1) {
                fake_host_backwards(f.host);
            }
            for (k = 0; f.stage->inputs[k] != NULL; k++) { /* the first is filtered; one more is enough */
                if (f.stage->inputs[k]->kind == TEMPER_RECORDS && k < 2) {
                    fake_host_records(f.host, f.stage->inputs[k]->name, k == 0 ? rows : other);
                }
            }
            run_ok(&f, stages[i][1]);
            if (turn == 0) {
                bytes = strdup(fake_host_output(f.host, stages[i][2]));
                metrics = strdup(fake_host_output(f.host, "metrics"));
            } else {
                assert_string_equal(bytes, fake_host_output(f.host, stages[i][2]));
                assert_string_equal(metrics, fake_host_output(f.host, "metrics"));
                assert_true(strlen(bytes) > 0);
            }
            fake_host_free(f.host);
        }
        free(bytes);
        free(metrics);
    }
    free(rows);
    free(other);
}

/* --- select ----------------------------------------------------------------------------------------------------------- */

static char *trait_rows(int calm, int bold) {
    char *out = malloc((size_t)(calm + bold) * 80 + 1), *end = out;
    int i;
    for (i = 0; i < calm + bold; i++) {
        end += sprintf(end, "{\"prompt\":\"Question %d\",\"n\":%d,\"trait\":\"%s\"}\n", i / 2, i,
                       i < calm ? "calm" : "bold");
    }
    return out;
}

static void select_balances(void **state) {
    fixture f = open_stage("select");
    char *rows = trait_rows(300, 100);
    (void)state;
    fake_host_records(f.host, "records", rows);
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "train"), 400);
    run_ok(&f, "{\"by\":[\"trait\"],\"balance\":true}");
    assert_int_equal(fake_host_count(f.host, "train"), 200);
    assert_int_equal(fake_host_count(f.host, "dropped"), 200);
    assert_int_equal(fake_host_count(f.host, "strata"), 2);
    assert_true(fake_host_number(f.host, "strata", 0, "train") == 100);
    assert_string_equal(fake_host_string(f.host, "dropped", 0, "rule"), "not_taken");
    run_ok(&f, "{\"by\":[\"trait\"],\"balance\":true,\"rows\":250}"); /* 100 of the few, 150 of the many */
    assert_int_equal(fake_host_count(f.host, "train"), 250);
    run_ok(&f, "{\"by\":[\"trait\"],\"rows\":40}"); /* by their shares: 30 and 10 */
    assert_int_equal(fake_host_count(f.host, "train"), 40);
    assert_true(fake_host_number(f.host, "strata", 0, "train") +
                    fake_host_number(f.host, "strata", 1, "train") ==
                40);
    assert_true(fake_host_number(f.host, "strata", 0, "train") == 10 ||
                fake_host_number(f.host, "strata", 1, "train") == 10);
    run_fails(&f, "{\"by\":[\"mood\"]}", "record 1: it has no \"mood\"");
    free(rows);
    fake_host_free(f.host);
}

/* No prompt on both sides, whatever the order; and the sides are the same in another order, and with other rows among them. */
static void select_splits_by_prompt(void **state) {
    fixture f = open_stage("select");
    static char side[2][200];
    char *rows = trait_rows(400, 0), *reversed = malloc(strlen(rows) + 1), *out = reversed;
    const char *line;
    size_t i, turn, held = 0;
    (void)state;
    for (line = rows + strlen(rows); line > rows;) {
        const char *end = line, *begin = line - 1;
        while (begin > rows && begin[-1] != '\n') {
            begin--;
        }
        memcpy(out, begin, (size_t)(end - begin));
        out += end - begin;
        line = begin;
    }
    *out = 0;
    memset(side, 0, sizeof side);
    for (turn = 0; turn < 2; turn++) {
        fake_host_records(f.host, "records", turn == 0 ? rows : reversed);
        run_ok(&f, "{\"held_out\":0.25}");
        for (i = 0; i < fake_host_count(f.host, "held_out"); i++) {
            side[turn][atoi(fake_host_string(f.host, "held_out", i, "prompt") + 9)] = 1;
        }
        for (i = 0; i < fake_host_count(f.host, "train"); i++) {
            assert_int_equal(side[turn][atoi(fake_host_string(f.host, "train", i, "prompt") + 9)], 0);
        }
        assert_int_equal(fake_host_count(f.host, "held_out") + fake_host_count(f.host, "train"), 400);
    }
    assert_memory_equal(side[0], side[1], sizeof side[0]);
    for (i = 0; i < 200; i++) {
        held += side[0][i] == 1;
    }
    assert_in_range(held, 30, 70); /* 50 of 200 expected: over three standard deviations to either side */
    fake_host_records(
        f.host, "records",
        "{\"prompt\":\"  QUESTION 7 \"}\n{\"prompt\":\"question 7\"}\n{\"prompt\":\"Question\\n7\"}\n");
    run_ok(&f, "{\"held_out\":0.25}");
    assert_true(fake_host_count(f.host, "train") == 0 || fake_host_count(f.host, "held_out") == 0);
    fake_host_records(f.host, "records", "{\"a\":1}\n");
    run_fails(&f, "{\"held_out\":0.25}", "no prompt to split by");
    free(rows);
    free(reversed);
    fake_host_free(f.host);
}

/* --- mixture ---------------------------------------------------------------------------------------------------------- */

static char *numbered(const char *name, int count, const char *text) {
    char *out = malloc((size_t)count * (strlen(text) + 64) + 1), *end = out;
    int i;
    for (i = 0; i < count; i++) {
        end += sprintf(end, "{\"from\":\"%s\",\"n\":%d,\"text\":\"%s\"}\n", name, i, text);
    }
    return out;
}

static void mixture_shares(void **state) {
    fixture f = open_stage("mixture");
    char *a = numbered("a", 100, "one two three"), *b = numbered("b", 30, "one");
    size_t i, from_a = 0, changes = 0;
    (void)state;
    fake_host_records(f.host, "a", a);
    fake_host_records(f.host, "b", b);
    run_ok(&f, "{\"weights.a\":3}"); /* b's 30 rows are a quarter: 90 of a */
    assert_int_equal(fake_host_count(f.host, "records"), 120);
    for (i = 0; i < 120; i++) {
        bool is_a = strcmp(fake_host_string(f.host, "records", i, "from"), "a") == 0;
        from_a += is_a;
        changes += i > 0 && is_a != (strcmp(fake_host_string(f.host, "records", i - 1, "from"), "a") == 0);
    }
    assert_int_equal(from_a, 90);
    assert_true(changes > 20); /* they are mixed */
    assert_true(fake_host_number(f.host, "metrics", 0, "row_share_a") == 0.75);
    assert_true(fake_host_number(f.host, "metrics", 0, "word_share_b") == 30.0 / 300.0);
    assert_true(fake_host_number(f.host, "shares", 1, "available") == 30);
    run_ok(&f, "{\"weights.a\":3,\"rows\":40}");
    assert_int_equal(fake_host_count(f.host, "records"), 40);
    assert_true(fake_host_number(f.host, "shares", 0, "rows") == 30);
    run_ok(&f, "{\"times\":3}"); /* b's rows three times: 90 of each */
    assert_int_equal(fake_host_count(f.host, "records"), 180);
    assert_true(fake_host_number(f.host, "shares", 1, "times") == 3);
    run_ok(&f, "{\"unit\":\"words\"}"); /* 30 words of b: 10 rows of a */
    assert_true(fake_host_number(f.host, "shares", 0, "rows") == 10);
    assert_true(fake_host_number(f.host, "metrics", 0, "word_share_a") == 0.5);
    { /* the script's tokens are words */
        static fake_model model;
        fake_host_model(f.host, "model", &model);
        run_ok(&f, "{\"times\":2}"); /* b's 30 rows twice, and 60 of a */
        assert_true(fake_host_number(f.host, "metrics", 0, "tokens") == 60 * 3 + 60);
        assert_true(fake_host_number(f.host, "metrics", 0, "token_share_a") == 0.75);
        assert_true(fake_host_number(f.host, "shares", 1, "tokens") == 60);
    }
    run_fails(&f, "{\"rows\":500}", "need more than there is: at most 60");
    run_fails(&f, "{\"weights.a\":0,\"weights.b\":0}", "every weight is 0");
    fake_host_records(f.host, "b", "");
    run_fails(&f, "{}", "b has no rows");
    free(a);
    free(b);
    fake_host_free(f.host);
}

/* --- pairs ------------------------------------------------------------------------------------------------------------ */

static void pairs_near_equal_and_margin(void **state) {
    fixture f = open_stage("pairs");
    (void)state;
    fake_host_records(f.host, "pairs",
                      "{\"chosen\":\"The cat sat on the mat by the red door of the old mill and "
                      "slept.\",\"chosen_score\":2,"
                      "\"rejected\":\"the cat sat on the mat by the red door of the old mill and "
                      "slept!\",\"rejected_score\":1}\n"
                      "{\"chosen\":\"A dog ran.\",\"chosen_score\":0.5,\"rejected\":\"It "
                      "rained.\",\"rejected_score\":0.25}\n"
                      "{\"chosen\":\"A fox ran.\",\"chosen_score\":-1,\"rejected\":\"It "
                      "snowed.\",\"rejected_score\":3e0}\n");
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "kept"), 2);
    assert_dropped(&f, 0, "near_equal", 1, "share 1 of their pairs of words");
    run_ok(&f, "{\"similarity\":1,\"margin\":0.25}");
    assert_int_equal(fake_host_count(f.host, "kept"), 2);
    assert_dropped(&f, 0, "margin", 3, "chosen's score is -1, rejected's 3");
    run_ok(&f, "{\"margin\":0.5}");
    assert_dropped(&f, 1, "margin", 2, "0.25");
    run_fails(&f, "{\"margin\":0.5,\"scores\":[\"a\",\"b\"]}", "record 2: its \"a\" is no number");
    run_fails(&f, "{\"scores\":[\"a\"]}", "scores: two members");
    fake_host_free(f.host);
}

/* --- predicate -------------------------------------------------------------------------------------------------------- */

static void predicate_judges(void **state) {
    fixture f = open_stage("predicate");
    (void)state;
    fake_host_records(f.host, "records",
                      "{\"text\":\"short\",\"score\":3,\"tags\":[\"a\",\"b\"],\"gone\":null}\n"
                      "{\"text\":\"rather longer\",\"score\":0.5,\"tags\":[]}\n");
    run_ok(&f, "{\"keep\":\"#row.text > 6\"}");
    assert_int_equal(fake_host_count(f.host, "kept"), 1);
    assert_dropped(&f, 0, "predicate", 1, "the predicate said no");
    run_ok(&f, "{\"keep\":\"if row.score < 1 then return false, 'score ' .. row.score end return true\"}");
    assert_dropped(&f, 0, "predicate", 2, "score 0.5");
    run_ok(&f,
           "{\"keep\":\"row.gone == null and row.tags[2] == 'b' and math.type(row.score) == 'integer'\"}");
    assert_int_equal(fake_host_count(f.host, "kept"), 1);
    run_ok(&f, "{\"keep\":\"local n = '' for k in pairs(row) do n = n .. k end return n == "
               "'gonescoretagstext' or not row.gone\"}");
    assert_int_equal(fake_host_count(f.host, "kept"), 2);
    run_ok(&f, "{\"keep\":\"math.pow(2, 10) == 1024.0 and #string.match('a^b', '[^b]+') == 2 -- a ^ in a "
               "comment\"}");
    assert_int_equal(fake_host_count(f.host, "kept"), 2);
    fake_host_text(f.host, "script", "local function long(t)\n  return #t > 6\nend\nreturn long(row.text)\n");
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "kept"), 1);
    run_fails(&f, "{\"keep\":\"true\"}", "both was given");
    fake_host_free(f.host);
}

/* What would let a machine, a moment or an earlier row show, and what would not end. */
static void predicate_is_shut_in(void **state) {
    static const char *const refused[][2] = {
        {"os.time() > 0", "'os' is not there"},
        {"io", "'io' is not there"},
        {"load('return 1')()", "'load' is not there"},
        {"pcall(error)", "'pcall' is not there"},
        {"rawset(string, 'x', 1)", "'rawset' is not there"},
        {"getmetatable('') == 1", "'getmetatable' is not there"},
        {"seen = 1", "'seen' is assigned but was never declared"},
        {"string.x = 1 return true", "'x' is assigned"},
        {"table.insert(string, 1) return true", "is assigned"},
        {"tostring = nil return true", "'tostring' is assigned"},
        {"math.random() > 0", "math.random"},
        {"string.format('%p', row) == ''", "%p is not there"},
        {"2 ^ 3 == 8", "predicate:1: `^` is not there"},
        {"while true do end", "more instructions than \\\"steps\\\" allows"},
        {"string.rep('x', 1 << 27) == ''", "memory"},
        {"row.text +", "does not compile"},
        {"local x = 1", "returned nothing"},
        {"row.text", "returned a string"},
        {"row.none.x", "record 1: predicate:1: attempt to index a nil value"},
        {"", "neither was given"}};
    fixture f = open_stage("predicate");
    char parameters[300], wanted[200];
    size_t i, j, at;
    (void)state;
    fake_host_records(f.host, "records", "{\"text\":\"short\"}\n");
    for (i = 0; i < sizeof refused / sizeof *refused; i++) {
        snprintf(parameters, sizeof parameters, "{\"keep\":\"%s\"}", refused[i][0]);
        for (j = at = 0; refused[i][1][j] != 0; j++) {
            if (refused[i][1][j] != '\\') {
                wanted[at++] = refused[i][1][j];
            }
        }
        wanted[at] = 0;
        run_fails(&f, parameters, wanted);
    }
    fake_host_free(f.host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repetition_loops_and_sentences),
        cmocka_unit_test(repetition_gopher),
        cmocka_unit_test(charset_rules),
        cmocka_unit_test(language_of_chats),
        cmocka_unit_test(quality_measures),
        cmocka_unit_test(slop_against_a_reference),
        cmocka_unit_test(decontaminate_names_the_item),
        cmocka_unit_test(decontaminate_overlap),
        cmocka_unit_test(decontaminate_what_everybody_says),
        cmocka_unit_test(hostile_rows_on_any_threads),
        cmocka_unit_test(select_balances),
        cmocka_unit_test(select_splits_by_prompt),
        cmocka_unit_test(mixture_shares),
        cmocka_unit_test(pairs_near_equal_and_margin),
        cmocka_unit_test(predicate_judges),
        cmocka_unit_test(predicate_is_shut_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
