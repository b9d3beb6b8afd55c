/* config_gguf.c: a GGUF's metadata to lm_config.
 *
 * Invariant: as for config.json, every key under the architecture's name is read, harmless, or refused by name. What
 * llama.cpp has built in for an architecture (Gemma's windows and scales) stands here and in config_gguf_write.c. */
#include "internal.h"

#include <string.h>

const char *lm_config_gguf_name(const lm_config *config) {
    const lm_architecture *row = lm_architecture_find(config->architecture);
    return row == NULL ? NULL : row->gguf;
}

size_t lm_gguf_row(const lm_config *config, lm_role role, size_t row) {
    const lm_architecture *architecture = lm_architecture_find(config->architecture);
    size_t size = config->head_size, within = row % size;
    bool turned = role == LM_QUERY || role == LM_KEY || role == LM_QUERY_BIAS || role == LM_KEY_BIAS;
    bool fused = role == LM_QUERY_KEY_VALUE || role == LM_QUERY_KEY_VALUE_BIAS;
    if (architecture != NULL && architecture->gguf_pairs && turned) {
        return row - within + within % (size / 2) * 2 + within / (size / 2);
    }
    if (config->query_key_value_by_head && fused) {
        return (row / size % 3 * config->heads + row / (3 * size)) * size + within;
    }
    return row;
}

/* A file being read: keys are looked up under the architecture's name. */
struct reader {
    const lm_gguf *gguf;
    const char *file, *prefix;
};

static const char *key_of(const struct reader *self, const char *name, char out[128]) {
    snprintf(out, 128, "%s.%s", self->prefix, name);
    return out;
}

static const char *const known[] = {
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "block_count",
    "vocab_size",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.layer_norm_epsilon",
    "attention.sliding_window",
    "attention.causal",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "use_parallel_residual",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scale_linear",
    "expert_count",
    "expert_used_count",
    "tensor_data_layout",
};

static temper_status check_keys(const struct reader *self, temper_error *error) {
    size_t start = strlen(self->prefix) + 1;
    for (size_t i = 0; i < lm_gguf_key_count(self->gguf); i++) {
        size_t length, k = 0;
        const char *key = lm_gguf_key_at(self->gguf, i, &length);
        if (length < start || memcmp(key, self->prefix, start - 1) != 0 || key[start - 1] != '.') {
            continue;
        }
        while (k < sizeof known / sizeof *known &&
               (strlen(known[k]) != length - start || memcmp(known[k], key + start, length - start) != 0)) {
            k++;
        }
        if (k == sizeof known / sizeof *known) {
            return temper_fail(error, TEMPER_UNSUPPORTED, "%s: \"%.*s\": it is not known what that changes",
                               self->file, (int)length, key);
        }
    }
    return TEMPER_OK;
}

static temper_status read_count(const struct reader *self, const char *name, int64_t absent, size_t *out,
                                temper_error *error) {
    char key[128];
    int64_t value = absent;
    if (lm_gguf_array_length(self->gguf, key_of(self, name, key)) > 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: \"%s\" is a list: layers that differ are not supported", self->file, key);
    }
    lm_gguf_integer(self->gguf, key, &value);
    if (value < 1 || value > INT32_MAX) {
        return temper_fail(error, TEMPER_INVALID, "%s: \"%s\" is %s", self->file, key,
                           value < 0 ? "missing or no number" : "out of range");
    }
    *out = (size_t)value;
    return TEMPER_OK;
}

/* Positive, or its default (which may be 0: off). */
static temper_status read_number(const struct reader *self, const char *name, double *value,
                                 temper_error *error) {
    char key[128];
    double found = *value;
    if (lm_gguf_number(self->gguf, key_of(self, name, key), &found) && !(found >= 0.0 && found < 1e30)) {
        return temper_fail(error, TEMPER_INVALID, "%s: \"%s\" is %g", self->file, key, found);
    }
    *value = found;
    return TEMPER_OK;
}

/* Token ids: 0xFFFFFFFF, and -1, mean none. */
static int64_t read_id(const lm_gguf *gguf, const char *key) {
    int64_t id = -1;
    lm_gguf_integer(gguf, key, &id);
    return id == (int64_t)UINT32_MAX ? -1 : id;
}

/* --- rope scaling: a type, or a divisor for each pair's frequency --- */

/* Llama 3's formula gives divisors; files hold what it gave. */
static bool is_llama3(const lm_config *config, const float *divisors, size_t pairs, double factor,
                      double original) {
    lm_config guess = *config;
    guess.scaling = (lm_rope_scaling){
        .kind = LM_ROPE_LLAMA3, .factor = factor, .original = original, .low = 1.0, .high = 4.0};
    for (size_t i = 0; i < pairs; i++) {
        double expected = lm_config_rope_divisor(&guess, i), off = (double)divisors[i] - expected;
        if (off > 1e-5 * expected || off < -1e-5 * expected) {
            return false;
        }
    }
    return true;
}

