/* temper/sdk.h: small help that makes a stage short. All of it is inline code over the public calls; nothing here is
 * needed, and everything here can be read in one go. A whole plugin with it:
 *
 *   #include <temper/sdk.h>
 *
 *   #define SHORT(P, S) P(S, integer, limit, "limit", "200", 1, 100000, "bytes", "", "longest text to keep", "0.1")
 *   TEMPER_PARAMETERS(only_short, SHORT)
 *
 *   typedef struct pass { const temper_host *host; const only_short_parameters *given; temper_output *kept; } pass;
 *
 *   static temper_status each(void *context, const temper_json *record, uint64_t number, temper_error *error) {
 *       pass *p = context;
 *       const char *text;
 *       size_t length;
 *       temper_status status = temper_need_text(p->host, record, number, "text", &text, &length, error);
 *       if (status || length > (uint64_t)p->given->limit) { return status; }
 *       return p->host->write_record(p->kept, record, error);
 *   }
 *
 *   static temper_status only_short_run(void *self, const temper_host *host, temper_error *error) {
 *       pass p = {host, self, NULL};
 *       temper_status status = host->output(host, "kept", &p.kept, error);
 *       return status ? status : temper_each_record(host, "records", each, &p, error);
 *   }
 *
 *   TEMPER_INPUTS(only_short, TEMPER_PORT(TEMPER_RECORDS, "records", 0, "text", "texts"))
 *   TEMPER_OUTPUTS(only_short, TEMPER_PORT(TEMPER_RECORDS, "kept", 0, "text", "the short ones"))
 *   TEMPER_SIMPLE_STAGE(only_short, 1, "Keeps short texts.");
 *   TEMPER_PLUGIN("my-filter", "0.1.0", "Me", "MIT", "Filters of my own.", &only_short_stage)
 */
#ifndef TEMPER_SDK_H
#define TEMPER_SDK_H

#include <temper/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- stages and plugins as one statement each ------------------------------------------------------------------- */

/* The ports of stage `name`. A stage without inputs: TEMPER_NO_INPUTS(name). */
#define TEMPER_INPUTS(name, ...) static const temper_port *const name##_inputs[] = {__VA_ARGS__, NULL};
#define TEMPER_NO_INPUTS(name) static const temper_port *const name##_inputs[] = {NULL};
#define TEMPER_OUTPUTS(name, ...) static const temper_port *const name##_outputs[] = {__VA_ARGS__, NULL};

/* Stage `name` with create, run and destroy of its own: name_create, name_run, name_destroy. */
#define TEMPER_STAGE(name, revision, doc)                                                                             \
    static const temper_stage name##_stage = {                                                                        \
        sizeof(temper_stage), revision,     #name,                                                                    \
        doc,                  name##_inputs, name##_outputs,                                                          \
        name##_parameter_table, sizeof(name##_parameters), name##_create, name##_run, name##_destroy}
/* Stage `name` whose `self` is simply its parameters, const name_parameters *: only name_run is to be written. */
#define TEMPER_SIMPLE_STAGE(name, revision, doc)                                                                      \
    static const temper_stage name##_stage = {                                                                        \
        sizeof(temper_stage), revision,     #name,                                                                    \
        doc,                  name##_inputs, name##_outputs,                                                          \
        name##_parameter_table, sizeof(name##_parameters), temper_simple_create, name##_run, temper_simple_destroy}

/* The plugin and its entry; the last arguments are the stages' addresses. The name is the file's: NAME.so. */
#define TEMPER_PLUGIN(name, version, author, license, doc, ...)                                                       \
    static const temper_stage *const temper_plugin_stages[] = {__VA_ARGS__, NULL};                                    \
    static const temper_plugin temper_plugin_itself = {sizeof(temper_plugin), name, version,                          \
                                                       author, license, doc, temper_plugin_stages, NULL};             \
    temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **plugin) {                         \
        (void)hello;                                                                                                  \
        *plugin = &temper_plugin_itself;                                                                              \
        return TEMPER_OK;                                                                                             \
    }

static inline temper_status temper_simple_create(const temper_host *host, const void *parameters, void **self,
                                                 temper_error *error) {
    (void)host, (void)error;
    *self = (void *)(uintptr_t)parameters; /* valid until destroy, and nobody writes to it */
    return TEMPER_OK;
}

static inline void temper_simple_destroy(void *self) {
    (void)self;
}

