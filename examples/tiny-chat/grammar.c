/* grammar.c: patterns to sentences. */
#include "grammar.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <temper/rng.h>

#include "words.h"

enum {
    POOLS = sizeof words_pools / sizeof *words_pools,
    TOPICS = sizeof words_topics / sizeof *words_topics,
    MANNERS = sizeof words_manners / sizeof *words_manners
};

size_t grammar_roll(grammar_dice *dice, size_t sides) {
    return (size_t)temper_random_below(dice->key, dice->stream, dice->count++, sides);
}

static const char *pick(grammar_dice *dice, const char *const *items) {
    size_t count = 0;
    while (items[count] != NULL) {
        count++;
    }
    return items[grammar_roll(dice, count)];
}

/* Words that keep their value while question and answer are made, so that the answer is about what was asked. */
typedef struct grammar_scene {
    const words_topic *topic;
    const char *feeling, *task, *when, *person, *animal, *name, *name2;
    const char *known, *answer; /* of a fact */
} grammar_scene;

static void set_scene(grammar_dice *dice, grammar_scene *scene) {
    scene->topic = &words_topics[grammar_roll(dice, TOPICS)];
    scene->feeling = pick(dice, words_feeling);
    scene->task = pick(dice, words_task);
    scene->when = pick(dice, words_when);
    scene->person = pick(dice, words_person);
    scene->animal = pick(dice, words_animal);
    scene->name = pick(dice, words_name);
    do {
        scene->name2 = pick(dice, words_name);
    } while (scene->name2 == scene->name);
}

static const char *fixed_word(const grammar_scene *scene, const char *slot) {
    const struct {
        const char *slot, *word;
    } fixed[] = {
        {"topic", scene->topic->topic}, {"quality", scene->topic->quality},
        {"place", scene->topic->place}, {"habit", scene->topic->habit},
        {"feeling", scene->feeling},    {"task", scene->task},
        {"when", scene->when},          {"person", scene->person},
        {"animal", scene->animal},      {"name", scene->name},
        {"name2", scene->name2},        {"known", scene->known},
        {"answer", scene->answer},
    };
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        if (strcmp(slot, fixed[i].slot) == 0) {
            return fixed[i].word;
        }
    }
    return NULL;
}

static const char *slot_word(grammar_dice *dice, const grammar_scene *scene, const char *slot) {
    const char *word = fixed_word(scene, slot);
    for (size_t i = 0; word == NULL && i < POOLS; i++) {
        if (strcmp(slot, words_pools[i].name) == 0) {
            word = pick(dice, words_pools[i].items);
        }
    }
    return word;
}

/* What the user says of "my sister" the answer says of "your sister". */
static const char *turned(const char *word, char *room, size_t size) {
    if (strncmp(word, "my ", 3) != 0) {
        return word;
    }
    snprintf(room, size, "your %s", word + 3);
    return room;
}

/* Appends the pattern with its slots filled. Patterns are part of this program: a slot without a pool is a bug, and the
 * test that expands every pattern finds it as a "?" in the text. */
static void expand(grammar_dice *dice, const grammar_scene *scene, const char *pattern, int answering,
                   char *out, size_t size) {
    size_t length = strlen(out);
    char slot[16], room[64];
    while (*pattern != 0 && length + 1 < size) {
        if (*pattern != '{') {
            out[length++] = *pattern++;
            continue;
        }
        const char *end = strchr(pattern, '}');
        size_t name_length = (size_t)(end - pattern - 1);
        int capital = isupper((unsigned char)pattern[1]);
        snprintf(slot, sizeof slot, "%.*s", (int)name_length, pattern + 1);
        slot[0] = (char)tolower((unsigned char)slot[0]);
        const char *word = slot_word(dice, scene, slot);
        word = word == NULL ? "?" : answering ? turned(word, room, sizeof room) : word;
        length += (size_t)snprintf(out + length, size - length, "%s", word);
        if (capital && length < size) {
            size_t first = length - strlen(word);
            out[first] = (char)toupper((unsigned char)out[first]);
        }
        pattern = end + 1;
    }
    out[length < size ? length : size - 1] = 0;
}

size_t grammar_manners(void) {
    return MANNERS;
}

const char *grammar_manner_name(size_t manner) {
    return words_manners[manner].name;
}

const char *grammar_trait(size_t manner, size_t trait) {
    return words_manners[manner].traits[trait];
}

/* A chat's answer: the manner's way with this intent, then, for a character, a tail of one of the traits it was given:
 * so each trait can be seen in the text. */
static void make_chat(grammar_dice *dice, const grammar_scene *scene, size_t manner, const size_t *traits,
                      size_t count, grammar_turn *turn) {
    const words_manner *way = &words_manners[manner];
    size_t intent = grammar_roll(dice, INTENTS);
    expand(dice, scene, pick(dice, words_questions[intent]), 0, turn->question, sizeof turn->question);
    expand(dice, scene, pick(dice, way->answers[intent]), 1, turn->answer, sizeof turn->answer);
    if (count > 0) {
        /* the first trait of the instruction speaks most often */
        size_t which = grammar_roll(dice, 3) > 0 ? 0 : grammar_roll(dice, count);
        strncat(turn->answer, " ", sizeof turn->answer - strlen(turn->answer) - 1);
        expand(dice, scene, pick(dice, way->tails[traits[which]]), 1, turn->answer, sizeof turn->answer);
    }
}

