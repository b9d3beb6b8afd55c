/* tokenizer_bench.c: how fast a tokenizer encodes and decodes lines of text, on one core.
 *
 *     tokenizer_bench MODEL TEXT [SECONDS]
 *
 * MODEL is a folder or a file as the tokenizer room reads it; each line of TEXT is a text of its own, as a record's would
 * be. Prints megabytes a second: of the first pass, which meets every word for the first time, and of the best later one. */
#include "files/files.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static char *read_all(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    *size = 0;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0 && ftell(file) >= 0) {
        *size = (size_t)ftell(file);
        text = malloc(*size + 1);
        rewind(file);
        if (text != NULL && fread(text, 1, *size, file) != *size) {
            free(text);
            text = NULL;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return text;
}

/* One pass over the lines; the count of tokens, SIZE_MAX on failure. */
static size_t pass(const lm_tokenizer *tokenizer, const char *text, size_t size, int32_t *ids,
                   temper_error *error) {
    size_t count = 0;
    for (const char *at = text, *end = text + size; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop == NULL ? end : stop;
        lm_tokens tokens;
        if (lm_tokenizer_encode(tokenizer, at, (size_t)(stop - at), NULL, &tokens, error)) {
            return SIZE_MAX;
        }
        for (size_t i = 0; i < tokens.count; i++) {
            ids[count++] = tokens.items[i].id;
        }
        lm_tokens_free(&tokens);
        at = stop + 1;
    }
    return count;
}

int main(int count, char **arguments) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_folder *folder;
    lm_tokenizer *tokenizer;
    size_t size = 0, tokens, length;
    char *text = count < 3 ? NULL : read_all(arguments[2], &size), *back;
    double seconds = count > 3 ? strtod(arguments[3], NULL) : 5, best = 1e9, first = 0;
    int32_t *ids = text == NULL ? NULL : malloc((size + 1) * sizeof *ids);
    if (ids == NULL || size == 0) {
        fprintf(stderr, "usage: tokenizer_bench MODEL TEXT [SECONDS]\n");
        return 2;
    }
    double opening = now();
    if (lm_folder_open(arguments[1], &folder, &error) ||
        lm_tokenizer_open(lm_folder_files(folder), &tokenizer, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    opening = now() - opening;
    for (double start = now(); first == 0 || now() - start < seconds;) {
        double began = now();
        if ((tokens = pass(tokenizer, text, size, ids, &error)) == SIZE_MAX) {
            fprintf(stderr, "%s\n", error.message);
            return 1;
        }
        double took = now() - began;
        first = first == 0 ? took : first;
        best = took < best ? took : best;
    }
    double began = now();
    if (lm_tokenizer_decode(tokenizer, ids, tokens, false, true, &back, &length, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    double decoding = now() - began;
    printf("{\"bytes\": %zu, \"tokens\": %zu, \"open_s\": %.3f, \"first_MB_s\": %.1f, \"encode_MB_s\": %.1f, "
           "\"decode_MB_s\": %.1f}\n",
           size, tokens, opening, (double)size / 1e6 / first, (double)size / 1e6 / best,
           (double)size / 1e6 / decoding);
    free(back);
    free(ids);
    free(text);
    lm_tokenizer_close(tokenizer);
    lm_folder_close(folder);
    return 0;
}
