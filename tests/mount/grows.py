#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
The kernel drops its pages and its size of a file when the size of the device changes.

  grows.py opened IMAGE FILE
      An image grows, and its file is opened and mapped at once, many times.
  grows.py stored IMAGE DEVICE FILE
      A loop device that ends inside a page grows while that page is changed
      through a mapping of its file, and another thread calls stat on the file.
"""

import fcntl
import mmap
import os
import sys
import threading

ROUNDS = 200
STEP = 4096 + 512
LOOP_SET_CAPACITY = 0x4C07


def append(path, byte, count):
    with open(path, "ab") as image:
        image.write(byte * count)


def last_byte(path):
    """Opens and maps the file anew and returns its last byte."""
    fd = os.open(path, os.O_RDONLY)
    try:
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as mapping:
            return mapping[:][-1:]
    finally:
        os.close(fd)


def opened(image, path):
    for number in range(ROUNDS):
        byte = bytes([1 + number % 255])
        append(image, byte, STEP)
        assert last_byte(path) == byte, f"round {number}: old bytes"


def store(fd, image, device):
    """Changes the last, partial page while the device grows."""
    size = os.path.getsize(image)
    with mmap.mmap(fd, size) as mapping:
        mapping[size // 4096 * 4096] = ord("b")
        append(image, b"n", STEP)
        fcntl.ioctl(device, LOOP_SET_CAPACITY)
        while os.fstat(fd).st_size != size + STEP:
            pass
        mapping.flush()
    os.fsync(fd)
    with open(image, "rb") as file:
        content = file.read()
    assert content[size // 4096 * 4096] == ord("b"), "the store is lost"
    assert content[size:] == b"n" * STEP, f"zeros past the old end {size}"


def call_stat(path, over):
    while not over.is_set():
        os.stat(path)


def stored(image, node, path):
    over = threading.Event()
    stats = threading.Thread(target=call_stat, args=(path, over))
    device = os.open(node, os.O_RDONLY)
    fd = os.open(path, os.O_RDWR)
    stats.start()
    try:
        for _ in range(ROUNDS):
            if os.path.getsize(image) % 4096 == 0:
                append(image, b"n", 512)
                fcntl.ioctl(device, LOOP_SET_CAPACITY)
                while os.fstat(fd).st_size % 4096 == 0:
                    pass
            store(fd, image, device)
    finally:
        over.set()
        stats.join()


if __name__ == "__main__":
    {"opened": opened, "stored": stored}[sys.argv[1]](*sys.argv[2:])
