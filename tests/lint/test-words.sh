#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Comments, messages, pages and tests are written in plain words: words.py says in
# which.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# refused WORD TEXT, accepted TEXT: of a file $1.
refused() {
	printf '%s\n' "$3" >"$TEST_TMP/$1"
	run_status python3 "$LINT/words.py" "$TEST_TMP/$1"
	assert_eq "$STATUS" 1 "status for: $3"
	assert_contains "$OUT" "$1:$2: " "the place in: $3"
}

accepted() {
	printf '%s\n' "$2" >"$TEST_TMP/$1"
	python3 "$LINT/words.py" "$TEST_TMP/$1" || fail "refused: $2"
}

say "self-test"
# words: quoted
refused a.c 1 '/* Follows who waits alone. */'
refused a.c 2 $'/*\n * Whoever reads it learns.\n */' # words: quoted
refused a.c 1 'f("held by somebody");'               # words: quoted
refused a.c 1 'int x; /* That it fails its reader will see. */'
refused a.c 2 $'/* A sentence.\n * What fsync returned 0 for is durable. */'
refused a.c 3 $'// One.\n// Two\n// of nobody' # words: quoted
refused a.h 1 '/* Room for one whom it serves. */' # words: quoted
refused a.sh 1 '# What is done behind a writer.'
refused a.sh 1 'fail "anybody can read it"' # words: quoted
refused a.py 1 '"""Whoever has it open sees it."""' # words: quoted
refused a.scd 3 $'# NAME\n\nWhat is known is kept.'
refused a.md 2 $'- One.\n- What is known is kept.'
accepted a.c '/* A user who reads it. What is it? */ int who; f("What");' # words: quoted
accepted a.c '/* Says what is wrong, and that it is. */'
accepted a.c $'/*\n * It reads.\n * That is all, and so on.\n */'
accepted a.c $'/* words: quoted: who */'
accepted a.sh 'as_user nobody cat file # as user nobody'
accepted a.scd $'## What it cannot see\n\nIt is what it is.'
accepted a.md 'Users, who may not mount it.'

say "the tree"
mapfile -t texts < <(files '*' |
	grep -vE '^LICENSE$|^tests/fuzz/corpus/|\.abi$')
assert_ge "${#texts[@]}" 200 "files that were found"
python3 "$LINT/words.py" "${texts[@]}" ||
	fail "style: name the actor, and let each sentence begin with its subject"
say "${#texts[@]} files"
