/* compare.c: is an export the model it was made of? It is opened through its own format's reader, and
 *   - every weight lies where rounding to the format may have put it, element by element;
 *   - its tokenizer makes the same tokens of the fixed texts;
 *   - it gives the fixed texts the log-probabilities that rounding leaves them. How much that is, a third model says: the
 *     same one, each weight moved at random within what rounding may move it. A difference of more than MARGIN times what
 *     that model shows is none of rounding's, and an error. FLOOR is what the order of f32 sums may do: an adapter is
 *     added to sums, a merged one to weights.
 *
 * All is computed in f32/1, whatever the run's profile: what is compared is what was written. */
#include "export.h"

#include <stdlib.h>
#include <temper/rng.h>

#define COMPARE(P, S)                                                                                        \
    P(S, string, format, "format", "\"hf\"", 1, 0, "", "hf|peft|gguf|gguf-lora", "the form it has", "0.1")   \
    P(S, string, type, "type", "\"same\"", 1, 0, "", "same|f32|f16|bf16|q8_0", "the type it was written in", \
      "0.1")                                                                                                 \
    P(S, strings, weights, "weights", "[]", 1, 0, "", "", "how much of each adapter of the model counts",    \
      "0.1")
TEMPER_PARAMETERS(compare, COMPARE)

enum { TEXTS = 8, LONGEST = 64, CONTROL_KEY = 20261124 };
static const double MARGIN = 4.0, MEAN_FLOOR = 1e-4, LARGEST_FLOOR = 1e-3;

static const char *const texts[TEXTS] = {
    "Once upon a time there was a little girl who loved to play outside in the park.",
    "User: Can you help me with my homework?\nAssistant: Of course. What do you need to know?",
    "The capital of France is Paris, and the Seine runs through it from east to west.",
    "def add(a, b):\n    return a + b  # 12 + 30 == 42\n\nprint(add(12, 30))\n",
    "In 1969, 2 people walked on the Moon; 384,400 km is far, isn't it?",
    "Stra\xC3\x9F"
    "e, caf\xC3\xA9, na\xC3\xAFve: \xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E "
    "\xD0\xBF\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82 \xF0\x9F\x99\x82 \xE2\x80\x94 ok.",
    "She said: \"I don't know what to do.\" He answered: \"Then let us think about it together.\"",
    "{\"name\": \"temper\", \"values\": [1, 2.5, -3e8], \"nested\": {\"true\": false}}",
};

typedef struct comparing {
    const temper_host *host;
    compare_parameters given;
    lm_context context;
    lm_file_set files, exported;
    double *weights;
    lm_export_options options;
    lm_dtype type; /* of matrices that can have it */
    lm_merged *merged, *merged_exported;
    int32_t ids[TEXTS][LONGEST];
    size_t counts[TEXTS];
    float wanted[TEXTS][LONGEST], found[TEXTS][LONGEST], moved[TEXTS][LONGEST];
    double worst; /* of weights: the part of what rounding allows that the worst used */
} comparing;

/* --- weights --- */

static temper_status weight_off(const comparing *self, lm_role role, size_t layer, const char *what,
                                size_t element, double wanted, double found, temper_error *error) {
    char name[256];
    lm_role_name(lm_merged_config(self->merged), role, layer, name, sizeof name);
    return temper_fail(
        error, TEMPER_FAILED,
        "the export is not what it was made of: %s%s, element %zu, is %.9g instead of %.9g, which is more "
        "than rounding to %s does",
        name, what, element, found, wanted, lm_dtype_name(self->type));
}

