#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Writing and zeroing of granules whose neighbours are in the same page of the
# kernel's cache, on a device with slow writes: no old bytes come back. Since
# Linux 6.15 a page of a device may be larger than 4 KiB.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires nbdkit nbdfuse

mkdir "$TEST_TMP/slow"
truncate -s 64M "$TEST_TMP/image"
nbdfuse "$TEST_TMP/slow/device" --command nbdkit -s --exit-with-parent \
	--filter=delay file "$TEST_TMP/image" wdelay=6ms &
slow=$!
end_slow() {
	umount "$TEST_TMP/slow" || kill "$slow"
	wait "$slow"
}
cleanup end_slow
wait_until 20 test -e "$TEST_TMP/slow/device" ||
	fail "the slow device does not appear"
loop_new "$TEST_TMP/slow/device"
for what in fill zero; do
	say "$what"
	"$BUILD/tests/faults/beside" "$LOOP" "$what" 150 ||
		fail "status $?"
done
loop_free "$LOOP"
