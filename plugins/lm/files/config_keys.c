/* config_keys.c: which keys of config.json are understood.
 *
 * Invariant: every key is accounted for. It is read, or known to change no result, or must hold the value that
 * switches it off; a key that is none of these is refused by name, because a model that silently computes something
 * else is worse than one that does not load. */
#include "internal.h"

#include <string.h>

typedef enum rule_kind {
    END,  /* of a list */
    READ, /* by config.c and its neighbours */
    FREE, /* changes no result here: training only, hints, names */
    OFF,  /* null, false, 0, or empty */
    ONE,  /* null or 1 */
    ON    /* null or true */
} rule_kind;

struct rule {
    const char *key;
    rule_kind kind;
};

static const struct rule common_rules[] = {
    {"model_type", READ},
    {"architectures", READ},
    {"vocab_size", READ},
    {"tie_word_embeddings", READ},
    {"bos_token_id", READ},
    {"eos_token_id", READ},
    {"pad_token_id", FREE},
    {"sep_token_id", FREE},
    {"cls_token_id", FREE},
    {"torch_dtype", FREE},
    {"dtype", FREE},
    {"transformers_version", FREE},
    {"transformers.js_config", FREE},
    {"use_cache", FREE},
    {"initializer_range", FREE},
    {"attention_dropout", FREE},
    {"resid_dropout", FREE},
    {"embed_dropout", FREE},
    {"classifier_dropout", FREE},
    {"embd_pdrop", FREE},
    {"attn_pdrop", FREE},
    {"resid_pdrop", FREE},
    {"hidden_dropout", FREE},
    {"gradient_checkpointing", FREE},
    {"task_specific_params", FREE},
    {"attn_implementation", FREE},
    {"tokenizer_class", FREE},
    {"prefix", FREE},
    {"id2label", FREE},
    {"label2id", FREE},
    {"problem_type", FREE},
    {"finetuning_task", FREE},
    {"return_dict", FREE},
    {"return_dict_in_generate", FREE},
    {"output_attentions", FREE},
    {"output_hidden_states", FREE},
    {"output_scores", FREE},
    {"torchscript", FREE},
    {"num_return_sequences", FREE},
    {"max_length", FREE},
    {"min_length", FREE},
    {"do_sample", FREE},
    {"temperature", FREE},
    {"top_k", FREE},
    {"top_p", FREE},
    {"typical_p", FREE},
    {"repetition_penalty", FREE},
    {"length_penalty", FREE},
    {"num_beams", FREE},
    {"early_stopping", FREE},
    {"cache_implementation", FREE},
    {"unsloth_version", FREE},
    {"unsloth_fixed", FREE},
    {"is_decoder", FREE},
    {"is_encoder_decoder", OFF},
    {"add_cross_attention", OFF},
    {"cross_attention_hidden_size", OFF},
    {"tie_encoder_decoder", OFF},
    {"chunk_size_feed_forward", OFF},
    {"pruned_heads", OFF},
    {"quantization_config", OFF},
    {"auto_map", OFF},
    {"sliding_window", OFF},
    {"attention_bias", OFF},
    {"mlp_bias", OFF},
    {NULL, END},
};

#define ROTARY                                                                                               \
    {"rope_scaling", READ}, {                                                                                \
        "rope_parameters", READ                                                                              \
    }
#define WINDOW                                                                                               \
    { "sliding_window", READ }
#define LAYER_WINDOWS                                                                                        \
    WINDOW, {                                                                                                \
        "layer_types", READ                                                                                  \
    }
#define SUMMARY                                                                                              \
    {"summary_type", FREE}, {"summary_use_proj", FREE}, {"summary_activation", FREE},                        \
        {"summary_proj_to_labels", FREE}, {                                                                  \
        "summary_first_dropout", FREE                                                                        \
    }

