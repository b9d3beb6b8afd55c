/* architectures.c: what one architecture has that another lacks, and the names its weights go by. A new
 * architecture is a row of `table`, a column of `names` and, where it brings a new key, a rule in config.c.
 *
 * Invariant: a role has a name here if and only if lm_role_shape gives it a rank. */
#include "internal.h"

#include <string.h>

enum { LLAMA, GPT_NEO, ARCHITECTURES };

static const lm_architecture table[ARCHITECTURES] = {
    [LLAMA] = {"llama", "LlamaForCausalLM", "model.", "layers.", "lm_head.weight", LM_RMS_NORM, LM_ROPE,
               LM_SWIGLU, true},
    [GPT_NEO] = {"gpt_neo", "GPTNeoForCausalLM", "transformer.", "h.", "lm_head.weight", LM_LAYER_NORM,
                 LM_LEARNED_POSITIONS, LM_GELU_NEW, false},
};

/* What a role's sides are. */
enum side { NONE, VOCABULARY, CONTEXT, HIDDEN, QUERIES, KEYS, FEED };

static const struct {
    const char *names[ARCHITECTURES]; /* without prefix and layer; NULL: it has none */
    const char *gguf;
    const char *module[ARCHITECTURES]; /* of linear layers */
    enum side rows, columns;
} roles[LM_ROLE_COUNT] = {
    [LM_EMBEDDING] = {{"embed_tokens.weight", "wte.weight"}, "token_embd.weight", {0}, VOCABULARY, HIDDEN},
    [LM_POSITION_EMBEDDING] = {{NULL, "wpe.weight"}, NULL, {0}, CONTEXT, HIDDEN},
    [LM_FINAL_NORM] = {{"norm.weight", "ln_f.weight"}, "output_norm.weight", {0}, HIDDEN, NONE},
    [LM_FINAL_NORM_BIAS] = {{NULL, "ln_f.bias"}, NULL, {0}, HIDDEN, NONE},
    [LM_HEAD] = {{"", ""}, "output.weight", {0}, VOCABULARY, HIDDEN},
    [LM_ATTENTION_NORM] = {{"input_layernorm.weight", "ln_1.weight"}, "attn_norm.weight", {0}, HIDDEN, NONE},
    [LM_ATTENTION_NORM_BIAS] = {{NULL, "ln_1.bias"}, NULL, {0}, HIDDEN, NONE},
    [LM_QUERY] = {{"self_attn.q_proj.weight", "attn.attention.q_proj.weight"},
                  "attn_q.weight",
                  {"q_proj", "q_proj"},
                  QUERIES,
                  HIDDEN},
    [LM_KEY] = {{"self_attn.k_proj.weight", "attn.attention.k_proj.weight"},
                "attn_k.weight",
                {"k_proj", "k_proj"},
                KEYS,
                HIDDEN},
    [LM_VALUE] = {{"self_attn.v_proj.weight", "attn.attention.v_proj.weight"},
                  "attn_v.weight",
                  {"v_proj", "v_proj"},
                  KEYS,
                  HIDDEN},
    [LM_OUTPUT] = {{"self_attn.o_proj.weight", "attn.attention.out_proj.weight"},
                   "attn_output.weight",
                   {"o_proj", "out_proj"},
                   HIDDEN,
                   QUERIES},
    [LM_QUERY_BIAS] = {{NULL, NULL}, NULL, {0}, QUERIES, NONE},
    [LM_KEY_BIAS] = {{NULL, NULL}, NULL, {0}, KEYS, NONE},
    [LM_VALUE_BIAS] = {{NULL, NULL}, NULL, {0}, KEYS, NONE},
    [LM_OUTPUT_BIAS] = {{NULL, "attn.attention.out_proj.bias"}, NULL, {0}, HIDDEN, NONE},
    [LM_FEED_NORM] =
        {{"post_attention_layernorm.weight", "ln_2.weight"}, "ffn_norm.weight", {0}, HIDDEN, NONE},
    [LM_FEED_NORM_BIAS] = {{NULL, "ln_2.bias"}, NULL, {0}, HIDDEN, NONE},
    [LM_GATE] = {{"mlp.gate_proj.weight", NULL}, "ffn_gate.weight", {"gate_proj", NULL}, FEED, HIDDEN},
    [LM_UP] = {{"mlp.up_proj.weight", "mlp.c_fc.weight"}, "ffn_up.weight", {"up_proj", "c_fc"}, FEED, HIDDEN},
    [LM_DOWN] = {{"mlp.down_proj.weight", "mlp.c_proj.weight"},
                 "ffn_down.weight",
                 {"down_proj", "c_proj"},
                 HIDDEN,
                 FEED},
    [LM_UP_BIAS] = {{NULL, "mlp.c_fc.bias"}, NULL, {0}, FEED, NONE},
    [LM_DOWN_BIAS] = {{NULL, "mlp.c_proj.bias"}, NULL, {0}, HIDDEN, NONE},
};

const lm_architecture *lm_architecture_find(const char *model_type) {
    for (size_t i = 0; i < ARCHITECTURES; i++) {
        if (strcmp(table[i].model_type, model_type) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

static size_t architecture_of(const lm_config *config) {
    const lm_architecture *row = lm_architecture_find(config->architecture);
    return row == NULL ? ARCHITECTURES : (size_t)(row - table);
}

static size_t side_of(const lm_config *config, enum side side) {
    switch (side) {
    case VOCABULARY: return config->vocabulary;
    case CONTEXT: return config->context;
    case HIDDEN: return config->hidden;
    case QUERIES: return config->heads * config->head_size;
    case KEYS: return config->kv_heads * config->head_size;
    case FEED: return config->intermediate;
    default: return 0;
    }
}

void lm_role_shape(const lm_config *config, lm_role role, unsigned *rank, size_t shape[2]) {
    size_t row = architecture_of(config);
    *rank = 0;
    shape[0] = shape[1] = 0;
    if (row == ARCHITECTURES || roles[role].names[row] == NULL || (role == LM_HEAD && config->tied)) {
        return;
    }
    *rank = roles[role].columns == NONE ? 1 : 2;
    shape[0] = side_of(config, roles[role].rows);
    shape[1] = side_of(config, roles[role].columns);
}

bool lm_role_per_layer(lm_role role) {
    return role >= LM_ATTENTION_NORM;
}

void lm_role_name(const lm_config *config, lm_role role, size_t layer, char *out, size_t size) {
    size_t row = architecture_of(config);
    if (row == ARCHITECTURES || roles[role].names[row] == NULL) {
        snprintf(out, size, "(none)");
    } else if (role == LM_HEAD) {
        snprintf(out, size, "%s", table[row].head_name);
    } else if (lm_role_per_layer(role)) {
        snprintf(out, size, "%s%s%zu.%s", table[row].base_prefix, table[row].layer_stem, layer,
                 roles[role].names[row]);
    } else {
        snprintf(out, size, "%s%s", table[row].base_prefix, roles[role].names[row]);
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
    size_t row = architecture_of(config);
    return row == ARCHITECTURES ? NULL : roles[role].module[row];
}
