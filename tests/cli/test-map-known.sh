#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# map --verbose names the layers that knew holes, or the reason why none did,
# with the right numbers; so does JSON. map --verify finds each false hole, and
# blames no layer for a writer.
#
# TIMEOUT: 300 seconds
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3
requires_fuse

case $(stat -f -c %T "$TEST_TMP") in
ext2/ext3) kind=ext4 ;;
xfs) kind=XFS ;;
btrfs) kind=btrfs ;;
tmpfs) kind=tmpfs ;;
*) skip "the file system of $TEST_TMP is not trusted" ;;
esac

# verbose PATH [OPTION...]: sets LINES to the lines about layers.
verbose() {
	run_status env LC_ALL=C "$TOOL" map --verbose --summary "${@:2}" "$1"
	assert_eq "$STATUS" 0 "status of map --verbose"
	LAYERS=$ERR
}

# member NAME PATH [OPTION...]: a member of the JSON report, as Python shows it.
member() {
	map --format=json --summary "${@:3}" "$2" | python3 -c '
import json, sys
print(json.load(sys.stdin).get(sys.argv[1]))' "$1"
}

# 64 KiB of data at 1 GiB and at 5 GiB; 8 GiB in all.
image=$TEST_TMP/disk.img
truncate -s 8G "$image"
for at in 1 5; do
	head -c 65536 /dev/urandom |
		dd of="$image" bs=64K seek=$((at << 14)) conv=notrunc status=none
done
zeros=$(((8 << 30) - 2 * 65536))
loop_new "$image"
disk=$LOOP
name=${disk##*/}

say "a loop device"
verbose "$disk"
# The file system may have stored zeros beside the data; spot checks add reads.
assert_contains "$LAYERS" "$name -> disk.img ($kind): 7.9 GiB known, " "line"
assert_eq "$(wc -l <<<"$LAYERS")" 1 "lines"
assert_eq "$(member known "$disk")" \
	"[{'layer': '$name → disk.img ($kind)', 'bytes': $zeros, 'reason': None}]" \
	"known zeros"
BLKSPARSE_TRACE=1 "$TOOL" map --format=json "$disk" >"$TEST_TMP/report" \
	2>"$TEST_TMP/trace"
python3 - "$TEST_TMP/report" "$TEST_TMP/trace" <<'EOF'
import json, re, sys
report = json.load(open(sys.argv[1]))
read = sum(int(n) for n in re.findall(
    r"^trace: device\.read .* result=(\d+)", open(sys.argv[2]).read(), re.M))
print(report["read"], read)
assert report["read"] == read, "another number of bytes was read"
assert report["totals"]["data"]["bytes"] <= read <= 2 * 65536 + 20 * 4096
EOF
if [[ $(locale charmap) == UTF-8 ]]; then
	run_status map --verbose --summary "$disk"
	assert_contains "$ERR" "$name → disk.img" "UTF-8"
fi

say "a partition"
partition add "$disk" 1 $((1 << 30)) $((1 << 30))
verbose "${disk}p1"
assert_contains "$LAYERS" \
	"${name}p1 -> $name -> disk.img ($kind): 1023.9 MiB known, " "line"
partition del "$disk" 1

say "a file"
verbose "$image"
assert_eq "$LAYERS" "disk.img ($kind): 7.9 GiB known, 0 read" "line"
assert_eq "$(member known "$image")" None "no layers in the report of a file"
: >"$TEST_TMP/empty"
verbose "$TEST_TMP/empty"
assert_eq "$LAYERS" "" "line of an empty file"

say "nothing is known"
truncate -s 8M "$TEST_TMP/small"
loop_new "$TEST_TMP/small"
small=$LOOP
verbose "$small" --known=off
assert_eq "$LAYERS" "${small##*/}: known=off; 8.0 MiB read" "known=off"
assert_eq "$(member known "$small" --known=off)" \
	"[{'layer': '${small##*/}', 'bytes': 0, 'reason': 'known=off'}]" "JSON"
loop_new "$small"
verbose "$LOOP"
assert_eq "$LAYERS" \
	"${LOOP##*/}: it shows a block device, not a file; 8.0 MiB read" \
	"a loop device over another"
loop_free "$LOOP"
rm "$TEST_TMP/small"
verbose "$small"
assert_eq "$LAYERS" \
	"${small##*/}: its file is not found under its name; 8.0 MiB read" \
	"a file that is gone"
loop_free "$small"

say "a file system that is not trusted"
truncate -s 256M "$TEST_TMP/liar.img"
mkdir "$TEST_TMP/liar"
"$BUILD/tests/faults/lying-file" "$TEST_TMP/liar.img" "$TEST_TMP/liar" >/dev/null &
cleanup force_umount "$TEST_TMP/liar"
file=$TEST_TMP/liar/file
wait_until 20 test -e "$file" || fail "the file system is not there"
loop_new "$file" -r
liar=$LOOP
verbose "$liar"
assert_eq "$LAYERS" "${liar##*/} -> file (FUSE): FUSE is not trusted; \
known=all asks it; 256.0 MiB read" "known=auto"
verbose "$liar" --known=all
assert_contains "$LAYERS" "${liar##*/} -> file (FUSE): 256.0 MiB known, " "known=all"

say "holes that are zero"
for path in "$liar" "$file"; do
	verbose "$path" --known=all --verify
	assert_contains "$LAYERS" "$path: verified, 256.0 MiB in holes are zero" \
		"$path"
	run_status "$TOOL" map --known=all --verify --summary "$path"
	assert_eq "$STATUS $ERR" "0 " "without --verbose"
done

# The bytes change beneath the kernel's cache of the file.
forget_file_pages() {
	python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)' "$file"
}

