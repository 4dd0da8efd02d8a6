#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Devices that fail during writes, in a virtual machine: the writer gets the
# error, and data and zeros reach the device once it works again.
#
# TIMEOUT: 600 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 580 python3

modprobe -a loop fuse sd_mod dm-mod dm-delay
requires_fuse

# True if the mount knows of a write at that offset.
dirty_there() {
	[[ $(dd if="$MNT/x" bs=1 skip="$1" count=1 status=none \
		2>/dev/null) == ']' ]]
}

# A volume of which [4M, 6M) lies on another disk.
new_disks 2 dev_size_mb=8 lbpws=1
good=${DISKS[0]} bad=${DISKS[1]}
make_device data 4M other
other=$LOOP
M=$((MIB / 512))
table() {
	cat <<-TABLE
		0 $((4 * M)) linear $good 0
		$((4 * M)) $((2 * M)) $1
		$((6 * M)) $((2 * M)) linear $good $((6 * M))
	TABLE
}
sound="linear $bad $((4 * M))"
new_volume volume "$(table "$sound")"
volume=/dev/mapper/volume

# well_at_last: checks that all is right once the device works. The first flush
# may still fail: the kernel reports the failed writes of zeros once, as for
# data.
well_at_last() {
	act fsync fsync
	assert_eq "$FAILURES" "$(fails fsync)" "failures when the device is well"
}

start() {
	make_stale "$volume"
	mount_fs -o "rw$1" "x=$volume" "other=$other"
}

state() {
	echo "$1" >"/sys/block/${bad##*/}/device/state"
}

say "a punch fails"
start ''
state offline
act truncate=0 truncate=8M write=1M+1M fsync fsync
assert_eq "$FAILURES" "$(fails fsync fsync close)" "failures"
holds "$good" $MIB $MIB
reads_zeros 0 $MIB $MIB
reads_zeros $((2 * MIB)) $((6 * MIB)) ENXIO
other_goes_on "$other"
state running
# The punch failed, and so did the writes of zeros instead of it.
well_at_last
assert_zeros "$bad" $((4 * MIB)) $((2 * MIB)) "afterwards"
holds "$volume" $MIB $MIB
assert_zeros "$volume" 0 $MIB "before the data"
assert_zeros "$volume" $((2 * MIB)) $((6 * MIB)) "behind it"
ends 0

for zero in '' ,zero=write; do
	say "zeros cannot be written ($zero)"
	start "$zero"
	reload volume "$(table error)"
	act truncate=0 truncate=8M write=1M+1M fsync fsync
	assert_eq "$FAILURES" "$(fails fsync fsync close)" "failures"
	holds "$good" $MIB $MIB
	reads_zeros $((2 * MIB)) $((6 * MIB)) ENXIO
	other_goes_on "$other"
	assert_stale "$bad" $((4 * MIB)) $((2 * MIB)) "while it was away"
	reload volume "$(table "$sound")"
	well_at_last
	assert_zeros "$volume" 0 $MIB "before the data"
	assert_zeros "$volume" $((2 * MIB)) $((6 * MIB)) "behind it"
	ends 0
done

say "the device fails during a flush"
start ,zero=write
# The failing write waits for a minute, or until the volume is reloaded.
reload volume "$(table "delay $bad $((4 * M)) 0 $bad $((4 * M)) 60000")"
python3 "$(dirname "$0")/do.py" "$MNT/x" truncate=0 truncate=8M fsync \
	>"$TEST_TMP/failures" &
pid=$!
wait_until 60 zeros_there "$good" $((2 * MIB)) $MIB || fail "zeroing does not begin"
state offline
reload volume "$(table error)"
wait_until 60 gone "$pid" || fail "fsync did not end"
assert_eq "$(<"$TEST_TMP/failures")" "$(fails fsync close)" "failures"
state running
reads_zeros 0 $((8 * MIB)) ENXIO
assert_stale "$bad" $((4 * MIB)) $((2 * MIB)) "while it was away"
reload volume "$(table "$sound")"
well_at_last
assert_zeros "$volume" 0 $((8 * MIB)) "afterwards"
ends 0

