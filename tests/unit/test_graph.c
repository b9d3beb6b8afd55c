/* test_graph.c: plans from strangers are checked; stage ids are what they were. */
#include "../support/cmocka_all.h"

#include "scheduler/graph.h"

#include <stdio.h>

#define SOURCES                                                                                              \
    "\"sources\":[{\"id\":\"rows\",\"kind\":\"records\",\"name\":\"rows.jsonl\",\"digest\":\"sha256:"        \
    "1111111111111111111111111111111111111111111111111111111111111111\"}]"
#define NODE(name, inputs)                                                                                   \
    "{\"name\":\"" name                                                                                      \
    "\",\"plugin\":\"filter\",\"version\":\"0.1.0\",\"stage\":\"length\",\"revision\":1,\"label\":\"\","     \
    "\"line\":3,\"parameters\":{\"limit\":200},\"inputs\":[" inputs "]}"
#define FROM_SOURCE "{\"name\":\"records\",\"kind\":\"records\",\"source\":\"rows\"}"
#define FROM_NODE(n) "{\"name\":\"records\",\"kind\":\"records\",\"node\":" #n ",\"output\":\"kept\"}"
#define PLAN(nodes) "{\"temper\":1,\"seed\":3,\"profile\":\"bf16/1\"," SOURCES ",\"nodes\":[" nodes "]}"

static void refuses(const char *plan, const char *message) {
    tm_graph *graph = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    assert_int_not_equal(tm_graph_parse(plan, strlen(plan), &graph, &error), TEMPER_OK);
    assert_null(graph);
    if (strstr(error.message, message) == NULL) {
        fail_msg("'%s' is not in: %s", message, error.message);
    }
}

static void test_refusals(void **state) {
    (void)state;
    refuses("", "plan");
    refuses("[]", "its form is number 0");
    refuses("{\"temper\":2}", "its form is number 2");
    refuses("{\"temper\":1,\"seed\":-1,\"profile\":\"bf16/1\"}", "'seed'");
    refuses("{\"temper\":1,\"seed\":0,\"profile\":\"bf16/9\"}", "profile 'bf16/9'");
    refuses("{\"temper\":1,\"seed\":0,\"profile\":\"bf16/1\"}", "'sources' must be a list");
    refuses("{\"temper\":1,\"seed\":0,\"profile\":\"bf16/"
            "1\",\"sources\":[{\"id\":\"a\",\"name\":\"a\",\"kind\":\"text\"}]}",
            "a path or a digest");
    refuses("{\"temper\":1,\"seed\":0,\"profile\":\"bf16/1\",\"sources\":[{\"id\":\"a/"
            "b\",\"name\":\"a\",\"kind\":\"text\",\"path\":\"x\"}]}",
            "an id, a name and a kind");
    refuses(PLAN(NODE("a", FROM_NODE(0))), "an earlier node");
    refuses(PLAN(NODE("a", FROM_SOURCE) "," NODE("b", FROM_NODE(1))), "an earlier node");
    refuses(PLAN(NODE("a", FROM_NODE(-1))), "an earlier node");
    refuses(PLAN(NODE("a", FROM_NODE(99999999999))), "an earlier node");
    refuses(PLAN(NODE("a", "{\"name\":\"records\",\"kind\":\"records\",\"source\":\"none\"}")), "not there");
    refuses(PLAN(NODE("a", "{\"name\":\"records\",\"kind\":\"soup\",\"source\":\"rows\"}")),
            "a name and a kind");
    refuses(PLAN(NODE("a", FROM_SOURCE "," FROM_SOURCE)), "given twice");
    refuses(PLAN(NODE("a", FROM_SOURCE) "," NODE("a", FROM_SOURCE)), "two nodes have one name");
    refuses(PLAN(NODE("../a", FROM_SOURCE)), "a node needs a name");
    refuses("{\"temper\":1,\"seed\":0,\"profile\":\"bf16/1\"," SOURCES ",\"nodes\":[" NODE(
                "a", FROM_SOURCE) "],\"expect\":[{\"node\":1,\"metric\":\"x\",\"op\":\">\",\"value\":1}]}",
            "an expectation needs");
    refuses("{\"temper\":1,\"seed\":0,\"profile\":\"bf16/1\"," SOURCES ",\"nodes\":[" NODE(
                "a", FROM_SOURCE) "],\"expect\":[{\"node\":0,\"metric\":\"x\",\"op\":\"=>\",\"value\":1}]}",
            "an expectation needs");
    refuses("{\"temper\":1,\"seed\":0,\"profile\":\"bf16/1\"," SOURCES
            ",\"nodes\":[" NODE("a", FROM_SOURCE) "],\"result\":{\"x\":{\"node\":7,\"output\":\"kept\"}}}",
            "a result needs");
}

