#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Increments, decoded from blksparse-stream(5) and blksparse-digest(5) alone.

  increment_stream.py BASE NEW CHUNK < STREAM
      exits 0 if STREAM is a valid increment that makes NEW of BASE, and has no
      data or holes where whole chunks of these are equal; prints "DATA HOLE SAME"
"""
import ctypes
import hashlib
import struct
import sys

xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_64bits.restype = ctypes.c_uint64
xxhash.XXH3_64bits.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
DATA, HOLE, END, BASE, SAME = range(0x80000001, 0x80000006)


def checksum(data):
    return xxhash.XXH3_64bits(data, len(data))


def need(length):
    data = sys.stdin.buffer.read(length)
    assert len(data) == length, "it ends early"
    return data


def sealed(length):
    head = need(length)
    assert checksum(head[:-8]) == struct.unpack("<Q", head[-8:])[0]
    return head[:-8]


def frame():
    kind, length, offset, about, psum = struct.unpack("<IIQQQ", sealed(40))
    payload = need(length)
    assert checksum(payload) == psum
    return kind, offset, about, payload


def part_sum(content, start, end, chunk):
    """The payload of a same frame."""
    total = hashlib.sha256()
    for at in range(start, end, chunk):
        data = content[at:min(at + chunk, end)]
        if any(data):
            total.update(struct.pack("<Q", at) + hashlib.sha256(data).digest())
    return total.digest()


def main():
    with open(sys.argv[1], "rb") as file:
        base = file.read()
    with open(sys.argv[2], "rb") as file:
        new = file.read()
    chunk = int(sys.argv[3])
    magic, version, flags, size, at, _, kind, reserved = struct.unpack(
        "<8sIIQQII16s", sealed(64))
    assert magic == bytes.fromhex("89 42 53 50 0d 0a 1a 0a")
    assert (version, flags, kind, reserved) == (1, 1 << 16, 1, bytes(16))
    assert size == len(new)
    kind, offset, about, payload = frame()
    assert (kind, offset, about) == (BASE, 0, len(base))
    assert struct.unpack("<II", payload[:8]) == (chunk, 1)
    frames, totals, changed = 1, {DATA: 0, HOLE: 0, SAME: 0}, set()
    while True:
        kind, offset, about, payload = frame()
        if kind == END:
            break
        assert offset == at and about > 0
        at += about
        frames += 1
        totals[kind] += about
        if kind == DATA:
            assert payload == new[offset:at]
        elif kind == HOLE:
            assert not payload and not any(new[offset:at])
        else:
            assert base[offset:at] == new[offset:at]
            assert payload == part_sum(new, offset, at, chunk)
        if kind != SAME:
            changed.update(range(offset // chunk, (at - 1) // chunk + 1))
    for number in changed:
        start = number * chunk
        assert base[start:start + chunk] != new[start:start + chunk], start
    assert (offset, about) == (size, 0) and at == size
    assert struct.unpack("<QQQQ", payload) == (
        totals[DATA], totals[HOLE], frames, totals[SAME])
    assert sys.stdin.buffer.read() == b""
    print(totals[DATA], totals[HOLE], totals[SAME])


main()
