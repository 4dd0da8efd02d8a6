# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices that take their time: each read and write waits for 10 ms, and any
number of them may wait at once."""
import contextlib

import devices
import peers
from lab import MIB
from measure import LIMIT, OURS, Contender, Sample, Work

SIZE = 64 * MIB
DELAY = "10ms"


@contextlib.contextmanager
def slow(lab, name, image):
    """A loop device over a file of nbdfuse over a slow nbdkit over the image."""
    with lab.directory(name) as where:
        with lab.daemon(where, "nbdfuse", "-C", "8", where / "f",
                        "--socket-activation", "nbdkit", "-t", "16",
                        "--exit-with-parent", "--filter=delay", "file", image,
                        f"rdelay={DELAY}", f"wdelay={DELAY}"):
            with lab.loop(where / "f", "--direct-io=on") as device:
                device.image = image
                yield device


@contextlib.contextmanager
def pair(lab):
    """A slow device of data, and a slow one to write to."""
    source, target = lab.dir / "source", lab.dir / "target"
    size = SIZE if lab.scale == 1 else SIZE // 2
    devices.make(str(source), "data", size)
    with lab.file("target", size):
        with slow(lab, "slow-source", source) as read, \
                slow(lab, "slow-target", target) as write:
            yield read, write
    source.unlink()


def copied(lab, read, write, *command):
    read.forget()
    write.forget()
    seconds = lab.time(*command)
    lab.expect_same(write.path, read.image)
    return seconds


def one_side(lab, command, source, target):
    """COMMAND from one to the other, one of them slow, the other in memory."""
    for device in (source, target):
        if hasattr(device, "forget"):
            device.forget()
    lab.fresh_out()
    seconds = lab.time(*command(getattr(source, "path", source),
                                getattr(target, "path", target)))
    lab.fresh_out()
    return seconds


def longer(lab, read, write, command):
    """The longer of only reading and only writing."""
    return Sample(max(one_side(lab, command, read, lab.out),
                      one_side(lab, command, read.image, write)))


@contextlib.contextmanager
def copy_work(lab):
    with pair(lab) as (read, write):
        def blksparse(source, target):
            return (lab.blksparse, "copy", "--quiet", source, target)
        yield [
            Contender("blksparse copy", lambda: Sample(copied(
                lab, read, write, *blksparse(read.path, write.path))), OURS),
            Contender("the longer of its reading and writing",
                      lambda: longer(lab, read, write, blksparse), LIMIT,
                      goal=1.2),
            *([Contender("qemu-img convert -n -T none -t none -m 16 -W",
                         lambda: Sample(copied(lab, read, write, *peers.qemu_img(
                             read.path, write.path, "-n", "-T", "none",
                             "-t", "none"))))]
              if peers.have("qemu-img") else []),
        ]


def dd(source, target):
    return ("dd", f"if={source}", f"of={target}", "bs=1M", "oflag=direct",
            "conv=notrunc", "status=none")


def dd_from_mount(lab, read, write):
    with lab.mount(read) as (path, _):
        return Sample(copied(lab, read, write, *dd(path, write.path)))


def dd_longer(lab, read, write):
    """Of reading through the mount, and of writing."""
    read.forget()
    with lab.mount(read) as (path, _):
        reading = one_side(lab, dd, path, lab.out)
    return Sample(max(reading, one_side(lab, dd, read.image, write)))


@contextlib.contextmanager
def dd_work(lab):
    with pair(lab) as (read, write):
        yield [
            Contender("dd oflag=direct, blksparsefs",
                      lambda: dd_from_mount(lab, read, write), OURS),
            Contender("the longer of its reading and writing",
                      lambda: dd_longer(lab, read, write), LIMIT, goal=1.2),
            Contender("dd oflag=direct, the device itself", lambda: Sample(
                copied(lab, read, write, *dd(read.path, write.path)))),
        ]


def cp_out(lab, read, path):
    read.forget()
    seconds = lab.time("cp", path, lab.fresh_out())
    lab.expect_same(lab.out, read.image)
    lab.fresh_out()
    return Sample(seconds)


def cp_from_mount(lab, read):
    with lab.mount(read) as (path, _):
        return cp_out(lab, read, path)


def scan(lab, read):
    read.forget()
    return Sample(lab.time(lab.floor, "scan", read.path))


@contextlib.contextmanager
def cp_work(lab):
    with pair(lab) as (read, _):
        yield [
            Contender("cp, blksparsefs", lambda: cp_from_mount(lab, read), OURS),
            Contender("cp, the device itself",
                      lambda: cp_out(lab, read, read.path)),
            Contender("scan, 8 reads at once", lambda: scan(lab, read), LIMIT,
                      goal=1.2),
        ]


NEEDS = ("nbdkit", "nbdfuse")
WORKS = (
    Work("slow-cp", "cp from a mount of a device that waits 10 ms for each "
         "read, to memory", cp_work, needs=NEEDS),
    Work("slow-copy", "copy of such a device to one that waits for each write",
         copy_work, needs=NEEDS),
    Work("slow-dd", "the same by dd from a mount", dd_work, needs=NEEDS),
)
