/* fuzz_main.c: libFuzzer's place in an ordinary test. Gives the target every file of a corpus, then mutations of them drawn
 * from fixed random numbers, so that a failure can be had again: the number of the mutation is printed on abort. */
#include "base/file.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <temper/rng.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KEY = 20260724, LARGEST = 1 << 16 };

static uint64_t current; /* mutation at hand */
static uint64_t draws;

static void say_where(int signal_number) {
    char line[64];
    int length = snprintf(line, sizeof line, "signal %d in mutation %llu\n", signal_number,
                          (unsigned long long)current);
    if (length > 0 && write(2, line, (size_t)length) < 0) {
        _exit(2);
    }
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static size_t below(size_t bound) {
    return bound == 0 ? 0 : (size_t)temper_random_below(KEY, current, draws++, bound);
}

static void mutate(tm_buffer *input, const tm_buffer *corpus, size_t count) {
    static const unsigned char interesting[] = {0,   1,   0x7f, 0x80, 0xff, '"', '\\', '[',
                                                ']', '{', '}',  ',',  ':',  '-', 'e',  '0'};
    size_t at = below(input->length + 1), length = below(32), i;
    const tm_buffer *other = &corpus[below(count)];
    tm_buffer changed = TM_BUFFER_INIT;
    switch (below(6)) {
    case 0:
        if (at < input->length) {
            input->data[at] = (char)(input->data[at] ^ (1 << below(8)));
        }
        return;
    case 1:
        if (at < input->length) {
            input->data[at] = (char)interesting[below(sizeof interesting)];
        }
        return;
    case 2: /* cut out a piece */
        length = length < input->length - at ? length : input->length - at;
        tm_buffer_append(&changed, input->data, at);
        tm_buffer_append(&changed, input->data + at + length, input->length - at - length);
        break;
    case 3: /* put in bytes */
        tm_buffer_append(&changed, input->data, at);
        for (i = 0; i < length; i++) {
            tm_buffer_byte(&changed, (char)interesting[below(sizeof interesting)]);
        }
        tm_buffer_append(&changed, input->data + at, input->length - at);
        break;
    case 4: /* the end of another one */
        i = below(other->length + 1);
        tm_buffer_append(&changed, input->data, at);
        tm_buffer_append(&changed, other->data + i, other->length - i);
        break;
    default: /* end here */ tm_buffer_append(&changed, input->data, at); break;
    }
    if (tm_buffer_ok(&changed) && changed.length <= LARGEST) {
        tm_buffer_clear(input);
        tm_buffer_append(input, changed.data, changed.length);
    }
    tm_buffer_free(&changed);
}

int main(int argc, char **argv) {
    char **names = NULL;
    size_t count = 0, i;
    tm_buffer *corpus, input = TM_BUFFER_INIT;
    temper_error error = TEMPER_ERROR_INIT;
    uint64_t mutations, left;
    if (argc != 3 || tm_folder_list(argv[1], &names, &count, &error) != TEMPER_OK || count == 0) {
        fprintf(stderr, "usage: %s CORPUS MUTATIONS %s\n", argv[0], error.message);
        return 2;
    }
    signal(SIGABRT, say_where);
    mutations = strtoull(argv[2], NULL, 10);
    corpus = calloc(count, sizeof *corpus);
    for (i = 0; i < count; i++) {
        char *path = tm_path_join(argv[1], names[i]);
        if (corpus == NULL || path == NULL || tm_file_read(path, LARGEST, &corpus[i], &error) != TEMPER_OK) {
            fprintf(stderr, "%s\n", error.message);
            return 2;
        }
        LLVMFuzzerTestOneInput((const uint8_t *)corpus[i].data, corpus[i].length);
        free(path);
    }
    for (current = 1; current <= mutations; current++) {
        draws = 0;
        i = below(count);
        tm_buffer_clear(&input);
        tm_buffer_append(&input, corpus[i].data, corpus[i].length);
        for (left = 1 + below(4); left > 0; left--) {
            mutate(&input, corpus, count);
        }
        if (tm_buffer_ok(&input)) {
            LLVMFuzzerTestOneInput((const uint8_t *)input.data, input.length);
        }
    }
    printf("%zu inputs and %llu mutations\n", count, (unsigned long long)mutations);
    for (i = 0; i < count; i++) {
        tm_buffer_free(&corpus[i]);
        free(names[i]);
    }
    tm_buffer_free(&input);
    free(corpus);
    free(names);
    return 0;
}
