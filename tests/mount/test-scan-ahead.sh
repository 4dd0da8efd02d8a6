#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What is scanned for a copy is not read again: the device's counter after cp is
# its size, and with all known that of its data. The options that say how much
# is scanned, and a mount that nobody uses does nothing.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop

size=$((96 << 20))

# copy_reads IMAGE: copies $MNT/x as cp does, and checks the bytes. See
# count_reads.
copy_reads() {
	count_reads "$LOOP" cp --sparse=auto "$MNT/x" "$TEST_TMP/copy"
	assert_same_bytes "$TEST_TMP/copy" "$1"
	rm "$TEST_TMP/copy"
}

# assert_reads BYTES WHAT: no more was read of the device, by a margin, than
# that and what the kernel has read again.
assert_reads() {
	assert_le "$READ" $(($1 * 102 / 100 + REREAD)) "read of $2"
}

# What the kernel has cached of $MNT/x, bytes.
cached() {
	fincore --bytes --noheadings --output RES "$MNT/x"
}

for kind in tenth mixed data; do
	say "$kind"
	make_device "$kind" "$size" "$kind"
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

say "what one of two readers has passed stays for the other"
umount_fs
mount_fs "x=$LOOP"
exec 3<"$MNT/x"
copy_reads "$TEST_TMP/data"
assert_reads "$size" data
copy_reads "$TEST_TMP/data"
assert_le "$READ" $((size / 50 + REREAD)) "read of data, all cached"
exec 3<&-
umount_fs

say "who seeks through all of it first, and reads then"
make_device mixed "$size" two-passes
mount_fs "x=$LOOP"
count_reads "$LOOP" tar --create --sparse --hole-detection=seek \
	--file="$TEST_TMP/tar" -C "$MNT" x
assert_reads "$size" "two passes"
tar --extract --to-stdout --file="$TEST_TMP/tar" | cmp - "$TEST_TMP/two-passes"
umount_fs

say "who reads in order has more read ahead, but no more than was set"
make_device data "$size" ordered
mount_fs "x=$LOOP"
ahead=/sys/class/bdi/$(mountpoint -d "$MNT")/read_ahead_kb
reads=$(device_reads "$LOOP")
assert_same_bytes "$MNT/x" "$TEST_TMP/ordered"
assert_le $(($(device_reads "$LOOP") - reads)) $((size >> 18)) "reads of the device"
assert_eq "$(<"$ahead")" 2048 "KiB"
umount_fs
mount_fs "x=$LOOP"
ahead=/sys/class/bdi/$(mountpoint -d "$MNT")/read_ahead_kb
echo 4096 >"$ahead"
assert_same_bytes "$MNT/x" "$TEST_TMP/ordered"
assert_eq "$(<"$ahead")" 4096 "KiB"
umount_fs

say "the rest in the background, while the file is open"
make_device tenth "$size" background
data=$(python3 "$LIB/devices.py" data --granule 4K "$TEST_TMP/background")
all_known() {
	[[ $(allocated "$MNT/x") == "$data" ]]
}
reads=$(device_reads "$LOOP")
mount_fs -o scan=background "x=$LOOP"
# To open a device takes a read, to see whether direct ones work.
assert_le $(($(device_reads "$LOOP") - reads)) 2 "reads of a mount not in use"
exec 3<"$MNT/x"
wait_until 30 all_known || fail "the scan in the background does not end"
exec 3<&-
check walk,known,bytes "$MNT/x" "$LOOP" "$TEST_TMP/background"
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
	assert_contains "$ERR" "-o $option: " "what is said of $option"
done

say "a mount that nobody uses does nothing"
# switches PID: how often its threads were given a processor and gave it back
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
cmp "$MNT/x" "$TEST_TMP/background"
wait_until 30 quiet || fail "it goes on though no file is open"
umount_fs
