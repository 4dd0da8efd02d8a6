#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Devices of unusual drivers, in a virtual machine: the mount forgets their map
# when another program writes.
#  - A driver whose write counters contradict queue/iostats: a volume of the
#    device mapper (LVM, dm-crypt) counts although that is 0 (on Linux 6.1), a
#    RAM disk does not although it is 1.
#  - A device that ends inside a block: Linux 6.1 reads that block, 6.12 does
#    not.
#  - A volume that gets another table.
#  - An image whose change time moves long before a direct write is done.
# TIMEOUT: 600
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 560

modprobe -a loop fuse dm-mod dm-delay ext4
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

# written_to DEVICE PAGE: writes data into a page of zeros, and checks the file.
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

say "a driver that does not count writes"
modprobe brd rd_nr=1 rd_size=16384
wait_until 10 test -b /dev/ram0 || mknod /dev/ram0 b 1 0
# Since Linux 6.11 it is 0 by default.
echo 1 >/sys/block/ram0/queue/iostats
mount_fs x=/dev/ram0
assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
cat "$MNT/x" >/dev/null
written_to /dev/ram0 1024
umount_fs

say "counters that are switched off and on"
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

say "a device that ends inside a block"
truncate -s $(((8 << 20) + 1024)) "$TEST_TMP/odd"
loop_new "$TEST_TMP/odd" -b 4096
if tail -c 512 "$LOOP" >/dev/null; then
	mount_fs "x=$LOOP"
	assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
	exec 3<"$LOOP"
	cat "$LOOP" >/dev/null
	# Write below the device, past the page cache of its node.
	printf end | dd of="$TEST_TMP/odd" bs=512 seek=$((16384 + 1)) conv=notrunc,fsync \
		status=none
	umount_fs
	mount_fs "x=$LOOP"
	assert_eq "$(ask data 0 "$MNT/x")" $((8 << 20)) "SEEK_DATA of the end"
	assert_eq "$(tail -c 512 "$MNT/x" | tr -d '\0')" end "the end"
	exec 3<&-
	umount_fs
else # Linux 6.12: an unreadable block is data
	mount_fs "x=$LOOP"
	assert_eq "$(ask data 0 "$MNT/x")" $((8 << 20)) "SEEK_DATA at first"
	run_status tail -c 512 "$MNT/x"
	assert_contains "$ERR" "Input/output error" "the end"
	umount_fs
fi

say "another table of a read-only volume: other bytes"
truncate -s 16M "$TEST_TMP/pool"
stale 4M | dd of="$TEST_TMP/pool" bs=1M seek=8 conv=notrunc status=none
loop_new "$TEST_TMP/pool"
pool=$LOOP
new_volume moved "0 8192 linear $pool 0"
mount_fs x=/dev/mapper/moved
exec 3<"$MNT/x"
assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
cat "$MNT/x" >/dev/null
reload moved "0 8192 linear $pool 16384"
# Opening the file checks the table.
assert_eq "$(ask data 0 "$MNT/x")" 0 "SEEK_DATA with the other table"
stale 4M >"$TEST_TMP/stale"
wait_until 20 cmp -s "$MNT/x" "$TEST_TMP/stale" || fail "stale bytes"
exec 3<&-
umount_fs

say "another table of a writable volume: other bytes, and the zeros of the mount"
reload moved "0 8192 linear $pool 0"
mount_fs -o rw x=/dev/mapper/moved
exec 3<"$MNT/x"
assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
printf x | dd of="$MNT/x" bs=1 seek=8192 conv=notrunc status=none
fallocate -p -l 4096 "$MNT/x"
reload moved "0 8192 linear $pool 16384"
assert_eq "$(ask data 4096 "$MNT/x")" 4096 "SEEK_DATA with the other table"
printf y | dd of="$MNT/x" bs=1 seek=$((1 << 20)) conv=notrunc,fsync status=none
exec 3<&-
umount_fs
on_device "$pool" $((9 << 20)) 4096 | cmp - <(printf y && stale 4095) ||
	fail "wrong bytes beside the written ones"
drop_volume moved

# slow_writes NAME MS: delays each write to it.
slow_writes() {
	reload "$1" "0 65536 delay $slow 0 0 $slow 0 $2"
}

say "an image that is written past the page cache, on a slow disk"
truncate -s 32M "$TEST_TMP/slow"
loop_new "$TEST_TMP/slow"
slow=$LOOP
new_volume slow "0 65536 delay $slow 0 0 $slow 0 0"
mkfs.ext4 -q -O ^has_journal /dev/mapper/slow
mkdir "$TEST_TMP/ext4"
mount /dev/mapper/slow "$TEST_TMP/ext4"
cleanup umount "$TEST_TMP/ext4"
image=$TEST_TMP/ext4/image
head -c 8M /dev/zero >"$image"
sync "$image"
slow_writes slow 1500
wait_settled "$image"
mount_fs "x=$image"
exec 3<"$MNT/x"
assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA at first"
changed=$(stat -c %Z "$image")
stale 4096 | dd of="$image" bs=4096 seek=1024 iflag=fullblock oflag=direct \
	conv=notrunc status=none &
writer=$!
is_changed() {
	[[ $(stat -c %Z "$image") != "$changed" ]]
}
wait_until 10 is_changed || fail "the change time stays"
before=$(ask data 0 "$MNT/x")
wait "$writer"
assert_eq "$(ask data 0 "$MNT/x")" $((4 << 20)) \
	"SEEK_DATA once it is written (while it was: $before)"
dd if="$MNT/x" bs=4096 skip=1024 count=1 status=none | cmp - <(stale 4096) ||
	fail "stale bytes"
wait_settled "$image"
assert_eq "$(ask data 0 "$MNT/x")" $((4 << 20)) "SEEK_DATA once it is settled"
cmp "$MNT/x" "$image" || fail "stale bytes after the image has settled"
exec 3<&-
slow_writes slow 0
umount_fs
