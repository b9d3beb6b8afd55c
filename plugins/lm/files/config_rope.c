/* config_rope.c: rotary positions in config.json: rope_theta, rope_scaling (before transformers 5), rope_parameters
 * (since); and back, in the older form, which both read.
 *
 * Invariant: every key of those objects is used by their type, or refused by name. */
#include "internal.h"

#include <math.h>
#include <string.h>
#include <temper/math.h>

static const struct {
    const char *name;
    lm_rope_kind kind;
    const char *keys; /* with a blank around each */
} types[] = {
    {"default", LM_ROPE_PLAIN, " "},
    {"linear", LM_ROPE_LINEAR, " factor "},
    {"llama3", LM_ROPE_LLAMA3, " factor low_freq_factor high_freq_factor original_max_position_embeddings "},
    {"yarn", LM_ROPE_YARN,
     " factor original_max_position_embeddings attention_factor beta_fast beta_slow truncate "},
    {"longrope", LM_ROPE_LONG,
     " factor original_max_position_embeddings attention_factor short_factor long_factor "},
    {"su", LM_ROPE_LONG, " factor original_max_position_embeddings short_factor long_factor "}};
enum { TYPES = sizeof types / sizeof *types };

static const char *type_name(const json_t *rope) {
    const char *name = json_string_value(json_object_get(rope, "rope_type"));
    name = name == NULL ? json_string_value(json_object_get(rope, "type")) : name;
    return name == NULL ? "default" : name;
}

static temper_status find_type(const json_t *rope, const char *where, const lm_architecture *row, size_t *out,
                               temper_error *error) {
    const char *name = type_name(rope), *key;
    json_t *value;
    char text[80], padded[96];
    size_t type = 0;
    bool old_name = strcmp(row->model_type, "phi3") == 0 && strcmp(name, "yarn") == 0;
    while (type < TYPES && strcmp(types[type].name, old_name ? "longrope" : name) != 0) {
        type++;
    }
    if (type == TYPES) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "config.json: \"%s\" has the type \"%.40s\"; default, linear, llama3, yarn and "
                           "longrope are supported",
                           where, name);
    }
    json_object_foreach((json_t *)(uintptr_t)rope, key, value) {
        snprintf(padded, sizeof padded, " %.90s ", key);
        if (strcmp(key, "rope_type") != 0 && strcmp(key, "type") != 0 && strcmp(key, "rope_theta") != 0 &&
            strcmp(key, "partial_rotary_factor") != 0 && strstr(types[type].keys, padded) == NULL &&
            !json_is_null(value)) {
            return temper_fail(error, TEMPER_UNSUPPORTED,
                               "config.json: \"%s\" has \"%.60s\": %s, which is not known in the type \"%s\"",
                               where, key, lm_json_describe(value, text, sizeof text), types[type].name);
        }
    }
    *out = type;
    return TEMPER_OK;
}

static temper_status read_factors(const json_t *rope, const char *key, size_t pairs, double *out,
                                  temper_error *error) {
    const json_t *list = json_object_get(rope, key);
    bool good = json_array_size(list) == pairs && pairs <= LM_MAX_FACTORS;
    for (size_t i = 0; good && i < pairs; i++) {
        const json_t *value = json_array_get(list, i);
        good = json_is_number(value) && json_number_value(value) > 0.0;
        out[i] = good ? json_number_value(value) : 0.0;
    }
    return good
               ? TEMPER_OK
               : temper_fail(error, TEMPER_INVALID,
                             "config.json: \"%s\" must have a positive number for each of %zu pairs (at most "
                             "%d)",
                             key, pairs, LM_MAX_FACTORS);
}

/* What longrope multiplies cosines and sines by (Ding et al. 2024). */
static double long_magnitude(double factor, double original) {
    return factor <= 1.0 ? 1.0 : sqrt(1.0 + temper_log(factor) / temper_log(original));
}

/* The context ends where the factors for short texts do: with the others, every earlier key would be another. */
static temper_status read_long(const json_t *rope, lm_config *out, temper_error *error) {
    lm_rope_scaling *scaling = &out->scaling;
    size_t pairs = lm_config_rotated(out) / 2;
    temper_status status;
    double factor;
    scaling->factor = (double)out->context / scaling->original;
    if ((status = lm_config_real(rope, "factor", scaling->factor, &factor, error)) ||
        (status = read_factors(rope, "short_factor", pairs, scaling->short_factors, error)) ||
        (status = read_factors(rope, "long_factor", pairs, scaling->long_factors, error)) ||
        (status = lm_config_real(rope, "attention_factor", long_magnitude(factor, scaling->original),
                                 &scaling->magnitude, error))) {
        return status;
    }
    if (scaling->magnitude == 1.0) {
        scaling->magnitude = 0; /* which says the same */
    }
    if ((double)out->context > scaling->original) {
        out->context = (size_t)scaling->original;
    }
    return TEMPER_OK;
}

