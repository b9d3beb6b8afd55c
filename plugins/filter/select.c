/* select.c: a sample, balanced or not, split into train and held out.
 *
 * Invariants: which rows are taken, and on which side a row is, depends on the rows' bytes and the parameters alone: a row's turn is
 * the place of its salted hash among those of its stratum, its side is its prompt's hash. So neither threads nor the order of
 * the rows nor the run's seed show in it, a prompt is on one side only, and rows that are added later move no other row
 * from one side to the other. Rows keep the order of the input. */
#include "lines_of.h"

#include <stdlib.h>

#define SELECT(P, S)                                                                                         \
    P(S, integer, rows, "rows", "0", 0, 1e12, "rows", "",                                                    \
      "how many to take; 0: all, or with balance as many of each stratum as the smallest has", "0.1")        \
    P(S, strings, by, "by", "[]", 1, 0, "", "", "members whose values make a stratum: trait, source", "0.1") \
    P(S, flag, balance, "balance", "false", 0, 1, "", "",                                                    \
      "take the same number of each stratum; else each by its share", "0.1")                                 \
    P(S, number, held_out, "held_out", "0", 0, 1, "", "", "the share of prompts whose rows go to held_out",  \
      "0.1")                                                                                                 \
    P(S, string, prompt, "prompt", "\"\"", 1, 0, "", "",                                                     \
      "the member that is the prompt; none: the first user's message, prompt, instruction, question or "     \
      "text",                                                                                                \
      "0.1")                                                                                                 \
    P(S, string, salt, "salt", "\"\"", 1, 0, "", "", "another salt is another draw", "0.1")                  \
    P(S, number, most_dropped, "most_dropped", "1", 0, 1, "", "",                                            \
      "the run fails when a larger share of the records than this is dropped", "0.1")
TEMPER_PARAMETERS(select, SELECT)

enum { TRAIN, HELD_OUT, DROPPED };
enum { MOST_STRATA = 100000 };

static const char not_taken[] = "not_taken";

typedef struct row {
    uint64_t stratum, turn, number; /* the hash of its values; of its bytes; its line */
    uint64_t rank;                  /* its place in its stratum, from 1 */
    uint32_t of;                    /* the stratum's index */
    bool held_out;
} row;

typedef struct stratum {
    uint64_t hash, rows, quota, rest, train, held_out;
    uint64_t first; /* its first row, whose values name it */
    char *name;
} stratum;

typedef struct sample {
    const temper_host *host;
    const select_parameters *p;
    uint64_t salt;
    row *rows; /* in the order of the input */
    uint64_t count;
    stratum *strata; /* by hash */
    size_t strata_count;
    filter_buffers buffers;
} sample;

/* --- the first pass: what each row is ------------------------------------------------------------------------------ */

static void read_row(void *context, temper_shard *shard, const temper_line *line) {
    sample *s = context;
    row *out = &s->rows[line->number - 1];
    bool no_memory = false;
    temper_span prompt;
    uint64_t hash;
    size_t i;
    if (line->problem != NULL) {
        temper_shard_fail(shard, line, TEMPER_INVALID, "the line %s", line->problem);
        return;
    }
    out->number = line->number;
    out->turn = filter_line_hash(line, s->salt);
    out->stratum = 0;
    for (i = 0; i < s->p->by.count; i++) {
        uint32_t node = temper_line_member(line, 0, s->p->by.items[i]);
        if (node == 0) {
            temper_shard_fail(shard, line, TEMPER_INVALID, "it has no \"%.60s\" (see \"by\")",
                              s->p->by.items[i]);
            return;
        }
        out->stratum =
            temper_text_hash(temper_line_raw(line, node), out->stratum + 1 + line->nodes[node].kind);
    }
    if (s->p->held_out > 0) {
        if (!filter_line_prompt(line, s->p->prompt, &s->buffers.buffers[shard->worker], &prompt,
                                &no_memory)) {
            temper_shard_fail(shard, line, no_memory ? TEMPER_NO_MEMORY : TEMPER_INVALID, "%s",
                              no_memory ? "out of memory (the limit is --memory)"
                                        : "it has no prompt to split by (see \"prompt\")");
            return;
        }
        hash = temper_text_hash(prompt, s->salt ^ 0x5EEDu);
        out->held_out = (double)(hash >> 11) * (1.0 / 9007199254740992.0) < s->p->held_out;
    }
}

/* --- between: who is taken ------------------------------------------------------------------------------------------ */

static int by_turn(const void *a, const void *b) {
    const row *first = a, *second = b;
    if (first->stratum != second->stratum) {
        return first->stratum < second->stratum ? -1 : 1;
    }
    if (first->turn != second->turn) {
        return first->turn < second->turn ? -1 : 1;
    }
    return first->number < second->number ? -1 : first->number > second->number;
}

static int by_number(const void *a, const void *b) {
    const row *first = a, *second = b;
    return first->number < second->number ? -1 : first->number > second->number;
}

