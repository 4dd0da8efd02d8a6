# SPDX-License-Identifier: LGPL-2.1-or-later
"""The environment of the benchmarks: devices, mounts, processes, time.

All files are in one directory in memory. close() removes all that was made, in
reverse order.
"""
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import devices

MIB = 1 << 20
GIB = 1 << 30
BLKFLSBUF = 0x1261
HERE = Path(__file__).resolve().parent
SRC = HERE.parent.parent


class Failed(Exception):
    """A program or device failed; the text says how."""


class Wrong(Failed):
    """A copy with wrong bytes."""


def die_with_parent():
    """Has the kernel end this process with the bench; prctl(2)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def mounted(where):
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return any(line.split()[4] == str(where) for line in table)


def wait_until(is_so, what, seconds=30):
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds} seconds")
        time.sleep(0.005)


def is_of(backing, image):
    """Is IMAGE the BACKING file of a loop device, as sysfs names it?"""
    try:
        return backing.read_text().strip() in (str(image),
                                               f"{image} (deleted)")
    except OSError:
        return False


class Device:
    """A loop device with known content, over a file in memory."""

    def __init__(self, image, path):
        self.image = image
        self.path = path
        self.size = os.path.getsize(image)
        self.stat = Path("/sys/block", os.path.basename(path), "stat")

    def counters(self):
        return [int(word) for word in self.stat.read_text().split()]

    def bytes_read(self):
        return self.counters()[2] * 512

    def bytes_written(self):
        """Returns the bytes written, zeroing commands included."""
        return self.counters()[6] * 512

    def write_requests(self):
        return self.counters()[4]

    def forget(self):
        """Drops the kernel's cache of it."""
        with open(self.path, "rb") as dev:
            fcntl.ioctl(dev, BLKFLSBUF)

    def data(self):
        """Returns the bytes in granules that hold data."""
        return sum(end - start for start, end in
                   devices.truth(str(self.image), devices.BLOCK)[1])

    def extents(self):
        """Lines "OFFSET LENGTH data|hole"."""
        return "".join(f"{at} {length} {kind}\n" for at, length, kind in
                       devices.extents(str(self.image), devices.BLOCK))


