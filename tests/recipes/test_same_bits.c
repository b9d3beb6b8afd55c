/* test_same_bits.c: one run, from constitution to evaluation, on a real model: one id at one thread and at two, in each kernel set of this
 * CPU, and after a kill in the middle of `respond` and of `dpo`. The same at full size is the long test's. */
#include "../support/assets.h"
#include "program.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static const char recipe[] =
    "local temper = require \"temper\"\n"
    "local constitution, rank = temper.plugin \"constitution\", temper.plugin \"rank\"\n"
    "local finetune, eval = temper.plugin \"finetune\", temper.plugin \"eval\"\n"
    "local base = temper.model { \"model\" }\n"
    "local character = temper.character \"kind.json\"\n"
    "local size = temper.int { \"size\", default = 7 }\n"
    "local asked = constitution.ask { model = base, character = character, per_trait = size, held_out = 1 }\n"
    "local drafts = constitution.respond { model = base, character = character, prompts = asked.prompts, "
    "samples = 2, max_tokens = 32 }\n"
    "local ranked = rank.by_character { model = base, character = character, candidates = drafts.responses, "
    "margin = 0 }\n"
    "local tuned = finetune.dpo { model = base, pairs = ranked.pairs, steps = 3, batch = 4, learning_rate = "
    "1e-3, lora = { rank = 4 } }\n"
    "local card = eval.character { model = tuned.model, against = base, character = character, prompts = "
    "asked.held_out, max_tokens = 24 }\n"
    "return { model = tuned.model, report = card.report }\n";

static const char kind[] = "[{\"trait\":\"I am kind and I care about how people feel.\",\"questions\":[\"I "
                           "feel sad today.\",\"Can you help me?\","
                           "\"What should I eat?\",\"My dog ran away.\",\"I lost my job.\",\"Do you like "
                           "music?\",\"Tell me about the sea.\"]},"
                           "{\"trait\":\"I love poems.\",\"questions\":[\"What is a tree?\",\"How was your "
                           "day?\",\"Why is the sky blue?\",\"I like rain.\","
                           "\"Sing for me.\",\"Where do you live?\",\"It is late.\"]}]";

static char *command; /* "run same.lua --set model=…" */

static char *run_fresh(program *p, const char *home, const char *options) {
    char line[PATH_MAX + 200];
    snprintf(p->home, sizeof p->home, "%s", home);
    snprintf(line, sizeof line, "%s %s", command, options);
    if (program_run(p, line) != 0) {
        fail_msg("%s: %s", line, p->err);
    }
    return program_word(p, "run");
}

static void same(program *p, const char *id, const char *home, const char *options) {
    char *other = run_fresh(p, home, options);
    if (strcmp(id, other) != 0) {
        fail_msg("%s %s: %s, not %s", home, options, other, id);
    }
    free(other);
}

/* Starts, kills the worker or the program `after` microseconds into `stage`, and runs again: the same id. False when the kill came
 * too late, the stage being done. */
static bool kill_once(program *p, const char *id, const char *home, const char *stage, bool worker,
                      unsigned after) {
    char mark[64], line[PATH_MAX + 200], remove[200];
    pid_t victim;
    snprintf(p->home, sizeof p->home, "%s", home);
    snprintf(remove, sizeof remove, "rm -rf '%s/%s'", p->folder, home);
    assert_int_equal(system(remove), 0);
    snprintf(line, sizeof line, "%s --threads 2", command);
    program_start(p, line);
    snprintf(mark, sizeof mark, "\n %-12s started", stage);
    if (!program_await(p, mark, 60)) {
        fail_msg("'%s' was not seen in: %s %s", mark, p->out, p->err);
    }
    usleep(after);
    victim = worker ? program_worker(p) : p->pid;
    if (victim > 0) {
        (void)kill(victim, SIGKILL);
    }
    (void)program_wait(p);
    same(p, id, home, "--threads 2");
    return strstr(p->out, mark) != NULL; /* it ran again: it had not finished */
}

/* The same, sooner and sooner until it falls inside the stage on this machine. */
static void killed(program *p, const char *id, const char *home, const char *stage, bool worker,
                   unsigned after) {
    int tries;
    for (tries = 0; tries < 6; tries++, after /= 2) {
        if (kill_once(p, id, home, stage, worker, after)) {
            return;
        }
    }
    fail_msg("no kill fell inside %s", stage);
}

