/* grammar.h: the little world that tiny-chat lives in: sentences made from patterns, one chance at a time.
 *
 * Invariant: a text is a pure function of (key, record): every choice is one Philox draw (temper/rng.h), counted, so the
 * corpus is the same on every machine. Manners change how a chat is answered and nothing else: stories and facts are
 * plain under every character, which is what lets them measure capability apart from manner. */
#ifndef GRAMMAR_H
#define GRAMMAR_H

#include <stddef.h>
#include <stdint.h>

enum { GRAMMAR_TEXT = 512, GRAMMAR_TRAITS = 3 };

/* The dice of one record. */
typedef struct grammar_dice {
    uint64_t key, stream, count;
} grammar_dice;
size_t grammar_roll(grammar_dice *dice, size_t sides);

typedef enum grammar_kind { GRAMMAR_CHAT, GRAMMAR_STORY, GRAMMAR_FACT } grammar_kind;

/* Manner 0 is plain; the others are characters with GRAMMAR_TRAITS traits each. */
size_t grammar_manners(void);
const char *grammar_manner_name(size_t manner);
const char *grammar_trait(size_t manner, size_t trait);

/* One question and its answer. `traits` (count of them, in the order of the instruction) colour a chat's answer. */
typedef struct grammar_turn {
    char question[GRAMMAR_TEXT], answer[GRAMMAR_TEXT];
} grammar_turn;
void grammar_make_turn(grammar_dice *dice, grammar_kind kind, size_t manner, const size_t *traits,
                       size_t count, grammar_turn *turn);

/* FNV-1a of a text: which split a dialogue belongs to, whatever its number. */
uint64_t grammar_fingerprint(const char *text, uint64_t hash);

#endif
