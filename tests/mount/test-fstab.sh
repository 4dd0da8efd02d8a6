#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# mount(8) and fstab know it as fuse.blksparsefs, once it is installed.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires mount findmnt mount.fuse unshare pgrep

# mount(8) keeps no PATH for its helpers: the program has to be where the shell
# looks without one, so it is, for nobody but this test.
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
wait_until 20 ended || fail "it goes on after umount"

say "fstab, with the options that mount keeps to itself"
echo "$device $MNT fuse.blksparsefs ro,noauto,nofail,user,_netdev,x-systemd.automount,allow_other,granule=1M,lookahead=8M 0 0" \
	>"$TEST_TMP/fstab"
mount -T "$TEST_TMP/fstab" "$MNT"
check --granule 1M fresh,walk,known "$MNT/$name" "$device" "$TEST_TMP/image"
assert_contains ",$(findmnt -n -o OPTIONS "$MNT")," ",allow_other," "options"
umount "$MNT"
wait_until 20 ended || fail "it goes on after umount"

say "a device that is not there"
run_status mount -t fuse.blksparsefs "$TEST_TMP/nothing" "$MNT"
assert_ne "$STATUS" 0 "status of mount"
assert_contains "$ERR" "$TEST_TMP/nothing" "message"
not_mounted "$MNT" || fail "mounted all the same"
