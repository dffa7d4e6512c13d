"""The operations of model.py's Plain in bf16, for training on a CPU: products by oneDNN, all else by kernels.c."""
import ctypes
import subprocess
import tempfile
from pathlib import Path

import torch
from torch.autograd import Function

from model import QUERY_BLOCK


def compile_kernels():
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/kernels.so"
        subprocess.run(["gcc", "-O3", "-march=native", "-ffast-math", "-fopenmp", "-fPIC", "-shared", "-o", library,
                        str(Path(__file__).parent / "kernels.c"), "-lmvec", "-lm"], check=True)
        return ctypes.CDLL(library)


LIBRARY = compile_kernels()


def call(name, *args):
    """Tensors as pointers, which must be contiguous; None as null; int as long, float as float."""
    def argument(x):
        if isinstance(x, torch.Tensor):
            assert x.is_contiguous()
            return ctypes.c_void_p(x.data_ptr())
        return ctypes.c_void_p(None) if x is None else ctypes.c_float(x) if isinstance(x, float) else ctypes.c_long(x)
    getattr(LIBRARY, name)(*map(argument, args))


def scalar_like(x):
    return torch.empty(x.shape[:-1], dtype=torch.float32)


class RmsNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        y, scale = torch.empty_like(x, dtype=torch.bfloat16), scalar_like(x)
        call("rms_norm", y, scale, x, weight, scale.numel(), x.shape[-1], eps)
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, scale = ctx.saved_tensors
        dx, d_weight = torch.empty_like(x), torch.zeros_like(weight)
        call("rms_norm_backward", dx, d_weight, grad.contiguous(), x, weight, scale, scale.numel(), x.shape[-1])
        return dx, d_weight, None


class SwiGlu(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        y = x.new_empty(*x.shape[:-1], x.shape[-1] // 2)
        call("swiglu", y, x, y.numel() // y.shape[-1], y.shape[-1])
        return y

    @staticmethod
    def backward(ctx, grad):
        x, = ctx.saved_tensors
        dx, n = torch.empty_like(x), x.shape[-1] // 2
        call("swiglu_backward", dx, grad.contiguous(), x, x.numel() // (2 * n), n)
        return dx


class Attention(Function):
    @staticmethod
    def forward(ctx, qkv, c, tables, by_distance):
        batch, n, kv, group, d = *qkv.shape[:2], c.n_kv_heads, c.n_heads // c.n_kv_heads, c.head_dim
        q, k, v = qkv.new_empty(batch * kv, n * group, d), qkv.new_empty(batch * kv, n, d), qkv.new_empty(batch * kv, n, d)
        cos, sin = tables or (None, None)
        ctx.shape = batch, n, kv, group, d, d ** -0.5
        call("split_heads", qkv, q, k, v, cos, sin, *ctx.shape, 0)
        weights, parts = [], []
        for first in range(0, n, QUERY_BLOCK):
            last = min(first + QUERY_BLOCK, n)
            p = torch.bmm(q[:, first * group:last * group], k[:, :last].transpose(1, 2))
            call("softmax", p, by_distance, n, batch * kv, kv, group, first, last - first)
            weights.append(p)
            parts.append(torch.bmm(p, v[:, :last]))
        ctx.save_for_backward(q, k, v, cos, sin, by_distance, *weights)
        y = torch.cat(parts, 1).view(batch, kv, n, group, d)
        return y.transpose(1, 2).reshape(batch, n, -1)

    @staticmethod
    def backward(ctx, grad):
        q, k, v, cos, sin, by_distance, *weights = ctx.saved_tensors
        batch, n, kv, group, d, _ = ctx.shape
        grad = grad.view(batch, n, kv, group, d).transpose(1, 2).reshape(batch * kv, n * group, d)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        d_by_distance = None if by_distance is None or not ctx.needs_input_grad[3] else torch.zeros_like(by_distance)
        for first, p in zip(range(0, n, QUERY_BLOCK), weights):
            last = min(first + QUERY_BLOCK, n)
            rows = slice(first * group, last * group)
            ds = torch.bmm(grad[:, rows], v[:, :last].transpose(1, 2))
            dv[:, :last] += torch.bmm(p.transpose(1, 2), grad[:, rows])
            call("softmax_backward", ds, p, d_by_distance, n, batch * kv, kv, group, first, last - first)
            dq[:, rows] = torch.bmm(ds, k[:, :last])
            dk[:, :last] += torch.bmm(ds.transpose(1, 2), q[:, rows])
        d_qkv = q.new_empty(batch, n, kv * (group + 2), d)
        call("split_heads", d_qkv, dq, dk, dv, cos, sin, *ctx.shape, 1)
        return d_qkv, None, None, d_by_distance


class CrossEntropy(Function):
    @staticmethod
    def forward(ctx, hidden, embedding, target, weight):
        d_logits, losses = hidden @ embedding.t(), torch.empty(len(hidden))
        weight = weight / weight.sum()
        call("cross_entropy", d_logits, losses, target.contiguous(), weight, len(hidden), embedding.shape[0])
        ctx.save_for_backward(hidden, embedding, d_logits)
        ctx.mark_non_differentiable(losses)
        return (losses * weight).sum(), losses

    @staticmethod
    def backward(ctx, grad, _):
        """grad is 1: the loss is what is minimised."""
        hidden, embedding, d_logits = ctx.saved_tensors
        return d_logits @ embedding, d_logits.t() @ hidden, None, None


class Fast:
    dtype = torch.bfloat16
    rms_norm, swiglu, attention, cross_entropy = RmsNorm.apply, SwiGlu.apply, Attention.apply, CrossEntropy.apply


def check():
    """Compares loss and gradients with model.py's, for every kind of positions."""
    from model import POSITIONS, Config, Llama, Plain
    for positions in POSITIONS:
        torch.manual_seed(0)
        net, results = Llama(Config(positions)), []
        ids, target, weight = torch.randint(0, 1024, (2, 300)), torch.randint(0, 1024, (2, 300)), torch.rand(2, 300)
        for ops in Plain, Fast:
            net.zero_grad(set_to_none=True)
            loss, _ = net.loss(ids, target, weight, ops)
            loss.backward()
            results.append([p.grad for p in net.parameters()])
            value = loss.item()
        worst = max(((a - b).norm() / a.norm()).item() for a, b in zip(*results))
        print(f"{positions}: loss {value:.4f}, largest relative difference of a gradient {worst:.4f}")
        assert worst < 0.03


if __name__ == "__main__":
    check()
