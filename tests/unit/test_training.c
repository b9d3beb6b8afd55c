/* test_training.c: what all training stages promise: stopped at any step and gone on from a checkpoint, or with references
 * from a file, they end in the same bits; every preference method learns its preference; parameters that mean nothing
 * where they stand are refused. */
#include "fake_host.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const char chat[] =
    "{% for message in messages %}{% if message['role'] == 'user' %}<|user|>{% else %}<|assistant|>{% endif "
    "%}"
    "{{ message['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
#define INIT                                                                                                 \
    "{\"layers\":2,\"hidden\":16,\"intermediate\":32,\"heads\":2,\"context\":64,"                            \
    "\"special\":[\"<|user|>\",\"<|assistant|>\",\"<|end|>\"]}"

static const char rows[] =
    "{\"prompt\":\"what now?\",\"completion\":\"sail on\"}\n"
    "{\"text\":\"the sea is wide\"}\n"
    "{\"prompt\":\"hi\",\"completion\":\"ahoy\"}\n"
    "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":"
    "\"b\"},{\"role\":\"user\",\"content\":\"c\"},{\"role\":\"assistant\",\"content\":\"dd\"}]}\n"
    "{\"prompt\":\"and?\",\"completion\":\"no\"}\n";
static const char held_rows[] = "{\"prompt\":\"so?\",\"completion\":\"ahoy\"}\n{\"text\":\"the sea\"}\n";
static const char pairs[] =
    "{\"prompt\":\"hi\",\"chosen\":\"ahoy\",\"rejected\":\"good morning\",\"margin\":0.1}\n"
    "{\"prompt\":\"hm\",\"chosen\":\"aye\",\"rejected\":\"ok\"}\n"
    "{\"prompt\":\"so\",\"chosen\":\"arr!\",\"rejected\":\"fine\"}\n"
    "{\"prompt\":\"and now?\",\"chosen\":\"we sail\",\"rejected\":\"nothing at all\"}\n";
static const char held_pairs[] = "{\"prompt\":\"well\",\"chosen\":\"aye aye\",\"rejected\":\"yes\"}\n";
static const char labelled[] = "{\"prompt\":\"hi\",\"completion\":\"ahoy\",\"label\":true}\n"
                               "{\"prompt\":\"hi\",\"completion\":\"good morning\",\"label\":false}\n"
                               "{\"prompt\":\"so\",\"completion\":\"arr!\",\"label\":true}\n"
                               "{\"prompt\":\"hm\",\"completion\":\"ok\",\"label\":false}\n";

static fake_folder *make_model(void) {
    fake_host *host = fake_host_new();
    temper_error error = TEMPER_ERROR_INIT;
    fake_host_text(host, "chat_template", chat);
    if (fake_host_run(host, fake_host_stage(FINETUNE_PLUGIN, "init"), INIT, &error)) {
        fail_msg("%s", error.message);
    }
    fake_folder *folder = fake_host_take_folder(host, "model");
    fake_host_free(host);
    return folder;
}

static temper_status run(fake_host *host, const char *stage, const char *parameters, temper_error *error) {
    return fake_host_run(host, fake_host_stage(FINETUNE_PLUGIN, stage), parameters, error);
}

static void run_ok(fake_host *host, const char *stage, const char *parameters) {
    temper_error error = TEMPER_ERROR_INIT;
    if (run(host, stage, parameters, &error)) {
        fail_msg("%s: %s", stage, error.message);
    }
    assert_int_equal(fake_host_blocks(host), 0);
}

static void run_fails(fake_host *host, const char *stage, const char *parameters, const char *part) {
    temper_error error = TEMPER_ERROR_INIT;
    temper_status status = run(host, stage, parameters, &error);
    if (status != TEMPER_INVALID || strstr(error.message, part) == NULL) {
        fail_msg("%s: status %d, \"%s\" is not in \"%s\"", stage, (int)status, part, error.message);
    }
    assert_int_equal(fake_host_blocks(host), 0);
}

