#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# bsdtar and back. It uses lseek whatever st_blocks is.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
requires bsdtar
consumer_devices zero=zero:24M data=data:24M last=last:24M mixed=mixed:48M \
	tenth=tenth:96M odd=mixed:1049088

round_trip() {
	rm -rf "$TEST_TMP/out"
	mkdir "$TEST_TMP/out"
	bsdtar -C "$MNT" -cf "$TEST_TMP/archive" "$1"
	assert_le "$(stat -c %s "$TEST_TMP/archive")" \
		$(($(data_bytes "$1") + 64 * $(truth "$1" | wc -l) + 65536)) \
		"size of the archive of $1"
	bsdtar -C "$TEST_TMP/out" -xf "$TEST_TMP/archive"
	assert_sparse_copy "$TEST_TMP/out/$1" "$1"
}
each_state round_trip
