/* fake_host.c: see fake_host.h. The temper_host is the first member, so one pointer serves as both. */
#include "fake_host.h"

#include "base/json.h"
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <temper/rows.h>

#include <cmocka.h>

enum { MOST_PORTS = 16, ANSWER_ROOM = 4096, WORKERS = 3 };

enum { MOST_FILES = 32 };

struct fake_folder {
    char names[MOST_FILES][96];
    tm_buffer files[MOST_FILES];
    size_t count;
};

struct temper_input {
    char name[64];
    temper_kind kind;
    char *text;
    size_t length;
    fake_model *model;
    const fake_folder *folder;
};

struct temper_output {
    fake_host *host;
    char name[64];
    tm_buffer bytes;
    size_t records;
    fake_folder *folder; /* of an output of kind model, once it has a file */
};

struct temper_batch {
    const temper_json **records;
    uint64_t first;
    size_t length;
};

struct temper_reader {
    fake_host *host;
    const temper_input *input;
    size_t at;
    uint64_t line;
};

struct temper_model {
    fake_host *host;
    fake_model *script;
    temper_generated *generated;
    const temper_generated **generated_list;
    temper_scored *scored;
    const temper_scored **scored_list;
    size_t count;
};

struct fake_host {
    temper_host host;
    temper_input inputs[MOST_PORTS];
    size_t input_count;
    temper_output outputs[MOST_PORTS];
    size_t output_count;
    temper_model models[MOST_PORTS];
    size_t model_count;
    temper_arena *arena; /* what a run read; freed by the next */
    uint64_t seed;
    bool backwards, cancelled, keeps_checkpoint, has_checkpoint;
    long cancel_after; /* questions left before the answer is yes; -1: never */
    tm_buffer checkpoint;
    long fail_at, allocations;
    size_t blocks;
};

#include "fake_checkpoint.h"

/* --- memory --- */

static bool refused(fake_host *f) {
    return f->fail_at >= 0 && f->allocations++ >= f->fail_at;
}

static void *host_allocate(const temper_host *host, size_t bytes) {
    fake_host *f = host->self;
    void *block = refused(f) ? NULL : malloc(bytes == 0 ? 1 : bytes);
    f->blocks += block != NULL;
    return block;
}

static void *host_reallocate(const temper_host *host, void *block, size_t bytes) {
    fake_host *f = host->self;
    void *moved = refused(f) ? NULL : realloc(block, bytes == 0 ? 1 : bytes);
    f->blocks += moved != NULL && block == NULL;
    return moved;
}

static void host_release(const temper_host *host, void *block) {
    fake_host *f = host->self;
    f->blocks -= block != NULL;
    free(block);
}

/* --- talking, threads, chance --- */

static temper_status rows_map(const temper_host *host, const temper_input *input, const char **data,
                              uint64_t *length, temper_error *error) {
    (void)host, (void)error;
    assert_non_null(input);
    assert_true(input->kind == TEMPER_RECORDS || input->kind == TEMPER_CHARACTER);
    *data = input->text;
    *length = input->length;
    return TEMPER_OK;
}

static temper_status rows_write(temper_output *output, const temper_piece *pieces, size_t count,
                                uint64_t records, temper_error *error) {
    size_t before = output->bytes.length, i;
    uint64_t lines = 0;
    (void)error;
    for (i = 0; i < count; i++) {
        tm_buffer_append(&output->bytes, pieces[i].data, pieces[i].length);
    }
    for (i = before; i < output->bytes.length; i++) {
        lines += output->bytes.data[i] == '\n';
    }
    assert_int_equal(lines, records);
    assert_true(records == 0 || output->bytes.data[before] == '{');
    output->records += records;
    return TEMPER_OK;
}

static const void *host_extension(const temper_host *host, const char *id) {
    static const temper_rows_service rows = {sizeof rows, rows_map, rows_write};
    const fake_host *f = host->self;
    if (f->keeps_checkpoint && strcmp(id, TEMPER_CHECKPOINT_SERVICE) == 0) {
        return &checkpoint_service;
    }
    return strcmp(id, TEMPER_ROWS) == 0 ? &rows : NULL;
}

static void host_log(const temper_host *host, temper_log_level level, const char *message) {
    (void)host, (void)level, (void)message;
}

