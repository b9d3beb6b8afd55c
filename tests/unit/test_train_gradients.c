/* Gradients in double against central differences (fourth order), relative 1e-6: every layer by itself, then whole
 * models under SFT and DPO. The sources are the ones that train in float, compiled with LM_REAL=double. */
#include "train_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static lm_context context;

static int setup(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    return lm_context_init(&context, lm_kernels_choose("scalar", NULL), "f32/1", lm_serial(), &error) !=
           TEMPER_OK;
}

static int teardown(void **state) {
    (void)state;
    lm_context_free(&context);
    return 0;
}

static double noise(uint64_t stream, size_t i) {
    return 2 * temper_random_unit(21, stream, i) - 1;
}

static lm_real *random_values(uint64_t stream, size_t count) {
    lm_real *values = lm_allocate(count, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] = noise(stream, i);
    }
    return values;
}

/* f(argument) as a function of values[0..count): its gradient compared with `found`, as vectors. */
typedef double function(void *argument);
static void assert_gradient(const char *what, lm_real *values, size_t count, const lm_real *found,
                            function *f, void *argument) {
    double difference = 0, size = 0;
    const double step = 1e-3;
    for (size_t i = 0; i < count; i++) {
        lm_real kept = values[i];
        double at[4];
        static const double steps[4] = {1, -1, 2, -2};
        for (size_t s = 0; s < 4; s++) {
            values[i] = kept + step * steps[s];
            at[s] = f(argument);
        }
        values[i] = kept;
        double wanted = (8 * (at[0] - at[1]) - (at[2] - at[3])) / (12 * step);
        difference += (wanted - found[i]) * (wanted - found[i]);
        size += wanted * wanted;
    }
    bool nothing =
        sqrt(size) < 1e-12 && sqrt(difference) < 1e-12; /* a token or a position that does not occur */
    if (!(sqrt(difference) <= 1e-6 * sqrt(size)) && !nothing) {
        fail_msg("%s: off by %.3g of %.3g", what, sqrt(difference), sqrt(size));
    }
}

/* --- layers by themselves: the loss is the sum of `weights` times the outputs --- */

enum { ROWS = 7, INPUTS = 6, OUTPUTS = 5, RANK = 2 };

typedef struct linear_case {
    lm_linear linear;
    lm_lora lora;
    lm_real *x, *weights;
} linear_case;

static double linear_loss(void *argument) {
    linear_case *self = argument;
    lm_real y[ROWS * OUTPUTS], hidden[ROWS * RANK];
    double sum = 0;
    lm_linear_pack(&context, &self->linear, true, NULL);
    lm_linear_forward(&context, &self->linear, self->x, ROWS, y, hidden);
    for (size_t i = 0; i < ROWS * OUTPUTS; i++) {
        sum += self->weights[i] * y[i];
    }
    return sum;
}

static void check_linear(bool with_lora) {
    linear_case self = {.linear = {.outputs = OUTPUTS, .inputs = INPUTS},
                        .x = random_values(1, ROWS * INPUTS),
                        .weights = random_values(2, ROWS * OUTPUTS)};
    self.linear.w = random_values(3, OUTPUTS * INPUTS);
    self.linear.bias = random_values(4, OUTPUTS);
    lm_lora *lora = NULL;
    if (with_lora) {
        lora = calloc(1, sizeof *lora);
        *lora = (lm_lora){.rank = RANK,
                          .scale = 1.5,
                          .a = random_values(5, RANK * INPUTS),
                          .b = random_values(6, OUTPUTS * RANK)};
        self.linear.lora = lora;
    }
    size_t offsets[] = {0, 3, 3, ROWS};
    lm_real y[ROWS * OUTPUTS], hidden[ROWS * RANK], dx[ROWS * INPUTS],
        dw[OUTPUTS * INPUTS] = {0}, dbias[OUTPUTS] = {0}, da[RANK * INPUTS] = {0}, db[OUTPUTS * RANK] = {0};
    assert_int_equal(lm_context_reserve(&context, lm_linear_scratch(&context, &self.linear, ROWS), NULL),
                     TEMPER_OK);
    linear_loss(&self);
    lm_linear_forward(&context, &self.linear, self.x, ROWS, y, hidden);
    lm_linear_backward(&context, &self.linear, self.x, hidden, self.weights, (lm_rows){3, offsets}, dx, false,
                       dw, dbias, with_lora ? da : NULL, with_lora ? db : NULL);
    assert_gradient("dx", self.x, ROWS * INPUTS, dx, linear_loss, &self);
    assert_gradient("dw", self.linear.w, OUTPUTS * INPUTS, dw, linear_loss, &self);
    assert_gradient("dbias", self.linear.bias, OUTPUTS, dbias, linear_loss, &self);
    if (with_lora) {
        assert_gradient("da", lora->a, RANK * INPUTS, da, linear_loss, &self);
        assert_gradient("db", lora->b, OUTPUTS * RANK, db, linear_loss, &self);
    }
    lm_linear_free(&self.linear);
    free(self.x);
    free(self.weights);
}

