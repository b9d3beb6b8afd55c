/* duplicates.c: one of each set of equal or nearly equal rows.
 *
 * Three passes. The first reads all rows, on all threads: what is equal gets a hash of 128 bits, what is alike a signature cut
 * into bands (minhash.h). The second goes through the rows in the order of who is kept first: a row is dropped when a kept one
 * is equal, or shares a band with it and is, shingle by shingle, as similar as asked. So who is dropped has a kept twin, and
 * who is kept is like nobody kept before it. The third writes, and compares the texts of equal rows, so that a hash that two
 * texts share drops nobody: the run would fail. */
#define XXH_INLINE_ALL
#include "big.h"
#include "filter.h"
#include "minhash.h"

#include <stdlib.h>
#include <xxhash.h>

#define DUPLICATES(P, S)                                                                                     \
    P(S, string, compare, "compare", "\"record\"", 1, 0, "", "record|texts",                                 \
      "what makes two rows equal: the record (or its `keys`), or the texts of `fields` and `roles`, folded", \
      "0.2")                                                                                                 \
    P(S, strings, keys, "keys", "[]", 1, 0, "", "",                                                          \
      "the members that make two records equal; none: the whole record", "0.1")                              \
    FILTER_FIELD_PARAMETERS(P, S)                                                                            \
    P(S, flag, near, "near", "false", 0, 1, "", "", "drop rows whose texts are nearly equal, too", "0.2")    \
    P(S, number, similarity, "similarity", "0.8", 0.05, 1, "", "",                                           \
      "near: two rows are twins when they share this much of their shingles", "0.2")                         \
    P(S, integer, shingle, "shingle", "5", 1, 16, "words", "", "near: words in a row that are compared",     \
      "0.2")                                                                                                 \
    P(S, integer, bands, "bands", "14", 1, 64, "", "", "near: bands of the signature; more find more",       \
      "0.2")                                                                                                 \
    P(S, integer, rows, "rows", "8", 1, 16, "", "", "near: hashes in a band; more find less", "0.2")         \
    P(S, string, keep, "keep", "\"first\"", 1, 0, "", "first|longest|best",                                  \
      "which of equal rows stays; best: the one with the largest number in the member `best`", "0.2")        \
    P(S, string, best, "best", "\"score\"", 1, 0, "", "", "the member that says how good a row is", "0.2")   \
    P(S, integer, memory, "memory", "1536", 16, 1048576, "MB", "",                                           \
      "what is remembered of the rows beyond this goes to a temporary file", "0.2")                          \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(duplicates, DUPLICATES)

static const char duplicate[] = "duplicate", near_duplicate[] = "near_duplicate";
static const char *const rules[] = {duplicate, near_duplicate, NULL};

enum { MOST_BANDS = 64, MOST_CANDIDATES = 512, AHEAD = 8 };

typedef struct entry {
    uint64_t low, high; /* the hash of what makes it equal */
    const char *text;   /* the line, in the mapped input */
    uint32_t length;
    uint32_t shingles; /* 0: nothing to be alike with */
    double rank;       /* the largest of twins stays */
    double similarity; /* to its twin */
    uint32_t twin;     /* which row it is dropped for, counted from 1; 0: kept */
    bool near;         /* the twin is alike, not equal */
    uint64_t set;      /* where its set of shingles is in `sets`, counted from 1; 0: not made yet */
    size_t set_count;
} entry;

typedef struct job {
    const temper_host *host;
    const duplicates_parameters *parameters;
    bool texts, ranked;
    size_t bands, rows, mins;
    filter_buffers text, folded, shingles;
    filter_big entries, keys, tables, sets;
    size_t left;
    uint64_t count, candidates, verified;
    uint64_t cut; /* rows with more candidates than are compared */
    temper_line_reader **worker_readers;
    temper_buffer twin_text;
} job;

/* What a shard finds: entries, and their band keys. */
typedef struct found {
    temper_buffer entries, keys;
} found;

