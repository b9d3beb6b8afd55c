/* temper/rows.h: records as the bytes they are on file, for stages that read and write by the gigabyte.
 *
 *     const temper_rows_service *rows = host->extension(host, TEMPER_ROWS);   NULL: this host has none
 *
 * An input of kind records is JSONL: a record is a line. Here a stage gets the whole input mapped, finds and reads its
 * lines itself, on as many threads as it likes, and gives back lines: those of an input as they lie there, or lines it
 * wrote. Nothing is parsed, and what passes unchanged is copied, not rewritten. sdk/lines does the reading: strict, parallel,
 * in order. The calls of temper/host.h give and take the same records, slower, and may be mixed with these. */
#ifndef TEMPER_ROWS_H
#define TEMPER_ROWS_H

#include <temper/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TEMPER_ROWS "temper.rows/1"

/* Some bytes. */
typedef struct temper_piece {
    const char *data;
    size_t length;
} temper_piece;

typedef struct temper_rows_service {
    uint32_t size;

    /* [run] The whole of an input of kind records or character, until run() returns. Not checked in any way: it may hold lines
     * that are no records. That the bytes are those of the input's digest is verified beside the stage's work; if they are
     * not, the stage fails, whatever it did. */
    temper_status (*map)(const temper_host *host, const temper_input *input, const char **data,
                         uint64_t *length, temper_error *error);

    /* [run] Appends `records` whole lines to an output of kind records, in the order of the calls: objects in UTF-8, each
     * with a line feed behind it and none inside. A line may be cut into pieces. Pieces that lie in a mapped input are not
     * copied; others are, before this returns. What is checked: the first and last bytes of a call, and that there are as many
     * lines as was said. What else a line must be, the stage answers for: the next stage refuses a line that is no record. */
    temper_status (*write)(temper_output *output, const temper_piece *pieces, size_t count, uint64_t records,
                           temper_error *error);
} temper_rows_service;

#ifdef __cplusplus
}
#endif
#endif
