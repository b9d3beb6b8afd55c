/* Real models: the continuations and the perplexity they are known for, in both profiles; the same bits in every
 * kernel set and at every number of workers. */
#include "../../plugins/lm/dialogue/dialogue.h"
#include "../../plugins/lm/generate/generate.h"
#include "../support/assets.h"
#include "../support/workers.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define STORIES "models/stories260K/stories260Ktok512.gguf"
#define TINYTALK "models/tinytalk-3m-chat"
#define DIALOGUES TINYTALK "/data/chat_val.messages.jsonl"

static const char *const profiles[] = {"f32/1", "bf16/1"};
static temper_error cause = TEMPER_ERROR_INIT;

static void must(temper_status status) {
    if (status) {
        fail_msg("%s", cause.message);
    }
}

/* A model with all that belongs to it. */
typedef struct opened {
    lm_folder *folder;
    lm_context context;
    lm_model *model;
    lm_tokenizer *tokenizer;
    lm_template *chat;
    tm_pool *pool;
} opened;

static opened open_asset(const char *name, const lm_kernels *kernels, const char *profile, uint32_t workers) {
    opened self = {0};
    const char *reason;
    must(lm_folder_open(asset_path(name), &self.folder, &cause));
    must(tm_pool_new(workers, &self.pool, &cause));
    must(lm_context_init(&self.context, kernels == NULL ? lm_kernels_choose(NULL, &reason) : kernels, profile,
                         workers_of(self.pool), &cause));
    must(lm_model_open(&self.context, lm_folder_files(self.folder), &self.model, &cause));
    must(lm_tokenizer_open(lm_folder_files(self.folder), &self.tokenizer, &cause));
    char *source;
    size_t length;
    if (lm_template_find(lm_folder_files(self.folder), &source, &length, NULL) == TEMPER_OK) {
        must(lm_template_compile(source, length, &self.chat, &cause));
        free(source);
    }
    return self;
}

static void close_asset(opened *self) {
    lm_template_free(self->chat);
    lm_tokenizer_close(self->tokenizer);
    lm_model_close(self->model);
    lm_context_free(&self->context);
    tm_pool_free(self->pool);
    lm_folder_close(self->folder);
}

/* The greedy continuation of a raw text. */
static char *continuation(const opened *self, const char *prompt, size_t tokens, lm_finish *finish) {
    lm_dialogue encoded;
    lm_answer answer;
    char *text;
    size_t length;
    int32_t stop[] = {lm_tokenizer_eos(self->tokenizer)};
    must(lm_dialogue_encode_text(self->tokenizer, prompt, strlen(prompt), "", 0, false, 0, &encoded, &cause));
    lm_request request = {.prompt = encoded.ids,
                          .prompt_count = encoded.count,
                          .max_tokens = tokens,
                          .sampling = {0, 0, 1, 0},
                          .stop = stop,
                          .stop_count = 1};
    must(lm_generate(&self->context, self->model, &request, 1, 0, NULL, NULL, &answer, &cause));
    must(lm_tokenizer_decode(self->tokenizer, answer.ids, answer.count, true, false, &text, &length, &cause));
    *finish = answer.finish;
    free(answer.ids);
    lm_dialogue_free(&encoded);
    return text;
}

static void stories_tell_of_lily(void **state) {
    static const char expected[] =
        ", there was a little girl named Lily. She loved to play outside in the park. One day, "
        "she saw a big, red ball. She wanted to play with it, but it was too high.";
    (void)state;
    for (size_t p = 0; p < 2; p++) {
        opened self = open_asset(STORIES, NULL, profiles[p], 2);
        lm_finish finish;
        char *text = continuation(&self, "Once upon a time", 100, &finish);
        if (strncmp(text, expected, strlen(expected)) != 0) {
            fail_msg("%s: \"%s\"", profiles[p], text);
        }
        free(text);
        close_asset(&self);
    }
}

static void tinytalk_answers(void **state) {
    static const char *const talks[][2] = {
        {"User: I feel sad today.\nBot:", " What's wrong?"},
        {"User: Can you help me with my homework?\nBot:", " Sure, what do you need?"}};
    (void)state;
    for (size_t p = 0; p < 2; p++) {
        opened self = open_asset(TINYTALK, NULL, profiles[p], 1);
        for (size_t i = 0; i < 2; i++) {
            lm_finish finish;
            char *text = continuation(&self, talks[i][0], 60, &finish);
            assert_string_equal(text, talks[i][1]);
            assert_int_equal(finish, LM_FINISH_STOP);
            free(text);
        }
        close_asset(&self);
    }
}

