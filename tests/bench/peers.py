# SPDX-License-Identifier: LGPL-2.1-or-later
"""The peers: programs that a user could run instead of blksparse."""
import contextlib
import gzip
import os
import shutil
import subprocess
from pathlib import Path


def have(*commands):
    return all(shutil.which(command) for command in commands)


def version(command, *arguments):
    if not have(command):
        return None
    said = subprocess.run([command, *(arguments or ("--version",))],
                          capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0] if said else command


def qemu_img(source, target, *options):
    return ("qemu-img", "convert", "-m", "16", "-W", *options,
            "-f", "raw", "-O", "raw", source, target)


def nbdcopy(device, target):
    return ("nbdcopy", "--", "[", "nbdkit", "--exit-with-parent", "file",
            device, "]", target)


QSD_MODES = {
    "qemu-storage-daemon": "",
    "qemu-storage-daemon direct": ",cache.direct=on,aio=io_uring",
}


@contextlib.contextmanager
def qsd(lab, device, mode):
    """Shows the device as a file, by qemu-storage-daemon."""
    with lab.file("qsd") as where:
        with lab.daemon(where, "qemu-storage-daemon", "--blockdev",
                        f"driver=host_device,node-name=d,filename={device.path}"
                        + QSD_MODES[mode],
                        "--export", "type=fuse,id=e,node-name=d,writable=off,"
                        f"mountpoint={where}") as process:
            try:
                yield where
            finally:
                # It does not end when its file is unmounted.
                lab.end(process)


@contextlib.contextmanager
def nbdfuse(lab, device):
    """Shows the device as a file, by nbdfuse over nbdkit."""
    with lab.directory("nbdfuse") as where:
        with lab.daemon(where, "nbdfuse", "-r", where / "f", "--command",
                        "nbdkit", "-s", "--exit-with-parent", "file",
                        device.path):
            yield where / "f"


EXAMPLES = Path("/usr/share/doc/libfuse3-dev/examples")


def passthrough_there(lab):
    """Compiles the example passthrough_ll of libfuse; False without its source
    or a compiler."""
    program = lab.dir / "passthrough_ll"
    if program.exists():
        return True
    found = sorted(EXAMPLES.glob("passthrough_ll.c*"))
    if not found or not have("cc", "pkg-config"):
        return False
    source = lab.dir / "passthrough_ll.c"
    with (gzip.open if found[0].suffix == ".gz" else open)(found[0], "rb") as text:
        source.write_bytes(text.read())
    flags = subprocess.run(["pkg-config", "fuse3", "--cflags", "--libs"],
                           capture_output=True, text=True, check=False)
    lab.run("cc", "-O2", source, "-I", EXAMPLES, "-o", program,
            *flags.stdout.split())
    return True


@contextlib.contextmanager
def passthrough(lab, image):
    """Shows the image as the only file of a directory, by that example."""
    with lab.directory("source") as source, lab.directory("passthrough") as where:
        os.link(image, source / "f")
        try:
            with lab.daemon(where, lab.dir / "passthrough_ll", "-f", "-o",
                            f"source={source}", where):
                yield where / "f"
        finally:
            (source / "f").unlink()
