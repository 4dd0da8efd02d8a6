#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# System calls on a writable mount: errors, sizes and attributes. The content of the
# device with each tail= and zero=. No other program can take a device in use.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires rsync mkfs.ext4 mkswap partx sfdisk losetup

MIB=$((1 << 20))
SIZE=$((8 * MIB + 512))
here=$(dirname "$0")

# filled NAME: makes $TEST_TMP/NAME, all 0xAA.
filled() {
	head -c "$SIZE" /dev/zero | tr '\0' '\252' >"$TEST_TMP/$1"
	sync "$TEST_TMP/$1"
}

# filled_device NAME: also makes a loop device over it, in $LOOP.
filled_device() {
	filled "$1"
	loop_new "$TEST_TMP/$1"
}

filled_device device
device=$LOOP

say "system calls"
filled image
for source in "$device" "$TEST_TMP/image"; do
	for options in granule=4K zero=keep zero=write; do
		mount_fs -o "rw,$options" "x=$source"
		python3 "$here/semantics.py" "$MNT/x" "$SIZE"
		umount_fs
	done
done

say "tools that keep attributes succeed"
head -c 100000 /dev/urandom >"$TEST_TMP/source"
chmod 4751 "$TEST_TMP/source"
chown 3:4 "$TEST_TMP/source"
touch -d "2001-02-03 04:05:06.789" "$TEST_TMP/source"
attributes() {
	stat -c '%a %u %g %y' "$1"
}
mount_fs -o rw "x=$device"
for tool in "cp -p" "rsync -a --inplace" "rsync -aAX --inplace --no-whole-file"; do
	chmod 600 "$MNT/x"
	chown 0:0 "$MNT/x"
	# shellcheck disable=SC2086 # words
	run_status $tool "$TEST_TMP/source" "$MNT/x"
	assert_eq "$STATUS" 0 "status of $tool"
	assert_eq "$(attributes "$MNT/x")" "$(attributes "$TEST_TMP/source")" \
		"attributes after $tool"
	assert_same_bytes "$MNT/x" "$TEST_TMP/source"
done
umount_fs

# --- The tail --------------------------------------------------------------

# bytes_at FROM COUNT: prints the values of the device's bytes there, in hex.
bytes_at() {
	forget_pages "$device"
	python3 -c '
import sys
with open(sys.argv[1], "rb") as device:
    device.seek(int(sys.argv[2]))
    data = device.read(int(sys.argv[3]))
    assert len(data) == int(sys.argv[3])
    print(*(f"{value:02x}" for value in sorted(set(data))))' "$device" "$1" "$2"
}

# short_file TAIL: makes a device of 0xAA, writes other bytes past 4 MiB, and cuts
# the file to 3 MiB + 1000.
short_file() {
	dd if="$TEST_TMP/image.aa" of="$device" bs=1M conv=fsync status=none
	mount_fs -o "rw,tail=$1" "x=$device"
	head -c "$MIB" /dev/zero | tr '\0' '\273' |
		dd of="$MNT/x" bs=64K seek=64 iflag=fullblock conv=notrunc status=none
	truncate -s $((3 * MIB + 1000)) "$MNT/x"
	sync "$MNT/x"
	umount_fs
	assert_eq "$(bytes_at 0 $((3 * MIB + 1000)))" aa "the file, tail=$1"
}
filled image.aa

say "tail=keep"
short_file keep
assert_eq "$(bytes_at $((3 * MIB + 1000)) $((MIB - 1000)))" aa "past the end"
assert_eq "$(bytes_at $((4 * MIB)) "$MIB")" bb "the bytes that were written and cut off"
assert_eq "$(bytes_at $((5 * MIB)) $((3 * MIB + 512)))" aa "the rest"
say "tail=zero"
short_file zero
assert_eq "$(bytes_at $((3 * MIB + 1000)) $((5 * MIB - 488)))" 00 "past the end"
say "tail=discard"
short_file discard
# A loop device's discarded blocks are holes of its backing file.
assert_le "$(allocated "$TEST_TMP/device")" $((4 * MIB)) \
	"allocated after discarding 5 MiB"
assert_eq "$(bytes_at $((3 * MIB + 1024)) $((5 * MIB - 512)))" 00 "past the end"
assert_eq "$(bytes_at $((3 * MIB + 1000)) 24)" aa "the end of its block"
say "an empty file"
dd if="$TEST_TMP/image.aa" of="$device" bs=1M conv=fsync status=none
mount_fs -o rw,tail=keep "x=$device"
truncate -s 0 "$MNT/x"
umount_fs
assert_eq "$(bytes_at 0 "$SIZE")" aa "tail=keep"
mount_fs -o rw,tail=zero "x=$device"
assert_eq "$(stat -c %s "$MNT/x")" "$SIZE" "the size when mounted again"
truncate -s 0 "$MNT/x"
umount_fs
assert_eq "$(bytes_at 0 "$SIZE")" 00 "tail=zero"

