/* chat_template.h: a model's chat template (Jinja), compiled once, rendered many times.
 *
 * Invariant: each output byte knows whether the template wrote it or a message's content did. So the trained span is
 * the assistant's content through the end token that the template writes after it, read off and never guessed from
 * prefix lengths, and a special token is one only where the template wrote it.
 *
 * This is the subset that the templates in the golden tests need: text, {{ }}, for (loop.first, loop.last,
 * loop.index0, loop.index), if / elif / else, comparisons, and / or / not, in, indexing by string and integer,
 * attribute access, `+` and `~` on strings, string literals with escapes, is defined, whitespace control ({%- -%}, with
 * trim_blocks and lstrip_blocks on, as transformers sets them), bos_token and eos_token, raise_exception; beyond them
 * set, namespace, whole-number arithmetic, slices and lists, break and continue, a for's condition, the tests none,
 * string, mapping, iterable, the filters trim, length, string, and strip, startswith, endswith. Anything else is an error
 * naming the construct and its line. */
#ifndef LM_CHAT_TEMPLATE_H
#define LM_CHAT_TEMPLATE_H

#include "../files/files.h"

typedef struct lm_template lm_template;

typedef struct lm_message {
    const char *role, *content;
    size_t content_length;
} lm_message;

/* Who wrote a byte. Bytes of an assistant message's content are LM_BY_ASSISTANT, of other messages' fields
 * LM_BY_CONTENT, everything else LM_BY_TEMPLATE. */
enum { LM_BY_TEMPLATE = 0, LM_BY_CONTENT = 1, LM_BY_ASSISTANT = 2 };

typedef struct lm_rendering {
    char *text;        /* malloc'ed, 0-terminated */
    uint8_t *author;   /* one LM_BY_… a byte */
    uint32_t *message; /* for a content byte: the message's index; else UINT32_MAX */
    size_t length;
} lm_rendering;
void lm_rendering_free(lm_rendering *rendering);

/* The template's text from a model's files: chat_template.jinja, tokenizer_config.json's chat_template (a string, or a
 * list of {name, template}: "default"), a GGUF's tokenizer.chat_template. TEMPER_UNSUPPORTED when there is none. */
temper_status lm_template_find(const lm_file_set *files, char **source, size_t *length, temper_error *error);
temper_status lm_template_compile(const char *source, size_t length, lm_template **out, temper_error *error);
/* Does the template name a role "system", and does what such a message says come out when it stands first? If not, an
 * instruction goes before the first user message. */
bool lm_template_mentions_system(const lm_template *self);
/* bos / eos: texts of those tokens or NULL. Output is capped at 64 MiB and steps are counted: a hostile template ends
 * in an error. raise_exception(message) is TEMPER_INVALID with that message. */
temper_status lm_template_render(const lm_template *self, const lm_message *messages, size_t count,
                                 bool add_generation_prompt, const char *bos, const char *eos,
                                 lm_rendering *out, temper_error *error);
void lm_template_free(lm_template *self);

#endif
