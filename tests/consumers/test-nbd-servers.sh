#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Exports of nbdkit and of qemu-nbd, with their plugins, formats and filters, as
# sources and as targets: the map is the truth, its holes are zero, and what was
# copied or received is the source, byte for byte.
set -euo pipefail
# shellcheck source=../lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/nbd.sh
. "$(dirname "$0")/../lib/nbd.sh"
requires nbdkit qemu-nbd qemu-img qemu-io nbdinfo nbdcopy jq

cd "$TEST_TMP"
MIB=$((1 << 20))

# --- Checks ---------------------------------------------------------------------

# truth FILE GRANULE: its extents of zeros and data, by reading it.
truth() {
	python3 - "$@" <<'PY'
import sys
runs, at = [], 0
with open(sys.argv[1], "rb") as file:
    while block := file.read(int(sys.argv[2])):
        kind = "data" if any(block) else "hole"
        if runs and runs[-1][2] == kind:
            runs[-1][1] += len(block)
        else:
            runs.append([at, len(block), kind])
        at += len(block)
for run in runs:
    print(*run)
PY
}

# granule_of REPORT, extents_of REPORT: of blksparse map, in the same form.
granule_of() {
	jq .granule "$1"
}

extents_of() {
	jq -r '.extents[] | "\(.start) \(.length) \(.type)"' "$1"
}

# zeros_told URI: the bytes that its server says are zero.
zeros_told() {
	nbdinfo --map --json "$1" |
		jq '[.[] | select(.type / 2 % 2 >= 1) | .length] | add // 0'
}

# zeros_known URI: the bytes of holes that the map had from the server.
zeros_known() {
	"$TOOL" map --summary --format=json "$1" | jq '.known[0].bytes // 0'
}

# is_source FILE: the export $NBD is the content of FILE.
is_source() {
	local told known
	"$TOOL" map --format=json "$NBD" >report
	diff <(extents_of report) <(truth "$1" "$(granule_of report)") ||
		fail_at "the map of $NBD"
	told=$(zeros_told "$NBD")
	known=$(zeros_known "$NBD")
	assert_le "$known" "$told" "zeros that the server told"
	((told < MIB)) || assert_ge "$known" 1 "zeros that the map was told"
	"$TOOL" map --verify "$NBD" >verified || fail_at "false holes"
	rm -f copied received
	"$TOOL" copy --quiet --verify "$NBD" copied
	assert_same_bytes copied "$1"
	"$TOOL" send --quiet "$NBD" | "$TOOL" recv --quiet received
	assert_same_bytes received "$1"
}

# read_back FILE: the content of the target $NBD, by another client.
read_back() {
	rm -f "$1"
	qemu-img convert -f raw -O raw "$NBD" "$1"
}

# makes_stale: fills the export $NBD with 0xAA.
makes_stale() {
	head -c "$(nbdinfo --size "$NBD")" /dev/zero | tr '\0' '\252' >stale
	qemu-img convert -n -f raw -O raw stale "$NBD"
}

# takes_copy FILE: copies FILE to the export $NBD, which is full of other bytes.
takes_copy() {
	makes_stale
	"$TOOL" copy --quiet --verify "$1" "$NBD"
	read_back copied
	assert_same_bytes copied "$1"
}

# is_target FILE: copies and receives FILE into the export.
is_target() {
	takes_copy "$1"
	makes_stale
	"$TOOL" send --quiet "$1" | "$TOOL" recv --quiet "$NBD"
	read_back received
	assert_same_bytes received "$1"
}

# kit WHAT ARG...: starts nbdkit with these arguments; ends the one before.
kit() {
	say "nbdkit $*"
	[[ -z ${nbd_place[it]:-} ]] || nbd_forget it
	nbd_start it unix nbdkit "$@"
}

qemu() {
	say "qemu-nbd $*"
	[[ -z ${nbd_place[it]:-} ]] || nbd_forget it
	nbd_start it unix qemu-nbd "$@"
}

python3 "$LIB/devices.py" make mixed 6M image
fallocate --dig-holes image
cp --sparse=always image target

# --- Plugins of nbdkit --------------------------------------------------------

