#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 1200
# RPM packages build, and each file is in the package where people look for it.
# The last commit is tested.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
requires git rpmbuild rpm xz

say "the packages are built"
packaging/make-rpm "$TEST_TMP/rpm" --nodeps --nocheck >"$TEST_TMP/log" 2>&1 ||
	{ tail -n 40 "$TEST_TMP/log"; fail "no packages"; }
cd "$TEST_TMP/rpm"
rpm -qp --qf '%{name}\n' -- */*.rpm | grep -v -- -debug | sort | paste -sd' ' >names
assert_eq "$(<names)" "blksparse blksparsefs libblksparse libblksparse-devel" \
	"packages"

say "their files"
# rpmbuild refuses what is installed and in no package, and the reverse.
! grep "File listed twice" "$TEST_TMP/log" || fail "a file is in two packages"
holds() {
	rpm -qlp -- */"$1"-[0-9]*.rpm >files
	grep -qE "$2" files || fail "$1 lacks $2"
}
holds blksparse '/bin/blksparse$'
holds blksparse '/man5/blksparse-stream\.5'
holds blksparsefs '/bin/blksparsefs$'
holds blksparsefs '/man8/blksparsefs\.8'
holds libblksparse '/libblksparse\.so\.0$'
holds libblksparse-devel '/blksparse\.h$'
