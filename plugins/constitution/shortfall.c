/* shortfall.c: the model asks the questions that are missing.
 *
 * Rounds: each round makes one request for every prompt still missing, reads the answers in order and offers them. A
 * request shows a few prompts of the trait, drawn anew each time, and lets the model go on: as a numbered list of plain
 * text, which any model can continue, or as a message to a chat model. What a request draws depends on its number
 * alone, so the batch it happened to share shows nowhere. */
#include "constitution.h"

#include <temper/rng.h>

enum { SHOTS = 5, LONGEST_PROMPT = 600 };

typedef struct round_state {
    asked *a;
    size_t *traits; /* of each request */
} round_state;

/* One line of the answer that can be a prompt: no list number, no quotes around it. Returns why it cannot, or NULL. */
static const char *clean(const temper_generated *answer, temper_span *out) {
    temper_span text = {answer->text, answer->length};
    size_t end, digits;
    *out = text = temper_span_trim(text);
    for (end = 0; end < text.length && text.data[end] != '\n'; end++) {
    }
    if (end == text.length && answer->finish == TEMPER_FINISH_LENGTH) {
        return "unfinished";
    }
    text.length = end;
    for (digits = 0; digits < text.length && text.data[digits] >= '0' && text.data[digits] <= '9'; digits++) {
    }
    if (digits > 0 && digits < text.length && (text.data[digits] == '.' || text.data[digits] == ')')) {
        text.data += digits + 1;
        text.length -= digits + 1;
    } else if (text.length > 1 && (text.data[0] == '-' || text.data[0] == '*') && text.data[1] == ' ') {
        text.data += 2;
        text.length -= 2;
    }
    text = temper_span_trim(text);
    if (text.length >= 2 && text.data[0] == '"' && text.data[text.length - 1] == '"') {
        text.data++;
        text.length -= 2;
    }
    text = temper_span_trim(text);
    if (text.length > LONGEST_PROMPT || temper_text_words(text) == 0) {
        return "unusable";
    }
    *out = text;
    return NULL;
}

static temper_status take(void *context, size_t index, const temper_generated *answer, temper_error *error) {
    static const temper_span none = {"", 0};
    round_state *round = context;
    size_t trait = round->traits[index];
    temper_span text;
    const char *rule = clean(answer, &text);
    round->a->attempts++;
    return rule != NULL ? asked_refuse(round->a, trait, text, "generated", rule, none, error)
                        : asked_offer(round->a, trait, text, "generated", error);
}

/* The prompt shown as number `shot` of request `number`: of the trait itself while it has any, else of the others. */
static const asked_prompt *example(const asked *a, size_t trait, const shortfall_options *options,
                                   uint64_t number, uint64_t shot) {
    size_t total = 0, t, pick;
    if (a->counts[trait] > 0) {
        return &a->prompts[trait][temper_random_below(options->key, number, shot, a->counts[trait])];
    }
    for (t = 0; t < a->character->count; t++) {
        total += a->counts[t];
    }
    if (total == 0) {
        return NULL;
    }
    pick = (size_t)temper_random_below(options->key, number, shot, total);
    for (t = 0; pick >= a->counts[t]; t++) {
        pick -= a->counts[t];
    }
    return &a->prompts[t][pick];
}

/* Up to SHOTS different examples. */
static size_t examples(const asked *a, size_t trait, const shortfall_options *options, uint64_t number,
                       const asked_prompt *out[SHOTS]) {
    size_t count = 0, i;
    uint64_t shot;
    for (shot = 0; shot < 4 * SHOTS && count < SHOTS; shot++) {
        const asked_prompt *one = example(a, trait, options, number, shot);
        for (i = 0; i < count && out[i] != one; i++) {
        }
        if (one != NULL && i == count) {
            out[count++] = one;
        }
    }
    return count;
}

static void write_list(temper_buffer *text, const asked_prompt *const *shots, size_t count) {
    size_t i;
    temper_buffer_text(text, "Questions people ask:\n");
    for (i = 0; i < count; i++) {
        temper_buffer_format(text, "%zu. ", i + 1);
        temper_buffer_span(text, shots[i]->text);
        temper_buffer_text(text, "\n");
    }
    temper_buffer_format(text, "%zu.", count + 1);
}

static void write_chat(temper_buffer *text, temper_span trait, const asked_prompt *const *shots,
                       size_t count) {
    size_t i;
    temper_buffer_text(text, "Somebody has this trait: ");
    temper_buffer_span(text, trait);
    temper_buffer_text(text, "\nPeople sent them these messages, which let the trait show:\n");
    for (i = 0; i < count; i++) {
        temper_buffer_text(text, "- ");
        temper_buffer_span(text, shots[i]->text);
        temper_buffer_text(text, "\n");
    }
    temper_buffer_text(text,
                       "Write one more message of this kind, unlike these. Answer with the message alone.");
}

