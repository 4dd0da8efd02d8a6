# SPDX-License-Identifier: LGPL-2.1-or-later
"""Benchmarks of NBD exports, whose servers are nbdkit and qemu-nbd over files in
memory. The same server serves ours and the peers, started anew for each."""
import contextlib
import subprocess

import devices
import peers
from lab import GIB, MIB, die_with_parent, wait_until
from measure import OURS, Contender, Fact, Sample, Work
from works.known import KIB, TIB, expect_same_data, make
from works.requests import reads_a_second
from works.restore import GARBAGE, fill

# Several connections are allowed, as the servers do by default, or by advice.
SERVERS = {
    "nbdkit": lambda socket, image, *read_only: (
        "nbdkit", "--exit-with-parent", *read_only, "-U", socket, "file",
        image),
    "qemu": lambda socket, image, *read_only: (
        "qemu-nbd", *read_only, "--persistent", "--shared=16", "--format=raw",
        f"--socket={socket}", image),
}
KINDS = {"s": ("tenth", 2 * GIB), "d": ("data", GIB)}
HOW = {"s": "a tenth of it data", "d": "all data"}


@contextlib.contextmanager
def export(lab, kind, image, *read_only):
    """Has a server serve the image, and gives the URI of its export."""
    socket = lab.dir / "socket"
    server = lab.popen(*SERVERS[kind](socket, image, *read_only),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       preexec_fn=die_with_parent)
    try:
        wait_until(lambda: socket.exists() or server.poll() is not None, kind)
        yield f"nbd+unix:///?socket={socket}"
    finally:
        lab.end(server)
        socket.unlink(missing_ok=True)


