#!/usr/bin/env python3
"""compare_llama.py: `temper bench` beside llama.cpp, on the same random weights, in turn, in one run.

    compare_llama.py --llama DIR [--temper PROGRAM] [--shape SmolLM2-135M|Qwen2.5-0.5B] [--rounds N] [--work FOLDER]

DIR has llama-bench and llama-batched-bench, built Release for this machine (cmake -DGGML_NATIVE=ON). Weights are made once
in FOLDER: a Hugging Face folder in bf16, and GGUF files in BF16 and Q8_0 of the same values. Both programs run with two
threads, one after the other, N times; medians are printed, and how many times as fast Temper is. By hand, on a quiet
machine. Exit code 0 also when llama.cpp is not there: then a word says so, and nothing is measured.
"""
import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("skipped: this comparison needs numpy")
    sys.exit(0)

SHAPES = {  # vocabulary, hidden, intermediate, layers, heads, kv heads, head size, context, rope theta
    "SmolLM2-135M": (49152, 576, 1536, 30, 9, 3, 64, 2048, 10000.0),
    "Qwen2.5-0.5B": (151936, 896, 4864, 24, 14, 2, 64, 4096, 1000000.0),
}
THREADS = "2"


def bf16(values):
    """Rounded to nearest even."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def widened(values):
    return (values.astype(np.uint32) << 16).view(np.float32)


def q8_0(values):
    """Blocks of 32: an f16 scale, then 32 bytes."""
    rows = widened(values).reshape(-1, 32)
    scale = np.abs(rows).max(axis=1) / 127
    inverse = np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0)
    out = np.empty((len(rows), 34), np.uint8)
    out[:, :2] = scale.astype(np.float16).view(np.uint8).reshape(-1, 2)
    out[:, 2:] = np.rint(rows * inverse[:, None]).astype(np.int8).view(np.uint8)
    return out


def permuted(values, heads):
    """llama.cpp pairs neighbours in its rotary positions, Hugging Face halves of a head."""
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def make_tensors(shape):
    vocabulary, hidden, feed, layers, heads, kv_heads, size, _, _ = shape
    chance = np.random.Generator(np.random.Philox(1))

    def matrix(rows, columns):
        return bf16(chance.standard_normal((rows, columns), np.float32) * 0.02)

    one = bf16(np.ones(hidden, np.float32))
    yield "model.embed_tokens.weight", "token_embd.weight", matrix(vocabulary, hidden), 0
    yield "model.norm.weight", "output_norm.weight", one, 0
    for i in range(layers):
        theirs, ours = f"model.layers.{i}.", f"blk.{i}."
        yield theirs + "input_layernorm.weight", ours + "attn_norm.weight", one, 0
        yield theirs + "self_attn.q_proj.weight", ours + "attn_q.weight", matrix(heads * size, hidden), heads
        yield theirs + "self_attn.k_proj.weight", ours + "attn_k.weight", matrix(kv_heads * size, hidden), kv_heads
        yield theirs + "self_attn.v_proj.weight", ours + "attn_v.weight", matrix(kv_heads * size, hidden), 0
        yield theirs + "self_attn.o_proj.weight", ours + "attn_output.weight", matrix(hidden, heads * size), 0
        yield theirs + "post_attention_layernorm.weight", ours + "ffn_norm.weight", one, 0
        yield theirs + "mlp.gate_proj.weight", ours + "ffn_gate.weight", matrix(feed, hidden), 0
        yield theirs + "mlp.up_proj.weight", ours + "ffn_up.weight", matrix(feed, hidden), 0
        yield theirs + "mlp.down_proj.weight", ours + "ffn_down.weight", matrix(hidden, feed), 0


def write_folder(folder, shape, tensors):
    vocabulary, hidden, feed, layers, heads, kv_heads, size, context, theta = shape
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocabulary,
                   "hidden_size": hidden, "intermediate_size": feed, "num_hidden_layers": layers,
                   "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": size,
                   "max_position_embeddings": context, "rms_norm_eps": 1e-5, "rope_theta": theta,
                   "hidden_act": "silu", "tie_word_embeddings": True, "torch_dtype": "bfloat16"}, file)
    header, at = {}, 0
    for name, _, values, _ in tensors:
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, values, _ in tensors:
            file.write(values.tobytes())


def write_gguf(path, shape, tensors, kind):
    vocabulary, hidden, feed, layers, heads, kv_heads, size, context, theta = shape

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    keys = [("general.architecture", 8, text("llama")), ("general.name", 8, text("random")),
            ("general.file_type", 4, struct.pack("<I", 32 if kind == "BF16" else 7)),
            ("tokenizer.ggml.model", 8, text("no_vocab"))]
    for name, value in (("vocab_size", vocabulary), ("context_length", context), ("embedding_length", hidden),
                        ("block_count", layers), ("feed_forward_length", feed), ("attention.head_count", heads),
                        ("attention.head_count_kv", kv_heads), ("rope.dimension_count", size)):
        keys.append(("llama." + name, 4, struct.pack("<I", value)))
    for name, value in (("rope.freq_base", theta), ("attention.layer_norm_rms_epsilon", 1e-5)):
        keys.append(("llama." + name, 6, struct.pack("<f", value)))
    infos, data, at = b"", [], 0
    for _, name, values, swapped in tensors:
        values = permuted(values, swapped) if swapped else values
        if values.ndim == 1:
            code, stored = 0, widened(values).tobytes()
        elif kind == "BF16":
            code, stored = 30, np.ascontiguousarray(values).tobytes()
        else:
            code, stored = 8, q8_0(np.ascontiguousarray(values)).tobytes()
        sides = values.shape[::-1]
        infos += text(name) + struct.pack("<I", len(sides)) + b"".join(struct.pack("<Q", s) for s in sides)
        infos += struct.pack("<IQ", code, at)
        stored += b"\0" * (-len(stored) % 32)
        data.append(stored)
        at += len(stored)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(data), len(keys))
    for name, code, value in keys:
        head += text(name) + struct.pack("<I", code) + value
    head += infos
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32))
        for stored in data:
            file.write(stored)


def make_files(folder, shape):
    paths = [os.path.join(folder, name) for name in ("hf/model.safetensors", "bf16.gguf", "q8_0.gguf")]
    if not all(os.path.exists(path) for path in paths):
        tensors = list(make_tensors(shape))
        write_folder(os.path.join(folder, "hf"), shape, tensors)
        write_gguf(paths[1], shape, tensors, "BF16")
        write_gguf(paths[2], shape, tensors, "Q8_0")
    return os.path.join(folder, "hf"), paths[1], paths[2]


def output_of(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def llama_once(programs, bf16_file, q8_file, found):
    bench, batched = programs
    for file, what, name in ((bf16_file, ["-p", "512", "-n", "0"], "prefill_bf16"),
                             (bf16_file, ["-p", "0", "-n", "128"], "decode_1_bf16"),
                             (q8_file, ["-p", "512", "-n", "0"], "prefill_q8"),
                             (q8_file, ["-p", "0", "-n", "128"], "decode_1_q8")):
        text = output_of([bench, "-m", file, "-t", THREADS, "-r", "1", "-o", "json", *what])
        found.setdefault(name, []).append(json.loads(text)[0]["avg_ts"])
    for file, name in ((bf16_file, "decode_32_bf16"), (q8_file, "decode_32_q8")):
        text = output_of([batched, "-m", file, "-t", THREADS, "-tb", THREADS, "-c", "2048", "-npp", "8", "-ntg",
                          "48", "-npl", "32", "--output-format", "jsonl"])
        line = [json.loads(line) for line in text.splitlines() if line.startswith("{")][-1]
        found.setdefault(name, []).append(line["speed_tg"])


def temper_once(program, folder, found):
    text = output_of([program, "bench", "--model", folder, "--rounds", "1", "--threads", THREADS, "--json", "--only",
                      "prefill", "--only", "decode_1", "--only", "decode_32"])
    for name, value in json.loads(text).items():
        found.setdefault(name, []).append(value)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--llama", default=os.environ.get("LLAMA_CPP", ""))
    parser.add_argument("--temper", default="temper")
    parser.add_argument("--shape", default="SmolLM2-135M", choices=sorted(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", default=os.path.join(tempfile.gettempdir(), "compare_llama"))
    given = parser.parse_args()
    programs = [os.path.join(given.llama, name) for name in ("llama-bench", "llama-batched-bench")]
    if not all(os.access(program, os.X_OK) for program in programs):
        print("skipped: no llama-bench and llama-batched-bench (--llama DIR, or LLAMA_CPP)")
        return
    folder, bf16_file, q8_file = make_files(os.path.join(given.work, given.shape), SHAPES[given.shape])
    ours, theirs = {}, {}
    for _ in range(given.rounds):
        temper_once(given.temper, folder, ours)
        llama_once(programs, bf16_file, q8_file, theirs)
    version = subprocess.run([programs[0], "--version"], capture_output=True, text=True, check=False)
    print(f"{given.shape}, random weights, {THREADS} threads, medians of {given.rounds}, tokens a second; llama.cpp "
          f"{(version.stderr + version.stdout).strip().splitlines()[0] if version.returncode == 0 else '(version unknown)'}")
    print(f"  {'':24} {'Temper':>9} {'llama.cpp':>10} {'ratio':>7} {'of limit':>9}")
    for name, what in (("prefill_bf16", "prefill 512, bf16"), ("decode_1_bf16", "1 stream, bf16"),
                       ("decode_32_bf16", "32 streams, bf16"), ("prefill_q8", "prefill 512, 8 bit"),
                       ("decode_1_q8", "1 stream, 8 bit"), ("decode_32_q8", "32 streams, 8 bit")):
        mine = statistics.median(ours[name + "_tokens_per_second"])
        peer = statistics.median(theirs[name])
        limit = statistics.median(ours[name + "_limit"])
        print(f"  {what:24} {mine:9.1f} {peer:10.1f} {mine / peer:6.2f}x {100 * mine / limit:8.0f}%")
    print("  measured here: " + ", ".join(f"{what} {statistics.median(ours[name]) / 1e9:.0f} {unit}" for name, what, unit in (
        ("limit_f32_flops", "f32", "GFLOP/s"), ("limit_bf16_flops", "bf16", "GFLOP/s"),
        ("limit_q8_ops", "8 bit", "GOP/s"), ("limit_read_bytes", "memory", "GB/s"))))


main()
