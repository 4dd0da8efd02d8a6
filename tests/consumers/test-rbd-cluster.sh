#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Streams into a Ceph cluster and out of it, by rbd import-diff and export-diff; and
# an image of the cluster as a device, by an NBD server. The test starts a cluster:
# one monitor, and one OSD that stores in memory.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=../lib/nbd.sh
. "$LIB/nbd.sh"
requires rbd ceph ceph-mon ceph-osd monmaptool ceph-authtool
requires_loop

cd "$TEST_TMP"
export CEPH_CONF=$TEST_TMP/ceph.conf
port=$(python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
# By default a relative path, which some releases look up in another folder.
classes=$(echo /usr/lib/*/rados-classes)
[[ -d $classes ]] || fail "there is not one folder of Ceph's classes: $classes"
id=$(</proc/sys/kernel/random/uuid)
cat >ceph.conf <<-END
	[global]
	fsid = $id
	mon host = v2:127.0.0.1:$port
	ms bind ipv6 = false
	public addr = 127.0.0.1
	auth cluster required = none
	auth service required = none
	auth client required = none
	mon allow pool size one = true
	osd pool default size = 1
	osd pool default min size = 1
	osd crush chooseleaf type = 0
	osd class dir = $classes
	osd objectstore = memstore
	memstore device bytes = 1073741824
	mon data = $TEST_TMP/mon
	osd data = $TEST_TMP/osd
	run dir = $TEST_TMP
	admin socket = $TEST_TMP/\$name.asok
	pid file = $TEST_TMP/\$name.pid
	log file = $TEST_TMP/\$name.log
	# Even with little free space.
	mon data avail crit = 0
	[mon.a]
	public addrv = v2:127.0.0.1:$port
END

# start COMMAND...: runs a daemon in its foreground mode until the test ends; it
# must not end before.
start() {
	"$@" -f >>daemons.log 2>&1 &
	cleanup end "$!"
}

end() {
	kill "$1" && wait "$1"
}

answers() {
	timeout 10 ceph -s >/dev/null 2>&1
}

osd_is_up() {
	[[ $(timeout 10 ceph osd stat 2>/dev/null) == *' 1 up'* ]]
}

say "the cluster starts"
mkdir mon osd
ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *'
monmaptool --create --fsid "$id" --addv a "[v2:127.0.0.1:$port]" monmap
ceph-mon -i a --mkfs --monmap monmap --keyring keyring
start ceph-mon -i a
wait_until 60 answers || fail "the monitor does not answer: $(tail -n 5 ./*.log)"
osd=$(</proc/sys/kernel/random/uuid)
assert_eq "$(ceph osd new "$osd")" 0 "the OSD's number"
ceph-osd -i 0 --mkfs --osd-uuid "$osd"
start ceph-osd -i 0
wait_until 60 osd_is_up || fail "the OSD does not come up: $(tail -n 5 ./*.log)"
ceph osd pool create pool 8

rbd() {
	timeout 60 rbd --no-progress "$@"
}

diffs=$SRC/tests/cli/rbd_diff.py

# send DEVICE IMAGE: sends it into the cluster, and keeps the stream.
send() {
	"$TOOL" send --quiet --format=rbd-diff "$1" | tee sent |
		rbd import-diff - "pool/$2"
}

# ranges FILE FILE: prints the blocks in which they differ, with bytes of both.
ranges() {
	python3 - "$@" <<-'END'
		import sys
		a, b = (open(name, "rb").read() for name in sys.argv[1:])
		print(*sys.argv[1:], len(a), len(b), "bytes")
		start = None
		for at in range(0, max(len(a), len(b)) + 4096, 4096):
		    if a[at:at + 4096] != b[at:at + 4096]:
		        start = at if start is None else start
		    elif start is not None:
		        print(f"  [{start}, {at}):", a[start:at].lstrip(b"\0")[:16].hex(),
		              b[start:at].lstrip(b"\0")[:16].hex())
		        start = None
	END
}

# evidence IMAGE FILE: prints whether the stream that was kept has FILE, and how
# the image differs: now, and if it is exported once more.
evidence() {
	echo "--- $2, and the image as it was exported:"
	ranges "$2" exported
	rbd export "pool/$1" again
	echo "--- the same, exported again:"
	ranges "$2" again
	[[ -e sent && $1 != *@* ]] || return 0
	cp old replayed
	python3 "$diffs" import replayed <sent
	echo "--- the same, and the stream as it should be applied:"
	ranges "$2" replayed
	echo "--- the records of the stream:"
	python3 "$diffs" list <sent
}

# received IMAGE FILE: checks that IMAGE equals FILE.
received() {
	rbd export "pool/$1" exported
	cmp "$2" exported || {
		evidence "$1" "$2"
		fail "$1 is not $2"
	}
	rm exported
	head -c 40M /dev/zero | tr '\0' '\252' >target
	loop_new "$TEST_TMP/target"
	rbd export-diff "pool/$1" - | "$TOOL" recv --quiet --format=rbd-diff "$LOOP"
	cmp -n "$(stat -c %s "$2")" "$2" "$LOOP" || fail "wrong bytes on the device"
	loop_free "$LOOP"
	rbd export-diff "pool/$1" - | "$TOOL" recv --quiet --format=rbd-diff file
	assert_same_bytes "$2" file
	assert_le "$(allocated file)" "$(allocated "$2")" "allocated"
	rm file
}

head -c 24M /dev/zero | tr '\0' '\252' >old
make_device mixed 24M first
first=$LOOP
python3 "$LIB/devices.py" make --seed 7 tenth 32M second
loop_new "$TEST_TMP/second"
second=$LOOP

say "into an image with old bytes"
rbd import old pool/x
send "$first" x
received x first

say "a larger image replaces it"
rbd snap create pool/x@before
send "$second" x
received x second

say "the first image again"
received x@before first
rbd export-diff --from-snap before pool/x changes
recv_changes() {
	"$TOOL" recv --format=rbd-diff file <changes
}
run_status recv_changes
assert_eq "$STATUS" 1 "status for a difference from a snapshot"
assert_contains "$ERR" "--from-snap" "message"

# stored IMAGE: prints the bytes that the cluster stores of it.
stored() {
	timeout 60 rbd diff "pool/$1" >extents
	awk '{ sum += $2 } END { print sum + 0 }' extents
}

say "zeros take no space in the cluster"
truncate -s 32M zero
loop_new "$TEST_TMP/zero"
rbd import old pool/y
assert_eq "$(stored y)" $((24 << 20)) "bytes in the cluster before"
send "$LOOP" y
assert_eq "$(stored y)" 0 "bytes in the cluster"
received y zero

say "an image of the cluster as a device"
[[ $("$TOOL" map nbd:// 2>&1) != *"built without libnbd"* ]] ||
	skip "built without libnbd"
rbd create --size 24M pool/z
rbd_server() {
	nbd_start "$1" unix qemu-nbd -f raw --shared=8 "${@:2}" rbd:pool/z
}
rbd_server reader -r
assert_eq "$("$TOOL" map --summary --format=json "$NBD" | jq .totals.data.bytes)" 0 \
	"data of a new image"
nbd_forget reader
rbd_server writer
rm sent
"$TOOL" copy --quiet "$first" "$NBD"
nbd_end writer
received z first
rbd_server reader -r
mount_fs "z=$NBD"
cp "$MNT/z" copy
umount_fs
assert_same_bytes first copy
assert_le "$(allocated copy)" $(($(stored z) + 65536)) "allocated"
nbd_forget reader