static void host_progress(const temper_host *host, uint64_t done, uint64_t total, const char *unit,
                          const char *detail) {
    (void)host, (void)unit, (void)detail;
    assert_true(total == 0 || done <= total);
}

static bool host_cancelled(const temper_host *host) {
    fake_host *f = host->self;
    if (f->cancel_after >= 0 && f->cancel_after-- == 0) {
        return true;
    }
    return f->cancelled;
}

static uint32_t host_workers(const temper_host *host) {
    (void)host;
    return WORKERS;
}

static void host_parallel_for(const temper_host *host, uint64_t count, temper_body *body, void *context) {
    const fake_host *f = host->self;
    uint64_t i;
    for (i = 0; i < count; i++) {
        body(context, f->backwards ? count - 1 - i : i, f->backwards ? (uint32_t)(i % WORKERS) : 0);
    }
}

static uint64_t host_rng_key(const temper_host *host, const char *name) {
    const fake_host *f = host->self;
    uint64_t hash = 0xCBF29CE484222325u ^ f->seed;
    for (; *name != 0; name++) {
        hash = (hash ^ (unsigned char)*name) * 0x100000001B3u;
    }
    return hash;
}

/* --- inputs --- */

static const temper_input *host_input(const temper_host *host, const char *name) {
    fake_host *f = host->self;
    size_t i;
    for (i = 0; i < f->input_count; i++) {
        if (strcmp(f->inputs[i].name, name) == 0) {
            return &f->inputs[i];
        }
    }
    return NULL;
}

static temper_status host_bytes(const temper_host *host, const temper_input *input, const char **data,
                                size_t *length, temper_error *error) {
    (void)host, (void)error;
    assert_non_null(input);
    *data = input->text;
    *length = input->length;
    return TEMPER_OK;
}

static temper_status host_read_records(const temper_host *host, const temper_input *input,
                                       temper_reader **out, temper_error *error) {
    (void)error;
    assert_non_null(input);
    assert_true(input->kind == TEMPER_RECORDS || input->kind == TEMPER_CHARACTER);
    *out = calloc(1, sizeof **out);
    (*out)->host = host->self;
    (*out)->input = input;
    return TEMPER_OK;
}

static temper_status host_next(temper_reader *reader, size_t limit, temper_batch **out, temper_error *error) {
    temper_arena *arena = reader->host->arena;
    const temper_input *input = reader->input;
    temper_batch *batch = tm_arena_allocate(arena, sizeof *batch);
    batch->records = tm_arena_allocate(arena, limit * sizeof *batch->records);
    batch->first = reader->line + 1;
    batch->length = 0;
    while (batch->length < limit && reader->at < input->length) {
        const char *start = input->text + reader->at, *end = memchr(start, '\n', input->length - reader->at);
        size_t length = end == NULL ? input->length - reader->at : (size_t)(end - start);
        temper_status status;
        reader->at += length + 1;
        if (length == 0) {
            continue;
        }
        reader->line++;
        status = tm_json_parse(arena, start, length, &batch->records[batch->length++], error);
        if (status) {
            return temper_fail_in(error, status, "%s, line %llu", input->name,
                                  (unsigned long long)reader->line);
        }
    }
    *out = batch;
    return batch->length == 0 ? TEMPER_END : TEMPER_OK;
}

static size_t host_batch_length(const temper_batch *batch) {
    return batch->length;
}

static const temper_json *host_record(const temper_batch *batch, size_t index) {
    assert_true(index < batch->length);
    return batch->records[index];
}

static uint64_t host_record_number(const temper_batch *batch, size_t index) {
    return batch->first + index;
}

static void host_release_batch(temper_batch *batch) {
    (void)batch;
}

static void host_close_reader(temper_reader *reader) {
    free(reader);
}

static size_t host_file_count(const temper_host *host, const temper_input *input) {
    (void)host;
    return input->folder == NULL ? 0 : input->folder->count;
}

static temper_status host_file(const temper_host *host, const temper_input *input, size_t index,
                               temper_file *out, temper_error *error) {
    (void)host;
    if (input->folder == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "a fake model has no files");
    }
    assert_int_equal(out->size, sizeof *out);
    assert_true(index < input->folder->count);
    out->name = input->folder->names[index];
    out->data = input->folder->files[index].data;
    out->length = input->folder->files[index].length;
    return TEMPER_OK;
}

