/* batch.c: what a training stage would learn from these records, token by token: `temper show-batch` prints it. Rows are
 * read by the function that training reads them by. */
#include "finetune.h"

#define BATCH(P, S)                                                                                          \
    P(S, string, method, "method", "\"sft\"", 1, 0, "", "sft|dpo|kto",                                       \
      "how records are read: rows, preference pairs, labelled answers", "0.2")                               \
    P(S, string, train_on, "train_on", "\"assistant\"", 1, 0, "", "assistant|last|all",                      \
      "which tokens of rows are learnt", "0.2")                                                              \
    P(S, integer, rows, "rows", "4", 1, 1e9, "rows", "", "show so many of the first records", "0.2")         \
    P(S, integer, max_length, "max_length", "0", 0, 1e9, "tokens", "",                                       \
      "longer rows are cut at their end; 0: the model's context", "0.2")                                     \
    P(S, string, format, "format", "\"auto\"", 1, 0, "", "auto|chat|raw",                                    \
      "are strings turns of a chat or raw text; auto: a chat if the model has a template", "0.2")
TEMPER_PARAMETERS(batch, BATCH)

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "whose tokenizer and chat template are used"),
    TEMPER_PORT(TEMPER_RECORDS, "records", 0, "messages, prompt, completion, chosen, rejected, system, text",
                "as the training stage would be given them"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "tokens", 0, "record, side, ids, tokens, trained, truncated",
                "a record a row: its tokens as text, and which are trained"),
    NULL};

/* A token's bytes as text: what is no UTF-8 by itself as <0xE2>. */
static const temper_json *token_text(const temper_row *row, const lm_tokenizer *tokenizer, int32_t id) {
    size_t length = 0;
    const char *bytes = lm_tokenizer_bytes(tokenizer, id, &length);
    const temper_json *text = row->json->new_string(row->arena, bytes, length);
    if (text != NULL) {
        return text;
    }
    char escaped[6 * 64 + 1] = "";
    for (size_t i = 0; i < length && i < 64; i++) {
        snprintf(escaped + 6 * i, 7, "<0x%02X>", (unsigned)(unsigned char)bytes[i]);
    }
    return row->json->new_string(row->arena, escaped, strlen(escaped));
}

static temper_status write_row(const temper_host *host, const base_model *base, temper_output *output,
                               const lm_dialogue *of, uint64_t record, const char *side,
                               temper_error *error) {
    temper_row row;
    temper_row_begin(&row, host);
    temper_json *ids = row.json->new_array(row.arena), *tokens = row.json->new_array(row.arena),
                *trained = row.json->new_array(row.arena);
    bool made = ids != NULL && tokens != NULL && trained != NULL;
    for (size_t i = 0; made && i < of->count; i++) {
        made = row.json->append(row.arena, ids, row.json->new_integer(row.arena, of->ids[i])) &&
               row.json->append(row.arena, tokens, token_text(&row, base->tokenizer, of->ids[i])) &&
               row.json->append(row.arena, trained, row.json->new_integer(row.arena, of->trained[i] != 0));
    }
    row.failed = row.failed || !made;
    temper_row_integer(&row, "record", record);
    temper_row_string(&row, "side", side);
    temper_row_integer(&row, "truncated", of->truncated);
    temper_row_json(&row, "ids", ids);
    temper_row_json(&row, "tokens", tokens);
    temper_row_json(&row, "trained", trained);
    return temper_row_write(&row, output, host, error);
}

static temper_status run(void *parameters, const temper_host *host, temper_error *error) {
    static const char *const sides[3][2] = {{"", ""}, {"chosen", "rejected"}, {"answer", "another's answer"}};
    const batch_parameters *given = parameters;
    row_shape shape = strcmp(given->method, "dpo") == 0   ? ROW_PAIRS
                      : strcmp(given->method, "kto") == 0 ? ROW_LABELLED
                                                          : ROW_TEXTS;
    row_options options = {.span = strcmp(given->train_on, "last") == 0 ? LM_SPAN_LAST : LM_SPAN_ASSISTANT,
                           .all = strcmp(given->train_on, "all") == 0,
                           .format = given->format,
                           .limit = (size_t)given->max_length,
                           .allow_untrained = true,
                           .allow_unterminated = true};
    base_model base = {0};
    row_set rows = {0};
    row_counts counts;
    temper_output *output = NULL;
    temper_pool *pool = temper_pool_new(host);
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    temper_status status = base_open(host, pool, host->input(host, "model"), &base, error);
    if (!status) {
        status = rows_read(&base, pool, host->input(host, "records"), "records", shape, &options, &rows,
                           &counts, error);
    }
    if (!status) {
        status = host->output(host, "tokens", &output, error);
    }
    size_t each = shape == ROW_TEXTS ? 1 : 2;
    for (size_t i = 0; !status && i < rows.count && i < (size_t)given->rows * each; i++) {
        status =
            write_row(host, &base, output, &rows.dialogues[i], i / each + 1, sides[shape][i % each], error);
    }
    rows_free(&rows);
    base_close(&base);
    temper_pool_free(pool);
    return status;
}

const temper_stage finetune_batch_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "batch",
    .doc = "shows which tokens a training stage would learn",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = batch_parameter_table,
    .parameters_size = sizeof(batch_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};
