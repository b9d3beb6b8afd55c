/* test_quantised.c: GGUF's quantised types against gguf-py's values, what is written against exact arithmetic. */
#include "../support/cmocka_all.h"

#include "files/files.h"

#include "../support/gguf_make.h"
#include "quantised_vectors.h"
#include <temper/rng.h>

static uint64_t fnv(const void *data, size_t size) {
    uint64_t value = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) {
        value = (value ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    }
    return value;
}

static void test_vectors(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof quantised_vectors / sizeof *quantised_vectors; i++) {
        size_t elements, bytes = lm_dtype_block(quantised_vectors[i].dtype, &elements);
        size_t count = QUANTISED_BLOCKS * elements;
        lm_tensor tensor = {"t",     quantised_vectors[i].dtype,  1,
                            {count}, quantised_vectors[i].blocks, QUANTISED_BLOCKS * bytes};
        float all[QUANTISED_BLOCKS * LM_MAX_BLOCK], part[QUANTISED_BLOCKS * LM_MAX_BLOCK];
        lm_tensor_read(&tensor, 0, count, all);
        assert_memory_equal(all, quantised_vectors[i].first, sizeof quantised_vectors[i].first);
        assert_true(fnv(all, count * sizeof *all) == quantised_vectors[i].all);
        for (size_t first = 0; first < count; first += 7) {
            for (size_t length = 0; first + length <= count; length += 37) {
                lm_tensor_read(&tensor, first, length, part);
                assert_memory_equal(part, all + first, length * sizeof *part);
            }
        }
    }
}

/* Every F16 value comes back, and what lies between two goes to the nearer one. */
static void test_halves(void **state) {
    float last = 0.0f;
    (void)state;
    for (unsigned half = 0; half < 0x7c00; half++) {
        uint16_t bits = (uint16_t)half, written;
        lm_tensor tensor = {"t", LM_F16, 1, {1}, &bits, 2};
        float value, between;
        lm_tensor_read(&tensor, 0, 1, &value);
        assert_true(lm_encode(LM_F16, &value, 1, &written) && written == half);
        value = -value;
        assert_true(lm_encode(LM_F16, &value, 1, &written) && written == (half | 0x8000u));
        value = -value;
        if (half > 0) {
            between = (last + value) / 2; /* exact: a tie, which goes to the even one */
            assert_true(lm_encode(LM_F16, &between, 1, &written) && written == half - half % 2);
            between = __builtin_nextafterf(between, value);
            assert_true(lm_encode(LM_F16, &between, 1, &written) && written == half);
        }
        last = value;
    }
    static const float refused[] = {65520.0f, -1e30f, __builtin_inff(), __builtin_nanf("")};
    static const float held = 65519.0f;
    uint16_t written;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_false(lm_encode(LM_F16, &refused[i], 1, &written));
    }
    assert_true(lm_encode(LM_F16, &held, 1, &written) && written == 0x7bff);
}

static void test_encode_error(void **state) {
    static const lm_dtype types[] = {LM_F32, LM_F16, LM_BF16, LM_Q8_0};
    uint64_t draw = 0;
    (void)state;
    for (int round = 0; round < 2000; round++) {
        float values[32], back[32];
        unsigned char bytes[128];
        double size = 1.0;
        for (int power = round % 60; power > 0; power--) {
            size /= 4;
        }
        for (size_t i = 0; i < 32; i++) {
            values[i] = (float)((temper_random_unit(1, 2, draw++) * 2 - 1) * size);
        }
        for (size_t type = 0; type < 4; type++) {
            size_t elements, block = lm_dtype_block(types[type], &elements);
            lm_tensor tensor = {"t", types[type], 1, {32}, bytes, 32 / elements * block};
            if (!lm_encode(types[type], values, 32, bytes)) {
                assert_true(types[type] == LM_Q8_0 && size < 1e-30);
                continue;
            }
            lm_tensor_read(&tensor, 0, 32, back);
            for (size_t i = 0; i < 32; i++) {
                double bound = lm_encode_error(types[type], values + i / elements * elements, elements);
                assert_true(__builtin_fabs((double)back[i] - (double)values[i]) <= bound);
            }
        }
    }
    static const float values[32] = {0};
    unsigned char bytes[64];
    assert_false(lm_encode(LM_Q8_0, values, 31, bytes));
    assert_false(lm_encode(LM_Q4_K, values, 32, bytes));
}

