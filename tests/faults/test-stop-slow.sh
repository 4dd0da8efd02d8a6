#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# SIGTERM while the kernel drops its cache of a file, and so waits for pages
# being read, which takes seconds each: the mount answers readers until then,
# and ends cleanly.
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
wait_until 20 test -e "$TEST_TMP/slow/file" || fail "the slow file does not appear"

# Reads random pages for ten seconds, or until the mount ends.
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
# readers_wait: true if enough requests wait for the slow file.
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
wait_until 20 readers_wait || fail "the readers do not wait"
truncate -s 65M "$TEST_TMP/image"
wait_until 20 is_dropping || fail "the kernel does not drop its cache"
kill -TERM "$FS_PID"
status=0
end_fs || status=$?
assert_eq "$status" 0 "exit status"
for pid in "${readers[@]}"; do
	wait "$pid" || fail "a reader failed"
done
