/* config_gguf_write.c: lm_config to a GGUF's metadata.
 *
 * Invariant: lm_config_from_gguf gives the same config back, and llama.cpp computes the same; what it would not is refused
 * by name. */
#include "internal.h"

#include <string.h>
#include <temper/math.h>

double lm_config_rope_divisor(const lm_config *config, size_t pair) {
    const lm_rope_scaling *scaling = &config->scaling;
    size_t rotated = lm_config_rotated(config);
    if (scaling->kind == LM_ROPE_LONG) {
        return scaling->short_factors[pair];
    }
    double wave = 6.283185307179586 * temper_pow(config->rope_theta, 2.0 * (double)pair / (double)rotated);
    if (wave < scaling->original / scaling->high) {
        return 1.0;
    }
    if (wave > scaling->original / scaling->low) {
        return scaling->factor;
    }
    double smooth = (scaling->original / wave - scaling->low) / (scaling->high - scaling->low);
    return 1.0 / ((1.0 - smooth) / scaling->factor + smooth);
}

static temper_status refuse(const lm_config *config, const char *what, temper_error *error) {
    return temper_fail(error, TEMPER_UNSUPPORTED, "a GGUF of %s cannot hold %s: take --format hf",
                       config->architecture, what);
}

/* What llama.cpp has built in must be what the config says. */
static temper_status check(const lm_config *config, const lm_architecture *row, temper_error *error) {
    size_t window = 0;
    for (size_t layer = 0; layer < config->layers; layer++) {
        bool local = row->pattern > 0 && (layer + 1) % row->pattern != 0;
        size_t here = config->window[layer];
        if ((here != 0) != local && !(here >= config->context)) {
            return refuse(config, "windows in other layers than llama.cpp has them in", error);
        }
        if (local && window != 0 && window != here) {
            return refuse(config, "windows of several lengths", error);
        }
        window = local ? here : window;
    }
    if (row->query_scale > 0 &&
        config->attention_scale != lm_inverse_square_root(lm_gguf_query_scale(config))) {
        return refuse(config, "this scale of attention (query_pre_attn_scalar)", error);
    }
    if (config->scaling.kind == LM_ROPE_YARN || (config->scaling.kind == LM_ROPE_LONG && !row->gguf_pairs) ||
        config->scaling.magnitude > 0.0) {
        return refuse(config, "this scaling of rope (yarn, longrope)", error);
    }
    if (strcmp(row->model_type, "gemma3_text") == 0 && config->local_theta != 10000.0) {
        return refuse(config, "another rope_local_base_freq than 10000", error);
    }
    return TEMPER_OK;
}

struct writer {
    lm_gguf_writer *out;
    const char *prefix;
};

static void integer(const struct writer *self, const char *name, size_t value) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", self->prefix, name);
    lm_gguf_writer_integer(self->out, key, (uint32_t)value);
}

static void number(const struct writer *self, const char *name, double value) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", self->prefix, name);
    lm_gguf_writer_number(self->out, key, value);
}

static void write_rope(const struct writer *self, const lm_config *config) {
    char key[128];
    integer(self, "rope.dimension_count", lm_config_rotated(config));
    number(self, "rope.freq_base", config->rope_theta);
    if (config->scaling.kind == LM_ROPE_LINEAR) {
        snprintf(key, sizeof key, "%s.rope.scaling.type", self->prefix);
        lm_gguf_writer_string(self->out, key, "linear", 6);
        number(self, "rope.scaling.factor", config->scaling.factor);
    }
}

temper_status lm_config_write_gguf(const lm_config *config, lm_gguf_writer *out, temper_error *error) {
    const lm_architecture *row = lm_architecture_find(config->architecture);
    if (row == NULL || row->gguf == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "there is no GGUF of a %s: take --format hf",
                           config->architecture);
    }
    struct writer self = {out, row->gguf};
    temper_status status = check(config, row, error);
    if (status) {
        return status;
    }
    lm_gguf_writer_string(out, "general.architecture", row->gguf, strlen(row->gguf));
    integer(&self, "context_length", config->context);
    integer(&self, "embedding_length", config->hidden);
    integer(&self, "feed_forward_length", config->intermediate);
    integer(&self, "block_count", config->layers);
    integer(&self, "vocab_size", config->vocabulary);
    integer(&self, "attention.head_count", config->heads);
    integer(&self, "attention.head_count_kv", config->kv_heads);
    integer(&self, "attention.key_length", config->head_size);
    integer(&self, "attention.value_length", config->head_size);
    number(&self,
           config->norm == LM_RMS_NORM ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
           config->norm_epsilon);
    if (config->positions == LM_ROPE) {
        write_rope(&self, config);
    }
    if (row->pattern > 0) {
        size_t window = 0;
        for (size_t layer = 0; layer < config->layers; layer++) {
            window = config->window[layer] > window ? config->window[layer] : window;
        }
        integer(&self, "attention.sliding_window", window == 0 ? config->context : window);
    }
    if (config->attention_cap > 0.0 || strcmp(row->model_type, "gemma2") == 0) {
        number(&self, "attn_logit_softcapping", config->attention_cap);
    }
    if (config->final_cap > 0.0 || strcmp(row->model_type, "gemma2") == 0) {
        number(&self, "final_logit_softcapping", config->final_cap);
    }
    if (row->parallel) {
        char key[128];
        snprintf(key, sizeof key, "%s.use_parallel_residual", row->gguf);
        lm_gguf_writer_flag(out, key, config->parallel);
    }
    return TEMPER_OK;
}
