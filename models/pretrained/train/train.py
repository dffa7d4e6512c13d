"""Trains the network on the CPU; resumes from its last checkpoint, and logs losses in nats a token."""
import argparse
import csv
import math
import os
import time
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from torch.nn import functional as F

from model import Config, Llama
from tokenizer import BOS, SPACE

ABBREVIATIONS = ("Mr.", "Mrs.", "Dr.", "St.", "Capt.")


def sentence_starts(ids, model):
    """Positions where a sentence begins inside a paragraph: there a text starts as a prompt does, with a space."""
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    opens = np.array([p[0] == SPACE and p[1:2].isupper() or p in (SPACE, SPACE + '"') for p in pieces])
    closes = np.array([p[-1] in ".!?" or p.endswith(('."', '!"', '?"')) or p == '"' for p in pieces])
    found = np.flatnonzero(opens[ids[1:]] & closes[ids[:-1]]) + 1
    return np.array([i for i in found if not "".join(pieces[j] for j in ids[i - 4:i]).endswith(ABBREVIATIONS)])


class Rows:
    """Rows of BOS and context - 1 tokens. An epoch cuts the stream evenly, moved on to sentence starts, shuffled."""

    def __init__(self, ids, starts, context, seed):
        self.ids, self.starts, self.context, self.seed = ids.astype(np.int64), starts, context, seed
        self.per_epoch, self.epoch = len(ids) // context, -1

    def batch(self, step, n):
        """Rows of a step: inputs and targets, [n, context]. Depends on seed and step alone."""
        return map(torch.from_numpy, map(np.stack, zip(*(self.row(i) for i in range(step * n, step * n + n)))))

    def row(self, index):
        if index // self.per_epoch != self.epoch:
            self.epoch = index // self.per_epoch
            rng = np.random.default_rng((self.seed, self.epoch))
            cuts = np.arange(self.per_epoch) * self.context + rng.integers(self.context)
            last = np.searchsorted(self.starts, len(self.ids) - self.context, "right") - 1
            first = self.starts[np.minimum(np.searchsorted(self.starts, cuts), last)]
            self.order = rng.permutation(first)
        at = self.order[index % self.per_epoch]
        target = self.ids[at:at + self.context]
        return np.concatenate(([BOS], target[:-1])), target


def learning_rate(step, args):
    """Warm-up, a constant stretch, half a period of a cosine towards decay_to, and a straight line to 0 at the end."""
    into_decay = max(0, step - args.decay_from) / (args.decay_to - args.decay_from)
    cosine = 0.5 + 0.5 * math.cos(math.pi * min(1, into_decay))
    return args.lr * min(1, (step + 1) / args.warmup_steps) * cosine * min(1, (args.steps - step) / args.cooldown_steps)


@torch.no_grad()
def held_out_loss(net, ids, rows=16):
    """Mean loss in nats over a stream, cut into rows that each begin with BOS; BOS itself is never a target."""
    net.eval()
    context, ids = net.config.context, ids.astype(np.int64)
    ids = np.pad(ids, (0, -len(ids) % context), constant_values=BOS).reshape(-1, context)
    total, count = 0.0, 0
    for first in range(0, len(ids), rows):
        target = torch.from_numpy(ids[first:first + rows])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = net(F.pad(target[:, :-1], (1, 0), value=BOS)).float()
        keep = target != BOS
        total += F.cross_entropy(logits[keep], target[keep], reduction="sum").item()
        count += keep.sum().item()
    net.train()
    return total / count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/spindle-train"), help="the results of tokenizer.py")
    parser.add_argument("--log", type=Path, default=Path(__file__).parent / "log.csv")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--decay-from", type=int, default=4000, help="the step at which the rate begins to fall")
    parser.add_argument("--decay-to", type=int, default=10000, help="the step at which it would reach 0")
    parser.add_argument("--cooldown-steps", type=int, default=2000, help="the last steps, with a line down to 0")
    parser.add_argument("--warmup-steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8, help="rows a step")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints and evaluations")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    net = Llama(Config(), args.dropout)
    matrices = [p for p in net.parameters() if p.dim() == 2]
    vectors = [p for p in net.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": args.weight_decay},
                                   {"params": vectors, "weight_decay": 0.0}], betas=(0.9, 0.95))
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(args.cache / "tokenizer.model"))
    ids, held_out = np.load(args.cache / "train.npy"), np.load(args.cache / "held_out.npy")
    starts = sentence_starts(ids, tokenizer)
    rows = Rows(ids, starts, net.config.context, args.seed)
    print(f"{net.n_parameters()} parameters, {len(ids)} tokens, {len(starts)} sentence starts", flush=True)

    checkpoint, step, seconds = args.cache / "checkpoint.pt", 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds = state["step"], state["seconds"]
    else:
        args.log.write_text("step,tokens,seconds,learning_rate,train_loss,held_out_loss\n")

    began, losses = time.monotonic() - seconds, []
    while step < args.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args)
        torch.manual_seed(args.seed * 1_000_003 + step)  # dropout is the same after a resume
        inputs, targets = rows.batch(step, args.batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = net(inputs)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        step += 1
        if step % args.every and step < args.steps:
            continue
        seconds, tokens = time.monotonic() - began, step * args.batch * net.config.context
        row = [step, tokens, round(seconds), f"{learning_rate(step - 1, args):.6f}", f"{np.mean(losses):.4f}",
               f"{held_out_loss(net, held_out):.4f}"]
        losses = []
        with args.log.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
        print(*row, f"{tokens / seconds:.0f} tokens/s", flush=True)
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}
        torch.save(state, checkpoint.with_suffix(".new"))
        os.replace(checkpoint.with_suffix(".new"), checkpoint)


if __name__ == "__main__":
    main()