/* What a run made: its log, its metrics, its weights. */
typedef struct made {
    char *log, *metrics;
    fake_folder *model;
} made;

static made take(fake_host *host) {
    return (made){strdup(fake_host_output(host, "log")), strdup(fake_host_output(host, "metrics")),
                  fake_host_take_folder(host, "model")};
}

static void drop(made *self) {
    free(self->log);
    free(self->metrics);
    fake_folder_free(self->model);
}

static void same(const char *what, const made *a, const made *b, bool full) {
    const char *file = full ? "model.safetensors" : "adapter_model.safetensors";
    size_t a_length = 0, b_length = 0;
    const char *x = fake_folder_file(a->model, file, &a_length),
               *y = fake_folder_file(b->model, file, &b_length);
    if (strcmp(a->log, b->log) != 0 || strcmp(a->metrics, b->metrics) != 0) {
        fail_msg("%s: other numbers:\n%s%s\n%s%s", what, a->log, a->metrics, b->log, b->metrics);
    }
    assert_non_null(x);
    assert_true(a_length == b_length && memcmp(x, y, a_length) == 0);
}

typedef struct method {
    const char *stage, *parameters;
    bool full;
} method;

#define LORA "\"batch\":3,\"learning_rate\":0.02,\"epochs\":4,\"lora.rank\":2,\"eval_steps\":2"
#define FULL "\"batch\":3,\"learning_rate\":0.02,\"epochs\":4,\"lora.rank\":0,\"eval_steps\":2"
static const method methods[] = {
    {"sft", "{" FULL ",\"keep\":\"best\"}", true},
    {"sft", "{" LORA ",\"optimizer\":\"lion\",\"packing\":true,\"max_length\":20}", false},
    {"sft", "{" FULL ",\"optimizer\":\"sgd\",\"dtype\":\"bf16\",\"weight_decay\":0.1}", true},
    {"dpo", "{" LORA ",\"rpo_alpha\":0.2}", false},
    {"dpo", "{" LORA ",\"kl_alpha\":0.1,\"loss_type\":\"ipo\"}", false},
    {"dpo", "{" FULL ",\"loss_type\":\"apo_zero\",\"length_normalized\":true}", true},
    {"cpo", "{" LORA ",\"loss_type\":\"simpo\",\"label_smoothing\":0.1}", false},
    {"simpo", "{" LORA "}", false},
    {"orpo", "{" LORA "}", false},
    {"kto", "{" LORA ",\"desirable_weight\":1.3}", false},
    {"kto", "{" LORA ",\"loss_type\":\"apo_zero_unpaired\"}", false},
};

static fake_host *host_for(const fake_folder *model, const char *stage) {
    fake_host *host = fake_host_new();
    fake_host_folder(host, "model", model);
    if (strcmp(stage, "sft") == 0) {
        fake_host_records(host, "records", rows);
        fake_host_records(host, "held_out", held_rows);
    } else if (strcmp(stage, "kto") == 0) {
        fake_host_records(host, "records", labelled);
        fake_host_records(host, "held_out", labelled);
    } else {
        fake_host_records(host, "pairs", pairs);
        fake_host_records(host, "held_out", held_pairs);
    }
    return host;
}

/* Stopped after every number of questions whether to stop, again and again, until it is through. */
static void goes_on(void **state) {
    fake_folder *model = make_model();
    (void)state;
    for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
        const method *of = &methods[m];
        fake_host *host = host_for(model, of->stage);
        run_ok(host, of->stage, of->parameters);
        made whole = take(host);
        fake_host_keep_checkpoints(host, true);
        temper_status status;
        size_t stops = 0;
        do {
            temper_error error = TEMPER_ERROR_INIT;
            fake_host_cancel_after(host, 5 + (long)(stops % 3));
            status = run(host, of->stage, of->parameters, &error);
            if (status && (status != TEMPER_CANCELLED || stops > 40)) {
                fail_msg("%s: %s", of->stage, error.message);
            }
            stops += status != TEMPER_OK;
        } while (status);
        if (stops < 2) {
            fail_msg("%s %s was stopped %zu times", of->stage, of->parameters, stops);
        }
        made parts = take(host);
        same(of->parameters, &whole, &parts, of->full);
        drop(&parts);
        drop(&whole);
        fake_host_free(host);
    }
    fake_folder_free(model);
}