static tm_graph *parse(const char *plan) {
    tm_graph *graph = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    if (tm_graph_parse(plan, strlen(plan), &graph, &error)) {
        fail_msg("%s", error.message);
    }
    return graph;
}

/* The id of a stage with known inputs is a promise to every archive there is: it changes only with the plan's form. */
static void test_golden_id(void **state) {
    tm_graph *graph = parse(PLAN(NODE("a", FROM_SOURCE) "," NODE("b", FROM_NODE(0))));
    char text[TM_DIGEST_TEXT], path[TM_SEED_PATH];
    tm_digest id, key, other;
    (void)state;
    id = tm_stage_id(graph, 0, &graph->sources[0].digest);
    tm_digest_text(&id, text);
    assert_string_equal(text, "sha256:6c268ab64d79117b97ec9c0f78176860d32f9c78c5ff6f8a98f697bd70a30b23");
    assert_string_equal(tm_seed_path(graph, 1, path), "3/length/");
    /* Binaries are in the cache key and not in the id. */
    key = tm_cache_key(&id, &graph->sources[0].digest, 1);
    other = tm_cache_key(&id, &id, 1);
    assert_false(tm_digest_equal(&key, &other));
    assert_false(tm_digest_equal(&key, &id));
    tm_graph_free(graph);
}

static tm_digest id_of(const char *plan) {
    tm_graph *graph = parse(plan);
    tm_digest id = tm_stage_id(graph, 0, &graph->sources[0].digest);
    tm_graph_free(graph);
    return id;
}

static void test_what_is_in_an_id(void **state) {
    static const char base[] = PLAN(NODE("a", FROM_SOURCE));
    static const char *const changes[][2] = {{"\"seed\":3", "\"seed\":4"},
                                             {"bf16/1", "f32/1"},
                                             {"\"limit\":200", "\"limit\":201"},
                                             {"\"version\":\"0.1.0\"", "\"version\":\"0.1.1\""},
                                             {"\"revision\":1", "\"revision\":2"},
                                             {"\"label\":\"\"", "\"label\":\"x\""},
                                             {"\"stage\":\"length\"", "\"stage\":\"lengths\""},
                                             {"\"plugin\":\"filter\"", "\"plugin\":\"filters\""},
                                             {"\"name\":\"records\"", "\"name\":\"others\""}};
    static const char *const same[][2] = {
        {"\"line\":3", "\"line\":9"}, {"\"name\":\"a\"", "\"name\":\"z\""}, {"rows.jsonl", "moved.jsonl"}};
    tm_digest id = id_of(base);
    size_t i;
    (void)state;
    for (i = 0; i < sizeof changes / sizeof *changes + sizeof same / sizeof *same; i++) {
        bool changed = i < sizeof changes / sizeof *changes;
        const char *const *pair = changed ? changes[i] : same[i - sizeof changes / sizeof *changes];
        const char *at = strstr(base, pair[0]);
        char plan[2048];
        tm_digest other;
        assert_non_null(at);
        snprintf(plan, sizeof plan, "%.*s%s%s", (int)(at - base), base, pair[1], at + strlen(pair[0]));
        other = id_of(plan);
        if (tm_digest_equal(&id, &other) == changed) {
            fail_msg("%s -> %s %s the id", pair[0], pair[1], changed ? "leaves" : "changes");
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refusals), cmocka_unit_test(test_golden_id),
                                       cmocka_unit_test(test_what_is_in_an_id)};
    return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