say "data cannot be written"
start ''
reload volume "$(table error)"
act write=3M+4M fsync
assert_contains "$FAILURES" "fsync EIO" "failures"
other_goes_on "$other"
assert_stale "$bad" $((4 * MIB)) $((2 * MIB)) "while it was away"
reload volume "$(table "$sound")"
act write=3M+4M fsync
is_well
holds "$volume" $((3 * MIB)) $((4 * MIB))
assert_stale "$volume" 0 $((3 * MIB)) "before"
assert_stale "$volume" $((7 * MIB)) $MIB "behind"
ends 0

say "each program with the file open gets the error once"
start ''
# Another program has the file open, and writes to a good part.
python3 "$(dirname "$0")/do.py" "$MNT/x" write=7M+64K "wait=$TEST_TMP/told" \
	fsync fsync >"$TEST_TMP/failures" &
pid=$!
wait_until 60 dirty_there $((7 * MIB)) || fail "writing does not begin"
reload volume "$(table error)"
act write=4M+1M fsync fsync
assert_contains "$FAILURES" "fsync EIO" "failures"
reload volume "$(table "$sound")"
act fsync
is_well
touch "$TEST_TMP/told"
wait_until 60 gone "$pid" || fail "the other program did not end"
assert_eq "$(<"$TEST_TMP/failures")" "fsync EIO" "failures of the other"
ends 0

say "a write of part of a zero granule fails"
start ''
reload volume "$(table error)"
act punch=5M+64K write=5122K+10 fsync
# Otherwise its zeros would become old bytes: the granule stays zero.
assert_eq "$FAILURES" "$(fails write=5122K+10 fsync close)" "failures"
reads_zeros $((5 * MIB)) 65536
reload volume "$(table "$sound")"
well_at_last
ends 0
assert_zeros "$volume" $((5 * MIB)) 65536 "it and its neighbours"

say "background zeroing does not consume an error that fsync must report"
start ,zero=write
reload volume "$(table error)"
python3 "$(dirname "$0")/do.py" "$MNT/x" truncate=6500001 write=5M+64K \
	"wait=$TEST_TMP/failed" punch=6492160+7841 "wait=$TEST_TMP/zeroed" fsync \
	>"$TEST_TMP/failures" &
pid=$!
wait_until 60 dirty_there $((5 * MIB)) || fail "writing does not begin"
blockdev --flushbufs "$volume" || true
reload volume "$(table "$sound")"
touch "$TEST_TMP/failed"
# The last piece is shorter than a block.
wait_until 60 zeros_there "$good" 6499840 161 || fail "zeroing does not begin"
touch "$TEST_TMP/zeroed"
wait_until 60 gone "$pid" || fail "fsync did not end"
assert_eq "$(<"$TEST_TMP/failures")" "fsync EIO" "failures"
ends 0

say "the flush at the end fails"
start ''
state offline
act punch=4M+1M
assert_eq "$FAILURES" "$(fails close)" "failures"
ends 1
assert_contains "$(<"$FS_LOG")" \
	"$volume: some written data is not on the device: Input/output error" \
	"the log"
state running
assert_stale "$bad" $((4 * MIB)) $MIB "the range that failed"

say "copy reports the offset that it could not write"
{
	head -c 1M /dev/zero
	head -c 6M /dev/zero | tr '\0' '\135'
	head -c 1M /dev/zero
} >"$TEST_TMP/image"
make_stale "$volume"
reload volume "$(table error)"
run_status "$TOOL" copy --quiet "$TEST_TMP/image" "$volume"
assert_eq "$STATUS" 1 "status of the copy"
assert_contains "$ERR" "writing $volume at byte 4194304:" "message"
assert_stale "$bad" $((4 * MIB)) $((2 * MIB)) "while it was away"
reload volume "$(table "$sound")"
"$TOOL" copy --quiet "$TEST_TMP/image" "$volume"
device_is "$volume" "$TEST_TMP/image" || fail "wrong bytes on $volume"
