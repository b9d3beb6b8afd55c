/* dialogue.h: a conversation or a text as token ids, with the tokens that are trained (or scored) marked.
 *
 * Invariant: the mark is read off the rendering, which knows who wrote each byte: an assistant's content, whole, and
 * the end token that the template writes after it; or, where the template has {% generation %} blocks, what is in them.
 * Scoring and training call the same function, so a perplexity and a
 * loss speak of the same tokens. Special tokens are recognised only where the template wrote them. */
#ifndef LM_DIALOGUE_H
#define LM_DIALOGUE_H

#include "../template/chat_template.h"
#include "../tokenizer/tokenizer.h"

typedef struct lm_dialogue {
    int32_t *ids;     /* malloc'ed */
    uint8_t *trained; /* [count] 1: this token is predicted and counts; never the first */
    size_t count, trained_count;
    size_t truncated; /* tokens cut off at the end by the limit */
    size_t
        unterminated; /* trained contents after which the template writes no end token (one cut off is not counted) */
} lm_dialogue;
void lm_dialogue_free(lm_dialogue *dialogue);

typedef enum lm_span {
    LM_SPAN_ASSISTANT, /* every assistant message's content and its end token */
    LM_SPAN_LAST,      /* only the last assistant message's */
    LM_SPAN_ALL        /* every token but the first */
} lm_span;

/* Messages through the chat template, cut to `limit` tokens (0: no limit). BOS is put in front when the tokenizer adds
 * one and the template did not write it. */
temper_status lm_dialogue_encode(const lm_tokenizer *tokenizer, const lm_template *chat,
                                 const lm_message *messages, size_t count, lm_span span, size_t limit,
                                 lm_dialogue *out, temper_error *error);
/* Raw text: `text` after `prefix` (may be empty). Tokens that hold a byte of `text` are trained; `terminated` adds the
 * end token, trained. No special token is recognised inside. */
temper_status lm_dialogue_encode_text(const lm_tokenizer *tokenizer, const char *prefix, size_t prefix_length,
                                      const char *text, size_t text_length, bool terminated, size_t limit,
                                      lm_dialogue *out, temper_error *error);
/* The prompt of a generation: messages with the template's generation prompt, all ids untrained. */
temper_status lm_dialogue_encode_prompt(const lm_tokenizer *tokenizer, const lm_template *chat,
                                        const lm_message *messages, size_t count, lm_dialogue *out,
                                        temper_error *error);

#endif
