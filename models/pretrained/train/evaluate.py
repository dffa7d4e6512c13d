"""Runs a GGUF file in NumPy, in double precision: held-out loss, a sample, and its distance from PyTorch's logits.

Shares nothing with the training's network: it reads the file as any runtime would, vocabulary included.
"""
import argparse
import math
import struct
from pathlib import Path

import numpy as np

from tokenizer import SPACE, encode

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
DTYPES = {0: "<f4", 1: "<f2"}
CONTROL, BYTE = 3, 6


class Gguf:
    """Metadata as a dict, tensors as float64."""

    def __init__(self, path):
        self.data, self.at = path.read_bytes(), 0
        magic, version, n_tensors, n_pairs = self.unpack("4sIQQ")
        assert magic == b"GGUF" and version == 3
        self.metadata = {self.string(): self.value(*self.unpack("I")) for _ in range(n_pairs)}
        infos = []
        for _ in range(n_tensors):
            name, (n_dims,) = self.string(), self.unpack("I")
            infos.append((name, self.unpack(f"{n_dims}Q")[::-1], *self.unpack("IQ")))
        start = -(-self.at // 32) * 32
        self.tensors = {name: np.frombuffer(self.data, DTYPES[kind], math.prod(shape), start + offset)
                        .reshape(shape).astype(np.float64) for name, shape, kind, offset in infos}

    def unpack(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def string(self):
        (n,) = self.unpack("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, n = self.unpack("IQ")
            return [self.value(element) for _ in range(n)]
        return self.unpack(SCALARS[kind])[0]


class Network:
    def __init__(self, path):
        file = Gguf(path)
        self.t, self.m = file.tensors, file.metadata
        self.n_heads, self.n_kv_heads = (self.m["llama.attention.head_count" + s] for s in ("", "_kv"))
        self.head_dim, self.eps = self.m["llama.rope.dimension_count"], self.m["llama.attention.layer_norm_rms_epsilon"]
        self.context, self.base = self.m["llama.context_length"], self.m["llama.rope.freq_base"]
        self.pieces, self.scores, self.types = (self.m["tokenizer.ggml." + s] for s in ("tokens", "scores", "token_type"))
        self.bos, self.eos = (self.m[f"tokenizer.ggml.{s}_token_id"] for s in ("bos", "eos"))

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + self.eps) * self.t[name + ".weight"]

    def rotate(self, x):
        """x [tokens, heads, head_dim], pairs (2i, 2i+1) as complex numbers."""
        angle = np.outer(np.arange(len(x)), self.base ** (-np.arange(0, self.head_dim, 2) / self.head_dim))
        z = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)[:, None]
        return np.stack((z.real, z.imag), -1).reshape(x.shape)

    def logits(self, ids):
        """[tokens, vocab] for one text."""
        t, n = self.t, len(ids)
        x = t["token_embd.weight"][ids]
        hidden = np.triu(np.ones((n, n), bool), 1)
        for i in range(self.m["llama.block_count"]):
            b = f"blk.{i}."
            y = self.norm(x, b + "attn_norm")
            q, k, v = ((y @ t[b + f"attn_{s}.weight"].T).reshape(n, -1, self.head_dim) for s in "qkv")
            q, k = self.rotate(q), self.rotate(k)
            heads = []
            for h in range(self.n_heads):
                kv = h * self.n_kv_heads // self.n_heads
                scores = np.where(hidden, -np.inf, q[:, h] @ k[:, kv].T / math.sqrt(self.head_dim))
                weights = np.exp(scores - scores.max(-1, keepdims=True))
                heads.append(weights / weights.sum(-1, keepdims=True) @ v[:, kv])
            x = x + np.concatenate(heads, -1) @ t[b + "attn_output.weight"].T
            y = self.norm(x, b + "ffn_norm")
            gate = y @ t[b + "ffn_gate.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * (y @ t[b + "ffn_up.weight"].T)) @ t[b + "ffn_down.weight"].T
        return self.norm(x, "output_norm") @ t["token_embd.weight"].T

    def encode(self, text):
        return encode(text, self.pieces, self.scores)

    def decode(self, ids):
        data = b"".join(bytes([int(self.pieces[i][3:5], 16)]) if self.types[i] == BYTE else
                        b"" if self.types[i] == CONTROL else self.pieces[i].replace(SPACE, " ").encode() for i in ids)
        return data.decode("utf-8", "replace").removeprefix(" ")


def held_out(net, text):
    """Nats a token, bits a byte, tokens predicted.

    Chapters are joined as BOS, text, EOS and cut into rows of one context, each read after a BOS of its own; a BOS is
    never predicted, an EOS is. Bytes are those of the text alone.
    """
    chapters = text.split("\n\n")
    stream = [i for chapter in chapters for i in [net.bos, *net.encode(chapter), net.eos]]
    nats, count = 0.0, 0
    for first in range(0, len(stream), net.context):
        target = np.array(stream[first:first + net.context])
        x = net.logits(np.concatenate(([net.bos], target[:-1])))
        x -= x.max(-1, keepdims=True)
        loss = np.log(np.exp(x).sum(-1)) - x[np.arange(len(x)), target]
        nats += loss[target != net.bos].sum()
        count += (target != net.bos).sum()
    return nats / count, nats / math.log(2) / sum(len(c.encode()) for c in chapters), count


def sample(net, prompt, n, temperature, top_k, seed):
    ids, rng = [net.bos, *net.encode(prompt)], np.random.default_rng(seed)
    for _ in range(n):
        x = net.logits(ids[-net.context:])[-1] / temperature
        best = np.argsort(-x, kind="stable")[:top_k]
        p = np.exp(x[best] - x[best[0]])
        ids.append(int(rng.choice(best, p=p / p.sum())))
        if ids[-1] == net.eos:
            break
    return net.decode(ids)


def distance_from_torch(net, checkpoint, ids):
    """Largest difference of a logit from PyTorch's in f32 with weights rounded as in the file, and the largest logit."""
    import torch

    from model import Config, Llama
    model = Llama(Config()).eval()
    weights = torch.load(checkpoint)["net"]
    model.load_state_dict({k: w.half().float() if w.dim() == 2 else w for k, w in weights.items()})
    with torch.no_grad():
        theirs = model(torch.tensor([ids]))[0].double().numpy()
    ours = net.logits(ids)
    return abs(ours - theirs).max(), abs(ours).max()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, nargs="?", default=Path(__file__).parent.parent / "spindle-small-f16.gguf")
    parser.add_argument("--held-out", type=Path, help="held_out.txt as prepare.py writes it")
    parser.add_argument("--checkpoint", type=Path, help="the checkpoint that the file was made from")
    parser.add_argument("--prompt", default="Once upon a time")
    parser.add_argument("-n", type=int, default=200, help="tokens to sample; 0 for none")
    parser.add_argument("--temp", type=float, default=0.8)
    parser.add_argument("--top-k", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    net = Network(args.file)
    if args.checkpoint:
        ids = [net.bos, *net.encode("Once upon a time there was a whale, and Emma could not say whether it was kind.")]
        difference, largest = distance_from_torch(net, args.checkpoint, ids)
        print(f"PyTorch (f32): largest difference {difference:.2e} among logits up to {largest:.1f}")
    if args.held_out:
        nats, bits, count = held_out(net, args.held_out.read_text())
        print(f"held out: {count} tokens, {nats:.4f} nats a token, perplexity {math.exp(nats):.2f}, {bits:.4f} bits a byte")
    if args.n:
        print(sample(net, args.prompt, args.n, args.temp, args.top_k, args.seed))


if __name__ == "__main__":
    main()
