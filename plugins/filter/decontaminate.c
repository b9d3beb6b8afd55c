/* decontaminate.c: drops records that give away items of evaluation sets, their questions or their answers.
 *
 * A text gives an item's text away when at least `overlap` of its words lie in n-grams that both have (8 words and one half, as
 * Tulu 3 does it). Which item, of which set and which of its members is on file with each record; `found` counts them. */
#include "each_text.h"
#include "evaluations.h"

#include <stdlib.h>

#define DECONTAMINATE(P, S)                                                                                  \
    FILTER_FIELD_PARAMETERS(P, S)                                                                            \
    P(S, strings, names, "names", "[]", 1, 0, "", "",                                                        \
      "what the sets are called, in the order of the inputs; none: as the inputs are", "0.1")                \
    P(S, integer, ngram, "ngram", "8", 2, EVALUATION_GRAM, "words", "",                                      \
      "words in a row that both must have", "0.1")                                                           \
    P(S, integer, shortest, "shortest", "5", 1, EVALUATION_GRAM, "words", "",                                \
      "texts of items with fewer words are not looked for: everybody says them", "0.1")                      \
    P(S, number, overlap, "overlap", "0.5", 0, 1, "", "",                                                    \
      "how much of an item's text must be found to drop a record", "0.1")                                    \
    P(S, flag, answers, "answers", "true", 0, 1, "", "", "look for the items' answers, too", "0.1")          \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(decontaminate, DECONTAMINATE)

static const char query[] = "query", answer[] = "answer";
static const char *const rules[] = {query, answer, NULL};
static const char *const sets[EVALUATION_SETS] = {"evaluation", "second", "third", "fourth"};

typedef struct judge {
    filter_texts texts;
    const decontaminate_parameters *p;
    evaluations all;
} judge;

typedef struct hit {
    uint32_t text, place, length, at; /* of the item's text; the word of ours */
} hit;

static int by_place(const void *a, const void *b) {
    const hit *first = a, *second = b;
    if (first->text != second->text) {
        return first->text < second->text ? -1 : 1;
    }
    if (first->place != second->place) {
        return first->place < second->place ? -1 : 1;
    }
    return first->at < second->at ? -1 : first->at > second->at;
}

/* An n-gram of ours that an item has, too: the place in the index, and the word of ours. */
typedef struct known_gram {
    uint32_t from, at;
} known_gram;

static int by_gram(const void *a, const void *b) {
    const known_gram *first = a, *second = b;
    if (first->from != second->from) {
        return first->from < second->from ? -1 : 1;
    }
    return first->at < second->at ? -1 : first->at > second->at;
}

static void add_hits(const judge *j, const known_gram *known, uint32_t length, temper_buffer *hits) {
    size_t i, hash_from = known->from;
    for (i = hash_from; i < j->all.gram_count && j->all.grams[i].hash == j->all.grams[hash_from].hash; i++) {
        const evaluation_gram *gram = &j->all.grams[i];
        hit one = {gram->text, gram->place, gram->length, known->at};
        if (gram->length == length && (j->p->answers || !j->all.texts[gram->text].answer)) {
            temper_buffer_append(hits, &one, sizeof one);
        }
    }
}

/* Each n-gram once, at its first place in our text: said again, it covers nothing more. False: no memory. */
static bool find_hits(const judge *j, const evaluation_word *words, size_t count, temper_buffer *hits) {
    temper_buffer known;
    uint32_t length;
    temper_buffer_init(&known, hits->host);
    for (length = 1; length <= EVALUATION_GRAM; length++) {
        size_t i, from, to, found;
        known_gram *list;
        if (!j->all.lengths[length]) {
            continue;
        }
        temper_buffer_clear(&known);
        for (i = 0; i + length <= count; i++) {
            evaluations_find(&j->all, evaluations_gram(words + i, length), &from, &to);
            if (from < to) {
                known_gram one = {(uint32_t)from, (uint32_t)i};
                temper_buffer_append(&known, &one, sizeof one);
            }
        }
        if (known.failed) {
            break;
        }
        list = (known_gram *)(void *)known.data;
        found = known.length / sizeof *list;
        if (found > 1) {
            qsort(list, found, sizeof *list, by_gram);
        }
        for (i = 0; i < found; i++) {
            if (i == 0 || list[i].from != list[i - 1].from) {
                add_hits(j, &list[i], length, hits);
            }
        }
    }
    hits->failed = hits->failed || known.failed;
    temper_buffer_free(&known);
    return !hits->failed;
}

