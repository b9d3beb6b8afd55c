/* merge_heap.c: a binary heap of merge candidates, so that a word of n symbols costs n log n however long it is.
 *
 * Invariant: candidates come out by key, then from the left; that order alone decides the tokens. */
#include "internal.h"

#include <stdlib.h>

static bool before(const lm_candidate *a, const lm_candidate *b) {
    return a->key != b->key ? a->key < b->key : a->left < b->left;
}

bool lm_heap_push(lm_heap *heap, lm_candidate candidate) {
    if (heap->count == heap->capacity) {
        size_t capacity = heap->capacity == 0 ? 64 : heap->capacity * 2;
        lm_candidate *items = realloc(heap->items, capacity * sizeof *items);
        if (items == NULL) {
            return false;
        }
        heap->items = items;
        heap->capacity = capacity;
    }
    size_t at = heap->count++;
    while (at > 0 && before(&candidate, &heap->items[(at - 1) / 2])) {
        heap->items[at] = heap->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->items[at] = candidate;
    return true;
}

bool lm_heap_pop(lm_heap *heap, lm_candidate *out) {
    if (heap->count == 0) {
        return false;
    }
    *out = heap->items[0];
    lm_candidate last = heap->items[--heap->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && before(&heap->items[child + 1], &heap->items[child])) {
            child++;
        }
        if (!before(&heap->items[child], &last)) {
            break;
        }
        heap->items[at] = heap->items[child];
        at = child;
    }
    heap->items[at] = last;
    return true;
}
