#!/usr/bin/env python3
"""One training step of PyTorch + PEFT on the shape of SmolLM2-135M, as tests/bench/train_bench and `temper bench train` do it.

usage: bench_torch.py lora|full|dpo eager|bf16 [threads] [steps]
Prints tokens a second over the steps after the first, and the peak of resident memory. Needs torch, transformers, peft.
"""
import resource
import sys
import time

try:
    import torch
    import torch.nn.functional as F
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

MODE, PRECISION = sys.argv[1], sys.argv[2]
THREADS, STEPS = (int(v) for v in (sys.argv[3:] + ["2", "2"][len(sys.argv) - 3:])[:2])
ROWS, LENGTH = 4, 512


def build():
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=1024, tie_word_embeddings=True))
    if MODE == "full":
        return model
    return get_peft_model(model, LoraConfig(r=16, lora_alpha=32, task_type="CAUSAL_LM", target_modules=[
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))


def loss_of(model, ids):
    if MODE != "dpo":
        return model(input_ids=ids, labels=ids).loss
    logits = model(input_ids=ids).logits[:, :-1].float()
    logps = F.log_softmax(logits, -1).gather(2, ids[:, 1:, None])[:, :, 0].sum(-1)
    chosen, rejected = logps[0::2], logps[1::2]
    return -F.logsigmoid(0.1 * (chosen - rejected)).mean()


def main():
    torch.set_num_threads(THREADS)
    model = build()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    ids = torch.randint(0, 49152, (ROWS, LENGTH))
    spent = 0
    for step in range(STEPS + 1):
        start = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=PRECISION == "bf16"):
            loss = loss_of(model, ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        spent += time.perf_counter() - start if step > 0 else 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"torch {torch.__version__} {MODE} {PRECISION}, {THREADS} threads: {ROWS * LENGTH * STEPS / spent:.0f} tokens/s, "
          f"peak {peak:.0f} MiB")


main()