/* --- outputs --- */

static temper_status host_output(const temper_host *host, const char *name, temper_output **out,
                                 temper_error *error) {
    fake_host *f = host->self;
    (void)error;
    assert_true(f->output_count < MOST_PORTS);
    *out = &f->outputs[f->output_count++];
    (*out)->host = f;
    snprintf((*out)->name, sizeof(*out)->name, "%s", name);
    return TEMPER_OK;
}

static temper_status host_write_record(temper_output *output, const temper_json *record,
                                       temper_error *error) {
    temper_status status;
    assert_int_equal(tm_json_kind(record), TEMPER_JSON_OBJECT);
    status = tm_json_write(record, &output->bytes, error);
    tm_buffer_byte(&output->bytes, '\n');
    output->records++;
    return status;
}

static temper_status host_write_bytes(temper_output *output, const void *data, size_t length,
                                      temper_error *error) {
    (void)error;
    tm_buffer *to =
        output->folder == NULL ? &output->bytes : &output->folder->files[output->folder->count - 1];
    tm_buffer_append(to, data, length);
    return TEMPER_OK;
}

static temper_status host_write_metrics(temper_output *output, const temper_json *object,
                                        temper_error *error) {
    size_t i;
    for (i = 0; i < tm_json_length(object); i++) {
        const temper_json *value;
        tm_json_name(object, i, &value);
        assert_int_equal(tm_json_kind(value), TEMPER_JSON_NUMBER);
    }
    assert_int_equal(output->records, 0);
    return host_write_record(output, object, error);
}

/* A new, empty file; files stay sorted only if they are begun so, which readers must not rely on. */
static void begin_file(fake_folder *folder, const char *name) {
    assert_true(folder->count < MOST_FILES);
    assert_true(strlen(name) < sizeof folder->names[0]);
    assert_null(fake_folder_file(folder, name, NULL));
    strcpy(folder->names[folder->count++], name);
}

static temper_status host_begin_file(temper_output *output, const char *name, temper_error *error) {
    (void)error;
    if (output->folder == NULL) {
        output->folder = fake_folder_new();
    }
    begin_file(output->folder, name);
    return TEMPER_OK;
}

static temper_status host_link_input(temper_output *output, const char *prefix, const temper_input *input,
                                     temper_error *error) {
    char name[256];
    assert_non_null(input->folder);
    for (size_t i = 0; i < input->folder->count; i++) {
        snprintf(name, sizeof name, "%s/%s", prefix, input->folder->names[i]);
        host_begin_file(output, name, error);
        host_write_bytes(output, input->folder->files[i].data, input->folder->files[i].length, error);
    }
    return TEMPER_OK;
}

fake_folder *fake_folder_new(void) {
    fake_folder *folder = calloc(1, sizeof *folder);
    assert_non_null(folder);
    return folder;
}

void fake_folder_put(fake_folder *folder, const char *name, const void *data, size_t length) {
    begin_file(folder, name);
    tm_buffer_append(&folder->files[folder->count - 1], data, length);
}

const char *fake_folder_file(const fake_folder *folder, const char *name, size_t *length) {
    for (size_t i = 0; i < folder->count; i++) {
        if (strcmp(folder->names[i], name) == 0) {
            if (length != NULL) {
                *length = folder->files[i].length;
            }
            return folder->files[i].data;
        }
    }
    return NULL;
}

void fake_folder_free(fake_folder *folder) {
    for (size_t i = 0; folder != NULL && i < folder->count; i++) {
        tm_buffer_free(&folder->files[i]);
    }
    free(folder);
}

/* --- the model service --- */

static uint64_t count_words(const char *text, size_t length) {
    uint64_t words = 0;
    size_t i;
    for (i = 0; i < length; i++) {
        words += text[i] != ' ' && text[i] != '\n' && (i == 0 || text[i - 1] == ' ' || text[i - 1] == '\n');
    }
    return words;
}

static void model_close(temper_model *model) {
    (void)model;
}

static void model_info(const temper_model *model, temper_model_info *out) {
    assert_int_equal(out->size, sizeof *out);
    out->architecture = "fake";
    out->parameters = 1;
    out->context = model->script->size_of_context == 0 ? 4096 : model->script->size_of_context;
    out->has_chat_template = !model->script->no_chat_template;
    out->knows_system = !model->script->no_system;
}