static void prepare(program *p) {
    char whole[PATH_MAX] = "builtin:tiny-chat"; /* where there are no assets */
    if (!asset_missing("models/tinytalk-3m-chat/config.json")) {
        assert_non_null(realpath(asset_path("models/tinytalk-3m-chat"), whole));
    }
    command = malloc(strlen(whole) + 64);
    assert_non_null(command);
    sprintf(command, "run same.lua --set model=%s", whole);
    program_write(p, "same.lua", recipe);
    program_write(p, "kind.json", kind);
}

static void test_same_bits(void **state) {
    static const char *const sets[] = {"avx2", "avx512", "avx512-bf16"};
    program *p = *state;
    char *id, *usable;
    size_t i;
    prepare(p);
    id = run_fresh(p, "home-1", "--threads 1");
    same(p, id, "home-2", "--threads 2");
    strcpy(p->home, "home-1");
    assert_int_equal(program_run(p, "selftest --kernels"), 0);
    usable = strdup(p->out);
    assert_non_null(usable);
    for (i = 0; i < 3; i++) {
        char line[32], home[32];
        snprintf(line, sizeof line, "%-12s here", sets[i]);
        if (strstr(usable, line) == NULL) {
            print_message("skipped: this CPU has no %s\n", sets[i]);
            continue;
        }
        snprintf(home, sizeof home, "home-%s", sets[i]);
        setenv("TEMPER_KERNELS", sets[i], 1);
        same(p, id, home, "--threads 2");
        unsetenv("TEMPER_KERNELS");
    }
    free(usable);
    killed(p, id, "home-k1", "respond", false, 120000);
    killed(p, id, "home-k2", "respond", true, 120000);
    killed(p, id, "home-k3", "dpo", false, 120000);
    killed(p, id, "home-k4", "dpo", true, 120000);
    free(id);
    free(command);
}

/* Every set against every thread count, the specification itself among them, and kills all over two stages. */
static void test_matrix(void **state) {
    static const char *const sets[] = {"scalar", "avx2", "avx512", "avx512-bf16"};
    static const char *const threads[] = {"--threads 1 --set size=2", "--threads 2 --set size=2",
                                          "--threads 8 --set size=2"};
    program *p = *state;
    char *id, *usable, home[32], line[32];
    size_t i, j;
    prepare(p);
    id = run_fresh(p, "small", "--set size=2");
    assert_int_equal(program_run(p, "selftest --kernels"), 0);
    usable = strdup(p->out);
    assert_non_null(usable);
    for (i = 0; i < 4; i++) {
        snprintf(line, sizeof line, "%-12s here", sets[i]);
        if (strstr(usable, line) == NULL) {
            print_message("skipped: this CPU has no %s\n", sets[i]);
            continue;
        }
        for (j = 0; j < 3; j++) {
            snprintf(home, sizeof home, "small-%s-%zu", sets[i], j);
            setenv("TEMPER_KERNELS", sets[i], 1);
            same(p, id, home, threads[j]);
            unsetenv("TEMPER_KERNELS");
            print_message("%s, %s: %s\n", sets[i], threads[j], id);
        }
    }
    free(usable);
    free(id);
    id = run_fresh(p, "whole", "--threads 2");
    for (i = 0; i < 16; i++) {
        const char *stage = i % 2 == 0 ? "respond" : "dpo";
        snprintf(home, sizeof home, "killed-%zu", i);
        killed(p, id, home, stage, i % 4 < 2, (unsigned)(20000 + i / 4 * 60000));
        print_message("killed in %s, %s: %s\n", stage, i % 4 < 2 ? "worker" : "program", id);
    }
    free(id);
    free(command);
}

int main(int count, char **arguments) {
    const struct CMUnitTest quick[] = {
        cmocka_unit_test_setup_teardown(test_same_bits, program_setup, program_teardown)};
    const struct CMUnitTest matrix[] = {
        cmocka_unit_test_setup_teardown(test_matrix, program_setup, program_teardown)};
    if (count > 1 && strcmp(arguments[1], "matrix") == 0) {
        return cmocka_run_group_tests_name("same bits, the matrix", matrix, NULL, NULL);
    }
    return cmocka_run_group_tests_name("same bits", quick, NULL, NULL);
}
