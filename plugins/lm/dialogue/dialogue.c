/* dialogue.c: see dialogue.h. Both ways in end in one list of lm_token with byte offsets; marking looks at nothing but
 * those offsets and the author of each byte. */
#include "dialogue.h"

#include <stdlib.h>

void lm_dialogue_free(lm_dialogue *dialogue) {
    free(dialogue->ids);
    free(dialogue->trained);
    *dialogue = (lm_dialogue){0};
}

/* The text of a special token, 0-terminated and malloc'ed; NULL when there is none. *failed: memory ran out. */
static char *special_text(const lm_tokenizer *tokenizer, int32_t id, bool *failed) {
    if (id < 0) {
        return NULL;
    }
    size_t length = 0;
    const char *bytes = lm_tokenizer_bytes(tokenizer, id, &length);
    char *text = malloc(length + 1);
    if (text == NULL) {
        *failed = true;
        return NULL;
    }
    memcpy(text, bytes, length);
    text[length] = 0;
    return text;
}

/* Room for the ids of `tokens`, BOS before them and one token after. */
static temper_status reserve(lm_dialogue *out, size_t tokens, temper_error *error) {
    out->ids = calloc(tokens + 2, sizeof *out->ids);
    out->trained = calloc(tokens + 2, 1);
    if (out->ids == NULL || out->trained == NULL) {
        lm_dialogue_free(out);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu tokens", tokens);
    }
    return TEMPER_OK;
}

static void push(lm_dialogue *out, int32_t id, bool trained) {
    out->ids[out->count] = id;
    out->trained[out->count] = trained && out->count > 0;
    out->count++;
}

/* Cuts to the limit and counts what is left. */
static void finish(lm_dialogue *out, size_t limit) {
    if (limit > 0 && out->count > limit) {
        out->truncated = out->count - limit;
        out->count = limit;
    }
    out->trained_count = 0;
    for (size_t i = 0; i < out->count; i++) {
        out->trained_count += out->trained[i];
    }
}

/* Renders and encodes, with special tokens where the template wrote them; BOS first when the template left it out. */
static temper_status encode_messages(const lm_tokenizer *tokenizer, const lm_template *chat,
                                     const lm_message *messages, size_t count, bool prompt,
                                     lm_rendering *rendering, lm_tokens *tokens, lm_dialogue *out,
                                     temper_error *error) {
    bool failed = false;
    uint8_t *special = NULL;
    char *bos = special_text(tokenizer, lm_tokenizer_bos(tokenizer), &failed);
    char *eos = special_text(tokenizer, lm_tokenizer_eos(tokenizer), &failed);
    temper_status status =
        failed ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for a special token's text") : TEMPER_OK;
    if (status) {
        goto out;
    }
    status = lm_template_render(chat, messages, count, prompt, bos, eos, rendering, error);
    if (status) {
        goto out;
    }
    special = malloc(rendering->length + 1);
    if (special == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu bytes of conversation",
                             rendering->length);
        goto out;
    }
    for (size_t i = 0; i < rendering->length; i++) {
        special[i] = rendering->author[i] == LM_BY_TEMPLATE;
    }
    status = lm_tokenizer_encode(tokenizer, rendering->text, rendering->length, special, tokens, error);
    if (status) {
        goto out;
    }
    status = reserve(out, tokens->count, error);
    if (status) {
        goto out;
    }
    int32_t first = lm_tokenizer_bos(tokenizer);
    if (first >= 0 && lm_tokenizer_adds_bos(tokenizer) &&
        (tokens->count == 0 || tokens->items[0].id != first)) {
        push(out, first, false);
    }
out:
    free(special);
    free(bos);
    free(eos);
    return status;
}

/* Is there a byte of a chosen assistant message in [start, end)? */
static bool holds_content(const lm_rendering *rendering, size_t start, size_t end, uint32_t only) {
    for (size_t i = start; i < end; i++) {
        if (rendering->author[i] == LM_BY_ASSISTANT &&
            (only == UINT32_MAX || rendering->message[i] == only)) {
            return true;
        }
    }
    return false;
}

static bool holds_message(const lm_rendering *rendering, size_t start, size_t end) {
    for (size_t i = start; i < end; i++) {
        if (rendering->author[i] != LM_BY_TEMPLATE) {
            return true;
        }
    }
    return false;
}

/* Marks content tokens, then looks for the end token: the first special one that the template wrote before another
 * message's bytes begin. What stands between content and end token (a template's newline) is trained with it, since
 * the model has to write it to get there. */
static void mark(const lm_tokenizer *tokenizer, const lm_rendering *rendering, const lm_tokens *tokens,
                 size_t first, uint32_t only, lm_dialogue *out) {
    for (size_t i = 0; i < tokens->count; i++) {
        const lm_token *token = &tokens->items[i];
        if (!holds_content(rendering, token->start, token->end, only)) {
            continue;
        }
        out->trained[first + i] = first + i > 0;
        if (i + 1 < tokens->count &&
            holds_content(rendering, tokens->items[i + 1].start, tokens->items[i + 1].end, only)) {
            continue;
        }
        size_t end = i + 1;
        while (end < tokens->count &&
               !holds_message(rendering, tokens->items[end].start, tokens->items[end].end) &&
               !lm_tokenizer_is_special(tokenizer, tokens->items[end].id)) {
            end++;
        }
        if (end == tokens->count || !lm_tokenizer_is_special(tokenizer, tokens->items[end].id)) {
            out->unterminated++;
            continue;
        }
        for (size_t j = i + 1; j <= end; j++) {
            out->trained[first + j] = 1;
        }
    }
}

