#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Each mutant of the library still applies to its file (tests/mutants/README.md).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
requires python3

# lists FIND PUT: a tree with one file, and a list with that mutant of it.
lists() {
	rm -rf "$TEST_TMP/tree"
	mkdir -p "$TEST_TMP/tree/tests/mutants" "$TEST_TMP/tree/src"
	cp tests/mutants/run "$TEST_TMP/tree/tests/mutants"
	printf 'if (a &&\n    b)\n\tc();\ntwice();\ntwice();\n' >"$TEST_TMP/tree/src/a.c"
	printf 'src/a.c: it is broken\n< %s\n> %s\n' "$1" "$2" \
		>"$TEST_TMP/tree/tests/mutants/a.mutants"
}

# refused FAULT: of the list that was made.
refused() {
	run_status "$TEST_TMP/tree/tests/mutants/run" --check
	assert_eq "$STATUS" 1 "status where $1"
	assert_contains "$(<"$TEST_TMP/.out")" "$1" "the fault"
}

say "self-test"
lists 'if (a && b) c();' 'c();'
"$TEST_TMP/tree/tests/mutants/run" --check || fail "a good list was refused"
lists 'if (a || b) c();' 'c();'
refused "does not occur exactly once"
lists 'twice();' 'c();'
refused "does not occur exactly once"
lists 'c();' ' c();'
refused "changes nothing"
printf 'c();\n' >>"$TEST_TMP/tree/tests/mutants/a.mutants"
run_status "$TEST_TMP/tree/tests/mutants/run" --check
assert_eq "$STATUS" 1 "status for a line that is part of no mutant"

say "the lists"
tests/mutants/run --check
assert_ge "$(cat tests/mutants/*.mutants | grep -c '^[a-z].*: ')" 100 "mutants"