static void linear(void **state) {
    (void)state;
    check_linear(false);
}

static void lora(void **state) {
    (void)state;
    check_linear(true);
}

typedef struct norm_case {
    lm_norm_weights norm;
    lm_real *x, *weights;
} norm_case;

static double norm_loss(void *argument) {
    norm_case *self = argument;
    lm_real y[ROWS * 21];
    double sum = 0;
    lm_norm_pack(&self->norm, 21);
    lm_norm_forward(&context, &self->norm, self->x, ROWS, 21, y, NULL);
    for (size_t i = 0; i < ROWS * 21; i++) {
        sum += self->weights[i] * y[i];
    }
    return sum;
}

static void check_norm(lm_norm kind, bool plus_one) {
    enum { N = 21 };
    norm_case self = {
        .norm = {.kind = kind, .epsilon = 1e-5, .w = random_values(1, N), .b = random_values(2, N)},
        .x = random_values(3, ROWS * N),
        .weights = random_values(4, ROWS * N)};
    self.norm.plus_one = plus_one ? random_values(5, N) : NULL;
    lm_norm_pack(&self.norm, N);
    lm_real y[ROWS * N], statistics[ROWS * 2], dx[ROWS * N] = {0}, dw[N] = {0}, db[N] = {0};
    lm_norm_forward(&context, &self.norm, self.x, ROWS, N, y, statistics);
    lm_norm_backward(&context, &self.norm, self.x, statistics, self.weights, ROWS, N, dx, dw, db);
    assert_gradient("dx", self.x, ROWS * N, dx, norm_loss, &self);
    assert_gradient("dw", self.norm.w, N, dw, norm_loss, &self);
    if (kind == LM_LAYER_NORM) {
        assert_gradient("db", self.norm.b, N, db, norm_loss, &self);
    }
    free(self.norm.w);
    free(self.norm.b);
    free(self.norm.plus_one);
    free(self.x);
    free(self.weights);
}

static void rms_norm(void **state) {
    (void)state;
    check_norm(LM_RMS_NORM, false);
    check_norm(LM_RMS_NORM, true);
}

static void layer_norm(void **state) {
    (void)state;
    check_norm(LM_LAYER_NORM, false);
}

typedef struct activation_case {
    lm_activation kind;
    lm_real *gate, *up, *weights;
} activation_case;

static double activation_loss(void *argument) {
    activation_case *self = argument;
    lm_real y[ROWS * 5];
    double sum = 0;
    lm_activation_forward(&context, self->kind, self->gate, self->up, ROWS, 5, y);
    for (size_t i = 0; i < ROWS * 5; i++) {
        sum += self->weights[i] * y[i];
    }
    return sum;
}

static void check_activation(lm_activation kind) {
    activation_case self = {kind, random_values(1, ROWS * 5), random_values(2, ROWS * 5),
                            random_values(3, ROWS * 5)};
    lm_real dgate[ROWS * 5], dup[ROWS * 5];
    lm_activation_backward(&context, kind, self.gate, self.up, self.weights, ROWS, 5, dgate, dup);
    assert_gradient("dup", self.up, ROWS * 5, dup, activation_loss, &self);
    if (lm_activation_gated(kind)) {
        assert_gradient("dgate", self.gate, ROWS * 5, dgate, activation_loss, &self);
    }
    free(self.gate);
    free(self.up);
    free(self.weights);
}

static void swiglu(void **state) {
    (void)state;
    check_activation(LM_SWIGLU);
}