/* --- records ---------------------------------------------------------------------------------------------------- */

/* What temper_each_record calls: `number` counts from 1 and is the line's, for messages. Not TEMPER_OK ends the pass. */
typedef temper_status temper_each(void *context, const temper_json *record, uint64_t number, temper_error *error);

/* Calls `each` for every record of input `name`, in order; an optional input that was not given has none. Looks at
 * cancelled() and tells progress between batches. */
static inline temper_status temper_each_record(const temper_host *host, const char *name, temper_each *each,
                                               void *context, temper_error *error) {
    const temper_input *input = host->input(host, name);
    temper_reader *reader;
    temper_batch *batch;
    uint64_t done = 0;
    if (input == NULL) {
        return TEMPER_OK;
    }
    temper_status status = host->read_records(host, input, &reader, error);
    if (status) {
        return status;
    }
    while ((status = host->next(reader, 256, &batch, error)) == TEMPER_OK) {
        size_t i, count = host->batch_length(batch);
        for (i = 0; i < count && status == TEMPER_OK; i++) {
            status = each(context, host->record(batch, i), host->record_number(batch, i), error);
        }
        host->release_batch(batch);
        if (status == TEMPER_OK && host->cancelled(host)) {
            status = TEMPER_CANCELLED;
        }
        if (status) {
            break;
        }
        done += count;
        host->progress(host, done, 0, "records", NULL);
    }
    host->close_reader(reader);
    return status == TEMPER_END ? TEMPER_OK : status;
}

/* A field that must be there and be a string; else a message with the record's number. */
static inline temper_status temper_need_text(const temper_host *host, const temper_json *record, uint64_t number,
                                             const char *field, const char **text, size_t *length,
                                             temper_error *error) {
    const temper_json *value = host->json->member(record, field);
    *text = host->json->string(value, length);
    if (*text != NULL) {
        return TEMPER_OK;
    }
    return temper_fail(error, TEMPER_INVALID, "record %llu: \"%s\" is %s", (unsigned long long)number, field,
                       value == NULL ? "missing" : "no string");
}

/* A field that must be there and be an array; else a message with the record's number. */
static inline temper_status temper_need_array(const temper_host *host, const temper_json *record, uint64_t number,
                                              const char *field, const temper_json **array, temper_error *error) {
    *array = host->json->member(record, field);
    if (*array != NULL && host->json->kind(*array) == TEMPER_JSON_ARRAY) {
        return TEMPER_OK;
    }
    return temper_fail(error, TEMPER_INVALID, "record %llu: \"%s\" is %s", (unsigned long long)number, field,
                       *array == NULL ? "missing" : "no array");
}

/* Members of a record under construction. What cannot be made (NaN, no UTF-8, no memory) fails the stage at its next
 * write_record, so these need no check each. */
static inline void temper_set_text(const temper_host *host, temper_arena *arena, temper_json *record, const char *name,
                                   const char *text) {
    host->json->set(arena, record, name, host->json->new_string(arena, text, strlen(text)));
}

static inline void temper_set_number(const temper_host *host, temper_arena *arena, temper_json *record,
                                     const char *name, double number) {
    host->json->set(arena, record, name, host->json->new_number(arena, number));
}

static inline void temper_set_integer(const temper_host *host, temper_arena *arena, temper_json *record,
                                      const char *name, int64_t number) {
    host->json->set(arena, record, name, host->json->new_integer(arena, number));
}

static inline void temper_set_flag(const temper_host *host, temper_arena *arena, temper_json *record, const char *name,
                                   bool value) {
    host->json->set(arena, record, name, host->json->new_boolean(arena, value));
}

/* Writes `record` with one more text field, say why a row was dropped. */
static inline temper_status temper_write_with(const temper_host *host, temper_output *output,
                                              const temper_json *record, const char *name, const char *text,
                                              temper_error *error) {
    temper_arena *arena = host->json->arena_new();
    if (arena == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a record");
    }
    temper_json *copy = host->json->copy_object(arena, record);
    temper_status status = TEMPER_NO_MEMORY;
    if (copy != NULL) {
        temper_set_text(host, arena, copy, name, text);
        status = host->write_record(output, copy, error);
    } else {
        temper_fail(error, status, "no memory for a record");
    }
    host->json->arena_free(arena);
    return status;
}

#ifdef __cplusplus
}
#endif
#endif
