"""The network: Llama's blocks (RMSNorm, interleaved RoPE, grouped-query attention, SwiGLU), tied embeddings."""
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

QUERY_BLOCK = 128  # queries that attend together: their product stops at the last key any of them sees
HIDDEN = -1e4  # added to scores of later tokens; exp() of it is 0


@dataclass
class Config:
    vocab: int = 1024
    dim: int = 192
    n_layers: int = 5
    n_heads: int = 6
    n_kv_heads: int = 2
    head_dim: int = 32
    ffn_dim: int = 448
    context: int = 512
    rope_base: float = 10000.0
    eps: float = 1e-5


class RmsNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x):
        return x * (torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight)


def rope_tables(config, n):
    """cos and sin, [n, head_dim / 2]."""
    rate = config.rope_base ** (-torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim)
    angle = torch.arange(n, dtype=torch.float64)[:, None] * rate
    return angle.cos().float(), angle.sin().float()


def rotate(x, cos, sin):
    """x [batch, tokens, heads, head_dim], pairs (2i, 2i+1)."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q = nn.Linear(c.dim, c.n_heads * c.head_dim, bias=False)
        self.k = nn.Linear(c.dim, c.n_kv_heads * c.head_dim, bias=False)
        self.v = nn.Linear(c.dim, c.n_kv_heads * c.head_dim, bias=False)
        self.output = nn.Linear(c.n_heads * c.head_dim, c.dim, bias=False)

    def forward(self, x, cos, sin, mask):
        c, (batch, tokens, _) = self.c, x.shape
        group = c.n_heads // c.n_kv_heads
        q = rotate(self.q(x).view(batch, tokens, c.n_heads, c.head_dim), cos, sin)
        k = rotate(self.k(x).view(batch, tokens, c.n_kv_heads, c.head_dim), cos, sin)
        v = self.v(x).view(batch, tokens, c.n_kv_heads, c.head_dim)
        # Heads that share a key lie together: [batch * kv_heads, group * block, head_dim] x [.., tokens, head_dim]
        q = q.view(batch, tokens, c.n_kv_heads, group, c.head_dim).permute(0, 2, 3, 1, 4).to(v.dtype)
        k = k.permute(0, 2, 3, 1).reshape(batch * c.n_kv_heads, c.head_dim, tokens).to(v.dtype)
        v = v.transpose(1, 2).reshape(batch * c.n_kv_heads, tokens, c.head_dim)
        parts = []
        for first in range(0, tokens, QUERY_BLOCK):
            last = min(first + QUERY_BLOCK, tokens)
            block = q[:, :, :, first:last].reshape(batch * c.n_kv_heads, group * (last - first), c.head_dim)
            visible = mask[first:last, :last].to(v.dtype).repeat(group, 1)
            scores = torch.baddbmm(visible, block, k[:, :, :last], alpha=c.head_dim ** -0.5)
            part = torch.bmm(torch.softmax(scores, -1).to(v.dtype), v[:, :last])
            parts.append(part.view(batch, c.n_kv_heads, group, last - first, c.head_dim))
        y = torch.cat(parts, 3).permute(0, 3, 1, 2, 4).reshape(batch, tokens, -1)
        return self.output(y)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.attention_norm, self.ffn_norm = RmsNorm(c.dim, c.eps), RmsNorm(c.dim, c.eps)
        self.attention = Attention(c)
        self.gate = nn.Linear(c.dim, c.ffn_dim, bias=False)
        self.up = nn.Linear(c.dim, c.ffn_dim, bias=False)
        self.down = nn.Linear(c.ffn_dim, c.dim, bias=False)

    def forward(self, x, cos, sin, mask, dropout):
        x = x + dropout(self.attention(self.attention_norm(x), cos, sin, mask))
        y = self.ffn_norm(x)
        return x + dropout(self.down(F.silu(self.gate(y)) * self.up(y)))


class Llama(nn.Module):
    def __init__(self, config, dropout=0.0):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab, config.dim)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.norm = RmsNorm(config.dim, config.eps)
        self.dropout = nn.Dropout(dropout)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                into_stream = name.endswith(("output.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 if not into_stream else 0.02 / (2 * config.n_layers) ** 0.5)
        cos, sin = rope_tables(config, config.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        later = torch.ones(config.context, config.context).triu(1)
        self.register_buffer("mask", later * HIDDEN, persistent=False)

    def forward(self, ids):
        """ids [batch, tokens] -> logits [batch, tokens, vocab]."""
        n = ids.shape[1]
        x = self.dropout(self.embedding(ids))
        for layer in self.layers:
            x = layer(x, self.cos[:n], self.sin[:n], self.mask[:n, :n], self.dropout)
        return F.linear(self.norm(x), self.embedding.weight)

    def n_parameters(self):
        return sum(p.numel() for p in self.parameters())
