#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes images with known content, and lists that content.

  devices.py make [--sparse] [--seed N] KIND SIZE FILE
  devices.py make-all DIRECTORY
  devices.py list [--granule SIZE] FILE     extents as lines "OFFSET LENGTH TYPE"
  devices.py data [--granule SIZE] FILE     bytes in granules that hold data

FILE.truth beside FILE has the ranges of data. Each byte in them is nonzero and
no other byte is, so the truth holds for every granule. Zeros are written, too,
so that a loop device over FILE has no holes that the file system knows; with
--sparse they are not.

Kinds:
  zero         no data
  data         all data
  first, last  one 4 KiB granule at that end
  alternating  every second 4 KiB granule
  edges        single bytes, at the first or the last place of granules
  mixed        extents of 1 byte to 1 MiB everywhere
  tenth        10 % data: some big extents, many small ones
"""
import argparse
import json
import os
import random

KIB = 1 << 10
MIB = 1 << 20
BLOCK = 4 * KIB
UNITS = {"K": KIB, "M": MIB, "G": MIB << 10, "T": MIB << 20}


def parse_size(text):
    unit = UNITS.get(text[-1:].upper())
    return int(text[:-1]) * unit if unit else int(text)


def merge(ranges, size):
    """Returns them sorted, cut at size, adjacent and overlapping ones merged."""
    merged = []
    for start, end in sorted((max(0, s), min(e, size)) for s, e in ranges):
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([start, end])
    return merged


def edges(size):
    """Single bytes beside the borders of small and big granules."""
    single = [0, 3 * BLOCK - 1, 5 * BLOCK, 9 * BLOCK - 1, 9 * BLOCK,
              MIB - 1, 3 * MIB, 5 * MIB - 1, 5 * MIB + 1, size - 1]
    return [(at, at + 1) for at in single if at < size]


def mixed(size, rng):
    ranges = []
    at = rng.randrange(0, 64 * KIB)
    while at < size:
        length = rng.choice((1, 511, 512, BLOCK, rng.randint(1, 3 * BLOCK),
                             rng.randint(1, MIB)))
        ranges.append((at, at + length))
        at += length + rng.choice((1, BLOCK, rng.randint(1, 8 * BLOCK),
                                   rng.randint(1, 2 * MIB)))
    return ranges


def tenth(size, rng):
    """8 % in four big extents, one in each quarter, the rest small."""
    ranges = []
    for part in range(4):
        length = size // 50 // BLOCK * BLOCK
        start = part * (size // 4) + rng.randrange(0, size // 4 - length)
        ranges.append((start, start + length))
    while sum(end - start for start, end in merge(ranges, size)) < size // 10:
        start = rng.randrange(0, size)
        ranges.append((start, start + rng.randint(1, 16) * BLOCK))
    return ranges


def plan(kind, size, rng):
    if kind == "zero":
        return []
    if kind == "data":
        return [(0, size)]
    if kind == "first":
        return [(0, BLOCK)]
    if kind == "last":
        return [((size - 1) // BLOCK * BLOCK, size)]
    if kind == "alternating":
        return [(at, at + BLOCK) for at in range(BLOCK, size, 2 * BLOCK)]
    if kind == "edges":
        return edges(size)
    if kind == "mixed":
        return mixed(size, rng)
    if kind == "tenth":
        return tenth(size, rng)
    raise SystemExit(f"devices.py: no such kind: {kind}")


def write_zeros(fd, size):
    zeros = bytes(MIB)
    at = 0
    while at < size:
        at += os.pwrite(fd, zeros[:min(MIB, size - at)], at)


def make(path, kind, size, seed=1, sparse=False):
    rng = random.Random(f"{kind} {size} {seed}")
    data = merge(plan(kind, size, rng), size)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    os.ftruncate(fd, size)
    if not sparse:
        write_zeros(fd, size)
    for start, end in data:
        for at in range(start, end, MIB):
            piece = rng.randbytes(min(MIB, end - at)).replace(b"\0", b"\1")
            assert os.pwrite(fd, piece, at) == len(piece)
    os.close(fd)
    with open(path + ".truth", "w", encoding="ascii") as out:
        json.dump({"size": size, "data": data}, out)


def truth(path, granule):
    """Returns the size, and [start, end] of each run of granules with data."""
    with open(path + ".truth", encoding="ascii") as source:
        known = json.load(source)
    size = known["size"]
    return size, merge(((start // granule * granule,
                         -(-end // granule) * granule)
                        for start, end in known["data"]), size)


def make_all(directory):
    """Makes one of each kind; prints its file and its sector size."""
    odd = MIB + 512
    kinds = ("zero", "data", "first", "last", "alternating", "edges", "mixed")
    made = [(kind, 8 * MIB, 512) for kind in kinds]
    made += [(kind, odd, 512) for kind in kinds]
    made += [("zero", 512, 512), ("data", 512, 512), ("edges", 512, 512)]
    made += [("last", 2 * MIB + 3 * 512, 512), ("data", 4096, 512)]
    made += [("mixed", 48 * MIB, 512)]
    made += [(kind, 8 * MIB, 4096) for kind in ("edges", "mixed", "zero")]
    made += [("last", odd + 7 * 512, 4096)]
    for kind, size, sector in made:
        name = f"{kind}-{size}-{sector}"
        make(os.path.join(directory, name), kind, size)
        print(name, sector)


def extents(path, granule):
    size, data = truth(path, granule)
    at = 0
    for start, end in data + [[size, size]]:
        if at < start:
            yield at, start - at, "hole"
        if start < end:
            yield start, end - start, "data"
        at = end


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("make")
    one.add_argument("--sparse", action="store_true")
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("kind")
    one.add_argument("size", type=parse_size)
    one.add_argument("file")
    commands.add_parser("make-all").add_argument("directory")
    for name in ("list", "data"):
        ask = commands.add_parser(name)
        ask.add_argument("--granule", type=parse_size, default=BLOCK)
        ask.add_argument("file")
    args = parser.parse_args()
    if args.command == "make":
        make(args.file, args.kind, args.size, args.seed, args.sparse)
    elif args.command == "make-all":
        make_all(args.directory)
    elif args.command == "list":
        for extent in extents(args.file, args.granule):
            print(*extent)
    else:
        print(sum(end - start for start, end in truth(args.file, args.granule)[1]))


if __name__ == "__main__":
    main()
