/* @name@: a plugin for Temper. Its one stage keeps the records whose text is long enough; make it your own. */
#include <temper/sdk.h>

/* Parameters: one row each, and from it the struct field, the check, the help text and the editor's completion.
 *   P(S, type, field, "name", "default as JSON" or NULL (required), least, most, "unit", "choices", "doc", "since") */
#define ENOUGH(P, S)                                                                                                  \
    P(S, integer, least, "least", "20", 0, 1000000, "bytes", "", "shortest text to keep", "0.1")
TEMPER_PARAMETERS(enough, ENOUGH)

typedef struct pass {
    const temper_host *host;
    const enough_parameters *given;
    temper_output *kept, *dropped;
} pass;

/* One record: where does it go, and if it is dropped, why? */
static temper_status each(void *context, const temper_json *record, uint64_t number, temper_error *error) {
    const pass *p = context;
    const char *text;
    size_t length;
    temper_status status = temper_need_text(p->host, record, number, "text", &text, &length, error);
    if (status) {
        return status;
    }
    if (length < (uint64_t)p->given->least) {
        return temper_write_with(p->host, p->dropped, record, "reason", "too short", error);
    }
    return p->host->write_record(p->kept, record, error);
}

static temper_status enough_run(void *self, const temper_host *host, temper_error *error) {
    pass p = {host, self, NULL, NULL};
    temper_status status = host->output(host, "kept", &p.kept, error);
    if (status == TEMPER_OK) {
        status = host->output(host, "dropped", &p.dropped, error);
    }
    return status ? status : temper_each_record(host, "records", each, &p, error);
}

TEMPER_INPUTS(enough, TEMPER_PORT(TEMPER_RECORDS, "records", 0, "text", "what to choose from"))
TEMPER_OUTPUTS(enough, TEMPER_PORT(TEMPER_RECORDS, "kept", 0, "text", "records as they came"),
               TEMPER_PORT(TEMPER_RECORDS, "dropped", 0, "text, reason", "the others, and why"))
TEMPER_SIMPLE_STAGE(enough, 1, "Keeps records whose text is long enough.");
TEMPER_PLUGIN("@name@", "0.1.0", "You", "MIT", "What this plugin is for, in a sentence.", &enough_stage)
