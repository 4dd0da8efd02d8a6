#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Rounds of all kinds of operations, faults and ends, compared with a shadow: half a
# minute with the plain build, and some seconds with those that detect data races
# and bad memory accesses. A failure names its seed and mode; SOAK_SEED=N begins with
# that seed.
#
# TIMEOUT: 300 seconds
#
#   test-soak.sh [SECONDS [SECONDS-OF-A-VARIANT]]
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

seconds=${1:-40}
of_variant=${2:-8}

soak --round-seconds 3 --seconds $((seconds / 2))
soak --round-seconds $((seconds / 4)) --mode write --flat --memory
if soak_memory 128; then
	soak --round-seconds $((seconds / 4)) --mode write --cgroup "$CGROUP"
fi
for variant in "${BUILD_ASAN:-$SRC/build-asan}" "${BUILD_TSAN:-$SRC/build-tsan}"; do
	FS=$variant/fuse/blksparsefs
	[[ -x $FS ]] || skip "$FS is not built"
	say "$FS"
	soak --round-seconds 4 --seconds "$of_variant"
done
