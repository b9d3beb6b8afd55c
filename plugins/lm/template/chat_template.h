/* chat_template.h: a model's chat template (Jinja), compiled once, rendered many times.
 *
 * Invariant: each output byte knows whether the template wrote it or a message's content did. So the trained span is
 * the assistant's content through the end token that the template writes after it, read off and never guessed from
 * prefix lengths (where a template has generation blocks, they say it), and a special token is one only where the template wrote it.
 *
 * The language is Jinja as transformers sets it up (trim_blocks, lstrip_blocks, loop controls, a sandbox in which
 * nothing is changed in place): text, values, for (unpacking, a condition, else, recursive, every loop variable but
 * `changed`), if, set (several names, blocks, namespaces), macro, call, filter, with, generation, break, continue;
 * lists, tuples, dicts, slices, arithmetic, comparisons, conditions; the filters of filter.c, the tests of test.c, the
 * methods of method.c, the functions of functions.c. Anything else is an error naming the construct and its line. */
#ifndef LM_CHAT_TEMPLATE_H
#define LM_CHAT_TEMPLATE_H

#include "../files/files.h"

#include <jansson.h>

typedef struct lm_template lm_template;

typedef struct lm_message {
    const char *role, *content;
    size_t content_length;
} lm_message;

/* Who wrote a byte. Bytes of an assistant message's content are LM_BY_ASSISTANT, of other messages' fields
 * and other variables' LM_BY_CONTENT, everything else LM_BY_TEMPLATE. In messages given as JSON all that an assistant
 * message holds but its role is the assistant's: reasoning and tool calls too. */
enum { LM_BY_TEMPLATE = 0, LM_BY_CONTENT = 1, LM_BY_ASSISTANT = 2 };

typedef struct lm_rendering {
    char *text;         /* malloc'ed, 0-terminated */
    uint8_t *author;    /* one LM_BY_… a byte */
    uint32_t *message;  /* for a byte of a message: the message's index; else UINT32_MAX */
    uint8_t *generated; /* 1: inside {% generation %}, transformers' mark of what an assistant writes */
    bool spans;         /* is any? */
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
/* The same for whatever may stand in a conversation: messages are an array of objects with a "role" and anything else;
 * `variables` an object of further names (tools, documents, enable_thinking ...) or NULL; `now`: seconds since 1970, what
 * strftime_now tells in UTC; NULL: strftime_now is undefined, as in lm_template_render. Borrows both until it returns. */
temper_status lm_template_render_json(const lm_template *self, const json_t *messages,
                                      const json_t *variables, bool add_generation_prompt, const char *bos,
                                      const char *eos, const int64_t *now, lm_rendering *out,
                                      temper_error *error);
void lm_template_free(lm_template *self);

#endif
