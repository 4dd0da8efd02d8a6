# SPDX-License-Identifier: LGPL-2.1-or-later
"""Benchmarks of single requests: sequential reads, random reads, seeks. The
example passthrough_ll of libfuse, which only passes requests on, shows the cost
of FUSE itself."""
import contextlib
import json
import os

import devices
import peers
from lab import Failed
from measure import OURS, Contender, Sample, Work

PASSTHROUGH = "passthrough_ll"


def fio(lab, path, rw, direct, bs, jobs=1, seconds=0):
    """Returns fio's figures for the reads of one run."""
    limits = ["--time_based", f"--runtime={seconds * 1000:.0f}ms"] if seconds else []
    lab.run("fio", "--name=x", f"--filename={path}", "--readonly", f"--rw={rw}",
            f"--bs={bs}", f"--direct={direct:d}", "--ioengine=psync", "--thread",
            f"--numjobs={jobs}", "--group_reporting", "--allow_file_create=0",
            "--output-format=json", f"--output={lab.dir / 'fio.json'}", *limits)
    text = (lab.dir / "fio.json").read_text()
    # Skip warnings before it.
    job = json.loads(text[text.index("{"):])["jobs"][0]
    if job["error"]:
        raise Failed(f"fio: {os.strerror(job['error'])}")
    return job["read"]


def rate(lab, path, direct):
    return Sample(fio(lab, path, "read", direct, "1M")["bw_bytes"] / (1 << 30))


def reads_a_second(lab, path, direct, jobs):
    return Sample(fio(lab, path, "randread", direct, "4k", jobs,
                      lab.seconds)["iops"])


def latency(lab, path, direct):
    return fio(lab, path, "randread", direct, "4k", 1,
               lab.seconds)["lat_ns"]["mean"] / 1e3


def ours(lab, source, measure):
    if hasattr(source, "forget"):
        source.forget()
    with lab.mount(source) as (path, _):
        return measure(path)


def in_qsd(lab, device, mode, measure):
    device.forget()
    with peers.qsd(lab, device, mode) as path:
        return measure(path)


def in_passthrough(lab, image, measure):
    with peers.passthrough(lab, image) as path:
        return measure(path)


def example(lab, image, measure, goal):
    if not peers.passthrough_there(lab):
        return []
    return [Contender(PASSTHROUGH + ", file",
                      lambda: in_passthrough(lab, image, measure), goal=goal)]


def qsd_modes(lab, device, measure, goal=None):
    if not peers.have("qemu-storage-daemon"):
        return []
    return [Contender(mode, lambda m=mode: in_qsd(lab, device, m, measure),
                      goal=goal, group="qsd") for mode in peers.QSD_MODES]


def stream_work(direct):
    @contextlib.contextmanager
    def prepare(lab):
        device = lab.device("D")

        def measure(path):
            return rate(lab, path, direct)
        yield [
            Contender("blksparsefs, file",
                      lambda: ours(lab, device.image, measure), OURS),
            Contender("blksparsefs, device",
                      lambda: ours(lab, device, measure)),
            *example(lab, device.image, measure, 1.0),
            *qsd_modes(lab, device, measure),
        ]
    return prepare


def random_work(jobs, direct):
    @contextlib.contextmanager
    def prepare(lab):
        device = lab.device("D")

        def measure(path):
            return reads_a_second(lab, path, direct, jobs)

        def raw():
            device.forget()
            return measure(device.path)
        yield [
            Contender("blksparsefs, device", lambda: ours(lab, device, measure),
                      OURS),
            *qsd_modes(lab, device, measure, 2.0),
            *example(lab, device.image, measure, None),
            Contender("the device itself", raw),
        ]
    return prepare


@contextlib.contextmanager
def latency_work(lab):
    """Returns the latency that FUSE adds to one read: the difference to the
    source, which is measured just before."""
    device = lab.device("D")

    def added(path, source, direct):
        before = latency(lab, source, direct)
        return Sample(latency(lab, path, True) - before)
    yield [
        Contender("blksparsefs over the device", lambda: ours(
            lab, device, lambda path: added(path, device.path, True)), OURS),
        # Some kernels have no O_DIRECT on tmpfs, where it makes no difference.
        *example(lab, device.image,
                 lambda path: added(path, device.image, False), 1.1),
    ]


def listed(lab, path, extents):
    """Times the second listing; the first one learns the map."""
    lab.run(lab.tool("list-extents"), path)
    found, _, cost = lab.output(lab.tool("list-extents"), path).split()
    if int(found) != extents:
        raise Failed(f"{found} extents, and not {extents}")
    return Sample(float(cost))


@contextlib.contextmanager
def list_work(lab):
    extents = 100_000 // lab.scale
    image = lab.dir / "alternating"
    devices.make(str(image), "alternating", extents * 2 * devices.BLOCK,
                 sparse=True)

    def measure(path):
        return listed(lab, path, extents)
    with lab.loop(image) as device:
        yield [
            Contender("blksparsefs, file", lambda: ours(lab, image, measure),
                      OURS),
            Contender("blksparsefs, device",
                      lambda: ours(lab, device, measure)),
            *example(lab, image, measure, 1.1),
        ]
    image.unlink()


def streams():
    for direct, how in ((False, "buffered"), (True, "direct")):
        yield Work(f"stream-{how}", f"sequential read of data, 1 MiB, {how}",
                   stream_work(direct), unit="GiB/s", more_is_better=True,
                   devices=("D",), needs=("fio",))


def randoms():
    for jobs in (1, 4):
        for direct, how in ((False, "buffered"), (True, "direct")):
            many = "1 job" if jobs == 1 else f"{jobs} jobs"
            yield Work(f"random-{jobs}-{how}",
                       f"random 4 KiB reads, {many}, {how}",
                       random_work(jobs, direct), unit="IOPS",
                       more_is_better=True, devices=("D",), needs=("fio",))


WORKS = (
    *streams(),
    *randoms(),
    Work("latency", "latency that FUSE adds to a random direct read of 4 KiB",
         latency_work, unit="us", devices=("D",), needs=("fio",)),
    Work("list", "a call in listing 100,000 extents by lseek, map known",
         list_work, unit="us"),
)