static void gelu_new(void **state) {
    (void)state;
    check_activation(LM_GELU_NEW);
}

static void geglu(void **state) {
    (void)state;
    check_activation(LM_GEGLU);
}

static void gelu(void **state) {
    (void)state;
    check_activation(LM_GELU);
}

/* Attention with rotated queries and keys, as a block has it. */
typedef struct attention_case {
    lm_config config;
    size_t window, n;
    lm_real *q, *k, *v, *weights;
    lm_rope rope;
    size_t *positions;
} attention_case;

static void attend(attention_case *self, lm_real *q, lm_real *k, lm_real *out) {
    size_t queries = self->config.heads * self->config.head_size,
           keys = self->config.kv_heads * self->config.head_size;
    lm_cache_layer cache;
    memcpy(q, self->q, self->n * queries * sizeof *q);
    memcpy(k, self->k, self->n * keys * sizeof *k);
    lm_rope_rows(&context, &self->rope, q, self->n, self->config.heads, self->config.head_size,
                 self->positions, false);
    lm_rope_rows(&context, &self->rope, k, self->n, self->config.kv_heads, self->config.head_size,
                 self->positions, false);
    assert_int_equal(lm_cache_layer_open(&context, &self->config, self->n, &cache, NULL), TEMPER_OK);
    lm_attention_rows rows = {&cache, q, k, self->v, self->n, out};
    assert_int_equal(lm_attention_forward(&context, &self->config, self->window, &rows, 1, NULL), TEMPER_OK);
    lm_cache_layer_close(&cache);
}

static double attention_loss(void *argument) {
    attention_case *self = argument;
    size_t queries = self->n * self->config.heads * self->config.head_size;
    size_t keys = self->n * self->config.kv_heads * self->config.head_size;
    lm_real *q = lm_allocate(queries, sizeof *q), *k = lm_allocate(keys, sizeof *k),
            *out = lm_allocate(queries, sizeof *out);
    double sum = 0;
    attend(self, q, k, out);
    for (size_t i = 0; i < queries; i++) {
        sum += self->weights[i] * out[i];
    }
    free(q);
    free(k);
    free(out);
    return sum;
}

