#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# blksparse copy --changed: the target has the bytes of the source, and only what
# differed was written. The counts are those of the kernel, for the device.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3 jq
requires_fuse

# counts DEVICE: prints the bytes read and written so far.
counts() {
	local fields
	read -ra fields <"/sys/block/${1##*/}/stat"
	echo $((fields[2] * 512)) $((fields[6] * 512))
}

# changed SRC DST [OPTION...]: copies, and sets COMPARED, CHANGED and ZEROED to
# what the summary says, and READ and WRITTEN to what the kernel counted for DST.
changed() {
	local before after
	[[ ! -b $2 ]] || before=$(counts "$2")
	"$TOOL" copy --changed --json "${@:3}" "$1" "$2" >"$TEST_TMP/json"
	[[ ! -b $2 ]] || after=$(counts "$2")
	read -r COMPARED CHANGED ZEROED < <(
		jq -r '"\(.compared) \(.written) \(.zeroed)"' "$TEST_TMP/json")
	[[ -b $2 ]] || return 0
	READ=$((${after% *} - ${before% *}))
	WRITTEN=$((${after#* } - ${before#* }))
}

# fill FILE SIZE BYTE
fill() {
	head -c "$2" /dev/zero | tr '\0' "$3" >"$1"
}

# poke FILE OFFSET: changes a byte.
poke() {
	printf 'X' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# prepare KIND SIZE TARGET-SIZE: makes a source $SRC and a target $DST with the
# same bytes, of which the target has no holes, and a tail of 0xAA.
prepare() {
	make_device "$1" "$2" device
	SRC=$LOOP
	fill "$TEST_TMP/target" "$3" '\252'
	dd if="$TEST_TMP/device" of="$TEST_TMP/target" bs=1M conv=notrunc status=none
	loop_new "$TEST_TMP/target"
	DST=$LOOP
	SIZE=$2
}

release() {
	loop_free "$SRC"
	loop_free "$DST"
}

assert_copied() {
	cmp -n "$SIZE" "$SRC" "$DST" || fail "$1: the target differs"
	tail -c +$((SIZE + 1)) "$TEST_TMP/target" | tr -d '\252' | cmp - /dev/null ||
		fail "$1: the tail has changed"
}

for kind in zero data first last alternating edges mixed; do
	for tail in 0 1048576; do
		size=$(((3 << 20) + 512))
		say "$kind, and $tail bytes more"
		prepare "$kind" "$size" $((size + tail))
		changed "$SRC" "$DST" --known=off
		assert_eq "$COMPARED $CHANGED $ZEROED" "$size 0 0" "counts, equal"
		assert_eq "$WRITTEN" 0 "bytes written to an equal device"
		# The opening reads one block, as a trial; a last block of 512
		# bytes may be read as a part of a page.
		assert_le "$READ" $((size + 16384)) "bytes read"
		assert_copied equal

		poke "$DST" $((1 << 20))
		changed "$SRC" "$DST" --known=off --verify
		assert_eq $((CHANGED + ZEROED)) 4096 "one granule differs: counts"
		assert_eq "$WRITTEN" 4096 "one granule differs: bytes written"
		assert_copied "one granule"

		# Old bytes all over.
		fill "$TEST_TMP/old" "$size" '\377'
		dd if="$TEST_TMP/old" of="$DST" bs=1M conv=notrunc,fsync status=none
		changed "$SRC" "$DST"
		assert_eq "$(jq '.data == .written and .hole == .zeroed' \
			"$TEST_TMP/json")" true "all differs: $(<"$TEST_TMP/json")"
		assert_copied "all"
		release
	done
done

say "holes of either side"
# Of 16 MiB: the source knows [4, 12) to be zero, the target [8, 16).
head -c 16M /dev/urandom >"$TEST_TMP/random"
truncate -s 0 "$TEST_TMP/device" "$TEST_TMP/target"
truncate -s 16M "$TEST_TMP/device" "$TEST_TMP/target"
for part in 0 1 2 3 12 13 14 15; do
	dd if="$TEST_TMP/random" of="$TEST_TMP/device" bs=1M skip=$part \
		seek=$part count=1 conv=notrunc status=none
done
dd if="$TEST_TMP/random" of="$TEST_TMP/target" bs=1M count=4 conv=notrunc status=none
fill "$TEST_TMP/old" 2M '\377'
dd if="$TEST_TMP/old" of="$TEST_TMP/target" bs=1M seek=4 conv=notrunc status=none
dd if=/dev/zero of="$TEST_TMP/target" bs=1M seek=6 count=2 conv=notrunc status=none
sync "$TEST_TMP/device" "$TEST_TMP/target"
loop_new "$TEST_TMP/device"
SRC=$LOOP
loop_new "$TEST_TMP/target"
DST=$LOOP
SIZE=16777216
"$TOOL" map --known=all --format=json --summary "$DST" >"$TEST_TMP/map"
if jq -e '.known | length > 0' "$TEST_TMP/map" >/dev/null; then
	read_before=$(counts "$SRC")
	changed "$SRC" "$DST" --known=all
	read_after=$(counts "$SRC")
	assert_eq "$COMPARED $CHANGED $ZEROED" \
		"$((8 << 20)) $((4 << 20)) $((2 << 20))" "counts"
	# Spot checks read a few granules of each hole.
	assert_le "$READ" $(((8 << 20) + 65536)) "bytes read of the target"
	assert_le $((${read_after% *} - ${read_before% *})) \
		$(((8 << 20) + 65536)) "bytes read of the source"
	assert_eq "$WRITTEN" $((6 << 20)) "bytes written"
	assert_copied "holes of either side"
fi
changed "$SRC" "$DST" --known=off
assert_eq "$WRITTEN" 0 "bytes written once more"
assert_copied "holes that are not asked for"
release

say "files"
prepare mixed $(((3 << 20) + 512)) $((5 << 20))
cp "$TEST_TMP/target" "$TEST_TMP/file"
changed "$SRC" "$TEST_TMP/file"
assert_same_bytes "$SRC" "$TEST_TMP/file"
assert_eq "$CHANGED $ZEROED" "0 0" "counts of an equal file that was longer"
truncate -s 1M "$TEST_TMP/file"
poke "$TEST_TMP/file" 5000
changed "$SRC" "$TEST_TMP/file" --verify
assert_same_bytes "$SRC" "$TEST_TMP/file"
assert_ne "$CHANGED" 0 "bytes written to a file that was shorter"
changed "$SRC" "$TEST_TMP/new"
assert_same_bytes "$SRC" "$TEST_TMP/new"
assert_eq "$COMPARED" 0 "bytes compared of a new file"
assert_eq "$CHANGED" "$(jq .data "$TEST_TMP/json")" "bytes written to it"
changed "$TEST_TMP/new" "$DST"
assert_eq "$CHANGED $ZEROED" "0 0" "counts from a file to a device"
"$TOOL" copy --changed "$SRC" "$DST" 2>"$TEST_TMP/err"
assert_contains "$(<"$TEST_TMP/err")" \
	"3146240 bytes: 3146240 compared, 0 written, 0 zeroed; " "summary"

say "refused"
sum=$(sha256sum <"$TEST_TMP/target")
truncate -s 3M "$TEST_TMP/small"
loop_new "$TEST_TMP/small"
before=$(counts "$LOOP")
before=${before#* }
run_status "$TOOL" copy --changed "$SRC" "$LOOP"
assert_eq "$STATUS" 1 "status with a device that is too small"
assert_contains "$ERR" "$LOOP is too small" "message"
written=$(counts "$LOOP")
assert_eq "${written#* }" "$before" "bytes written to it"
run_status "$TOOL" copy --changed "$SRC" "$SRC"
assert_eq "$STATUS" 2 "status of a device to itself"
run_status "$TOOL" copy --changed "$SRC" "$TEST_TMP/device"
assert_eq "$STATUS" 2 "status of a device to its image"
run_status "$TOOL" copy --changed --target-is-zero "$SRC" "$DST"
assert_eq "$STATUS" 2 "status with --target-is-zero"
assert_eq "$(sha256sum <"$TEST_TMP/target")" "$sum" "the target"

say "the tail is treated as asked"
for tail in zero discard; do
	"$TOOL" copy --quiet --changed --tail=$tail "$SRC" "$DST"
	tail -c +$((SIZE + 1)) "$DST" | tr -d '\0' | cmp - /dev/null ||
		fail "$tail: the tail"
	cmp -n "$SIZE" "$SRC" "$DST" || fail "$tail: the bytes"
done
release

say "interrupted, killed, and run again"
head -c 128M /dev/urandom >"$TEST_TMP/device"
loop_new "$TEST_TMP/device"
SRC=$LOOP
fill "$TEST_TMP/target" 128M '\252'
loop_new "$TEST_TMP/target"
DST=$LOOP
SIZE=$((128 << 20))
for signal in INT KILL; do
	for ((tries = 0; tries < 20; tries++)); do
		python3 - "$signal" "/sys/block/${DST##*/}/stat" "$TOOL" copy \
			--changed --jobs=1 --quiet "$SRC" "$DST" <<'PY' &&
import signal, subprocess, sys
name, stat, *command = sys.argv[1:]

def written():
    return int(open(stat).read().split()[6])

before = written()
child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
while child.poll() is None and written() < before + 4096:
    pass
if child.poll() is None:
    child.send_signal(getattr(signal, "SIG" + name))
# Was it early enough? A copy that is complete exits with 0.
sys.exit(0 if child.wait() != 0 else 1)
PY
			! cmp -s "$SRC" "$DST" && break
		fill "$TEST_TMP/old" 128M '\252'
		dd if="$TEST_TMP/old" of="$DST" bs=1M conv=notrunc,fsync status=none
	done
	((tries < 20)) || fail "no copy was interrupted by SIG$signal"
	changed "$SRC" "$DST"
	assert_le "$CHANGED" $((SIZE - (1 << 20))) "bytes written after SIG$signal"
	assert_same_bytes "$SRC" "$DST"
	fill "$TEST_TMP/old" 128M '\252'
	dd if="$TEST_TMP/old" of="$DST" bs=1M conv=notrunc,fsync status=none
done
