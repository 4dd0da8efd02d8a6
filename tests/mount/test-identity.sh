#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A mounted device gets another medium or another size, and the mount shows the new
# content. A write to another partition of its disk does not count as a change.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires sfdisk partx

# bytes CHARACTER LENGTH
bytes() {
	head -c "$2" /dev/zero | tr '\0' "$1"
}

# on_device DEVICE OFFSET LENGTH: prints these bytes, read directly; OFFSET is a
# multiple of a page.
on_device() {
	dd if="$1" bs=4096 iflag=direct skip=$(($2 / 4096)) \
		count=$((($3 + 4095) / 4096)) status=none | {
		head -c "$3"
		cat >/dev/null
	}
}

size_is() {
	[[ $(stat -c %s "$MNT/x") == "$1" ]]
}

# resize BYTES: changes the size of the loop device's file and of the device, and
# waits for the mount.
resize() {
	truncate -s "$1" "$image"
	losetup -c "$device"
	wait_until 20 size_is "$1" || fail "the size stays $(stat -c %s "$MNT/x")"
}

other_medium() {
	say "$1: another medium of the same size"
	truncate -s 16M "$TEST_TMP/old"
	bytes X 16M >"$TEST_TMP/new"
	loop_new "$TEST_TMP/old" -r
	# The loop device may be over either file by then.
	cleanup loop_free_of "$LOOP" "$(realpath "$TEST_TMP/new")"
	mount_fs -o "known=$known" "x=$LOOP"
	exec 3<"$MNT/x"
	assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
	cat "$MNT/x" >/dev/null
	shift
	"$@"
	assert_eq "$(ask data 0 "$MNT/x")" 0 "SEEK_DATA of the new medium"
	wait_until 20 cmp -s "$MNT/x" "$TEST_TMP/new" || fail "stale bytes"
	# Also through a descriptor from before.
	cmp - "$TEST_TMP/new" <&3 || fail "stale bytes through an open descriptor"
	exec 3<&-
	wait_until 20 grep -q "another medium" "$FS_LOG" || fail "no message"
	umount_fs
}

change_file() {
	python3 "$LIB/loop.py" file "$LOOP" "$TEST_TMP/new"
}

change_offset() {
	cat "$TEST_TMP/new" >>"$TEST_TMP/old"
	python3 "$LIB/loop.py" offset "$LOOP" $((16 << 20))
}

is_gone() {
	! head -c 1 "$MNT/x" >/dev/null 2>&1
}

writable_medium() {
	local status=0
	say "writable: no pending write reaches another medium"
	bytes O 32M >"$TEST_TMP/both"
	cp "$TEST_TMP/both" "$TEST_TMP/want"
	loop_new "$TEST_TMP/both" --sizelimit 16M
	mount_fs -o "rw,known=$known" "x=$LOOP"
	# Zeros that wait for a flush, and data that the kernel has not sent yet.
	exec 4<>"$MNT/x"
	head -c 8M /dev/zero >&4
	bytes n 4096 >&4
	python3 "$LIB/loop.py" offset "$LOOP" $((16 << 20))
	wait_until 20 is_gone || fail "the new medium can be read"
	for command in "dd if=$MNT/x of=/dev/null count=1" \
		"dd if=/dev/zero of=$MNT/x count=1 conv=notrunc" \
		"truncate -s 1M $MNT/x" "fallocate -p -l 1M $MNT/x" \
		"sync $MNT/x"; do
		# shellcheck disable=SC2086 # words
		run_status $command
		assert_ne "$STATUS" 0 "status of $command"
		assert_contains "$ERR" "No such device" "message of $command"
	done
	exec 4>&- || true # fails as well
	wait_until 20 grep -q "mount it again" "$FS_LOG" || fail "no message"
	assert_eq "$(grep -c "another medium" "$FS_LOG")" 1 "messages"
	unmount "$MNT"
	end_fs || status=$?
	assert_ne "$status" 0 "status of the program"
	cmp -i 16M "$TEST_TMP/both" "$TEST_TMP/want" ||
		fail "the new medium was written"
}

# regrown OPTION...: a device shrinks, and grows again with other bytes.
regrown() {
	say "shrinks and grows again: ${*:-read-only}"
	image=$TEST_TMP/regrown.${1:+rw}
	rm -f "$image"
	truncate -s 8M "$image"
	loop_new "$image"
	device=$LOOP
	mount_fs -o "known=$known" "$@" "x=$device"
	exec 3<"$MNT/x"
	assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
	resize $((4 << 20))
	truncate -s 8M "$image"
	bytes B 1M | dd of="$image" bs=1M seek=6 conv=notrunc,fsync status=none
	resize $((8 << 20))
	assert_eq "$(ask data 0 "$MNT/x")" $((6 << 20)) "SEEK_DATA"
	if [[ $* == *rw* ]]; then
		printf x | dd of="$MNT/x" bs=1 seek=$(((6 << 20) + 100)) \
			conv=notrunc,fsync status=none
		cmp <(on_device "$device" $((6 << 20)) 4096) \
			<(bytes B 100 && printf x && bytes B 3995) ||
			fail "wrong bytes beside the written one"
	else
		wait_until 20 cmp -s "$MNT/x" "$image" || fail "stale bytes"
	fi
	exec 3<&-
	umount_fs
}

