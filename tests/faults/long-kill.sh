#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Ten minutes of test-kill.sh. Its seeds go on where those of the last run with this
# build ended; those of a failure are tried again.
#
# TIMEOUT: 1200 seconds
#
#   long-kill.sh [SECONDS]
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"

next=$BUILD/long-kill.seed
seed=1000000
[[ ! -s $next ]] || seed=$(<"$next")
end=$((SECONDS + ${1:-600}))
while ((SECONDS < end)); do
	bash "$(dirname "$0")/test-kill.sh" 20 "$seed" || exit
	seed=$((seed + 20))
	echo "$seed" >"$next"
done