/* Of the hits of one text from `from` on: how many of its words they cover; *next: behind them. */
static uint32_t covered(const hit *hits, size_t count, size_t from, size_t *next) {
    uint32_t words = 0, end = 0;
    size_t i;
    for (i = from; i < count && hits[i].text == hits[from].text; i++) {
        uint32_t begin = hits[i].place > end ? hits[i].place : end, stop = hits[i].place + hits[i].length;
        if (stop > begin) {
            words += stop - begin;
            end = stop;
        }
    }
    *next = i;
    return words;
}

static int report(judge *j, filter_row *row, temper_span text, const temper_line_text_at *at,
                  const evaluation_word *words, const hit *first, double share) {
    evaluation_text *of = &j->all.texts[first->text];
    size_t start = words[first->at].start,
           end = words[first->at + first->length - 1].start + words[first->at + first->length - 1].length;
    size_t shown = end - start > 90 ? 90 : end - start;
    char where[64];
    filter_row_drop(row, of->answer ? answer : query,
                    "%s: has %.0f %% of \"%.40s\" of item %llu of %.40s: \"%.*s\"",
                    temper_line_where(row->line, at, where), 100.0 * share, of->field,
                    (unsigned long long)of->item, j->all.names[of->set], (int)shown, text.data + start);
    filter_row_span(row, at, start, end - start);
    filter_row_value(row, share, j->p->overlap);
    __atomic_fetch_add(&of->records, 1, __ATOMIC_RELAXED);
    return 1;
}

static int look(void *context, filter_row *row, temper_span text, const temper_line_text_at *at) {
    judge *j = context;
    temper_buffer *bytes = &j->texts.work.buffers[row->worker], hits;
    const evaluation_word *words;
    const hit *list;
    size_t count, i, next, best = SIZE_MAX;
    double most = 0.0;
    int judged = 0;
    temper_buffer_clear(bytes);
    if (!evaluations_words(text, bytes)) {
        bytes->failed = false;
        filter_row_no_memory(row);
        return 1;
    }
    words = (const evaluation_word *)(const void *)bytes->data;
    count = bytes->length / sizeof *words;
    temper_buffer_init(&hits, bytes->host);
    if (!find_hits(j, words, count, &hits)) {
        temper_buffer_free(&hits);
        filter_row_no_memory(row);
        return 1;
    }
    count = hits.length / sizeof *list;
    if (count > 0) {
        qsort(hits.data, count, sizeof *list, by_place);
    }
    list = (const hit *)(const void *)hits.data;
    for (i = 0; i < count; i = next) {
        double share = (double)covered(list, count, i, &next) / (double)j->all.texts[list[i].text].words;
        if (share > most) {
            most = share;
            best = i;
        }
    }
    if (best != SIZE_MAX && most >= j->p->overlap) {
        judged = report(j, row, text, at, words, &list[best], most);
    }
    temper_buffer_free(&hits);
    return judged;
}

static void metrics(void *context, temper_row *row) {
    const filter_texts *texts = context;
    const judge *j = texts->context;
    size_t i;
    uint64_t found = 0;
    for (i = 0; i < j->all.count; i++) {
        found += j->all.texts[i].records > 0;
    }
    temper_row_integer(row, "evaluation_items", j->all.items);
    temper_row_integer(row, "evaluation_texts", j->all.count);
    temper_row_integer(row, "evaluation_too_short", j->all.too_short);
    temper_row_integer(row, "evaluation_found", found);
}

