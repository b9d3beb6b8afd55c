/* world.c: the plugin `tinyworld`: dialogues of a little world, to train tiny-chat on and to measure it with.
 *
 * It lives on the public headers alone and builds out of this tree (see CMakeLists.txt): copy it to begin your own. */
#include <string.h>
#include <temper/plugin.h>
#include <temper/rng.h>

#include "grammar.h"

/* ---- what both stages share ---- */

enum { HELD_OUT_SHARE = 16 }; /* one turn in so many belongs to the held-out split */

/* A turn belongs to the split its own text says, so no held-out text can turn up in training under another number. A
 * chat's answer says it alone: it fits several questions, and one that was trained on after another question would be no
 * text that was never trained on, as the classifier of manners is promised. */
static int is_held_out(grammar_kind kind, const grammar_turn *turn) {
    uint64_t hash = 0xcbf29ce484222325u;
    if (kind != GRAMMAR_CHAT) {
        hash = grammar_fingerprint(turn->question, hash);
    }
    hash = grammar_fingerprint(turn->answer, hash);
    return (hash ^ hash >> 32) % HELD_OUT_SHARE == 0;
}

static void turn_of_split(grammar_dice *dice, grammar_kind kind, size_t manner, const size_t *traits,
                          size_t count, int held_out, grammar_turn *turn) {
    do {
        grammar_make_turn(dice, kind, manner, traits, count, turn);
    } while (is_held_out(kind, turn) != held_out);
}

static int has_string(const temper_strings *list, const char *text) {
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i], text) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Some traits of a manner in some order: 1 to 3 of them, as an instruction would hold them. */
static size_t choose_traits(grammar_dice *dice, size_t traits[GRAMMAR_TRAITS]) {
    size_t count = 1 + grammar_roll(dice, GRAMMAR_TRAITS);
    for (size_t i = 0; i < GRAMMAR_TRAITS; i++) {
        traits[i] = i;
    }
    for (size_t i = GRAMMAR_TRAITS - 1; i > 0; i--) {
        size_t j = grammar_roll(dice, i + 1), kept = traits[i];
        traits[i] = traits[j];
        traits[j] = kept;
    }
    return count;
}

static temper_json *message(const temper_json_api *json, temper_arena *arena, const char *role,
                            const char *content) {
    temper_json *object = json->new_object(arena);
    if (object == NULL || !json->set(arena, object, "role", json->new_string(arena, role, strlen(role))) ||
        !json->set(arena, object, "content", json->new_string(arena, content, strlen(content)))) {
        return NULL;
    }
    return object;
}

/* ---- tinyworld.dialogues ---- */

#define DIALOGUES(P, S)                                                                                      \
    P(S, integer, count, "count", "1000", 1, 10000000, "dialogues", "", "how many dialogues to make", "0.1") \
    P(S, string, split, "split", "\"train\"", 1, 0, "", "train|held_out",                                    \
      "which side of the split the turns come from: no turn, and no chat's answer, is on both", "0.1")       \
    P(S, strings, kinds, "kinds", "[\"chat\",\"story\",\"fact\"]", 1, 0, "", "",                             \
      "kinds of dialogue to make: chat, story, fact; only a chat shows manner", "0.1")                       \
    P(S, flag, characters, "characters", "true", 1, 0, "", "",                                               \
      "whether some dialogues begin with a character's traits as the system message", "0.1")
TEMPER_PARAMETERS(dialogues, DIALOGUES)

static temper_status dialogues_create(const temper_host *host, const void *parameters, void **self,
                                      temper_error *error) {
    const dialogues_parameters *given = parameters;
    (void)host;
    if (given->kinds.count == 0) {
        return temper_fail(error, TEMPER_INVALID, "kinds is empty: give at least one of chat, story, fact");
    }
    for (size_t i = 0; i < given->kinds.count; i++) {
        const char *kind = given->kinds.items[i];
        if (strcmp(kind, "chat") != 0 && strcmp(kind, "story") != 0 && strcmp(kind, "fact") != 0) {
            return temper_fail(error, TEMPER_INVALID, "kinds: \"%s\" is none of chat, story, fact", kind);
        }
    }
    *self = (void *)(uintptr_t)given;
    return TEMPER_OK;
}

