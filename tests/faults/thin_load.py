#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""thin_load.py SECONDS DEVICE...: writes to thin volumes, and discards parts of
them, in bursts.

The writes are direct and not flushed, so that the pool does not commit their
mappings at once. Between two bursts the volumes rest for up to 1.5 s.
"""
import fcntl
import mmap
import os
import random
import struct
import sys
import time

BLKDISCARD = 0x1277
PIECE = 4096


def burst(fd, size, page, end):
    while time.time() < end:
        off = random.randrange(size // PIECE) * PIECE
        if random.random() < 0.05:
            length = min(random.randrange(1, 32) * 65536, size - off)
            fcntl.ioctl(fd, BLKDISCARD, struct.pack('QQ', off, length))
        else:
            os.pwritev(fd, [page], off)


def main():
    end = time.time() + float(sys.argv[1])
    page = mmap.mmap(-1, PIECE)
    page[:] = b'\x5d' * PIECE
    fds = [os.open(path, os.O_RDWR | os.O_DIRECT) for path in sys.argv[2:]]
    sizes = [os.lseek(fd, 0, os.SEEK_END) for fd in fds]
    while time.time() < end:
        for fd, size in zip(fds, sizes):
            burst(fd, size, page, time.time() + random.random() * 0.6)
        time.sleep(random.random() * 1.5)
    for fd in fds:
        os.fsync(fd)


main()
