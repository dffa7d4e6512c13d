"""Byte-level BPE: trains merges, encodes and decodes. Text is cut as GGUF's pre-tokenizer "smollm" does: digits alone."""
import argparse
import json
import re
from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np

from tasks import examples

BOS, EOS = 0, 1
CONTROL_TOKENS = ["<|bos|>", "<|endoftext|>"]
PRE = "smollm"
TASK_COPIES = 400  # examples of the retrieval tasks that join the text when merges are chosen
# GPT-2's pattern; \p{L} is [^\W\d_] here, and every digit is cut off before.
DIGIT = re.compile(r"(\d)")
WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def byte_characters():
    """GPT-2's printable character for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}


CHARACTER = byte_characters()
BYTE = {c: b for b, c in CHARACTER.items()}


def words(text):
    for part in DIGIT.split(text):
        yield from WORD.findall(part) if not DIGIT.fullmatch(part) else [part]


def train(texts, n_merges):
    """The most frequent pair each time; of equals the one whose text comes first. Returns pairs of strings."""
    counts = Counter(w for text in texts for w in words(text))
    symbols = [[CHARACTER[b] for b in w.encode()] for w in counts]
    counts = list(counts.values())
    total, where = Counter(), defaultdict(set)
    for i, s in enumerate(symbols):
        for pair in zip(s, s[1:]):
            total[pair] += counts[i]
            where[pair].add(i)
    merges = []
    for _ in range(n_merges):
        best = min(total, key=lambda p: (-total[p], p))
        merges.append(best)
        for i in list(where[best]):
            s = symbols[i]
            for pair in zip(s, s[1:]):
                total[pair] -= counts[i]
                where[pair].discard(i)
            symbols[i] = s = merge(s, best)
            for pair in zip(s, s[1:]):
                total[pair] += counts[i]
                where[pair].add(i)
        total = +total
    return merges


def merge(symbols, pair):
    result, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i:i + 2]) == pair:
            result.append(pair[0] + pair[1])
            i += 2
        else:
            result.append(symbols[i])
            i += 1
    return result


class Tokenizer:
    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.tokens = CONTROL_TOKENS + [CHARACTER[b] for b in range(256)] + [a + b for a, b in self.merges]
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.rank = {pair: i for i, pair in enumerate(self.merges)}
        self.word = lru_cache(1 << 17)(self.encode_word)

    @classmethod
    def load(cls, path):
        return cls(json.loads(Path(path).read_text()))

    def encode_word(self, word):
        symbols = [CHARACTER[b] for b in word.encode()]
        while len(symbols) > 1:
            best = min(zip(symbols, symbols[1:]), key=lambda p: self.rank.get(p, len(self.rank)))
            if best not in self.rank:
                break
            symbols = merge(symbols, best)
        return [self.ids[s] for s in symbols]

    def encode(self, text):
        return [i for w in words(text) for i in self.word(w)]

    def decode(self, ids):
        data = bytes(BYTE[c] for i in ids if i >= len(CONTROL_TOKENS) for c in self.tokens[i])
        return data.decode("utf-8", "replace")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/spindle-train"), help="the results of text.py")
    parser.add_argument("--vocab", type=int, default=1024)
    args = parser.parse_args()
    texts = {name: (args.cache / f"{name}.txt").read_text().split("\n\n") for name in ("train", "held_out")}
    tasks = examples(texts["train"], TASK_COPIES)
    tokenizer = Tokenizer(train(texts["train"] + tasks, args.vocab - 256 - len(CONTROL_TOKENS)))
    (args.cache / "tokenizer.json").write_text(json.dumps(tokenizer.merges))
    for name, documents in texts.items():
        parts = [np.array([BOS, *tokenizer.encode(text), EOS], dtype=np.uint16) for text in documents]
        assert all(tokenizer.decode(p) == text for p, text in zip(parts, documents))
        ids = np.concatenate(parts)
        np.save(args.cache / f"{name}.npy", ids)
        n_bytes = sum(len(text.encode()) for text in documents)
        print(f"{name}: {len(ids)} tokens, {n_bytes / len(ids):.3f} bytes a token")
    lengths = [len(tokenizer.encode(t)) for t in tasks]
    print(f"{len(tasks)} tasks: {np.mean([len(t) for t in tasks]) / np.mean(lengths):.3f} bytes a token")


if __name__ == "__main__":
    main()