static grammar_kind choose_kind(grammar_dice *dice, const temper_strings *kinds) {
    static const char *const names[] = {"chat", "story", "fact"};
    static const grammar_kind weighted[] = {GRAMMAR_CHAT, GRAMMAR_CHAT,  GRAMMAR_CHAT,  GRAMMAR_CHAT,
                                            GRAMMAR_CHAT, GRAMMAR_STORY, GRAMMAR_STORY, GRAMMAR_FACT};
    for (;;) {
        grammar_kind kind = weighted[grammar_roll(dice, sizeof weighted / sizeof *weighted)];
        if (has_string(kinds, names[kind])) {
            return kind;
        }
    }
}

/* The system message: none, a neutral one (both plain), or a character's traits. Returns the manner. */
static size_t choose_system(grammar_dice *dice, int characters, size_t *traits, size_t *count, char *system) {
    *count = 0;
    system[0] = 0;
    if (!characters || grammar_roll(dice, 10) < 4) {
        if (characters && grammar_roll(dice, 4) == 0) {
            strcpy(system, "You are a helpful assistant.");
        }
        return 0;
    }
    size_t manner = 1 + grammar_roll(dice, grammar_manners() - 1);
    *count = choose_traits(dice, traits);
    for (size_t i = 0; i < *count; i++) {
        strcat(system, i > 0 ? " " : "");
        strcat(system, grammar_trait(manner, traits[i]));
    }
    return manner;
}

static const temper_json *make_dialogue(const temper_host *host, const dialogues_parameters *given,
                                        temper_arena *arena, uint64_t key, uint64_t number) {
    const temper_json_api *json = host->json;
    grammar_dice dice = {key, number, 0};
    size_t traits[GRAMMAR_TRAITS], count;
    char system[GRAMMAR_TEXT];
    size_t manner = choose_system(&dice, given->characters, traits, &count, system);
    size_t turns = grammar_roll(&dice, 3) == 0 ? 2 : 1;
    temper_json *record = json->new_object(arena), *messages = json->new_array(arena);
    if (record == NULL || messages == NULL ||
        (system[0] != 0 && !json->append(arena, messages, message(json, arena, "system", system)))) {
        return NULL;
    }
    for (size_t i = 0; i < turns; i++) {
        grammar_turn turn;
        turn_of_split(&dice, choose_kind(&dice, &given->kinds), manner, traits, count,
                      strcmp(given->split, "held_out") == 0, &turn);
        if (!json->append(arena, messages, message(json, arena, "user", turn.question)) ||
            !json->append(arena, messages, message(json, arena, "assistant", turn.answer))) {
            return NULL;
        }
    }
    const char *name = grammar_manner_name(manner);
    if (!json->set(arena, record, "messages", messages) ||
        !json->set(arena, record, "manner", json->new_string(arena, name, strlen(name)))) {
        return NULL;
    }
    return record;
}

static temper_status dialogues_run(void *self, const temper_host *host, temper_error *error) {
    const dialogues_parameters *given = self;
    const uint64_t key = host->rng_key(host, "dialogues"), total = (uint64_t)given->count;
    temper_output *output;
    temper_status status = host->output(host, "dialogues", &output, error);
    for (uint64_t i = 0; status == TEMPER_OK && i < total; i++) {
        if (host->cancelled(host)) {
            return TEMPER_CANCELLED;
        }
        temper_arena *arena = host->json->arena_new();
        const temper_json *record = arena == NULL ? NULL : make_dialogue(host, given, arena, key, i);
        status = record == NULL
                     ? temper_fail(error, TEMPER_NO_MEMORY, "dialogue %llu: no memory", (unsigned long long)i)
                     : host->write_record(output, record, error);
        if (arena != NULL) {
            host->json->arena_free(arena);
        }
        host->progress(host, i + 1, total, "dialogues", NULL);
    }
    return status;
}