kit file image
is_source image
# The jobs and the processors decide how many threads read.
allowed=$(taskset --cpu-list --pid $$)
allowed=${allowed##*: }
for jobs in 1 2 3 5 17 33 64; do
	for processors in "${allowed%%[,-]*}" "$allowed"; do
		rm -f copied
		taskset --cpu-list "$processors" \
			"$TOOL" copy --quiet --jobs="$jobs" "$NBD" copied
		assert_same_bytes copied image
	done
done
kit file target
is_target image

kit memory 6M
is_target image
is_source image

kit sparse-random 8M seed=7 percent=20 runlength=65536 random-content=true
nbdcopy "$NBD" random
kit sparse-random 8M seed=7 percent=20 runlength=65536 random-content=true
is_source random

kit data '@4096 0x55*4096 @1048575 1 2 3 @0x500000 "text" @+5242880 9' size=12345678
python3 - <<'PY'
data = bytearray(12345678)
data[4096:8192] = b"\x55" * 4096
data[1048575:1048578] = b"\1\2\3"
data[0x500000:0x500004] = b"text"
data[0x500004 + (5 << 20)] = 9
open("written", "wb").write(data)
PY
is_source written

# --- Sizes ----------------------------------------------------------------------

for size in $((MIB + 1)) 513 1; do
	head -c "$size" /dev/urandom >odd
	[[ $size != $((MIB + 1)) ]] || fallocate -p -o 65536 -l 131072 odd
	kit file odd
	is_source odd
	head -c "$size" /dev/zero | tr '\0' '\252' >odd.target
	kit file odd.target
	for way in copy send; do
		head -c "$size" /dev/zero | tr '\0' '\252' >odd.target
		if [[ $way == copy ]]; then
			"$TOOL" copy --quiet odd "$NBD"
		else
			"$TOOL" send --quiet odd | "$TOOL" recv --quiet "$NBD"
		fi
		assert_same_bytes odd.target odd
	done
done
kit --filter=truncate file image truncate=$((5 * MIB + 513))
head -c $((5 * MIB + 513)) image >odd
is_source odd

# --- Filters ----------------------------------------------------------------------

kit --filter=delay file image rdelay=3ms delay-extents=50ms
is_source image
kit --filter=delay file target wdelay=3ms delay-zero=10ms
is_target image
kit --filter=rate file target rate=400M
is_target image
is_source image
kit --filter=noextents file image
is_source image
kit --filter=noparallel file target serialize=all-requests
is_target image
is_source image
for mode in none emulate notrim; do
	kit --filter=nozero file target zeromode=$mode
	is_target image
done
for mode in none slow ignore default; do
	kit --filter=nozero file target zeromode=plugin fastzeromode=$mode
	takes_copy image
done
for modes in auto,emulate emulate,emulate disable,native plugin,force \
	unsafe,pass auto,discard; do
	kit --filter=multi-conn --filter=fua file target \
		multi-conn-mode="${modes%,*}" fuamode="${modes#*,}"
	takes_copy image
done

kit --filter=blocksize-policy file target blocksize-error-policy=error \
	blocksize-minimum=4096 blocksize-preferred=4096 blocksize-maximum=64K
is_target image
is_source image
kit --filter=blocksize-policy file target blocksize-error-policy=error \
	blocksize-minimum=64K blocksize-preferred=64K blocksize-maximum=64K
is_target image
is_source image

say "a server that ends with its last client"
kit --filter=exitlast file image
"$TOOL" copy --quiet "$NBD" copied
assert_same_bytes copied image
nbd_ends it

say "bytes that must not change"
cp target protected
kit --filter=protect file protected "protect=$((2 * MIB))-$((3 * MIB - 1))"
"$TOOL" copy --quiet image "$NBD"
assert_same_bytes protected image
cp image other
head -c 4096 /dev/urandom | dd of=other bs=4096 seek=600 conv=notrunc status=none
run_status "$TOOL" copy --quiet other "$NBD"
assert_eq "$STATUS" 1 "status for protected bytes"
assert_contains "$ERR" "Operation not permitted" "message for protected bytes"

# --- Errors -----------------------------------------------------------------------

for command in copy send; do
	say "$command: reads fail"
	kit --filter=error file image error-pread-rate=100%
	if [[ $command == copy ]]; then
		run_status "$TOOL" copy --quiet "$NBD" copied
	else
		run_status "$TOOL" send --quiet --format=raw "$NBD"
	fi
	assert_eq "$STATUS" 1 "status"
	assert_contains "$ERR" "Input/output error" "message"
	assert_contains "$ERR" "at byte" "message"
done

# tries COMMAND...: it succeeds with the right bytes in FILE, or fails.
tries() {
	local file=$1
	shift
	run_status "$@"
	if ((STATUS == 0)); then
		assert_same_bytes "$file" image
	else
		assert_eq "$STATUS" 1 "status"
		assert_contains "$ERR" "error" "message"
	fi
}
kit --filter=error file image error-pread-rate=5%
for _ in 1 2 3; do
	tries copied "$TOOL" copy --quiet "$NBD" copied
done
for error in EIO,30% EIO,100% ENOSPC,100% EINVAL,100%; do
	kit --filter=error file target error-zero="${error%,*}" \
		error-zero-rate="${error#*,}"
	makes_stale
	tries target "$TOOL" copy --quiet image "$NBD"
done
kit --filter=error file image error-extents-rate=100%
"$TOOL" copy --quiet "$NBD" copied
assert_same_bytes copied image

# --- qemu-nbd -----------------------------------------------------------------------

qemu -f raw -r --shared=0 image
is_source image
run_status "$TOOL" copy image "$NBD"
assert_eq "$STATUS" 1 "status for a read-only export"
assert_contains "$ERR" "read-only" "message for a read-only export"
qemu -f raw --shared=0 target
is_target image
is_source image

say "one client at a time"
qemu -f raw --shared=1 target
is_target image

say "qcow2"
qemu-img create -q -f qcow2 new.qcow2 6M
qemu -f qcow2 --shared=0 new.qcow2
is_target image
is_source image
nbd_end it
qemu-img compare -q -f qcow2 -F raw new.qcow2 image || fail "qcow2 and image"

say "holes of an overlay over data"
head -c 6M /dev/urandom >base
qemu-img create -q -f qcow2 -b base -F raw over.qcow2
qemu-io -f qcow2 -c 'write -P 7 1M 1M' -c 'write -z 2M 1M' \
	-c 'write -z -u 3M 1M' -c 'write -P 9 4500000 5' over.qcow2 >log
qemu-img convert -f qcow2 -O raw over.qcow2 want
qemu -f qcow2 --shared=0 over.qcow2
assert_eq "$(zeros_known "$NBD")" $((2 * MIB)) "zeros of the overlay"
is_source want
is_target image

say "unmapping"
cp base unmapped
qemu -f raw --shared=0 --discard=unmap --detect-zeroes=unmap unmapped
is_target image
assert_le "$(allocated unmapped)" $((4 * MIB)) "bytes in use"
qemu -f raw --shared=0 --discard=ignore --detect-zeroes=on target
is_target image

nbd_forget it
nbd_start tcp tcp qemu-nbd -f raw --shared=0 -x "an export" target
NBD+=/an%20export
is_target image
is_source image

# --- Through the mount ------------------------------------------------------------

say "parts of blocks"
requires_fuse
nbd_forget tcp
for minimum in 4096 64K; do
	kit --filter=blocksize-policy file target blocksize-error-policy=error \
		blocksize-minimum=$minimum blocksize-preferred=64K \
		blocksize-maximum=64K
	makes_stale
	cp target want
	mount_fs -o rw,unshared "x=$NBD"
	for file in want "$MNT/x"; do
		head -c 70000 image | tr '\0' '\7' |
			dd of="$file" bs=777 seek=1001 conv=notrunc status=none
		dd if=/dev/zero of="$file" bs=1000 seek=2000 count=100 conv=notrunc \
			status=none
		fallocate -p -o 3000001 -l 200003 "$file"
		dd if=image of="$file" bs=1 seek=4000000 skip=61440 count=7 \
			conv=notrunc,fsync status=none
	done
	assert_same_bytes "$MNT/x" want
	umount_fs
	assert_same_bytes target want
done