static temper_status find_strata(sample *s, temper_pool *pool, temper_error *error) {
    uint64_t i, count = 0;
    for (i = 0; i < s->count; i++) {
        count += i == 0 || s->rows[i].stratum != s->rows[i - 1].stratum;
    }
    if (count > MOST_STRATA) {
        return temper_fail(error, TEMPER_INVALID, "\"by\" makes %llu strata; at most %d",
                           (unsigned long long)count, MOST_STRATA);
    }
    s->strata = temper_pool_take(pool, (size_t)count + 1, sizeof *s->strata);
    if (s->strata == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < s->count; i++) {
        stratum *of;
        if (i == 0 || s->rows[i].stratum != s->rows[i - 1].stratum) {
            s->strata_count++;
            s->strata[s->strata_count - 1].hash = s->rows[i].stratum;
            s->strata[s->strata_count - 1].first = s->rows[i].number;
        }
        of = &s->strata[s->strata_count - 1];
        s->rows[i].of = (uint32_t)(s->strata_count - 1);
        s->rows[i].rank = ++of->rows;
        of->first = s->rows[i].number < of->first ? s->rows[i].number : of->first;
    }
    return TEMPER_OK;
}

/* As near to equal as the strata's sizes allow: a level that the small ones stay under. */
static void balance(sample *s) {
    uint64_t wanted = (uint64_t)s->p->rows, low = UINT64_MAX, high = 0, sum, level, left;
    size_t i;
    for (i = 0; i < s->strata_count; i++) {
        low = s->strata[i].rows < low ? s->strata[i].rows : low;
        high = s->strata[i].rows > high ? s->strata[i].rows : high;
    }
    level = low;
    if (wanted > 0) {
        uint64_t from = 0, to = high;
        while (from < to) {
            uint64_t middle = from + (to - from + 1) / 2;
            for (sum = 0, i = 0; i < s->strata_count; i++) {
                sum += s->strata[i].rows < middle ? s->strata[i].rows : middle;
            }
            if (sum <= wanted) {
                from = middle;
            } else {
                to = middle - 1;
            }
        }
        level = from;
    }
    for (sum = 0, i = 0; i < s->strata_count; i++) {
        s->strata[i].quota = s->strata[i].rows < level ? s->strata[i].rows : level;
        sum += s->strata[i].quota;
    }
    left = wanted > sum ? wanted - sum : 0;
    for (i = 0; i < s->strata_count && left > 0; i++) {
        if (s->strata[i].rows > s->strata[i].quota) {
            s->strata[i].quota++;
            left--;
        }
    }
}

/* Each by its share, rounded down; what is left goes to the largest remainders. */
static void apportion(sample *s) {
    uint64_t wanted = (uint64_t)s->p->rows, given = 0;
    size_t i;
    wanted = wanted == 0 || wanted > s->count ? s->count : wanted;
    for (i = 0; i < s->strata_count; i++) {
        unsigned __int128 product = (unsigned __int128)wanted * s->strata[i].rows;
        s->strata[i].quota = (uint64_t)(product / s->count);
        s->strata[i].rest = (uint64_t)(product % s->count);
        given += s->strata[i].quota;
    }
    while (given < wanted) {
        stratum *best = NULL;
        for (i = 0; i < s->strata_count; i++) {
            if (s->strata[i].quota < s->strata[i].rows && (best == NULL || s->strata[i].rest > best->rest)) {
                best = &s->strata[i];
            }
        }
        best->quota++;
        best->rest = 0;
        given++;
    }
}

/* --- the second pass: where each row goes --------------------------------------------------------------------------- */

