#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Another program writes below the mounted device or above it: to the whole disk of a
# partition, or to files of a file system on the device.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires sfdisk partx mkfs.ext4

python3 "$LIB/devices.py" make data 4096 "$TEST_TMP/pattern"

partition_case() {
	local disk part first=$((1 << 20)) size=$((16 << 20)) page
	python3 "$LIB/devices.py" make zero 24M "$TEST_TMP/disk"
	printf 'label: dos\nstart=%d, size=%d\n' $((first / 512)) $((size / 512)) |
		sfdisk -q "$TEST_TMP/disk"
	loop_new "$TEST_TMP/disk" -P
	disk=$LOOP
	part=${disk}p1
	# Some kernels read no partition table.
	[[ -b $part ]] || partx -a "$disk"
	wait_until 10 test -b "$part" || fail "no partition $part"
	assert_eq "$(blockdev --getsize64 "$part")" "$size" "size of $part"

	mount_fs "x=$part"
	assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
	cat "$MNT/x" >/dev/null

	say "the whole disk, past the page cache"
	page=100
	dd if="$TEST_TMP/pattern" of="$disk" bs=4096 oflag=direct conv=notrunc \
		seek=$((first / 4096 + page)) status=none
	seen_there

	say "the whole disk, synced"
	page=50
	dd if="$TEST_TMP/pattern" of="$disk" bs=4096 conv=notrunc,fsync \
		seek=$((first / 4096 + page)) status=none
	seen_there

	say "the partition"
	page=25
	dd if="$TEST_TMP/pattern" of="$part" bs=4096 conv=notrunc \
		seek=$page status=none
	seen_there

	say "the disk beside the partition"
	dd if="$TEST_TMP/pattern" of="$disk" bs=4096 oflag=direct conv=notrunc \
		seek=1 status=none
	assert_eq "$(ask data 0 "$MNT/x")" $((25 * 4096)) "SEEK_DATA"
	cmp "$MNT/x" <(tail -c +$((first + 1)) "$TEST_TMP/disk" | head -c "$size") ||
		fail "the bytes differ from the disk's"
	umount_fs

	# The partition stays open, so that the kernel keeps its pages.
	say "the whole disk, while the kernel has pages of the partition"
	exec 3<"$part"
	cat "$part" >/dev/null
	dd if="$TEST_TMP/pattern" of="$disk" bs=4096 oflag=direct conv=notrunc \
		seek=$((first / 4096 + 10)) status=none
	mount_fs -o rw "x=$part"
	assert_eq "$(ask data 0 "$MNT/x")" $((10 * 4096)) "SEEK_DATA"
	# A write to a part of a stale page would write the whole page back.
	printf x | dd of="$MNT/x" bs=1 seek=$((10 * 4096)) conv=notrunc,fsync status=none
	umount_fs
	exec 3<&-
	cmp <(tail -c +2 "$TEST_TMP/pattern") \
		<(tail -c +$((first + 10 * 4096 + 2)) "$TEST_TMP/disk" | head -c 4095) ||
		fail "the bytes beside the written one are not the disk's"

	# The disk stays open, so that the kernel does not write back its pages.
	say "the whole disk, before the mount, not synced"
	exec 3<>"$disk"
	dd if="$TEST_TMP/pattern" of="$disk" bs=4096 conv=notrunc \
		seek=$((first / 4096 + 5)) status=none
	mount_fs -o rw "x=$part"
	assert_eq "$(ask data 0 "$MNT/x")" $((5 * 4096)) "SEEK_DATA"
	fallocate -p -o $((5 * 4096)) -l 4096 "$MNT/x"
	umount_fs
	exec 3<&-
	sync "$disk"
	cmp -n 4096 /dev/zero <(tail -c +$((first + 5 * 4096 + 1)) "$TEST_TMP/disk") ||
		fail "old pages of the disk came over zeros"
	partx -d "$disk"
}

