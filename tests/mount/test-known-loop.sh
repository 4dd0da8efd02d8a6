#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Mounts, maps and copies of loop devices use the holes of the file below, and stay
# right when that file is written, truncated, moved, deleted, replaced or covered, or
# when the device shows another part of it.
# TIMEOUT: 200
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

MIB=$((1 << 20))
image=$TEST_TMP/image
head -c $((MIB / 2)) /dev/urandom >"$TEST_TMP/bytes"

# new_image SIZE: a sparse $image with data at 3 MiB.
new_image() {
	rm -f "$image"
	truncate -s "$1" "$image"
	put 3
}

# put MIB [FILE]: writes half a MiB there.
put() {
	dd if="$TEST_TMP/bytes" of="${2:-$image}" bs=1M seek="$1" conv=notrunc \
		status=none
}

# first_data OFFSET: SEEK_DATA in the mount.
first_data() {
	ask data "$1" "$MNT/x"
}

data_at() {
	[[ $(first_data "$1") == "$2" ]]
}

# shows_device: the mount, a copy of it and the map of the device all agree with the
# device. UNREADABLE is the number of bytes at its end that cannot be read.
shows_device() {
	local size
	size=$(($(blockdev --getsize64 "$LOOP") - ${UNREADABLE:-0}))
	cmp <(on_device "$size") <(head -c "$size" "$MNT/x") ||
		fail_at "$1: the mount differs from the device"
	[[ -n ${UNREADABLE:-} ]] || {
		cp --sparse=auto "$MNT/x" "$TEST_TMP/copy"
		cmp <(on_device "$size") "$TEST_TMP/copy" ||
			fail_at "$1: a copy of the mount differs"
	}
	assert_eq "$("$TOOL" map --known=auto "$LOOP")" \
		"$("$TOOL" map --known=off "$LOOP")" "$1: the map"
}

on_device() {
	dd if="$LOOP" bs=1M iflag=direct,count_bytes count="$1" status=none
}

say "holes of 64 GiB are not read"
new_image 64G
loop_new "$image"
mount_fs "x=$LOOP"
count_reads "$LOOP" first_data $((4 * MIB))
assert_le "$READ" $((4 * MIB)) "bytes read to know the holes"
umount_fs
count_reads "$LOOP" "$TOOL" map "$LOOP"
assert_le "$READ" $((4 * MIB)) "bytes read for the map"
loop_free "$LOOP"

say "a file that was just written"
new_image 64M
loop_new "$image"
mount_fs "x=$LOOP"
mtime=$(stat -c %.Y "$MNT/x")
cmp "$MNT/x" "$image"
shows_device "young"
count_reads "$LOOP" shows_device "young, again"
wait_settled "$image"
ask extents "$MNT/x" >"$TEST_TMP/extents"
shows_device "settled"
count_reads "$LOOP" ask extents "$MNT/x" >/dev/null
assert_eq "$READ" 0 "bytes read again"
assert_eq "$(stat -c %.Y "$MNT/x")" "$mtime" "time of the mounted file"
assert_eq "$(cat "$FS_LOG")" "" "messages"

say "a program that writes to the file below"
put 10
data_at $((4 * MIB)) $((10 * MIB)) || fail "the write is not seen"
assert_ne "$(stat -c %.Y "$MNT/x")" "$mtime" "time after the write"
dd if=/dev/zero of="$image" bs=4K seek=$((20 * 256)) count=1 conv=notrunc status=none
put 30
shows_device "written below"
fallocate -p -o $((3 * MIB)) -l "$MIB" "$image"
data_at 0 $((10 * MIB)) || fail "the hole is not seen"
shows_device "punched below"
wait_settled "$image"
data_at 0 $((10 * MIB)) || fail "the hole is gone"

say "a program that writes through a mapping"
# The page of 20 MiB has zeros. The second store is to a page that was dirty.
python3 - "$image" "$TEST_TMP/go" <<'PYTHON' &
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
page = mmap.mmap(fd, 4096, offset=20 << 20)
page[0] = 0
open(sys.argv[2] + ".stored", "w").close()
while not os.path.exists(sys.argv[2]):
    time.sleep(0.05)
page[0] = 1
open(sys.argv[2] + ".again", "w").close()
PYTHON
stores=$!
wait_until 20 test -e "$TEST_TMP/go.stored" || fail "no store"
data_at $((12 * MIB)) $((30 * MIB)) || fail "data where there are zeros"
wait_settled "$image"
data_at $((12 * MIB)) $((30 * MIB)) || fail "data where there are zeros"
touch "$TEST_TMP/go"
wait_until 20 test -e "$TEST_TMP/go.again" || fail "no second store"
if [[ $(stat -f -c %T "$image") == tmpfs ]]; then
	echo "not on tmpfs, which writes nothing back"
