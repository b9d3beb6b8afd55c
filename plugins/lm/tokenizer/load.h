/* load.h: what the loaders of byte-level BPE share. */
#ifndef LM_TOKENIZER_LOAD_H
#define LM_TOKENIZER_LOAD_H

#include "internal.h"

/* A vocabulary object {text: id} and added tokens {text: id}, which win over it. Not yet finished. */
temper_status lm_load_vocab(const json_t *vocab, const json_t *added, const lm_specials *specials,
                            const char *file, lm_tokenizer **out, temper_error *error);
/* A merge, its sides in byte-level symbols. */
temper_status lm_load_merge(lm_tokenizer *self, const char *left, size_t left_length, const char *right,
                            size_t right_length, size_t rank, temper_error *error);
/* The same as "left right". */
temper_status lm_load_merge_line(lm_tokenizer *self, const char *line, size_t length, size_t rank,
                                 temper_error *error);

#endif
