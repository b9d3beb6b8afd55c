/* files.h: a model's files, in memory, as the loader sees them.
 *
 * Invariant: nothing here is trusted. Every size, offset, count and string that comes out of these functions has
 * been checked against the bytes it points into, so later rooms need not. Views point into the caller's bytes, which
 * must outlive them. All functions are thread-safe on distinct objects. */
#ifndef LM_FILES_H
#define LM_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <temper/status.h>

/* A named run of bytes: "config.json", "model.safetensors", "base/config.json". Read-only. */
typedef struct lm_file {
    const char *name;
    const void *data;
    size_t size;
} lm_file;

/* A model as a set of files: a Hugging Face folder, one .gguf file, or an adapter folder: adapter_config.json,
 * adapter_model.safetensors, and its base model's files under "base/". */
typedef struct lm_file_set {
    const lm_file *files;
    size_t count;
} lm_file_set;

const lm_file *lm_file_find(const lm_file_set *set, const char *name);

/* Reads a folder (one level, plus base/ and its files) or a single file by mmap, for command-line use and tests.
 * Symbolic links are followed (the Hugging Face cache is made of them). */
typedef struct lm_folder lm_folder;
temper_status lm_folder_open(const char *path, lm_folder **out, temper_error *error);
const lm_file_set *lm_folder_files(const lm_folder *folder);
void lm_folder_close(lm_folder *folder);

/* LM_Q8_0 and on: GGUF's blocks, a scale (or more) and small integers together. */
typedef enum lm_dtype {
    LM_F32,
    LM_F16,
    LM_BF16,
    LM_Q8_0,
    LM_Q4_0,
    LM_Q4_K,
    LM_Q5_K,
    LM_Q6_K,
    LM_DTYPE_COUNT
} lm_dtype;
enum { LM_MAX_RANK = 4, LM_MAX_BLOCK = 256 };

/* A tensor as it lies in a file: row-major, the last dimension contiguous. */
typedef struct lm_tensor {
    const char *name; /* owned by the reader it came from */
    lm_dtype dtype;
    unsigned rank;
    size_t shape[LM_MAX_RANK];
    const void *data;
    size_t bytes;
} lm_tensor;

/* Bytes of one element; 0 for a type of blocks. */
size_t lm_dtype_size(lm_dtype dtype);
/* Bytes of one block, and how many neighbouring elements of a row it holds (1 when every element stands alone). */
size_t lm_dtype_block(lm_dtype dtype, size_t *elements);
const char *lm_dtype_name(lm_dtype dtype); /* "F16", "Q4_K" */
size_t lm_tensor_elements(const lm_tensor *tensor);
/* Elements first .. first+count widened to f32: f16 and bf16 exactly, blocks as their formats define (quantised.c). */
void lm_tensor_read(const lm_tensor *tensor, size_t first, size_t count, float *out);
/* f32 to F32, F16, BF16 (to nearest, ties to even) or Q8_0 (whole blocks, as the format's reference does it). False: a
 * value that is not finite or that the type cannot hold, or a type or a count that cannot be written. */
bool lm_encode(lm_dtype dtype, const float *values, size_t count, void *out);
/* No value of the block that they are is further from what lm_encode makes of it. `count`: 1, or a block's. */
double lm_encode_error(lm_dtype dtype, const float *values, size_t count);

/* --- safetensors (https://huggingface.co/docs/safetensors): JSON header, then one buffer without holes or overlaps --- */
typedef struct lm_safetensors lm_safetensors;
temper_status lm_safetensors_open(const lm_file *file, lm_safetensors **out, temper_error *error);
size_t lm_safetensors_count(const lm_safetensors *self);
const lm_tensor *lm_safetensors_at(const lm_safetensors *self, size_t index); /* in the header's order */
const lm_tensor *lm_safetensors_find(const lm_safetensors *self, const char *name);
void lm_safetensors_close(lm_safetensors *self);

/* Writes a whole safetensors file through `write` (called with consecutive runs of bytes; a status other than OK
 * stops it). Tensors are sorted by name, so the same tensors give the same bytes. `metadata`: pairs of key, value. */
