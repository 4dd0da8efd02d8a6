#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A file system on a loop device on the file of a writable mount. Its discards and
# zeroing arrive as punches and zero ranges, so that the device below gets its space
# back. Then fio, which verifies the data that it wrote.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires mkfs.ext4 e2fsck mkfs.xfs xfs_repair fstrim fio

MIB=$((1 << 20))

# lower NAME SIZE [LOSETUP-OPTION...]: makes the device below, full of 0xAA.
lower() {
	head -c "$2" /dev/zero | tr '\0' '\252' >"$TEST_TMP/$1"
	sync "$TEST_TMP/$1"
	loop_new "$TEST_TMP/$1" "${@:3}"
	device=$LOOP
}

# upper [LOSETUP-OPTION...]: makes the loop device on the file, in $upper; with
# direct I/O if possible.
upper() {
	if losetup -f --show --direct-io=on "$@" "$MNT/x" >"$TEST_TMP/upper"; then
		echo "direct I/O: $(losetup -n -O DIO "$(<"$TEST_TMP/upper")")"
	else
		losetup -f --show "$@" "$MNT/x" >"$TEST_TMP/upper"
		echo "no direct I/O"
	fi
	upper=$(<"$TEST_TMP/upper")
	cleanup upper_free "$upper"
}

# Another program may have the device's number once it was free.
upper_free() {
	[[ $(losetup -n -O BACK-FILE "$1" 2>/dev/null) != "$MNT/x"* ]] ||
		loop_free "$1"
}

# A tree of many small files and some large ones.
make_tree() {
	python3 - "$1" <<'PY'
import os, random, sys
rng = random.Random(5)
for folder in range(24):
    path = os.path.join(sys.argv[1], f"part{folder % 2}", str(folder))
    os.makedirs(path)
    for name in range(40):
        size = rng.choice((0, 10, 4096, rng.randint(1, 30000)))
        with open(os.path.join(path, str(name)), "wb") as file:
            file.write(rng.randbytes(size))
    with open(os.path.join(path, "large"), "wb") as file:
        file.write(rng.randbytes(1 << 20))
        file.seek(1 << 20, os.SEEK_CUR)
        file.write(b"the end")
PY
}
make_tree "$TEST_TMP/tree"
mkdir "$TEST_TMP/top"
cleanup force_umount "$TEST_TMP/top"

# trimmed_to NAME SIZE: trims; true if the device below then takes at most SIZE.
trimmed_to() {
	sync -f "$TEST_TMP/top"
	fstrim "$TEST_TMP/top"
	# A close or the watch would flush, too.
	sync "$MNT/x"
	(($(allocated "$TEST_TMP/$1") <= $2))
}

# tree_on_top NAME: copies the tree there, deletes half of it, and trims. While the
# file system is mounted, the device below must have given back the deleted half.
tree_on_top() {
	local full
	mount -o nodiscard "$upper" "$TEST_TMP/top"
	cp -a "$TEST_TMP/tree" "$TEST_TMP/top/"
	sync -f "$TEST_TMP/top"
	fstrim "$TEST_TMP/top"
	sync "$MNT/x"
	full=$(allocated "$TEST_TMP/$1")
	rm -r "$TEST_TMP/top/tree/part1"
	# 12 large files had 1 MiB each; a file system may free them later.
	wait_until 30 trimmed_to "$1" $((full - 9 * MIB)) ||
		fail "$1: $full bytes, and still $(allocated "$TEST_TMP/$1") without half of the tree"
	echo "allocated below: $full, without half of the tree: $(allocated "$TEST_TMP/$1")"
	umount "$TEST_TMP/top"

	mount "$upper" "$TEST_TMP/top"
	diff -r "$TEST_TMP/tree/part0" "$TEST_TMP/top/tree/part0"
	umount "$TEST_TMP/top"
}

say "ext4"
lower ext4 $((128 * MIB))
mount_fs -o rw "x=$device"
upper
mkfs.ext4 -q -F -E discard,lazy_itable_init=0,lazy_journal_init=0 "$upper"
sync "$MNT/x"
assert_le "$(allocated "$TEST_TMP/ext4")" $((32 * MIB)) \
	"allocated after mkfs, which discards all"
tree_on_top ext4
e2fsck -f -n "$upper"
upper_free "$upper"
umount_fs
# The same on the device below, without blksparsefs.
e2fsck -f -n "$device"
mount -o ro "$device" "$TEST_TMP/top"
diff -r "$TEST_TMP/tree/part0" "$TEST_TMP/top/tree/part0"
umount "$TEST_TMP/top"

say "xfs, in blocks of 4096 bytes"
lower xfs $((320 * MIB)) --sector-size 4096
mount_fs -o rw,granule=64K "x=$device"
upper --sector-size 4096
mkfs.xfs -q -f "$upper"
tree_on_top xfs
xfs_repair -n "$upper" 2>/dev/null
upper_free "$upper"
umount_fs
xfs_repair -n "$device" 2>/dev/null
mount -o ro "$device" "$TEST_TMP/top"
diff -r "$TEST_TMP/tree/part0" "$TEST_TMP/top/tree/part0"
umount "$TEST_TMP/top"

say "fio"
lower fio $((32 * MIB))

# verified OPTION...: fio writes and verifies.
verified() {
	say "fio $*"
	fio --name=v --filename="$MNT/x" --size=24m --allow_file_create=0 \
		--fallocate=none --overwrite=1 --verify=crc32c --verify_fatal=1 \
		--do_verify=1 --randseed=7 --output-format=terse \
		--output="$TEST_TMP/fio.log" "$@" || {
		cat "$TEST_TMP/fio.log"
		fail "fio $*"
	}
}
cd "$TEST_TMP"
for granule in 4K 64K; do
	mount_fs -o "rw,granule=$granule" "x=$device"
	verified --rw=write --bs=128k --ioengine=psync --direct=0
	verified --rw=write --bs=128k --ioengine=libaio --iodepth=16 --direct=1
	verified --rw=randwrite --bsrange=512-64k --ioengine=psync --direct=0 --fsync=64
	verified --rw=randwrite --bsrange=512-64k --ioengine=libaio --iodepth=16 \
		--direct=1
	verified --rw=randwrite --bsrange=4k-64k --ioengine=mmap --direct=0
	# Zeros, by pieces that are whole granules only where these are small.
	verified --rw=randwrite --bs=16k --verify=pattern --verify_pattern=0 \
		--ioengine=libaio --iodepth=16 --direct=1
	umount_fs
	[[ $granule != 4K ]] || assert_le "$(allocated fio)" $((9 * MIB)) \
		"allocated of 32 MiB after zeros over 24"
	cmp -n $((24 * MIB)) "$device" /dev/zero
done
