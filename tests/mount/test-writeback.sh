#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Writeback behind a sequential writer: when the writer closes the file, little is
# left to write. Other readers and writers always see the right bytes.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

size=$((128 << 20))

python3 "$LIB/devices.py" make mixed "$size" "$TEST_TMP/image"
make_device data "$size" old
mount_fs -o rw "x=$LOOP"

say "cp into the file"
cp "$TEST_TMP/image" "$MNT/x"
assert_same_bytes "$MNT/x" "$TEST_TMP/image"

say "sequential writes beside other readers and writers"
python3 "$(dirname "$0")/writeback.py" "$MNT/x" "$TEST_TMP/image" 4
assert_same_bytes "$MNT/x" "$TEST_TMP/image"
umount_fs
assert_same_bytes "$LOOP" "$TEST_TMP/image"
