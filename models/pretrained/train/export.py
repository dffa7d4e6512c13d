"""Turns checkpoints into GGUF files, and GGUF files back into networks.

RoPE models are of architecture "llama", so that every GGUF runtime can load them; those with other positions are of
architecture "spindle", which has llama's keys and tensors and names its positions in spindle.position_method.
"""
import argparse
from pathlib import Path

import numpy as np
import torch

from gguf import ARRAY, BOOL, F32, I32, STRING, TENSOR_F16, TENSOR_F32, TENSOR_Q8_0, U32, Reader, write
from model import Config, Llama
from tokenizer import BOS, CONTROL_TOKENS, EOS, PRE, Tokenizer

NORMAL, CONTROL = 1, 3  # types of tokens
METHODS = {"alibi": "alibi", "t5bias": "t5bias", "sinusoidal": "sinusoidal", "nope": "none"}
FORMATS = {"f16": (TENSOR_F16, 1), "q8_0": (TENSOR_Q8_0, 7), "f32": (TENSOR_F32, 0)}  # of matrices; general.file_type
REL_B = "blk.0.attn_rel_b.weight"


def metadata(c, tokenizer, name, file_type):
    a = "llama" if c.positions == "rope" else "spindle"
    longer = c.rope_factor if c.rope_scaling != "none" else 1
    pairs = [
        ("general.architecture", STRING, a),
        ("general.name", STRING, name),
        ("general.file_type", U32, file_type),
        (f"{a}.vocab_size", U32, c.vocab),
        (f"{a}.context_length", U32, round(c.context * longer)),
        (f"{a}.embedding_length", U32, c.dim),
        (f"{a}.block_count", U32, c.n_layers),
        (f"{a}.feed_forward_length", U32, c.ffn_dim),
        (f"{a}.attention.head_count", U32, c.n_heads),
        (f"{a}.attention.head_count_kv", U32, c.n_kv_heads),
        (f"{a}.attention.key_length", U32, c.head_dim),
        (f"{a}.attention.value_length", U32, c.head_dim),
        (f"{a}.attention.layer_norm_rms_epsilon", F32, c.eps),
    ]
    if c.positions == "rope":
        pairs += [(f"{a}.rope.dimension_count", U32, c.head_dim),
                  (f"{a}.rope.freq_base", F32, c.ntk_base if c.rope_scaling == "ntk" else c.rope_base)]
        if c.rope_scaling in ("linear", "yarn"):
            pairs += [(f"{a}.rope.scaling.type", STRING, c.rope_scaling),
                      (f"{a}.rope.scaling.factor", F32, c.rope_factor),
                      (f"{a}.rope.scaling.original_context_length", U32, c.context)]
    else:
        pairs += [("spindle.position_method", STRING, METHODS[c.positions])]
    if c.positions == "alibi":
        pairs += [("spindle.attention.max_alibi_bias", F32, c.alibi_max_bias)]
    if c.positions == "t5bias":
        pairs += [("spindle.attention.relative_buckets_count", U32, c.t5_buckets),
                  ("spindle.attention.relative_max_distance", U32, c.t5_max_distance)]
    if c.positions == "sinusoidal":
        pairs += [("spindle.embedding_scale", F32, c.embedding_scale)]
    n_control = len(CONTROL_TOKENS)
    return pairs + [
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, PRE),
        ("tokenizer.ggml.tokens", ARRAY, tokenizer.tokens, STRING),
        ("tokenizer.ggml.token_type", ARRAY, [CONTROL] * n_control + [NORMAL] * (c.vocab - n_control), I32),
        ("tokenizer.ggml.merges", ARRAY, [" ".join(m) for m in tokenizer.merges], STRING),
        ("tokenizer.ggml.bos_token_id", U32, BOS),
        ("tokenizer.ggml.eos_token_id", U32, EOS),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
    ]


