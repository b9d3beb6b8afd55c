#!/usr/bin/env python3
"""finetune's methods against PyTorch with TRL's definitions: the same tiny llama, the same rows, 20 steps of each.

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
STEPS, EOS = 20, 256
ROWS = ["the sea is wide", "a ship", "sail on, sail on", "x", "where are you going?", "home again"]
LABELLED = [("hi", " ahoy", True), ("so", " fine", False), ("and now?", " we sail", True), ("hi", " good morning", False)]
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
                   if f.startswith(name + "-") and f.endswith(".temper"))
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
            if node != "sft" or load_file(weights)["model.norm.weight"].ne(1).any():
                return folder
    raise SystemExit("the archive holds no trained model")


def is_result(tree, node):
    names = set(tree)
    return "adapter_model.safetensors" in names if node != "sft" else "model.safetensors" in names


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
    for i, (loss, norm) in enumerate(pairs):  # what rounding did to a step is in every step after it
        close(f"{what}, step {i + 1}, loss", log[i]["loss"], loss, 2e-5 * (1 + i))
        close(f"{what}, step {i + 1}, gradient norm", log[i]["grad_norm"], norm, 2e-4 * (1 + i))


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
            close(f"sft, {name}", found[name], wanted, 5e-3)
    assert len(found) >= 2 * 9 + 2


# --- TRL's definitions, from TRL 1.16.0: trl/trainer/{dpo,kto}_trainer.py, trl/experimental/{cpo,orpo}/*_trainer.py ---

def dpo_loss(kind, beta=0.1, rpo_alpha=0.0):
    def loss(model, reference):
        total, likelihood, tokens = 0, 0, 0
        for (prompt, chosen, rejected), (chosen_before, rejected_before) in zip(PAIRS, reference):
            good, bad = answer_logps(model, prompt, chosen), answer_logps(model, prompt, rejected)
            chosen_ratio, rejected_ratio = good.sum() - chosen_before, bad.sum() - rejected_before
            if kind == "sigmoid":
                total = total - F.logsigmoid(beta * (chosen_ratio - rejected_ratio))
            elif kind == "ipo":
                total = total + (chosen_ratio / len(good) - rejected_ratio / len(bad) - 1 / (2 * beta)) ** 2
            elif kind == "apo_down":
                total = total + torch.sigmoid(beta * chosen_ratio) + 1 - torch.sigmoid(
                    beta * (chosen_ratio - rejected_ratio))
            elif kind == "nca_pair":
                total = total - F.logsigmoid(beta * chosen_ratio) - 0.5 * F.logsigmoid(
                    -beta * chosen_ratio) - 0.5 * F.logsigmoid(-beta * rejected_ratio)
            likelihood, tokens = likelihood - good.sum(), tokens + len(good)
        return total / len(PAIRS) + rpo_alpha * likelihood / tokens
    return loss


def simpo_loss(model, _, beta=2.0, gamma=1.0, cpo_alpha=0.5):
    total, likelihood, tokens = 0, 0, 0
    for prompt, chosen, rejected in PAIRS:
        good, bad = answer_logps(model, prompt, chosen), answer_logps(model, prompt, rejected)
        total = total - F.logsigmoid(beta * (good.mean() - bad.mean() - gamma / beta))
        likelihood, tokens = likelihood - good.sum(), tokens + len(good)
    return total / len(PAIRS) + cpo_alpha * likelihood / tokens


def orpo_loss(model, _, beta=0.1):
    total, likelihood, tokens = 0, 0, 0
    for prompt, chosen, rejected in PAIRS:
        good, bad = answer_logps(model, prompt, chosen).mean(), answer_logps(model, prompt, rejected).mean()
        log_odds = (good - bad) - (torch.log1p(-torch.exp(good)) - torch.log1p(-torch.exp(bad)))
        total = total - beta * F.logsigmoid(log_odds)
        whole = token_logps(model, ids_of(prompt + chosen) + [EOS])  # over the full prompt and response
        likelihood, tokens = likelihood - whole.sum(), tokens + len(whole)
    return total / len(PAIRS) + likelihood / tokens


def kto_loss(model, reference, beta=0.1):
    matched, mismatched = reference
    with torch.no_grad():
        kl = torch.stack([answer_logps(model, LABELLED[i][0], LABELLED[i - 1][1]).sum() - mismatched[i]
                          for i in range(len(LABELLED))]).mean().clamp(min=0)
    total = 0
    for (prompt, answer, label), before in zip(LABELLED, matched):
        ratio = answer_logps(model, prompt, answer).sum() - before
        total = total + 1 - torch.sigmoid(beta * (ratio - kl) if label else beta * (kl - ratio))
    return total / len(LABELLED)


def answer_logps(model, prompt, answer):
    return token_logps(model, ids_of(prompt + answer) + [EOS])[len(ids_of(prompt)) - 1:]


def write_rows(folder, name, rows):
    with open(os.path.join(folder, name), "w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def open_base(folder):
    return LlamaForCausalLM.from_pretrained(os.path.join(folder, "model"), attn_implementation="eager")


def compare_adapter(folder, name, stage, options, loss_of, reference):
    """STEPS steps of one method on an adapter, from the A that finetune drew."""
    data = "records" if stage == "kto" else "pairs"
    recipe = f"""{stage} {{{{ model = temper.model "model", {data} = temper.records "{data}.jsonl", steps = {{}}, batch = 8,
  learning_rate = 0.01, schedule = "constant", beta2 = 0.99, clip = 0.5, lora = {{{{ rank = 4 }}}}{options} }}}}"""
    # B is zero at first, so one step leaves A as it was drawn: that is where PyTorch begins
    _, first = temper(folder, name + "-first", recipe.format(1))
    log, trained = temper(folder, name + "-all", recipe.format(STEPS))
    model = get_peft_model(open_base(folder), LoraConfig(
        r=4, lora_alpha=8, lora_dropout=0.0, task_type="CAUSAL_LM",
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
    drawn = load_file(os.path.join(first, "adapter_model.safetensors"))
    with torch.no_grad():
        for parameter, value in model.named_parameters():
            if "lora_A" in parameter:
                value.copy_(drawn[parameter.replace(".default", "")])
    compare_steps(name, log, steps(model, lambda m: loss_of(m, reference), 0.0, 0.01))
    found = load_file(os.path.join(trained, "adapter_model.safetensors"))
    for parameter, wanted in model.named_parameters():
        if "lora_" in parameter:
            close(f"{name}, {parameter}", found[parameter.replace(".default", "")], wanted.detach(), 5e-3)
    return model, trained


def compare_preferences(folder):
    write_rows(folder, "pairs.jsonl", [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in PAIRS])
    write_rows(folder, "records.jsonl", [{"prompt": p, "completion": c, "label": l} for p, c, l in LABELLED])
    base = open_base(folder)
    with torch.no_grad():
        pairs = [(answer_logps(base, p, c).sum(), answer_logps(base, p, r).sum()) for p, c, r in PAIRS]
        matched = [answer_logps(base, p, c).sum() for p, c, _ in LABELLED]
        mismatched = [answer_logps(base, LABELLED[i][0], LABELLED[i - 1][1]).sum() for i in range(len(LABELLED))]
    model, trained = compare_adapter(folder, "dpo", "dpo", ", rpo_alpha = 0.1", dpo_loss("sigmoid", rpo_alpha=0.1),
                                     pairs)
    loaded = PeftModel.from_pretrained(open_base(folder), trained)
    with torch.no_grad():
        for prompt, chosen, _ in PAIRS:
            close(f"PEFT reads the adapter, {chosen!r}", answer_logps(loaded, prompt, chosen),
                  answer_logps(model, prompt, chosen), 5e-4)
    for kind in ("ipo", "apo_down", "nca_pair"):
        compare_adapter(folder, "dpo-" + kind, "dpo", f', loss_type = "{kind}"', dpo_loss(kind), pairs)
    compare_adapter(folder, "simpo", "simpo", ", cpo_alpha = 0.5", simpo_loss, None)
    compare_adapter(folder, "orpo", "orpo", "", orpo_loss, None)
    compare_adapter(folder, "kto", "kto", "", kto_loss, (matched, mismatched))


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_model(os.path.join(folder, "model"))
        compare_sft(folder)
        compare_preferences(folder)


main()
