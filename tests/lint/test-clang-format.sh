#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every C file is laid out as .clang-format says. Versions of clang-format differ
# in details: the tree is kept such that those of Debian 12 (14) and 13 (19)
# agree, and no other is asked.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=$(clang-format --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p')
[[ $version == 14 || $version == 19 ]] ||
	skip "clang-format is of version $version; the tree follows 14 and 19"
mapfile -t sources < <(files '*.c' '*.h')
assert_le 100 "${#sources[@]}" "C files that were found"

wrong=
clang-format --dry-run -Werror "${sources[@]}" || wrong=1
# A comment line that is too long it breaks into one without its space.
! grep -nE '^ \*[[:alpha:]]' "${sources[@]}" || wrong=1
[[ -z $wrong ]] ||
	fail "mend it with: clang-format -i FILE, and read what it did to comments"
say "${#sources[@]} files, clang-format $version"
