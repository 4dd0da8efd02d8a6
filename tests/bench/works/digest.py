# SPDX-License-Identifier: LGPL-2.1-or-later
"""Benchmarks of digests of a whole device."""
import contextlib

from lab import Wrong
from measure import OURS, Contender, Fact, Sample, Work
from works.copy import READ, mapped

FACTS = (Fact("read", READ, 1.02),)


def timed(lab, device, *command):
    device.forget()
    before = device.bytes_read()
    seconds = lab.time(*command)
    return Sample(seconds,
                  {"read": (device.bytes_read() - before) / device.size})


def digested(lab, device, want, *command):
    """Times one command that writes the digest to lab.out, and checks it."""
    lab.fresh_out()
    sample = timed(lab, device, *command)
    if lab.out.read_bytes() != want:
        raise Wrong("the digest differs from that of another run")
    return sample


def wanted(lab, device):
    lab.run(lab.blksparse, "digest", "--quiet", "--jobs=1",
            f"--output={lab.fresh_out()}", device.image)
    return lab.out.read_bytes()


def digest_work(name):
    @contextlib.contextmanager
    def prepare(lab):
        device = lab.device(name)
        want = wanted(lab, device)

        def digest(jobs):
            return lambda: digested(
                lab, device, want, lab.blksparse, "digest", "--quiet",
                f"--jobs={jobs}", f"--output={lab.out}", device.path)
        yield [
            Contender("blksparse digest --jobs=2", digest(2), OURS),
            Contender("blksparse map", lambda: mapped(lab, device), goal=2.0),
            Contender("blksparse digest --jobs=1", digest(1)),
            Contender("sha256sum", lambda: timed(
                lab, device, "sha256sum", device.path)),
        ]
    return prepare


@contextlib.contextmanager
def send_d(lab):
    device = lab.device("D")
    want = wanted(lab, device)
    yield [
        Contender("blksparse send --digest", lambda: digested(
            lab, device, want, lab.blksparse, "send", "--quiet",
            f"--digest={lab.out}", device.path), OURS),
        Contender("blksparse send, then digest", lambda: Sample(sum(
            timed(lab, device, lab.blksparse, *words, device.path).value
            for words in (("send", "--quiet"), ("digest", "--quiet")))),
                  goal=1.0),
        Contender("blksparse send", lambda: timed(
            lab, device, lab.blksparse, "send", "--quiet", device.path)),
    ]


WORKS = (
    Work("digest-d", "digest of a device that is all data", digest_work("D"),
         devices=("D",), facts=FACTS),
    Work("digest-s", "digest of a device with 10 % data", digest_work("S"),
         devices=("S",), facts=FACTS),
    Work("send-digest-d", "stream and digest of a device that is all data, to "
         "a file in memory", send_d, devices=("D",), facts=FACTS),
)
