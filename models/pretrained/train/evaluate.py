"""Runs a GGUF file of this recipe in PyTorch, in f32: held-out loss, perplexity against length, passkey, a sample.

Rows of CSV: held_out, row length, tokens, nats a token, bits a byte; perplexity, row length, tokens, nats a token,
perplexity; passkey, prompt length, prompts, share of right answers, the shares at depths 0, 1/4, 1/2, 3/4 and 1.
"""
import argparse
import csv
import math
import random
import sys
from pathlib import Path

import numpy as np
import torch

from export import load
from model import Config
from tasks import garbage_sentences, passkey
from tokenizer import BOS, EOS


@torch.no_grad()
def losses(net, documents, n):
    """Nats of each token: documents [tokens] are cut into rows of n tokens, each read after a BOS."""
    result = []
    for ids in documents:
        for first in range(0, len(ids), n):
            target = torch.tensor(ids[first:first + n])[None]
            inputs = torch.cat((torch.tensor([[BOS]]), target[:, :-1]), 1)
            result.append(net.loss(inputs, target)[1].numpy())
    return np.concatenate(result).astype(np.float64)


def passkey_prompt(tokenizer, rng, n, depth):
    """Ids of a prompt of at most n tokens with its answer, the digits of the key the last of them; the filler is whole sentences."""
    key, size = rng.randint(10000, 99999), 4 * n
    while True:
        text = "".join(t for t, _ in passkey(rng, size, garbage_sentences, depth, key))[:-1]
        ids = [BOS, *tokenizer.encode(text)]
        if len(ids) <= n:
            return ids
        size -= 45


@torch.no_grad()
def passkey_accuracy(net, tokenizer, n, depth, count, seed):
    """Share of prompts after which greedy decoding gives all five digits."""
    rng, right = random.Random(f"{seed} {n} {depth}"), 0
    for _ in range(count):
        ids = passkey_prompt(tokenizer, rng, n, depth)
        # The digits are given: all five must be the likeliest after those before, which is what decoding would do.
        hidden = net.hidden(torch.tensor([ids[:-1]]))[0, -5:]
        right += (hidden @ net.embedding.t()).argmax(-1).tolist() == ids[-5:]
    return right / count


@torch.no_grad()
def sample(net, tokenizer, prompt, n, temperature, top_k, seed):
    ids, rng = [BOS, *tokenizer.encode(prompt)], np.random.default_rng(seed)
    for _ in range(n):
        x = net.logits(torch.tensor([ids[-net.config.context:]]))[0, -1].double().numpy()
        if temperature == 0:
            ids.append(int(x.argmax()))
        else:
            best = np.argsort(-x, kind="stable")[:top_k]
            p = np.exp((x[best] - x[best[0]]) / temperature)
            ids.append(int(rng.choice(best, p=p / p.sum())))
        if ids[-1] == EOS:
            break
    return tokenizer.decode(ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--held-out", type=Path, help="held_out.txt as text.py writes it: loss in nats and bits a byte")
    parser.add_argument("--lengths", type=int, nargs="*", default=[], help="perplexity of its first 8192 tokens at these")
    parser.add_argument("--documents", type=int, default=6, help="how many of them --lengths takes")
    parser.add_argument("--passkey", type=int, nargs="*", default=[], help="lengths of prompts, in tokens")
    parser.add_argument("--count", type=int, default=20, help="passkey prompts for each depth, of up to 512 tokens; fewer of longer")
    parser.add_argument("--prompt", help="text to continue")
    parser.add_argument("-n", type=int, default=200, help="tokens to sample")
    parser.add_argument("--temp", type=float, default=0.8)
    parser.add_argument("--top-k", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    net, tokenizer = load(args.file)
    out = csv.writer(sys.stdout, lineterminator="\n")
    if args.held_out:
        texts = args.held_out.read_text().split("\n\n")
        documents = [[*tokenizer.encode(text), EOS] for text in texts]
        nats = losses(net, documents, Config.context)
        bits = nats.sum() / math.log(2) / sum(len(text.encode()) for text in texts)
        out.writerow(["held_out", Config.context, len(nats), f"{nats.mean():.4f}", f"{bits:.4f}"])
        for n in args.lengths:
            nats = losses(net, [d[:8192] for d in documents if len(d) >= 8192][:args.documents], n)
            out.writerow(["perplexity", n, len(nats), f"{nats.mean():.4f}", f"{math.exp(nats.mean()):.3f}"])
            sys.stdout.flush()
    for n in args.passkey:
        count = max(4, args.count * 512 // max(n, 512))
        row = [passkey_accuracy(net, tokenizer, n, depth, count, args.seed) for depth in (0, 0.25, 0.5, 0.75, 1)]
        out.writerow(["passkey", n, 5 * count, f"{np.mean(row):.3f}", " ".join(f"{x:.2f}" for x in row)])
        sys.stdout.flush()
    if args.prompt:
        print(sample(net, tokenizer, args.prompt, args.n, args.temp, args.top_k, args.seed))


if __name__ == "__main__":
    main()
