#!/usr/bin/env python3
"""finetune's sft and dpo against PyTorch: the same tiny llama, the same rows, a few steps of each.

Compared: loss and gradient norm of every step, the trained weights, and what PEFT makes of the adapter. Needs torch,
transformers and peft; without them it says so and exits 77.

usage: compare_torch.py path/to/temper
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import torch
    import torch.nn.functional as F
    from safetensors.torch import load_file
    from transformers import LlamaConfig, LlamaForCausalLM
    from peft import LoraConfig, PeftModel, get_peft_model
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

TEMPER = os.path.abspath(sys.argv[1])
STEPS, EOS = 4, 256
ROWS = ["the sea is wide", "a ship", "sail on, sail on", "x", "where are you going?", "home again"]
PAIRS = [("hi", " ahoy", " good morning"), ("so", " arr!", " fine"), ("and now?", " we sail", " nothing at all")]


def byte_symbols():
    """The printable characters that stand for bytes in byte-level vocabularies."""
    printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    symbols, extra = {}, 256
    for byte in range(256):
        if byte in printable:
            symbols[byte] = chr(byte)
        else:
            symbols[byte], extra = chr(extra), extra + 1
    return symbols


def make_model(folder):
    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=257, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                         tie_word_embeddings=True, initializer_range=0.1, bos_token_id=None, eos_token_id=EOS)
    LlamaForCausalLM(config).save_pretrained(folder)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {"version": "1.0", "added_tokens": [{"id": EOS, "content": "<|end|>", "single_word": False,
                                                     "lstrip": False, "rstrip": False, "normalized": False,
                                                     "special": True}],
                 "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
                 "model": {"type": "BPE", "vocab": {s: b for b, s in byte_symbols().items()}, "merges": []}}
    with open(os.path.join(folder, "tokenizer.json"), "w") as file:
        json.dump(tokenizer, file)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump({"eos_token": "<|end|>", "tokenizer_class": "PreTrainedTokenizerFast"}, file)


def temper(folder, name, stage, extra=()):
    """Runs one stage; returns its log and the files of its model."""
    recipe = f"""local temper = require "temper"
