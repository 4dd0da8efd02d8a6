#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# While one device hangs with hundreds of reads in flight, the mount serves its
# other files.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_root
requires fio

parameter=/sys/module/fuse/parameters/enable_uring
if [[ -e $parameter ]]; then
	before=$(<"$parameter")
	restore() {
		echo "$before" >"$parameter"
	}
	cleanup restore
fi

# The device is an image in a file system whose program can be stopped.
mkdir "$TEST_TMP/below"
head -c 64M /dev/urandom >"$TEST_TMP/hanging"
head -c 4M /dev/urandom >"$TEST_TMP/image"
"$BUILD/tests/faults/slow-file" "$TEST_TMP/hanging" 0 "$TEST_TMP/below" &
below=$!
end_below() {
	kill -CONT "$below"
	umount -l "$TEST_TMP/below"
	wait "$below"
}
cleanup end_below
wait_until 20 test -e "$TEST_TMP/below/file" || fail "the slow file does not appear"

# threads_wait COUNT: true if that many threads of blksparsefs wait for it.
threads_wait() {
	(($(grep -ls request_wait_answer "/proc/$FS_PID"/task/*/stack | wc -l) >= $1))
}
# True if fio waits for its reads, for a certain one or for any.
fio_waits() {
	grep -qsE 'fuse_direct|read_events' "/proc/$fio"/task/*/stack
}
reads_wait() {
	threads_wait "$1" && fio_waits
}
# hang COUNT: stops the file system when that many reads are in flight.
hang() {
	for _ in {1..50}; do
		kill -STOP "$below"
		! wait_until 1 reads_wait "$1" || return 0
		kill -CONT "$below"
		sleep 0.1
	done
	fail "too few reads are in flight"
}
# read_wide: makes eight buffered reads and 96 direct ones, each in a thread,
# when the file "go" exists.
read_wide() {
	python3 - "$MNT/h" "$TEST_TMP/go" "$TEST_TMP/opened" <<-'END'
		import mmap, os, sys, threading, time
		path, go, opened = sys.argv[1:]

		def read(file, size, off):
		    buf = mmap.mmap(-1, size)
		    if os.preadv(file, [buf], off) != size:
		        os._exit(1)

		direct = os.open(path, os.O_RDONLY | os.O_DIRECT)
		threads = [threading.Thread(target=read, args=what) for what in
		           [(os.open(path, os.O_RDONLY), 1 << 20, i << 20)
		            for i in range(33, 64, 4)] +
		           [(direct, 4096, i << 16) for i in range(96)]]
		open(opened, "w").close()
		while not os.path.exists(go):
		    time.sleep(0.05)
		for thread in threads:
		    thread.start()
		for thread in threads:
		    thread.join()
	END
}
# others_are_served: uses the other file, the folder, and the attributes of all.
others_are_served() {
	cmp "$MNT/x" "$TEST_TMP/image" &&
		[[ $(ask data 0 "$MNT/x") == 0 ]] &&
		[[ $(stat -c %s "$MNT/x") == $((4 << 20)) ]] &&
		[[ $(ls "$MNT") == $'h\nx' ]] &&
		[[ $(stat -f -c %b "$MNT") == $((68 << 8)) ]] &&
		[[ $(stat -c %s "$MNT/h") == $((64 << 20)) ]]
}

end_quietly() {
	kill -CONT "$below"
	kill "$@" 2>/dev/null || true
}

# try_it OPTIONS
try_it() {
	local pid
	rm -f "$TEST_TMP/go" "$TEST_TMP/opened"
	mount_fs -o "$1" "x=$TEST_TMP/image" "h=$TEST_TMP/below/file"
	read_wide &
	readers=$!
	wait_until 20 test -e "$TEST_TMP/opened" || fail "the readers do not open the file"
	fio --output="$TEST_TMP/fio" --thread --name=deep --filename="$MNT/h" --rw=randread \
		--ioengine=libaio --direct=1 --iodepth=256 --bs=4k --size=32M \
		--time_based --runtime=60 --allow_file_create=0 &
	fio=$!
	cleanup end_quietly "$fio" "$readers"
	# The kernel sends the reads of a writable file one after the other.
	hang "$([[ $1 == rw* ]] && echo 1 || echo 60)"
	touch "$TEST_TMP/go"
	wait_until 20 threads_wait 60 || fail "too few threads wait"
	# cat waits in its open.
	cat "$MNT/h" >"$TEST_TMP/copy" &
	cat=$!
	others_are_served &
	pid=$!
	if ! wait_until 30 gone_or_zombie "$pid"; then
		kill -CONT "$below"
		fail "the other file waits for the hanging device"
	fi
	wait "$pid" || fail "the other file is not served"
	! gone_or_zombie "$readers" || fail "the device does not hang"
	kill -CONT "$below"
	wait "$readers" || fail "a reader failed"
	wait "$cat" || fail "cat failed"
	kill -TERM "$fio"
	wait "$fio" || true
	assert_same_bytes "$TEST_TMP/copy" "$TEST_TMP/hanging"
	umount_fs
}

for mode in ro rw; do
	say "$mode, through /dev/fuse"
	try_it "$mode,uring=off"
done
if [[ -e $parameter ]]; then
	echo Y >"$parameter"
	for mode in ro rw; do
		say "$mode, by io_uring"
		try_it "$mode"
	done
fi