static temper_status read_divisors(const struct reader *self, const lm_tensor *tensor, lm_config *out,
                                   temper_error *error) {
    static const double factors[] = {8.0, 32.0}; /* Llama 3.1, 3.2 */
    size_t pairs = lm_config_rotated(out) / 2;
    float divisors[LM_MAX_FACTORS];
    if (tensor->rank != 1 || tensor->shape[0] != pairs || pairs > LM_MAX_FACTORS) {
        return temper_fail(
            error, TEMPER_INVALID,
            "%s: tensor \"rope_freqs.weight\" is not a divisor for each of %zu pairs (at most %d)",
            self->file, pairs, LM_MAX_FACTORS);
    }
    lm_tensor_read(tensor, 0, pairs, divisors);
    for (size_t i = 0; i < pairs; i++) {
        if (!(divisors[i] > 0.0f && divisors[i] < 1e9f)) {
            return temper_fail(error, TEMPER_INVALID, "%s: tensor \"rope_freqs.weight\" holds %g", self->file,
                               (double)divisors[i]);
        }
    }
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        if (is_llama3(out, divisors, pairs, factors[i], 8192.0)) {
            out->scaling = (lm_rope_scaling){
                .kind = LM_ROPE_LLAMA3, .factor = factors[i], .original = 8192.0, .low = 1.0, .high = 4.0};
            return TEMPER_OK;
        }
    }
    out->scaling = (lm_rope_scaling){.kind = LM_ROPE_LONG, .factor = 1.0, .original = (double)out->context};
    for (size_t i = 0; i < pairs; i++) {
        out->scaling.short_factors[i] = out->scaling.long_factors[i] = (double)divisors[i];
    }
    return TEMPER_OK;
}

static temper_status read_scaling(const struct reader *self, lm_config *out, temper_error *error) {
    const lm_tensor *divisors = lm_gguf_find(self->gguf, "rope_freqs.weight");
    const char *type = "none";
    size_t length = 4;
    double factor = 1.0, linear = 1.0;
    char key[128];
    lm_gguf_string(self->gguf, key_of(self, "rope.scaling.type", key), &type, &length);
    lm_gguf_number(self->gguf, key_of(self, "rope.scaling.factor", key), &factor);
    lm_gguf_number(self->gguf, key_of(self, "rope.scale_linear", key), &linear);
    bool is_linear = length == 6 && memcmp(type, "linear", 6) == 0,
         none = length == 4 && memcmp(type, "none", 4) == 0;
    factor = is_linear || none ? factor * linear : factor;
    if ((!is_linear && !none) || (none && factor != 1.0 && linear == 1.0) ||
        !(factor > 0.0 && factor < 1e9) || lm_gguf_find(self->gguf, "rope_factors_long.weight") != NULL ||
        lm_gguf_find(self->gguf, "rope_factors_short.weight") != NULL) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "%s: its rope is scaled by \"%.*s\" %g (rope.scaling, rope_factors); of a GGUF only \"linear\" "
            "and rope_freqs are read: take the Hugging Face folder",
            self->file, length > 40 ? 40 : (int)length, type, factor);
    }
    if (divisors != NULL) {
        return read_divisors(self, divisors, out, error);
    }
    if (factor != 1.0) {
        out->scaling = (lm_rope_scaling){.kind = LM_ROPE_LINEAR, .factor = factor};
    }
    return TEMPER_OK;
}

/* --- what an architecture has of its own --- */

/* Gemma's windows: all layers but every second, or every sixth; phi3's: all, where it is shorter than the context. */
static temper_status read_windows(const struct reader *self, const lm_architecture *row, lm_config *out,
                                  temper_error *error) {
    char key[128];
    int64_t window = 0;
    lm_gguf_integer(self->gguf, key_of(self, "attention.sliding_window", key), &window);
    if (window < 0 || window > INT32_MAX) {
        return temper_fail(error, TEMPER_INVALID, "%s: \"%s\" is out of range", self->file, key);
    }
    if (row->pattern == 0 && window > 0 && (size_t)window < out->context) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: \"%s\" is %lld: of a GGUF, windows are read for gemma2 and gemma3 only",
                           self->file, key, (long long)window);
    }
    if (row->pattern > 0 && window == 0) {
        return temper_fail(error, TEMPER_INVALID, "%s: \"%s\" is missing", self->file, key);
    }
    for (size_t layer = 0; row->pattern > 0 && layer < out->layers; layer++) {
        out->window[layer] = (layer + 1) % row->pattern != 0 ? (size_t)window : 0;
    }
    return TEMPER_OK;
}

size_t lm_gguf_query_scale(const lm_config *config) {
    bool large = (strcmp(config->architecture, "gemma2") == 0 && config->layers == 46) ||
                 (strcmp(config->architecture, "gemma3_text") == 0 && config->layers == 62);
    return large ? config->hidden / config->heads : config->head_size;
}

static bool has(const lm_gguf *gguf, const char *name) {
    return lm_gguf_find(gguf, name) != NULL || lm_gguf_unread(gguf, name) != NULL;
}

