# SPDX-License-Identifier: LGPL-2.1-or-later
"""Benchmarks that read a whole device: copies into a sparse file, and map."""
import contextlib

import peers
from measure import LIMIT, OURS, Contender, Fact, Sample, Work

READ = "read from the device / its size"
KEPT = "allocated / size"


def copied(lab, device, *command):
    """Times one copy to lab.out, counts its reads, and checks it."""
    device.forget()
    lab.fresh_out()
    before = device.bytes_read()
    seconds = lab.time(*command)
    read = device.bytes_read() - before
    kept = lab.out.stat().st_blocks * 512
    lab.expect_same(lab.out, device.image)
    lab.fresh_out()
    return Sample(seconds, {"read": read / device.size,
                            "read-data": read / device.data(),
                            "kept": kept / device.size})


def scan_floor(lab, device):
    device.forget()
    return lab.time(lab.floor, "scan", device.path)


def write_floor(lab, device):
    return lab.time(lab.floor, "write", device.size, lab.fresh_out(),
                    text=device.extents())


def copy_floor(lab, device):
    """The floor: scanning the device, then writing its data."""
    sample = Sample(scan_floor(lab, device) + write_floor(lab, device))
    lab.fresh_out()
    return sample


def cp_mount(lab, device):
    with lab.mount(device) as (path, _):
        return copied(lab, device, "cp", path, lab.out)


def cp_mount_known(lab, device):
    """The second copy from a mount, without the kernel's cache of the first."""
    with lab.mount(device) as (path, _):
        lab.run("cp", path, lab.fresh_out())
        lab.forget(path)
        return copied(lab, device, "cp", path, lab.out)


def cp_qsd(lab, device, mode):
    with peers.qsd(lab, device, mode) as path:
        return copied(lab, device, "cp", "--sparse=always", path, lab.out)


def cp_nbdfuse(lab, device):
    with peers.nbdfuse(lab, device) as path:
        return copied(lab, device, "cp", "--sparse=always", path, lab.out)


def raw_peers(lab, device, cp, goals):
    """The contenders that copy the device itself; GOALS by their names."""
    out = lab.out
    commands = {cp: ("cp", *cp.split()[1:-1], device.path, out)}
    if peers.have("qemu-img"):
        commands["qemu-img convert -T none -m 16 -W"] = peers.qemu_img(
            device.path, out, "-T", "none")
    if peers.have("nbdcopy", "nbdkit"):
        commands["nbdcopy, nbdkit file"] = peers.nbdcopy(device.path, out)
    return [Contender(name, lambda c=command: copied(lab, device, *c),
                      goal=goals.get(name.split()[0]))
            for name, command in commands.items()]


def fuse_peers(lab, device):
    found = []
    if peers.have("qemu-storage-daemon"):
        found += [Contender(f"cp always, {mode}",
                            lambda m=mode: cp_qsd(lab, device, m))
                  for mode in peers.QSD_MODES]
    if peers.have("nbdfuse", "nbdkit"):
        found += [Contender("cp always, nbdfuse",
                            lambda: cp_nbdfuse(lab, device))]
    return found


@contextlib.contextmanager
def cp_s(lab):
    device = lab.device("S")
    yield [
        Contender("cp, blksparsefs", lambda: cp_mount(lab, device), OURS),
        *raw_peers(lab, device, "cp --sparse=always DEVICE",
                   {"cp": 1.0, "qemu-img": 1.5}),
        *fuse_peers(lab, device),
        Contender("scan, then write the data", lambda: copy_floor(lab, device),
                  LIMIT),
    ]


@contextlib.contextmanager
def cp_d(lab):
    device = lab.device("D")
    yield [
        Contender("cp, blksparsefs", lambda: cp_mount(lab, device), OURS),
        *raw_peers(lab, device, "cp DEVICE", {"cp": 0.8, "qemu-img": 1.2}),
        *fuse_peers(lab, device),
        Contender("scan, then write the data", lambda: copy_floor(lab, device),
                  LIMIT),
    ]


@contextlib.contextmanager
def cp_s_known(lab):
    device = lab.device("S")
    yield [
        Contender("cp, blksparsefs", lambda: cp_mount_known(lab, device), OURS),
        *raw_peers(lab, device, "cp --sparse=always DEVICE", {"qemu-img": 0.4}),
        Contender("write the data", lambda: Sample(write_floor(lab, device)),
                  LIMIT),
    ]


def copy_work(name, goal):
    @contextlib.contextmanager
    def prepare(lab):
        device = lab.device(name)
        yield [
            Contender("blksparse copy", lambda: copied(
                lab, device, lab.blksparse, "copy", "--quiet", device.path,
                lab.out), OURS),
            *raw_peers(lab, device, "cp --sparse=always DEVICE",
                       {"qemu-img": goal}),
            Contender("scan, then write the data",
                      lambda: copy_floor(lab, device), LIMIT, goal=1.2),
        ]
    return prepare


def mapped(lab, device):
    device.forget()
    before = device.bytes_read()
    seconds = lab.time(lab.blksparse, "map", device.path)
    return Sample(seconds,
                  {"read": (device.bytes_read() - before) / device.size})


@contextlib.contextmanager
def map_s(lab):
    device = lab.device("S")
    yield [
        Contender("blksparse map", lambda: mapped(lab, device), OURS),
        Contender("scan", lambda: Sample(scan_floor(lab, device)), LIMIT,
                  goal=1.1),
    ]


COLD = (Fact("read", READ, 1.02), Fact("kept", KEPT))

WORKS = (
    Work("cp-s", "cp from a read-only mount, nothing known, 10 % data", cp_s,
         devices=("S",), facts=COLD),
    Work("cp-s-known", "the same, map known", cp_s_known, devices=("S",),
         facts=(Fact("read-data", "read from the device / its data", 1.02),
                Fact("kept", KEPT))),
    Work("copy-s", "copy of a device with 10 % data", copy_work("S", 0.9),
         devices=("S",), facts=COLD),
    Work("map-s", "map of a device with 10 % data", map_s, devices=("S",),
         facts=(Fact("read", READ, 1.02),)),
    Work("cp-d", "cp from a read-only mount, nothing known, all data", cp_d,
         devices=("D",), facts=COLD),
    Work("copy-d", "copy of a device that is all data", copy_work("D", 1.0),
         devices=("D",), facts=COLD),
)