static void name_stratum(sample *s, temper_shard *shard, const temper_line *line, stratum *of) {
    temper_buffer name;
    size_t i;
    temper_buffer_init(&name, s->host);
    for (i = 0; i < s->p->by.count; i++) {
        temper_span value = temper_line_raw(line, temper_line_member(line, 0, s->p->by.items[i]));
        temper_buffer_text(&name, i == 0 ? "" : " · ");
        value.length = value.length > 200 ? 0 : value.length; /* no name for a person */
        temper_unescape(&name, value);
    }
    temper_buffer_append(&name, "", 1);
    if (name.failed) {
        temper_buffer_free(&name);
        temper_shard_fail(shard, line, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
    } else {
        of->name = name.data; /* released with the strata */
    }
}

static void place_row(void *context, temper_shard *shard, const temper_line *line) {
    sample *s = context;
    const row *r = &s->rows[line->number - 1];
    stratum *of = &s->strata[r->of];
    if (of->first == r->number && of->name == NULL) {
        name_stratum(s, shard, line, of);
    }
    if (r->rank <= of->quota) {
        temper_shard_copy(shard, r->held_out ? HELD_OUT : TRAIN, line);
        return;
    }
    filter_line_drop(shard, DROPPED, line, not_taken, (double)r->rank, (double)of->quota,
                     "its turn is %llu of %llu in its stratum, and %llu are taken",
                     (unsigned long long)r->rank, (unsigned long long)of->rows,
                     (unsigned long long)of->quota);
}

static temper_status write_strata(sample *s, temper_output *to, temper_error *error) {
    temper_status status = TEMPER_OK;
    size_t i;
    for (i = 0; i < s->strata_count && status == TEMPER_OK && s->p->by.count > 0; i++) {
        const stratum *of = &s->strata[i];
        temper_row row_out;
        temper_row_begin(&row_out, s->host);
        temper_row_string(&row_out, "stratum", of->name != NULL ? of->name : "");
        temper_row_integer(&row_out, "records", of->rows);
        temper_row_integer(&row_out, "train", of->train);
        temper_row_integer(&row_out, "held_out", of->held_out);
        status = temper_row_write(&row_out, to, s->host, error);
    }
    return status;
}

static temper_status write_metrics(sample *s, temper_output *to, temper_error *error) {
    uint64_t train = 0, held_out = 0, kept;
    temper_row row_out;
    size_t i;
    for (i = 0; i < s->strata_count; i++) {
        train += s->strata[i].train;
        held_out += s->strata[i].held_out;
    }
    kept = train + held_out;
    temper_row_begin(&row_out, s->host);
    temper_row_integer(&row_out, "records", s->count);
    temper_row_integer(&row_out, "kept", kept);
    temper_row_integer(&row_out, "train", train);
    temper_row_integer(&row_out, "held_out", held_out);
    temper_row_integer(&row_out, "strata", s->strata_count);
    temper_row_integer(&row_out, "dropped", s->count - kept);
    temper_row_integer(&row_out, "dropped_not_taken", s->count - kept);
    temper_row_number(&row_out, "dropped_share",
                      s->count == 0 ? 0.0 : (double)(s->count - kept) / (double)s->count);
    return temper_row_metrics(&row_out, to, s->host, error);
}

static temper_status choose(sample *s, temper_pool *pool, temper_error *error) {
    temper_status status;
    uint64_t i;
    qsort(s->rows, (size_t)s->count, sizeof *s->rows, by_turn);
    status = find_strata(s, pool, error);
    if (status || s->count == 0) {
        return status;
    }
    if (s->p->balance) {
        balance(s);
    } else {
        apportion(s);
    }
    qsort(s->rows, (size_t)s->count, sizeof *s->rows, by_number);
    for (i = 0; i < s->count; i++) {
        stratum *of = &s->strata[s->rows[i].of];
        if (s->rows[i].rank <= of->quota) {
            *(s->rows[i].held_out ? &of->held_out : &of->train) += 1;
        }
    }
    return TEMPER_OK;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    sample s = {.host = host, .p = self};
    const temper_input *input = host->input(host, "records");
    temper_lines_pass pass = {.host = host, .input = input, .line = read_row, .context = &s};
    temper_output *strata = NULL, *metrics = NULL;
    temper_pool *pool = temper_pool_new(host);
    uint64_t most;
    size_t i;
    temper_status status =
        pool == NULL ? temper_no_memory(error) : filter_count_lines(host, input, &most, error);
    s.salt = temper_text_hash(temper_span_of(s.p->salt), 0x7E3BE12u);
    if (status || (status = filter_buffers_new(host, pool, &s.buffers, error))) {
        goto out;
    }
    s.rows = most <= SIZE_MAX ? temper_pool_take(pool, (size_t)most, sizeof *s.rows) : NULL;
    if (s.rows == NULL) {
        status = temper_no_memory(error);
        goto out;
    }
    if ((status = temper_lines_run(&pass, error))) {
        goto out;
    }
    s.count = pass.lines;
    if ((status = choose(&s, pool, error)) ||
        (status = host->output(host, "train", &pass.sinks[TRAIN], error)) ||
        (status = host->output(host, "held_out", &pass.sinks[HELD_OUT], error)) ||
        (status = host->output(host, "dropped", &pass.sinks[DROPPED], error)) ||
        (status = host->output(host, "strata", &strata, error)) ||
        (status = host->output(host, "metrics", &metrics, error))) {
        goto out;
    }
    pass.line = place_row;
    status = temper_lines_run(&pass, error);
    status = status ? status : write_strata(&s, strata, error);
    status = status ? status : write_metrics(&s, metrics, error);
out:
    for (i = 0; i < s.strata_count; i++) {
        host->release(host, s.strata[i].name);
    }
    filter_buffers_free(&s.buffers);
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to choose from"), NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "train", 0, "", "the rows taken whose prompts are not held out"),
    TEMPER_PORT(TEMPER_RECORDS, "held_out", 0, "", "the rows taken whose prompts are"),
    TEMPER_PORT(TEMPER_RECORDS, "dropped", 0, "rule, evidence, number, record, value, bound",
                "the rows not taken"),
    TEMPER_PORT(TEMPER_RECORDS, "strata", 0, "stratum, records, train, held_out",
                "what there was of each, and was taken"),
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "",
                "records, kept, train, held_out, strata, dropped, dropped_not_taken, dropped_share"),
    NULL};

const temper_stage filter_select_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "select",
    .doc = "takes a sample, by strata, and holds out a share of the prompts",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = select_parameter_table,
    .parameters_size = sizeof(select_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};
