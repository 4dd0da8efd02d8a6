#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An NBD server that lies as it is told; without a lie, an honest one.

  evil_nbd.py [--unix PATH | --tcp] [--control FILE] [--log FILE]
              IMAGE [LIE...]

Serves the regular file IMAGE, of any export name, to any number of clients, until
it is killed. Prints its URI when it can be connected to. The lies are words. They
are those of the command line or, while FILE exists, those in FILE, which is
looked at before each command and at each step of the negotiation: rename a new
file over it. The log has a line "CONNECTION COMMAND OFFSET LENGTH FLAGS" for each
command when it arrives, with the numbers in decimal. Connections count from 1.
A line "CONNECTION connect 0 0 -" stands for each connection.

Told about the export
  size=BYTES            its size
  size-step=BYTES       it is so many bytes longer on each further connection
  flags=NUMBER          the transmission flags
  read-only[=odd]       says that it is read-only; on every other connection
  differs               every other connection serves the complement of the bytes
  block-size=A,B,C      minimum, preferred, maximum; "none" tells nothing. Commands
                        that break the minimum or the maximum get EINVAL
  refuse=OPTION,...     options that the server does not know: go, structured, meta

Stops
  hang=PLACE            waits until the lie is gone or the client has left
  close=PLACE           closes the connection
  garbage=PLACE         sends some bytes of nonsense, and goes on
  delay=MILLISECONDS    waits that long before each reply
  dribble=MILLISECONDS  sends byte by byte, and waits that long after each

  A PLACE is connect, greeting (in its middle), options, go (before the answer),
  mid-go, COMMAND (before the answer), mid-COMMAND; COMMAND:N is the Nth such
  command of a connection and all that follow. COMMAND is read, write,
  disconnect, flush, trim, zeroes, status or any.

Told in the negotiation
  option=KIND           magic, other, huge, flood, early, policy, tls, unknown,
                        short, unasked
  meta=KIND             none, name, twice, late

Replied
  error=COMMAND:ERROR   errors; by name, or a number. Also fast-zero
  reply=KIND            reversed, duplicate, cookie, magic, simple, long, type,
                        undone
  read=KIND             short, gap, overlap, outside, before, hole-outside, twice,
                        repeat, empty, error-outside, error-long, other
  status=KIND           beyond, beyond-device, zero, zero-first, stuck, many, one,
                        none, empty, flags, context, unaligned, hole, hole-only,
                        twice, contradict, cookie, ragged, unasked

Done with the image
  writes=BYTES          only so many bytes of each write are written
  zeroes=BYTES          only so many bytes of each write-zeroes are zeroed
  zeroes=inward         only the blocks of 64 KiB in it are zeroed
  zeroes=punch          as if the client had always allowed a hole
  trim=scribble         fills trimmed ranges with 0x5c
  flush=nothing         syncs nothing
