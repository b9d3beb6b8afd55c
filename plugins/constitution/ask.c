/* ask.c: what people might ask that lets a character show: so many prompts a trait, no two alike.
 *
 * Order, and so what is kept: for each trait its `questions`, then its `additional_questions`, then, after all traits
 * had theirs, what the model makes up for the shortfall. Unlike means unlike every prompt of every trait: so the prompts
 * held out for evaluation are none of those trained on, by construction. */
#include "constitution.h"

#define ASK(P, S)                                                                                            \
    P(S, integer, per_trait, "per_trait", "50", 1, 100000, "prompts", "",                                    \
      "prompts a trait, those held out included", "0.1")                                                     \
    P(S, integer, held_out, "held_out", "10", 0, 100000, "prompts", "",                                      \
      "of these, how many a trait go to `held_out` instead of `prompts`", "0.1")                             \
    P(S, number, similarity, "similarity", "0.7", 0.05, 1, "", "",                                           \
      "prompts this alike (shared pairs of neighbouring words over all) count as one; 1: only equal ones",   \
      "0.1")                                                                                                 \
    P(S, string, method, "method", "\"list\"", 1, 0, "", "list|chat",                                        \
      "how the model is asked for more: it continues a numbered list as plain text, or answers a message",   \
      "0.1")                                                                                                 \
    P(S, integer, attempts, "attempts", "20", 1, 10000, "rounds", "", "rounds of asking before giving up",   \
      "0.1")                                                                                                 \
    P(S, number, temperature, "temperature", "0.9", 0, 10, "", "",                                           \
      "how freely the model makes up questions", "0.1")                                                      \
    P(S, number, top_p, "top_p", "0.95", 0, 1, "", "",                                                       \
      "sample among the likeliest tokens that hold this probability", "0.1")                                 \
    P(S, integer, top_k, "top_k", "0", 0, 1000000, "tokens", "",                                             \
      "sample among this many likeliest tokens; 0: all", "0.1")                                              \
    P(S, integer, max_tokens, "max_tokens", "64", 1, 4096, "tokens", "", "longest made-up question", "0.1")
TEMPER_PARAMETERS(ask, ASK)

temper_status asked_refuse(asked *a, size_t trait, temper_span text, const char *source, const char *rule,
                           temper_span like, temper_error *error) {
    temper_row row;
    a->near_duplicates += strcmp(rule, "near_duplicate") == 0;
    a->unfinished += strcmp(rule, "unfinished") == 0;
    a->unusable += strcmp(rule, "unusable") == 0;
    a->surplus += strcmp(rule, "surplus") == 0;
    temper_row_begin(&row, a->host);
    temper_row_string(&row, "rule", rule);
    temper_row_text(&row, "prompt", text);
    temper_row_text(&row, "like", like);
    temper_row_integer(&row, "trait_index", trait);
    temper_row_string(&row, "source", source);
    return temper_row_write(&row, a->refused, a->host, error);
}

temper_status asked_offer(asked *a, size_t trait, temper_span text, const char *source, temper_error *error) {
    static const temper_span none = {"", 0};
    asked_prompt prompt = {text, source, {NULL, 0}};
    size_t t, i;
    if (a->counts[trait] == a->wanted) {
        return asked_refuse(a, trait, text, source, "surplus", none, error);
    }
    if (!temper_shingles_make(a->pool, text, &prompt.shingles)) {
        return temper_no_memory(error);
    }
    for (t = 0; t < a->character->count; t++) {
        for (i = 0; i < a->counts[t]; i++) {
            if (temper_shingles_similarity(&prompt.shingles, &a->prompts[t][i].shingles) >= a->similarity) {
                return asked_refuse(a, trait, text, source, "near_duplicate", a->prompts[t][i].text, error);
            }
        }
    }
    prompt.text.data = temper_pool_copy(a->pool, text.data, text.length);
    if (prompt.text.data == NULL) {
        return temper_no_memory(error);
    }
    a->prompts[trait][a->counts[trait]++] = prompt;
    return TEMPER_OK;
}

