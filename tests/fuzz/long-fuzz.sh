#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 2400
#
# The other scripts here, with two minutes for each target.
set -euo pipefail
# shellcheck source=../lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

for script in "$SRC"/tests/fuzz/test-fuzz*.sh; do
	say "${script##*/}"
	place=$TEST_TMP/$(basename "$script" .sh)
	mkdir "$place"
	status=0
	TEST_TMP=$place FUZZ_SECONDS=${FUZZ_SECONDS:-120} bash "$script" ||
		status=$?
	((status == 0 || status == 77)) || fail "${script##*/}: status $status"
done
