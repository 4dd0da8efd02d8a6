# SPDX-License-Identifier: LGPL-2.1-or-later
"""A place for messages that is full, and not read before it is asked for.

    full_log.py fifo|socket PATH READY DRAIN OUT

makes PATH, fills it, and makes the file READY. Once there is a file DRAIN, all
that comes is written to OUT, until that file is gone.
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
    place = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    place.bind(path)
    place.setblocking(False)
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    fill(lambda: sender.sendto(b"x" * 100, path))
    return lambda: place.recv(65536) + b"\n"


def fill(*ways):
    for put in ways:
        try:
            while True:
                put()
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
