/* tokenizer.h: text to token ids and back, as the model's own files say.
 *
 * Invariant: decode(encode(x)) = x for any valid UTF-8 x that the file's own normalizers leave as it is (byte-level BPE and
 * byte vocabularies without normalizers: for any bytes). What removes text by its nature (a WhitespaceSplit, an added token
 * that strips the spaces beside it) removes it here, too.
 * Special tokens are recognised only where the caller allows it: in user content "<|im_end|>" is text. */
#ifndef LM_TOKENIZER_H
#define LM_TOKENIZER_H

#include "../files/files.h"

typedef struct lm_tokenizer lm_tokenizer;

/* From a model's files, in this order: a .gguf's vocabulary ("llama": SentencePiece's by scores; "gpt2": byte-level BPE),
 * tokenizer.json (BPE and Unigram), vocab.json + merges.txt (GPT-2), a SentencePiece .model (BPE, unigram), a .tiktoken
 * file of ranks, tekken.json. What a file asks for that would change tokens and is not understood is refused by name. */
temper_status lm_tokenizer_open(const lm_file_set *files, lm_tokenizer **out, temper_error *error);
void lm_tokenizer_close(lm_tokenizer *self);
size_t lm_tokenizer_size(const lm_tokenizer *self);
int32_t lm_tokenizer_bos(const lm_tokenizer *self); /* -1: none */
int32_t lm_tokenizer_eos(
    const lm_tokenizer
        *self); /* -1: none; generation_config.json and config.json may name more: see lm_model */
bool lm_tokenizer_adds_bos(const lm_tokenizer *self); /* is BOS put before raw text? */
/* What stands around a text by the file's own template (BOS among it): ids, owned by the tokenizer. */
const int32_t *lm_tokenizer_before(const lm_tokenizer *self, size_t *count);
const int32_t *lm_tokenizer_after(const lm_tokenizer *self, size_t *count);
/* Id of an added/special token by its text, -1 when there is none. */
int32_t lm_tokenizer_special(const lm_tokenizer *self, const char *text, size_t length);

/* A tokenizer.json for the byte vocabulary: ids 0 to 255 are the bytes, 256 and on the special tokens as given. Read
 * by this library and by Hugging Face tokenizers; malloc'ed, NULL when memory fails or a text is not UTF-8. */
char *lm_tokenizer_write_bytes(const char *const *specials, size_t count);
/* A tokenizer_config.json that names bos and eos (either may be NULL) and holds a chat template (or NULL). */
char *lm_tokenizer_config_write(const char *bos, const char *eos, const char *chat_template, size_t context);

/* Any vocabulary whose kind has that form (byte-level BPE with merges; SentencePiece's BPE with byte fallback): as a GGUF's
 * metadata for a model of `vocabulary` ids and its end tokens, and as a tokenizer.json (malloc'ed). */
temper_status lm_tokenizer_write_gguf(const lm_tokenizer *self, size_t vocabulary, const int32_t *ends,
                                      size_t count, lm_gguf_writer *writer, temper_error *error);
temper_status lm_tokenizer_write_json(const lm_tokenizer *self, char **out, temper_error *error);

/* One token of an encoding: which bytes of the text it covers. */
typedef struct lm_token {
    int32_t id;
    uint32_t start,
        end; /* byte offsets into the text; start == end for one that covers none (a dummy prefix) */
} lm_token;

typedef struct lm_tokens {
    lm_token *items; /* malloc'ed; lm_tokens_free */
    size_t count;
} lm_tokens;
void lm_tokens_free(lm_tokens *tokens);

/* Encodes. `special_allowed` is NULL (special tokens are text everywhere) or has `length` bytes: a special token is
 * recognised where all its bytes have a nonzero flag. No BOS is added. Text over 1 GiB or invalid UTF-8 for a
 * tokenizer that needs it: TEMPER_INVALID with the byte offset. Thread-safe on one tokenizer. */
temper_status lm_tokenizer_encode(const lm_tokenizer *self, const char *text, size_t length,
                                  const uint8_t *special_allowed, lm_tokens *out, temper_error *error);

/* The bytes of one token, as they stand in a text (may be part of a UTF-8 character). Special tokens give their text. */
const char *lm_tokenizer_bytes(const lm_tokenizer *self, int32_t id, size_t *length);
bool lm_tokenizer_is_special(const lm_tokenizer *self, int32_t id);
/* Decodes ids to bytes (malloc'ed, 0-terminated; *length without it). Special tokens are left out when
 * skip_special. A space that encoding puts before a text (SentencePiece's) is taken off again: at the very beginning
 * when `at_start`, and after added tokens where encoding puts one there. */
temper_status lm_tokenizer_decode(const lm_tokenizer *self, const int32_t *ids, size_t count,
                                  bool skip_special, bool at_start, char **text, size_t *length,
                                  temper_error *error);

#endif
