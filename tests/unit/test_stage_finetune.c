/* test_stage_finetune.c: a model made, trained and preferred, through the plugin's stages, with real files. */
#include "fake_host.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const char chat[] =
    "{% for message in messages %}{% if message['role'] == 'system' %}<|system|>{% elif message['role'] == "
    "'user' %}"
    "<|user|>{% else %}<|assistant|>{% endif %}{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}";
static const char chat_without_system[] = "{% for message in messages %}{% if message['role'] == 'user' "
                                          "%}<|user|>{% else %}<|assistant|>{% endif %}"
                                          "{{ message['content'] }}<|end|>{% endfor %}";
static const char chat_without_end[] =
    "{% for message in messages %}<|user|>{{ message['content'] }}{% endfor %}";

#define INIT                                                                                                 \
    "{\"layers\":2,\"hidden\":16,\"intermediate\":32,\"heads\":2,\"context\":64,"                            \
    "\"special\":[\"<|system|>\",\"<|user|>\",\"<|assistant|>\",\"<|end|>\"]}"

static const char rows[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"ahoy\"}]}\n"
    "{\"prompt\":\"what now?\",\"completion\":\"sail on\"}\n"
    "{\"prompt\":[{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"and?\"}],"
    "\"completion\":[{\"role\":\"assistant\",\"content\":\"no\"}]}\n"
    "{\"text\":\"the sea is wide\"}\n"
    "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},"
    "{\"role\":\"user\",\"content\":\"c\"},{\"role\":\"assistant\",\"content\":\"d\"}]}\n";
static const char held_out[] = "{\"prompt\":\"hi\",\"completion\":\"ahoy\"}\n";
static const char pairs[] =
    "{\"prompt\":\"hi\",\"chosen\":\"ahoy\",\"rejected\":\"good morning\"}\n"
    "{\"prompt\":[{\"role\":\"user\",\"content\":\"hi\"}],\"chosen\":[{\"role\":\"assistant\",\"content\":"
    "\"arr\"}],"
    "\"rejected\":[{\"role\":\"assistant\",\"content\":\"yes\"}]}\n"
    "{\"chosen\":[{\"role\":\"user\",\"content\":\"so\"},{\"role\":\"assistant\",\"content\":\"arr!\"}],"
    "\"rejected\":[{\"role\":\"user\",\"content\":\"so\"},{\"role\":\"assistant\",\"content\":\"fine\"}]}\n"
    "{\"system\":\"short\",\"prompt\":\"hm\",\"chosen\":\"aye\",\"rejected\":\"ok\"}\n";

static void run_ok(fake_host *host, const char *stage, const char *parameters) {
    temper_error error = TEMPER_ERROR_INIT;
    if (fake_host_run(host, fake_host_stage(FINETUNE_PLUGIN, stage), parameters, &error)) {
        fail_msg("%s: %s", stage, error.message);
    }
    assert_int_equal(fake_host_blocks(host), 0);
}

static void run_fails(fake_host *host, const char *stage, const char *parameters, temper_status wanted,
                      const char *part) {
    temper_error error = TEMPER_ERROR_INIT;
    temper_status status = fake_host_run(host, fake_host_stage(FINETUNE_PLUGIN, stage), parameters, &error);
    if (status != wanted || strstr(error.message, part) == NULL) {
        fail_msg("%s: status %d, \"%s\" is not in \"%s\"", stage, (int)status, part, error.message);
    }
    assert_int_equal(fake_host_blocks(host), 0);
}

static fake_folder *make_model(const char *template) {
    fake_host *host = fake_host_new();
    if (template != NULL) {
        fake_host_text(host, "chat_template", template);
    }
    run_ok(host, "init", INIT);
    fake_folder *folder = fake_host_take_folder(host, "model");
    fake_host_free(host);
    return folder;
}

static fake_host *host_with(const fake_folder *model, const char *input, const char *records) {
    fake_host *host = fake_host_new();
    fake_host_folder(host, "model", model);
    fake_host_records(host, input, records);
    return host;
}

static void same_file(const fake_folder *a, const fake_folder *b, const char *name) {
    size_t a_length = 0, b_length = 0;
    const char *a_data = fake_folder_file(a, name, &a_length), *b_data = fake_folder_file(b, name, &b_length);
    assert_non_null(a_data);
    assert_non_null(b_data);
    assert_int_equal(a_length, b_length);
    assert_memory_equal(a_data, b_data, a_length);
}

/* --- init --- */

static void init_writes_a_folder(void **state) {
    (void)state;
    fake_folder *a = make_model(chat), *b = make_model(chat);
    static const char *const names[] = {"config.json", "generation_config.json", "model.safetensors",
                                        "tokenizer.json", "tokenizer_config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        same_file(a, b, names[i]);
    }
    assert_non_null(strstr(fake_folder_file(a, "config.json", NULL), "\"vocab_size\": 260"));
    assert_non_null(strstr(fake_folder_file(a, "config.json", NULL), "\"eos_token_id\": 259"));
    assert_non_null(strstr(fake_folder_file(a, "tokenizer_config.json", NULL), "<|end|>"));
    fake_folder_free(a);
    fake_folder_free(b);
}

static void init_refuses(void **state) {
    (void)state;
    fake_host *host = fake_host_new();
#define SHAPE "\"layers\":1,\"intermediate\":8,\"context\":16"
    run_fails(host, "init", "{" SHAPE ",\"hidden\":18,\"heads\":4}", TEMPER_INVALID, "18 over 4 heads");
    run_fails(host, "init", "{" SHAPE ",\"hidden\":16,\"heads\":4,\"kv_heads\":3}", TEMPER_INVALID,
              "3 kv_heads");
    run_fails(host, "init", "{" SHAPE ",\"hidden\":16,\"heads\":4,\"eos\":\"x\"}", TEMPER_INVALID, "\"x\"");
    run_fails(host, "init", "{" SHAPE ",\"hidden\":16,\"heads\":4,\"special\":[\"a\",\"a\"]}", TEMPER_INVALID,
              "twice");
    run_fails(host, "init", "{" SHAPE ",\"hidden\":16,\"heads\":4,\"special\":[]}", TEMPER_INVALID,
              "special");
    fake_host_text(host, "chat_template", "{% include 'x' %}");
    run_fails(host, "init", INIT, TEMPER_UNSUPPORTED, "include");
    fake_host_free(host);
}

/* --- sft --- */

static void sft_learns(void **state) {
    (void)state;
    fake_folder *model = make_model(chat);
    fake_host *host = host_with(model, "records", rows);
    fake_host_records(host, "held_out", held_out);
    run_ok(host, "sft",
           "{\"steps\":60,\"batch\":3,\"learning_rate\":0.02,\"warmup\":4,\"weight_decay\":0.01}");
    assert_int_equal(fake_host_count(host, "log"), 60);
    assert_true(fake_host_number(host, "log", 0, "step") == 1);
    assert_true(fabs(fake_host_number(host, "log", 0, "learning_rate") - 0.005) < 1e-12);
    double first = fake_host_number(host, "metrics", 0, "loss_first");
    assert_true(fabs(first - log(260)) < 0.2);
    assert_true(fake_host_number(host, "metrics", 0, "loss_last") < 0.5 * first);
    assert_true(fake_host_number(host, "metrics", 0, "held_out_loss_after") <
                0.5 * fake_host_number(host, "metrics", 0, "held_out_loss_before"));
    assert_true(fake_host_number(host, "metrics", 0, "held_out_tokens") == 5); /* ahoy and the end token */
    assert_true(fake_host_number(host, "metrics", 0, "rows") == 5);
    assert_true(fake_host_number(host, "metrics", 0, "rows_truncated") == 0);
    fake_folder *trained = fake_host_take_folder(host, "model");
    same_file(model, trained, "tokenizer.json");
    same_file(model, trained, "tokenizer_config.json");
    same_file(model, trained, "generation_config.json");
    assert_non_null(fake_folder_file(trained, "model.safetensors", NULL));
    /* one epoch: each row once, 2 steps of 3 and 2 rows */
    run_ok(host, "sft", "{\"batch\":3,\"dtype\":\"bf16\"}");
    assert_int_equal(fake_host_count(host, "log"), 2);
    double tokens = fake_host_number(host, "log", 0, "tokens") + fake_host_number(host, "log", 1, "tokens");
    assert_true(tokens == 5 + 8 + 3 + 15 + 4); /* text: all but its first byte, and the end token */
    fake_folder *half = fake_host_take_folder(host, "model");
    size_t full_size, half_size;
    fake_folder_file(trained, "model.safetensors", &full_size);
    fake_folder_file(half, "model.safetensors", &half_size);
    assert_true(half_size < 0.6 * (double)full_size);
    assert_non_null(strstr(fake_folder_file(half, "config.json", NULL), "bfloat16"));
    fake_host_free(host);
    fake_folder_free(half);
    fake_folder_free(trained);
    fake_folder_free(model);
}

/* The same files whatever order workers take, in both profiles; another seed gives others. */
static void same_bits(void **state) {
    (void)state;
    fake_folder *model = make_model(chat);
    static const char *const profiles[] = {"f32/1", "bf16/1"};
    for (size_t i = 0; i < 2; i++) {
        fake_folder *found[3];
        for (size_t turn = 0; turn < 3; turn++) {
            fake_host *host = host_with(model, "records", rows);
            fake_host_profile(host, profiles[i]);
            if (turn == 1) {
                fake_host_backwards(host);
            }
            fake_host_seed(host, turn == 2);
            run_ok(host, "sft", "{\"steps\":3,\"batch\":2,\"learning_rate\":0.02}");
            found[turn] = fake_host_take_folder(host, "model");
            fake_host_free(host);
        }
        same_file(found[0], found[1], "model.safetensors");
        size_t length;
        const char *a = fake_folder_file(found[0], "model.safetensors", &length),
                   *b = fake_folder_file(found[2], "model.safetensors", NULL);
        assert_memory_not_equal(a, b, length);
        for (size_t turn = 0; turn < 3; turn++) {
            fake_folder_free(found[turn]);
        }
    }
    fake_folder_free(model);
}

static void sft_refuses(void **state) {
    (void)state;
    fake_folder *model = make_model(chat), *raw = make_model(NULL), *endless = make_model(chat_without_end);
    fake_host *host = host_with(
        model, "records", "{\"text\":\"ab\"}\n{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}\n");
    run_fails(host, "sft", "{}", TEMPER_INVALID, "records, record 2: it trains no token");
    fake_host_profile(host, "q8/1");
    run_fails(host, "sft", "{}", TEMPER_UNSUPPORTED, "8-bit weights cannot be trained");
    fake_host_profile(host, "f32/1");
    run_ok(host, "sft", "{\"allow_untrained\":true}");
    assert_true(fake_host_number(host, "metrics", 0, "rows_untrained") == 1);
    fake_host_records(host, "records", "{\"text\":\"a\"}\n{\"texts\":\"a\"}\n");
    run_fails(host, "sft", "{}", TEMPER_INVALID, "record 2: it has none of");
    fake_host_records(host, "records", "{\"messages\":[{\"role\":\"user\"}]}\n");
    run_fails(host, "sft", "{}", TEMPER_INVALID, "message 1 of \"messages\"");
    fake_host_records(host, "records", "{\"system\":[],\"prompt\":\"a\",\"completion\":\"b\"}\n");
    run_fails(host, "sft", "{}", TEMPER_INVALID, "record 1: \"system\" must be a string");
    fake_host_records(host, "records", "{\"system\":\"s\",\"prompt\":\"a\",\"completion\":\"b\"}\n");
    run_fails(host, "sft", "{\"format\":\"raw\"}", TEMPER_INVALID, "\"system\" has no place");
    fake_host_records(host, "records", "");
    run_fails(host, "sft", "{}", TEMPER_INVALID, "no records");
    fake_host_records(host, "records", rows);
    run_fails(host, "sft", "{\"lora.rank\":2,\"lora.targets\":[\"c_attn\"]}", TEMPER_INVALID, "q_proj");
    run_fails(host, "sft", "{\"format\":\"raw\"}", TEMPER_INVALID, "record 3");
    fake_host_cancel(host);
    run_fails(host, "sft", "{}", TEMPER_CANCELLED, "step");
    fake_host_free(host);

    host = host_with(raw, "records", "{\"prompt\":\"a\",\"completion\":\"bc\"}\n");
    run_ok(host, "sft", "{}"); /* without a template strings are raw text */
    assert_true(fake_host_number(host, "metrics", 0, "tokens_trained") == 3);
    run_fails(host, "sft", "{\"format\":\"chat\"}", TEMPER_INVALID, "no chat template");
    fake_host_records(host, "records", rows);
    run_fails(host, "sft", "{}", TEMPER_INVALID, "record 1");
    fake_host_free(host);

    host = host_with(endless, "records", "{\"prompt\":\"a\",\"completion\":\"bc\"}\n");
    run_fails(host, "sft", "{}", TEMPER_INVALID, "no end token");
    run_ok(host, "sft", "{\"allow_unterminated\":true}");
    fake_host_free(host);
    fake_folder_free(model);
    fake_folder_free(raw);
    fake_folder_free(endless);
}

/* Cut rows are counted; a template without a system role gets the instruction in the user's turn. */
static void lengths_and_instructions(void **state) {
    (void)state;
    fake_folder *model = make_model(chat), *plain = make_model(chat_without_system);
    fake_host *host = host_with(model, "records", "{\"prompt\":\"0123456789\",\"completion\":\"abcdef\"}\n");
    run_ok(host, "sft",
           "{\"max_length\":16}"); /* user + 10 + end + assistant + abc: 3 of 7 trained tokens are left */
    assert_true(fake_host_number(host, "metrics", 0, "rows_truncated") == 1);
    assert_true(fake_host_number(host, "metrics", 0, "tokens_truncated") == 4);
    assert_true(fake_host_number(host, "metrics", 0, "tokens_trained") == 3);
    run_ok(host, "sft", "{\"train_on\":\"all\"}");
    assert_true(fake_host_number(host, "metrics", 0, "tokens_trained") == 19);
    fake_host_records(host, "records", "{\"system\":\"be kind\",\"prompt\":\"hi\",\"completion\":\"yo\"}\n");
    run_ok(host, "sft", "{\"train_on\":\"all\"}");
    assert_true(fake_host_number(host, "metrics", 0, "tokens_trained") == 9 + 4 + 3 + 1 - 1);
    fake_host_free(host);
    host = host_with(plain, "records", "{\"system\":\"be kind\",\"prompt\":\"hi\",\"completion\":\"yo\"}\n");
    run_ok(host, "sft", "{\"train_on\":\"all\"}"); /* be kind, an empty line, hi: one turn */
    assert_true(fake_host_number(host, "metrics", 0, "tokens_trained") == 1 + 7 + 2 + 2 + 1 + 4 - 1);
    fake_host_free(host);
    fake_folder_free(model);
    fake_folder_free(plain);
}

/* --- dpo --- */

static void dpo_prefers(void **state) {
    (void)state;
    fake_folder *model = make_model(chat);
    fake_host *host = host_with(model, "pairs", pairs);
    run_ok(host, "dpo", "{\"steps\":100,\"batch\":4,\"learning_rate\":0.03,\"lora.rank\":4,\"rpo_alpha\":0}");
    assert_int_equal(fake_host_count(host, "log"), 100);
    assert_true(fake_host_number(host, "log", 0, "loss") == 0.69314718055994530942);
    assert_true(fake_host_number(host, "log", 0, "rewards/margins") == 0);
    assert_true(fake_host_number(host, "log", 99, "rewards/accuracies") == 1);
    assert_true(fake_host_number(host, "log", 99, "loss") < 0.6); /* the small embedding bounds every logit */
    assert_true(fake_host_number(host, "metrics", 0, "accuracy") == 1);
    assert_true(fake_host_number(host, "metrics", 0, "pairs") == 4);
    fake_folder *tuned = fake_host_take_folder(host, "model");
    size_t length;
    assert_non_null(strstr(fake_folder_file(tuned, "adapter_config.json", NULL), "q_proj"));
    assert_non_null(fake_folder_file(tuned, "adapter_model.safetensors", &length));
    const char *base = fake_folder_file(tuned, "base/model.safetensors", &length);
    assert_non_null(base);
    assert_memory_equal(base, fake_folder_file(model, "model.safetensors", NULL), length);
    fake_host_try_backwards(host, fake_host_stage(FINETUNE_PLUGIN, "dpo"), "{\"batch\":2,\"lora.rank\":2}");
    fake_host_folder(host, "model", tuned);
    run_fails(host, "dpo", "{}", TEMPER_UNSUPPORTED, "adapter");
    fake_host_folder(host, "model", model);
    fake_host_records(host, "pairs", "{\"prompt\":\"a\",\"chosen\":\"b\"}\n");
    run_fails(host, "dpo", "{}", TEMPER_INVALID, "record 1: it has no \"rejected\"");
    fake_host_free(host);
    fake_folder_free(tuned);
    fake_folder_free(model);
}

/* Whatever allocation of the host is refused first. */
static void short_of_memory(void **state) {
    (void)state;
    fake_folder *model = make_model(chat);
    fake_host *host = host_with(model, "records", rows);
    fake_host_records(host, "held_out", held_out);
    fake_host_try_allocations(host, fake_host_stage(FINETUNE_PLUGIN, "sft"), "{\"steps\":1}");
    fake_host_free(host);
    fake_folder_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_writes_a_folder), cmocka_unit_test(init_refuses),
        cmocka_unit_test(sft_learns),           cmocka_unit_test(same_bits),
        cmocka_unit_test(sft_refuses),          cmocka_unit_test(lengths_and_instructions),
        cmocka_unit_test(dpo_prefers),          cmocka_unit_test(short_of_memory)};
    return cmocka_run_group_tests_name("finetune", tests, NULL, NULL);
}
