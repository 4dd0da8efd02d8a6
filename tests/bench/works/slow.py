# SPDX-License-Identifier: LGPL-2.1-or-later
"""Benchmarks of slow devices: devices with 50 ms latency for each request, in
any number at once, and devices with a limited bandwidth."""
import contextlib
import subprocess

import devices
import peers
from lab import MIB, wait_until
from measure import LIMIT, OURS, Contender, Sample, Work

SIZE = 128 * MIB
# Options of nbdkit. With a bucket of 0.1 seconds, bandwidth saved up before the
# run counts for little.
WAITS = "--filter=delay", "rdelay=50ms", "wdelay=50ms"
LIMITED = "--filter=rate", "rate=512M", "burstiness=0.1"


@contextlib.contextmanager
def served(lab, name, image, how):
    """Starts a slow nbdkit over the image, and gives its socket."""
    socket = lab.dir / f"{name}.socket"
    server = lab.popen("nbdkit", "--exit-with-parent", "-U", socket, "-t", "16",
                       how[0], "file", image, *how[1:],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: socket.exists() or server.poll() is not None,
                   "nbdkit")
        yield f"nbd+unix:///?socket={socket}"
    finally:
        lab.end(server)
        socket.unlink(missing_ok=True)


@contextlib.contextmanager
def slow(lab, name, image, how):
    """Makes a loop device over a file of nbdfuse over a slow nbdkit over the
    image. nbdfuse gets a socket instead of starting nbdkit itself: otherwise it
    has one connection, whatever -C says, on which one long write may wait for
    another."""
    with served(lab, name, image, how) as uri, lab.directory(name) as where:
        with lab.daemon(where, "nbdfuse", "-C", "8", where / "f", uri):
            with lab.loop(where / "f", "--direct-io=on") as device:
                device.image = image
                yield device


@contextlib.contextmanager
def source_of(lab, kind, how):
    """Gives a slow device with that content, to read from."""
    image = lab.dir / "source"
    devices.make(str(image), kind, SIZE if lab.scale == 1 else SIZE // 4)
    with slow(lab, "slow-source", image, how) as read:
        yield read
    image.unlink()


@contextlib.contextmanager
def pair(lab, how):
    """Gives a slow device of data, and a slow one to write to."""
    target = lab.dir / "target"
    with source_of(lab, "data", how) as read:
        with lab.file("target", read.size), \
                slow(lab, "slow-target", target, how) as write:
            yield read, write


def copied(lab, read, write, *command):
    read.forget()
    write.forget()
    seconds = lab.time(*command)
    lab.expect_same(write.path, read.image)
    return seconds


def one_side(lab, command, source, target):
    """Runs COMMAND with source and target, one slow, the other in memory."""
    for device in (source, target):
        if hasattr(device, "forget"):
            device.forget()
    lab.fresh_out()
    seconds = lab.time(*command(getattr(source, "path", source),
                                getattr(target, "path", target)))
    lab.fresh_out()
    return seconds


def longer(lab, read, write, command):
    """The floor: the longer of only reading and only writing."""
    return Sample(max(one_side(lab, command, read, lab.out),
                      one_side(lab, command, read.image, write)))


def copy_work(how):
    @contextlib.contextmanager
    def prepare(lab):
        with pair(lab, how) as (read, write):
            def blksparse(source, target):
                return (lab.blksparse, "copy", "--quiet", source, target)

            def qemu_img():
                return Sample(copied(lab, read, write, *peers.qemu_img(
                    read.path, write.path, "-n", "-T", "none", "-t", "none")))
            yield [
                Contender("blksparse copy", lambda: Sample(copied(
                    lab, read, write, *blksparse(read.path, write.path))), OURS),
                Contender("the longer of its reading and writing",
                          lambda: longer(lab, read, write, blksparse), LIMIT,
                          goal=1.2),
                *([Contender("qemu-img convert -n -T none -t none -m 16 -W",
                             qemu_img)] if peers.have("qemu-img") else []),
            ]
    return prepare


def dd(source, target):
    return ("dd", f"if={source}", f"of={target}", "bs=1M", "oflag=direct",
            "conv=notrunc", "status=none")


def dd_from_mount(lab, read, write):
    with lab.mount(read) as (path, _):
        return Sample(copied(lab, read, write, *dd(path, write.path)))


def dd_longer(lab, read, write):
    """The longer of only reading, through a mount, and only writing."""
    read.forget()
    with lab.mount(read) as (path, _):
        reading = one_side(lab, dd, path, lab.out)
    return Sample(max(reading, one_side(lab, dd, read.image, write)))


def dd_work(how):
    @contextlib.contextmanager
    def prepare(lab):
        with pair(lab, how) as (read, write):
            yield [
                Contender("dd oflag=direct, blksparsefs",
                          lambda: dd_from_mount(lab, read, write), OURS),
                Contender("the longer of its reading and writing",
                          lambda: dd_longer(lab, read, write), LIMIT, goal=1.2),
                Contender("dd oflag=direct, the device itself", lambda: Sample(
                    copied(lab, read, write, *dd(read.path, write.path)))),
            ]
    return prepare


def out(lab, read, *command):
    """Times one copy to lab.out."""
    read.forget()
    lab.fresh_out()
    seconds = lab.time(*command)
    lab.expect_same(lab.out, read.image)
    lab.fresh_out()
    return Sample(seconds)


def cp_from_mount(lab, read):
    with lab.mount(read) as (path, _):
        return out(lab, read, "cp", path, lab.out)


def scan(lab, read):
    read.forget()
    return Sample(lab.time(lab.floor, "scan", read.path))


def cp_from_mount_known(lab, read):
    """The second copy from a mount, without the kernel's cache of the first."""
    with lab.mount(read) as (path, _):
        lab.run("cp", path, lab.fresh_out())
        lab.forget(path)
        return out(lab, read, "cp", path, lab.out)


@contextlib.contextmanager
def cp_known_work(lab):
    with source_of(lab, "tenth", WAITS) as read:
        yield [
            Contender("cp, blksparsefs", lambda: cp_from_mount_known(lab, read),
                      OURS),
            *([Contender("qemu-img convert -T none -m 16 -W", lambda: out(
                lab, read, *peers.qemu_img(read.path, lab.out, "-T", "none")))]
              if peers.have("qemu-img") else []),
        ]


@contextlib.contextmanager
def cp_work(lab):
    with source_of(lab, "data", WAITS) as read:
        yield [
            Contender("cp, blksparsefs", lambda: cp_from_mount(lab, read), OURS),
            Contender("cp, the device itself",
                      lambda: out(lab, read, "cp", read.path, lab.out)),
            Contender("scan, 8 reads at once", lambda: scan(lab, read), LIMIT,
                      goal=1.2),
        ]


NEEDS = ("nbdkit", "nbdfuse")
WORKS = (
    Work("slow-cp", "cp from a mount of a device that waits 50 ms for each "
         "read, to memory", cp_work, needs=NEEDS),
    Work("slow-cp-known", "the same, a tenth of it data, map known",
         cp_known_work, needs=NEEDS),
    Work("slow-copy", "copy of such a device to one that waits for each write",
         copy_work(WAITS), needs=NEEDS),
    Work("slow-dd", "the same by dd from a mount", dd_work(WAITS), needs=NEEDS),
    Work("slow-rate-copy", "copy of a device of 61 MiB/s to another",
         copy_work(LIMITED), needs=NEEDS),
    Work("slow-rate-dd", "the same by dd from a mount", dd_work(LIMITED),
         needs=NEEDS),
)
