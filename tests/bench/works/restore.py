# SPDX-License-Identifier: LGPL-2.1-or-later
"""Benchmarks that write a sparse image onto a device with old content."""
import contextlib

import devices
import peers
from lab import GIB, MIB
from measure import OURS, Contender, Fact, Sample, Work

GARBAGE, ZEROS = b"\xaa" * MIB, bytes(MIB)
# Zeroing commands count as written. So if all of the device must change, 1 means
# that each byte of data was written once and each other byte zeroed once.
FACTS = (Fact("written", "written or zeroed / its size", 1.02),
         Fact("requests", "requests"))


def fill(path, size, block):
    with open(path, "r+b", buffering=0) as out:
        for at in range(0, size, MIB):
            out.write(block[:size - at])


@contextlib.contextmanager
def image(lab):
    """Makes a sparse file, a tenth of it data, and a device of that size."""
    path, old = lab.dir / "image", lab.dir / "old"
    size = 2 * GIB // lab.scale
    devices.make(str(path), "tenth", size, sparse=True)
    with lab.file("old", size):
        yield path, old, size
    path.unlink()


def restored(lab, files, content, run):
    """Times RUN(device) on a new loop device with that content. A used one that
    had to refuse a way of zeroing would never offer it again."""
    path, old, size = files
    fill(old, size, content)
    with lab.loop(old) as device:
        written, requests = device.bytes_written(), device.write_requests()
        seconds = run(device)
        facts = {"written": (device.bytes_written() - written) / size,
                 "requests": device.write_requests() - requests}
        device.forget()
        lab.expect_same(device.path, path)
    return Sample(seconds, facts)


def cp_to_mount(lab, path, device):
    """cp and an fsync, since qemu-img makes its copy durable, too."""
    with lab.mount(device, "-o", "rw") as (target, _):
        return lab.time("cp", path, target) + lab.time("sync", target)


def peers_of(lab, files, content, goal):
    def once(command):
        return lambda: restored(lab, files, content,
                                lambda device: lab.time(*command(device.path)))
    path = files[0]
    found = []
    if peers.have("qemu-img"):
        found.append(Contender(
            "qemu-img convert -n -t none -m 16 -W", once(
                lambda target: peers.qemu_img(path, target, "-n", "-t", "none")),
            goal=goal, group="fastest"))
    if peers.have("nbdcopy"):
        found.append(Contender(
            "nbdcopy", once(lambda target: ("nbdcopy", path, target)),
            goal=goal, group="fastest"))
    return found + [Contender("cp --sparse=never", once(
        lambda target: ("cp", "--sparse=never", path, target)))]


def copy_work(content):
    @contextlib.contextmanager
    def prepare(lab):
        with image(lab) as files:
            yield [
                Contender("blksparse copy", lambda: restored(
                    lab, files, content, lambda device: lab.time(
                        lab.blksparse, "copy", "--quiet", files[0],
                        device.path)), OURS),
                *peers_of(lab, files, content, 1.0),
            ]
    return prepare


@contextlib.contextmanager
def cp_garbage(lab):
    with image(lab) as files:
        yield [
            Contender("cp and sync, blksparsefs -o rw", lambda: restored(
                lab, files, GARBAGE,
                lambda device: cp_to_mount(lab, files[0], device)), OURS),
            *peers_of(lab, files, GARBAGE, 1.5),
        ]


WORKS = (
    Work("restore", "copy of a sparse image onto a device of garbage",
         copy_work(GARBAGE), facts=FACTS),
    Work("restore-zeros", "copy of a sparse image onto a device of zeros",
         copy_work(ZEROS), facts=FACTS),
    Work("restore-cp", "cp of a sparse image into a writable mount, over "
         "garbage", cp_garbage, facts=FACTS),
)
