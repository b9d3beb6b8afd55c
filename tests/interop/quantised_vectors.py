#!/usr/bin/env python3
"""Blocks of GGUF's quantised types and their values as gguf-py gives them: writes tests/unit/quantised_vectors.h, or,
with --check, says whether it is what this would write. Needs the package gguf; without it, exits 77.

usage: quantised_vectors.py [--check] quantised_vectors.h
"""
import sys

try:
    import numpy
    from gguf import GGMLQuantizationType, quants
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

BLOCKS = 4
TYPES = [("Q8_0", 34, [0]), ("Q4_0", 18, [0]), ("Q4_K", 144, [0, 2]), ("Q5_K", 176, [0, 2]), ("Q6_K", 210, [208])]


def fnv(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return value


def listing(numbers, width):
    lines, line = [], "   "
    for number in numbers:
        if len(line) + width + 2 > 110:
            lines.append(line)
            line = "   "
        line += f" {number},"
    return "\n".join(lines + [line])


def text():
    random = numpy.random.Generator(numpy.random.Philox(20261124))
    out = ["/* quantised_vectors.h: written by tests/interop/quantised_vectors.py from gguf-py; do not edit. */",
           "#ifndef TEMPER_TESTS_QUANTISED_VECTORS_H", "#define TEMPER_TESTS_QUANTISED_VECTORS_H", "",
           "#include <stdint.h>", "", f"enum {{ QUANTISED_BLOCKS = {BLOCKS} }};", ""]
    rows = []
    for name, size, halves in TYPES:
        blocks = random.integers(0, 256, (BLOCKS, size), dtype=numpy.uint8)
        for block in range(BLOCKS):
            for at in halves:  # a scale that real files have, a subnormal one in the last block
                half = numpy.float16(random.uniform(-0.1, 0.1)) if block + 1 < BLOCKS else numpy.float16(3e-6)
                blocks[block, at:at + 2] = numpy.frombuffer(half.tobytes(), numpy.uint8)
        values = quants.dequantize(blocks, GGMLQuantizationType[name]).astype(numpy.float32)
        lower = name.lower()
        out += [f"static const uint8_t {lower}_blocks[] = {{", listing(blocks.flatten().tolist(), 3), "};", ""]
        bits = values.flatten().view(numpy.uint32)
        first = ", ".join(f"0x{word:08x}" for word in bits[:3])
        rows.append(f"    {{LM_{name}, {lower}_blocks, {{{first}}}, 0x{fnv(values.tobytes()):016x}}},")
    out += ["/* The bits of the first values, and FNV-1a of all of them. */", "static const struct {",
            "    lm_dtype dtype;", "    const uint8_t *blocks;", "    uint32_t first[3];", "    uint64_t all;",
            "} quantised_vectors[] = {"] + rows + ["};", ""]
    values = (random.standard_normal(96) * numpy.repeat([1.0, 3e-4, 0.0], 32)).astype(numpy.float32)
    packed = quants.quantize(values, GGMLQuantizationType.Q8_0)
    out += ["/* Values and the Q8_0 blocks that the reference quantiser makes of them. */",
            "static const uint32_t q8_0_values[] = {",
            listing([f"0x{word:08x}" for word in values.view(numpy.uint32)], 10), "};",
            "static const uint8_t q8_0_quantised[] = {", listing(packed.flatten().tolist(), 3), "};", "", "#endif", ""]
    return "\n".join(out)


if sys.argv[1] == "--check":
    same = open(sys.argv[2]).read() == text()
    print("the same" if same else f"{sys.argv[2]} is not what {sys.argv[0]} writes")
    sys.exit(0 if same else 1)
open(sys.argv[1], "w").write(text())
