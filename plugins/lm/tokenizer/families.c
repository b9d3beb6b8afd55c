/* families.c: how the tokenizers that carry no pattern of their own cut words: GGUF names a family, a .tiktoken file has
 * nothing but its ranks, which are known by how many they are.
 *
 * Invariant: a family that is not in the table is refused; guessing would give tokens that the model never saw. */
#include "families.h"

#include <string.h>

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CL100K(digits)                                                                                       \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits                                     \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 CL100K("\\p{N}{1,3}")
#define QWEN2 CL100K("\\p{N}")
#define CASED(digits, slash)                                                                                 \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" slash        \
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" slash       \
    "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K CASED("\\p{N}{1,3}", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?")
#define TEKKEN CASED("\\p{N}", "")
#define DEEPSEEK3                                                                                            \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "    \
    "?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* CJK ideographs and syllables, as two families count them. */
#define HAN_KANA "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+"
#define HAN_WIDE "[\xE4\xB8\x80-\xE9\xBE\xA5\xE0\xA0\x80-\xE4\xB8\x80\xEA\xB0\x80-\xED\x9F\xBF]+"

static const lm_family families[] = {
    {"gpt-2", false, {GPT2}},
    {"digits", false, {"\\p{N}", GPT2}},
    {"llama3", true, {LLAMA3}},
    {"dbrx", false, {LLAMA3}},
    {"qwen2", false, {QWEN2}},
    {"o200k", false, {O200K}},
    {"tekken", true, {TEKKEN}},
    {"deepseek-coder", false, {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN_WIDE, "\\p{N}"}},
    {"deepseek-v3", false, {"\\p{N}{1,3}", HAN_KANA, DEEPSEEK3}},
    {"falcon", false, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
};

/* GGUF's tokenizer.ggml.pre. */
static const struct {
    const char *name, *family;
} names[] = {
    {"gpt-2", "gpt-2"},
    {"gpt2", "gpt-2"},
    {"mpt", "gpt-2"},
    {"olmo", "gpt-2"},
    {"jais", "gpt-2"},
    {"gpt-neox", "gpt-2"},
    {"phi-2", "gpt-2"},
    {"smollm", "digits"},
    {"refact", "digits"},
    {"starcoder", "digits"},
    {"codeshell", "digits"},
    {"command-r", "digits"},
    {"exaone", "digits"},
    {"minerva-7b", "digits"},
    {"llama-bpe", "llama3"},
    {"llama3", "llama3"},
    {"llama-v3", "llama3"},
    {"falcon3", "llama3"},
    {"dbrx", "dbrx"},
    {"smaug-bpe", "dbrx"},
    {"chatglm-bpe", "dbrx"},
    {"qwen2", "qwen2"},
    {"stablelm2", "qwen2"},
    {"deepseek-r1-qwen", "qwen2"},
    {"megrez", "qwen2"},
    {"gpt-4o", "o200k"},
    {"tekken", "tekken"},
    {"deepseek-coder", "deepseek-coder"},
    {"deepseek-v3", "deepseek-v3"},
    {"falcon", "falcon"},
};

const lm_family *lm_family_find(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i].name) == length && memcmp(names[i].name, name, length) == 0) {
            for (size_t j = 0; j < sizeof families / sizeof *families; j++) {
                if (strcmp(families[j].name, names[i].family) == 0) {
                    return &families[j];
                }
            }
        }
    }
    return NULL;
}

temper_status lm_family_apply(const lm_family *family, lm_tokenizer *self, temper_error *error) {
    temper_status status = TEMPER_OK;
    if (strcmp(family->name, "digits") == 0) {
        lm_cut_add(self, LM_CUT_DIGITS_GPT2, LM_ISOLATED);
        return TEMPER_OK;
    }
    for (size_t i = 0; i < LM_FAMILY_PATTERNS && family->patterns[i] != NULL && !status; i++) {
        status = lm_load_pattern(self, family->patterns[i], strlen(family->patterns[i]), LM_ISOLATED, false,
                                 error);
    }
    self->whole_words = family->whole_words;
    return status;
}

/* Ranks as they were published: how many there are, how words are cut, and the special tokens behind them. */
static const lm_rank_set rank_sets[] = {
    {50256, "gpt-2", {{"<|endoftext|>", 50256}}}, /* r50k_base, GPT-2 */
    {50280, "gpt-2", {{"<|endoftext|>", 50256}}}, /* p50k_base */
    {50257, "gpt-2", {{"<|endoftext|>", 50257}}}, /* Whisper, multilingual */
    {100256,
     "dbrx",
     {{"<|endoftext|>", 100257},
      {"<|fim_prefix|>", 100258},
      {"<|fim_middle|>", 100259},
      {"<|fim_suffix|>", 100260},
      {"<|endofprompt|>", 100276}}},                                              /* cl100k_base */
    {199998, "gpt-4o", {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}}, /* o200k_base */
    {128000,
     "dbrx",
     {{"<|begin_of_text|>", 128000},
      {"<|end_of_text|>", 128001},
      {"<|start_header_id|>", 128006},
      {"<|end_header_id|>", 128007},
      {"<|eot_id|>", 128009}}}, /* Llama 3 */
    {151643,
     "qwen2",
     {{"<|endoftext|>", 151643}, {"<|im_start|>", 151644}, {"<|im_end|>", 151645}}}, /* Qwen, Qwen 2 */
};

const lm_rank_set *lm_rank_set_find(size_t count) {
    for (size_t i = 0; i < sizeof rank_sets / sizeof *rank_sets; i++) {
        if (rank_sets[i].count == count) {
            return &rank_sets[i];
        }
    }
    return NULL;
}
