#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints the data and the holes of a file, by lseek(2).

  ask.py data OFFSET FILE   the answer of SEEK_DATA, or ENXIO
  ask.py hole OFFSET FILE   the answer of SEEK_HOLE, or ENXIO
  ask.py extents FILE       lines "OFFSET LENGTH data|hole", merged
"""
import errno
import os
import sys


def seek(fd, at, whence):
    try:
        return os.lseek(fd, at, whence)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


def extents(fd):
    size = os.fstat(fd).st_size
    data = []
    at = 0
    while at < size:
        start = seek(fd, at, os.SEEK_DATA)
        if start is None:
            break
        at = seek(fd, start, os.SEEK_HOLE)
        if at <= start:
            raise SystemExit(f"ask.py: SEEK_HOLE({start}) is {at}")
        if data and data[-1][1] == start:
            data[-1][1] = at
        else:
            data.append([start, at])
    at = 0
    for start, end in data + [[size, size]]:
        if at < start:
            print(at, start - at, "hole")
        if start < end:
            print(start, end - start, "data")
        at = end


def main():
    what, *rest = sys.argv[1:]
    fd = os.open(rest[-1], os.O_RDONLY)
    if what == "extents":
        extents(fd)
    else:
        whence = os.SEEK_DATA if what == "data" else os.SEEK_HOLE
        answer = seek(fd, int(rest[0]), whence)
        print("ENXIO" if answer is None else answer)


main()
