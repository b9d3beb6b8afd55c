/* mixture.c: several sets as one, in the shares asked for, with the shares there are on file.
 *
 * Invariants: which rows are taken, and their order in the mixture, depends on the rows' bytes, the inputs' names and the parameters alone:
 * of each set the rows with the lowest salted hashes, and all of them by another. A weight is a share of rows or of words. A set
 * that has too little is taken whole, again and again up to `times`, or bounds the mixture's size: nothing is made up. */
#include "lines_of.h"

#include <stdlib.h>
#include <temper/model.h>

enum { SETS = 8 };

#define WEIGHT(P, S, letter)                                                                                 \
    P(S, number, weight_##letter, "weights." #letter, "1", 0, 1e9, "", "",                                   \
      "the share of " #letter ", beside the others'", "0.1")
#define MIXTURE(P, S)                                                                                        \
    WEIGHT(P, S, a)                                                                                          \
    WEIGHT(P, S, b)                                                                                          \
    WEIGHT(P, S, c)                                                                                          \
    WEIGHT(P, S, d) WEIGHT(P, S, e) WEIGHT(P, S, f) WEIGHT(P, S, g) WEIGHT(P, S, h) P(                       \
        S, integer, rows, "rows", "0", 0, 1e12, "rows", "", "how many rows; 0: as many as the shares allow", \
        "0.1")                                                                                               \
        P(S, string, unit, "unit", "\"rows\"", 1, 0, "", "rows|words", "what weights are shares of", "0.1")  \
            P(S, integer, times, "times", "1", 1, 1000, "times", "", "how often a row may be taken", "0.1")  \
                P(S, strings, names, "names", "[]", 1, 0, "", "", "what the sets are called; none: a, b, c", \
                  "0.1")                                                                                     \
                    P(S, string, salt, "salt", "\"\"", 1, 0, "", "", "another salt is another draw", "0.1")
TEMPER_PARAMETERS(mixture, MIXTURE)

static const char *const letters[SETS] = {"a", "b", "c", "d", "e", "f", "g", "h"};

typedef struct row {
    uint64_t turn, words, bytes;
    const char *text; /* in the mapped input */
    uint32_t length;
} row;

typedef struct set {
    const temper_input *input;
    const char *name;
    double weight;
    row *rows; /* by turn */
    uint64_t count, words, characters;
    uint64_t taken, taken_words, taken_characters, taken_tokens;
    uint64_t salt;
} set;

typedef struct mix {
    const temper_host *host;
    const mixture_parameters *p;
    set sets[SETS];
    size_t count;
    set *reading;
    filter_buffers buffers;
    bool words, has_tokens;
} mix;

/* One row of the mixture: which, and where it stands. */
typedef struct place {
    uint64_t order;
    uint32_t set, round;
    uint64_t index;
} place;

/* --- reading --------------------------------------------------------------------------------------------------------- */

typedef struct counting {
    temper_shard *shard;
    temper_buffer *scratch;
    row *out;
    bool failed;
} counting;

static int count_text(void *context, const temper_line *line, const temper_line_text_at *at) {
    counting *c = context;
    temper_span text;
    if (!temper_line_text(line, at->node, c->scratch, &text)) {
        c->failed = c->scratch->failed;
        return c->failed;
    }
    c->out->words += temper_text_words(text);
    c->out->bytes += temper_text_count(text);
    return 0;
}

static void read_row(void *context, temper_shard *shard, const temper_line *line) {
    mix *m = context;
    row *out = &m->reading->rows[line->number - 1];
    counting c = {shard, &m->buffers.buffers[shard->worker], out, false};
    if (line->problem != NULL) {
        temper_shard_fail(shard, line, TEMPER_INVALID, "the line %s", line->problem);
        return;
    }
    out->turn = filter_line_hash(line, m->reading->salt);
    out->text = line->text;
    out->length = (uint32_t)line->length;
    temper_line_texts(line, NULL, NULL, count_text, &c, NULL);
    if (c.failed) {
        c.scratch->failed = false;
        temper_shard_fail(shard, line, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
    }
}

static int by_turn(const void *a, const void *b) {
    const row *first = a, *second = b;
    int difference;
    if (first->turn != second->turn) {
        return first->turn < second->turn ? -1 : 1;
    }
    if (first->length !=
        second->length) { /* of equal hashes: by the bytes; equal rows are each other's like */
        return first->length < second->length ? -1 : 1;
    }
    difference = memcmp(first->text, second->text, first->length);
    return difference < 0 ? -1 : difference > 0;
}

static temper_status read_set(mix *m, set *s, temper_pool *pool, temper_error *error) {
    temper_lines_pass pass = {.host = m->host, .input = s->input, .line = read_row, .context = m};
    uint64_t most, i;
    temper_status status = filter_count_lines(m->host, s->input, &most, error);
    if (status) {
        return status;
    }
    s->rows = most <= SIZE_MAX ? temper_pool_take(pool, (size_t)most, sizeof *s->rows) : NULL;
    if (s->rows == NULL) {
        return temper_no_memory(error);
    }
    m->reading = s;
    status = temper_lines_run(&pass, error);
    if (status) {
        return status;
    }
    s->count = pass.lines;
    qsort(s->rows, (size_t)s->count, sizeof *s->rows, by_turn);
    for (i = 0; i < s->count; i++) {
        s->words += s->rows[i].words;
        s->characters += s->rows[i].bytes;
    }
    return TEMPER_OK;
}

/* --- how many of each -------------------------------------------------------------------------------------------------- */

static double available(const mix *m, const set *s) {
    return (double)(m->words ? s->words : s->count) * (double)m->p->times;
}

/* The size at which the scarcest set is used up; what is asked for, if that is less. */
static double size_of(const mix *m, double weights) {
    double size = -1.0;
    size_t i;
    for (i = 0; i < m->count; i++) {
        if (m->sets[i].weight > 0) {
            double most = available(m, &m->sets[i]) * weights / m->sets[i].weight;
            size = size < 0 || most < size ? most : size;
        }
    }
    return size < 0 ? 0 : size;
}

static void take_rows(set *s, uint64_t rows) {
    uint64_t i;
    for (i = 0; i < rows; i++) {
        s->taken_words += s->rows[i % s->count].words;
        s->taken_characters += s->rows[i % s->count].bytes;
    }
    s->taken = rows;
}

/* Rows until their words reach the share: the row that crosses it is taken when that comes nearer. */
static void take_words(set *s, double words, uint64_t repeat) {
    uint64_t rows = 0, sum = 0;
    while (s->count > 0 && rows < s->count * repeat) {
        uint64_t next = s->rows[rows % s->count].words;
        if ((double)sum + 0.5 * (double)next > words) {
            break;
        }
        sum += next;
        rows++;
    }
    take_rows(s, rows);
}

static temper_status decide(mix *m, temper_error *error) {
    double weights = 0.0, size;
    uint64_t rows = 0;
    size_t i;
    for (i = 0; i < m->count; i++) {
        weights += m->sets[i].weight;
        if (m->sets[i].weight > 0 && available(m, &m->sets[i]) == 0) {
            return temper_fail(error, TEMPER_INVALID,
                               "%.60s has no %s: leave it out, or give it the weight 0", m->sets[i].name,
                               m->p->unit);
        }
    }
    if (weights <= 0.0) {
        return temper_fail(error, TEMPER_INVALID, "every weight is 0: nothing would be taken");
    }
    size = size_of(m, weights);
    if (m->p->rows > 0 && !m->words) {
        if ((double)m->p->rows > size + 1e-6 * size) {
            return temper_fail(
                error, TEMPER_INVALID,
                "%lld rows in these shares need more than there is: at most %.0f; lower \"rows\", change "
                "weights, or raise \"times\"",
                (long long)m->p->rows, size);
        }
        size = (double)m->p->rows;
    }
    for (i = 0; i < m->count; i++) {
        set *s = &m->sets[i];
        if (m->words) {
            take_words(s, size * s->weight / weights, (uint64_t)m->p->times);
        } else {
            uint64_t share = (uint64_t)(size * s->weight / weights + 0.5);
            uint64_t most = s->count * (uint64_t)m->p->times;
            take_rows(s, share < most ? share : most);
        }
        rows += s->taken;
    }
    if (m->words && m->p->rows > 0 && rows > (uint64_t)m->p->rows) { /* smaller, in the same shares */
        for (i = 0; i < m->count; i++) {
            set *s = &m->sets[i];
            uint64_t part = (uint64_t)((double)s->taken * (double)m->p->rows / (double)rows);
            s->taken_words = s->taken_characters = 0;
            take_rows(s, part);
        }
    }
    return TEMPER_OK;
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

static int by_order(const void *a, const void *b) {
    const place *first = a, *second = b;
    if (first->order != second->order) {
        return first->order < second->order ? -1 : 1;
    }
    if (first->set != second->set) {
        return first->set < second->set ? -1 : 1;
    }
    if (first->index != second->index) {
        return first->index < second->index ? -1 : 1;
    }
    return first->round < second->round ? -1 : first->round > second->round;
}

static temper_status write_rows(mix *m, temper_pool *pool, temper_output *to, temper_error *error) {
    const temper_rows_service *service = m->host->extension(m->host, TEMPER_ROWS);
    uint64_t total = 0, i, at = 0;
    place *places;
    size_t s;
    temper_status status = TEMPER_OK;
    for (s = 0; s < m->count; s++) {
        total += m->sets[s].taken;
    }
    places = total < SIZE_MAX ? temper_pool_take(pool, (size_t)total + 1, sizeof *places) : NULL;
    if (places == NULL) {
        return temper_no_memory(error);
    }
    for (s = 0; s < m->count; s++) {
        for (i = 0; i < m->sets[s].taken; i++) {
            uint64_t index = i % m->sets[s].count, round = i / m->sets[s].count;
            uint64_t turn[2] = {m->sets[s].rows[index].turn, round};
            places[at].order =
                temper_text_hash((temper_span){(const char *)turn, sizeof turn}, m->sets[s].salt + 1);
            places[at].set = (uint32_t)s;
            places[at].round = (uint32_t)round;
            places[at++].index = index;
        }
    }
    qsort(places, (size_t)total, sizeof *places, by_order);
    for (i = 0; i < total && status == TEMPER_OK;) {
        temper_piece pieces[512];
        size_t count = 0;
        for (; count < 512 && i < total; i++) {
            const row *r = &m->sets[places[i].set].rows[places[i].index];
            pieces[count++] = (temper_piece){r->text, r->length};
            pieces[count++] = (temper_piece){"\n", 1};
        }
        if (m->host->cancelled(m->host)) {
            return temper_fail(error, TEMPER_CANCELLED, "stopped after %llu rows", (unsigned long long)i);
        }
        status = service->write(to, pieces, count, count / 2, error);
        m->host->progress(m->host, i, total, "records", NULL);
    }
    return status;
}

/* --- tokens, by a model's own tokenizer ----------------------------------------------------------------------------- */

typedef struct tokens {
    const temper_model_service *service;
    temper_model *model;
    temper_buffer scratch;
    uint64_t count;
    temper_status status;
    temper_error *error;
} tokens;

static int count_text_tokens(void *context, const temper_line *line, const temper_line_text_at *at) {
    tokens *t = context;
    temper_span text;
    uint64_t count = 0;
    if (!temper_line_text(line, at->node, &t->scratch, &text)) {
        t->status = t->scratch.failed ? temper_no_memory(t->error) : TEMPER_OK;
        return t->status != TEMPER_OK;
    }
    t->status = t->service->count_tokens(t->model, text.data, text.length, &count, t->error);
    t->count += count;
    return t->status != TEMPER_OK;
}

/* A row is counted once, however often it is taken. */
static temper_status count_set_tokens(mix *m, set *s, tokens *t, temper_line_reader *reader) {
    uint64_t i;
    for (i = 0; i < s->count && i < s->taken; i++) {
        uint64_t times = s->taken / s->count + (i < s->taken % s->count);
        temper_line line;
        t->count = 0;
        if (!temper_line_read(reader, s->rows[i].text, s->rows[i].length, &line)) {
            return temper_no_memory(t->error);
        }
        temper_line_texts(&line, NULL, NULL, count_text_tokens, t, NULL);
        if (t->status) {
            return t->status;
        }
        s->taken_tokens += t->count * times;
        if (i % 1024 == 0) {
            if (m->host->cancelled(m->host)) {
                return temper_fail(t->error, TEMPER_CANCELLED, "stopped while counting tokens");
            }
            m->host->progress(m->host, i, s->taken, "records", "counting tokens");
        }
    }
    return TEMPER_OK;
}

static temper_status count_tokens(mix *m, temper_error *error) {
    const temper_input *input = m->host->input(m->host, "model");
    tokens t = {.error = error};
    temper_line_reader *reader;
    temper_status status;
    size_t i;
    m->has_tokens = input != NULL;
    if (input == NULL) {
        return TEMPER_OK;
    }
    reader = temper_line_reader_new(m->host);
    if (reader == NULL) {
        return temper_no_memory(error);
    }
    temper_buffer_init(&t.scratch, m->host);
    status = m->host->open_model(m->host, input, &t.service, &t.model, error);
    for (i = 0; i < m->count && status == TEMPER_OK; i++) {
        status = count_set_tokens(m, &m->sets[i], &t, reader);
    }
    temper_buffer_free(&t.scratch);
    temper_line_reader_free(reader);
    return status;
}

static double share(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0.0 : (double)part / (double)whole;
}

static temper_status write_numbers(mix *m, temper_output *shares, temper_output *metrics,
                                   temper_error *error) {
    uint64_t rows = 0, words = 0, characters = 0, all_tokens = 0;
    char name[64];
    temper_row numbers;
    temper_status status = TEMPER_OK;
    size_t i;
    for (i = 0; i < m->count; i++) {
        rows += m->sets[i].taken;
        words += m->sets[i].taken_words;
        characters += m->sets[i].taken_characters;
        all_tokens += m->sets[i].taken_tokens;
    }
    temper_row_begin(&numbers, m->host);
    temper_row_integer(&numbers, "rows", rows);
    temper_row_integer(&numbers, "words", words);
    temper_row_integer(&numbers, "characters", characters);
    if (m->has_tokens) {
        temper_row_integer(&numbers, "tokens", all_tokens);
    }
    for (i = 0; i < m->count && status == TEMPER_OK; i++) {
        const set *s = &m->sets[i];
        temper_row line;
        snprintf(name, sizeof name, "row_share_%s", letters[i]);
        temper_row_number(&numbers, name, share(s->taken, rows));
        snprintf(name, sizeof name, "word_share_%s", letters[i]);
        temper_row_number(&numbers, name, share(s->taken_words, words));
        temper_row_begin(&line, m->host);
        temper_row_string(&line, "set", s->name);
        temper_row_number(&line, "weight", s->weight);
        temper_row_integer(&line, "available", s->count);
        temper_row_integer(&line, "rows", s->taken);
        temper_row_number(&line, "row_share", share(s->taken, rows));
        temper_row_integer(&line, "words", s->taken_words);
        temper_row_number(&line, "word_share", share(s->taken_words, words));
        temper_row_integer(&line, "characters", s->taken_characters);
        if (m->has_tokens) {
            temper_row_integer(&line, "tokens", s->taken_tokens);
            temper_row_number(&line, "token_share", share(s->taken_tokens, all_tokens));
            snprintf(name, sizeof name, "token_share_%s", letters[i]);
            temper_row_number(&numbers, name, share(s->taken_tokens, all_tokens));
        }
        temper_row_number(&line, "times", share(s->taken, s->count));
        status = temper_row_write(&line, shares, m->host, error);
    }
    if (status) {
        temper_row_drop(&numbers);
        return status;
    }
    return temper_row_metrics(&numbers, metrics, m->host, error);
}

static temper_status take_sets(mix *m, temper_error *error) {
    const double weights[SETS] = {m->p->weight_a, m->p->weight_b, m->p->weight_c, m->p->weight_d,
                                  m->p->weight_e, m->p->weight_f, m->p->weight_g, m->p->weight_h};
    size_t i;
    for (i = 0; i < SETS; i++) {
        set *s = &m->sets[m->count];
        s->input = m->host->input(m->host, letters[i]);
        if (s->input == NULL) {
            continue;
        }
        if (m->count != i) {
            return temper_fail(error, TEMPER_INVALID, "there is an input %s and none %s before it",
                               letters[i], letters[m->count]);
        }
        s->name = i < m->p->names.count ? m->p->names.items[i] : letters[i];
        s->weight = weights[i];
        s->salt = temper_text_hash(temper_span_of(m->p->salt), 0x3D1C + i);
        m->count++;
    }
    if (m->p->names.count > m->count) {
        return temper_fail(error, TEMPER_INVALID, "%zu names for %zu sets", m->p->names.count, m->count);
    }
    return TEMPER_OK;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    mix m = {.host = host, .p = self};
    temper_output *records = NULL, *shares = NULL, *metrics = NULL;
    temper_pool *pool = temper_pool_new(host);
    size_t i;
    temper_status status = pool == NULL ? temper_no_memory(error) : take_sets(&m, error);
    m.words = strcmp(m.p->unit, "words") == 0;
    if (status || (status = filter_buffers_new(host, pool, &m.buffers, error))) {
        goto out;
    }
    for (i = 0; i < m.count && status == TEMPER_OK; i++) {
        status = read_set(&m, &m.sets[i], pool, error);
        status = status ? temper_fail_in(error, status, "input %s", letters[i]) : TEMPER_OK;
    }
    if (status || (status = decide(&m, error)) || (status = count_tokens(&m, error)) ||
        (status = host->output(host, "records", &records, error)) ||
        (status = host->output(host, "shares", &shares, error)) ||
        (status = host->output(host, "metrics", &metrics, error))) {
        goto out;
    }
    status = write_rows(&m, pool, records, error);
    status = status ? status : write_numbers(&m, shares, metrics, error);
out:
    filter_buffers_free(&m.buffers);
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "a", 0, "", "the first set"),
    TEMPER_PORT(TEMPER_RECORDS, "b", TEMPER_OPTIONAL, "", "another"),
    TEMPER_PORT(TEMPER_RECORDS, "c", TEMPER_OPTIONAL, "", "another"),
    TEMPER_PORT(TEMPER_RECORDS, "d", TEMPER_OPTIONAL, "", "another"),
    TEMPER_PORT(TEMPER_RECORDS, "e", TEMPER_OPTIONAL, "", "another"),
    TEMPER_PORT(TEMPER_RECORDS, "f", TEMPER_OPTIONAL, "", "another"),
    TEMPER_PORT(TEMPER_RECORDS, "g", TEMPER_OPTIONAL, "", "another"),
    TEMPER_PORT(TEMPER_RECORDS, "h", TEMPER_OPTIONAL, "", "another"),
    TEMPER_PORT(TEMPER_MODEL, "model", TEMPER_OPTIONAL, "",
                "whose tokens to count; none: words and characters only"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "the mixture, in an order of its own"),
    TEMPER_PORT(
        TEMPER_RECORDS, "shares", 0,
        "set, weight, available, rows, row_share, words, word_share, characters, times, tokens, token_share",
        "what each set came to"),
    TEMPER_PORT(
        TEMPER_METRICS, "metrics", 0, "",
        "rows, words, characters, row_share_a, word_share_a, …; with a model tokens, token_share_a, …"),
    NULL};

const temper_stage filter_mixture_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "mixture",
    .doc = "mixes several sets in the shares asked for",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = mixture_parameter_table,
    .parameters_size = sizeof(mixture_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};