/* The first `limit` dialogues as ids. */
static size_t read_dialogues(const opened *self, lm_dialogue *out, size_t limit) {
    char *line = NULL;
    size_t room = 0, count = 0;
    FILE *file = fopen(asset_path(DIALOGUES), "r");
    assert_non_null(file);
    while (count < limit && getline(&line, &room, file) > 0) {
        json_t *record = json_loads(line, 0, NULL), *list = json_object_get(record, "messages");
        lm_message messages[64];
        size_t used = json_array_size(list);
        assert_in_range(used, 1, 64);
        for (size_t i = 0; i < used; i++) {
            json_t *message = json_array_get(list, i), *content = json_object_get(message, "content");
            messages[i] = (lm_message){json_string_value(json_object_get(message, "role")),
                                       json_string_value(content), json_string_length(content)};
        }
        must(lm_dialogue_encode(self->tokenizer, self->chat, messages, used, LM_SPAN_ASSISTANT, 256,
                                &out[count++], &cause));
        json_decref(record);
    }
    free(line);
    fclose(file);
    return count;
}

/* Sum of the trained tokens' log-probabilities, in order. */
static double total_logprob(const opened *self, const lm_dialogue *dialogues, size_t count, size_t *tokens) {
    lm_scored *scored = calloc(count, sizeof *scored);
    double sum = 0;
    *tokens = 0;
    for (size_t i = 0; i < count; i++) {
        scored[i] = (lm_scored){dialogues[i].ids, dialogues[i].count,
                                calloc(dialogues[i].count, sizeof(float)), dialogues[i].trained};
    }
    must(lm_score(&self->context, self->model, scored, count, NULL, NULL, &cause));
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < dialogues[i].count; j++) {
            sum += (double)scored[i].logprobs[j];
        }
        *tokens += dialogues[i].trained_count;
        free(scored[i].logprobs);
    }
    free(scored);
    return sum;
}

static void tinytalk_perplexity(void **state) {
    (void)state;
    for (size_t p = 0; p < 2; p++) {
        lm_dialogue dialogues[400];
        opened self = open_asset(TINYTALK, NULL, profiles[p], 2);
        size_t count = read_dialogues(&self, dialogues, 400), tokens;
        double perplexity = exp(-total_logprob(&self, dialogues, count, &tokens) / (double)tokens);
        print_message("%s: %zu dialogues, %zu tokens, perplexity %.4f\n", profiles[p], count, tokens,
                      perplexity);
        assert_int_equal(count, 365);
        assert_in_range(tokens, 9757, 9953);
        assert_true(fabs(perplexity - 6.24) < 0.0624);
        for (size_t i = 0; i < count; i++) {
            lm_dialogue_free(&dialogues[i]);
        }
        close_asset(&self);
    }
}

/* What the scalar set can do in a second, in all sets. */
static void kernel_sets_agree(void **state) {
    const lm_kernels *const *sets = lm_kernels_all();
    const char *reason;
    (void)state;
    for (size_t p = 0; p < 2; p++) {
        double reference = 0;
        for (size_t set = 0; sets[set] != NULL; set++) {
            lm_dialogue dialogue;
            if (!lm_kernels_usable(sets[set], &reason)) {
                print_message("%s skipped: %s\n", sets[set]->name, reason);
                continue;
            }
            opened self = open_asset(TINYTALK, sets[set], profiles[p], 1 + set % 2);
            size_t count = read_dialogues(&self, &dialogue, 1), tokens;
            double sum = total_logprob(&self, &dialogue, count, &tokens);
            reference = reference == 0 ? sum : reference;
            assert_memory_equal(&sum, &reference, sizeof sum);
            lm_dialogue_free(&dialogue);
            close_asset(&self);
        }
    }
}

int main(void) {
    if (assets_skip()) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories_tell_of_lily),
        cmocka_unit_test(tinytalk_answers),
        cmocka_unit_test(tinytalk_perplexity),
        cmocka_unit_test(kernel_sets_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
