#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Works on many files at once, a thread each, and prints a line for each file.

  many_files.py read [--threads N] [--until FILE] PATH...
  many_files.py write BYTE PATH...

read: reads each file, past the page cache, with N threads a file, once or until
FILE exists. Prints "NAME SHA256", or "NAME ERRNO" after a failure.

write: writes 64 KiB of that byte at 64 KiB, as many zeros at 128 KiB, and syncs.
Prints "NAME ok" or "NAME ERRNO".
"""
import argparse
import errno
import hashlib
import mmap
import os
import threading

PIECE = 64 << 10


def read(path, until):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    size = os.fstat(fd).st_size
    buf = mmap.mmap(-1, PIECE)
    failed = None
    while True:
        digest = hashlib.sha256()
        for off in range(0, size, PIECE):
            try:
                n = os.preadv(fd, [buf], off)
                digest.update(buf[:n])
            except OSError as error:
                failed = errno.errorcode[error.errno]
        if not until or os.path.exists(until):
            os.close(fd)
            return failed or digest.hexdigest()


def write(path, byte):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, byte * PIECE, PIECE)
        os.pwrite(fd, bytes(PIECE), 2 * PIECE)
        os.fsync(fd)
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
    finally:
        try:
            os.close(fd)
        except OSError:
            pass  # fsync has told


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    reads = commands.add_parser("read")
    reads.add_argument("--threads", type=int, default=1)
    reads.add_argument("--until")
    writes = commands.add_parser("write")
    writes.add_argument("byte")
    for command in reads, writes:
        command.add_argument("path", nargs="+")
    args = parser.parse_args()
    results = {path: set() for path in args.path}

    def work(path):
        if args.command == "read":
            results[path].add(read(path, args.until))
        else:
            results[path].add(write(path, args.byte.encode()))

    threads = [threading.Thread(target=work, args=(path,)) for path in args.path
               for _ in range(getattr(args, "threads", 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for path, result in results.items():
        print(os.path.basename(path), *sorted(result))


if __name__ == "__main__":
    main()