/* `columns`: of a row, in which blocks lie. */
static temper_status check_values(comparing *self, lm_role role, size_t layer, const char *what,
                                  lm_dtype type, const float *wanted, const float *found, size_t count,
                                  temper_error *error) {
    size_t elements;
    (void)lm_dtype_block(type, &elements);
    for (size_t first = 0; first < count; first += elements) {
        double bound = lm_encode_error(type, wanted + first, elements);
        for (size_t i = first; i < first + elements; i++) {
            double value = (double)wanted[i], off = (double)found[i] - value;
            off = off < 0 ? -off : off;
            /* f32 itself: Gemma's GGUFs add 1 to norms; joined factors are multiplied once more. */
            double allowed = bound + 0x1p-22 * (value < 0 ? -value : value) + (type == LM_F32 ? 0x1p-23 : 0);
            if (!(off <= allowed)) {
                return weight_off(self, role, layer, what, i, value, (double)found[i], error);
            }
            double part = bound > 0 ? off / bound : 0;
            self->worst = part > self->worst ? part : self->worst;
        }
    }
    return TEMPER_OK;
}

static temper_status check_role(comparing *self, lm_role role, size_t layer, temper_error *error) {
    unsigned rank;
    size_t shape[2];
    lm_role_shape(lm_merged_config(self->merged), role, &rank, shape);
    if (rank == 0) {
        return TEMPER_OK;
    }
    size_t count = shape[0] * (rank == 2 ? shape[1] : 1);
    float *wanted = malloc(count * sizeof *wanted + 1), *found = malloc(count * sizeof *found + 1);
    temper_status status =
        wanted == NULL || found == NULL
            ? temper_fail(error, TEMPER_NO_MEMORY, "no memory to compare %zu values", count)
            : lm_merged_read(self->merged, role, layer, wanted, error);
    status = status ? status : lm_merged_read(self->merged_exported, role, layer, found, error);
    if (!status) {
        lm_dtype type = rank == 1 ? LM_F32 : lm_export_type_of(self->options.format, self->type, rank, shape);
        status = check_values(self, role, layer, "", type, wanted, found, count, error);
    }
    free(wanted);
    free(found);
    return status;
}

static temper_status check_pair(comparing *self, const lm_joined *wanted, const lm_joined *found,
                                lm_role role, size_t layer, temper_error *error) {
    size_t rank = lm_joined_rank(wanted, role, layer), shape[2];
    unsigned sides;
    lm_role_shape(lm_merged_config(self->merged), role, &sides, shape);
    if (rank != lm_joined_rank(found, role, layer)) {
        return weight_off(self, role, layer, "'s rank", 0, (double)rank,
                          (double)lm_joined_rank(found, role, layer), error);
    }
    if (rank == 0) {
        return TEMPER_OK;
    }
    size_t a = rank * shape[1], b = rank * shape[0];
    float *values = malloc(2 * (a + b) * sizeof *values);
    if (values == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to compare an adapter");
    }
    temper_status status = lm_joined_read(wanted, role, layer, values, values + a, error);
    status = status ? status : lm_joined_read(found, role, layer, values + a + b, values + 2 * a + b, error);
    const size_t a_shape[2] = {rank, shape[1]}, b_shape[2] = {shape[0], rank};
    lm_dtype a_type = lm_export_type_of(self->options.format, self->type, 2, a_shape),
             b_type = lm_export_type_of(self->options.format, self->type, 2, b_shape);
    status =
        status ? status : check_values(self, role, layer, "'s A", a_type, values, values + a + b, a, error);
    status = status
                 ? status
                 : check_values(self, role, layer, "'s B", b_type, values + a, values + 2 * a + b, b, error);
    free(values);
    return status;
}

static bool is_adapter(const comparing *self) {
    return self->options.format == LM_EXPORT_PEFT || self->options.format == LM_EXPORT_GGUF_LORA;
}

