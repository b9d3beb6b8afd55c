/* command_export.c: a model, or what a run made, as the files other tools load.
 *
 * It is written by the stage native.export, read back and compared by native.compare, and only then placed: what has the
 * final name is whole and was found to be the model it was made of.
 *
 * Invariant: a folder or file that is there is never written into. */
#include "base/file.h"
#include "base/text.h"
#include "cli/stack.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct exporting {
    const cli_options *options;
    cli_context context;
    temper_arena *arena;
    const char *target, *format;
    cli_model base, *adapters;
    const cli_model **pointers; /* to those */
    tm_digest model, exported;  /* what is exported, and the export */
    tm_buffer numbers;          /* of the comparison */
    uint64_t bytes;
    size_t files;
} exporting;

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), size = strlen(end);
    return length >= size && strcmp(text + length - size, end) == 0;
}

/* What is not said follows from what there is: a file's name, adapters to merge, an adapter alone. */
static const char *choose_format(const exporting *self) {
    if (self->options->format != NULL) {
        return self->options->format;
    }
    if (ends_with(self->target, ".gguf")) {
        return "gguf";
    }
    return self->base.adapter && self->options->adapters.count == 0 ? "peft" : "hf";
}

static bool is_file_format(const exporting *self) {
    return strncmp(self->format, "gguf", 4) == 0;
}

static bool is_adapter_format(const exporting *self) {
    return strcmp(self->format, "peft") == 0 || strcmp(self->format, "gguf-lora") == 0;
}

static temper_status take_models(exporting *self, temper_error *error) {
    const cli_list *names = &self->options->adapters;
    temper_status status =
        cli_stack_take(self->context.store, self->options->arguments.items[0], &self->base, error);
    self->adapters = calloc(names->count + 1, sizeof *self->adapters);
    self->pointers = calloc(names->count + 1, sizeof *self->pointers);
    if (self->adapters == NULL || self->pointers == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < names->count && status == TEMPER_OK; i++) {
        status = cli_stack_take(self->context.store, names->items[i], &self->adapters[i], error);
        self->pointers[i] = &self->adapters[i];
    }
    if (status == TEMPER_OK) {
        status = cli_stack_make(self->context.store, &self->base, self->pointers, names->count, &self->model,
                                error);
    }
    self->format = choose_format(self);
    return status;
}

static bool set_parameters(const exporting *self, temper_json *parameters) {
    temper_json *weights = tm_json_array(self->arena);
    bool made = parameters != NULL && weights != NULL &&
                tm_json_set_string(self->arena, parameters, "format", self->format) &&
                tm_json_set_string(self->arena, parameters, "type",
                                   self->options->type != NULL ? self->options->type : "same");
    for (size_t i = 0; made && i < self->options->weights.count; i++) {
        const char *text = self->options->weights.items[i];
        made = tm_json_append(self->arena, weights, tm_json_new_string(self->arena, text, strlen(text)));
    }
    return made && tm_json_set(self->arena, parameters, "weights", weights);
}

static temper_status run_stage(exporting *self, const char *stage, const tm_digest *exported,
                               const char *output, tm_buffer *out, tm_digest *made, temper_error *error) {
    temper_json *parameters = tm_json_object(self->arena);
    char model[TM_DIGEST_TEXT], other[TM_DIGEST_TEXT];
    cli_one one = {.plugin = "native",
                   .stage = stage,
                   .parameters = parameters,
                   .inputs = {{"model", "model", NULL}, {"exported", "model", NULL}},
                   .digests = {model, other},
                   .input_count = exported != NULL ? 2 : 1};
    if (!set_parameters(self, parameters)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory, or a weight that is not UTF-8");
    }
    tm_digest_text(&self->model, model);
    if (exported != NULL) {
        tm_digest_text(exported, other);
    }
    one.made = made;
    return cli_run_one(&self->context, self->arena, &one, output, out, &self->numbers, error);
}

/* The export as a model: an adapter on the base it was made for. */
static temper_status as_model(exporting *self, tm_digest *out, temper_error *error) {
    cli_model base = self->base, adapter = {.name = "the export", .digest = self->exported, .adapter = true};
    const cli_model *pointer = &adapter;
    tm_tree alone = {NULL, 0};
    *out = self->exported;
    if (!is_adapter_format(self)) {
        return TEMPER_OK;
    }
    temper_status status = tm_store_get_tree(self->context.store, &self->exported, &adapter.tree, error);
    /* Of a base that has an adapter itself, the files below base/ alone. */
    alone.entries = calloc(self->base.tree.count + 1, sizeof *alone.entries);
    if (status == TEMPER_OK && alone.entries == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; status == TEMPER_OK && i < self->base.tree.count; i++) {
        const tm_tree_entry *entry = &self->base.tree.entries[i];
        if (!self->base.adapter || strncmp(entry->path, "base/", 5) == 0) {
            alone.entries[alone.count] = *entry;
            alone.entries[alone.count++].path = entry->path + (self->base.adapter ? 5 : 0);
        }
    }
    base.tree = alone;
    base.adapter = false;
    status = status ? status : cli_stack_make(self->context.store, &base, &pointer, 1, out, error);
    free(alone.entries); /* the paths are the base's */
    tm_tree_free(&adapter.tree);
    return status;
}

/* --- placing ----------------------------------------------------------------------------------------------------- */

static temper_status write_entry(tm_store *store, const char *path, const tm_tree_entry *entry,
                                 temper_error *error) {
    const void *data;
    size_t size;
    temper_status status = tm_store_map(store, &entry->digest, &data, &size, error);
    if (status == TEMPER_OK) {
        status = tm_file_write(path, data, size, error);
        tm_store_unmap(store, data, size);
    }
    return status;
}

