#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The format of Ceph's rbd export-diff, version 1, as Ceph documents it.

  rbd_diff.py export IMAGE [SNAPSHOT]   acts as rbd export-diff: writes the data
                                        of IMAGE, in objects of 4 MiB, to
                                        standard output
  rbd_diff.py changes OLD NEW           writes the difference of two images to
                                        standard output
  rbd_diff.py import IMAGE [SNAPSHOT]   acts as rbd import-diff: applies
                                        standard input to IMAGE, from SNAPSHOT
  rbd_diff.py list                      lists the records of standard input
"""
import os
import struct
import sys

OBJECT = 4 << 20
BLOCK = 4096
DISCARD_MAX = (1 << 31) - 1  # the limit of librbd


def runs(piece):
    """Yields [start, end) of each run of nonzero blocks."""
    start = None
    for at in range(0, len(piece), BLOCK):
        if any(piece[at:at + BLOCK]):
            start = at if start is None else start
        elif start is not None:
            yield start, at
            start = None
    if start is not None:
        yield start, len(piece)


def export(path, snapshot=None):
    out = sys.stdout.buffer
    out.write(b"rbd diff v1\n")
    if snapshot:
        name = snapshot.encode()
        out.write(b"t" + struct.pack("<I", len(name)) + name)
    out.write(b"s" + struct.pack("<Q", os.path.getsize(path)))
    with open(path, "rb") as image:
        at = 0
        while piece := image.read(OBJECT):
            for start, end in runs(piece):
                out.write(b"w" + struct.pack("<QQ", at + start, end - start))
                out.write(piece[start:end])
            at += len(piece)
    out.write(b"e")


def changes(old_path, new_path):
    out = sys.stdout.buffer
    out.write(b"rbd diff v1\ns")
    out.write(struct.pack("<Q", os.path.getsize(new_path)))
    with open(old_path, "rb") as old, open(new_path, "rb") as new:
        at = 0
        while piece := new.read(BLOCK):
            if piece != old.read(BLOCK):
                kind = b"w" if any(piece) else b"z"
                out.write(kind + struct.pack("<QQ", at, len(piece)))
                out.write(piece if any(piece) else b"")
            at += len(piece)
    out.write(b"e")


def need(source, length):
    data = source.read(length)
    assert len(data) == length, "it ends early"
    return data


def import_to(path, snapshot=None):
    source = sys.stdin.buffer
    assert need(source, 12) == b"rbd diff v1\n"
    size = None
    with open(path, "r+b") as image:
        while (tag := need(source, 1)) != b"e":
            if tag == b"f":
                name = need(source, struct.unpack("<I", need(source, 4))[0])
                assert name.decode() == snapshot and size is None, name
                snapshot = None
                continue
            if tag == b"t":
                need(source, struct.unpack("<I", need(source, 4))[0])
                continue
            if tag == b"s":
                size, = struct.unpack("<Q", need(source, 8))
                image.truncate(size)
                continue
            offset, length = struct.unpack("<QQ", need(source, 16))
            assert offset + length <= size
            image.seek(offset)
            if tag == b"w":
                image.write(need(source, length))
            else:
                assert tag == b"z" and length <= DISCARD_MAX, (tag, length)
                for _ in range(length >> 20):
                    image.write(bytes(1 << 20))
                image.write(bytes(length % (1 << 20)))
        assert source.read() == b"", "there are bytes past the end"
    assert snapshot is None, "it is from no snapshot"


def list_records():
    source = sys.stdin.buffer
    assert need(source, 12) == b"rbd diff v1\n"
    while (tag := need(source, 1)) != b"e":
        if tag in b"ft":
            name = need(source, struct.unpack("<I", need(source, 4))[0])
            print(tag.decode(), name.decode())
            continue
        numbers = struct.unpack("<Q" if tag == b"s" else "<QQ",
                                need(source, 8 if tag == b"s" else 16))
        print(tag.decode(), *numbers)
        if tag == b"w":
            need(source, numbers[1])
    print("e,", len(source.read()), "bytes follow")


if sys.argv[1] == "export":
    export(*sys.argv[2:])
elif sys.argv[1] == "changes":
    changes(*sys.argv[2:])
elif sys.argv[1] == "list":
    list_records()
else:
    import_to(*sys.argv[2:])