static temper_status check_weights(comparing *self, temper_error *error) {
    const lm_config *config = lm_merged_config(self->merged),
                    *other = lm_merged_config(self->merged_exported);
    lm_joined wanted, found;
    temper_status status = TEMPER_OK;
    if (config->layers != other->layers || config->hidden != other->hidden ||
        config->vocabulary != other->vocabulary || config->context != other->context) {
        return temper_fail(error, TEMPER_FAILED,
                           "the export is not what it was made of: its config has other sizes");
    }
    if (is_adapter(self)) {
        status = lm_joined_open(self->merged, &wanted, error);
        status = status ? status : lm_joined_open(self->merged_exported, &found, error);
        double off = status ? 0 : found.alpha / wanted.alpha - 1;
        if (!status && !(off < 1e-6 && off > -1e-6)) {
            status = temper_fail(error, TEMPER_FAILED,
                                 "the export is not what it was made of: its alpha is %.9g instead of %.9g",
                                 found.alpha, wanted.alpha);
        }
    }
    for (int role = 0; !status && role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? config->layers : 1;
        for (size_t layer = 0; !status && layer < layers; layer++) {
            status = is_adapter(self) ? check_pair(self, &wanted, &found, (lm_role)role, layer, error)
                                      : check_role(self, (lm_role)role, layer, error);
            if (self->host->cancelled(self->host)) {
                return temper_fail(error, TEMPER_CANCELLED, "cancelled");
            }
        }
    }
    return status;
}

/* --- texts --- */

/* A model without a tokenizer is given ids drawn from its vocabulary. */
static temper_status encode_text(const lm_tokenizer *tokenizer, const lm_config *config, size_t index,
                                 int32_t *ids, size_t *count, temper_error *error) {
    size_t room = config->context < LONGEST ? config->context : LONGEST;
    lm_dialogue text = {0};
    if (tokenizer == NULL) {
        for (*count = 0; *count < room; ++*count) {
            ids[*count] = (int32_t)temper_random_below(CONTROL_KEY, index, *count, config->vocabulary);
        }
        return TEMPER_OK;
    }
    temper_status status =
        lm_dialogue_encode_text(tokenizer, texts[index], strlen(texts[index]), "", 0, false, 0, &text, error);
    *count = status ? 0 : text.count < room ? text.count : room;
    for (size_t i = 0; i < *count; i++) {
        ids[i] = text.ids[i];
    }
    lm_dialogue_free(&text);
    return status;
}

static temper_status check_texts(comparing *self, temper_error *error) {
    const lm_config *config = lm_merged_config(self->merged);
    lm_tokenizer *ours = NULL, *theirs = NULL;
    temper_status status = TEMPER_OK;
    if (lm_tokenizer_open(&self->files, &ours, NULL) == TEMPER_OK) {
        status = lm_tokenizer_open(&self->exported, &theirs, error);
    }
    for (size_t i = 0; !status && i < TEXTS; i++) {
        int32_t ids[LONGEST];
        size_t count = 0;
        status = encode_text(ours, config, i, self->ids[i], &self->counts[i], error);
        status = status ? status : encode_text(theirs, config, i, ids, &count, error);
        if (!status && (count != self->counts[i] || memcmp(ids, self->ids[i], count * sizeof *ids) != 0)) {
            status = temper_fail(
                error, TEMPER_FAILED,
                "the export is not what it was made of: its tokenizer makes other tokens of \"%.60s\"",
                texts[i]);
        }
    }
    lm_tokenizer_close(ours);
    lm_tokenizer_close(theirs);
    return status;
}

/* --- scores --- */

static temper_status score(const comparing *self, const lm_model *model, float out[TEXTS][LONGEST],
                           temper_error *error) {
    lm_scored scored[TEXTS];
    native_reporter reporter = {self->host, NULL, 0};
    for (size_t i = 0; i < TEXTS; i++) {
        scored[i] = (lm_scored){self->ids[i], self->counts[i], out[i], NULL};
    }
    return lm_score(&self->context, model, scored, TEXTS, native_report, &reporter, error);
}

static double drawn(uint64_t stream, uint64_t index) {
    return 2 * temper_random_unit(CONTROL_KEY, stream, index) - 1;
}

static void move_values(lm_dtype type, uint64_t stream, float *values, size_t count) {
    size_t elements;
    (void)lm_dtype_block(type, &elements);
    for (size_t first = 0; first < count; first += elements) {
        double step = lm_encode_error(type, values + first, elements);
        for (size_t i = first; i < first + elements; i++) {
            values[i] = (float)((double)values[i] + step * drawn(stream, i));
        }
    }
}

