#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A decoder of native streams, written from blksparse-stream(5) alone.

  native_stream.py FILE < STREAM    exits 0 if STREAM is valid and describes the
                                    content of FILE
"""
import ctypes
import struct
import sys

xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_64bits.restype = ctypes.c_uint64
xxhash.XXH3_64bits.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
DATA, HOLE, END = 0x80000001, 0x80000002, 0x80000003


def checksum(data):
    return xxhash.XXH3_64bits(data, len(data))


def need(source, length):
    data = source.read(length)
    assert len(data) == length, "it ends early"
    return data


def sealed(source, length):
    """The fields of a header, whose last 8 bytes are its checksum."""
    head = need(source, length)
    assert checksum(head[:-8]) == struct.unpack("<Q", head[-8:])[0]
    return head[:-8]


def main():
    source = sys.stdin.buffer
    (magic, version, flags, size, start, granule, kind,
     reserved) = struct.unpack("<8sIIQQII16s", sealed(source, 64))
    assert magic == bytes.fromhex("89 42 53 50 0d 0a 1a 0a")
    assert (version, flags, kind, reserved) == (1, 0, 1, bytes(16))
    assert granule in [4096 << n for n in range(9)]
    at, frames, data, hole = start, 0, 0, 0
    with open(sys.argv[1], "rb") as device:
        device.seek(start)
        while True:
            frame, length, offset, about, psum = struct.unpack(
                "<IIQQQ", sealed(source, 40))
            assert length <= 1 << 20
            payload = need(source, length)
            assert checksum(payload) == psum
            if frame == END:
                break
            assert offset == at and about > 0
            at += about
            frames += 1
            assert at == size or at % granule == 0
            if frame == DATA:
                assert length == about and device.read(about) == payload
                data += about
                continue
            assert frame == HOLE and length == 0
            hole += about
            while about > 0:
                piece = device.read(min(about, 1 << 20))
                assert piece and not any(piece)
                about -= len(piece)
        assert device.read(1) == b"" and at == size
    assert (offset, about) == (size, 0)
    assert struct.unpack("<QQQ", payload) == (data, hole, frames)
    assert source.read() == b""


main()
