#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A device on which zeroing takes very long, in a virtual machine: a program
# that is killed in fsync ends, a signal with a handler does not end the fsync,
# and the mount zeroes the rest later.
#
# TIMEOUT: 600 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 580 python3

modprobe -a loop fuse dm-mod dm-delay
requires_fuse

truncate -s 40M "$TEST_TMP/image"
loop_new "$TEST_TMP/image"
lower=$LOOP
make_stale "$lower"
M=$((MIB / 512))

# slow FROM: prints a table that delays writes to the MiB there by an hour, or
# until the table is replaced.
slow() {
	cat <<-TABLE
		0 $(($1 * M)) linear $lower 0
		$(($1 * M)) $M delay $lower $(($1 * M)) 0 $lower $(($1 * M)) 3600000
		$((($1 + 1) * M)) $(((39 - $1) * M)) linear $lower $((($1 + 1) * M))
	TABLE
}

new_volume volume "$(slow 14)"
volume=/dev/mapper/volume
mount_fs -o rw,zero=write "x=$volume"
python3 "$(dirname "$0")/do.py" "$MNT/x" punch=0+40M fsync >"$TEST_TMP/failures" &
pid=$!
wait_until 60 zeros_there "$lower" $((13 * MIB)) $MIB || fail "zeroing does not begin"
kill -INT "$pid" # the program has a handler
kill -KILL "$pid"
# Make a later range slow, in case the flush goes on.
reload volume "$(slow 20)"
wait_until 60 gone_or_zombie "$pid" || fail "fsync does not end"
assert_eq "$(<"$TEST_TMP/failures")" "" "failures"
assert_zeros "$lower" 0 $((14 * MIB)) "the part zeroed before"
# The mount zeroes the rest later. It may have begun with the next 16 MiB, which
# the slow MiB holds up.
assert_stale "$lower" $((32 * MIB)) $((8 * MIB)) "the part not reached"
# Readers of these 16 MiB wait for it, so it is made fast first.
reload volume "0 $((40 * M)) linear $lower 0"
assert_eq "$(ask data 0 "$MNT/x")" ENXIO "SEEK_DATA"
dd if="$MNT/x" bs=1M iflag=direct status=none | cmp - <(head -c 40M /dev/zero) ||
	fail "the file does not read as zeros"
act fsync
is_well
assert_zeros "$lower" 0 $((40 * MIB)) "the second time"
umount_fs
