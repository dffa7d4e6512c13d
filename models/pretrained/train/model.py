"""The network: Llama's blocks (RMSNorm, grouped-query attention, SwiGLU, tied embedding) with a choice of positions.

`Plain` defines the operations in f32; fast.py has the same in bf16 with gradients of their own, to train.
"""
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

QUERY_BLOCK = 128  # queries that attend together: their product stops at the last key any of them sees
POSITIONS = ("rope", "alibi", "t5bias", "sinusoidal", "nope")


@dataclass
class Config:
    positions: str = "rope"
    vocab: int = 1024
    dim: int = 224
    n_layers: int = 4
    n_heads: int = 4
    n_kv_heads: int = 2
    head_dim: int = 64
    ffn_dim: int = 448
    context: int = 512
    eps: float = 1e-5
    rope_base: float = 10000.0
    rope_scaling: str = "none"  # none, linear (position interpolation), ntk (NTK-aware) or yarn
    rope_factor: float = 1.0
    alibi_max_bias: float = 8.0
    t5_buckets: int = 32
    t5_max_distance: int = 128

    @property
    def ntk_base(self):
        """The base that makes the slowest pair turn `rope_factor` times slower and leaves the fastest as it is."""
        return self.rope_base * self.rope_factor ** (self.head_dim / (self.head_dim - 2))

    @property
    def embedding_scale(self):
        return math.sqrt(self.dim) if self.positions == "sinusoidal" else 1.0


def rope_tables(c, n):
    """cos and sin of n positions, [n, head_dim / 2], times YaRN's attention factor."""
    d, pair = c.head_dim, torch.arange(c.head_dim // 2, dtype=torch.float64)
    rate, magnitude = (c.ntk_base if c.rope_scaling == "ntk" else c.rope_base) ** (-2 * pair / d), 1.0
    if c.rope_scaling == "linear":
        rate = rate / c.rope_factor
    if c.rope_scaling == "yarn":  # beta_fast 32, beta_slow 1, a ramp linear in the pair's index
        low, high = (d * math.log(c.context / (2 * math.pi * turns)) / (2 * math.log(c.rope_base)) for turns in (32, 1))
        low, high = max(math.floor(low), 0), min(math.ceil(high), d - 1)
        ramp = ((pair - low) / max(high - low, 0.001)).clamp(0, 1)
        rate, magnitude = ramp * rate / c.rope_factor + (1 - ramp) * rate, 0.1 * math.log(c.rope_factor) + 1
    angle = torch.arange(n, dtype=torch.float64)[:, None] * rate
    return (angle.cos() * magnitude).float(), (angle.sin() * magnitude).float()


def sinusoids(n, dim):
    """[n, dim]: sine and cosine in turn (Vaswani et al. 2017)."""
    angle = torch.arange(n, dtype=torch.float64)[:, None] * 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1).float()


def alibi_slopes(c):
    """[n_heads]; n_heads is a power of two."""
    return 2.0 ** (-c.alibi_max_bias * torch.arange(1, c.n_heads + 1) / c.n_heads)


def t5_bucket(distance, n_buckets, max_distance):
    """Bucket of each distance >= 0 (causal): half of the buckets are exact, the others widen with the logarithm."""
    exact = n_buckets // 2
    far = torch.log(distance.clamp(min=1).double() / exact) / math.log(max_distance / exact) * (n_buckets - exact)
    far = (exact + (far + 1e-9).floor().long()).clamp(max=n_buckets - 1)
    return torch.where(distance < exact, distance, far)