/* --- what makes rows equal, or alike ------------------------------------------------------------------------------ */

typedef struct gather {
    job *j;
    temper_buffer *scratch, *folded;
    filter_shingler *shingler;
    bool failed;
    size_t length;
} gather;

/* Appends the folded text, and adds its words. The role stands between texts, so that who said what counts. */
static int gather_text(void *context, const temper_line *line, const temper_line_text_at *at) {
    gather *g = context;
    temper_span text;
    if (!temper_line_text(line, at->node, g->scratch, &text)) {
        g->failed = true;
        return 1;
    }
    g->length += text.length;
    if (g->folded != NULL) {
        temper_span role = at->role != 0 ? temper_line_raw(line, at->role) : temper_span_of(at->field);
        temper_buffer_append(g->folded, "\n", 1);
        temper_buffer_span(g->folded, role);
        temper_buffer_append(g->folded, "\n", 1);
        if (!temper_buffer_reserve(g->folded, text.length)) {
            g->failed = true;
            return 1;
        }
        g->folded->length +=
            temper_text_fold(temper_span_trim(text), true, g->folded->data + g->folded->length);
    }
    if (g->shingler != NULL) {
        filter_shingle_text(g->shingler, text);
    }
    return 0;
}

/* The bytes that stand for the row among equals, into `folded`. NULL, or why not: "" for memory. */
static const char *equal_text(job *j, const temper_line *line, temper_buffer *scratch,
                              temper_buffer *folded) {
    const temper_strings *keys = &j->parameters->keys;
    size_t i;
    temper_buffer_clear(folded);
    if (j->texts) {
        gather g = {j, scratch, folded, NULL, false, 0};
        temper_line_texts(line, &j->parameters->fields, &j->parameters->roles, gather_text, &g, NULL);
        return g.failed || folded->failed ? "" : NULL;
    }
    if (keys->count == 0) {
        return temper_line_canonical(line, 0, folded) ? NULL : "";
    }
    for (i = 0; i < keys->count; i++) {
        uint32_t node = temper_line_member(line, 0, keys->items[i]);
        if (node == 0) {
            return keys->items[i];
        }
        if (!temper_line_canonical(line, node, folded)) {
            return "";
        }
        temper_buffer_append(folded, "\n", 1);
    }
    return folded->failed ? "" : NULL;
}

static double rank_of(const job *j, const temper_line *line, size_t length) {
    uint32_t node;
    double number = -1e308;
    temper_span raw;
    char text[64];
    if (strcmp(j->parameters->keep, "longest") == 0) {
        return (double)length;
    }
    node = temper_line_member(line, 0, j->parameters->best);
    if (temper_line_is(line, node, TEMPER_NODE_NUMBER)) {
        raw = temper_line_raw(line, node);
        snprintf(text, sizeof text, "%.*s", raw.length > 60 ? 60 : (int)raw.length, raw.data);
        number = strtod(text, NULL);
    }
    return number;
}

/* --- the first pass ---------------------------------------------------------------------------------------------- */