local finetune = temper.plugin "finetune"
local made = finetune.{stage}
return {{ model = made.model }}
"""
    with open(os.path.join(folder, name + ".lua"), "w") as file:
        file.write(recipe)
    environment = dict(os.environ, TEMPER_HOME=os.path.join(folder, "home"))
    subprocess.run([TEMPER, "run", name + ".lua", "--profile", "f32/1", "--out", "runs", *extra], cwd=folder, check=True,
                   env=environment, stdout=subprocess.DEVNULL)
    archive = next(os.path.join(folder, "runs", f) for f in os.listdir(os.path.join(folder, "runs"))
                   if f.startswith(name))
    node = stage.split(" ")[0].split("{")[0]
    log = subprocess.run([TEMPER, "show", archive, node, "log", "-n", "1000", "--json"], check=True, env=environment,
                         stdout=subprocess.PIPE).stdout
    log = [json.loads(line) for line in log.splitlines()]
    unpacked = os.path.join(folder, name + "-unpacked")
    os.makedirs(unpacked)
    subprocess.run(["tar", "--zstd", "-xf", archive, "-C", unpacked], check=True)
    return log, unpack_model(unpacked, os.path.join(folder, name + "-model"), node)


def unpack_model(unpacked, folder, node):
    """The trained model's folder, found by its tree: an object of file names in a blob."""
    for name in os.listdir(os.path.join(unpacked, "blobs", "sha256")):
        path = os.path.join(unpacked, "blobs", "sha256", name)
        try:
            tree = json.load(open(path, encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(tree, dict) and is_result(tree, node):
            for file, digest in tree.items():
                target = os.path.join(folder, file)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(os.path.join(unpacked, "blobs", "sha256", digest.split(":")[-1]), "rb") as source:
                    with open(target, "wb") as out:
                        out.write(source.read())
            weights = os.path.join(folder, "model.safetensors")
            if node == "dpo" or load_file(weights)["model.norm.weight"].ne(1).any():
                return folder
    raise SystemExit("the archive holds no trained model")


def is_result(tree, node):
    names = set(tree)
    return "adapter_model.safetensors" in names if node == "dpo" else "model.safetensors" in names


def close(what, found, wanted, tolerance):
    found, wanted = torch.as_tensor(found, dtype=torch.float64), torch.as_tensor(wanted, dtype=torch.float64)
    off = ((found - wanted).norm() / wanted.norm().clamp_min(1e-12)).item()
    print(f"{what}: {off:.2e}")
    if not off < tolerance:
        raise SystemExit(f"{what}: off by {off:.3g}, more than {tolerance}")


def ids_of(text):
    return list(text.encode())


def token_logps(model, ids):
    logits = model(torch.tensor([ids])).logits[0, :-1]
    return F.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def steps(model, loss_of, decay, rate):
    """AdamW as finetune does it: matrices decay, clipping at 0.5; yields loss and gradient norm."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in trained if p.dim() == 2], "weight_decay": decay},
              {"params": [p for p in trained if p.dim() != 2], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), eps=1e-8)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = loss_of(model)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 0.5)
        optimiser.step()
        yield loss.item(), norm.item()


def compare_steps(what, log, pairs):
    for i, (loss, norm) in enumerate(pairs):
        close(f"{what}, step {i + 1}, loss", log[i]["loss"], loss, 2e-5)
        close(f"{what}, step {i + 1}, gradient norm", log[i]["grad_norm"], norm, 2e-4)


def compare_sft(folder):
    with open(os.path.join(folder, "rows.jsonl"), "w") as file:
        for text in ROWS:
            file.write(json.dumps({"text": text}) + "\n")
    log, trained = temper(folder, "sft", f"""sft {{ model = temper.model "model", records = temper.records "rows.jsonl",
  steps = {STEPS}, batch = {len(ROWS)}, learning_rate = 0.01, schedule = "constant", weight_decay = 0.1, beta2 = 0.99,
  clip = 0.5 }}""")
    model = LlamaForCausalLM.from_pretrained(os.path.join(folder, "model"), attn_implementation="eager")
    sequences = [ids_of(text) + [EOS] for text in ROWS]
    tokens = sum(len(ids) - 1 for ids in sequences)
    compare_steps("sft", log, steps(model, lambda m: -sum(token_logps(m, s).sum() for s in sequences) / tokens, 0.1,
                                    0.01))
    found = load_file(os.path.join(trained, "model.safetensors"))
    for name, wanted in model.state_dict().items():
        if name in found:
            close(f"sft, {name}", found[name], wanted, 2e-3)
    assert len(found) >= 2 * 9 + 2


def dpo_loss(model, reference, beta, alpha):
    total = 0
    for (prompt, chosen, rejected), (chosen_before, rejected_before) in zip(PAIRS, reference):
        good, bad = answer_logps(model, prompt, chosen), answer_logps(model, prompt, rejected)
        z = beta * ((good.sum() - chosen_before) - (bad.sum() - rejected_before))
        total = total - F.logsigmoid(z) - alpha * good.mean()
    return total / len(PAIRS)


def answer_logps(model, prompt, answer):
    return token_logps(model, ids_of(prompt + answer) + [EOS])[len(ids_of(prompt)) - 1:]


def compare_dpo(folder):
    with open(os.path.join(folder, "pairs.jsonl"), "w") as file:
        for prompt, chosen, rejected in PAIRS:
            file.write(json.dumps({"prompt": prompt, "chosen": chosen, "rejected": rejected}) + "\n")
    stage = """dpo {{ model = temper.model "model", pairs = temper.records "pairs.jsonl", steps = {}, batch = 3,
  learning_rate = 0.01, schedule = "constant", beta2 = 0.99, clip = 0.5, rpo_alpha = 0.1, lora = {{ rank = 4 }} }}"""
    # B is zero at first, so one step leaves A as it was drawn: that is where PyTorch begins
    _, first = temper(folder, "dpo-first", stage.format(1))
    log, trained = temper(folder, "dpo-all", stage.format(STEPS))
    base = LlamaForCausalLM.from_pretrained(os.path.join(folder, "model"), attn_implementation="eager")
    with torch.no_grad():
        reference = [(answer_logps(base, p, c).sum(), answer_logps(base, p, r).sum()) for p, c, r in PAIRS]
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, task_type="CAUSAL_LM",
                                            target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj",
                                                            "up_proj", "down_proj"]))
    drawn = load_file(os.path.join(first, "adapter_model.safetensors"))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_A" in name:
                value.copy_(drawn[name.replace(".default", "")])
    compare_steps("dpo", log, steps(model, lambda m: dpo_loss(m, reference, 0.1, 0.1), 0.0, 0.01))
    found = load_file(os.path.join(trained, "adapter_model.safetensors"))
    for name, wanted in model.named_parameters():
        if "lora_" in name:
            close(f"dpo, {name}", found[name.replace(".default", "")], wanted.detach(), 2e-3)
    loaded = PeftModel.from_pretrained(
        LlamaForCausalLM.from_pretrained(os.path.join(folder, "model"), attn_implementation="eager"), trained)
    with torch.no_grad():
        for prompt, chosen, _ in PAIRS:
            close(f"PEFT reads the adapter, {chosen!r}", answer_logps(loaded, prompt, chosen),
                  answer_logps(model, prompt, chosen), 1e-4)


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_model(os.path.join(folder, "model"))
        compare_sft(folder)
        compare_dpo(folder)


main()
