#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writeback behind a sequential writer changes no byte that other programs see.

  writeback.py FILE IMAGE PASSES    FILE has the content of IMAGE

One process writes the same content several times from start to end, and punches
the zeros. Others read the file meanwhile, buffered, directly and mapped, and one
stores the same data through a mapping. All reads must match the image.
"""
import ctypes
import mmap
import os
import random
import sys

PIECE = 128 << 10
PUNCH = 3
libc = ctypes.CDLL(None, use_errno=True)


def punch(fd, offset, length):
    if libc.fallocate(fd, PUNCH, ctypes.c_long(offset), ctypes.c_long(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def rewrite(path, image, passes):
    fd = os.open(path, os.O_WRONLY)
    for _ in range(passes):
        for offset in range(0, len(image), PIECE):
            data = image[offset:offset + PIECE]
            if any(data):
                assert os.pwrite(fd, data, offset) == len(data)
            else:
                punch(fd, offset, len(data))
    os.close(fd)


def expect(image, offset, data, how):
    if data != image[offset:offset + len(data)]:
        raise AssertionError(f"{how}: {len(data)} bytes at {offset} are wrong")


def random_offsets(image, seed):
    rand = random.Random(seed)
    while True:
        yield rand.randrange(len(image) // PIECE) * PIECE


def read(path, image):
    fd = os.open(path, os.O_RDONLY)
    for offset in random_offsets(image, 1):
        expect(image, offset, os.pread(fd, PIECE, offset), "read")


def read_directly(path, image):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, PIECE)
    for offset in random_offsets(image, 2):
        count = os.preadv(fd, [buffer], offset)
        expect(image, offset, buffer[:count], "read past the cache")


def read_mapped(path, image):
    fd = os.open(path, os.O_RDONLY)
    mapped = mmap.mmap(fd, len(image), mmap.MAP_SHARED, mmap.PROT_READ)
    for offset in random_offsets(image, 3):
        expect(image, offset, mapped[offset:offset + PIECE], "mapped")


def write_mapped(path, image):
    """Stores only where the image has data: stored zeros would be data, too."""
    fd = os.open(path, os.O_RDWR)
    mapped = mmap.mmap(fd, len(image), mmap.MAP_SHARED)
    for offset in random_offsets(image, 4):
        data = image[offset:offset + PIECE]
        if any(data):
            mapped[offset:offset + PIECE] = data


def start(work, *args):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work(*args)
        status = 0
    except BaseException as error:  # pylint: disable=broad-except
        print(f"{work.__name__}: {error!r}", file=sys.stderr, flush=True)
    os._exit(status)


def main():
    path, image, passes = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(image, "rb") as file:
        image = file.read()
    others = [start(work, path, image)
              for work in (read, read_directly, read_mapped, write_mapped)]
    writer = start(rewrite, path, image, passes)
    good = os.waitpid(writer, 0)[1] == 0
    for pid in others:
        os.kill(pid, 9)
        good &= os.waitpid(pid, 0)[1] == 9
    sys.exit(not good)


main()
