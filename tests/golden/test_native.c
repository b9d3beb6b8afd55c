/* The provider as a host sees it: the shared object, opened and asked through temper.model/1. The host here does what
 * the service needs and nothing else. */
#include "../../plugins/lm/files/files.h"
#include "../../plugins/lm/tokenizer/tokenizer.h"
#include "../support/assets.h"
#include "base/pool.h"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <temper/machine.h>
#include <temper/model.h>
#include <temper/plugin.h>

#include <cmocka.h>

typedef struct test_host {
    temper_host host;
    tm_pool *pool;
    bool cancelled;
    uint64_t done, total;
    const lm_file *extra; /* one more file than the folder has, or NULL */
    uint64_t available;   /* bytes; 0: as many as one likes */
    double asked, computed;
} test_host;

static uint64_t memory(const temper_host *host) {
    (void)host;
    return 123000000;
}

static uint64_t available(const temper_host *host) {
    const test_host *self = host->self;
    return self->available == 0 ? UINT64_MAX : self->available;
}

static void note(const temper_host *host, const char *name, double number) {
    test_host *self = host->self;
    self->asked = strcmp(name, "native.prompt_tokens") == 0 ? number : self->asked;
    self->computed = strcmp(name, "native.prompt_tokens_computed") == 0 ? number : self->computed;
}

static const void *extension(const temper_host *host, const char *id) {
    static const temper_machine machine = {
        .size = sizeof machine, .memory = memory, .available = available, .note = note};
    (void)host;
    return strcmp(id, TEMPER_MACHINE) == 0 ? &machine : NULL;
}

static size_t file_count(const temper_host *host, const temper_input *input) {
    return lm_folder_files((const lm_folder *)(const void *)input)->count +
           (((const test_host *)host->self)->extra != NULL);
}

static temper_status file(const temper_host *host, const temper_input *input, size_t index, temper_file *out,
                          temper_error *error) {
    const lm_file_set *files = lm_folder_files((const lm_folder *)(const void *)input);
    const lm_file *from =
        index < files->count ? &files->files[index] : ((const test_host *)host->self)->extra;
    (void)error;
    out->name = from->name, out->data = from->data, out->length = from->size;
    return TEMPER_OK;
}

static uint32_t workers(const temper_host *host) {
    return tm_pool_workers(((const test_host *)host->self)->pool);
}

static void parallel_for(const temper_host *host, uint64_t count, temper_body *body, void *context) {
    tm_pool_run(((const test_host *)host->self)->pool, count, body, context);
}

static bool cancelled(const temper_host *host) {
    return ((const test_host *)host->self)->cancelled;
}

static void progress(const temper_host *host, uint64_t done, uint64_t total, const char *unit,
                     const char *detail) {
    test_host *self = host->self;
    (void)unit, (void)detail;
    self->done = done, self->total = total;
}

static const temper_model_service *service;
static temper_error cause;

static void must(temper_status status) {
    if (status) {
        fail_msg("%s", cause.message);
    }
}

static test_host *new_host(const char *profile) {
    test_host *self = calloc(1, sizeof *self);
    must(tm_pool_new(2, &self->pool, &cause));
    self->host = (temper_host){.size = sizeof self->host,
                               .self = self,
                               .profile = profile,
                               .extension = extension,
                               .workers = workers,
                               .parallel_for = parallel_for,
                               .cancelled = cancelled,
                               .progress = progress,
                               .file_count = file_count,
                               .file = file};
    return self;
}

static void free_host(test_host *self) {
    tm_pool_free(self->pool);
    free(self);
}

static temper_model *open_asset(test_host *host, const char *name, lm_folder **folder) {
    temper_model *model = NULL;
    must(lm_folder_open(asset_path(name), folder, &cause));
    must(service->open(&host->host, (const temper_input *)(const void *)*folder, &model, &cause));
    return model;
}

