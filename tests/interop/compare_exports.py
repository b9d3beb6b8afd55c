#!/usr/bin/env python3
"""What temper writes, in the tools it is written for: for each architecture a small model with random weights and an adapter
that PEFT made.

  - the adapter, read here: logits as PEFT's                       - merged by temper, in transformers: the same logits
  - written again by temper, in PEFT: the same logits              - as a GGUF, in llama.cpp: the same greedy ids
  - as a GGUF LoRA on that GGUF, in llama.cpp: the same greedy ids  - as a GGUF of Q8_0: the same greedy ids as here

Needs torch, transformers and peft; llama.cpp by way of llama_greedy.cpp, whose binary $TEMPER_LLAMA_GREEDY names. What is
missing is said; without the Python packages the exit code is 77.

usage: compare_exports.py path/to/temper path/to/logits [NAME ...]
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
    from peft import LoraConfig, PeftModel, get_peft_model
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

TEMPER, LOGITS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
GREEDY = os.environ.get("TEMPER_LLAMA_GREEDY")
LIMIT, NEW, EOS, PROMPT = 2e-5, 24, 256, "Once upon a time, 3 ships"
SHAPE = dict(vocab_size=257, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, bos_token_id=None, eos_token_id=EOS, pad_token_id=None)
GPT = dict(vocab_size=257, bos_token_id=EOS, eos_token_id=EOS)
LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}
CASES = {
    "llama": ("LlamaConfig", dict(SHAPE, tie_word_embeddings=False), LLAMA),
    "llama3": ("LlamaConfig", dict(SHAPE, rope_parameters=LLAMA3, tie_word_embeddings=True), LLAMA),
    "mistral": ("MistralConfig", dict(SHAPE, sliding_window=None), LLAMA),
    "qwen2": ("Qwen2Config", dict(SHAPE, tie_word_embeddings=True), LLAMA),
    "qwen3": ("Qwen3Config", dict(SHAPE, head_dim=32), LLAMA),
    "gemma2": ("Gemma2Config", dict(SHAPE, head_dim=32, query_pre_attn_scalar=32, sliding_window=16), LLAMA),
    "gemma3": ("Gemma3TextConfig", dict(SHAPE, head_dim=32, query_pre_attn_scalar=32, sliding_window=16,
                                        num_hidden_layers=7), LLAMA),
    "olmo2": ("Olmo2Config", dict(SHAPE), LLAMA),
    "phi3": ("Phi3Config", dict(SHAPE, sliding_window=None), ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]),
    "gpt2": ("GPT2Config", dict(GPT, n_embd=64, n_layer=3, n_head=4, n_positions=128), ["c_attn", "c_fc", "c_proj"]),
    "gpt_neo": ("GPTNeoConfig", dict(GPT, hidden_size=64, num_layers=2, num_heads=4, window_size=16,
                                     attention_types=[[["global", "local"], 1]], max_position_embeddings=128),
                ["q_proj", "v_proj", "c_fc"]),
    "gpt_neox": ("GPTNeoXConfig", dict(GPT, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
                                       intermediate_size=96, max_position_embeddings=128),
                 ["query_key_value", "dense", "dense_h_to_4h"]),
}
PROMPTS = [[5, 17, 2, 40], [(7 * i * i + 3 * i) % 256 for i in range(61)]]


def byte_symbols():
    """The printable characters that stand for bytes in byte-level vocabularies."""
    printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    others = iter(range(256, 512))
    return {chr(b) if b in printable else chr(next(others)): b for b in range(256)}


def make_base(name, folder):
    kind, arguments, _ = CASES[name]
    config = getattr(transformers, kind)(**arguments)
    config._attn_implementation = "eager"
    torch.manual_seed(sum(name.encode()))
    model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * (0.1 if value.dim() > 1 else 0.05))
    model.save_pretrained(folder)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    end = {"id": EOS, "content": "<|end|>", "single_word": False, "lstrip": False, "rstrip": False,
           "normalized": False, "special": True}
    tokenizer = {"version": "1.0", "added_tokens": [end], "normalizer": None, "pre_tokenizer": level,
                 "post_processor": None, "decoder": level,
                 "model": {"type": "BPE", "vocab": byte_symbols(), "merges": []}}
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(tokenizer, file)
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump({"eos_token": "<|end|>", "add_bos_token": False, "tokenizer_class": "PreTrainedTokenizerFast"}, file)
    return model


def make_adapter(name, base, folder):
    targets = CASES[name][2]
    config = LoraConfig(r=4, lora_alpha=6, target_modules=targets, rank_pattern={targets[0]: 2},
                        alpha_pattern={targets[1]: 3}, task_type="CAUSAL_LM",
                        fan_in_fan_out=CASES[name][0] == "GPT2Config")
    model = get_peft_model(base, config).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "lora_B" in key:
                value.copy_(torch.randn_like(value) * 0.1)
    model.save_pretrained(folder)
    return model


def torch_logits(model, prompts):
    with torch.no_grad():
        return [model(torch.tensor([ids]), use_cache=False).logits[0].numpy() for ids in prompts]


def our_logits(path, prompts, vocabulary=257):
    text = "".join(" ".join(map(str, ids)) + "\n" for ids in prompts)
    made = subprocess.run([LOGITS, path, "f32/1", "whole"], input=text.encode(), stdout=subprocess.PIPE, check=True)
    rows = numpy.frombuffer(made.stdout, dtype=numpy.float32).reshape(-1, vocabulary)
    return numpy.split(rows, numpy.cumsum([len(ids) for ids in prompts])[:-1])


def export(home, base, target, *options):
    said = subprocess.run([TEMPER, "export", base, target, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(os.environ, TEMPER_HOME=home))
    if said.returncode:
        raise ValueError(f"temper export {' '.join(options)}: {said.stderr.decode().strip()}")


def close(what, found, wanted):
    off = max(float(numpy.abs(f - w).max() / numpy.abs(w).max()) for f, w in zip(found, wanted))
    if not off < LIMIT:
        raise ValueError(f"{what}: off by {off:.2e}")
    return f"{what} {off:.0e}"


def greedy(what, logits_of, *files):
    """llama.cpp's ids; each must be the likeliest of ours after those before it (or as likely within 1%)."""
    out = subprocess.run([GREEDY, files[0], PROMPT, str(NEW), *files[1:]], stdout=subprocess.PIPE, check=True).stdout
    prompt, new = ([int(i) for i in line.split()[1:]] for line in out.decode().splitlines())
    if prompt != list(PROMPT.encode()):
        raise ValueError(f"{what}: llama.cpp's tokens of the prompt are {prompt}")
    rows = logits_of(prompt + new)[len(prompt) - 1:]
    same = 0
    for row, chosen in zip(rows, new):
        best = float(row.max())
        if row[chosen] < best - 0.01 * float(numpy.abs(row).max()):
            raise ValueError(f"{what}: id {same} is {chosen} in llama.cpp and {int(row.argmax())} here")
        same += 1
    return f"{what} {same} ids"


