#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# All tools that write sparse files write a sparse image onto a device filled
# with 0xAA: a loop device, and an export of an NBD server. After the unmount the device holds the image, with zeros in its
# holes, and 0xAA past its end. The table of tools names those that leave old
# bytes by design.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=../lib/nbd.sh
. "$LIB/nbd.sh"
requires_fuse
requires_loop
requires rsync tar qemu-img nbdcopy borg zstd xz bmaptool ddrescue

MIB=$((1 << 20))
DEVICE_SIZE=$((12 * MIB))
cd "$TEST_TMP"

# --- The images ------------------------------------------------------------

# make_image FILE SIZE SEED: makes an image with holes at the start and the end,
# and tiny and large, aligned and unaligned ones in between.
make_image() {
	python3 - "$@" <<'PY'
import os, random, sys
path, size, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
os.ftruncate(fd, size)
at, end = 3 << 19, size - (1 << 20)
while at < end:
    length = min(rng.choice((1, 511, 512, 4096, rng.randint(1, 12288),
                             rng.randint(1, 1 << 20))), end - at)
    os.pwrite(fd, rng.randbytes(length).replace(b"\0", b"\1"), at)
    at += length + rng.choice((1, 512, 4096, rng.randint(1, 65536),
                               rng.randint(1, 3 << 20)))
    if rng.random() < 0.7:
        at = -(-at // 4096) * 4096
os.close(fd)
PY
}

# data_of IMAGE: prints the bytes in granules that hold data.
data_of() {
	python3 -c '
import sys
data = 0
with open(sys.argv[1], "rb") as image:
    while granule := image.read(4096):
        data += len(granule) if any(granule) else 0
print(data)' "$1"
}

# Image 1 is shorter than the device, image 2 as long; each has two versions.
sizes=(0 $((10 * MIB + 512)) "$DEVICE_SIZE")
for number in 1 2; do
	mkdir "$number"
	make_image "$number/x" "${sizes[number]}" "$number"
	make_image "$number/changed" "${sizes[number]}" "$number"
	# Data becomes a hole, a hole becomes data, and some of the rest is new.
	fallocate -p -o $((4 * MIB)) -l $((2 * MIB)) "$number/changed"
	dd if=/dev/urandom of="$number/changed" bs=4096 count=3 seek=9 \
		conv=notrunc status=none
	dd if=/dev/urandom of="$number/changed" bs=1000 count=100 seek=9000 \
		conv=notrunc status=none
	tar -C "$number" -cSf "$number/x.tar" x
	zstd -q "$number/x" -o "$number/x.zst"
	xz -k -0 "$number/x"
	bmaptool -q create -o "$number/x.bmap" "$number/x"
done
head -c "$DEVICE_SIZE" /dev/zero | tr '\0' '\252' >full

export BORG_BASE_DIR=$TEST_TMP/borg BORG_REPO=$TEST_TMP/repo
export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
borg init -e none
for number in 1 2; do
	(cd "$number" && borg create --sparse "::$number" x)
done

# --- The tools: from the image in folder IN to the file OUT ----------------

tool_cp() { cp "$IN/x" "$OUT"; }
tool_cp_always() { cp --sparse=always "$IN/x" "$OUT"; }
tool_cp_never() { cp --sparse=never "$IN/x" "$OUT"; }
tool_cat() { cat "$IN/x" >"$OUT"; }
tool_dd() { dd if="$IN/x" of="$OUT" bs=64K conv=sparse status=none; }
tool_dd_fsync() { dd if="$IN/x" of="$OUT" bs=1M conv=sparse,fsync status=none; }
tool_dd_notrunc() {
	dd if="$IN/x" of="$OUT" bs=4K conv=sparse,notrunc status=none
}
tool_dd_emptied() {
	truncate -s 0 "$OUT"
	dd if="$IN/x" of="$OUT" bs=4K conv=sparse,notrunc status=none
}
tool_dd_plain() { dd if="$IN/x" of="$OUT" bs=1M conv=notrunc status=none; }
tool_dd_direct() {
	dd if="$IN/x" of="$OUT" bs=1M oflag=direct conv=sparse status=none
}
tool_rsync() { rsync -a -I --inplace --sparse "$IN/x" "$OUT"; }
tool_rsync_again() {
	rsync -a -I --inplace --sparse "$IN/x" "$OUT"
	rsync -a -I --inplace --sparse "$IN/changed" "$OUT"
}
tool_rsync_delta() {
	rsync -a -I --inplace --sparse --no-whole-file "$IN/x" "$OUT"
	rsync -a -I --inplace --sparse --no-whole-file "$IN/changed" "$OUT"
}
tool_tar() { tar -C "$MNT" -x --overwrite -f "$IN/x.tar"; }
tool_qemu_img() { qemu-img convert -f raw -O raw "$IN/x" "$OUT"; }
tool_qemu_img_n() { qemu-img convert -n -f raw -O raw "$IN/x" "$OUT"; }
tool_nbdcopy() { nbdcopy "$IN/x" "$OUT"; }
tool_borg() { (cd "$MNT" && borg extract --sparse "::$number"); }
tool_zstd() { zstd -q -d -f "$IN/x.zst" -o "$OUT"; }
tool_xz() { xz -dc "$IN/x.xz" >"$OUT"; }
tool_bmaptool() { bmaptool -q copy --bmap "$IN/x.bmap" "$IN/x" "$OUT"; }
tool_bmaptool_nobmap() { bmaptool -q copy --nobmap "$IN/x" "$OUT"; }
tool_ddrescue() { ddrescue -q -f -S "$IN/x" "$OUT"; }
tool_ddrescue_trunc() { ddrescue -q -f -S -t "$IN/x" "$OUT"; }

# NAME | FUNCTION | SOURCE | WHAT HOLDS | REMARK
# "image": the device equals the image. "data": it equals the image where that has
# data; a tool that skips zeros without emptying the file leaves old bytes.
tools=(
	"cp|cp|x|image|"
	"cp --sparse=always|cp_always|x|image|"
	"cp --sparse=never|cp_never|x|image|"
	"cat >|cat|x|image|"
	"dd conv=sparse|dd|x|image|"
	"dd conv=sparse,fsync|dd_fsync|x|image|"
	"dd conv=sparse oflag=direct|dd_direct|x|image|"
	"dd conv=notrunc|dd_plain|x|image|"
	"dd conv=sparse,notrunc|dd_notrunc|x|data|skips zeros, and was told not to empty the file"
	"truncate; dd conv=sparse,notrunc|dd_emptied|x|image|"
	"rsync --inplace --sparse|rsync|x|image|"
	"the same, changed|rsync_again|changed|image|"
	"the same, --no-whole-file|rsync_delta|changed|image|"
	"tar -x --overwrite|tar|x|image|"
	"qemu-img convert|qemu_img|x|image|"
	"qemu-img convert -n|qemu_img_n|x|image|"
	"nbdcopy|nbdcopy|x|image|"
	"borg extract --sparse|borg|x|image|"
	"zstd -d -f|zstd|x|image|"
	"xz -dc >|xz|x|image|"
	"bmaptool copy --bmap|bmaptool|x|image|"
	"bmaptool copy --nobmap|bmaptool_nobmap|x|image|"
	"ddrescue -S|ddrescue|x|data|skips zeros; with -t it empties the file"
	"ddrescue -S -t|ddrescue_trunc|x|image|"
)

# --- The matrix ------------------------------------------------------------

truncate -s "$DEVICE_SIZE" device
loop_new "$TEST_TMP/device"

sectors_written() {
	awk '{ print $7 }' "/sys/block/${LOOP##*/}/stat"
}

# holds image|data IMAGE DEVICE: checks the device; past the end of the image it
# must be unchanged.
holds() {
	python3 - "$@" <<'PY'
import sys
what, image, device = sys.argv[1:]
with open(image, "rb") as source, open(device, "rb") as target:
    right, got = source.read(), target.read()
right += b"\xaa" * (len(got) - len(right))
if what == "data":
    kept = 0
    got = bytearray(got)
    for at in range(0, len(right), 512):
        if not any(right[at:at + 512]) and got[at:at + 512] == b"\xaa" * 512:
            got[at:at + 512] = bytes(512)
            kept += 1
    if not kept:
        sys.exit("no hole kept its old bytes: correct the table")
if got != right:
    at = next(at for at, pair in enumerate(zip(got, right)) if pair[0] != pair[1])
    sys.exit(f"byte {at} is {got[at]:#x}, not {right[at]:#x}")
PY
}

table=() bad=0
# row NUMBER OPTIONS SPEC
row() {
	local number=$1 row_options=$2 name function source what remark
	local verdict=right before written
	IFS='|' read -r name function source what remark <<<"$3"
	IN=$TEST_TMP/$number OUT=$MNT/x
	say "$name, image $number, $row_options"
	dd if=full of="$LOOP" bs=1M conv=fsync status=none
	before=$(sectors_written)
	mount_fs -o "rw,$row_options" "x=$LOOP"
	"tool_$function" || verdict="FAILED"
	umount_fs
	written=$((($(sectors_written) - before) * 512))
	forget_pages "$LOOP"
	holds "$what" "$IN/$source" "$LOOP" || verdict="WRONG"
	[[ $verdict == right ]] || ((++bad))
	[[ $verdict != right || $what == image ]] ||
		verdict="holes stay"
	table+=("$(printf '%-33s %5s %-10s %10s %10s %10s  %s' "$name" "$number" \
		"$verdict" "$written" "$(data_of "$IN/$source")" \
		"$(allocated device)" "$remark")")
}

for spec in "${tools[@]}"; do
	row 1 granule=4K "$spec"
	row 2 granule=64K "$spec"
done

# --- The same on an export -------------------------------------------------

# export_row SPEC: image 1 onto the file "export", by its server.
export_row() {
	local name function source what remark verdict=right
	IFS='|' read -r name function source what remark <<<"$1"
	IN=$TEST_TMP/1 OUT=$MNT/x number=1
	say "$name, an export"
	dd if=full of=export bs=1M conv=notrunc status=none
	mount_fs -o rw,unshared "x=$NBD"
	"tool_$function" || verdict="FAILED"
	umount_fs
	holds "$what" "$IN/$source" export || verdict="WRONG"
	[[ $verdict == right ]] || ((++bad))
	[[ $verdict != right || $what == image ]] ||
		verdict="holes stay"
	table+=("$(printf '%-33s %5s %-10s %10s %10s %10s  %s' "$name" export \
		"$verdict" - "$(data_of "$IN/$source")" \
		"$(allocated export)" "$remark")")
}

if [[ $("$TOOL" map nbd:// 2>&1) != *"built without libnbd"* ]]; then
	requires nbdkit
	cp full export
	nbd_start export unix nbdkit file export
	for spec in "${tools[@]}"; do
		export_row "$spec"
	done
fi

echo
echo "Image 1: ${sizes[1]} bytes, granule 4K; image 2: ${sizes[2]} bytes, granule 64K;"
echo "export: image 1 onto an NBD export."
echo "the device: $DEVICE_SIZE bytes of 0xAA. Written: its counter of sectors, which"
echo "counts zeroing and unmapping commands as well. Data: of the image, in blocks of"
echo "4 KiB. Allocated: the space of the backing file afterwards."
echo
printf '%-33s %5s %-10s %10s %10s %10s  %s\n' tool image device written data \
	allocated remark
printf '%s\n' "${table[@]}"
((bad == 0)) || fail "$bad rows are wrong"
