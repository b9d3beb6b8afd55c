// llama_greedy.cpp: a text continued greedily by llama.cpp, for compare_exports.py. Built outside the repository, against a
// build of llama.cpp, for example
//   c++ -std=c++17 -I SRC/include -I SRC/ggml/include llama_greedy.cpp -o llama_greedy -L BUILD/src -L BUILD/ggml/src \
//       -lllama -lggml -lggml-cpu -lggml-base -lpthread -ldl -fopenmp
// usage: llama_greedy MODEL.gguf PROMPT TOKENS [ADAPTER.gguf]
#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

int main(int argc, char **argv) {
    if (argc < 4) {
        return 2;
    }
    llama_log_set([](ggml_log_level level, const char *text, void *) {
        if (level >= GGML_LOG_LEVEL_ERROR) {
            fputs(text, stderr);
        }
    }, nullptr);
    llama_backend_init();
    llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (model == nullptr) {
        return 1;
    }
    const llama_vocab *vocab = llama_model_get_vocab(model);
    std::vector<llama_token> ids(strlen(argv[2]) + 8);
    int count = llama_tokenize(vocab, argv[2], (int)strlen(argv[2]), ids.data(), (int)ids.size(), true, false);
    if (count < 1) {
        return 1;
    }
    ids.resize(count);
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 256;
    llama_context *context = llama_init_from_model(model, params);
    llama_adapter_lora *adapter = argc > 4 ? llama_adapter_lora_init(model, argv[4]) : nullptr;
    float scale = 1.0f;
    if (context == nullptr || (argc > 4 && (adapter == nullptr || llama_set_adapters_lora(context, &adapter, 1, &scale)))) {
        fputs("no context, or no adapter\n", stderr);
        return 1;
    }
    fputs("ids", stdout);
    for (llama_token id : ids) {
        printf(" %d", id);
    }
    putchar('\n');
    fputs("new", stdout);
    for (int i = 0, left = atoi(argv[3]); i < left; i++) {
        if (llama_decode(context, llama_batch_get_one(ids.data(), (int)ids.size()))) {
            return 1;
        }
        const float *logits = llama_get_logits_ith(context, -1);
        llama_token best = 0;
        for (llama_token id = 1; id < llama_vocab_n_tokens(vocab); id++) {
            best = logits[id] > logits[best] ? id : best;
        }
        if (llama_vocab_is_eog(vocab, best)) {
            break;
        }
        printf(" %d", best);
        ids.assign(1, best);
    }
    putchar('\n');
    return 0;
}
