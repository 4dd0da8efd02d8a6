#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# packaging/release makes a tarball and a tag, and refuses versions that do not
# agree.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
requires git meson xz

git() {
	command git -c safe.directory='*' -c user.name=x -c user.email=x@example.org \
		-c advice.detachedHead=false "$@"
}
if ! git -C "$SRC" rev-parse --git-dir >/dev/null 2>&1; then
	say "this is not a clone: there is nothing to release"
	exit 0
fi
git clone -q --no-hardlinks "$SRC" "$TEST_TMP/clone"
cd "$TEST_TMP/clone"
git config user.name x
git config user.email x@example.org
version=$(sed -n "s/^ *version: '\(.*\)',/\1/p" meson.build | head -n 1)
sed -i "s/^## $version .*/## $version (2026-01-31)/" NEWS.md
git commit -q --allow-empty -am "news: date the version"

refused() {
	run_status packaging/release --quick "$1" "$TEST_TMP/out"
	assert_ne "$STATUS" 0 "status"
	assert_contains "$ERR" "$2" "message"
	assert_eq "$(git tag)" "" "tags"
}

say "refused"
refused 99.0 "meson.build has another version than 99.0"
sed -i "s/^## $version .*/## $version (unreleased)/" NEWS.md
refused "$version" "not committed"
git commit -qam "news: take the date away"
refused "$version" "NEWS.md has no '## $version (YYYY-MM-DD)'"
git reset -q --hard HEAD^

say "made"
packaging/release --quick "$version" "$TEST_TMP/out"
assert_eq "$(git tag)" "v$version" "tags"
assert_contains "$(git tag -n99)" "$(sed -n '/^- /{p;q}' NEWS.md)" "the tag's text"
mkdir "$TEST_TMP/tree"
tar -xJf "$TEST_TMP/out/blksparse-$version.tar.xz" -C "$TEST_TMP/tree"
diff -r --exclude=.git "$TEST_TMP/tree/blksparse-$version" . ||
	fail "the tarball is not the tree"
(cd "$TEST_TMP/out" && sha256sum --quiet -c ./*.sha256sum)
refused_again() {
	run_status packaging/release --quick "$version" "$TEST_TMP/out"
	assert_contains "$ERR" "the tag v$version exists" "message"
}
refused_again
