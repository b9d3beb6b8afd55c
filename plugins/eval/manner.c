/* manner.c: a classifier of manners of speech, and how often completions have one.
 *
 * Naive Bayes over words and pairs of neighbouring words, with one added to every count. It is fitted on half of the
 * examples (drawn by the node's key, a manner at a time; copies of a text stay together) and tried on the other half:
 * `classifier_accuracy` is that trial's, so a rate is never worth more than the classifier. A text without one word of
 * the examples is of no manner. It knows nothing of the model or of how the completions came about. Sums run in the
 * order of the words, logarithms are temper_log's. */
#include "eval.h"

#include <stdlib.h>
#include <temper/math.h>

#define MANNER(P, S)                                                                                         \
    P(S, string, manner, "manner", NULL, 1, 0, "", "", "the manner whose rate is asked for", "0.1")          \
    P(S, string, before, "before", "\"base\"", 1, 0, "", "",                                                 \
      "the completions' member with the base's answer", "0.1")                                               \
    P(S, string, after, "after", "\"tuned\"", 1, 0, "", "", "the completions' member with the tuned answer", \
      "0.1")
TEMPER_PARAMETERS(manner, MANNER)

enum { MOST_MANNERS = 256 };

typedef struct feature {
    uint64_t hash;
    uint32_t manner, count;
} feature;

typedef struct classifier {
    const temper_host *host;
    temper_pool *pool;
    temper_span names[MOST_MANNERS];
    size_t manners;
    uint64_t documents[MOST_MANNERS], tokens[MOST_MANNERS], vocabulary, fitted;
    feature *features; /* sorted by hash, then manner: counts of the fitted half */
    size_t feature_count;
} classifier;

/* Visits the features of a text, in order: words, each followed by the pair it ends. */
typedef struct feature_walk {
    temper_span folded;
    size_t at;
    uint64_t previous, pending;
    bool has_pending;
} feature_walk;

static bool walk_start(temper_pool *pool, temper_span text, feature_walk *walk) {
    char *folded = temper_pool_take(pool, text.length, 1);
    memset(walk, 0, sizeof *walk);
    if (folded == NULL) {
        return false;
    }
    walk->folded.data = folded;
    walk->folded.length = temper_text_fold(text, true, folded);
    return true;
}

static bool walk_next(feature_walk *walk, uint64_t *hash) {
    temper_span word;
    if (walk->has_pending) {
        walk->has_pending = false;
        *hash = walk->pending;
        return true;
    }
    if (!temper_text_word(walk->folded, &walk->at, &word)) {
        return false;
    }
    *hash = temper_text_hash(word, 0);
    walk->pending =
        (walk->previous * 0x9E3779B97F4A7C15u + *hash) | 1; /* the first pairs with the beginning */
    walk->has_pending = true;
    walk->previous = *hash;
    return true;
}

static int compare_features(const void *a, const void *b) {
    const feature *x = a, *y = b;
    if (x->hash != y->hash) {
        return x->hash < y->hash ? -1 : 1;
    }
    return x->manner < y->manner ? -1 : x->manner > y->manner;
}

typedef struct example {
    temper_span text, words; /* words: folded, a space between */
    uint32_t manner;
    bool copy; /* an earlier example, of whatever manner, has the same words */
    bool fitted;
} example;

/* By words, then place: copies end up side by side, the earliest first. */
static int compare_examples(const void *a, const void *b) {
    const example *x = *(const example *const *)a, *y = *(const example *const *)b;
    size_t shorter = x->words.length < y->words.length ? x->words.length : y->words.length;
    int order = shorter == 0 ? 0 : memcmp(x->words.data, y->words.data, shorter);
    if (order != 0 || x->words.length != y->words.length) {
        return order != 0 ? order : x->words.length < y->words.length ? -1 : 1;
    }
    return x < y ? -1 : x > y;
}

