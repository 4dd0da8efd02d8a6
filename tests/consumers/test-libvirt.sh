#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libvirt's sparse streams between devices and volumes of a pool, through mounts
# and directly on the devices: the bytes, the traffic and the space. libvirt
# looks for holes only in files: it sends all of a device, and writes zeros to
# one.
#
# The test starts its own daemon, as user nobody, without a network, with its
# files in the private directory; virsh runs as root.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
requires virsh libvirtd unshare setpriv
requires_fuse
requires_loop

size=$((256 << 20))
data=

# --- The daemon ------------------------------------------------------------

daemon=$TEST_TMP/libvirt
socket=$daemon/run/libvirt/libvirt-sock

daemon_up_or_gone() {
	gone "$DAEMON" || [[ -S $socket ]]
}

end_daemon() {
	kill "$DAEMON" 2>/dev/null || true
	wait_until 10 gone_or_zombie "$DAEMON" || kill -KILL "$DAEMON"
	wait "$DAEMON" || true
	echo "libvirtd said:"
	tail -n 10 "$daemon/log"
}

# start_daemon: its process is $DAEMON, since each wrapper execs the next.
start_daemon() {
	local dir
	for dir in run config cache data home; do
		mkdir -p "$daemon/$dir"
		chown 65534:65534 "$daemon/$dir"
		chmod 700 "$daemon/$dir"
	done
	printf '%s\n' 'auth_unix_rw = "none"' 'log_level = 4' \
		>"$daemon/libvirtd.conf"
	chmod 755 "$daemon"
	unshare --net setpriv --reuid=65534 --regid=65534 --clear-groups \
		--inh-caps=-all env -i PATH="$PATH" USER=nobody \
		HOME="$daemon/home" XDG_RUNTIME_DIR="$daemon/run" \
		XDG_CONFIG_HOME="$daemon/config" XDG_CACHE_HOME="$daemon/cache" \
		XDG_DATA_HOME="$daemon/data" \
		"$(command -v libvirtd)" --config "$daemon/libvirtd.conf" \
		</dev/null >"$daemon/log" 2>&1 &
	DAEMON=$!
	cleanup end_daemon
	if ! wait_until 30 daemon_up_or_gone || gone "$DAEMON"; then
		fail "libvirtd did not start"
	fi
}

virsh() {
	command virsh -q -c "storage:///session?socket=$socket" "$@"
}

# new_pool NAME DIRECTORY
new_pool() {
	mkdir -p "$2"
	chmod 777 "$2" 2>/dev/null || true # a mount may refuse
	virsh pool-create-as "$1" dir --target "$2"
}

new_volume() {
	virsh vol-create-as images "$1" "$size" --allocation 0 --format raw
}

# upload POOL VOLUME FROM, download POOL VOLUME TO: add to $SENT the bytes that the
# daemon read or wrote outside the volume: the traffic with virsh.
upload() {
	local before
	before=$(daemon_io rchar)
	virsh vol-upload --sparse --pool "$1" "$2" "$3"
	SENT=$((SENT + $(daemon_io rchar) - before))
}

download() {
	local before
	before=$(daemon_io wchar)
	virsh vol-download --sparse --pool "$1" "$2" "$3"
	SENT=$((SENT + $(daemon_io wchar) - before))
}

# daemon_io FIELD: prints the bytes that the daemon read or wrote by system calls.
daemon_io() {
	awk -v name="$1:" '$1 == name { print $2 }' "/proc/$DAEMON/io"
}

# --- Devices ---------------------------------------------------------------

# give DEVICE: lets the daemon use it.
give() {
	cleanup chown "$(stat -c %u "$1")" "$1"
	chown 65534 "$1"
}

# Makes a device filled with 0xAA, $OLD.
old_device() {
	head -c "$size" /dev/zero | tr '\0' '\252' >"$TEST_TMP/old"
	loop_new "$TEST_TMP/old"
	OLD=$LOOP
	give "$OLD"
}

# --- The table -------------------------------------------------------------

table=("$(printf '%-34s  %-5s  %8s  %9s  %9s  %7s' transfer bytes 'MiB sent' \
	'MiB taken' 'read/size' seconds)")

# row WHAT TARGET ALLOCATED COMMAND...: runs COMMAND, and adds a row about TARGET,
# whose space is that of the file ALLOCATED. Sets $RIGHT and, in bytes, $SENT,
# $ROOM and, for a source that is a device, $READ and $REREAD.
row() {
	local what=$1 target=$2 room=$3 started
	shift 3
	sync -f "$TEST_TMP"
	forget_pages "$source"
	SENT=0
	started=${EPOCHREALTIME/./}
	count_reads "$source" "$@"
	started=$((${EPOCHREALTIME/./} - started))
	sync -f "$TEST_TMP"
	ROOM=$(allocated "$room")
	RIGHT=wrong
	! cmp "$TEST_TMP/source" "$target" || RIGHT=right
	table+=("$(awk -v what="$what" -v right="$RIGHT" -v sent="$SENT" \
		-v room="$ROOM" -v share="$READ/$size" -v us="$started" 'BEGIN {
		split(share, part, "/")
		printf "%-34s  %-5s  %8.1f  %9.1f  %9.3f  %7.2f", what, right,
			sent / 1048576, room / 1048576, part[1] / part[2],
			us / 1000000 }')")
	say "${table[-1]}"
}