/* The text of one request, in the pool. Examples are left out from the last on until it fits half the context. */
static temper_status write_request(asked *a, size_t trait, const shortfall_options *options, uint64_t number,
                                   uint64_t context, temper_span *out, temper_error *error) {
    const asked_prompt *shots[SHOTS];
    size_t count = examples(a, trait, options, number, shots);
    temper_buffer text;
    uint64_t tokens = 0;
    temper_status status = TEMPER_OK;
    temper_buffer_init(&text, a->host);
    for (;; count--) {
        temper_buffer_clear(&text);
        if (strcmp(options->method, "chat") == 0) {
            write_chat(&text, a->character->traits[trait].trait, shots, count);
        } else {
            write_list(&text, shots, count);
        }
        if (text.failed) {
            status = temper_no_memory(error);
            break;
        }
        status = options->service->count_tokens(options->model, text.data, text.length, &tokens, error);
        if (status || context == 0 || tokens <= context / 2 || count == 0) {
            break;
        }
    }
    if (status == TEMPER_OK) {
        out->data = temper_pool_copy(a->pool, text.data, text.length);
        out->length = text.length;
        status = out->data == NULL ? temper_no_memory(error) : TEMPER_OK;
    }
    temper_buffer_free(&text);
    return status;
}

static size_t missing(const asked *a) {
    size_t total = 0, t;
    for (t = 0; t < a->character->count; t++) {
        total += a->wanted - a->counts[t];
    }
    return total;
}

static temper_status ask_round(asked *a, const shortfall_options *options, uint64_t *number, uint64_t context,
                               temper_error *error) {
    static const temper_span none = {"", 0};
    size_t count = missing(a), n = 0, t, i;
    temper_generate_request *requests = temper_pool_take(a->pool, count, sizeof *requests);
    round_state round = {a, temper_pool_take(a->pool, count, sizeof(size_t))};
    temper_status status;
    if (requests == NULL || round.traits == NULL) {
        return temper_no_memory(error);
    }
    for (t = 0; t < a->character->count; t++) {
        for (i = a->counts[t]; i < a->wanted; i++, n++) {
            temper_generate_request *request = &requests[n];
            temper_span text;
            status = write_request(a, t, options, *number, context, &text, error);
            if (status) {
                return status;
            }
            request->size = sizeof *request;
            if (strcmp(options->method, "chat") == 0) {
                temper_conversation talk = temper_conversation_make(a->pool, true, none, text, NULL);
                if (talk.messages == NULL) {
                    return temper_no_memory(error);
                }
                request->messages = talk.messages;
                request->message_count = talk.count;
            } else {
                request->text = text.data;
                request->text_length = text.length;
            }
            request->max_tokens = options->max_tokens;
            request->temperature = options->temperature;
            request->top_p = options->top_p;
            request->top_k = options->top_k;
            request->key = options->key;
            request->stream =
                UINT64_C(1) << 32 | *number; /* the upper half: apart from the draws of examples */
            round.traits[n] = t;
            ++*number;
        }
    }
    return temper_generate_all(a->host, options->service, options->model, requests, n, "questions", take,
                               &round, error);
}

temper_status asked_fill_shortfall(asked *a, const shortfall_options *options, temper_error *error) {
    temper_model_info info = {.size = sizeof info};
    uint64_t number = 0, round;
    size_t t, first = missing(a);
    temper_status status = TEMPER_OK;
    char detail[96];
    options->service->info(options->model, &info);
    if (strcmp(options->method, "chat") == 0 && !info.has_chat_template) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "the model has no chat template: let it continue a list, method = \"list\"");
    }
    for (round = 0; round < options->attempts && missing(a) > 0 && status == TEMPER_OK; round++) {
        status = ask_round(a, options, &number, info.context, error);
        snprintf(detail, sizeof detail, "round %llu: %zu of %zu still missing", (unsigned long long)round + 1,
                 missing(a), first);
        a->host->progress(a->host, first - missing(a), first, "questions", detail);
        if (status == TEMPER_OK && a->host->cancelled(a->host)) {
            status = temper_fail(error, TEMPER_CANCELLED, "stopped with %s", detail);
        }
    }
    if (status || missing(a) == 0) {
        return status;
    }
    for (t = 0; a->counts[t] == a->wanted; t++) {
    }
    return temper_fail(
        error, TEMPER_FAILED,
        "%zu of %zu prompts are missing after %llu rounds of asking the model; the first short trait is "
        "number %zu, which reached %zu of %zu (refused: %llu too alike, %llu unfinished, %llu unusable). "
        "Add questions to the character file, lower per_trait, or raise attempts or similarity",
        missing(a), a->wanted * a->character->count, (unsigned long long)options->attempts, t + 1,
        a->counts[t], a->wanted, (unsigned long long)a->near_duplicates, (unsigned long long)a->unfinished,
        (unsigned long long)a->unusable);
}
