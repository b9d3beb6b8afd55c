/* test_models.c: generate, score, chat and selftest on real models, as the first issue asks: quoted texts, quoted numbers. */
#include "../support/assets.h"
#include "program.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* The model's absolute path: the program runs in a folder of its own. */
static const char *model(const char *name) {
    static char whole[2][PATH_MAX];
    static unsigned next;
    char *out = whole[next++ % 2];
    assert_non_null(realpath(asset_path(name), out));
    return out;
}

/* `temper` with arguments that may hold blanks. */
static int run_list(program *p, const char *const *list) {
    char line[8192] = "";
    size_t i;
    for (i = 0; list[i] != NULL; i++) {
        const char *byte;
        size_t used = strlen(line);
        if (i > 0) {
            line[used++] = ' ';
        }
        for (byte = list[i]; *byte != 0 && used < sizeof line - 1; byte++) {
            line[used++] = *byte == ' ' ? '\001' : *byte; /* program.c gives blanks back */
        }
        line[used] = 0;
    }
    return program_run(p, line);
}

static void test_generate(void **state) {
    program *p = *state;
    static const char *const profiles[] = {"f32/1", "bf16/1"};
    size_t i;
    assert_int_equal(
        run_list(p, (const char *const[]){"generate", model("models/stories260K/stories260Ktok512.gguf"),
                                          "--raw", "--greedy", "--max-tokens", "64", "--prompt",
                                          "Once upon a time", NULL}),
        0);
    assert_has(p->out, ", there was a little girl named Lily. She loved to play outside in the park. One "
                       "day, she saw a big, red "
                       "ball. She wanted to play with it, but it was too high.");
    assert_true(p->out[0] == ','); /* the continuation alone */
    for (i = 0; i < 2; i++) {
        const char *chat = model("models/tinytalk-3m-chat");
        assert_int_equal(
            run_list(p, (const char *const[]){"generate", chat, "--greedy", "--profile", profiles[i],
                                              "--prompt", "I feel sad today.", NULL}),
            0);
        assert_string_equal(p->out, "What's wrong?\n");
        assert_int_equal(
            run_list(p, (const char *const[]){"generate", chat, "--greedy", "--profile", profiles[i],
                                              "--prompt", "Can you help me with my homework?", NULL}),
            0);
        assert_string_equal(p->out, "Sure, what do you need?\n");
    }
    assert_int_equal(run_list(p, (const char *const[]){"generate", "no-such-model", "--prompt", "x", NULL}),
                     1);
    assert_has(p->err, "no-such-model");
}

static double number_after(const char *text, const char *name) {
    const char *at = strstr(text, name);
    if (at == NULL) {
        fail_msg("no '%s' in: %s", name, text);
        return 0;
    }
    return strtod(at + strlen(name), NULL);
}

static void test_score(void **state) {
    program *p = *state;
    static const char *const profiles[] = {"f32/1", "bf16/1"};
    size_t i;
    for (i = 0; i < 2; i++) {
        double tokens, perplexity;
        assert_int_equal(
            run_list(p, (const char *const[]){"score", model("models/tinytalk-3m-chat"), "--data",
                                              model("models/tinytalk-3m-chat/data/chat_val.messages.jsonl"),
                                              "--max-length", "256", "--profile", profiles[i], NULL}),
            0);
        tokens = number_after(p->out, "\ntokens");
        perplexity = number_after(p->out, "perplexity");
        assert_true(tokens > 9855 * 0.99 && tokens < 9855 * 1.01);
        assert_true(perplexity > 6.24 * 0.99 && perplexity < 6.24 * 1.01);
    }
}

static void test_chat(void **state) {
    program *p = *state;
    char line[PATH_MAX + 200];
    snprintf(line, sizeof line, "chat %s --temperature 0", model("models/tinytalk-3m-chat"));
    assert_int_equal(
        program_run_with(p, line,
                         "I feel sad today.\n\n/reset\nCan you help me with my homework?\n/quit\nnot read\n"),
        0);
    assert_string_equal(p->out, "What's wrong?\nSure, what do you need?\n");
    snprintf(line, sizeof line, "chat %s --temperature 0 --adapter %s", model("models/tinytalk-3m-chat"),
             model("models/tinytalk-3m-chat"));
    assert_int_equal(program_run_with(p, line, "I feel sad today.\n"), 0);
    assert_string_equal(p->out, "base> What's wrong?\ntuned> What's wrong?\n");
}

