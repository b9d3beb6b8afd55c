/* shapes.h: the forms chat data comes in, and the two that stages read: `messages`, or `prompt`, `chosen`, `rejected`. */
#ifndef FILTER_SHAPES_H
#define FILTER_SHAPES_H

#include "lines/texts.h"

typedef enum filter_shape {
    FILTER_SHAPE_AS_IT_IS, /* messages; prompt, chosen and rejected; text: nothing to do */
    FILTER_SHAPE_MADE,     /* another form, now written in ours */
    FILTER_SHAPE_UNKNOWN
} filter_shape;

/* Known forms: TRL (messages; prompt and completion; prompt, chosen, rejected; chosen and rejected dialogues as text), OpenAI
 * (messages whose content is a list of text parts), ShareGPT (conversations of from and value, also with chosen and rejected),
 * alpaca (instruction, input, output, system, history; output as a pair). Members that none of these uses are kept. `out` gets
 * the row when it was made anew; *why, what is missing, when the form is unknown. */
filter_shape filter_shape_of(const temper_line *line, temper_buffer *scratch, temper_buffer *out,
                             const char **why);

#endif