def interleave(weight, head_dim):
    """Rows (i, i + head_dim / 2) of each head come to lie side by side, as llama's rotation has its pairs."""
    return weight.reshape(-1, 2, head_dim // 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def part(weight, head_dim):
    """The inverse of interleave."""
    return weight.reshape(-1, head_dim // 2, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def tensors(weights, c, kind):
    """(GGUF name, array, type), in the order of use; no output.weight, for the embedding is tied."""
    w = {name: value.float().numpy() for name, value in weights.items()}
    turn = interleave if c.positions == "rope" else lambda weight, _: weight
    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    yield "token_embd.weight", w["embedding"], kind
    if c.positions == "t5bias":
        yield REL_B, w["t5_bias"].T, TENSOR_F32
    for i in range(c.n_layers):
        ours, theirs = f"layers.{i}.", f"blk.{i}."
        qkv, gate_up = w[ours + "qkv"], w[ours + "gate_up"]
        yield theirs + "attn_norm.weight", w[ours + "attention_norm"], TENSOR_F32
        yield theirs + "attn_q.weight", turn(qkv[:q], c.head_dim), kind
        yield theirs + "attn_k.weight", turn(qkv[q:q + kv], c.head_dim), kind
        yield theirs + "attn_v.weight", qkv[q + kv:], kind
        yield theirs + "attn_output.weight", w[ours + "output"], kind
        yield theirs + "ffn_norm.weight", w[ours + "ffn_norm"], TENSOR_F32
        yield theirs + "ffn_gate.weight", gate_up[:c.ffn_dim], kind
        yield theirs + "ffn_up.weight", gate_up[c.ffn_dim:], kind
        yield theirs + "ffn_down.weight", w[ours + "down"], kind
    yield "output_norm.weight", w["norm"], TENSOR_F32


def load(path):
    """A GGUF file of ours as (network in f32, tokenizer)."""
    file = Reader(path)
    m, t = file.metadata, file.tensors
    a = m["general.architecture"]
    method = m.get("spindle.position_method")
    scaling = m.get("llama.rope.scaling.type", "none")
    c = Config("rope" if a == "llama" else next(k for k, v in METHODS.items() if v == method),
               vocab=len(m["tokenizer.ggml.tokens"]), dim=m[f"{a}.embedding_length"], n_layers=m[f"{a}.block_count"],
               n_heads=m[f"{a}.attention.head_count"], n_kv_heads=m[f"{a}.attention.head_count_kv"],
               head_dim=m[f"{a}.attention.key_length"], ffn_dim=m[f"{a}.feed_forward_length"],
               context=m.get("llama.rope.scaling.original_context_length", m[f"{a}.context_length"]),
               rope_base=m.get("llama.rope.freq_base", 1e4), rope_scaling=scaling,
               rope_factor=m.get("llama.rope.scaling.factor", 1.0))
    turn = part if c.positions == "rope" else lambda weight, _: weight
    weights = {"embedding": t["token_embd.weight"], "norm": t["output_norm.weight"]}
    if c.positions == "t5bias":
        weights["t5_bias"] = t[REL_B].T
    for i in range(c.n_layers):
        b = {name: t[f"blk.{i}.{name}.weight"] for name in
             ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")}
        qkv = [turn(b["attn_q"], c.head_dim), turn(b["attn_k"], c.head_dim), b["attn_v"]]
        layer = {"attention_norm": b["attn_norm"], "qkv": np.concatenate(qkv), "output": b["attn_output"],
                 "ffn_norm": b["ffn_norm"], "gate_up": np.concatenate((b["ffn_gate"], b["ffn_up"])), "down": b["ffn_down"]}
        weights |= {f"layers.{i}.{name}": value for name, value in layer.items()}
    net = Llama(c)
    net.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in weights.items()})
    return net, Tokenizer([merge.split(" ") for merge in m["tokenizer.ggml.merges"]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path, help="NAME-FORMAT.gguf, FORMAT one of " + ", ".join(FORMATS))
    parser.add_argument("--tokenizer", type=Path, default=Path("/tmp/spindle-train/tokenizer.json"))
    args = parser.parse_args()
    state = torch.load(args.checkpoint, map_location="cpu")
    name, form = args.output.stem.rsplit("-", 1)
    kind, file_type = FORMATS[form]
    tokenizer = Tokenizer.load(args.tokenizer)
    write(args.output, metadata(state["config"], tokenizer, name, file_type), list(tensors(state["net"], state["config"], kind)))
    print(f"{args.output}: step {state['step']}, {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