static void test_q8_0_as_the_reference(void **state) {
    size_t count = sizeof q8_0_values / sizeof *q8_0_values;
    unsigned char bytes[sizeof q8_0_quantised];
    float values[sizeof q8_0_values / sizeof *q8_0_values];
    (void)state;
    memcpy(values, q8_0_values, sizeof values);
    assert_int_equal(count / 32 * 34, sizeof bytes);
    assert_true(lm_encode(LM_Q8_0, values, count, bytes));
    assert_memory_equal(bytes, q8_0_quantised, sizeof bytes);
}

/* A GGUF of one tensor of `type`, with `size` bytes of data. */
static temper_status open_one(uint32_t type, const uint64_t sides[2], const void *data, size_t size,
                              memory_bytes *bytes, lm_gguf **out, temper_error *error) {
    gguf_header(bytes, 3, 1, 0);
    gguf_record(bytes, "w", 2, sides, type, 0);
    gguf_align(bytes, 32);
    gguf_bytes(bytes, data, size);
    lm_file file = {"model.gguf", bytes->data, bytes->size};
    return lm_gguf_open(&file, out, error);
}

static void test_gguf_types(void **state) {
    static const uint32_t types[] = {8, 2, 12, 13, 14};
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        size_t elements, block = lm_dtype_block(quantised_vectors[i].dtype, &elements);
        const uint64_t sides[] = {2 * elements, 2}, broken[] = {2 * elements - 1, 2},
                       huge[] = {(uint64_t)1 << 62, 64};
        memory_bytes bytes = {0};
        lm_gguf *gguf;
        float row[2 * LM_MAX_BLOCK], all[4 * LM_MAX_BLOCK];
        assert_int_equal(
            open_one(types[i], sides, quantised_vectors[i].blocks, 4 * block, &bytes, &gguf, &error),
            TEMPER_OK);
        const lm_tensor *tensor = lm_gguf_find(gguf, "w");
        assert_int_equal(tensor->dtype, quantised_vectors[i].dtype);
        assert_int_equal(tensor->shape[0], 2);
        assert_int_equal(tensor->bytes, 4 * block);
        lm_tensor_read(tensor, 0, 4 * elements, all);
        lm_tensor_read(tensor, 2 * elements, 2 * elements, row);
        assert_memory_equal(row, all + 2 * elements, 2 * elements * sizeof *row);
        lm_gguf_close(gguf);
        bytes.size = 0;
        assert_int_equal(
            open_one(types[i], sides, quantised_vectors[i].blocks, 4 * block - 1, &bytes, &gguf, &error),
            TEMPER_INVALID);
        assert_non_null(strstr(error.message, "cut short"));
        bytes.size = 0;
        assert_int_equal(
            open_one(types[i], broken, quantised_vectors[i].blocks, 4 * block, &bytes, &gguf, &error),
            TEMPER_INVALID);
        assert_non_null(strstr(error.message, lm_dtype_name(quantised_vectors[i].dtype)));
        bytes.size = 0;
        assert_int_equal(
            open_one(types[i], huge, quantised_vectors[i].blocks, 4 * block, &bytes, &gguf, &error),
            TEMPER_INVALID);
        assert_non_null(strstr(error.message, "overflows"));
        free(bytes.data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),      cmocka_unit_test(test_halves),
        cmocka_unit_test(test_encode_error), cmocka_unit_test(test_q8_0_as_the_reference),
        cmocka_unit_test(test_gguf_types),
    };
    return cmocka_run_group_tests_name("quantised", tests, NULL, NULL);
}
