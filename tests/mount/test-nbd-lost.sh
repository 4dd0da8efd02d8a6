#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The server of a mounted export goes away and comes back, with another content or
# size. No reader gets old bytes after that, whatever way it reads. A writable mount
# goes on if nothing was lost, and otherwise fails until it is mounted anew.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/nbd.sh
. "$LIB/nbd.sh"
requires_fuse
requires nbdkit

size=$((8 << 20))

# content NAME BYTE [SIZE]: makes an image with that byte in each second MiB.
content() {
	python3 - "$TEST_TMP/$1" "$2" "${3:-$size}" <<-'END'
		import os, sys
		path, byte, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
		with open(path, "wb") as file:
		    file.truncate(size)
		    for at in range(0, size, 2 << 20):
		        file.seek(at)
		        file.write(bytes([byte]) * min(1 << 20, size - at))
	END
}

content one 1
content two 2
content longer 3 $((size + 3000000))
content shorter 4 $((size - 3000000))

log_has() {
	grep -qF "$1" "$FS_LOG"
}

# fails ERROR COMMAND...: the command fails with that error.
fails() {
	! "${@:2}" >"$TEST_TMP/out" 2>&1 || fail_at "${*:2} succeeds"
	assert_contains "$(<"$TEST_TMP/out")" "$1" "the error of ${*:2}"
}

# call CODE: runs that code of Python with fd, the file opened to read and write.
call() {
	python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
exec(sys.argv[2])' "$MNT/x" "$1"
}

read_direct() {
	dd if="$MNT/x" of="$TEST_TMP/direct" bs=1M iflag=direct "$@"
}

# Reads page 0 in a certain way, again and again, through what was opened at first.
# Prints each byte that differs from the one before, or "error".
cat >"$TEST_TMP/reader.py" <<-'END'
	import mmap, os, sys, time
	how, path, end = sys.argv[1:]
	fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if how == "direct" else 0))
	if how == "mapped":
	    mapping = memoryview(mmap.mmap(fd, 4096, prot=mmap.PROT_READ))
	    copy = os.memfd_create("copy")
	else:
	    page = mmap.mmap(-1, 4096)
	def read():
	    if how == "mapped":
	        # A failed access is the error of this call, and not a signal.
	        os.pwrite(copy, mapping[:1], 0)
	        return os.pread(copy, 1, 0)[0]
	    os.preadv(fd, [page], 0)
	    return page[0]
	last = None
	while not os.path.exists(end):
	    try:
	        now = read()
	    except OSError:
	        now = "error"
	    if now != last:
	        print(now, flush=True)
	    last = now
	    time.sleep(0.02)
END

# start_readers: starts a reader of each kind.
start_readers() {
	local how
	readers=()
	rm -f "$TEST_TMP/end"
	for how in buffered direct mapped; do
		: >"$TEST_TMP/reader.$how"
		python3 "$TEST_TMP/reader.py" $how "$MNT/x" "$TEST_TMP/end" \
			>"$TEST_TMP/reader.$how" &
		readers+=($!)
		cleanup touch "$TEST_TMP/end"
	done
	for how in buffered direct mapped; do
		wait_until 20 test -s "$TEST_TMP/reader.$how" || fail "$how: no byte"
	done
}

read_by() {
	[[ $(tail -n 1 "$TEST_TMP/reader.$1") == "$2" ]]
}

# all_read BYTE: all readers get that byte, and get no other after it.
all_read() {
	local how
	for how in buffered direct mapped; do
		wait_until 20 read_by $how "$1" || fail "$how: it does not get $1"
	done
}

# answers: a read succeeds, or fails for another reason than a lost connection.
answers() {
	read_direct count=1 2>"$TEST_TMP/err" ||
		! grep -q "Input/output error" "$TEST_TMP/err"
}

# shows NAME: a new reader gets that content, as soon as it gets anything: after
# a connection failed, the next is not tried for a second.
shows() {
	wait_until 20 answers || fail "it is not connected anew"
	assert_eq "$(stat -c %s "$MNT/x")" "$(stat -c %s "$TEST_TMP/$1")" "size"
	assert_same_bytes "$MNT/x" "$TEST_TMP/$1"
	read_direct status=none
	assert_same_bytes "$TEST_TMP/direct" "$TEST_TMP/$1"
	assert_eq "$(ask extents "$MNT/x")" "$(ask extents "$TEST_TMP/$1")" "extents"
}

# mapped BYTE: maps the file, and reads the first byte.
mapped() {
	assert_eq "$(python3 -c 'import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print(mmap.mmap(fd, 0, prot=mmap.PROT_READ)[0])' "$MNT/x")" "$1" "mapped byte"
}

serve() {
	nbd_restart a nbdkit "$@"
}

