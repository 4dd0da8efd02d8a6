# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs that somebody would use instead of ours."""
import contextlib
import shutil
import subprocess


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
    """The device as a file, by qemu-storage-daemon."""
    with lab.file("qsd") as where:
        with lab.daemon(where, "qemu-storage-daemon", "--blockdev",
                        f"driver=host_device,node-name=d,filename={device.path}"
                        + QSD_MODES[mode],
                        "--export", "type=fuse,id=e,node-name=d,writable=off,"
                        f"mountpoint={where}") as process:
            try:
                yield where
            finally:
                # It does not go when its file is unmounted.
                lab.end(process)


@contextlib.contextmanager
def nbdfuse(lab, device):
    """The device as a file, by nbdfuse over nbdkit."""
    with lab.directory("nbdfuse") as where:
        with lab.daemon(where, "nbdfuse", "-r", where / "f", "--command",
                        "nbdkit", "-s", "--exit-with-parent", "file",
                        device.path):
            yield where / "f"