class Plain:
    dtype = torch.float32

    @staticmethod
    def rms_norm(x, weight, eps):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight

    @staticmethod
    def swiglu(x):
        """[.., 2 * n] (gate, up) -> [.., n]"""
        gate, up = x.chunk(2, -1)
        return F.silu(gate) * up

    @staticmethod
    def attention(qkv, c, tables, by_distance):
        """qkv [batch, tokens, heads, head_dim]: queries, keys, values. tables: cos and sin, or None.

        by_distance [n_heads, tokens]: what is added to the score of a key so far back, or None.
        """
        batch, n = qkv.shape[:2]
        kv, group = c.n_kv_heads, c.n_heads // c.n_kv_heads
        q, k, v = qkv.transpose(1, 2).split((c.n_heads, kv, kv), 1)
        if tables is not None:
            q, k = rotate(q, *tables), rotate(k, *tables)
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        parts = []
        for first in range(0, n, QUERY_BLOCK):
            last = min(first + QUERY_BLOCK, n)
            distance = torch.arange(first, last)[:, None] - torch.arange(last)
            scores = q[:, :, first:last] @ k[:, :, :last].transpose(2, 3) * c.head_dim ** -0.5
            if by_distance is not None:
                scores = scores + by_distance[:, distance.clamp(min=0)]
            weights = torch.softmax(scores.masked_fill(distance < 0, -math.inf), -1)
            parts.append(weights @ v[:, :, :last])
        return torch.cat(parts, 2).transpose(1, 2).flatten(2)

    @staticmethod
    def cross_entropy(hidden, embedding, target, weight):
        """Weighted mean of the losses in nats of hidden @ embedding^T, and each of them."""
        losses = F.cross_entropy(hidden @ embedding.t(), target, reduction="none")
        return (losses * weight).sum() / weight.sum(), losses.detach()


def rotate(x, cos, sin):
    """x [.., tokens, head_dim], pairs (i, i + head_dim / 2)."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.attention_norm, self.ffn_norm = nn.Parameter(torch.ones(c.dim)), nn.Parameter(torch.ones(c.dim))
        into_stream = 0.02 / math.sqrt(2 * c.n_layers)
        self.qkv = nn.Parameter(torch.randn((c.n_heads + 2 * c.n_kv_heads) * c.head_dim, c.dim) * 0.02)
        self.output = nn.Parameter(torch.randn(c.dim, c.n_heads * c.head_dim) * into_stream)
        self.gate_up = nn.Parameter(torch.randn(2 * c.ffn_dim, c.dim) * 0.02)
        self.down = nn.Parameter(torch.randn(c.dim, c.ffn_dim) * into_stream)

    def forward(self, x, tables, by_distance, ops):
        qkv, output, gate_up, down = (w.to(ops.dtype).t() for w in (self.qkv, self.output, self.gate_up, self.down))
        y = ops.rms_norm(x, self.attention_norm, self.c.eps) @ qkv
        x = x + ops.attention(y.unflatten(-1, (-1, self.c.head_dim)), self.c, tables, by_distance) @ output
        y = ops.rms_norm(x, self.ffn_norm, self.c.eps)
        return x + ops.swiglu(y @ gate_up) @ down


class Llama(nn.Module):
    """The stream x is f32, whatever the type of ops."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.randn(config.vocab, config.dim) * 0.02)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.norm = nn.Parameter(torch.ones(config.dim))
        self.t5_bias = None  # [n_heads, buckets], shared by all layers
        if config.positions == "t5bias":
            self.t5_bias = nn.Parameter(torch.zeros(config.n_heads, config.t5_buckets))

    def hidden(self, ids, ops=Plain):
        """ids [batch, tokens] -> the last norm's output, [batch, tokens, dim]."""
        c, n = self.config, ids.shape[1]
        x, tables, by_distance = F.embedding(ids, self.embedding), None, None
        if c.positions == "rope":
            tables = rope_tables(c, n)
        if c.positions == "sinusoidal":
            x = x * c.embedding_scale + sinusoids(n, c.dim)
        if c.positions == "alibi":
            by_distance = -alibi_slopes(c)[:, None] * torch.arange(n)
        if c.positions == "t5bias":
            by_distance = self.t5_bias[:, t5_bucket(torch.arange(n), c.t5_buckets, c.t5_max_distance)]
        for layer in self.layers:
            x = layer(x, tables, by_distance, ops)
        return ops.rms_norm(x, self.norm, c.eps)

    def loss(self, ids, target, weight=None, ops=Plain):
        """The weighted mean loss, and each token's own [batch * tokens], in nats."""
        weight = torch.ones(target.numel()) if weight is None else weight.flatten()
        hidden = self.hidden(ids, ops).flatten(0, 1)
        return ops.cross_entropy(hidden, self.embedding.to(ops.dtype), target.flatten(), weight)

    def logits(self, ids, ops=Plain):
        """[batch, tokens, vocab]"""
        return (self.hidden(ids, ops) @ self.embedding.to(ops.dtype).t()).float()