/* The control's weights: each somewhere within what rounding may do to it. */
static void move_weight(void *context, lm_role role, size_t layer, float *values) {
    const comparing *self = context;
    unsigned rank;
    size_t shape[2];
    lm_role_shape(lm_merged_config(self->merged), role, &rank, shape);
    if (rank == 2) {
        move_values(lm_export_type_of(self->options.format, self->type, rank, shape),
                    (uint64_t)role << 32 | layer, values, shape[0] * shape[1]);
    }
}

static temper_status move_pairs(const comparing *self, lm_model *model, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (int role = 0; !status && role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? model->config.layers : 1;
        for (size_t layer = 0; !status && layer < layers; layer++) {
            lm_linear *linear = lm_model_linear(model, (lm_role)role, layer);
            lm_lora *pair = linear == NULL ? NULL : linear->lora;
            if (pair == NULL) {
                continue;
            }
            uint64_t stream = (uint64_t)(role + 1) << 40 | (uint64_t)layer << 1;
            const size_t a[2] = {pair->rank, linear->inputs}, b[2] = {linear->outputs, pair->rank};
            move_values(lm_export_type_of(self->options.format, self->type, 2, a), stream, pair->a,
                        a[0] * a[1]);
            move_values(lm_export_type_of(self->options.format, self->type, 2, b), stream | 1, pair->b,
                        b[0] * b[1]);
            status = lm_lora_pack(&self->context, linear, pair, false, error);
        }
    }
    return status;
}

/* Opens, scores, closes: one model at a time in memory. */
static temper_status score_files(const comparing *self, const lm_file_set *files, const double *weights,
                                 bool control, float out[TEXTS][LONGEST], temper_error *error) {
    lm_model *model = NULL;
    lm_change *change = control && !is_adapter(self) ? move_weight : NULL;
    temper_status status = lm_model_open_weighted(&self->context, files, weights, change,
                                                  (void *)(uintptr_t)self, &model, error);
    if (!status && control && is_adapter(self)) {
        status = move_pairs(self, model, error);
    }
    status = status ? status : score(self, model, out, error);
    lm_model_close(model);
    return status;
}

typedef struct difference {
    double mean, largest;
    int64_t tokens;
} difference;

static difference differ(const comparing *self, const float a[TEXTS][LONGEST],
                         const float b[TEXTS][LONGEST]) {
    difference all = {0, 0, 0};
    for (size_t i = 0; i < TEXTS; i++) {
        for (size_t t = 1; t < self->counts[i]; t++) {
            double off = (double)a[i][t] - (double)b[i][t];
            off = off < 0 ? -off : off;
            all.mean += off;
            all.largest = off > all.largest ? off : all.largest;
            all.tokens++;
        }
    }
    all.mean /= all.tokens > 0 ? (double)all.tokens : 1;
    return all;
}

static temper_status write_numbers(const comparing *self, difference found, difference control,
                                   double mean_bound, double largest_bound, temper_error *error) {
    const temper_host *host = self->host;
    const temper_json_api *json = host->json;
    temper_arena *arena = json->arena_new();
    temper_json *numbers = arena == NULL ? NULL : json->new_object(arena);
    const struct {
        const char *name;
        double value;
    } rows[] = {{"mean_difference", found.mean},    {"largest_difference", found.largest},
                {"mean_of_rounding", control.mean}, {"largest_of_rounding", control.largest},
                {"mean_bound", mean_bound},         {"largest_bound", largest_bound},
                {"weights_worst", self->worst}};
    bool made =
        numbers != NULL && json->set(arena, numbers, "tokens", json->new_integer(arena, found.tokens));
    for (size_t i = 0; made && i < sizeof rows / sizeof *rows; i++) {
        made = json->set(arena, numbers, rows[i].name, json->new_number(arena, rows[i].value));
    }
    temper_output *output = NULL;
    temper_status status = made ? host->output(host, "metrics", &output, error)
                                : temper_fail(error, TEMPER_NO_MEMORY, "no memory for the numbers");
    status = status ? status : host->write_metrics(output, numbers, error);
    if (arena != NULL) {
        json->arena_free(arena);
    }
    return status;
}

