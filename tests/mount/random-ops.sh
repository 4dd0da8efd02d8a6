# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For test-random-ops.sh and long-random-ops.sh: rounds of random operations, each on
# a mount of its own, compared with one shadow copy.

# shellcheck source=../lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

RANDOM_OPS=$BUILD/tests/mount/random-ops
[[ -x $RANDOM_OPS ]] || fail "$RANDOM_OPS is not built"

# Prints a random seed.
fresh_seed() {
	od -An -N4 -tu4 /dev/urandom | tr -d ' '
}

# random_device SIZE SECTOR SEED: makes a loop device, in $LOOP, and its shadow.
random_device() {
	local image
	image=$(mktemp "$TEST_TMP/image.XXXX")
	truncate -s "$1" "$image"
	loop_new "$image" --sector-size "$2"
	rm -f "$TEST_TMP/shadow"
	"$RANDOM_OPS" init --seed "$3" "$LOOP" "$TEST_TMP/shadow"
}

# random_round GRANULE MOUNT-OPTIONS TAIL RUN-OPTION...: one round on one mount.
random_round() {
	local granule=$1 options=$2 tail=$3
	shift 3
	say "granule $granule, rw,tail=$tail${options:+,$options}: $*"
	mount_fs -o "rw,granule=$granule,tail=$tail${options:+,$options}" "x=$LOOP"
	"$RANDOM_OPS" run --granule "$granule" "$@" "$MNT/x" "$LOOP" "$TEST_TMP/shadow"
	umount_fs
	if grep -E 'Sanitizer|runtime error' "$FS_LOG"; then
		cat "$FS_LOG"
		fail "a sanitizer found a fault"
	fi
	"$RANDOM_OPS" finish --tail "$tail" "$LOOP" "$TEST_TMP/shadow"
}
