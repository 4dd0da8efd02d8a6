#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# mount(8) and fstab can mount with the type fuse.blksparsefs, once the program is
# installed.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
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

say "fstab, with options that are for mount itself"
echo "$device $MNT fuse.blksparsefs ro,noauto,nofail,user,_netdev,x-systemd.automount,allow_other,granule=1M,lookahead=8M 0 0" \
	>"$TEST_TMP/fstab"
mount -T "$TEST_TMP/fstab" "$MNT"
check --granule 1M fresh,walk,known "$MNT/$name" "$device" "$TEST_TMP/image"
assert_contains ",$(findmnt -n -o OPTIONS "$MNT")," ",allow_other," "options"
umount "$MNT"
wait_until 20 ended || fail "blksparsefs still runs after umount"

say "a missing device"
run_status mount -t fuse.blksparsefs "$TEST_TMP/nothing" "$MNT"
assert_ne "$STATUS" 0 "status of mount"
assert_contains "$ERR" "$TEST_TMP/nothing" "message"
not_mounted "$MNT" || fail "it is mounted"