static temper_status start(asked *a, const temper_host *host, const ask_parameters *p,
                           const temper_character *character, temper_error *error) {
    size_t t;
    a->character = character;
    a->wanted = (size_t)p->per_trait;
    a->similarity = p->similarity;
    a->prompts = temper_pool_take(a->pool, character->count, sizeof *a->prompts);
    a->counts = temper_pool_take(a->pool, character->count, sizeof *a->counts);
    if (a->prompts == NULL || a->counts == NULL) {
        return temper_no_memory(error);
    }
    for (t = 0; t < character->count; t++) {
        a->prompts[t] = temper_pool_take(a->pool, a->wanted, sizeof **a->prompts);
        if (a->prompts[t] == NULL) {
            return temper_no_memory(error);
        }
    }
    a->host = host;
    return TEMPER_OK;
}

static temper_status take_from_file(asked *a, temper_error *error) {
    size_t t, i;
    for (t = 0; t < a->character->count; t++) {
        const temper_trait *trait = &a->character->traits[t];
        for (i = 0; i < trait->question_count; i++) {
            const char *source = i < trait->first_count ? "questions" : "additional_questions";
            temper_status status = asked_offer(a, t, trait->questions[i], source, error);
            if (status) {
                return status;
            }
        }
    }
    return TEMPER_OK;
}

static bool is_short(const asked *a) {
    size_t t;
    for (t = 0; t < a->character->count; t++) {
        if (a->counts[t] < a->wanted) {
            return true;
        }
    }
    return false;
}

static temper_status generate(asked *a, const ask_parameters *p, temper_error *error) {
    shortfall_options options = {.method = p->method, .attempts = (uint64_t)p->attempts};
    temper_status status;
    if (!is_short(a)) {
        return TEMPER_OK;
    }
    status = a->host->open_model(a->host, a->host->input(a->host, "model"), &options.service, &options.model,
                                 error);
    if (status) {
        return status;
    }
    options.temperature = p->temperature;
    options.top_p = p->top_p;
    options.top_k = (uint32_t)p->top_k;
    options.max_tokens = (uint32_t)p->max_tokens;
    options.key = a->host->rng_key(a->host, "questions");
    return asked_fill_shortfall(a, &options, error);
}

typedef struct ask_counts {
    uint64_t prompts, held_out, questions, additional, generated;
} ask_counts;

static temper_status write_prompt(const asked *a, size_t t, const asked_prompt *prompt, temper_output *output,
                                  temper_error *error) {
    temper_row row;
    temper_row_begin(&row, a->host);
    temper_row_text(&row, "prompt", prompt->text);
    temper_row_text(&row, "trait", a->character->traits[t].trait);
    temper_row_integer(&row, "trait_index", t);
    temper_row_string(&row, "source", prompt->source);
    return temper_row_write(&row, output, a->host, error);
}

/* Which prompts of a trait are held out is drawn; both outputs keep the order of the traits and prompts. */
static temper_status write_prompts(const asked *a, const ask_parameters *p, ask_counts *counts,
                                   temper_error *error) {
    temper_output *prompts = NULL, *held_out = NULL;
    uint64_t key = a->host->rng_key(a->host, "held_out");
    size_t t, i;
    const size_t *order;
    temper_status status;
    if ((status = a->host->output(a->host, "prompts", &prompts, error)) ||
        (status = a->host->output(a->host, "held_out", &held_out, error))) {
        return status;
    }
    for (t = 0; t < a->character->count; t++) {
        if (!temper_permutation(a->pool, key, t, a->counts[t], &order)) {
            return temper_no_memory(error);
        }
        for (i = 0; i < a->counts[t]; i++) {
            const asked_prompt *prompt = &a->prompts[t][i];
            bool apart = order[i] < (size_t)p->held_out;
            status = write_prompt(a, t, prompt, apart ? held_out : prompts, error);
            if (status) {
                return status;
            }
            counts->held_out += apart;
            counts->prompts += !apart;
            counts->questions += strcmp(prompt->source, "questions") == 0;
            counts->additional += strcmp(prompt->source, "additional_questions") == 0;
            counts->generated += strcmp(prompt->source, "generated") == 0;
        }
    }
    return TEMPER_OK;
}

