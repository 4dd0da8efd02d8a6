#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# --help and the manual page list the same options, and --help is at most 80
# columns wide.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"

# help_options < HELP: prints "-x", "--xyz" and "-o xyz", one a line. An option
# ends at two spaces or at its argument.
help_options() {
	sed -n 's/^ \{1,8\}\(-.*\)$/\1/p' | sed 's/  .*//' | names_only
}

# page_options < PAGE: prints the options that the lists of a page define. In a
# section on mount options "-o" may be missing.
page_options() {
	awk '/^# / { mount = /MOUNT OPTIONS/ }
		/^\*/ { defined = $0; next }
		/^\t/ && defined != "" {
			# Remove markup and values, but no underscore in a name.
			gsub(/_[A-Z]+_/, "", defined)
			gsub(/[*\\]/, "", defined)
			if (mount && defined !~ /^-/)
				gsub(/(^|, )/, "&-o ", defined)
			if (defined ~ /^-/)
				print defined
		}
		{ defined = "" }' | names_only
}

# names_only: splits "-h, --help=WHAT" into two names without arguments.
names_only() {
	sed 's/, -/\n-/g' | sed -E 's/^(-o [a-z_]+).*/\1/; t
		s/^(-[^][ =]+).*/\1/' | sort -u
}

# compare PAGE PROGRAM [SUBCOMMAND]
compare() {
	local page=$1
	shift
	say "${page##*/}"
	run_status "$@" --help
	assert_eq "$STATUS" 0 "status of $* --help"
	assert_eq "$ERR" "" "stderr of $* --help"
	assert_le "$(wc -L <"$TEST_TMP/.out")" 80 "columns of $* --help"
	help_options <"$TEST_TMP/.out" >"$TEST_TMP/in-help"
	page_options <"$page" >"$TEST_TMP/on-page"
	[[ -s $TEST_TMP/in-help ]] || fail "no options in $* --help"
	diff -u --label "$* --help" "$TEST_TMP/in-help" \
		--label "${page##*/}" "$TEST_TMP/on-page" ||
		fail "$* --help and its page differ"
	sed 's/^/  /' "$TEST_TMP/in-help"
}

# page_messages < PAGE: the fixed parts of each message that ERRORS explains, one
# a line.
page_messages() {
	awk '/^# / { errors = /^# ERRORS/ }
		/^\t/ && defined != "" {
			gsub(/_[A-Z0-9]+_|; /, "\n", defined)
			gsub(/\*/, "", defined)
			print defined
		}
		{ defined = errors && /^[*_]/ ? $0 : "" }' |
		sed 's/^[: ]*//; s/[: ]*$//; /^$/d'
}

# The comparison itself must find an option that is missing on either side.
say "self-test"
printf '  -h, --help   x\n  --a=B  y\n  -o c=D  z\n     --no  option\n' |
	help_options | paste -sd' ' >"$TEST_TMP/out"
assert_eq "$(<"$TEST_TMP/out")" "--a --help --no -h -o c" "names in help"
printf '%s\n' '# OPTIONS' '*-h*, *--help*' $'\tx' '*--a=*_B_' $'\ty' \
	'*-o c=*_D_' $'\tx' '*bold* text' '# MOUNT OPTIONS' '*e=*_F_, *g*' \
	$'\ty' | page_options | paste -sd' ' >"$TEST_TMP/out"
assert_eq "$(<"$TEST_TMP/out")" "--a --help -h -o c -o e -o g" "names on a page"
printf '%s\n' '_A_ *is in use*' $'\tx' '# ERRORS' '_A_: *is gone*; *is* _B2_' \
	$'\tx' '*bold* text' '# NEXT' '*b*' $'\tx' |
	page_messages | paste -sd, >"$TEST_TMP/out"
assert_eq "$(<"$TEST_TMP/out")" "is gone,is" "messages on a page"

compare "$SRC/tools/blksparse.1.scd" "$TOOL"
for command in copy diff digest map recv send stat; do
	compare "$SRC/tools/blksparse-$command.1.scd" "$TOOL" "$command"
done
compare "$SRC/fuse/blksparsefs.8.scd" "$FS"

say "messages"
page_messages <"$SRC/fuse/blksparsefs.8.scd" >"$TEST_TMP/messages"
assert_ge "$(wc -l <"$TEST_TMP/messages")" 15 "messages on the page"
while read -r message; do
	grep -qaF -- "$message" "$FS" "$BUILD/src/libblksparse.so" ||
		fail "the page explains a message that no program prints: $message"
done <"$TEST_TMP/messages"

say "formats"
for command in map diff send recv stat; do
	run_status "$TOOL" "$command" --format=none x
	formats=${ERR#*\(}
	formats=${formats%%)*}
	assert_contains "$formats" ", " "the formats of $command"
	help=$("$TOOL" "$command" --help)
	for format in ${formats//,/ }; do
		assert_contains "$help" "$format" "--help of $command"
	done
done

say "an option without a value refuses one"
for command in copy diff digest map recv send stat; do
	flags=$("$TOOL" "$command" --help |
		sed -nE 's/^ +(-h, )?(--[a-z-]+)  .*/\2/p' | grep -vx -e --progress)
	assert_ge "$(wc -w <<<"$flags")" 2 "options of $command without a value"
	for flag in $flags; do
		run_status "$TOOL" "$command" "$flag=no" x
		assert_eq "$STATUS" 2 "status of $command $flag=no"
		assert_contains "$ERR" "$flag takes no value" "message"
	done
done
run_status "$TOOL" map -- --json=no
assert_eq "$STATUS" 1 "status of a path that begins as an option"
assert_contains "$ERR" "open --json=no: " "message"

say "versions"
version=$(sed -n "s/^ *version: '\(.*\)',/\1/p" "$SRC/meson.build" | head -n 1)
assert_eq "$("$TOOL" --version | head -n 1)" "blksparse $version" "--version"
assert_contains "$("$TOOL" --version)" "nbd" "the parts that are built in"
assert_eq "$("$TOOL" help)" "$("$TOOL" --help)" "help"
assert_eq "$("$TOOL" help map)" "$("$TOOL" map --help)" "help map"
run_status "$TOOL" help map copy
assert_eq "$STATUS" 2 "status of help for two"
