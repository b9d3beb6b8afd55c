/* good.c: a plugin that does everything the contract offers, the way it is meant. */
#include <stdlib.h>
#include <string.h>
#include <temper/machine.h>
#include <temper/model.h>
#include <temper/plugin.h>
#include <temper/rng.h>

/* --- copy: records in, records out, each with its number, a random draw and the parameters; in batches of `batch` --- */
#define COPY(P, S)                                                                                           \
    P(S, integer, batch, "batch", "3", 1, 1000, "records", "", "records a batch", "0.1")                     \
    P(S, number, factor, "scale.factor", "0.5", 0, 1, "", "", "a number", "0.1")                             \
    P(S, flag, loud, "loud", "false", 0, 0, "", "", "upper case", "0.1")                                     \
    P(S, string, mode, "mode", "\"plain\"", 0, 0, "", "plain|fancy", "a choice", "0.1")                      \
    P(S, strings, words, "words", "[]", 0, 0, "", "", "words", "0.1")                                        \
    P(S, string, must, "must", NULL, 0, 0, "", "", "required", "0.1")
TEMPER_PARAMETERS(copy, COPY)

static temper_status copy_create(const temper_host *host, const void *parameters, void **self,
                                 temper_error *error) {
    copy_parameters *own = host->allocate(host, sizeof *own);
    if (own == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory");
    }
    memcpy(own, parameters, sizeof *own);
    own->loud = own->loud != 0;
    *self = own;
    return TEMPER_OK;
}

static const temper_host *destroy_host;

static void destroy(void *self) {
    destroy_host->release(destroy_host, self);
}

typedef struct shared_work {
    const temper_host *host;
    const temper_batch *batch;
    uint64_t key;
    double draws[1000];
} shared_work;

static void draw_one(void *context, uint64_t index, uint32_t worker) {
    shared_work *work = context;
    (void)worker;
    work->draws[index] =
        temper_random_unit(work->key, work->host->record_number(work->batch, (size_t)index), 0);
}

static temper_status write_batch(const temper_host *host, const copy_parameters *p, const temper_batch *batch,
                                 shared_work *work, temper_output *out, temper_error *error) {
    const temper_json_api *json = host->json;
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < host->batch_length(batch) && !status; i++) {
        temper_arena *arena = json->arena_new();
        temper_json *record = json->copy_object(arena, host->record(batch, i)),
                    *words = json->new_array(arena);
        for (size_t j = 0; j < p->words.count; j++) {
            json->append(arena, words, json->new_string(arena, p->words.items[j], strlen(p->words.items[j])));
        }
        json->set(arena, record, "number", json->new_integer(arena, (int64_t)host->record_number(batch, i)));
        json->set(arena, record, "draw", json->new_number(arena, work->draws[i]));
        json->set(arena, record, "factor", json->new_number(arena, p->factor));
        json->set(arena, record, "loud", json->new_boolean(arena, p->loud));
        json->set(arena, record, "mode", json->new_string(arena, p->mode, strlen(p->mode)));
        json->set(arena, record, "must", json->new_string(arena, p->must, strlen(p->must)));
        json->set(arena, record, "words", words);
        json->set(arena, record, "absent", json->member(host->record(batch, i), "no such member"));
        status = host->write_record(out, record, error);
        json->arena_free(arena);
    }
    return status;
}

static temper_status copy_run(void *self, const temper_host *host, temper_error *error) {
    const copy_parameters *p = self;
    shared_work work;
    temper_output *out;
    temper_reader *reader;
    temper_batch *batch;
    uint64_t done = 0;
    destroy_host = host;
    temper_status status = host->output(host, "copies", &out, error);
    if (!status) {
        status = host->read_records(host, host->input(host, "records"), &reader, error);
    }
    if (status) {
        return status;
    }
    while ((status = host->next(reader, (size_t)p->batch, &batch, error)) == TEMPER_OK) {
        work.host = host, work.batch = batch, work.key = host->rng_key(host, "draw");
        host->parallel_for(host, host->batch_length(batch), draw_one, &work);
        status = write_batch(host, p, batch, &work, out, error);
        done += host->batch_length(batch);
        host->progress(host, done, 0, "records", p->mode);
        host->release_batch(batch);
        if (status) {
            break;
        }
    }
    host->close_reader(reader);
    const temper_machine *machine = host->extension(host, TEMPER_MACHINE);
    if (machine == NULL || machine->memory(host) == 0 || machine->available(host) > machine->memory(host)) {
        return temper_fail(error, TEMPER_FAILED, "this host does not say how much memory there is");
    }
    machine->note(host, "good.copied", 0);
    machine->note(host, "good.copied", (double)done);
    host->log(host, TEMPER_LOG_INFO, "all copied");
    return status == TEMPER_END ? TEMPER_OK : status;
}

/* --- shelf: text, metrics and models, in and out --- */
static const temper_parameter *const no_parameters[] = {NULL};

static temper_status nothing_create(const temper_host *host, const void *parameters, void **self,
                                    temper_error *error) {
    (void)parameters, (void)error;
    destroy_host = host;
    *self = NULL;
    return TEMPER_OK;
}

