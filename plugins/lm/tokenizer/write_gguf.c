/* write_gguf.c: a vocabulary as a GGUF holds it.
 *
 * Invariant: load_gguf.c makes the same tokens of a text as the vocabulary that was written. */
#include "write_text.h"

#include <stdlib.h>
#include <string.h>

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

static int type_of(const lm_tokenizer *self, size_t id) {
    switch (id < self->size ? (lm_token_kind)self->entries[id].kind : LM_ABSENT) {
    case LM_NORMAL: return TYPE_NORMAL;
    case LM_BYTE: return TYPE_BYTE;
    case LM_ADDED: return TYPE_USER;
    case LM_SPECIAL: return self->marked && (int32_t)id == self->unknown ? TYPE_UNKNOWN : TYPE_CONTROL;
    default: return TYPE_UNUSED;
    }
}

/* Ids up to the model's last; those without a token are named, as the format wants no holes. */
static void write_tokens(const lm_tokenizer *self, size_t vocabulary, char *room, lm_gguf_writer *writer) {
    lm_gguf_writer_array(writer, "tokenizer.ggml.tokens", LM_GGUF_STRINGS, vocabulary);
    for (size_t id = 0; id < vocabulary; id++) {
        if (type_of(self, id) == TYPE_UNUSED) {
            char name[32];
            int length = snprintf(name, sizeof name, "[PAD%zu]", id);
            lm_gguf_writer_item_string(writer, name, (size_t)length);
        } else {
            size_t length = lm_written_token(self, (int32_t)id, room);
            lm_gguf_writer_item_string(writer, room, length);
        }
    }
    lm_gguf_writer_array(writer, "tokenizer.ggml.token_type", LM_GGUF_INTEGERS, vocabulary);
    for (size_t id = 0; id < vocabulary; id++) {
        lm_gguf_writer_item_integer(writer, type_of(self, id));
    }
}

static void write_merges(const lm_tokenizer *self, const lm_written_merge *merges, size_t count, char *room,
                         lm_gguf_writer *writer) {
    lm_gguf_writer_array(writer, "tokenizer.ggml.merges", LM_GGUF_STRINGS, count);
    for (size_t i = 0; i < count; i++) {
        size_t length = lm_written_token(self, merges[i].left, room);
        room[length++] = ' ';
        length += lm_written_token(self, merges[i].right, room + length);
        lm_gguf_writer_item_string(writer, room, length);
    }
}

/* Scores: the file's own, or, of a list of merges, the place of the first that makes the token. */
static temper_status write_scores(const lm_tokenizer *self, size_t vocabulary, const lm_written_merge *merges,
                                  size_t count, lm_gguf_writer *writer, temper_error *error) {
    float *scores = calloc(vocabulary + 1, sizeof *scores);
    if (scores == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu scores", vocabulary);
    }
    for (size_t id = 0; id < self->size && id < vocabulary; id++) {
        scores[id] = self->method == LM_BY_SCORE ? self->entries[id].score : 0.0f;
    }
    for (size_t i = count; i > 0 && self->method != LM_BY_SCORE; i--) {
        scores[merges[i - 1].id] = -(float)i;
    }
    lm_gguf_writer_array(writer, "tokenizer.ggml.scores", LM_GGUF_NUMBERS, vocabulary);
    for (size_t id = 0; id < vocabulary; id++) {
        lm_gguf_writer_item_number(writer, (double)scores[id]);
    }
    free(scores);
    return TEMPER_OK;
}

/* The end of a text, and the first other token that ends an answer. */
static void write_ids(const lm_tokenizer *self, const int32_t *ends, size_t count, lm_gguf_writer *writer) {
    int32_t eos = self->eos >= 0 ? self->eos : count > 0 ? ends[0] : -1;
    if (self->bos >= 0) {
        lm_gguf_writer_integer(writer, "tokenizer.ggml.bos_token_id", (uint32_t)self->bos);
    }
    if (eos >= 0) {
        lm_gguf_writer_integer(writer, "tokenizer.ggml.eos_token_id", (uint32_t)eos);
    }
    for (size_t i = 0; i < count; i++) {
        if (ends[i] != eos) {
            lm_gguf_writer_integer(writer, "tokenizer.ggml.eot_token_id", (uint32_t)ends[i]);
            break;
        }
    }
    if (self->unknown >= 0) {
        lm_gguf_writer_integer(writer, "tokenizer.ggml.unknown_token_id", (uint32_t)self->unknown);
    }
    lm_gguf_writer_flag(writer, "tokenizer.ggml.add_bos_token", self->adds_bos);
    lm_gguf_writer_flag(writer, "tokenizer.ggml.add_eos_token", false);
}

/* A METASPACE cut puts the space; else the tokenizer itself does. */
static bool puts_space(const lm_tokenizer *self) {
    bool puts = self->prefix != LM_PREFIX_NEVER;
    for (size_t i = 0; i < self->cut_count; i++) {
        puts = puts || (self->cuts[i].kind == LM_CUT_METASPACE && self->cuts[i].prefix != LM_PREFIX_NEVER);
    }
    for (size_t i = 0; i < self->normalizer_count; i++) {
        puts = puts || self->normalizers[i].kind == LM_PREPEND;
    }
    return puts;
}

temper_status lm_tokenizer_write_gguf(const lm_tokenizer *self, size_t vocabulary, const int32_t *ends,
                                      size_t count, lm_gguf_writer *writer, temper_error *error) {
    lm_written_merge *merges = NULL;
    size_t merge_count = 0;
    temper_status status = lm_written_check(self, error);
    char *room = status ? NULL : malloc(2 * lm_written_size(self) + 1);
    if (!status && room == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory to write a vocabulary");
    }
    status = status ? status : lm_written_merges(self, &merges, &merge_count, error);
    if (status) {
        goto out;
    }
    const char *model = self->marked ? "llama" : "gpt2",
               *family = self->marked ? "default" : lm_written_family(self);
    lm_gguf_writer_string(writer, "tokenizer.ggml.model", model, strlen(model));
    lm_gguf_writer_string(writer, "tokenizer.ggml.pre", family, strlen(family));
    write_tokens(self, vocabulary, room, writer);
    if (self->marked) {
        status = write_scores(self, vocabulary, merges, merge_count, writer, error);
        lm_gguf_writer_flag(writer, "tokenizer.ggml.add_space_prefix", puts_space(self));
    } else {
        write_merges(self, merges, merge_count, room, writer);
    }
    write_ids(self, ends, count, writer);
out:
    free(merges);
    free(room);
    return status;
}