# grown OPTION...: a device grows whose end is not the end of a page.
grown() {
	local end=$(((4 << 20) + 512))
	say "grows from inside a page: ${*:-read-only}"
	image=$TEST_TMP/grown.${1:+rw}
	rm -f "$image"
	truncate -s $end "$image"
	loop_new "$image"
	device=$LOOP
	mount_fs -o "known=$known" "$@" "x=$device"
	exec 3<"$MNT/x"
	assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
	bytes B 1M | dd of="$image" bs=512 seek=$((end / 512)) \
		conv=notrunc,fsync status=none
	resize $((end + (1 << 20)))
	assert_le "$(ask data $((4 << 20)) "$MNT/x")" $end "SEEK_DATA"
	tail -c +$((end + 1)) "$MNT/x" | cmp - <(bytes B 1M) ||
		fail "stale bytes"
	if [[ $* == *rw* ]]; then
		printf x | dd of="$MNT/x" bs=1 seek=$((4 << 20)) \
			conv=notrunc,fsync status=none
		printf y | dd of="$MNT/x" bs=1 seek=$((end + 88)) \
			conv=notrunc,fsync status=none
		cmp <(on_device "$device" $((4 << 20)) 4096) \
			<(printf x && head -c 511 /dev/zero && bytes B 88 &&
				printf y && bytes B 3495) ||
			fail "wrong bytes beside the written one"
	fi
	exec 3<&-
	umount_fs
}

write_on() {
	while [[ -b $1 ]]; do
		dd if=/dev/urandom of="$1" bs=4096 count=1 oflag=direct \
			conv=notrunc status=none
		sleep 0.01
	done
}

end_writer() {
	kill "$1" 2>/dev/null || true
}

writes_of() {
	awk '{ print $5 }' "/sys/class/block/${1##*/}/stat"
}

wrote_more() {
	(($(writes_of "$1") > $2 + 20))
}

# other_partition sparse|dense: the file system knows the zeros or does not.
other_partition() {
	local disk writer before page=$((2 << 20 >> 12))
	say "a partition beside one that is written, $1"
	rm -f "$TEST_TMP/disk"
	if [[ $1 == sparse ]]; then
		truncate -s 24M "$TEST_TMP/disk"
	else
		head -c 24M /dev/zero >"$TEST_TMP/disk"
	fi
	printf 'label: gpt\nstart=2048, size=8192\nstart=16384, size=16384\n' |
		sfdisk -q "$TEST_TMP/disk"
	loop_new "$TEST_TMP/disk" -P
	disk=$LOOP
	[[ -b ${disk}p2 ]] || partx -a "$disk"
	cleanup partx -d "$disk"
	wait_until 10 test -b "${disk}p2" || fail "no partitions"
	mount_fs "x=${disk}p2"
	exec 3<"$MNT/x"
	write_on "${disk}p1" 3<&- &
	writer=$!
	cleanup end_writer "$writer"
	assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
	before=$(stat -c '%y %z' "$MNT/x")
	wait_until 20 wrote_more "${disk}p1" "$(writes_of "${disk}p1")" ||
		fail "the other partition is not written"
	count_reads "$disk" ask extents "$MNT/x" >"$TEST_TMP/extents"
	assert_le "$READ" 0 "bytes read again"
	assert_eq "$(stat -c '%y %z' "$MNT/x")" "$before" "times"
	assert_eq "$(<"$FS_LOG")" "" "the log"

	say "writes through the disk, and to the partition itself"
	bytes D 4096 | dd of="$disk" bs=4096 seek=$((page + 300)) oflag=direct \
		conv=notrunc status=none
	assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA, as p2 begins at 8M"
	bytes D 4096 | dd of="$disk" bs=4096 seek=$((2048 + 300)) oflag=direct \
		conv=notrunc status=none
	assert_eq "$(ask data 0 "$MNT/x")" $((300 * 4096)) "SEEK_DATA"
	assert_ne "$(stat -c '%y %z' "$MNT/x")" "$before" "times"
	bytes D 4096 | dd of="${disk}p2" bs=4096 seek=100 oflag=direct \
		conv=notrunc status=none
	assert_eq "$(ask data 0 "$MNT/x")" $((100 * 4096)) "SEEK_DATA"
	end_writer "$writer"
	wait "$writer" || true
	exec 3<&-
	umount_fs
}

# The images are holes, which the file system knows; and then they are read.
for known in auto off; do
	say "known=$known"
	other_medium "its file" change_file
	other_medium "its offset" change_offset
	writable_medium
	regrown
	regrown -o rw
	grown
	grown -o rw
done
other_partition sparse
other_partition dense
