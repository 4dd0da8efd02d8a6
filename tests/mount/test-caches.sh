#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# No reader of a writable mount gets a stale page, mapped or not, after truncation,
# punching and O_TRUNC, and beside direct reads and writes. Bytes that a program
# stores in a mapping are visible to lseek after msync, and on the device after
# fsync.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

head -c $((64 << 10)) /dev/zero | tr '\0' '\252' >"$TEST_TMP/image"
loop_new "$TEST_TMP/image"
for options in granule=4K granule=4K,zero=write; do
	say "$options"
	mount_fs -o "rw,$options" "x=$LOOP"
	python3 "$(dirname "$0")/caches.py" "$MNT/x" "$LOOP"
	umount_fs
done