static temper_status model_count_tokens(temper_model *model, const char *text, size_t length, uint64_t *out,
                                        temper_error *error) {
    (void)model, (void)error;
    *out = count_words(text, length);
    return TEMPER_OK;
}

static void model_release(temper_model *model) {
    size_t i;
    for (i = 0; i < model->count && model->generated != NULL; i++) {
        free((void *)(uintptr_t)model->generated[i].text);
    }
    free(model->generated);
    free(model->generated_list);
    free(model->scored);
    free(model->scored_list);
    model->generated = NULL, model->generated_list = NULL, model->scored = NULL, model->scored_list = NULL;
    model->count = 0;
}

static temper_status model_generate(temper_model *model, const temper_generate_request *const *requests,
                                    size_t count, const char *unit, const temper_generated *const **out,
                                    temper_error *error) {
    size_t i;
    (void)unit, (void)error;
    model_release(model);
    model->generated = calloc(count, sizeof *model->generated);
    model->generated_list = calloc(count, sizeof *model->generated_list);
    model->count = count;
    for (i = 0; i < count; i++) {
        temper_generated *g = &model->generated[i];
        char *text = malloc(ANSWER_ROOM);
        assert_int_equal(requests[i]->size, sizeof *requests[i]);
        assert_true((requests[i]->text != NULL) != (requests[i]->messages != NULL));
        text[0] = 0;
        g->size = sizeof *g;
        g->finish = TEMPER_FINISH_STOP;
        if (model->script->answer != NULL) {
            g->finish = model->script->answer(model->script->context, requests[i], text, ANSWER_ROOM);
        } else {
            snprintf(text, ANSWER_ROOM, "%s",
                     fake_message(requests[i]->messages, requests[i]->message_count, "user", NULL));
        }
        g->text = text;
        g->length = strlen(text);
        g->tokens = (uint32_t)count_words(text, g->length);
        model->generated_list[i] = g;
        model->script->generated++;
    }
    *out = model->generated_list;
    return TEMPER_OK;
}

static temper_status model_score(temper_model *model, const temper_score_request *const *requests,
                                 size_t count, const char *unit, const temper_scored *const **out,
                                 temper_error *error) {
    size_t i;
    (void)unit, (void)error;
    model_release(model);
    model->scored = calloc(count, sizeof *model->scored);
    model->scored_list = calloc(count, sizeof *model->scored_list);
    model->count = count;
    for (i = 0; i < count; i++) {
        const temper_score_request *request = requests[i];
        temper_scored *s = &model->scored[i];
        size_t length = request->text_length;
        const char *text = request->text;
        assert_int_equal(request->size, sizeof *request);
        if (request->messages != NULL) {
            text = fake_message(request->messages, request->message_count, "assistant", &length);
        }
        s->size = sizeof *s;
        s->tokens = (uint32_t)count_words(text, length) + 1;
        s->logprob = model->script->score != NULL ? model->script->score(model->script->context, request)
                                                  : -(double)s->tokens;
        model->scored_list[i] = s;
        model->script->scored++;
    }
    *out = model->scored_list;
    return TEMPER_OK;
}

static const temper_model_service service = {
    .size = sizeof(temper_model_service),
    .close = model_close,
    .info = model_info,
    .count_tokens = model_count_tokens,
    .generate = model_generate,
    .score = model_score,
    .release_results = model_release,
};

static temper_status host_open_model(const temper_host *host, const temper_input *input,
                                     const temper_model_service **out, temper_model **model,
                                     temper_error *error) {
    fake_host *f = host->self;
    (void)error;
    assert_non_null(input);
    assert_non_null(input->model);
    assert_true(f->model_count < MOST_PORTS);
    *model = &f->models[f->model_count++];
    memset(*model, 0, sizeof **model);
    (*model)->host = f;
    (*model)->script = input->model;
    *out = &service;
    return TEMPER_OK;
}

const char *fake_message(const temper_message *const *messages, size_t count, const char *role,
                         size_t *length) {
    size_t i;
    for (i = count; i > 0; i--) {
        if (strcmp(messages[i - 1]->role, role) == 0) {
            if (length != NULL) {
                *length = messages[i - 1]->length;
            }
            return messages[i - 1]->content;
        }
    }
    if (length != NULL) {
        *length = 0;
    }
    return "";
}

