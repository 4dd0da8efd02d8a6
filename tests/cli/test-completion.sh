#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# bash, fish and zsh offer each command and option of the help of blksparse and
# blksparsefs, and values that the programs take.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires bash fish zsh python3

# The completions run the programs by name.
PATH=$(dirname "$TOOL"):$(dirname "$FS"):$PATH
cd "$TEST_TMP"
echo >a-file
mkdir mount

# offers LINE: prints the words that $shell offers, without the parts of the line
# that it repeats, in $OFFERED.
offers() {
	local program=${1%% *} folder=tools
	[[ $program == blksparse ]] || folder=fuse
	OFFERED=$(python3 "$SRC/tests/cli/shells.py" "$shell" \
		"$SRC/$folder/$program.$shell" "$program" "$1" |
		sed -E 's/^rw,//; s/=$//; s/^-?-?[a-z-]+=//' | sort)
}

# assert_offers LINE WORDS
assert_offers() {
	offers "$1"
	assert_eq "$OFFERED" "$2" "$shell: offered for '$1'"
}

# help_of EXPRESSION PROGRAM [COMMAND]: the names that sed finds in its help.
help_of() {
	"${@:2}" --help | sed -nE "$1" | sort
}

# takes WORD...: whether a program takes its options; it fails later, for want of
# the device.
takes() {
	run_status "$@"
	assert_eq "$STATUS" 1 "status of $*"
	assert_contains "$ERR" "nonexistent" "the error of $*"
}

# assert_takes_all LINE [OPERAND]...: each value that is offered at the end of
# LINE, which is followed by operands.
assert_takes_all() {
	local line value
	offers "$1"
	assert_ge "$(wc -w <<<"$OFFERED")" 2 "values for '$1'"
	for value in $OFFERED; do
		read -ra line <<<"$1$value"
		takes "${line[@]}" "${@:2}"
	done
}

# shellcheck disable=SC2016 # $ is sed's
commands=$(help_of '/^Commands:/,$s/^  ([a-z]+)  .*/\1/p' blksparse)
assert_contains "$commands" "map" "the commands"
for shell in bash fish zsh; do
	say "$shell"
	offers 'blksparse '
	assert_eq "$(grep -v '^-' <<<"$OFFERED")" "$commands" "$shell: commands"
	offers 'blksparse help '
	assert_eq "$(grep -v '^-' <<<"$OFFERED")" "$commands" \
		"$shell: commands after help"
	for command in $commands; do
		assert_offers "blksparse $command --" "$(help_of \
			's/^ +(-h, )?(--[a-z-]+).*/\2/p' blksparse "$command")"
	done
	for command in map diff send recv stat; do
		run_status blksparse "$command" --format=none x
		formats=${ERR#*\(}
		assert_offers "blksparse $command --format=" \
			"$(tr -d ' ' <<<"${formats%%)*}" | tr , '\n' | sort)"
	done
	assert_offers "blksparse map --known=o" off
	assert_offers "blksparse map a-f" a-file
	assert_offers "blksparse send --digest=a-f" a-file
	assert_takes_all "blksparse map --known=" nonexistent
	assert_takes_all "blksparse map --granule=" nonexistent
	assert_takes_all "blksparse digest --chunk=" nonexistent
	assert_takes_all "blksparse copy --tail=" nonexistent target
	assert_takes_all "blksparse copy --jobs=" nonexistent target
	assert_takes_all "blksparse copy --progress=" nonexistent target

	options=$(help_of 's/^  -o ([a-z_]+).*/\1/p' blksparsefs)
	assert_offers "blksparsefs -o " "$options"
	assert_offers "blksparsefs -o rw,k" known
	for option in granule known log lookahead same scan tail uring zero; do
		assert_takes_all "blksparsefs -o rw,$option=" nonexistent mount
	done
	assert_offers "blksparsefs a-f" a-file
done
