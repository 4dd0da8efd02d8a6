#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# blksparse stat: the figures of known operations, exactly; arguments, formats
# and mounts; and that copies take nothing of it along.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$SRC/tests/mount/stat.sh"
requires_fuse
requires jq script getfattr rsync tar

MIB=$((1 << 20))
SIZE=$((16 * MIB))
IMAGE=$TEST_TMP/image

# make_image FILE: 16 MiB; data in its first and ninth.
make_image() {
	head -c "$SIZE" /dev/zero >"$1"
	for at in 0 8; do
		head -c $MIB /dev/zero | tr '\0' x |
			dd of="$1" bs=1M seek=$at conv=notrunc status=none
	done
}

# direct_read MIB FILE: reads one MiB past the page cache.
direct_read() {
	dd if="$2" of=/dev/null bs=1M iflag=direct skip="$1" count=1 status=none
}

# seek_data OFFSET FILE
seek_data() {
	ask data "$1" "$2" >/dev/null
}

make_image "$IMAGE"
cp --sparse=never "$IMAGE" "$TEST_TMP/other"
wait_settled "$IMAGE" "$TEST_TMP/other"

say "reads"
mount_fs -o known=off "x=$IMAGE" "other=$TEST_TMP/other"
figures "$MNT/x" "file=\"$MNT/x\"" "device=\"$IMAGE\"" writable=false \
	lost=false distrusted=false granule=4096 size=$SIZE capacity=$SIZE \
	data=0 hole=0 unknown=$SIZE pending=0 read=0 written=0 zeroed=0 \
	saved_seeks=0 saved_holes=0 saved_zeros=0 saved_same=0 read_errors=0 \
	write_errors=0 failed_flushes=0 other_writers=0 requests=0 known=[] \
	slowest=null
direct_read 3 "$MNT/x"
figures "$MNT/x" read=$MIB hole=$MIB unknown=$((SIZE - MIB)) saved_holes=0
direct_read 3 "$MNT/x"
figures "$MNT/x" read=$MIB saved_holes=$MIB
direct_read 8 "$MNT/x"
figures "$MNT/x" read=$((2 * MIB)) data=$MIB
figures "$MNT/other" read=0 unknown=$SIZE

say "seeks"
ask extents "$MNT/x" >/dev/null
figures "$MNT/x" data=$((2 * MIB)) hole=$((14 * MIB)) unknown=0
before=$(figure saved_seeks "$MNT/x")
seek_data $MIB "$MNT/x" # to 8 MiB
seek_data $((9 * MIB)) "$MNT/x" # to the end
figures "$MNT/x" saved_seeks=$((before + 14 * MIB))
seek_data $((8 * MIB)) "$MNT/x" # in data
figures "$MNT/x" saved_seeks=$((before + 14 * MIB)) other_writers=0

say "another writer"
printf y | dd of="$IMAGE" bs=1 seek=$((4 * MIB)) conv=notrunc status=none
direct_read 4 "$MNT/x"
figures "$MNT/x" other_writers=1
figures "$MNT/other" other_writers=0

say "arguments"
run_status "$TOOL" stat "$MNT/x"
assert_eq "$STATUS" 0 "status"
assert_contains "$OUT" "$MNT/x" "the list"
assert_contains "$OUT" "$IMAGE, read-only" "the list"
assert_lacks "$OUT" "$MNT/other" "the list of another file"
for mount in "$MNT" "$MNT/."; do
	run_status "$TOOL" stat "$mount"
	assert_contains "$OUT" "$MNT/x" "a folder"
	assert_contains "$OUT" "$MNT/other" "a folder"
done
run_status "$TOOL" stat "$TEST_TMP/other"
assert_contains "$OUT" "$MNT/other" "an image"
assert_lacks "$OUT" "$MNT/x" "an image"
run_status "$TOOL" stat --json "$MNT/x" "$TEST_TMP/other" "$IMAGE"
assert_eq "$(jq -c '[.mounts[].files[].file]' <<<"$OUT")" \
	"[\"$MNT/x\",\"$MNT/other\"]" "three arguments"
ln -s "$MNT/x" "$TEST_TMP/link"
run_status "$TOOL" stat "$TEST_TMP/link"
assert_contains "$OUT" "$MNT/x" "a link"
: >"$TEST_TMP/stray"
for path in "$TEST_TMP/stray" "$TEST_TMP" "$TEST_TMP/none" "$MNT/none" \
	/dev/null nbd://nowhere.invalid; do
	run_status "$TOOL" stat "$path"
	assert_eq "$STATUS" 1 "status for $path"
	assert_contains "$ERR" "$path: " "message for $path"
	run_status "$TOOL" stat "$path" "$MNT/x"
	assert_eq "$STATUS" 1 "status for $path and a file"
	assert_contains "$OUT" "$MNT/x" "the file beside $path"
done
for words in --format=none "--json --format=prometheus" \
	"--watch --format=prometheus"; do
	# shellcheck disable=SC2086 # two words
	run_status "$TOOL" stat $words
	assert_eq "$STATUS" 2 "status of stat $words"
