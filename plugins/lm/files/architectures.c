/* architectures.c: the architectures as data: what one has that another lacks, and the names its weights go by.
 *
 * A new architecture is a row of `table`; a scheme of names, when its files have other names; its keys in
 * config_keys.c; and a case in tests/golden/architectures. What is computed follows from the config and from which
 * roles there are: a block without LM_FEED_POST_NORM has none.
 *
 * Invariant: a role has a name here (under what the config asks for) if and only if lm_role_shape gives it a rank. */
#include "internal.h"

#include <string.h>

/* --- names in Hugging Face's files --- */

/* Whether a tensor that has a name is there. */
enum presence { ALWAYS, WITH_ATTENTION_BIAS, WITH_FEED_BIAS };

struct lm_tensor_name {
    const char *name;   /* without prefix and layer; NULL: there is none */
    const char *module; /* of linear layers: as PEFT's target_modules name it */
    enum presence when;
};

#define LLAMA_MODEL                                                                                          \
    [LM_EMBEDDING] = {"embed_tokens.weight", NULL, ALWAYS}, [LM_FINAL_NORM] = {"norm.weight", NULL, ALWAYS}, \
    [LM_HEAD] = {"", NULL, ALWAYS}
#define LLAMA_NORMS                                                                                          \
    [LM_ATTENTION_NORM] = {"input_layernorm.weight", NULL, ALWAYS}, [LM_FEED_NORM] = {                       \
                                                                        "post_attention_layernorm.weight",   \
                                                                        NULL, ALWAYS}
#define LLAMA_OUTPUT [LM_OUTPUT] = {"self_attn.o_proj.weight", "o_proj", ALWAYS}
#define LLAMA_ATTENTION                                                                                      \
    [LM_QUERY] = {"self_attn.q_proj.weight", "q_proj", ALWAYS},                                              \
    [LM_KEY] = {"self_attn.k_proj.weight", "k_proj", ALWAYS},                                                \
    [LM_VALUE] = {"self_attn.v_proj.weight", "v_proj", ALWAYS}, LLAMA_OUTPUT
#define LLAMA_INPUT_BIASES(when)                                                                             \
    [LM_QUERY_BIAS] = {"self_attn.q_proj.bias", NULL, when},                                                 \
    [LM_KEY_BIAS] = {"self_attn.k_proj.bias", NULL, when},                                                   \
    [LM_VALUE_BIAS] = {"self_attn.v_proj.bias", NULL, when}
#define LLAMA_BIASES                                                                                         \
    LLAMA_INPUT_BIASES(WITH_ATTENTION_BIAS), [LM_OUTPUT_BIAS] = {"self_attn.o_proj.bias", NULL,              \
                                                                 WITH_ATTENTION_BIAS}
#define LLAMA_DOWN [LM_DOWN] = {"mlp.down_proj.weight", "down_proj", ALWAYS}
#define LLAMA_FEED                                                                                           \
    [LM_GATE] = {"mlp.gate_proj.weight", "gate_proj", ALWAYS},                                               \
    [LM_UP] = {"mlp.up_proj.weight", "up_proj", ALWAYS}, LLAMA_DOWN
#define LLAMA_FEED_BIASES                                                                                    \
    [LM_GATE_BIAS] = {"mlp.gate_proj.bias", NULL, WITH_FEED_BIAS},                                           \
    [LM_UP_BIAS] = {"mlp.up_proj.bias", NULL, WITH_FEED_BIAS},                                               \
    [LM_DOWN_BIAS] = {"mlp.down_proj.bias", NULL, WITH_FEED_BIAS}
#define HEAD_NORMS                                                                                           \
    [LM_QUERY_NORM] = {"self_attn.q_norm.weight", NULL, ALWAYS}, [LM_KEY_NORM] = {"self_attn.k_norm.weight", \
                                                                                  NULL, ALWAYS}
#define GEMMA_NORMS                                                                                          \
    [LM_ATTENTION_NORM] = {"input_layernorm.weight", NULL, ALWAYS},                                          \
    [LM_ATTENTION_POST_NORM] = {"post_attention_layernorm.weight", NULL, ALWAYS},                            \
    [LM_FEED_NORM] = {"pre_feedforward_layernorm.weight", NULL, ALWAYS},                                     \
    [LM_FEED_POST_NORM] = {"post_feedforward_layernorm.weight", NULL, ALWAYS}

