#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Started by root, blksparsefs drops the capabilities that it does not need, in all
# threads. It can still write, punch and grow an image of another user in a folder
# that only that user may enter, and unmount there in each way in which a mount ends.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/nbd.sh
. "$LIB/nbd.sh"
requires_fuse
requires_loop
requires setpriv fallocate pgrep
[[ $(ldd "$FS") == *libcap-ng* ]] || skip "built without libcap-ng"

# cap_dac_read_search and cap_sys_admin.
needed=$((1 << 2 | 1 << 21))
own=$((16#$(awk '/^CapPrm:/ { print $2 }' /proc/self/status)))

# power NAME THREAD
power() {
	awk -v name="$1:" '$1 == name { print $2 }' "$2/status"
}

# assert_powers PID MASK BOUNDS NO-NEW-PRIVS: each thread of PID has these.
assert_powers() {
	local thread
	for thread in "/proc/$1/task"/*; do
		for name in CapPrm CapEff; do
			assert_eq "$((16#$(power "$name" "$thread")))" "$2" \
				"$name of $thread"
		done
		assert_eq "$((16#$(power CapInh "$thread")))" 0 "CapInh"
		assert_eq "$((16#$(power CapAmb "$thread")))" 0 "CapAmb"
		assert_eq "$((16#$(power CapBnd "$thread")))" "$3" "CapBnd"
		assert_eq "$(power NoNewPrivs "$thread")" "$4" "NoNewPrivs"
	done
}

say "root"
mkdir -m 700 "$TEST_TMP/private"
MNT=$TEST_TMP/private/mnt
mkdir "$MNT"
head -c 1M /dev/urandom >"$TEST_TMP/truth"
image=$TEST_TMP/private/image
new_image() {
	cp "$TEST_TMP/truth" "$image"
	chown -R 65534:65534 "$TEST_TMP/private"
	chmod 600 "$image"
}

# use_image: uses a writable mount; writes its final content to $TEST_TMP/want.
use_image() {
	assert_same_bytes "$MNT/x" "$TEST_TMP/truth"
	fallocate -p -o 64K -l 128K "$MNT/x"
	dd if="$TEST_TMP/truth" of="$MNT/x" bs=64K seek=8 skip=2 count=1 \
		conv=notrunc,fsync status=none
	truncate -s 900K "$MNT/x"
	truncate -s 1M "$MNT/x"
	truncate -s 2M "$image"
	grown() {
		(($(stat -c %s "$MNT/x") == 2 << 20)) || : <"$MNT/x"
		(($(stat -c %s "$MNT/x") == 2 << 20))
	}
	wait_until 20 grown || fail "the file does not grow with its image"
	dd if="$TEST_TMP/truth" of="$MNT/x" bs=64K seek=24 count=4 \
		conv=notrunc,fsync status=none
	cp "$MNT/x" "$TEST_TMP/want"
}

new_image
mount_fs -o rw "x=$image"
use_image
assert_powers "$FS_PID" $((needed & own)) $((needed & own)) 1
bdi=/sys/class/bdi/$(mountpoint -d "$MNT")/read_ahead_kb
assert_ge "$(<"$bdi")" 1024 "read-ahead"
kill -TERM "$FS_PID"
end_fs || fail "status $? after SIGTERM"
not_mounted "$MNT" || fail "SIGTERM leaves it mounted"
assert_same_bytes "$image" "$TEST_TMP/want"
rm "$image"

say "root, a device, in the background"
make_device mixed 4M loop
cleanup force_umount "$MNT"
"$FS" -o rw "x=$LOOP" "$MNT"
pid=$(pgrep -f "^$FS .*$MNT\$")
fallocate -p -o 1M -l 1M "$MNT/x"
dd if="$TEST_TMP/truth" of="$MNT/x" bs=64K conv=notrunc,fsync status=none
cp "$MNT/x" "$TEST_TMP/want"
assert_powers "$pid" $((needed & own)) $((needed & own)) 1
umount "$MNT"
wait_until 20 gone "$pid" || fail "blksparsefs still runs"
assert_same_bytes "$LOOP" "$TEST_TMP/want"

say "root, an export at another user's socket"
if "$TOOL" map nbd:// 2>&1 | grep -q 'built without libnbd'; then
	say "built without libnbd"
else
	requires nbdkit
	cp "$TEST_TMP/truth" "$TEST_TMP/export"
	nbd_start x unix nbdkit -r file "$TEST_TMP/export"
	others_socket() {
		chown 65534:65534 "$NBD_SOCKET"
		chmod 755 "$NBD_SOCKET"
	}
	NBD_SOCKET=${NBD#*socket=}
	others_socket
	mount_fs "x=$NBD"
	assert_powers "$FS_PID" $(((needed | 1 << 1) & own)) \
		$(((needed | 1 << 1) & own)) 1
	assert_same_bytes "$MNT/x" "$TEST_TMP/truth"
	nbd_kill x
	nbd_restart x
	others_socket
	wait_until 20 cmp -s "$MNT/x" "$TEST_TMP/truth" ||
		fail "it does not connect again"
	umount_fs
fi

say "root, an abort"
new_image
mkdir "$TEST_TMP/ctl"
mount -t fusectl none "$TEST_TMP/ctl"
cleanup umount "$TEST_TMP/ctl"
mount_fs "x=$image"
device=$(mountpoint -d "$MNT")
echo 1 >"$TEST_TMP/ctl/${device#*:}/abort"
end_fs || fail "status $? after an abort"
not_mounted "$MNT" || fail "an abort leaves it mounted"

say "root, auto_unmount"
# fusermount3 checks once after the end of the program, and leaves a mount whose
# connection the kernel has not ended by then. By io_uring that takes a moment;
# through /dev/fuse it is rare.
auto_unmounts() {
	mount_fs -o auto_unmount,uring=off "x=$image"
	assert_same_bytes "$MNT/x" "$TEST_TMP/truth"
	kill -KILL "$FS_PID"
	end_fs || true
	wait_until 5 not_mounted "$MNT" || {
		force_umount "$MNT"
		return 1
	}
}
auto_unmounts || auto_unmounts || auto_unmounts || fail "it stays mounted"

say "a user"
if [[ $(stat -c %a /dev/fuse) != *6 ]]; then
	cleanup chmod "$(stat -c %a /dev/fuse)" /dev/fuse
	chmod 666 /dev/fuse
fi
copy_program
as_nobody "$FS" -o rw "x=$image" "$MNT"
pid=$(pgrep -f "^$FS .*$MNT\$")
bounds=$((16#$(power CapBnd /proc/self)))
assert_powers "$pid" 0 "$bounds" 0
as_nobody dd if=/dev/zero of="$MNT/x" bs=64K count=1 conv=notrunc,fsync status=none
as_nobody cp "$MNT/x" "$TEST_TMP/private/want"
kill -TERM "$pid"
wait_until 20 gone "$pid" || fail "SIGTERM does not end it"
not_mounted "$MNT" || fail "SIGTERM leaves it mounted"
assert_same_bytes "$image" "$TEST_TMP/private/want"
