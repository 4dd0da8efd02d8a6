#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A load on a file whose blksparsefs is killed, and a check of the device.

  kill_load.py load SEED MARKERS STATE FILE
  kill_load.py check STATE DEVICE

load: changes FILE at random; its device is filled with 0xAA. The changes are
writes of data and zeros of all alignments, punches, truncations down and up,
and fsyncs. It ends at the first error, with status 0 if that is the error of a
cut connection. Before each change, and after each fsync, it notes in STATE the
content that the device must have. STATE.begun exists after the first fsync.
With MARKERS=1 it then makes many more holes, touches STATE.ready and waits to
be killed.

check: compares the device. A byte unchanged since the last successful fsync
must have its value of then; another byte may have any value that it was given
since. Past the end of the file at that fsync, any byte is right.
"""
import ctypes
import errno
import os
import random
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64,
                           ctypes.c_int64)
# The errors of a cut connection; the last one is of io_uring.
CUT = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.EINTR, errno.ENODEV,
       errno.ECANCELED)
ANY = -1


class Log:
    """Appends records, each whole or missing: the kernel keeps the writes of
    a killed process."""

    def __init__(self, path):
        self.path = path
        self.out = open(path, "wb", buffering=0)

    def put(self, kind, off=0, length=0, data=b""):
        head = struct.pack("<cqqq", kind, off, length, len(data))
        self.out.write(head + data)

    def begun(self):
        """Tells the test that it can check the device."""
        open(self.path + ".begun", "wb").close()

    @staticmethod
    def records(path):
        with open(path, "rb") as source:
            text = source.read()
        at, head = 0, struct.calcsize("<cqqq")
        while at + head <= len(text):
            kind, off, length, size = struct.unpack_from("<cqqq", text, at)
            data = text[at + head:at + head + size]
            if len(data) < size:
                break
            yield kind, off, length, data
            at += head + size


def fallocate(fd, mode, off, length):
    if libc.fallocate(fd, mode, off, length):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Load:
    def __init__(self, seed, path, log):
        self.rng = random.Random(seed)
        self.fd = os.open(path, os.O_RDWR)
        self.capacity = self.size = os.fstat(self.fd).st_size
        self.log = log
        log.put(b"S", self.capacity)

    def place(self, longest):
        """Returns a random range of the device; half of them are aligned."""
        rng = self.rng
        off = rng.randrange(self.capacity)
        length = rng.choice((rng.randint(1, 600), rng.randint(1, 3 * 4096),
                             rng.randint(1, longest)))
        if rng.random() < 0.5:
            unit = rng.choice((512, 4096, 65536))
            off = off // unit * unit
            length = max(unit, length // unit * unit)
        return off, min(length, self.capacity - off)

    def content(self, length):
        rng = self.rng
        kind = rng.random()
        if kind < 0.3:
            return bytes(length)
        if kind < 0.6:
            return bytes((rng.randrange(1, 256),)) * length
        text = bytearray(rng.randbytes(length))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(length)
            end = min(length, at + rng.choice((512, 4096, 20000)))
            text[at:end] = bytes(end - at)
        return bytes(text)

    def write(self):
        off, length = self.place(1 << 18)
        data = self.content(length)
        if off > self.size:
            self.log.put(b"Z", self.size, off - self.size)
        self.log.put(b"W", off, length, data)
        self.size = max(self.size, off + length)
        while data:
            done = os.pwrite(self.fd, data, off)
            off += done
            data = data[done:]

    def punch(self):
        off, length = self.place(1 << 20)
        end = min(off + length, self.size)
        if off < end:
            self.log.put(b"Z", off, end - off)
        fallocate(self.fd, 3, off, length)

    def truncate(self):
        size = self.place(1)[0]
        if size > self.size:
            self.log.put(b"Z", self.size, size - self.size)
        self.size = size
        os.ftruncate(self.fd, size)

    def sync(self):
        os.fsync(self.fd)
        self.log.put(b"A", self.size)
        self.log.begun()

    def step(self):
        what = self.rng.random()
        if what < 0.45:
            self.write()
        elif what < 0.65:
            self.punch()
        elif what < 0.75:
            self.truncate()
        else:
            self.sync()

    def markers(self):
        """Writes data everywhere and fsyncs it, then zeroes much of it."""
        for _ in range(12):
            self.step()
        self.sync()
        for _ in range(40):
            self.rng.choice((self.punch, self.punch, self.punch, self.write))()


def load(seed, markers, state, path):
    log = Log(state)
    try:
        work = Load(seed, path, log)
        if markers:
            work.markers()
            open(state + ".ready", "wb").close()
            # A close would write the zeros; the end of the mount must do it.
            time.sleep(120)
        while True:
            work.step()
    except OSError as error:
        if error.errno not in CUT:
            raise


def expected(state):
    """Returns the device as of the last successful fsync, the changes since
    as (off, bytes), the end of the file then, and the number of fsyncs."""
    image, since, end, syncs = None, [], 0, 0
    for kind, off, length, data in Log.records(state):
        if kind == b"S":
            image = bytearray(b"\xaa" * off)
            end = off
        elif kind == b"W":
            since.append((off, data))
        elif kind == b"Z":
            since.append((off, bytes(length)))
        elif kind == b"A":
            syncs += 1
            for start, text in since:
                image[start:start + len(text)] = text
            since = []
            end = off
    return image, since, end, syncs


def wrong_byte(at, device, image, since):
    allowed = {image[at]}
    allowed.update(text[at - off] for off, text in since
                   if off <= at < off + len(text))
    return None if device[at] in allowed else allowed


def check(state, path):
    image, since, end, syncs = expected(state)
    if image is None:
        raise SystemExit("the load did not begin")
    with open(path, "rb") as source:
        device = source.read()
    assert len(device) == len(image)
    for start in range(0, end, 4096):
        stop = min(start + 4096, end)
        if device[start:stop] == image[start:stop]:
            continue
        near = [(off, text) for off, text in since
                if off < stop and start < off + len(text)]
        for at in range(start, stop):
            allowed = wrong_byte(at, device, image, near)
            if allowed:
                raise SystemExit(
                    f"byte {at} is {device[at]:#x}, not of "
                    f"{sorted(map(hex, allowed))}; {syncs} fsyncs, the file "
                    f"ended at {end}")
    print(syncs, "fsyncs,", len(since), "things since")


if __name__ == "__main__":
    if sys.argv[1] == "load":
        load(sys.argv[2], sys.argv[3] == "1", *sys.argv[4:])
    else:
        check(*sys.argv[2:])
