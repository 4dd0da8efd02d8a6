#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Of eight devices of a mount two fail and two hang. Meanwhile the others are read
# and written, and hold what fsync promised. Writers of those that fail get EIO,
# and those of devices that hang succeed when these go on; in the end all are served
# again. long-half-fails.sh does this with more devices.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
requires python3
requires jq
requires_fuse
requires_loop

SIZE=$((256 << 10)) # of each device
many=$(dirname "$0")/many_files.py
sources=() hanging=()
failing=("$TEST_TMP"/lower{1,2})
good_files=("$MNT"/g{1..4}) fail_files=("$MNT"/b{1,2}) hang_files=("$MNT"/b{3,4})

# The devices b1 to b4 are over disks of losing-disk.c.
end_disk() {
	kill -CONT "$1"
	umount "$2" || umount -l "$2"
	wait "$1"
}
for name in b{1..4} g{1..4}; do
	head -c $SIZE /dev/urandom >"$TEST_TMP/$name"
	cp "$TEST_TMP/$name" "$TEST_TMP/$name.image"
	image=$TEST_TMP/$name.image
	if [[ $name == b* ]]; then
		lower=$TEST_TMP/lower${name#b}
		mkdir "$lower"
		"$BUILD/tests/faults/losing-disk" "$image" 1 "$lower" &
		cleanup end_disk $! "$lower"
		[[ $name != b[34] ]] || hanging+=($!)
		image=$lower/disk
		wait_until 20 test -e "$image" || fail "the disk of $name fails"
	fi
	loop_new "$image"
	sources+=("$name=$LOOP")
done

# fail_some PER-MILLE, hang, go_on
fail_some() {
	local where
	for where in "${failing[@]}"; do
		echo "errors $1" >"$where/control"
	done
}
hang() {
	kill -STOP "${hanging[@]}"
}
go_on() {
	kill -CONT "${hanging[@]}"
}
requests_wait() {
	(($("$TOOL" stat --json "$MNT" |
		jq '[.mounts[0].files[] | select(.requests > 0)] | length') == 2))
}

# written NAME BYTE: prints what the device holds after many_files.py wrote that.
written() {
	head -c 64K "$TEST_TMP/$1"
	head -c 64K /dev/zero | tr '\0' "$2"
	head -c 64K /dev/zero
	tail -c 64K "$TEST_TMP/$1"
}

# others_are_served BYTE: reads and writes the four others, within 30 seconds.
others_are_served() {
	local name pid
	python3 "$many" read "${good_files[@]}" >"$TEST_TMP/read" &&
		python3 "$many" write "$1" "${good_files[@]}" >"$TEST_TMP/wrote" &
	pid=$!
	if ! wait_until 30 gone_or_zombie "$pid"; then
		go_on
		fail "the others wait for devices that hang"
	fi
	wait "$pid"
	assert_lacks "$(<"$TEST_TMP/read")" E "the others' digests"
	assert_eq "$(<"$TEST_TMP/wrote")" "$(printf 'g%d ok\n' {1..4})" \
		"the others' writers"
	for name in g{1..4}; do
		written "$name" "$1" | cmp - "$TEST_TMP/$name.image" ||
			fail "$name lacks the bytes that fsync promised"
	done
}

mount_fs -o rw "${sources[@]}"
others_are_served a
fail_some 1000
hang
python3 "$many" write b "${hang_files[@]}" >"$TEST_TMP/hung" &
writers=$!
wait_until 20 requests_wait || fail "the writers do not wait"
python3 "$many" write b "${fail_files[@]}" >"$TEST_TMP/failed"
assert_eq "$(<"$TEST_TMP/failed")" $'b1 EIO\nb2 EIO' "writers of failing devices"
others_are_served b
python3 "$many" read "${fail_files[@]}" >"$TEST_TMP/failed"
assert_eq "$(<"$TEST_TMP/failed")" $'b1 EIO\nb2 EIO' "readers of failing devices"
! gone_or_zombie "$writers" || fail "the devices do not hang"
go_on
wait "$writers"
assert_eq "$(<"$TEST_TMP/hung")" $'b3 ok\nb4 ok' "writers of hanging devices"
fail_some 0
# The first fsync may report that zeros failed to be written before.
for _ in 1 2; do
	python3 "$many" write c "${fail_files[@]}" >"$TEST_TMP/failed"
done
assert_eq "$(<"$TEST_TMP/failed")" $'b1 ok\nb2 ok' "writers of mended devices"
umount_fs
for name in b1c b2c b3b b4b; do
	written "${name%?}" "${name: -1}" | cmp - "$TEST_TMP/${name%?}.image" ||
		fail "${name%?} has wrong bytes"
done