"""
import argparse
import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import sys
import threading
import time

OPTION_MAGIC = 0x49484156454F5054
OPTION_REPLY = 0x3E889045565A9
REQUEST, SIMPLE, STRUCTURED = 0x25609513, 0x67446698, 0x668E33EF
EXPORT_NAME, ABORT, LIST, INFO, GO = 1, 2, 3, 6, 7
STRUCTURED_REPLY, LIST_META, SET_META = 8, 9, 10
ACK, SERVER, REP_INFO, META_CONTEXT = 1, 2, 3, 4
UNSUPPORTED, POLICY, INVALID, TLS_REQUIRED, UNKNOWN = (
    (1 << 31) + n for n in (1, 2, 3, 5, 6))
COMMANDS = ["read", "write", "disconnect", "flush", "trim", "cache", "zeroes",
            "status"]
COMMAND_FLAGS = ["fua", "no-hole", "df", "req-one", "fast-zero"]
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16
DONE = 1
NONE, DATA, HOLE, STATUS = 0, 1, 2, 5
ERROR, ERROR_OFFSET = (1 << 15) + 1, (1 << 15) + 2
# HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, DF, MULTI_CONN, FAST_ZERO
HONEST_FLAGS = 0x1 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80 | 0x100 | 0x800
READ_ONLY = 0x2
LONGEST = 32 << 20
BLOCK = 64 << 10
CONTEXT = b"base:allocation"
CONTEXT_ID = 17
NONSENSE = bytes(range(0x81, 0xC1))
# A million extents of one byte.
MANY = b"".join(struct.pack(">II", 1, n) for n in range(4)) * (1 << 18)

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64,
                           ctypes.c_int64)


class Closed(Exception):
    """The connection ends here."""


class Refused(Exception):
    """A command fails with this NBD error."""


class Lies:
    """The lies of the moment."""

    def __init__(self, words, control):
        self.words = self.parsed(words)
        self.control = control
        self.known = None
        self.told = self.words

    @staticmethod
    def parsed(words):
        return dict(word.partition("=")[::2] for word in words)

    def now(self):
        """Returns the lies as a dict of strings."""
        try:
            st = os.stat(self.control) if self.control else None
            seen = st and (st.st_ino, st.st_mtime_ns, st.st_size)
            if seen and seen != self.known:
                with open(self.control, encoding="utf-8") as file:
                    told = self.parsed(file.read().split())
                self.known, self.told = seen, told
            return self.told if seen else self.words
        except FileNotFoundError:
            return self.words

    def get(self, name):
        return self.now().get(name)

    def number(self, name, otherwise):
        value = self.get(name)
        return otherwise if value is None else int(value, 0)

    def at(self, action, place, count):
        """Does that action happen at this place?"""
        value = self.get(action)
        if value is None:
            return False
        wanted, _, first = value.partition(":")
        return wanted == place and count >= int(first or 0)


class Image:
    """The file that is served."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR)

    def size(self):
        return os.fstat(self.fd).st_size

    def read(self, off, length):
        return os.pread(self.fd, length, off).ljust(length, b"\0")

    def write(self, off, data):
        while data:
            done = os.pwrite(self.fd, data, off)
            data, off = data[done:], off + done

    def allocate(self, mode, off, length):
        if length and libc.fallocate(self.fd, mode, off, length):
            raise OSError(ctypes.get_errno(), "fallocate")

    def punch(self, off, length):
        self.allocate(3, off, length)

    def zero(self, off, length):
        """Keeps the blocks, as far as the file system can."""
        try:
            self.allocate(0x11, off, length)
        except OSError:
            for at in range(off, off + length, 1 << 20):
                self.write(at, bytes(min(1 << 20, off + length - at)))

    def seek(self, at, whence, end):
        try:
            return min(os.lseek(self.fd, at, whence), end)
        except OSError:
            return end

    def extents(self, off, end):
        """Yields (start, length, is a hole)."""
        while off < end:
            data = self.seek(off, os.SEEK_DATA, end)
            if off < data:
                yield off, data - off, True
            off = data
            hole = self.seek(off, os.SEEK_HOLE, end)
            if off < hole:
                yield off, hole - off, False
            off = max(off, hole)


