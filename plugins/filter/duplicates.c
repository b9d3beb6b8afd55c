/* duplicates.c: keeps the first of equal records. Equal means the same canonical JSON of the key members, byte for byte:
 * the table compares the texts themselves, so a hash collision never drops a record. */
#include "filter.h"

#define DUPLICATES(P, S)                                                                                     \
    P(S, strings, keys, "keys", "[]", 1, 0, "", "",                                                          \
      "the members that make two records equal; none: the whole record", "0.1")                              \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(duplicates, DUPLICATES)

static const char duplicate[] = "duplicate";
static const char *const rules[] = {duplicate, NULL};

typedef struct entry {
    temper_span key; /* data NULL: free */
    uint64_t hash, number;
} entry;

typedef struct table {
    const temper_host *host;
    const duplicates_parameters *parameters;
    temper_pool *pool;
    entry *entries;
    size_t capacity, count; /* capacity: a power of two, at most half full */
} table;

static entry *find(const entry *entries, size_t capacity, uint64_t hash, temper_span key) {
    size_t at = (size_t)hash & (capacity - 1);
    while (entries[at].key.data != NULL &&
           !(entries[at].hash == hash && temper_span_equal(entries[at].key, key))) {
        at = (at + 1) & (capacity - 1);
    }
    return (entry *)(uintptr_t)&entries[at];
}

static bool grow(table *t) {
    size_t capacity = t->capacity == 0 ? 1024 : t->capacity * 2, i;
    entry *entries = t->host->allocate(t->host, capacity * sizeof *entries);
    if (entries == NULL) {
        return false;
    }
    memset(entries, 0, capacity * sizeof *entries);
    for (i = 0; i < t->capacity; i++) {
        if (t->entries[i].key.data != NULL) {
            *find(entries, capacity, t->entries[i].hash, t->entries[i].key) = t->entries[i];
        }
    }
    if (t->entries != NULL) {
        t->host->release(t->host, t->entries);
    }
    t->entries = entries;
    t->capacity = capacity;
    return true;
}

/* The canonical text that stands for a record; NULL data: no memory, or (in *missing) a key member is absent. */
static temper_span key_of(const table *t, temper_arena *arena, const temper_json *record,
                          const char **missing) {
    const temper_json_api *json = t->host->json;
    const temper_json *value = record;
    temper_span out = {NULL, 0};
    size_t i;
    if (t->parameters->keys.count > 0) {
        temper_json *list = json->new_array(arena);
        for (i = 0; i < t->parameters->keys.count; i++) {
            const temper_json *member = json->member(record, t->parameters->keys.items[i]);
            if (member == NULL) {
                *missing = t->parameters->keys.items[i];
                return out;
            }
            if (list == NULL || !json->append(arena, list, member)) {
                return out;
            }
        }
        value = list;
    }
    out.data = json->write(arena, value, &out.length);
    return out;
}

static void check(void *context, const temper_json *record, uint64_t number, uint32_t worker,
                  filter_old_verdict *verdict) {
    table *t = context;
    temper_arena *arena = t->host->json->arena_new();
    const char *missing = NULL;
    temper_span key = {NULL, 0};
    uint64_t hash;
    entry *slot;
    (void)worker;
    if (arena != NULL) {
        key = key_of(t, arena, record, &missing);
    }
    if (missing != NULL) {
        filter_refuse(verdict, TEMPER_INVALID, "it has no \"%s\", which is one of the keys", missing);
        goto out;
    }
    if (key.data == NULL || (t->count * 2 >= t->capacity && !grow(t))) {
        filter_refuse(verdict, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
        goto out;
    }
    hash = temper_text_hash(key, 0);
    slot = find(t->entries, t->capacity, hash, key);
    if (slot->key.data != NULL) {
        filter_drop(verdict, duplicate, "equal to record %llu", (unsigned long long)slot->number);
        goto out;
    }
    slot->key.data = temper_pool_copy(t->pool, key.data, key.length);
    if (slot->key.data == NULL) {
        filter_refuse(verdict, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
        goto out;
    }
    slot->key.length = key.length;
    slot->hash = hash;
    slot->number = number;
    t->count++;
out:
    if (arena != NULL) {
        t->host->json->arena_free(arena);
    }
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    table t = {.host = host, .parameters = self, .pool = temper_pool_new(host)};
    temper_status status;
    if (t.pool == NULL) {
        return temper_no_memory(error);
    }
    status = filter_each(host, "records", rules, true, check, &t, error);
    if (t.entries != NULL) {
        host->release(host, t.entries);
    }
    temper_pool_free(t.pool);
    return status;
}

static const temper_port *const inputs[] = {TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to filter"),
                                            NULL};

const temper_stage filter_duplicates_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "duplicates",
    .doc = "keeps the first of equal records",
    .inputs = inputs,
    .outputs = filter_outputs,
    .parameters = duplicates_parameter_table,
    .parameters_size = sizeof(duplicates_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};
