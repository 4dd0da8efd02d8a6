#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A mount of 64 devices, half of which fail or hang, in a virtual machine: the
# others are read and written meanwhile, have the right bytes, and keep all that
# fsync promised. The log tells of each device that fails, at most once a minute
# and operation, and once of each that hangs. Threads and memory stay within the
# limits of the page. The durations are printed, and not asserted.
#
# TIMEOUT: 900 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 880 python3 jq

SIZE=$((256 << 10)) # of each device
modprobe -a fuse dm-mod
modprobe brd rd_nr=1 rd_size=$((64 * SIZE >> 10))
requires_fuse
many=$(dirname "$0")/many_files.py

good=() bad=() sources=() tables=
for i in {10..73}; do
	tables+="d$i,,,rw,0 $((SIZE / 512)) linear /dev/ram0 $(((i - 10) * SIZE / 512));"
	sources+=("d$i=/dev/mapper/d$i")
	if ((i % 2)); then
		bad+=("d$i")
	else
		good+=("d$i")
	fi
done
dmsetup create --concise "${tables%;}"
cleanup wait_until 20 dmsetup remove "${good[@]}" "${bad[@]}"
dmsetup mknodes
mapfile -t good_files < <(printf "$MNT/%s\n" "${good[@]}")
mapfile -t bad_files < <(printf "$MNT/%s\n" "${bad[@]}")
head -c $((64 * SIZE)) /dev/urandom >"$TEST_TMP/image"
dd if="$TEST_TMP/image" of=/dev/ram0 bs=1M conv=fsync status=none
python3 -c 'import hashlib, sys
image = open(sys.argv[1], "rb")
for i in range(10, 74):
    print(f"d{i}", hashlib.sha256(image.read(int(sys.argv[2]))).hexdigest())' \
	"$TEST_TMP/image" $SIZE >"$TEST_TMP/digests"

# fault TARGET|linear: gives the bad half this target, or its disk again.
fault() {
	local name table
	dmsetup suspend --nolockfs "${bad[@]}"
	for name in "${bad[@]}"; do
		table="0 $((SIZE / 512)) $1"
		[[ $1 != linear ]] ||
			table+=" /dev/ram0 $(((${name#d} - 10) * SIZE / 512))"
		dmsetup load "$name" --table "$table"
	done
	dmsetup resume "${bad[@]}"
}

# hang, go_on: suspends the bad half, and resumes it.
hang() {
	dmsetup suspend --noflush --nolockfs "${bad[@]}"
}
go_on() {
	dmsetup resume "${bad[@]}"
}
bad_half_waits() {
	(($("$TOOL" stat --json "$MNT" |
		jq '[.mounts[0].files[] | select(.requests > 0)] | length') == 32))
}

# expect FILE RESULT NAME..., expect_digests FILE NAME...: checks that FILE has that
# result of each device, or its digest.
expect() {
	diff "$1" <(printf "%s $2\n" "${@:3}") || fail_at "wrong results"
}
expect_digests() {
	diff "$1" <(grep -wFf <(printf '%s\n' "${@:2}") "$TEST_TMP/digests") ||
		fail_at "wrong bytes"
}

# disk_has GOOD [BAD]: checks that the disk holds what many_files.py wrote with the
# byte GOOD to the good half, and with BAD to the bad one, and all other bytes.
disk_has() {
	python3 - "$TEST_TMP/image" /dev/ram0 $SIZE "$@" <<-'END'
		import mmap, os, sys
		image = open(sys.argv[1], "rb").read()
		disk = os.open(sys.argv[2], os.O_RDONLY | os.O_DIRECT)
		size = int(sys.argv[3])
		piece = size // 4
		held = mmap.mmap(-1, size)
		for i in range(64):
		    if i % 2 and len(sys.argv) < 6:
		        continue
		    os.preadv(disk, [held], i * size)
		    want = image[i * size:(i + 1) * size]
		    byte = sys.argv[4 + i % 2].encode()
		    want = want[:piece] + byte * piece + bytes(piece) + want[3 * piece:]
		    if held[:] != want:
		        sys.exit(f"d{10 + i} has wrong bytes")
	END
}

# milliseconds: prints the time of a clock.
milliseconds() {
	echo $((${EPOCHREALTIME/./} / 1000))
}

# good_half_is_read WHEN: reads the good half and compares it.
good_half_is_read() {
	local began
	began=$(milliseconds)
	python3 "$many" read "${good_files[@]}" >"$TEST_TMP/got"
	echo "reading 32 devices $1: $(($(milliseconds) - began)) ms"
	expect_digests "$TEST_TMP/got" "${good[@]}"
}

