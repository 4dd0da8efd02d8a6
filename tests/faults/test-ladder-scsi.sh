#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Zeroing of SCSI disks, in a virtual machine: the commands that disks with and
# without UNMAP and WRITE SAME get for the holes of a file, and the content of
# the disks afterwards.
#
# TIMEOUT: 600 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
# To switch a tracepoint, the kernel changes its code and waits for all other
# processors. In the emulator (QEMU 7.2) it sometimes waits for ever.
VM_CPUS=1 in_vm 580 python3

modprobe -a fuse sd_mod
requires_fuse
mount -t tracefs tracefs /sys/kernel/tracing
tracing=/sys/kernel/tracing
all=(read write same same-unmap unmap)

# Sectors of the file: stale ones that become a hole, data, and a hole in whose
# second half the disk already holds zeros.
total=$((8 << 11)) data=2048 after=4096 clean=8192
{
	head -c "${data}b" /dev/zero
	head -c $MIB /dev/zero | tr '\0' '\135'
	head -c $(((total - after) * 512)) /dev/zero
} >"$TEST_TMP/image"

# disk_with [PARAMETER]...: makes a disk, half of it stale, $disk.
disk_with() {
	new_disks 1 dev_size_mb=8 "$@"
	disk=${DISKS[0]}
	stale $((clean * 512)) | dd of="$disk" bs=1M iflag=fullblock conv=fsync \
		status=none
	forget_pages "$disk"
}

# same_blocks COUNT: tells the kernel the limit of WRITE SAME; with 0 it behaves
# as after a disk has refused that command.
same_blocks() {
	echo "$1" >"$(echo "/sys/block/${disk##*/}"/device/scsi_disk/*/max_write_same_blocks)"
	assert_eq "$(<"/sys/block/${disk##*/}/queue/write_zeroes_max_bytes")" \
		$(($1 * 512)) "write_zeroes_max_bytes"
}

provisioned() {
	cat /sys/bus/pseudo/drivers/scsi_debug/map
}

# trace COMMAND...: traces the requests to the disk, into $TEST_TMP/trace.
trace() {
	echo >"$tracing/trace"
	echo 1 >"$tracing/events/scsi/scsi_dispatch_cmd_start/enable"
	"$@"
	echo 0 >"$tracing/events/scsi/scsi_dispatch_cmd_start/enable"
	cp "$tracing/trace" "$TEST_TMP/trace"
}

asked() {
	python3 "$(dirname "$0")/requests.py" "$@" <"$TEST_TMP/trace"
}

act() {
	assert_eq "$(python3 "$(dirname "$0")/do.py" "$MNT/x" "$@")" "" "failures"
}

# restored_by: writes the image to the disk; stdin has the expected requests.
restored_by() {
	local expected
	expected=$(cat)
	mount_fs -o "rw$1" "x=$disk"
	trace act truncate=0 truncate=8M write=1M+1M fsync
	assert_eq "$(asked "${all[@]}")" "$expected" "requests of ${1:-default}"
	device_is "$disk" "$TEST_TMP/image" || fail "wrong bytes on $disk"
	assert_same_bytes "$MNT/x" "$TEST_TMP/image"
	umount_fs
	device_is "$disk" "$TEST_TMP/image" || fail "wrong bytes at the end"
}

holes() {
	echo "$1 0 $data"
	echo "$1 $after $total"
}

say "WRITE SAME(16) that unmaps"
disk_with lbpws=1
restored_by '' <<<"$(holes same-unmap && echo "write $data $after")"
assert_eq "$(provisioned)" "$data-$((after - 1))" "provisioned blocks"

say "the same, with zero=keep"
make_stale "$disk"
restored_by ,zero=keep <<<"$(holes same && echo "write $data $after")"
assert_eq "$(provisioned)" "0-$((total - 1))" "provisioned blocks"

say "the same, with zero=write"
make_stale "$disk"
restored_by ,zero=write <<<"write 0 $total"
assert_eq "$(provisioned)" "0-$((total - 1))" "provisioned blocks"
drop_disks

say "WRITE SAME(10) that unmaps"
disk_with lbpws10=1
restored_by '' <<<"$(holes same-unmap && echo "write $data $after")"
drop_disks

say "UNMAP, which promises no zeros"
disk_with lbpu=1
restored_by '' <<<"$(holes same && echo "write $data $after")"
drop_disks

say "UNMAP that gives 0xff"
disk_with lbpws=1 lbpu=1 lbprz=2
restored_by '' <<<"$(holes same && echo "write $data $after")"
drop_disks

say "WRITE SAME alone"
disk_with
restored_by '' <<<"$(holes same && echo "write $data $after")"
drop_disks

say "small requests"
disk_with lbpws=1 write_same_length=100 sector_size=4096
assert_eq "$(blockdev --getss "$disk")" 4096 "logical block"
total=2048 data=256 after=512
restored_by '' <<<"$(holes same-unmap && echo "write $data $after")"
total=$((8 << 11)) data=2048 after=4096
drop_disks

for zero in '' ,zero=keep; do
	say "no such command ($zero)"
	disk_with
	same_blocks 0
	restored_by "$zero" <<-END
		read 0 $data
		read $after $total
		write 0 $clean
	END
	say "no such command, and the disk is zero already ($zero)"
	mount_fs -o "rw$zero" "x=$disk"
	trace act truncate=0 truncate=8M
	umount_fs
	assert_eq "$(asked "${all[@]}")" \
		"$(printf 'read 0 %s\nwrite %s %s' "$total" "$data" "$after")" \
		"requests"
	zeros_there "$disk" 0 $((total * 512)) || fail "$disk is not zero"
	drop_disks
done

say "a command that failed is not tried again"
disk_with lbpws=1
mount_fs -o rw "x=$disk"
same_blocks 0
trace act truncate=0 truncate=8M write=1M+1M fsync
assert_eq "$(asked same same-unmap unmap)" "" "requests"
device_is "$disk" "$TEST_TMP/image" || fail "wrong bytes on $disk"
same_blocks 65535
trace act punch=0+4M
assert_eq "$(asked same same-unmap unmap)" "" "requests"
umount_fs
zeros_there "$disk" 0 $((4 * MIB)) || fail "$disk is not zero"
drop_disks