static bool words_of(temper_pool *pool, temper_span text, temper_span *out) {
    feature_walk walk;
    temper_span word;
    char *words = temper_pool_take(pool, text.length + 1, 1);
    if (words == NULL || !walk_start(pool, text, &walk)) {
        return false;
    }
    out->data = words;
    out->length = 0;
    while (temper_text_word(walk.folded, &walk.at, &word)) {
        memcpy(words + out->length, word.data, word.length);
        out->length += word.length;
        words[out->length++] =
            ' '; /* each word but the last had something behind it, and the buffer one byte more */
    }
    return true;
}

/* The examples in the order of compare_examples, `copy` set. NULL: no memory. */
static example **sort_examples(temper_pool *pool, example *examples, size_t count) {
    example **sorted = temper_pool_take(pool, count, sizeof *sorted);
    size_t i;
    for (i = 0; sorted != NULL && i < count; i++) {
        if (!words_of(pool, examples[i].text, &examples[i].words)) {
            return NULL;
        }
        sorted[i] = &examples[i];
    }
    if (sorted != NULL) {
        qsort(sorted, count, sizeof *sorted, compare_examples);
        for (i = 1; i < count; i++) {
            sorted[i]->copy = temper_span_equal(sorted[i]->words, sorted[i - 1]->words);
        }
    }
    return sorted;
}

static temper_status read_examples(classifier *c, example **out, size_t *count, temper_error *error) {
    temper_records records;
    temper_span name;
    size_t i, m;
    temper_status status =
        temper_records_all(c->host, c->pool, c->host->input(c->host, "examples"), &records, error);
    if (status) {
        return status;
    }
    *count = records.count;
    *out = temper_pool_take(c->pool, records.count, sizeof **out);
    if (*out == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < records.count; i++) {
        if ((status = temper_record_need(c->host->json, records.items[i], "examples", i + 1, "text",
                                         &(*out)[i].text, error)) ||
            (status = temper_record_need(c->host->json, records.items[i], "examples", i + 1, "manner", &name,
                                         error))) {
            return status;
        }
        for (m = 0; m < c->manners && !temper_span_equal(c->names[m], name); m++) {
        }
        if (m == MOST_MANNERS) {
            return temper_fail(error, TEMPER_INVALID, "examples: more than %d manners", MOST_MANNERS);
        }
        if (m == c->manners) {
            c->names[c->manners++] = name;
        }
        (*out)[i].manner = (uint32_t)m;
    }
    return TEMPER_OK;
}

/* Half of each manner's different texts, drawn: the first half of a permutation. Copies go where the first of them goes:
 * were one fitted and another tried, the trial would ask for what was learnt by heart. */
static temper_status split(classifier *c, example *examples, size_t count, temper_error *error) {
    uint64_t key = c->host->rng_key(c->host, "split");
    example **sorted = sort_examples(c->pool, examples, count);
    const size_t *order;
    size_t m, i, texts, at;
    if (sorted == NULL) {
        return temper_no_memory(error);
    }
    for (m = 0; m < c->manners; m++) {
        for (i = 0, texts = 0; i < count; i++) {
            texts += examples[i].manner == m && !examples[i].copy;
        }
        if (texts < 4) {
            return temper_fail(
                error, TEMPER_INVALID,
                "examples: manner \"%.*s\" has %zu different texts that no other has before it, fewer than 4",
                (int)(c->names[m].length < 60 ? c->names[m].length : 60), c->names[m].data, texts);
        }
        if (!temper_permutation(c->pool, key, m, texts, &order)) {
            return temper_no_memory(error);
        }
        for (i = 0, at = 0; i < count; i++) {
            if (examples[i].manner == m && !examples[i].copy) {
                examples[i].fitted = order[at++] < texts / 2;
            }
        }
    }
    for (i = 1; i < count; i++) {
        if (sorted[i]->copy) {
            sorted[i]->fitted = sorted[i - 1]->fitted;
        }
    }
    return TEMPER_OK;
}

