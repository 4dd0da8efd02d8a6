# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writing a sparse image onto a device that holds something else."""
import contextlib

import devices
import peers
from lab import GIB, MIB
from measure import OURS, Contender, Fact, Sample, Work

GARBAGE, ZEROS = b"\xaa" * MIB, bytes(MIB)
# Zeroing commands count as written, so where all of the device has to become
# something else, 1 means: each byte of data written once, each of the rest
# zeroed once.
FACTS = (Fact("written", "written or zeroed / its size", 1.02),
         Fact("requests", "requests"))


def fill(path, size, block):
    with open(path, "r+b", buffering=0) as out:
        for at in range(0, size, MIB):
            out.write(block[:size - at])


@contextlib.contextmanager
def image(lab):
    """A sparse file, a tenth of it data; and a file as large for the device."""
    path, old = lab.dir / "image", lab.dir / "old"
    size = 2 * GIB // lab.scale
    devices.make(str(path), "tenth", size, sparse=True)
    with lab.file("old", size):
        yield path, old, size
    path.unlink()


def restored(lab, files, content, run):
    """One timed RUN(device) on a device of that content. A new loop device
    each time, for one that had to refuse a way to zero never offers it again."""
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
    """cp, and what it takes until it is durable, as qemu-img has it."""
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
