#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A program zeroes a page or a part of it, and stores to it through a mapping. The
# kernel writes the whole page. Then the disk loses some of that, fsync fails, and
# the program writes again what it stored: no old byte appears where it zeroed.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
requires python3
requires_fuse
requires_loop

cat >"$TEST_TMP/store.py" <<'PY'
"""store.py FILE CONTROL IMAGE FROM TO: zeroes [FROM, TO) of each second page."""
import ctypes, mmap, os, sys
path, control, image = sys.argv[1:4]
start, stop = map(int, sys.argv[4:])
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int] * 2 + [ctypes.c_int64] * 2
libc.sync_file_range.argtypes = [ctypes.c_int] + [ctypes.c_int64] * 2 + [ctypes.c_uint]
PUNCH, WRITE_AND_WAIT, PAGE = 3, 7, 4096
STORED, DATA = 3000, b"n" * 100


def tell_disk(text):
    with open(control, "w") as file:
        file.write(text)


def is_synced():
    try:
        os.fsync(fd)
        return True
    except OSError:
        return False


fd = os.open(path, os.O_RDWR)
for page in range(0, 60, 2):
    at = page * PAGE
    assert libc.fallocate(fd, PUNCH, at + start, stop - start) == 0
    with mmap.mmap(fd, PAGE, offset=at) as mapping:
        mapping[STORED:STORED + len(DATA)] = DATA
        assert libc.sync_file_range(fd, at, PAGE, WRITE_AND_WAIT) == 0
        tell_disk("errors 1000")
        assert not is_synced(), "fsync succeeded"
        tell_disk("errors 0")
    assert os.pwrite(fd, DATA, at + STORED) == len(DATA)
    assert any(is_synced() for _ in range(3)), "fsync fails"
    with open(image, "rb") as file:
        file.seek(at)
        now = bytearray(file.read(PAGE))
    assert now[STORED:STORED + len(DATA)] == DATA, f"page {page}: the data is lost"
    now[STORED:STORED + len(DATA)] = bytes(len(DATA))
    assert not any(now[start:stop]), f"page {page}: old bytes appear"
PY

# Not a multiple of a page: so the kernel writes sectors of this device, not pages.
losing_disk $((MIB + 3584))
for options in zero=unmap zero=write zero=keep,granule=64K same=skip; do
	say "$options"
	mount_fs -o "rw,log=error,$options" "x=$LOOP"
	for zeros in '0 4096' '512 3584'; do
		# shellcheck disable=SC2086 # two words
		python3 "$TEST_TMP/store.py" "$MNT/x" "$TEST_TMP/lower/control" \
			"$TEST_TMP/image" $zeros || fail "$options, zeros at $zeros"
	done
	umount_fs
	stale "$((MIB + 3584))" | dd of="$LOOP" bs=64K iflag=fullblock conv=fsync status=none
done
