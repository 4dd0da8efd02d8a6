#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Parses the reports of blksparse map.

  extents.py list FORMAT SIZE < REPORT   prints lines "OFFSET LENGTH data|hole"
  extents.py check TOOL DEVICE IMAGE       runs TOOL map in all formats and with
                                         several granules; checks the extents by
                                         what devices.py wrote into IMAGE
  extents.py only-data FILE < LINES      checks that FILE is 0x55 in the data of
                                         these lines, and zero elsewhere
"""
import json
import os
import subprocess
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


def extents(kind, size, report):
    at = 0
    before = None
    for start, length, what in FORMATS[kind](report):
        assert start == at, f"an extent starts at {start}, not at {at}"
        at += length
        if kind == "qemu":  # rounded up to a sector
            length = min(length, size - start)
        if not length:
            continue
        assert what != before, f"two extents of {what} at {start}"
        before = what
        yield start, length, what
    assert at == size or kind == "qemu" and at == (size + 511) // 512 * 512, \
        f"extents end at {at}, not at {size}"


def check(tool, device, image):
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
    import devices
    size = os.stat(image).st_size

    def report(kind, *options):
        return subprocess.run([tool, "map", f"--format={kind}", *options, device],
                              check=True, text=True, stdout=subprocess.PIPE).stdout

    # All formats write the same extents; one granule is enough.
    for granule, kinds in ((4 << 10, FORMATS), (64 << 10, ["json"]),
                           (1 << 20, ["json"])):
        expected = list(devices.extents(image, granule))
        for kind in kinds:
            got = list(extents(kind, size, report(kind, f"--granule={granule}")))
            if got != expected:
                sys.exit(f"{kind}, granule {granule}:\n{got}\nis not\n{expected}")
    whole = json.loads(report("json"))
    assert whole["granule"] == 4096, whole
    assert whole["path"] == device, whole
    assert whole["totals"]["unknown"]["bytes"] == 0, whole


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
    for extent in extents(sys.argv[2], int(sys.argv[3]), sys.stdin.read()):
        print(*extent)
elif sys.argv[1] == "check":
    check(*sys.argv[2:])
elif sys.argv[1] == "only-data":
    only_data(sys.argv[2])
else:
    sys.exit(__doc__)
