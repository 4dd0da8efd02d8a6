#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Plain cp of 1 GiB, 10 % of it data.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
consumer_devices big=tenth:1G

copy() {
	rm -f "$TEST_TMP/copy"
	cp "$MNT/$1" "$TEST_TMP/copy"
	assert_sparse_copy "$TEST_TMP/copy" "$1"
}
assert_le "$(data_bytes big)" $(((1 << 30) / 9)) "data of the device"
each_state copy