/* An architecture's own, beside the names of its sizes. */
static const struct {
    const char *model_type;
    struct rule rules[20];
} own_rules[] = {
    {"llama",
     {ROTARY,
      {"attention_bias", READ},
      {"mlp_bias", READ},
      {"is_llama_config", FREE},
      {"pretraining_tp", FREE}, /* the same sums in another order */
      {"rope_interleaved", OFF},
      {"partial_rotary_factor", ONE}}},
    {"mistral", {ROTARY, WINDOW}},
    {"qwen2",
     {ROTARY, LAYER_WINDOWS, {"use_sliding_window", READ}, {"max_window_layers", READ}, {"use_mrope", OFF}}},
    {"qwen3",
     {ROTARY,
      LAYER_WINDOWS,
      {"use_sliding_window", READ},
      {"max_window_layers", READ},
      {"attention_bias", READ}}},
    {"gemma2",
     {ROTARY,
      LAYER_WINDOWS,
      {"attention_bias", READ},
      {"attn_logit_softcapping", READ},
      {"final_logit_softcapping", READ},
      {"query_pre_attn_scalar", READ},
      {"hidden_act", FREE}, /* hidden_activation is what counts */
      {"use_bidirectional_attention", OFF}}},
    {"gemma3_text",
     {ROTARY,
      LAYER_WINDOWS,
      {"sliding_window_pattern", READ},
      {"rope_local_base_freq", READ},
      {"attention_bias", READ},
      {"attn_logit_softcapping", READ},
      {"final_logit_softcapping", READ},
      {"query_pre_attn_scalar", READ},
      {"hidden_act", FREE},
      {"use_bidirectional_attention", OFF}}},
    {"phi3",
     {ROTARY,
      WINDOW,
      {"original_max_position_embeddings", READ},
      {"partial_rotary_factor", READ},
      {"auto_map", FREE}, /* names the code that became this architecture */
      {"interpolate_factor", ONE},
      {"full_attn_mod", ONE},
      {"lm_head_bias", OFF}}},
    {"olmo2", {ROTARY, {"attention_bias", READ}}},
    {"gpt2",
     {SUMMARY,
      {"n_ctx", FREE}, /* n_positions counts */
      {"scale_attn_weights", ON},
      {"scale_attn_by_inverse_layer_idx", OFF},
      {"reorder_and_upcast_attn", FREE}}},
    {"gpt_neo", {SUMMARY, {"attention_types", READ}, {"attention_layers", READ}, {"window_size", READ}}},
    {"gpt_neox", {ROTARY, {"use_parallel_residual", READ}, {"attention_bias", READ}}},
};

static const struct rule *find_rule(const char *key, const struct rule *rules) {
    for (; rules->kind != END; rules++) {
        if (strcmp(rules->key, key) == 0) {
            return rules;
        }
    }
    return NULL;
}

static const struct rule *own_list(const lm_architecture *row) {
    static const struct rule none = {NULL, END};
    for (size_t i = 0; i < sizeof own_rules / sizeof *own_rules; i++) {
        if (strcmp(own_rules[i].model_type, row->model_type) == 0) {
            return own_rules[i].rules;
        }
    }
    return &none;
}

/* One of the names of the sizes: config.c reads it. */
static bool is_size(const char *key, const lm_config_names *names) {
    const char *const all[] = {names->hidden,   names->intermediate, names->layers,  names->heads,
                               names->kv_heads, names->head_size,    names->context, names->activation,
                               names->epsilon,  names->theta,        names->partial};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i] != NULL && strcmp(all[i], key) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_off(const json_t *value) {
    return json_is_null(value) || json_is_false(value) ||
           (json_is_number(value) && json_number_value(value) == 0.0) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static temper_status check_value(const struct rule *rule, const json_t *value, temper_error *error) {
    static const char *const wanted[] = {[OFF] = "its absence (null or false)", [ONE] = "1", [ON] = "true"};
    char text[80];
    bool good = rule->kind == OFF ? is_off(value)
                : rule->kind == ONE
                    ? json_is_null(value) || (json_is_number(value) && json_number_value(value) == 1.0)
                : rule->kind == ON ? json_is_null(value) || json_is_true(value)
                                   : true;
    return good ? TEMPER_OK
                : temper_fail(error, TEMPER_UNSUPPORTED, "config.json: \"%s\" is %s; only %s is supported",
                              rule->key, lm_json_describe(value, text, sizeof text), wanted[rule->kind]);
}

temper_status lm_config_check_keys(const json_t *root, const lm_architecture *row, temper_error *error) {
    const struct rule *own = own_list(row);
    const char *key;
    json_t *value;
    char text[80];
    json_object_foreach((json_t *)(uintptr_t)root, key, value) {
        const struct rule *rule = find_rule(key, own);
        rule = rule == NULL ? find_rule(key, common_rules) : rule;
        if (is_size(key, row->keys)) {
            continue;
        }
        if (rule == NULL && key[0] != '_' &&
            !json_is_null(value)) { /* else: a writer's private notes; unset */
            return temper_fail(error, TEMPER_UNSUPPORTED,
                               "config.json: \"%.80s\" is %s; it is not known what that changes in a %s", key,
                               lm_json_describe(value, text, sizeof text), row->model_type);
        }
        temper_status status = rule == NULL ? TEMPER_OK : check_value(rule, value, error);
        if (status) {
            return status;
        }
    }
    return TEMPER_OK;
}