/* --- making and filling --- */

fake_host *fake_host_new(void) {
    fake_host *f = calloc(1, sizeof *f);
    temper_host host = {
        .size = sizeof(temper_host),
        .self = f,
        .version = "fake",
        .profile = "f32/1",
        .json = &tm_json_api,
        .extension = host_extension,
        .allocate = host_allocate,
        .reallocate = host_reallocate,
        .release = host_release,
        .log = host_log,
        .progress = host_progress,
        .cancelled = host_cancelled,
        .workers = host_workers,
        .parallel_for = host_parallel_for,
        .rng_key = host_rng_key,
        .input = host_input,
        .bytes = host_bytes,
        .read_records = host_read_records,
        .next = host_next,
        .batch_length = host_batch_length,
        .record = host_record,
        .record_number = host_record_number,
        .release_batch = host_release_batch,
        .close_reader = host_close_reader,
        .file_count = host_file_count,
        .file = host_file,
        .output = host_output,
        .write_record = host_write_record,
        .write_bytes = host_write_bytes,
        .write_metrics = host_write_metrics,
        .begin_file = host_begin_file,
        .link_input = host_link_input,
        .open_model = host_open_model,
    };
    f->host = host;
    f->fail_at = f->cancel_after = -1;
    f->arena = tm_arena_new();
    return f;
}

static void drop_outputs(fake_host *f) {
    size_t i;
    for (i = 0; i < MOST_PORTS; i++) {
        tm_buffer_free(&f->outputs[i].bytes);
        fake_folder_free(f->outputs[i].folder);
    }
    memset(f->outputs, 0, sizeof f->outputs);
    f->output_count = 0;
}

void fake_host_free(fake_host *f) {
    size_t i;
    drop_outputs(f);
    for (i = 0; i < f->input_count; i++) {
        free(f->inputs[i].text);
    }
    tm_arena_free(f->arena);
    tm_buffer_free(&f->checkpoint);
    free(f);
}

static temper_input *add_input(fake_host *f, const char *name, temper_kind kind, const char *text) {
    temper_input *input = (temper_input *)(uintptr_t)host_input(&f->host, name);
    if (input == NULL) {
        assert_true(f->input_count < MOST_PORTS);
        input = &f->inputs[f->input_count++];
    }
    free(input->text);
    snprintf(input->name, sizeof input->name, "%s", name);
    input->kind = kind;
    input->text = text == NULL ? NULL : strdup(text);
    input->length = text == NULL ? 0 : strlen(text);
    return input;
}

void fake_host_records(fake_host *f, const char *name, const char *jsonl) {
    add_input(f, name, TEMPER_RECORDS, jsonl);
}

void fake_host_character(fake_host *f, const char *name, const char *jsonl) {
    add_input(f, name, TEMPER_CHARACTER, jsonl);
}

void fake_host_text(fake_host *f, const char *name, const char *text) {
    add_input(f, name, TEMPER_TEXT, text);
}

void fake_host_model(fake_host *f, const char *name, fake_model *model) {
    add_input(f, name, TEMPER_MODEL, NULL)->model = model;
}

void fake_host_folder(fake_host *f, const char *name, const fake_folder *folder) {
    add_input(f, name, TEMPER_MODEL, NULL)->folder = folder;
}

fake_folder *fake_host_take_folder(fake_host *f, const char *name) {
    for (size_t i = 0; i < f->output_count; i++) {
        if (strcmp(f->outputs[i].name, name) == 0) {
            fake_folder *folder = f->outputs[i].folder;
            f->outputs[i].folder = NULL;
            assert_non_null(folder);
            return folder;
        }
    }
    fail_msg("there is no output %s", name);
    return NULL;
}

void fake_host_profile(fake_host *f, const char *profile) {
    f->host.profile = profile;
}

void fake_host_seed(fake_host *f, uint64_t seed) {
    f->seed = seed;
}

void fake_host_backwards(fake_host *f) {
    f->backwards = true;
}

void fake_host_cancel(fake_host *f) {
    f->cancelled = true;
}

void fake_host_fail_allocation(fake_host *f, long number) {
    f->fail_at = number;
    f->allocations = 0;
}

size_t fake_host_blocks(const fake_host *f) {
    return f->blocks;
}

