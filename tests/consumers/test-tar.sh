#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# tar -S and back: the archive is as small as the data. If st_blocks is 0, tar
# archives the file as one hole without reading it.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
requires tar
consumer_devices zero=zero:24M data=data:24M last=last:24M mixed=mixed:48M \
	tenth=tenth:96M odd=mixed:1049088

round_trip() {
	rm -rf "$TEST_TMP/out"
	mkdir "$TEST_TMP/out"
	tar -C "$MNT" -S -cf "$TEST_TMP/archive" "$1"
	# The headers have the list of extents; and there is padding.
	assert_le "$(stat -c %s "$TEST_TMP/archive")" \
		$(($(data_bytes "$1") + 64 * $(truth "$1" | wc -l) + 65536)) \
		"size of the archive of $1"
	tar -C "$TEST_TMP/out" -S -xf "$TEST_TMP/archive"
	assert_sparse_copy "$TEST_TMP/out/$1" "$1"
	tar -C "$MNT" -d -f "$TEST_TMP/archive"
}
each_state round_trip