static int load(void **state) {
    const temper_plugin *plugin = NULL;
    temper_hello hello = {sizeof hello, 0, "test"};
    void *object = dlopen(NATIVE_PLUGIN, RTLD_NOW | RTLD_LOCAL);
    (void)state;
    if (object == NULL) {
        print_error("%s\n", dlerror());
        return -1;
    }
    temper_status (*entry)(const temper_hello *, const temper_plugin **);
    *(void **)&entry = dlsym(object, "temper_plugin_v1");
    if (entry == NULL || entry(&hello, &plugin) != TEMPER_OK) {
        return -1;
    }
    service = plugin->extension(TEMPER_MODEL_SERVICE);
    return service == NULL || plugin->extension("temper.model/2") != NULL ? -1 : 0;
}

static const temper_message sad = {sizeof sad, "user", "I feel sad today.", 17};
static const temper_message wrong = {sizeof wrong, "assistant", "What's wrong?", 13};

static int collect(void *context, const char *text, size_t length) {
    strncat(context, text, length);
    return 0;
}

static void tinytalk_through_the_service(void **state) {
    test_host *host = new_host("bf16/1");
    lm_folder *folder;
    temper_model *model = open_asset(host, "models/tinytalk-3m-chat", &folder);
    temper_model_info info = {.size = sizeof info};
    const temper_message *prompt[] = {&sad}, *whole[] = {&sad, &wrong};
    (void)state;
    service->info(model, &info);
    assert_string_equal(info.architecture, "gpt_neo");
    assert_int_equal(info.parameters, 3410560);
    assert_int_equal(info.context, 256);
    assert_true(info.has_chat_template && !info.knows_system);

    const char *text;
    size_t length;
    must(service->render(model, whole, 2, 0, &text, &length, &cause));
    assert_string_equal(text, "User: I feel sad today.\nBot: What's wrong?<|endoftext|>\n");
    uint64_t tokens;
    must(service->count_tokens(model, text, length, &tokens, &cause));
    assert_in_range(tokens, 14, 18);

    /* The template writes the space before a content: an answer to messages is the content alone. */
    temper_generate_request chat = {
        .size = sizeof chat, .messages = prompt, .message_count = 1, .max_tokens = 40, .top_p = 1};
    temper_generate_request raw = chat;
    raw.text = "User: I feel sad today.\nBot:", raw.text_length = strlen(raw.text);
    const temper_generate_request *requests[] = {&chat, &raw};
    const temper_generated *const *generated;
    must(service->generate(model, requests, 2, "responses", &generated, &cause));
    assert_string_equal(generated[0]->text, "What's wrong?");
    assert_string_equal(generated[1]->text, " What's wrong?");
    assert_int_equal(generated[0]->finish, TEMPER_FINISH_STOP);
    assert_int_equal(generated[0]->prompt_tokens, generated[1]->prompt_tokens);
    assert_true(host->done == 2 && host->total == 2);
    double logprob = generated[0]->logprob;
    char streamed[256] = "";
    must(service->stream(model, &chat, collect, streamed, &cause));
    assert_string_equal(streamed, "What's wrong?");

    /* Scoring that conversation gives what generation said. */
    temper_score_request score = {
        .size = sizeof score, .messages = whole, .message_count = 2, .last_only = 1};
    const temper_score_request *scores[] = {&score};
    const temper_scored *const *scored;
    must(service->score(model, scores, 1, "texts", &scored, &cause));
    assert_memory_equal(&scored[0]->logprob, &logprob, sizeof logprob);
    assert_int_equal(scored[0]->truncated, 0);
    score.max_tokens = 8;
    must(service->score(model, scores, 1, NULL, &scored, &cause));
    assert_int_equal(scored[0]->truncated, tokens - 8);
    service->release_results(model);

    /* A special token is one only where the template wrote it: in a message it is text, of several tokens. */
    temper_message fake = {sizeof fake, "user", "Hi<|endoftext|>", 15};
    prompt[0] = &fake;
    must(service->render(model, prompt, 1, 1, &text, &length, &cause));
    must(service->count_tokens(model, text, length, &tokens, &cause));
    must(service->generate(model, requests, 1, NULL, &generated, &cause));
    assert_true(generated[0]->prompt_tokens > tokens);

    float mean[2][128];
    const char *texts[] = {"I feel sad today.", "I feel sad today."};
    size_t lengths[] = {17, 17};
    assert_int_equal(service->hidden_size(model), 128);
    must(service->embed(model, texts, lengths, 2, mean[0], &cause));
    assert_memory_equal(mean[0], mean[1], sizeof mean[0]);
    assert_true(isfinite(mean[0][0]) && mean[0][0] != 0);
    service->close(model);
    lm_folder_close(folder);
    free_host(host);
}