def compare(folder, name):
    home, at = os.path.join(folder, "home"), lambda part: os.path.join(folder, name + "-" + part)
    base, adapter = at("base"), at("adapter")
    plain = make_base(name, base)
    wanted_plain = torch_logits(plain, PROMPTS)
    tuned = make_adapter(name, plain, adapter)
    wanted = torch_logits(tuned, PROMPTS)
    told = []
    os.symlink(base, os.path.join(adapter, "base"))
    told.append(close("adapter here", our_logits(adapter, PROMPTS), wanted))
    os.unlink(os.path.join(adapter, "base"))
    export(home, base, at("merged"), "--adapter", adapter, "--type", "f32")
    merged = transformers.AutoModelForCausalLM.from_pretrained(at("merged"), dtype=torch.float32,
                                                               attn_implementation="eager").eval()
    told.append(close("merged in transformers", torch_logits(merged, PROMPTS), wanted))
    ids = transformers.AutoTokenizer.from_pretrained(at("merged"))(PROMPT)["input_ids"]
    if ids != list(PROMPT.encode()):
        raise ValueError(f"the merged folder's tokenizer gives {ids}")
    export(home, base, at("peft"), "--adapter", adapter, "--format", "peft", "--type", "f32")
    again = PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager"),
        at("peft")).eval()
    told.append(close("peft in PEFT", torch_logits(again, PROMPTS), wanted))
    if name == "gpt_neo":
        return told + ["no GGUF"]
    export(home, base, at("f32.gguf"), "--type", "f32")
    told.append(close("gguf here", our_logits(at("f32.gguf"), PROMPTS), wanted_plain))
    export(home, base, at("lora.gguf"), "--adapter", adapter, "--format", "gguf-lora")
    export(home, base, at("q8.gguf"), "--adapter", adapter, "--type", "q8_0")
    if GREEDY:
        told.append(greedy("gguf", lambda ids: our_logits(base, [ids])[0], at("f32.gguf")))
        told.append(greedy("lora", lambda ids: torch_logits(tuned, [ids])[0], at("f32.gguf"), at("lora.gguf")))
        told.append(greedy("q8_0", lambda ids: our_logits(at("q8.gguf"), [ids])[0], at("q8.gguf")))
    return told


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not GREEDY:
        print("llama.cpp is left out: TEMPER_LLAMA_GREEDY does not name llama_greedy")
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        for name in [a for a in sys.argv[3:] if a in CASES] or list(CASES):
            try:
                print(f"{name}: " + ", ".join(compare(folder, name)), flush=True)
            except (ValueError, subprocess.CalledProcessError) as refused:
                print(f"{name}: {refused}", flush=True)
                bad.append(name)
    if bad:
        raise SystemExit(f"not the same: {', '.join(bad)}")


main()
