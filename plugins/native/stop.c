/* stop.c: texts that end an answer.
 *
 * Invariant: an answer ends with the first token after which a stop text is complete, wherever the borders of tokens
 * fall, and its text is what stands before the first stop text in it. What the template itself writes before an answer is
 * no part of it. */
#include "internal.h"

#include <stdlib.h>

size_t native_find_stop(const char *bytes, size_t count, const char *const *stop, size_t stops) {
    size_t first = count;
    for (size_t i = 0; i < stops; i++) {
        const char *found = memmem(bytes, count, stop[i], strlen(stop[i]));
        if (found != NULL && (size_t)(found - bytes) < first) {
            first = (size_t)(found - bytes);
        }
    }
    return first;
}

size_t native_may_stop(const char *bytes, size_t count, const char *const *stop, size_t stops) {
    size_t most = 0;
    for (size_t i = 0; i < stops; i++) {
        size_t length = strlen(stop[i]);
        length = length < count + 1 ? length : count + 1;
        for (size_t n = length; n-- > most + 1;) {
            if (memcmp(bytes + count - n, stop[i], n) == 0) {
                most = n;
                break;
            }
        }
    }
    return most;
}

bool native_bytes_add(native_bytes *self, const char *bytes, size_t count) {
    if (self->room - self->count < count + 1) {
        size_t room = 2 * self->count + count + 64;
        char *larger = realloc(self->items, room);
        if (larger == NULL) {
            return false;
        }
        self->items = larger;
        self->room = room;
    }
    memcpy(self->items + self->count, bytes, count);
    self->count += count;
    return true;
}

/* Where the answer itself begins; SIZE_MAX while that is open. */
static size_t begin_of(const native_stopping *self) {
    size_t known = self->bytes.count < self->lead_length ? self->bytes.count : self->lead_length;
    if (known > 0 && memcmp(self->bytes.items, self->lead, known) == 0) {
        return known < self->lead_length ? SIZE_MAX : known;
    }
    return 0;
}

bool native_stopped(void *context, const int32_t *ids, size_t count) {
    native_stopping *self = context;
    size_t old = self->bytes.count, longest = 0;
    for (; self->seen < count; self->seen++) {
        size_t length = 0;
        const char *bytes = lm_tokenizer_bytes(self->tokenizer, ids[self->seen], &length);
        if (bytes != NULL && !lm_tokenizer_is_special(self->tokenizer, ids[self->seen]) &&
            !native_bytes_add(&self->bytes, bytes, length)) {
            self->failed = true;
            return true;
        }
    }
    size_t begin = begin_of(self);
    if (begin == SIZE_MAX || begin >= self->bytes.count) {
        return false;
    }
    for (size_t i = 0; i < self->count; i++) {
        size_t length = strlen(self->stop[i]);
        longest = length > longest ? length : longest;
    }
    size_t from = old > longest ? old - longest : 0; /* nothing before is new */
    from = from < begin ? begin : from;
    size_t left = self->bytes.count - from;
    return native_find_stop(self->bytes.items + from, left, self->stop, self->count) < left;
}

temper_status native_check_stop(const temper_generate_request *request, temper_error *error) {
    for (size_t i = 0; i < request->stop_count; i++) {
        if (request->stop[i] == NULL || request->stop[i][0] == 0) {
            return temper_fail(error, TEMPER_INVALID, "stop text %zu is empty", i + 1);
        }
    }
    return TEMPER_OK;
}

static int32_t token_of(const lm_tokenizer *tokenizer, const char *text, size_t length) {
    size_t count = lm_tokenizer_size(tokenizer);
    for (size_t id = 0; id < count; id++) {
        size_t size = 0;
        const char *bytes = lm_tokenizer_bytes(tokenizer, (int32_t)id, &size);
        if (bytes != NULL && size == length && memcmp(bytes, text, length) == 0) {
            return (int32_t)id;
        }
    }
    return -1;
}

temper_status native_bias(const temper_model *model, const temper_generate_request *request, lm_bias **out,
                          temper_error *error) {
    *out = NULL;
    if (request->bias_count == 0) {
        return TEMPER_OK;
    }
    lm_bias *list = calloc(request->bias_count, sizeof *list);
    if (list == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu biases", request->bias_count);
    }
    for (size_t i = 0; i < request->bias_count; i++) {
        const temper_logit_bias *bias = request->bias[i];
        list[i].value = bias->bias;
        list[i].id = bias->text != NULL      ? token_of(model->tokenizer, bias->text, bias->length)
                     : bias->id <= INT32_MAX ? (int32_t)bias->id
                                             : -1;
        if (list[i].id < 0) {
            free(list);
            return bias->text != NULL
                       ? temper_fail(error, TEMPER_INVALID, "no token of this model is exactly \"%.*s\"",
                                     bias->length < 60 ? (int)bias->length : 60, bias->text)
                       : temper_fail(error, TEMPER_INVALID, "token id %lu is above any vocabulary",
                                     (unsigned long)bias->id);
        }
    }
    *out = list;
    return TEMPER_OK;
}