else
	data_at $((12 * MIB)) $((20 * MIB)) || fail "the store is not seen"
fi
wait "$stores"

say "programs that write to the device, past the page cache and by it"
dd if="$TEST_TMP/bytes" of="$LOOP" bs=4K count=1 seek=$((40 * 256)) conv=notrunc \
	oflag=direct status=none
data_at $((31 * MIB)) $((40 * MIB)) || fail "the direct write is not seen"
dd if="$TEST_TMP/bytes" of="$LOOP" bs=4K count=1 seek=$((35 * 256)) conv=notrunc \
	status=none
data_at $((31 * MIB)) $((35 * MIB)) || fail "the buffered write is not seen"
shows_device "written above"

say "a file that becomes shorter, then longer"
truncate -s 33M "$image"
assert_eq "$(ask data $((31 * MIB)) "$MNT/x")" \
	"$(ask data $((31 * MIB)) "$MNT/x")" "two answers"
UNREADABLE=$((31 * MIB)) shows_device "shorter"
truncate -s 64M "$image"
data_at $((31 * MIB)) ENXIO || fail "data in the new part"
shows_device "longer again"
truncate -s 80M "$image"
losetup --set-capacity "$LOOP"
has_grown() {
	(($(stat -c %s "$MNT/x") == 80 * MIB))
}
wait_until 10 has_grown || fail "no new size"
put 70
data_at $((31 * MIB)) $((70 * MIB)) || fail "the write past the old end is not seen"
shows_device "a larger device"

say "a file that is moved, deleted and replaced"
mv "$image" "$image.moved"
put 50 "$image.moved"
data_at $((31 * MIB)) $((50 * MIB)) || fail "a write to the moved file is not seen"
exec 5<>"$image.moved"
rm "$image.moved"
new_image 80M
put 60 /proc/self/fd/5
data_at $((51 * MIB)) $((60 * MIB)) || fail "a write to the deleted file is not seen"
shows_device "deleted"
umount_fs
mount_fs "x=$LOOP"
data_at 0 $((10 * MIB)) || fail "the other file's holes are shown"
shows_device "deleted, in a new mount"
umount_fs
exec 5>&-
loop_free "$LOOP"

say "another part of the file"
new_image 64M
loop_new "$image" --sizelimit $((16 * MIB))
mount_fs "x=$LOOP"
data_at 0 $((3 * MIB)) || fail "no data"
put 18
python3 "$LIB/loop.py" offset "$LOOP" $((8 * MIB))
data_at 0 $((10 * MIB)) || fail "the other offset is not seen"
shows_device "another offset"
umount_fs
loop_free "$LOOP"

say "another file"
new_image 16M
truncate -s 16M "$TEST_TMP/other"
put 7 "$TEST_TMP/other"
loop_new "$image" -r
mount_fs "x=$LOOP"
data_at 0 $((3 * MIB)) || fail "no data"
python3 "$LIB/loop.py" file "$LOOP" "$TEST_TMP/other"
data_at 0 $((7 * MIB)) || fail "the other file is not seen"
put 12 "$TEST_TMP/other"
data_at $((8 * MIB)) $((12 * MIB)) || fail "the write to the other file is not seen"
shows_device "another file"
umount_fs
loop_free_of "$LOOP" "$TEST_TMP/other"

say "a mount over the file itself, and over its folder"
new_image 64M
loop_new "$image"
top=$MNT
MNT=$image mount_fs "$LOOP"
assert_eq "$(timeout 20 python3 "$LIB/ask.py" data 0 "$image")" $((3 * MIB)) \
	"SEEK_DATA of the file that covers its own image"
MNT=$image umount_fs
mkdir "$TEST_TMP/folder"
mv "$image" "$TEST_TMP/folder/image"
for when in first second; do
	MNT=$TEST_TMP/folder mount_fs "image=$LOOP"
	for i in 1 2 3; do
		dd if="$TEST_TMP/bytes" of="$LOOP" bs=4K count=1 status=none \
			seek=$((i * 256)) conv=notrunc,fsync
		assert_eq "$(timeout 20 python3 "$LIB/ask.py" data $((i * MIB)) \
			"$TEST_TMP/folder/image")" $((i * MIB)) "SEEK_DATA, $when"
	done
	MNT=$TEST_TMP/folder umount_fs
done
MNT=$top
loop_free "$LOOP"

say "a loop device over a file of another mount"
image=$TEST_TMP/image
new_image 64M
loop_new "$image"
lower=$LOOP
mount_fs "x=$lower"
loop_new "$MNT/x" -r
upper=$LOOP
for known in auto all; do
	assert_eq "$(timeout 30 "$TOOL" map --known=$known "$upper")" \
		"$("$TOOL" map --known=off "$lower")" "the map, known=$known"
done
loop_free "$upper"
umount_fs
loop_free "$lower"
