#!/usr/bin/env python3
"""Logits of every architecture against transformers: small checkpoints with random weights and realistic odd details.

Each is saved as transformers saves it and read as a user's folder is; logits in f32/1 are compared with torch's in f32,
relative to their largest magnitude in a prompt: three prompts, the longest past any sliding window, alone and beside
each other (torch's padded on the left), whole and through a cache. Needs torch and transformers; without them it says
so and exits 77.

And what is written is read: our config.json beside the same weights, by transformers, gives its logits again.

usage: compare_transformers.py path/to/logits [--write FOLDER] [--llama-cpp FOLDER] [NAME ...]
--write: also writes the small cases that tests/golden reads.
--llama-cpp: a checkout of llama.cpp; also compares the GGUF that its converter makes (without a tokenizer).
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
    import transformers
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

LIMIT = 2e-5
SHAPE = dict(vocab_size=96, hidden_size=42, intermediate_size=56, num_hidden_layers=4, num_attention_heads=6,
             num_key_value_heads=2, head_dim=12, max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
             pad_token_id=0)
GPT = dict(vocab_size=96, bos_token_id=1, eos_token_id=2)
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 32}
LONG = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.1, 1.5],
        "long_factor": [1.0, 2.0, 8.0], "partial_rotary_factor": 0.75}


def without(shape, *names, **more):
    return {**{key: value for key, value in shape.items() if key not in names}, **more}


# name: (config class, its arguments)
CASES = {
    "llama": ("LlamaConfig", dict(SHAPE, tie_word_embeddings=False)),
    "llama-tied-biased": ("LlamaConfig", dict(SHAPE, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)),
    "llama-llama3": ("LlamaConfig", dict(SHAPE, rope_parameters=LLAMA3)),
    "llama-linear": ("LlamaConfig", dict(SHAPE, rope_parameters={**PLAIN, "rope_type": "linear", "factor": 2.5})),
    "mistral": ("MistralConfig", dict(SHAPE, sliding_window=7)),
    "mistral-unbounded": ("MistralConfig", dict(SHAPE, sliding_window=None, tie_word_embeddings=True)),
    "qwen2": ("Qwen2Config", without(SHAPE, "head_dim", hidden_size=48, tie_word_embeddings=True)),
    "qwen2-window-yarn": ("Qwen2Config", without(SHAPE, "head_dim", hidden_size=48, use_sliding_window=True,
                                                 sliding_window=9, max_window_layers=2, rope_parameters=YARN)),
    "qwen3": ("Qwen3Config", dict(SHAPE, tie_word_embeddings=True)),
    "qwen3-biased": ("Qwen3Config", dict(SHAPE, attention_bias=True, use_sliding_window=True, sliding_window=6,
                                         max_window_layers=3)),
    "gpt2": ("GPT2Config", dict(GPT, n_embd=40, n_layer=3, n_head=4, n_positions=128)),
    "gpt2-untied-gelu": ("GPT2Config", dict(GPT, n_embd=40, n_layer=2, n_head=5, n_positions=64, n_inner=50,
                                            activation_function="gelu", tie_word_embeddings=False)),
    "gpt_neo": ("GPTNeoConfig", dict(GPT, hidden_size=40, num_layers=4, num_heads=4, window_size=5,
                                     attention_types=[[["global", "local"], 2]], max_position_embeddings=128)),
    "gpt_neox": ("GPTNeoXConfig", dict(GPT, hidden_size=48, num_hidden_layers=3, num_attention_heads=3,
                                       intermediate_size=100, max_position_embeddings=128)),
    "gpt_neox-sequential": ("GPTNeoXConfig", dict(GPT, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
                                                  intermediate_size=64, max_position_embeddings=128,
                                                  use_parallel_residual=False, tie_word_embeddings=True,
                                                  attention_bias=False, hidden_act="gelu_new",
                                                  rope_parameters={**PLAIN, "partial_rotary_factor": 1.0})),
    "gemma2": ("Gemma2Config", dict(SHAPE, sliding_window=6, query_pre_attn_scalar=12, attn_logit_softcapping=2.0,
                                    final_logit_softcapping=1.5)),
    "gemma2-uncapped": ("Gemma2Config", dict(SHAPE, sliding_window=6, attn_logit_softcapping=None,
                                             final_logit_softcapping=None, attention_bias=True,
                                             tie_word_embeddings=False)),
    "gemma3": ("Gemma3TextConfig", dict(SHAPE, sliding_window=6, num_hidden_layers=7, query_pre_attn_scalar=20)),
    "gemma3-plain": ("Gemma3TextConfig", dict(SHAPE, sliding_window=6, num_hidden_layers=6, query_pre_attn_scalar=12)),
    "gemma3-linear": ("Gemma3TextConfig", dict(
        SHAPE, sliding_window=4, num_hidden_layers=3, tie_word_embeddings=False,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                         "sliding_attention": PLAIN})),
    "phi3": ("Phi3Config", without(SHAPE, "head_dim", hidden_size=48, sliding_window=8)),
    "phi3-longrope": ("Phi3Config", without(SHAPE, "head_dim", hidden_size=48, num_attention_heads=6,
                                            tie_word_embeddings=True, max_position_embeddings=512,
                                            original_max_position_embeddings=128,
                                            rope_parameters=dict(LONG, original_max_position_embeddings=128))),
    "olmo2": ("Olmo2Config", without(SHAPE, "head_dim", hidden_size=48)),
    "olmo2-tied-biased": ("Olmo2Config", without(SHAPE, "head_dim", hidden_size=48, tie_word_embeddings=True,
                                                 attention_bias=True, num_key_value_heads=6)),
}
PROMPTS = [[5, 17, 2, 40], [1, 9, 33, 71, 8, 8, 64, 20, 95, 3, 50], [(7 * i * i + 3 * i) % 96 for i in range(61)]]


def values_of(name, count):
    """Uniform in +-1/2, from the name and the place alone: the C side makes the same."""
    state = 2166136261
    for byte in name.encode():
        state = (state ^ byte) * 16777619 & 0xFFFFFFFF
    mixed = (numpy.arange(count, dtype=numpy.uint64) * 2654435761 + state) & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 15) * 2246822519 & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 13) * 3266489917 & 0xFFFFFFFF
    mixed = mixed ^ mixed >> 16
    return ((mixed >> 8).astype(numpy.float64) / 2**24 - 0.5).astype(numpy.float32)


def make(kind, arguments):
    config = getattr(transformers, kind)(**arguments)
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    plus_one, seen = "Gemma" in kind, set()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.data_ptr() in seen:  # a tied head
                continue
            seen.add(value.data_ptr())
            name = "head" if name in ("lm_head.weight", "embed_out.weight") else name
            drawn = torch.from_numpy(values_of(name, value.numel())).reshape(value.shape)
            # Norms about 1 (or 0 where 1 is added), the rest large enough that nothing is nearly linear.
            norm = value.dim() == 1 and name.endswith("weight")
            value.copy_(drawn * 0.6 + (0 if plus_one else 1) if norm else drawn * 0.7)
    return config, model


def reference(model, prompts, padded):
    with torch.no_grad():
        if not padded:
            return [model(torch.tensor([ids]), use_cache=False).logits[0].numpy() for ids in prompts]
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        logits = model(ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp_min(0),
                       use_cache=False).logits
        return [row[longest - len(p):].numpy() for row, p in zip(logits, prompts)]


def ours(program, folder, prompts, how, vocabulary):
    text = "".join(" ".join(map(str, ids)) + "\n" for ids in prompts)
    made = subprocess.run([program, folder, "f32/1", how], input=text.encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    if made.returncode:
        raise ValueError(made.stderr.decode().strip())
    logits = numpy.frombuffer(made.stdout, dtype=numpy.float32).reshape(-1, vocabulary)
    return numpy.split(logits, numpy.cumsum([len(ids) for ids in prompts])[:-1])


def written(program, path, folder):
    """transformers' model of our config.json and the same weights."""
    os.makedirs(folder)
    text = subprocess.run([program, path, "f32/1", "config"], input=b"0\n", stdout=subprocess.PIPE, check=True).stdout
    with open(os.path.join(folder, "config.json"), "wb") as file:
        file.write(text)
    os.symlink(os.path.join(path, "model.safetensors"), os.path.join(folder, "model.safetensors"))
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                             attn_implementation="eager").eval()


