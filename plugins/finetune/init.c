/* init.c: a model from nothing: random weights of a described shape, and a vocabulary of the 256 bytes and some special
 * tokens. The folder is what transformers would write; every draw has its own Philox number. */
#include "finetune.h"

#include <math.h>
#include <stdlib.h>

#define INIT(P, S)                                                                                           \
    P(S, string, architecture, "architecture", "\"llama\"", 1, 0, "", "llama", "what kind of model", "0.1")  \
    P(S, string, vocabulary, "vocabulary", "\"bytes\"", 1, 0, "", "bytes",                                   \
      "the tokens: each byte is one, and each special token", "0.1")                                         \
    P(S, strings, special, "special", "[\"<|end|>\"]", 1, 0, "", "",                                         \
      "special tokens, in the order of their ids from 256", "0.1")                                           \
    P(S, string, eos, "eos", "\"\"", 1, 0, "", "",                                                           \
      "the special token that ends a text; empty: the last one", "0.1")                                      \
    P(S, integer, layers, "layers", NULL, 1, LM_MAX_LAYERS, "", "", "number of blocks", "0.1")               \
    P(S, integer, hidden, "hidden", NULL, 2, 65536, "", "", "width of the residual stream", "0.1")           \
    P(S, integer, intermediate, "intermediate", NULL, 1, 262144, "", "", "width inside the feed-forward",    \
      "0.1")                                                                                                 \
    P(S, integer, heads, "heads", NULL, 1, 1024, "", "", "attention heads; they share hidden evenly", "0.1") \
    P(S, integer, kv_heads, "kv_heads", "0", 0, 1024, "", "",                                                \
      "heads of keys and values; 0: as many as heads", "0.1")                                                \
    P(S, integer, context, "context", "512", 2, 1048576, "tokens", "", "longest sequence", "0.1")            \
    P(S, flag, tied, "tied", "true", 1, 0, "", "", "use the embedding as the output head", "0.1")            \
    P(S, number, rope_theta, "rope_theta", "10000", 1, 1e12, "", "", "base of the rotary positions", "0.1")  \
    P(S, number, std, "std", "0.02", 0, 10, "", "", "standard deviation of the weights", "0.1")              \
    P(S, string, dtype, "dtype", "\"f32\"", 1, 0, "", "f32|bf16", "how matrices are written", "0.1")
TEMPER_PARAMETERS(init, INIT)

static const temper_port *const inputs[] = {TEMPER_PORT(TEMPER_TEXT, "chat_template", TEMPER_OPTIONAL, "",
                                                        "a Jinja chat template that the model is to have"),
                                            NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "the model, in Hugging Face's form"), NULL};

/* The three files beside config.json and the weights. A template is UTF-8 text without a zero byte, checked before. */
static temper_status save_vocabulary(const init_parameters *parameters, const temper_host *host,
                                     temper_output *output, size_t eos, const char *chat,
                                     temper_error *error) {
    const temper_strings *special = &parameters->special;
    char *vocabulary = lm_tokenizer_write_bytes(special->items, special->count), generation[64];
    char *config = lm_tokenizer_config_write(NULL, special->items[eos], chat, (size_t)parameters->context);
    int length = snprintf(generation, sizeof generation, "{\n  \"eos_token_id\": %zu\n}", 256 + eos);
    temper_status status = vocabulary == NULL || config == NULL ? temper_no_memory(error) : TEMPER_OK;
    if (!status) {
        status = save_file(host, output, "generation_config.json", generation, (size_t)length, error);
    }
    if (!status) {
        status = save_file(host, output, "tokenizer.json", vocabulary, strlen(vocabulary), error);
    }
    if (!status) {
        status = save_file(host, output, "tokenizer_config.json", config, strlen(config), error);
    }
    free(vocabulary);
    free(config);
    return status;
}

/* Index of the end token among the special ones. */
static temper_status find_eos(const init_parameters *parameters, size_t *out, temper_error *error) {
    const temper_strings *special = &parameters->special;
    if (special->count == 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "special: a model needs at least the token that ends a text");
    }
    *out = special->count;
    for (size_t i = 0; i < special->count; i++) {
        if (special->items[i][0] == 0) {
            return temper_fail(error, TEMPER_INVALID, "special: token %zu is empty", i + 1);
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(special->items[i], special->items[j]) == 0) {
                return temper_fail(error, TEMPER_INVALID, "special: \"%s\" stands there twice",
                                   special->items[i]);
            }
        }
        if (strcmp(special->items[i], parameters->eos) == 0) {
            *out = i;
        }
    }
    if (*out == special->count && parameters->eos[0] != 0) {
        return temper_fail(error, TEMPER_INVALID, "eos \"%s\" is none of the special tokens",
                           parameters->eos);
    }
    *out = parameters->eos[0] == 0 ? special->count - 1 : *out;
    return TEMPER_OK;
}

