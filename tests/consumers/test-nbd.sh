#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# nbdkit's file plugin and nbdcopy: the map agrees with the truth, and copies
# are sparse.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
requires nbdkit nbdcopy nbdinfo jq
consumer_devices zero=zero:24M data=data:24M last=last:24M mixed=mixed:48M \
	tenth=tenth:96M odd=mixed:1049088

map_and_copy() {
	local got
	# shellcheck disable=SC2016 # nbdkit sets it
	got=$(nbdkit file "$MNT/$1" --run 'nbdinfo --map --json "$uri"' |
		jq -r '.[] | "\(.offset) \(.length) \(if .type == 0 then "data" else "hole" end)"' |
		merged)
	assert_extents "$got" "$1" "nbdinfo --map"

	rm -f "$TEST_TMP/copy"
	nbdcopy -- [ nbdkit --exit-with-parent file "$MNT/$1" ] "$TEST_TMP/copy"
	assert_sparse_copy "$TEST_TMP/copy" "$1"

	rm -f "$TEST_TMP/copy"
	nbdcopy "$MNT/$1" "$TEST_TMP/copy"
	assert_sparse_copy "$TEST_TMP/copy" "$1"
}
each_state map_and_copy