static void read_row(void *context, temper_shard *shard, const temper_line *line) {
    job *j = context;
    found *own = shard->own;
    temper_buffer *scratch = &j->text.buffers[shard->worker], *folded = &j->folded.buffers[shard->worker],
                  *shingles = &j->shingles.buffers[shard->worker];
    const char *missing;
    entry e = {.text = line->text, .length = (uint32_t)line->length};
    XXH128_hash_t hash;
    size_t i;
    if (own->entries.host == NULL) {
        temper_buffer_init(&own->entries, j->host);
        temper_buffer_init(&own->keys, j->host);
    }
    if (line->problem != NULL) {
        temper_shard_fail(shard, line, TEMPER_INVALID, "the line %s", line->problem);
        return;
    }
    missing = equal_text(j, line, scratch, folded);
    if (missing != NULL && *missing != 0) {
        temper_shard_fail(shard, line, TEMPER_INVALID, "it has no \"%s\", which is one of the keys", missing);
        return;
    }
    hash = XXH3_128bits(folded->data == NULL ? "" : folded->data, folded->length);
    e.low = hash.low64;
    e.high = hash.high64;
    if (j->parameters->near || (j->ranked && strcmp(j->parameters->keep, "longest") == 0)) {
        filter_shingler shingler;
        gather g = {j, scratch, NULL, j->parameters->near ? &shingler : NULL, false, 0};
        uint32_t mins[FILTER_MOST_MINS];
        temper_buffer_clear(shingles);
        filter_shingle_begin(&shingler, shingles, (uint32_t)j->parameters->shingle);
        temper_line_texts(line, &j->parameters->fields, &j->parameters->roles, gather_text, &g, NULL);
        e.rank = j->ranked ? rank_of(j, line, g.length) : 0.0;
        if (j->parameters->near) {
            size_t count = filter_shingle_end(&shingler);
            e.shingles = count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
            filter_minhash((const uint64_t *)(const void *)shingles->data, count, mins, j->mins);
            for (i = 0; i < j->bands; i++) {
                uint64_t key = filter_band(mins + i * j->rows, j->rows);
                temper_buffer_append(&own->keys, &key, sizeof key);
            }
        }
        missing = g.failed || shingles->failed ? "" : missing;
    } else if (j->ranked) {
        e.rank = rank_of(j, line, 0);
    }
    temper_buffer_append(&own->entries, &e, sizeof e);
    if (missing != NULL || own->entries.failed || own->keys.failed) {
        temper_shard_fail(shard, NULL, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
    }
}

static void drop_found(void *context, void *shard_own) {
    found *own = shard_own;
    (void)context;
    if (own->entries.host != NULL) {
        temper_buffer_free(&own->entries);
        temper_buffer_free(&own->keys);
    }
}

static temper_status take_found(void *context, temper_shard *shard, temper_error *error) {
    job *j = context;
    found *own = shard->own;
    void *entries, *keys;
    if (own->entries.host == NULL) {
        return TEMPER_OK;
    }
    entries = filter_big_add(&j->entries, own->entries.length);
    keys = filter_big_add(&j->keys, own->keys.length);
    if (entries != NULL && keys != NULL) {
        memcpy(entries, own->entries.data, own->entries.length);
        if (own->keys.length > 0) {
            memcpy(keys, own->keys.data, own->keys.length);
        }
    }
    j->count += own->entries.length / sizeof(entry);
    return entries == NULL || keys == NULL ? temper_no_memory(error) : TEMPER_OK;
}

/* --- the second pass --------------------------------------------------------------------------------------------- */

static entry *entry_at(const job *j, uint64_t index) {
    return (entry *)(void *)j->entries.data + index;
}

/* A row's shingles, sorted, each once; made when first asked for. NULL: no memory. They are where they are until the next
 * one is made. */
static const uint64_t *set_of(job *j, entry *e) {
    temper_buffer *out = &j->shingles.buffers[0];
    temper_line line;
    filter_shingler shingler;
    gather g = {j, &j->twin_text, NULL, &shingler, false, 0};
    uint64_t *set;
    if (e->set == 0) {
        if (!temper_line_read(j->worker_readers[0], e->text, e->length, &line)) {
            return NULL;
        }
        temper_buffer_clear(out);
        filter_shingle_begin(&shingler, out, (uint32_t)j->parameters->shingle);
        temper_line_texts(&line, &j->parameters->fields, &j->parameters->roles, gather_text, &g, NULL);
        e->set_count = filter_shingle_end(&shingler);
        if (g.failed || out->failed) {
            return NULL;
        }
        e->set_count = filter_shingle_set((uint64_t *)(void *)out->data, e->set_count);
        set = filter_big_add(&j->sets, e->set_count * sizeof *set);
        if (set == NULL) {
            return NULL;
        }
        memcpy(set, out->data, e->set_count * sizeof *set);
        e->set = (uint64_t)((unsigned char *)set - j->sets.data) / sizeof *set + 1;
    }
    return (const uint64_t *)(const void *)j->sets.data + (e->set - 1);
}

/* Slots hold a key's upper half and a row's number, so that most looks need no other memory. */
typedef struct table {
    uint64_t *slots;
    size_t mask;
} table;

static size_t slot_of(const table *t, uint64_t key) {
    return (size_t)(key ^ key >> 29) & t->mask;
}

/* Kept rows that share a band with this one, each once, in the order of the bands. */
static size_t find_candidates(job *j, const table *tables, const uint64_t *keys, uint32_t *out) {
    size_t count = 0, band, at, i;
    for (band = 0; band < j->bands; band++) {
        const table *t = &tables[band];
        for (at = slot_of(t, keys[band]); t->slots[at] != 0; at = (at + 1) & t->mask) {
            uint32_t row = (uint32_t)t->slots[at];
            if (t->slots[at] >> 32 != keys[band] >> 32) {
                continue;
            }
            for (i = 0; i < count && out[i] != row; i++) {
            }
            if (i == count && count == MOST_CANDIDATES) {
                j->cut++;
                return count;
            }
            if (i == count) {
                out[count++] = row;
            }
        }
    }
    return count;
}

static void add_to_tables(const job *j, const table *tables, const uint64_t *keys, uint32_t row) {
    size_t band, at;
    for (band = 0; band < j->bands; band++) {
        const table *t = &tables[band];
        for (at = slot_of(t, keys[band]); t->slots[at] != 0; at = (at + 1) & t->mask) {
        }
        t->slots[at] = (keys[band] >> 32) << 32 | row;
    }
}

/* The most similar kept row, if it is similar enough. */
static bool find_near(job *j, const table *tables, uint32_t row) {
    entry *e = entry_at(j, row - 1);
    const uint64_t *keys = (const uint64_t *)(const void *)j->keys.data + (size_t)(row - 1) * j->bands;
    uint32_t candidates[MOST_CANDIDATES];
    size_t count = find_candidates(j, tables, keys, candidates), i;
    double best = 0.0;
    j->candidates += count > 0;
    for (i = 0; i < count; i++) {
        entry *kept = entry_at(j, candidates[i] - 1);
        double similarity;
        if (set_of(j, e) == NULL || set_of(j, kept) == NULL) {
            return false;
        }
        j->verified++;
        similarity = filter_jaccard(set_of(j, e), e->set_count, set_of(j, kept), kept->set_count);
        if (similarity >= j->parameters->similarity &&
            (similarity > best || (similarity == best && candidates[i] < e->twin))) {
            best = similarity;
            e->twin = candidates[i];
            e->similarity = similarity;
            e->near = true;
        }
    }
    if (e->twin == 0) {
        add_to_tables(j, tables, keys, row);
    }
    return true;
}

static const entry *ranked_entries; /* for qsort, on the one thread that runs the stage */

static int by_rank(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    const entry *l = &ranked_entries[left - 1], *r = &ranked_entries[right - 1];
    return l->rank > r->rank ? -1 : l->rank < r->rank ? 1 : left < right ? -1 : left > right;
}

static bool make_tables(job *j, table *tables, size_t *size) {
    size_t slots = 1024, band, count = j->parameters->near ? j->bands : 0;
    uint64_t *at;
    while (slots < j->count * 2) {
        slots *= 2;
    }
    *size = slots;
    at = filter_big_add(&j->tables, (count + 1) * slots * sizeof *at);
    if (at == NULL) {
        return false;
    }
    if (j->tables.file == NULL) {
        memset(at, 0, (count + 1) * slots * sizeof *at);
    }
    for (band = 0; band <= count; band++) { /* the last one: of equal rows */
        tables[band].slots = at + band * slots;
        tables[band].mask = slots - 1;
    }
    return true;
}

static void look_ahead(const job *j, const table *tables, uint32_t row) {
    const uint64_t *keys = (const uint64_t *)(const void *)j->keys.data + (size_t)(row - 1) * j->bands;
    size_t band;
    for (band = 0; band < j->bands; band++) {
        __builtin_prefetch(&tables[band].slots[slot_of(&tables[band], keys[band])]);
    }
}

static temper_status decide(job *j, temper_error *error) {
    table tables[MOST_BANDS + 1];
    const table *equal;
    uint32_t *order = NULL;
    size_t size, at;
    uint64_t i;
    bool near = j->parameters->near != 0, ok = true;
    temper_status status = TEMPER_OK;
    if (j->count >= UINT32_MAX) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "more than 4 billion rows: split the input");
    }
    if (!make_tables(j, tables, &size)) {
        return temper_no_memory(error);
    }
    equal = &tables[near ? j->bands : 0];
    if (j->ranked) {
        order = j->host->allocate(j->host, (j->count + 1) * sizeof *order);
        if (order == NULL) {
            return temper_no_memory(error);
        }
        for (i = 0; i < j->count; i++) {
            order[i] = (uint32_t)i + 1;
        }
        ranked_entries = entry_at(j, 0);
        qsort(order, j->count, sizeof *order, by_rank);
    }
    for (i = 0; i < j->count && ok; i++) {
        uint32_t row = order != NULL ? order[i] : (uint32_t)i + 1;
        entry *e = entry_at(j, row - 1);
        if (near && i + AHEAD < j->count) {
            look_ahead(j, tables, order != NULL ? order[i + AHEAD] : (uint32_t)(i + AHEAD) + 1);
        }
        for (at = (size_t)e->low & equal->mask; equal->slots[at] != 0; at = (at + 1) & equal->mask) {
            const entry *kept = entry_at(j, equal->slots[at] - 1);
            if (kept->low == e->low && kept->high == e->high) {
                e->twin = (uint32_t)equal->slots[at];
                e->similarity = 1;
                break;
            }
        }
        if (e->twin == 0) {
            equal->slots[at] = row;
            ok = !near || e->shingles == 0 || find_near(j, tables, row);
        }
        if (i % 65536 == 65535) {
            j->host->progress(j->host, i, j->count, "records", "comparing");
            if (j->host->cancelled(j->host)) {
                status =
                    temper_fail(error, TEMPER_CANCELLED, "stopped after %llu records", (unsigned long long)i);
                break;
            }
        }
    }
    if (order != NULL) {
        j->host->release(j->host, order);
    }
    return ok ? status : temper_no_memory(error);
}

