# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the tests of writing to devices that fail share. After lib/common.sh.

# shellcheck disable=SC2034 # for the tests
MIB=$((1 << 20))

# in_vm SECONDS COMMAND...: runs the script in a virtual machine, if it does not
# run there already, and exits; skips without one of the commands.
in_vm() {
	if [[ -n ${IN_VM:-} ]]; then
		# udevd does that elsewhere.
		[[ -e /dev/fd ]] || ln -s /proc/self/fd /dev/fd
		return
	fi
	requires dmsetup qemu-system-x86_64 busybox cpio modprobe "${@:2}"
	"$LIB/vm" -t "$1" "$(realpath "$0")"
	exit
}

# --- Bytes ------------------------------------------------------------------

# stale BYTES: so many bytes 0xAA, which no test writes.
stale() {
	head -c "$1" /dev/zero | tr '\0' '\252'
}

# make_stale DEVICE: fills it with them.
make_stale() {
	stale "$(blockdev --getsize64 "$1")" |
		dd of="$1" bs=1M iflag=fullblock conv=fsync status=none
	forget_pages "$1"
}

# on_device DEVICE OFFSET LENGTH: what it holds, past the page cache.
on_device() {
	local from=$(($2 / 4096 * 4096)) end=$((($2 + $3 + 4095) / 4096 * 4096))
	dd if="$1" bs=64K iflag=direct,skip_bytes,count_bytes skip=$from \
		count=$((end - from)) status=none |
		python3 -c 'import sys
data = sys.stdin.buffer.read()[int(sys.argv[1]):]
try:
    sys.stdout.buffer.write(data[:int(sys.argv[2])])
except BrokenPipeError:
    pass' $(($2 - from)) "$3"
}

# assert_zeros DEVICE OFFSET LENGTH WHAT, assert_stale likewise
assert_zeros() {
	cmp <(on_device "$1" "$2" "$3") <(head -c "$3" /dev/zero) ||
		fail_at "$4: [$2, +$3) of $1 is not zero"
}

assert_stale() {
	cmp <(on_device "$1" "$2" "$3") <(stale "$3") ||
		fail_at "$4: [$2, +$3) of $1 is not what it was"
}

# device_is DEVICE IMAGE, zeros_there DEVICE OFFSET LENGTH: for wait_until.
device_is() {
	on_device "$1" 0 "$(stat -c %s "$2")" | cmp -s - "$2"
}

zeros_there() {
	on_device "$1" "$2" "$3" | cmp -s - <(head -c "$3" /dev/zero)
}

# --- scsi_debug -------------------------------------------------------------

scsi_disks() {
	ls -d /sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*:*/block/* \
		2>/dev/null
}

scsi_disks_there() {
	local disk disks
	mapfile -t disks < <(scsi_disks)
	((${#disks[@]} == $1)) || return 1
	DISKS=()
	for disk in "${disks[@]}"; do
		DISKS+=("/dev/${disk##*/}")
		[[ -b /dev/${disk##*/} ]] || return 1
	done
}

# new_disks COUNT [PARAMETER=VALUE]...: disks of scsi_debug, in $DISKS, each
# with a memory of its own. Not at the same time as others.
new_disks() {
	modprobe scsi_debug per_host_store=1 add_host="$1" "${@:2}"
	cleanup drop_disks
	wait_until 20 scsi_disks_there "$1" || fail "no disks of scsi_debug"
}

drop_disks() {
	[[ ! -e /sys/module/scsi_debug ]] ||
		wait_until 20 modprobe -q -r scsi_debug
}

# --- The device mapper ------------------------------------------------------

# new_volume NAME TABLE: /dev/mapper/NAME, removed at the end.
new_volume() {
	dmsetup create "$1" --table "$2"
	cleanup drop_volume "$1"
	# Where no udevd does it; also if a node is left of one before.
	dmsetup mknodes "$1"
}

drop_volume() {
	! dmsetup info "$1" >/dev/null 2>&1 ||
		wait_until 20 dmsetup remove "$1"
}

# reload NAME TABLE: takes its place.
reload() {
	dmsetup suspend --nolockfs "$1"
	dmsetup load "$1" --table "$2"
	dmsetup resume "$1"
}