# --- Zeroing ---------------------------------------------------------------

# requests: prints the number of write and discard requests of the device.
requests() {
	awk '{ print $5 + $12 }' "/sys/block/${device##*/}/stat"
}

# zeroed HOW: punches 4 of 8 MiB and sets $took to the number of the device's
# requests.
zeroed() {
	local before
	dd if="$TEST_TMP/image.aa" of="$device" bs=1M conv=fsync status=none
	mount_fs -o "rw,zero=$1" "x=$device"
	before=$(requests)
	fallocate -p -o "$MIB" -l $((4 * MIB)) "$MNT/x"
	took=$(($(requests) - before))
	assert_eq "$(bytes_at "$MIB" $((4 * MIB)))" 00 "the device after close"
	umount_fs
	assert_eq "$(bytes_at 0 "$MIB")" aa "before it, zero=$1"
	assert_eq "$(bytes_at $((5 * MIB)) $((3 * MIB + 512)))" aa "after it, zero=$1"
}

say "zero="
zeroed write
written=$took
assert_ge "$written" 4 "requests that write 4 MiB"
assert_ge "$(allocated "$TEST_TMP/device")" $((8 * MIB)) "allocated, zero=write"
zeroed keep
assert_le "$took" $((written - 1)) "requests that zero 4 MiB, keep"
assert_ge "$(allocated "$TEST_TMP/device")" $((8 * MIB)) "allocated, zero=keep"
zeroed unmap
assert_le "$took" $((written - 1)) "requests that zero 4 MiB, unmap"
assert_le "$(allocated "$TEST_TMP/device")" $((5 * MIB)) "allocated, zero=unmap"

# --- Devices that grow -----------------------------------------------------

size_is() {
	[[ $(stat -c %s "$MNT/x") == "$1" ]]
}

# grown CUT: zeroes the file and cuts it to CUT; then its device grows by 1 MiB of
# 0xAA.
grown() {
	dd if="$TEST_TMP/image.aa" of="$device" bs=1M conv=fsync status=none
	mount_fs -o rw "x=$device"
	# Held open, so that no close flushes zeros.
	exec 7<>"$MNT/x"
	fallocate -p -o 0 -l "$SIZE" "$MNT/x"
	truncate -s "$1" "$MNT/x"
	head -c "$MIB" "$TEST_TMP/image.aa" >>"$TEST_TMP/device"
	losetup -c "$device"
}

# shrunk BYTE: checks that the new part is BYTE, and restores the size.
shrunk() {
	exec 7>&-
	umount_fs
	assert_eq "$(bytes_at 0 "$SIZE")" 00 "the old part"
	assert_eq "$(bytes_at "$SIZE" "$MIB")" "$1" "the new part"
	truncate -s "$SIZE" "$TEST_TMP/device"
	losetup -c "$device"
}

say "the device grows"
grown "$SIZE"
wait_until 10 size_is $((SIZE + MIB)) || fail "the file does not grow"
assert_eq "$(ask data 0 "$MNT/x")" $((SIZE / 4096 * 4096)) "SEEK_DATA"
cmp -n "$SIZE" "$MNT/x" /dev/zero
cmp -n "$MIB" -i "$SIZE:0" "$MNT/x" "$TEST_TMP/image.aa"
shrunk aa
say "the device of a file that was cut grows"
grown $((MIB + 100))
longer() {
	truncate -s $((SIZE + MIB)) "$MNT/x" 2>/dev/null
}
wait_until 10 longer || fail "the file cannot be longer"
assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA"
cmp -n $((SIZE + MIB)) "$MNT/x" /dev/zero
shrunk 00

# --- Read-only mounts ------------------------------------------------------

say "a read-only mount writes nothing"
read_only() {
	local command
	for command in "truncate -s 0" "fallocate -p -l 4096" "chmod 600" \
		"touch" "dd if=/dev/zero count=1 conv=notrunc status=none"; do
		if [[ $command == dd* ]]; then
			run_status dd if=/dev/zero of="$MNT/x" count=1 conv=notrunc
		else
			# shellcheck disable=SC2086 # words
			run_status $command "$MNT/x"
		fi
		assert_eq "$STATUS" 1 "status of $command"
		assert_contains "$ERR" "Read-only file system" "message of $command"
	done
	umount_fs
}
mount_fs "x=$device"
read_only
mount_fs -o ro "x=$device"
read_only

# --- Exclusive use ---------------------------------------------------------

