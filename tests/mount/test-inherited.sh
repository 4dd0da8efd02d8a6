#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A mount does not depend on the state that it inherits from its caller: closed
# standard descriptors, limits, blocked or ignored signals, a umask. No message is
# written to a device, and all written data is on it.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires setpriv python3 pgrep

# Other users need access to /dev/fuse and to the program.
if [[ $(stat -c %a /dev/fuse) != *6 ]]; then
	cleanup chmod "$(stat -c %a /dev/fuse)" /dev/fuse
	chmod 666 /dev/fuse
fi
copy_program
mkdir "$MNT"
make_device mixed 4M image
device=$LOOP
head -c 65536 /dev/urandom >"$TEST_TMP/new"

# expected SIZE: writes the expected content of the device to $TEST_TMP/want.
expected() {
	cp "$TEST_TMP/image.truth" "$TEST_TMP/want"
	truncate -s "$1" "$TEST_TMP/want"
	dd if="$TEST_TMP/new" of="$TEST_TMP/want" conv=notrunc status=none
}

program() {
	pgrep -f "^$FS .*$MNT\$" || true
}

no_program() {
	[[ -z $(program) ]]
}

ended() {
	unmount "$MNT"
	wait_until 20 no_program || fail "blksparsefs still runs"
}

# without SET COMMAND...: runs it with the descriptors in SET closed.
without() {
	local set=$1 redirections='<&0'
	shift
	[[ $set != *0* ]] || redirections+=' <&-'
	[[ $set != *1* ]] || redirections+=' >&-'
	[[ $set != *2* ]] || redirections+=' 2>&-'
	eval '"$@"' "$redirections"
}

# use FILE...: writes and syncs new bytes at the start of each FILE, and reads them.
use() {
	local file
	for file; do
		dd if="$TEST_TMP/new" of="$file" bs=4K conv=notrunc,fsync status=none
		cmp -n 65536 "$file" "$TEST_TMP/new" || fail "$file reads as other bytes"
	done
}

