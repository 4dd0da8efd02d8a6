# SPDX-License-Identifier: LGPL-2.1-or-later
"""Benchmarks of devices whose holes the file system below knows: loop devices
over sparse files. The cost of asking is measured where the answers save no
reading."""
import contextlib
import os

import peers
from lab import GIB, MIB, Wrong
from measure import OURS, Contender, Fact, Sample, Work

KIB = 1 << 10
TIB = 1 << 40
# Of what is claimed to be zeros, a granule a half GiB may be read and compared.
SPOT, GRANULE = GIB // 2, 4 * KIB

def make(path, size, length, stride):
    """Makes a file with LENGTH bytes of data every STRIDE bytes; returns the
    bytes of data."""
    piece = os.urandom(64 * KIB).replace(b"\0", b"\1") * (length // (64 * KIB))
    piece += b"\1" * (length - len(piece))
    starts = range(0, size - length + 1, stride)
    with open(path, "wb", buffering=0) as out:
        out.truncate(size)
        for start in starts:
            os.pwrite(out.fileno(), piece, start)
    return len(starts) * length


def next_data(fd, at):
    """Returns the start and the end of the next data; None without any."""
    try:
        start = os.lseek(fd, at, os.SEEK_DATA)
    except OSError:
        return None
    return start, os.lseek(fd, start, os.SEEK_HOLE)


def expect_same_data(path, image):
    """Raises Wrong unless PATH has the bytes of IMAGE; reads no common hole."""
    files = [os.open(name, os.O_RDONLY) for name in (path, image)]
    try:
        if len({os.fstat(fd).st_size for fd in files}) > 1:
            raise Wrong(f"{path} has another size than {image}")
        at = 0
        while True:
            found = [extent for extent in (next_data(fd, at) for fd in files)
                     if extent]
            if not found:
                return
            at, end = min(found)
            while at < end:
                got, right = (os.pread(fd, min(MIB, end - at), at)
                              for fd in files)
                if got != right:
                    raise Wrong(f"{path} and {image} differ near byte {at}")
                at += len(right)
    finally:
        for fd in files:
            os.close(fd)


def spot_checks(device):
    return max(device.size // SPOT, 1) * GRANULE


def copied(lab, device, data, *command):
    """Times one copy to lab.out, counts its reads, and checks it."""
    device.forget()
    lab.fresh_out()
    before = device.bytes_read()
    seconds = lab.time(*command)
    read = device.bytes_read() - before
    kept = lab.out.stat().st_blocks * 512
    expect_same_data(lab.out, device.image)
    lab.fresh_out()
    return Sample(seconds, {"read": read / (data + spot_checks(device)),
                            "kept": kept / data})


def cp_mount(lab, device, data, *options):
    with lab.mount(device, *options) as (path, _):
        return copied(lab, device, data, "cp", path, lab.out)


def copy(lab, device, data, *options):
    return copied(lab, device, data, lab.blksparse, "copy", "--quiet", *options,
                  device.path, lab.out)


def mapped(lab, device, data, *options):
    device.forget()
    before = device.bytes_read()
    seconds = lab.time(lab.blksparse, "map", "--summary", *options, device.path)
    read = device.bytes_read() - before
    return Sample(seconds, {"seconds": seconds,
                            "read": read / (data + spot_checks(device))})


@contextlib.contextmanager
def sparse(lab, size, length, stride):
    """Gives a loop device over such a file, and the bytes of data."""
    image = lab.dir / "sparse"
    try:
        data = make(image, size, length, stride)
        with lab.loop(image) as device:
            yield device, data
    finally:
        image.unlink(missing_ok=True)


def huge(lab):
    """8 TiB, of which 200 pieces of 64 KiB are data."""
    size = 8 * TIB // lab.scale
    return sparse(lab, size, 64 * KIB, size // 200)


def large(lab):
    """64 GiB, of which 1024 pieces of 1 MiB are data."""
    return sparse(lab, 64 * GIB // lab.scale, MIB, 64 * MIB)


@contextlib.contextmanager
def map_huge(lab):
    with huge(lab) as (device, data):
        def qemu_img():
            return Sample(lab.time("qemu-img", "map", "-f", "raw",
                                   "--output=json", device.image))
        yield [
            Contender("blksparse map --summary",
                      lambda: mapped(lab, device, data), OURS),
            *([Contender("qemu-img map of the file below", qemu_img)]
              if peers.have("qemu-img") else []),
        ]


@contextlib.contextmanager
def cp_huge(lab):
    with huge(lab) as (device, data):
        yield [
            Contender("cp, blksparsefs", lambda: cp_mount(lab, device, data),
                      OURS),
            Contender("cp of the file below", lambda: copied(
                lab, device, data, "cp", device.image, lab.out), goal=2.0),
        ]


def raw_peers(lab, device, data):
    """The contenders that copy the device itself."""
    commands = {"cp --sparse=always DEVICE": (
        "cp", "--sparse=always", device.path, lab.out)}
    if peers.have("qemu-img"):
        commands["qemu-img convert -T none -m 16 -W"] = peers.qemu_img(
            device.path, lab.out, "-T", "none")
    return [Contender(name, lambda c=command: copied(lab, device, data, *c),
                      goal=0.1)
            for name, command in commands.items()]


def large_work(name, once):
    @contextlib.contextmanager
    def prepare(lab):
        with large(lab) as (device, data):
            yield [Contender(name, lambda: once(lab, device, data), OURS),
                   *raw_peers(lab, device, data)]
    return prepare


# The work on dense data. Each is given the lab, the device, the bytes of data,
# and the option that has nothing asked, or none.
DENSE = {
    "copy": ("blksparse copy", lambda lab, device, data, *off: copy(
        lab, device, data, *(f"--{word}" for word in off))),
    "map": ("blksparse map --summary", lambda lab, device, data, *off: mapped(
        lab, device, data, *(f"--{word}" for word in off))),
    "cp": ("cp, blksparsefs", lambda lab, device, data, *off: cp_mount(
        lab, device, data, *(part for word in off for part in ("-o", word)))),
}


def dense_work(what, stride):
    """All data, in one extent; or with a hole of one granule at the end of each
    STRIDE bytes."""
    name, once = DENSE[what]

    @contextlib.contextmanager
    def prepare(lab):
        size = GIB // lab.scale
        with sparse(lab, size, stride - GRANULE if stride else size,
                    stride or size) as (device, data):
            yield [
                Contender(name, lambda: once(lab, device, data), OURS),
                Contender(f"{name}, known=off",
                          lambda: once(lab, device, data, "known=off"),
                          goal=1.03),
            ]
    return prepare


READ = Fact("read", "read from the device / its data and the spot checks", 1.02)
KEPT = Fact("kept", "allocated / data")
LARGE = "of 64 GiB with 1 GiB of data, its holes known"

WORKS = (
    Work("known-map", "map of a device of 8 TiB with 200 x 64 KiB of data, its "
         "holes known", map_huge,
         facts=(Fact("seconds", "s", 1.0), READ)),
    Work("known-cp", "cp from a read-only mount of such a device", cp_huge,
         facts=(READ, KEPT)),
    Work("known-64-copy", f"copy of a device {LARGE}",
         large_work("blksparse copy", copy), facts=(READ, KEPT)),
    Work("known-64-cp", f"cp from a read-only mount of a device {LARGE}",
         large_work("cp, blksparsefs", cp_mount), facts=(READ, KEPT)),
    *(Work(f"known-dense-{what}{suffix}", f"{title}, the holes asked for",
           dense_work(what, stride))
      for what in DENSE
      for suffix, stride, title in (
          ("", 0, f"{what} of a device that is all data"),
          ("-mib", MIB, f"{what} of one with a hole of 4 KiB in each MiB"))),
)
