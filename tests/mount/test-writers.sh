#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Another program writes to a mounted device that the map knows as one hole, by
# reading it or from the file system below. After that no search finds a hole, and
# no read gets zeros, where there is data.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

python3 "$LIB/devices.py" make data 4096 "$TEST_TMP/pattern"

read_page() {
	dd if="$MNT/$1" bs=4096 skip="$2" count=1 status=none "${@:3}" |
		cmp -s - "$TEST_TMP/pattern"
}

# pages PAGE...: prints the extents of 16 MiB where only these pages are data.
pages() {
	local at=0 page
	for page; do
		((page * 4096 == at)) || echo "$at $((page * 4096 - at)) hole"
		echo "$((page * 4096)) 4096 data"
		at=$((page * 4096 + 4096))
	done
	((at == 16 << 20)) || echo "$at $(((16 << 20) - at)) hole"
}

log_lines() {
	wc -l <"$FS_LOG"
}

start() {
	mount_fs "x=$1"
	assert_eq "$(ask extents "$MNT/x")" "$(pages)" "extents at first"
	# Has the kernel cache zeros.
	cat "$MNT/x" >"$TEST_TMP/copy"
	assert_same_bytes "$TEST_TMP/copy" "$TEST_TMP/image"
	assert_eq "$(log_lines)" 0 "lines in the log"
}

