#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel's caches of a file that is written, cut and punched are never stale.

  caches.py FILE DEVICE    FILE shows DEVICE, which is full of 0xAA

Each case fills the caches (by reads and a mapping), makes a change, and checks the
file in every way: through the old mapping and a new one, the old descriptor and a
new one, and a direct read.
"""
import ctypes
import errno
import mmap
import os
import sys

PAGE = 4096
PUNCH = 3
ZERO_RANGE = 16
libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def direct_read(path, offset, length):
    """Reads with O_DIRECT, which needs an aligned buffer."""
    start = offset // PAGE * PAGE
    buffer = mmap.mmap(-1, (offset + length - start) // PAGE * PAGE + PAGE)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        count = os.preadv(fd, [buffer], start)
    finally:
        os.close(fd)
    return buffer[offset - start:min(offset - start + length, count)]


def direct_write(path, data, offset):
    buffer = mmap.mmap(-1, len(data))
    buffer[:] = data
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    try:
        assert os.pwritev(fd, [buffer], offset) == len(data)
    finally:
        os.close(fd)


class Case:
    def __init__(self, path, device, size):
        self.path, self.device, self.size = path, device, size
        self.fd = os.open(path, os.O_RDWR)
        self.map = mmap.mmap(self.fd, size, mmap.MAP_SHARED)
        self.right = bytearray(b"\xaa" * size)
        os.pwrite(self.fd, bytes(self.right), 0)
        self.check("at first")

    def end(self):
        self.map.close()
        os.close(self.fd)

    def same(self, got, right, what):
        if got != right:
            at = next((i for i, pair in enumerate(zip(got, right))
                       if pair[0] != pair[1]), min(len(got), len(right)))
            raise AssertionError(
                f"{what}: {len(got)} bytes, not {len(right)}; byte {at} is "
                f"{bytes(got[at:at + 4]).hex()}, not {bytes(right[at:at + 4]).hex()}")

    def check(self, what, mapped=None):
        """Checks the whole file; of the old mapping only the first mapped bytes,
        if mapped is given."""
        right = bytes(self.right)
        end = len(right) if mapped is None else mapped
        self.same(self.map[:end], right[:end], f"{what}: the mapping")
        self.same(os.pread(self.fd, self.size + PAGE, 0), right, f"{what}: read")
        fd = os.open(self.path, os.O_RDONLY)
        self.same(os.pread(fd, self.size + PAGE, 0), right, f"{what}: opened anew")
        if right:
            again = mmap.mmap(fd, len(right), mmap.MAP_SHARED, mmap.PROT_READ)
            self.same(again[:], right, f"{what}: mapped anew")
            again.close()
        os.close(fd)
        self.same(direct_read(self.path, 0, len(right)), right, f"{what}: direct")

    def zero(self, start, end):
        self.right[start:end] = bytes(end - start)

    def resize(self, size):
        del self.right[size:]
        self.right += bytes(size - len(self.right))

    def on_device(self, what):
        right = bytes(self.right)
        self.same(direct_read(self.device, 0, len(right)), right, what)


def cut_and_grow(case):
    for size in (5 * PAGE + 100, 5 * PAGE, 4 * PAGE + 4095, PAGE, 1):
        os.ftruncate(case.fd, size)
        case.resize(size)
        case.check(f"cut to {size}")
        os.ftruncate(case.fd, case.size)
        case.resize(case.size)
        case.check(f"cut to {size}, and grown")
    # By path, while it is open and mapped.
    os.truncate(case.path, PAGE + 1)
    os.truncate(case.path, case.size)
    case.zero(PAGE + 1, case.size)
    case.check("cut and grown by path")
    os.fsync(case.fd)
    case.on_device("the device")


def mapped_past_the_end(case):
    """Bytes stored past the end in the last page are not part of the file."""
    end = 3 * PAGE + 10
    os.ftruncate(case.fd, end)
    case.resize(end)
    case.map[end:end + 50] = b"p" * 50
    case.map.flush()
    os.fsync(case.fd)
    case.check("stored past the end")
    os.ftruncate(case.fd, 3 * PAGE + 10)
    case.check("cut again to the same size")


def punched(case):
    for mode in (PUNCH, ZERO_RANGE):
        for start, length in ((PAGE, PAGE), (3 * PAGE + 10, 20),
                              (5 * PAGE + 4000, 3 * PAGE), (100, 5 * PAGE),
                              (0, case.size)):
            # Dirty pages: the kernel must not write them after the punch.
            case.map[:] = b"m" * case.size
            case.right[:] = b"m" * case.size
            fallocate(case.fd, mode, start, length)
            case.zero(start, start + length)
            case.check(f"mode {mode} from {start}, {length}")
            case.map.flush()
            case.check(f"mode {mode} from {start}, {length}, after msync")
            os.fsync(case.fd)
            case.on_device(f"mode {mode} from {start}, {length}: the device")


def opened_with_trunc(case):
    for dirty in (False, True):
        if dirty:
            case.map[:] = b"m" * case.size
        fd = os.open(case.path, os.O_WRONLY | os.O_TRUNC)
        case.resize(0)
        case.check(f"O_TRUNC, dirty {dirty}")
        os.pwrite(fd, b"new", PAGE + 7)
        case.resize(PAGE + 10)
        case.right[PAGE + 7:] = b"new"
        case.check(f"written to after O_TRUNC, dirty {dirty}")
        os.ftruncate(fd, case.size)
        case.resize(case.size)
        case.check(f"grown after O_TRUNC, dirty {dirty}")
        os.close(fd)
        case.on_device("the device after close")


def mapped_writes(case):
    """Zeros and data stored in a mapping are visible to lseek after msync, and on
    the device after fsync."""
    case.map[2 * PAGE:6 * PAGE] = bytes(4 * PAGE)
    case.map.flush()
    case.zero(2 * PAGE, 6 * PAGE)
    case.check("zeros stored")
    assert os.lseek(case.fd, 0, os.SEEK_HOLE) == 2 * PAGE, "the hole"
    assert os.lseek(case.fd, 2 * PAGE, os.SEEK_DATA) == 6 * PAGE, "data after it"
    os.fsync(case.fd)
    case.on_device("zeros stored: the device")

    case.map[4 * PAGE + 9:4 * PAGE + 10] = b"1"
    case.map.flush()
    case.right[4 * PAGE + 9] = ord("1")
    assert os.lseek(case.fd, 2 * PAGE, os.SEEK_DATA) == 4 * PAGE, "one byte"
    assert os.lseek(case.fd, 4 * PAGE, os.SEEK_HOLE) == 5 * PAGE, "hole after it"
    case.check("a byte stored")
    os.fsync(case.fd)
    case.on_device("a byte stored: the device")

    # Without msync: fsync and close write the pages back, too.
    case.map[2 * PAGE:2 * PAGE + 4] = b"2222"
    case.right[2 * PAGE:2 * PAGE + 4] = b"2222"
    os.fsync(case.fd)
    case.on_device("stored and fsynced: the device")
    case.map[3 * PAGE:3 * PAGE + 4] = b"3333"
    case.right[3 * PAGE:3 * PAGE + 4] = b"3333"
    os.close(os.open(case.path, os.O_RDWR))
    assert os.lseek(case.fd, 3 * PAGE, os.SEEK_DATA) == 3 * PAGE, "after close"
    case.check("stored and closed")


def direct_and_buffered(case):
    for value, at, pages in ((b"d", 0, 1), (b"\0", 2, 3), (b"e", 3, 1),
                             (b"\0", 0, case.size // PAGE)):
        data = value * (pages * PAGE)
        direct_write(case.path, data, at * PAGE)
        case.right[at * PAGE:at * PAGE + len(data)] = data
        case.check(f"{value} written direct")
        os.pwrite(case.fd, b"buffered", at * PAGE + 100)
        case.right[at * PAGE + 100:at * PAGE + 108] = b"buffered"
        case.check("then buffered")
        case.map[at * PAGE + 200:at * PAGE + 206] = b"mapped"
        case.right[at * PAGE + 200:at * PAGE + 206] = b"mapped"
        # A direct read has dirty pages written first.
        case.same(direct_read(case.path, 0, case.size), bytes(case.right),
                  "then mapped: direct")
        case.check("then mapped")


def past_the_end(case):
    """Past the new end of a file an old mapping gives SIGBUS, not a stale page.
    read(2) returns 0 there."""
    os.ftruncate(case.fd, PAGE)
    case.resize(PAGE)
    case.check("cut")
    assert os.pread(case.fd, 10, PAGE) == b"", "read at the end"
    child = os.fork()
    if child == 0:
        os._exit(case.map[2 * PAGE] != 0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status), f"a page past the end: status {status}"
    try:
        os.lseek(case.fd, PAGE, os.SEEK_DATA)
    except OSError as error:
        assert error.errno == errno.ENXIO
    else:
        raise AssertionError("data past the end")
    os.ftruncate(case.fd, case.size)
    case.resize(case.size)
    case.check("grown")


def main():
    path, device = sys.argv[1:]
    size = os.stat(path).st_size
    for run in (cut_and_grow, mapped_past_the_end, punched, opened_with_trunc,
                mapped_writes, direct_and_buffered, past_the_end):
        case = Case(path, device, size)
        run(case)
        case.end()
        os.truncate(path, size)
        print(run.__name__)


main()
