#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The power of a machine fails during a load: a virtual machine is killed
# (SIGKILL). Its disk, a file here that QEMU does not cache, holds what was written
# before each fsync that returned 0, and the pages that its kernel had not written
# are lost.
#
# TIMEOUT: 1500 seconds
#
#   long-power-cut.sh [CUTS]
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
load=$(dirname "$0")/kill_load.py

if [[ -n ${IN_VM:-} ]]; then
	modprobe fuse
	seed=$(</run/share/seed)
	mount_fs -o "$(</run/share/options)" x=/dev/vda
	python3 "$load" load "$seed" 0 /run/share/state "$MNT/x"
	fail "the load ended before the power"
fi

requires python3 qemu-system-x86_64 busybox cpio modprobe
cuts=${1:-20}
size=$((4 * MIB + 4096))
options=(rw 'rw,zero=keep' 'rw,zero=write' 'rw,granule=64K' 'rw,same=skip'
	'rw,granule=64K,zero=write')
share=$TEST_TMP/share
disk=$TEST_TMP/disk
mkdir "$share"
export VM_SHARE=$share VM_PID=$TEST_TMP/pid VM_DRIVE=cache=none,discard=unmap
stale 4096 >"$TEST_TMP/direct"
if ! dd if="$TEST_TMP/direct" of="$TEST_TMP/direct" oflag=direct conv=notrunc bs=4096 \
	status=none 2>/dev/null; then
	# QEMU cannot do without a cache there. This host goes on, so its cache is as
	# good as the disk.
	say "the file system of $TEST_TMP has no direct I/O: cache=writethrough"
	VM_DRIVE=cache=writethrough,discard=unmap
fi

end_machine() {
	[[ ! -s $VM_PID ]] || kill -KILL "$(<"$VM_PID")" 2>/dev/null || true
}
cleanup end_machine

fresh=$(($(date +%s) % 100000 * 100))
for ((cut = 0; cut < cuts; cut++)); do
	seed=$((fresh + cut))
	option=${options[cut % ${#options[@]}]}
	say "seed $seed: $option"
	stale "$size" >"$disk"
	rm -f "$share"/* "$VM_PID"
	echo "$seed" >"$share/seed"
	echo "$option" >"$share/options"
	"$LIB/vm" -t 120 -d "$disk" "$(realpath "$0")" >"$TEST_TMP/log" 2>&1 &
	machine=$!
	if ! wait_until 100 test -e "$share/state.begun"; then
		cat "$TEST_TMP/log"
		fail "seed $seed: no fsync"
	fi
	sleep "$((RANDOM % 5)).$((RANDOM % 10))"
	! gone_or_zombie "$machine" || {
		cat "$TEST_TMP/log"
		fail "seed $seed: the machine ended before the power"
	}
	kill -KILL "$(<"$VM_PID")"
	rm "$VM_PID"
	wait "$machine" || true # it was killed
	python3 "$load" check "$share/state" "$disk" ||
		fail "seed $seed: $option: data of a successful fsync is missing"
done