done

say "all mounts"
run_status "$TOOL" stat
assert_contains "$OUT" "FILE " "the head of the table"
for file in x other; do
	assert_eq "$(grep -c "^$MNT/$file  *$TEST_TMP/.* 16.0 MiB .*idle$" \
		"$TEST_TMP/.out")" 1 "lines of $file"
done
run_status "$TOOL" stat --json
assert_eq "$(jq -r ".format, .version" <<<"$OUT" | paste -sd' ')" \
	"blksparse-stat 1" "JSON"
assert_eq "$(jq -c ".mounts[] | select(.mount == \"$MNT\") |
	[.error, .files[].file]" <<<"$OUT")" \
	"[null,\"$MNT/x\",\"$MNT/other\"]" "JSON of all mounts"
assert_eq "$(wc -l <"$TEST_TMP/.out")" 1 "lines of JSON"

say "the log"
kill -USR1 "$FS_PID"
wait_until 10 grep -q "other: size=" "$FS_LOG" || fail "nothing is logged"
logged=$(grep " x: size=" "$FS_LOG")
for pair in ${logged#*x: }; do
	assert_eq "$(figure "${pair%%=*}" "$MNT/x")" "${pair#*=}" "the log"
done
kill -USR2 "$FS_PID"
figures "$MNT/x" size=$SIZE # it goes on

say "the ioctl"
assert_eq "$(ioctl 0 "$MNT")" "x $IMAGE" "the first file"
assert_eq "$(ioctl 1 "$MNT")" "other $TEST_TMP/other" "the second file"
assert_eq "$(ioctl 2 "$MNT")" ENOENT "the third file"
assert_eq "$(ioctl 4294967295 "$MNT")" ENOENT "the last file"
assert_eq "$(ioctl 0 "$MNT/other")" "other $TEST_TMP/other" "a file"
assert_eq "$(ioctl 1 "$MNT/other")" ENOENT "the second file of a file"
assert_eq "$(ioctl 0 "$MNT" 0x80086601)" ENOTTY "another ioctl"
assert_eq "$(ioctl 0 "$MNT/x" $((3 << 30 | 2048 << 16 | 0xb5 << 8)))" ENOTTY \
	"a smaller structure"
assert_eq "$(ioctl 0 "$TEST_TMP")" ENOTTY "another file system"

say "copies take nothing along"
assert_eq "$(getfattr -d -m - "$MNT/x" "$MNT" 2>&1)" "" "attributes"
mkdir "$TEST_TMP/to" "$TEST_TMP/tar"
cp -a "$MNT/x" "$TEST_TMP/to/cp"
rsync -aX "$MNT/x" "$TEST_TMP/to/rsync"
tar -C "$MNT" --xattrs --xattrs-include='*' -cf - . |
	tar -C "$TEST_TMP/tar" --xattrs --xattrs-include='*' -xf -
assert_eq "$(find "$TEST_TMP/tar" -mindepth 1 -printf '%f\n' | sort |
	paste -sd' ')" "other x" "tar"
assert_eq "$(getfattr -d -m - "$TEST_TMP"/to/* "$TEST_TMP/tar/x" 2>&1 |
	grep -v -e selinux -e '^#' -e '^$')" "" "attributes of copies"