# seen_there: the mount shows page $page as the first data.
seen_there() {
	assert_eq "$(ask data 0 "$MNT/x")" $((page * 4096)) "SEEK_DATA"
	dd if="$MNT/x" bs=4096 skip="$page" count=1 iflag=direct status=none |
		cmp - "$TEST_TMP/pattern" || fail "an uncached read is stale"
	wait_until 10 page_is_right || fail "a cached read stays stale"
}

page_is_right() {
	dd if="$MNT/x" bs=4096 skip="$page" count=1 status=none |
		cmp -s - "$TEST_TMP/pattern"
}

same_as_image() {
	cmp -s "$MNT/x" "$TEST_TMP/fs"
}

# No hole of the mount has data in the image.
no_hole_over_data() {
	python3 - "$TEST_TMP/fs" <<-'PYTHON' 3< <(ask extents "$MNT/x")
		import os, sys
		image = os.open(sys.argv[1], os.O_RDONLY)
		holes = 0
		for line in os.fdopen(3):
		    at, length, kind = line.split()
		    if kind == "hole":
		        holes += 1
		        if os.pread(image, int(length), int(at)).strip(b"\0"):
		            sys.exit(f"data in the hole {at} + {length}")
		if not holes:
		    sys.exit("no hole at all")
	PYTHON
}

file_system_case() {
	local round
	python3 "$LIB/devices.py" make zero 64M "$TEST_TMP/fs"
	loop_new "$TEST_TMP/fs"
	mkfs.ext4 -q -E nodiscard "$LOOP"
	mkdir "$TEST_TMP/files"
	mount "$LOOP" "$TEST_TMP/files"
	cleanup force_umount "$TEST_TMP/files"
	mount_fs "x=$LOOP"
	ask extents "$MNT/x" >/dev/null
	no_hole_over_data || fail "a hole where there is data"

	for round in 1 2 3; do
		say "files of a file system on it, round $round"
		head -c 1500000 /dev/urandom >"$TEST_TMP/files/$round"
		sync -f "$TEST_TMP/files"
		no_hole_over_data || fail "a hole where there is data"
		wait_until 10 same_as_image || fail "stale bytes"
	done
	assert_ge "$(wc -l <"$FS_LOG")" 1 "lines in the log"

	say "unmounting that file system"
	head -c 700000 /dev/urandom >"$TEST_TMP/files/last"
	umount "$TEST_TMP/files"
	no_hole_over_data || fail "a hole where there is data"
	wait_until 10 same_as_image || fail "stale bytes"
	umount_fs
}

# The device ends inside a block, which cannot be read directly (and on some kernels
# not at all). The rest of it must still be read directly.
odd_end_case() {
	local disk number
	truncate -s $(((16 << 20) + 512)) "$TEST_TMP/odd"
	loop_new "$TEST_TMP/odd" -b 4096
	disk=$LOOP
	partition add "$disk" 1 1048576 8388608
	cleanup eval "partition del $disk 1 2>/dev/null || true"
	number=$(<"/sys/class/block/${disk##*/}/${disk##*/}p1/dev")
	mknod "$TEST_TMP/part" b "${number%:*}" "${number#*:}"
	mount_fs "x=$disk"
	tail -c 512 "$MNT/x" >/dev/null || echo "the end cannot be read"
	page=300
	# The kernel has old pages of the node.
	assert_eq "$(head -c 4M "$disk" | tr -d '\0' | wc -c)" 0 "bytes at first"
	exec 3<"$disk"
	cleanup eval "exec 3<&-"
	cat "$disk" >/dev/null 2>&1 || true

	say "a partition of a device with an odd end"
	dd if="$TEST_TMP/pattern" of="$TEST_TMP/part" bs=4096 conv=notrunc,fsync \
		seek=$((page - 256)) status=none
	seen_there
	exec 3<&-
	umount_fs
	partition del "$disk" 1
}

partition_case
file_system_case
odd_end_case
