#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# SIGTERM while the kernel is told to drop what it has of a file, which waits for
# pages that are being read, each of which takes seconds: readers are answered
# until that is done, and the mount ends as it should.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse

mkdir "$TEST_TMP/slow"
truncate -s 64M "$TEST_TMP/image"
"$BUILD/tests/faults/slow-file" "$TEST_TMP/image" 2000 "$TEST_TMP/slow" &
slow=$!
end_slow() {
	umount "$TEST_TMP/slow"
	wait "$slow"
}
cleanup end_slow
wait_until 20 test -e "$TEST_TMP/slow/file" || fail "the slow file does not come"

# Here and there, for ten seconds or until the mount goes.
read_pages() {
	python3 - "$MNT/x" <<-'END'
		import os, random, sys, time
		file = os.open(sys.argv[1], os.O_RDONLY)
		end = time.monotonic() + 10
		try:
		    while time.monotonic() < end:
		        os.pread(file, 65536, random.randrange(1024) << 16)
		except OSError:
		    pass
	END
}
# So many requests wait for the slow file.
readers_wait() {
	(($(grep -ls request_wait_answer "/proc/$FS_PID"/task/*/stack |
		wc -l) >= 8))
}
is_dropping() {
	grep -qs invalidate_inode_pages2 "/proc/$FS_PID"/task/*/stack
}

mount_fs -o rw "x=$TEST_TMP/slow/file"
readers=()
for _ in {1..24}; do
	read_pages &
	readers+=($!)
done
wait_until 20 readers_wait || fail "they do not wait"
truncate -s 65M "$TEST_TMP/image"
wait_until 20 is_dropping || fail "nothing is dropped"
kill -TERM "$FS_PID"
status=0
end_fs || status=$?
assert_eq "$status" 0 "exit status"
for pid in "${readers[@]}"; do
	wait "$pid" || fail "a reader failed"
done
