/* character.c: see character.h. */
#include "support/character.h"

static temper_status read_questions(const temper_json_api *json, const temper_json *record, const char *name,
                                    size_t number, temper_span *out, size_t *count, temper_error *error) {
    const temper_json *list = json->member(record, name);
    size_t i;
    if (list == NULL || json->kind(list) == TEMPER_JSON_NULL) {
        return TEMPER_OK;
    }
    if (json->kind(list) != TEMPER_JSON_ARRAY) {
        return temper_fail(error, TEMPER_INVALID, "character, trait %zu: \"%s\" must be an array of strings",
                           number, name);
    }
    for (i = 0; i < json->length(list); i++) {
        temper_span *question = &out[*count];
        question->data = json->string(json->element(list, i), &question->length);
        if (question->data == NULL) {
            return temper_fail(error, TEMPER_INVALID, "character, trait %zu: \"%s\"[%zu] is no string",
                               number, name, i + 1);
        }
        *question = temper_span_trim(*question);
        *count += question->length > 0;
    }
    return TEMPER_OK;
}

static temper_status read_trait(const temper_json_api *json, temper_pool *pool, const temper_json *record,
                                size_t number, temper_trait *trait, temper_error *error) {
    size_t room = json->length(json->member(record, "questions")) +
                  json->length(json->member(record, "additional_questions"));
    temper_span *questions = temper_pool_take(pool, room + 1, sizeof *questions);
    temper_status status;
    if (questions == NULL) {
        return temper_no_memory(error);
    }
    if (!temper_record_string(json, record, "trait", &trait->trait) ||
        temper_span_trim(trait->trait).length == 0) {
        return temper_fail(error, TEMPER_INVALID, "character, trait %zu: \"trait\" must be a sentence",
                           number);
    }
    trait->trait = temper_span_trim(trait->trait);
    trait->instruction = trait->trait;
    if (json->member(record, "instruction") != NULL) {
        if (!temper_record_string(json, record, "instruction", &trait->instruction)) {
            return temper_fail(error, TEMPER_INVALID,
                               "character, trait %zu: \"instruction\" must be a string", number);
        }
        trait->instruction = temper_span_trim(trait->instruction);
    }
    trait->questions = questions;
    status = read_questions(json, record, "questions", number, questions, &trait->question_count, error);
    trait->first_count = trait->question_count;
    if (status == TEMPER_OK) {
        status = read_questions(json, record, "additional_questions", number, questions,
                                &trait->question_count, error);
    }
    return status;
}

temper_status temper_character_read(const temper_host *host, temper_pool *pool, const temper_input *input,
                                    temper_character *out, temper_error *error) {
    temper_records records;
    temper_trait *traits;
    size_t i;
    temper_status status = temper_records_all(host, pool, input, &records, error);
    if (status) {
        return status;
    }
    if (records.count == 0) {
        return temper_fail(error, TEMPER_INVALID, "the character has no traits");
    }
    traits = temper_pool_take(pool, records.count, sizeof *traits);
    if (traits == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < records.count && status == TEMPER_OK; i++) {
        status = read_trait(host->json, pool, records.items[i], i + 1, &traits[i], error);
    }
    out->traits = traits;
    out->count = records.count;
    return status;
}

/* `pattern` with {traits} replaced; the text is in the pool. */
static bool fill(temper_pool *pool, temper_span pattern, size_t hole, temper_span traits, temper_span *out) {
    static const size_t hole_length = sizeof "{traits}" - 1;
    char *text = temper_pool_take(pool, pattern.length - hole_length + traits.length + 1, 1);
    if (text == NULL) {
        return false;
    }
    memcpy(text, pattern.data, hole);
    memcpy(text + hole, traits.data, traits.length);
    memcpy(text + hole + traits.length, pattern.data + hole + hole_length,
           pattern.length - hole - hole_length);
    out->data = text;
    out->length = pattern.length - hole_length + traits.length;
    return true;
}

static temper_status build(temper_pool *pool, const temper_character *character, size_t own,
                           const temper_model_service *service, temper_model *model, temper_span pattern,
                           size_t hole, uint64_t most, uint64_t budget, temper_instruction *out,
                           temper_error *error) {
    size_t room = 1, i, used = 0;
    temper_span joined, candidate;
    char *text;
    uint64_t tokens;
    for (i = 0; i < character->count; i++) {
        room += character->traits[i].instruction.length + 1;
    }
    text = temper_pool_take(pool, room, 1);
    if (text == NULL) {
        return temper_no_memory(error);
    }
    joined.data = text;
    joined.length = 0;
    for (i = 0; i <= character->count && (most == 0 || used < most); i++) {
        size_t which = i == 0 ? own : i - 1, length = joined.length;
        temper_span sentence = character->traits[which].instruction;
        temper_status status;
        if (i > 0 && which == own) {
            continue;
        }
        if (used > 0) {
            text[length++] = ' ';
        }
        memcpy(text + length, sentence.data, sentence.length);
        candidate.data = text;
        candidate.length = length + sentence.length;
        if (used > 0 && budget > 0) {
            temper_span whole;
            if (!fill(pool, pattern, hole, candidate, &whole)) {
                return temper_no_memory(error);
            }
            status = service->count_tokens(model, whole.data, whole.length, &tokens, error);
            if (status) {
                return status;
            }
            if (tokens > budget) {
                break;
            }
        }
        joined = candidate;
        used++;
    }
    out->left_out = character->count - used;
    return fill(pool, pattern, hole, joined, &out->text) ? TEMPER_OK : temper_no_memory(error);
}

temper_status temper_character_instructions(temper_pool *pool, const temper_character *character,
                                            const temper_model_service *service, temper_model *model,
                                            const char *pattern, uint64_t most,
                                            const temper_instruction **out, temper_error *error) {
    const char *hole = strstr(pattern, "{traits}");
    temper_instruction *all;
    temper_model_info info = {.size = sizeof info};
    temper_status status = TEMPER_OK;
    size_t i;
    if (hole == NULL) {
        return temper_fail(error, TEMPER_INVALID, "instruction: \"%s\" does not say where the {traits} go",
                           pattern);
    }
    all = temper_pool_take(pool, character->count, sizeof *all);
    if (all == NULL) {
        return temper_no_memory(error);
    }
    service->info(model, &info);
    for (i = 0; i < character->count && status == TEMPER_OK; i++) {
        status = build(pool, character, i, service, model, temper_span_of(pattern), (size_t)(hole - pattern),
                       most, info.context / 4, &all[i], error);
    }
    *out = all;
    return status;
}
