#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The seeks of xfs_io agree with the truth.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
requires xfs_io
consumer_devices zero=zero:24M data=data:24M last=last:24M mixed=mixed:48M \
	tenth=tenth:96M odd=mixed:1049088

# as_extents: converts "DATA 4096" and "HOLE 8192" to lines as of the truth.
as_extents() {
	awk -v size="$1" '
		function put(end) { if (end > at) print at, end - at, type }
		$1 == "Whence" || $2 == "EOF" { next }
		{ put($2); at = $2; type = tolower($1) }
		END { put(size) }' | merged
}

seek() {
	assert_extents "$(xfs_io -r -c "seek -a -r 0" "$MNT/$1" |
		as_extents "$(stat -c %s "$MNT/$1")")" "$1" "xfs_io's extents"
}
each_state seek