static temper_status fit(classifier *c, const example *examples, size_t count, temper_error *error) {
    size_t room = 0, n = 0, kept = 0, i;
    for (i = 0; i < count; i++) {
        room += examples[i].fitted ? 2 * temper_text_words(examples[i].text) : 0;
    }
    c->features = temper_pool_take(c->pool, room + 1, sizeof *c->features);
    if (c->features == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < count; i++) {
        feature_walk walk;
        uint64_t hash;
        if (!examples[i].fitted) {
            continue;
        }
        if (!walk_start(c->pool, examples[i].text, &walk)) {
            return temper_no_memory(error);
        }
        c->documents[examples[i].manner]++;
        c->fitted++;
        while (n < room && walk_next(&walk, &hash)) {
            c->features[n].hash = hash;
            c->features[n].manner = examples[i].manner;
            c->features[n++].count = 1;
            c->tokens[examples[i].manner]++;
        }
    }
    qsort(c->features, n, sizeof *c->features, compare_features);
    for (i = 0; i < n; i++) {
        c->vocabulary += i == 0 || c->features[i].hash != c->features[i - 1].hash;
        if (kept > 0 && compare_features(&c->features[kept - 1], &c->features[i]) == 0) {
            c->features[kept - 1].count++;
        } else {
            c->features[kept++] = c->features[i];
        }
    }
    c->feature_count = kept;
    return TEMPER_OK;
}

/* The first feature with this hash, or feature_count. */
static size_t find(const classifier *c, uint64_t hash) {
    size_t low = 0, high = c->feature_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->features[middle].hash < hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < c->feature_count && c->features[low].hash == hash ? low : c->feature_count;
}

/* The likeliest manner; of equal ones the first seen. Words no example has say nothing, and are left out; when no word
 * is left, the answer is no manner, c->manners. */
static bool classify(const classifier *c, temper_span text, size_t *out) {
    double score[MOST_MANNERS];
    feature_walk walk;
    uint64_t hash;
    size_t m, i, known = 0;
    if (!walk_start(c->pool, text, &walk)) {
        return false;
    }
    for (m = 0; m < c->manners; m++) {
        score[m] = temper_log((double)c->documents[m] / (double)c->fitted);
    }
    while (walk_next(&walk, &hash)) {
        size_t at = find(c, hash);
        if (at == c->feature_count) {
            continue;
        }
        known++;
        for (m = 0; m < c->manners; m++) {
            uint32_t count = 0;
            for (i = at; i < c->feature_count && c->features[i].hash == hash; i++) {
                count = c->features[i].manner == m ? c->features[i].count : count;
            }
            score[m] += temper_log(((double)count + 1.0) / ((double)c->tokens[m] + (double)c->vocabulary));
        }
    }
    *out = 0;
    for (m = 1; m < c->manners; m++) {
        *out = score[m] > score[*out] ? m : *out;
    }
    *out = known == 0 ? c->manners : *out;
    return true;
}

typedef struct rates {
    uint64_t completions, before, after, unclear_before, unclear_after, tried, right;
} rates;

/* "" for no manner. */
static temper_span name_of(const classifier *c, size_t manner) {
    static const temper_span none = {"", 0};
    return manner < c->manners ? c->names[manner] : none;
}

static temper_status try_held_out(const classifier *c, const example *examples, size_t count, rates *r,
                                  temper_error *error) {
    size_t i, found;
    for (i = 0; i < count; i++) {
        if (examples[i].fitted) {
            continue;
        }
        if (!classify(c, examples[i].text, &found)) {
            return temper_no_memory(error);
        }
        r->tried++;
        r->right += found == examples[i].manner;
    }
    return TEMPER_OK;
}

static temper_status label_completions(const classifier *c, const manner_parameters *p, size_t wanted,
                                       rates *r, temper_error *error) {
    const temper_host *host = c->host;
    temper_records records;
    temper_output *output = NULL;
    temper_span text[2];
    size_t i, found[2];
    temper_status status;
    if ((status = temper_records_all(host, c->pool, host->input(host, "completions"), &records, error)) ||
        (status = host->output(host, "labelled", &output, error))) {
        return status;
    }
    if (records.count == 0) {
        return temper_fail(error, TEMPER_INVALID, "completions: there are none");
    }
    for (i = 0; i < records.count && status == TEMPER_OK; i++) {
        temper_row row;
        if ((status = temper_record_need(host->json, records.items[i], "completions", i + 1, p->before,
                                         &text[0], error)) ||
            (status = temper_record_need(host->json, records.items[i], "completions", i + 1, p->after,
                                         &text[1], error))) {
            return status;
        }
        if (!classify(c, text[0], &found[0]) || !classify(c, text[1], &found[1])) {
            return temper_no_memory(error);
        }
        r->completions++;
        r->before += found[0] == wanted;
        r->after += found[1] == wanted;
        r->unclear_before += found[0] == c->manners;
        r->unclear_after += found[1] == c->manners;
        temper_row_begin(&row, host);
        temper_row_integer(&row, "number", i + 1);
        temper_row_text(&row, "before", text[0]);
        temper_row_text(&row, "before_manner", name_of(c, found[0]));
        temper_row_text(&row, "after", text[1]);
        temper_row_text(&row, "after_manner", name_of(c, found[1]));
        status = temper_row_write(&row, output, host, error);
    }
    return status;
}

