"""Writes the card of a model from its files, its logs and the tables of ../evaluate: card.py NAME, after both."""
import argparse
import csv
import hashlib
import math
import re
import subprocess
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


HELD_OUT_BYTES_A_TOKEN = 437_666 / 156_333
ALIKE = "It is one of five that differ in positions alone, trained on the same tokens in the same order: rope-short, alibi, " \
        "t5bias, sinusoidal and nope."
FAMILY = dict.fromkeys(("rope-short", "alibi", "t5bias", "sinusoidal", "nope"), ALIKE)
FAMILY["rope"] = "It is the one that runs when no model is named: the run of spindle-rope-short, 24 million tokens long instead of 9."
FAMILY |= dict.fromkeys(SCALING, "It is spindle-rope-short, fine-tuned for longer contexts.")
REPRODUCED = {"rope": "A second run from nothing gave the same losses to four digits as far as it went, 6.1 million tokens."}


def number(n):
    return f"{n:,}"


def rows_of(table, name):
    path = FOLDER / f"evidence/{table}.csv"
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    own = [r for r in rows if re.search(f"-m spindle-{name}-(f16|q8_0).gguf", r["command"]) and r["table"] != "extensions"]
    return [r for r in own if r["method"] == "RoPE"] if name == "rope" else own


def numbers(name):
    """Markdown rows: length, perplexity, passkey, passkey at each depth."""
    perplexity, passkey, lines = rows_of("perplexity", name), rows_of("passkey", name), []
    for n in sorted({int(r["length"]) for r in perplexity + passkey}):
        scored = [(float(r["nats_per_token"]), int(r["scored_tokens"])) for r in perplexity if int(r["length"]) == n]
        value = f"{math.exp(sum(x * w for x, w in scored) / sum(w for _, w in scored)):.2f}" if scored else ""
        keys = sorted((float(r["depth"]), int(r["right"]), int(r["trials"])) for r in passkey if int(r["length"]) == n)
        share = f"{sum(k[1] for k in keys)} of {sum(k[2] for k in keys)}" if keys else ""
        lines.append(f"| {n} | {value} | {share} | {' '.join(f'{right}/{trials}' for _, right, trials in keys)} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--spindle", default=FOLDER.parent.parent / "build/spindle", help="the command that writes the sample")
    args = parser.parse_args()
    files = sorted(FOLDER.glob(f"spindle-{args.name}-*.gguf"))
    files = [f for f in files if f.stem.removeprefix(f"spindle-{args.name}-") in ("f16", "q8_0")]
    net, _ = load(files[0])
    c = net.config
    log = list(csv.DictReader((FOLDER / "logs" / f"{args.name}.csv").open()))
    method, factor = (args.name.split("-")[1:] + [None, None])[:2]
    fine_tuned = method in SCALING
    positions = SCALING[method].format(int(factor[:-1]), c.ntk_base if method == "ntk" else c.rope_base) if fine_tuned else \
        POSITIONS[args.name.split("-")[0]]
    held, tokens = float(log[-1]["held_out_loss"]), number(int(log[-1]["tokens"]))
    recipe = (f"Rows of {log[-1]['length']} tokens, {tokens} tokens in all, from `spindle-rope-short`'s last checkpoint; AdamW as there, "
              "rate 5e-4 after 20 steps of warm-up, a line down to 0 over the last quarter." if fine_tuned else
              f"{tokens} tokens, 4,096 a step, in rows that grow from 64 to 128, 256 and 512 tokens, twice (`PHASES` of `train/train.py`). "
              "AdamW (0.9, 0.95), weight decay 0.1 on matrices, gradient norm at most 1, no dropout. Rate 3e-3 after 100 steps of "
              "warm-up, a line down to 0 over the last quarter.")
    command = [args.spindle, "run", "-m", files[0], "-p", "Once upon a time", "-n", "100", "-s", "1"]
    sample = "Once upon a time" + subprocess.run(command, check=True, capture_output=True, text=True).stdout.rstrip()
    lines = [
        f"# spindle-{args.name}", "",
        f"A Llama of {number(sum(p.numel() for p in net.parameters()))} parameters, trained for this project on old novels and on "
        f"tasks of retrieval. {FAMILY[method if fine_tuned else args.name]} "
        "`train/card.py` writes this page.", "",
        "| file | bytes | SHA-256 |", "|---|---|---|",
        *(f"| `{f.name}` | {number(f.stat().st_size)} | `{hashlib.sha256(f.read_bytes()).hexdigest()}` |" for f in files), "",
        "| | |", "|---|---|",
        f"| positions | {positions} |",
        f"| network | {c.n_layers} layers, dim {c.dim}, {c.n_heads} heads and {c.n_kv_heads} key/value heads of {c.head_dim}, "
        f"SwiGLU {c.ffn_dim}, RMSNorm {c.eps:g}, embedding tied to the output (no `output.weight`) |",
        f"| context | {log[-1]['length']} tokens, the length it was trained at last |",
        "| tokenizer | byte-level BPE of 1,024 tokens trained on the same text (`tokenizer.ggml.pre` = `smollm`: digits alone), "
        "2.8 bytes a token; BOS 0 is added, EOS 1 |",
        f"| held out, rows of {log[-1]['length']} tokens | {held:.4f} nats a token, perplexity {math.exp(held):.2f}, "
        f"**{held / math.log(2) / HELD_OUT_BYTES_A_TOKEN:.4f} bits a byte** (51,200 tokens, by the training program in bf16) |", "",
        "## Numbers",
        "By the runtime, greedy, from `evidence/perplexity.csv` and `passkey.csv`, which have the commands. Perplexity: the same 384 "
        "tokens of each text in `held_out/` after more or less before them. Passkey: prompts whose number came right, the "
        "key at depths 0, 1/4, 1/2, 3/4 and 1." + (" Positions as the model was trained, not extended." if args.name == "rope" else ""), "",
        "| tokens | perplexity | passkey | at each depth |", "|---|---|---|---|", *numbers(args.name), "",
        f"`logs/{args.name}.csv` is the training log (nats a token), `logs/loss.svg` shows all of them.", "",
        "## Recipe",
        f"`train/reproduce {args.name}`, seed 1. {recipe} Products run in bf16 by oneDNN, the rest in `train/kernels.c`; weights and "
        f"optimizer are f32. Another processor changes the rounding, and with it the last digits. {REPRODUCED.get(args.name, '')}".rstrip(), "",
        TEXT, "## A sample, unedited",
        f'`spindle run -m {files[0].name} -p "Once upon a time" -n 100 -s 1`:', "",
        "> " + sample.replace("\n", "\n> "), "",
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
