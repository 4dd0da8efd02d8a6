# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For tests of devices whose unallocated parts are known to be zero: writes an
# image to a new one in each of the ways that there are. The test has two
# functions: new_target makes the device, $TARGET, of $TARGET_SIZE bytes;
# end_target WAY checks what it took for $TARGET_DATA bytes of data, and removes
# the device.

# shellcheck disable=SC2034 # for the tests
TARGET_IMAGE=$TEST_TMP/image

# targets_make_image SIZE [UNIT]: makes an image with 1000 scattered pieces of
# data, in units of that many bytes, 4096 at first.
targets_make_image() {
	TARGET_UNIT=${2:-4096}
	truncate -s "$1" "$TARGET_IMAGE"
	TARGET_SIZE=$(stat -c %s "$TARGET_IMAGE")
	TARGET_DATA=$(python3 - "$TARGET_IMAGE" "$TARGET_UNIT" <<-'PYTHON'
		import os, random, sys
		unit = int(sys.argv[2])
		fd = os.open(sys.argv[1], os.O_RDWR)
		units = os.fstat(fd).st_size // unit
		dice = random.Random(13)
		places = dice.sample(range(units), 1000)
		for at in places:
		    for _ in range(dice.randrange(1, 3)):
		        off = at * unit + dice.randrange(unit // 4096) * 4096
		        os.pwrite(fd, dice.randbytes(4096), off)
		print(len(places) * unit)
	PYTHON
	)
}

target_is_right() {
	forget_pages "$TARGET"
	cmp -n "$TARGET_SIZE" "$TARGET" "$TARGET_IMAGE" ||
		fail_at "$1: the target has wrong bytes"
}

target_copy() {
	"$BUILD/tools/blksparse" copy --quiet --verify "$TARGET_IMAGE" "$TARGET"
}

target_recv() {
	if [[ $1 == raw ]]; then
		cat "$TARGET_IMAGE"
	else
		"$BUILD/tools/blksparse" send --quiet --format="$1" "$TARGET_IMAGE"
	fi | "$BUILD/tools/blksparse" recv --quiet --format="$1" "$TARGET"
}

# target_cp SPARSE: cp into a new mount, at once.
target_cp() {
	mount_fs -o rw "x=$TARGET"
	cp --sparse="$1" "$TARGET_IMAGE" "$MNT/x"
	sync "$MNT/x"
	umount_fs
}

target_convert() {
	mount_fs -o rw "x=$TARGET"
	qemu-img convert -n -m 16 -W -f raw -O raw "$TARGET_IMAGE" "$MNT/x"
	umount_fs
}

target_truncate() {
	mount_fs -o rw "x=$TARGET"
	truncate -s 0 "$MNT/x"
	truncate -s "$TARGET_SIZE" "$MNT/x"
	dd if="$TARGET_IMAGE" of="$MNT/x" bs=1M conv=notrunc,fsync status=none
	umount_fs
}

# The image in each of the ways.
targets_all() {
	local way
	for way in "copy" "recv native" "recv raw" "recv rbd-diff" "cp auto" \
		"cp never" "truncate" "convert"; do
		[[ $way != convert ]] || command -v qemu-img >/dev/null || continue
		new_target
		# shellcheck disable=SC2086 # words
		"target_${way%% *}" ${way#"${way%% *}"}
		target_is_right "$way"
		end_target "$way"
	done
}
