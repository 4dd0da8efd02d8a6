#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The top level holds nothing new, and each file names its license.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# All that may be at the top besides files whose names begin with a dot.
top=(
	meson.build meson_options.txt
	include src fuse tools examples tests docs packaging
	README.md CONTRIBUTING.md SECURITY.md NEWS.md LICENSE
)

# new_at_top < FILES, unlicensed < FILES: the wrong ones, each a line.
new_at_top() {
	cut -d/ -f1 | sort -u | grep -v '^\.' |
		grep -vxF -f <(printf '%s\n' "${top[@]}") |
		sed 's/$/:1: is new at the top: put it into a folder, or add it to tests\/lint\/test-layout.sh/' ||
		true
}

# Not asked: prose and pictures, which the license of the tree covers, data of
# tests, and lists of Debian's packages, whose file "copyright" says it.
unlicensed() {
	grep -vE '^LICENSE$|\.md$|^docs/.*\.svg$|^packaging/debian/(.*[./])?(changelog|copyright|control|format|install|examples|symbols)$|^tests/fuzz/corpus/|^tests/lint/(spelling-ignore|.*\.abi)$' |
		xargs -d '\n' grep -L 'SPDX-License-Identifier: LGPL-2.1-or-later$\|SPDX-License-Identifier: LGPL-2.1-or-later \*/$' |
		sed 's/$/:1: has no line "SPDX-License-Identifier: LGPL-2.1-or-later"/' ||
		true
}

say "self-test"
cd "$TEST_TMP"
echo '# SPDX-License-Identifier: LGPL-2.1-or-later' >good
echo '/* SPDX-License-Identifier: LGPL-2.1-or-later */' >good.c
echo '# SPDX-License-Identifier: GPL-2.0-only' >other
: >without
printf '%s\n' good good.c other without | unlicensed | cut -d: -f1 |
	paste -sd' ' >out
assert_eq "$(<out)" "other without" "files without a license"
printf '%s\n' src/new/x .hidden README.md stray.c extra/y |
	new_at_top | cut -d: -f1 | paste -sd' ' >out
assert_eq "$(<out)" "extra stray.c" "what is new at the top"
cd "$SRC"

say "the tree"
files '*' >"$TEST_TMP/files"
{
	new_at_top <"$TEST_TMP/files"
	unlicensed <"$TEST_TMP/files"
} | tee "$TEST_TMP/faults"
[[ ! -s $TEST_TMP/faults ]] || fail "see above"
