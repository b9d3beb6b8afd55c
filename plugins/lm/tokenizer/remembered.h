/* remembered.h: words seen before, with their tokens: most words of a language are few.
 *
 * Invariant: a slot holds a word's bytes whole, so a wrong hit is impossible; a new word takes the slot of an old one. */
#ifndef LM_TOKENIZER_REMEMBERED_H
#define LM_TOKENIZER_REMEMBERED_H

#include <stdint.h>

enum { LM_REMEMBERED = 1 << 15, LM_REMEMBERED_BYTES = 15, LM_REMEMBERED_TOKENS = 3 };

struct lm_remembered {
    uint64_t low, high; /* bytes, zeros, and the length in the last byte; length 0: empty */
    int32_t ids[LM_REMEMBERED_TOKENS];
    uint8_t sizes[LM_REMEMBERED_TOKENS], count;
};

#endif
