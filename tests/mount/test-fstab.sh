#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# mount(8) and fstab can mount with the type fuse.blksparsefs, once the program is
# installed.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/nbd.sh
. "$LIB/nbd.sh"
requires_fuse
requires_loop
requires mount findmnt mount.fuse unshare pgrep

# mount(8) runs its helpers without PATH: the program has to be in a default place.
# It is put there in a mount namespace of this test alone.
if [[ -z ${IN_NAMESPACE:-} ]]; then
	IN_NAMESPACE=1 unshare -m --propagation private bash "$0"
	exit
fi
mount -t tmpfs none /usr/local/sbin
ln -s "$FS" /usr/local/sbin/blksparsefs

make_device edges 8M image
device=$LOOP
name=${device##*/}
mkdir "$MNT"
cleanup force_umount "$MNT"

ended() {
	not_mounted "$MNT" && [[ -z $(pgrep -f "blksparsefs .*$MNT") ]]
}

say "mount -t"
mount -t fuse.blksparsefs -o ro,granule=64K "$device" "$MNT"
assert_eq "$(findmnt -n -o FSTYPE,SOURCE "$MNT" | tr -s ' ')" \
	"fuse.blksparsefs $device" "findmnt"
check --granule 64K fresh,walk,known "$MNT/$name" "$device" "$TEST_TMP/image"
umount "$MNT"
wait_until 20 ended || fail "blksparsefs still runs after umount"

say "mount -t blksparsefs"
# mount(8) and umount(8) look for helpers in /sbin alone.
mkdir "$TEST_TMP/sbin"
cp "$SRC/fuse/mount.blksparsefs" "$BUILD/fuse/umount.fuse.blksparsefs" \
	"$TEST_TMP/sbin/"
sbin=$(realpath /sbin)
mount -t overlay -o "lowerdir=$TEST_TMP/sbin:$sbin" none "$sbin"
mount --fake -t blksparsefs "$device" "$MNT"
not_mounted "$MNT" || fail "--fake mounts"
mount -v -t blksparsefs -o ro,granule=64K,nofail "$device" "$MNT"
assert_eq "$(findmnt -n -o FSTYPE,SOURCE "$MNT" | tr -s ' ')" \
	"fuse.blksparsefs $device" "findmnt"
check --granule 64K fresh,walk,known "$MNT/$name" "$device" "$TEST_TMP/image"
umount "$MNT"
wait_until 20 ended || fail "blksparsefs still runs after umount"
# The child of the helper, which asks the driver, must not keep the mount busy.
mkdir "$TEST_TMP/bin"
cat >"$TEST_TMP/bin/umount" <<-END
	#!/bin/sh
	pgrep -P \$PPID | grep -vx \$\$ >"$TEST_TMP/children"
	exec $(command -v umount) "\$@"
END
chmod +x "$TEST_TMP/bin/umount"
mount -t blksparsefs -o ro "$device" "$MNT"
PATH=$TEST_TMP/bin:$PATH "$TEST_TMP/sbin/umount.fuse.blksparsefs" "$MNT"
assert_eq "$(<"$TEST_TMP/children")" "" "children of the helper beside umount"
wait_until 20 ended || fail "blksparsefs still runs after umount"
say "umount does not wait for a driver that serves a copy of the mount"
# In the namespace of this test alone.
[[ -n $(ls /sys/fs/fuse/connections) ]] ||
	mount -t fusectl none /sys/fs/fuse/connections
mkdir "$TEST_TMP/elsewhere"
mount -t blksparsefs -o ro,uhelper=fuse.blksparsefs "$device" "$MNT"
mount --bind "$MNT" "$TEST_TMP/elsewhere"
cleanup force_umount "$TEST_TMP/elsewhere"
run_status timeout 30 umount "$MNT"
assert_eq "$STATUS" 0 "status of umount"
assert_contains "$ERR" "mounted elsewhere, too" "message"
not_mounted "$MNT" || fail "it is still mounted"
assert_same_bytes "$TEST_TMP/elsewhere/$name" "$TEST_TMP/image"
umount "$TEST_TMP/elsewhere"
wait_until 20 ended || fail "blksparsefs still runs after umount"
run_status mount -t blksparsefs -o granule=3 "$device" "$MNT"
assert_ne "$STATUS" 0 "status with a wrong option"
assert_contains "$ERR" "granule" "the message of the program"

if [[ $("$TOOL" map nbd:// 2>&1) != *"built without libnbd"* ]]; then
	requires nbdkit
	say "umount waits for the end of blksparsefs"
	# Zeroing the tail takes seconds there.
	nbd_start slow unix nbdkit --filter=delay memory 8M delay-zero=3
	helper=uhelper=fuse.blksparsefs
	runs() {
		pgrep -f "blksparsefs .*$MNT" >/dev/null
	}
	unmounts() {
		mount -t blksparsefs -o "rw,unshared,tail=zero,$helper" \
			"x=$NBD" "$MNT"
		truncate -s 1M "$MNT/x"
		umount "$@" "$MNT" 2>"$TEST_TMP/err"
		cat "$TEST_TMP/err"
		not_mounted "$MNT" || fail "it is still mounted"
	}
	unmounts
	! runs || fail "umount returned before blksparsefs had ended"
	assert_contains "$(<"$TEST_TMP/err")" "waiting for blksparsefs" "message"
	# Without the helper it does not wait, and with -l neither.
	for option in -i -l; do
		unmounts "$option"
		runs || fail "blksparsefs had ended before umount $option returned"
		wait_until 60 ended || fail "blksparsefs still runs"
	done
	# A driver that is stopped does not tell its process; the helper goes on
	# without that.
	mount -t blksparsefs -o "ro,$helper" "x=$device" "$MNT"
	pkill -STOP -f "blksparsefs .*$MNT"
	# A thread may go on for a while, and answer.
	all_threads_stop() {
		local driver
		driver=$(pgrep -f "blksparsefs .*$MNT")
		! grep -hv $'^State:\tT' <(grep -h ^State: "/proc/$driver/task/"*/status)
	}
	wait_until 20 all_threads_stop || fail "the driver does not stop"
	"$TEST_TMP/sbin/umount.fuse.blksparsefs" "$MNT" &
	pid=$!
	unmounts_without() {
		pgrep -f "umount -i $MNT" >/dev/null || gone "$pid"
	}
	wait_until 20 unmounts_without || fail "the helper waits for the driver"
	pkill -CONT -f "blksparsefs .*$MNT"
	wait "$pid"
	wait_until 20 ended || fail "blksparsefs still runs"
fi
umount "$sbin"

say "fstab, with options that are for mount itself"
echo "$device $MNT fuse.blksparsefs ro,noauto,nofail,user,_netdev,x-systemd.automount,allow_other,granule=1M,lookahead=8M 0 0" \
	>"$TEST_TMP/fstab"
mount -T "$TEST_TMP/fstab" "$MNT"
check --granule 1M fresh,walk,known "$MNT/$name" "$device" "$TEST_TMP/image"
assert_contains ",$(findmnt -n -o OPTIONS "$MNT")," ",allow_other," "options"
umount "$MNT"
wait_until 20 ended || fail "blksparsefs still runs after umount"

if [[ $("$TOOL" map nbd:// 2>&1) != *"built without libnbd"* ]]; then
	requires nbdkit
	say "fstab, with the export of an NBD server"
	nbd_start disk unix nbdkit -r file "$TEST_TMP/image"
	echo "disk=$NBD $MNT fuse.blksparsefs ro,noauto,_netdev 0 0" \
		>"$TEST_TMP/fstab"
	mount -T "$TEST_TMP/fstab" "$MNT"
	check fresh,walk,known "$MNT/disk" "$TEST_TMP/image" "$TEST_TMP/image"
	assert_eq "$(findmnt -n -o SOURCE "$MNT")" "$NBD" "source"
	umount "$MNT"
	wait_until 20 ended || fail "blksparsefs still runs after umount"
fi

say "a missing device"
run_status mount -t fuse.blksparsefs "$TEST_TMP/nothing" "$MNT"
assert_ne "$STATUS" 0 "status of mount"
assert_contains "$ERR" "$TEST_TMP/nothing" "message"
not_mounted "$MNT" || fail "it is mounted"
