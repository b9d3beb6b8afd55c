/* support/character.h: a character file, and its description as an instruction.
 *
 * A character is records, one a trait: `trait` (a sentence), `questions` and `additional_questions` (what people might
 * ask that shows the trait), and, if the trait reads wrongly as an instruction, `instruction` (the sentence to use).
 * The instruction for a prompt is its own trait's sentence first, then the others in the order of the file while the
 * whole fits a quarter of the model's context, joined by spaces and put where the template says {traits}. Constitution,
 * rank and eval build it here, so that what a model was told and what it is judged by are the same words. */
#ifndef TEMPER_SUPPORT_CHARACTER_H
#define TEMPER_SUPPORT_CHARACTER_H

#include "support/records.h"
#include <temper/model.h>

typedef struct temper_trait {
    temper_span trait, instruction;
    const temper_span *questions; /* `questions`, then `additional_questions` */
    size_t question_count;        /* of both */
    size_t first_count;           /* of `questions` */
} temper_trait;

typedef struct temper_character {
    const temper_trait *traits;
    size_t count;
} temper_character;

/* At least one trait, or TEMPER_INVALID; a broken record is named by its number. */
temper_status temper_character_read(const temper_host *host, temper_pool *pool, const temper_input *input,
                                    temper_character *out, temper_error *error);

typedef struct temper_instruction {
    temper_span text;
    size_t left_out; /* traits that did not fit, or were over `most` */
} temper_instruction;

/* One instruction a trait. `pattern` must contain {traits}; `most` traits in one instruction at most, 0: no bound. */
temper_status temper_character_instructions(temper_pool *pool, const temper_character *character,
                                            const temper_model_service *service, temper_model *model,
                                            const char *pattern, uint64_t most,
                                            const temper_instruction **out, temper_error *error);

#endif
