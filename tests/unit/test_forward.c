/* One forward pass: prefill in any pieces, decode, scoring and a kept pass give the same bits, in every kernel set, at
 * any number of workers, beside any neighbours; and attention is what its definition says. */
#include "../support/tiny.h"
#include "../support/workers.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROWS = 75 };

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        temper_error must_error = TEMPER_ERROR_INIT;                                                         \
        temper_error *error = &must_error;                                                                   \
        if ((call) != TEMPER_OK) {                                                                           \
            fail_msg("%s", must_error.message);                                                              \
        }                                                                                                    \
    } while (0)

static const char *const profiles[] = {"f32/1", "bf16/1", "q8/1"};

static const lm_kernels *usable(size_t index) {
    const lm_kernels *const *all = lm_kernels_all();
    const char *reason;
    for (size_t i = 0; all[i] != NULL; i++) {
        if (lm_kernels_usable(all[i], &reason) && index-- == 0) {
            return all[i];
        }
    }
    return NULL;
}

/* A model whose weights are large enough that attention is not uniform. */
static lm_model *new_model(const lm_context *context, const lm_config *config) {
    lm_model *model = NULL;
    MUST(lm_model_init(context, config, 42, 0.3, &model, error));
    return model;
}

/* The whole sequence at once, without a cache. */
static void whole(const lm_context *context, const lm_model *model, const int32_t *ids, lm_real *out) {
    lm_sequence sequence = {NULL, ids, ROWS};
    MUST(lm_model_forward(context, model, &sequence, 1, out, NULL, error));
}

/* Through a cache in pieces of the given sizes, over and over: in blocks of `block` positions. */
static void pieces(const lm_context *context, const lm_model *model, const int32_t *ids, const size_t *sizes,
                   size_t count, size_t block, lm_real *out) {
    lm_cache_pool *pool = NULL;
    lm_cache *cache = NULL;
    MUST(lm_cache_pool_new(context, &model->config, block, 0, &pool, error));
    MUST(lm_cache_open(pool, ROWS, &cache, error));
    for (size_t done = 0, turn = 0; done < ROWS; turn++) {
        size_t size = sizes[turn % count] < ROWS - done ? sizes[turn % count] : ROWS - done;
        lm_sequence sequence = {cache, ids + done, size};
        MUST(lm_model_forward(context, model, &sequence, 1, out + done * model->config.hidden, NULL, error));
        done += size;
        assert_int_equal(cache->length, done);
    }
    lm_cache_free(cache);
    lm_cache_pool_free(pool);
}

static void same(const lm_real *a, const lm_real *b, size_t rows, size_t n, const char *what) {
    for (size_t row = 0; row < rows; row++) {
        if (memcmp(a + row * n, b + row * n, n * sizeof *a) != 0) {
            fail_msg("%s: row %zu differs", what, row);
        }
    }
}

