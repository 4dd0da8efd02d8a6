#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Another client writes to a mounted export. Unless the export is read-only or
# -o unshared says that no other program writes, each search and each new reader
# sees the write at once, and a reader of old within a second. A writable mount
# needs -o unshared.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/nbd.sh
. "$LIB/nbd.sh"
requires_fuse
requires nbdkit qemu-io

size=$((16 << 20))
image=$TEST_TMP/image
truncate -s $size "$image"
python3 - "$TEST_TMP/pattern" <<-'END'
	import sys
	open(sys.argv[1], "wb").write(b"\7" * 4096)
END

# write_page PAGE: another client of the export does. Its bytes are 7.
write_page() {
	qemu-io -f raw -c "write -P 7 $(($1 * 4096)) 4096" "$NBD" >"$TEST_TMP/client"
}

zero_page() {
	qemu-io -f raw -c "write -z -u $(($1 * 4096)) 4096" "$NBD" >"$TEST_TMP/client"
}

# pages PAGE...: prints the extents of the export where only these pages are data.
pages() {
	local at=0 page
	for page; do
		((page * 4096 == at)) || echo "$at $((page * 4096 - at)) hole"
		echo "$((page * 4096)) 4096 data"
		at=$((page * 4096 + 4096))
	done
	echo "$at $((size - at)) hole"
}

# is_written PAGE [DD-OPTION...]: the mount shows what the client wrote there.
is_written() {
	dd if="$MNT/x" bs=4096 skip="$1" count=1 status=none "${@:2}" |
		cmp -s - "$TEST_TMP/pattern"
}

# Reads page $1 of zeros, and goes on through the same descriptor, or mapping, until
# it gets other bytes.
stays_open() {
	python3 - "$MNT/x" "$1" "$2" "$TEST_TMP/has-read" <<-'PYTHON'
		import mmap, os, sys, time
		path, page, how, flag = sys.argv[1:]
		fd, at = os.open(path, os.O_RDONLY), int(page) * 4096
		if how == "mmap":
		    memory = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
		    read = lambda: memory[at:at + 4096]
		else:
		    read = lambda: os.pread(fd, 4096, at)
		assert read() == bytes(4096)
		open(flag, "w").close()
		end = time.monotonic() + 20
		while read() == bytes(4096):
		    if time.monotonic() > end:
		        sys.exit("still zeros")
		    time.sleep(0.05)
		assert read() == b"\7" * 4096
	PYTHON
}

# old_reader PAGE HOW: such a reader sees a write.
old_reader() {
	local reader
	rm -f "$TEST_TMP/has-read"
	stays_open "$@" &
	reader=$!
	wait_until 10 test -e "$TEST_TMP/has-read" || fail "it reads nothing"
	write_page "$1"
	wait "$reader" || fail "a reader of old ($2) stays stale"
}

# start OPTIONS: mounts the export, which is one hole, and has the kernel cache it.
start() {
	mount_fs -o "$1" "x=$NBD"
	assert_eq "$(ask extents "$MNT/x")" "$(pages)" "extents at first"
	cat "$MNT/x" >"$TEST_TMP/copy"
	assert_same_bytes "$TEST_TMP/copy" "$image"
}

say "an export that may be written"
nbd_start a unix nbdkit file "$image"
start ro
assert_contains "$(<"$FS_LOG")" "NBD does not tell of other writers" "the log"
write_page 100
is_written 100 || fail "a new reader gets old bytes"
assert_eq "$(ask extents "$MNT/x")" "$(pages 100)" "extents"
write_page 200
assert_eq "$(ask data $((101 * 4096)) "$MNT/x")" $((200 * 4096)) "SEEK_DATA"
write_page 300
is_written 300 iflag=direct || fail "a direct reader gets old bytes"
old_reader 400 read
old_reader 500 mmap
zero_page 200
assert_eq "$(ask extents "$MNT/x")" "$(pages 100 300 400 500)" "extents"
assert_same_bytes "$MNT/x" "$image"
assert_eq "$(grep -c "other writers" "$FS_LOG")" 1 "lines about writers"
before=$(stat -c %y "$MNT/x")
moved() {
	[[ $(stat -c %y "$MNT/x") != "$before" ]]
}
wait_until 10 moved || fail "the times stay"
umount_fs

say "the same, and -o unshared: nothing is read again"
truncate -s 0 "$image"
truncate -s $size "$image"
start ro,unshared
before=$(stat -c %y "$MNT/x")
write_page 100 # this breaks the promise
assert_eq "$(ask extents "$MNT/x")" "$(pages)" "extents"
assert_eq "$(stat -c '%y %b' "$MNT/x")" "$before 0" "times, blocks"
assert_eq "$(<"$FS_LOG")" "" "the log"
umount_fs

say "a writable mount"
run_status "$FS" -o rw "x=$NBD" "$MNT"
assert_eq "$STATUS" 2 "status"
assert_eq "$ERR" "blksparsefs: $NBD: NBD can neither lock an export nor tell of its other writers; give -o unshared as well if no other program writes to it, or mount it with -o ro" \
	"message"
not_mounted "$MNT" || fail "it is mounted"
mount_fs -o rw,unshared "x=$NBD"
dd if="$TEST_TMP/pattern" of="$MNT/x" bs=4096 seek=7 conv=notrunc,fsync status=none
cmp -s -n 4096 -i $((7 * 4096)):0 "$image" "$TEST_TMP/pattern" ||
	fail "the server does not have it"
assert_same_bytes "$MNT/x" "$image"
umount_fs
nbd_forget a

say "an export that is read-only"
truncate -s 0 "$image"
truncate -s $size "$image"
nbd_start a unix nbdkit -r file "$image"
start ro
before=$(stat -c '%y %b' "$MNT/x")
for _ in 1 2; do
	assert_eq "$(ask extents "$MNT/x")" "$(pages)" "extents"
done
assert_eq "$(stat -c '%y %b' "$MNT/x")" "$before" "times, blocks"
assert_eq "$(<"$FS_LOG")" "" "the log"
umount_fs
run_status "$FS" -o rw,unshared "x=$NBD" "$MNT"
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "$NBD is served read-only; have its server allow writing first" \
	"message"

say "-o unshared of an image, whose writers are seen all the same"
wait_settled "$image"
mount_fs -o unshared "x=$image"
assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA"
dd if="$TEST_TMP/pattern" of="$image" bs=4096 seek=9 conv=notrunc,fsync status=none
assert_eq "$(ask data 0 "$MNT/x")" $((9 * 4096)) "SEEK_DATA"
umount_fs