# assert_sparse_row: checks the bytes, and that traffic and space do not exceed
# the data.
assert_sparse_row() {
	assert_eq "$RIGHT" right "bytes"
	assert_le "$SENT" $((data + data / 50 + SLACK)) "bytes sent"
	assert_le "$ROOM" $((data + SLACK)) "allocated bytes"
}

# assert_read_once: checks the reads of the source's device; libvirt may have read
# its beginning before.
assert_read_once() {
	assert_le "$READ" $((size * 102 / 100 + REREAD)) "bytes read of the device"
	assert_ge "$READ" $((size * 98 / 100)) "bytes read of the device"
}

make_device tenth "$size" source
source=$LOOP
give "$source"
data=$(data_bytes source)
start_daemon
new_pool images "$TEST_TMP/images"

say "from a device to a volume"
mount_fs -o allow_other "disk=$source"
new_volume sparse
row "device to volume, mount" "$TEST_TMP/images/sparse" \
	"$TEST_TMP/images/sparse" upload images sparse "$MNT/disk"
assert_sparse_row
assert_read_once
umount_fs

new_volume full
row "device to volume, straight" "$TEST_TMP/images/full" \
	"$TEST_TMP/images/full" upload images full "$source"
assert_eq "$RIGHT" right "bytes"

say "from a volume of a pool that is a mount"
mount_fs -o allow_other "disk=$source"
new_pool devices "$MNT"
row "device as volume to file, mount" "$TEST_TMP/copy" "$TEST_TMP/copy" \
	download devices disk "$TEST_TMP/copy"
assert_sparse_row
assert_read_once
virsh pool-destroy devices
umount_fs

say "from a volume to a device"
old_device
mount_fs -o rw "disk=$OLD"
row "volume to device, mount" "$OLD" "$TEST_TMP/old" \
	download images sparse "$MNT/disk"
assert_sparse_row
umount_fs
assert_same_bytes "$TEST_TMP/source" "$OLD"
loop_free "$OLD"

old_device
row "volume to device, straight" "$OLD" "$TEST_TMP/old" \
	download images sparse "$OLD"
assert_eq "$RIGHT" right "bytes"
loop_free "$OLD"

say "to a volume of a pool that is a mount"
# libvirt seeks over holes and does not empty any volume first: old bytes stay
# unless the user empties it.
old_device
mount_fs -o rw,allow_other "disk=$OLD"
new_pool devices "$MNT"
row "volume to device as volume, mount" "$OLD" "$TEST_TMP/old" \
	upload devices disk "$TEST_TMP/images/sparse"
: >"$MNT/disk"
row "the same, emptied before" "$OLD" "$TEST_TMP/old" \
	upload devices disk "$TEST_TMP/images/sparse"
virsh pool-destroy devices
umount_fs
assert_same_bytes "$TEST_TMP/source" "$OLD"
assert_sparse_row
loop_free "$OLD"

say "from a device to a device"
# through_pool FROM TO
through_pool() {
	new_volume between
	upload images between "$1"
	download images between "$2"
	virsh vol-delete --pool images between
}
mount_fs "disk=$source"
from_mount=$MNT from_pid=$FS_PID
old_device
MNT=$TEST_TMP/mnt2 FS_PID=
mount_fs -o rw "disk=$OLD"
row "device to device, mounts" "$OLD" "$TEST_TMP/old" \
	through_pool "$from_mount/disk" "$MNT/disk"
umount_fs
MNT=$from_mount FS_PID=$from_pid
umount_fs
assert_same_bytes "$TEST_TMP/source" "$OLD"
assert_eq "$RIGHT" right "bytes"
# The stream passes virsh twice: to the pool, and from it.
assert_le "$SENT" $((2 * (data + data / 50 + SLACK))) "bytes sent"
assert_le "$ROOM" $((data + SLACK)) "allocated bytes"
assert_read_once
loop_free "$OLD"

old_device
row "device to device, straight" "$OLD" "$TEST_TMP/old" \
	through_pool "$source" "$OLD"
assert_eq "$RIGHT" right "bytes"
loop_free "$OLD"

say "$((size >> 20)) MiB, $((data >> 20)) MiB of it data"
printf '%s\n' "${table[@]}"
