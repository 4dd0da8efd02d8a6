#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# rsync -S, which reads all of it and never asks lseek; and rsync -a, which sets
# the times that it was told.
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
	# Nothing changed: it has nothing to do.
	assert_eq "$(rsync -a -S --itemize-changes "$MNT/$1" "$TEST_TMP/copy")" "" \
		"what a second rsync does"
}
each_state copy
