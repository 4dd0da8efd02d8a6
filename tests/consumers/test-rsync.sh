#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# rsync -S reads all of a file and never uses lseek; rsync -a sets the times of
# the source.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
requires rsync
consumer_devices zero=zero:24M data=data:24M last=last:24M mixed=mixed:48M \
	tenth=tenth:96M odd=mixed:1049088

copy() {
	rm -f "$TEST_TMP/copy"
	rsync -a -S "$MNT/$1" "$TEST_TMP/copy"
	assert_sparse_copy "$TEST_TMP/copy" "$1"
	assert_eq "$(stat -c %Y "$TEST_TMP/copy")" "$(stat -c %Y "$MNT/$1")" "mtime"
	# Nothing has changed, so rsync copies nothing.
	assert_eq "$(rsync -a -S --itemize-changes "$MNT/$1" "$TEST_TMP/copy")" "" \
		"output of a second rsync"
}
each_state copy
