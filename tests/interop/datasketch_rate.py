"""datasketch_rate.py FILE ROWS: how fast datasketch finds near duplicates in the first ROWS rows of chat JSONL, one thread, with the
shingles, bands and rows that filter.duplicates has by default. A measurement beside tests/bench/filter_bench.c, never a test.
Needs `pip install datasketch`."""
import json
import re
import sys
import time

from datasketch import MinHash, MinHashLSH

WORD = re.compile(r"\w+")


def shingles(row):
    words = WORD.findall(" ".join(m["content"] for m in row["messages"]).lower())
    return {" ".join(words[i:i + 5]).encode() for i in range(max(1, len(words) - 4))}


def main(path, count):
    start = time.time()
    index = MinHashLSH(params=(14, 8), num_perm=112)
    kept, rows = 0, 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            if rows == count:
                break
            rows += 1
            signature = MinHash(num_perm=112)
            signature.update_batch(shingles(json.loads(line)))
            if not index.query(signature):
                index.insert(rows, signature)
                kept += 1
    seconds = time.time() - start
    print(f"datasketch: {rows} rows, {kept} kept, {seconds:.2f} s, {rows / seconds:.0f} rows/s")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
