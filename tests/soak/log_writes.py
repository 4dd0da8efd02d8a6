#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Crashes of a device at every flush, by the device mapper's log of its writes.

  log_writes.py load SEED STEPS STATE FILE VOLUME
  log_writes.py check SEED STATE LOG

load: the load of kill_load.py on FILE, for so many steps. After each fsync it
puts a mark into the log of VOLUME, whose target is log-writes.

check: replays LOG, the second device of that target. At each mark, at each flush
and at some other entries the power fails: the device has all that was flushed,
and of the writes after that some. It must hold what the last fsync promised, and
other bytes only where the load has changed them since.

The format of the log is that of drivers/md/dm-log-writes.c of Linux.
"""
import os
import random
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../faults"))
import kill_load  # noqa: E402

MAGIC = 0x6a736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
LAST = b"dm-log-writes-end"
GRANULE = 4096


class MarkedLoad(kill_load.Load):
    def __init__(self, seed, path, log, volume):
        super().__init__(seed, path, log)
        self.volume = volume
        self.syncs = 0

    def sync(self):
        super().sync()
        self.syncs += 1
        subprocess.run(["dmsetup", "message", self.volume, "0", "mark",
                        str(self.syncs)], check=True)


def load(seed, steps, state, path, volume):
    work = MarkedLoad(seed, path, kill_load.Log(state), volume)
    for _ in range(int(steps)):
        work.step()
    work.sync()


def entries(path):
    """Yields (flags, offset, data) in the order of the log."""
    with open(path, "rb") as log:
        magic, version, count, sector = struct.unpack("<QQQI", log.read(28))
        if (magic, version) != (MAGIC, 1):
            raise SystemExit("this is no log of writes")
        log.seek(sector)
        for _ in range(count):
            head = log.read(sector)
            start, sectors, flags, length = struct.unpack("<QQQQ", head[:32])
            if flags & MARK and head[32:32 + length].rstrip(b"\0") == LAST:
                return
            if flags & DISCARD:
                yield flags, start * sector, bytes(sectors * sector)
            else:
                yield flags, start * sector, log.read(sectors * sector)


def promises(state):
    """Yields (image, changes until the next promise, end of the file) of the
    begin and of each fsync."""
    image, since, end = None, [], 0
    for kind, off, length, data in kill_load.Log.records(state):
        if kind == b"S":
            image, end = bytearray(b"\xaa" * off), off
        elif kind == b"W":
            since.append((off, data))
        elif kind == b"Z":
            since.append((off, bytes(length)))
        elif kind == b"A":
            yield image, since, end
            for start, text in since:
                image[start:start + len(text)] = text
            since, end = [], off
    yield image, since, end


def parts(start, stop, near):
    """Splits [start, stop) where a change begins or ends."""
    edges = {start, stop}
    for off, text in near:
        edges.update((max(off, start), min(off + len(text), stop)))
    edges = sorted(edges)
    return zip(edges, edges[1:])


def is_of_one(device, start, stop, image, near):
    """Are these bytes those of one change, or as before all of them? Nearly
    always so, and much quicker than to look at each byte."""
    part = device[start:stop]
    return part == image[start:stop] or any(
        off <= start and stop <= off + len(text) and
        part == text[start - off:stop - off] for off, text in near)


def compare(device, promise, where):
    image, since, end = promise
    for start in range(0, end, GRANULE):
        stop = min(start + GRANULE, end)
        if device[start:stop] == image[start:stop]:
            continue
        near = [(off, text) for off, text in since
                if off < stop and start < off + len(text)]
        for at in (at for part in parts(start, stop, near)
                   if not is_of_one(device, *part, image, near)
                   for at in range(*part)):
            allowed = kill_load.wrong_byte(at, device, image, near)
            if allowed:
                raise SystemExit(
                    f"{where}: byte {at} is {device[at]:#x}, not of "
                    f"{sorted(map(hex, allowed))}; the file ended at {end}")


class Replay:
    def __init__(self, seed, size):
        self.rng = random.Random(seed)
        self.device = bytearray(b"\xaa" * size)
        self.pending = []
        self.checks = 0

    def write(self, off, data):
        self.device[off:off + len(data)] = data

    def add(self, flags, off, data):
        if flags & FLUSH:
            for start, text in self.pending:
                self.write(start, text)
            self.pending = []
        if flags & FUA or (flags & FLUSH and data):
            self.write(off, data)
        elif data:
            self.pending.append((off, data))

    def fail(self, promise, where):
        """The power fails now; what follows goes on as if it had not."""
        kept = bytearray(self.device)
        for off, data in self.pending:
            if self.rng.random() < 0.5:
                kept[off:off + len(data)] = data
        compare(kept, promise, where)
        self.checks += 1


def check(seed, state, path):
    promised = promises(state)
    promise = next(promised)
    replay = Replay(seed, len(promise[0]))
    marks = 0
    for number, (flags, off, data) in enumerate(entries(path)):
        if flags & MARK:
            promise = next(promised)
            marks += 1
        else:
            replay.add(flags, off, data)
        if flags & (MARK | FLUSH) or replay.rng.random() < 0.1:
            replay.fail(promise, f"entry {number}, after fsync {marks}")
    if marks < 2:
        raise SystemExit("the log has no marks")
    print(marks, "marks,", replay.checks, "power failures")


if __name__ == "__main__":
    if sys.argv[1] == "load":
        load(*sys.argv[2:])
    else:
        check(*sys.argv[2:])
