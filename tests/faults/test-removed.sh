#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A disk is removed while it is mounted, in a virtual machine: its file gives
# errors and does not hang, the other files work, and the mount ends cleanly. When
# the disk comes back, the mount does not use it, and a new mount shows it.
# TIMEOUT: 600
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
if [[ -z ${IN_VM:-} ]]; then
	requires qemu-system-x86_64 busybox cpio modprobe
	"$LIB/vm" -t 560 "$(realpath "$0")"
	exit
fi

modprobe -a loop fuse sd_mod
requires_fuse
make_device mixed 4M other
other=$LOOP
python3 "$LIB/devices.py" make mixed 16M "$TEST_TMP/image"

other_is_fine() {
	check walk,known,reads,bytes "$MNT/other" "$other" "$TEST_TMP/other"
}

disk_there() {
	disk=$(ls -d /sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*:*/block/* \
		2>/dev/null) && disk=/dev/${disk##*/} && [[ -b $disk ]]
}

for state in unknown known; do
	say "a disk whose map is $state"
	modprobe scsi_debug dev_size_mb=16
	wait_until 20 disk_there || fail "no disk of scsi_debug"
	dd if="$TEST_TMP/image" of="$disk" bs=1M conv=fsync status=none
	mount_fs "x=$disk" "other=$other"
	check fresh "$MNT/x" "$disk" "$TEST_TMP/image"
	if [[ $state == known ]]; then
		check walk,known,bytes "$MNT/x" "$disk" "$TEST_TMP/image"
	else
		assert_eq "$(head -c 4096 "$MNT/x" | cksum)" \
			"$(head -c 4096 "$TEST_TMP/image" | cksum)" "first bytes"
	fi
	exec 7<"$MNT/x"

	echo 1 >"/sys/block/${disk##*/}/device/delete"
	for flag in direct fullblock; do
		run_status timeout 60 dd if="$MNT/x" of=/dev/null bs=1M skip=8 \
			count=1 iflag=$flag
		# The kernel may still have cached pages.
		[[ $flag == fullblock && $STATUS == 0 ]] ||
			assert_eq "$STATUS" 1 "status of a read ($flag)"
		[[ $STATUS == 0 ]] || grep -Eq \
			'Input/output error|No such device' <<<"$ERR" ||
			fail "the read failed with: $ERR"
	done
	run_status timeout 60 python3 "$LIB/ask.py" extents "$MNT/x"
	assert_ne "$STATUS" 124 "status of a walk"
	run_status timeout 60 head -c 16777216 <&7
	assert_ne "$STATUS" 124 "status of a read of the open file"
	exec 7<&-
	run_status timeout 60 ls -ls "$MNT"
	assert_eq "$STATUS" 0 "status of ls"
	other_is_fine

	removed=$disk
	host=$(cd /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/scsi_host/host* && pwd)
	echo "- - -" >"$host/scan"
	wait_until 20 disk_there || fail "the disk does not come back"
	echo "$removed comes back as $disk"
	run_status timeout 60 dd if="$MNT/x" of=/dev/null bs=1M count=1 iflag=direct
	assert_eq "$STATUS" 1 "status of a read of the disk that was removed"
	other_is_fine
	umount_fs
	mount_fs "x=$disk" "other=$other"
	check walk,known,bytes "$MNT/x" "$disk" "$TEST_TMP/image"
	umount_fs
	modprobe -r scsi_debug
done
