#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Changes the content of a loop device in use, as losetup(8) cannot.

  loop.py file DEVICE FILE      shows another file of the same size
                                (LOOP_CHANGE_FD)
  loop.py offset DEVICE OFFSET  shows another part of its file
                                (LOOP_SET_STATUS64)
"""
import fcntl
import os
import struct
import sys

SET_STATUS64, GET_STATUS64, CHANGE_FD = 0x4C04, 0x4C05, 0x4C06
INFO_SIZE = 232
OFFSET_AT = 24  # the place of lo_offset in struct loop_info64


def main(what, device, value):
    loop = os.open(device, os.O_RDONLY)
    if what == "file":
        fcntl.ioctl(loop, CHANGE_FD, os.open(value, os.O_RDONLY))
        return
    info = bytearray(INFO_SIZE)
    fcntl.ioctl(loop, GET_STATUS64, info)
    struct.pack_into("=Q", info, OFFSET_AT, int(value))
    fcntl.ioctl(loop, SET_STATUS64, info)


main(*sys.argv[1:])
