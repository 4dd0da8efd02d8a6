#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# blksparse copy between devices and files of all shapes: the bytes are right,
# zeros become holes, each block is read once, or not at all if the file system
# knows that it is zero, and refused targets stay intact.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3 jq

# old_device SIZE: makes a loop device $OLD, filled with 0xAA.
old_device() {
	head -c "$1" /dev/zero | tr '\0' '\252' >"$TEST_TMP/old.$1"
	loop_new "$TEST_TMP/old.$1"
	OLD=$LOOP
}

copy_tool() {
	"$TOOL" copy "$@"
}

# check_copy KIND SIZE [LOSETUP-OPTION...]: copies such a device to a file and to
# a larger device, and the file to a device of the same size.
check_copy() {
	local source size data
	say "$*"
	make_device "$1" "$2" device "${@:3}"
	source=$LOOP
	size=$(blockdev --getsize64 "$source")
	count_reads "$source" "$TOOL" copy --json "$source" "$TEST_TMP/copy" \
		>"$TEST_TMP/json"
	assert_same_bytes "$source" "$TEST_TMP/copy"
	# The opening reads one block, as a trial.
	assert_le "$READ" $((size + 4096)) "bytes read"
	grep -Eq ',"seconds":[0-9]+\.[0-9]{3}}$' "$TEST_TMP/json" ||
		fail "the seconds of $(<"$TEST_TMP/json")"
	data=$(jq .data "$TEST_TMP/json")
	assert_eq $((data + $(jq .hole "$TEST_TMP/json"))) "$size" "size"
	assert_le "$(($(stat -c %b "$TEST_TMP/copy") * 512))" \
		$((data + 65536)) "allocated size of the copy"
	copy_known "$source" "$data" "$1"

	old_device $((size + 1048576))
	"$TOOL" copy --verify --quiet "$source" "$OLD"
	cmp -n "$size" "$source" "$OLD" || fail "the device differs from its source"
	tail -c 1048576 "$OLD" | cmp - <(head -c 1048576 /dev/zero |
		tr '\0' '\252') || fail "the tail was not kept"
	loop_free "$OLD"

	old_device "$size"
	"$TOOL" copy --quiet --jobs=1 "$TEST_TMP/copy" "$OLD"
	assert_same_bytes "$source" "$OLD"
	loop_free "$OLD"
	loop_free "$source"
}

# copy_known SOURCE DATA KIND: copies it once more when the file system knows its
# holes, from which only a few granules are read.
copy_known() {
	fallocate --dig-holes "$TEST_TMP/device"
	count_reads "$1" "$TOOL" copy --quiet "$1" "$TEST_TMP/copy"
	assert_same_bytes "$1" "$TEST_TMP/copy"
	# Short holes between data are read along with it.
	case $3 in zero | first | last | tenth)
		assert_le "$READ" $(($2 * 5 / 4 + 65536)) \
			"bytes read where holes are known"
		;;
	esac
}

for kind in zero data first last alternating edges mixed; do
	check_copy "$kind" $(((3 << 20) + 512))
done
check_copy mixed 512
check_copy mixed 8M --sector-size 4096
check_copy tenth 64M

say "an existing file as the target"
make_device mixed 4M device
source=$LOOP
old_device 8388608
cp "$TEST_TMP/old.8388608" "$TEST_TMP/longer"
"$TOOL" copy --quiet "$source" "$TEST_TMP/longer"
assert_same_bytes "$source" "$TEST_TMP/longer"

say "a target that is zero"
truncate -s 4M "$TEST_TMP/blank"
loop_new "$TEST_TMP/blank"
"$TOOL" copy --quiet --target-is-zero "$source" "$LOOP"
assert_same_bytes "$source" "$LOOP"

say "the tail of a larger device"
python3 "$LIB/devices.py" make mixed 3000001 "$TEST_TMP/odd"
for tail in keep zero discard; do
	for from in device odd; do
		size=$(stat -c %s "$TEST_TMP/$from")
		old_device 8388608
		"$TOOL" copy --quiet --tail="$tail" "$TEST_TMP/$from" "$OLD"
		cmp -n "$size" "$TEST_TMP/$from" "$OLD" || fail "$tail: bytes"
		# Loop devices give zeros after a discard, so it shows.
		byte='\252'
		[[ $tail == keep ]] || byte='\0'
		# Only whole blocks are discarded.
		[[ $tail != discard ]] || size=$(((size + 511) / 512 * 512))
		tail -c +$((size + 1)) "$OLD" | cmp - <(head -c \
			$((8388608 - size)) /dev/zero | tr '\0' "$byte") ||
			fail "$tail: the tail of $from"
		loop_free "$OLD"
	done
done

