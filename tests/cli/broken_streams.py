# SPDX-License-Identifier: LGPL-2.1-or-later
"""Native streams that are damaged, and attempts to receive them that end early.

Used by the tests that kill recv.
"""
import signal
import struct
import subprocess
import threading
import time

HEADER, FRAME = 64, 40
SIGNALS = ("INT", "TERM", "KILL")


def frames(stream):
    """Yields the offsets of the frames."""
    at = HEADER
    while at < len(stream):
        yield at
        at += FRAME + struct.unpack_from("<I", stream, at + 4)[0]


def damaged(dice, stream, how):
    """Returns the stream, cut, with a wrong byte, or with frames in a wrong order
    or twice."""
    at = dice.randrange(HEADER, len(stream))
    if how == "cut":
        return stream[:at]
    if how == "flip":
        at = dice.randrange(len(stream))
        return stream[:at] + bytes([stream[at] ^ 1 << dice.randrange(8)]) + \
            stream[at + 1:]
    starts = [*frames(stream), len(stream)]
    if len(starts) < 4:
        return stream[:at]
    i = dice.randrange(len(starts) - 2)
    a, b, c = starts[i:i + 3]
    if how == "twice":
        return stream[:b] + stream[a:]
    return stream[:a] + stream[b:c] + stream[a:b] + stream[c:]


def feed(dice, pipe, stream):
    """Writes the stream in parts; at times with pauses."""
    slow = dice.random() < 0.2
    at = 0
    try:
        while at < len(stream):
            n = dice.choice((100, 5000, 1 << 16, 1 << 20))
            pipe.write(stream[at:at + n])
            at += n
            if slow and dice.random() < 0.1:
                time.sleep(0.004)
        pipe.close()
    except BrokenPipeError:
        pass


def attempt(dice, command, stream, how, seconds):
    """Runs recv, and sends it a signal HOW within SECONDS; returns its status and
    its messages."""
    with subprocess.Popen(command, stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE, bufsize=0) as child:
        feeder = threading.Thread(target=feed, args=(dice, child.stdin, stream))
        feeder.start()
        if how in SIGNALS:
            time.sleep(dice.random() * seconds)
            child.send_signal(getattr(signal, "SIG" + how))
        said = child.stderr.read().decode()
        status = child.wait()
        feeder.join()
    return status, said
