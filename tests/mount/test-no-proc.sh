#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Without /proc, blksparsefs still reads a device past the page cache of its node,
# blksparse copies from and to it, and the background program closes the descriptors
# of its caller.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires unshare prlimit

# The loader finds the build's libraries by /proc, and needs a path without it.
export LD_LIBRARY_PATH=$BUILD/src${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# shellcheck disable=SC2016 # for the other shell
INSIDE='umount -l /proc; exec "$@"'

# without_proc COMMAND...
without_proc() {
	unshare -m --propagation private bash -c "$INSIDE" bash "$@"
}

python3 "$LIB/devices.py" make data 4096 "$TEST_TMP/pattern"
truncate -s 16M "$TEST_TMP/image"
loop_new "$TEST_TMP/image"
disk=$LOOP
partition add "$disk" 1 1048576 8388608
cleanup eval "partition del $disk 1 2>/dev/null || true"
number=$(<"/sys/class/block/${disk##*/}/${disk##*/}p1/dev")
mknod "$TEST_TMP/part" b "${number%:*}" "${number#*:}"

say "written through another node"
mkdir "$MNT"
exec 3<"$disk"
cleanup eval "exec 3<&-"
cat "$disk" >/dev/null
# Reads the mounted device, has it written through another node, and reads again.
cat >"$TEST_TMP/look" <<-'BASH'
	set -eu
	"$1" -f "x=$2" "$3" &
	pid=$!
	trap '{ kill "$pid" && wait "$pid"; } 2>/dev/null || true' EXIT
	until [[ -e $3/x ]]; do
		kill -0 "$pid"
		sleep 0.05
	done
	cat "$3/x" >/dev/null
	dd if="$5" of="$4" bs=4096 seek=44 conv=notrunc,fsync status=none
	python3 -c 'import os, sys
	f = os.open(sys.argv[1], os.O_RDONLY)
	print(os.lseek(f, 0, os.SEEK_DATA))' "$3/x"
	dd if="$3/x" bs=4096 skip=300 count=1 iflag=direct status=none | cmp - "$5" >&2
	kill "$pid"
	wait "$pid"
BASH
run_status without_proc bash "$TEST_TMP/look" "$FS" "$disk" "$MNT" \
	"$TEST_TMP/part" "$TEST_TMP/pattern"
assert_eq "$STATUS" 0 "status"
assert_eq "$OUT" $((300 * 4096)) "SEEK_DATA"
exec 3<&-
partition del "$disk" 1

say "copied, and written"
rm -f "$TEST_TMP/copy"
without_proc "$TOOL" copy --quiet "$disk" "$TEST_TMP/copy"
assert_same_bytes "$disk" "$TEST_TMP/copy"
dd if=/dev/zero of="$disk" bs=1M count=16 conv=fsync status=none
without_proc "$TOOL" copy --quiet --verify "$TEST_TMP/copy" "$disk"
assert_same_bytes "$disk" "$TEST_TMP/copy"
run_status without_proc "$TOOL" copy "$TEST_TMP/copy" /dev/fd/3 3<>"$disk"
assert_eq "$STATUS" 1 "status for a path in /proc"

say "no descriptor for the second opening"
for ((n = 5; n < 16; n++)); do
	run_status without_proc prlimit --nofile=$n "$TOOL" map "$disk"
	[[ $ERR != *"a second time"* ]] || break
done
assert_contains "$ERR" "a second time: Too many open files" "message"

say "in the background it closes the caller's descriptors"
# The reader of the pipe ends when its last writer does.
cat >"$TEST_TMP/background" <<-'BASH'
	"$1" "x=$2" "$3" 5>&1 >/dev/null
	until [[ -e $3/x ]]; do sleep 0.05; done
	umount "$3"
BASH
# shellcheck disable=SC2016 # for the other shell
timeout 20 bash -c 'unshare -m --propagation private bash -c "$0" bash "$@" | cat' \
	"$INSIDE" bash "$TEST_TMP/background" "$FS" "$disk" "$MNT" ||
	fail "a descriptor stayed open"