/* A PEFT adapter of rank 1 on the queries of tinytalk's first layer. */
static void write_adapter(const program *p, const char *name, float size) {
    enum { HIDDEN = 128 };
    char path[PATH_MAX], header[600];
    float values[HIDDEN];
    snprintf(path, sizeof path, "%s/%s", p->folder, name);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/%s/adapter_config.json", p->folder, name);
    FILE *file = fopen(path, "w");
    fputs("{\"peft_type\": \"LORA\", \"r\": 1, \"lora_alpha\": 2, \"target_modules\": [\"q_proj\"]}", file);
    fclose(file);
    int length = snprintf(
        header, sizeof header,
        "{\"base_model.model.transformer.h.0.attn.attention.q_proj.lora_A.weight\":{\"dtype\":\"F32\","
        "\"shape\":[1,%d],\"data_offsets\":[0,%d]},"
        "\"base_model.model.transformer.h.0.attn.attention.q_proj.lora_B.weight\":{\"dtype\":\"F32\","
        "\"shape\":[%d,1],\"data_offsets\":[%d,%d]}}",
        HIDDEN, 4 * HIDDEN, HIDDEN, 4 * HIDDEN, 8 * HIDDEN);
    uint64_t size_of_header = (uint64_t)length;
    snprintf(path, sizeof path, "%s/%s/adapter_model.safetensors", p->folder, name);
    file = fopen(path, "wb");
    fwrite(&size_of_header, sizeof size_of_header, 1, file);
    fwrite(header, 1, (size_t)length, file);
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < HIDDEN; i++) {
            values[i] = size * (float)(i * (7 + side) % 11 - 5) / 5;
        }
        fwrite(values, sizeof values, 1, file);
    }
    fclose(file);
}

/* Exports are read back, and what cannot be written leaves nothing behind. */
static void test_export(void **state) {
    program *p = *state;
    const char *stories = model("models/stories260K/stories260Ktok512.gguf");
    const char *chat = model("models/tinytalk-3m-chat");
    static const char *const targets[] = {"whole", "small.gguf"};
    char path[PATH_MAX];
    assert_int_equal(run_list(p, (const char *const[]){"export", stories, "whole", NULL}), 0);
    assert_has(p->out, "differs by 0 in the mean and 0 at most");
    assert_int_equal(
        run_list(p, (const char *const[]){"export", stories, "small.gguf", "--type", "q8_0", NULL}), 0);
    assert_has(p->out, "exported gguf");
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(run_list(p, (const char *const[]){"generate", targets[i], "--raw", "--greedy",
                                                           "--max-tokens", "12", "--profile", "f32/1",
                                                           "--prompt", "Once upon a time", NULL}),
                         0);
        assert_has(p->out, ", there was a little girl named Lily.");
    }
    assert_int_equal(run_list(p, (const char *const[]){"export", stories, "whole", NULL}), 1);
    assert_has(p->err, "is there already");
    assert_int_equal(run_list(p, (const char *const[]){"export", chat, "chat.gguf", NULL}), 1);
    assert_has(p->err, "gpt_neo");
    snprintf(path, sizeof path, "%s/chat.gguf", p->folder);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(run_list(p, (const char *const[]){"export", chat, "none", "--format", "peft", NULL}), 1);
    assert_has(p->err, "there is no adapter");
}

static void test_adapters(void **state) {
    program *p = *state;
    const char *chat = model("models/tinytalk-3m-chat");
    char line[PATH_MAX + 200];
    write_adapter(p, "quiet", 1e-6f);
    write_adapter(p, "loud", 1.0f);
    snprintf(line, sizeof line, "chat %s --temperature 0 --adapter quiet --adapter loud", chat);
    assert_int_equal(program_run_with(p, line, "I feel sad today.\n"), 0);
    assert_has(p->out, "base> What's wrong?\nquiet> What's wrong?\nloud> ");
    assert_int_equal(
        run_list(p, (const char *const[]){"export", chat, "merged", "--adapter", "quiet", "--adapter", "loud",
                                          "--weight", "1", "--weight", "0.5", NULL}),
        0);
    assert_has(p->out, "exported hf");
    assert_int_equal(run_list(p, (const char *const[]){"export", chat, "one", "--adapter", "quiet",
                                                       "--adapter", "loud", "--format", "peft", NULL}),
                     0);
    assert_has(p->out, "exported peft · 2 files");
    assert_int_equal(run_list(p, (const char *const[]){"export", "loud", "alone", NULL}), 1);
    assert_has(p->err, "without its base");
}

static void test_selftest(void **state) {
    program *p = *state;
    assert_int_equal(program_run(p, "selftest --kernels"), 0);
    assert_has(p->out, "scalar       here");
    assert_has(p->out, ": 0 disagreements");
    assert_int_equal(program_run(p, "selftest"), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_generate, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_score, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_chat, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_export, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_adapters, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_selftest, program_setup, program_teardown),
    };
    if (assets_skip()) {
        return 77;
    }
    return cmocka_run_group_tests_name("models", tests, NULL, NULL);
}
