/* load_sentencepiece.c: SentencePiece's .model: a protocol-buffers message (sentencepiece_model.proto): pieces with scores
 * and types, and how a text is normalised before.
 *
 * The wire format is read here, strictly: five kinds of field, lengths checked against what is there. A library for it
 * would be a compiler and C++; the four messages that matter need two functions.
 *
 * Invariant: nothing is taken from outside the message a field belongs to. */
#include "../files/internal.h"
#include "load.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PIECES = 1 << 22 };
enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER, PIECE_UNUSED, PIECE_BYTE };
enum { MODEL_UNIGRAM = 1, MODEL_BPE, MODEL_WORD, MODEL_CHAR };

/* A message, read from front to back. */
struct wire {
    const unsigned char *at, *end;
};
struct field {
    uint32_t number, type;
    uint64_t value; /* of a varint; of fixed 32 and 64 bits, their bits */
    struct wire bytes;
};

static bool read_varint(struct wire *self, uint64_t *out) {
    *out = 0;
    for (unsigned shift = 0; shift < 64 && self->at < self->end; shift += 7) {
        unsigned char byte = *self->at++;
        if (shift == 63 && byte > 1) {
            return false;
        }
        *out |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            return true;
        }
    }
    return false;
}

static bool read_fixed(struct wire *self, size_t size, uint64_t *out) {
    if ((size_t)(self->end - self->at) < size) {
        return false;
    }
    *out = 0;
    for (size_t i = 0; i < size; i++) {
        *out |= (uint64_t)*self->at++ << (8 * i);
    }
    return true;
}

/* The next field; false at the end, or, with *broken, where the bytes are no field. */
static bool next_field(struct wire *self, struct field *out, bool *broken) {
    uint64_t key, size;
    if (self->at == self->end) {
        return false;
    }
    *broken = true;
    if (!read_varint(self, &key) || key >> 3 == 0 || key >> 3 > 536870911) {
        return false;
    }
    *out = (struct field){.number = (uint32_t)(key >> 3), .type = (uint32_t)(key & 7)};
    switch (out->type) {
    case WIRE_VARINT: *broken = !read_varint(self, &out->value); break;
    case WIRE_FIXED64: *broken = !read_fixed(self, 8, &out->value); break;
    case WIRE_FIXED32: *broken = !read_fixed(self, 4, &out->value); break;
    case WIRE_BYTES:
        if (read_varint(self, &size) && size <= (uint64_t)(self->end - self->at)) {
            out->bytes = (struct wire){self->at, self->at + size};
            self->at += size;
            *broken = false;
        }
        break;
    default: break;
    }
    return !*broken;
}

struct model {
    size_t pieces, bytes, longest;
    uint64_t type;
    bool byte_fallback, suffix, dummy_prefix, squeezes, escapes;
    int64_t unknown, bos, eos;
    struct wire charsmap;
};

static temper_status broken_file(temper_error *error) {
    return temper_fail(error, TEMPER_INVALID,
                       "it is no SentencePiece model: a field is cut off or of no known kind");
}

struct piece {
    struct wire text;
    float score;
    uint64_t type;
};

static bool read_piece(struct wire message, struct piece *out) {
    bool broken = false;
    struct field field;
    *out = (struct piece){.type = PIECE_NORMAL};
    while (next_field(&message, &field, &broken)) {
        if (field.number == 1 && field.type == WIRE_BYTES) {
            out->text = field.bytes;
        } else if (field.number == 2 && field.type == WIRE_FIXED32) {
            uint32_t bits = (uint32_t)field.value;
            memcpy(&out->score, &bits, sizeof bits);
        } else if (field.number == 3 && field.type == WIRE_VARINT) {
            out->type = field.value;
        }
    }
    return !broken;
}

static int64_t id_of(uint64_t value) {
    return (int32_t)(uint32_t)value; /* int32 fields: -1 is ten bytes */
}

static bool read_trainer(struct wire message, struct model *out) {
    bool broken = false;
    struct field field;
    while (next_field(&message, &field, &broken)) {
        if (field.type != WIRE_VARINT) {
            continue;
        }
        switch (field.number) {
        case 3: out->type = field.value; break;
        case 24: out->suffix = field.value != 0; break;
        case 35: out->byte_fallback = field.value != 0; break;
        case 40: out->unknown = id_of(field.value); break;
        case 41: out->bos = id_of(field.value); break;
        case 42: out->eos = id_of(field.value); break;
        default: break;
        }
    }
    return !broken;
}