static temper_status describe(const init_parameters *parameters, size_t eos, lm_config *out,
                              temper_error *error) {
    size_t hidden = (size_t)parameters->hidden, heads = (size_t)parameters->heads;
    size_t kv_heads = parameters->kv_heads == 0 ? heads : (size_t)parameters->kv_heads;
    if (hidden % heads != 0 || hidden / heads % 2 != 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "hidden %zu over %zu heads: a head's width must be whole and even", hidden, heads);
    }
    if (heads % kv_heads != 0) {
        return temper_fail(error, TEMPER_INVALID, "%zu heads cannot share %zu kv_heads evenly", heads,
                           kv_heads);
    }
    *out = (lm_config){.vocabulary = 256 + parameters->special.count,
                       .hidden = hidden,
                       .intermediate = (size_t)parameters->intermediate,
                       .layers = (size_t)parameters->layers,
                       .heads = heads,
                       .kv_heads = kv_heads,
                       .head_size = hidden / heads,
                       .context = (size_t)parameters->context,
                       .norm = LM_RMS_NORM,
                       .positions = LM_ROPE,
                       .activation = LM_SWIGLU,
                       .norm_epsilon = 1e-5,
                       .rope_theta = parameters->rope_theta,
                       .attention_scale = 1 / sqrt((double)(hidden / heads)),
                       .tied = parameters->tied != 0,
                       .bos = -1,
                       .eos = 256 + (int64_t)eos};
    snprintf(out->architecture, sizeof out->architecture, "%s", parameters->architecture);
    return TEMPER_OK;
}

/* Refuses a template that this program cannot render, before anything is trained with it. */
static temper_status read_template(const temper_host *host, const char **chat, size_t *length,
                                   temper_error *error) {
    const temper_input *input = host->input(host, "chat_template");
    lm_template *compiled = NULL;
    if (input == NULL) {
        return TEMPER_OK;
    }
    temper_status status = host->bytes(host, input, chat, length, error);
    if (!status && memchr(*chat, 0, *length) != NULL) {
        status = temper_fail(error, TEMPER_INVALID, "chat_template holds a zero byte");
    }
    if (!status) {
        status = lm_template_compile(*chat, *length, &compiled, error);
    }
    if (compiled != NULL) {
        lm_template_free(compiled);
    }
    return status;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const init_parameters *parameters = self;
    lm_context context = {0};
    lm_config config;
    lm_model *model = NULL;
    temper_output *output = NULL;
    const char *chat = NULL;
    char *config_text = NULL;
    size_t chat_length = 0, eos = 0;
    lm_dtype dtype;
    temper_status status = save_dtype(parameters->dtype, &dtype, error);
    if (!status) {
        status = find_eos(parameters, &eos, error);
    }
    if (!status) {
        status = describe(parameters, eos, &config, error);
    }
    if (!status) {
        status = read_template(host, &chat, &chat_length, error);
    }
    if (!status) {
        status = base_context(host, &context, error);
    }
    if (!status) {
        status =
            lm_model_init(&context, &config, host->rng_key(host, "weights"), parameters->std, &model, error);
    }
    if (!status) {
        status = host->output(host, "model", &output, error);
    }
    if (status) {
        goto out;
    }
    config_text = lm_config_write(&config, dtype);
    status = config_text == NULL
                 ? temper_no_memory(error)
                 : save_file(host, output, "config.json", config_text, strlen(config_text), error);
    if (!status) {
        status = save_vocabulary(parameters, host, output, eos, chat, error);
    }
    if (!status) {
        status = save_weights(host, output, model, NULL, dtype, error);
    }
out:
    free(config_text);
    lm_model_close(model);
    lm_context_free(&context);
    return status;
}

const temper_stage finetune_init_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "init",
    .doc = "makes a new model with random weights and a vocabulary of bytes",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = init_parameter_table,
    .parameters_size = sizeof(init_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};
