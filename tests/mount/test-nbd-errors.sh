#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A part of a mounted export cannot be read. The reads there fail, and no others: the
# connection to the server is not lost by it, nor are writes that were not flushed.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/nbd.sh
. "$LIB/nbd.sh"
requires_fuse
requires nbdkit qemu-nbd

image=$TEST_TMP/image
bad=600 # a page
python3 - "$image" <<-'END'
	import sys
	with open(sys.argv[1], "wb") as file:
	    file.truncate(8 << 20)
	    for page in range(1024):
	        file.seek(page * 4096)
	        file.write((page + 1).to_bytes(4, "little") * 1024)
END

# read_pages HOW: reads the pages of data, directly or buffered, by four threads.
# Prints how many fail, and the first ones. All others have the bytes of the image.
read_pages() {
	python3 - "$MNT/x" "$image" "$1" <<-'END'
		import concurrent.futures, errno, mmap, os, sys
		path, image, how = sys.argv[1:]
		fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if how == "direct" else 0))
		data = open(image, "rb").read()

		def read(page):
		    buf = mmap.mmap(-1, 4096)
		    try:
		        got = os.preadv(fd, [buf], page * 4096)
		    except OSError as error:
		        assert error.errno == errno.EIO, error
		        return page
		    assert got == 4096 and buf[:] == data[page * 4096:][:4096], page
		    return None

		with concurrent.futures.ThreadPoolExecutor(4) as threads:
		    failed = threads.map(read, range(1024))
		    failed = [page for page in failed if page is not None]
		    print(len(failed), *failed[:4])
	END
}

# read_long: reads a MiB directly. It fails.
read_long() {
	! dd if="$MNT/x" of="$TEST_TMP/out" bs=1M skip=$((bad * 4096 >> 20)) count=1 \
		iflag=direct 2>"$TEST_TMP/err" || fail "a long read succeeds"
	assert_contains "$(<"$TEST_TMP/err")" "Input/output error" "its error"
}

is_connected_as_before() {
	assert_lacks "$(<"$FS_LOG")" "connection to its server was lost" "the log"
	assert_eq "$(ask extents "$MNT/x")" "$(ask extents "$image")" "extents"
}

say "nbdkit"
nbd_start kit unix nbdkit -r --filter=log --filter=error file "$image" \
	logfile="$TEST_TMP/log" error-pread-rate=100% error-file="$TEST_TMP/fail"
mount_fs "x=$NBD"
assert_eq "$(read_pages direct)" 0 "pages that cannot be read"
grep -q 'connection=2 Read' "$TEST_TMP/log" ||
	fail "small reads get no connection of their own"
touch "$TEST_TMP/fail"
assert_eq "$(read_pages direct)" "1024 0 1 2 3" "pages that cannot be read"
read_long
rm "$TEST_TMP/fail"
assert_eq "$(read_pages direct)" 0 "pages that cannot be read"
is_connected_as_before
umount_fs

qemu=driver=raw,file.driver=blkdebug,file.image.driver=file
qemu+=,file.image.filename=$image,file.inject-error.0.event=none
qemu+=,file.inject-error.0.iotype=read,file.inject-error.0.errno=5
qemu+=,file.inject-error.0.sector=$((bad * 8))

say "qemu-nbd"
nbd_start qemu unix qemu-nbd --shared=8 --image-opts "$qemu"
mount_fs -o unshared "x=$NBD"
for how in direct buffered; do
	assert_eq "$(read_pages $how)" "1 $bad" "the page that cannot be read, $how"
done
read_long
is_connected_as_before
umount_fs

say "qemu-nbd, beside writes that are not flushed"
mount_fs -o rw,unshared "x=$NBD"
python3 - "$MNT/x" $bad <<-'END'
	import errno, mmap, os, sys
	fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
	buf = mmap.mmap(-1, 4096)
	buf[:] = b"w" * 4096
	assert os.pwrite(fd, buf, 0) == 4096
	try:
	    os.preadv(fd, [buf], int(sys.argv[2]) * 4096)
	    sys.exit("the read succeeds")
	except OSError as error:
	    assert error.errno == errno.EIO, error
	os.fsync(fd)
	assert os.preadv(fd, [buf], 0) == 4096 and buf[:] == b"w" * 4096
END
assert_lacks "$(<"$FS_LOG")" "connection to its server was lost" "the log"
umount_fs
assert_eq "$(head -c 4 "$image")" wwww "the bytes written"