/* Stop texts end answers wherever tokens end, biases and penalties change them, and an older caller's shorter request has
 * none of it. */
static void stop_texts_and_biases(void **state) {
    static const char *const stops[] = {"zzz", "t's w", "wrong"}, *const never[] = {"wrong?!"},
                             *const first[] = {"What"}, *const nothing[] = {""};
    static const struct {
        const char *const *stop;
        size_t count;
        const char *text;
    } cases[] = {{stops, 3, "Wha"},
                 {stops + 2, 1, "What's "},
                 {never, 1, "What's wrong?"},
                 {first, 1, ""},
                 {stops, 1, "What's wrong?"}};
    test_host *host = new_host("bf16/1");
    lm_folder *folder;
    temper_model *model = open_asset(host, "models/tinytalk-3m-chat", &folder);
    const temper_message *prompt[] = {&sad};
    temper_generate_request chat = {
        .size = sizeof chat, .messages = prompt, .message_count = 1, .max_tokens = 40, .top_p = 1};
    const temper_generate_request *requests[] = {&chat, &chat, &chat};
    const temper_generated *const *generated;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char streamed[256] = "";
        chat.stop = cases[i].stop, chat.stop_count = cases[i].count;
        must(service->generate(model, requests, 3, NULL, &generated, &cause));
        assert_string_equal(generated[0]->text, cases[i].text);
        assert_string_equal(generated[2]->text, cases[i].text);
        assert_int_equal(generated[0]->finish, TEMPER_FINISH_STOP);
        must(service->stream(model, &chat, collect, streamed, &cause));
        assert_string_equal(streamed, cases[i].text);
    }
    chat.stop = nothing;
    assert_int_equal(service->generate(model, requests, 1, NULL, &generated, &cause), TEMPER_INVALID);
    assert_non_null(strstr(cause.message, "stop text 1 is empty"));
    chat.stop = stops, chat.stop_count = 3;
    chat.size = offsetof(temper_generate_request, min_p);
    must(service->generate(model, requests, 1, NULL, &generated, &cause));
    assert_string_equal(generated[0]->text, "What's wrong?");

    chat.size = sizeof chat, chat.stop_count = 0;
    temper_logit_bias mark = {.size = sizeof mark, .text = "?", .length = 1, .bias = -100};
    const temper_logit_bias *biases[] = {&mark};
    chat.bias = biases, chat.bias_count = 1;
    must(service->generate(model, requests, 1, NULL, &generated, &cause));
    assert_null(strchr(generated[0]->text, '?'));
    mark.bias = 100;
    chat.max_tokens = 5;
    must(service->generate(model, requests, 1, NULL, &generated, &cause));
    assert_string_equal(generated[0]->text, "?????");
    chat.presence_penalty = 1000;
    must(service->generate(model, requests, 1, NULL, &generated, &cause));
    assert_true(generated[0]->text[0] == '?' && generated[0]->text[1] != '?');
    mark.text = "a text of many tokens", mark.length = strlen(mark.text);
    assert_int_equal(service->generate(model, requests, 1, NULL, &generated, &cause), TEMPER_INVALID);
    assert_non_null(strstr(cause.message, "no token of this model is exactly \"a text of many tokens\""));
    service->close(model);
    lm_folder_close(folder);
    free_host(host);
}

