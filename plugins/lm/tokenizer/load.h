/* load.h: what the loaders share. */
#ifndef LM_TOKENIZER_LOAD_H
#define LM_TOKENIZER_LOAD_H

#include "internal.h"

/* How a vocabulary writes its texts. */
typedef enum lm_writing {
    LM_WRITES_BYTES,  /* GPT-2's symbols */
    LM_WRITES_MARKED, /* U+2581 for a space; <0x41> for bytes when there is a fallback */
    LM_WRITES_PLAIN   /* as they stand in a text; <0x41> likewise */
} lm_writing;

typedef struct lm_vocab_source {
    const char *file;
    lm_writing writing;
    bool byte_fallback;
    const json_t *added; /* {text: id}, wins over the vocabulary */
    const json_t *match; /* {text: flags} of added tokens, before lm_specials_match; or NULL */
    const lm_specials *specials;
} lm_vocab_source;

/* A vocabulary object {text: id}, or a list of [text, score]. Not yet finished. */
temper_status lm_load_vocab(const json_t *vocab, const lm_vocab_source *source, lm_tokenizer **out,
                            temper_error *error);
/* A merge, its sides as the vocabulary writes them. */
temper_status lm_load_merge(lm_tokenizer *self, lm_writing writing, const char *left, size_t left_length,
                            const char *right, size_t right_length, size_t rank, temper_error *error);
/* The same as "left right". */
temper_status lm_load_merge_line(lm_tokenizer *self, lm_writing writing, const char *line, size_t length,
                                 size_t rank, temper_error *error);

/* load_steps.c: tokenizer.json's normalizer, pre_tokenizer, decoder and post_processor. */
typedef struct lm_steps {
    bool byte_level, marked;
    bool marked_by_normalizer; /* what comes after it sees no spaces */
} lm_steps;
/* What kind of texts the vocabulary holds, seen from the whole file; then the steps themselves. */
lm_steps lm_steps_survey(const json_t *root);
temper_status lm_load_steps(const json_t *root, lm_steps steps, lm_tokenizer *self, const char *file,
                            temper_error *error);
temper_status lm_load_frame(const json_t *post_processor, lm_tokenizer *self, const char *file,
                            temper_error *error);
/* A step that cuts by this pattern: by hand where split.c knows it. */
temper_status lm_load_pattern(lm_tokenizer *self, const char *pattern, size_t length, lm_behaviour behaviour,
                              bool invert, temper_error *error);

/* base64.c: malloc'ed bytes. */
temper_status lm_base64(const char *text, size_t length, unsigned char **out, size_t *size,
                        temper_error *error);

#endif
