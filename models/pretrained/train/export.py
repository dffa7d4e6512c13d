"""Writes a checkpoint as GGUF v3: matrices in f16, norms in f32; no output.weight, for the embedding is tied."""
import argparse
import struct
from pathlib import Path

import numpy as np
import sentencepiece
import torch

from model import Config
from tokenizer import BOS, EOS, UNKNOWN, vocabulary

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9  # types of metadata values
ALIGNMENT_BYTES = 32
F16_FILE = 1  # general.file_type: mostly f16

LAYER_TENSORS = {
    "attn_norm": "attention_norm", "attn_q": "attention.q", "attn_k": "attention.k", "attn_v": "attention.v",
    "attn_output": "attention.output", "ffn_norm": "ffn_norm", "ffn_gate": "gate", "ffn_up": "up", "ffn_down": "down",
}


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def scalar(kind, value):
    if kind == STRING:
        return string(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def pair(key, kind, value, element=None):
    """One metadata pair; element is the type inside an array."""
    if kind == ARRAY:
        data = struct.pack("<IQ", element, len(value)) + b"".join(scalar(element, v) for v in value)
    else:
        data = scalar(kind, value)
    return string(key) + struct.pack("<I", kind) + data


def metadata(config, model, name):
    pieces, scores, types = vocabulary(model)
    c = config
    return [
        pair("general.architecture", STRING, "llama"),
        pair("general.name", STRING, name),
        pair("general.file_type", U32, F16_FILE),
        pair("llama.vocab_size", U32, c.vocab),
        pair("llama.context_length", U32, c.context),
        pair("llama.embedding_length", U32, c.dim),
        pair("llama.block_count", U32, c.n_layers),
        pair("llama.feed_forward_length", U32, c.ffn_dim),
        pair("llama.rope.dimension_count", U32, c.head_dim),
        pair("llama.rope.freq_base", F32, c.rope_base),
        pair("llama.attention.head_count", U32, c.n_heads),
        pair("llama.attention.head_count_kv", U32, c.n_kv_heads),
        pair("llama.attention.key_length", U32, c.head_dim),
        pair("llama.attention.value_length", U32, c.head_dim),
        pair("llama.attention.layer_norm_rms_epsilon", F32, c.eps),
        pair("tokenizer.ggml.model", STRING, "llama"),
        pair("tokenizer.ggml.tokens", ARRAY, pieces, STRING),
        pair("tokenizer.ggml.scores", ARRAY, scores, F32),
        pair("tokenizer.ggml.token_type", ARRAY, types, I32),
        pair("tokenizer.ggml.unknown_token_id", U32, UNKNOWN),
        pair("tokenizer.ggml.bos_token_id", U32, BOS),
        pair("tokenizer.ggml.eos_token_id", U32, EOS),
        pair("tokenizer.ggml.add_bos_token", BOOL, True),
        pair("tokenizer.ggml.add_eos_token", BOOL, False),
        pair("tokenizer.ggml.add_space_prefix", BOOL, True),
    ]


def tensors(weights, config):
    """(GGUF name, array), in the order of use. Row pairs of attn_q and attn_k are interleaved, as llama's are."""
    names = {"token_embd": "embedding"}
    for i in range(config.n_layers):
        names |= {f"blk.{i}.{ours}": f"layers.{i}.{theirs}" for ours, theirs in LAYER_TENSORS.items()}
    names["output_norm"] = "norm"
    for ours, theirs in names.items():
        value = weights[theirs + ".weight"].float().numpy()
        yield ours + ".weight", value.astype("<f4" if value.ndim == 1 else "<f2")


def write(path, weights, config, model, name):
    pairs, arrays = metadata(config, model, name), list(tensors(weights, config))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(arrays), len(pairs)) + b"".join(pairs)
    data = b""
    for tensor, value in arrays:
        shape = value.shape[::-1]  # GGUF counts from the fastest dimension
        head += string(tensor) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, value.dtype == np.dtype("<f2"),
                                             len(data))
        data += value.tobytes()
        data += bytes(-len(data) % ALIGNMENT_BYTES)
    path.write_bytes(head + bytes(-len(head) % ALIGNMENT_BYTES) + data)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/spindle-train"), help="checkpoint.pt, tokenizer.model")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "spindle-small-f16.gguf")
    parser.add_argument("--name", default="Spindle small")
    args = parser.parse_args()
    state = torch.load(args.cache / "checkpoint.pt", map_location="cpu")
    model = sentencepiece.SentencePieceProcessor(model_file=str(args.cache / "tokenizer.model"))
    write(args.output, state["net"], Config(), model, args.name)
    print(f"{args.output}: step {state['step']}, {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