static temper_status write_metrics(const asked *a, const ask_counts *counts, temper_error *error) {
    temper_output *output = NULL;
    temper_row row;
    temper_status status = a->host->output(a->host, "metrics", &output, error);
    if (status) {
        return status;
    }
    temper_row_begin(&row, a->host);
    temper_row_integer(&row, "traits", a->character->count);
    temper_row_integer(&row, "prompts", counts->prompts);
    temper_row_integer(&row, "held_out", counts->held_out);
    temper_row_integer(&row, "from_questions", counts->questions);
    temper_row_integer(&row, "from_additional_questions", counts->additional);
    temper_row_integer(&row, "generated", counts->generated);
    temper_row_integer(&row, "attempts", a->attempts);
    temper_row_integer(&row, "refused_surplus", a->surplus);
    temper_row_integer(&row, "refused_near_duplicate", a->near_duplicates);
    temper_row_integer(&row, "refused_unfinished", a->unfinished);
    temper_row_integer(&row, "refused_unusable", a->unusable);
    return temper_row_metrics(&row, output, a->host, error);
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const ask_parameters *p = self;
    asked a = {.host = host, .pool = temper_pool_new(host)};
    ask_counts counts = {0, 0, 0, 0, 0};
    temper_character character;
    temper_status status;
    if (a.pool == NULL) {
        return temper_no_memory(error);
    }
    if (p->held_out >= p->per_trait) {
        status = temper_fail(error, TEMPER_INVALID,
                             "held_out is %lld of per_trait %lld: nothing is left to train on",
                             (long long)p->held_out, (long long)p->per_trait);
        goto out;
    }
    if ((status = temper_character_read(host, a.pool, host->input(host, "character"), &character, error)) ||
        (status = host->output(host, "refused", &a.refused, error)) ||
        (status = start(&a, host, p, &character, error)) || (status = take_from_file(&a, error)) ||
        (status = generate(&a, p, error)) || (status = write_prompts(&a, p, &counts, error))) {
        goto out;
    }
    host->progress(host, counts.prompts + counts.held_out, counts.prompts + counts.held_out, "prompts", NULL);
    status = write_metrics(&a, &counts, error);
out:
    temper_pool_free(a.pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "the model that makes up what the character file lacks"),
    TEMPER_PORT(TEMPER_CHARACTER, "character", 0, "trait, questions, additional_questions", "the character"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "prompts", 0, "prompt, trait, trait_index, source", "prompts to train on"),
    TEMPER_PORT(TEMPER_RECORDS, "held_out", 0, "prompt, trait, trait_index, source",
                "prompts for eval.character, unlike all of the others"),
    TEMPER_PORT(
        TEMPER_RECORDS, "refused", 0, "rule, prompt, like, trait_index, source",
        "what was not taken: near_duplicate (of `like`), unfinished, unusable, or surplus to per_trait"),
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "",
                "traits, prompts, held_out, from_questions, from_additional_questions, generated, attempts, "
                "refused_surplus, refused_near_duplicate, refused_unfinished, refused_unusable"),
    NULL};

const temper_stage constitution_ask_stage = {
    .size = sizeof(temper_stage),
    .revision = 2,
    .name = "ask",
    .doc = "prompts that let a character show: the character file's own, and the model's where they do not "
           "suffice",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = ask_parameter_table,
    .parameters_size = sizeof(ask_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};