class Lab:
    def __init__(self, build, scale, directory):
        self.build = Path(build)
        self.scale = scale    # the devices are smaller by this factor
        self.seconds = 3 if scale == 1 else 0.5    # of an endless run
        self.stack = contextlib.ExitStack()
        self.dir = Path(tempfile.mkdtemp(prefix="blksparse-bench.",
                                         dir=directory))
        self.stack.callback(shutil.rmtree, self.dir, ignore_errors=True)
        self.log = self.dir / "log"
        self.out = self.dir / "out"
        self.made = {}
        self.blksparse = self.build / "tools/blksparse"
        self.blksparsefs = self.build / "fuse/blksparsefs"
        self.floor = self.tool("floor")

    def tool(self, name):
        return self.build / "tests/bench" / name

    def close(self):
        self.stack.close()

    # --- Devices -----------------------------------------------------------

    def device(self, name):
        """Returns a device of the benchmarks, made at the first call: S is a
        tenth data, D is all data."""
        if name not in self.made:
            kind, size = {"S": ("tenth", 2 * GIB), "D": ("data", GIB)}[name]
            image = self.dir / name
            devices.make(str(image), kind, size // self.scale)
            scope = contextlib.ExitStack()
            device = scope.enter_context(self.loop(image))
            scope.callback(image.unlink)
            self.made[name] = device, scope
            self.stack.callback(self.drop, name)
        return self.made[name][0]

    def drop(self, name):
        """Frees the memory of such a device."""
        if name in self.made:
            self.made.pop(name)[1].close()

    @contextlib.contextmanager
    def loop(self, image, *options):
        path = self.output("losetup", "-f", "--show", *options, image).strip()
        try:
            if shutil.which("udevadm"):
                self.run("udevadm", "settle", "--timeout=10", check=False)
            yield Device(image, path)
        finally:
            # While another process has it open, such as a prober, the
            # kernel detaches it later, at that process's close.
            self.run("losetup", "-d", path)
            backing = Path("/sys/block", os.path.basename(path),
                           "loop/backing_file")
            wait_until(lambda: not is_of(backing, image), f"losetup -d {path}")

    # --- Processes ---------------------------------------------------------

    def popen(self, *command, **options):
        # In a session of its own, so that only the bench gets Ctrl-C. No
        # preexec_fn: that would make the start slower.
        with open(self.log, "wb") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log,
                       "stderr": log, **options}
            return subprocess.Popen([str(word) for word in command],
                                    start_new_session=True, **options)

    def run(self, *command, check=True, text=None):
        """Runs it with TEXT as input, and returns its status, 0 if CHECK."""
        process = self.popen(*command, **(
            {"stdin": subprocess.PIPE} if text is not None else {}))
        try:
            process.communicate(text.encode() if text is not None else None)
        except BaseException:
            self.end(process)
            raise
        if check and process.returncode:
            raise Failed(f"{command_line(command)}: "
                         f"status {process.returncode}: {self.said()}")
        return process.returncode

    def output(self, *command):
        self.run(*command)
        return self.log.read_text(encoding="utf-8", errors="replace")

    def said(self):
        words = self.log.read_text(encoding="utf-8", errors="replace").strip()
        return words[-500:] or "(it said nothing)"

    def time(self, *command, text=None):
        """Runs it and returns the seconds it took."""
        start = time.monotonic()
        self.run(*command, text=text)
        return time.monotonic() - start

    @staticmethod
    def end(process, seconds=20):
        """Ends a process, by SIGKILL if SIGTERM does not."""
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # --- Mounts ------------------------------------------------------------

    @contextlib.contextmanager
    def daemon(self, where, *command):
        """Starts a program that mounts at WHERE and stays in the foreground."""
        log = self.dir / "daemon.log"
        with open(log, "wb") as out:
            process = self.popen(*command, stdout=out, stderr=out,
                                 preexec_fn=die_with_parent)
        try:
            wait_until(lambda: mounted(where) or process.poll() is not None,
                       command_line(command))
            if process.poll() is not None:
                raise Failed(f"{command_line(command)}: {log.read_text()}")
            yield process
        finally:
            if mounted(where):
                subprocess.run(["umount", where], check=False,
                               stderr=subprocess.DEVNULL)
            if mounted(where):
                subprocess.run(["umount", "-l", where], check=False)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                self.end(process)

    @contextlib.contextmanager
    def mount(self, device, *options, wrap=()):
        """Mounts a device or an image with blksparsefs; gives its file and the
        process."""
        path = device.path if isinstance(device, Device) else device
        with self.directory("mnt") as where:
            with self.daemon(where, *wrap, self.blksparsefs, "-f", *options,
                             f"f={path}", where) as process:
                yield where / "f", process

    @contextlib.contextmanager
    def directory(self, name):
        where = self.dir / name
        where.mkdir()
        try:
            yield where
        finally:
            where.rmdir()

    @contextlib.contextmanager
    def file(self, name, size=0):
        """Makes an empty file, or one hole of SIZE."""
        path = self.dir / name
        with open(path, "wb") as out:
            out.truncate(size)
        try:
            yield path
        finally:
            path.unlink()

    @staticmethod
    def forget(path):
        """Drops the kernel's cache of a file."""
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    # --- Bytes -------------------------------------------------------------

    def expect_same(self, path, image, size=None):
        """Raises Wrong unless PATH has the bytes of IMAGE."""
        limit = ["-n", size] if size is not None else []
        if self.run("cmp", *limit, path, image, check=False):
            raise Wrong(self.said().splitlines()[-1])

    def fresh_out(self):
        """Returns the name of a file to write, which does not exist."""
        self.out.unlink(missing_ok=True)
        return self.out


def command_line(command):
    return " ".join(str(word) for word in command)


def message(text):
    print(text, file=sys.stderr, flush=True)
