/* test_train_kill.c: training that is killed at random moments and run again goes on from its checkpoint and ends in the
 * run id of one that was never disturbed. With the argument `long`: up to twenty kills of each method, else three. */
#include "program.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int kills = 3;

static const char *const trained[] = {
    "finetune.sft { model = made.model, records = temper.records \"rows.jsonl\", held_out = temper.records "
    "\"rows.jsonl\", batch = 24, eval_steps = 7, keep = \"best\", steps = ",
    "finetune.dpo { model = made.model, pairs = temper.records \"pairs.jsonl\", batch = 24, rpo_alpha = 0.1, "
    "lora = { rank = 4 }, steps = "};

static void write_data(const program *p) {
    char rows[8192] = "", pairs[8192] = "";
    for (int i = 0; i < 24; i++) {
        snprintf(rows + strlen(rows), 200,
                 "{\"prompt\":\"what comes after %d?\",\"completion\":\"%d comes then\"}\n", i, i + 1);
        snprintf(pairs + strlen(pairs), 250,
                 "{\"prompt\":\"say %d\",\"chosen\":\"with pleasure: %d\",\"rejected\":\"no, not %d\"}\n", i,
                 i, i);
    }
    program_write(p, "rows.jsonl", rows);
    program_write(p, "pairs.jsonl", pairs);
}

static void write_recipe(const program *p, size_t method, int steps) {
    char recipe[1024];
    snprintf(
        recipe, sizeof recipe,
        "local temper = require \"temper\"\nlocal finetune = temper.plugin \"finetune\"\n"
        "local made = finetune.init { layers = 2, hidden = 48, intermediate = 96, heads = 3, context = 64 }\n"
        "local tuned = %s%d }\nreturn { model = tuned.model, log = tuned.log }\n",
        trained[method], steps);
    program_write(p, "train.lua", recipe);
}

static void pause_for(double seconds) {
    struct timespec time = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&time, NULL);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void killed_and_gone_on(program *p, size_t method) {
    int steps = kills > 3 ? 700 : 120, done = 0, tries = 0;
    write_data(p);
    write_recipe(p, method, steps);
    strcpy(p->home, "undisturbed");
    double began = now();
    assert_int_equal(program_run(p, "run train.lua --threads 1"), 0);
    double whole = now() - began;
    char *wanted = program_word(p, "run");
    strcpy(p->home, "home");
    setenv("TEMPER_CHECKPOINT_SECONDS", "0", 1);
    srand((unsigned)getpid());
    bool went_on = false;
    while (done < kills && tries++ < 4 * kills) {
        program_start(p, "run train.lua --threads 2");
        pause_for(whole * (0.3 + 0.7 * (double)rand() / RAND_MAX) / (kills > 3 ? 5 : 2));
        pid_t worker = done % 2 ? program_worker(p) : 0;
        kill(worker > 0 ? worker : p->pid, SIGKILL);
        int code = program_wait(p);
        went_on = went_on || strstr(p->err, "goes on after step") != NULL ||
                  strstr(p->out, "goes on after step") != NULL;
        if (code == 0) {
            break; /* it was through before the blow */
        }
        done++;
    }
    assert_int_equal(program_run(p, "run train.lua --threads 2"), 0);
    went_on = went_on || strstr(p->err, "goes on after step") != NULL ||
              strstr(p->out, "goes on after step") != NULL;
    unsetenv("TEMPER_CHECKPOINT_SECONDS");
    char *found = program_word(p, "run");
    assert_string_equal(wanted, found);
    if (done == 0 || !went_on) {
        fail_msg("%d kills, and nothing was gone on from: %s%s", done, p->out, p->err);
    }
    print_message("%d kills\n", done);
    char left[160];
    snprintf(left, sizeof left, "test -z \"$(ls -A '%s/%s/checkpoints')\"", p->folder, p->home);
    assert_int_equal(system(left), 0); /* nothing is left behind */
    free(wanted);
    free(found);
}

static void sft(void **state) {
    killed_and_gone_on(*state, 0);
}

static void dpo(void **state) {
    killed_and_gone_on(*state, 1);
}

int main(int argc, char **argv) {
    kills = argc > 1 && strcmp(argv[1], "long") == 0 ? 20 : kills;
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(sft, program_setup, program_teardown),
                                       cmocka_unit_test_setup_teardown(dpo, program_setup, program_teardown)};
    return cmocka_run_group_tests_name("train-kill", tests, NULL, NULL);
}
