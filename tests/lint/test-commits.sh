#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The subject of each commit since the one that added this script reads "area:
# verb what": in lower case, imperative, at most 65 characters.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# wrong_subjects < LINES: each is a commit's name and its subject.
wrong_subjects() {
	awk '
	function wrong(text) { print $1 ": " text ": " subject; bad = 1 }
	BEGIN {
		# Verbs that end as others in another form do.
		n = split("embed exceed feed need proceed seed shed speed " \
			"bring ring string access address bypass compress " \
			"discuss express focus guess harness miss pass press " \
			"process suppress", list)
		for (i = 1; i <= n; i++)
			verb[list[i]] = 1
	}
	{
		subject = substr($0, length($1) + 2)
		if (subject ~ /^Revert "/)
			next
		if (length(subject) > 65)
			wrong("has " length(subject) " characters, not 65")
		if (!match(subject, /^(README|NEWS|[a-z0-9][a-z0-9_.\/ ,-]*): /)) {
			wrong("does not begin with \"area: \"")
			next
		}
		split(substr(subject, RLENGTH + 1), word, /[ ,]/)
		if (word[1] !~ /^[a-z]/)
			wrong("goes on in upper case")
		if (word[1] ~ /(ed|ing|s)$/ && !(word[1] in verb))
			wrong("\"" word[1] "\" is not imperative")
		if (subject ~ /\.$/)
			wrong("ends with a full stop")
	}'
}

say "self-test"
wrong_subjects >"$TEST_TMP/out" <<'END'
a1 flush: keep what is not durable exactly
a2 watch, same-device: pass names in words
a4 README: say what it is
a5 NEWS: tell of a thing
a3 copy: a word that a list does not know is taken for a verb
b1 Flush: keep it
b2 flush: Keep it
b3 flush: keeps it
b4 flush: kept, and fixed it
b5 flush: fixed it
b6 flush: fixing it
b7 flush: keep it.
b8 keep it
b9 flush: keep a great many words that nobody can read in one line of a log
END
cut -d: -f1 "$TEST_TMP/out" | paste -sd' ' >"$TEST_TMP/names"
assert_eq "$(<"$TEST_TMP/names")" "b1 b2 b3 b5 b6 b7 b8 b9" "wrong subjects"

say "the history"
git() {
	command git -c safe.directory='*' "$@"
}
if ! git rev-parse --git-dir >/dev/null 2>&1; then
	say "this is not a clone: there are no commits to look at"
	exit 0
fi
# A shallow clone has none of what came before its first commit.
base=$(git log --diff-filter=A --format=%H -- tests/lint/test-commits.sh |
	tail -n 1)
[[ -n $base ]] || fail "no commit of this history has this script"
range=HEAD
! git rev-parse -q --verify "$base^" >/dev/null || range=$base^..HEAD
git log --no-merges --format='%h %s' "$range" -- >"$TEST_TMP/log"
wrong_subjects <"$TEST_TMP/log" | tee "$TEST_TMP/faults"
[[ ! -s $TEST_TMP/faults ]] ||
	fail "say it in the imperative, as \"area: verb what\" (git rebase -i)"
say "$(wc -l <"$TEST_TMP/log") commits"
