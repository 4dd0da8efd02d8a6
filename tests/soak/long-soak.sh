#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Ten minutes of test-soak.sh: each kind of end and of faults with each build.
#
# TIMEOUT: 1500 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

for mode in write kill cut fault read; do
	soak --mode "$mode" --seconds 60
done
soak --mode write --round-seconds 60 --flat --memory
if soak_memory 128; then
	soak --cgroup "$CGROUP" --seconds 60
fi
for variant in "${BUILD_ASAN:-$SRC/build-asan}" "${BUILD_TSAN:-$SRC/build-tsan}"; do
	FS=$variant/fuse/blksparsefs
	[[ -x $FS ]] || skip "$FS is not built"
	say "$FS"
	for mode in write kill cut fault read; do
		soak --mode "$mode" --seconds 15
	done
done