# good_half_is_written BYTE WHEN: writes the good half, and looks for the bytes on
# the disk when fsync has returned.
good_half_is_written() {
	local began
	began=$(milliseconds)
	python3 "$many" write "$1" "${good_files[@]}" >"$TEST_TMP/got"
	echo "writing 32 devices $2: $(($(milliseconds) - began)) ms"
	expect "$TEST_TMP/got" ok "${good[@]}"
	disk_has "$1" || fail "the disk lacks the bytes that fsync promised"
}

# is_bounded: compares threads and memory with the limits of the page: the watch and
# the scan of each file, a thread for each of 4 x 32 requests that wait, and 8; a
# thread takes 1 MiB, a scan 4 MiB.
is_bounded() {
	local threads kib
	threads=$(awk '/^Threads:/ { print $2 }' "/proc/$FS_PID/status")
	kib=$(awk '/^RssAnon:/ { print $2 }' "/proc/$FS_PID/status")
	echo "$threads threads, $kib KiB"
	assert_le "$threads" $((4 + 2 * 64 + 4 * 32 + 2 * 32 + 8)) "threads"
	assert_le "$kib" $(((threads + 4 * 64 + 16) << 10)) "KiB of memory"
}

# told_of TEXT LIMIT: checks that the log has such a line about each of the bad half,
# and at most so many, and none about the good half.
told_of() {
	local told
	told=$(sed -n "s!^.*/dev/mapper/\(d[0-9]*\): .*$1.*!\1!p" "$FS_LOG" |
		sort | uniq -c)
	assert_eq "$(awk '{ print $2 }' <<<"$told")" "$(printf '%s\n' "${bad[@]}")" \
		"devices that the log tells of: $1"
	assert_le "$(awk '{ print $1 }' <<<"$told" | sort -n | tail -n 1)" "$2" \
		"lines about a device: $1"
}
# minutely: prints how many lines there may be of each cause since $begun.
minutely() {
	echo $((1 + (SECONDS - begun) / 60))
}
# there_are COUNT TEXT: true if the log has that many lines with that text.
there_are() {
	(($(grep -c "$2" "$FS_LOG") >= $1))
}

say "half of the devices fail while all are read"
begun=$SECONDS
mount_fs -o log=info "${sources[@]}"
good_half_is_read "while all work"
fault error
python3 "$many" read --threads 4 --until "$TEST_TMP/enough" "${bad_files[@]}" \
	>"$TEST_TMP/bad" &
readers=$!
good_half_is_read "while 32 others fail"
is_bounded
touch "$TEST_TMP/enough"
wait "$readers"
expect "$TEST_TMP/bad" EIO "${bad[@]}"
fault linear

say "they hang"
hang
python3 "$many" read --threads 4 "${bad_files[@]}" >"$TEST_TMP/bad" &
readers=$!
wait_until 60 bad_half_waits || fail "the readers do not wait"
good_half_is_read "while 32 others hang"
is_bounded
wait_until 90 there_are 32 "has waited" || fail "the log tells of no device that hangs"
go_on
wait "$readers"
expect_digests "$TEST_TMP/bad" "${bad[@]}"
wait_until 20 there_are 32 "answers again" || fail "the log tells of no end"
umount_fs
told_of "reading failed.* at byte .*: Input/output error; look for the cause" \
	"$(minutely)"
told_of "at byte .* has waited .* seconds for the device" 1
told_of "it answers again" 1

say "half of the devices fail while all are written"
begun=$SECONDS
mount_fs -o rw,log=info "${sources[@]}"
good_half_is_written a "while all work"
fault error
python3 "$many" write b "${bad_files[@]}" >"$TEST_TMP/bad" &
writers=$!
good_half_is_written b "while 32 others fail"
wait "$writers"
expect "$TEST_TMP/bad" EIO "${bad[@]}"
is_bounded
fault linear
# The first fsync may report that zeros failed to be written before.
python3 "$many" write c "${bad_files[@]}" >"$TEST_TMP/bad"
python3 "$many" write c "${bad_files[@]}" >"$TEST_TMP/bad"
expect "$TEST_TMP/bad" ok "${bad[@]}"

say "they hang"
hang
python3 "$many" write d "${bad_files[@]}" >"$TEST_TMP/bad" &
writers=$!
wait_until 60 bad_half_waits || fail "the writers do not wait"
good_half_is_written d "while 32 others hang"
is_bounded
go_on
wait "$writers"
expect "$TEST_TMP/bad" ok "${bad[@]}"
umount_fs
told_of "flushing failed.*: Input/output error; look for the cause" "$(minutely)"
# Of zeroing by a command of the device, and of writing zeros instead.
told_of "\(zeroing\|writing\) failed.* at byte 131072: Input/output error" \
	$((2 * $(minutely)))
disk_has d d
