#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 2400
# Debian's packages build, lintian finds no error and no warning, and their own
# tests pass once they are installed; in a copy of this machine's root that takes
# what is written (overlayfs), so that this machine itself gets none of them. The
# last commit is tested.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
requires_root
requires git dpkg-buildpackage dh lintian unshare

if [[ -z ${IN_NAMESPACE:-} ]]; then
	say "the packages are built"
	DEB_BUILD_OPTIONS=nocheck packaging/make-deb "$TEST_TMP/deb" \
		>"$TEST_TMP/log" 2>&1 || { tail -n 40 "$TEST_TMP/log"; fail "no packages"; }

	say "lintian"
	run_status lintian --profile debian --fail-on error,warning \
		"$TEST_TMP"/deb/*.changes
	assert_eq "$STATUS" 0 "status of lintian"

	IN_NAMESPACE=1 unshare -m --propagation private bash "$0"
	exit
fi

mkdir "$TEST_TMP/layer" "$TEST_TMP/root"
mount -t tmpfs none "$TEST_TMP/layer"
mkdir "$TEST_TMP/layer"/{upper,work}
mount -t overlay overlay "$TEST_TMP/root" -o \
	"lowerdir=/,upperdir=$TEST_TMP/layer/upper,workdir=$TEST_TMP/layer/work" ||
	skip "needs overlayfs"
for dir in dev proc sys; do
	mount --rbind "/$dir" "$TEST_TMP/root/$dir"
done

say "they are installed"
mkdir "$TEST_TMP/root/packages"
cp "$TEST_TMP"/deb/*.deb "$TEST_TMP/root/packages"
chroot "$TEST_TMP/root" sh -c 'dpkg -i /packages/*.deb' >"$TEST_TMP/log" 2>&1 ||
	{ cat "$TEST_TMP/log"; fail "dpkg -i"; }

for script in packaging/debian/tests/{copy,library,mount}; do
	say "$script"
	cp "$script" "$TEST_TMP/root/packages/script"
	chroot "$TEST_TMP/root" sh -c 'mkdir /packages/work &&
		AUTOPKGTEST_TMP=/packages/work /packages/script' ||
		fail "status $?"
	rm -rf "$TEST_TMP/root/packages/work"
done
