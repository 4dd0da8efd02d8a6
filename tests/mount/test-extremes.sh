#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Requests at the ends of a file, beyond them, and at offsets up to 2^63 - 1: reads
# and searches answer as on another file system, and nothing changes.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

# The last granule is not whole.
size=$((3 << 20 | 512))
make_device mixed "$size" image
cp "$TEST_TMP/image" "$TEST_TMP/truth"
cp "$TEST_TMP/image" "$TEST_TMP/twin"

try() {
	python3 "$SRC/tests/mount/extremes.py" "$MNT/x" "$TEST_TMP/truth" \
		"$TEST_TMP/twin"
}

for options in ro rw rw,granule=1M; do
	say "$options"
	mount_fs -o "$options" "x=$LOOP"
	try
	umount_fs
	assert_same_bytes "$LOOP" "$TEST_TMP/truth"
done
