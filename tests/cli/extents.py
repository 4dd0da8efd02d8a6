#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Parses the reports of blksparse map.

  extents.py list FORMAT SIZE < REPORT   prints lines "OFFSET LENGTH data|hole"
  extents.py only-data FILE < LINES      checks that FILE is 0x55 in the data of
                                         these lines, and zero elsewhere
"""
import json
import sys
import xml.etree.ElementTree

KINDS = {"+": "data", "?": "hole"}


def table(text):
    for line in text.split("\n\n")[0].splitlines()[1:]:
        start, end, length, kind = line.split()
        assert int(end) - int(start) == int(length), line
        yield int(start), int(length), kind


def from_json(text):
    for extent in json.loads(text)["extents"]:
        yield extent["start"], extent["length"], extent["type"]


def qemu(text):
    for extent in json.loads(text):
        assert extent["zero"] != extent["data"], extent
        assert extent["offset"] == extent["start"], extent
        kind = "data" if extent["data"] else "hole"
        yield extent["start"], extent["length"], kind


def ddrescue(text):
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for line in lines[1:]:
        start, length, kind = line.split()
        yield int(start, 0), int(length, 0), KINDS[kind]


def bmap(text):
    root = xml.etree.ElementTree.fromstring(text)
    block = int(root.find("BlockSize").text)
    size = int(root.find("ImageSize").text)
    at = 0
    for element in root.find("BlockMap"):
        first, _, last = element.text.strip().partition("-")
        start = int(first) * block
        end = min((int(last or first) + 1) * block, size)
        if start > at:
            yield at, start - at, "hole"
        yield start, end - start, "data"
        at = end
    if at < size:
        yield at, size - at, "hole"


FORMATS = {"table": table, "json": from_json, "qemu": qemu,
           "ddrescue": ddrescue, "bmap": bmap}


def list_extents(kind, size):
    at = 0
    before = None
    for start, length, what in FORMATS[kind](sys.stdin.read()):
        assert start == at, f"an extent starts at {start}, not at {at}"
        at += length
        if kind == "qemu":  # rounded up to a sector
            length = min(length, size - start)
        if not length:
            continue
        assert what != before, f"two extents of {what} at {start}"
        before = what
        print(start, length, what)
    assert at == size or kind == "qemu" and at == (size + 511) // 512 * 512, \
        f"extents end at {at}, not at {size}"


def only_data(path):
    with open(path, "rb") as file:
        for line in sys.stdin:
            start, length, what = line.split()
            file.seek(int(start))
            byte = b"\x55" if what == "data" else b"\0"
            if file.read(int(length)) != byte * int(length):
                sys.exit(f"{path}: [{start}, +{length}) is not all {what}")
        if file.read(1):
            sys.exit(f"{path}: is longer than the extents")


if sys.argv[1] == "list":
    list_extents(sys.argv[2], int(sys.argv[3]))
elif sys.argv[1] == "only-data":
    only_data(sys.argv[2])
else:
    sys.exit(__doc__)
