# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Functions to ask loop devices for their holes beside programs that write below
# them and above them, in each way; see known-race.c.
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
requires_loop
requires python3

RACE=$BUILD/tests/faults/known-race

# race SECONDS DEVICE HOW TARGET [OFFSET]
race() {
	echo "${2##*/}: $3 to ${4##*/}"
	"$RACE" "$2" "$1" "${@:3}" ||
		fail_at "a claim was wrong, or none could be judged"
}

# races SECONDS IMAGE [LOSETUP-OPTION...]: nine races on a new image, each so long.
races() {
	local seconds=$1 image=$2
	rm -f "$image"
	truncate -s 24M "$image"
	loop_new "$image" "${@:3}"
	race "$seconds" "$LOOP" write "$image"
	race "$seconds" "$LOOP" direct "$image"
	race "$seconds" "$LOOP" map "$image"
	race "$seconds" "$LOOP" evict "$image"
	race "$seconds" "$LOOP" write "$LOOP"
	race "$seconds" "$LOOP" direct "$LOOP"
	new_partition "$LOOP" 1 "$MIB" $((16 * MIB))
	race "$seconds" "${LOOP}p1" write "${LOOP}p1"
	race "$seconds" "${LOOP}p1" write "$LOOP" "$MIB"
	race "$seconds" "${LOOP}p1" direct "$LOOP" "$MIB"
	partition del "$LOOP" 1
	loop_free "$LOOP"
}