static bool holds_generated(const lm_rendering *rendering, const lm_token *token) {
    for (size_t i = token->start; i < token->end; i++) {
        if (rendering->generated[i]) {
            return true;
        }
    }
    return false;
}

/* The template says itself what the assistant writes: tokens of its generation blocks, of the last one alone for `last`. */
static void mark_spans(const lm_tokenizer *tokenizer, const lm_rendering *rendering, const lm_tokens *tokens,
                       size_t first, bool last, lm_dialogue *out) {
    bool inside = false;
    for (size_t i = tokens->count; i-- > 0;) {
        bool holds = holds_generated(rendering, &tokens->items[i]);
        if (!holds && inside && last) {
            return;
        }
        if (holds && !inside) {
            out->unterminated += !lm_tokenizer_is_special(tokenizer, tokens->items[i].id);
        }
        inside = holds;
        out->trained[first + i] = holds && first + i > 0;
    }
}

temper_status lm_dialogue_encode(const lm_tokenizer *tokenizer, const lm_template *chat,
                                 const lm_message *messages, size_t count, lm_span span, size_t limit,
                                 lm_dialogue *out, temper_error *error) {
    lm_rendering rendering = {0};
    lm_tokens tokens = {0};
    *out = (lm_dialogue){0};
    temper_status status =
        encode_messages(tokenizer, chat, messages, count, false, &rendering, &tokens, out, error);
    if (status) {
        goto out;
    }
    size_t first = out->count;
    for (size_t i = 0; i < tokens.count; i++) {
        push(out, tokens.items[i].id, span == LM_SPAN_ALL);
    }
    if (span != LM_SPAN_ALL && rendering.spans) {
        mark_spans(tokenizer, &rendering, &tokens, first, span == LM_SPAN_LAST, out);
    } else if (span != LM_SPAN_ALL) {
        uint32_t only = UINT32_MAX;
        for (size_t i = 0; span == LM_SPAN_LAST && i < count; i++) {
            only = strcmp(messages[i].role, "assistant") == 0 ? (uint32_t)i : only;
        }
        mark(tokenizer, &rendering, &tokens, first, only, out);
    }
    finish(out, limit);
out:
    if (status) {
        lm_dialogue_free(out);
    }
    lm_rendering_free(&rendering);
    lm_tokens_free(&tokens);
    return status;
}

temper_status lm_dialogue_encode_prompt(const lm_tokenizer *tokenizer, const lm_template *chat,
                                        const lm_message *messages, size_t count, lm_dialogue *out,
                                        temper_error *error) {
    lm_rendering rendering = {0};
    lm_tokens tokens = {0};
    *out = (lm_dialogue){0};
    temper_status status =
        encode_messages(tokenizer, chat, messages, count, true, &rendering, &tokens, out, error);
    if (!status) {
        for (size_t i = 0; i < tokens.count; i++) {
            push(out, tokens.items[i].id, false);
        }
    } else {
        lm_dialogue_free(out);
    }
    lm_rendering_free(&rendering);
    lm_tokens_free(&tokens);
    return status;
}

temper_status lm_dialogue_encode_text(const lm_tokenizer *tokenizer, const char *prefix, size_t prefix_length,
                                      const char *text, size_t text_length, bool terminated, size_t limit,
                                      lm_dialogue *out, temper_error *error) {
    lm_tokens tokens = {0};
    *out = (lm_dialogue){0};
    if (prefix_length > SIZE_MAX - text_length - 1) {
        return temper_fail(error, TEMPER_INVALID, "a text of %zu and %zu bytes is too long", prefix_length,
                           text_length);
    }
    int32_t eos = lm_tokenizer_eos(tokenizer), bos = lm_tokenizer_bos(tokenizer);
    if (terminated && eos < 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "this tokenizer names no end-of-text token to finish a text with");
    }
    char *whole = malloc(prefix_length + text_length + 1);
    if (whole == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a text of %zu bytes",
                           prefix_length + text_length);
    }
    if (prefix_length > 0) {
        memcpy(whole, prefix, prefix_length);
    }
    if (text_length > 0) {
        memcpy(whole + prefix_length, text, text_length);
    }
    whole[prefix_length + text_length] = 0;
    temper_status status =
        lm_tokenizer_encode(tokenizer, whole, prefix_length + text_length, NULL, &tokens, error);
    if (status) {
        goto out;
    }
    status = reserve(out, tokens.count, error);
    if (status) {
        goto out;
    }
    if (bos >= 0 && lm_tokenizer_adds_bos(tokenizer)) {
        push(out, bos, false);
    }
    for (size_t i = 0; i < tokens.count; i++) {
        push(out, tokens.items[i].id, tokens.items[i].end > prefix_length);
    }
    if (terminated) {
        push(out, eos, true);
    }
    finish(out, limit);
out:
    free(whole);
    lm_tokens_free(&tokens);
    return status;
}
