"""Writes the card of a model from its files, its log and its evaluation: card.py NAME --sample FILE"""
import argparse
import csv
import hashlib
from pathlib import Path

from export import load

FOLDER = Path(__file__).resolve().parent.parent
POSITIONS = {
    "rope": "RoPE, base 10,000 (architecture `llama`: pairs lie side by side)",
    "alibi": "ALiBi, slopes 1/4, 1/16, 1/64, 1/256 (`spindle.position_method` = `alibi`, `spindle.attention.max_alibi_bias` = 8)",
    "t5bias": "T5's relative bias, 32 causal buckets to distance 128, one table for all layers (`blk.0.attn_rel_b.weight`, "
              "heads fastest; scores are scaled by 1/sqrt(head_dim) all the same, unlike T5's)",
    "sinusoidal": "sine and cosine added to the embedding (Vaswani et al. 2017), which is multiplied by sqrt(dim) before "
                  "(`spindle.embedding_scale`; the output layer takes it unscaled)",
    "nope": "none: only the causal order of attention (`spindle.position_method` = `none`)",
}
SCALING = {"linear": "position interpolation, factor {0:g} (`rope.scaling.type` = `linear`)",
           "ntk": "NTK-aware, factor {0:g}: the base of RoPE is {1:.0f} (`rope.freq_base`), nothing else tells",
           "yarn": "YaRN, factor {0:g} (`rope.scaling.type` = `yarn`; cos and sin times 0.1 ln {0:g} + 1, beta 32 and 1)"}

TEXT = """## Text
Four packages of Debian 12 carry it; `train/text.py` unpacks them without installing anything.

| text | package (version used) | licence of the package | bytes |
|---|---|---|---|
| Jane Austen (1775-1817): six novels | r-cran-janeaustenr (1.0.0-1) | MIT | 3,996,121 |
| Herman Melville (1819-1891): Moby Dick | r-cran-tokenizers (0.3.0-1) | MIT | 1,152,467 |
| Mark Twain (1835-1910): The Adventures of Tom Sawyer; Arthur Conan Doyle (1859-1930): The Adventures of Sherlock Holmes | golang-github-pierrec-lz4-dev (2.5.2-2) | BSD-3-Clause | 937,723 |
| Mark Twain: The Adventures of Huckleberry Finn; Edgar Allan Poe (1809-1849): collected works, without the verse | liblingua-stem-perl (2.31-1) | Artistic or GPL-1+ | 2,895,247 |

The works themselves are in the public domain; their files came to the packages from Project Gutenberg. Headers, licences, headings, verse and paragraphs that are no prose are left out, wrapped lines are joined, accents dropped. From the middle of every book chapters of 30,000 bytes at least are held out: 11 documents, 437,666 bytes, 156,333 tokens. The rest is 8,543,915 bytes or 3,103,720 tokens.

Retrieval tasks are mixed in, made afresh for each row (`train/tasks.py`): the passkey prompt of Mohtashami and Jaggi (2023) with its own filler or passages of the books, records of lines as in LongChat's LongEval, lists to copy, and random tokens that repeat. Names of lines are common words of the books.
"""


