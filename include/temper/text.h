/* temper/text.h: a model's tokenizer and chat template for scripts, extension "temper.text/1".
 *
 * Weights are not needed: files that hold only a tokenizer, only a template, or one .jinja file are enough for what they
 * hold. Records go in and out as JSON text, one object each, in order.
 *
 * Ownership: an answer is the provider's, valid until the next answer or close. Threads: one call at a time. */
#ifndef TEMPER_TEXT_H
#define TEMPER_TEXT_H

#include <temper/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TEMPER_TEXT_SERVICE "temper.text/1"

typedef struct temper_text temper_text;

typedef enum temper_text_work {
    TEMPER_TEXT_TOKENIZE = 1, /* {text} to {ids} */
    TEMPER_TEXT_DECODE = 2,   /* {ids} to {text}; bytes that are no UTF-8 become U+FFFD */
    TEMPER_TEXT_RENDER = 3    /* {messages, add_generation_prompt, bos_token, eos_token, now, whatever else the template asks for} to {text} */
} temper_text_work;

typedef struct temper_text_request {
    uint32_t size;
    temper_text_work work;
    int32_t special; /* special tokens written in a text are read as such */
    int32_t bare;    /* without what the tokenizer's file puts around a text (BOS) */
    const char *record;
    size_t length;
} temper_text_request;

typedef struct temper_text_service {
    uint32_t size;
    temper_status (*open)(const temper_host *host, const temper_input *input, temper_text **out, temper_error *error);
    void (*close)(temper_text *self);
    /* A record that cannot be answered gives {"error": why} and TEMPER_OK: the next may be good. A record's "id" comes
     * back in its answer. */
    temper_status (*answer)(temper_text *self, const temper_text_request *request, const char **answer,
                            size_t *length, temper_error *error);
} temper_text_service;

#ifdef __cplusplus
}
#endif
#endif
