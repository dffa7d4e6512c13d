"""Reads and writes GGUF v3: metadata as a dict of (type, value), tensors as NumPy arrays in f32, f16 or q8_0."""
import math
import struct

import numpy as np

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9  # types of metadata values
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", 10: "Q", 11: "q", 12: "d"}
TENSOR_F32, TENSOR_F16, TENSOR_Q8_0 = 0, 1, 8
ALIGNMENT_BYTES = 32
Q8_0 = np.dtype([("scale", "<f2"), ("values", "i1", 32)])  # a block of 32 weights


def encode_tensor(value, kind):
    if kind == TENSOR_F32:
        return value.astype("<f4").tobytes()
    if kind == TENSOR_F16:
        return value.astype("<f2").tobytes()
    blocks = value.astype(np.float32).reshape(-1, 32)
    scale = abs(blocks).max(1) / 127
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    result = np.empty(len(blocks), Q8_0)
    result["scale"] = scale
    scaled = blocks * inverse[:, None]
    result["values"] = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))  # halves away from zero
    return result.tobytes()


def decode_tensor(data, kind, shape, at):
    count = math.prod(shape)
    if kind == TENSOR_Q8_0:
        blocks = np.frombuffer(data, Q8_0, count // 32, at)
        return (blocks["scale"].astype(np.float32)[:, None] * blocks["values"]).reshape(shape)
    return np.frombuffer(data, {TENSOR_F32: "<f4", TENSOR_F16: "<f2"}[kind], count, at).reshape(shape).astype(np.float32)


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def scalar(kind, value):
    return string(value) if kind == STRING else struct.pack("<" + SCALARS[kind], value)


def pair(key, kind, value, element=None):
    """One metadata pair; element is the type inside an array."""
    if kind == ARRAY:
        data = struct.pack("<IQ", element, len(value)) + b"".join(scalar(element, v) for v in value)
    else:
        data = scalar(kind, value)
    return string(key) + struct.pack("<I", kind) + data


def write(path, pairs, tensors):
    """pairs: arguments of pair(). tensors: (name, array, type), in the order of use."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pair(*p) for p in pairs)
    data = b""
    for name, value, kind in tensors:
        shape = value.shape[::-1]  # GGUF counts from the fastest dimension
        head += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += encode_tensor(value, kind)
        data += bytes(-len(data) % ALIGNMENT_BYTES)
    path.write_bytes(head + bytes(-len(head) % ALIGNMENT_BYTES) + data)


class Reader:
    """metadata: dict; tensors: dict of f32 arrays."""

    def __init__(self, path):
        self.data, self.at = path.read_bytes(), 0
        magic, version, n_tensors, n_pairs = self.unpack("4sIQQ")
        assert magic == b"GGUF" and version == 3
        self.metadata = {self.string(): self.value(*self.unpack("I")) for _ in range(n_pairs)}
        infos = []
        for _ in range(n_tensors):
            name, (n_dims,) = self.string(), self.unpack("I")
            infos.append((name, self.unpack(f"{n_dims}Q")[::-1], *self.unpack("IQ")))
        start = -(-self.at // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self.tensors = {name: decode_tensor(self.data, kind, shape, start + at) for name, shape, kind, at in infos}

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
