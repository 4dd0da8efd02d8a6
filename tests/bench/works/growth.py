# SPDX-License-Identifier: LGPL-2.1-or-later
"""Benchmarks of costs that may or may not grow with the device."""
import contextlib
import os

from lab import GIB, MIB, Failed
from measure import OURS, Contender, Fact, Sample, Work

PIECE = 64 << 10
# One percent is data.
STRIDE = 100 * PIECE


def make_sparse(path, size):
    """Returns the number of extents."""
    data = b"\1" * PIECE
    starts = range(STRIDE // 2, size - PIECE, STRIDE)
    with open(path, "wb", buffering=0) as out:
        out.truncate(size)
        for start in starts:
            os.pwrite(out.fileno(), data, start)
    return len(starts)


def most_resident(process):
    """Returns the peak memory in MiB."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status
                    if line.startswith("VmHWM"))


def scanned(lab, gib):
    """Returns milliseconds a GiB for one listing by lseek through a mount."""
    with lab.file("large") as path:
        extents = make_sparse(path, gib * GIB)
        # Known holes would not be read.
        with lab.loop(path) as device, \
                lab.mount(device, "-o", "known=off") as (shown, process):
            seconds = lab.time(lab.tool("list-extents"), shown)
            found = int(lab.said().split()[0])
            if found != extents:
                raise Failed(f"{found} extents, and not {extents}")
            return Sample(seconds * 1000 / gib,
                          {"memory": most_resident(process)})


@contextlib.contextmanager
def scan_work(lab):
    sizes = (1, 4, 16, 64) if lab.scale == 1 else (1, 2, 8)
    last = sizes[-1]
    yield [Contender(f"{last} GiB", lambda: scanned(lab, last), OURS)] + [
        Contender(f"{gib} GiB", lambda g=gib: scanned(lab, g),
                  goal=1.1 if gib == 1 else None) for gib in sizes[:-1]]


def sought(lab, device, extents):
    seek, lookup, stat, memory = lab.output(lab.tool("map-seeks"), extents,
                                            device.path).split()
    return Sample(float(seek), {"lookup": float(lookup), "stat": float(stat),
                                "memory": float(memory)})


@contextlib.contextmanager
def seek_work(lab):
    with lab.file("counted", MIB) as path, lab.loop(path) as device:
        yield [
            Contender("10,000,000 extents",
                      lambda: sought(lab, device, 10_000_000), OURS),
            Contender("100,000 extents", lambda: sought(lab, device, 100_000)),
            Contender("1,000 extents", lambda: sought(lab, device, 1000)),
            Contender("10 extents", lambda: sought(lab, device, 10), goal=1.1),
        ]


MEMORY = Fact("memory", "MiB resident")

WORKS = (
    Work("growth-scan", "finding the extents of a device, through a mount, for "
         "each GiB", scan_work, unit="ms", facts=(MEMORY,)),
    # 80 GiB with two bits for each 4 KiB are 5 MiB.
    Work("growth-seek", "a seek in the map of a device of 80 GiB, in the "
         "library", seek_work, unit="us",
         facts=(Fact("lookup", "us without a look at the device"),
                Fact("stat", "us a stat"), Fact("memory", "MiB of map", 6))),
)