static bool read_normalizer(struct wire message, struct model *out) {
    bool broken = false;
    struct field field;
    while (next_field(&message, &field, &broken)) {
        if (field.number == 2 && field.type == WIRE_BYTES) {
            out->charsmap = field.bytes;
        } else if (field.type == WIRE_VARINT && field.number == 3) {
            out->dummy_prefix = field.value != 0;
        } else if (field.type == WIRE_VARINT && field.number == 4) {
            out->squeezes = field.value != 0;
        } else if (field.type == WIRE_VARINT && field.number == 5) {
            out->escapes = field.value != 0;
        }
    }
    return !broken;
}

static temper_status survey(struct wire message, struct model *out, temper_error *error) {
    bool broken = false, good = true;
    struct field field;
    struct piece piece;
    *out = (struct model){.type = MODEL_UNIGRAM,
                          .dummy_prefix = true,
                          .squeezes = true,
                          .escapes = true,
                          .unknown = 0,
                          .bos = 1,
                          .eos = 2};
    while (good && next_field(&message, &field, &broken)) {
        if (field.type != WIRE_BYTES) {
            continue;
        }
        if (field.number == 1) {
            good = read_piece(field.bytes, &piece) && out->pieces < MAX_PIECES;
            size_t size = good ? (size_t)(piece.text.end - piece.text.at) : 0;
            out->pieces++;
            out->bytes += size + 1;
            out->longest = size > out->longest ? size : out->longest;
        } else if (field.number == 2) {
            good = read_trainer(field.bytes, out);
        } else if (field.number == 3) {
            good = read_normalizer(field.bytes, out);
        }
    }
    if (broken || !good) {
        return broken_file(error);
    }
    if (out->pieces == 0) {
        return temper_fail(error, TEMPER_INVALID, "it is no SentencePiece model: it has no pieces");
    }
    if (out->type != MODEL_UNIGRAM && out->type != MODEL_BPE) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "its model type is %s, which is not supported; unigram and BPE are",
                           out->type == MODEL_WORD   ? "word"
                           : out->type == MODEL_CHAR ? "char"
                                                     : "unknown");
    }
    if (out->suffix || !out->escapes) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s is set, which is not supported",
                           out->suffix ? "treat_whitespace_as_suffix" : "escape_whitespaces = false");
    }
    return TEMPER_OK;
}

static temper_status add_piece(lm_tokenizer *self, int64_t id, const struct piece *piece, char *room,
                               temper_error *error) {
    const char *text = (const char *)piece->text.at;
    size_t length = (size_t)(piece->text.end - piece->text.at);
    int byte = lm_byte_of(text == NULL ? "" : text, length);
    char one = (char)byte;
    temper_status status;
    if (piece->type == PIECE_BYTE) {
        return byte < 0 ? temper_fail(error, TEMPER_INVALID,
                                      "piece %lld is of type byte and not of the form <0x41>", (long long)id)
                        : lm_vocabulary_add(self, id, &one, 1, LM_BYTE, error);
    }
    if (length == 0 || piece->type == PIECE_UNUSED) {
        return TEMPER_OK;
    }
    if (piece->type == PIECE_CONTROL || piece->type == PIECE_UNKNOWN) {
        return lm_vocabulary_add(self, id, text, length, LM_SPECIAL, error);
    }
    if (!(piece->score >= -3.4e38f && piece->score <= 3.4e38f)) {
        return temper_fail(error, TEMPER_INVALID, "the score of piece %lld is no number", (long long)id);
    }
    length = lm_unmark(text, length, room);
    status =
        lm_vocabulary_add(self, id, room, length, piece->type == PIECE_USER ? LM_ADDED : LM_NORMAL, error);
    if (!status) {
        self->entries[id].score = (double)piece->score;
        self->entries[id].match = piece->type == PIECE_USER ? LM_EVERYWHERE : 0;
    }
    return status;
}

