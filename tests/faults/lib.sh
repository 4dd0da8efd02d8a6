# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Functions for the tests of devices that fail; source lib/common.sh first.

# shellcheck disable=SC2034 # for the tests
MIB=$((1 << 20))

# in_vm SECONDS COMMAND...: unless the script runs in a virtual machine already,
# runs it in one, and exits. Skips the test if one of the commands is missing.
# VM_CPUS is the number of processors, default 2.
in_vm() {
	if [[ -n ${IN_VM:-} ]]; then
		# On other machines udevd does that.
		[[ -e /dev/fd ]] || ln -s /proc/self/fd /dev/fd
		return
	fi
	requires dmsetup qemu-system-x86_64 busybox cpio modprobe "${@:2}"
	"$LIB/vm" -t "$1" -c "${VM_CPUS:-2}" "$(realpath "$0")"
	exit
}

# --- Bytes ------------------------------------------------------------------

# stale BYTES: prints that many bytes 0xAA, a value that no test writes.
stale() {
	head -c "$1" /dev/zero | tr '\0' '\252'
}

# make_stale DEVICE: fills it with 0xAA.
make_stale() {
	stale "$(blockdev --getsize64 "$1")" |
		dd of="$1" bs=1M iflag=fullblock conv=fsync status=none
	forget_pages "$1"
}

# on_device DEVICE OFFSET LENGTH: prints its bytes, read past the page cache.
on_device() {
	local from=$(($2 / 4096 * 4096)) end=$((($2 + $3 + 4095) / 4096 * 4096))
	dd if="$1" bs=64K iflag=direct,skip_bytes,count_bytes skip=$from \
		count=$((end - from)) status=none | {
		dd bs=64K iflag=fullblock,skip_bytes,count_bytes \
			skip=$(($2 - from)) count="$3" status=none
		cat >/dev/null # otherwise a signal ends the other dd
	}
}

# assert_zeros DEVICE OFFSET LENGTH WHAT, assert_stale DEVICE OFFSET LENGTH WHAT
assert_zeros() {
	cmp <(on_device "$1" "$2" "$3") <(head -c "$3" /dev/zero) ||
		fail_at "$4: [$2, +$3) of $1 is not zero"
}

assert_stale() {
	cmp <(on_device "$1" "$2" "$3") <(stale "$3") ||
		fail_at "$4: [$2, +$3) of $1 has changed"
}

# device_is DEVICE IMAGE, zeros_there DEVICE OFFSET LENGTH: conditions for
# wait_until.
device_is() {
	on_device "$1" 0 "$(stat -c %s "$2")" | cmp -s - "$2"
}

zeros_there() {
	on_device "$1" "$2" "$3" | cmp -s - <(head -c "$3" /dev/zero)
}

# --- Partitions -------------------------------------------------------------

# new_partition LOOP NUMBER START LENGTH: adds it as partition() does. It is
# deleted at the end, too: the kernel keeps it when the loop device is detached.
new_partition() {
	partition add "$@"
	cleanup drop_partition "$1" "$2" "$(loop_image "$1")"
}