say "a read-only mount: a request that waits"
nbd_start a unix nbdkit -r file "$TEST_TMP/one"
mount_fs "x=$NBD"
shows one
nbd_stop a
dd if="$MNT/x" of="$TEST_TMP/out" bs=4096 count=1 iflag=direct 2>"$TEST_TMP/err" &
reader=$!
waits() {
	grep -qsE 'request_wait_answer|fuse_' "/proc/$1/stack"
}
wait_until 20 waits "$reader" || fail "it does not wait"
nbd_kill a
wait_until 20 gone_or_zombie "$reader" || fail "it still waits"
! wait "$reader" || fail "it succeeds"
assert_contains "$(<"$TEST_TMP/err")" "Input/output error" "its error"

say "without a server"
fails "Input/output error" read_direct
assert_eq "$(stat -c %s "$MNT/x")" "$size" "size"
assert_ge "$(stat -c %b "$MNT/x")" 1 "blocks"
wait_until 20 log_has "the connection to its server was lost" || fail "no message"
assert_eq "$(ls "$MNT")" x "the folder"

say "another content"
serve -r file "$TEST_TMP/two"
shows two
wait_until 20 log_has "connected anew" || fail "no message"
mapped 2

say "files that stay open, and servers that come and go"
start_readers
all_read 2
for name in one two longer shorter one; do
	byte=$(python3 -c 'import sys; print(open(sys.argv[1], "rb").read(1)[0])' \
		"$TEST_TMP/$name")
	nbd_kill a
	serve -r file "$TEST_TMP/$name"
	shows $name
	all_read "$byte"
	mapped "$byte"
	shows $name
done
touch "$TEST_TMP/end"
wait "${readers[@]}"

say "a mount that nobody uses meanwhile"
nbd_kill a
serve -r file "$TEST_TMP/two"
shows two
nbd_kill a
umount_fs

say "a writable mount of which nothing is lost goes on"
cp "$TEST_TMP/one" "$TEST_TMP/image"
serve file "$TEST_TMP/image"
mount_fs -o rw,unshared "x=$NBD"
call 'os.pwrite(fd, b"a" * 8192, 4096); os.pwrite(fd, b"\0" * 65536, 65536); os.fsync(fd)'
cp "$TEST_TMP/image" "$TEST_TMP/want"
nbd_kill a
say "without its server nothing can be written"
fails "Errno 5" call 'os.pwrite(fd, b"b", 0)'
fails "Errno 5" call 'os.pwrite(fd, bytes(1 << 20), 0)'
fails "Errno 5" call 'os.truncate(fd, 5)'
fails "Input/output error" fallocate -p -o 0 -l 1M "$MNT/x"
assert_eq "$(stat -c %s "$MNT/x")" "$size" "size"
serve file "$TEST_TMP/image"
shows want
call 'os.pwrite(fd, b"c" * 5000, 3 << 20); os.pwrite(fd, bytes(8192), 0); os.fsync(fd)'
assert_eq "$(dd if="$TEST_TMP/image" bs=1M skip=3 count=1 status=none | head -c 3)" \
	ccc "what was written"
assert_same_bytes "$MNT/x" "$TEST_TMP/image"
say "it ends well without its server"
nbd_kill a
umount_fs

# lost WHAT CODE: after that code the server goes away: the mount is lost.
lost() {
	local status=0 code
	say "a writable mount with $1"
	content image 7
	cp "$TEST_TMP/image" "$TEST_TMP/before"
	serve file "$TEST_TMP/image"
	mount_fs -o rw,unshared "x=$NBD"
	exec 7<>"$MNT/x"
	call "$2"
	nbd_kill a
	content image 8
	cp "$TEST_TMP/image" "$TEST_TMP/before"
	serve file "$TEST_TMP/image" 7>&-
	wait_until 20 answers || fail "the calls fail with EIO"
	for code in 'os.fsync(fd)' 'os.pread(fd, 10, 5 << 20)' 'os.pwrite(fd, b"x", 0)' \
		'os.pwrite(fd, bytes(8192), 0)' 'os.lseek(fd, 0, os.SEEK_DATA)' \
		'os.fsync(fd)' 'os.ftruncate(fd, 9)'; do
		fails "Errno 19" call "$code"
	done
	fails "No such device" sync "$MNT/x"
	fails "Errno 19" python3 -c 'import os; os.fsync(7)'
	assert_eq "$(stat -c %s "$MNT/x")" "$size" "size"
	wait_until 20 log_has "the connection to its server was lost before all was written" ||
		fail "no message"
	exec 7>&-
	wait_until 20 fusermount3 -u "$MNT" || fail "it cannot be unmounted"
	end_fs || status=$?
	assert_eq "$status" 1 "status"
	assert_contains "$(<"$FS_LOG")" "some written data is not on the device" "the log"
	assert_same_bytes "$TEST_TMP/image" "$TEST_TMP/before"
	say "it is mounted anew"
	mount_fs -o rw,unshared "x=$NBD"
	shows image
	umount_fs
	nbd_kill a
}

lost "writes that were not flushed" 'os.pwrite(fd, b"y" * 4096, 0)'
# In a file that stays open, so that no close flushes them.
lost "zeros that wait" 'os.pwrite(7, bytes(1 << 20), 0)'
