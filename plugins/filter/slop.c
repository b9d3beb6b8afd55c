/* slop.c: what these answers say far more often than a reference does, and how much of each answer that is.
 *
 * An n-gram of words is slop when at least `least` records have it and the share of records that do is at least `ratio` times that of
 * the reference (which counts as having it once more than it does). A record's index is the share of its words that lie in such n-grams.
 * Counting takes three passes: a sketch of bounded size says which n-grams can be frequent enough, those alone are counted
 * exactly, and then in the reference. All sums are of integers, so the order in which threads add shows nowhere. */
#include "each_text.h"

#include <pthread.h>
#include <stdlib.h>

#define SLOP(P, S)                                                                                           \
    FILTER_TEXT_PARAMETERS(P, S, "\"answers\"")                                                              \
    P(S, integer, ngram, "ngram", "3", 1, 8, "words", "", "how long a phrase is looked at", "0.1")           \
    P(S, integer, least, "least", "5", 2, 1e9, "records", "", "in how many records a phrase must be", "0.1") \
    P(S, number, ratio, "ratio", "10", 1, 1e9, "times", "",                                                  \
      "how much more often than in the reference it must be", "0.1")                                         \
    P(S, number, index, "index", "0.5", 0, 1, "", "", "drop records of whose words a larger share is slop",  \
      "0.1")                                                                                                 \
    P(S, integer, listed, "listed", "1000", 0, 1000000, "phrases", "", "how many phrases to list at most",   \
      "0.1")                                                                                                 \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(slop, SLOP)

static const char slop_rule[] = "slop";
static const char *const rules[] = {slop_rule, NULL};

enum {
    LEAST_SKETCH_BITS = 12,
    MOST_SKETCH_BITS = 24,
    PART_BITS = 6,
    PARTS = 1 << PART_BITS,
    MOST_GRAM_BYTES = 200
};

typedef struct phrase {
    uint64_t hash; /* 0: free */
    uint32_t records, reference;
    uint64_t first; /* the first record that has it: it gives the text */
    double ratio;   /* 0 until judged */
    char *text;
} phrase;

/* A share of the phrases, by the first bits of the hash: threads that add to different ones do not wait. */
typedef struct part {
    pthread_mutex_t lock;
    phrase *phrases;
    uint64_t mask, count;
} part;

typedef struct counter {
    filter_texts texts;
    const slop_parameters *p;
    const temper_host *host;
    filter_buffers words, grams; /* a worker each: of the row at hand */
    uint32_t *sketch; /* two counts for each n-gram, in cells it shares: neither is less than the truth */
    uint32_t sketch_bits;
    part parts[PARTS];
    bool full; /* no memory for more phrases */
    uint64_t records, reference;
    uint64_t slop_words, all_words;
    enum { SKETCH, COUNT, REFERENCE } stage;
} counter;

typedef struct word {
    uint64_t hash;
    const char *start;
    size_t length;
} word;

/* --- the words and n-grams of a row ---------------------------------------------------------------------------------- */

typedef struct gathering {
    counter *c;
    uint32_t worker;
    bool failed;
} gathering;

