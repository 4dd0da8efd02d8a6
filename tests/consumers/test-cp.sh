#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Plain cp makes sparse copies of a big device, and of devices whose st_blocks
# could mislead it.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
consumer_devices zero=zero:24M data=data:24M last=last:24M mixed=mixed:48M \
	tenth=tenth:96M odd=mixed:1049088

copy() {
	rm -f "$TEST_TMP/copy"
	cp "$MNT/$1" "$TEST_TMP/copy"
	assert_sparse_copy "$TEST_TMP/copy" "$1"
	rm "$TEST_TMP/copy"
	cp -p --sparse=always "$MNT/$1" "$TEST_TMP/copy"
	assert_sparse_copy "$TEST_TMP/copy" "$1"
}
each_state copy