# Spot checks find so little only once in 20,000 times.
say "holes that are not"
for at in 1000 1001 50000; do
	printf x | dd of="$TEST_TMP/liar.img" bs=4096 seek=$at conv=notrunc \
		status=none
done
forget_file_pages
for path in "$liar" "$file"; do
	run_status env LC_ALL=C "$TOOL" map --known=all --verify --summary "$path"
	layer="file (FUSE)"
	[[ $path == "$file" ]] || layer="${liar##*/} -> $layer"
	assert_eq "$STATUS" 1 "status"
	assert_eq "$ERR" "\
blksparse map: $path: 8192 bytes at 4096000 are not zero; $layer says that they are
blksparse map: $path: 4096 bytes at 204800000 are not zero; $layer says that they are
blksparse map: $path: 12288 bytes of 256.0 MiB in holes are false, in 2 parts" \
		"false holes of $path"
done

say "more than can be listed"
python3 - "$TEST_TMP/liar.img" <<'EOF'
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
for i in range(30):
    os.pwrite(fd, b"x", (1 << 27) + i * 8192)
EOF
forget_file_pages
run_status "$TOOL" map --verify --summary "$file"
assert_eq "$(grep -c "are not zero" <<<"$ERR")" 20 "lines"
assert_contains "$ERR" "135168 bytes of 256.0 MiB in holes are false, in 32 parts" \
	"sum"

# begin_verify DEVICE: starts map, and waits for its report. Sets $pid.
begin_verify() {
	: >"$TEST_TMP/out"
	# Background jobs of a script ignore SIGINT; env resets that.
	env --default-signal=INT "$TOOL" map --verify --summary "$1" \
		>"$TEST_TMP/out" 2>"$TEST_TMP/err" &
	pid=$!
	wait_until 60 grep -q total "$TEST_TMP/out" || fail "no report"
}

say "a program that writes meanwhile"
begin_verify "$disk"
kill -STOP "$pid"
! gone_or_zombie "$pid" || fail "map ended before the write"
head -c 4096 /dev/urandom |
	dd of="$disk" bs=4096 seek=$(((8 << 18) - 1)) conv=notrunc,fsync status=none
kill -CONT "$pid"
status=0
wait "$pid" || status=$?
assert_eq "$status" 1 "status after a write"
assert_contains "$(<"$TEST_TMP/err")" \
	"$disk: cannot verify the holes: another program wrote to it" "message"
assert_lacks "$(<"$TEST_TMP/err")" "are not zero" "message"

say "Ctrl-C"
truncate -s 4T "$TEST_TMP/large"
loop_new "$TEST_TMP/large"
begin_verify "$LOOP"
kill -INT "$pid"
wait_until 20 gone_or_zombie "$pid" || fail "map does not end after Ctrl-C"
status=0
wait "$pid" || status=$?
assert_eq "$status" 1 "status after Ctrl-C"
assert_eq "$(<"$TEST_TMP/err")" "blksparse map: $LOOP: interrupted" "message"
