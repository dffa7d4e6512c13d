"""Trains the tokenizer (SentencePiece BPE with byte fallback), and encodes as the runtime does, to check that both agree."""
import argparse
import heapq
from pathlib import Path

import numpy as np
import sentencepiece

UNKNOWN, BOS, EOS = 0, 1, 2
NORMAL, CONTROL, BYTE = 1, 3, 6  # token types of GGUF; the unknown token has type 2
SPACE = "\u2581"


def train(text, prefix, vocab):
    """text: chapters separated by empty lines. Writes prefix.model."""
    lines = text.with_suffix(".lines")
    # One paragraph a line: no piece holds a newline, so "\n" is always the byte token <0x0A>.
    lines.write_text("\n".join(line for line in text.read_text().split("\n") if line))
    sentencepiece.SentencePieceTrainer.train(
        input=str(lines), model_prefix=str(prefix), model_type="bpe", vocab_size=vocab, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
        split_digits=True, character_coverage=1.0, max_sentence_length=1 << 20, num_threads=1,
        minloglevel=1, unk_id=UNKNOWN, bos_id=BOS, eos_id=EOS, pad_id=-1)


def vocabulary(model):
    """Lists of pieces, scores and GGUF token types."""
    n = model.get_piece_size()
    pieces, scores = [model.id_to_piece(i) for i in range(n)], [model.get_score(i) for i in range(n)]
    types = [2 if model.is_unknown(i) else CONTROL if model.is_control(i) else BYTE if model.is_byte(i) else NORMAL
             for i in range(n)]
    return pieces, scores, types


def encode(text, pieces, scores):
    """The runtime's algorithm: start from characters, merge the pair with the highest score, leftmost first."""
    ids = {piece: i for i, piece in enumerate(pieces)}
    symbols = list((" " + text if text else "").replace(" ", SPACE))
    left, right = list(range(-1, len(symbols) - 1)), list(range(1, len(symbols) + 1))
    queue = []

    def offer(a, b):
        if a >= 0 and b < len(symbols) and (piece := symbols[a] + symbols[b]) in ids:
            heapq.heappush(queue, (-scores[ids[piece]], a, b, piece))

    for i in range(1, len(symbols)):
        offer(i - 1, i)
    while queue:
        _, a, b, piece = heapq.heappop(queue)
        if not symbols[a] or not symbols[b] or symbols[a] + symbols[b] != piece or right[a] != b:
            continue
        symbols[a], symbols[b] = piece, ""
        right[a] = right[b]
        if right[a] < len(symbols):
            left[right[a]] = a
        offer(left[a], a)
        offer(a, right[a])
    result = []
    for symbol in filter(None, symbols):
        if symbol in ids:
            result.append(ids[symbol])
        else:
            result.extend(ids[f"<0x{byte:02X}>"] for byte in symbol.encode())
    return result


def stream(model, path):
    """All chapters of a text as one array of ids, each chapter between BOS and EOS."""
    return np.array([i for chapter in path.read_text().split("\n\n")
                     for i in [BOS, *model.encode(chapter), EOS]], dtype=np.uint16)


def check(model, path):
    """Round trip, and equality with the runtime's algorithm, paragraph by paragraph and for awkward strings."""
    pieces, scores, _ = vocabulary(model)
    awkward = ["", " ", "a", "\n", "  two  spaces ", "tab\there", "1234.5", "na\u00efve \u2603 \U0001f600", "ONCE upon\n\na"]
    texts = awkward + path.read_text().split("\n\n")
    for text in texts:
        ids = model.encode(text)
        assert ids == encode(text, pieces, scores), text[:80]
        assert model.decode(ids) == text, text[:80]
    return len(texts)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/spindle-train"), help="the results of prepare.py")
    parser.add_argument("--vocab", type=int, default=1024)
    args = parser.parse_args()
    train(args.cache / "train.txt", args.cache / "tokenizer", args.vocab)
    model = sentencepiece.SentencePieceProcessor(model_file=str(args.cache / "tokenizer.model"))
    print(f"{check(model, args.cache / 'held_out.txt')} texts: both algorithms give the same ids, and the text back")
    for name in ("train", "held_out"):
        ids = stream(model, args.cache / f"{name}.txt")
        np.save(args.cache / f"{name}.npy", ids)
        n_bytes = (args.cache / f"{name}.txt").stat().st_size
        print(f"{name}: {len(ids)} tokens, {n_bytes / len(ids):.3f} bytes a token, {(ids == UNKNOWN).sum()} unknown")


if __name__ == "__main__":
    main()