/* generation_config.json may name several ids: each of them ends an answer. */
static void every_end_token_ends(void **state) {
    test_host *host = new_host("f32/1");
    char text[64];
    lm_file extra = {"generation_config.json", text, 0};
    lm_folder *folder;
    lm_tokenizer *tokenizer;
    lm_tokens tokens;
    const temper_message *prompt[] = {&sad};
    temper_generate_request chat = {
        .size = sizeof chat, .messages = prompt, .message_count = 1, .max_tokens = 40, .top_p = 1};
    const temper_generate_request *requests[] = {&chat};
    const temper_generated *const *generated;
    temper_model *model;
    (void)state;
    must(lm_folder_open(asset_path("models/tinytalk-3m-chat"), &folder, &cause));
    must(lm_tokenizer_open(lm_folder_files(folder), &tokenizer, &cause));
    must(lm_tokenizer_encode(tokenizer, "?", 1, NULL, &tokens, &cause));
    assert_int_equal(tokens.count, 1);
    extra.size = (size_t)snprintf(text, sizeof text, "{\"eos_token_id\":[%d,%d]}",
                                  (int)lm_tokenizer_eos(tokenizer), (int)tokens.items[0].id);
    host->extra = &extra;
    must(service->open(&host->host, (const temper_input *)(const void *)folder, &model, &cause));
    must(service->generate(model, requests, 1, NULL, &generated, &cause));
    assert_string_equal(generated[0]->text, "What's wrong");
    assert_int_equal(generated[0]->finish, TEMPER_FINISH_STOP);
    service->close(model);
    lm_tokens_free(&tokens);
    lm_tokenizer_close(tokenizer);
    lm_folder_close(folder);
    free_host(host);
}

static void refusals_say_what_is_wrong(void **state) {
    test_host *host = new_host("f32/1");
    lm_folder *folder;
    temper_model *model = open_asset(host, "models/stories260K/stories260Ktok512.gguf", &folder);
    const temper_message *prompt[] = {&sad};
    temper_generate_request chat = {
        .size = sizeof chat, .messages = prompt, .message_count = 1, .max_tokens = 40, .top_p = 1};
    const temper_generate_request *requests[] = {&chat};
    const temper_generated *const *generated;
    (void)state;
    assert_int_equal(service->generate(model, requests, 1, NULL, &generated, &cause), TEMPER_UNSUPPORTED);
    assert_non_null(strstr(cause.message, "only raw text"));

    chat.text = "Once upon a time", chat.text_length = 16;
    must(service->generate(model, requests, 1, NULL, &generated, &cause));
    assert_non_null(strstr(generated[0]->text, ", there was a little girl named Lily."));
    assert_int_equal(generated[0]->finish, TEMPER_FINISH_LENGTH);
    assert_int_equal(generated[0]->tokens, 40);

    char *long_text = calloc(1, 4001);
    memset(long_text, 'a', 4000);
    chat.text = long_text, chat.text_length = 4000;
    assert_int_equal(service->generate(model, requests, 1, NULL, &generated, &cause), TEMPER_INVALID);
    assert_non_null(strstr(cause.message, "tokens; the model's context holds"));
    free(long_text);
    chat.text = "Once", chat.text_length = 4, chat.top_p = 7;
    assert_int_equal(service->generate(model, requests, 1, NULL, &generated, &cause), TEMPER_INVALID);
    chat.top_p = 1;
    host->cancelled = true;
    assert_int_equal(service->generate(model, requests, 1, NULL, &generated, &cause), TEMPER_CANCELLED);
    service->close(model);
    lm_folder_close(folder);

    must(lm_folder_open(asset_path("models/babyllama-tok105"), &folder, &cause));
    assert_int_equal(service->open(&host->host, (const temper_input *)(const void *)folder, &model, &cause),
                     TEMPER_UNSUPPORTED);
    assert_non_null(strstr(cause.message, "config.json"));
    lm_folder_close(folder);
    free_host(host);
}

/* n answers of one request are those of n requests, and the prompt is computed once; what a stage's calls have in common,
 * too. */
