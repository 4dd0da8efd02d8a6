# SPDX-License-Identifier: LGPL-2.1-or-later
"""The benchmark of uploads of a device into a libvirt volume."""
import contextlib
import os
import shutil

from lab import wait_until
from measure import OURS, Contender, Fact, Sample, Work

DAEMON_UID = 65534


@contextlib.contextmanager
def libvirt(lab):
    """Runs libvirtd as user nobody, without a network, in its own directory;
    gives a function that makes a virsh command of words."""
    home = lab.dir / "libvirt"
    home.mkdir()
    variables = {"PATH": os.environ["PATH"], "USER": "nobody"}
    for name, variable in (("run", "XDG_RUNTIME_DIR"), ("home", "HOME"),
                           ("config", "XDG_CONFIG_HOME"),
                           ("cache", "XDG_CACHE_HOME"),
                           ("data", "XDG_DATA_HOME"), ("pool", None)):
        (home / name).mkdir(mode=0o700)
        os.chown(home / name, DAEMON_UID, DAEMON_UID)
        if variable:
            variables[variable] = str(home / name)
    (home / "libvirtd.conf").write_text('auth_unix_rw = "none"\n'
                                        "log_level = 4\n")
    # The user nobody must be able to enter it.
    os.chmod(lab.dir, 0o711)
    socket = home / "run/libvirt/libvirt-sock"
    process = lab.popen(
        "unshare", "--net", "setpriv", f"--reuid={DAEMON_UID}", f"--regid={DAEMON_UID}",
        "--clear-groups", "--inh-caps=-all", shutil.which("libvirtd"),
        "--config", home / "libvirtd.conf", env=variables)
    try:
        wait_until(socket.exists, "libvirtd")

        def virsh(*words):
            return ("virsh", "-q", "-c",
                    f"storage:///session?socket={socket}", *words)
        lab.run(*virsh("pool-create-as", "images", "dir", "--target",
                       home / "pool"))
        yield virsh, home / "pool"
    finally:
        lab.end(process)
        shutil.rmtree(home)


def uploaded(lab, device, path, server):
    virsh, pool = server
    lab.run(*virsh("vol-create-as", "images", "v", device.size, "--allocation",
                   "0", "--format", "raw"))
    device.forget()
    before = device.bytes_read()
    seconds = lab.time(*virsh("vol-upload", "--sparse", "--pool", "images", "v",
                              path))
    read = device.bytes_read() - before
    kept = (pool / "v").stat().st_blocks * 512
    lab.expect_same(pool / "v", device.image)
    lab.run(*virsh("vol-delete", "--pool", "images", "v"))
    return Sample(seconds, {"read": read / device.size,
                            "kept": kept / device.size})


def from_mount(lab, device, server):
    with lab.mount(device) as (path, _):
        return uploaded(lab, device, path, server)


@contextlib.contextmanager
def upload(lab):
    device = lab.device("S")
    with libvirt(lab) as server:
        yield [
            Contender("from a mount", lambda: from_mount(lab, device, server),
                      OURS),
            Contender("from the device itself", lambda: uploaded(
                lab, device, device.path, server), goal=0.25),
        ]


WORKS = (
    Work("upload", "virsh vol-upload --sparse of a device with 10 % data",
         upload, devices=("S",), needs=("virsh", "libvirtd", "setpriv"),
         facts=(Fact("read", "read from the device / its size", 1.02),
                Fact("kept", "allocated / size", 0.12))),
)