static temper_status read_sets(judge *j, const temper_host *host, temper_pool *pool, temper_error *error) {
    uint32_t i, given = 0;
    temper_status status = TEMPER_OK;
    for (i = 0; i < EVALUATION_SETS && status == TEMPER_OK; i++) {
        if (host->input(host, sets[i]) != NULL) {
            j->all.names[i] = given < j->p->names.count ? j->p->names.items[given] : sets[i];
            given++;
            status = evaluations_add(&j->all, host, pool, sets[i], i, error);
            status = status ? temper_fail_in(error, status, "%s", sets[i]) : TEMPER_OK;
        }
    }
    if (status == TEMPER_OK && j->p->names.count > given) {
        status = temper_fail(error, TEMPER_INVALID, "%zu names for %u evaluation sets", j->p->names.count,
                             (unsigned)given);
    }
    return status ? status : evaluations_index(&j->all, pool, error);
}

static temper_status write_found(const judge *j, const temper_host *host, temper_output *to,
                                 temper_error *error) {
    temper_status status = TEMPER_OK;
    size_t i;
    for (i = 0; i < j->all.count && status == TEMPER_OK; i++) {
        const evaluation_text *of = &j->all.texts[i];
        temper_row row;
        if (of->records == 0) {
            continue;
        }
        temper_row_begin(&row, host);
        temper_row_string(&row, "set", j->all.names[of->set]);
        temper_row_integer(&row, "item", of->item);
        temper_row_string(&row, "field", of->field);
        temper_row_string(&row, "what", of->answer ? answer : query);
        temper_row_integer(&row, "words", of->words);
        temper_row_integer(&row, "records", of->records);
        status = temper_row_write(&row, to, host, error);
    }
    return status;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const decontaminate_parameters *p = self;
    judge j = {.texts = {.fields = &p->fields, .roles = &p->roles, .of = "all", .look = look}, .p = p};
    filter_pass pass = {.host = host, .input = "records", .rules = rules, .metrics = metrics};
    temper_output *found = NULL;
    temper_pool *pool = temper_pool_new(host);
    temper_status status;
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    j.texts.context = &j;
    j.all.n = (uint32_t)p->ngram;
    j.all.shortest = (uint32_t)(p->shortest < p->ngram ? p->shortest : p->ngram);
    temper_buffer_init(&j.all.text_bytes, host);
    temper_buffer_init(&j.all.gram_bytes, host);
    temper_buffer_init(&j.all.word_bytes, host);
    if ((status = read_sets(&j, host, pool, error)) ||
        (status = host->output(host, "found", &found, error))) {
        goto out;
    }
    status = filter_texts_run(&j.texts, &pass, error);
    status = status ? status : write_found(&j, host, found, error);
out:
    evaluations_free(&j.all);
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to filter"),
    TEMPER_PORT(TEMPER_RECORDS, "evaluation", 0, "",
                "an evaluation set; every text in its records is looked for"),
    TEMPER_PORT(TEMPER_RECORDS, "second", TEMPER_OPTIONAL, "", "another"),
    TEMPER_PORT(TEMPER_RECORDS, "third", TEMPER_OPTIONAL, "", "another"),
    TEMPER_PORT(TEMPER_RECORDS, "fourth", TEMPER_OPTIONAL, "", "another"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "kept", 0, "", "the records that passed, unchanged"),
    TEMPER_PORT(TEMPER_RECORDS, "dropped", 0, "rule, evidence, number, record",
                "the others: the rule, what it found, the record's number in the input, and the record"),
    TEMPER_PORT(TEMPER_RECORDS, "found", 0, "set, item, field, what, words, records",
                "the items' texts that were found, and in how many records"),
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "",
                "records, kept, dropped, dropped_share, dropped_RULE, evaluation_items, evaluation_texts, "
                "evaluation_too_short, evaluation_found"),
    NULL};

const temper_stage filter_decontaminate_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "decontaminate",
    .doc = "drops records that give away items of evaluation sets",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = decontaminate_parameter_table,
    .parameters_size = sizeof(decontaminate_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};
