# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Functions that the lints share. A lint reads the tree and says what is wrong as
# "file:line: fault, and how to mend it"; it changes nothing. It runs in $SRC.

# shellcheck source=../lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

LINT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export LINT
if [[ -z ${TEST_TMP:-} ]]; then # run by a person
	TEST_TMP=$(mktemp -d)
	cleanup rm -rf "$TEST_TMP"
fi
cd "$SRC"

# files [PATTERN...]: the files of the tree (as git ls-files takes them), one a
# line, with those that are not committed yet; in an unpacked release, all.
files() {
	if git -c safe.directory='*' rev-parse --git-dir >/dev/null 2>&1; then
		git -c safe.directory='*' ls-files -co --exclude-standard \
			--deduplicate -- "$@" | existing
	else
		find . -path './build*' -prune -o -name __pycache__ -prune \
			-o -type f -printf '%P\n' | matching "$@" | sort
	fi
}

existing() {
	local file
	while read -r file; do
		[[ ! -f $file ]] || echo "$file"
	done
}

matching() {
	local file pattern
	while read -r file; do
		(($#)) || echo "$file"
		for pattern; do
			# shellcheck disable=SC2053 # a pattern
			if [[ $file == $pattern || $file == "$pattern"/* ]]; then
				echo "$file"
				break
			fi
		done
	done
}
