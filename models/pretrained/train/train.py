"""Trains the network on the CPU, or fine-tunes it for longer contexts; resumes from its last checkpoint, logs losses in nats."""
import argparse
import csv
import os
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from fast import Fast
from model import POSITIONS, Config, Llama
from tasks import ANSWER, common_words, garbage_sentences, passkey, task
from tokenizer import BOS, EOS, Tokenizer

STEP_TOKENS = 4096
# From so many tokens on: the length of rows, and of eight rows how many are repetitions and how many tasks; the rest is text.
# ALiBi, which prefers what is near, learns to copy in the first course. RoPE does not: it takes a second one, once it knows
# some text, and learns it there within 150 steps. What is asked for at a distance builds on it.
PHASES = ((0, 64, 4, 0), (1.2e6, 128, 2, 2), (2.2e6, 256, 1, 3), (3.4e6, 512, 0, 3),
          (4.3e6, 64, 6, 0), (5.4e6, 128, 3, 3), (6.2e6, 256, 1, 4), (7.0e6, 512, 0, 3))
DECAY_TASKS = 2  # of eight rows, when the learning rate falls


class Rows:
    """Rows of inputs, targets and weights [n], of text or a task. They depend on seed, step and row alone."""

    def __init__(self, cache, seed):
        self.tokenizer, self.seed = Tokenizer.load(cache / "tokenizer.json"), seed
        self.ids = np.load(cache / "train.npy").astype(np.int64)
        self.documents = (cache / "train.txt").read_text().split("\n\n")
        self.names = common_words(self.documents)
        newline = self.tokenizer.encode("\n")[0]
        self.starts = np.flatnonzero((self.ids[:-1] == newline) | (self.ids[:-1] == BOS)) + 1  # of paragraphs

    def passage(self, rng):
        def take(n):
            text = rng.choice(self.documents)
            first = rng.randrange(max(1, len(text) - n))
            return text[first:first + n]
        return take

    def text(self, rng, n):
        last = np.searchsorted(self.starts, len(self.ids) - n, "right") - 1
        at = min(last, np.searchsorted(self.starts, rng.randrange(len(self.ids) - 4 * n)))
        return list(self.ids[self.starts[at]:self.starts[at] + n])

    def task(self, rng, n):
        """Ids and weights of a task that fills nearly all of n tokens, or a part of them."""
        size = 3.6 * n * (1 if rng.random() < 0.6 else rng.uniform(0.4, 1))
        state = rng.getstate()
        while True:
            rng.setstate(state)
            ids, weights = [], []
            for text, weight in task(rng, int(size), self.names, self.passage(rng)):
                part = self.tokenizer.encode(text)
                ids += part
                weights += [weight] * len(part)
            if len(ids) <= n:
                return ids, weights
            size *= 0.98 * n / len(ids)

    def repetition(self, rng, n):
        """Random tokens, the same again and again."""
        period = rng.randint(4, n // 2)
        tokens = [rng.randrange(2, len(self.tokenizer.tokens)) for _ in range(period)]
        return (tokens * (n // period + 1))[:n], [0.0] * period + [1.0] * (n - period)

    def row(self, step, index, n, kind):
        rng = random.Random(f"{self.seed} {step} {index}")
        if kind == "repetition":
            ids, weights = self.repetition(rng, n)
        elif kind == "task":
            ids, weights = self.task(rng, n - 1)
            ids, weights = ids + [EOS], weights + [1.0]
            rest = n - len(ids)
            ids, weights = ids + [BOS][:rest], weights + [0.0][:rest]
        else:
            ids, weights = [], []
        rest = n - len(ids)
        if rest:
            ids, weights = ids + self.text(rng, rest), weights + [1.0] * rest
        return np.array([BOS, *ids[:-1]]), np.array(ids), np.array(weights, dtype=np.float32)

    def batch(self, step, n, repetitions, tasks):
        """repetitions, tasks: of eight rows, how many are."""
        count = max(1, STEP_TOKENS // n)
        # 5 i mod 8 spreads the kinds over rows, and over steps of few rows.
        order = [(step * count + i) * 5 % 8 for i in range(count)]
        kinds = ["repetition" if o < repetitions else "task" if o < repetitions + tasks else "text" for o in order]
        rows = [self.row(step, i, n, kind) for i, kind in enumerate(kinds)]
        return [torch.from_numpy(np.stack(part)) for part in zip(*rows)]


@torch.no_grad()
def held_out_loss(net, ids, n, n_tokens=51200):
    """Mean loss in nats over rows of n tokens, spread evenly, that are read after a BOS."""
    total, count, n_rows, at_once = 0.0, 0, n_tokens // n, max(1, STEP_TOKENS // n)
    firsts = np.arange(n_rows) * (len(ids) // n_rows)
    for i in range(0, n_rows, at_once):
        target = torch.from_numpy(np.stack([ids[first:first + n] for first in firsts[i:i + at_once]]).astype(np.int64))
        _, losses = net.loss(F.pad(target[:, :-1], (1, 0), value=BOS), target, ops=Fast)
        keep = target.flatten() != BOS
        total, count = total + losses[keep].sum().item(), count + keep.sum().item()
    return total / count


@torch.no_grad()
def passkey_accuracy(net, tokenizer, n, count=32):
    """Share of prompts of about n tokens whose five digits are all the likeliest."""
    right, rng = 0, random.Random(n)
    for _ in range(count):
        parts = passkey(rng, int(3.3 * (n - 2)), garbage_sentences)
        ids = [BOS, *tokenizer.encode("".join(text for text, _ in parts))][:-1]
        found = net.logits(torch.tensor([ids]), Fast)[0, -6:-1].argmax(-1)
        right += found.tolist() == ids[-5:]
    return right / count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("positions", choices=POSITIONS)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/spindle-train"), help="the results of tokenizer.py")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--tokens", type=float, default=9.216e6)
    parser.add_argument("--decay", type=float, default=0.25, help="the last share of the tokens: a line down to a rate of 0")
    parser.add_argument("--warmup-steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--start", type=Path, help="a checkpoint to fine-tune")
    parser.add_argument("--length", type=int, help="of every row; default: those of PHASES")
    parser.add_argument("--scaling", choices=("none", "linear", "ntk", "yarn"), default="none")
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=150, help="steps between checkpoints and evaluations")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    config = Config(args.positions, rope_scaling=args.scaling, rope_factor=args.factor)
    net, step, seconds = Llama(config), 0, 0.0
    if args.start:
        net.load_state_dict(torch.load(args.start)["net"])
    groups = [{"params": [p for p in net.parameters() if p.dim() == 2], "weight_decay": args.weight_decay},
              {"params": [p for p in net.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    rows, held_out = Rows(args.cache, args.seed), np.load(args.cache / "held_out.npy")
    n_steps = round(args.tokens / STEP_TOKENS)
    print(f"{sum(p.numel() for p in net.parameters())} parameters, {n_steps} steps", flush=True)

    if args.checkpoint.exists():
        state = torch.load(args.checkpoint)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds = state["step"], state["seconds"]
    else:
        args.log.write_text("step,tokens,seconds,length,learning_rate,text_loss,answer_loss,held_out_loss,passkey\n")

    began, losses = time.monotonic() - seconds, {"text": [], "answer": []}
    while step < n_steps:
        done = step / n_steps
        _, length, repetitions, tasks = max(phase for phase in PHASES if step * STEP_TOKENS >= phase[0])
        if args.length:
            length, repetitions, tasks = args.length, 0, DECAY_TASKS
        if done > 1 - args.decay:
            tasks = DECAY_TASKS
        rate = args.lr * min(1, (step + 1) / args.warmup_steps, (1 - done) / args.decay)
        inputs, targets, weights = rows.batch(step, length, repetitions, tasks)
        loss, each = net.loss(inputs, targets, weights, Fast)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        weights = weights.flatten()
        for kind, w in (("text", 1), ("answer", ANSWER)):
            losses[kind] += each[weights == w].tolist()
        step += 1
        if step % args.every and step < n_steps:
            continue
        text_loss, answer_loss = (np.mean(losses[kind] or [0]) for kind in ("text", "answer"))
        losses, seconds = {"text": [], "answer": []}, time.monotonic() - began
        row = [step, step * STEP_TOKENS, round(seconds), length, f"{rate:.6f}", f"{text_loss:.4f}", f"{answer_loss:.4f}",
               f"{held_out_loss(net, held_out, args.length or config.context):.4f}", f"{passkey_accuracy(net, rows.tokenizer, length):.3f}"]
        with args.log.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
        print(*row, f"{step * STEP_TOKENS / seconds:.0f} tokens/s", flush=True)
        state = {"config": config, "net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
                 "seconds": seconds}
        torch.save(state, args.checkpoint.with_suffix(".new"))
        os.replace(args.checkpoint.with_suffix(".new"), args.checkpoint)


if __name__ == "__main__":
    main()
