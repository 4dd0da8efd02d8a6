# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For the scripts here; source lib/common.sh first. See the top of soak.c.

SOAK=$BUILD/tests/soak/soak
[[ -x $SOAK ]] || fail "$SOAK is not built"

# libfuse does not free the mount point's name unless it unmounts itself.
echo "leak:fuse_session_mount" >"$TEST_TMP/leaks"
export LSAN_OPTIONS=suppressions=$TEST_TMP/leaks:print_suppressions=0
# liburing unmaps a ring without the C library, so ThreadSanitizer takes a new
# ring at the same address for the old one. It does not see GLib's locks either:
# two threads that g_strerror() gives the same text are a race to it.
printf '%s\n' race_top:io_uring_prep_ race_top:io_uring_sqe_ race_top:init_ring \
	race_top:__io_uring_peek_cqe called_from_lib:libglib-2.0.so \
	>"$TEST_TMP/races"
export TSAN_OPTIONS=suppressions=$TEST_TMP/races

# SOAK_SEED=N is the first seed; otherwise it is a fresh one.
SEED=${SOAK_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
SOAK_OPTIONS=()
! command -v nbdkit >/dev/null || [[ $("$TOOL" map nbd://0.0.0.0:1 2>&1) == *"without libnbd"* ]] ||
	SOAK_OPTIONS+=(--nbd)
[[ $(cat /sys/module/fuse/parameters/enable_uring 2>/dev/null) != Y ]] ||
	SOAK_OPTIONS+=(--uring)

# soak OPTION...: the next seeds.
soak() {
	local dir
	dir=$(mktemp -d "$TEST_TMP/soak.XXXX")
	chmod 755 "$dir"
	say "soak --seed $SEED $*"
	"$SOAK" --fs "$FS" --tools "$BUILD/tests/faults" --dir "$dir" \
		--seed "$SEED" "${SOAK_OPTIONS[@]}" "$@" 2>&1 ||
		fail "soak found a fault"
	rm -rf --one-file-system "$dir"
	SEED=$((SEED + 1000))
}

# soak_memory MIB: makes a control group with that much memory, $CGROUP, or skips
# the rest if the kernel has none.
soak_memory() {
	local limit
	for limit in memory/blksparse-soak.$$/memory.limit_in_bytes \
		blksparse-soak.$$/memory.max; do
		CGROUP=/sys/fs/cgroup/${limit%/*}
		mkdir "$CGROUP" 2>/dev/null || continue
		cleanup rmdir "$CGROUP"
		echo $(($1 << 20)) 2>/dev/null >"/sys/fs/cgroup/$limit" && return
	done
	say "no control group limits memory here"
	return 1
}
