# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For test-random-ops.sh and long-random-ops.sh: rounds of random operations,
# on mounts one after another, against one shadow.

# shellcheck source=../lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

RANDOM_OPS=$BUILD/tests/mount/random-ops
[[ -x $RANDOM_OPS ]] || fail "$RANDOM_OPS is not built"

# A seed that nobody has tried.
fresh_seed() {
	od -An -N4 -tu4 /dev/urandom | tr -d ' '
}

# random_device SIZE SECTOR SEED: a loop device, in $LOOP, and its shadow.
random_device() {
	local image
	image=$(mktemp "$TEST_TMP/image.XXXX")
	truncate -s "$1" "$image"
	loop_new "$image" --sector-size "$2"
	rm -f "$TEST_TMP/shadow"
	"$RANDOM_OPS" init --seed "$3" "$LOOP" "$TEST_TMP/shadow"
}

# random_round GRANULE MOUNT-OPTIONS TAIL RUN-OPTION...: one mount.
random_round() {
	local granule=$1 options=$2 tail=$3
	shift 3
	say "granule $granule, rw,tail=$tail${options:+,$options}: $*"
	mount_fs -o "rw,granule=$granule,tail=$tail${options:+,$options}" "x=$LOOP"
	"$RANDOM_OPS" run --granule "$granule" "$@" "$MNT/x" "$LOOP" "$TEST_TMP/shadow"
	umount_fs
	if grep -E 'Sanitizer|runtime error' "$FS_LOG"; then
		cat "$FS_LOG"
		fail "the sanitizer complained"
	fi
	"$RANDOM_OPS" settle --tail "$tail" "$LOOP" "$TEST_TMP/shadow"
}
