#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Opens a file for reading and writing, and carries out actions in order.

  do.py FILE ACTION...

  write=OFFSET+LENGTH   nonzero bytes (0x5d)    zero=OFFSET+LENGTH  zeros
  truncate=SIZE         punch=OFFSET+LENGTH     wait=FILE           until it exists
  fsync                 close (also at the end)

Prints each failed action as "ACTION ERRNO", and continues, also after SIGINT.
Sizes are in bytes, or have a unit: K or M.
"""
import ctypes
import errno
import os
import signal
import sys
import time

UNITS = {"K": 1 << 10, "M": 1 << 20}
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64,
                           ctypes.c_int64)


def size(text):
    unit = UNITS.get(text[-1:])
    return int(text[:-1]) * unit if unit else int(text)


def write(fd, byte, off, length):
    while length:
        piece = min(length, 1 << 20)
        done = os.pwrite(fd, byte * piece, off)
        off += done
        length -= done


def punch(fd, off, length):
    if libc.fallocate(fd, 3, off, length):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def act(fd, action):
    name, _, value = action.partition("=")
    numbers = [size(text) for text in value.split("+")] if name != "wait" and value else []
    if name == "write":
        write(fd, b"\x5d", *numbers)
    elif name == "zero":
        write(fd, b"\0", *numbers)
    elif name == "punch":
        punch(fd, *numbers)
    elif name == "truncate":
        os.ftruncate(fd, *numbers)
    elif name == "fsync":
        os.fsync(fd)
    elif name == "close":
        os.close(fd)
    elif name == "wait":
        end = time.monotonic() + 240
        while not os.path.exists(value):
            if time.monotonic() > end:
                raise SystemExit(f"do.py: {value} does not come")
            time.sleep(0.02)
    else:
        raise SystemExit(f"do.py: no such action: {action}")


def main():
    signal.signal(signal.SIGINT, lambda _signal, _frame: None)
    fd = os.open(sys.argv[1], os.O_RDWR)
    actions = sys.argv[2:]
    if "close" not in actions:
        actions.append("close")
    for action in actions:
        try:
            act(fd, action)
        except OSError as error:
            print(action, errno.errorcode[error.errno], flush=True)


if __name__ == "__main__":
    main()
