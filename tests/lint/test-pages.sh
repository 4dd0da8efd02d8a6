#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The manual pages: scdoc(1) renders each, mandoc(1) finds nothing to warn of,
# meson installs each, and each page of ours that one refers to is there.
# cli/test-help-man.sh compares their options with those of --help.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
requires scdoc mandoc

mapfile -t pages < <(files '*.scd')
assert_ge "${#pages[@]}" 7 "pages that were found"

faults=$TEST_TMP/faults
: >"$faults"
for page in "${pages[@]}"; do
	name=${page##*/}
	name=${name%.scd}
	if ! scdoc <"$page" >"$TEST_TMP/$name" 2>"$TEST_TMP/err"; then
		echo "$page:1: scdoc: $(<"$TEST_TMP/err")"
	fi
	# scdoc(1) writes these itself, at each heading.
	mandoc -T lint -W warning "$TEST_TMP/$name" |
		grep -v -e 'WARNING: skipping paragraph macro: PP \(after S[HS]\|empty\)' \
			-e 'WARNING: cannot parse date' |
		sed "s|^mandoc: [^:]*/\([^/:]*\):|$page: in line \1:|" || true
	grep -qF "'$name" "${page%/*}/meson.build" ||
		echo "$page:1: ${page%/*}/meson.build does not install it"
	while IFS=: read -r line reference; do
		section=${reference##*(}
		reference=${reference%%\**}.${section%)}
		[[ " ${pages[*]}" == *"/$reference.scd"* ]] ||
			echo "$page:$line: there is no page $reference"
	done < <(grep -noE '\*(lib)?blksparse[a-z-]*\*\([0-9]\)' "$page" |
		sed 's/:\*/:/')
done >"$faults"
cat "$faults"
[[ ! -s $faults ]] || fail "see above"
say "${#pages[@]} pages"