/* A row that is dropped for one that is dropped itself, later, for a near one: its twin is that one's. */
static uint32_t kept_twin(const job *j, uint32_t row) {
    while (entry_at(j, row - 1)->twin != 0) {
        row = entry_at(j, row - 1)->twin;
    }
    return row;
}

/* --- the third pass ---------------------------------------------------------------------------------------------- */

/* Are the texts equal, and not only their hashes? */
static bool truly_equal(job *j, filter_row *row, const entry *twin) {
    temper_buffer *mine = &j->folded.buffers[row->worker], *scratch = &j->text.buffers[row->worker], other;
    temper_line_reader *reader = j->worker_readers[row->worker];
    temper_line line;
    bool equal = false, memory = false;
    const char *problem;
    temper_buffer_init(&other, j->host);
    memory = temper_line_read(reader, twin->text, twin->length, &line);
    problem = memory ? equal_text(j, &line, scratch, &other) : "";
    memory = memory && problem == NULL && temper_line_read(reader, row->line->text, row->line->length, &line);
    problem = memory ? equal_text(j, &line, scratch, mine) : "";
    if (!memory || problem != NULL) {
        filter_row_no_memory(row);
    } else {
        equal = other.length == mine->length && memcmp(other.data, mine->data, mine->length) == 0;
        if (!equal) {
            filter_row_refuse(row, TEMPER_FAILED,
                              "it and another have the same hash of 128 bits, but not the same text");
        }
    }
    temper_buffer_free(&other);
    return equal;
}

