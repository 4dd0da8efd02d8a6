#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A device was written while its file was not open. Several programs then open the
# file at once: none reads old bytes from the kernel's cache, or finds an old hole.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

parameter=/sys/module/fuse/parameters/enable_uring
program=$BUILD/tests/mount/open-race
[[ -x $program ]] || fail "$program is not built"
make_device data 64M image

# race OPTIONS
race() {
	mount_fs -o "$1" "x=$LOOP"
	"$program" "$LOOP" "$MNT/x" 50 || fail "old bytes with $1"
	umount_fs
}

say "requests through /dev/fuse"
race uring=off

if [[ -e $parameter ]]; then
	say "requests by io_uring"
	before=$(<"$parameter")
	restore() {
		echo "$before" >"$parameter"
	}
	cleanup restore
	echo Y >"$parameter"
	race uring=auto
fi
