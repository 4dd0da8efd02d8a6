#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An ssh whose connection can stall in the middle of a stream.

  ssh_that_stalls.py CONFIG ARGUMENT...

runs "ssh -F CONFIG ARGUMENT...". If there is a file "limit" in the current folder,
only so many bytes of standard input are passed on; then a file "stalled" appears,
and nothing moves until ssh or the writer of standard input has ended. The file
"ssh.pid" has the id of ssh.
"""
import os
import select
import subprocess
import sys

args = ["/usr/bin/ssh", "-F", *sys.argv[1:]]
if not os.path.exists("limit"):
    with open("ssh.pid", "w") as file:
        file.write(str(os.getpid()))
    os.execv(args[0], args)

with open("limit") as file:
    left = int(file.read())
child = subprocess.Popen(args, stdin=subprocess.PIPE, bufsize=0)
with open("ssh.pid", "w") as file:
    file.write(str(child.pid))
try:
    while left:
        data = os.read(0, min(left, 65536))
        if not data:
            break
        child.stdin.write(data)
        left -= len(data)
    if not left:
        with open("stalled", "w"):
            pass
        poll = select.poll()
        poll.register(0, 0)
        while child.poll() is None and not poll.poll(50):
            pass
    child.stdin.close()
except BrokenPipeError:
    pass
status = child.wait()
sys.exit(255 if status < 0 else status)
