#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
pending.py FILE...: a service (sd_notify(3)) that writes to files of a mount, keeps
them open for reading, and writes again when it is told to end (SIGTERM): data, and then
zeros that no close(2) waits for, so that they are pending when it has ended.

pending.py expect FILE SIZE: makes the content that a file of SIZE bytes 0xAA gets.
"""
import os
import signal
import socket
import sys

MIB = 1 << 20
SYNCED = (0, b'\x55' * MIB)
CLOSED = (8 * MIB, b'\x5a' * MIB)
ZEROS = 16 * MIB  # from here to the end


def expect(path, size):
    content = bytearray(b'\xaa') * size
    for off, data in (SYNCED, CLOSED):
        content[off:off + len(data)] = data
    content[ZEROS:] = bytes(size - ZEROS)
    with open(path, 'wb') as file:
        file.write(content)


def write(path, piece, sync):
    off, data = piece
    fd = os.open(path, os.O_WRONLY)
    if os.pwrite(fd, data, off) != len(data):
        sys.exit(f'{path}: short write')
    if sync:
        os.fsync(fd)
    os.close(fd)


def notify(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.connect(os.environ['NOTIFY_SOCKET'].replace('@', '\0', 1))
        manager.send(text)


def serve(paths):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    readers = [os.open(path, os.O_RDONLY) for path in paths]
    for path in paths:
        write(path, SYNCED, True)
    notify(b'READY=1')
    signal.sigwait([signal.SIGTERM])
    for path in paths:
        write(path, CLOSED, False)
        size = os.stat(path).st_size
        os.truncate(path, ZEROS)
        os.truncate(path, size)
    for fd in readers:
        os.close(fd)


if sys.argv[1] == 'expect':
    expect(sys.argv[2], int(sys.argv[3]))
else:
    serve(sys.argv[1:])
