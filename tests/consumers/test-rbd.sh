#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# rbd merge-diff, which needs no cluster: it reads a stream of send as the diff of
# a whole image and merges it with others, and recv reads the result.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
requires rbd
requires_loop

diffs=$SRC/tests/cli/rbd_diff.py
cd "$TEST_TMP"
# The defaults of rbd, and no address of a cluster.
: >ceph.conf

# merge DIFF DIFF: writes merged.diff.
merge() {
	rm -f merged.diff
	rbd --conf ceph.conf --no-progress merge-diff "$@" merged.diff
}

send() {
	"$TOOL" send --quiet --format=rbd-diff "$1"
}

# received DIFF IMAGE: checks that recv of DIFF gives IMAGE, on a device with old
# bytes and in a file.
received() {
	local size
	size=$(stat -c %s "$2")
	head -c "$size" /dev/zero | tr '\0' '\252' >old
	loop_new "$TEST_TMP/old"
	"$TOOL" recv --quiet --format=rbd-diff "$LOOP" <"$1"
	assert_same_bytes "$2" "$LOOP"
	loop_free "$LOOP"
	"$TOOL" recv --quiet --format=rbd-diff copy <"$1"
	assert_same_bytes "$2" copy
}

for size in 24M 1049088; do
	make_device mixed "$size" first
	python3 "$LIB/devices.py" make --seed 7 tenth "$size" second
	python3 "$LIB/devices.py" make --seed 8 mixed 16M third

	say "$size: a whole image and a difference"
	send "$LOOP" >first.diff
	python3 "$diffs" changes first second >changes.diff
	merge first.diff changes.diff
	received merged.diff second

	say "$size: two whole images: the second one counts"
	send third >third.diff
	merge first.diff third.diff
	received merged.diff third
	merge third.diff first.diff
	received merged.diff first

	say "$size: a diff of send, and one as a cluster writes it"
	python3 "$diffs" export second now >second.diff
	merge first.diff second.diff
	# Parts without a record in the second diff stay.
	cp first expected
	python3 "$diffs" import expected <second.diff
	received merged.diff expected
	loop_free "$LOOP"
done

say "holes that exceed the limit of a record"
truncate -s 9G large
printf x | dd of=large bs=1 seek=$((5 << 30)) conv=notrunc status=none
send large >large.diff
truncate -s 9G larger
printf y | dd of=larger bs=1 seek=$((7 << 30)) conv=notrunc status=none
send larger >larger.diff
merge large.diff larger.diff
"$TOOL" recv --quiet --format=rbd-diff copy <merged.diff
assert_eq "$(stat -c %s copy)" $((9 << 30)) "size"
assert_eq "$(ask extents copy)" "$(ask extents larger)" "extents"
assert_eq "$(dd if=copy bs=1 skip=$((7 << 30)) count=1 status=none)" y "byte"