/* A checkpoint of something else, cut short or damaged, is not gone on from. */
static void checkpoints_that_do_not_fit(void **state) {
    fake_folder *model = make_model();
    fake_host *host = host_for(model, "sft");
    temper_error error = TEMPER_ERROR_INIT;
    size_t length;
    (void)state;
    run_ok(host, "sft", methods[0].parameters);
    made whole = take(host);
    fake_host_keep_checkpoints(host, true);
    fake_host_cancel_after(host, 6);
    assert_int_equal(run(host, "sft", methods[0].parameters, &error), TEMPER_CANCELLED);
    char *bytes = fake_host_checkpoint(host, &length);
    assert_non_null(bytes);
    for (size_t at = 0; at < 32; at += 4) { /* magic, step, tokens, lengths */
        fake_host_keep_checkpoints(host, true);
        fake_host_cancel_after(host, 6);
        assert_int_equal(run(host, "sft", methods[0].parameters, &error), TEMPER_CANCELLED);
        bytes = fake_host_checkpoint(host, &length);
        bytes[at < 16 ? at % 8 : 8 + at] ^= 0x40;
        fake_host_cancel_after(host, -1);
        if (at < 16) { /* elsewhere it may fit by chance: the host verifies what it gives back */
            run_ok(host, "sft", methods[0].parameters);
            made again = take(host);
            same("damaged", &whole, &again, true);
            drop(&again);
        } else {
            (void)run(host, "sft", methods[0].parameters, &error);
        }
    }
    /* another method's */
    fake_host_keep_checkpoints(host, true);
    fake_host_cancel_after(host, 6);
    assert_int_equal(run(host, "sft", methods[1].parameters, &error), TEMPER_CANCELLED);
    fake_host_cancel_after(host, -1);
    run_ok(host, "sft", methods[0].parameters);
    made again = take(host);
    same("another's", &whole, &again, true);
    drop(&again);
    drop(&whole);
    fake_host_free(host);
    fake_folder_free(model);
}

/* References from finetune.reference, or asked of the base: one result. */
static void references(void **state) {
    static const struct {
        const char *stage, *parameters, *asked;
    } cases[] = {{"dpo", "{\"epochs\":3,\"batch\":2,\"lora.rank\":2,\"learning_rate\":0.02}", "{}"},
                 {"dpo", "{\"epochs\":3,\"batch\":2,\"lora.rank\":2,\"learning_rate\":0.02,\"kl_alpha\":0.1}",
                  "{\"per_token\":true}"},
                 {"kto", "{\"epochs\":3,\"batch\":2,\"lora.rank\":2,\"learning_rate\":0.02}", "{}"}};
    fake_folder *model = make_model();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int bf16 = 0; bf16 < 2; bf16++) {
            bool kto = strcmp(cases[i].stage, "kto") == 0;
            const char *input = kto ? "records" : "pairs", *data = kto ? labelled : pairs;
            fake_host *host = fake_host_new();
            fake_host_profile(host, bf16 ? "bf16/1" : "f32/1");
            fake_host_folder(host, "model", model);
            fake_host_records(host, input, data);
            run_ok(host, "reference", cases[i].asked);
            assert_int_equal(fake_host_count(host, "reference"), 4);
            char *reference = strdup(fake_host_output(host, "reference"));
            run_ok(host, cases[i].stage, cases[i].parameters);
            made fresh = take(host);
            fake_host_records(host, "reference", reference);
            run_ok(host, cases[i].stage, cases[i].parameters);
            made cached = take(host);
            same(cases[i].stage, &fresh, &cached, false);
            drop(&fresh);
            drop(&cached);
            free(reference);
            fake_host_free(host);
        }
    }
    fake_host *host = host_for(model, "dpo");
    fake_host_records(host, "reference", "{\"ref_chosen_logps\":-1,\"ref_rejected_logps\":-2}\n");
    run_fails(host, "dpo", "{}", "1 records for 4 rows");
    fake_host_records(host, "reference", "{}\n{}\n{}\n{}\n");
    run_fails(host, "dpo", "{}", "no number \"ref_chosen_logps\"");
    fake_host *asked = fake_host_new();
    fake_host_folder(asked, "model", model);
    fake_host_records(asked, "pairs", pairs);
    run_ok(asked, "reference", "{}");
    char *sums = strdup(fake_host_output(asked, "reference"));
    fake_host_free(asked);
    fake_host_records(host, "reference", sums);
    run_fails(host, "dpo", "{\"kl_alpha\":0.1}", "per_token = true");
    free(sums);
    fake_host_free(host);
    fake_folder_free(model);
}

