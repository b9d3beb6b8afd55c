/* write_text.h: what the writers of vocabularies share: see write_text.c. */
#ifndef LM_TOKENIZER_WRITE_TEXT_H
#define LM_TOKENIZER_WRITE_TEXT_H

#include "internal.h"

/* A token as files write it: bytes in GPT-2's symbols, spaces as U+2581, <0x41>; added ones as they stand in a text. In
 * `room`, of lm_written_size bytes. */
size_t lm_written_size(const lm_tokenizer *self);
size_t lm_written_token(const lm_tokenizer *self, int32_t id, char *room);

/* Merges, the first first; malloc'ed. Of a vocabulary with scores they are all the ways to make its entries from two,
 * the best score first. */
typedef struct lm_written_merge {
    int32_t left, right, id;
    double rank;
} lm_written_merge;
temper_status lm_written_merges(const lm_tokenizer *self, lm_written_merge **out, size_t *count,
                                temper_error *error);

/* GGUF's name for how this tokenizer cuts words; NULL: it has none. */
const char *lm_written_family(const lm_tokenizer *self);
/* The kinds that have a form elsewhere: byte-level BPE by merges, and BPE over marked characters with byte fallback. */
temper_status lm_written_check(const lm_tokenizer *self, temper_error *error);

#endif