static void write_row(void *context, filter_row *row, void *own) {
    job *j = context;
    const entry *e = entry_at(j, row->line->number - 1);
    uint32_t twin;
    (void)own;
    if (e->twin == 0) {
        return;
    }
    twin = kept_twin(j, e->twin);
    if (e->near) {
        filter_row_drop(row, near_duplicate, "like record %lu: they share %.1f%% of their runs of %lld words",
                        (unsigned long)twin, e->similarity * 100.0, (long long)j->parameters->shingle);
        filter_row_twin(row, twin, e->similarity);
        filter_row_value(row, e->similarity, j->parameters->similarity);
    } else if (truly_equal(j, row, entry_at(j, e->twin - 1))) {
        filter_row_drop(row, duplicate, "equal to record %lu", (unsigned long)twin);
        filter_row_twin(row, twin, 1.0);
    }
}

/* Which rows go together: {"kept": number, "rows": [numbers, the kept one included]}, in the order of the kept. */
static temper_status write_clusters(job *j, temper_output *output, temper_error *error) {
    const temper_rows_service *service = j->host->extension(j->host, TEMPER_ROWS);
    uint32_t *last = NULL,
             *before = NULL; /* of a kept row: the last of its cluster; of a dropped one: the one before it */
    temper_buffer text;
    temper_status status = TEMPER_OK;
    uint64_t i, lines = 0;
    temper_buffer_init(&text, j->host);
    last = j->host->allocate(j->host, (j->count + 1) * 2 * sizeof *last);
    if (last == NULL) {
        return temper_no_memory(error);
    }
    before = last + j->count + 1;
    memset(last, 0, (j->count + 1) * 2 * sizeof *last);
    for (i = j->count; i > 0; i--) { /* from the end, so that chains run forwards */
        if (entry_at(j, i - 1)->twin != 0) {
            uint32_t kept = kept_twin(j, (uint32_t)i);
            before[i] = last[kept];
            last[kept] = (uint32_t)i;
        }
    }
    for (i = 1; i <= j->count && status == TEMPER_OK; i++) {
        uint32_t member = last[i];
        bool own = false;
        if (member == 0 || entry_at(j, i - 1)->twin != 0) {
            continue;
        }
        temper_buffer_format(&text, "{\"kept\":%llu,\"rows\":[", (unsigned long long)i);
        for (; member != 0 || !own;) {
            uint32_t next = member;
            if (!own && (member == 0 || i < member)) {
                next = (uint32_t)i;
                own = true;
            } else {
                member = before[member];
            }
            temper_buffer_format(&text, "%lu,", (unsigned long)next);
        }
        text.length -= !text.failed;
        temper_buffer_text(&text, "]}\n");
        lines++;
        if (text.failed) {
            status = temper_no_memory(error);
        } else if (text.length > 1 << 20) {
            temper_piece piece = {text.data, text.length};
            status = service->write(output, &piece, 1, lines, error);
            temper_buffer_clear(&text);
            lines = 0;
        }
    }
    if (status == TEMPER_OK && lines > 0) {
        temper_piece piece = {text.data, text.length};
        status = service->write(output, &piece, 1, lines, error);
    }
    temper_buffer_free(&text);
    j->host->release(j->host, last);
    return status;
}