/* ---- tinyworld.manners ---- */

#define MANNERS(P, S)                                                                                        \
    P(S, integer, per_manner, "per_manner", "200", 2, 1000000, "texts", "",                                  \
      "how many answers to make a manner", "0.1")
TEMPER_PARAMETERS(manners, MANNERS)

static temper_status manners_create(const temper_host *host, const void *parameters, void **self,
                                    temper_error *error) {
    (void)host, (void)error;
    *self = (void *)(uintptr_t)parameters;
    return TEMPER_OK;
}

/* Held-out answers with the manner that made them: what a classifier of manners is fitted on and checked with. */
static temper_status manners_run(void *self, const temper_host *host, temper_error *error) {
    const manners_parameters *given = self;
    const temper_json_api *json = host->json;
    const uint64_t key = host->rng_key(host, "manners"), each = (uint64_t)given->per_manner;
    const uint64_t total = each * grammar_manners();
    temper_output *output;
    temper_status status = host->output(host, "examples", &output, error);
    for (uint64_t i = 0; status == TEMPER_OK && i < total; i++) {
        size_t manner = (size_t)(i % grammar_manners()), traits[GRAMMAR_TRAITS];
        grammar_dice dice = {key, i, 0};
        size_t count = manner == 0 ? 0 : choose_traits(&dice, traits);
        grammar_turn turn;
        turn_of_split(&dice, GRAMMAR_CHAT, manner, traits, count, 1, &turn);
        temper_arena *arena = json->arena_new();
        temper_json *record = arena == NULL ? NULL : json->new_object(arena);
        const char *name = grammar_manner_name(manner);
        if (record == NULL ||
            !json->set(arena, record, "text", json->new_string(arena, turn.answer, strlen(turn.answer))) ||
            !json->set(arena, record, "manner", json->new_string(arena, name, strlen(name)))) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "example %llu: no memory", (unsigned long long)i);
        } else {
            status = host->write_record(output, record, error);
        }
        if (arena != NULL) {
            json->arena_free(arena);
        }
    }
    return status;
}

/* ---- the description ---- */

static void nothing_to_destroy(void *self) {
    (void)self;
}

static const temper_port *const no_inputs[] = {NULL};
static const temper_port *const dialogues_outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "dialogues", 0, "messages, manner", "conversations of one or two turns"),
    NULL};
static const temper_port *const manners_outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "examples", 0, "text, manner", "answers by manner, from the held-out split"),
    NULL};

static const temper_stage dialogues_stage = {
    .size = sizeof(temper_stage),
    .revision = 2,
    .name = "dialogues",
    .doc = "Dialogues of the little world: chats (plain, or in a character's manner), stories and facts.",
    .inputs = no_inputs,
    .outputs = dialogues_outputs,
    .parameters = dialogues_parameter_table,
    .parameters_size = sizeof(dialogues_parameters),
    .create = dialogues_create,
    .run = dialogues_run,
    .destroy = nothing_to_destroy,
};

static const temper_stage manners_stage = {
    .size = sizeof(temper_stage),
    .revision = 2,
    .name = "manners",
    .doc = "Answers in every manner, each labelled with it, from turns outside the training split (the same "
           "words may "
           "have answered another question there).",
    .inputs = no_inputs,
    .outputs = manners_outputs,
    .parameters = manners_parameter_table,
    .parameters_size = sizeof(manners_parameters),
    .create = manners_create,
    .run = manners_run,
    .destroy = nothing_to_destroy,
};

static const temper_stage *const stages[] = {&dialogues_stage, &manners_stage, NULL};

static const temper_plugin plugin = {
    .size = sizeof(temper_plugin),
    .name = "tinyworld",
    .version = "0.1.0",
    .author = "The Temper authors",
    .license = "Apache-2.0",
    .doc = "A little world to train and measure tiny-chat in.",
    .stages = stages,
};

temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **out) {
    (void)hello;
    *out = &plugin;
    return TEMPER_OK;
}
