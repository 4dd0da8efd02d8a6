#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# 200,000 random operations on writable mounts; see test-random-ops.sh. Also a round
# of each kind with the build that detects data races, and with the one that detects
# bad memory accesses.
# TIMEOUT: 3600
set -euo pipefail
# shellcheck source=random-ops.sh
. "$(dirname "$0")/random-ops.sh"
requires_fuse
requires_loop

seed=${RANDOM_SEED:-$(fresh_seed)}
say "fresh seed: $seed"

# rounds SEED OPS: OPS operations in each of eight mounts.
rounds() {
	local sector
	for sector in 512 4096; do
		random_device $(((24 << 20) + sector)) "$sector" "$1"
		random_round 4096 "" keep --seed "$1" --ops "$2" --map --direct
		random_round 65536 "" zero --seed "$1" --ops "$2" --map --direct
		random_round 65536 zero=write discard --seed "$1" \
			--ops $(($2 / 5)) --processes 5 --map --direct --noise
		random_round 4096 zero=keep keep --seed "$1" \
			--ops $(($2 / 5)) --threads 5 --direct --noise
	done
}

# libfuse does not free the mount point's name unless it unmounts itself.
echo "leak:fuse_session_mount" >"$TEST_TMP/leaks"
export LSAN_OPTIONS=suppressions=$TEST_TMP/leaks:print_suppressions=0

rounds 1 10000
rounds "$seed" 10000
for variant in "${BUILD_ASAN:-$SRC/build-asan}" "${BUILD_TSAN:-$SRC/build-tsan}"; do
	FS=$variant/fuse/blksparsefs
	[[ -x $FS ]] || skip "$FS is not built"
	say "$FS"
	# ThreadSanitizer may fail with much randomness of addresses.
	# shellcheck disable=SC2034 # for mount_fs()
	FS_WRAP=(setarch -R)
	rounds "$seed" 2500
done