typedef struct lm_tensor_name scheme[LM_ROLE_COUNT];
static const scheme llama_names = {LLAMA_MODEL,  LLAMA_NORMS, LLAMA_ATTENTION,
                                   LLAMA_BIASES, LLAMA_FEED,  LLAMA_FEED_BIASES};
static const scheme mistral_names = {LLAMA_MODEL, LLAMA_NORMS, LLAMA_ATTENTION, LLAMA_FEED};
static const scheme qwen2_names = {LLAMA_MODEL, LLAMA_NORMS, LLAMA_ATTENTION, LLAMA_INPUT_BIASES(ALWAYS),
                                   LLAMA_FEED};
static const scheme qwen3_names = {LLAMA_MODEL,  LLAMA_NORMS, LLAMA_ATTENTION,
                                   LLAMA_BIASES, HEAD_NORMS,  LLAMA_FEED};
static const scheme gemma2_names = {LLAMA_MODEL, GEMMA_NORMS, LLAMA_ATTENTION, LLAMA_BIASES, LLAMA_FEED};
static const scheme gemma3_names = {LLAMA_MODEL,  GEMMA_NORMS, LLAMA_ATTENTION,
                                    LLAMA_BIASES, HEAD_NORMS,  LLAMA_FEED};
static const scheme olmo2_names = {
    LLAMA_MODEL,
    LLAMA_ATTENTION,
    LLAMA_BIASES,
    HEAD_NORMS,
    LLAMA_FEED,
    [LM_ATTENTION_POST_NORM] = {"post_attention_layernorm.weight", NULL, ALWAYS},
    [LM_FEED_POST_NORM] = {"post_feedforward_layernorm.weight", NULL, ALWAYS}};
static const scheme phi3_names = {LLAMA_MODEL,
                                  LLAMA_NORMS,
                                  LLAMA_OUTPUT,
                                  LLAMA_DOWN,
                                  [LM_QUERY_KEY_VALUE] = {"self_attn.qkv_proj.weight", "qkv_proj", ALWAYS},
                                  [LM_GATE_UP] = {"mlp.gate_up_proj.weight", "gate_up_proj", ALWAYS}};

#define GPT_MODEL                                                                                            \
    [LM_EMBEDDING] = {"wte.weight", NULL, ALWAYS}, [LM_POSITION_EMBEDDING] = {"wpe.weight", NULL, ALWAYS},   \
    [LM_FINAL_NORM] = {"ln_f.weight", NULL, ALWAYS}, [LM_FINAL_NORM_BIAS] = {"ln_f.bias", NULL, ALWAYS},     \
    [LM_HEAD] = {"", NULL, ALWAYS}, [LM_ATTENTION_NORM] = {"ln_1.weight", NULL, ALWAYS},                     \
    [LM_ATTENTION_NORM_BIAS] = {"ln_1.bias", NULL, ALWAYS}, [LM_FEED_NORM] = {"ln_2.weight", NULL, ALWAYS},  \
    [LM_FEED_NORM_BIAS] = {"ln_2.bias", NULL, ALWAYS}
#define GPT_FEED                                                                                             \
    [LM_UP] = {"mlp.c_fc.weight", "c_fc", ALWAYS}, [LM_UP_BIAS] = {"mlp.c_fc.bias", NULL, ALWAYS},           \
    [LM_DOWN_BIAS] = {"mlp.c_proj.bias", NULL, ALWAYS}

static const scheme gpt_neo_names = {GPT_MODEL,
                                     GPT_FEED,
                                     [LM_QUERY] = {"attn.attention.q_proj.weight", "q_proj", ALWAYS},
                                     [LM_KEY] = {"attn.attention.k_proj.weight", "k_proj", ALWAYS},
                                     [LM_VALUE] = {"attn.attention.v_proj.weight", "v_proj", ALWAYS},
                                     [LM_OUTPUT] = {"attn.attention.out_proj.weight", "out_proj", ALWAYS},
                                     [LM_OUTPUT_BIAS] = {"attn.attention.out_proj.bias", NULL, ALWAYS},
                                     [LM_DOWN] = {"mlp.c_proj.weight", "c_proj", ALWAYS}};
static const scheme gpt2_names = {GPT_MODEL,
                                  GPT_FEED,
                                  [LM_QUERY_KEY_VALUE] = {"attn.c_attn.weight", "c_attn", ALWAYS},
                                  [LM_QUERY_KEY_VALUE_BIAS] = {"attn.c_attn.bias", NULL, ALWAYS},
                                  [LM_OUTPUT] = {"attn.c_proj.weight", "attn.c_proj", ALWAYS},
                                  [LM_OUTPUT_BIAS] = {"attn.c_proj.bias", NULL, ALWAYS},
                                  [LM_DOWN] = {"mlp.c_proj.weight", "mlp.c_proj", ALWAYS}};
