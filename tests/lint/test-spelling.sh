#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# No word that codespell(1) knows to be a mistake. Words that only look like one
# are in spelling-ignore, in lower case, one a line.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

mapfile -t texts < <(files '*' | grep -v '^tests/fuzz/corpus/')
assert_ge "${#texts[@]}" 200 "files that were found"
codespell -q 3 -I "$LINT/spelling-ignore" "${texts[@]}" ||
	fail "misspelled; the word after the arrow is right"
say "${#texts[@]} files"
