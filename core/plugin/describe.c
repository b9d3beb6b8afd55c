/* describe.c: asking a worker process what a plugin says of itself. A file that crashes, hangs or prints while it is
 * loaded does so there; here it is one message that names the file. */
#include "plugin/catalog.h"
#include "plugin/child.h"
#include "plugin/description.h"
#include "plugin/words.h"
#include <stdlib.h>
#include <string.h>

/* How long loading may take: 10 s, or $TEMPER_DESCRIBE_DEADLINE. */
static double describe_deadline(void) {
    const char *text = getenv("TEMPER_DESCRIBE_DEADLINE");
    double seconds = text != NULL ? strtod(text, NULL) : 0;
    return seconds > 0 && seconds < 3600 ? seconds : 10;
}

static temper_status read_answer(const char *text, size_t length, temper_arena *arena,
                                 const temper_json **out, temper_error *error) {
    temper_status status = tm_json_parse(arena, text, length, out, error);
    const temper_json *failed = tm_json_member(*out, "failed");
    if (status) {
        return status;
    }
    if (failed != NULL) {
        return temper_fail(error, tm_status_parse(tm_json_text(tm_json_member(failed, "status"), "")), "%s",
                           tm_json_text(tm_json_member(failed, "message"), ""));
    }
    return tm_description_check(*out, error);
}

temper_status tm_describe(const char *worker, const char *path, temper_arena *arena, const temper_json **out,
                          temper_error *error) {
    double patience = describe_deadline(), deadline = tm_seconds_now() + patience;
    tm_child child;
    char how[160];
    bool killed = false;
    size_t length = 0;
    char *line = NULL;
    *out = NULL;
    temper_status status = tm_child_start(&child, worker, path, error);
    if (status) {
        return status;
    }
    bool open = true;
    while (open && line == NULL && tm_seconds_now() < deadline) {
        open = tm_child_poll(&child, 100);
        line = tm_child_line(&child, &length);
    }
    temper_error answer = TEMPER_ERROR_INIT;
    if (line != NULL) {
        status = read_answer(line, length, arena, out, &answer);
    }
    tm_child_end(&child, line != NULL || !open ? 1 : 0, how, sizeof how, &killed, NULL);
    while (tm_child_words(&child) != NULL) {
    }
    if (line != NULL) {
        temper_fail(error, status, "%s", answer.message);
    } else if (killed) {
        status =
            temper_fail(error, TEMPER_FAILED,
                        "%s did not describe itself within %g s: loading it does not end", path, patience);
    } else {
        status = temper_fail(error, TEMPER_FAILED, "%s %s while it was loaded%s%s", path, how,
                             child.last_words[0] != 0 ? "; its last words: " : "", child.last_words);
    }
    tm_buffer_free(&child.words_text);
    return status;
}
