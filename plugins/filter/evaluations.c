/* evaluations.c: see evaluations.h. */
#include "evaluations.h"

#include <stdlib.h>

bool evaluations_words(temper_span text, temper_buffer *out) {
    temper_span word;
    char folded[256];
    size_t at = 0;
    while (temper_text_word(text, &at, &word)) {
        evaluation_word one = {0, (size_t)(word.data - text.data), word.length};
        one.hash = word.length <= sizeof folded
                       ? temper_text_hash((temper_span){folded, temper_text_fold(word, true, folded)}, 11)
                       : temper_text_hash(word, 11);
        temper_buffer_append(out, &one, sizeof one);
    }
    return !out->failed;
}

uint64_t evaluations_gram(const evaluation_word *words, size_t length) {
    uint64_t hash = length;
    size_t i;
    for (i = 0; i < length; i++) {
        hash = (hash ^ words[i].hash) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return hash;
}

typedef struct reading {
    evaluations *all;
    const temper_host *host;
    temper_pool *pool;
    uint32_t set;
    uint64_t item;
    const char *field;
    bool failed;
} reading;

static bool names_an_answer(const char *name) {
    static const char *const names[] = {
        "answer",      "answers",         "solution",         "solutions",       "output",
        "response",    "completion",      "chosen",           "rejected",        "best_answer",
        "reference",   "target",          "targets",          "correct_answers", "incorrect_answers",
        "best answer", "correct answers", "incorrect answers"};
    size_t i;
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void add_text(reading *r, temper_span text, bool answer) {
    evaluations *all = r->all;
    evaluation_text one = {r->set, r->item, r->field, answer, 0, 0};
    const evaluation_word *words;
    uint32_t i, length;
    size_t count;
    temper_buffer_clear(&all->word_bytes);
    if (!evaluations_words(text, &all->word_bytes)) {
        r->failed = true;
        return;
    }
    words = (const evaluation_word *)(const void *)all->word_bytes.data;
    count = all->word_bytes.length / sizeof *words;
    if (count < all->shortest) {
        all->too_short++;
        return;
    }
    one.words = (uint32_t)count;
    length = count < all->n ? (uint32_t)count : all->n;
    all->lengths[length] = true;
    for (i = 0; i + length <= count; i++) {
        evaluation_gram gram = {evaluations_gram(words + i, length), (uint32_t)all->count, i, length};
        temper_buffer_append(&all->gram_bytes, &gram, sizeof gram);
    }
    temper_buffer_append(&all->text_bytes, &one, sizeof one);
    all->count++;
    r->failed = r->failed || all->gram_bytes.failed || all->text_bytes.failed || all->count >= UINT32_MAX;
}

static void add_value(reading *r, const temper_json *value, bool answer, int depth) {
    const temper_json_api *json = r->host->json;
    size_t i, length;
    const char *text = json->string(value, &length);
    const char *role = json->string(json->member(value, "role"), NULL);
    if (text != NULL) {
        add_text(r, (temper_span){text, length}, answer);
        return;
    }
    answer = answer || (role != NULL && strcmp(role, "assistant") == 0);
    for (i = 0; i < json->length(value) && depth < 16 && !r->failed; i++) {
        const temper_json *inner = json->element(value, i);
        const char *name = inner == NULL ? json->name(value, i, &inner) : "";
        if (depth == 0) {
            r->field = temper_pool_copy(r->pool, name, strlen(name));
            r->failed = r->field == NULL;
        }
        if (!r->failed) {
            add_value(r, inner, answer || names_an_answer(name), depth + 1);
        }
    }
}

temper_status evaluations_add(evaluations *all, const temper_host *host, temper_pool *pool, const char *input,
                              uint32_t set, temper_error *error) {
    reading r = {all, host, pool, set, 0, "", false};
    temper_reader *reader;
    temper_batch *batch;
    size_t i;
    temper_status status = host->read_records(host, host->input(host, input), &reader, error);
    if (status) {
        return status;
    }
    while ((status = host->next(reader, 256, &batch, error)) == TEMPER_OK) {
        for (i = 0; i < host->batch_length(batch) && !r.failed; i++) {
            r.item = host->record_number(batch, i);
            all->items++;
            add_value(&r, host->record(batch, i), false, 0);
        }
        host->release_batch(batch);
        if (r.failed) {
            status = temper_no_memory(error);
            break;
        }
    }
    host->close_reader(reader);
    return status == TEMPER_END ? TEMPER_OK : status;
}

static int by_hash(const void *a, const void *b) {
    const evaluation_gram *first = a, *second = b;
    if (first->hash != second->hash) {
        return first->hash < second->hash ? -1 : 1;
    }
    if (first->text != second->text) {
        return first->text < second->text ? -1 : 1;
    }
    return first->place < second->place ? -1 : first->place > second->place;
}

/* What stands in more places than this is said by everybody: it would cost a look at each, and prove nothing. */
enum { COMMON = 1000 };

static void leave_out_common(evaluations *all) {
    size_t i, end, kept = 0;
    for (i = 0; i < all->gram_count; i = end) {
        for (end = i + 1; end < all->gram_count && all->grams[end].hash == all->grams[i].hash; end++) {
        }
        if (end - i <= COMMON) {
            memmove(all->grams + kept, all->grams + i, (end - i) * sizeof *all->grams);
            kept += end - i;
        }
    }
    all->gram_count = kept;
}

temper_status evaluations_index(evaluations *all, temper_pool *pool, temper_error *error) {
    size_t i, bucket = 0;
    all->texts = (evaluation_text *)(void *)all->text_bytes.data;
    all->grams = (evaluation_gram *)(void *)all->gram_bytes.data;
    all->gram_count = all->gram_bytes.length / sizeof *all->grams;
    if (all->gram_count >= UINT32_MAX) {
        return temper_fail(error, TEMPER_INVALID,
                           "the evaluation sets have over four thousand million n-grams");
    }
    if (all->gram_count > 0) {
        qsort(all->grams, all->gram_count, sizeof *all->grams, by_hash);
    }
    leave_out_common(all);
    for (all->bucket_bits = 4; ((size_t)1 << all->bucket_bits) < all->gram_count && all->bucket_bits < 28;) {
        all->bucket_bits++;
    }
    all->buckets = temper_pool_take(pool, ((size_t)1 << all->bucket_bits) + 1, sizeof *all->buckets);
    if (all->buckets == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < all->gram_count; i++) {
        size_t own = (size_t)(all->grams[i].hash >> (64 - all->bucket_bits));
        while (bucket <= own) {
            all->buckets[bucket++] = (uint32_t)i;
        }
    }
    while (bucket <= (size_t)1 << all->bucket_bits) {
        all->buckets[bucket++] = (uint32_t)all->gram_count;
    }
    return TEMPER_OK;
}

void evaluations_find(const evaluations *all, uint64_t hash, size_t *from, size_t *to) {
    size_t bucket = (size_t)(hash >> (64 - all->bucket_bits)), end = all->buckets[bucket + 1];
    for (*from = all->buckets[bucket]; *from < end && all->grams[*from].hash != hash; ++*from) {
    }
    for (*to = *from; *to < end && all->grams[*to].hash == hash; ++*to) {
    }
}

void evaluations_free(evaluations *all) {
    temper_buffer_free(&all->text_bytes);
    temper_buffer_free(&all->gram_bytes);
    temper_buffer_free(&all->word_bytes);
}
