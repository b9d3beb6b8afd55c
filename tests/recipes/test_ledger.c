/* test_ledger.c: what filters dropped, as people meet it: the table, the page, the bound, and the story of a row. */
#include "program.h"

#include <stdio.h>

static const char chain[] = "local temper = require \"temper\"\n"
                            "local filter = temper.plugin \"filter\"\n"
                            "local chats = temper.records { \"chats\", default = \"chats.jsonl\" }\n"
                            "local bound = temper.number { \"bound\", default = 1 }\n"
                            "local long = filter.length { records = chats, minimum = 3, fields = { \"text\" "
                            "}, most_dropped = bound }\n"
                            "local said = filter.phrases { records = long.kept, phrases = temper.text "
                            "\"list.txt\", fields = { \"text\" } }\n"
                            "local once = filter.duplicates { records = said.kept, keys = { \"text\" } }\n"
                            "return { rows = once.kept }\n";

static void write_chain(const program *p) {
    program_write(p, "chain.lua", chain);
    program_write(p, "list.txt", "as an AI\n");
    program_write(
        p, "chats.jsonl",
        "{\"text\":\"ab\"}\n{\"text\": \"hello <there>\", \"n\": 1}\n{\"text\":\"Well, as an AI, no\"}\n"
        "{\"n\":2,\"text\":\"hello <there>\"}\n{\"text\":\"x\"}\n{\"text\":\"say \\\"hi\\\"\"}\n");
}

static void test_table_and_page(void **state) {
    program *p = *state;
    char *page, *archive;
    size_t length;
    write_chain(p);
    assert_int_equal(program_run(p, "run chain.lua --name ledger"), 0);
    assert_has(p->out, "filter                      in        kept     dropped\n");
    assert_has(p->out, "length                       6           4           2   33.3 %\n");
    assert_has(p->out, "too_short                                          2");
    assert_has(p->out, "f9039ad27ef4  text: 2 characters, minimum 3\n");
    assert_has(p->out, "duplicates                   3           2           1   33.3 %\n");
    assert_lacks(p->out, "too_long"); /* a rule that dropped nothing takes no line */
    archive = program_word(p, "archive");
    memcpy(archive + strlen(archive) - strlen("temper"), "html", 5);
    page = program_read(p, archive, &length);
    assert_non_null(page);
    assert_has(page, "<th scope=\"row\">phrases</th><td>4</td><td>3</td><td>1</td>");
    assert_has(page, "<dt>phrase (1)</dt>");
    assert_has(page, "as an AI&quot; (line 1 of the list)");
    assert_int_equal(program_run(p, "show ledger"), 0);
    assert_has(p->out, "phrases                      4           3           1   25.0 %\n");
    assert_int_equal(program_run(p, "run chain.lua --json"), 0);
    assert_has(p->out,
               "{\"dropped\":1,\"event\":\"filtered\",\"kept\":3,\"records\":4,\"stage\":\"phrases\"}");
    assert_has(
        p->out,
        "{\"count\":0,\"does\":\"dropped\",\"event\":\"rule\",\"rule\":\"too_long\",\"stage\":\"length\"}");
    free(page);
    free(archive);
}

static void test_bound(void **state) {
    program *p = *state;
    write_chain(p);
    assert_int_equal(program_run(p, "run chain.lua --set bound=0.34"), 0);
    assert_has(p->out, "length.dropped_share 0.3333 <= 0.34 ok");
    assert_int_equal(program_run(p, "run chain.lua --set bound=0.3 --name over"), 1);
    assert_has(p->out, "length.dropped_share 0.3333 <= 0.3 FAILED");
    assert_has(p->out, "33.3 %  (at most 30 %)");
    assert_has(p->out, "archive"); /* archived all the same */
    assert_has(p->err, "an expectation failed");
    assert_int_equal(program_run(p, "show over"), 0);
    assert_has(p->out, "expect   length.dropped_share");
    assert_int_equal(program_run(p, "run chain.lua --set bound=2"), 1);
    assert_has(p->err, "chain.lua:5: filter.length: parameter \"most_dropped\": 2 is out of range");
}

static void test_why(void **state) {
    program *p = *state;
    write_chain(p);
    assert_int_equal(program_run(p, "run chain.lua --name w"), 0);
    assert_int_equal(program_run(p, "why w chats:1"), 0);
    assert_has(p->out, "row f9039ad27ef4  chats:1\n ab\n length         DROPPED  too_short\n");
    assert_has(p->out, "text: 2 characters, minimum 3");
    assert_int_equal(program_run(p, "why w chats:4"), 0);
    assert_has(p->out, " length         kept     length.kept:3\n phrases        kept     phrases.kept:2\n"
                       " duplicates     DROPPED  duplicate\n");
    assert_has(p->out, "equal to record 1");
    /* Any form of it on its way leads to where it began. */
    assert_int_equal(program_run(p, "why w duplicates:2"), 0);
    assert_has(p->out, "chats:6\n say \"hi\"\n");
    assert_has(p->out, " duplicates     kept     duplicates.kept:2\n");
    assert_int_equal(program_run(p, "why w phrases.dropped:1"), 0);
    assert_has(p->out, "chats:3\n");
    assert_int_equal(program_run(p, "why w 0c1801"), 1); /* of no row */
    assert_has(p->err, "no row of the run has the id or the text '0c1801'");
    assert_int_equal(program_run(p, "why w f9039a"), 0);
    assert_has(p->out, "chats:1\n");
    /* A text: one row is told, several are listed. Quotes are looked for as they read. */
    assert_int_equal(program_run(p, "why w say\001\"hi\""), 0);
    assert_has(p->out, "chats:6\n");
    assert_int_equal(program_run(p, "why w hello"), 0);
    assert_has(p->out, "chats:2            hello <there>\n");
    assert_has(p->out, "2 rows: name one by its id or place");
    assert_int_equal(program_run(p, "why w chats:5 --json"), 0);
    assert_has(p->out, "\"rule\":\"too_short\",\"stage\":\"length\"");
    assert_has(p->out, "\"what\":\"dropped\"");
    /* What is not there. */
    assert_int_equal(program_run(p, "why w chat:1"), 1);
    assert_has(p->err, "the run has no rows 'chat'; did you mean 'chats'?");
    assert_int_equal(program_run(p, "why w chats:7"), 1);
    assert_has(p->err, "there is no row chats:7: it has 6");
    assert_int_equal(program_run(p, "why w chats:0"), 1);
    assert_int_equal(program_run(p, "why w"), 2);
}

