#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A loop device knows the holes of the file below it: with an offset and a size
# limit, as partitions, on each trusted file system, and not where the file is
# another one than it seems. test-known-loop-race.sh has programs that write.
#
# TIMEOUT: 120 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
requires_loop
requires python3

layers=$BUILD/tests/faults/known-layers
image=$TEST_TMP/image

# answers DEVICE: its answers; fails if a claim is not true.
answers() {
	"$layers" "$1" || fail_at "a claim of $1 is wrong"
}

# assert_answers DEVICE ANSWER...
assert_answers() {
	assert_eq "$(answers "$1")" "$(printf '%s\n' "${@:2}")" "answers of $1"
}

# Data in [1 MiB, 2 MiB) and [5 MiB, 5 MiB + 4 KiB) of 8 MiB.
make_image() {
	rm -f "$image"
	truncate -s 8M "$image"
	stale $MIB | dd of="$image" bs=1M seek=1 conv=notrunc status=none
	stale 4096 | dd of="$image" bs=4096 seek=$((5 << 8)) conv=notrunc \
		status=none
}

# assert_all DEVICE: it has the answers of that image.
assert_all() {
	assert_eq "$(answers "$1")" "zeros 0 $MIB
unknown $MIB $MIB
zeros $((2 * MIB)) $((3 * MIB))
unknown $((5 * MIB)) 4096
zeros $((5 * MIB + 4096)) $((3 * MIB - 4096))" "answers of $1"
}

# assert_none DEVICE: nothing is known of it.
assert_none() {
	assert_eq "$(answers "$1")" "unknown 0 $(blockdev --getsize64 "$1")" \
		"answers of $1"
}

# assert_names DEVICE NAMES: the layers' names, of which these are the first.
assert_names() {
	assert_contains "$("$TOOL" map --summary --verbose "$1" 2>&1 >/dev/null)" \
		"$2" "the names of the layers of $1"
}

if ! python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 20)
sys.exit(os.lseek(fd, 0, os.SEEK_HOLE) != 0)' "$TEST_TMP/probe"; then
	skip "the file system of $TEST_TMP reports no holes"
fi

say "the whole file"
make_image
loop_new "$image"
assert_all "$LOOP"
loop_free "$LOOP"

say "direct I/O to the file"
loop_new "$image" --direct-io=on
assert_all "$LOOP"
loop_free "$LOOP"

say "a part of the file"
loop_new "$image" --offset $((MIB / 2)) --sizelimit $((2 * MIB))
assert_answers "$LOOP" "zeros 0 $((MIB / 2))" "unknown $((MIB / 2)) $MIB" \
	"zeros $((3 * MIB / 2)) $((MIB / 2))"
loop_free "$LOOP"

say "partitions"
loop_new "$image"
new_partition "$LOOP" 1 $MIB $((2 * MIB))
assert_answers "${LOOP}p1" "unknown 0 $MIB" "zeros $MIB $MIB"
partition del "$LOOP" 1
loop_free "$LOOP"
loop_new "$image" --offset $((MIB / 2))
new_partition "$LOOP" 3 $MIB $((4 * MIB))
assert_answers "${LOOP}p3" "unknown 0 $((MIB / 2))" \
	"zeros $((MIB / 2)) $((3 * MIB))" \
	"unknown $((7 * MIB / 2)) 4096" \
	"zeros $((7 * MIB / 2 + 4096)) $((MIB / 2 - 4096))"
assert_names "${LOOP}p3" "${LOOP#/dev/}p3 → ${LOOP#/dev/} → image ("
partition del "$LOOP" 3
loop_free "$LOOP"

say "a size that is no multiple of a block, and one of a granule"
truncate -s $((8 * MIB + 700)) "$image"
loop_new "$image"
assert_eq "$(answers "$LOOP" | tail -n 1)" \
	"zeros $((5 * MIB + 4096)) $((3 * MIB - 4096 + 512))" "the last answer"
loop_free "$LOOP"
truncate -s $((6 * MIB + 1536)) "$image"
loop_new "$image" --offset 512
assert_eq "$(answers "$LOOP" | tail -n 1)" \
	"zeros $((5 * MIB + 4096 - 512)) $((MIB - 4096 + 1536))" \
	"the last answer"
loop_free "$LOOP"

say "a file that becomes shorter, then longer"
make_image
loop_new "$image"
truncate -s 3M "$image"
# Some kernels fail reads past the end of the file.
assert_answers "$LOOP" "zeros 0 $MIB" "unknown $MIB $MIB" \
	"zeros $((2 * MIB)) $MIB" "unknown $((3 * MIB)) $((5 * MIB))"
truncate -s 16M "$image"
assert_answers "$LOOP" "zeros 0 $MIB" "unknown $MIB $MIB" \
	"zeros $((2 * MIB)) $((6 * MIB))"
losetup --set-capacity "$LOOP"
assert_answers "$LOOP" "zeros 0 $MIB" "unknown $MIB $MIB" \
	"zeros $((2 * MIB)) $((14 * MIB))"
loop_free "$LOOP"