static const scheme gpt_neox_names = {
    [LM_EMBEDDING] = {"embed_in.weight", NULL, ALWAYS},
    [LM_FINAL_NORM] = {"final_layer_norm.weight", NULL, ALWAYS},
    [LM_FINAL_NORM_BIAS] = {"final_layer_norm.bias", NULL, ALWAYS},
    [LM_HEAD] = {"", NULL, ALWAYS},
    [LM_ATTENTION_NORM] = {"input_layernorm.weight", NULL, ALWAYS},
    [LM_ATTENTION_NORM_BIAS] = {"input_layernorm.bias", NULL, ALWAYS},
    [LM_QUERY_KEY_VALUE] = {"attention.query_key_value.weight", "query_key_value", ALWAYS},
    [LM_QUERY_KEY_VALUE_BIAS] = {"attention.query_key_value.bias", NULL, WITH_ATTENTION_BIAS},
    [LM_OUTPUT] = {"attention.dense.weight", "dense", ALWAYS},
    [LM_OUTPUT_BIAS] = {"attention.dense.bias", NULL, WITH_ATTENTION_BIAS},
    [LM_FEED_NORM] = {"post_attention_layernorm.weight", NULL, ALWAYS},
    [LM_FEED_NORM_BIAS] = {"post_attention_layernorm.bias", NULL, ALWAYS},
    [LM_UP] = {"mlp.dense_h_to_4h.weight", "dense_h_to_4h", ALWAYS},
    [LM_UP_BIAS] = {"mlp.dense_h_to_4h.bias", NULL, ALWAYS},
    [LM_DOWN] = {"mlp.dense_4h_to_h.weight", "dense_4h_to_h", ALWAYS},
    [LM_DOWN_BIAS] = {"mlp.dense_4h_to_h.bias", NULL, ALWAYS}};

/* --- names of the sizes in config.json --- */

static const lm_config_names llama_keys = {.hidden = "hidden_size",
                                           .intermediate = "intermediate_size",
                                           .layers = "num_hidden_layers",
                                           .heads = "num_attention_heads",
                                           .kv_heads = "num_key_value_heads",
                                           .head_size = "head_dim",
                                           .context = "max_position_embeddings",
                                           .activation = "hidden_act",
                                           .epsilon = "rms_norm_eps",
                                           .theta = "rope_theta"};
static const lm_config_names gemma_keys = {.hidden = "hidden_size",
                                           .intermediate = "intermediate_size",
                                           .layers = "num_hidden_layers",
                                           .heads = "num_attention_heads",
                                           .kv_heads = "num_key_value_heads",
                                           .head_size = "head_dim",
                                           .context = "max_position_embeddings",
                                           .activation = "hidden_activation",
                                           .epsilon = "rms_norm_eps",
                                           .theta = "rope_theta"};
static const lm_config_names gpt_neo_keys = {.hidden = "hidden_size",
                                             .intermediate = "intermediate_size",
                                             .layers = "num_layers",
                                             .heads = "num_heads",
                                             .context = "max_position_embeddings",
                                             .activation = "activation_function",
                                             .epsilon = "layer_norm_epsilon"};
static const lm_config_names gpt2_keys = {.hidden = "n_embd",
                                          .intermediate = "n_inner",
                                          .layers = "n_layer",
                                          .heads = "n_head",
                                          .context = "n_positions",
                                          .activation = "activation_function",
                                          .epsilon = "layer_norm_epsilon"};
static const lm_config_names gpt_neox_keys = {.hidden = "hidden_size",
                                              .intermediate = "intermediate_size",
                                              .layers = "num_hidden_layers",
                                              .heads = "num_attention_heads",
                                              .context = "max_position_embeddings",
                                              .activation = "hidden_act",
                                              .epsilon = "layer_norm_eps",
                                              .theta = "rotary_emb_base",
                                              .partial = "rotary_pct"};

/* --- the table --- */

#define LLAMA_LIKE(feed, names, tiny)                                                                        \
    .base_prefix = "model.", .layer_stem = "layers.", .head_names = {"lm_head.weight"}, .keys = &(names),    \
    .norm = LM_RMS_NORM, .positions = LM_ROPE, .activation = (feed), .epsilon = (tiny)
