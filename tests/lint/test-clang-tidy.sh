#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# clang-tidy(1) finds no mistake in the library and the programs. .clang-tidy says
# what it looks for.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Only what is built: optional parts that are not, it has no flags for.
mapfile -t sources < <(python3 -c 'import json, os, sys
src, build = sys.argv[1:]
for unit in json.load(open(f"{build}/compile_commands.json")):
    path = os.path.join(unit["directory"], unit["file"])
    print(os.path.relpath(os.path.realpath(path), src))
' "$(realpath "$SRC")" "$BUILD" | grep -E '^(src|fuse|tools)/' | sort -u)
assert_ge "${#sources[@]}" 70 "C files that are built"

# gcc's flags, but clang's warnings are not what is looked for.
printf '%s\0' "${sources[@]}" |
	xargs -0 -P "$(nproc)" -n 4 clang-tidy -quiet -p "$BUILD" \
		--extra-arg=-Wno-error --extra-arg=-Wno-unknown-warning-option \
		>"$TEST_TMP/out" 2>"$TEST_TMP/err" || {
	sed "s|^\($(realpath "$SRC")/\)\?\([^ :]*/\)\?\.\./||" "$TEST_TMP/out"
	grep -v "warnings generated" "$TEST_TMP/err" || true
	fail "mend it, or say at the line with NOLINTNEXTLINE why it is right"
}
say "${#sources[@]} files"