def to_gguf(llama_cpp, path, folder):
    """The model as llama.cpp's converter writes it, in f32; whether it could."""
    sys.path[:0] = [llama_cpp, os.path.join(llama_cpp, "gguf-py")]
    import logging
    import pathlib
    import gguf
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class
    logging.disable(logging.WARNING)
    os.makedirs(folder)
    with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    with open(os.path.join(path, "tokenizer.json"), "w", encoding="utf-8") as file:  # gemma's size is taken from it
        json.dump({"model": {"vocab": {str(i): i for i in range(config["vocab_size"])}}, "added_tokens": []}, file)
    with torch.inference_mode():
        source = pathlib.Path(path)
        # As it stands in the file: read through transformers it would be in the newest form, which not all of it knows.
        ModelBase.load_hparams = staticmethod(lambda *_, **__: json.loads(json.dumps(config)))
        kind = get_model_class(get_model_architecture(config, ModelType.TEXT))
        model = kind(source, gguf.LlamaFileType.ALL_F32, pathlib.Path(folder) / "model.gguf")
        model.set_vocab = lambda: None
        model.write()


def difference(found, wanted):
    return max(float(numpy.abs(f - w).max() / numpy.abs(w).max()) for f, w in zip(found, wanted))


# What the format cannot say, or llama.cpp does not do, so that such a file is refused or another model.
NOT_IN_GGUF = {"phi3": "a window of phi3", "phi3-longrope": "longrope", "qwen2-window-yarn": "yarn",
               "mistral": "a window of mistral",
               "qwen3-biased": "a window of qwen3", "gemma2-uncapped": "that there is no cap",
               "gpt2-untied-gelu": "n_inner, activation", "gpt_neox-sequential": "activation",
               "gemma3": "query_pre_attn_scalar", "gemma3-linear": "query_pre_attn_scalar, layer_types"}


