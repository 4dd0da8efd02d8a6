#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# In a virtual machine: a mount of thin volumes. While their pool or its metadata
# is suspended, the mount answers, and it knows the holes when the pool is
# resumed. It follows a volume that becomes another one, or longer.
#
# TIMEOUT: 300 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 580 python3

modprobe -a loop fuse dm-mod dm-thin-pool
requires_fuse

block=$((64 << 10))
size=$((32 * MIB))

truncate -s 8M "$TEST_TMP/metadata"
truncate -s 32M "$TEST_TMP/pool"
loop_new "$TEST_TMP/metadata"
new_volume metadata "0 $((8 << 11)) linear $LOOP 0"
loop_new "$TEST_TMP/pool"
make_stale "$LOOP"

# thin ID: makes an empty volume "thin" and the number.
thin() {
	dmsetup message pool 0 "create_thin $1"
	new_volume "thin$1" "0 $((size >> 9)) thin /dev/mapper/pool $1"
}

# put DEVICE OFFSET...: writes 4 KiB there.
put() {
	python3 -c 'import mmap, os, sys
page = mmap.mmap(-1, 4096)
page[:] = b"\x5d" * 4096
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
for off in sys.argv[2:]:
    os.pwritev(fd, [page], int(off))' "$@"
}

new_volume pool "0 $((32 << 11)) thin-pool /dev/mapper/metadata $LOOP \
	$((block >> 9)) 0"
thin 1
put /dev/mapper/thin1 0

say "a suspended pool: the mount answers, and asks when it is resumed"
thin 2
put /dev/mapper/thin2 $((5 * block))
mount_fs x=/dev/mapper/thin1 y=/dev/mapper/thin2
dmsetup suspend pool
timeout 20 stat "$MNT/x" "$MNT/y" >/dev/null || fail "stat hangs"
status=0
timeout -s INT 8 python3 "$LIB/ask.py" data 0 "$MNT/y" >/dev/null 2>&1 ||
	status=$?
assert_eq $status 124 "status of a seek that was interrupted"
timeout 20 stat "$MNT/y" >/dev/null || fail "stat hangs after a seek"
dmsetup resume pool
# The interrupted seek has made its first granule data.
assert_eq "$(ask data $block "$MNT/y")" $((5 * block)) \
	"SEEK_DATA when it is resumed"
assert_eq "$(ask data $((6 * block)) "$MNT/y")" ENXIO "SEEK_DATA past the data"
umount_fs

say "suspended metadata: only the question waits"
thin 3
put /dev/mapper/thin3 $((6 * block))
mount_fs x=/dev/mapper/thin3
dmsetup suspend --noflush --nolockfs metadata
status=0
timeout -s INT 8 python3 "$LIB/ask.py" data 0 "$MNT/x" >/dev/null 2>&1 ||
	status=$?
assert_eq $status 124 "status of a seek that was interrupted"
# At intervals of more than a second the table is looked at, too.
for _ in 1 2 3; do
	timeout 20 stat "$MNT/x" >/dev/null || fail "stat hangs"
	sleep 1
done
dmsetup resume metadata
assert_eq "$(ask data $block "$MNT/x")" $((6 * block)) \
	"SEEK_DATA when it is resumed"
umount_fs

say "another volume in the place of the first, and a longer one"
mount_fs x=/dev/mapper/thin3
assert_eq "$(ask data 0 "$MNT/x")" $((6 * block)) "SEEK_DATA"
reload thin3 "0 $((size >> 9)) thin /dev/mapper/pool 2" 2>/dev/null || {
	# A volume can be active once.
	dmsetup remove thin2
	reload thin3 "0 $((size >> 9)) thin /dev/mapper/pool 2"
}
sleep 1.5
assert_eq "$(ask data 0 "$MNT/x")" $((5 * block)) "SEEK_DATA of the other"
assert_eq "$(ask hole 0 "$MNT/x")" 0 "SEEK_HOLE of the other"
reload thin3 "0 $((2 * size >> 9)) thin /dev/mapper/pool 2"
put /dev/mapper/thin3 $((size + 3 * block))
sleep 1.5
assert_eq "$(stat -c %s "$MNT/x")" $((2 * size)) "size"
assert_eq "$(ask data $((6 * block)) "$MNT/x")" $((size + 3 * block)) \
	"SEEK_DATA in the new part"
umount_fs
dmsetup remove thin3