#define GPT_LIKE                                                                                             \
    .base_prefix = "transformer.", .layer_stem = "h.", .head_names = {"lm_head.weight"},                     \
    .norm = LM_LAYER_NORM, .positions = LM_LEARNED_POSITIONS, .activation = LM_GELU_NEW, .epsilon = 1e-5,    \
    .tied = true, .wide = true

static const lm_architecture table[] = {
    {.model_type = "llama",
     .class_name = "LlamaForCausalLM",
     .names = llama_names,
     .gguf = "llama",
     .gguf_pairs = true,
     LLAMA_LIKE(LM_SWIGLU, llama_keys, 1e-6)},
    {.model_type = "mistral",
     .class_name = "MistralForCausalLM",
     .names = mistral_names,
     .gguf = "llama", /* as llama.cpp has it; without a window */
     .gguf_pairs = true,
     .windows = LM_WINDOWS_ALL,
     LLAMA_LIKE(LM_SWIGLU, llama_keys, 1e-6)},
    {.model_type = "qwen2",
     .class_name = "Qwen2ForCausalLM",
     .names = qwen2_names,
     .gguf = "qwen2",
     .windows = LM_WINDOWS_LATER,
     LLAMA_LIKE(LM_SWIGLU, llama_keys, 1e-6)},
    {.model_type = "qwen3",
     .class_name = "Qwen3ForCausalLM",
     .names = qwen3_names,
     .gguf = "qwen3",
     .windows = LM_WINDOWS_LATER,
     .head_norm = LM_HEAD_NORM_EACH,
     .head_size = 128,
     LLAMA_LIKE(LM_SWIGLU, llama_keys, 1e-6)},
    {.model_type = "gemma2",
     .pads = true,
     .class_name = "Gemma2ForCausalLM",
     .names = gemma2_names,
     .gguf = "gemma2",
     .norm_plus_one = true,
     .embedding_scaled = true,
     .tied = true,
     .windows = LM_WINDOWS_PATTERN,
     .pattern = 2,
     .query_scale = 256,
     .head_size = 256,
     .attention_cap = 50,
     .final_cap = 30,
     LLAMA_LIKE(LM_GEGLU, gemma_keys, 1e-6)},
    {.model_type = "gemma3_text",
     .pads = true,
     .class_name = "Gemma3ForCausalLM",
     .names = gemma3_names,
     .gguf = "gemma3",
     .norm_plus_one = true,
     .embedding_scaled = true,
     .tied = true,
     .windows = LM_WINDOWS_PATTERN,
     .pattern = 6,
     .query_scale = 256,
     .head_size = 256,
     .head_norm = LM_HEAD_NORM_EACH,
     .theta = 1e6,
     .local_theta = 1e4,
     LLAMA_LIKE(LM_GEGLU, gemma_keys, 1e-6)},
    {.model_type = "phi3",
     .pads = true,
     .class_name = "Phi3ForCausalLM",
     .names = phi3_names,
     .gguf = "phi3",
     .windows = LM_WINDOWS_ALL,
     .partial = true,
     LLAMA_LIKE(LM_SWIGLU, llama_keys, 1e-5)},
    {.model_type = "olmo2",
     .pads = true,
     .class_name = "Olmo2ForCausalLM",
     .names = olmo2_names,
     .gguf = "olmo2",
     .head_norm = LM_HEAD_NORM_WHOLE,
     LLAMA_LIKE(LM_SWIGLU, llama_keys, 1e-5)},
    {.model_type = "gpt2",
     .class_name = "GPT2LMHeadModel",
     .names = gpt2_names,
     .gguf = "gpt2",
     .transposed = true,
     .keys = &gpt2_keys,
     GPT_LIKE},
    {.model_type = "gpt_neo",
     .class_name = "GPTNeoForCausalLM",
     .names = gpt_neo_names,
     .unscaled = true,
     .windows = LM_WINDOWS_TYPES,
     .keys = &gpt_neo_keys,
     GPT_LIKE},
    {.model_type = "gpt_neox",
     .class_name = "GPTNeoXForCausalLM",
     .names = gpt_neox_names,
     .gguf = "gptneox",
     .base_prefix = "gpt_neox.",
     .layer_stem = "layers.",
     .head_names = {"embed_out.weight", "lm_head.weight"},
     .keys = &gpt_neox_keys,
     .norm = LM_LAYER_NORM,
     .positions = LM_ROPE,
     .activation = LM_GELU,
     .epsilon = 1e-5,
     .partial = true,
     .part = 0.25,
     .attention_bias = true,
     .parallel = true,
     .query_key_value_by_head = true},
};
enum { ARCHITECTURES = sizeof table / sizeof *table };

