#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# In a virtual machine: volumes that LVM's own commands made. "blksparse map"
# knows the holes of thin volumes, of snapshots and of extended ones, and does not
# read them; so does a mount of several volumes of one pool. The map of an
# ordinary volume is right after lvextend and pvmove.
#
# TIMEOUT: 300 seconds
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
in_vm 580 python3 jq lvm thin_check

modprobe -a loop fuse dm-mod dm-mirror dm-thin-pool
requires_fuse

gib=$((1 << 30))

config='devices { filter=["a|^/dev/loop|", "r|.*|"] use_devicesfile=0
	obtain_device_list_from_udev=0 }
backup { backup=0 archive=0 }
activation { udev_sync=0 udev_rules=0 monitoring=0 }
global { use_lvmpolld=0 }'

# lvm_do COMMAND [ARG...]
lvm_do() {
	lvm "$1" --config "$config" -qq "${@:2}" </dev/null || fail_at "$*"
	dmsetup mknodes
}

# put VOLUME OFFSET...: writes 4 KiB there.
put() {
	python3 -c 'import mmap, os, sys
page = mmap.mmap(-1, 4096)
page[:] = b"\x5d" * 4096
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
for off in sys.argv[2:]:
    os.pwritev(fd, [page], int(off))' "/dev/mapper/vg-$1" "${@:2}"
}

# kernel_name VOLUME: prints the kernel's name of the device.
kernel_name() {
	dmsetup info -c --noheadings -o blkdevname "vg-$1"
}

# assert_map VOLUME DATA READ: "blksparse map" finds so many bytes of data, and
# reads at most READ bytes.
assert_map() {
	count_reads "$(kernel_name "$1")" "$TOOL" map --format=json --summary \
		"/dev/mapper/vg-$1" >"$TEST_TMP/map" 2>/dev/null
	assert_eq "$(jq .totals.data.bytes "$TEST_TMP/map")" "$2" "data of $1"
	assert_eq "$(jq '.totals.data.bytes + .totals.hole.bytes' "$TEST_TMP/map")" \
		"$(blockdev --getsize64 "/dev/mapper/vg-$1")" "data and holes of $1"
	assert_le "$READ" "$3" "bytes that were read of $1"
}

volumes=()
for size in 4G 1G; do
	truncate -s $size "$TEST_TMP/$size"
	loop_new "$TEST_TMP/$size"
	volumes+=("$LOOP")
done
lvm_do vgcreate vg "${volumes[@]}"
cleanup lvm_do vgchange -an vg

# The program looks for an image without asking file systems that may have a
# server, as that of the virtual machine: it reads the ordinary volume.
say "an ordinary volume, lvextend on the second disk, pvmove"
lvm_do lvcreate -y -L 64M -n linear vg "${volumes[0]}"
put linear 8192 $((32 * MIB)) $((64 * MIB - 4096))
assert_map linear $((3 * 4096)) $((64 * MIB + 4096))
lvm_do lvextend -L +16M vg/linear "${volumes[1]}"
put linear $((65 * MIB))
assert_map linear $((4 * 4096)) $((80 * MIB + 4096))
lvm_do pvmove "${volumes[1]}"
assert_map linear $((4 * 4096)) $((80 * MIB + 4096))

# A few of the known granules are read, as a check: one a half GiB.
say "a thin volume of 1 TiB"
lvm_do lvcreate -y -L 512M -c 64k -T vg/pool
lvm_do lvcreate -V 1T -T vg/pool -n one
put one 0 $((gib + 4096)) $((500 * gib)) $((1024 * gib - 4096))
assert_map one $((4 * 4096)) $((64 * MIB))

say "a snapshot, and a volume that is extended"
lvm_do lvcreate -kn -s vg/one -n two
put two $((700 * gib)) $((gib + 8192))
assert_map two $((6 * 4096)) $((64 * MIB))
lvm_do lvextend -L 2T vg/one
put one $((1500 * gib))
assert_map one $((5 * 4096)) $((64 * MIB))

say "a mount of them"
lvm_do lvcreate -V 1T -T vg/pool -n three
put three $((3 * gib))
mount_fs linear=/dev/mapper/vg-linear one=/dev/mapper/vg-one \
	two=/dev/mapper/vg-two three=/dev/mapper/vg-three
for volume in one:5 two:6 three:1 linear:4; do
	name=${volume%:*}
	count_reads "$(kernel_name "$name")" ask extents "$MNT/$name" \
		>"$TEST_TMP/extents"
	assert_eq "$(awk '$3 == "data" { sum += $2 } END { print sum }' \
		"$TEST_TMP/extents")" $((${volume#*:} * 4096)) "data of $name"
	# The pool commits once a second; until then the mount reads.
	assert_le "$READ" $((16 * gib)) "bytes that were read of $name"
done
umount_fs
