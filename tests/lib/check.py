#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks the file of a mount against its device and the device's truth file.

  check.py [--granule SIZE] [--seed N] [--boundaries N] STEP[,STEP...]
           FILE DEVICE IMAGE [FILE DEVICE IMAGE]...

FILE shows DEVICE, and DEVICE is backed by IMAGE, which devices.py made (DEVICE
and IMAGE may be the same). The steps run in the order given, for all files:

  fresh   stat before anything was read
  walk    SEEK_DATA and SEEK_HOLE from 0 to the end give the truth
  known   the same, without any read of the device, and stat is exact
  seeks   SEEK_DATA and SEEK_HOLE from random offsets give the truth
  reads   pieces at random offsets equal the device
  bytes   all bytes equal the device

A granule of zeros may be called data if SEEK_DATA ran out of time and had to
answer before it found data. --boundaries N allows N more such granules, which
other programs may have got as answers.
"""
import argparse
import errno
import os
import random
import stat
import sys
import time
from bisect import bisect_right

import devices

MIB = devices.MIB
# A bit less than the seconds after which SEEK_DATA may give a boundary.
BUDGET = 0.9


class Wrong(Exception):
    pass


def expect(is_so, what):
    if not is_so:
        raise Wrong(what)


class Checked:
    """A mounted file, its device and its truth."""

    def __init__(self, path, device, image, args):
        self.path = path
        self.granule = args.granule
        self.allowed = args.boundaries
        self.boundaries = set()
        self.rng = random.Random(f"{args.seed} {os.path.basename(path)}")
        self.size, self.data = devices.truth(image, args.granule)
        self.starts = [start for start, end in self.data]
        self.device = os.open(device, os.O_RDONLY)
        self.fd = os.open(path, os.O_RDONLY)

    # The truth.

    def extent_before(self, at):
        """Returns the last extent of data that starts at or before at, or None."""
        i = bisect_right(self.starts, at) - 1
        return self.data[i] if i >= 0 else (0, 0)

    def in_data(self, at):
        return at < self.extent_before(at)[1]

    def next_data(self, at):
        if self.in_data(at):
            return at
        i = bisect_right(self.starts, at)
        return self.starts[i] if i < len(self.starts) else None

    def next_hole(self, at):
        return self.extent_before(at)[1] if self.in_data(at) else at

    # The answers of the file.

    def seek(self, at, whence):
        try:
            return os.lseek(self.fd, at, whence)
        except OSError as error:
            expect(error.errno == errno.ENXIO,
                   f"lseek({at}) failed: {error.strerror}")
            return None

    def is_boundary(self, at, got, right, seconds):
        """Is got a permitted boundary, where the next data is at right?"""
        if got is None or not at < got < (self.size if right is None else right):
            # Or at is inside the granule itself.
            return got == at and at // self.granule * self.granule in self.boundaries
        if got % self.granule:
            return False
        if seconds >= BUDGET or len(self.boundaries) < self.allowed:
            self.boundaries.add(got)
        return got in self.boundaries

    def ask_data(self, at):
        start = time.monotonic()
        got = self.seek(at, os.SEEK_DATA)
        seconds = time.monotonic() - start
        right = self.next_data(at) if 0 <= at < self.size else None
        expect(got == right or self.is_boundary(at, got, right, seconds),
               f"SEEK_DATA({at}) is {got}, not {right}, after {seconds:.3f} s")
        return got

    def ask_hole(self, at):
        got = self.seek(at, os.SEEK_HOLE)
        if not 0 <= at < self.size:
            expect(got is None, f"SEEK_HOLE({at}) is {got}, not ENXIO")
            return None
        right = self.next_hole(at)
        if got is not None and at < got < right and got % self.granule == 0:
            return got
        if at // self.granule * self.granule in self.boundaries:
            expect(got > at, f"SEEK_HOLE({at}) is {got}: no progress")
            return got
        expect(got == right, f"SEEK_HOLE({at}) is {got}, not {right}")
        return got

    def walk(self):
        """Returns the extents of data, adjacent ones merged."""
        found = []
        at = 0
        while True:
            start = self.ask_data(at)
            if start is None:
                return devices.merge(found, self.size)
            at = self.ask_hole(start)
            expect(at is not None and at > start,
                   f"SEEK_HOLE({start}) is {at}: no progress")
            found.append((start, at))

    def device_reads(self):
        info = os.fstat(self.device)
        if not stat.S_ISBLK(info.st_mode):
            return None
        number = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
        with open(f"/sys/dev/block/{number}/stat", encoding="ascii") as source:
            return int(source.read().split()[0])

    def forget_pages(self):
        """Drops the cached pages, so that reads reach the device."""
        os.posix_fadvise(self.device, 0, 0, os.POSIX_FADV_DONTNEED)

    # The steps.

    def step_fresh(self):
        info = os.stat(self.path)
        expect(stat.S_ISREG(info.st_mode), "not a regular file")
        try:
            os.close(os.open(self.path, os.O_WRONLY))
            refused = 0
        except OSError as error:
            refused = error.errno
        expect(refused == errno.EROFS, f"opening it for writing: {refused}")
        expect(info.st_size == self.size, f"st_size {info.st_size}")
        limit = max(self.size // 512 - 1, 1)
        expect(1 <= info.st_blocks <= limit,
               f"st_blocks {info.st_blocks}, not in [1, {limit}]")

    def step_walk(self):
        found = self.walk()
        expect(found == self.with_boundaries(), f"the extents are {found}")

    def with_boundaries(self):
        """Returns the extents of data, boundaries inside holes included."""
        return devices.merge(
            self.data + [(at, at + self.granule) for at in self.boundaries],
            self.size)

    def step_known(self):
        info = os.stat(self.path)
        blocks = sum(-(-(end - start) // 512) for start, end in self.data)
        expect(blocks <= info.st_blocks <= blocks + self.granule // 512 *
               max(self.allowed, len(self.boundaries)),
               f"st_blocks {info.st_blocks}, not {blocks}")
        expect(info.st_size == self.size, f"st_size {info.st_size}")
        self.forget_pages()
        before = self.device_reads()
        self.step_walk()
        after = self.device_reads()
        expect(before == after, f"{after} reads of the device, not {before}")

    def step_seeks(self):
        places = {-1, -self.granule, 0, 1, self.size - 1, self.size,
                  self.size + 1, self.size + self.granule}
        for start, end in self.rng.sample(self.data, min(40, len(self.data))):
            for edge in (start, end):
                places |= {edge - self.granule, edge - 1, edge, edge + 1,
                           edge + self.granule}
        places |= {self.rng.randrange(0, self.size) for _ in range(200)}
        places = sorted(places)
        self.rng.shuffle(places)
        for at in places:
            self.ask_data(at)
            self.ask_hole(at)

    def same(self, at, length):
        got = os.pread(self.fd, length, at)
        right = os.pread(self.device, length, at)
        if got != right:
            expect(len(got) == len(right), f"read of {length} at {at} gave "
                   f"{len(got)}, not {len(right)}")
            wrong = next(i for i, pair in enumerate(zip(got, right))
                         if pair[0] != pair[1])
            raise Wrong(f"byte {at + wrong} is {got[wrong]}, "
                        f"not {right[wrong]}")

    def step_reads(self):
        self.same(self.size - 1, 4096)
        expect(os.pread(self.fd, 4096, self.size) == b"", "bytes past the end")
        expect(os.pread(self.fd, 1, self.size + MIB) == b"", "bytes far past it")
        for _ in range(100):
            self.same(self.rng.randrange(0, self.size), self.rng.choice(
                (1, 512, 4096, self.rng.randint(1, 300000))))

    def step_bytes(self):
        for at in range(0, self.size, MIB):
            self.same(at, MIB)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--granule", type=devices.parse_size, default=4096)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--boundaries", type=int, default=0)
    parser.add_argument("steps")
    parser.add_argument("files", nargs="+", metavar="FILE DEVICE IMAGE")
    args = parser.parse_args()
    triples = list(zip(*[iter(args.files)] * 3))
    if len(triples) * 3 != len(args.files):
        parser.error("the files come in threes")
    wrong = 0
    files = [Checked(*triple, args) for triple in triples]
    for step in args.steps.split(","):
        for file in files:
            try:
                getattr(file, "step_" + step)()
            except (Wrong, OSError) as error:
                print(f"{file.path}: {step}: {error}", file=sys.stderr)
                wrong += 1
    print(f"checked {len(triples)} files: {args.steps}: {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