/* --- what a role's sides are, and its name in a GGUF --- */

enum side {
    NONE,
    VOCABULARY,
    CONTEXT,
    HIDDEN,
    QUERIES,
    KEYS,
    QUERIES_KEYS_VALUES,
    FEED,
    TWO_FEED,
    QUERY_NORM,
    KEY_NORM
};

static const struct {
    const char *gguf;
    enum side rows, columns;
} roles[LM_ROLE_COUNT] = {
    [LM_EMBEDDING] = {"token_embd.weight", VOCABULARY, HIDDEN},
    [LM_POSITION_EMBEDDING] = {"position_embd.weight", CONTEXT, HIDDEN},
    [LM_FINAL_NORM] = {"output_norm.weight", HIDDEN, NONE},
    [LM_FINAL_NORM_BIAS] = {"output_norm.bias", HIDDEN, NONE},
    [LM_HEAD] = {"output.weight", VOCABULARY, HIDDEN},
    [LM_ATTENTION_NORM] = {"attn_norm.weight", HIDDEN, NONE},
    [LM_ATTENTION_NORM_BIAS] = {"attn_norm.bias", HIDDEN, NONE},
    [LM_QUERY] = {"attn_q.weight", QUERIES, HIDDEN},
    [LM_KEY] = {"attn_k.weight", KEYS, HIDDEN},
    [LM_VALUE] = {"attn_v.weight", KEYS, HIDDEN},
    [LM_OUTPUT] = {"attn_output.weight", HIDDEN, QUERIES},
    [LM_QUERY_BIAS] = {"attn_q.bias", QUERIES, NONE},
    [LM_KEY_BIAS] = {"attn_k.bias", KEYS, NONE},
    [LM_VALUE_BIAS] = {"attn_v.bias", KEYS, NONE},
    [LM_OUTPUT_BIAS] = {"attn_output.bias", HIDDEN, NONE},
    [LM_FEED_NORM] = {"ffn_norm.weight", HIDDEN, NONE},
    [LM_FEED_NORM_BIAS] = {"ffn_norm.bias", HIDDEN, NONE},
    [LM_GATE] = {"ffn_gate.weight", FEED, HIDDEN},
    [LM_UP] = {"ffn_up.weight", FEED, HIDDEN},
    [LM_DOWN] = {"ffn_down.weight", HIDDEN, FEED},
    [LM_UP_BIAS] = {"ffn_up.bias", FEED, NONE},
    [LM_DOWN_BIAS] = {"ffn_down.bias", HIDDEN, NONE},
    [LM_GATE_BIAS] = {"ffn_gate.bias", FEED, NONE},
    [LM_QUERY_NORM] = {"attn_q_norm.weight", QUERY_NORM, NONE},
    [LM_KEY_NORM] = {"attn_k_norm.weight", KEY_NORM, NONE},
    [LM_ATTENTION_POST_NORM] = {"post_attention_norm.weight", HIDDEN, NONE},
    [LM_FEED_POST_NORM] = {"post_ffw_norm.weight", HIDDEN, NONE},
    [LM_QUERY_KEY_VALUE] = {"attn_qkv.weight", QUERIES_KEYS_VALUES, HIDDEN},
    [LM_QUERY_KEY_VALUE_BIAS] = {"attn_qkv.bias", QUERIES_KEYS_VALUES, NONE},
    [LM_GATE_UP] = {"ffn_up.weight", TWO_FEED, HIDDEN},
};