drop_partition() {
	[[ $(loop_image "$1") != "${3% (deleted)}"* ]] ||
		partition del "$1" "$2" 2>/dev/null || true
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

# new_disks COUNT [PARAMETER=VALUE]...: makes disks of scsi_debug, $DISKS, each
# with its own memory. Only one such set can exist at a time.
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

# new_volume NAME TABLE [OPTION...]: makes /dev/mapper/NAME, which is removed at the
# end.
new_volume() {
	dmsetup create "$1" --table "$2" "${@:3}"
	cleanup drop_volume "$1"
	# Without udevd; also if an older node is left.
	dmsetup mknodes "$1"
}

drop_volume() {
	! dmsetup info "$1" >/dev/null 2>&1 ||
		wait_until 20 dmsetup remove "$1"
}

# reload NAME TABLE: replaces its table.
reload() {
	dmsetup suspend --nolockfs "$1"
	dmsetup load "$1" --table "$2"
	dmsetup resume "$1"
}

# --- Writing to failing devices ------------------------------------------------

# act ACTION...: runs do.py; $FAILURES has the failed actions, one a line.
act() {
	FAILURES=$(python3 "$(dirname "$0")/do.py" "$MNT/x" "$@")
	echo "+ $* => ${FAILURES//$'\n'/, }"
}

fails() {
	printf '%s EIO\n' "$@"
}

is_well() {
	assert_eq "$FAILURES" "" "failures when the device is well"
}

# reads_zeros OFFSET LENGTH [SEEK-DATA]: checks the file of the mount, read past
# the kernel's page cache.
reads_zeros() {
	assert_zeros "$MNT/x" "$1" "$2" "the file"
	assert_eq "$(ask data "$1" "$MNT/x")" "${3:-$(($1 + $2))}" "SEEK_DATA($1)"
}

holds() {
	on_device "$1" "$2" "$3" | cmp - <(head -c "$3" /dev/zero | tr '\0' '\135') ||
		fail_at "[$2, +$3) of $1 differs from the written bytes"
}

# other_goes_on DEVICE: checks that the mount's file "other", of that device of
# 4 MiB, can be written and read.
other_goes_on() {
	local piece=$TEST_TMP/other.piece
	head -c 200000 /dev/urandom >"$piece"
	dd if="$piece" of="$MNT/other" bs=64K conv=fsync,notrunc status=none
	truncate -s 200000 "$MNT/other"
	truncate -s 4M "$MNT/other"
	{ cat "$piece" && head -c $((4 * MIB - 200000)) /dev/zero; } >"$TEST_TMP/want"
	assert_same_bytes "$MNT/other" "$TEST_TMP/want"
	device_is "$1" "$TEST_TMP/want" || fail "wrong bytes on $1"
}

# ends STATUS: unmounts, and checks the exit status of blksparsefs.
ends() {
	local status=0
	unmount "$MNT"
	end_fs || status=$?
	assert_eq "$status" "$1" "status of the program"
	cat "$FS_LOG"
}

# --- An NBD server that lies --------------------------------------------------

# requires_nbd: skips the test if the programs are built without libnbd.
requires_nbd() {
	run_status "$TOOL" map nbd://0.0.0.0:1
	[[ $ERR != *"without libnbd"* ]] || skip "built without libnbd"
}

# evil IMAGE [LIE...]: starts tests/lib/evil_nbd.py on a socket, or starts it anew.
# Sets $EVIL to its URI, $EVIL_PID, and $EVIL_LOG to its log of commands.
EVIL_PID=
evil() {
	local socket=$TEST_TMP/evil.socket
	evil_ends
	EVIL="nbd+unix:///?socket=$socket"
	EVIL_LOG=$TEST_TMP/evil.log
	rm -f "$socket" "$TEST_TMP/evil.lies"
	: >"$EVIL_LOG"
	python3 "$LIB/evil_nbd.py" --unix "$socket" --log "$EVIL_LOG" \
		--control "$TEST_TMP/evil.lies" "$@" \
		>"$TEST_TMP/evil.out" 2>&1 &
	EVIL_PID=$!
	cleanup evil_ends
	wait_until 20 test -S "$socket" || {
		cat "$TEST_TMP/evil.out"
		fail "the server does not start"
	}
}

# lies [LIE...]: from now on the server tells these lies and no other.
lies() {
	echo "$*" >"$TEST_TMP/evil.lies.new"
	mv "$TEST_TMP/evil.lies.new" "$TEST_TMP/evil.lies"
}

# evil_ends: kills the server if it is there.
evil_ends() {
	[[ -n $EVIL_PID ]] || return 0
	kill -KILL "$EVIL_PID"
	wait "$EVIL_PID" || true # killed
	EVIL_PID=
}

# commands COMMAND: prints the number of such commands that the server got.
commands() {
	awk -v command="$1" '$2 == command { n++ } END { print n + 0 }' "$EVIL_LOG"
}

# --- A disk that loses writes ------------------------------------------------

# losing_disk BYTES: sets $LOOP to a loop device over a disk that can fail; see
# losing-disk.c. Its bytes are in $TEST_TMP/image.
losing_disk() {
	local program=$BUILD/tests/faults/losing-disk
	[[ -x $program ]] || fail "$program is not built"
	stale "$1" >"$TEST_TMP/image"
	mkdir "$TEST_TMP/lower"
	"$program" "$TEST_TMP/image" 1 "$TEST_TMP/lower" &
	LOSING=$!
	cleanup end_losing_disk
	wait_until 20 test -e "$TEST_TMP/lower/disk" || fail "the disk fails"
	loop_new "$TEST_TMP/lower/disk"
}

end_losing_disk() {
	umount "$TEST_TMP/lower" || umount -l "$TEST_TMP/lower"
	wait "$LOSING"
}

# disk COMMAND: tells that disk what to do.
disk() {
	echo "$*" >"$TEST_TMP/lower/control"
}