static temper_status write_below(tm_store *store, const char *folder, const tm_tree_entry *entry,
                                 temper_error *error) {
    char *path = tm_path_join(folder, entry->path), *slash;
    temper_status status;
    if (path == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    slash = strrchr(path, '/');
    *slash = 0;
    status = tm_folder_make(path, error);
    *slash = '/';
    status = status ? status : write_entry(store, path, entry, error);
    free(path);
    return status;
}

/* Under a name beside it first; the final name is given by a rename. */
static temper_status place(exporting *self, temper_error *error) {
    tm_buffer partial = TM_BUFFER_INIT;
    tm_tree tree = {NULL, 0};
    temper_status status = tm_store_get_tree(self->context.store, &self->exported, &tree, error);
    tm_buffer_format(&partial, "%s.partial-%ld", self->target, (long)getpid());
    if (status == TEMPER_OK && !tm_buffer_ok(&partial)) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    if (status == TEMPER_OK && !is_file_format(self)) {
        status = tm_folder_make(partial.data, error);
    }
    for (size_t i = 0; i < tree.count && status == TEMPER_OK; i++) {
        status = is_file_format(self)
                     ? write_entry(self->context.store, partial.data, &tree.entries[i], error)
                     : write_below(self->context.store, partial.data, &tree.entries[i], error);
        self->bytes += tree.entries[i].size;
        self->files++;
    }
    if (status == TEMPER_OK && access(self->target, F_OK) == 0) {
        status = temper_fail(error, TEMPER_INVALID, "%s is there already", self->target);
    }
    if (status == TEMPER_OK && rename(partial.data, self->target) != 0) {
        status = temper_fail(error, TEMPER_IO, "%s: %s", self->target, strerror(errno));
    }
    if (status && tm_buffer_ok(&partial)) {
        (void)(is_file_format(self) ? unlink(partial.data) : (int)tm_folder_remove(partial.data, NULL));
    }
    tm_buffer_free(&partial);
    tm_tree_free(&tree);
    return status;
}

/* --- what is said ------------------------------------------------------------------------------------------------ */

static double number_of(const temper_json *numbers, const char *name) {
    double number = 0;
    (void)tm_json_double(tm_json_member(numbers, name), &number);
    return number;
}

static void say(const exporting *self) {
    const temper_json *numbers = NULL;
    char size[16];
    if (self->numbers.length > 0) {
        (void)tm_json_parse(self->arena, self->numbers.data, self->numbers.length, &numbers, NULL);
    }
    if (self->options->json) {
        char mean[40], largest[40];
        snprintf(mean, sizeof mean, "%.6g", number_of(numbers, "mean_difference"));
        snprintf(largest, sizeof largest, "%.6g", number_of(numbers, "largest_difference"));
        cli_event("exported", is_file_format(self) ? "file" : "folder", self->target, "format", self->format,
                  "#mean_difference", mean, "#largest_difference", largest, (char *)NULL);
        return;
    }
    printf(" exported %s · %zu file%s · %s to %s\n", self->format, self->files, self->files == 1 ? "" : "s",
           tm_text_bytes((double)self->bytes, size), self->target);
    printf(" read back: over %.0f tokens the log-probability differs by %.2g in the mean and %.2g at most "
           "(rounding at "
           "random: %.2g and %.2g; an error from %.2g and %.2g)\n",
           number_of(numbers, "tokens"), number_of(numbers, "mean_difference"),
           number_of(numbers, "largest_difference"), number_of(numbers, "mean_of_rounding"),
           number_of(numbers, "largest_of_rounding"), number_of(numbers, "mean_bound"),
           number_of(numbers, "largest_bound"));
}

static temper_status export(exporting *self, temper_error *error) {
    tm_buffer nothing = TM_BUFFER_INIT;
    tm_digest model;
    temper_status status;
    if (access(self->target, F_OK) == 0) {
        return temper_fail(error, TEMPER_INVALID, "%s is there already: name a folder or file that is not",
                           self->target);
    }
    status = take_models(self, error);
    status = status ? status : run_stage(self, "export", NULL, "model", &nothing, &self->exported, error);
    status = status ? status : as_model(self, &model, error);
    tm_buffer_clear(&nothing);
    status = status ? status : run_stage(self, "compare", &model, "metrics", &nothing, NULL, error);
    status = status ? status : place(self, error);
    tm_buffer_free(&nothing);
    return status;
}

int cli_export(const cli_options *options) {
    exporting self = {
        .options = options, .target = options->arguments.items[1], .format = "", .numbers = TM_BUFFER_INIT};
    temper_error error = TEMPER_ERROR_INIT;
    temper_status status;
    cli_watch_signals();
    self.arena = tm_arena_new();
    status = self.arena == NULL ? temper_fail(&error, TEMPER_NO_MEMORY, "out of memory")
                                : cli_open(options, &self.context, &error);
    if (status) {
        tm_arena_free(self.arena);
        return cli_report(options, status, &error);
    }
    status = export(&self, &error);
    if (status == TEMPER_OK) {
        say(&self);
    }
    for (size_t i = 0; self.adapters != NULL && i < options->adapters.count; i++) {
        cli_stack_release(&self.adapters[i]);
    }
    cli_stack_release(&self.base);
    free(self.adapters);
    free(self.pointers);
    tm_buffer_free(&self.numbers);
    cli_close(&self.context);
    tm_arena_free(self.arena);
    return cli_report(options, status, &error);
}