static void check_paths(const lm_kernels *kernels, const char *profile, const lm_config *config,
                        lm_real *reference, bool first) {
    lm_context context;
    static lm_real out[ROWS * 96];
    int32_t ids[ROWS];
    size_t n = config->hidden;
    MUST(lm_context_init(&context, kernels, profile, lm_serial(), error));
    lm_model *model = new_model(&context, config);
    tiny_ids(ids, ROWS, config->vocabulary, 7);
    whole(&context, model, ids, out);
    if (first) {
        memcpy(reference, out, ROWS * n * sizeof *out);
    }
    same(out, reference, ROWS, n, kernels->name);

    static const size_t sizes[][4] = {
        {1, 1, 1, 1}, {ROWS, 1, 1, 1}, {13, 1, 2, 7}, {2, 64, 1, 3}, {33, 31, 5, 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        pieces(&context, model, ids, sizes[i], 4, LM_PANEL << i % 3, out);
        same(out, reference, ROWS, n, "pieces");
    }

    lm_activations *kept = NULL;
    MUST(lm_activations_new(model, ROWS, &kept, error));
    lm_sequence sequence = {NULL, ids, ROWS};
    MUST(lm_model_forward(&context, model, &sequence, 1, NULL, kept, error));
    same(kept->final_normed, reference, ROWS, n, "a kept pass");
    lm_activations_free(kept);
    lm_model_close(model);
    lm_context_free(&context);
}

static void check_sets(const lm_config *config) {
    static lm_real reference[ROWS * 96];
    for (size_t p = 0; p < 3; p++) {
        const lm_kernels *kernels;
        for (size_t i = 0; (kernels = usable(i)) != NULL; i++) {
            check_paths(kernels, profiles[p], config, reference, i == 0);
        }
    }
}

static void llama_paths_agree(void **state) {
    lm_config config = tiny_llama(ROWS);
    (void)state;
    check_sets(&config);
}

static void gpt_neo_paths_agree(void **state) {
    lm_config config = tiny_gpt_neo(ROWS);
    (void)state;
    check_sets(&config);
}

/* Several sequences in one pass, some with a cache, on pools of several sizes; large enough to be handed out. */
static void neighbours_and_workers_do_not_show(void **state) {
    enum { SEQUENCES = 5 };
    lm_config config = tiny_llama(ROWS);
    static lm_real alone[SEQUENCES][ROWS * 96], together[SEQUENCES * ROWS * 96];
    static int32_t ids[SEQUENCES][ROWS];
    (void)state;
    config.hidden = 96, config.heads = 12, config.kv_heads = 4, config.intermediate = 300;
    for (size_t p = 0; p < 2; p++) {
        lm_context serial;
        MUST(lm_context_init(&serial, usable(0), profiles[p], lm_serial(), error));
        lm_model *model = new_model(&serial, &config);
        for (size_t i = 0; i < SEQUENCES; i++) {
            tiny_ids(ids[i], ROWS, config.vocabulary, (uint32_t)i);
            whole(&serial, model, ids[i], alone[i]);
        }
        for (uint32_t workers = 1; workers <= 4; workers *= 2) {
            tm_pool *pool = NULL;
            lm_context context;
            lm_sequence sequences[SEQUENCES];
            MUST(tm_pool_new(workers, &pool, error));
            MUST(lm_context_init(&context, usable(0), profiles[p], workers_of(pool), error));
            for (size_t i = 0; i < SEQUENCES; i++) {
                sequences[i] = (lm_sequence){NULL, ids[i], ROWS};
                if (i % 2 == 0) {
                    MUST(lm_cache_new(&context, &config, ROWS, &sequences[i].cache, error));
                }
            }
            MUST(lm_model_forward(&context, model, sequences, SEQUENCES, together, NULL, error));
            for (size_t i = 0; i < SEQUENCES; i++) {
                same(together + i * ROWS * config.hidden, alone[i], ROWS, config.hidden, "beside others");
                lm_cache_free(sequences[i].cache);
            }
            /* a row of logits alone and among all */
            static lm_real few[77], all[SEQUENCES * ROWS * 77];
            size_t chosen = 2 * ROWS + 3;
            MUST(lm_model_logits(&context, model, together, NULL, SEQUENCES * ROWS, all, error));
            MUST(lm_model_logits(&context, model, together, &chosen, 1, few, error));
            same(few, all + chosen * 77, 1, 77, "logits");
            lm_context_free(&context);
            tm_pool_free(pool);
        }
        lm_model_close(model);
        lm_context_free(&serial);
    }
}

/* softmax(scale q.K) . V over the window, in double. */
static void naive(const lm_config *config, size_t window, const lm_real *q, const lm_real *k,
                  const lm_real *v, size_t position, size_t head, double *out) {
    size_t size = config->head_size, kv = head / (config->heads / config->kv_heads);
    size_t first = window != 0 && position + 1 > window ? position + 1 - window : 0;
    double weights[ROWS], maximum = -INFINITY, sum = 0;
    for (size_t key = first; key <= position; key++) {
        double score = 0;
        for (size_t d = 0; d < size; d++) {
            score += (double)q[(position * config->heads + head) * size + d] *
                     (double)k[(key * config->kv_heads + kv) * size + d];
        }
        weights[key] = score * config->attention_scale;
        maximum = fmax(maximum, weights[key]);
    }
    for (size_t key = first; key <= position; key++) {
        weights[key] = exp(weights[key] - maximum);
        sum += weights[key];
    }
    for (size_t d = 0; d < size; d++) {
        out[d] = 0;
        for (size_t key = first; key <= position; key++) {
            out[d] += weights[key] / sum * (double)v[(key * config->kv_heads + kv) * size + d];
        }
    }
}

static void attention_is_its_definition(void **state) {
    static lm_real q[ROWS * 96], k[ROWS * 96], v[ROWS * 96], out[ROWS * 96];
    static const size_t windows[] = {0, 1, 4, 9};
    lm_config configs[] = {tiny_llama(ROWS), tiny_gpt_neo(ROWS)};
    (void)state;
    for (size_t i = 0; i < ROWS * 96; i++) {
        q[i] = (lm_real)sin((double)i * 1.7), k[i] = (lm_real)sin((double)i * 0.9 + 1);
        v[i] = (lm_real)sin((double)i * 2.3 + 2);
    }
    for (size_t test = 0; test < 2 * 2 * 4; test++) {
        const lm_config *config = &configs[test % 2];
        size_t p = test / 2 % 2, window = windows[test / 4];
        lm_context context;
        lm_cache_layer cache;
        MUST(lm_context_init(&context, usable(0), profiles[p], lm_serial(), error));
        MUST(lm_cache_layer_open(&context, config, ROWS, &cache, error));
        lm_attention_rows rows = {&cache, q, k, v, ROWS, out};
        MUST(lm_attention_forward(&context, config, window, &rows, 1, error));
        for (size_t position = 0; position < ROWS; position++) {
            for (size_t head = 0; head < config->heads; head++) {
                double expected[64];
                naive(config, window, q, k, v, position, head, expected);
                for (size_t d = 0; d < config->head_size; d++) {
                    double got = (double)out[(position * config->heads + head) * config->head_size + d];
                    if (fabs(got - expected[d]) > (p == 0 ? 2e-6 : 0.03)) {
                        fail_msg("%s window %zu position %zu head %zu: %g, not %g", profiles[p], window,
                                 position, head, got, expected[d]);
                    }
                }
            }
        }
        lm_cache_layer_close(&cache);
        lm_context_free(&context);
    }
}

/* A key that a query may not see is in nothing: NaN there, or in memory never written, leaves no mark. */
static void masked_keys_are_never_read(void **state) {
    static lm_real q[ROWS * 96], k[ROWS * 96], v[ROWS * 96], clean[ROWS * 96], dirty[ROWS * 96];
    lm_config config = tiny_llama(ROWS);
    size_t last = ROWS - 1, width = config.kv_heads * config.head_size,
           q_width = config.heads * config.head_size;
    (void)state;
    for (size_t i = 0; i < ROWS * 96; i++) {
        q[i] = (lm_real)sin((double)i), k[i] = (lm_real)cos((double)i), v[i] = (lm_real)sin((double)i * 3);
    }
    for (size_t p = 0; p < 2; p++) {
        lm_context context;
        MUST(lm_context_init(&context, usable(0), profiles[p], lm_serial(), error));
        for (size_t turn = 0; turn < 2; turn++) {
            lm_cache_layer cache;
            MUST(lm_cache_layer_open(&context, &config, ROWS, &cache, error));
            memset(cache.blocks[0], turn == 0 ? 0 : 0xff, lm_cache_layer_bytes(&context, &config, ROWS));
            lm_attention_rows rows = {&cache, q, k, v, ROWS, turn == 0 ? clean : dirty};
            MUST(lm_attention_forward(&context, &config, 0, &rows, 1, error));
            lm_cache_layer_close(&cache);
            for (size_t d = 0; d < width; d++) { /* for the second turn */
                k[last * width + d] = v[last * width + d] = turn == 0 ? (lm_real)NAN : 0;
            }
        }
        same(dirty, clean, last, q_width, "a row before a NaN key");
        assert_true(isnan(dirty[last * q_width]));
        lm_context_free(&context);
    }
}

/* Heads that share a panel of values, in a cache that is full to the last row: the same bits token by token, and (the
 * sanitizers look) nothing read past the end. */
static void small_heads_fill_their_cache(void **state) {
    static lm_real q[ROWS * 96], k[ROWS * 96], v[ROWS * 96], whole[ROWS * 96], step[ROWS * 96];
    enum { FULL = LM_PANEL };
    (void)state;
    for (size_t i = 0; i < ROWS * 96; i++) {
        q[i] = (lm_real)sin((double)i), k[i] = (lm_real)cos((double)i), v[i] = (lm_real)sin((double)i * 3);
    }
    for (const lm_kernels *const *set = lm_kernels_all(); *set != NULL; set++) {
        for (size_t test = 0; test < 2 * 3 && lm_kernels_usable(*set, NULL); test++) {
            lm_config config = {.heads = 8, .kv_heads = 8, .head_size = (size_t)4 << test / 2};
            size_t width = config.heads * config.head_size;
            config.heads = config.kv_heads = width > 96 ? 96 / config.head_size : config.heads;
            config.attention_scale = 0.5;
            width = config.heads * config.head_size;
            lm_context context;
            lm_cache_layer cache;
            MUST(lm_context_init(&context, *set, profiles[test % 2], lm_serial(), error));
            MUST(lm_cache_layer_open(&context, &config, FULL, &cache, error));
            lm_attention_rows rows = {&cache, q, k, v, FULL, whole};
            MUST(lm_attention_forward(&context, &config, 0, &rows, 1, error));
            cache.length = 0;
            for (size_t i = 0; i < FULL; i++) {
                rows = (lm_attention_rows){&cache, q + i * width,   k + i * width, v + i * width,
                                           1,      step + i * width};
                MUST(lm_attention_forward(&context, &config, 0, &rows, 1, error));
            }
            same(step, whole, FULL, width, (*set)->name);
            lm_cache_layer_close(&cache);
            lm_context_free(&context);
        }
    }
}

static void wrong_input_is_refused(void **state) {
    lm_config config = tiny_llama(16);
    lm_context context;
    temper_error refusal = TEMPER_ERROR_INIT;
    int32_t ids[17] = {0};
    lm_real out[17 * 48];
    (void)state;
    assert_int_equal(lm_context_init(&context, usable(0), "bf16/2", lm_serial(), &refusal),
                     TEMPER_UNSUPPORTED);
    MUST(lm_context_init(&context, usable(0), "f32/1", lm_serial(), error));
    lm_model *model = new_model(&context, &config);
    lm_sequence sequence = {NULL, ids, 17};
    assert_int_equal(lm_model_forward(&context, model, &sequence, 1, out, NULL, &refusal), TEMPER_INVALID);
    assert_non_null(strstr(refusal.message, "17 tokens after 0 are more than the 16"));
    sequence.count = 16;
    ids[15] = 77;
    assert_int_equal(lm_model_forward(&context, model, &sequence, 1, out, NULL, &refusal), TEMPER_INVALID);
    assert_non_null(strstr(refusal.message, "token id 77 is outside the vocabulary of 77"));
    ids[15] = -1;
    assert_int_equal(lm_model_forward(&context, model, &sequence, 1, out, NULL, &refusal), TEMPER_INVALID);
    lm_model_close(model);
    config.kv_heads = 4;
    assert_int_equal(lm_model_init(&context, &config, 0, 1, &model, &refusal), TEMPER_INVALID);
    lm_context_free(&context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_paths_agree),
        cmocka_unit_test(gpt_neo_paths_agree),
        cmocka_unit_test(neighbours_and_workers_do_not_show),
        cmocka_unit_test(attention_is_its_definition),
        cmocka_unit_test(masked_keys_are_never_read),
        cmocka_unit_test(small_heads_fill_their_cache),
        cmocka_unit_test(wrong_input_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
