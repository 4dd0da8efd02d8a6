#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# test-abi.sh [--update]: the library's binary interface is the one that
# libblksparse.abi describes: symbols, their versions and types, as far as
# blksparse.h has them. --update writes that file anew from the build.
#
# A program that was linked against an older library must run with a newer one of
# the same soname. Until version 1.0 that may be broken, but not by mistake.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
requires abidw abidiff

# prepare HEADER MAP: what a dump is restricted to: the types of that header, and
# no functions that the map offers to programs of the same build only.
prepare() {
	local private
	rm -rf "$TEST_TMP/public"
	mkdir "$TEST_TMP/public"
	cp "$1" "$TEST_TMP/public"
	private=$(sed -n '/PRIVATE {/,/^}/s/^\t\([a-z_]*\);$/\1/p' "$2" |
		paste -sd'|')
	printf '[suppress_function]\n\tsymbol_name_regexp = ^(%s)$\n\tdrop = true\n' \
		"$private" >"$TEST_TMP/private"
}

# dump LIBRARY
dump() {
	abidw --suppressions "$TEST_TMP/private" --drop-private-types \
		--headers-dir "$TEST_TMP/public" \
		--exported-interfaces-only --no-comp-dir-path --no-corpus-path \
		--no-show-locs --no-elf-needed --type-id-style hash "$1"
}

# compare DUMP LIBRARY: false, and says what differs, if anything does. Dumps are
# compared: with a library, abidiff takes types without a place for private ones.
compare() {
	dump "$2" >"$TEST_TMP/new"
	abidiff "$1" "$TEST_TMP/new" >"$TEST_TMP/changes" 2>&1
}

# --- Self-test ---------------------------------------------------------------

# library [SED]: a small one, of a source that SED changes.
library() {
	cat >"$TEST_TMP/blksparse.h" <<-'END'
		struct part { int off; int len; };
		int first(struct part *part);
		int second(void);
	END
	cat >"$TEST_TMP/it.c" <<-'END'
		#include "blksparse.h"
		struct hidden { int x; };
		int first(struct part *part) { return part->len; }
		int second(void) { return 2; }
		int third(void);
		int third(void) { return ((struct hidden){ .x = 3 }).x; }
	END
	printf 'V0 {\nglobal:\n\tfirst;\n\tsecond;\nlocal:\n\t*;\n};\n' \
		>"$TEST_TMP/map"
	printf 'V0_PRIVATE {\nglobal:\n\tthird;\n} V0;\n' >>"$TEST_TMP/map"
	sed -i "${1:-}" "$TEST_TMP"/{blksparse.h,it.c,map}
	gcc -g -shared -fPIC -Wl,--version-script="$TEST_TMP/map" \
		-o "$TEST_TMP/it.so" "$TEST_TMP/it.c"
	prepare "$TEST_TMP/blksparse.h" "$TEST_TMP/map"
}

self_test() {
	local change
	library
	dump "$TEST_TMP/it.so" >"$TEST_TMP/it.abi"
	for change in '' 's/third/fourth/' 's/int x/long x/' 's/len;$/size;/'; do
		library "$change"
		compare "$TEST_TMP/it.abi" "$TEST_TMP/it.so" ||
			fail "'$change' was refused: $(<"$TEST_TMP/changes")"
	done
	for change in 's/int off/long off/' 's/int len;/int len, new;/' \
		's/second(void)/second(int x)/' 's/second/other/' \
		's/V0_PRIVATE/V1/' 's/V0 {/V1 {/; s/V0;/V1;/'; do
		library "$change"
		! compare "$TEST_TMP/it.abi" "$TEST_TMP/it.so" ||
			fail "'$change' was accepted"
	done
}

if [[ ${1:-} != --update ]]; then
	say "self-test"
	self_test
fi

# --- The library -------------------------------------------------------------

[[ $(uname -m) == x86_64 ]] ||
	skip "libblksparse.abi is of x86_64, and this is $(uname -m)"
library=$BUILD/src/libblksparse.so
prepare include/blksparse.h src/libblksparse.map
if [[ ${1:-} == --update ]]; then
	dump "$library" >"$LINT/libblksparse.abi"
	say "renewed: tell in NEWS.md what changed for programs"
	exit 0
fi
# format FILE: the major version of its format, which abidiff does not mix.
format() {
	sed -n "s/^<abi-corpus.* version='\([0-9]*\)\..*/\1/p" "$1"
}
dump "$library" >"$TEST_TMP/new"
[[ $(format "$TEST_TMP/new") == "$(format "$LINT/libblksparse.abi")" ]] ||
	skip "this abidw writes another format than libblksparse.abi has"
say "the library"
compare "$LINT/libblksparse.abi" "$library" || {
	cat "$TEST_TMP/changes"
	fail "if that is meant, run tests/lint/test-abi.sh --update, and tell in NEWS.md what changed for programs"
}
