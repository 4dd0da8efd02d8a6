# SPDX-License-Identifier: LGPL-2.1-or-later
"""A log that is full, and that is not read until the test asks for it.

    full_log.py fifo|socket PATH READY DRAIN OUT

makes PATH, fills it, and creates the file READY. While the file DRAIN exists, it
reads PATH and writes everything to OUT.
"""
import os
import socket
import sys
import time


def fill_fifo(path):
    os.mkfifo(path)
    file = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    fill(lambda: os.write(file, b"x" * 100), lambda: os.write(file, b"x"))
    return lambda: os.read(file, 65536)


def fill_socket(path):
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    log.bind(path)
    log.setblocking(False)
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    fill(lambda: sender.sendto(b"x" * 100, path))
    return lambda: log.recv(65536) + b"\n"


def fill(*writers):
    for write in writers:
        try:
            while True:
                write()
        except BlockingIOError:
            pass


def main():
    kind, path, ready, drain, out = sys.argv[1:]
    get = {"fifo": fill_fifo, "socket": fill_socket}[kind](path)
    open(ready, "w").close()
    while not os.path.exists(drain):
        time.sleep(0.05)
    with open(out, "wb", buffering=0) as file:
        while os.path.exists(drain):
            try:
                file.write(get())
            except BlockingIOError:
                time.sleep(0.05)


main()
