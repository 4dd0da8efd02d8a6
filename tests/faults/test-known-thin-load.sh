#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# In a virtual machine: programs write to thin volumes and discard parts of them
# while these are asked for their holes. No claim is false. At rest, the known
# holes are the blocks that thin_dump does not list. A control: without having
# the pool commit, claims are false.
#
# TIMEOUT: 300 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 580 python3 thin_dump

modprobe -a loop dm-mod dm-thin-pool

here=$(dirname "$0")
layers=$BUILD/tests/faults/known-layers
size=$((32 * MIB))

truncate -s 8M "$TEST_TMP/metadata"
truncate -s 512M "$TEST_TMP/pool"
loop_new "$TEST_TMP/metadata"
metadata=$LOOP
loop_new "$TEST_TMP/pool"
new_volume pool "0 $((512 << 11)) thin-pool $metadata $LOOP 128 0"

# thin ID: makes the volume "thin" and the number.
thin() {
	new_volume "thin$1" "0 $((size >> 9)) thin /dev/mapper/pool $1"
}

# snapshot ID ORIGIN
snapshot() {
	dmsetup suspend "thin$2"
	dmsetup message pool 0 "create_snap $1 $2"
	dmsetup resume "thin$2"
	thin "$1"
}

# check_at_rest ID...: compares the answers with thin_dump's.
check_at_rest() {
	local id files=()
	dmsetup message pool 0 reserve_metadata_snap
	thin_dump --metadata-snap "$metadata" >"$TEST_TMP/dump.xml"
	dmsetup message pool 0 release_metadata_snap
	for id; do
		"$layers" "/dev/mapper/thin$id" >"$TEST_TMP/answers$id" ||
			fail_at "a claim of volume $id is wrong"
		files+=("$id=$TEST_TMP/answers$id")
	done
	python3 "$here/thin_oracle.py" "$TEST_TMP/dump.xml" "${files[@]}" ||
		fail_at "the answers differ from thin_dump's"
}

# under_load SECONDS ID...: starts the load of these volumes.
under_load() {
	local ids=("${@:2}")
	python3 "$here/thin_load.py" "$1" "${ids[@]/#//dev/mapper/thin}" &
	load=$!
}

# race ARGUMENT...: asks volume 1 for its holes; sets $RACE to the numbers of
# claims, of those read at rest, of those written since, and of wrong ones.
race() {
	local line
	line=$("$layers" /dev/mapper/thin1 "$@") || true
	wait "$load" || fail_at "the load failed"
	echo "$line"
	read -r -a RACE <<<"${line//[!0-9 ]/}"
	assert_ge "${RACE[0]:-0}" 1 "claims"
	assert_ge "${RACE[1]}" 1 "claims read at rest"
}

dmsetup message pool 0 "create_thin 1"
thin 1

say "a load of the volume, of a snapshot, and of one of that"
python3 "$here/thin_load.py" 3 /dev/mapper/thin1
snapshot 2 1
snapshot 3 2
under_load 10 1 2 3
race 10
assert_ge "${RACE[2]}" 1 "claims written since"
assert_eq "${RACE[3]}" 0 "wrong claims"
check_at_rest 1 2 3

say "a load of the others alone: all claims stay true"
under_load 5 2 3
race 5
assert_eq "${RACE[1]}" "${RACE[0]}" "claims read at rest"
assert_eq "${RACE[2]}" 0 "claims written since"
check_at_rest 1 2 3

say "control: without a commit"
under_load 10 1
race 10 "$metadata" 1
assert_ge "${RACE[3]}" 1 "wrong claims"