static temper_status check_scores(comparing *self, temper_error *error) {
    temper_status status = score_files(self, &self->files, self->weights, false, self->wanted, error);
    status = status ? status : score_files(self, &self->exported, NULL, false, self->found, error);
    status = status ? status : score_files(self, &self->files, self->weights, true, self->moved, error);
    if (status) {
        return status;
    }
    difference found = differ(self, self->wanted, self->found),
               control = differ(self, self->wanted, self->moved);
    double mean_bound = MARGIN * control.mean + MEAN_FLOOR,
           largest_bound = MARGIN * control.largest + LARGEST_FLOOR;
    if (!(found.mean <= mean_bound) || !(found.largest <= largest_bound)) {
        return temper_fail(
            error, TEMPER_FAILED,
            "the export is not what it was made of: log-probabilities differ by %.3g in the mean and %.3g at "
            "most; rounding to %s explains %.3g and %.3g",
            found.mean, found.largest, lm_dtype_name(self->type), mean_bound, largest_bound);
    }
    return write_numbers(self, found, control, mean_bound, largest_bound, error);
}

static temper_status compare(comparing *self, temper_error *error) {
    lm_parallel parallel = native_parallel(self->host);
    const char *reason = NULL;
    const lm_kernels *kernels = lm_kernels_choose(NULL, &reason);
    if (kernels == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s", reason);
    }
    temper_status status = lm_context_init(&self->context, kernels, "f32/1", parallel, error);
    status =
        status ? status : native_export_weights(&self->given.weights, &self->files, &self->weights, error);
    status = status ? status : lm_merged_open(&self->files, self->weights, parallel, &self->merged, error);
    if (status) {
        return status;
    }
    status = lm_merged_open(&self->exported, NULL, parallel, &self->merged_exported, error);
    if (status) {
        return temper_fail_in(error, status, "the export");
    }
    self->type = lm_export_chosen(&self->options, self->merged);
    status = check_weights(self, error);
    status = status ? status : check_texts(self, error);
    return status ? status : check_scores(self, error);
}

static temper_status create(const temper_host *host, const void *parameters, void **out,
                            temper_error *error) {
    comparing *self = host->allocate(host, sizeof *self);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a comparison");
    }
    memset(self, 0, sizeof *self);
    self->host = host;
    self->given = *(const compare_parameters *)parameters;
    self->options = native_export_options(self->given.format, self->given.type);
    *out = self;
    return TEMPER_OK;
}

static temper_status run(void *context, const temper_host *host, temper_error *error) {
    comparing *self = context;
    temper_status status = native_files(host, host->input(host, "model"), &self->files, error);
    status = status ? status : native_files(host, host->input(host, "exported"), &self->exported, error);
    return status ? status : compare(self, error);
}

static void destroy(void *context) {
    comparing *self = context;
    lm_merged_close(self->merged);
    lm_merged_close(self->merged_exported);
    lm_context_free(&self->context);
    free(self->weights);
    free((void *)(uintptr_t)self->files.files);
    free((void *)(uintptr_t)self->exported.files);
    self->host->release(self->host, self);
}

const temper_stage native_compare_stage = {
    .size = sizeof native_compare_stage,
    .revision = 1,
    .name = "compare",
    .doc = "reads an export back and compares weights, tokens and log-probabilities with what it was made of",
    .inputs =
        (const temper_port *const[]){
            TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "what was exported"),
            TEMPER_PORT(TEMPER_MODEL, "exported", 0, "", "the export; an adapter on its base"), NULL},
    .outputs = (const temper_port *const[]){TEMPER_PORT(
                                                TEMPER_METRICS, "metrics", 0, "",
                                                "differences of log-probabilities a token, and their bounds"),
                                            NULL},
    .parameters = compare_parameter_table,
    .parameters_size = sizeof(compare_parameters),
    .create = create,
    .run = run,
    .destroy = destroy,
};