static void samples_of_one_prompt(void **state) {
    enum { N = 5 };
    test_host *host = new_host("bf16/1");
    lm_folder *folder;
    temper_model *model = open_asset(host, "models/tinytalk-3m-chat", &folder);
    const temper_message *prompt[] = {&sad};
    temper_generate_request one[N], many = {.size = sizeof many,
                                            .messages = prompt,
                                            .message_count = 1,
                                            .max_tokens = 12,
                                            .temperature = 1.5,
                                            .top_p = 1,
                                            .key = 7,
                                            .stream = 40};
    const temper_generate_request *requests[N], *both[] = {&many, &one[2]};
    const temper_generated *const *generated;
    char texts[N][256];
    double logprobs[N];
    bool differ = false;
    (void)state;
    for (size_t i = 0; i < N; i++) {
        one[i] = many;
        one[i].stream += i;
        requests[i] = &one[i];
    }
    must(service->generate(model, requests, N, NULL, &generated, &cause));
    for (size_t i = 0; i < N; i++) {
        snprintf(texts[i], sizeof texts[i], "%s", generated[i]->text);
        logprobs[i] = generated[i]->logprob;
        differ = differ || strcmp(texts[i], texts[0]) != 0;
        assert_null(generated[i]->samples);
        assert_int_equal(generated[i]->sample_count, 0);
    }
    assert_true(differ);
    double prompt_tokens = (double)generated[0]->prompt_tokens;
    assert_true(host->asked == N * prompt_tokens);
    assert_in_range(host->computed, prompt_tokens,
                    2 * prompt_tokens); /* once a worker, for a model this small */
    double computed = host->computed;
    many.n = N;
    must(service->generate(model, both, 2, "responses", &generated, &cause));
    assert_int_equal(generated[0]->sample_count, N);
    assert_ptr_equal(generated[0]->samples[0], generated[0]);
    for (size_t i = 0; i < N; i++) {
        assert_string_equal(generated[0]->samples[i]->text, texts[i]);
        assert_memory_equal(&generated[0]->samples[i]->logprob, &logprobs[i], sizeof *logprobs);
    }
    assert_string_equal(generated[1]->text, texts[2]);
    assert_int_equal(generated[1]->sample_count, 0);
    assert_int_equal(host->total, N + 1);
    assert_true(host->asked == (2 * N + 1) * prompt_tokens);
    assert_in_range(host->computed, computed, 2 * prompt_tokens); /* the second call computed nothing new */
    service->close(model);
    lm_folder_close(folder);
    free_host(host);
}

static void what_cannot_fit_is_refused(void **state) {
    test_host *host = new_host("bf16/1");
    lm_folder *folder;
    temper_model *model = open_asset(host, "models/tinytalk-3m-chat", &folder), *none = NULL;
    const temper_message *prompt[] = {&sad};
    temper_generate_request chat = {
        .size = sizeof chat, .messages = prompt, .message_count = 1, .max_tokens = 40, .top_p = 1, .n = 3};
    const temper_generate_request *requests[] = {&chat};
    const temper_generated *const *generated;
    (void)state;
    host->available = 40000000;
    must(service->generate(model, requests, 1, NULL, &generated, &cause));
    host->available = 1000000;
    assert_int_equal(service->generate(model, requests, 1, NULL, &generated, &cause), TEMPER_NO_MEMORY);
    assert_non_null(strstr(cause.message, "its answer up to 40 more: their keys and values take"));
    assert_non_null(strstr(cause.message, "0.9 MB are left"));
    assert_non_null(strstr(cause.message, "the worker may have 123.0 MB (--memory)"));
    assert_int_equal(service->open(&host->host, (const temper_input *)(const void *)folder, &none, &cause),
                     TEMPER_NO_MEMORY);
    assert_non_null(strstr(cause.message, "this model takes"));
    assert_non_null(strstr(cause.message, "and 1 MB are left of the 123 MB"));
    service->close(model);
    lm_folder_close(folder);
    free_host(host);
}

int main(void) {
    if (assets_skip()) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tinytalk_through_the_service), cmocka_unit_test(stop_texts_and_biases),
        cmocka_unit_test(every_end_token_ends),         cmocka_unit_test(samples_of_one_prompt),
        cmocka_unit_test(what_cannot_fit_is_refused),   cmocka_unit_test(refusals_say_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, load, NULL);
}