static void make_story(grammar_dice *dice, const grammar_scene *scene, grammar_turn *turn) {
    expand(dice, scene, pick(dice, words_story_questions), 0, turn->question, sizeof turn->question);
    expand(dice, scene, pick(dice, words_stories), 0, turn->answer, sizeof turn->answer);
}

static const char *const numbers[] = {"zero",  "one",   "two",  "three", "four",   "five",  "six",
                                      "seven", "eight", "nine", "ten",   "eleven", "twelve"};
static const char *const opposites[][2] = {{"hot", "cold"},   {"big", "small"}, {"old", "young"},
                                           {"dark", "light"}, {"wet", "dry"},   {"early", "late"},
                                           {"loud", "quiet"}, {"slow", "fast"}, {"empty", "full"},
                                           {"hard", "soft"},  {"up", "down"},   {"left", "right"}};
static const char *const homes[][2] = {{"fox", "a den"},  {"bear", "a cave"},    {"bird", "a nest"},
                                       {"bee", "a hive"}, {"fish", "the water"}, {"horse", "a stable"},
                                       {"hen", "a coop"}, {"dog", "a kennel"}};

/* Every fact has several wordings, so that a held-out wording asks for a fact that training told in other words: what
 * is held out can be known. */
typedef struct fact_wordings {
    const char *const questions[4], *const answers[4];
} fact_wordings;

static const fact_wordings sum_wordings = {
    {"What is {known}?", "How much is {known}?", "Please count {known}.", NULL},
    {"That makes {answer}.", "It is {answer}.", "{Known} is {answer}.", NULL}};
static const fact_wordings opposite_wordings = {
    {"What is the opposite of {known}?", "Tell me the opposite of {known}.", "What is not {known}?", NULL},
    {"The opposite of {known} is {answer}.", "It is {answer}.", "Not {known} is {answer}.", NULL}};
static const fact_wordings home_wordings = {
    {"Where does a {known} live?", "What is the home of a {known}?", "Where can I find a {known}?", NULL},
    {"A {known} lives in {answer}.", "In {answer}.", "The home of a {known} is {answer}.", NULL}};
static const fact_wordings first_wordings = {
    {"My friends are {known} and I. Who is first?", "Here come {known} and I. Who is first?",
     "Name the first of {known} and me.", NULL},
    {"{Answer} is first.", "The first is {answer}.", "It is {answer}.", NULL}};

static void word_fact(grammar_dice *dice, const fact_wordings *wordings, const char *known,
                      const char *answer, grammar_turn *turn) {
    const grammar_scene fact = {.topic = &words_topics[0], .known = known, .answer = answer};
    expand(dice, &fact, pick(dice, wordings->questions), 0, turn->question, sizeof turn->question);
    expand(dice, &fact, pick(dice, wordings->answers), 0, turn->answer, sizeof turn->answer);
}

static void make_fact(grammar_dice *dice, const grammar_scene *scene, grammar_turn *turn) {
    size_t a = grammar_roll(dice, 7), b = grammar_roll(dice, 6);
    const char *const *pair = opposites[grammar_roll(dice, sizeof opposites / sizeof *opposites)];
    const char *const *home = homes[grammar_roll(dice, sizeof homes / sizeof *homes)];
    size_t side = grammar_roll(dice, 2);
    char words[64];
    switch (grammar_roll(dice, 4)) {
    case 0:
        snprintf(words, sizeof words, "%s plus %s", numbers[a], numbers[b]);
        word_fact(dice, &sum_wordings, words, numbers[a + b], turn);
        break;
    case 1: word_fact(dice, &opposite_wordings, pair[side], pair[1 - side], turn); break;
    case 2: word_fact(dice, &home_wordings, home[0], home[1], turn); break;
    default:
        snprintf(words, sizeof words, "%s, %s", scene->name, scene->name2);
        word_fact(dice, &first_wordings, words, scene->name, turn);
        break;
    }
}

void grammar_make_turn(grammar_dice *dice, grammar_kind kind, size_t manner, const size_t *traits,
                       size_t count, grammar_turn *turn) {
    grammar_scene scene;
    turn->question[0] = turn->answer[0] = 0;
    set_scene(dice, &scene);
    switch (kind) {
    case GRAMMAR_CHAT: make_chat(dice, &scene, manner, traits, count, turn); break;
    case GRAMMAR_STORY: make_story(dice, &scene, turn); break;
    case GRAMMAR_FACT: make_fact(dice, &scene, turn); break;
    }
}

uint64_t grammar_fingerprint(const char *text, uint64_t hash) {
    for (; *text != 0; text++) {
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    }
    return hash;
}
