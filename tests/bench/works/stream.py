# SPDX-License-Identifier: LGPL-2.1-or-later
"""Benchmarks of streams: a device to a stream, and through a pipe to a device
with old content."""
import contextlib

from lab import MIB
from measure import LIMIT, OURS, Contender, Fact, Sample, Work

OLD = b"\xaa" * MIB


def sent(lab, device, command):
    device.forget()
    before = device.bytes_read()
    seconds = lab.time("sh", "-c", f"exec {command} >/dev/null")
    return Sample(seconds,
                  {"read": (device.bytes_read() - before) / device.size})


def send_work(name, peer, command, goal):
    @contextlib.contextmanager
    def prepare(lab):
        device = lab.device(name)
        yield [
            Contender("blksparse send", lambda: sent(
                lab, device, f"{lab.blksparse} send --quiet {device.path}"),
                OURS),
            Contender(peer, lambda: sent(lab, device, command.format(
                tool=lab.blksparse, device=device.path)), LIMIT, goal=goal),
        ]
    return prepare


def received(lab, source, files, command):
    """Times COMMAND(source, target) onto a new loop device of old bytes."""
    with open(files, "r+b", buffering=0) as out:
        for at in range(0, source.size, MIB):
            out.write(OLD[:source.size - at])
    with lab.loop(files) as target:
        source.forget()
        written = target.bytes_written()
        seconds = lab.time("bash", "-c", "set -o pipefail; " + command.format(
            tool=lab.blksparse, source=source.path, target=target.path))
        written = target.bytes_written() - written
        target.forget()
        lab.expect_same(target.path, source.image)
    return Sample(seconds, {"written": written / source.size})


def pipe_work(name):
    @contextlib.contextmanager
    def prepare(lab):
        source = lab.device(name)
        commands = {
            "blksparse send | recv":
                "{tool} send --quiet {source} | {tool} recv --quiet {target}",
            "blksparse copy": "{tool} copy --quiet {source} {target}",
            "dd bs=1M | dd oflag=direct":
                "dd if={source} bs=1M | "
                "dd of={target} bs=1M iflag=fullblock oflag=direct",
        }
        with lab.file("old", source.size) as files:
            ours, copy, dd = [
                Contender(title, lambda c=command: received(lab, source, files,
                                                            c))
                for title, command in commands.items()]
            ours.role = OURS
            copy.role, copy.goal = LIMIT, 1.2
            dd.goal = 0.9
            yield [ours, copy, dd]
    return prepare


READ = (Fact("read", "read from the device / its size", 1.02),)
WRITTEN = (Fact("written", "written or zeroed / its size", 1.02),)

WORKS = (
    Work("send-s", "stream of a device with 10 % data",
         send_work("S", "blksparse map", "{tool} map {device}", 1.1),
         devices=("S",), facts=READ),
    Work("send-d", "stream of a device that is all data",
         send_work("D", "dd bs=1M", "dd if={device} bs=1M", 1.2),
         devices=("D",), facts=READ),
    Work("recv-s", "a device with 10 % data through a pipe, over garbage",
         pipe_work("S"), devices=("S",), facts=WRITTEN),
    Work("recv-d", "a device that is all data through a pipe, over garbage",
         pipe_work("D"), devices=("D",), facts=WRITTEN),
)