static uint64_t gram_of(const word *words, size_t n) {
    uint64_t hash = n;
    size_t i;
    for (i = 0; i < n; i++) {
        hash = (hash ^ words[i].hash) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return hash == 0 ? 1 : hash;
}

static bool take_words(temper_span text, temper_buffer *out) {
    temper_span one;
    char folded[256];
    size_t at = 0;
    while (temper_text_word(text, &at, &one)) {
        word w = {0, one.data, one.length};
        w.hash = one.length <= sizeof folded
                     ? temper_text_hash((temper_span){folded, temper_text_fold(one, true, folded)}, 3)
                     : temper_text_hash(one, 3);
        temper_buffer_append(out, &w, sizeof w);
    }
    return !out->failed;
}

/* A text's n-grams, behind those of the row's others; none goes from one text into the next. */
static bool take_grams(counter *c, uint32_t worker, temper_span text) {
    temper_buffer *words = &c->words.buffers[worker], *grams = &c->grams.buffers[worker];
    size_t i, n = (size_t)c->p->ngram, count;
    const word *list;
    temper_buffer_clear(words);
    if (!take_words(text, words)) {
        words->failed = false;
        return false;
    }
    list = (const word *)(const void *)words->data;
    count = words->length / sizeof *list;
    for (i = 0; i + n <= count; i++) {
        uint64_t hash = gram_of(list + i, n);
        temper_buffer_append(grams, &hash, sizeof hash);
    }
    if (grams->failed) {
        grams->failed = false;
        return false;
    }
    return true;
}

static int gather(void *context, const temper_line *line, const temper_line_text_at *at) {
    gathering *g = context;
    temper_buffer *scratch = &g->c->texts.unescaped.buffers[g->worker];
    temper_span text;
    if (strcmp(g->c->p->of, "answers") == 0 && !temper_line_is_answer(line, at) &&
        strcmp(at->field, "text") != 0) {
        return 0;
    }
    if (!temper_line_text(line, at->node, scratch, &text) || !take_grams(g->c, g->worker, text)) {
        g->failed = true;
        scratch->failed = false;
        return 1;
    }
    return 0;
}

static int by_value(const void *a, const void *b) {
    const uint64_t *first = a, *second = b;
    return *first < *second ? -1 : *first > *second;
}

static phrase *slot_of(const part *of, uint64_t hash) {
    uint64_t i = (hash ^ hash >> 31) & of->mask;
    while (of->phrases[i].hash != 0 && of->phrases[i].hash != hash) {
        i = (i + 1) & of->mask;
    }
    return &of->phrases[i];
}

static phrase *find(const counter *c, uint64_t hash) {
    const part *of = &c->parts[hash >> (64 - PART_BITS)];
    phrase *p = of->phrases != NULL ? slot_of(of, hash) : NULL;
    return p != NULL && p->hash == hash ? p : NULL;
}

static bool grow(const counter *c, part *of) {
    uint64_t i, slots = of->phrases == NULL ? 64 : (of->mask + 1) * 2;
    part larger = {.mask = slots - 1, .count = of->count};
    larger.phrases = c->host->allocate(c->host, (size_t)slots * sizeof *larger.phrases);
    if (larger.phrases == NULL) {
        return false;
    }
    memset(larger.phrases, 0, (size_t)slots * sizeof *larger.phrases);
    for (i = 0; of->phrases != NULL && i <= of->mask; i++) {
        if (of->phrases[i].hash != 0) {
            *slot_of(&larger, of->phrases[i].hash) = of->phrases[i];
        }
    }
    c->host->release(c->host, of->phrases);
    of->phrases = larger.phrases;
    of->mask = larger.mask;
    return true;
}

static void add_sighting(counter *c, uint64_t hash, uint64_t number) {
    part *of = &c->parts[hash >> (64 - PART_BITS)];
    phrase *p;
    pthread_mutex_lock(&of->lock);
    if ((of->phrases == NULL || of->count * 3 >= (of->mask + 1) * 2) && !grow(c, of)) {
        __atomic_store_n(&c->full, true, __ATOMIC_RELAXED);
    } else {
        p = slot_of(of, hash);
        of->count += p->hash == 0;
        p->hash = hash;
        p->records++;
        p->first = p->first == 0 || number < p->first ? number : p->first;
    }
    pthread_mutex_unlock(&of->lock);
}

static void count_gram(counter *c, uint64_t hash, uint64_t number) {
    uint64_t other = (hash ^ hash >> 33) * 0xC2B2AE3D27D4EB4Fu;
    uint32_t *first = &c->sketch[hash >> (64 - c->sketch_bits)],
             *second = &c->sketch[((uint64_t)1 << c->sketch_bits) + (other >> (64 - c->sketch_bits))];
    phrase *p;
    if (c->stage == SKETCH) {
        __atomic_fetch_add(first, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(second, 1, __ATOMIC_RELAXED);
    } else if (c->stage == COUNT) {
        if (*first >= (uint64_t)c->p->least && *second >= (uint64_t)c->p->least) {
            add_sighting(c, hash, number);
        }
    } else if ((p = find(c, hash)) != NULL) {
        __atomic_fetch_add(&p->reference, 1, __ATOMIC_RELAXED);
    }
}

/* Each n-gram of a row once. */
static void count_row(void *context, temper_shard *shard, const temper_line *line) {
    counter *c = context;
    gathering g = {c, shard->worker, false};
    temper_buffer *grams = &c->grams.buffers[shard->worker];
    uint64_t *list;
    size_t i, count;
    if (line->problem != NULL) {
        temper_shard_fail(shard, line, TEMPER_INVALID, "the line %s", line->problem);
        return;
    }
    temper_buffer_clear(grams);
    temper_line_texts(line, &c->p->fields, &c->p->roles, gather, &g, NULL);
    if (g.failed) {
        temper_shard_fail(shard, line, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
        return;
    }
    list = (uint64_t *)(void *)grams->data;
    count = grams->length / sizeof *list;
    if (count > 0) {
        qsort(list, count, sizeof *list, by_value);
    }
    for (i = 0; i < count; i++) {
        if (i == 0 || list[i] != list[i - 1]) {
            count_gram(c, list[i], line->number);
        }
    }
    if (__atomic_load_n(&c->full, __ATOMIC_RELAXED)) {
        temper_shard_fail(shard, line, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
    }
}

/* --- between the passes ------------------------------------------------------------------------------------------------ */

/* Calls for every phrase that is slop. */
typedef void each_phrase(void *context, phrase *p);

static void each_slop(counter *c, each_phrase *call, void *context) {
    uint64_t i;
    size_t k;
    for (k = 0; k < PARTS; k++) {
        for (i = 0; c->parts[k].phrases != NULL && i <= c->parts[k].mask; i++) {
            phrase *p = &c->parts[k].phrases[i];
            if (p->hash != 0 && p->ratio >= c->p->ratio) {
                call(context, p);
            }
        }
    }
}

static void judge_phrases(counter *c) {
    uint64_t i;
    size_t k;
    for (k = 0; k < PARTS; k++) {
        for (i = 0; c->parts[k].phrases != NULL && i <= c->parts[k].mask; i++) {
            phrase *p = &c->parts[k].phrases[i];
            if (p->hash != 0 && p->records >= (uint64_t)c->p->least) {
                double here = (double)p->records / (double)c->records;
                p->ratio = here / (((double)p->reference + 1.0) / ((double)c->reference + 1.0));
            }
        }
    }
}

/* --- the last pass: each row's index ------------------------------------------------------------------------------------ */

typedef struct indexed {
    counter *c;
    uint64_t words, slop, worst_start, worst_length;
    temper_line_text_at worst;
    double worst_ratio;
    char shown[MOST_GRAM_BYTES];
} indexed;

static bool keep_text(counter *c, phrase *p, temper_span span) {
    size_t at, width, out = 0;
    bool space = false;
    p->text = c->host->allocate(c->host, span.length + 1);
    if (p->text == NULL) {
        return false;
    }
    for (at = 0; at < span.length;
         at += width) { /* as words with a space between: what stands between them differs */
        uint32_t one = temper_text_character(span, at, &width);
        if (temper_text_is_space(one)) {
            space = out > 0;
            continue;
        }
        if (space) {
            p->text[out++] = ' ';
            space = false;
        }
        memcpy(p->text + out, span.data + at, width);
        out += width;
    }
    p->text[out] = 0;
    return true;
}

static int look(void *context, filter_row *row, temper_span text, const temper_line_text_at *at) {
    indexed *x = context;
    counter *c = x->c;
    temper_buffer *words = &c->words.buffers[row->worker];
    size_t i, n = (size_t)c->p->ngram, count, covered = 0;
    const word *list;
    temper_buffer_clear(words);
    if (!take_words(text, words)) {
        words->failed = false;
        filter_row_no_memory(row);
        return 1;
    }
    list = (const word *)(const void *)words->data;
    count = words->length / sizeof *list;
    x->words += count;
    for (i = 0; i + n <= count; i++) {
        phrase *p = find(c, gram_of(list + i, n));
        size_t length = (size_t)(list[i + n - 1].start - list[i].start) + list[i + n - 1].length;
        if (p == NULL || p->ratio < c->p->ratio) {
            continue;
        }
        if (p->first == row->line->number && p->text == NULL &&
            !keep_text(c, p, (temper_span){list[i].start, length})) {
            filter_row_no_memory(row);
            return 1;
        }
        x->slop += i + n - (i > covered ? i : covered);
        covered = i + n;
        if (p->ratio > x->worst_ratio) {
            x->worst_ratio = p->ratio;
            x->worst = *at;
            x->worst_start = (uint64_t)(list[i].start - text.data);
            x->worst_length = length;
            snprintf(x->shown, sizeof x->shown, "%.*s", (int)(length > 120 ? 120 : length), list[i].start);
        }
    }
    return 0;
}

typedef struct sums {
    uint64_t words, slop;
} sums;

static void look_row(void *context, filter_row *row, void *own) {
    counter *c = context;
    indexed x = {.c = c};
    sums *all = own;
    filter_texts texts = c->texts;
    double share;
    texts.context = &x;
    filter_texts_of(&texts, row);
    all->words += x.words;
    all->slop += x.slop;
    share = x.words == 0 ? 0.0 : (double)x.slop / (double)x.words;
    if (share > c->p->index) {
        char where[64];
        filter_row_drop(
            row, slop_rule,
            "%.0f %% of its words are slop; worst in %s: \"%s\", %.4g times as often as in the reference",
            100.0 * share, temper_line_where(row->line, &x.worst, where), x.shown, x.worst_ratio);
        filter_row_span(row, &x.worst, x.worst_start, x.worst_length);
        filter_row_value(row, share, c->p->index);
    }
}

static temper_status joined(void *context, void *own, temper_error *error) {
    counter *c = context;
    const sums *all = own;
    (void)error;
    c->all_words += all->words;
    c->slop_words += all->slop;
    return TEMPER_OK;
}

static void count_one(void *context, phrase *p) {
    (void)p;
    ++*(uint64_t *)context;
}

static void metrics(void *context, temper_row *row) {
    counter *c = context;
    uint64_t count = 0;
    each_slop(c, count_one, &count);
    temper_row_integer(row, "slop_phrases", count);
    temper_row_integer(row, "reference_records", c->reference);
    temper_row_number(row, "slop_index",
                      c->all_words == 0 ? 0.0 : (double)c->slop_words / (double)c->all_words);
}

/* --- the list -------------------------------------------------------------------------------------------------------- */

static int by_ratio(const void *a, const void *b) {
    const phrase *first = *(const phrase *const *)a, *second = *(const phrase *const *)b;
    if (first->ratio != second->ratio) {
        return first->ratio > second->ratio ? -1 : 1;
    }
    if (first->records != second->records) {
        return first->records > second->records ? -1 : 1;
    }
    return first->hash < second->hash ? -1 : first->hash > second->hash;
}

typedef struct listing {
    phrase **items;
    uint64_t count;
} listing;

static void list_one(void *context, phrase *p) {
    listing *list = context;
    if (p->text != NULL) {
        list->items[list->count++] = p;
    }
}

static temper_status write_list(counter *c, temper_pool *pool, temper_output *to, temper_error *error) {
    temper_status status = TEMPER_OK;
    uint64_t i, count = 0;
    listing list = {NULL, 0};
    each_slop(c, count_one, &count);
    list.items = temper_pool_take(pool, (size_t)count + 1, sizeof *list.items);
    if (list.items == NULL) {
        return temper_no_memory(error);
    }
    each_slop(c, list_one, &list);
    qsort(list.items, (size_t)list.count, sizeof *list.items, by_ratio);
    for (i = 0; i < list.count && i < (uint64_t)c->p->listed && status == TEMPER_OK; i++) {
        temper_row row;
        temper_row_begin(&row, c->host);
        temper_row_string(&row, "phrase", list.items[i]->text);
        temper_row_integer(&row, "records", list.items[i]->records);
        temper_row_integer(&row, "reference", list.items[i]->reference);
        temper_row_number(&row, "ratio", list.items[i]->ratio);
        status = temper_row_write(&row, to, c->host, error);
    }
    return status;
}

static temper_status count_all(counter *c, temper_error *error) {
    const temper_host *host = c->host;
    temper_lines_pass pass = {
        .host = host, .input = host->input(host, "records"), .line = count_row, .context = c};
    temper_status status;
    c->stage = SKETCH;
    if ((status = temper_lines_run(&pass, error))) {
        return status;
    }
    c->records = pass.lines;
    c->stage = COUNT;
    if ((status = temper_lines_run(&pass, error))) {
        return status;
    }
    pass.input = host->input(host, "reference");
    c->stage = REFERENCE;
    status = temper_lines_run(&pass, error);
    c->reference = pass.lines;
    if (status == TEMPER_OK && c->reference == 0) {
        status = temper_fail(error, TEMPER_INVALID, "the reference has no records to compare with");
    }
    return status ? temper_fail_in(error, status, "reference") : TEMPER_OK;
}

/* As many cells as the input has words, about. */
static temper_status make_sketch(counter *c, temper_pool *pool, temper_error *error) {
    const temper_rows_service *rows = c->host->extension(c->host, TEMPER_ROWS);
    const char *data;
    uint64_t length;
    temper_status status;
    if (rows == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "this host has no %s", TEMPER_ROWS);
    }
    status = rows->map(c->host, c->host->input(c->host, "records"), &data, &length, error);
    if (status) {
        return status;
    }
    c->sketch_bits = LEAST_SKETCH_BITS;
    while (c->sketch_bits < MOST_SKETCH_BITS && length >> (c->sketch_bits + 2) > 0) {
        c->sketch_bits++;
    }
    c->sketch = temper_pool_take(pool, (size_t)2 << c->sketch_bits, sizeof *c->sketch);
    return c->sketch == NULL ? temper_no_memory(error) : TEMPER_OK;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const slop_parameters *p = self;
    counter c = {
        .texts = {.fields = &p->fields, .roles = &p->roles, .of = p->of, .look = look}, .p = p, .host = host};
    filter_pass pass = {.host = host,
                        .input = "records",
                        .rules = rules,
                        .look = look_row,
                        .context = &c,
                        .own_size = sizeof(sums),
                        .joined = joined,
                        .metrics = metrics};
    temper_output *list = NULL;
    temper_pool *pool = temper_pool_new(host);
    uint64_t i;
    size_t k;
    temper_status status = pool == NULL ? temper_no_memory(error) : TEMPER_OK;
    for (k = 0; k < PARTS; k++) {
        pthread_mutex_init(&c.parts[k].lock, NULL);
    }
    if (status || (status = filter_buffers_new(host, pool, &c.words, error)) ||
        (status = filter_buffers_new(host, pool, &c.grams, error)) ||
        (status = filter_buffers_new(host, pool, &c.texts.unescaped, error))) {
        goto out;
    }
    if ((status = make_sketch(&c, pool, error))) {
        goto out;
    }
    if ((status = count_all(&c, error))) {
        goto out;
    }
    judge_phrases(&c);
    filter_buffers_free(&c.texts.unescaped);
    if ((status = host->output(host, "phrases", &list, error)) ||
        (status = filter_texts_run(&c.texts, &pass, error))) {
        goto out;
    }
    status = write_list(&c, pool, list, error);
out:
    for (k = 0; k < PARTS; k++) {
        for (i = 0; c.parts[k].phrases != NULL && i <= c.parts[k].mask; i++) {
            host->release(host, c.parts[k].phrases[i].text);
        }
        host->release(host, c.parts[k].phrases);
        pthread_mutex_destroy(&c.parts[k].lock);
    }
    filter_buffers_free(&c.texts.unescaped);
    filter_buffers_free(&c.words);
    filter_buffers_free(&c.grams);
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to filter"),
    TEMPER_PORT(TEMPER_RECORDS, "reference", 0, "",
                "answers as they should read: people's, or another model's"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "kept", 0, "", "the records that passed, unchanged"),
    TEMPER_PORT(TEMPER_RECORDS, "dropped", 0, "rule, evidence, number, record",
                "the others: the rule, what it found, the record's number in the input, and the record"),
    TEMPER_PORT(TEMPER_RECORDS, "phrases", 0, "phrase, records, reference, ratio",
                "what is said too often, the most over-represented first"),
    TEMPER_PORT(
        TEMPER_METRICS, "metrics", 0, "",
        "records, kept, dropped, dropped_share, dropped_slop, slop_phrases, slop_index, reference_records"),
    NULL};

const temper_stage filter_slop_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "slop",
    .doc = "finds what is said far more often than in a reference, and drops records that consist of it",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = slop_parameter_table,
    .parameters_size = sizeof(slop_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};