class Connection:
    """One client."""

    def __init__(self, server, sock, number):
        self.image, self.lies, self.log = server.image, server.lies, server.log
        self.sock, self.number = sock, number
        self.structured = False
        self.context = False
        self.counts = {}
        self.size = 0

    # --- Bytes ---

    def receive(self, length):
        data = bytearray()
        while len(data) < length:
            piece = self.sock.recv(min(length - len(data), 1 << 20))
            if not piece:
                raise Closed
            data += piece
        return bytes(data)

    def unpack(self, form):
        return struct.unpack(form, self.receive(struct.calcsize(form)))

    def push(self, data):
        pause = self.lies.get("dribble")
        if pause is None:
            self.sock.sendall(data)
            return
        for byte in data:
            self.sock.sendall(bytes([byte]))
            time.sleep(int(pause) / 1000)

    def send(self, data, *places):
        """Sends, and stops in the middle if a lie says so."""
        half = len(data) // 2
        self.push(data[:half])
        for place in places:
            self.at("mid-" + place)
        self.push(data[half:])

    def is_left(self):
        poll = select.poll()
        poll.register(self.sock, select.POLLRDHUP)
        return bool(poll.poll(0))

    def at(self, place):
        count = self.counts.get(place.removeprefix("mid-"), 0)
        while self.lies.at("hang", place, count) and not self.is_left():
            time.sleep(0.02)
        if self.lies.at("close", place, count):
            raise Closed
        if self.lies.at("garbage", place, count):
            self.push(NONSENSE)

    # --- The negotiation ---

    def export(self):
        """Returns what is told of the export: size, flags."""
        size = self.lies.number("size", self.image.size())
        size += self.lies.number("size-step", 0) * (self.number - 1)
        flags = self.lies.number("flags", HONEST_FLAGS)
        read_only = self.lies.get("read-only")
        if read_only == "" or read_only == "odd" and self.number % 2:
            flags |= READ_ONLY
        self.size = size
        return size % (1 << 64), flags & 0xFFFF

    def option_reply(self, option, kind, payload=b""):
        lie = self.lies.get("option")
        magic, length = OPTION_REPLY, len(payload)
        if lie == "magic":
            magic ^= 1
        elif lie == "other":
            option += 1
        elif lie == "huge":
            length = 0xFFFFFFFF
        elif lie == "short" and payload:
            payload = payload[:1]
            length = 1
        self.send(struct.pack(">QIII", magic, option, kind, length) + payload,
                  "go" if option == GO else "option")

    def block_sizes(self):
        told = self.lies.get("block-size") or f"1,4096,{LONGEST}"
        return None if told == "none" else [int(n, 0) for n in told.split(",")]

    def go(self, option, data):
        """Returns whether the negotiation is over."""
        lie = self.lies.get("option")
        errors = {"policy": POLICY, "tls": TLS_REQUIRED, "unknown": UNKNOWN}
        length, = struct.unpack_from(">I", data)
        count, = struct.unpack_from(">H", data, 4 + length)
        asked = struct.unpack_from(f">{count}H", data, 6 + length)
        sizes = self.block_sizes()
        if lie in errors:
            self.option_reply(option, errors[lie], b"no")
            return False
        info = struct.pack(">HQH", 0, *self.export())
        while lie == "flood" and self.lies.get("option") == lie:
            self.option_reply(option, REP_INFO, info)
        if lie == "unasked":
            self.option_reply(option, REP_INFO, struct.pack(">H", 99) + NONSENSE)
        if lie != "early":
            self.option_reply(option, REP_INFO, info)
        if 3 in asked and sizes:
            self.option_reply(option, REP_INFO, struct.pack(">HIII", 3, *sizes))
        self.option_reply(option, ACK)
        return option == GO

    def meta(self, option, data):
        lie = self.lies.get("meta")
        asks = CONTEXT in data or option == LIST_META and data.endswith(bytes(4))
        names = {"name": [b"base:nonsense"], "twice": [CONTEXT] * 2,
                 "none": []}.get(lie, [CONTEXT] if asks else [])
        if option == SET_META:
            self.context = bool(names)
        for number, name in enumerate(names):
            ident = 0 if option == LIST_META else CONTEXT_ID + number
            self.option_reply(option, META_CONTEXT,
                              struct.pack(">I", ident) + name)
        self.option_reply(option, ACK)
        if lie == "late":
            self.option_reply(option, META_CONTEXT,
                              struct.pack(">I", CONTEXT_ID + 9) + CONTEXT)

    def option(self, option, data, zeroes):
        """Answers an option. Returns whether the negotiation is over."""
        refused = (self.lies.get("refuse") or "").split(",")
        if option == EXPORT_NAME:
            self.at("go")
            self.send(struct.pack(">QH", *self.export()) + bytes(zeroes), "go")
            return True
        if option == ABORT:
            self.option_reply(option, ACK)
            raise Closed
        if option in (INFO, GO) and "go" not in refused:
            self.at("go")
            return self.go(option, data)
        if option == STRUCTURED_REPLY and "structured" not in refused:
            self.structured = True
            self.option_reply(option, ACK)
        elif option in (LIST_META, SET_META) and "meta" not in refused:
            self.meta(option, data)
        elif option == LIST:
            self.option_reply(option, SERVER, struct.pack(">I", 0))
            self.option_reply(option, ACK)
        else:
            self.option_reply(option, UNSUPPORTED)
        return False

    def negotiate(self):
        self.at("connect")
        self.send(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3), "greeting")
        flags, = self.unpack(">I")
        self.at("options")
        over = False
        while not over:
            magic, option, length = self.unpack(">QII")
            if magic != OPTION_MAGIC:
                raise Closed
            over = self.option(option, self.receive(length),
                               0 if flags & 2 else 124)

    # --- Replies ---

    def chunk(self, kind, payload, flags=DONE):
        """Returns the bytes of a chunk, for the cookie of this command."""
        length = len(payload)
        lie = self.lies.get("reply")
        if lie == "long":
            length += 8
        elif lie == "type":
            kind = 77
        elif lie == "undone":
            flags = 0
        return struct.pack(">IHHQI", STRUCTURED, flags, kind, self.cookie,
                           length) + payload

    def simple(self, error, payload=b""):
        return struct.pack(">IIQ", SIMPLE, error, self.cookie) + payload

    def reply_error(self, error, off=0):
        lie = self.lies.get("read")
        if not self.structured:
            return self.simple(error)
        if lie == "error-outside":
            return self.chunk(ERROR_OFFSET,
                              struct.pack(">IHQ", error, 0, off + (1 << 40)))
        message = b"no, said the server"
        return self.chunk(ERROR, struct.pack(
            ">IH", error, 60000 if lie == "error-long" else len(message)) +
            message)

    def data_chunk(self, off, data, flags=DONE):
        return self.chunk(DATA, struct.pack(">Q", off % (1 << 64)) + data, flags)

    def hole_chunk(self, off, length, flags=DONE):
        return self.chunk(HOLE, struct.pack(">QI", off, length), flags)

    def reply_read(self, off, data):
        """Returns the reply to a read."""
        lie, length = self.lies.get("read"), len(data)
        half = length // 2
        if not self.structured:
            return self.simple(0, data[:half] if lie == "short" else data)
        if self.lies.get("reply") == "simple":
            return self.simple(0, data)
        lies = {
            "short": lambda: self.data_chunk(off, data[:half]),
            "gap": lambda: self.data_chunk(off, data[:half // 2], 0) +
                   self.data_chunk(off + half, data[half:]),
            "overlap": lambda: self.data_chunk(off, data, 0) +
                       self.data_chunk(off + half // 2, b"\x5c" * half),
            "outside": lambda: self.data_chunk(off + half, data),
            "before": lambda: self.data_chunk(off - half, data),
            "hole-outside": lambda: self.hole_chunk(off, 0xFFFFFFFF),
            "twice": lambda: self.data_chunk(off, data, 0) +
                     self.data_chunk(off, data),
            "repeat": lambda: self.data_chunk(off, data[:half], 0) +
                      self.data_chunk(off, data[:length - half]),
            "empty": lambda: self.chunk(NONE, b""),
            "other": lambda: self.chunk(STATUS, struct.pack(
                ">III", CONTEXT_ID, length, 3)),
        }
        if lie in lies:
            return lies[lie]()
        if lie and lie.startswith("error-"):
            return self.reply_error(errno.EIO, off)
        return self.honest_read(off, data)

    def honest_read(self, off, data):
        if self.flags & DF or self.complemented():
            return self.data_chunk(off, data)
        out = b""
        for start, length, hole in self.image.extents(off, off + len(data)):
            flags = DONE if start + length == off + len(data) else 0
            piece = data[start - off:start - off + length]
            out += (self.hole_chunk(start, length, flags) if hole else
                    self.data_chunk(start, piece, flags))
        return out

    def extents_told(self, off, length):
        """Returns the list of (length, flags) that a block status has."""
        true = [(part, 3 if hole else 0) for _, part, hole in
                self.image.extents(off, off + length)]
        lies = {
            "beyond": lambda: true + [(4096, 3), (1 << 20, 0)],
            "beyond-device": lambda: [(0xFFFFF000, 3)] * 3,
            "zero": lambda: [(0, 3)],
            "zero-first": lambda: [(0, 3)] + true,
            "stuck": lambda: [(0, 0)] * 5,
            "one": lambda: [(min(512, length), true[0][1])],
            "none": lambda: [],
            "flags": lambda: [(n, 0xFFFFFFFC) for n, _ in true],
            "unaligned": lambda: self.shrunk(true),
            "hole": lambda: [(length, 3)],
            "hole-only": lambda: [(length, 1)],
        }
        lie = self.lies.get("status")
        told = lies[lie]() if lie in lies else true
        return told[:1] if self.flags & REQ_ONE and lie not in lies else told

    @staticmethod
    def shrunk(told):
        """Moves the ends of the holes inwards, so that they are odd."""
        out = []
        for length, flags in told:
            if flags and length > 1024:
                out += [(511, 0), (length - 1022, flags), (511, 0)]
            else:
                out.append((length, flags))
        return out

    def status_chunk(self, told, ident=CONTEXT_ID, flags=DONE):
        return self.chunk(STATUS, struct.pack(">I", ident) + b"".join(
            struct.pack(">II", *one) for one in told), flags)

    def reply_status(self, off, length):
        lie = self.lies.get("status")
        told = self.extents_told(off, length)
        if lie == "empty":
            return self.chunk(NONE, b"")
        if lie == "many":
            return self.chunk(STATUS, struct.pack(">I", CONTEXT_ID) + MANY)
        if lie == "context":
            return self.status_chunk([(length, 3)], CONTEXT_ID + 1)
        if lie == "unasked":
            return (self.status_chunk([(length, 3)], CONTEXT_ID + 1, 0) +
                    self.status_chunk(told))
        if lie == "twice":
            return self.status_chunk(told, flags=0) + self.status_chunk(told)
        if lie == "contradict":
            return (self.status_chunk([(length, 0)], flags=0) +
                    self.status_chunk([(length, 3)]))
        if lie == "cookie":
            self.cookie += 1
            return self.status_chunk([(length, 3)])
        if lie == "ragged":
            return self.chunk(STATUS, struct.pack(">IIIB", CONTEXT_ID, length,
                                                  3, 0))
        return self.status_chunk(told)

    # --- Commands ---

    def complemented(self):
        return self.lies.get("differs") is not None and self.number % 2 == 0

    def check_blocks(self, command, off, length):
        sizes = self.block_sizes()
        if not sizes or min(sizes) < 1 or command == "flush":
            return
        if off % sizes[0] or length % sizes[0] or (
                command in ("read", "write") and length > sizes[2]):
            raise Refused(errno.EINVAL)

    def read(self, off, length):
        if length > LONGEST:
            raise Refused(errno.EINVAL)
        data = self.image.read(off, length)
        if self.complemented():
            data = bytes(byte ^ 0xFF for byte in data)
        return self.reply_read(off, data)

    def write(self, off, data):
        self.image.write(off, data[:self.lies.number("writes", len(data))])

    def zeroes(self, off, length):
        lie = self.lies.get("zeroes")
        if self.flags & FAST_ZERO:
            self.fail_if_told("fast-zero")
        if lie == "inward":
            end = (off + length) & -BLOCK
            off = -(-off & -BLOCK)
            length, lie = max(end - off, 0), None
        if lie == "punch" or not self.flags & NO_HOLE and lie is None:
            self.image.punch(off, length)
        else:
            self.image.zero(off, min(length, int(lie or length)))

    def trim(self, off, length):
        if self.lies.get("trim") != "scribble":
            self.image.punch(off, length)
            return
        for at in range(off, off + length, 1 << 20):
            self.image.write(at, b"\x5c" * min(1 << 20, off + length - at))

    def flush(self):
        if self.lies.get("flush") != "nothing":
            os.fdatasync(self.image.fd)

    def fail_if_told(self, command):
        wanted, _, error = (self.lies.get("error") or ":").partition(":")
        if wanted in (command, "any"):
            raise Refused(int(error, 0) if error[:1].isdigit() else
                          getattr(errno, error))

    def carry_out(self, command, off, length, data):
        """Returns the reply."""
        self.fail_if_told(command)
        if off + length > self.size:
            raise Refused(errno.ENOSPC if command == "write" else errno.EINVAL)
        self.check_blocks(command, off, length)
        if command == "read":
            return self.read(off, length)
        if command == "status":
            if not self.context or length == 0:
                raise Refused(errno.EINVAL)
            return self.reply_status(off, length)
        if command == "write":
            self.write(off, data)
        elif command == "zeroes":
            self.zeroes(off, length)
        elif command == "trim":
            self.trim(off, length)
        elif command == "flush":
            self.flush()
        else:
            raise Refused(errno.EINVAL)
        if self.flags & FUA:
            self.flush()
        return self.simple(0)

    def count(self, command):
        for name in (command, "any"):
            self.counts[name] = self.counts.get(name, 0) + 1

    def request(self):
        """Receives a command. Returns its arguments."""
        magic, flags, kind, cookie, off, length = self.unpack(">IHHQQI")
        if magic != REQUEST:
            raise Closed
        command = COMMANDS[kind] if kind < len(COMMANDS) else f"command-{kind}"
        data = self.receive(length) if command == "write" else b""
        names = [name for bit, name in enumerate(COMMAND_FLAGS)
                 if flags >> bit & 1]
        self.log(self.number, command, off, length, ",".join(names) or "-")
        return command, flags, cookie, off, length, data

    def answer(self, command, flags, cookie, off, length, data):
        self.count(command)
        for name in (command, "any"):
            self.at(name)
        if command == "disconnect":
            raise Closed
        self.flags, self.cookie = flags, cookie
        if self.lies.get("reply") == "cookie":
            self.cookie ^= 0x7700
        try:
            reply = self.carry_out(command, off, length, data)
        except Refused as error:
            reply = self.reply_error(error.args[0], off)
        except OSError as error:
            reply = self.reply_error(error.errno)
        except OverflowError:
            reply = self.reply_error(errno.EINVAL)
        self.send_reply(reply, command)

    def send_reply(self, reply, command):
        lie = self.lies.get("reply")
        if lie == "magic":
            reply = bytes([reply[0] ^ 0xFF]) + reply[1:]
        time.sleep(self.lies.number("delay", 0) / 1000)
        self.send(reply, command, "any")
        if lie == "duplicate":
            self.push(reply)

    def reversed(self):
        """Receives the commands that arrive within 50 ms, and answers the last
        one first."""
        requests = [self.request()]
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        while poll.poll(50):
            requests.append(self.request())
        for request in reversed(requests):
            self.answer(*request)

    def serve(self):
        self.log(self.number, "connect", 0, 0, "-")
        self.negotiate()
        while True:
            if self.lies.get("reply") == "reversed":
                self.reversed()
            else:
                self.answer(*self.request())


class Server:
    """Listens, with a thread for each client."""

    def __init__(self, args):
        self.image = Image(args.image)
        self.lies = Lies(args.lies, args.control)
        self.log_fd = args.log and os.open(
            args.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def log(self, *words):
        if self.log_fd is not None:
            os.write(self.log_fd, (" ".join(map(str, words)) + "\n").encode())

    def one(self, sock, number):
        with sock, contextlib.suppress(Closed, OSError):
            Connection(self, sock, number).serve()

    def listen(self, sock):
        number = 0
        while True:
            client, _ = sock.accept()
            if client.family == socket.AF_INET:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number += 1
            threading.Thread(target=self.one, args=(client, number),
                             daemon=True).start()


def listening(path):
    """Returns a socket and its URI."""
    if not path:
        sock = socket.create_server(("127.0.0.1", 0), backlog=64)
        return sock, f"nbd://127.0.0.1:{sock.getsockname()[1]}"
    sock = socket.socket(socket.AF_UNIX)
    # Clients that see the path can connect.
    new = path + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    sock.bind(new)
    sock.listen(64)
    os.rename(new, path)
    return sock, f"nbd+unix:///?socket={path}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--unix", metavar="PATH")
    parser.add_argument("--tcp", action="store_true")
    parser.add_argument("--control", metavar="FILE")
    parser.add_argument("--log", metavar="FILE")
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("lies", metavar="LIE", nargs="*")
    args = parser.parse_args()
    if bool(args.unix) == args.tcp:
        parser.error("give either --unix or --tcp")
    server = Server(args)
    sock, uri = listening(args.unix)
    print(uri, flush=True)
    server.listen(sock)


if __name__ == "__main__":
    sys.exit(main())
