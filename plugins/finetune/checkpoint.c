/* checkpoint.c: how far a run is, through the host (temper/checkpoint.h): the cursor, what the stage carries, the log so
 * far, the best weights, and the trainer's own state. All of it or nothing: what does not fit this run exactly is not
 * gone on from. */
#include "finetune.h"

#include <stdlib.h>

static const char name[] = "training";

static const temper_checkpoint_service *service_of(const temper_host *host) {
    return host->extension(host, TEMPER_CHECKPOINT_SERVICE);
}

static size_t carried_length(const training *self) {
    size_t length = 0;
    for (size_t i = 0; i < self->carried_count; i++) {
        length += self->carried[i].length;
    }
    return length;
}

void training_carry(training *self, void *data, size_t length) {
    self->carried[self->carried_count++] = (lm_bytes){data, length};
}

temper_status training_checkpoint(training *self, temper_error *error) {
    const temper_checkpoint_service *service = service_of(self->host);
    if (service == NULL || !service->due(self->host)) {
        return TEMPER_OK;
    }
    size_t room = lm_trainer_count(self->trainer) + 8 + TRAINING_CARRIED, count = 0;
    temper_checkpoint_piece *pieces = calloc(room, sizeof *pieces);
    lm_bytes *state = calloc(lm_trainer_count(self->trainer) + 3, sizeof *state);
    temper_status status = TEMPER_OK;
    if (pieces == NULL || state == NULL) {
        status = temper_no_memory(error);
        goto out;
    }
    memcpy(self->at.magic, "train-1", 8);
    self->at.carried_length = carried_length(self);
    self->at.has_best = self->best != NULL && self->at.best_step > 0;
    pieces[count++] = (temper_checkpoint_piece){&self->at, sizeof self->at};
    for (size_t i = 0; i < self->carried_count; i++) {
        pieces[count++] = (temper_checkpoint_piece){self->carried[i].data, self->carried[i].length};
    }
    pieces[count++] = (temper_checkpoint_piece){self->log_text, self->at.log_length};
    if (self->at.has_best) {
        pieces[count++] =
            (temper_checkpoint_piece){self->best, lm_trainer_parameters(self->trainer) * sizeof *self->best};
    }
    size_t states = lm_trainer_state(self->trainer, state);
    for (size_t i = 0; i < states; i++) {
        pieces[count++] = (temper_checkpoint_piece){state[i].data, state[i].length};
    }
    status = service->save(self->host, name, pieces, count, error);
out:
    free(pieces);
    free(state);
    return status;
}

static bool take(const char **at, size_t *left, void *out, size_t length) {
    if (length > *left) {
        return false;
    }
    if (length > 0) {
        memcpy(out, *at, length);
    }
    *at += length;
    *left -= length;
    return true;
}

bool training_resume(training *self) {
    const temper_checkpoint_service *service = service_of(self->host);
    const void *data = NULL;
    size_t left = 0, all = lm_trainer_parameters(self->trainer) * sizeof *self->best;
    temper_error error = TEMPER_ERROR_INIT;
    training_cursor cursor;
    if (service == NULL || service->load(self->host, name, &data, &left, &error) != TEMPER_OK) {
        return false;
    }
    const char *at = data;
    if (!take(&at, &left, &cursor, sizeof cursor) || memcmp(cursor.magic, "train-1", 8) != 0 ||
        cursor.step > self->steps || cursor.carried_length != carried_length(self) ||
        cursor.carried_length > left || cursor.log_length > left - cursor.carried_length ||
        (cursor.has_best != 0) * all > left - cursor.carried_length - cursor.log_length ||
        (cursor.has_best != 0 && self->best == NULL)) {
        return false;
    }
    char *text = malloc(cursor.log_length + 1);
    const char *carried = at, *best = at + cursor.carried_length + cursor.log_length,
               *state = best + (cursor.has_best != 0) * all;
    size_t length = left - (size_t)(state - at);
    if (text == NULL || lm_trainer_restore(self->trainer, state, length, &error) != TEMPER_OK) {
        free(text);
        return false;
    }
    for (size_t i = 0; i < self->carried_count; i++) {
        (void)take(&carried, &left, (void *)(uintptr_t)self->carried[i].data, self->carried[i].length);
    }
    memcpy(text, carried, cursor.log_length);
    if (cursor.has_best) {
        memcpy(self->best, best, all);
    }
    free(self->log_text);
    self->log_text = text;
    self->log_capacity = cursor.log_length + 1;
    self->at = cursor;
    char message[96];
    snprintf(message, sizeof message, "goes on after step %llu of %zu", (unsigned long long)cursor.step,
             self->steps);
    self->host->log(self->host, TEMPER_LOG_INFO, message);
    return true;
}

/* --- the log --- */

static temper_status remember(training *self, const char *text, size_t length, temper_error *error) {
    size_t wanted = self->at.log_length + length + 1;
    if (wanted > self->log_capacity) {
        size_t capacity = 2 * wanted;
        char *grown = realloc(self->log_text, capacity);
        if (grown == NULL) {
            return temper_no_memory(error);
        }
        self->log_text = grown;
        self->log_capacity = capacity;
    }
    memcpy(self->log_text + self->at.log_length, text, length);
    self->log_text[self->at.log_length + length] = '\n';
    self->at.log_length += length + 1;
    return TEMPER_OK;
}

temper_status training_log(training *self, temper_row *row, temper_error *error) {
    size_t length = 0;
    if (service_of(self->host) != NULL && !row->failed) {
        const char *text = row->json->write(row->arena, row->object, &length);
        temper_status status = text == NULL ? temper_no_memory(error) : remember(self, text, length, error);
        if (status) {
            temper_row_drop(row);
            return status;
        }
    }
    return temper_row_write(row, self->log, self->host, error);
}

temper_status training_log_again(training *self, temper_error *error) {
    const temper_json_api *json = self->host->json;
    temper_status status = TEMPER_OK;
    for (size_t at = 0; !status && at < self->at.log_length;) {
        const char *line = self->log_text + at, *end = memchr(line, '\n', self->at.log_length - at);
        size_t length = (size_t)(end - line);
        temper_arena *arena = json->arena_new();
        const temper_json *record = NULL;
        status = arena == NULL ? temper_no_memory(error) : json->parse(arena, line, length, &record, error);
        if (!status) {
            status = self->host->write_record(self->log, record, error);
        }
        json->arena_free(arena);
        at += length + 1;
    }
    return status;
}