const lm_architecture *lm_architecture_find(const char *model_type) {
    for (size_t i = 0; i < ARCHITECTURES; i++) {
        if (strcmp(table[i].model_type, model_type) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

const lm_architecture *lm_architecture_find_gguf(const char *name, size_t length) {
    for (size_t i = 0; i < ARCHITECTURES; i++) {
        const char *gguf = table[i].gguf;
        if (gguf != NULL && strlen(gguf) == length && memcmp(gguf, name, length) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

const char *lm_architecture_names(bool in_gguf, char *out, size_t size) {
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < ARCHITECTURES; i++) {
        const char *name = in_gguf ? table[i].gguf : table[i].model_type;
        if (name != NULL && used < size) {
            used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "", name);
        }
    }
    return out;
}

bool lm_config_start(lm_config *out, const char *architecture) {
    const lm_architecture *row = lm_architecture_find(architecture);
    memset(out, 0, sizeof *out);
    if (row == NULL) {
        return false;
    }
    snprintf(out->architecture, sizeof out->architecture, "%s", row->model_type);
    out->norm = row->norm;
    out->norm_epsilon = row->epsilon;
    out->positions = row->positions;
    out->rope_theta = row->positions != LM_ROPE ? 0 : row->theta > 0 ? row->theta : 10000.0;
    out->local_theta = row->local_theta;
    out->activation = row->activation;
    out->tied = row->tied;
    out->attention_bias = row->attention_bias;
    out->norm_plus_one = row->norm_plus_one;
    out->parallel = row->parallel;
    out->query_key_value_by_head = row->query_key_value_by_head;
    out->head_norm = row->head_norm;
    out->bos = out->eos = -1;
    return true;
}

static size_t side_of(const lm_config *config, enum side side) {
    size_t queries = config->heads * config->head_size, keys = config->kv_heads * config->head_size;
    bool each = config->head_norm == LM_HEAD_NORM_EACH;
    switch (side) {
    case VOCABULARY: return config->vocabulary;
    case CONTEXT: return config->context;
    case HIDDEN: return config->hidden;
    case QUERIES: return queries;
    case KEYS: return keys;
    case QUERIES_KEYS_VALUES: return queries + 2 * keys;
    case FEED: return config->intermediate;
    case TWO_FEED: return 2 * config->intermediate;
    case QUERY_NORM: return each ? config->head_size : queries;
    case KEY_NORM: return each ? config->head_size : keys;
    default: return 0;
    }
}

/* The role's names under this config; NULL when it has no such tensor. */
static const struct lm_tensor_name *name_of(const lm_config *config, lm_role role) {
    const lm_architecture *row = lm_architecture_find(config->architecture);
    const struct lm_tensor_name *name = row == NULL ? NULL : &row->names[role];
    bool absent = name == NULL || name->name == NULL ||
                  (name->when == WITH_ATTENTION_BIAS && !config->attention_bias) ||
                  (name->when == WITH_FEED_BIAS && !config->feed_bias);
    return absent ? NULL : name;
}

void lm_role_shape(const lm_config *config, lm_role role, unsigned *rank, size_t shape[2]) {
    *rank = 0;
    shape[0] = shape[1] = 0;
    if ((unsigned)role >= LM_ROLE_COUNT || name_of(config, role) == NULL ||
        (role == LM_HEAD && config->tied)) {
        return;
    }
    *rank = roles[role].columns == NONE ? 1 : 2;
    shape[0] = side_of(config, roles[role].rows);
    shape[1] = side_of(config, roles[role].columns);
}

bool lm_role_per_layer(lm_role role) {
    return role >= LM_ATTENTION_NORM;
}

bool lm_role_transposed(const lm_config *config, lm_role role) {
    const lm_architecture *row = lm_architecture_find(config->architecture);
    return row != NULL && row->transposed && lm_role_per_layer(role) && roles[role].columns != NONE;
}

void lm_role_name(const lm_config *config, lm_role role, size_t layer, char *out, size_t size) {
    const lm_architecture *row = lm_architecture_find(config->architecture);
    const struct lm_tensor_name *name = name_of(config, role);
    if (name == NULL) {
        snprintf(out, size, "(none)");
    } else if (role == LM_HEAD) {
        snprintf(out, size, "%s", row->head_names[0]);
    } else if (lm_role_per_layer(role)) {
        snprintf(out, size, "%s%s%zu.%s", row->base_prefix, row->layer_stem, layer, name->name);
    } else {
        snprintf(out, size, "%s%s", row->base_prefix, name->name);
    }
}

bool lm_role_gguf_name(lm_role role, size_t layer, char *out, size_t size) {
    if (roles[role].gguf == NULL) {
        return false;
    }
    if (lm_role_per_layer(role)) {
        snprintf(out, size, "blk.%zu.%s", layer, roles[role].gguf);
    } else {
        snprintf(out, size, "%s", roles[role].gguf);
    }
    return true;
}

const char *lm_role_module(const lm_config *config, lm_role role) {
    const struct lm_tensor_name *name = name_of(config, role);
    return name == NULL ? NULL : name->module;
}