static void more_metrics(void *context, temper_row *row) {
    const job *j = context;
    if (j->parameters->near) {
        temper_row_integer(row, "with_candidates", j->candidates);
        temper_row_integer(row, "compared", j->verified);
        temper_row_integer(row, "candidates_cut", j->cut);
    }
}

static temper_status start(job *j, temper_pool *pool, temper_error *error) {
    const temper_host *host = j->host;
    temper_status status = filter_buffers_new(host, pool, &j->text, error);
    uint32_t i;
    status = status ? status : filter_buffers_new(host, pool, &j->folded, error);
    status = status ? status : filter_buffers_new(host, pool, &j->shingles, error);
    if (status) {
        return status;
    }
    j->worker_readers = temper_pool_take(pool, j->text.count, sizeof *j->worker_readers);
    if (j->worker_readers == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < j->text.count; i++) {
        if ((j->worker_readers[i] = temper_line_reader_new(host)) == NULL) {
            return temper_no_memory(error);
        }
    }
    return TEMPER_OK;
}

static void finish(job *j) {
    uint32_t i;
    for (i = 0; j->worker_readers != NULL && i < j->text.count; i++) {
        temper_line_reader_free(j->worker_readers[i]);
    }
    temper_buffer_free(&j->twin_text);
    filter_buffers_free(&j->text);
    filter_buffers_free(&j->folded);
    filter_buffers_free(&j->shingles);
    filter_big_free(&j->entries);
    filter_big_free(&j->keys);
    filter_big_free(&j->tables);
    filter_big_free(&j->sets);
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const duplicates_parameters *p = self;
    job j = {.host = host, .parameters = p, .left = (size_t)p->memory << 20};
    temper_lines_pass reading = {.host = host,
                                 .input = host->input(host, "records"),
                                 .line = read_row,
                                 .joined = take_found,
                                 .left = drop_found,
                                 .context = &j,
                                 .own_size = sizeof(found)};
    filter_pass writing = {.host = host,
                           .input = "records",
                           .rules = rules,
                           .look = write_row,
                           .context = &j,
                           .metrics = more_metrics,
                           .second = true};
    temper_output *clusters = NULL;
    temper_pool *pool = temper_pool_new(host);
    temper_status status;
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    j.texts = strcmp(p->compare, "texts") == 0;
    j.ranked = strcmp(p->keep, "first") != 0;
    j.bands = (size_t)p->bands;
    j.rows = (size_t)p->rows;
    j.mins = (j.bands * j.rows + 15) / 16 * 16;
    filter_big_init(&j.entries, host, &j.left);
    filter_big_init(&j.keys, host, &j.left);
    filter_big_init(&j.tables, host, &j.left);
    filter_big_init(&j.sets, host, &j.left);
    temper_buffer_init(&j.twin_text, host);
    if (j.mins > FILTER_MOST_MINS) {
        status = temper_fail(error, TEMPER_INVALID, "%zu bands of %zu rows are %zu hashes: at most %d",
                             j.bands, j.rows, j.bands * j.rows, FILTER_MOST_MINS);
    } else {
        status = start(&j, pool, error);
    }
    status = status ? status : temper_lines_run(&reading, error);
    status = status ? status : decide(&j, error);
    status = status ? status : host->output(host, "clusters", &clusters, error);
    status = status ? status : filter_rows(&writing, error);
    status = status ? status : write_clusters(&j, clusters, error);
    finish(&j);
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to filter"),
                                            NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "kept", 0, "", "the records that passed, unchanged"),
    TEMPER_PORT(
        TEMPER_RECORDS, "dropped", 0, "rule, evidence, number, record, twin, similarity",
        "the others: the rule, what it found, the record's number in the input, its twin's, and the record"),
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "", "records, kept, dropped, dropped_share and dropped_RULE"),
    TEMPER_PORT(TEMPER_RECORDS, "clusters", 0, "kept, rows", "which rows go together: numbers in the input"),
    NULL};

const temper_stage filter_duplicates_stage = {
    .size = sizeof(temper_stage),
    .revision = 2,
    .name = "duplicates",
    .doc = "keeps one of equal, or nearly equal, records",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = duplicates_parameter_table,
    .parameters_size = sizeof(duplicates_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};