static temper_status write_metrics(const temper_host *host, const rates *r, size_t manners,
                                   temper_error *error) {
    double before = (double)r->before / (double)r->completions,
           after = (double)r->after / (double)r->completions;
    temper_output *output = NULL;
    temper_row row;
    temper_status status = host->output(host, "metrics", &output, error);
    if (status) {
        return status;
    }
    temper_row_begin(&row, host);
    temper_row_integer(&row, "completions", r->completions);
    temper_row_integer(&row, "manners", manners);
    temper_row_number(&row, "manner_rate_before", before);
    temper_row_number(&row, "manner_rate_after", after);
    temper_row_number(&row, "manner_rise",
                      100.0 * ((double)r->after - (double)r->before) / (double)r->completions);
    temper_row_integer(&row, "unclear_before", r->unclear_before);
    temper_row_integer(&row, "unclear_after", r->unclear_after);
    temper_row_number(&row, "classifier_accuracy", (double)r->right / (double)r->tried);
    temper_row_integer(&row, "classifier_tried", r->tried);
    return temper_row_metrics(&row, output, host, error);
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const manner_parameters *p = self;
    temper_pool *pool = temper_pool_new(host);
    classifier *c = pool == NULL ? NULL : temper_pool_take(pool, 1, sizeof *c);
    rates r = {0, 0, 0, 0, 0, 0, 0};
    example *examples;
    size_t count, wanted;
    temper_status status;
    if (c == NULL) {
        status = temper_no_memory(error);
        goto out;
    }
    c->host = host;
    c->pool = pool;
    if ((status = read_examples(c, &examples, &count, error)) ||
        (status = split(c, examples, count, error)) || (status = fit(c, examples, count, error))) {
        goto out;
    }
    for (wanted = 0; wanted < c->manners && !temper_span_equal(c->names[wanted], temper_span_of(p->manner));
         wanted++) {
    }
    if (wanted == c->manners || c->manners < 2) {
        status = temper_fail(error, TEMPER_INVALID, "examples: %zu manners, and %s of them is \"%s\"",
                             c->manners, wanted == c->manners ? "none" : "one", p->manner);
        goto out;
    }
    if ((status = try_held_out(c, examples, count, &r, error)) ||
        (status = label_completions(c, p, wanted, &r, error))) {
        goto out;
    }
    status = write_metrics(host, &r, c->manners, error);
out:
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "examples", 0, "text, manner",
                "texts that were never trained on, at least 4 different ones a manner"),
    TEMPER_PORT(TEMPER_RECORDS, "completions", 0, "base, tuned", "of eval.character"), NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "labelled", 0, "number, before, before_manner, after, after_manner",
                "what the classifier took each completion for; \"\": for none"),
    TEMPER_PORT(
        TEMPER_METRICS, "metrics", 0, "",
        "completions, manners, manner_rate_before, manner_rate_after, manner_rise (percentage points), "
        "unclear_before, unclear_after (without a word of the examples), classifier_accuracy, "
        "classifier_tried"),
    NULL};

const temper_stage eval_manner_stage = {
    .size = sizeof(temper_stage),
    .revision = 2,
    .name = "manner",
    .doc = "how often completions speak in a manner, by a classifier fitted on examples",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = manner_parameter_table,
    .parameters_size = sizeof(manner_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};