static void check_attention(size_t n, size_t heads, size_t kv_heads, size_t size, size_t window, double cap,
                            size_t rotated) {
    attention_case self = {.window = window, .n = n};
    self.config =
        (lm_config){.heads = heads, .kv_heads = kv_heads, .head_size = size, .attention_scale = 0.7};
    self.config.attention_cap = cap;
    size_t queries = n * heads * size, keys = n * kv_heads * size;
    self.q = random_values(1, queries);
    self.k = random_values(2, keys);
    self.v = random_values(3, keys);
    self.weights = random_values(4, queries);
    self.positions = calloc(n, sizeof *self.positions);
    for (size_t i = 0; i < n; i++) {
        self.positions[i] = i;
    }
    assert_int_equal(lm_rope_open(&self.rope, 10000, &self.config.scaling, rotated, n, NULL), TEMPER_OK);
    lm_real *q = lm_allocate(queries, sizeof *q), *k = lm_allocate(keys, sizeof *k),
            *out = lm_allocate(queries, sizeof *out), *dq = lm_allocate(queries, sizeof *dq),
            *dk = lm_allocate(keys, sizeof *dk), *dv = lm_allocate(keys, sizeof *dv);
    attend(&self, q, k, out);
    assert_int_equal(lm_attention_backward(&context, &self.config, window, q, k, self.v, out, self.weights, n,
                                           dq, dk, dv, NULL),
                     TEMPER_OK);
    lm_rope_rows(&context, &self.rope, dq, n, heads, size, self.positions, true);
    lm_rope_rows(&context, &self.rope, dk, n, kv_heads, size, self.positions, true);
    assert_gradient("dq", self.q, queries, dq, attention_loss, &self);
    assert_gradient("dk", self.k, keys, dk, attention_loss, &self);
    assert_gradient("dv", self.v, keys, dv, attention_loss, &self);
    lm_real *all[] = {self.q, self.k, self.v, self.weights, q, k, out, dq, dk, dv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
    lm_rope_close(&self.rope);
    free(self.positions);
}

static void attention(void **state) {
    (void)state;
    check_attention(9, 4, 2, 4, 0, 0, 4);
    check_attention(1, 1, 1, 2, 0, 0, 2);
    check_attention(9, 2, 2, 6, 3, 0, 6);
    check_attention(9, 2, 2, 6, 3, 0.8, 4); /* capped; a part of a head turns */
}

static void attention_long(void **state) { /* more than a block of queries, a head of two panels */
    (void)state;
    check_attention(67, 2, 1, 2, 0, 0, 2);
    check_attention(66, 1, 1, 2, 5, 0.5, 2);
    check_attention(5, 1, 1, 40, 0, 0, 40);
}

/* --- whole models --- */

typedef struct model_case {
    lm_trainer *trainer;
    const tiny_batch *batch;
    bool pairs;
    lm_loss_options options;
} model_case;

/* The loss by forward passes alone (lm_trainer_score), so that it shares nothing with the backward pass. */
static double model_loss(void *argument) {
    model_case *self = argument;
    double sums[TINY_EXAMPLES], loss = 0;
    size_t tokens = 0;
    assert_int_equal(lm_trainer_pack(self->trainer, NULL), TEMPER_OK);
    assert_int_equal(lm_trainer_score(self->trainer, self->batch->rows, TINY_EXAMPLES, sums, NULL, NULL),
                     TEMPER_OK);
    for (size_t i = 0; i < TINY_EXAMPLES; i++) {
        loss -= sums[i];
        for (size_t t = 1; t < self->batch->examples[i].count; t++) {
            tokens += self->batch->trained[i][t];
        }
    }
    if (!self->pairs) {
        return loss / (double)tokens;
    }
    double likelihood = loss = 0;
    tokens = 0;
    for (size_t i = 0; i < TINY_EXAMPLES / 2; i++) {
        const lm_pair *pair = &self->batch->pairs[i];
        double z = self->options.beta *
                   ((sums[2 * i] - pair->reference_chosen) - (sums[2 * i + 1] - pair->reference_rejected));
        for (size_t t = 1; t < pair->chosen.count; t++) {
            tokens += pair->chosen.trained[t];
        }
        loss += log1p(exp(-z));
        likelihood -= sums[2 * i];
    }
    return loss / (TINY_EXAMPLES / 2) + self->options.nll_weight * likelihood / (double)tokens;
}

/* A tensor's gradient along a random direction of length 1, so that every value takes part. The size to compare with is
 * that of such a component: the gradient's length over the square root of the number of values. */
static void assert_direction(const char *what, const lm_trained *trained, const lm_real *found,
                             uint64_t stream, model_case *self) {
    static const double steps[4] = {1, -1, 2, -2};
    const double step = 1e-3;
    double length = 0, size = 0, along = 0, at[4];
    lm_real *direction = random_values(stream, trained->count), *kept = random_values(0, trained->count);
    memcpy(kept, trained->values, trained->count * sizeof *kept);
    for (size_t i = 0; i < trained->count; i++) {
        length += direction[i] * direction[i];
        size += found[i] * found[i];
    }
    for (size_t i = 0; i < trained->count; i++) {
        direction[i] /= sqrt(length);
        along += direction[i] * found[i];
    }
    for (size_t s = 0; s < 4; s++) {
        for (size_t i = 0; i < trained->count; i++) {
            trained->values[i] = kept[i] + step * steps[s] * direction[i];
        }
        at[s] = model_loss(self);
    }
    memcpy(trained->values, kept, trained->count * sizeof *kept);
    double wanted = (8 * (at[0] - at[1]) - (at[2] - at[3])) / (12 * step);
    if (!(fabs(wanted - along) <= 1e-6 * sqrt(size / (double)trained->count)) || size == 0) {
        fail_msg("%s: %.12g along a direction, %.12g wanted", what, along, wanted);
    }
    free(direction);
    free(kept);
}

static void check_model(const char *architecture, bool tied, bool adapters, bool pairs) {
    lm_config config = tiny_config(architecture, tied);
    lm_model *model = tiny_model(&context, &config);
    static tiny_batch batch;
    tiny_fill(&batch, config.vocabulary, 17);
    if (adapters) {
        lm_adapter_config adapter = tiny_adapter();
        assert_int_equal(lm_lora_attach(&context, model, &adapter, 31, NULL), TEMPER_OK);
    }
    lm_train_options options = lm_train_defaults();
    options.gradient_shards = 3;
    options.group_rows = 20;
    options.chunk_rows = 10;
    model_case self = {.batch = &batch, .pairs = pairs, .options = {.beta = 0.1, .nll_weight = 0.2}};
    assert_int_equal(lm_trainer_new(&context, model, &options, &self.trainer, NULL), TEMPER_OK);
    for (size_t i = 0; i < lm_trainer_count(self.trainer); i++) { /* a B that is not zero */
        const lm_trained *trained = lm_trainer_at(self.trainer, i);
        for (size_t j = 0; trained->which == 'B' && j < trained->count; j++) {
            trained->values[j] = 0.3 * noise(40 + i, j);
        }
    }
    double expected = model_loss(&self), loss;
    temper_error error = TEMPER_ERROR_INIT;
    if (pairs) {
        lm_prefer_result result;
        if (lm_trainer_prefer(self.trainer, batch.pair_rows, TINY_EXAMPLES / 2,
                              lm_loss_find("dpo", "sigmoid"), &self.options, 0, &result, &error)) {
            fail_msg("%s", error.message);
        }
        loss = result.loss;
    } else {
        lm_sft_result result;
        if (lm_trainer_sft(self.trainer, batch.rows, TINY_EXAMPLES, &result, &error)) {
            fail_msg("%s", error.message);
        }
        loss = result.loss;
    }
    assert_true(fabs(loss - expected) < 1e-12 * fabs(expected));
    lm_real *gradient = lm_allocate(lm_trainer_parameters(self.trainer), sizeof *gradient);
    lm_trainer_gradient(self.trainer, gradient);
    for (size_t i = 0; i < lm_trainer_count(self.trainer); i++) {
        const lm_trained *trained = lm_trainer_at(self.trainer, i);
        char what[64];
        snprintf(what, sizeof what, "%s role %d layer %zu %c", architecture, (int)trained->role,
                 trained->layer, trained->which);
        assert_direction(what, trained, gradient + trained->offset, 100 + i, &self);
        assert_direction(what, trained, gradient + trained->offset, 200 + i, &self);
    }
    free(gradient);
    lm_trainer_free(self.trainer);
    lm_model_close(model);
}

static void llama_sft(void **state) {
    (void)state;
    check_model("llama", false, false, false);
}

static void llama_tied_sft(void **state) {
    (void)state;
    check_model("llama", true, false, false);
}

static void gpt_neo_sft(void **state) {
    (void)state;
    check_model("gpt_neo", true, false, false);
}

static void llama_lora_dpo(void **state) {
    (void)state;
    check_model("llama", true, true, true);
}

static void gpt_neo_lora_dpo(void **state) {
    (void)state;
    check_model("gpt_neo", true, true, true);
}

/* Every architecture, tied or not. */
static void architectures_sft(void **state) {
    (void)state;
    for (size_t i = 0; i < TINY_VARIANTS; i++) {
        check_model(tiny_variants[i].name, i % 2 == 0, false, false);
    }
}

static void architectures_lora(void **state) { /* fused projections, norms between them and the stream */
    static const char *const names[] = {"gemma2", "phi3", "gpt2", "gpt_neox"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        check_model(names[i], i % 2 != 0, true, false);
    }
}

static void llama_full_dpo(void **state) {
    (void)state;
    check_model("llama", true, false, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(linear),
                                       cmocka_unit_test(lora),
                                       cmocka_unit_test(rms_norm),
                                       cmocka_unit_test(layer_norm),
                                       cmocka_unit_test(swiglu),
                                       cmocka_unit_test(gelu_new),
                                       cmocka_unit_test(geglu),
                                       cmocka_unit_test(gelu),
                                       cmocka_unit_test(architectures_sft),
                                       cmocka_unit_test(architectures_lora),
                                       cmocka_unit_test(attention),
                                       cmocka_unit_test(attention_long),
                                       cmocka_unit_test(llama_sft),
                                       cmocka_unit_test(llama_tied_sft),
                                       cmocka_unit_test(gpt_neo_sft),
                                       cmocka_unit_test(llama_lora_dpo),
                                       cmocka_unit_test(gpt_neo_lora_dpo),
                                       cmocka_unit_test(llama_full_dpo)};
    return cmocka_run_group_tests_name("gradients", tests, setup, teardown);
}
