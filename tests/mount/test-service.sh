#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A service manager is told when the mount is ready and when it stops, as
# sd_notify(3) has it, and the unit is one that systemd takes.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires python3 systemd-analyze

make_device mixed 8M image
mkdir "$MNT"
cleanup force_umount "$MNT"

# manages SOCKET: runs the program as a manager does, and prints each message with
# the state of the mount when it came.
manages() {
	python3 - "$1" "$FS" "$LOOP" "$MNT" <<'PY'
import os, signal, socket, subprocess, sys
name, program, device, where = sys.argv[1:]
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind("\0" + name[1:] if name[0] == "@" else name)
manager.settimeout(60)
child = subprocess.Popen([program, "-f", f"x={device}", where],
                         env={**os.environ, "NOTIFY_SOCKET": name})
for _ in range(2):
    message = manager.recv(4096).decode()
    there = os.path.exists(f"{where}/x") if message == "READY=1" else ""
    print(message, there, flush=True)
    if message == "READY=1":
        child.send_signal(signal.SIGTERM)
print("status", child.wait(60))
PY
}

for name in "$TEST_TMP/socket" "@blksparsefs-test-$$"; do
	say "$name"
	manages "$name" >"$TEST_TMP/out"
	cat "$TEST_TMP/out"
	assert_eq "$(paste -sd, "$TEST_TMP/out")" \
		"READY=1 True,STOPPING=1 ,status 0" "messages"
	not_mounted "$MNT" || fail "it is still mounted"
done

say "a manager that is gone"
NOTIFY_SOCKET=$TEST_TMP/none mount_fs "x=$LOOP"
assert_contains "$(<"$FS_LOG")" "cannot tell READY=1 to $TEST_TMP/none" "the log"
assert_same_bytes "$MNT/x" "$TEST_TMP/image"
umount_fs

say "the unit"
unit=$BUILD/fuse/blksparsefs@.service
sed "s|^ExecStart=[^ ]*|ExecStart=$FS|" "$unit" >"$TEST_TMP/blksparsefs@.service"
run_status systemd-analyze verify --man=no "$TEST_TMP/blksparsefs@test.service"
assert_eq "$STATUS" 0 "status of systemd-analyze verify"
# It may complain about units of other packages.
assert_lacks "$ERR" "$TEST_TMP" "its messages"
assert_lacks "$ERR" "blksparsefs" "its messages"
assert_contains "$(<"$unit")" "TimeoutStopSec=infinity" "the unit"

say "its exposure"
# Out of 100; what a mount that others see cannot have makes up most of it.
run_status systemd-analyze security --offline=true --threshold=55 \
	"$TEST_TMP/blksparsefs@.service"
assert_eq "$STATUS" 0 "status of systemd-analyze security"