def number(n):
    return f"{n:,}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--sample", type=Path, required=True)
    parser.add_argument("--note", help="what differs from the recipe, instead of its description")
    args = parser.parse_args()
    files = sorted(FOLDER.glob(f"spindle-{args.name}-*.gguf"))
    files = [f for f in files if f.stem.removeprefix(f"spindle-{args.name}-") in ("f16", "q8_0")]
    net, _ = load(files[0])
    c = net.config
    log = list(csv.DictReader((FOLDER / "logs" / f"{args.name}.csv").open()))
    result = list(csv.reader((FOLDER / "logs" / f"{args.name}-evaluation.csv").open()))
    fine_tuned = "-" in args.name
    method, factor = args.name.split("-")[1:] if fine_tuned else (None, "1x")
    positions = SCALING[method].format(int(factor[:-1]), c.rope_base) if fine_tuned else POSITIONS[args.name]
    held = next(row for row in result if row[0] == "held_out")
    tokens = number(int(log[-1]["tokens"]))
    recipe = (f"Rows of {log[-1]['length']} tokens, {tokens} tokens in all, from `spindle-rope`'s last checkpoint; AdamW as there, "
              "rate 5e-4 after 20 steps of warm-up, a line down to 0 over the last quarter." if fine_tuned else
              f"{tokens} tokens, 4,096 a step, in rows that grow from 64 to 128, 256 and 512 tokens, twice (`PHASES` of `train/train.py`). "
              "AdamW (0.9, 0.95), weight decay 0.1 on matrices, gradient norm at most 1, no dropout. Rate 3e-3 after 100 steps of "
              "warm-up, a line down to 0 over the last quarter.")
    recipe = args.note or recipe
    lines = [
        f"# spindle-{args.name}", "",
        f"A Llama of {number(sum(p.numel() for p in net.parameters()))} parameters, trained for this project on old novels and on "
        "tasks of retrieval. It belongs to a family that differs in positions alone: rope, alibi, t5bias, sinusoidal and nope, and "
        "rope fine-tuned for longer contexts. `train/card.py` writes this page.", "",
        "| file | bytes | SHA-256 |", "|---|---|---|",
        *(f"| `{f.name}` | {number(f.stat().st_size)} | `{hashlib.sha256(f.read_bytes()).hexdigest()}` |" for f in files), "",
        "| | |", "|---|---|",
        f"| positions | {positions} |",
        f"| network | {c.n_layers} layers, dim {c.dim}, {c.n_heads} heads and {c.n_kv_heads} key/value heads of {c.head_dim}, "
        f"SwiGLU {c.ffn_dim}, RMSNorm {c.eps:g}, embedding tied to the output (no `output.weight`) |",
        f"| context | {log[-1]['length']} tokens, the length it was trained at last |",
        "| tokenizer | byte-level BPE of 1,024 tokens trained on the same text (`tokenizer.ggml.pre` = `smollm`: digits alone), "
        "2.8 bytes a token; BOS 0 is added, EOS 1 |",
        f"| held out, rows of {held[1]} tokens | {held[3]} nats a token, perplexity {2.718281828459045 ** float(held[3]):.2f}, "
        f"**{held[4]} bits a byte** |", "",
        "## Numbers",
        f"By `train/evaluate.py` on `{files[0].name}`, in PyTorch and f32 (`logs/{args.name}-evaluation.csv`). Perplexity: the first "
        "8,192 tokens of six held-out documents, in rows of so many tokens that are each read after a BOS. Passkey: five digits right, "
        "the filler in whole sentences, the key at depths 0, 1/4, 1/2, 3/4 and 1.", "",
        "| tokens | perplexity | passkey | at each depth |", "|---|---|---|---|",
    ]
    lengths = sorted({int(row[1]) for row in result if row[0] != "held_out"})
    for n in lengths:
        found = {row[0]: row for row in result if int(row[1]) == n}
        perplexity = found["perplexity"][4] if "perplexity" in found else ""
        passkey = found.get("passkey")
        share = f"{float(passkey[3]):.0%} of {passkey[2]}" if passkey else ""
        lines.append(f"| {n} | {perplexity} | {share} | {passkey[4] if passkey else ''} |")
    lines += [
        "", f"`logs/{args.name}.csv` is the training log (nats a token), `logs/loss.svg` shows all of them.", "",
        "## Recipe",
        f"`train/reproduce {args.name}`, seed 1. {recipe} Products run in bf16 by oneDNN, the rest in `train/kernels.c`; weights and "
        "optimizer are f32. Another number of threads or another processor changes the rounding, and with it the last digits.", "",
        TEXT, "## A sample, unedited",
        '`train/evaluate.py FILE --prompt "Once upon a time" -n 100 --temp 0.8 --top-k 40 --seed 1` (NumPy\'s seed; the runtime\'s '
        "sampler draws other numbers):", "",
        "> " + args.sample.read_text().strip().replace("\n", "\n> "), "",
        "## Limits",
        "It is small and has read eleven volumes: clauses are mostly grammatical, there is no plot, words are sometimes invented, and it "
        "knows nothing. Names of the books' people turn up unasked, and so do the attitudes and words of their time (Twain's slurs "
        "among them). It answers nothing but the passkey and record questions above, in their exact wording. Other languages and "
        "non-ASCII text fall to bytes it never saw in training.", "",
        "## Licence",
        "The text is in the public domain; the recipe and the weights come under the licence of this project.", "",
    ]
    (FOLDER / f"spindle-{args.name}.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