static temper_status shelf_run(void *self, const temper_host *host, temper_error *error) {
    const temper_input *model = host->input(host, "model"), *notes = host->input(host, "notes");
    const temper_json_api *json = host->json;
    const char *text = "";
    size_t length = 0, bytes = 0;
    temper_output *report, *metrics, *made;
    temper_file file = {.size = sizeof file};
    temper_status status = TEMPER_OK;
    (void)self;
    if (notes != NULL) {
        status = host->bytes(host, notes, &text, &length, error);
    }
    for (size_t i = 0; i < host->file_count(host, model) && !status; i++) {
        status = host->file(host, model, i, &file, error);
        bytes += (size_t)file.length;
    }
    if (status || (status = host->output(host, "report", &report, error)) ||
        (status = host->write_bytes(report, "<p>\xc3", 4, error)) || /* a character in two pieces */
        (status = host->write_bytes(report, "\xa9", 1, error)) ||
        (status = host->write_bytes(report, text, strlen(text), error)) ||
        (status = host->output(host, "metrics", &metrics, error))) {
        return status;
    }
    temper_arena *arena = json->arena_new();
    temper_json *object = json->new_object(arena);
    json->set(arena, object, "bytes", json->new_integer(arena, (int64_t)bytes));
    json->set(arena, object, "notes", json->new_integer(arena, (int64_t)length));
    status = host->write_metrics(metrics, object, error);
    json->arena_free(arena);
    if (status || (status = host->output(host, "made", &made, error)) ||
        (status = host->begin_file(made, "adapter.bin", error)) ||
        (status = host->write_bytes(made, "\x00\xff", 2, error)) ||
        (status = host->begin_file(made, "adapter_config.json", error)) ||
        (status = host->write_bytes(made, "{}", 2, error))) {
        return status;
    }
    return host->link_input(made, "base", model, error);
}

static void nothing_destroy(void *self) {
    (void)self;
}

/* --- ask: the model service --- */
static temper_status ask_run(void *self, const temper_host *host, temper_error *error) {
    const temper_json_api *json = host->json;
    const temper_model_service *service, *again;
    temper_model *model, *same;
    temper_output *answers;
    const temper_generated *const *generated;
    temper_generate_request request = {
        .size = sizeof request, .text = "say", .text_length = 3, .max_tokens = 4, .top_p = 1};
    const temper_generate_request *const requests[] = {&request, &request};
    (void)self;
    temper_status status = host->open_model(host, host->input(host, "model"), &service, &model, error);
    if (status || (status = host->open_model(host, host->input(host, "model"), &again, &same, error)) ||
        (status = host->output(host, "answers", &answers, error)) ||
        (status = service->generate(model, requests, 2, "answers", &generated, error))) {
        return status;
    }
    for (size_t i = 0; i < 2 && !status; i++) {
        temper_arena *arena = json->arena_new();
        temper_json *record = json->new_object(arena);
        json->set(arena, record, "text", json->new_string(arena, generated[i]->text, generated[i]->length));
        json->set(arena, record, "one_model", json->new_boolean(arena, same == model && again == service));
        status = host->write_record(answers, record, error);
        json->arena_free(arena);
    }
    service->release_results(model);
    return status;
}

static const temper_port *const copy_inputs[] = {TEMPER_PORT(TEMPER_RECORDS, "records", 0, "text", "records"),
                                                 NULL};
static const temper_port *const copy_outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "copies", 0, "text, number", "copies"), NULL};
static const temper_port *const shelf_inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "a model"),
    TEMPER_PORT(TEMPER_TEXT, "notes", TEMPER_OPTIONAL, "", "notes"), NULL};
static const temper_port *const shelf_outputs[] = {TEMPER_PORT(TEMPER_REPORT, "report", 0, "", "a page"),
                                                   TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "", "numbers"),
                                                   TEMPER_PORT(TEMPER_MODEL, "made", 0, "", "a model"), NULL};
static const temper_port *const ask_inputs[] = {TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "a model"), NULL};
static const temper_port *const ask_outputs[] = {TEMPER_PORT(TEMPER_RECORDS, "answers", 0, "text", "answers"),
                                                 NULL};

static const temper_stage copy_stage = {sizeof(temper_stage),
                                        1,
                                        "copy",
                                        "Copies records.",
                                        copy_inputs,
                                        copy_outputs,
                                        copy_parameter_table,
                                        sizeof(copy_parameters),
                                        copy_create,
                                        copy_run,
                                        destroy};
static const temper_stage shelf_stage = {sizeof(temper_stage),
                                         2,
                                         "shelf",
                                         "Every kind of port.",
                                         shelf_inputs,
                                         shelf_outputs,
                                         no_parameters,
                                         0,
                                         nothing_create,
                                         shelf_run,
                                         nothing_destroy};
static const temper_stage ask_stage = {sizeof(temper_stage), 1,           "ask",          "Asks a model.",
                                       ask_inputs,           ask_outputs, no_parameters,  0,
                                       nothing_create,       ask_run,     nothing_destroy};
static const temper_stage *const stages[] = {&copy_stage, &shelf_stage, &ask_stage, NULL};
static const temper_plugin plugin = {
    sizeof plugin, "good", "0.1.0", "Temper's tests", "MIT", "A plugin that behaves.", stages, NULL};

temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **out) {
    (void)hello;
    *out = &plugin;
    return TEMPER_OK;
}