/* Every method learns four preferences by heart. */
static void learns(void **state) {
    static const char *const losses[] = {"sigmoid",  "sigmoid_norm", "ipo",       "hinge",   "robust",
                                         "apo_zero", "apo_down",     "sppo_hard", "nca_pair"};
    static const method others[] = {
        {"cpo",
         "{\"steps\":60,\"batch\":4,\"learning_rate\":0.03,\"lora.rank\":4,\"beta\":1,"
         "\"length_normalized\":true}",
         false},
        {"simpo", "{\"steps\":60,\"batch\":4,\"learning_rate\":0.03,\"lora.rank\":4}", false},
        {"orpo", "{\"steps\":60,\"batch\":4,\"learning_rate\":0.03,\"lora.rank\":4,\"beta\":1}", false},
        {"kto", "{\"steps\":60,\"batch\":4,\"learning_rate\":0.03,\"lora.rank\":4}", false},
        {"reward", "{\"steps\":60,\"batch\":4,\"learning_rate\":0.03,\"lora.rank\":4}", false}};
    fake_folder *model = make_model();
    (void)state;
    for (size_t i = 0; i < sizeof losses / sizeof *losses + sizeof others / sizeof *others; i++) {
        size_t own = sizeof losses / sizeof *losses;
        char parameters[200];
        const char *stage = i < own ? "dpo" : others[i - own].stage;
        snprintf(parameters, sizeof parameters, "%s", i < own ? "" : others[i - own].parameters);
        if (i < own) {
            snprintf(parameters, sizeof parameters,
                     "{\"steps\":80,\"batch\":4,\"learning_rate\":0.03,"
                     "\"lora.rank\":4,\"loss_type\":\"%s\"%s}",
                     losses[i], strcmp(losses[i], "robust") == 0 ? ",\"label_smoothing\":0.1" : "");
        }
        fake_host *host = host_for(model, stage);
        run_ok(host, stage, parameters);
        double margin = fake_host_number(host, "metrics", 0, "margin");
        if (!(margin > 0.05)) {
            fail_msg("%s %s: a margin of %g", stage, parameters, margin);
        }
        if (strcmp(stage, "kto") != 0) {
            if (fake_host_number(host, "metrics", 0, "accuracy") != 1) {
                fail_msg("%s %s: accuracy %g, margin %g", stage, parameters,
                         fake_host_number(host, "metrics", 0, "accuracy"), margin);
            }
        }
        assert_true(fake_host_number(host, "metrics", 0, "loss_last") <
                    fake_host_number(host, "metrics", 0, "loss_first"));
        fake_host_free(host);
    }
    fake_folder_free(model);
}

/* The same rows in other forward passes: one result. */
static void micro_batches(void **state) {
    static const char *const sizes[] = {"0", "1", "13", "40"};
    fake_folder *model = make_model();
    made first = {0};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char parameters[128];
        fake_host *host = host_for(model, "sft");
        snprintf(parameters, sizeof parameters,
                 "{\"batch\":5,\"epochs\":3,\"gradient_shards\":2,\"micro_batch\":%s}", sizes[i]);
        run_ok(host, "sft", parameters);
        made now = take(host);
        if (i > 0) {
            same(parameters, &first, &now, true);
            drop(&now);
        } else {
            first = now;
        }
        fake_host_free(host);
    }
    drop(&first);
    fake_folder_free(model);
}