const temper_stage *fake_host_stage(const char *file, const char *stage) {
    temper_status (*entry)(const temper_hello *, const temper_plugin **);
    const temper_hello hello = {sizeof hello, 0, "fake"};
    const temper_plugin *plugin = NULL;
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL), *symbol;
    size_t i;
    if (library == NULL) {
        fail_msg("%s", dlerror());
    }
    symbol = dlsym(library, "temper_plugin_v1");
    assert_non_null(symbol);
    memcpy(&entry, &symbol, sizeof entry);
    assert_int_equal(entry(&hello, &plugin), TEMPER_OK);
    for (i = 0; plugin->stages[i] != NULL; i++) {
        if (strcmp(plugin->stages[i]->name, stage) == 0) {
            return plugin->stages[i];
        }
    }
    fail_msg("%s has no stage %s", file, stage);
    return NULL;
}

/* --- running --- */

static void set_strings(temper_arena *arena, const temper_json *value, temper_strings *out) {
    const char **items = tm_arena_allocate(arena, (tm_json_length(value) + 1) * sizeof *items);
    size_t i;
    for (i = 0; i < tm_json_length(value); i++) {
        items[i] = tm_json_string(tm_json_element(value, i), NULL);
        assert_non_null(items[i]);
    }
    out->items = items;
    out->count = tm_json_length(value);
}

static void set_parameter(temper_arena *arena, const temper_parameter *p, const temper_json *value,
                          char *block) {
    int64_t integer;
    double number;
    bool flag;
    if (p->type == TEMPER_TYPE_INTEGER || p->type == TEMPER_TYPE_NUMBER) {
        assert_true(tm_json_double(value, &number));
        assert_true(p->minimum > p->maximum || (number >= p->minimum && number <= p->maximum));
    }
    switch (p->type) {
    case TEMPER_TYPE_INTEGER:
        assert_true(tm_json_integer(value, &integer));
        memcpy(block + p->offset, &integer, sizeof integer);
        break;
    case TEMPER_TYPE_NUMBER: memcpy(block + p->offset, &number, sizeof number); break;
    case TEMPER_TYPE_FLAG: {
        int32_t as_flag;
        assert_true(tm_json_boolean(value, &flag));
        as_flag = flag;
        memcpy(block + p->offset, &as_flag, sizeof as_flag);
        break;
    }
    case TEMPER_TYPE_STRING: {
        const char *text = tm_json_string(value, NULL);
        assert_non_null(text);
        memcpy(block + p->offset, &text, sizeof text);
        break;
    }
    case TEMPER_TYPE_STRINGS: {
        temper_strings strings;
        set_strings(arena, value, &strings);
        memcpy(block + p->offset, &strings, sizeof strings);
        break;
    }
    }
}

static void *make_parameters(fake_host *f, const temper_stage *stage, const char *given) {
    const temper_json *object, *value;
    char *block = tm_arena_allocate(f->arena, stage->parameters_size + 1);
    temper_error error = TEMPER_ERROR_INIT;
    size_t i, used = 0;
    memset(block, 0, stage->parameters_size + 1);
    assert_int_equal(tm_json_parse(f->arena, given, strlen(given), &object, &error), TEMPER_OK);
    for (i = 0; stage->parameters[i] != NULL; i++) {
        const temper_parameter *p = stage->parameters[i];
        value = tm_json_member(object, p->name);
        used += value != NULL;
        if (value == NULL) {
            if (p->default_json == NULL) {
                fail_msg("parameter %s is required", p->name);
            }
            assert_int_equal(
                tm_json_parse(f->arena, p->default_json, strlen(p->default_json), &value, &error), TEMPER_OK);
        }
        set_parameter(f->arena, p, value, block);
    }
    assert_int_equal(used, tm_json_length(object)); /* no unknown names */
    return block;
}

static temper_output *find_output(fake_host *f, const char *name) {
    size_t i;
    for (i = 0; i < f->output_count; i++) {
        if (strcmp(f->outputs[i].name, name) == 0) {
            return &f->outputs[i];
        }
    }
    return NULL;
}

