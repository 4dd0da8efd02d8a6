#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A writer is killed while a slow server has its write. Later reads wait for that
# write, also of bytes that the kernel had in its cache, and so does the end of the
# mount. The times of the file move.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/nbd.sh
. "$LIB/nbd.sh"
requires_fuse
requires nbdkit

file=$MNT/x
head -c 4M /dev/zero | tr '\0' o >"$TEST_TMP/image"
head -c 4K /dev/zero | tr '\0' n >"$TEST_TMP/new"

# byte FILE [OPTION...]: its first byte.
byte() {
	dd if="$1" bs=4096 count=1 status=none "${@:2}" | cut -c 1
}

end_writer() {
	gone_or_zombie "$1" || kill -KILL "$1"
}

# kill_writer: kills the writer, which ends at once.
kill_writer() {
	local status=0
	kill -KILL "$WRITER"
	wait "$WRITER" || status=$?
	assert_eq "$status" 137 "status of the killed writer"
}

has_write() {
	grep -q ' Write id=' "$TEST_TMP/log"
}

reads() {
	[[ $(byte "$file") == "$1" ]]
}

# start_writer OPTION...: starts a writer, and waits until the server has the write.
start_writer() {
	: >"$TEST_TMP/log"
	dd if="$TEST_TMP/new" of="$file" bs=4096 conv=notrunc status=none "$@" &
	WRITER=$!
	cleanup end_writer "$WRITER"
	wait_until 20 has_write || fail "the server got no write"
}

start() {
	cp "$TEST_TMP/image" "$TEST_TMP/disk"
	nbd_start slow unix nbdkit --filter=log --filter=delay file \
		"$TEST_TMP/disk" wdelay=3 logfile="$TEST_TMP/log"
	mount_fs -o rw,unshared "x=$NBD"
}

end() {
	umount_fs
	nbd_forget slow
}

for way in direct cached; do
	say "$way"
	start
	options=()
	[[ $way == cached ]] || options=(oflag=direct)
	assert_eq "$(byte "$file")" o "the byte before"
	before=$(stat -c %y "$file")
	start_writer "${options[@]}"
	# The reader has the kernel cache the page once more.
	[[ $way == cached ]] || assert_eq "$(byte "$file")" o "the byte beside it"
	kill_writer
	assert_eq "$(byte "$TEST_TMP/disk")" o "the server's byte, before"
	wait_until 20 reads n || fail "the old bytes stay in the cache"
	assert_eq "$(byte "$TEST_TMP/disk")" n "the server's byte"
	assert_eq "$(byte "$file" iflag=direct)" n "read past the cache"
	[[ $(stat -c %y "$file") != "$before" ]] || fail "the times stay"
	end
done

say "the end of the mount"
start
start_writer oflag=direct
kill_writer
assert_eq "$(byte "$TEST_TMP/disk")" o "the server's byte, before"
umount_fs
assert_eq "$(byte "$TEST_TMP/disk")" n "the server's byte, after"
nbd_forget slow
