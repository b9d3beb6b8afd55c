/* logits.c: a model's logits for given ids, as raw f32, for scripts that compare them with another implementation's.
 *
 * usage: logits MODEL PROFILE HOW < ids > logits
 * Standard input: sequences of ids, one a line, divided by blanks. HOW: "together" (all in one pass), "whole" (each by
 * itself) or "steps" (each through a cache, in pieces of 1, 2, 3, ... ids). Standard output: for each sequence, id and
 * entry of the vocabulary a float, in the machine's order. HOW "config": its config.json, as it is written on export. */
#include "../../plugins/lm/model/model.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_SEQUENCES = 64, MOST_IDS = 1 << 16 };

typedef struct input {
    int32_t ids[MOST_IDS];
    size_t offsets[MOST_SEQUENCES + 1], count;
} input;

static bool read_input(input *self) {
    int next;
    size_t used = 0;
    long id;
    while ((next = getchar()) != EOF) {
        if (next == '\n') {
            if (self->count == MOST_SEQUENCES) {
                return false;
            }
            self->offsets[++self->count] = used;
        } else if (!isspace(next)) {
            ungetc(next, stdin);
            if (used == MOST_IDS || scanf("%ld", &id) != 1) {
                return false;
            }
            self->ids[used++] = (int32_t)id;
        }
    }
    return used > 0 && self->offsets[self->count] == used;
}

static temper_status run(const lm_context *context, const lm_model *model, const input *in, const char *how,
                         lm_real *normed, temper_error *error) {
    lm_sequence all[MOST_SEQUENCES];
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < in->count && !status; i++) {
        const int32_t *ids = in->ids + in->offsets[i];
        size_t count = in->offsets[i + 1] - in->offsets[i];
        lm_real *out = normed + in->offsets[i] * model->config.hidden;
        lm_cache *cache = NULL;
        all[i] = (lm_sequence){NULL, ids, count};
        if (strcmp(how, "whole") == 0) {
            status = lm_model_forward(context, model, &all[i], 1, out, NULL, error);
        } else if (strcmp(how, "steps") == 0) {
            status = lm_cache_new(context, &model->config, count, &cache, error);
            for (size_t done = 0, size = 1; done < count && !status; size++) {
                size_t now = size < count - done ? size : count - done;
                lm_sequence piece = {cache, ids + done, now};
                status = lm_model_forward(context, model, &piece, 1, out + done * model->config.hidden, NULL,
                                          error);
                done += now;
            }
            lm_cache_free(cache);
        }
    }
    return status || strcmp(how, "together") != 0
               ? status
               : lm_model_forward(context, model, all, in->count, normed, NULL, error);
}

int main(int count, char **arguments) {
    static input in;
    temper_error error = TEMPER_ERROR_INIT;
    lm_context context = {0};
    lm_folder *folder = NULL;
    lm_model *model = NULL;
    lm_real *normed = NULL, *logits = NULL;
    temper_status status = TEMPER_INVALID;
    if (count != 4 || !read_input(&in)) {
        fprintf(stderr, "usage: logits MODEL PROFILE together|whole|steps, ids on standard input\n");
        return 2;
    }
    size_t rows = in.offsets[in.count];
    if ((status =
             lm_context_init(&context, lm_kernels_choose(NULL, NULL), arguments[2], lm_serial(), &error)) ||
        (status = lm_folder_open(arguments[1], &folder, &error)) ||
        (status = lm_model_open(&context, lm_folder_files(folder), &model, &error))) {
        goto out;
    }
    if (strcmp(arguments[3], "config") == 0) {
        char *text = lm_config_write(&model->config, LM_F32);
        status = text != NULL && puts(text) != EOF ? TEMPER_OK
                                                   : temper_fail(&error, TEMPER_FAILED, "no config.json");
        free(text);
        goto out;
    }
    normed = lm_allocate(rows * model->config.hidden, sizeof *normed);
    logits = lm_allocate(rows * model->config.vocabulary, sizeof *logits);
    if (normed == NULL || logits == NULL) {
        status = temper_fail(&error, TEMPER_NO_MEMORY, "no memory for %zu rows of logits", rows);
    } else if (!(status = run(&context, model, &in, arguments[3], normed, &error)) &&
               !(status = lm_model_logits(&context, model, normed, NULL, rows, logits, &error)) &&
               fwrite(logits, model->config.vocabulary * sizeof *logits, rows, stdout) != rows) {
        status = temper_fail(&error, TEMPER_FAILED, "writing: %s", strerror(errno));
    }
out:
    if (status) {
        fprintf(stderr, "%s\n", error.message);
    }
    free(normed);
    free(logits);
    lm_model_close(model);
    lm_folder_close(folder);
    lm_context_free(&context);
    return status != TEMPER_OK;
}
