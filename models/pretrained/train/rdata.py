"""Reads character vectors out of an R package's lazy-load database (Rdata.rdx, Rdata.rdb), without R."""
import struct
import zlib
from pathlib import Path

# Type codes of R's serialization format ("R Internals", section 1.8).
SYMBOL, PAIRLIST, CHARSXP, LOGICAL, INTEGER, REAL, STRINGS, LIST = 1, 2, 9, 10, 13, 14, 16, 19
REFERENCE = 255
NO_VALUE = {254, 253, 252, 251, 242, 241}  # NULL, the environments and the missing argument
HAS_ATTRIBUTES, HAS_TAG = 0x200, 0x400


class Reader:
    """One serialized value in XDR (big-endian) form; attributes are dropped, but for the names of a list."""

    def __init__(self, data):
        self.data, self.at, self.references = data, 2, []
        if data[:2] != b"X\n":
            raise ValueError("not an XDR serialization")
        version = self.int()
        self.at += 8  # versions of R that wrote it and that can read it
        if version == 3:
            n = self.int()  # bytes in the name of the native encoding
            self.at += n

    def int(self):
        self.at += 4
        return struct.unpack_from(">i", self.data, self.at - 4)[0]

    def numbers(self, code, size):
        n = self.int()
        self.at += n * size
        return list(struct.unpack_from(f">{n}{code}", self.data, self.at - n * size))

    def value(self):
        flags = self.int()
        kind = flags & 255
        if kind in NO_VALUE:
            return None
        if kind == REFERENCE:
            return self.references[(flags >> 8 or self.int()) - 1]
        if kind == SYMBOL:
            self.references.append(self.value())
            return self.references[-1]
        if kind == PAIRLIST:
            if flags & HAS_ATTRIBUTES:
                self.value()
            tag = self.value() if flags & HAS_TAG else None
            head = self.value()
            return [(tag, head)] + (self.value() or [])
        if kind == CHARSXP:
            n = self.int()
            if n < 0:
                return None
            self.at += n
            return self.data[self.at - n:self.at].decode("utf-8", "replace")
        if kind in (LOGICAL, INTEGER):
            result = self.numbers("i", 4)
        elif kind == REAL:
            result = self.numbers("d", 8)
        elif kind in (STRINGS, LIST):
            result = [self.value() for _ in range(self.int())]
        else:
            raise ValueError(f"R type {kind} is not supported")
        if flags & HAS_ATTRIBUTES:
            names = dict(self.value()).get("names")
            if names and kind == LIST:
                return dict(zip(names, result))
        return result


def read_package(folder):
    """folder: an R package's data/. Returns {name: list of strings}."""
    folder = Path(folder)
    index = Reader(zlib.decompress((folder / "Rdata.rdx").read_bytes(), 47)).value()
    data = (folder / "Rdata.rdb").read_bytes()
    result = {}
    for name, (offset, length) in index["variables"].items():
        # each value: its uncompressed size in bytes (u32, big-endian), then a zlib stream
        result[name] = Reader(zlib.decompress(data[offset + 4:offset + length])).value()
    return result