@contextlib.contextmanager
def image_of(lab, name):
    """Makes a sparse file."""
    kind, size = KINDS[name]
    path = lab.dir / "image"
    devices.make(str(path), kind, size // lab.scale, sparse=True)
    try:
        yield path
    finally:
        path.unlink()


def peers_of(once, goals):
    """The contenders that copy from SOURCE to TARGET; GOALS by their names. Of
    two goals, only that of the faster one counts."""
    commands = {
        "nbdcopy": lambda source, target: ("nbdcopy", source, target),
        "qemu-img convert -m 16 -W": lambda source, target: peers.qemu_img(
            source, target, *(["-n"] if str(target).startswith("nbd") else []))}
    return [Contender(name, lambda c=command: once(c),
                      goal=goals.get(name.split()[0]),
                      group="fastest" if len(goals) > 1 else "")
            for name, command in commands.items()
            if peers.have(name.split()[0])]


def blksparse(lab):
    return lambda source, target: (lab.blksparse, "copy", "--quiet", source,
                                   target)


# --- Copies -----------------------------------------------------------------

GOALS = {"nbdcopy": 1.0, "qemu-img": 1.0}


def copied(lab, image, *command):
    """Times one copy to lab.out, and checks it."""
    lab.fresh_out()
    seconds = lab.time(*command)
    kept = lab.out.stat().st_blocks * 512
    expect_same_data(lab.out, image)
    lab.fresh_out()
    return Sample(seconds, {"kept": kept / (image.stat().st_blocks * 512)})


def from_work(server, name):
    @contextlib.contextmanager
    def prepare(lab):
        with image_of(lab, name) as image:
            def once(command):
                with export(lab, server, image, "-r") as uri:
                    return copied(lab, image, *command(uri, lab.out))
            yield [Contender("blksparse copy", lambda: once(blksparse(lab)),
                             OURS),
                   *peers_of(once, GOALS)]
    return prepare


def to_work(server, name):
    @contextlib.contextmanager
    def prepare(lab):
        with image_of(lab, name) as image:
            size = image.stat().st_size

            def once(command):
                with lab.file("old", size) as old:
                    fill(old, size, GARBAGE)
                    with export(lab, server, old) as uri:
                        seconds = lab.time(*command(image, uri))
                    expect_same_data(old, image)
                return Sample(seconds)
            yield [Contender("blksparse copy", lambda: once(blksparse(lab)),
                             OURS),
                   *peers_of(once, GOALS)]
    return prepare


# --- Mounts -----------------------------------------------------------------

@contextlib.contextmanager
def nbdfuse(lab, uri):
    with lab.directory("nbdfuse") as where:
        with lab.daemon(where, "nbdfuse", "-r", where / "f", uri):
            yield where / "f"


def cp_work(server, name):
    @contextlib.contextmanager
    def prepare(lab):
        with image_of(lab, name) as image:
            def mounted():
                with export(lab, server, image, "-r") as uri, \
                        lab.mount(uri) as (path, _):
                    return copied(lab, image, "cp", path, lab.out)

            def in_nbdfuse():
                with export(lab, server, image, "-r") as uri, \
                        nbdfuse(lab, uri) as path:
                    return copied(lab, image, "cp", "--sparse=always", path,
                                  lab.out)

            def once(command):
                with export(lab, server, image, "-r") as uri:
                    return copied(lab, image, *command(uri, lab.out))
            yield [Contender("cp, blksparsefs", mounted, OURS),
                   *([Contender("cp always, nbdfuse", in_nbdfuse, goal=0.7)]
                     if peers.have("nbdfuse") else []),
                   *peers_of(once, {"nbdcopy": 1.3})]
    return prepare


def random_work(server, jobs):
    @contextlib.contextmanager
    def prepare(lab):
        with image_of(lab, "d") as image:
            def mounted():
                with export(lab, server, image, "-r") as uri, \
                        lab.mount(uri) as (path, _):
                    return reads_a_second(lab, path, True, jobs)

            def in_nbdfuse():
                with export(lab, server, image, "-r") as uri, \
                        nbdfuse(lab, uri) as path:
                    return reads_a_second(lab, path, True, jobs)
            yield [Contender("blksparsefs", mounted, OURS),
                   Contender("nbdfuse", in_nbdfuse, goal=1 / 0.7)]
    return prepare


# --- Large exports ----------------------------------------------------------

@contextlib.contextmanager
def sparse(lab, size, length, stride):
    path = lab.dir / "sparse"
    try:
        make(path, size, length, stride)
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def map_huge(lab):
    """Maps 16 TiB, of which 1024 pieces of 64 KiB are data."""
    size = 16 * TIB // lab.scale
    with sparse(lab, size, 64 * KIB, size // 1024) as image:
        def once(*command):
            with export(lab, "qemu", image, "-r") as uri:
                seconds = lab.time(*command, uri)
            return Sample(seconds, {"seconds": seconds})
        yield [
            Contender("blksparse map --summary",
                      lambda: once(lab.blksparse, "map", "--summary"), OURS),
            *([Contender("nbdinfo --map --totals",
                         lambda: once("nbdinfo", "--map", "--totals"))]
              if peers.have("nbdinfo") else []),
        ]


@contextlib.contextmanager
def cp_huge(lab):
    """Copies 1 TiB, of which 1 MiB is data."""
    size = TIB // lab.scale
    with sparse(lab, size, MIB, size) as image:
        def once():
            with export(lab, "nbdkit", image, "-r") as uri, \
                    lab.mount(uri) as (path, _):
                sample = copied(lab, image, "cp", path, lab.out)
            sample.facts["seconds"] = sample.value
            return sample
        yield [Contender("cp, blksparsefs", once, OURS)]


KEPT = Fact("kept", "allocated / that of the source")
PROGRAMS = {"nbdkit": "nbdkit", "qemu": "qemu-nbd"}


def works():
    for server, program in PROGRAMS.items():
        for name, how in HOW.items():
            yield Work(f"nbd-copy-from-{server}-{name}", f"copy of an export of "
                       f"{program}, {how}", from_work(server, name),
                       needs=(program,), facts=(KEPT,))
            yield Work(f"nbd-copy-to-{server}-{name}", f"copy of a sparse image, "
                       f"{how}, onto an export of garbage of {program}",
                       to_work(server, name), needs=(program,))
            yield Work(f"nbd-cp-{server}-{name}", "cp from a read-only mount of "
                       f"an export of {program}, {how}", cp_work(server, name),
                       needs=(program,), facts=(KEPT,))
        for jobs, many in ((1, "1 job"), (4, "4 jobs")):
            yield Work(f"nbd-rand-{server}-{jobs}", "random direct reads of 4 "
                       f"KiB, {many}, from a mount of an export of {program}",
                       random_work(server, jobs), unit="IOPS",
                       more_is_better=True, needs=(program, "fio", "nbdfuse"))
    yield Work("nbd-map-huge", "map of an export of 16 TiB of qemu-nbd with 1024 "
               "x 64 KiB of data", map_huge, needs=("qemu-nbd",),
               facts=(Fact("seconds", "s", 0.2),))
    yield Work("nbd-cp-huge", "cp from a read-only mount of an export of 1 TiB "
               "of nbdkit with 1 MiB of data", cp_huge, needs=("nbdkit",),
               facts=(Fact("seconds", "s", 1.0), KEPT))


WORKS = tuple(works())