double lm_yarn_magnitude(double factor) {
    return factor <= 1.0 ? 1.0 : 0.1 * temper_log(factor) + 1.0;
}

static temper_status read_yarn(const json_t *rope, lm_rope_scaling *scaling, temper_error *error) {
    double magnitude = lm_yarn_magnitude(scaling->factor);
    temper_status status;
    if ((status = lm_config_real(rope, "attention_factor", magnitude, &scaling->magnitude, error)) ||
        (status = lm_config_real(rope, "beta_fast", 32.0, &scaling->high, error)) ||
        (status = lm_config_real(rope, "beta_slow", 1.0, &scaling->low, error))) {
        return status;
    }
    return lm_config_flag(rope, "truncate", true, &scaling->whole, error);
}

static temper_status read_scaling(const json_t *root, const json_t *rope, lm_rope_kind kind, lm_config *out,
                                  temper_error *error) {
    lm_rope_scaling *scaling = &out->scaling;
    size_t original = out->context;
    temper_status status = TEMPER_OK;
    if (kind == LM_ROPE_PLAIN) {
        return TEMPER_OK;
    }
    scaling->kind = kind;
    if (kind != LM_ROPE_LONG) {
        if (!json_is_number(json_object_get(rope, "factor"))) {
            return temper_fail(error, TEMPER_INVALID,
                               "config.json: the scaling of its rope lacks \"factor\"");
        }
        status = lm_config_real(rope, "factor", 1.0, &scaling->factor, error);
    }
    if (!status && kind == LM_ROPE_LINEAR) {
        return TEMPER_OK;
    }
    const json_t *holder =
        json_is_number(json_object_get(rope, "original_max_position_embeddings")) ? rope : root;
    status = status ? status
                    : lm_config_count(holder, "original_max_position_embeddings",
                                      kind == LM_ROPE_LLAMA3 ? -1 : (int64_t)out->context, &original, error);
    scaling->original = (double)original;
    if (status || kind == LM_ROPE_LONG) {
        return status ? status : read_long(rope, out, error);
    }
    if (kind == LM_ROPE_YARN) {
        return read_yarn(rope, scaling, error);
    }
    if ((status = lm_config_real(rope, "low_freq_factor", 1.0, &scaling->low, error)) ||
        (status = lm_config_real(rope, "high_freq_factor", 4.0, &scaling->high, error))) {
        return status;
    }
    return scaling->low < scaling->high
               ? TEMPER_OK
               : temper_fail(error, TEMPER_INVALID,
                             "config.json: low_freq_factor %g is not below high_freq_factor %g", scaling->low,
                             scaling->high);
}

static temper_status set_part(const lm_architecture *row, double part, lm_config *out, temper_error *error) {
    size_t rotated = (size_t)((double)out->head_size * part);
    if (part == 1.0) {
        out->rotated = 0;
        return TEMPER_OK;
    }
    if (!row->partial || !(part > 0.0 && part < 1.0) || rotated < 2) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "config.json: partial_rotary_factor (or %s) is %g; %s",
                           row->keys->partial == NULL ? "the like" : row->keys->partial, part,
                           row->partial ? "a part of a head, at least a pair, is meant"
                                        : "heads of this architecture turn as a whole");
    }
    out->rotated = rotated;
    return TEMPER_OK;
}

/* One description of rotary positions; `local`: of the layers with a window. */
static temper_status read_one(const json_t *root, const json_t *rope, const char *where,
                              const lm_architecture *row, bool local, lm_config *out, temper_error *error) {
    double *theta = local ? &out->local_theta : &out->rope_theta, part;
    size_t type = 0;
    if (!json_is_object(rope)) {
        return temper_fail(error, TEMPER_INVALID, "config.json: \"%s\" is no object", where);
    }
    temper_status status = find_type(rope, where, row, &type, error);
    if (status || (status = lm_config_real(rope, "rope_theta", *theta, theta, error))) {
        return status;
    }
    if (local) {
        return types[type].kind == LM_ROPE_PLAIN
                   ? TEMPER_OK
                   : temper_fail(
                         error, TEMPER_UNSUPPORTED,
                         "config.json: \"%s\" has the type \"%s\"; layers with a window are not scaled",
                         where, types[type].name);
    }
    double before = (double)lm_config_rotated(out) / (double)out->head_size;
    if (json_is_number(json_object_get(rope, "partial_rotary_factor")) &&
        ((status = lm_config_real(rope, "partial_rotary_factor", before, &part, error)) ||
         (status = set_part(row, part, out, error)))) {
        return status;
    }
    status = read_scaling(root, rope, types[type].kind, out, error);
    return status ? temper_fail_in(error, status, "\"%s\"", where) : TEMPER_OK;
}