def compare_gguf(llama_cpp, program, name, path, vocabulary, wanted):
    if name in NOT_IN_GGUF:
        return f"not in a GGUF: {NOT_IN_GGUF[name]}", 0
    try:
        to_gguf(llama_cpp, path + "-written", path + "-gguf")
    except Exception as refused:  # the converter's own limits
        return f"llama.cpp does not convert it ({type(refused).__name__}: {str(refused)[:60]})", 0
    off = difference(ours(program, path + "-gguf", PROMPTS, "whole", vocabulary), wanted)
    return f"from GGUF {off:.1e}", off


def compare(program, folder, name, llama_cpp):
    kind, arguments = CASES[name]
    config, model = make(kind, arguments)
    path = os.path.join(folder, name)
    model.save_pretrained(path)
    alone, padded = reference(model, PROMPTS, False), reference(model, PROMPTS, True)
    off = {"whole": difference(ours(program, path, PROMPTS, "whole", config.vocab_size), alone),
           "steps": difference(ours(program, path, PROMPTS, "steps", config.vocab_size), alone),
           "together": difference(ours(program, path, PROMPTS, "together", config.vocab_size), padded)}
    off["written"] = difference(reference(written(program, path, path + "-written"), PROMPTS, False), alone)
    largest = max(float(numpy.abs(rows).max()) for rows in alone)
    print(f"{name}: alone {off['whole']:.1e}, by steps {off['steps']:.1e}, padded {off['together']:.1e}, "
          f"written and read by transformers {off['written']:.1e} (largest logit {largest:.3g})", flush=True)
    if llama_cpp is not None:
        words, off["gguf"] = compare_gguf(llama_cpp, program, name, path, config.vocab_size, alone)
        print(f"{name}: {words}", flush=True)
    return max(off.values()), config, path, alone


def golden(folder, name, path, alone):
    """config.json as it was saved, and some rows of the longest prompt's logits."""
    with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    rows = [0, 9, len(PROMPTS[2]) - 1]
    logits = [[float(f"{value:.7g}") for value in alone[2][row]] for row in rows]
    with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as file:
        json.dump({"config": config, "ids": PROMPTS[2], "rows": rows, "logits": logits}, file,
                  separators=(",", ":"))
        file.write("\n")


def main():
    arguments = sys.argv[2:]
    write = arguments[arguments.index("--write") + 1] if "--write" in arguments else None
    llama_cpp = os.path.abspath(arguments[arguments.index("--llama-cpp") + 1]) if "--llama-cpp" in arguments else None
    names = [a for a in arguments if a in CASES] or list(CASES)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            try:
                off, config, path, alone = compare(os.path.abspath(sys.argv[1]), folder, name, llama_cpp)
            except ValueError as refused:
                print(f"{name}: {refused}", flush=True)
                bad.append(name)
                continue
            if not off < LIMIT:
                bad.append(name)
            if write is not None:
                golden(write, name, path, alone)
    if bad:
        raise SystemExit(f"off by more than {LIMIT}: {', '.join(bad)}")


main()