/* Special tokens that the files beside it put behind the pieces. */
static temper_status add_others(lm_tokenizer *self, const lm_specials *specials, temper_error *error) {
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)lm_specials_added(specials), text, value) {
        int64_t id = -1;
        lm_json_integer(value, &id);
        if (id < 0 || (uint64_t)id >= self->size || self->entries[id].kind != LM_ABSENT) {
            continue;
        }
        temper_status status = lm_vocabulary_add(
            self, id, text, strlen(text), lm_specials_has(specials, text) ? LM_SPECIAL : LM_ADDED, error);
        if (status) {
            return status;
        }
        self->entries[id].match = (uint8_t)lm_specials_match(specials, text);
    }
    return TEMPER_OK;
}

static temper_status fill(lm_tokenizer *self, struct wire message, const struct model *model,
                          temper_error *error) {
    char *room = malloc(model->longest + 1);
    bool broken = false;
    struct field field;
    struct piece piece;
    int64_t id = 0;
    temper_status status = room == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "no memory") : TEMPER_OK;
    while (!status && next_field(&message, &field, &broken)) {
        if (field.number == 1 && field.type == WIRE_BYTES && read_piece(field.bytes, &piece)) {
            status = add_piece(self, id++, &piece, room, error);
        }
    }
    free(room);
    return status;
}

static temper_status set_up(lm_tokenizer *self, const struct model *model, const lm_specials *specials,
                            temper_error *error) {
    lm_normalizer *step;
    self->chars = self->marked = true;
    self->method = model->type == MODEL_BPE ? LM_BY_SCORE : LM_UNIGRAM;
    self->byte_fallback = model->byte_fallback;
    self->single = self->fuses_unknown = self->prefix_after_special_only = true;
    self->unknown = (int32_t)model->unknown;
    if (model->dummy_prefix) {
        self->prefix = self->dropped = lm_specials_legacy(specials) ? LM_PREFIX_ALWAYS : LM_PREFIX_FIRST;
    }
    if (model->charsmap.end - model->charsmap.at > 4) {
        if ((step = lm_normalizer_add(self, LM_CHARSMAP)) == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory");
        }
        step->longest = true;
        temper_status status = lm_charsmap_read(step, model->charsmap.at,
                                                (size_t)(model->charsmap.end - model->charsmap.at), error);
        if (status) {
            return status;
        }
    }
    if (model->squeezes) {
        lm_normalizer_add(self, LM_SQUEEZE);
    }
    return TEMPER_OK;
}

temper_status lm_load_sentencepiece(const lm_file *file, const lm_specials *specials, lm_tokenizer **out,
                                    temper_error *error) {
    struct wire whole = {file->data, (const unsigned char *)file->data + file->size};
    struct model model;
    size_t size, bytes;
    const char *text;
    json_t *value;
    temper_status status = survey(whole, &model, error);
    if (status) {
        return status;
    }
    size = model.pieces;
    bytes = model.bytes;
    json_object_foreach((json_t *)(uintptr_t)lm_specials_added(specials), text, value) {
        int64_t id = -1;
        lm_json_integer(value, &id);
        bytes += strlen(text) + 1;
        size =
            id >= 0 && (uint64_t)id < 2 * model.pieces + 65536 && (size_t)id >= size ? (size_t)id + 1 : size;
    }
    lm_tokenizer *self = lm_vocabulary_new(size, bytes);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu tokens", size);
    }
    if ((status = set_up(self, &model, specials, error)) || (status = fill(self, whole, &model, error)) ||
        (status = add_others(self, specials, error)) || (status = lm_vocabulary_finish(self, error))) {
        goto out;
    }
    lm_specials_apply(specials, self);
    if (self->bos < 0 && model.bos >= 0 && (uint64_t)model.bos < self->size) {
        self->bos = self->entries[model.bos].kind == LM_SPECIAL ? (int32_t)model.bos : -1;
    }
    if (self->eos < 0 && model.eos >= 0 && (uint64_t)model.eos < self->size) {
        self->eos = self->entries[model.eos].kind == LM_SPECIAL ? (int32_t)model.eos : -1;
    }
    if (model.type == MODEL_BPE && !lm_specials_denies_bos(specials)) {
        lm_tokenizer_add_bos(self); /* as all of the kind that are used for language models do */
    }
    *out = self;
    self = NULL;
out:
    lm_tokenizer_close(self);
    return status;
}