static void check_inputs(fake_host *f, const temper_stage *stage) {
    size_t i, known = 0;
    for (i = 0; stage->inputs[i] != NULL; i++) {
        const temper_input *input = host_input(&f->host, stage->inputs[i]->name);
        if (input == NULL && !(stage->inputs[i]->flags & TEMPER_OPTIONAL)) {
            fail_msg("input %s is required", stage->inputs[i]->name);
        }
        if (input != NULL) {
            assert_int_equal(input->kind, stage->inputs[i]->kind);
            known++;
        }
    }
    assert_int_equal(known, f->input_count);
}

temper_status fake_host_run(fake_host *f, const temper_stage *stage, const char *parameters,
                            temper_error *error) {
    void *self = NULL, *block;
    size_t i;
    temper_status status;
    drop_outputs(f);
    tm_arena_free(f->arena);
    f->arena = tm_arena_new();
    f->model_count = 0;
    check_inputs(f, stage);
    block = make_parameters(f, stage, parameters);
    status = stage->create(&f->host, block, &self, error);
    if (status == TEMPER_OK) {
        status = stage->run(self, &f->host, error);
        stage->destroy(self);
    }
    for (i = 0; i < f->model_count; i++) {
        model_release(&f->models[i]);
    }
    if (status) {
        drop_outputs(f);
        return status;
    }
    for (i = 0; stage->outputs[i] != NULL; i++) {
        if (find_output(f, stage->outputs[i]->name) == NULL) {
            fail_msg("output %s was not begun", stage->outputs[i]->name);
        }
    }
    assert_int_equal(i, f->output_count);
    return TEMPER_OK;
}

const char *fake_host_output(fake_host *f, const char *name) {
    temper_output *output = find_output(f, name);
    return output == NULL || output->bytes.data == NULL ? "" : output->bytes.data;
}

size_t fake_host_count(fake_host *f, const char *name) {
    temper_output *output = find_output(f, name);
    return output == NULL ? 0 : output->records;
}

const temper_json *fake_host_record(fake_host *f, const char *name, size_t index) {
    const char *line = fake_host_output(f, name), *end;
    const temper_json *record = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    for (; index > 0 && *line != 0; index--) {
        line = strchr(line, '\n') + 1;
    }
    end = strchr(line, '\n');
    if (end == NULL) {
        fail_msg("%s has no such record", name);
    }
    assert_int_equal(tm_json_parse(f->arena, line, (size_t)(end - line), &record, &error), TEMPER_OK);
    return record;
}

const char *fake_host_string(fake_host *f, const char *name, size_t index, const char *member) {
    return tm_json_text(tm_json_member(fake_host_record(f, name, index), member), "");
}

double fake_host_number(fake_host *f, const char *name, size_t index, const char *member) {
    double number;
    return tm_json_double(tm_json_member(fake_host_record(f, name, index), member), &number) ? number : NAN;
}

void fake_host_try_allocations(fake_host *f, const temper_stage *stage, const char *parameters) {
    temper_status status = TEMPER_NO_MEMORY;
    long number;
    for (number = 0; status != TEMPER_OK; number++) {
        temper_error error = TEMPER_ERROR_INIT;
        fake_host_fail_allocation(f, number);
        status = fake_host_run(f, stage, parameters, &error);
        if (status != TEMPER_OK && status != TEMPER_NO_MEMORY) {
            fail_msg("allocation %ld refused gave status %d: %s", number, (int)status, error.message);
        }
        if (f->blocks != 0) {
            fail_msg("allocation %ld refused left %zu blocks", number, f->blocks);
        }
    }
    fake_host_fail_allocation(f, -1);
    assert_true(number > 1);
}

void fake_host_try_backwards(fake_host *f, const temper_stage *stage, const char *parameters) {
    temper_error error = TEMPER_ERROR_INIT;
    char *before[MOST_PORTS] = {NULL};
    size_t i;
    assert_int_equal(fake_host_run(f, stage, parameters, &error), TEMPER_OK);
    for (i = 0; stage->outputs[i] != NULL; i++) {
        before[i] = strdup(fake_host_output(f, stage->outputs[i]->name));
    }
    f->backwards = !f->backwards;
    assert_int_equal(fake_host_run(f, stage, parameters, &error), TEMPER_OK);
    f->backwards = !f->backwards;
    for (i = 0; stage->outputs[i] != NULL; i++) {
        assert_string_equal(before[i], fake_host_output(f, stage->outputs[i]->name));
        free(before[i]);
    }
}