static void stops_early(void **state) {
    fake_folder *model = make_model();
    fake_host *host = host_for(model, "sft");
    (void)state;
    run_ok(host, "sft",
           "{\"steps\":200,\"batch\":5,\"learning_rate\":0.05,\"eval_steps\":5,\"patience\":3,\"keep\":"
           "\"best\"}");
    double steps = fake_host_number(host, "metrics", 0, "steps");
    assert_true(steps < 200 && steps >= 20);
    assert_true(fake_host_number(host, "metrics", 0, "best_step") == steps - 15);
    assert_true(fake_host_number(host, "metrics", 0, "held_out_loss_after") ==
                fake_host_number(host, "metrics", 0, "best_eval_loss"));
    run_ok(host, "sft", "{\"steps\":6,\"batch\":5,\"eval_steps\":2}");
    assert_true(isfinite(fake_host_number(host, "log", 5, "eval_loss")));
    assert_true(fake_host_number(host, "log", 5, "eval_loss") ==
                fake_host_number(host, "metrics", 0, "held_out_loss_after"));
    fake_host_free(host);
    fake_folder_free(model);
}

/* Text in blocks; a model from nothing learns its letters. */
static void pretrains(void **state) {
    fake_folder *model = make_model();
    fake_host *host = fake_host_new();
    char text[1200] = "";
    (void)state;
    for (size_t i = 0; i < 40; i++) {
        strcat(text, "abcdefghijklmnopqrstuvwxyz. ");
    }
    fake_host_folder(host, "model", model);
    fake_host_text(host, "text", text);
    fake_host_text(host, "held_out", "klmnopqrst");
    run_ok(host, "pretrain", "{\"steps\":150,\"batch\":4,\"block\":32,\"learning_rate\":0.02}");
    assert_true(fake_host_number(host, "metrics", 0, "rows") ==
                35); /* 1120 letters, and an end that stands alone */
    assert_true(fake_host_number(host, "metrics", 0, "held_out_loss_after") <
                0.5 * fake_host_number(host, "metrics", 0, "held_out_loss_before"));
    fake_host_text(host, "text", "");
    run_fails(host, "pretrain", "{}", "nothing to train on");
    fake_host_free(host);
    fake_folder_free(model);
}

static void refuses(void **state) {
    fake_folder *model = make_model();
    fake_host *host = host_for(model, "dpo");
    (void)state;
    run_fails(host, "dpo", "{\"loss_type\":\"ipo\",\"label_smoothing\":0.1}",
              "no meaning for loss_type \"ipo\"");
    run_fails(host, "dpo", "{\"loss_type\":\"robust\",\"label_smoothing\":0.5}", "below 0.5");
    run_fails(host, "dpo", "{\"loss_type\":\"hinge\",\"label_smoothing\":0.1}", "no meaning");
    fake_host_free(host);
    host = fake_host_new();
    fake_host_folder(host, "model", model);
    fake_host_records(host, "records", "{\"prompt\":\"a\",\"completion\":\"b\"}\n");
    run_fails(host, "kto", "{}", "\"label\" must be true or false");
    run_fails(host, "sft", "{\"keep\":\"best\"}", "need the input held_out");
    run_fails(host, "kto", "{\"batch\":1}", "\"label\"");
    fake_host_free(host);
    fake_folder_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on),       cmocka_unit_test(checkpoints_that_do_not_fit),
        cmocka_unit_test(references),    cmocka_unit_test(learns),
        cmocka_unit_test(micro_batches), cmocka_unit_test(stops_early),
        cmocka_unit_test(pretrains),     cmocka_unit_test(refuses)};
    return cmocka_run_group_tests_name("training", tests, NULL, NULL);
}
