#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Digest files, written from blksparse-digest(5) alone.

  digest_file.py FILE CHUNK > DIGEST    writes the digest file of FILE
"""
import ctypes
import hashlib
import struct
import sys

xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_64bits.restype = ctypes.c_uint64
xxhash.XXH3_64bits.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
DIGESTS, ZEROS, END = 1, 2, 3
MOST = 4096


def sealed(data):
    """A header with its checksum."""
    return data + struct.pack("<Q", xxhash.XXH3_64bits(data, len(data)))


def record(kind, offset, length, payload):
    return sealed(struct.pack("<IIQQQ", kind, len(payload), offset, length,
                              xxhash.XXH3_64bits(payload, len(payload)))) \
        + payload


def digests(path, chunk):
    """Yields (digest, or None for zeros; length) of each chunk."""
    with open(path, "rb") as device:
        while data := device.read(chunk):
            yield (hashlib.sha256(data).digest() if any(data) else None,
                   len(data))


def runs(path, chunk):
    """Yields (kind, length, payload) of each record."""
    kind, length, payload = None, 0, b""
    for digest, size in digests(path, chunk):
        now = DIGESTS if digest else ZEROS
        if kind and (now != kind or len(payload) == 32 * MOST):
            yield kind, length, payload
            length, payload = 0, b""
        kind = now
        length += size
        payload += digest or b""
    if kind:
        yield kind, length, payload


def main():
    path, chunk = sys.argv[1], int(sys.argv[2])
    records, at = b"", 0
    for kind, length, payload in runs(path, chunk):
        records += record(kind, at, length, payload)
        at += length
    data = sealed(bytes.fromhex("894253440d0a1a0a") + struct.pack(
        "<IIQII24x", 1, 0, at, chunk, 1)) + records
    data += record(END, at, 0, hashlib.sha256(data).digest())
    sys.stdout.buffer.write(data)


main()