say "refused targets stay untouched"
sum=$(sha256sum <"$TEST_TMP/old.8388608")
old_device 2097152
small=$LOOP
run_status copy_tool "$source" "$small"
assert_eq "$STATUS" 1 "status with a device that is too small"
assert_contains "$ERR" "$small is too small" "message"
run_status copy_tool "$source" "$source"
assert_eq "$STATUS" 2 "status of a device to itself"
run_status copy_tool "$TEST_TMP/device" "$source"
assert_eq "$STATUS" 2 "status of an image to its loop device"
run_status copy_tool "$source" "$TEST_TMP/device"
assert_eq "$STATUS" 2 "status of a loop device to its image"
ln "$TEST_TMP/device" "$TEST_TMP/device.link"
unlink "$TEST_TMP/device"
run_status copy_tool "$TEST_TMP/device.link" "$source"
assert_eq "$STATUS" 2 "status of an image of another name to its loop device"
ln "$TEST_TMP/device.link" "$TEST_TMP/device"
# Loop devices over one image; two of them show the same bytes.
truncate -s 8M "$TEST_TMP/shared"
loop_new "$TEST_TMP/shared" --sizelimit 4M
first=$LOOP
loop_new "$TEST_TMP/shared" --offset 4M
second=$LOOP
loop_new "$TEST_TMP/shared"
run_status copy_tool "$first" "$LOOP"
assert_eq "$STATUS" 2 "status of a loop device to one that shows more of its image"
assert_contains "$ERR" "show the same bytes" "message"
partition add "$LOOP" 1 5242880 1048576
cleanup eval "partition del $LOOP 1 2>/dev/null || true"
number=$(<"/sys/class/block/${LOOP##*/}/${LOOP##*/}p1/dev")
mknod "$TEST_TMP/part" b "${number%:*}" "${number#*:}"
for other in "$second" "$LOOP" "$TEST_TMP/shared"; do
	run_status copy_tool "$TEST_TMP/part" "$other"
	assert_eq "$STATUS" 2 "status of a partition to $other"
	run_status copy_tool "$other" "$TEST_TMP/part"
	assert_eq "$STATUS" 2 "status of $other to a partition"
done
printf first | dd of="$TEST_TMP/shared" conv=notrunc status=none
"$TOOL" copy --quiet "$first" "$second"
cmp -n 4194304 "$TEST_TMP/shared" "$TEST_TMP/shared" 0 4194304 ||
	fail "refused to copy one half of an image to the other"
run_status copy_tool "$source" /dev/no-such-device
assert_eq "$STATUS" 1 "status of a device that is not there"
[[ ! -e /dev/no-such-device ]] || fail "copy made a file in /dev"
run_status copy_tool "$TEST_TMP/none" "$small"
assert_eq "$STATUS" 1 "status of a source that is not there"
assert_contains "$ERR" "$TEST_TMP/none: No such file" "message"
run_status copy_tool "$source"
assert_eq "$STATUS" 2 "status without a target"
run_status copy_tool --tail=cut "$source" "$small"
assert_eq "$STATUS" 2 "status of a tail that cannot be"
run_status env -C "$TEST_TMP" "$TOOL" copy "$source" -
assert_eq "$STATUS" 2 "status for standard output"
[[ ! -e $TEST_TMP/- ]] || fail "copy made a file named -"
for jobs in 65 0 -1; do
	run_status copy_tool "--jobs=$jobs" "$source" "$small"
	assert_eq "$STATUS" 2 "status of $jobs jobs"
	assert_contains "$ERR" "--jobs: $jobs is not from 1 to 64" "message"
done
run_status copy_tool "$source" "$TEST_TMP/none/below/x"
assert_eq "$STATUS" 1 "status for a folder that does not exist"
assert_contains "$ERR" "there is no folder $TEST_TMP/none)" "message"
run_status copy_tool "$TEST_TMP/nosuch" "$small"
assert_eq "$STATUS" 1 "status for a source that does not exist"
assert_lacks "$ERR" "lsblk" "message"
mkdir "$TEST_TMP/full"
mount -t tmpfs -o size=1M none "$TEST_TMP/full"
cleanup umount "$TEST_TMP/full"
head -c 4M /dev/urandom >"$TEST_TMP/random"
run_status copy_tool "$TEST_TMP/random" "$TEST_TMP/full/x"
assert_eq "$STATUS" 1 "status on a full file system"
assert_contains "$ERR" "No space left on device; $TEST_TMP/full/x is incomplete: " \
	"message"
assert_contains "$ERR" " of 4194304 bytes were done" "message"
mkdir "$TEST_TMP/folder"
run_status copy_tool "$source" "$TEST_TMP/folder"
assert_eq "$STATUS" 1 "status for a folder"
assert_contains "$ERR" "$TEST_TMP/folder is a directory; give" "message"
mkdir -p "$TEST_TMP/used"
loop_new "$TEST_TMP/old.8388608"
mkfs.ext4 -q -F "$LOOP"
mount "$LOOP" "$TEST_TMP/used"
cleanup umount "$TEST_TMP/used"
run_status copy_tool "$source" "$LOOP"
assert_eq "$STATUS" 1 "status of a target that is mounted"
assert_contains "$ERR" "is mounted on $TEST_TMP/used" "message"

say "a source that is a file of a mount"
mount_fs "$source"
"$TOOL" copy --quiet "$MNT/${source##*/}" "$TEST_TMP/through"
assert_same_bytes "$source" "$TEST_TMP/through"