say "a file that is gone, or replaced by another"
make_image
loop_new "$image"
mv "$image" "$image.moved"
assert_all "$LOOP"
truncate -s 8M "$image"
rm "$image.moved"
assert_none "$LOOP"
# The name in sysfs is the one of this file now.
truncate -s 8M "$image.moved (deleted)"
assert_contains "$(<"/sys/block/${LOOP#/dev/}/loop/backing_file")" \
	"image.moved (deleted)" "the name"
assert_none "$LOOP"
loop_free "$LOOP"

say "a name with a blank, newlines and other letters"
image="$TEST_TMP/of
lines"
mkdir "$image"
image+="/dïsk 1.
"
make_image
LOOP=$(losetup -f --show "$image")
cleanup loop_free_of "$LOOP" "$(loop_image "$LOOP")"
assert_all "$LOOP"
assert_names "$LOOP" "${LOOP#/dev/} → dïsk 1.? ("
losetup -d "$LOOP"

say "a folder of another user, whose access list the kernel has not cached"
mkdir "$TEST_TMP/private"
image=$TEST_TMP/private/image
make_image
chown 65534 "$TEST_TMP/private" "$image"
chmod 750 "$TEST_TMP/private"
sync "$image"
# The owner opens the image, root attaches it, to a number that no other test takes
# meanwhile.
LOOP=$(python3 - "$image" <<'PYTHON'
import errno, fcntl, os, sys
open("/proc/sys/vm/drop_caches", "w").write("2")
os.seteuid(65534)
image = os.open(sys.argv[1], os.O_RDWR)
os.seteuid(0)
control = os.open("/dev/loop-control", os.O_RDWR)
while True:
    path = f"/dev/loop{fcntl.ioctl(control, 0x4C82)}"  # LOOP_CTL_GET_FREE
    try:
        fcntl.ioctl(os.open(path, os.O_RDWR), 0x4C00, image)  # LOOP_SET_FD
        print(path)
        break
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
PYTHON
)
cleanup loop_free_of "$LOOP" "$(loop_image "$LOOP")"
assert_all "$LOOP"
losetup -d "$LOOP"

say "a file of another mount namespace, and another one with its name here"
mkdir "$TEST_TMP/there"
# shellcheck disable=SC2016 # for the other shell
LOOP=$(unshare --mount sh -ec 'mount -t tmpfs tmpfs "$1"
	truncate -s 8M "$1/image"
	losetup -f --show "$1/image"' sh "$TEST_TMP/there")
cleanup loop_free_of "$LOOP" "$(loop_image "$LOOP")"
assert_none "$LOOP"
truncate -s 8M "$TEST_TMP/there/image"
assert_none "$LOOP"
losetup -d "$LOOP"

say "a file that is covered by a mount"
image=$TEST_TMP/there/image
make_image
loop_new "$image"
assert_all "$LOOP"
mount -t tmpfs tmpfs "$TEST_TMP/there"
cleanup force_umount "$TEST_TMP/there"
assert_none "$LOOP"
truncate -s 8M "$image"
assert_none "$LOOP"
umount "$TEST_TMP/there"
# A symbolic link on the way is not followed: the kernel's path has none.
mv "$TEST_TMP/there" "$TEST_TMP/elsewhere"
assert_all "$LOOP"
loop_free "$LOOP"

say "each trusted file system"
mkdir "$TEST_TMP/fs"
for type in ext2 ext4 xfs btrfs tmpfs; do
	image=$TEST_TMP/fs.$type
	if [[ $type == tmpfs ]]; then
		mount -t tmpfs tmpfs "$TEST_TMP/fs"
	else
		truncate -s 512M "$image"
		if ! "mkfs.$type" -q "$image" >"$TEST_TMP/log" 2>&1 ||
			! mount -o loop "$image" "$TEST_TMP/fs" 2>>"$TEST_TMP/log"; then
			echo "not here: $type"
			continue
		fi
	fi
	cleanup force_umount "$TEST_TMP/fs"
	echo "$type"
	image=$TEST_TMP/fs/image
	make_image
	loop_new "$image"
	assert_all "$LOOP"
	loop_free "$LOOP"
	umount "$TEST_TMP/fs"
done

say "a file system that is not trusted"
mkdir "$TEST_TMP/lower" "$TEST_TMP/upper" "$TEST_TMP/work"
image=$TEST_TMP/lower/image
make_image
if mount -t overlay -o "lowerdir=$TEST_TMP/lower,upperdir=$TEST_TMP/upper" \
	-o "workdir=$TEST_TMP/work" overlay "$TEST_TMP/fs" 2>/dev/null; then
	cleanup force_umount "$TEST_TMP/fs"
	loop_new "$TEST_TMP/fs/image"
	assert_none "$LOOP"
	# Overlayfs has copied the file, in large pieces.
	assert_contains "$(KNOWN=all answers "$LOOP")" "zeros 0 $MIB" \
		"answers of $LOOP, if all layers are asked"
	loop_free "$LOOP"
	umount "$TEST_TMP/fs"
else
	echo "not here: overlay"
fi

say "a block device below"
image=$TEST_TMP/image
make_image
loop_new "$image"
lower=$LOOP
loop_new "$lower"
assert_all "$lower"
assert_none "$LOOP"
loop_free "$LOOP"
loop_free "$lower"
