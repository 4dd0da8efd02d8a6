#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A copy reads each byte of the device once: the device's counter after cp is its
# size, and the size of its data if the map is complete. The options for scanning
# work, and a mount without open files does nothing.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

size=$((96 << 20))

# copy_reads IMAGE: copies $MNT/x with cp and checks the bytes. See count_reads.
copy_reads() {
	count_reads "$LOOP" cp --sparse=auto "$MNT/x" "$TEST_TMP/copy"
	assert_same_bytes "$TEST_TMP/copy" "$1"
	rm "$TEST_TMP/copy"
}

# The kernel may ask for a window of its read-ahead while the scan delivers the first
# piece of it: then all of the window is read twice. By io_uring that happens more often.
margin=2
window=$((2 << 20)) # of 96 MiB
[[ $(cat /sys/module/fuse/parameters/enable_uring 2>/dev/null) != Y ]] || margin=5

# assert_reads BYTES WHAT: at most BYTES, the margin, the share of a window and the
# kernel's repeated reads were read from the device.
assert_reads() {
	local most=$(($1 * (100 + margin) / 100 + window * $1 / size))

	assert_le "$READ" $((most + REREAD)) "read of $2"
}

# Prints how many bytes of $MNT/x the kernel has cached.
cached() {
	fincore --bytes --noheadings --output RES "$MNT/x"
}

declare -A device=()
for kind in tenth mixed data; do
	make_device "$kind" "$size" "$kind"
	device[$kind]=$LOOP
done
# A mount takes the end of the time of a change as a change, and forgets all.
wait_settled "$TEST_TMP/tenth" "$TEST_TMP/mixed" "$TEST_TMP/data"

for kind in tenth mixed data; do
	say "$kind"
	LOOP=${device[$kind]}
	data=$(python3 "$LIB/devices.py" data --granule 4K "$TEST_TMP/$kind")
	mount_fs "x=$LOOP"
	copy_reads "$TEST_TMP/$kind"
	assert_reads "$size" "$kind, nothing known"
	assert_eq "$(allocated "$MNT/x")" "$data" "allocated, all known"
	copy_reads "$TEST_TMP/$kind"
	assert_reads "$data" "$kind, all known"
	umount_fs
done

say "a copy leaves little in the cache"
mount_fs "x=$LOOP"
copy_reads "$TEST_TMP/data"
assert_le "$(cached)" $((32 << 20)) "bytes cached"

say "with two readers, pages behind one stay cached for the other"
umount_fs
mount_fs "x=$LOOP"
exec 3<"$MNT/x"
copy_reads "$TEST_TMP/data"
assert_reads "$size" data
copy_reads "$TEST_TMP/data"
assert_le "$READ" $((size / 50 + REREAD)) "read of data, all cached"
exec 3<&-
umount_fs

say "a program that first seeks through the file and then reads it"
LOOP=${device[mixed]}
mount_fs "x=$LOOP"
count_reads "$LOOP" tar --create --sparse --hole-detection=seek \
	--file="$TEST_TMP/tar" -C "$MNT" x
assert_reads "$size" "two passes"
tar --extract --to-stdout --file="$TEST_TMP/tar" | cmp - "$TEST_TMP/mixed"
umount_fs

say "read-ahead is raised to 2048 KiB, and a higher setting stays"
LOOP=${device[data]}
mount_fs "x=$LOOP"
ahead=/sys/class/bdi/$(mountpoint -d "$MNT")/read_ahead_kb
reads=$(device_reads "$LOOP")
assert_same_bytes "$MNT/x" "$TEST_TMP/data"
assert_le $(($(device_reads "$LOOP") - reads)) $((size >> 18)) "reads of the device"
assert_eq "$(<"$ahead")" 2048 "KiB"
umount_fs
mount_fs "x=$LOOP"
ahead=/sys/class/bdi/$(mountpoint -d "$MNT")/read_ahead_kb
echo 4096 >"$ahead"
assert_same_bytes "$MNT/x" "$TEST_TMP/data"
assert_eq "$(<"$ahead")" 4096 "KiB"
umount_fs

say "scan=background scans the rest while the file is open"
LOOP=${device[tenth]}
data=$(python3 "$LIB/devices.py" data --granule 4K "$TEST_TMP/tenth")
all_known() {
	[[ $(allocated "$MNT/x") == "$data" ]]
}
reads=$(device_reads "$LOOP")
mount_fs -o scan=background "x=$LOOP"
# Opening a device takes one read, to check that direct reads work.
assert_le $(($(device_reads "$LOOP") - reads)) 2 "reads of a mount not in use"
exec 3<"$MNT/x"
wait_until 30 all_known || fail "the background scan does not end"
exec 3<&-
check walk,known,bytes "$MNT/x" "$LOOP" "$TEST_TMP/tenth"
umount_fs

say "short holes as data"
mount_fs -o minhole=1M "x=$LOOP"
python3 - "$MNT/x" "$LOOP" <<'END'
import os, sys
file, device = (os.open(path, os.O_RDONLY) for path in sys.argv[1:])
size = os.fstat(file).st_size
at = holes = 0
while at < size:
    try:
        data = os.lseek(file, at, os.SEEK_DATA)
    except OSError:
        data = size
    assert data == at or data - at >= 1 << 20, f"a hole of {data - at} at {at}"
    assert not any(os.pread(device, data - at, at)), f"no hole at {at}"
    holes += data > at
    at = data if data == size else os.lseek(file, data, os.SEEK_HOLE)
assert holes > 3, holes
END
umount_fs
for option in minhole=17M scan=never; do
	run_status "$FS" -o "$option" "$LOOP" "$MNT"
	assert_eq "$STATUS" 2 "status of $option"
	assert_contains "$ERR" "-o $option: " "message for $option"
done

say "holes that the file system knows are not read, but for a few granules"
dig_holes "$TEST_TMP/tenth"
mount_fs "x=$LOOP"
copy_reads "$TEST_TMP/tenth"
# Reads of small pieces of data may reach into the holes behind them.
assert_reads $((data * 5 / 4)) "tenth, the holes known"
assert_eq "$(allocated "$MNT/x")" "$data" "allocated, all known"
umount_fs

say "a mount without open files does nothing"
# switches PID: the number of context switches of its threads.
switches() {
	cat "/proc/$1"/task/*/status | awk '/ctxt_switches/ { n += $2 }
		END { print n }'
}
quiet() {
	local before
	before=$(switches "$FS_PID")
	sleep 3
	[[ $(switches "$FS_PID") == "$before" ]]
}
mount_fs -o scan=background "x=$LOOP"
cmp "$MNT/x" "$TEST_TMP/tenth"
wait_until 30 quiet || fail "its threads run although no file is open"
umount_fs
