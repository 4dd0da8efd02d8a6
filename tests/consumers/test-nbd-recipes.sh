#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The recipes of blksparsefs(8), NETWORK: a qcow2 image, a disk of another host
# through ssh, a file of a web server, and a compressed image, each without
# converting or fetching it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
# shellcheck source=../lib/ssh.sh
. "$LIB/ssh.sh"

requires_fuse
requires_loop
requires qemu-nbd qemu-img qemu-io nbdkit busybox python3 xz
[[ $("$TOOL" map nbd:// 2>&1) != *"built without libnbd"* ]] ||
	skip "built without libnbd"

cd "$TEST_TMP"

# unix_uri SOCKET: prints the URI of the server's only export.
unix_uri() {
	echo "nbd+unix:///?socket=$TEST_TMP/$1"
}

end_of_pid_file() {
	local pid
	pid=$(<"$1")
	kill "$pid"
	wait_until 10 gone "$pid"
}

serve_with_nbdkit() {
	local name=$1
	shift
	nbdkit -r -U "$TEST_TMP/$name.sock" -P "$TEST_TMP/$name.pid" "$@"
	cleanup end_of_pid_file "$TEST_TMP/$name.pid"
}

# --- A qcow2 image ---------------------------------------------------------

say "a qcow2 image with a backing file"
qemu-img create -q -f qcow2 base.qcow2 4G
qemu-io -c 'write -q -P 7 0 8M' -c 'write -q -P 9 1G 4M' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 vm.qcow2
# Zeros in the overlay hide data of the backing file.
qemu-io -c 'write -q -P 5 4M 1M' -c 'write -q -z 1G 1M' vm.qcow2

qemu-nbd --fork -r -t -e 8 -f qcow2 -k "$TEST_TMP/vm.sock" \
	--pid-file="$TEST_TMP/vm.pid" vm.qcow2
cleanup end_of_pid_file "$TEST_TMP/vm.pid"
mount_fs vm="$(unix_uri vm.sock)"
assert_eq "$("$TOOL" map "$MNT/vm" | awk '/ (data|hole)$/ && NF == 4')" \
	"         0     8388608     8388608  data
   8388608  1074790400  1066401792  hole
1074790400  1077936128     3145728  data
1077936128  4294967296  3217031168  hole" "map"
cp "$MNT/vm" vm.raw
umount_fs
qemu-img compare -q vm.raw vm.qcow2
assert_le "$(allocated vm.raw)" $((11 * 1048576 + 65536)) "allocated"

# --- A disk of another host ------------------------------------------------

say "a disk of another host, through ssh"
make_device tenth 64M disk
start_sshd
mkdir far
to_host "$FS disk=$LOOP $TEST_TMP/far"
cleanup fusermount3 -u far
to_host "nbdkit -r -U $TEST_TMP/far.sock -P $TEST_TMP/far.pid file $TEST_TMP/far/disk"
cleanup end_of_pid_file "$TEST_TMP/far.pid"
ssh -F ssh_config -N -L "$TEST_TMP/near.sock:$TEST_TMP/far.sock" host &
tunnel=$!
cleanup kill "$tunnel"
wait_until 10 test -S near.sock
"$TOOL" copy --quiet "$(unix_uri near.sock)" copy
assert_same_bytes disk copy
assert_le "$(allocated copy)" $(($(data_bytes disk) + 65536)) "allocated"

# --- A file of a web server ------------------------------------------------

say "a file of a web server"
port=$(python3 -c 'import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])')
busybox httpd -f -p "127.0.0.1:$port" -h "$TEST_TMP" &
httpd=$!
cleanup kill "$httpd"
wait_until 10 bash -c ": </dev/tcp/127.0.0.1/$port" 2>connect.log
serve_with_nbdkit web curl "url=http://127.0.0.1:$port/disk"
"$TOOL" copy --quiet "$(unix_uri web.sock)" from-web
assert_same_bytes disk from-web

# --- A server for one command ----------------------------------------------

say "a server for one command, for a compressed image"
xz --keep --block-size=1MiB disk
served=(nbdkit -r --filter=xz file disk.xz --run)
"${served[@]}" "$TOOL copy --quiet \"\$uri\" from-xz"
assert_same_bytes disk from-xz
assert_le "$(allocated from-xz)" $(($(data_bytes disk) + 65536)) "allocated"

"${served[@]}" "$FS -f disk=\"\$uri\" $MNT" &
server=$!
wait_until 10 mountpoint -q "$MNT"
assert_same_bytes disk "$MNT/disk"
unmount "$MNT"
wait "$server"
