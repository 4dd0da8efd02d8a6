#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# -o rw,same=skip: tools that restore an image over an older version of it write
# only what differs, as the kernel counts for the device. The bytes are right
# also where the kernel failed to write a page, and where several write.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires rsync qemu-img python3

SIZE=$((16 << 20))

# Data but for [4, 8) MiB; the device has no holes that a layer below knows.
image=$TEST_TMP/image
head -c "$SIZE" /dev/urandom >"$image"
dd if=/dev/zero of="$image" bs=1M seek=4 count=4 conv=notrunc status=none
cp --sparse=never "$image" "$TEST_TMP/old"

# written: prints the bytes written to the device so far.
written() {
	local fields
	read -ra fields <"/sys/block/${LOOP##*/}/stat"
	echo $((fields[6] * 512))
}

restore() {
	case $1 in
	rsync) rsync --inplace --no-whole-file --ignore-times "$image" "$MNT/x" ;;
	rsync-whole) rsync --inplace --whole-file --ignore-times "$image" "$MNT/x" ;;
	dd) dd if="$image" of="$MNT/x" bs=1M conv=notrunc status=none ;;
	dd-odd) dd if="$image" of="$MNT/x" bs=10007 conv=notrunc status=none ;;
	qemu-img) qemu-img convert -n -f raw -O raw "$image" "$MNT/x" ;;
	cp) cp "$image" "$MNT/x" ;;
	esac
}

# check TOOL SAME LEAST MOST: restores onto a device on which 3 granules differ.
check() {
	local before
	say "$1, same=$2"
	cp --sparse=never "$TEST_TMP/old" "$TEST_TMP/device"
	for at in 0 2000000 6000000; do
		printf different | dd of="$TEST_TMP/device" bs=1 seek=$at \
			conv=notrunc status=none
	done
	loop_new "$TEST_TMP/device"
	mount_fs -o "rw,known=off,same=$2" "x=$LOOP"
	before=$(written)
	restore "$1"
	sync "$MNT/x"
	WRITTEN=$(($(written) - before))
	assert_same_bytes "$image" "$MNT/x"
	umount_fs
	assert_same_bytes "$image" "$LOOP"
	loop_free "$LOOP"
	echo "$1, same=$2: $WRITTEN bytes written"
	assert_ge "$WRITTEN" "$3" "bytes written"
	assert_le "$WRITTEN" "$4" "bytes written"
}

for tool in rsync-whole dd dd-odd; do
	# Two granules of data, and one of zeros.
	check "$tool" skip 12288 12288
	check "$tool" write $((12 << 20)) $((17 << 20))
done
# rsync itself leaves out blocks of its own size that it finds to be the same.
check rsync skip 12288 12288
# It punches zeros, which are not compared.
check qemu-img skip 8192 $(((4 << 20) + 8192))
check qemu-img write $((12 << 20)) $((17 << 20))
# It truncates the file first.
check cp skip $((12 << 20)) $((17 << 20))

say "several writers, with parts of granules"
cp --sparse=never "$TEST_TMP/old" "$TEST_TMP/device"
loop_new "$TEST_TMP/device"
mount_fs -o rw,same=skip "x=$LOOP"
python3 - "$MNT/x" "$image" <<'EOF_PY'
import os, random, sys, threading
path, image = sys.argv[1:]
content = bytearray(open(image, "rb").read())
PART = len(content) // 4

def work(number):
    dice = random.Random(number)
    with open(path, "r+b", buffering=0) as file:
        for _ in range(400):
            at = number * PART + dice.randrange(PART - 20000)
            size = dice.choice([1, 100, 512, 4096, 4097, 20000])
            data = bytes(content[at:at + size])
            if dice.random() < 0.5:
                data = dice.choice([bytes(size), dice.randbytes(size)])
            file.seek(at)
            file.write(data)
            content[at:at + size] = data
            if dice.random() < 0.1:
                file.seek(at)
                assert file.read(size) == data, f"a read at {at}"
            if dice.random() < 0.02:
                os.fsync(file.fileno())

threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
open(image + ".now", "wb").write(content)
EOF_PY
assert_same_bytes "$image.now" "$MNT/x"
umount_fs
assert_same_bytes "$image.now" "$LOOP"
loop_free "$LOOP"

# The kernel keeps a page that it could not write, as a clean one. The device
# still has its old bytes: a write of those must be made, or the page would stay.
# The file below is one whose writes can be made to fail (F_ADD_SEALS in
# fcntl(2)).
say "a page that could not be written"
mkfifo "$TEST_TMP/held"
python3 - "$TEST_TMP/held" >/dev/null 2>&1 <<'EOF_PY' &
import os, signal, sys
file = os.memfd_create("device", os.MFD_ALLOW_SEALING)
os.write(file, b"o" * (8 << 20))
with open(sys.argv[1], "w") as held:
    print(f"/proc/{os.getpid()}/fd/{file}", file=held)
signal.pause()
EOF_PY
cleanup kill $!
read -r memory <"$TEST_TMP/held"
loop_new "$memory"
mount_fs -o rw,same=skip "x=$LOOP"
python3 - "$MNT/x" "$LOOP" "$memory" <<'EOF_PY'
import fcntl, os, sys
path, loop, memory = sys.argv[1:]
OFF = 4096 * 100
file = os.open(path, os.O_RDWR)
below = os.open(memory, os.O_RDWR)
fcntl.fcntl(below, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
os.pwrite(file, b"n" * 8192, OFF)
# Another descriptor writes the pages back, and takes the error.
node = os.open(loop, os.O_RDWR)
try:
    os.fsync(node)
    sys.exit("the device took the write")
except OSError as error:
    print("writing it back:", error.strerror)
if os.pread(below, 8192, OFF) != b"o" * 8192:
    sys.exit("the device has other bytes")
# One whole granule, and a part of one.
os.pwrite(file, b"o" * 4096, OFF)
os.pwrite(file, b"o" * 100, OFF + 4096)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
got = os.pread(file, 8192, OFF)
if got[:4196] != b"o" * 4196:
    sys.exit("bytes that never reached the device came back")
try:
    os.fsync(file)
    sys.exit("fsync hides that pages were lost")
except OSError as error:
    print("fsync:", error.strerror)
EOF_PY
drop_fs "$FS_PID" "$MNT"
FS_PID=
loop_free "$LOOP"
