/* temper/rng.h: random numbers that no schedule can change.
 *
 * Philox 4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC'11). A draw is a pure
 * function of a 64-bit key and a 128-bit counter: there is no state to share, to lock, to save in a
 * checkpoint or to advance in the wrong order. The key stands for the run's seed and the stage (the
 * host derives it: temper_host.rng_key); the counter says which draw it is: (stream, index), say a
 * record's number and a position in it. Thread count and batch size cannot show.
 *
 * Known answer (Random123's kat_vectors): key 0, counter 0 gives 6627e8d5 e169c58d bc57ac4c 9b00dbd8. */
#ifndef TEMPER_RNG_H
#define TEMPER_RNG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline void temper_philox(uint64_t key, const uint32_t counter[4], uint32_t out[4]) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    int round;
    for (round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* 64 random bits for draw `index` of `stream`. */
static inline uint64_t temper_random(uint64_t key, uint64_t stream, uint64_t index) {
    uint32_t counter[4], out[4];
    counter[0] = (uint32_t)index, counter[1] = (uint32_t)(index >> 32);
    counter[2] = (uint32_t)stream, counter[3] = (uint32_t)(stream >> 32);
    temper_philox(key, counter, out);
    return (uint64_t)out[1] << 32 | out[0];
}

/* Uniform in [0, 1), a multiple of 2^-53. */
static inline double temper_random_unit(uint64_t key, uint64_t stream, uint64_t index) {
    return (double)(temper_random(key, stream, index) >> 11) * (1.0 / 9007199254740992.0);
}

/* Uniform in [0, bound), bound > 0. The bias is below bound / 2^64: none that a run can show. */
static inline uint64_t temper_random_below(uint64_t key, uint64_t stream, uint64_t index, uint64_t bound) {
    uint64_t x = temper_random(key, stream, index);
    uint64_t a = x >> 32, b = x & 0xffffffffu, c = bound >> 32, d = bound & 0xffffffffu;
    uint64_t middle = a * d + (b * d >> 32), low = b * c + (middle & 0xffffffffu);
    return a * c + (middle >> 32) + (low >> 32);
}

#ifdef __cplusplus
}
#endif
#endif