# seen PAGE...: the mount shows these as data; the last one was just written.
seen() {
	local last=${!#}
	assert_eq "$(ask data $((last * 4096)) "$MNT/x")" $((last * 4096)) \
		"SEEK_DATA there"
	read_page x "$last" iflag=direct || fail "an uncached read is stale"
	assert_eq "$(ask extents "$MNT/x")" "$(pages "$@")" "extents"
	# Cached pages may be stale for a second; the machine may be slow.
	wait_until 10 read_page x "$last" || fail "a cached read stays stale"
	# Holes of an image that was just written are not kept in the map.
	[[ -n $young ]] ||
		assert_eq "$(stat -c %b "$MNT/x")" $(($# * 8)) "st_blocks"
	assert_same_bytes "$MNT/x" "$TEST_TMP/image"
}

# stays_open OFFSET: reads zeros there, and reads through the same descriptor until
# it gets other bytes.
stays_open() {
	python3 - "$MNT/x" "$1" "$TEST_TMP/has-read" <<-'PYTHON'
		import os, sys, time
		fd = os.open(sys.argv[1], os.O_RDONLY)
		at = int(sys.argv[2])
		assert os.pread(fd, 4096, at) == bytes(4096)
		open(sys.argv[3], "w").close()
		end = time.monotonic() + 20
		while os.pread(fd, 4096, at) == bytes(4096):
		    if time.monotonic() > end:
		        sys.exit("still zeros")
		    time.sleep(0.05)
	PYTHON
}

write_page() {
	dd if="$TEST_TMP/pattern" of="$1" bs=4096 seek="$2" conv="notrunc${4:+,$4}" \
		status=none ${3:+oflag=$3}
}

# device_case COMMAND: COMMAND prepares the image of zeros.
device_case() {
	local young=
	make_device zero 16M image
	local device=$LOOP
	"$1" "$TEST_TMP/image"
	start "$device"

	say "synced"
	write_page "$device" 100 "" fsync
	seen 100
	assert_eq "$(log_lines)" 1 "lines in the log"

	say "not synced"
	write_page "$device" 200
	seen 100 200

	say "past the page cache"
	write_page "$device" 300 direct
	seen 100 200 300

	say "through a file that stays open, and is not synced"
	exec 8<>"$device"
	dd if="$TEST_TMP/pattern" bs=4096 seek=400 conv=notrunc status=none >&8
	seen 100 200 300 400
	exec 8>&-

	say "while a reader has the file open and has read that page"
	local reader
	rm -f "$TEST_TMP/has-read"
	stays_open $((500 * 4096)) &
	reader=$!
	wait_until 10 test -e "$TEST_TMP/has-read" || fail "it reads nothing"
	write_page "$device" 500
	wait "$reader" || fail "an open descriptor stays stale"
	seen 100 200 300 400 500

	say "a read notices the change before any seek"
	write_page "$device" 600
	read_page x 600 iflag=direct || fail "an uncached read is stale"
	seen 100 200 300 400 500 600

	say "zeros: data becomes a hole"
	dd if=/dev/zero of="$device" bs=4096 seek=600 count=1 conv=notrunc \
		status=none
	assert_eq "$(ask extents "$MNT/x")" "$(pages 100 200 300 400 500)" "extents"
	assert_same_bytes "$MNT/x" "$TEST_TMP/image"

	say "discarded, and zeroed by fallocate"
	blkdiscard -o $((200 * 4096)) -l 4096 "$device"
	assert_eq "$(ask extents "$MNT/x")" "$(pages 100 300 400 500)" "extents"
	fallocate -p -o $((300 * 4096)) -l 4096 "$device"
	assert_eq "$(ask extents "$MNT/x")" "$(pages 100 400 500)" "extents"
	blkdiscard -z -o $((400 * 4096)) -l 4096 "$device"
	assert_eq "$(ask extents "$MNT/x")" "$(pages 100 500)" "extents"
	assert_same_bytes "$MNT/x" "$TEST_TMP/image"

	say "without a write no line is logged"
	local lines
	lines=$(log_lines)
	dd if="$device" of=/dev/null bs=1M status=none
	assert_eq "$(ask extents "$MNT/x")" "$(pages 100 500)" "extents"
	assert_eq "$(log_lines)" "$lines" "lines in the log"
	umount_fs
	loop_free "$device"
}

# The first seconds after the file below was changed end: this is no write.
young_case() {
	local before
	say "a device over a file that was just made"
	make_device zero 1M image
	mount_fs "x=$LOOP"
	assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA"
	before=$(stat -c '%y %z' "$MNT/x")
	wait_settled "$TEST_TMP/image"
	assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA after some seconds"
	assert_eq "$(stat -c '%y %z' "$MNT/x")" "$before" "times"
	assert_eq "$(log_lines)" 0 "lines in the log"

	say "a program writes to that file"
	write_page "$TEST_TMP/image" 100 "" fsync
	assert_eq "$(ask data 0 "$MNT/x")" 409600 "SEEK_DATA"
	assert_ne "$(stat -c '%y %z' "$MNT/x")" "$before" "times"
	assert_eq "$(log_lines)" 1 "lines in the log"
	# A backup that was made during that write is out of date.
	before=$(stat -c '%y %z' "$MNT/x")
	wait_settled "$TEST_TMP/image"
	assert_eq "$(ask data 0 "$MNT/x")" 409600 "SEEK_DATA"
	assert_ne "$(stat -c '%y %z' "$MNT/x")" "$before" "times, when it has settled"
	assert_eq "$(log_lines)" 1 "lines in the log"
	umount_fs
	loop_free "$LOOP"
}

image_case() {
	local young=yes
	say "an image"
	python3 "$LIB/devices.py" make zero 16M "$TEST_TMP/image"
	start "$TEST_TMP/image"
	write_page "$TEST_TMP/image" 100 "" fsync
	seen 100
	assert_eq "$(log_lines)" 1 "lines in the log"
	write_page "$TEST_TMP/image" 200
	seen 100 200
	write_page "$TEST_TMP/image" 300 direct
	seen 100 200 300
	fallocate -p -o $((200 * 4096)) -l 4096 "$TEST_TMP/image"
	assert_eq "$(ask extents "$MNT/x")" "$(pages 100 300)" "extents"
	wait_settled "$TEST_TMP/image"
	assert_eq "$(ask extents "$MNT/x")" "$(pages 100 300)" "extents"
	assert_eq "$(stat -c %b "$MNT/x")" 16 "st_blocks after the image is settled"
	umount_fs
}

# A mount forgets all at the end of the time after a change of the file below.
device_case wait_settled
say "the same, where the file system knows the hole"
device_case dig_holes
young_case
image_case
