# SPDX-License-Identifier: LGPL-2.1-or-later
"""Benchmarks of a target that is nearly equal to its source already: copies that
write only the difference, and increments through a pipe."""
import contextlib
import os
import random

import peers
from lab import MIB
from measure import LIMIT, OURS, Contender, Fact, Sample, Work

CHUNK = 64 << 10
GRANULE = 4 << 10
FLIP = bytes(255 - byte for byte in range(256))


class Yesterday:
    """A file with the bytes of a device, but for one granule in each of some
    chunks."""

    def __init__(self, source, path, share):
        self.source, self.path = source, path
        chunks = source.size // CHUNK
        self.changed = sorted(random.Random(1).sample(
            range(chunks), round(chunks * share)))

    def fill(self):
        with open(self.source.image, "rb", buffering=0) as old, \
                open(self.path, "r+b", buffering=0) as new:
            while piece := old.read(MIB):
                new.write(piece)
        self.reset()

    def reset(self):
        """Makes the old bytes of what has been updated."""
        with open(self.source.image, "rb", buffering=0) as old, \
                open(self.path, "r+b", buffering=0) as new:
            for chunk in self.changed:
                at = chunk * CHUNK + chunk % (CHUNK // GRANULE) * GRANULE
                new.seek(at)
                new.write(os.pread(old.fileno(), GRANULE, at).translate(FLIP))


@contextlib.contextmanager
def yesterday(lab, source, share):
    with lab.file("yesterday", source.size) as path:
        old = Yesterday(source, path, share)
        old.fill()
        yield old


# --- Copies ------------------------------------------------------------------

def updated(lab, old, command):
    """Times COMMAND(source, target) that makes the target like the source."""
    old.reset()
    source = old.source
    with lab.loop(old.path) as target:
        source.forget()
        before = source.bytes_read(), target.bytes_written()
        seconds = lab.time("bash", "-c", "set -o pipefail; " + command.format(
            tool=lab.blksparse, source=source.path, target=target.path,
            base=lab.dir / "base", new=lab.dir / "base.new"))
        read = source.bytes_read() - before[0]
        written = target.bytes_written() - before[1]
        target.forget()
        lab.expect_same(target.path, source.image)
    return Sample(seconds, {"read": read / source.size,
                            "written": written / source.size})


def both_scanned(lab, old):
    """Times two maps side by side."""
    old.reset()
    with lab.loop(old.path) as target:
        old.source.forget()
        return Sample(lab.time(
            "sh", "-c", f"{lab.blksparse} map {old.source.path} & "
            f"{lab.blksparse} map {target.path} && wait $!"))


def copy_work(name, share, goal):
    @contextlib.contextmanager
    def prepare(lab):
        with yesterday(lab, lab.device(name), share) as old:
            yield [
                Contender("blksparse copy --changed", lambda: updated(
                    lab, old, "{tool} copy --changed --quiet {source} {target}"),
                    OURS),
                Contender("blksparse map of both at once",
                          lambda: both_scanned(lab, old), LIMIT, goal=goal),
                Contender("blksparse copy", lambda: updated(
                    lab, old, "{tool} copy --quiet {source} {target}")),
            ]
    return prepare


# --- Increments --------------------------------------------------------------

SEND = "{tool} send --quiet --since={base} --digest={new} {source}"


def stream_size(lab, old):
    """The size of the increment, divided by that of the changed chunks."""
    stream = lab.fresh_out()
    lab.run("sh", "-c", f"exec {lab.blksparse} send --quiet "
            f"--since={lab.dir / 'base'} {old.source.path} >{stream}")
    size = stream.stat().st_size
    lab.fresh_out()
    return size / (len(old.changed) * CHUNK)


def incremented(lab, old, receive, moved):
    digest = lab.dir / "digest"
    digest.write_bytes((lab.dir / "base").read_bytes())
    sample = updated(lab, old, f"{SEND} | {{tool}} recv --quiet {receive} "
                     "{target}")
    sample.facts["moved"] = moved
    return sample


def rsynced(lab, old):
    """rsync from a mount of the source into the file of the old bytes."""
    old.reset()
    lab.forget(old.path)
    with lab.mount(old.source) as (path, _):
        old.source.forget()
        before = old.source.bytes_read()
        seconds = lab.time("rsync", "--inplace", "--no-whole-file",
                           "--ignore-times", path, old.path)
        read = old.source.bytes_read() - before
    lab.expect_same(old.path, old.source.image)
    return Sample(seconds, {"read": read / old.source.size})


def store_files(store):
    return {os.path.join(path, name) for path, _, names in os.walk(store)
            for name in names}


class Store:
    """A store of casync that has the chunks of the old bytes."""

    def __init__(self, lab, old, where):
        self.lab, self.old, self.where = lab, old, where
        self.make(old.path)
        self.kept = store_files(where)

    def make(self, path):
        return self.lab.time("casync", "make", f"--store={self.where}",
                             self.lab.dir / "index.caibx", path)

    def once(self):
        """Times the new chunks of the source. No target gets them."""
        self.old.source.forget()
        seconds = self.make(self.old.source.path)
        for path in store_files(self.where) - self.kept:
            os.unlink(path)
        return Sample(seconds)


@contextlib.contextmanager
def casync(lab, old):
    """Gives the contenders that need casync."""
    if not peers.have("casync"):
        yield []
        return
    where = lab.dir / "store"
    try:
        store = Store(lab, old, where)
        yield [Contender("casync make, with yesterday's store", store.once,
                         goal=0.3)]
    finally:
        lab.run("rm", "-rf", where, lab.dir / "index.caibx")


@contextlib.contextmanager
def increment(lab):
    source = lab.device("D")
    with yesterday(lab, source, 0.01) as old:
        lab.run(lab.blksparse, "digest", "--quiet",
                f"--output={lab.dir / 'base'}", old.path)
        moved = stream_size(lab, old)
        base = f"--base={lab.dir / 'digest'}"
        with casync(lab, old) as others:
            yield [
                Contender("send --since | recv --check-base",
                          lambda: incremented(lab, old, "--check-base", moved),
                          OURS),
                Contender("send --since | recv --base",
                          lambda: incremented(lab, old, base, moved)),
                Contender("rsync --inplace --no-whole-file", lambda: rsynced(
                    lab, old), goal=0.3),
                *others,
            ]


READ = Fact("read", "read from the source / its size", 1.02)

WORKS = (
    Work("changed-none", "copy of what differs, of a device that is all data, "
         "onto an equal one", copy_work("D", 0, 1.2), devices=("D",),
         facts=(READ, Fact("written", "written / its size", 0))),
    Work("changed-1", "the same; one chunk of 64 KiB in 100 differs",
         copy_work("D", 0.01, 1.3), devices=("D",),
         facts=(READ, Fact("written", "written / its size", 0.001))),
    Work("increment-d", "increment of a device that is all data, of which one "
         "chunk of 64 KiB in 100 has changed, through a pipe", increment,
         devices=("D",), needs=("rsync",),
         facts=(READ, Fact("moved", "the stream / the changed chunks", 1.01))),
)
