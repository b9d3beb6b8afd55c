/* character.h: character files as canonical records {"additional_questions":[…],"questions":[…],"trait":"…"}, one a line.
 *
 * `instruction` stands in a record only where the file has it: the trait as the model is to be told it.
 * Read: a JSON list of {trait, questions, additional_questions} or of plain texts; JSON lines of the same objects; an object
 * {"name", "traits": [...]}. So the same constitution gives the same bytes in whichever form it was written. A message
 * names the record. */
#ifndef TM_CHARACTER_H
#define TM_CHARACTER_H

#include "base/buffer.h"
#include "base/json.h"

temper_status tm_character_normalise(const char *text, size_t length, tm_buffer *out, temper_error *error);

#endif
