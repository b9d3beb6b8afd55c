/* unigram.c: the likeliest way to cut a word into entries (Viterbi), as SentencePiece's unigram models are used.
 *
 * Invariant: scores are added from the left, in double or in single as the reference does; of two ways equally likely the one whose last entry is longer is
 * taken, as the reference does. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { UNKNOWN_PENALTY = 10, MAX_NODES = 1 << 26 };

struct lm_best {
    double score; /* of the best way to here */
    uint32_t from;
    int32_t id; /* -1: a character that no entry covers */
    bool there;
};

/* Entries in the order of their bytes. */
static int by_bytes(const void *left, const void *right, void *context) {
    const lm_tokenizer *self = context;
    const lm_entry *a = &self->entries[*(const int32_t *)left], *b = &self->entries[*(const int32_t *)right];
    size_t both = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->bytes, b->bytes, both);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

struct span {
    size_t from, to; /* of the sorted entries that begin as this node does */
    uint32_t depth;
};

/* Breadth first, so that a node's children lie together. */
static bool grow(lm_tokenizer *self, const int32_t *sorted, size_t count, struct span *spans, size_t limit) {
    size_t used = 1;
    spans[0] = (struct span){0, count, 0};
    self->nodes[0] = (lm_node){0, -1, 0, 0};
    for (size_t n = 0; n < used; n++) {
        struct span span = spans[n];
        lm_node *node = &self->nodes[n];
        size_t at = span.from;
        while (at < span.to && self->entries[sorted[at]].length == span.depth) {
            node->id = sorted[at++];
        }
        node->first = (uint32_t)used;
        while (at < span.to) {
            unsigned char byte = (unsigned char)self->entries[sorted[at]].bytes[span.depth];
            size_t end = at;
            while (end < span.to && (unsigned char)self->entries[sorted[end]].bytes[span.depth] == byte) {
                end++;
            }
            if (used == limit) {
                return false;
            }
            spans[used] = (struct span){at, end, span.depth + 1};
            self->nodes[used] = (lm_node){0, -1, 0, byte};
            node->count++;
            used++;
            at = end;
        }
    }
    return true;
}

temper_status lm_unigram_build(lm_tokenizer *self, temper_error *error) {
    size_t count = 0, limit = 1;
    int32_t *sorted = malloc((self->size + 1) * sizeof *sorted);
    struct span *spans = NULL;
    temper_status status = TEMPER_OK;
    double lowest = 0;
    for (size_t id = 0; sorted != NULL && id < self->size; id++) {
        const lm_entry *entry = &self->entries[id];
        if (entry->kind == LM_NORMAL && entry->length > 0 &&
            lm_vocabulary_find(self, entry->bytes, entry->length) == (int32_t)id) {
            lowest = count == 0 || entry->score < lowest ? entry->score : lowest;
            sorted[count++] = (int32_t)id;
            limit += entry->length;
        }
    }
    self->unknown_score =
        self->single ? (double)((float)lowest - (float)UNKNOWN_PENALTY) : lowest - UNKNOWN_PENALTY;
    if (limit > MAX_NODES) {
        status =
            temper_fail(error, TEMPER_UNSUPPORTED, "a unigram vocabulary of %zu bytes is too large", limit);
        goto out;
    }
    spans = malloc(limit * sizeof *spans);
    self->nodes = malloc(limit * sizeof *self->nodes);
    if (sorted == NULL || spans == NULL || self->nodes == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for a vocabulary of %zu tokens", count);
        goto out;
    }
    qsort_r(sorted, count, sizeof *sorted, by_bytes, self);
    if (!grow(self, sorted, count, spans, limit)) {
        status = temper_fail(error, TEMPER_INVALID, "the vocabulary makes no tree");
    }
out:
    free(sorted);
    free(spans);
    return status;
}

static const lm_node *child(const lm_tokenizer *self, const lm_node *node, unsigned char byte) {
    size_t low = node->first, high = low + node->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (self->nodes[middle].byte < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < (size_t)node->first + node->count && self->nodes[low].byte == byte ? &self->nodes[low]
                                                                                    : NULL;
}

static void reach(lm_best *best, size_t from, size_t to, double score, int32_t id, bool single) {
    double whole = best[from].score + score;
    whole = single ? (double)(float)whole : whole;
    if (!best[to].there || whole > best[to].score) {
        best[to] = (lm_best){whole, (uint32_t)from, id, true};
    }
}

static void search(const lm_tokenizer *self, const char *word, size_t length, lm_best *best) {
    memset(best, 0, (length + 1) * sizeof *best);
    best[0].there = true;
    for (size_t at = 0, size; at < length; at += size) {
        bool valid, single = false;
        const lm_node *node = self->nodes;
        lm_utf8_next(word, length, at, &size, &valid);
        for (size_t end = at; end < length && (node = child(self, node, (unsigned char)word[end])) != NULL;) {
            end++;
            if (node->id >= 0) {
                reach(best, at, end, self->entries[node->id].score, node->id, self->single);
                single = single || end - at == size;
            }
        }
        if (!single) {
            reach(best, at, at + size, self->unknown_score, -1, self->single);
        }
    }
}

temper_status lm_unigram_word(lm_work *work, const char *word, size_t length, uint32_t offset,
                              temper_error *error) {
    const lm_tokenizer *self = work->tokenizer;
    temper_status status = TEMPER_OK;
    if (length + 1 > work->best_capacity) {
        lm_best *best = realloc(work->best, (length + 1) * 2 * sizeof *best);
        if (best == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory to encode a word of %zu bytes", length);
        }
        work->best = best;
        work->best_capacity = (length + 1) * 2;
    }
    lm_best *best = work->best;
    search(self, word, length, best);
    /* Backwards along the way, turning each `from` into the next place; then forwards. */
    for (size_t at = length, next = length; at > 0; next = at, at = best[at].from) {
        best[at].score = (double)next;
    }
    size_t first = 0;
    for (size_t at = length; at > 0; at = best[at].from) {
        first = at;
    }
    for (size_t at = first; length > 0 && !status;) {
        size_t from = best[at].from, next = (size_t)best[at].score;
        status = best[at].id >= 0
                     ? lm_push_piece(work, best[at].id, (uint32_t)(at - from), error)
                     : lm_push_unknown(work, word + from, at - from, offset + (uint32_t)from, error);
        if (at == length) {
            break;
        }
        at = next;
    }
    return status;
}
