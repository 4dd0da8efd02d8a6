# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Functions for the tests of tools that read the files of a mount. Each tool runs
# on devices with known content, while nothing, some or all of them is known, and
# while the file system below knows the holes.

# shellcheck source=../lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

declare -A DEVICE=()

# consumer_devices NAME=KIND:SIZE...: makes loop devices over $TEST_TMP/NAME, in
# DEVICE[NAME].
consumer_devices() {
	local spec name kind images
	requires_fuse
	requires_loop
	for spec; do
		name=${spec%%=*}
		kind=${spec#*=}
		make_device "${kind%:*}" "${kind#*:}" "$name"
		DEVICE[$name]=$LOOP
	done
	# A mount takes the end of the time of a change as a change.
	images=("${!DEVICE[@]}")
	wait_settled "${images[@]/#/$TEST_TMP/}"
}

# each_state FUNCTION: calls FUNCTION NAME, with the file $MNT/NAME, for each
# device in four states: nothing is known, reads have learned parts, all is
# known, nothing is known but the file system can be asked.
each_state() {
	local state name mounts=() files=() images=("${!DEVICE[@]}")
	for name in "${!DEVICE[@]}"; do
		mounts+=("$name=${DEVICE[$name]}")
		files+=("$MNT/$name" "${DEVICE[$name]}" "$TEST_TMP/$name")
	done
	for state in unknown partial known asked; do
		[[ $state != asked ]] || dig_holes "${images[@]/#/$TEST_TMP/}"
		mount_fs "${mounts[@]}"
		case $state in
		unknown | asked) check fresh "${files[@]}" ;;
		partial) check reads "${files[@]}" ;;
		known) check walk,known "${files[@]}" ;;
		esac
		for name in "${!DEVICE[@]}"; do
			say "$name, $state"
			"$1" "$name"
		done
		umount_fs
	done
}

# data_bytes NAME: prints the bytes in its granules that hold data.
data_bytes() {
	python3 "$LIB/devices.py" data "$TEST_TMP/$1"
}

# truth NAME: prints its true extents in the form of ask extents.
truth() {
	python3 "$LIB/devices.py" list "$TEST_TMP/$1"
}

# A file system needs some blocks for the extents of a fragmented file.
SLACK=$((128 << 10))

# assert_sparse_copy COPY NAME: checks that COPY has the bytes of the device and
# takes no more space than its data.
assert_sparse_copy() {
	assert_same_bytes "$1" "${DEVICE[$2]}"
	assert_le "$(allocated "$1")" $(($(data_bytes "$2") + SLACK)) \
		"allocated bytes of the copy of $2"
}

# assert_extents GOT NAME WHAT: checks that GOT is the truth about NAME. Four of
# its granules of zeros may be called data: a seek that takes long must answer.
assert_extents() {
	python3 -c '
import sys
def granules(text):
    return {at for line in text.splitlines() if line.endswith("data")
            for start, length, _ in [line.split()]
            for at in range(int(start) // 4096, -(-(int(start) + int(length)) // 4096))}
def end(text):
    return sum(map(int, text.splitlines()[-1].split()[:2]))
got, right = sys.argv[1:]
missing = granules(right) - granules(got)
surplus = granules(got) - granules(right)
if missing or len(surplus) > 4 or end(got) != end(right):
    sys.exit(f"called holes: {sorted(missing)}; called data: {sorted(surplus)}; "
             f"the end: {end(got)}, not {end(right)}")
if surplus:
    print(f"called data: {sorted(surplus)}")' "$1" "$(truth "$2")" || {
		diff <(echo "$1") <(truth "$2") | head -n 20
		fail_at "$3 of $2"
	}
}

# merged: merges adjacent lines "OFFSET LENGTH TYPE" of one type.
merged() {
	awk '$3 == type && $1 == at + len { len += $2; next }
		NR > 1 { print at, len, type }
		{ at = $1; len = $2; type = $3 }
		END { if (NR) print at, len, type }'
}
