/* loss.c: the vocabulary's product and its cross-entropy, a chunk of rows at a time.
 *
 * Only rows that have a target are multiplied. A chunk never ends inside a sequence after an odd number of its
 * targets, so the pairs of the head's weight gradient are the same for every chunk size. Formulas, x a row of logits:
 *   log p(t) = (x[t] - max) - log sum exp(x - max)
 *   dlogits = weight * (exp(x - max) / sum - one hot(t)) */
#include "internal.h"

/* Chooses the next chunk's targets [first, end) and its segments, one a sequence, in chunk_offsets. */
static size_t next_chunk(lm_work *work, size_t sequences, size_t first, size_t *sequence, size_t *segments) {
    size_t used = 0;
    *segments = 0;
    work->chunk_offsets[0] = 0;
    while (*sequence < sequences) {
        size_t at = first + used, end = work->target_offsets[*sequence + 1];
        size_t wanted = end - at, room = work->chunk - used;
        size_t taken = wanted;
        if (wanted > room) {
            /* what came before in this sequence is even: it filled earlier chunks from this sequence's first target */
            taken = room / 2 * 2;
        }
        if (taken > 0) {
            used += taken;
            work->chunk_offsets[++*segments] = used;
        }
        if (taken < wanted) {
            break;
        }
        ++*sequence;
    }
    return first + used;
}

/* Logits of targets [first, end) into work->logits, their inputs gathered in chunk_input. */
static temper_status load(lm_work *work, const lm_model *model, size_t first, size_t end,
                          temper_error *error) {
    size_t hidden = model->config.hidden;
    for (size_t i = first; i < end; i++) {
        memcpy(work->chunk_input + (i - first) * hidden, work->final_normed + work->targets[i].row * hidden,
               hidden * sizeof(lm_real));
    }
    return lm_model_logits(&work->context, model, work->chunk_input, NULL, end - first, work->logits, error);
}

static void log_probability(const lm_kernels *kernels, lm_target *target, const lm_real *logits, size_t n) {
    lm_real max, log_sum;
    kernels->log_sum_exp(&max, &log_sum, logits, n);
    target->logprob = (logits[target->id] - max) - log_sum;
    target->correct = kernels->argmax(logits, n) == (size_t)target->id;
}

temper_status lm_loss_logprobs(lm_work *work, const lm_model *model, size_t sequences, temper_error *error) {
    size_t total = work->target_offsets[sequences], vocabulary = model->config.vocabulary;
    for (size_t first = 0; first < total;) {
        size_t end = total - first < work->chunk ? total : first + work->chunk;
        temper_status status = load(work, model, first, end, error);
        if (status) {
            return status;
        }
        for (size_t i = first; i < end; i++) {
            log_probability(work->context.kernels, &work->targets[i], work->logits + (i - first) * vocabulary,
                            vocabulary);
        }
        work->loaded = first == 0 && end == total ? total : 0;
        first = end;
    }
    return TEMPER_OK;
}

temper_status lm_loss_backward(lm_work *work, const lm_model *model, size_t sequences, size_t rows,
                               lm_real *d_head, temper_error *error) {
    const lm_kernels *kernels = work->context.kernels;
    size_t total = work->target_offsets[sequences], vocabulary = model->config.vocabulary,
           hidden = model->config.hidden, sequence = 0;
    memset(work->d_final, 0, rows * hidden * sizeof(lm_real));
    for (size_t first = 0; first < total;) {
        size_t segments, end = next_chunk(work, sequences, first, &sequence, &segments);
        bool loaded = first == 0 && end == total && work->loaded == total;
        temper_status status = loaded ? TEMPER_OK : load(work, model, first, end, error);
        if (status) {
            return status;
        }
        for (size_t i = first; i < end; i++) {
            lm_target *target = &work->targets[i];
            lm_real *row = work->logits + (i - first) * vocabulary;
            if (!loaded) {
                log_probability(kernels, target, row, vocabulary);
            }
            if (work->capped != NULL) {
                memcpy(work->capped, row, vocabulary * sizeof *row);
            }
            lm_real sum = kernels->softmax_numerators(row, NULL, row, 1, vocabulary);
            kernels->scale(row, target->weight / sum, vocabulary);
            row[target->id] -= target->weight;
            if (work->capped != NULL) {
                lm_soft_cap_backward(work->capped, (lm_real)model->config.final_cap, row, vocabulary);
            }
        }
        lm_linear_backward(&work->context, &model->head, work->chunk_input, NULL, work->logits,
                           (lm_rows){segments, work->chunk_offsets}, work->d_chunk, false, d_head, NULL, NULL,
                           NULL);
        for (size_t i = first; i < end; i++) {
            memcpy(work->d_final + work->targets[i].row * hidden, work->d_chunk + (i - first) * hidden,
                   hidden * sizeof(lm_real));
        }
        first = end;
    }
    work->loaded = 0;
    return TEMPER_OK;
}
