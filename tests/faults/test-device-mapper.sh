#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Devices whose driver counts other than queue/iostats says, in a virtual
# machine: what is known of them is forgotten when another program writes. A
# volume of the device mapper, as LVM's and dm-crypt's are, counts although that
# is 0 (on Linux 6.1); a RAM disk does not although it is 1. And a device that
# ends inside a block, which Linux 6.1 reads.
# TIMEOUT: 600
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
if [[ -z ${IN_VM:-} ]]; then
	requires dmsetup qemu-system-x86_64 busybox cpio modprobe
	"$LIB/vm" -t 560 "$(realpath "$0")"
	exit
fi

modprobe -a loop fuse dm-mod
requires_fuse
make_device mixed 8M image
lower=$LOOP
dmsetup create volume --table "0 16384 linear $lower 0"
cleanup dmsetup remove volume
device=/dev/mapper/volume
[[ -b $device ]] || dmsetup mknodes
real=$(realpath "$device")

mount_fs "x=$device"
check fresh,walk,known,seeks,reads,bytes "$MNT/x" "$real" "$TEST_TMP/image"
assert_eq "$(<"$FS_LOG")" "" "the log"

# written_to DEVICE PAGE: where all was zero there is data now.
written_to() {
	dd if="$TEST_TMP/pattern" of="$1" bs=4096 seek="$2" count=1 \
		conv=notrunc,fsync status=none
	assert_eq "$(ask data 0 "$MNT/x")" $(($2 * 4096)) "SEEK_DATA"
	dd if="$MNT/x" bs=4096 skip="$2" count=1 iflag=direct status=none |
		cmp - "$TEST_TMP/pattern" || fail "stale bytes"
}

say "another program writes to it"
page=$(ask extents "$MNT/x" | awk '$3 == "hole" && $2 > 8192 { print $1 / 4096 + 1; exit }')
python3 "$LIB/devices.py" make data 4096 "$TEST_TMP/pattern"
for flag in direct dsync nonblock; do
	assert_eq "$(ask hole $((page * 4096)) "$MNT/x")" $((page * 4096)) "a hole"
	dd if="$TEST_TMP/pattern" of="$device" bs=4096 seek="$page" count=1 \
		conv=notrunc oflag="$flag" status=none
	assert_eq "$(ask data $((page * 4096)) "$MNT/x")" $((page * 4096)) \
		"SEEK_DATA there, $flag"
	dd if="$MNT/x" bs=4096 skip="$page" count=1 iflag=direct status=none |
		cmp - "$TEST_TMP/pattern" || fail "stale bytes, $flag"
	dd if=/dev/zero of="$device" bs=4096 seek="$page" count=1 \
		conv=notrunc oflag="$flag" status=none
done
umount_fs

say "a driver that counts nothing"
modprobe brd rd_nr=1 rd_size=16384
wait_until 10 test -b /dev/ram0 || mknod /dev/ram0 b 1 0
# Linux 6.11 says so of itself.
echo 1 >/sys/block/ram0/queue/iostats
mount_fs x=/dev/ram0
assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
cat "$MNT/x" >/dev/null
written_to /dev/ram0 1024
umount_fs

say "counters that are switched off, and on"
make_device zero 8M switched
iostats=/sys/block/${LOOP##*/}/queue/iostats
for at_first in 1 0; do
	echo $at_first >"$iostats"
	mount_fs "x=$LOOP"
	assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
	for on in 0 1; do
		echo $on >"$iostats"
		written_to "$LOOP" 100
		count_reads "$LOOP" ask extents "$MNT/x" >/dev/null
		count_reads "$LOOP" ask extents "$MNT/x" >/dev/null
		((!on)) || assert_le "$READ" 0 "bytes read again while it counts"
		dd if=/dev/zero of="$LOOP" bs=4096 seek=100 count=1 \
			conv=notrunc,fsync status=none
		assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA of zeros"
	done
	umount_fs
done

say "an end inside a block"
truncate -s $(((8 << 20) + 1024)) "$TEST_TMP/odd"
loop_new "$TEST_TMP/odd" -b 4096
mount_fs "x=$LOOP"
assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
exec 3<"$LOOP"
cat "$LOOP" >/dev/null
# Below the device, past the page cache of its node.
printf end | dd of="$TEST_TMP/odd" bs=512 seek=$((16384 + 1)) conv=notrunc,fsync \
	status=none
umount_fs
mount_fs "x=$LOOP"
assert_eq "$(ask data 0 "$MNT/x")" $((8 << 20)) "SEEK_DATA of the end"
assert_eq "$(tail -c 512 "$MNT/x" | tr -d '\0')" end "the end"
exec 3<&-
umount_fs
