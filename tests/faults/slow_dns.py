#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A name server that does not answer before it is told to.

slow_dns.py LOG ANSWER

It listens on 127.0.0.1, and writes a line to the file LOG when it is ready, and for
each query. Once the file ANSWER is there, it answers all queries that it has got:
every name has the address 127.0.0.1."""

import os
import select
import socket
import sys

HEADER = 12


def answer(query):
    end = query.index(b"\0", HEADER) + 1
    question = query[HEADER : end + 4]
    record = b""
    if question[-4:-2] == b"\0\1":  # A
        record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + bytes([127, 0, 0, 1])
    counts = b"\0\1" + bytes([0, bool(record)]) + b"\0\0\0\0"
    return query[:2] + b"\x81\x80" + counts + question + record


def main(log, told):
    queries = []
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    with open(log, "a", buffering=1) as lines:
        print("ready", file=lines)
        while True:
            if select.select([server], [], [], 0.05)[0]:
                queries.append(server.recvfrom(512))
                print("query", file=lines)
            while queries and os.path.exists(told):
                query, client = queries.pop()
                server.sendto(answer(query), client)


main(*sys.argv[1:])
