#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The results of system calls on a file of a writable mount.

  semantics.py FILE SIZE    FILE and its device are SIZE bytes long
"""
import ctypes
import errno
import os
import sys

KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64
GRANULE = 4096
libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def fails(number, what, call, *args, **kwargs):
    try:
        result = call(*args, **kwargs)
    except OSError as error:
        assert error.errno == number, \
            f"{what}: {errno.errorcode[error.errno]}, not {errno.errorcode[number]}"
    else:
        raise AssertionError(f"{what}: gave {result}, not {errno.errorcode[number]}")


def equal(got, right, what):
    if got != right:
        if isinstance(got, bytes):
            got, right = got[:64], right[:64]
        raise AssertionError(f"{what}: {got}, not {right}")


def size_of(fd):
    return os.fstat(fd).st_size


def blocks_of(fd):
    return os.fstat(fd).st_blocks


def walk(fd):
    """Searches the whole file, so that st_blocks is exact."""
    at, size = 0, size_of(fd)
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            assert error.errno == errno.ENXIO
            return
        at = os.lseek(fd, at, os.SEEK_HOLE)


def the_end(fd, size):
    data = b"d" * 8192
    fails(errno.ENOSPC, "write at the device's end", os.pwrite, fd, data, size)
    fails(errno.ENOSPC, "write far past it", os.pwrite, fd, data, size + (1 << 30))
    equal(os.pwrite(fd, data, size - 512), 512, "write across the end")
    equal(os.pwrite(fd, bytes(8192), size - 1000), 1000, "zeros across the end")
    equal(os.pread(fd, 8192, size - 1000), bytes(1000), "the last 1000 bytes")
    equal(size_of(fd), size, "st_size")
    fails(errno.EFBIG, "truncate past the end", os.ftruncate, fd, size + 1)
    fails(errno.EFBIG, "truncate far past it", os.ftruncate, fd, 1 << 50)
    equal(size_of(fd), size, "st_size")
    os.ftruncate(fd, size - 5000)
    equal(os.pwrite(fd, data, size - 5000), 5000, "growing write across the end")
    equal(size_of(fd), size, "st_size")
    os.ftruncate(fd, 100)
    fails(errno.ENOSPC, "write past the end of a short file", os.pwrite, fd, data,
          size)
    equal(size_of(fd), 100, "st_size after it")
    os.ftruncate(fd, size)


def modes(fd, size):
    data = b"d" * (16 * GRANULE)
    zeros = bytes(len(data))
    hole = slice(GRANULE + 1000, 9 * GRANULE + 77)
    for name, mode in (("punch", PUNCH_HOLE | KEEP_SIZE),
                       ("zero range", ZERO_RANGE),
                       ("zero range, keep size", ZERO_RANGE | KEEP_SIZE)):
        os.pwrite(fd, data, 0)
        fallocate(fd, mode, hole.start, hole.stop - hole.start)
        got = os.pread(fd, len(data), 0)
        equal(got[:hole.start], data[:hole.start], f"{name}: before")
        equal(got[hole], zeros[hole], f"{name}: inside")
        equal(got[hole.stop:], data[hole.stop:], f"{name}: after")
        equal(os.lseek(fd, 0, os.SEEK_HOLE), 2 * GRANULE, f"{name}: the hole")
        equal(os.lseek(fd, 2 * GRANULE, os.SEEK_DATA), 9 * GRANULE,
              f"{name}: the data after it")
    # A range inside one granule becomes zero, but no hole.
    os.pwrite(fd, data, 0)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 10, 20)
    equal(os.pread(fd, 40, 0), b"d" * 10 + bytes(20) + b"d" * 10, "a small punch")

    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, size - GRANULE, 1 << 40)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, size + GRANULE, GRANULE)
    equal(size_of(fd), size, "st_size after punches past the end")
    for mode in (0, KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE):
        fails(errno.ENOSPC, f"mode {mode} past the device's end", fallocate, fd,
              mode, size - GRANULE, GRANULE + 1)
    for mode in (COLLAPSE, INSERT, UNSHARE, PUNCH_HOLE):
        fails(errno.EOPNOTSUPP, f"mode {mode}", fallocate, fd, mode, 0, GRANULE)
    fails(errno.EINVAL, "length 0", fallocate, fd, PUNCH_HOLE | KEEP_SIZE, 0, 0)

    os.ftruncate(fd, GRANULE + 5)
    fallocate(fd, KEEP_SIZE, 0, 3 * GRANULE)
    fallocate(fd, ZERO_RANGE | KEEP_SIZE, GRANULE, GRANULE)
    equal(size_of(fd), GRANULE + 5, "st_size after keep size")
    fallocate(fd, 0, GRANULE, GRANULE + 10)
    equal(size_of(fd), 2 * GRANULE + 10, "st_size after mode 0")
    fallocate(fd, ZERO_RANGE, GRANULE, 2 * GRANULE)
    equal(size_of(fd), 3 * GRANULE, "st_size after zero range")
    equal(os.pread(fd, 1 << 20, GRANULE), bytes(2 * GRANULE), "the new part")
    os.ftruncate(fd, size)


def sizes(path, fd, size):
    os.ftruncate(fd, 0)
    equal((size_of(fd), blocks_of(fd)), (0, 0), "size and blocks of an empty file")
    equal(os.pread(fd, 4096, 0), b"", "read of an empty file")
    os.ftruncate(fd, size)
    walk(fd)
    equal((size_of(fd), blocks_of(fd)), (size, 0), "after growing")
    os.pwrite(fd, b"d" * 10, 3 * GRANULE + 5)
    equal(blocks_of(fd), GRANULE // 512, "blocks after a write of 10 bytes")
    os.pwrite(fd, b"d" * 2 * GRANULE, 5 * GRANULE)
    equal(blocks_of(fd), 3 * GRANULE // 512, "blocks after two granules more")
    os.pwrite(fd, bytes(2 * GRANULE), 5 * GRANULE)
    equal(blocks_of(fd), GRANULE // 512, "blocks after zeros over these")
    equal(os.lseek(fd, 0, os.SEEK_DATA), 3 * GRANULE, "SEEK_DATA")
    equal(os.lseek(fd, 3 * GRANULE, os.SEEK_HOLE), 4 * GRANULE, "SEEK_HOLE")
    fails(errno.ENXIO, "SEEK_DATA after it", os.lseek, fd, 4 * GRANULE, os.SEEK_DATA)
    os.ftruncate(fd, 3 * GRANULE + 7)
    equal(size_of(fd), 3 * GRANULE + 7, "size after cutting")
    os.ftruncate(fd, 4 * GRANULE)
    equal(os.pread(fd, GRANULE, 3 * GRANULE), bytes(5) + b"dd" + bytes(GRANULE - 7),
          "the part that was cut is zero after growing")

    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    equal((size_of(fd), blocks_of(fd)), (0, 0), "after O_TRUNC")
    end = os.open(path, os.O_WRONLY | os.O_APPEND)
    for at in range(0, 5):
        equal(os.write(end, b"%d" % at * 1000), 1000, "append")
    equal(size_of(end), 5000, "size after appending")
    equal(os.pread(fd, 2, 999) + os.pread(fd, 2, 3999), b"0134", "the appended bytes")
    os.ftruncate(end, 2500)
    os.write(end, b"x")
    equal(os.pread(fd, 10, 2498), b"22x", "appended after cutting")
    os.ftruncate(fd, size)
    fails(errno.ENOSPC, "append to a file as long as its device", os.write, end,
          b"x")
    os.close(end)
    # The gap before a write past the end is zero, although the device had data.
    os.pwrite(fd, b"o" * 8 * GRANULE, 0)
    os.ftruncate(fd, 100)
    os.pwrite(fd, b"n", 5 * GRANULE + 3)
    equal(os.pread(fd, 1 << 20, 0),
          b"o" * 100 + bytes(5 * GRANULE + 3 - 100) + b"n", "the gap")
    os.ftruncate(fd, size)


def names(path):
    folder = os.path.dirname(path)
    new = os.path.join(folder, "new")
    fails(errno.EPERM, "create", os.open, new, os.O_CREAT | os.O_WRONLY)
    fails(errno.EPERM, "mkdir", os.mkdir, new)
    fails(errno.EPERM, "mkfifo", os.mkfifo, new)
    fails(errno.EPERM, "symlink", os.symlink, "x", new)
    fails(errno.EPERM, "link", os.link, path, new)
    fails(errno.EPERM, "unlink", os.unlink, path)
    fails(errno.EPERM, "rename", os.rename, path, new)
    fails(errno.EEXIST, "create an existing file", os.open, path,
          os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    fails(errno.EPERM, "chmod of the folder", os.chmod, folder, 0o700)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def attributes(path):
    os.chmod(path, 0o640)
    os.chown(path, 12, 34)
    os.utime(path, ns=(1000000001, 2000000002))
    info = os.stat(path)
    equal((info.st_mode & 0o7777, info.st_uid, info.st_gid, info.st_atime_ns,
           info.st_mtime_ns), (0o640, 12, 34, 1000000001, 2000000002), "attributes")
    with open(path, "r+b", buffering=0) as file:
        file.write(b"x")
    info = os.stat(path)
    assert info.st_mtime_ns > 1 << 60, "a write does not touch the time"
    equal((info.st_mode & 0o777, info.st_uid, info.st_gid), (0o640, 12, 34),
          "attributes after a write")
    before = info.st_mtime_ns
    os.utime(path, ns=(5, 5))
    os.truncate(path, info.st_size)
    os.truncate(path, info.st_size - 1)
    assert os.stat(path).st_mtime_ns >= before, "truncation does not touch the time"
    os.truncate(path, info.st_size)
    os.chown(path, 0, 0)


def main():
    path, size = sys.argv[1], int(sys.argv[2])
    fd = os.open(path, os.O_RDWR)
    equal(size_of(fd), size, "st_size at first")
    the_end(fd, size)
    modes(fd, size)
    sizes(path, fd, size)
    os.close(fd)
    names(path)
    attributes(path)


main()
