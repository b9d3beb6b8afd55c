/* config_gguf.c: a GGUF's metadata to lm_config.
 *
 * Invariant: as for config.json, every "llama." key is read, harmless, or refused by name. */
#include "internal.h"

#include <string.h>

static const char *const known[] = {
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "block_count",
    "vocab_size",
    "rope.dimension_count",
    "rope.freq_base",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scale_linear",
    "expert_count",
    "expert_used_count",
    "tensor_data_layout",
};

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

static temper_status check_keys(const lm_gguf *gguf, const char *file, temper_error *error) {
    for (size_t i = 0; i < lm_gguf_key_count(gguf); i++) {
        size_t length, k = 0;
        const char *key = lm_gguf_key_at(gguf, i, &length);
        if (length < 6 || memcmp(key, "llama.", 6) != 0) {
            continue;
        }
        while (k < sizeof known / sizeof *known &&
               (strlen(known[k]) != length - 6 || memcmp(known[k], key + 6, length - 6) != 0)) {
            k++;
        }
        if (k == sizeof known / sizeof *known) {
            return temper_fail(error, TEMPER_UNSUPPORTED, "%s: \"%.*s\": it is not known what that changes",
                               file, (int)length, key);
        }
    }
    return TEMPER_OK;
}

static temper_status read_count(const lm_gguf *gguf, const char *file, const char *key, int64_t absent,
                                size_t *out, temper_error *error) {
    int64_t value = absent;
    lm_gguf_integer(gguf, key, &value);
    if (value < 1 || value > INT32_MAX) {
        return temper_fail(error, TEMPER_INVALID, "%s: \"%s\" is %s", file, key,
                           value < 0 ? "missing or no number" : "out of range");
    }
    *out = (size_t)value;
    return TEMPER_OK;
}

/* Token ids: 0xFFFFFFFF, and -1, mean none. */
static int64_t read_id(const lm_gguf *gguf, const char *key) {
    int64_t id = -1;
    lm_gguf_integer(gguf, key, &id);
    return id == (int64_t)UINT32_MAX ? -1 : id;
}

static temper_status refuse_scaling(const lm_gguf *gguf, const char *file, temper_error *error) {
    const char *type = "none";
    size_t length = 4;
    double factor = 1.0, linear = 1.0;
    int64_t experts = 0;
    lm_gguf_string(gguf, "llama.rope.scaling.type", &type, &length);
    lm_gguf_number(gguf, "llama.rope.scaling.factor", &factor);
    lm_gguf_number(gguf, "llama.rope.scale_linear", &linear);
    lm_gguf_integer(gguf, "llama.expert_count", &experts);
    if (length != 4 || memcmp(type, "none", 4) != 0 || factor != 1.0 || linear != 1.0 ||
        lm_gguf_find(gguf, "rope_freqs.weight") != NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: its rope is scaled (llama.rope.scaling, rope_freqs); only "
                           "the unscaled kind is supported",
                           file);
    }
    if (experts != 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: llama.expert_count is %lld; mixtures are not supported", file,
                           (long long)experts);
    }
    return TEMPER_OK;
}

temper_status lm_config_from_gguf(const lm_gguf *gguf, const char *file, lm_config *out,
                                  temper_error *error) {
    const char *name;
    size_t length, rotated, value_size;
    temper_status status;
    if (!lm_gguf_string(gguf, "general.architecture", &name, &length) || length != 5 ||
        memcmp(name, "llama", 5) != 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: its general.architecture is not \"llama\"", file);
    }
    lm_config_start(out, "llama");
    out->tied = lm_gguf_find(gguf, "output.weight") == NULL && lm_gguf_unread(gguf, "output.weight") == NULL;
    const lm_tensor *embedding = lm_gguf_find(gguf, "token_embd.weight");
    int64_t rows = embedding != NULL && embedding->rank == 2 && embedding->shape[0] <= INT32_MAX
                       ? (int64_t)embedding->shape[0]
                       : -1;
    if ((status = check_keys(gguf, file, error)) || (status = refuse_scaling(gguf, file, error)) ||
        (status = read_count(gguf, file, "llama.vocab_size", rows, &out->vocabulary, error)) ||
        (status = read_count(gguf, file, "llama.embedding_length", -1, &out->hidden, error)) ||
        (status = read_count(gguf, file, "llama.feed_forward_length", -1, &out->intermediate, error)) ||
        (status = read_count(gguf, file, "llama.block_count", -1, &out->layers, error)) ||
        (status = read_count(gguf, file, "llama.attention.head_count", -1, &out->heads, error)) ||
        (status = read_count(gguf, file, "llama.attention.head_count_kv", (int64_t)out->heads, &out->kv_heads,
                             error)) ||
        (status = read_count(gguf, file, "llama.context_length", -1, &out->context, error)) ||
        (status = read_count(gguf, file, "llama.attention.key_length", (int64_t)(out->hidden / out->heads),
                             &out->head_size, error)) ||
        (status = read_count(gguf, file, "llama.attention.value_length", (int64_t)out->head_size, &value_size,
                             error)) ||
        (status = read_count(gguf, file, "llama.rope.dimension_count", (int64_t)out->head_size, &rotated,
                             error))) {
        return status;
    }
    lm_gguf_number(gguf, "llama.rope.freq_base", &out->rope_theta);
    if (!lm_gguf_number(gguf, "llama.attention.layer_norm_rms_epsilon", &out->norm_epsilon) ||
        !(out->norm_epsilon > 0.0) || !(out->rope_theta > 0.0)) {
        return temper_fail(
            error, TEMPER_INVALID,
            "%s: llama.attention.layer_norm_rms_epsilon or llama.rope.freq_base is missing or not "
            "positive",
            file);
    }
    if (rotated != out->head_size || value_size != out->head_size) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "%s: heads of %zu, of which %zu are rotated, with values of %zu; only equal ones are "
            "supported",
            file, out->head_size, rotated, value_size);
    }
    out->attention_scale = lm_inverse_square_root(out->head_size);
    out->bos = read_id(gguf, "tokenizer.ggml.bos_token_id");
    out->eos = read_id(gguf, "tokenizer.ggml.eos_token_id");
    return lm_config_check(out, file, error);
}
