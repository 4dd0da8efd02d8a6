#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sends requests at extreme offsets to a file of a mount.

  extremes.py FILE IMAGE TWIN

IMAGE has the bytes of FILE, and TWIN is a file of the same size on another file
system. Reads and searches answer as on TWIN. A write, an allocation or a new size
beyond the device fails. None of it changes the file.
"""
import ctypes
import errno
import mmap
import os
import sys

MAX = (1 << 63) - 1
KEEP, PUNCH, COLLAPSE, ZERO, INSERT = 1, 2, 8, 16, 32
PAGE = 4096
BEYOND = (errno.ENOSPC, errno.EFBIG)


def outcome(call, *args):
    """Returns the result, or the number of the error."""
    try:
        return call(*args)
    except OSError as error:
        return -error.errno
    except OverflowError:
        return "beyond off_t"


def fallocate(fd, mode, off, length):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(fd, mode, ctypes.c_int64(off), ctypes.c_int64(length)):
        raise OSError(ctypes.get_errno(), "fallocate")
    return 0


def offsets(size):
    around = [0, 1, PAGE, size // 2, size - PAGE, size, size + PAGE, 1 << 31,
              1 << 32, 1 << 44, 1 << 62, MAX - PAGE, MAX]
    near = {at + delta for at in around for delta in (-512, -1, 0, 1, 512)}
    return sorted(at for at in near if at <= MAX) + [-PAGE, -1 - MAX]


def direct_read(fd, length, off):
    buf = mmap.mmap(-1, max(length, PAGE))
    n = os.preadv(fd, [memoryview(buf)[:length]], off)
    return buf[:n]


def compare(fds, twins, size, truth):
    """Compares reads and searches."""
    for off in offsets(size):
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            ours, its = (outcome(os.lseek, fd, off, whence)
                         for fd in (fds[0], twins[0]))
            # The twin has its own extents; only errors must agree.
            assert (ours < 0) == (its < 0), (whence, off, ours, its)
            assert ours == its or ours >= off, (whence, off, ours, its)
            assert ours <= size, (whence, off, ours)
        for length in (0, 1, 511, PAGE, 1 << 20):
            ours, its = (outcome(os.pread, fd, length, off)
                         for fd in (fds[0], twins[0]))
            if not isinstance(its, int):
                its = truth[off:off + length]
            assert ours == its, ("read", off, length)
        if off % 512 == 0:
            ours, its = (outcome(direct_read, fd, PAGE, off)
                         for fd in (fds[1], twins[1]))
            if isinstance(its, bytes):
                its = truth[off:off + PAGE] if off >= 0 else its
            assert ours == its, ("direct read", off, ours, its)


def refuse(fds, size):
    """Sends writes that must fail, or must change nothing."""
    for off in offsets(size):
        if off >= size:
            for length in (1, PAGE):
                got = outcome(os.pwrite, fds[0], b"x" * length, off)
                assert -got in BEYOND or (
                    got == -errno.EINVAL and off + length > MAX), (
                        "write", off, length, got)
            got = outcome(os.ftruncate, fds[0], off) if off > size else None
            assert got is None or -got in BEYOND, ("truncate", off, got)
        elif off < 0:
            for got in (outcome(os.pwrite, fds[0], b"x", off),
                        outcome(os.ftruncate, fds[0], off)):
                assert got == -errno.EINVAL, (off, got)
        for length in (-1, 0, 1, PAGE, MAX - off if off > 0 else MAX, MAX):
            for mode in (0, KEEP, KEEP | PUNCH, ZERO, KEEP | ZERO, PUNCH,
                         COLLAPSE, INSERT, 0x40, -1):
                check_fallocate(fds[0], size, mode, off, length)
        assert os.fstat(fds[0]).st_size == size, (off, "size")


def check_fallocate(fd, size, mode, off, length):
    zeroes = mode in (KEEP | PUNCH, KEEP | ZERO, ZERO)
    if off >= 0 and length > 0 and off < size and (
            zeroes or mode in (0, KEEP) and off + length <= size):
        return    # it may succeed
    got = outcome(fallocate, fd, mode, off, length)
    if off < 0 or length <= 0:
        assert got in (-errno.EINVAL, -errno.EOPNOTSUPP), (mode, off, length, got)
    elif mode & KEEP and off >= size:
        # No byte of the file is there.
        assert got == 0 or -got in (*BEYOND, errno.EOPNOTSUPP), (
            mode, off, length, got)
    else:
        assert -got in (*BEYOND, errno.EOPNOTSUPP, errno.EINVAL), (
            mode, off, length, got)


def main(path, image, twin):
    with open(image, "rb") as source:
        truth = source.read()
    size = len(truth)
    writable = os.access(path, os.W_OK)
    flags = os.O_RDWR if writable else os.O_RDONLY
    fds = [os.open(path, flags), os.open(path, flags | os.O_DIRECT)]
    twins = [os.open(twin, os.O_RDWR), os.open(twin, os.O_RDWR | os.O_DIRECT)]
    assert os.fstat(fds[0]).st_size == size
    compare(fds, twins, size, truth)
    if writable:
        refuse(fds, size)
        compare(fds, twins, size, truth)
        os.fsync(fds[0])
    with open(path, "rb") as shown:
        assert shown.read() == truth, "the content has changed"


main(*sys.argv[1:])