temper_status lm_config_read_rope(const json_t *root, const lm_architecture *row, lm_config *out,
                                  temper_error *error) {
    const json_t *old = json_object_get(root, "rope_scaling"),
                 *new = json_object_get(root, "rope_parameters");
    const char *name = row->keys->partial == NULL ? "partial_rotary_factor" : row->keys->partial;
    double part;
    temper_status status;
    if ((status = lm_config_real(root, row->keys->theta, out->rope_theta, &out->rope_theta, error)) ||
        (status = lm_config_real(root, name, row->part > 0 ? row->part : 1.0, &part, error)) ||
        (status = set_part(row, part, out, error)) ||
        (row->local_theta > 0 && (status = lm_config_real(root, "rope_local_base_freq", out->local_theta,
                                                          &out->local_theta, error)))) {
        return status;
    }
    if (old != NULL && !json_is_null(old)) {
        status = read_one(root, old, "rope_scaling", row, false, out, error);
    }
    if (status || new == NULL || json_is_null(new)) {
        return status;
    }
    if (row->local_theta > 0 && json_object_get(new, "full_attention") != NULL) {
        status = read_one(root, json_object_get(new, "full_attention"), "rope_parameters.full_attention", row,
                          false, out, error);
        const json_t *local = json_object_get(new, "sliding_attention");
        return status || local == NULL
                   ? status
                   : read_one(root, local, "rope_parameters.sliding_attention", row, true, out, error);
    }
    return read_one(root, new, "rope_parameters", row, false, out, error);
}

static json_t *list_of(const double *values, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_real(values[i]));
    }
    return list;
}

static json_t *scaling_of(const lm_config *config) {
    const lm_rope_scaling *scaling = &config->scaling;
    size_t pairs = lm_config_rotated(config) / 2;
    json_int_t original = (json_int_t)scaling->original;
    switch (scaling->kind) {
    case LM_ROPE_LINEAR: return json_pack("{s:s, s:f}", "rope_type", "linear", "factor", scaling->factor);
    case LM_ROPE_LLAMA3:
        return json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", scaling->factor,
                         "low_freq_factor", scaling->low, "high_freq_factor", scaling->high,
                         "original_max_position_embeddings", original);
    case LM_ROPE_YARN:
        return json_pack("{s:s, s:f, s:f, s:f, s:f, s:b, s:I}", "rope_type", "yarn", "factor",
                         scaling->factor, "beta_fast", scaling->high, "beta_slow", scaling->low,
                         "attention_factor", scaling->magnitude, "truncate", (int)scaling->whole,
                         "original_max_position_embeddings", original);
    case LM_ROPE_LONG:
        return json_pack("{s:s, s:f, s:o, s:o}", "rope_type", "longrope", "attention_factor",
                         scaling->magnitude > 0 ? scaling->magnitude : 1.0, "short_factor",
                         list_of(scaling->short_factors, pairs), "long_factor",
                         list_of(scaling->long_factors, pairs));
    default: return json_null();
    }
}

void lm_config_write_rope(json_t *root, const lm_architecture *row, const lm_config *config) {
    double part = (double)lm_config_rotated(config) / (double)config->head_size;
    json_object_set_new(root, row->keys->theta, json_real(config->rope_theta));
    json_object_set_new(root, "rope_scaling", scaling_of(config));
    if (config->local_theta > 0) {
        json_object_set_new(root, "rope_local_base_freq", json_real(config->local_theta));
    }
    if (row->partial) {
        json_object_set_new(root, row->keys->partial == NULL ? "partial_rotary_factor" : row->keys->partial,
                            json_real(part));
    }
    if (config->scaling.kind == LM_ROPE_LONG ||
        strcmp(row->model_type, "phi3") == 0) { /* always there in phi3's */
        double original =
            config->scaling.kind == LM_ROPE_LONG ? config->scaling.original : (double)config->context;
        json_object_set_new(root, "original_max_position_embeddings", json_integer((json_int_t)original));
    }
}