typedef temper_status lm_write(void *context, const void *bytes, size_t count, temper_error *error);
temper_status lm_safetensors_write(const lm_tensor *tensors, size_t count, const char *const *metadata,
                                   size_t metadata_pairs, lm_write *write, void *context,
                                   temper_error *error);

/* The same with tensors made one at a time: those whose data is NULL are fetched when their turn comes, by their index
 * among `tensors`, into `out` (of tensor.bytes bytes). */
typedef temper_status lm_fetch(void *context, size_t index, void *out, temper_error *error);
temper_status lm_safetensors_stream(const lm_tensor *tensors, size_t count, const char *const *metadata,
                                    size_t metadata_pairs, lm_fetch *fetch, void *fetch_context,
                                    lm_write *write, void *context, temper_error *error);

/* --- GGUF v2/v3 (ggml docs/gguf.md) --- */
typedef struct lm_gguf lm_gguf;
temper_status lm_gguf_open(const lm_file *file, lm_gguf **out, temper_error *error);
const lm_tensor *lm_gguf_find(const lm_gguf *self,
                              const char *name); /* shape as row-major: reversed from the file */
size_t lm_gguf_count(const lm_gguf *self);
const lm_tensor *lm_gguf_at(const lm_gguf *self, size_t index);
/* Metadata by key; false when absent or of another type. Integers of any width widen to int64/double. */
bool lm_gguf_integer(const lm_gguf *self, const char *key, int64_t *out);
bool lm_gguf_number(const lm_gguf *self, const char *key, double *out);
bool lm_gguf_string(const lm_gguf *self, const char *key, const char **text, size_t *length);
size_t lm_gguf_array_length(const lm_gguf *self, const char *key); /* 0 when absent */
bool lm_gguf_array_string(const lm_gguf *self, const char *key, size_t index, const char **text,
                          size_t *length);
bool lm_gguf_array_number(const lm_gguf *self, const char *key, size_t index, double *out);
void lm_gguf_close(lm_gguf *self);

/* Puts a GGUF v3 together: pairs first, in the order of the calls; then tensors (row-major shapes), fetched one at a time
 * when it is written. Memory that fails is remembered and said by lm_gguf_writer_write. */
typedef struct lm_gguf_writer lm_gguf_writer;
lm_gguf_writer *lm_gguf_writer_new(void);
void lm_gguf_writer_string(lm_gguf_writer *self, const char *key, const char *text, size_t length);
void lm_gguf_writer_integer(lm_gguf_writer *self, const char *key, uint32_t value);
void lm_gguf_writer_number(lm_gguf_writer *self, const char *key, double value); /* as f32 */
void lm_gguf_writer_flag(lm_gguf_writer *self, const char *key, bool value);
/* An array: begin, then its items; `count` of them. */
typedef enum lm_gguf_item { LM_GGUF_STRINGS, LM_GGUF_NUMBERS, LM_GGUF_INTEGERS, LM_GGUF_FLAGS } lm_gguf_item;
void lm_gguf_writer_array(lm_gguf_writer *self, const char *key, lm_gguf_item kind, size_t count);
void lm_gguf_writer_item_string(lm_gguf_writer *self, const char *text, size_t length);
void lm_gguf_writer_item_number(lm_gguf_writer *self, double value);
void lm_gguf_writer_item_integer(lm_gguf_writer *self, int32_t value);
void lm_gguf_writer_item_flag(lm_gguf_writer *self, bool value);
/* A pair of another file, as it stands there, under the same key; false: it has no such key. */
bool lm_gguf_writer_copy(lm_gguf_writer *self, const lm_gguf *from, const char *key);
/* The name is copied; data may be NULL. Returns the tensor's index. */
size_t lm_gguf_writer_tensor(lm_gguf_writer *self, const lm_tensor *tensor);
temper_status lm_gguf_writer_write(const lm_gguf_writer *self, lm_fetch *fetch, void *fetch_context,
                                   lm_write *write, void *context, temper_error *error);
void lm_gguf_writer_free(lm_gguf_writer *self);

#endif
