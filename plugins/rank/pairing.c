/* pairing.c: from scored candidates to preference pairs.
 *
 * Candidates of one prompt (and trait) are sorted by score, equal ones by their order; pair i is the i-th best against
 * the i-th worst, as long as they have not met. A pair whose scores differ by less than the margin is a tie. */
#include "rank.h"

#include <stdlib.h>
#include <temper/rng.h>

typedef struct place {
    const candidate *c;
    size_t number; /* in the input: the last word of every comparison, so that sorting is total */
} place;

static int compare_groups(const void *a, const void *b) {
    const place *x = a, *y = b;
    size_t shorter = x->c->prompt.length < y->c->prompt.length ? x->c->prompt.length : y->c->prompt.length;
    int order = shorter == 0 ? 0 : memcmp(x->c->prompt.data, y->c->prompt.data, shorter);
    if (order != 0) {
        return order;
    }
    if (x->c->prompt.length != y->c->prompt.length) {
        return x->c->prompt.length < y->c->prompt.length ? -1 : 1;
    }
    if (x->c->trait != y->c->trait) {
        return x->c->trait < y->c->trait ? -1 : 1;
    }
    return x->number < y->number ? -1 : x->number > y->number;
}

static int compare_scores(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->c->score != y->c->score) {
        return x->c->score > y->c->score ? -1 : 1;
    }
    return x->number < y->number ? -1 : x->number > y->number;
}

typedef struct group {
    size_t start, count, first;
} group;

static int compare_first(const void *a, const void *b) {
    const group *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static bool same_group(const candidate *a, const candidate *b) {
    return a->trait == b->trait && temper_span_equal(a->prompt, b->prompt);
}

static size_t make_groups(const place *places, size_t count, group *groups) {
    size_t made = 0, i;
    for (i = 0; i < count; i++) {
        if (i == 0 || !same_group(places[i].c, places[i - 1].c)) {
            groups[made].start = i;
            groups[made].count = 0;
            groups[made++].first = places[i].number; /* the smallest: numbers ascend within a group */
        }
        groups[made - 1].count++;
    }
    qsort(groups, made, sizeof *groups, compare_first);
    return made;
}

static temper_status write_pair(const temper_host *host, const temper_character *character,
                                const candidate *chosen, const candidate *rejected, temper_output *output,
                                temper_error *error) {
    temper_row row;
    temper_row_begin(&row, host);
    temper_row_text(&row, "prompt", chosen->prompt);
    temper_row_text(&row, "chosen", chosen->response);
    temper_row_text(&row, "rejected", rejected->response);
    temper_row_number(&row, "chosen_score", chosen->score);
    temper_row_number(&row, "rejected_score", rejected->score);
    temper_row_number(&row, "margin", chosen->score - rejected->score);
    temper_row_text(&row, "trait", character->traits[chosen->trait].trait);
    temper_row_integer(&row, "trait_index", chosen->trait);
    temper_row_text(&row, "chosen_condition", chosen->condition);
    temper_row_text(&row, "rejected_condition", rejected->condition);
    temper_row_text(&row, "chosen_finish", chosen->finish);
    temper_row_text(&row, "rejected_finish", rejected->finish);
    return temper_row_write(&row, output, host, error);
}

typedef struct pair_outputs {
    temper_output *pairs, *ties;
} pair_outputs;

static temper_status pair_group(const temper_host *host, const temper_character *character, place *places,
                                size_t count, const pairing_options *options, const pair_outputs *to,
                                pairing_counts *counts, temper_error *error) {
    size_t i;
    temper_status status = TEMPER_OK;
    qsort(places, count, sizeof *places, compare_scores);
    counts->prompts++;
    counts->lone += count < 2;
    for (i = 0; i < options->pairs_per_prompt && 2 * i + 1 < count && status == TEMPER_OK; i++) {
        const candidate *best = places[i].c, *worst = places[count - 1 - i].c;
        double margin = best->score - worst->score;
        if (margin < options->margin || margin == 0.0) {
            counts->ties++;
            status = write_pair(host, character, best, worst, to->ties, error);
            continue;
        }
        if (options->shuffled && temper_random(options->key, counts->pairs, 0) % 2 == 1) {
            const candidate *swap = best;
            best = worst;
            worst = swap;
        }
        counts->pairs++;
        counts->margin_sum += margin;
        counts->chosen_in_character += temper_span_equal(best->condition, temper_span_of("in_character"));
        status = write_pair(host, character, best, worst, to->pairs, error);
    }
    return status;
}

temper_status rank_write_pairs(const temper_host *host, temper_pool *pool, const temper_character *character,
                               const candidate *candidates, size_t count, const pairing_options *options,
                               pairing_counts *counts, temper_error *error) {
    place *places = temper_pool_take(pool, count, sizeof *places);
    group *groups = temper_pool_take(pool, count, sizeof *groups);
    pair_outputs to = {NULL, NULL};
    size_t used = 0, made, i;
    temper_status status;
    if (places == NULL || groups == NULL) {
        return temper_no_memory(error);
    }
    if ((status = host->output(host, "pairs", &to.pairs, error)) ||
        (status = host->output(host, "ties", &to.ties, error))) {
        return status;
    }
    for (i = 0; i < count; i++) {
        if (candidates[i].usable) {
            places[used].c = &candidates[i];
            places[used++].number = i;
        }
    }
    qsort(places, used, sizeof *places, compare_groups);
    made = make_groups(places, used, groups);
    for (i = 0; i < made && status == TEMPER_OK; i++) {
        status = pair_group(host, character, places + groups[i].start, groups[i].count, options, &to, counts,
                            error);
    }
    return status;
}