/* A stage that makes rows of its own ends the story, and says so. */
static void test_why_of_other_stages(void **state) {
    program *p = *state;
    program_write(p, "other.lua",
                  "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
                  "local filter = temper.plugin \"filter\"\n"
                  "local rows = temper.records { \"rows\", default = \"rows.jsonl\" }\n"
                  "local made = patient.count { records = rows, steps = 3 }\n"
                  "local kept = filter.duplicates { records = made.numbers, keys = {} }\n"
                  "return { rows = kept.kept }\n");
    program_write(p, "rows.jsonl", "{\"a\":1}\n{\"a\":2}\n");
    assert_int_equal(program_run(p, "run other.lua --name o"), 0);
    assert_int_equal(program_run(p, "why o rows:2"), 0);
    assert_has(p->out, "count          used     patient.count makes rows of its own\n");
    assert_int_equal(program_run(p, "why o duplicates:2"), 0);
    assert_has(p->out, "count.numbers:2\n");
}

/* The shipped chain, on a row for each reason to go. */
static void test_clean_recipe(void **state) {
    program *p = *state;
    program_write(p, "chats.jsonl",
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"Where does the river "
                  "end?\"},{\"role\":\"assistant\",\"content\":"
                  "\"It ends in the sea, past the old mill and the harbour wall.\"}]}\n"
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"Hm\"},{\"role\":\"assistant\",\"content\":"
                  "\"It\\ufffd is late "
                  "in the day.\"}]}\n"
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"},{\"role\":\"assistant\","
                  "\"content\":\"\"}]}\n"
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"As an AI, who are "
                  "you?\"},{\"role\":\"assistant\",\"content\":"
                  "\"As an AI, I am nobody, and I like it.\"}]}\n"
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"Tell me a "
                  "tale.\"},{\"role\":\"assistant\",\"content\":\"Once he "
                  "went home and ate bread, and ate bread, and ate bread, and ate bread, and ate bread, and "
                  "ate bread\"}]}\n"
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"Wo endet der "
                  "Fluss?\"},{\"role\":\"assistant\",\"content\":\"Er endet "
                  "im Meer, hinter der alten Mühle und der Mauer des Hafens.\"}]}\n"
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"where does the river "
                  "end?\"},{\"role\":\"assistant\",\"content\":"
                  "\"It ends in the sea, past the old mill and the harbour wall.\"}]}\n"
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"What do bees eat in the "
                  "winter?\"},{\"role\":\"assistant\","
                  "\"content\":\"Honey, which they made in the summer for this very purpose.\"}]}\n");
    program_write(p, "phrases.txt", "as an AI\n");
    assert_int_equal(program_run(p, "run " TEST_SOURCE_FOLDER
                                    "/recipes/clean.lua --set chats=chats.jsonl --name clean "
                                    "--set held_out=0"),
                     0);
    assert_has(p->out, "replacement");
    assert_has(p->out, "too_short");
    assert_has(p->out, "other_language");
    assert_int_equal(program_run(p, "why clean chats:2"), 0);
    assert_has(p->out, "charset        DROPPED  replacement");
    assert_int_equal(program_run(p, "why clean chats:4"), 0);
    assert_has(p->out, "phrases        DROPPED");
    assert_int_equal(program_run(p, "why clean chats:5"), 0);
    assert_has(p->out, "repetition     DROPPED  loop");
    assert_int_equal(program_run(p, "why clean chats:6"), 0);
    assert_has(p->out, "language       DROPPED  other_language");
    /* A twin is named by where it came from, not by its number in the stage. */
    assert_int_equal(program_run(p, "why clean chats:7"), 0);
    assert_has(p->out, "duplicates     DROPPED");
    assert_has(p->out, "twin ");
    assert_has(p->out, "  chats:1\n");
    /* To the end of the chain, where rows are found again by their bytes. */
    assert_int_equal(program_run(p, "why clean chats:8"), 0);
    assert_has(p->out, "duplicates     kept     duplicates.kept:2\n");
    assert_has(p->out, "select         taken    select.train:2\n");
    assert_int_equal(program_run(p, "why clean select.train:2"), 0);
    assert_has(p->out, "chats:8\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_table_and_page, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_bound, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_why, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_clean_recipe, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_why_of_other_stages, program_setup, program_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
