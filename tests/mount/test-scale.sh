#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Many devices in one mount, many open files of each, many readers at once, and a
# device of 64 TiB: the bytes are right. tests/bench/scale measures the same with more.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires python3

devices=64
sources=()
for ((i = 0; i < devices; i++)); do
	truncate -s 2M "$TEST_TMP/image$i"
	printf 'start %d' "$i" |
		dd of="$TEST_TMP/image$i" conv=notrunc status=none
	printf 'middle %d' "$i" | dd of="$TEST_TMP/image$i" bs=4096 seek=300 \
		conv=notrunc status=none
	LOOP=$(losetup -f --show "$TEST_TMP/image$i")
	cleanup loop_free_of "$LOOP" "$TEST_TMP/image$i"
	sources+=("f$i=$LOOP")
done

say "$devices devices, 1,024 open files, 128 readers at once"
mount_fs "${sources[@]}"
assert_eq "$(find "$MNT" -type f | wc -l)" "$devices" "files"
python3 - "$MNT" "$devices" <<'PY'
import os, random, sys, threading
where, devices = sys.argv[1], int(sys.argv[2])
fds = [(i % devices, os.open(f"{where}/f{i % devices}", os.O_RDONLY))
       for i in range(16 * devices)]
wrong = []

def read(seed):
    rng = random.Random(seed)
    for _ in range(100):
        i, fd = rng.choice(fds)
        name = rng.choice(("start", "middle"))
        at = 0 if name == "start" else 300 * 4096
        want = f"{name} {i}".encode()
        if os.pread(fd, 16, at) != want.ljust(16, b"\0"):
            wrong.append((i, at))
        if rng.random() < 0.2 and \
                os.lseek(fd, 4096, os.SEEK_DATA) != 300 * 4096:
            wrong.append((i, "seek"))

threads = [threading.Thread(target=read, args=(i,)) for i in range(128)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not wrong, wrong[:5]
for _, fd in fds:
    os.close(fd)
PY
umount_fs

say "64 TiB"
mkdir "$TEST_TMP/memory"
mount -t tmpfs none "$TEST_TMP/memory"
cleanup umount "$TEST_TMP/memory"
big=$TEST_TMP/memory/big
truncate -s 64T "$big"
end=$((64 << 40))
python3 - "$big" $((end - 5)) 123456789012 <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for at in sys.argv[2:]:
    os.pwrite(fd, b"here!", int(at))
PY
loop_new "$big"
mount_fs "x=$LOOP"
assert_eq "$(stat -c %s "$MNT/x")" "$end" "size"
assert_eq "$(ask extents "$MNT/x")" "$(ask extents "$big")" "extents"
assert_eq "$(tail -c 5 "$MNT/x")" "here!" "the last bytes"
cp "$MNT/x" "$TEST_TMP/memory/copy"
assert_eq "$(ask extents "$TEST_TMP/memory/copy")" "$(ask extents "$big")" "a copy"
umount_fs