static temper_status read_features(const struct reader *self, const lm_architecture *row, lm_config *out,
                                   temper_error *error) {
    char key[128];
    int64_t experts = 0;
    temper_status status;
    lm_gguf_integer(self->gguf, key_of(self, "expert_count", key), &experts);
    if (experts != 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: %s is %lld; mixtures are not supported",
                           self->file, key, (long long)experts);
    }
    out->attention_bias = has(self->gguf, "blk.0.attn_q.bias") || has(self->gguf, "blk.0.attn_qkv.bias");
    out->feed_bias = has(self->gguf, "blk.0.ffn_up.bias");
    lm_gguf_bool(self->gguf, key_of(self, "use_parallel_residual", key), &out->parallel);
    if (row->query_scale > 0) {
        out->attention_cap = row->attention_cap;
        out->final_cap = row->final_cap;
    }
    if ((status = read_number(self, "attn_logit_softcapping", &out->attention_cap, error)) ||
        (status = read_number(self, "final_logit_softcapping", &out->final_cap, error)) ||
        (status = read_windows(self, row, out, error))) {
        return status;
    }
    if (row->positions == LM_ROPE &&
        ((status = read_number(self, "rope.freq_base", &out->rope_theta, error)) ||
         (status = read_number(self, "rope.freq_base_swa", &out->local_theta, error)) ||
         (status = read_scaling(self, out, error)))) {
        return status;
    }
    const char *epsilon =
        out->norm == LM_RMS_NORM ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    out->norm_epsilon = 0.0;
    if ((status = read_number(self, epsilon, &out->norm_epsilon, error))) {
        return status;
    }
    if (!(out->norm_epsilon > 0.0) || (row->positions == LM_ROPE && !(out->rope_theta > 0.0))) {
        return temper_fail(error, TEMPER_INVALID, "%s: %s.%s or %s.rope.freq_base is missing or not positive",
                           self->file, self->prefix, epsilon, self->prefix);
    }
    return TEMPER_OK;
}

static temper_status read_sizes(const struct reader *self, const lm_architecture *row, lm_config *out,
                                temper_error *error) {
    size_t value_size, rotated;
    temper_status status;
    const lm_tensor *embedding = lm_gguf_find(self->gguf, "token_embd.weight");
    int64_t rows = embedding != NULL && embedding->rank == 2 && embedding->shape[0] <= INT32_MAX
                       ? (int64_t)embedding->shape[0]
                       : -1;
    if ((status = read_count(self, "vocab_size", rows, &out->vocabulary, error)) ||
        (status = read_count(self, "embedding_length", -1, &out->hidden, error)) ||
        (status = read_count(self, "feed_forward_length", -1, &out->intermediate, error)) ||
        (status = read_count(self, "block_count", -1, &out->layers, error)) ||
        (status = read_count(self, "attention.head_count", -1, &out->heads, error)) ||
        (status = read_count(self, "attention.head_count_kv", (int64_t)out->heads, &out->kv_heads, error)) ||
        (status = read_count(self, "context_length", -1, &out->context, error)) ||
        (status = read_count(self, "attention.key_length", (int64_t)(out->hidden / out->heads),
                             &out->head_size, error)) ||
        (status = read_count(self, "attention.value_length", (int64_t)out->head_size, &value_size, error)) ||
        (status = read_count(self, "rope.dimension_count", (int64_t)out->head_size, &rotated, error))) {
        return status;
    }
    if (out->layers > LM_MAX_LAYERS) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: %zu layers; 1 to %d are supported", self->file,
                           out->layers, LM_MAX_LAYERS);
    }
    if ((rotated != out->head_size && !row->partial) || rotated > out->head_size ||
        value_size != out->head_size) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "%s: heads of %zu, of which %zu are rotated, with values of %zu; only equal ones are "
            "supported",
            self->file, out->head_size, rotated, value_size);
    }
    out->rotated = rotated == out->head_size ? 0 : rotated;
    return TEMPER_OK;
}

temper_status lm_config_from_gguf(const lm_gguf *gguf, const char *file, lm_config *out,
                                  temper_error *error) {
    const char *name = "";
    size_t length = 0;
    temper_status status;
    memset(out, 0, sizeof *out);
    if (lm_gguf_is_adapter(gguf)) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: it is an adapter, no model: name its base, and this with --adapter", file);
    }
    lm_gguf_string(gguf, "general.architecture", &name, &length);
    const lm_architecture *row = lm_architecture_find_gguf(name, length);
    if (row == NULL) {
        char names[256];
        return temper_fail(
            error, TEMPER_UNSUPPORTED, "%s: its general.architecture is \"%.*s\"; supported are %s", file,
            length > 40 ? 40 : (int)length, name, lm_architecture_names(true, names, sizeof names));
    }
    lm_config_start(out, row->model_type);
    out->tied = !has(gguf, "output.weight");
    struct reader self = {gguf, file, row->gguf};
    if ((status = check_keys(&self, error)) || (status = read_sizes(&self, row, out, error)) ||
        (status = read_features(&self, row, out, error))) {
        return status;
    }
    lm_config_derive(out, row, row->query_scale > 0 ? lm_gguf_query_scale(out) : 0);
    out->bos = read_id(gguf, "tokenizer.ggml.bos_token_id");
    out->eos = read_id(gguf, "tokenizer.ggml.eos_token_id");
    return lm_config_check(out, file, error);
}