for copy in "$TEST_TMP"/to/* "$TEST_TMP/tar/x"; do
	assert_same_bytes "$copy" "$IMAGE"
done
umount_fs

say "writes"
mount_fs -o rw,known=off "x=$IMAGE"
python3 - "$MNT/x" <<-'END'
	import os, sys
	fd = os.open(sys.argv[1], os.O_RDWR)
	os.pwrite(fd, b"n" * 8192, 1 << 20)
	os.pwrite(fd, b"\0" * (1 << 20), 8 << 20)
	os.fsync(fd)
END
figures "$MNT/x" writable=true saved_zeros=$MIB pending=0 \
	data=8192 hole=$MIB
zeroed=$(figure zeroed "$MNT/x")
# Without fallocate(2) for holes the zeros are written.
((zeroed)) || zeroed=$(($(figure written "$MNT/x") - 8192))
assert_eq "$zeroed" $MIB "zeroed bytes"
assert_eq "$(figure failed_flushes "$MNT/x")" 0 "failed flushes"
# Zeros past the end of a shorter file are not pending.
truncate -s $((SIZE / 2)) "$MNT/x"
figures "$MNT/x" size=$((SIZE / 2)) capacity=$SIZE pending=0
umount_fs

say "writes that change nothing"
mount_fs -o rw,known=off,same=skip "x=$IMAGE"
dd if="$IMAGE" of="$MNT/x" bs=1M count=1 conv=notrunc,fsync status=none
figures "$MNT/x" written=0 saved_same=$MIB read=$MIB
umount_fs

say "known holes"
fallocate --dig-holes "$TEST_TMP/other"
wait_settled "$TEST_TMP/other"
mount_fs "x=$TEST_TMP/other"
ask extents "$MNT/x" >/dev/null
known=$(figure known "$MNT/x")
[[ $known == '[]' ]] || {
	assert_eq "$(jq -r '.[0].bytes' <<<"$known")" $((14 * MIB)) "known zeros"
	assert_contains "$(jq -r '.[0].layer' <<<"$known")" other "the layer"
	run_status "$TOOL" stat "$MNT/x"
	assert_contains "$OUT" "14.0 MiB by" "the list"
}
umount_fs

say "names"
name=$'we"ird\\na\tme'
mount_fs "$name=$IMAGE"
figures "$MNT/$name" size=$SIZE
run_status "$TOOL" stat --json
assert_eq "$(jq -r '.mounts[].files[].file' <<<"$OUT" | grep -cxF "$MNT/$name")" \
	1 "the name in JSON"
run_status "$TOOL" stat
assert_contains "$OUT" "$MNT/we\"ird\\na?me" "the name in the table"
run_status "$TOOL" stat --format=prometheus "$MNT/$name"
assert_contains "$OUT" \
	"blksparsefs_size_bytes{file=\"$MNT/"$'we\\"ird\\\\na\tme'"\",device=\"$IMAGE\"} $SIZE" \
	"a label"
# Each metric is told once, with its samples; each sample is a number.
python3 - "$TEST_TMP/.out" <<-'END' || fail "the format of Prometheus"
	import re, sys
	seen, metric = set(), None
	for line in open(sys.argv[1], encoding="utf-8"):
	    if line.startswith("# HELP "):
	        metric = line.split()[2]
	        assert metric not in seen, line
	        seen.add(metric)
	        assert re.fullmatch(r"[a-z_]+", metric), line
	    elif line.startswith("# TYPE "):
	        kind = line.split()[3]
	        assert line.split()[2] == metric, line
	        assert kind == ("counter" if metric.endswith("_total")
	                        else "gauge"), line
	    else:
	        label = r'[a-z]+="(?:[^"\\\n]|\\[\\"n])*"'
	        assert re.fullmatch(metric + r"\{" + label + "(?:," + label +
	                            r")*\} [0-9.]+\n", line), line
	assert len(seen) >= 20, seen
END
umount_fs

say "a mount point that is a file"
: >"$TEST_TMP/point"
was=$MNT
MNT=$TEST_TMP/point
mount_fs "$IMAGE"
figures "$MNT" "file=\"$MNT\"" "device=\"$IMAGE\"" size=$SIZE
assert_eq "$(ioctl 0 "$MNT")" "image $IMAGE" "the file"
umount_fs
MNT=$was

say "a copy of the mount, and one that is covered"
requires_root
mount_fs "x=$IMAGE"
: >"$TEST_TMP/bind"
mount --bind "$MNT/x" "$TEST_TMP/bind"
cleanup force_umount "$TEST_TMP/bind"
run_status "$TOOL" stat --json
assert_eq "$(jq -c '[.mounts[].files[] | select(.device == "'"$IMAGE"'").file]' \
	<<<"$OUT")" "[\"$MNT/x\"]" "a mount is reported once"
figures "$TEST_TMP/bind" "file=\"$MNT/x\""
mount -t tmpfs none "$MNT"
run_status "$TOOL" stat --json "$TEST_TMP/bind"
assert_eq "$STATUS" 0 "status for the copy"
assert_eq "$(jq -r '.mounts[].files[].file' <<<"$OUT")" "$TEST_TMP/bind" "the copy"
umount "$TEST_TMP/bind"
run_status "$TOOL" stat
assert_lacks "$OUT$ERR" "$MNT" "a covered mount"
umount "$MNT"
umount_fs

say "a device, by another node of it"
loop_new "$IMAGE" -r
# shellcheck disable=SC2046 # two numbers
mknod "$TEST_TMP/node" b $(stat -c '0x%t 0x%T' "$LOOP")
mount_fs "x=$LOOP"
# The status is that of all mounts, also those of other tests.
run_status "$TOOL" stat --json "$TEST_TMP/node"
assert_eq "$(jq -r '.mounts[].files[] | "\(.file) \(.device)"' <<<"$OUT")" \
	"$MNT/x $LOOP" "the files of the device"
run_status "$TOOL" stat "$IMAGE"
assert_contains "$ERR" "$IMAGE: no mount shows it" "message"
umount_fs

say "by io_uring"
parameter=/sys/module/fuse/parameters/enable_uring
if [[ -w $parameter ]]; then
	before=$(<"$parameter")
	restore() {
		echo "$before" >"$parameter"
	}
	cleanup restore
	echo Y >"$parameter"
	mount_fs -o log=info "x=$IMAGE" "other=$TEST_TMP/other"
	restore
	figures "$MNT/other" size=$SIZE
	assert_eq "$(ioctl 1 "$MNT")" "other $TEST_TMP/other" "the folder"
	assert_eq "$(ioctl 0 "$MNT/x")" "x $IMAGE" "a file"
	assert_eq "$(ioctl 2 "$MNT")" ENOENT "the third file"
	assert_contains "$(<"$FS_LOG")" "io_uring" "messages"
	umount_fs
fi
