#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# borg create --sparse and extract --sparse.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
requires borg
consumer_devices zero=zero:8M data=data:8M mixed=mixed:16M odd=mixed:1049088

export BORG_BASE_DIR=$TEST_TMP/borg BORG_REPO=$TEST_TMP/repo
export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
borg init -e none
round=0

round_trip() {
	((++round))
	rm -rf "$TEST_TMP/out"
	mkdir "$TEST_TMP/out"
	cd "$MNT"
	borg create --sparse --chunker-params fixed,4096 --files-cache disabled \
		"::$round" "$1"
	cd "$TEST_TMP/out"
	borg extract --sparse "::$round"
	cd /
	assert_sparse_copy "$TEST_TMP/out/$1" "$1"
}
each_state round_trip