# refused DEVICE PART...: a writable mount of it fails with each PART in the message.
refused() {
	local source=$1 part
	shift
	mkdir -p "$TEST_TMP/second"
	# In the background: a mount that succeeds would never return otherwise.
	run_status "$FS" -o rw "x=$source" "$TEST_TMP/second"
	not_mounted "$TEST_TMP/second" || {
		force_umount "$TEST_TMP/second"
		fail "$source is mounted"
	}
	assert_eq "$STATUS" 1 "status for $source"
	for part; do
		assert_contains "$ERR" "$part" "message for $source"
	done
}

say "no other program gets the device while it is mounted"
mount_fs -o rw "x=$device"
refused "$device" "$device" "$MNT" "blksparsefs"
run_status mkfs.ext4 -q -F "$device"
assert_ne "$STATUS" 0 "status of mkfs"
run_status mount -t ext4 "$device" "$TEST_TMP/second"
assert_ne "$STATUS" 0 "status of mount"
dd if=/dev/zero of="$MNT/x" bs=1M count=8 conv=notrunc status=none
run_status mkswap "$MNT/x"
assert_eq "$STATUS" 0 "status of mkswap of the file"
sync "$MNT/x"
run_status swapon "$device"
assert_ne "$STATUS" 0 "status of swapon"
assert_contains "$ERR" "busy" "message of swapon"
umount_fs

say "devices in use, read-only ones and locked images are refused"
mkfs.ext4 -q -F "$device"
mkdir -p "$TEST_TMP/ext4"
mount "$device" "$TEST_TMP/ext4"
cleanup force_umount "$TEST_TMP/ext4"
refused "$device" "$device" "is mounted on $TEST_TMP/ext4"
umount "$TEST_TMP/ext4"

mkswap -q "$device"
if swapon "$device" 2>/dev/null; then
	cleanup eval "swapoff $device 2>/dev/null || true"
	refused "$device" "$device" "swap"
	swapoff "$device"
else
	echo "swap cannot be used here"
fi

truncate -s 16M "$TEST_TMP/disk"
loop_new "$TEST_TMP/disk" --partscan
disk=$LOOP
# Some kernels read no partition table.
if sfdisk -q --no-reread --no-tell-kernel "$disk" <<<'2048,16384' &&
	partx -a "$disk" && wait_until 5 test -b "${disk}p1"; then
	mkfs.ext4 -q -F "${disk}p1"
	mount "${disk}p1" "$TEST_TMP/ext4"
	refused "$disk" "$disk" "partition" "${disk}p1" "$TEST_TMP/ext4"
	refused "${disk}p1" "is mounted on $TEST_TMP/ext4"
	umount "$TEST_TMP/ext4"
	mount_fs -o rw "x=${disk}p1"
	refused "$disk" "${disk}p1" "$MNT"
	refused "${disk}p1" "$MNT"
	umount_fs
else
	echo "no partitions here"
fi

name=blksparse-test-$$
if dmsetup create "$name" --table "0 2048 linear $device 0" 2>/dev/null; then
	cleanup eval "dmsetup remove $name 2>/dev/null || true"
	refused "$device" "$device" "is part of" "$name"
	dmsetup remove "$name"
else
	echo "no device mapper here"
fi

loop_new "$TEST_TMP/image" -r
refused "$LOOP" "$LOOP" "read-only"
# The image is attached to a loop device, which may be in use.
refused "$TEST_TMP/image" "$TEST_TMP/image" "$LOOP"
# Also by another name, when the name of the loop device's file is gone.
ln "$TEST_TMP/image" "$TEST_TMP/image.link"
mv "$TEST_TMP/image" "$TEST_TMP/image.gone"
refused "$TEST_TMP/image.link" "$TEST_TMP/image.link" "$LOOP"
unlink "$TEST_TMP/image.gone"
refused "$TEST_TMP/image.link" "$TEST_TMP/image.link" "$LOOP"
loop_free "$LOOP"
chmod 400 "$TEST_TMP/image.aa"
mount_fs -o rw "x=$TEST_TMP/image.aa"
refused "$TEST_TMP/image.aa" "$TEST_TMP/image.aa" "locked"
umount_fs

filled locked
python3 -c '
import fcntl, sys, time
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX, 1, 4096)
open(sys.argv[1] + ".is", "w").close()
time.sleep(60)' "$TEST_TMP/locked" &
locker=$!
wait_until 20 test -e "$TEST_TMP/locked.is" || fail "it is not locked"
refused "$TEST_TMP/locked" "$TEST_TMP/locked" "locked"
kill "$locker"
wait "$locker" || true
mount_fs -o rw "x=$TEST_TMP/locked"
umount_fs

say "the device is free after unmounting"
mount_fs -o rw "x=$device"
umount_fs
mkfs.ext4 -q -F "$device"
