#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every shell script of the tree passes shellcheck(1).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

mapfile -t scripts < <(files '*' | xargs -d '\n' grep -lE \
	'^#!/bin/(ba)?sh|^# shellcheck shell=')
assert_ge "${#scripts[@]}" 20 "scripts that were found"
printf '%s\0' "${scripts[@]}" |
	xargs -0 -P "$(nproc)" -n 10 shellcheck -f gcc -x -P SCRIPTDIR ||
	fail "shellcheck(1) says what is wrong at each SC number"
say "${#scripts[@]} scripts"