cleanup force_umount "$MNT"
cp "$TEST_TMP/image" "$TEST_TMP/image.truth"
expected 4M
for set in '' 0 1 2 01 02 12 012; do
	say "descriptors closed: ${set:-none}"
	cp "$TEST_TMP/image.truth" "$TEST_TMP/file"
	dd if="$TEST_TMP/image.truth" of="$device" bs=64K conv=fsync status=none
	without "$set" "$FS" -o rw "x=$device" "y=$TEST_TMP/file" "$MNT"
	use "$MNT/x" "$MNT/y"
	ended
	assert_same_bytes "$device" "$TEST_TMP/want"
	assert_same_bytes "$TEST_TMP/file" "$TEST_TMP/want"
	without "$set" "$FS" "y=$TEST_TMP/file" "x=$device" "$MNT"
	assert_same_bytes "$MNT/y" "$TEST_TMP/want"
	assert_same_bytes "$MNT/x" "$TEST_TMP/want"
	ended

	# In the foreground, where it logs a message while it serves.
	without "$set" "$FS" -f -o rw "x=$device" "$MNT" &
	FS_PID=$!
	wait_until 20 mounted "$MNT" || fail "not mounted"
	truncate -s $(((4 << 20) + (${#set} + 1) * 65536)) "$TEST_TMP/image"
	losetup -c "$device"
	grown() {
		(($(stat -c %s "$MNT/x") > 4 << 20)) && : <"$MNT/x"
	}
	wait_until 20 grown || fail "it does not grow"
	use "$MNT/x"
	unmount "$MNT"
	end_fs || fail "status $?"
	expected $(((4 << 20) + (${#set} + 1) * 65536))
	assert_same_bytes "$device" "$TEST_TMP/want"
	truncate -s 4M "$TEST_TMP/image"
	losetup -c "$device"
	expected 4M
done

limit() {
	awk -v name="$1" 'index($0, name) == 1 {
		sub(name, ""); print $1, $2 }' "/proc/$FS_PID/limits"
}

# limited -S|-SH COMMAND...: runs it with soft limits, or also hard limits, that
# would end a program that does not raise them.
limited() {
	ulimit "$1" -f 1024
	ulimit "$1" -t 60
	ulimit "$1" -n 24
	exec "${@:2}"
}
export -f limited
far_write() {
	dd if="$TEST_TMP/new" of="$MNT/$1" bs=64K seek=60 conv=notrunc,fsync \
		status=none
}
survives() {
	kill -XFSZ "$(program)"
	kill -XCPU "$(program)"
	kill -PIPE "$(program)"
	"$@" cmp -n 65536 "$MNT/x" "$TEST_TMP/new" || fail "it does not answer"
}

say "soft limits"
FS_WRAP=(bash -c 'limited -S "$@"' -)
for source in "$device" "$TEST_TMP/file"; do
	mount_fs -o rw "x=$source"
	for name in 'Max cpu time' 'Max file size' 'Max open files'; do
		read -r soft hard < <(limit "$name")
		assert_eq "$soft" "$hard" "$name"
	done
	use "$MNT/x"
	far_write x
	survives
	umount_fs
	cmp -n 65536 -i 0:$((60 * 65536)) "$TEST_TMP/new" "$source" ||
		fail "the write is not on $source"
done

own=$((16#$(awk '/^CapEff:/ { print $2 }' /proc/self/status)))
if ((own & 1 << 24)); then # cap_sys_resource
	say "hard limits, for root"
	FS_WRAP=(bash -c 'limited -SH "$@"' -)
	mount_fs -o rw "x=$device"
	for name in 'Max cpu time' 'Max file size'; do
		assert_eq "$(limit "$name")" "unlimited unlimited" "$name"
	done
	assert_ge "$(limit 'Max open files' | cut -d' ' -f2)" 65536 "open files"
	use "$MNT/x"
	far_write x
	survives
	umount_fs
fi

say "threads can end when no descriptor is free"
FS_WRAP=()
mount_fs "x=$device"
grep -q libgcc_s "/proc/$FS_PID/maps" ||
	fail "pthread_cancel(3) would have to open its library"
umount_fs

say "hard limits"
chown -R 65534:65534 "$TEST_TMP/file" "$MNT"
FS_WRAP=(as_nobody bash -c 'limited -SH "$@"' -)
mount_fs -o rw "x=$TEST_TMP/file"
as_nobody dd if="$TEST_TMP/new" of="$MNT/x" bs=4K conv=notrunc,fsync status=none
cp "$TEST_TMP/file" "$TEST_TMP/want"
STATUS=0
ERR=$(as_nobody dd if="$TEST_TMP/new" of="$MNT/x" bs=64K seek=40 conv=notrunc \
	2>&1) || STATUS=$?
assert_eq "$STATUS" 1 "status of a write past the limit"
assert_contains "$ERR" "File too large" "message"
survives as_nobody
as_nobody fusermount3 -u "$MNT"
end_fs || fail "blksparsefs ended with status $?"
assert_same_bytes "$TEST_TMP/file" "$TEST_TMP/want"

say "signals, and a umask"
cat >"$TEST_TMP/inherit.py" <<'PY'
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.umask(0o777)
os.execv(sys.argv[1], sys.argv[1:])
PY
FS_WRAP=(as_nobody python3 "$TEST_TMP/inherit.py")
"${FS_WRAP[@]}" "$FS" -f "x=$TEST_TMP/file" "$MNT" &
FS_PID=$!
wait_until 20 mounted "$MNT" || fail "not mounted"
as_nobody cmp "$MNT/x" "$TEST_TMP/want"
assert_eq "$(awk '/^Umask:/ { print $2 }' "/proc/$(program)/status")" 0022 "umask"
kill -TERM "$(program)"
end_fs || fail "status $? after SIGTERM"
not_mounted "$MNT" || fail "still mounted"
