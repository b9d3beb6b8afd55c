/* families.h: see families.c. */
#ifndef LM_TOKENIZER_FAMILIES_H
#define LM_TOKENIZER_FAMILIES_H

#include "load.h"

enum { LM_FAMILY_PATTERNS = 6, LM_RANK_SPECIALS = 6 };

typedef struct lm_family {
    const char *name;
    bool whole_words; /* a word that is an entry is taken unmerged */
    const char *patterns[LM_FAMILY_PATTERNS];
} lm_family;
/* By GGUF's name; NULL: unknown. */
const lm_family *lm_family_find(const char *name, size_t length);
temper_status lm_family_apply(const lm_family *family, lm_tokenizer *self, temper_error *error);

typedef struct lm_rank_set {
    size_t count;
    const char *family; /* GGUF's name of it */
    struct {
        const char *text;
        int32_t id;
    } specials[LM_RANK_SPECIALS];
} lm_rank_set;
const lm_rank_set *lm_rank_set_find(size_t count);

#endif
